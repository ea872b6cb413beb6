"""The slots' story: builds come whole, half and again, are tried, confirmed, taken back, with a newer keyring and a
higher floor; each life of the writer is a boot. And its judge (tests/durable_stories.py).

What must be on the disk is a value, Legal; each step says before it is asked for what it will be afterwards. The judge
starts the station as the launcher does, holds what it finds against these, looks at every byte of what was started, and
flashes the next build.
"""

import json
import os
import random
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import Any
from zlib import crc32

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.update import build, cose, keyring, rules, slots
from agent.update.bootstate import RESCUE, TRIES, other
from agent.update.engine import KEYRING, ROOT_KEY, Engine
from agent.update.launcher import Choice
from agent.update.launcher import pick as launcher_pick
from tests import builds
from tests.durability import Judge, Tree
from tests.durable_store import planted, say
from tools.flashing.keyfiles import FileSigner

STATION = rules.Station("x86_64", "duo_cm4", is_production=True, security_floor=0)
ROOT, PROD = (FileSigner(Ed25519PrivateKey.from_private_bytes(sha256(name).digest())) for name in (b"root", b"prod"))
BEFORE: Tree = {ROOT_KEY: ROOT.public}
COPIES = {"state.0", "state.1"}
TURNS = 6  # of a random life


@cache
def ring(version: int) -> bytes:
    return keyring.seal(keyring.payload(version, [("prod", cose.EDDSA, PROD.public)]), ROOT)


BEFORE[KEYRING] = ring(1)


def truth(number: int) -> dict[str, bytes]:
    """What the build holds, by its path in the slot. Some of it is as in the build before."""
    rng = random.Random(number)
    files = {"tree/same": b"same" * 300, "tree/a/new": rng.randbytes(2_300), "tree/a/version": b"%d" % number}
    more = {"tree/b/c/even": rng.randbytes(700)} if number % 2 == 0 else {"tree/b": b"a file where there is a folder"}
    return {**files, **more, "controller/app.rom": rng.randbytes(600)}


