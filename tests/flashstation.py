"""A station for the tests of the flash protocol: the real protocol, and an engine that lives in memory. Its disk takes
its time; a power cut loses what the real engine would lose at most."""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

from agent.update import build, cose, keyring, protocol
from agent.update.protocol import Begun, Desk, Device
from agent.update.refusal import Refused
from tools.flashing import keyfiles, packing
from tools.flashing.talk import Talk

APP_FACTS = {"build_time_s": 1, "python": "3.11", "schema": [1, 2], "contract": [1, 0, 3]}
CHIP_FACTS = {"contract": [1, 0, 3], "pins_hash": "12"}


@cache
def root_key() -> keyfiles.FileSigner:
    return keyfiles.new(cose.EDDSA)


@cache
def prod_key() -> keyfiles.FileSigner:
    return keyfiles.new(cose.EDDSA)


@cache
def dev_key() -> keyfiles.FileSigner:
    return keyfiles.new(cose.EDDSA)


@cache
def ring() -> bytes:
    rows = [("prod", cose.EDDSA, prod_key().public), ("dev", cose.EDDSA, dev_key().public)]
    return keyring.seal(keyring.payload(1, rows), root_key())


def made(
    folder: Path, version: str = "2.0.0", *, files: int = 30, seed: int = 1, sequence: int = 1, size_b: int = 8_000,
    platforms: tuple[str, ...] = ("x86_64", "aarch64"), boards: tuple[str, ...] = ("duo_sim",), role: str = "prod",
) -> Path:  # fmt: skip
    """A build's file of random bytes, which deflate does not make smaller."""
    contents = []
    for platform in platforms:
        rng = Random(f"{seed} {platform}")
        content = {f"agent/f{i}.py": (rng.randbytes(rng.randrange(1, 2 * size_b)), False) for i in range(files)}
        contents.append(packing.Content("app", platform, {"version": version, **APP_FACTS}, content))
    for board in boards:
        rom = {"app.rom": (Random(f"{seed} {board}").randbytes(20_000), False)}
        contents.append(packing.Content("controller", board, {"version": version, "board": board, **CHIP_FACTS}, rom))
    unsigned = packing.packed(version, "c" * 40, sequence, contents)
    path = folder / f"station-{version}.build"
    path.write_bytes(packing.sealed(unsigned, ring(), prod_key() if role == "prod" else dev_key()))
    return path


@dataclass
class Slots:
    """What an engine does, without a disk."""

    serial: str = "SA-0001"
    platform: str = "x86_64"
    board: str = "duo_sim"
    is_production: bool = True
    has_session: bool = False
    have: dict[bytes, bytes] = field(default_factory=dict)  # pieces that are on the disk
    head: bytes = b""  # that is on its way
    staged: str = ""
    activated: str = ""
    overrides: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    puts: int = 0
    fails: Callable[[object], None] = lambda job: None  # raises what goes wrong

    def perform(self, job: protocol.Job) -> Any:
        """The job's result; Refused."""
        self.fails(job)
        match job:
            case protocol.Look():
                return self.identity()
            case protocol.Begin(digest, head, is_dry):
                return self.begin(digest, head, is_dry)
            case protocol.Put(piece, stored):
                self.puts += 1
                self.have[piece.digest] = build.unpack(piece, stored)
            case protocol.Finish():
                found = build.load_head(self.head, None)
                if any(piece.digest not in self.have for piece in protocol.numbered(found)):
                    raise Refused("verify", "pieces have not come: go on with resume")
                self.staged = found.version
            case protocol.Activate(when_idle, override):
                if not self.staged:
                    raise Refused("verify", "no build is staged: flash one first")
                if self.has_session and not override:
                    if when_idle:
                        return "waiting"
                    raise Refused("session", "somebody charges at this station: flash with --when-idle, or wait")
                self.activated = self.staged
                self.overrides += [override] if override else []
                return "activated"
            case protocol.RollBack(reason):
                self.log.append(f"rolled back: {reason}")
            case protocol.ReadLog(after):
                return [(i, text) for i, text in enumerate(self.log, 1) if i > after]
            case protocol.Abandon():
                self.head = b""

    def begin(self, digest: bytes, head: bytes | None, is_dry: bool) -> Begun | None:
        found = head or (self.head if sha256(self.head).digest() == digest else None)
        if found is None:
            return None
        opened = build.load_head(found, self.trust())
        if not is_dry:
            self.head = found
        pieces = protocol.numbered(opened)
        wanted = tuple(i for i, piece in enumerate(pieces) if piece.digest not in self.have)
        total_b = sum(piece.size_b for piece in pieces)
        return Begun("b", pieces, wanted, total_b - sum(pieces[i].size_b for i in wanted), total_b)

    def trust(self) -> keyring.Trust:
        return keyring.Trust(root_key().public, ring())

    def identity(self) -> Mapping[str, Any]:
        last = {"build": "", "is_confirmed": True, "reason": ""}
        return {
            "kind": "station", "serial": self.serial, "platform": self.platform, "board": self.board,
            "is_production": self.is_production, "security_floor": 0, "software": "1.0.0", "root": root_key().public,
            "contract": [1, 0, 3], "app_contract": [1, 0, 3],
            "state": {"running": "a", "slots": {}, "last": last, "has_session": self.has_session},
        }  # fmt: skip


