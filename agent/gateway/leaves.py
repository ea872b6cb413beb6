"""Who hangs off a gateway, and what it has cost: what nft(8) lists, names for it, totals that only grow. Pure.

A leaf is an address that has sent or got something. Its name is what the config file or a DHCP lease says: it is shown
to people, and nothing is decided by it.
"""

import json
import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address
from typing import Any

import msgspec
from msgspec import Struct

from agent.gateway.rules import RECEIVED, SENT
from agent.settings import Gateway

TOTALS_MAX = 64  # addresses that are remembered; the one silent longest is forgotten first
NAME = re.compile(r"[A-Za-z0-9-]{1,36}", re.ASCII)
FILE_MAX = 65_536  # characters of a file of leases, or of ours, that are looked at


class Traffic(Struct, frozen=True):
    """IP packets and their bytes, from the leaf and to it."""

    sent: int = 0
    sent_b: int = 0
    received: int = 0
    received_b: int = 0

    @property
    def all_b(self) -> int:
        return self.sent_b + self.received_b


class Leaf(Struct, frozen=True):
    address: str
    name: str  # "" if nobody has said one
    traffic: Traffic


class Told(Struct, frozen=True):
    """What the gateway's service says to the agent, and keeps for its own next start: one file."""

    since: str = ""  # the totals begin there: another one, and they have begun anew
    problem: str = ""
    leaves: tuple[Leaf, ...] = ()
    seen: dict[str, Traffic] = {}  # what the kernel's table has been counted up to
    script: str = ""  # digest of the rules that were applied
    forward: str = ""  # of ip_forward before we set it; "": we have not


def listed(text: str) -> dict[str, Traffic]:
    """The counters in `nft -j list table`, by address. ValueError: nft has never written this."""
    counts: dict[str, dict[str, int]] = {}
    try:
        for item in json.loads(text)["nftables"]:
            found = item.get("set")
            if found is None or found["name"] not in (SENT, RECEIVED):
                continue
            for element in found.get("elem", ()):
                one = element["elem"]
                packets, size_b = one["counter"]["packets"], one["counter"]["bytes"]
                row = counts.setdefault(str(IPv4Address(one["val"])), {})
                row |= {found["name"]: int(packets), f"{found['name']}_b": int(size_b)}
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"nft lists something else: {type(error).__name__}") from None
    return {address: Traffic(**row) for address, row in counts.items()}


def added(total: Traffic, before: Traffic, now: Traffic) -> Traffic:
    """The total, and what has come since `before`. A counter that has become smaller has begun anew."""
    fields = Traffic.__struct_fields__
    return Traffic(**{name: getattr(total, name) + grown(getattr(before, name), getattr(now, name)) for name in fields})


def grown(before: int, now: int) -> int:
    return now - before if now >= before else now


def counted(told: Told, now: Mapping[str, Traffic], names: Mapping[str, str]) -> Told:
    """After a look at the counters: totals grow, and names are what they are called now."""
    totals = {leaf.address: leaf.traffic for leaf in told.leaves}
    for address, traffic in now.items():
        before = told.seen.get(address, Traffic())
        if traffic != before or address not in totals:  # who has spoken last stands last
            totals[address] = added(totals.pop(address, Traffic()), before, traffic)
    for address in list(totals)[: max(0, len(totals) - TOTALS_MAX)]:
        del totals[address]
    leaves = tuple(Leaf(address, names.get(address, ""), traffic) for address, traffic in totals.items())
    return msgspec.structs.replace(told, leaves=leaves, seen=dict(now))


def names_of(gateway: Gateway, leases: str) -> dict[str, str]:
    """By address; the config file's word counts before that of a lease."""
    return {**dict(hostnames(leases.splitlines())), **{address: serial for serial, address in gateway.names.items()}}


def hostnames(lines: Iterable[str]) -> Iterable[tuple[str, str]]:
    """Of dnsmasq's leases: `expiry MAC address hostname client-id`. A leaf calls itself what it wants."""
    for line in lines:
        match line.split():
            case [_, _, str(address), str(name), *_] if NAME.fullmatch(name):
                try:
                    yield str(IPv4Address(address)), name
                except ValueError:
                    continue


def write(told: Told) -> bytes:
    return msgspec.json.encode(told)


def read(data: bytes) -> Told | None:
    """None: nobody of ours has written this."""
    try:
        return msgspec.json.decode(data, type=Told)
    except (msgspec.ValidationError, msgspec.DecodeError, RecursionError):
        return None


def status(told: Told | None, is_gateway: bool, gateway: str, month: Mapping[str, int]) -> dict[str, Any]:
    """For people: `gateway` is the serial number of ours, where we are a leaf; `month` what leaves have used in it, by
    name, up to ten minutes ago."""
    if not is_gateway:
        return {"is_gateway": False, "gateway": gateway, "problem": "", "leaves": []}
    missing = "its service is not there: type systemctl status station-gateway"
    rows = [
        {
            "address": leaf.address,
            "name": leaf.name,
            "month_b": month.get(leaf.name or leaf.address, 0),
            **msgspec.to_builtins(leaf.traffic),
        }
        for leaf in (told.leaves if told else ())
    ]
    return {"is_gateway": True, "gateway": "", "problem": told.problem if told else missing, "leaves": rows}


def text(answer: Mapping[str, Any]) -> str:
    """The same, a line each."""
    if answer["gateway"]:
        return f"this station hangs off gateway {answer['gateway']}"
    if not answer["is_gateway"]:
        return "this station is no gateway: add [gateway] to its config file (docs/gateway.md)"
    lines = [f"problem: {answer['problem']}"] if answer["problem"] else []
    for leaf in answer["leaves"]:
        sizes = (leaf["month_b"], leaf["sent_b"], leaf["received_b"])
        month, sent, received = (f"{size_b / 1e6:.1f} MB" for size_b in sizes)
        name = leaf["name"] or "(no name)"
        since = f"{month} this month; since boot {sent} sent, {received} received"
        lines.append(f"{name:24}  {leaf['address']:15}  {since}")
    return "\n".join(lines) or "no leaf has sent anything yet"
