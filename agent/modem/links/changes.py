"""What a bearer changes of this machine's network, and how each change is taken back. Pure.

Each change is a command and the one that undoes it; both are kept on the disk before the first is run, so that a
service that was killed finds what to undo. Routes bear PROTO, so that nobody else's is ever meant.
"""

from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Struct

from agent.modem.links.leases import Lease

PROTO = "142"  # rtm_protocol: whose route it is; free in iproute2's rt_protos
KEPT_MAX = 32


class Change(Struct, frozen=True):
    """`undo`: (), if it goes by itself with its interface."""

    do: tuple[str, ...]
    undo: tuple[str, ...] = ()


def of_ppp(interface: str, metric: int, dns: Sequence[str], has_resolved: bool) -> list[Change]:
    """pppd has set the address already, and takes it back."""
    return [routed(interface, metric, ""), *resolved(interface, dns, has_resolved)]


def of_lease(interface: str, metric: int, lease: Lease, has_resolved: bool, mtu_before: int | None) -> list[Change]:
    address = (f"{lease.address}/{lease.prefix}", "dev", interface)
    found = [Change(("ip", "-4", "address", "replace", *address), ("ip", "-4", "address", "delete", *address))]
    if lease.mtu and mtu_before and lease.mtu < mtu_before:
        link = ("ip", "link", "set", "dev", interface, "mtu")
        found.append(Change((*link, str(lease.mtu)), (*link, str(mtu_before))))
    return [*found, routed(interface, metric, lease.router), *resolved(interface, lease.dns, has_resolved)]


def raised(interface: str) -> Change:
    """Of an interface that is down."""
    link = ("ip", "link", "set", "dev", interface)
    return Change((*link, "up"), (*link, "down"))


def routed(interface: str, metric: int, router: str) -> Change:
    way = ("via", router, "dev", interface, "onlink") if router else ("dev", interface)
    route = ("default", *way, "metric", str(metric), "proto", PROTO)
    return Change(("ip", "-4", "route", "replace", *route), ("ip", "-4", "route", "delete", *route))


def resolved(interface: str, dns: Sequence[str], has_resolved: bool) -> list[Change]:
    if not dns or not has_resolved:
        return []
    return [Change(("resolvectl", "dns", interface, *dns), ("resolvectl", "revert", interface))]


def undoing(changes: Iterable[Change]) -> list[tuple[str, ...]]:
    """Commands, the last change first."""
    return [change.undo for change in reversed(list(changes)) if change.undo]


# -- kept -------------------------------------------------------------------------------------------------------------


class Kept(Struct, frozen=True):
    """For the next start. `child`: process number and its start, in clock ticks since boot: nobody else has both."""

    changes: tuple[Change, ...] = ()
    child: tuple[int, int] | None = None


def kept(data: bytes) -> Kept:
    """What cannot be read is nothing to undo: pppd has ended with its service, and its interface with it."""
    try:
        found = msgspec.json.decode(data, type=Kept)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Kept()
    ours = [change for change in found.changes if change.undo[:1] in ((), ("ip",), ("resolvectl",))]
    return Kept(tuple(ours[:KEPT_MAX]), found.child)


def started(stat: str) -> int | None:
    """When a process was started, of its /proc/PID/stat; None: it is none."""
    fields = stat.rpartition(")")[2].split()
    return int(fields[19]) if len(fields) > 19 and fields[19].isdigit() else None