class Station:
    """One line of a station, in simulated time: the protocol, and jobs that take `job_s` each."""

    def __init__(
        self, slots: Slots | None = None, desk: Desk | None = None, *, job_s: float = 0.0, **limits: int
    ) -> None:
        self.slots = slots or Slots()
        self.device = Device(desk or Desk(), **limits)
        self.job_s = job_s
        self._working: list[tuple[float, int, protocol.Job]] = []
        self._free_s = self.now = 0.0

    def receive(self, data: bytes, now: float) -> None:
        self.now = now
        self.device.receive(data, now)
        for ticket, job in self.device.jobs():
            self._free_s = max(self._free_s, now) + self.job_s
            self._working.append((self._free_s, ticket, job))
        self._work(now)

    def pull(self, now: float) -> bytes | None:
        self._work(now)
        due = self.device.next_deadline()
        if due is not None and now >= due:
            self.device.tick(now)
        return self.device.pull(now)

    def next_deadline(self) -> float | None:
        due = [each for each in (self.device.next_deadline(), *(at_s for at_s, _, _ in self._working[:1])) if each]
        return min(due, default=None)

    def _work(self, now: float) -> None:
        while self._working and self._working[0][0] <= now:
            _, ticket, job = self._working.pop(0)
            try:
                result = self.slots.perform(job)
            except Refused as refused:
                result = refused
            self.device.done(ticket, result, now)


class Flasher:
    """A flasher's end in simulated time: one conversation after the other."""

    def __init__(self, nonce: bytes = b"12345678") -> None:
        self.talk = Talk(nonce, "tests")
        self.result: Any = None
        self.refused: Refused | None = None
        self.told: list[tuple[str, Mapping[str, Any]]] = []
        self._steps: Generator[None, None, Any] | None = None

    def begin(self, steps: Generator[None, None, Any], now: float = 0.0) -> "Flasher":
        self.talk.now = now
        self.result, self.refused, self._steps = None, None, steps
        self._step()
        return self

    def tell(self, name: str, facts: Mapping[str, Any]) -> None:
        self.told.append((name, facts))

    @property
    def is_done(self) -> bool:
        return self._steps is None

    def receive(self, data: bytes, now: float) -> None:
        self.talk.receive(data, now)
        self._step()

    def pull(self, now: float) -> bytes | None:
        made = self.talk.pull(now)
        if made is None and (due := self.talk.next_deadline()) is not None and now >= due:
            self._step()
            made = self.talk.pull(now)
        return made

    def next_deadline(self) -> float | None:
        return None if self._steps is None else self.talk.next_deadline()

    def _step(self) -> None:
        if self._steps is None:
            return
        try:
            next(self._steps)
        except StopIteration as end:
            self.result, self._steps = end.value, None
        except Refused as refused:
            self.refused, self._steps = refused, None
