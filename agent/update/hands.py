"""Does what a flasher has asked for (agent/update/protocol.py), with the engine. On one thread at a time.

An activation that waits for a session's end is a file, so that it survives this process.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any

from agent.files import put
from agent.update import build, facts, protocol
from agent.update.bootstate import SLOTS
from agent.update.engine import Engine, Held, Plan
from agent.update.protocol import Begun, Desk
from agent.update.refusal import Refused
from agent.update.slots import Writer

WAITING = "waiting"
STARTING = "starting"  # instead of a slot's name: the launcher looks at the slots just now
NAME_B = 8  # of a build's digest, to tell builds apart in a status
TEXT_MAX_B, REASON_MAX_B, COMMIT_B = 64, 120, 12  # an identity is one frame


class Hands:
    """`restart(how, why)`: the agent is to end, so that systemd starts what the launcher chooses; `how` is "idle" (when
    nobody charges) or "resume" (sessions go on after it). `provision`: who does it, if anybody."""

    def __init__(
        self,
        engine: Engine,
        where: facts.Where,
        *,
        restart: Callable[[str, str], None] = lambda how, why: None,
        provision: Callable[[bytes], Mapping[str, Any]] | None = None,
        staged: Callable[[], None] = lambda: None,
    ) -> None:
        self.engine, self.where = engine, where
        self._restart, self._provision, self._staged = restart, provision, staged
        self._waiting = engine.root / WAITING

    def perform(self, job: protocol.Job, desk: Desk) -> Any:
        """What the job is said to give. Refused; nothing else, whatever the world does."""
        self.engine.station = facts.station(self.where)
        try:
            return self._perform(job, desk)
        except OSError as error:
            what = f"the station's disk failed ({error.strerror}): free room or replace it, then flash.py resume"
            raise Refused("storage", what) from None

    def _perform(self, job: protocol.Job, desk: Desk) -> Any:
        match job:
            case protocol.Look():
                return self.identity(desk)
            case protocol.Begin():
                return self.begin(job)
            case protocol.Put(piece, stored):
                self.engine.put(piece.digest, stored)
            case protocol.Finish():
                self.engine.finish()
                self._staged()
            case protocol.Activate():
                return self.activate(job)
            case protocol.RollBack(reason):
                self._forget_waiting()
                self.engine.roll_back(f"by hand: {reason}", self._schema())
                self._restart("resume", "a rollback by hand")
            case protocol.Abandon():
                self._forget_waiting()
                self.engine.abandon()
            case protocol.ReadLog(after):
                return list(self.log(after))
            case protocol.Provision(document):
                if self._provision is None:
                    raise Refused("usage", "this station is not provisioned by flash.py: see docs/identity.md")
                return self._provision(document)

    # -- a build

    def begin(self, job: protocol.Begin) -> Begun | None:
        head = job.head or self._remembered(job.digest)
        if head is None:
            return None
        plan: Plan = self.engine.look(head) if job.is_dry else self.engine.begin(head)
        pieces = protocol.numbered(build.load_head(head, self.engine.trust()))
        wanted = {piece.digest for piece in plan.wanted}
        numbers = tuple(number for number, piece in enumerate(pieces) if piece.digest in wanted)
        if not job.is_dry:
            self._forget_waiting()
        return Begun(plan.slot, pieces, numbers, plan.have_b, plan.total_b, plan.held)

    def _remembered(self, digest: bytes) -> bytes | None:
        """The head that a slot holds, whole or on its way."""
        heads = (Writer(self.engine.root / name).head() for name in SLOTS)
        return next((head for head in heads if head and sha256(head).digest() == digest), None)

    def activate(self, job: protocol.Activate) -> str:
        waived = ("session", "interlock") if job.override else ()
        try:
            self.engine.activate(was_online=self._is_online(), waived=waived, reason=job.override)
        except Refused as refused:
            if refused.code in ("session", "interlock") and job.when_idle:
                said = {"why": refused.sentence, "digest": self.engine.tryable}
                put(self._waiting, json.dumps(said).encode())
                return "waiting"
            raise
        self._forget_waiting()
        self._restart("resume" if job.override else "idle", "a build is to be tried")
        return "activated"

    def has_watch(self) -> bool:
        """Whether there is anything that watch() would look at."""
        return self._waiting.exists() or self.engine.state.trial is not None

    def watch(self, now: float) -> None:
        """Judges a trial; begins the one that waits, once nobody charges. `now`: since Linux booted."""
        self.engine.station = facts.station(self.where)
        try:
            verdict = self.engine.watch(facts.vitals(self.where), now)
            if verdict is not None and not verdict.is_healthy:
                self._restart("resume", verdict.reason)
            if self._waiting.exists() and self.engine.state.trial is None:
                if self._waits_for() == self.engine.tryable:
                    self.activate(protocol.Activate(when_idle=True, override=""))
                else:  # the air has brought it to its trial meanwhile: what could be tried now is the build before
                    self._forget_waiting()
        except Refused as refused:
            self._forget_waiting()
            print(f"no trial: {refused.sentence}", flush=True)
        except OSError as error:
            print(f"the trial is not judged: {error}", flush=True)

    def _waits_for(self) -> str:
        """Digest of the list of the build that waits; "" = it cannot be read."""
        try:
            return str(json.loads(self._waiting.read_bytes())["digest"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def _forget_waiting(self) -> None:
        self._waiting.unlink(missing_ok=True)

    # -- what is

    def identity(self, desk: Desk) -> Mapping[str, Any]:
        station, status = self.engine.station, self.engine.status()
        running = status.slots.get(status.running)
        trust = self.engine.trust()
        return {
            "kind": "station", "serial": _cut(facts.serial_number(self.where), facts.SERIAL_MAX),
            "platform": station.platform, "board": _cut(station.board, TEXT_MAX_B),
            "is_production": station.is_production, "security_floor": status.state.security_floor,
            "software": _cut(running.version, TEXT_MAX_B) if running else "",
            "root": trust.root or b"", "keyring": trust.version,
            "contract": station.contract, "app_contract": self.engine.app_contract,
            "needs_controller": station.needs_controller,
            "state": self.state(desk),
        }  # fmt: skip

    def state(self, desk: Desk) -> Mapping[str, Any]:
        status = self.engine.status()
        state, last = status.state, status.state.last
        return {
            "running": STARTING if status.is_picking else status.running,
            "is_trial": status.is_trial,
            "slots": {name: _slot(held) for name, held in status.slots.items()},
            "default": state.default,
            "trial": {"slot": state.trial.slot, "tries": state.trial.tries} if state.trial else None,
            "last": {
                "slot": last.slot, "build": _build_of(status.slots, last.slot), "is_confirmed": last.is_confirmed,
                "reason": _cut(last.reason, REASON_MAX_B),
            } if last else None,
            "missing_b": status.missing_b,
            "waiting": self._waiting.exists(),
            "has_session": self.engine.station.has_session,
            "agent": facts.vitals(self.where) is not None,
            "is_busy": desk.holder is not None,
        }  # fmt: skip

    def log(self, after: int) -> Sequence[tuple[int, str]]:
        lines = list(enumerate(self.engine.log_lines(), 1))
        return [(number, json.dumps(entry)) for number, entry in lines if number > after]

    def _schema(self) -> int:
        found = facts.vitals(self.where)
        return found.schema if found else 0

    def _is_online(self) -> bool:
        found = facts.vitals(self.where)
        return bool(found and found.broker)


def _slot(held: Held | None) -> Mapping[str, Any] | None:
    if held is None:
        return None
    return {
        "build": held.build[:NAME_B].hex(), "version": _cut(held.version, TEXT_MAX_B),
        "commit": _cut(held.commit, COMMIT_B), "sequence": held.security_sequence,
        "is_confirmed": held.is_confirmed, "is_whole": held.is_whole,
    }  # fmt: skip


def _build_of(slots: Mapping[str, Held | None], name: str) -> str:
    held = slots.get(name)
    return held.build[:NAME_B].hex() if held else ""


def _cut(text: str, most_b: int) -> str:
    return text.encode()[:most_b].decode("utf-8", "ignore")
