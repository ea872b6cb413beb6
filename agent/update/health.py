"""Whether a build on trial is well: what the running agent tells of itself, and what follows from that. Pure.

The agent writes its facts into a file in /run every few seconds (agent/vitals.py), the updater reads it. A file asks
nothing of either end: an agent that crashes leaves an old one, one of another version a file with more or less in it.
"""

import json
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

from agent.update.bootstate import Trial

FACTS_MAX_B = 4_096
FRESH_S = 15.0  # older facts are those of an agent that hangs, or is away
SETTLED_S = 60.0  # so long one run of the agent must have been up: one that dies in its first minute is not well
PATIENCE_S = 600.0  # not well by then: the build before comes back
OFFLINE_GRACE_S = 900.0  # where the build before had no broker either, for its broker; what else there is must be well
NO_BROKER = "the broker is not reached"


@dataclass(frozen=True, slots=True)
class Facts:
    """Of one run of the agent. Times are seconds since Linux booted."""

    began_s: float
    at_s: float  # when this was written, by a turn of the agent's loop
    controller: bool = False  # every port is heard, and the contract holds
    meter: bool = False  # no meter speaks against itself, or is silent
    store: bool = False  # the database takes records
    broker: bool = False  # the cloud has answered in this run
    has_session: bool = False  # somebody charges, or may start at any moment: not now, if nobody must be disturbed
    schema: int = 0  # what the database asks of the software that opens it (agent/outbox.py)
    contract: tuple[int, int, int] | None = None  # of the controller's firmware


def dump(facts: Facts) -> bytes:
    return json.dumps(asdict(facts)).encode()


def load(data: bytes) -> Facts | None:
    """None: nothing that an agent of ours has written. What this software does not know is left out."""
    try:
        table = json.loads(data) if len(data) <= FACTS_MAX_B else None
        return _facts(table) if isinstance(table, dict) else None
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def _facts(table: dict[str, Any]) -> Facts:
    times = float(table["began_s"]), float(table["at_s"])
    if not all(map(isfinite, times)):
        raise ValueError("no time")
    contract = table.get("contract")
    return Facts(
        *times,
        controller=table.get("controller") is True, meter=table.get("meter") is True, store=table.get("store") is True,
        broker=table.get("broker") is True,
        has_session=table.get("has_session") is not False,  # whoever does not say so may have one
        schema=int(table.get("schema", 0)), contract=None if contract is None else _contract(*contract),
    )  # fmt: skip


def _contract(major: int, first: int, last: int) -> tuple[int, int, int]:
    return int(major), int(first), int(last)


def is_fresh(facts: Facts, now_s: float) -> bool:
    return now_s - FRESH_S <= facts.at_s <= now_s + FRESH_S


def lacks(facts: Facts | None, trial: Trial, now_s: float) -> str:
    """What is not well, in a few words; "" = all is. `trial` has been started in this boot, at trial.since_s."""
    if facts is None or not is_fresh(facts, now_s) or facts.began_s < trial.since_s:
        return "the agent does not run"
    if now_s - facts.began_s < SETTLED_S:
        return "the agent does not stay up"
    wrong = {
        "the controller is not heard": not facts.controller,
        "a meter's readings cannot be": not facts.meter,
        "the database takes no records": not facts.store,
    }
    if found := [what for what, is_so in wrong.items() if is_so]:
        return found[0]
    if not facts.broker and (trial.was_online or now_s - trial.since_s < OFFLINE_GRACE_S):
        return NO_BROKER
    return ""


@dataclass(frozen=True, slots=True)
class Verdict:
    is_healthy: bool
    reason: str = ""


def verdict(facts: Facts | None, trial: Trial, boot_id: str, now_s: float) -> Verdict | None:
    """None: not yet. A trial that was not started in this boot waits for its start."""
    if trial.boot_id != boot_id:
        return None
    why = lacks(facts, trial, now_s)
    if not why:
        return Verdict(is_healthy=True)
    if now_s - trial.since_s < PATIENCE_S or (why == NO_BROKER and not trial.was_online):
        return None
    return Verdict(False, f"{why}, {PATIENCE_S:.0f} s after its start")
