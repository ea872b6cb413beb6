"""Which build a station takes: pure, the same on the laptop before it touches the station, and on the station."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from agent.update.build import APP, CONTROLLER, Head
from agent.update.keyring import PROD
from agent.update.refusal import Refused

Contract = tuple[int, int, int]  # major, minor_first, minor_last (board/controller/contract.py)

WAIVABLE = {"session", "interlock"}  # by a person who says why: a sensor's fault must not make a station unflashable


@dataclass(frozen=True, slots=True)
class Station:
    """What a build is held against."""

    platform: str  # x86_64 | aarch64
    board: str  # the board file's name; "" on a bare station: any
    is_production: bool
    security_floor: int  # the highest security sequence that was ever confirmed
    contract: Contract | None = None  # of the firmware that the controller runs; None: not heard
    app_contract: Contract | None = None  # of the default's app, which comes back; None: none, or unknown
    needs_controller: bool = False  # its controller is flashed from builds, so one without firmware for it is no use
    has_session: bool = False  # a car charges, or may at any moment
    is_busy: bool = False  # another flasher is at work
    interlock: str = ""  # why nothing may be written now, one sentence; "": nothing against it


def refusal(head: Head, station: Station, waived: Collection[str] = ()) -> Refused | None:
    """Why this station must not get this build, lasting reasons first; None: it may. `waived`: codes out of WAIVABLE
    that a person overrides."""
    assert head.role, "only a verified build is judged"
    for refused in _reasons(head, station):
        if refused.code not in WAIVABLE or refused.code not in waived:
            return refused
    return None


def _reasons(head: Head, station: Station) -> Iterator[Refused]:
    yield from _of_keys(head, station)
    yield from _of_hardware(head, station)
    if head.security_sequence < station.security_floor:
        yield Refused(
            "downgrade",
            f"this build's security sequence is {head.security_sequence}, the station has confirmed"
            f" {station.security_floor}: make a build with --sequence {station.security_floor}",
        )
    yield from _of_the_moment(station)


def _of_keys(head: Head, station: Station) -> Iterator[Refused]:
    if station.is_production and head.role != PROD:
        yield Refused(
            "role", f"this is a {head.role} build and the station is in production: have it signed with a prod key"
        )


def _of_hardware(head: Head, station: Station) -> Iterator[Refused]:
    app, firmware = (APP, station.platform), (CONTROLLER, station.board)
    if app not in head.named:
        names = " and ".join(name for kind, name in head.named if kind == APP) or "no platform"
        yield Refused("platform", f"this build is for {names}, the station is {station.platform}: make one for it")
        return
    if station.board and station.needs_controller and firmware not in head.named:
        boards = ", ".join(name for kind, name in head.named if kind == CONTROLLER) or "no board"
        yield Refused(
            "board", f"this build has firmware for {boards}, the station's board is {station.board}: make one for it"
        )
        return
    if missing := {app, firmware} & set(head.named) - head.components.keys():
        kind, name = min(missing)
        yield Refused("format", f"the head that was sent lacks the index of {kind} {name}: send it with that")
        return
    new_app, new_firmware = contract_of(head, app), contract_of(head, firmware)
    pairs = (
        (new_app, station.contract, "its app", "the controller's firmware"),
        (station.app_contract, new_firmware, "its firmware", "the app that runs"),
        (new_app, new_firmware, "its app", "its own firmware"),
    )
    for ours, theirs, part, other in pairs:
        if ours and theirs and not speaks(ours, theirs):
            yield Refused(
                "contract",
                f"{part} and {other} would not understand each other ({_text(ours)}, {_text(theirs)}), so a"
                " rollback of one could not charge: flash a build between the two first",
            )


def _of_the_moment(station: Station) -> Iterator[Refused]:
    if station.is_busy:
        yield Refused("busy", "another flasher is at work on this station: wait for it to end")
    if station.has_session:
        yield Refused("session", "somebody charges at this station: flash with --when-idle, or wait")
    if station.interlock:
        yield Refused("interlock", station.interlock)


def speaks(ours: Contract, theirs: Contract) -> bool:
    """A minor version that both have."""
    return ours[0] == theirs[0] and max(ours[1], theirs[1]) <= min(ours[2], theirs[2])


def contract_of(head: Head, component: tuple[str, str]) -> Contract | None:
    """None: the build has no such component, or it came without its index."""
    if component not in head.components:
        return None
    found: Any = head.components[component].facts["contract"]
    return found[0], found[1], found[2]


def _text(contract: Contract) -> str:
    return "{}.{}-{}".format(*contract)
