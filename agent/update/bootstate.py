"""What the launcher and the updater remember of the two slots, as one small value, and what follows from it. Pure.

    default   what runs when no trial does: a slot that was once found healthy, or the rescue tree
    trial     another slot is tried: it has so many starts to be found healthy, then the default runs again
    digest    of a slot's list of files (agent/update/launcher.py): nothing is run from a slot without one

Which slot runs, which one may be written: functions below. Standard library only, and what newer software has added to
the file is kept: the launcher is as old as the station's image, the updater as new as its newest build.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any
from zlib import crc32

SLOTS = ("a", "b")
RESCUE = "rescue"  # the read-only tree of the image; the launcher is of it
TRIES = 3  # starts of a trial
REASON_MAX = 200
FILE_MAX_B = 4_096
NUMBER_MAX = 2**53


@dataclass(frozen=True, slots=True)
class Slot:
    digest: str = ""  # SHA-256 of its list of files, in hex; "" = unusable
    is_confirmed: bool = False  # it has once been found healthy


@dataclass(frozen=True, slots=True)
class Trial:
    slot: str
    was_online: bool = False  # the build before had its broker, so this one must reach it, too
    tries: int = TRIES  # starts that are left
    boot_id: str = ""  # of the boot of its last start; "" = it was not started yet
    since_s: float = 0.0  # of its first start in that boot, seconds since Linux booted


@dataclass(frozen=True, slots=True)
class Ended:
    """How the last trial, or the last change by hand, ended; told to the cloud and to `flash.py status`."""

    slot: str
    digest: str
    is_confirmed: bool  # else it was rolled back
    reason: str


@dataclass(frozen=True, slots=True)
class State:
    number: int = 0  # of this state's writing; the newest that is whole counts
    a: Slot = Slot()
    b: Slot = Slot()
    default: str = RESCUE
    trial: Trial | None = None
    security_floor: int = 0  # the highest security sequence that was ever confirmed
    last: Ended | None = None
    more: Mapping[str, Any] = field(default_factory=dict)  # of newer software

    def slot(self, name: str) -> Slot:
        return {"a": self.a, "b": self.b}[name]


# -- what follows -----------------------------------------------------------------------------------------------------


def other(slot: str) -> str:
    return "b" if slot == "a" else "a"


def order(state: State) -> tuple[str, ...]:
    """What the launcher looks at for something that is whole, best first: never nothing, the rescue tree is last.

    A build that was only staged, or has failed, is run without a trial only where its default is broken."""
    tried = [state.trial.slot] if state.trial else []
    rest = [] if state.default == RESCUE else [state.default, other(state.default)]
    confirmed = [name for name in SLOTS if state.slot(name).is_confirmed]
    usable = [name for name in dict.fromkeys((*tried, *rest, *confirmed)) if state.slot(name).digest]
    return (*usable, RESCUE)


def untried(state: State) -> State:
    """For the updater: as if the build on trial were not there, also where nothing else is whole."""
    return replace(_with(state, state.trial.slot, Slot()), trial=None) if state.trial else state


def target(state: State, running: str) -> str:
    """The slot that may be written: not the one that runs, and not the default while that is whole. Only where the
    launcher had to leave the default for another slot are these two, and then the default is what is mended."""
    free = [name for name in SLOTS if name not in (running, state.default)]
    return min(free, key=lambda name: state.slot(name).is_confirmed) if free else state.default


# -- what happens -----------------------------------------------------------------------------------------------------


def started(state: State, boot_id: str, now_s: float) -> State:
    """The agent is about to be started. Changes something during a trial only: mains that flicker cost no tries."""
    trial = state.trial
    if trial is None:
        return state
    if trial.tries == 0:
        return rolled_back(state, f"it was started {TRIES} times and was never found healthy")
    since_s = trial.since_s if trial.boot_id == boot_id else now_s
    return replace(state, trial=replace(trial, tries=trial.tries - 1, boot_id=boot_id, since_s=since_s))


def unusable(state: State, slot: str, running: str) -> State:
    """The slot is about to be written; what runs must not be it. No trial is on."""
    assert state.trial is None and slot != running
    default = running if state.default == slot else state.default
    if default in SLOTS and not state.slot(default).is_confirmed:
        default = RESCUE  # what runs is a makeshift, and stays one
    return _with(replace(state, default=default), slot, Slot())


def staged(state: State, slot: str, digest: str) -> State:
    """Everything of the slot is on the disk, has been read back, and is what was signed."""
    assert digest and not state.slot(slot).digest
    return _with(state, slot, Slot(digest))


def activated(state: State, slot: str, was_online: bool) -> State:
    """From its next start on the slot is tried."""
    assert state.trial is None and slot != state.default and state.slot(slot).digest
    return replace(state, trial=Trial(slot, was_online), last=None)


def confirmed(state: State, sequence: int) -> State:
    """What is tried is healthy: it is the default, and nothing with a lower security sequence is taken any more."""
    assert state.trial is not None
    name, digest = state.trial.slot, state.slot(state.trial.slot).digest
    state = _with(state, name, Slot(digest, is_confirmed=True))
    floor = max(state.security_floor, sequence)
    return replace(state, default=name, trial=None, security_floor=floor, last=Ended(name, digest, True, ""))


def rolled_back(state: State, reason: str) -> State:
    """The trial is over: the default runs from the next start on. The build stays where it is, unconfirmed."""
    assert state.trial is not None
    name = state.trial.slot
    return replace(state, trial=None, last=Ended(name, state.slot(name).digest, False, reason[:REASON_MAX]))


def gone_back(state: State, slot: str, reason: str) -> State:
    """By hand, to a build that was confirmed before; it needs no trial."""
    assert state.trial is None and state.slot(slot).is_confirmed
    left = state.default
    digest = state.slot(left).digest if left in SLOTS else ""
    return replace(state, default=slot, last=Ended(left, digest, False, reason[:REASON_MAX]))


def _with(state: State, name: str, slot: Slot) -> State:
    return replace(state, a=slot) if name == "a" else replace(state, b=slot)


# -- its bytes --------------------------------------------------------------------------------------------------------


def encode(state: State) -> bytes:
    """One line of JSON behind its CRC-32, at most FILE_MAX_B."""
    known = {
        "number": state.number,
        "slots": {name: [state.slot(name).digest, state.slot(name).is_confirmed] for name in SLOTS},
        "default": state.default,
        "trial": _row(state.trial),
        "security_floor": state.security_floor,
        "last": _row(state.last),
    }
    line = _line({**state.more, **known})
    return line if len(line) <= FILE_MAX_B else _line(known)


def _line(table: Mapping[str, Any]) -> bytes:
    text = json.dumps(table, sort_keys=True, separators=(",", ":")).encode()
    return b"%08x %s\n" % (crc32(text), text)


def _row(value: Trial | Ended | None) -> list[Any] | None:
    match value:
        case Trial():
            return [value.slot, value.was_online, value.tries, value.boot_id, value.since_s]
        case Ended():
            return [value.slot, value.digest, value.is_confirmed, value.reason]
    return None


def decode(data: bytes) -> State | None:
    """None: torn, or no boot state."""
    text = data[9:-1]
    if len(data) > FILE_MAX_B or data != b"%08x %s\n" % (crc32(text), text):
        return None
    try:
        return _state(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None


def newest(copies: Iterable[bytes]) -> State | None:
    whole = [state for state in map(decode, copies) if state is not None]
    return max(whole, key=lambda state: state.number, default=None)


def _state(table: dict[str, Any]) -> State:
    """KeyError, TypeError, ValueError for what no software of ours has written."""
    rows = table.pop("slots")
    made = State(
        _count(table.pop("number")), _slot(rows["a"]), _slot(rows["b"]),
        _one_of((*SLOTS, RESCUE), table.pop("default")), _trial(table.pop("trial")),
        _count(table.pop("security_floor")), _ended(table.pop("last")), table,
    )  # fmt: skip
    if any(slot.is_confirmed and not slot.digest for slot in (made.a, made.b)):
        raise ValueError("confirmed, but not there")
    if made.default != RESCUE and not made.slot(made.default).is_confirmed:
        raise ValueError("the default was never confirmed")
    if made.trial and (made.trial.slot == made.default or not made.slot(made.trial.slot).digest):
        raise ValueError("a trial of nothing new")
    return made


def _slot(row: Any) -> Slot:
    digest, is_confirmed = row
    return Slot(_digest(digest), _is(is_confirmed))


def _trial(row: Any) -> Trial | None:
    if row is None:
        return None
    slot, was_online, tries, boot_id, since_s = row
    if not isfinite(since_s):
        raise ValueError("not a time")
    return Trial(_one_of(SLOTS, slot), _is(was_online), _count(tries), _text(boot_id), float(since_s))


def _ended(row: Any) -> Ended | None:
    if row is None:
        return None
    slot, digest, is_confirmed, reason = row
    return Ended(_one_of((*SLOTS, RESCUE), slot), _digest(digest), _is(is_confirmed), _text(reason))


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= NUMBER_MAX:
        raise ValueError("not a number")
    return value


def _is(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("neither true nor false")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > REASON_MAX:
        raise ValueError("not a text")
    return value


def _digest(value: Any) -> str:
    if value != "" and (len(_text(value)) != 64 or value.strip("0123456789abcdef")):
        raise ValueError("not a digest")
    return str(value)


def _one_of(names: tuple[str, ...], value: Any) -> str:
    if value not in names:
        raise ValueError("not a slot")
    return str(value)
