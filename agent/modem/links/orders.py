"""What the agent and the service that may change the network (agent/modem/linkservice.py) say to each other.

One JSON object a line. The first line of a connection is the order; the connection is the bearer: when it ends, for
whatever reason, nothing of the bearer is left. Both ends are of one build, yet the service believes nothing unchecked:
it is root's, the agent is not.
"""

import re
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from agent.modem.events import Cause
from agent.modem.links.pppd import MTU, ipv4

LINE_MAX_B = 4_096
METRIC_MAX = 10_000
INTERFACE = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9_.-]{1,15}")

Metric = Annotated[int, Meta(ge=1, le=METRIC_MAX)]
Text = Annotated[str, Meta(max_length=256)]


class Ppp(Struct, frozen=True, forbid_unknown_fields=True, tag_field="do", tag="ppp"):
    """Run pppd on this line: the modem has said CONNECT there."""

    tty: Text
    username: Text = ""
    password: Text = ""
    mtu: int = MTU
    metric: Metric = 700


class Dhcp(Struct, frozen=True, forbid_unknown_fields=True, tag_field="do", tag="dhcp"):
    """Ask for an address on this interface."""

    interface: Text
    metric: Metric = 700


class Static(Struct, frozen=True, forbid_unknown_fields=True, tag_field="do", tag="static"):
    """Give the interface this address, which somebody else has negotiated (ModemManager)."""

    interface: Text
    address: Text
    prefix: Annotated[int, Meta(ge=1, le=32)]
    router: Text = ""
    dns: Annotated[tuple[Text, ...], Meta(max_length=2)] = ()
    mtu: int | None = None
    metric: Metric = 700


class Down(Struct, frozen=True, forbid_unknown_fields=True, tag_field="do", tag="down"):
    """End it; Fell answers once nothing is left."""


Order = Ppp | Dhcp | Static | Down


class Up(Struct, frozen=True, tag_field="is", tag="up"):
    """It carries; said again when address or resolvers change."""

    interface: str
    address: str
    dns: tuple[str, ...] = ()


class Fell(Struct, frozen=True, tag_field="is", tag="fell"):
    """The last word."""

    cause: Cause
    why: str = ""


class Note(Struct, frozen=True, tag_field="is", tag="note"):
    """For the journal."""

    text: str


Word = Up | Fell | Note


def line(said: Order | Word) -> bytes:
    return msgspec.json.encode(said) + b"\n"


def order(data: bytes) -> Order | str:
    """Of one line; a sentence if it is none."""
    try:
        found: Order = msgspec.json.decode(data, type=Order)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return f"no order: {error}"
    if isinstance(found, Dhcp | Static) and not INTERFACE.fullmatch(found.interface):
        return f"{found.interface[:40]!r} is no interface"
    if isinstance(found, Static):
        wrong = [each for each in (found.address, *found.dns, *filter(None, [found.router])) if ipv4(each) != each]
        if wrong:
            return f"{wrong[0][:40]!r} is no address"
        if not (found.mtu is None or 576 <= found.mtu <= 1_500):
            return f"an MTU of {found.mtu} bytes is none: 576 to 1500"
    return found


def word(data: bytes) -> Word | None:
    """None: it is none."""
    try:
        found: Word = msgspec.json.decode(data, type=Word)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return found