@cache
def whole_file(number: int) -> bytes:
    """The build. Each third has a higher security sequence and a newer keyring."""
    version, content = str(number), truth(number)
    app = builds.app(version=version, files={path[5:]: data for path, data in content.items() if path[:5] == "tree/"})
    rom = builds.firmware(version=version, files={"app.rom": content["controller/app.rom"]})
    how: dict[str, Any] = {"signer": PROD, "keys": ring(1 + number // 3), "sequence": number // 3}
    return builds.build_file(app, rom, version=version, **how)


@cache
def built(number: int) -> tuple[bytes, dict[bytes, bytes]]:
    """Its head, and its pieces as they are stored."""
    data = whole_file(number)
    head = builds.head_of(data, None)
    rest = data[len(head.raw) :]
    return head.raw, {d: rest[at : at + piece.stored_b] for d, (at, piece) in build.pieces_of(head).items()}


@dataclass(frozen=True, slots=True)
class Legal:
    """What the disk says when somebody asks. Builds are numbers; 0 = none, or the rescue tree."""

    default: int = 0
    spare: int = 0  # whole, in the other slot
    tries: int | None = None  # of a trial of what is spare
    floor: int = 0
    ring: int = 1

    def begun(self) -> "Legal":
        return replace(self, spare=0)

    def staged(self, number: int) -> "Legal":
        return replace(self, spare=number)

    def activated(self) -> "Legal":
        return replace(self, tries=TRIES)

    def started(self) -> "Legal":
        return replace(self, tries=self.tries - 1 if self.tries else None)

    def confirmed(self) -> "Legal":
        number = self.spare
        return Legal(number, self.default, None, max(self.floor, number // 3), max(self.ring, 1 + number // 3))

    def rolled_back(self) -> "Legal":
        return replace(self, tries=None)

    def gone_back(self) -> "Legal":
        return replace(self, default=self.spare, spare=self.default)

    @property
    def runs(self) -> int:
        """After started()."""
        return self.default if self.tries is None else self.spare


# -- the writer -------------------------------------------------------------------------------------------------------


class Writer:
    """A boot of the station: launcher, updater, and somebody who flashes. What is in /run is outside of the folder."""

    def __init__(self, folder: Path, boot_id: str) -> None:
        self.folder, self.choice, self.boot_id = folder, folder.with_name(f"{folder.name}.slot"), boot_id
        self.choice.unlink(missing_ok=True)
        self.steps = 0
        self.engine = opened(folder, self.choice)
        self.legal = found(self.engine)
        say(opened=asdict(self.legal))

    def step(self, after: Legal, what: Callable[[], Any]) -> Any:
        self.steps += 1
        say(ask=self.steps, **asdict(after))
        out = what()
        say(done=self.steps)
        self.legal = after
        return out

    def start(self) -> None:
        made: Choice = self.step(self.legal.started(), lambda: pick(self.folder, self.boot_id))
        self.choice.write_text(f"{made.slot} {made.kind} {made.version}\n")
        assert made.version == (str(self.legal.runs) if self.legal.runs else ""), made

    def begin(self, number: int) -> list[bytes]:
        plan = self.step(self.legal.begun(), lambda: self.engine.begin(built(number)[0]))
        assert not plan.held
        return [piece.digest for piece in plan.wanted]

    def send(self, number: int, wanted: Sequence[bytes]) -> None:
        for digest in wanted:
            self.engine.put(digest, built(number)[1][digest])

    def stage(self, number: int) -> None:
        self.send(number, self.begin(number))
        self.finish(number)

    def finish(self, number: int) -> None:
        self.step(self.legal.staged(number), self.engine.finish)

    def abandon(self) -> None:
        self.step(self.legal.begun(), self.engine.abandon)

    def activate(self) -> None:
        self.step(self.legal.activated(), self.engine.activate)

    def confirm(self) -> None:
        self.step(self.legal.confirmed(), self.engine.confirm)

    def roll_back(self) -> None:
        self.step(self.legal.rolled_back(), lambda: self.engine.roll_back("it is no good"))

    def go_back(self) -> None:
        self.step(self.legal.gone_back(), lambda: self.engine.roll_back("the one before was better"))

    def install(self, number: int) -> None:
        self.stage(number)
        self.activate()
        self.start()
        self.confirm()


def pick(folder: Path, boot_id: str) -> Choice:
    """What it says is not for the record."""
    with redirect_stdout(StringIO()):
        return launcher_pick(folder, boot_id, 1.0)


def opened(folder: Path, choice: Path) -> Engine:
    return Engine(folder, STATION, choice=choice, probe=lambda tree: "")


def found(engine: Engine) -> Legal:
    status = engine.status()
    state = status.state
    numbers = {name: int(held.version) if held and held.is_whole else 0 for name, held in status.slots.items()}
    spare = other(state.default) if state.default != RESCUE else state.trial.slot if state.trial else ""
    numbers[""] = max(numbers.values())
    tries = state.trial.tries if state.trial else None
    return Legal(numbers.get(state.default, 0), numbers[spare], tries, state.security_floor, status.keyring_version)


def play_slots(folder: Path, life: int) -> None:
    """Lives 0 and 1 do everything once: two builds that are confirmed and the way back by hand, a flash that is cut off
    and goes on in the next boot, one that is given up, a trial that is taken back, and one with a newer keyring. The
    others do whatever comes."""
    writer = Writer(folder, f"boot {life}")
    try:
        writer.start()
        if life == 0:
            writer.install(1)
            writer.install(2)
            writer.go_back()
            writer.start()
            wanted = writer.begin(3)
            writer.send(3, wanted[: len(wanted) // 2])
        elif life == 1:
            writer.stage(3)
            writer.abandon()
            writer.begin(3)
            writer.finish(3)
            writer.activate()
            writer.start()
            writer.roll_back()
            writer.start()
            writer.install(4)
        else:
            play_random(writer, random.Random(life))
    finally:
        with suppress(FileNotFoundError):
            writer.choice.unlink()
    os._exit(0)  # as the power ends it


def play_random(writer: Writer, rng: random.Random) -> None:
    for _ in range(TURNS):
        legal = writer.legal
        if legal.tries is not None:
            rng.choice((writer.start, writer.start, writer.confirm, writer.roll_back))()
            if writer.legal.tries is None:
                writer.start()
        elif legal.spare > legal.default and rng.random() < 0.7:
            writer.activate()
            writer.start()
        else:
            number = max(legal.default, legal.spare) + 1
            wanted = writer.begin(number)
            if rng.random() < 0.6:
                writer.send(number, wanted)
                writer.finish(number)
            else:
                writer.send(number, wanted[:1])


# -- the judge --------------------------------------------------------------------------------------------------------


def legal_states(said: Sequence[str], before: Legal = Legal()) -> list[Legal]:
    """All that the promises allow, in order."""
    states, first, promised = [before], 0, 0
    for line in said:
        told: dict[str, Any] = json.loads(line)
        match told:
            case {"opened": _}:
                first = len(states) - 1
            case {"ask": _}:
                states.append(Legal(**{name: value for name, value in told.items() if name != "ask"}))
            case {"done": step}:
                promised = first + step
    return states[promised:]


def slots_judge() -> Judge:
    """Worlds that differ in nothing but the log, or in how often it was said that nothing has changed, are one."""
    seen: dict[bytes, str] = {}

    def judge(files: Tree, said: Sequence[str]) -> str:
        rest = sorted((name, data or b"") for name, data in files.items() if name != "log")
        key = sha256(repr((rest, sorted(map(repr, legal_states(said))))).encode()).digest()
        if key not in seen:
            seen[key] = judged(files, legal_states(said), is_chosen(files))
        return seen[key]

    return judge


def is_chosen(files: Tree) -> bool:
    """To be judged thoroughly, which takes most of the time: every third disk, all of them in the long run."""
    return "STATION_LONG" in os.environ or crc32(b"".join(filter(None, files.values()))) % 3 == 0


def judged(files: Tree, legal: Sequence[Legal], is_thorough: bool) -> str:
    with planted(files) as folder:
        choice = folder.with_name(f"{folder.name}.slot")
        try:
            made = pick(folder, "another boot")
            choice.write_text(f"{made.slot} {made.kind} {made.version}\n")
            if found := wrong(folder, choice, made, legal, is_thorough):
                return "; ".join(found)
        finally:
            choice.unlink(missing_ok=True)
    if not is_thorough:
        return ""
    with planted({path: data for path, data in files.items() if path not in COPIES}) as folder:
        return without_state(folder, legal)


def without_state(folder: Path, legal: Sequence[Legal]) -> str:
    """A disk that has lost both copies of the boot state as well: what was confirmed last runs, whole, and no trial."""
    made = pick(folder, "another boot")
    number = int(made.version or 0)
    if all(each.default for each in legal) and (made.is_trial or number not in {each.default for each in legal}):
        return f"without a boot state {made} is started"
    return differs(folder / made.slot, number) if number else ""


def wrong(folder: Path, choice: Path, made: Choice, legal: Sequence[Legal], is_thorough: bool) -> list[str]:
    """`is_thorough`: the next build is flashed, too."""
    engine = opened(folder, choice)
    is_now, number = found(engine), int(made.version or 0)
    may = [each.started() for each in legal]
    out = []
    if is_now not in may:
        out.append(f"{is_now} and not {may[0]}")
    if number != is_now.runs:
        out.append(f"{number} was started and not {is_now.runs}")
    if number and (said := differs(folder / made.slot, number)):
        out.append(said)
    if is_now.spare and (said := spare_fails(engine, folder, is_now.spare)):
        out.append(said)
    return goes_on(engine, folder, is_now) if is_thorough and not out else out


def differs(slot: Path, number: int) -> str:
    there = {path: (slot / path).read_bytes() for path in slots.found(slot)}
    strange = sorted(path for path, data in (there.items() ^ truth(number).items()))
    return f"build {number} has another {strange[0]}" if strange else ""


def spare_fails(engine: Engine, folder: Path, number: int) -> str:
    """What the boot state calls whole is whole, though nobody starts it now."""
    status = engine.status()
    name = next(name for name, held in status.slots.items() if held and held.is_whole and held.version == str(number))
    return differs(folder / name, number)


def goes_on(engine: Engine, folder: Path, is_now: Legal) -> list[str]:
    """The trial is ended, and the next build is flashed, tried and confirmed, whatever has come of it already."""
    if is_now.tries is not None:
        engine.confirm()
    number = max(is_now.default, is_now.spare) + 1
    plan = engine.begin(built(number)[0])
    for piece in plan.wanted:
        engine.put(piece.digest, built(number)[1][piece.digest])
    if not plan.held:
        engine.finish()
    slot = engine.activate()
    if (made := pick(folder, "the next boot")) != Choice(slot, True, str(number)):
        return [f"the next build is not tried: {made}"]
    engine.confirm()
    engine.close()
    if (made := pick(folder, "the boot after")) != Choice(slot, False, str(number)):
        return [f"the next build is not confirmed: {made}"]
    return [said] if (said := differs(folder / slot, number)) else []
