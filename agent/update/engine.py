"""A build's way into the spare slot, its trial, and the way back: what the updater does to the disk.

    begin    the head, signature first; the spare slot is unusable from here on. What it holds already, and what the
             running slot can give, is not asked for again
    put      one piece, verified before it is written; in any order, also again
    finish   all of it is synced, read back and hashed; then the boot state says that the slot is staged
    activate the next start of the agent is the first of a trial; judged by watch(), ended by confirm() or roll_back()

Each may be cut off anywhere: begin() with the same head goes on from what is on the disk. The boot state is read anew
for each step, since the launcher changes it, too. Refused, with a sentence, for everything that the world does wrong.
"""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from agent.files import DISK, SHARED, Files, put
from agent.update import bootstate, build, health, rules, slots, statefile
from agent.update.bootstate import SLOTS, State, Trial
from agent.update.index import Index, Piece
from agent.update.keyring import Trust
from agent.update.launcher import CHOICE, is_picking, read_choice, rebuilt
from agent.update.refusal import Refused

SYNC_B = 4 << 20  # written since the last sync: what a power cut may cost; who has a clock calls sync(), too
ROOM_B = 8 << 20  # that stay free
PROBE_S = 60.0
LOG_MAX_B = 262_144  # then the older half goes
RESTART = Path("/run/station-update/restart")  # board/systemd/station-restart.path watches it
LOG, LOCK, KEYRING, ROOT_KEY = "log", "lock", "keyring", "root.pub"
STAGING = frozenset({"session", "interlock"})  # nobody is disturbed by what is written into the spare slot


@dataclass(frozen=True, slots=True)
class Plan:
    """What a build still needs to be staged."""

    build: bytes  # digest of its manifest
    slot: str  # where it goes, or is
    held: str  # "running", "staged": it is there already; "": it is not, and finish() is due when nothing is wanted
    wanted: tuple[Piece, ...]  # in the order of the index
    have_b: int  # bytes of its files that are there, or need not be sent
    total_b: int


@dataclass(frozen=True, slots=True)
class Held:
    """What a slot holds, whole; or, if `is_whole` is False, what is on its way there."""

    build: bytes
    version: str
    commit: str
    security_sequence: int
    schema: int  # the newest database that it can open
    is_confirmed: bool
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Status:
    running: str  # a, b or rescue, as the launcher has chosen it
    is_trial: bool  # what runs is on trial
    state: State
    slots: Mapping[str, Held | None]
    missing_b: int | None  # of the build that is on its way, unpacked; None: none is
    keyring_version: int
    is_picking: bool = False  # the launcher looks at the slots just now: what runs next is not known yet


@dataclass(slots=True)
class Staging:
    head: build.Head
    slot: str
    writer: slots.Writer
    files: dict[str, tuple[bool, tuple[Piece, ...]]]  # path in the slot -> is_executable, its pieces
    wanted: dict[bytes, Piece] = field(default_factory=dict)
    places: dict[bytes, list[tuple[str, int]]] = field(default_factory=dict)  # of what is wanted: path, offset
    unsynced_b: int = 0

    @property
    def total_b(self) -> int:
        return sum(piece.size_b for _, pieces in self.files.values() for piece in pieces)

    @property
    def missing_b(self) -> int:
        return sum(self.wanted[digest].size_b * len(places) for digest, places in self.places.items())

    def want(self, path: str, offset_b: int, piece: Piece) -> None:
        self.wanted[piece.digest] = piece
        self.places.setdefault(piece.digest, []).append((path, offset_b))


def updater_fails(tree: Path) -> str:
    """What the updater of this tree dies of; "" if it can be started. A build that could not be replaced by another is
    not confirmed, however well it charges."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONSAFEPATH": "1", "PYTHONNOUSERSITE": "1"}
    command = [sys.executable, "-B", "-c", "import agent.update.service"]
    try:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PROBE_S,
            check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1] if done.returncode else ""


class Engine:
    """One in a process, one thread. `station`: what the slots know of it is theirs to say, whatever it says here."""

    def __init__(
        self, root: Path, station: rules.Station, files: Files = DISK, *, choice: Path = CHOICE,
        clock: Callable[[], float | None] = lambda: None, boot_id: str = "",
        probe: Callable[[Path], str] = updater_fails,
    ) -> None:  # fmt: skip
        """`clock`: seconds since 1970 for the log, if they are known; `probe`: what is wrong with the updater in a
        slot's tree. A boot state that was lost is made anew. OSError."""
        self.root, self.station, self._files, self._choice = root, station, files, choice
        self._clock, self._boot_id, self._probe = clock, boot_id, probe
        self._staging: Staging | None = None
        self._lock: int | None = None
        self._heads: dict[tuple[str, bytes], build.Head] = {}  # slot, SHA-256 of the file -> as it stands there
        with statefile.locked(root):
            if statefile.load(root) is None:
                statefile.save(root, rebuilt(root), files)
        with suppress(OSError):  # a full disk ends no updater: the old keyring is good enough until the next start
            self._settle_keyring()

    def close(self) -> None:
        """As the end of the process: what is on its way stays on the disk."""
        self._forget_staging()

    # -- what is

    @property
    def state(self) -> State:
        state = statefile.load(self.root)
        assert state is not None, "it was there when we began"
        return state

    @property
    def running(self) -> str:
        return read_choice(self._choice).slot

    @property
    def app_contract(self) -> rules.Contract | None:
        """Of the app that comes back where a trial fails: new firmware must understand it, too."""
        default = self.state.default
        head = self._head(default) if default in SLOTS else None
        return rules.contract_of(head, (build.APP, self.station.platform)) if head else None

    @property
    def tryable(self) -> str:
        """Digest of the list of what activate() would try; "" = there is nothing."""
        try:
            state = self.state
            return state.slot(self._tryable(state)).digest
        except Refused:
            return ""

    def status(self) -> Status:
        state, choice = self.state, read_choice(self._choice)
        missing_b = self._staging.missing_b if self._staging else None
        held = {name: self._held(state, name) for name in SLOTS}
        picking, ring = is_picking(self._choice), self.trust().version
        return Status(choice.slot, choice.is_trial, state, held, missing_b, ring, picking)

    def trust(self) -> Trust:
        """Nobody is believed where the root key is missing, or none."""
        try:
            return Trust(self._bytes(ROOT_KEY) or None, self._bytes(KEYRING))
        except ValueError:
            return Trust(None, None)

    def log_lines(self) -> list[dict[str, Any]]:
        """Oldest first; lines that a cut has torn are left out."""
        return [entry for line in self._bytes(LOG).splitlines() if (entry := _entry(line)) is not None]

    def _held(self, state: State, name: str) -> Held | None:
        head = self._head(name)
        if head is None:
            return None
        slot = state.slot(name)
        app = head.components.get((build.APP, self.station.platform))
        return Held(
            head.digest, head.version, head.commit, head.security_sequence, schema_of(app), slot.is_confirmed,
            bool(slot.digest),
        )  # fmt: skip

    def _head(self, name: str) -> build.Head | None:
        """As it stands in the slot; verified when it came, and again before it is tried."""
        data = slots.Writer(self.root / name).head()
        key = name, sha256(data).digest()
        if data and key not in self._heads:
            try:
                self._heads[key] = build.load_head(data, None)
            except Refused:
                return None
        return self._heads.get(key)

    def _bytes(self, name: str) -> bytes:
        try:
            return (self.root / name).read_bytes()
        except OSError:
            return b""

    # -- a build comes

    def begin(self, head_bytes: bytes) -> Plan:
        """Refused: nothing has changed. The same head again goes on with what is there."""
        head, held = self._asked_for(head_bytes)
        if held:
            return held
        state, running = self.state, self.running
        try:
            with self._disk():
                self._take_lock()
                self._prepare(head, bootstate.target(state, running), running)
        finally:
            if self._staging is None:
                self._give_up_lock()
        staging = self._on_its_way()
        total_b, missing_b = staging.total_b, staging.missing_b
        self._log("begin", build=head.digest.hex(), version=head.version, slot=staging.slot, missing_b=missing_b)
        return Plan(head.digest, staging.slot, "", tuple(staging.wanted.values()), total_b - missing_b, total_b)

    def look(self, head_bytes: bytes) -> Plan:
        """What begin() would say of this head; nothing is changed. Refused."""
        head, held = self._asked_for(head_bytes)
        if held:
            return held
        state, running = self.state, self.running
        name = bootstate.target(state, running)
        staging = Staging(head, name, slots.Writer(self.root / name, self._files), wanted_files(head, self.station))
        self._check_room(staging)
        survey(staging)
        for digest, _ in self._shared(staging, running):
            staging.wanted.pop(digest, None)
            staging.places.pop(digest, None)
        have_b = staging.total_b - staging.missing_b
        return Plan(head.digest, name, "", tuple(staging.wanted.values()), have_b, staging.total_b)

    def _asked_for(self, head_bytes: bytes) -> tuple[build.Head, Plan | None]:
        """The head, verified and judged, and the plan where its build is here already. Refused, also where no build may
        come just now."""
        head = build.load_head(head_bytes, self.trust())
        self._judge(head, waived=STAGING)
        state = self.state
        held = self._is_here(state, head)
        if held is None:
            self._must_be_settled(state, self.running)
        return head, held

    def _must_be_settled(self, state: State, running: str) -> None:
        if state.trial is not None:
            raise Refused("busy", f"slot {state.trial.slot} is on trial: wait until it is confirmed, or roll it back")
        is_other = state.default in SLOTS and running in SLOTS and running != state.default
        if is_other and self._is_whole(state, state.default):
            raise Refused("busy", f"the next start runs slot {state.default} again: have the agent started anew first")

    def _prepare(self, head: build.Head, name: str, running: str) -> None:
        staging = Staging(head, name, slots.Writer(self.root / name, self._files), wanted_files(head, self.station))
        self._check_room(staging)
        self._staging = None
        self._change(lambda state: bootstate.unusable(state, name, running))
        staging.writer.begin(head.raw, {path: (_size_b(row), row[0]) for path, row in staging.files.items()})
        survey(staging)
        self._copy(staging, running)
        self._staging = staging

    def put(self, digest: bytes, stored: bytes) -> None:
        """A piece as the build has stored it. One that is not wanted, or not any more, changes nothing."""
        staging = self._on_its_way()
        piece = staging.wanted.get(digest)
        if piece is None:
            return
        data = build.unpack(piece, stored)
        with self._disk():
            for path, offset_b in staging.places[digest]:
                staging.writer.write(path, offset_b, data)
                staging.unsynced_b += len(data)
            del staging.wanted[digest], staging.places[digest]
        if staging.unsynced_b >= SYNC_B:
            self.sync()

    def sync(self) -> None:
        """What was put so far need hardly be sent again after a power cut."""
        if (staging := self._staging) is not None and staging.unsynced_b:
            with self._disk():
                staging.writer.sync_written()
            staging.unsynced_b = 0

    def finish(self) -> str:
        """The slot that holds the build now, whole. Pieces that do not read back as they should are wanted again."""
        staging = self._on_its_way()
        if staging.wanted:
            raise Refused("verify", f"{len(staging.wanted)} pieces have not come: go on with flash.py resume")
        with self._disk():
            staging.writer.sync()
            listed = read_back(staging)
            if staging.wanted:
                raise Refused(
                    "verify", f"{len(staging.wanted)} pieces read back as something else: go on with flash.py resume,"
                    " and replace the disk if it comes again",
                )  # fmt: skip
            digest = staging.writer.end(staging.head.version, listed)
            self._change(lambda state: bootstate.staged(state, staging.slot, digest))
        self._forget_staging()
        self._log("staged", build=staging.head.digest.hex(), version=staging.head.version, slot=staging.slot)
        return staging.slot

    def abandon(self) -> None:
        """The build that is on its way, or staged and not yet tried, is given up. What has come of it stays for the
        next one."""
        state, running = self.state, self.running
        for name in SLOTS:
            slot = state.slot(name)
            if slot.digest and not slot.is_confirmed and state.trial is None and name != running:
                with self._disk():
                    self._change(lambda state, name=name: bootstate.unusable(state, name, running))  # type: ignore[misc]
        self._forget_staging()
        self._log("abandoned")

    def _is_here(self, state: State, head: build.Head) -> Plan | None:
        for name in SLOTS:
            held = self._held(state, name)
            if held and held.is_whole and held.build == head.digest and self._is_whole(state, name):
                total_b = sum(map(_size_b, wanted_files(head, self.station).values()))
                where = "running" if name == self.running else "staged"
                return Plan(head.digest, name, where, (), total_b, total_b)
        return None

    def _is_whole(self, state: State, name: str) -> bool:
        """By its files, not by what was once written down: a disk that has gone bad is mended by another flash."""
        try:
            slots.checked(self.root / name, state.slot(name).digest)
        except (OSError, slots.Damaged):
            return False
        return True

    def _check_room(self, staging: Staging) -> None:
        """Before anything is touched: a build that does not fit must cost no slot."""
        slot = staging.writer.slot
        there_b = sum(_there_b(slot / path) for path in slots.found(slot))
        disk = os.statvfs(self.root)
        free_b = disk.f_bavail * disk.f_frsize + there_b - ROOM_B
        if free_b < staging.total_b:
            need = (staging.total_b - free_b) // 1_000_000 + 1
            raise Refused("storage", f"the disk has too little room: free {need} MB in {self.root}")

    def _copy(self, staging: Staging, running: str) -> None:
        """What the slot that runs holds, too: a difference is all that must be sent."""
        for digest, data in self._shared(staging, running):
            for place, offset_b in staging.places.pop(digest, ()):
                staging.writer.write(place, offset_b, data)
            staging.wanted.pop(digest, None)

    def _shared(self, staging: Staging, running: str) -> Iterator[tuple[bytes, bytes]]:
        """Digest and bytes of the pieces that are wanted and lie in the slot that runs."""
        head = self._head(running) if running in SLOTS else None
        for path, (_, pieces) in (wanted_files(head, self.station) if head else {}).items():
            if not any(piece.digest in staging.wanted for piece in pieces):
                continue
            for piece, data in zip(pieces, there(self.root / running / path, pieces), strict=True):
                if piece.digest in staging.wanted and sha256(data).digest() == piece.digest:
                    yield piece.digest, data

    # -- its trial

    def activate(self, *, was_online: bool = False, waived: Collection[str] = (), reason: str = "") -> str:
        """The slot that the next start of the agent tries. All rules are asked again: keys, role and floor may be
        others than when it was staged. `waived`, with a `reason` for the log: see rules.WAIVABLE."""
        state = self.state
        if state.trial is not None:
            raise Refused("busy", f"slot {state.trial.slot} is on trial: wait until it is confirmed, or roll it back")
        name = self._tryable(state)
        head = build.load_head(slots.Writer(self.root / name).head(), self.trust())
        self._judge(head, waived)
        with self._disk():
            self._change(lambda state: bootstate.activated(state, name, was_online))
        self._log("activated", slot=name, version=head.version, waived=sorted(waived), reason=reason)
        return name

    def _tryable(self, state: State) -> str:
        """Never the default; a new one before one that ran before, and before one that runs by makeshift."""
        free = [name for name in SLOTS if state.slot(name).digest and name != state.default]
        for name in sorted(free, key=lambda name: (state.slot(name).is_confirmed, name == self.running)):
            return name
        raise Refused("verify", "no build is staged: flash one first")

    def watch(self, facts: health.Facts | None, now_s: float) -> health.Verdict | None:
        """Judges a trial, and ends it where there is a verdict: then whoever asked has the agent started anew if it was
        rolled back. `now_s`: since Linux booted."""
        trial = self.state.trial
        if trial is None:
            return None
        choice = read_choice(self._choice)
        if (choice.slot, choice.is_trial) != (trial.slot, True):
            facts = None  # of another build: the launcher could not start the one on trial
        verdict = health.verdict(facts, trial, self._boot_id, now_s)
        if verdict is None:
            return None
        if verdict.is_healthy and (wrong := self._probe(self.root / trial.slot / "tree")):
            verdict = health.Verdict(False, f"its updater does not start: {wrong}")
        if verdict.is_healthy:
            self.confirm()
        else:
            self.roll_back(verdict.reason)
        return verdict

    def confirm(self) -> None:
        """The build on trial is the default from now on, and its security sequence the floor."""
        trial = self._trial()
        head = self._head(trial.slot)
        if head is None:
            raise Refused("verify", f"the head of slot {trial.slot} cannot be read: roll it back and flash again")
        state, sequence = self.state, head.security_sequence
        with self._disk():
            self._mark(state, trial.slot, max(state.security_floor, sequence))
            self._change(lambda state: bootstate.confirmed(state, sequence))
            self._settle_keyring()
        self._log("confirmed", slot=trial.slot, version=head.version, security_floor=self.state.security_floor)

    def roll_back(self, reason: str, schema: int = 0) -> str:
        """The slot that the next start of the agent runs. Without a trial: the build that was confirmed before, if it
        may be run; `schema` is what the database asks for by now (health.Facts)."""
        state = self.state
        if state.trial is None:
            return self._go_back(state, reason, schema)
        with self._disk():
            self._change(lambda state: bootstate.rolled_back(state, reason) if state.trial else state)
        self._log("rolled back", slot=state.trial.slot, reason=reason)
        return state.default

    def _go_back(self, state: State, reason: str, schema: int) -> str:
        name = bootstate.other(state.default)
        held = self._held(state, name) if state.default in SLOTS else None
        if held is None or not (held.is_whole and held.is_confirmed):
            raise Refused("verify", "there is no earlier build to go back to: flash the one that you want")
        self._judge(build.load_head(slots.Writer(self.root / name).head(), self.trust()), waived=STAGING)
        if held.schema < schema:
            raise Refused(
                "wrong-device", f"the database has become one that {held.version} cannot open: flash a newer build"
            )
        with self._disk():
            self._mark(state, name, state.security_floor)
            self._change(lambda state: bootstate.gone_back(state, name, reason))
        self._log("went back", slot=name, version=held.version, reason=reason)
        return name

    def _trial(self) -> Trial:
        trial = self.state.trial
        if trial is None:
            raise Refused("verify", "no build is on trial: look at flash.py status")
        return trial

    # -- hands

    def _judge(self, head: build.Head, waived: Collection[str]) -> None:
        floor, app_contract = self.state.security_floor, self.app_contract
        station = replace(self.station, security_floor=floor, app_contract=app_contract)
        if refused := rules.refusal(head, station, waived):
            raise refused

    def _on_its_way(self) -> Staging:
        if self._staging is None:
            raise Refused("usage", "no build is on its way here: begin with its head")
        return self._staging

    def _forget_staging(self) -> None:
        self._staging = None
        self._give_up_lock()

    def _give_up_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _take_lock(self) -> None:
        """One flasher at a time, also among processes; it ends with this one."""
        if self._lock is not None:
            return
        fd = os.open(self.root / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise Refused("busy", "another flasher is at work on this station: wait for it to end") from None
        self._lock = fd

    def _mark(self, state: State, name: str, floor: int) -> None:
        """Before the boot state says so: if that is lost, this slot is the default."""
        slots.mark(self.root / name, state.number + 1, floor, state.slot(name).digest, self._files)

    def _change(self, changed: Callable[[State], State]) -> None:
        statefile.change(self.root, changed, self._files)

    @contextmanager
    def _disk(self) -> Iterator[None]:
        """What the disk refuses is nobody's bug. The slot stays unusable, and the flash can go on."""
        try:
            yield
        except OSError as error:
            what = f"the station's disk failed ({error.strerror}): free room or replace it, then flash.py resume"
            raise Refused("storage", what) from None

    def _settle_keyring(self) -> None:
        """A newer keyring that came with the build that is confirmed replaces ours. Derived from the boot state, so
        that a cut in between changes nothing. OSError."""
        default = self.state.default
        head = self._head(default) if default in SLOTS else None
        if head is None:
            return
        trust = self.trust()
        try:
            newer = trust.renewed(head.keyring)
        except Refused:
            return
        if newer.version > trust.version:
            put(self.root / KEYRING, newer.keyring, files=self._files, mode=SHARED)

    def _log(self, event: str, **facts: Any) -> None:
        """A line; the log never stands in the way of what it tells about."""
        line = json.dumps({"at_s": self._clock(), "event": event, **facts}).encode() + b"\n"
        path = self.root / LOG
        try:
            if _there_b(path) > LOG_MAX_B:
                kept = path.read_bytes()[-LOG_MAX_B // 2 :]
                put(path, kept[kept.find(b"\n") + 1 :], files=self._files, mode=SHARED)
            fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, SHARED)
            try:
                os.write(fd, line)
            finally:
                os.close(fd)
        except OSError as error:
            print(f"{path} takes no lines: {error}", flush=True)


# -- a build as files of a slot ---------------------------------------------------------------------------------------


def wanted_files(head: build.Head, station: rules.Station) -> dict[str, tuple[bool, tuple[Piece, ...]]]:
    """Path in the slot -> is_executable, its pieces; of what this station takes from the build."""
    parts = (("tree", head.components.get((build.APP, station.platform))),
             ("controller", head.components.get((build.CONTROLLER, station.board))))  # fmt: skip
    return {
        f"{folder}/{file.path}": (file.executable, file.pieces)
        for folder, index in parts
        if index is not None
        for file in index.files
    }


def _size_b(row: tuple[bool, tuple[Piece, ...]]) -> int:
    return sum(piece.size_b for piece in row[1])


def there(path: Path, pieces: Sequence[Piece]) -> Iterator[bytes]:
    """What the file holds where each piece belongs; nothing where the disk gives nothing."""
    left = len(pieces)
    try:
        for data in slots.pieces(path, [piece.size_b for piece in pieces]):
            left -= 1
            yield data
    except OSError:
        yield from [b""] * left


def survey(staging: Staging) -> None:
    """What is there, by its hash, and what is therefore still wanted."""
    for path, (_, pieces) in staging.files.items():
        offset_b = 0
        for piece, data in zip(pieces, there(staging.writer.slot / path, pieces), strict=True):
            if sha256(data).digest() != piece.digest:
                staging.want(path, offset_b, piece)
            offset_b += piece.size_b


def read_back(staging: Staging) -> dict[str, slots.Listed]:
    """Each file's whole hash, from the disk; pieces that are not what was signed are wanted again."""
    listed = {}
    for path, (is_executable, pieces) in staging.files.items():
        staging.writer.forget(path)
        whole, offset_b = sha256(), 0
        for piece, data in zip(pieces, there(staging.writer.slot / path, pieces), strict=True):
            whole.update(data)
            if sha256(data).digest() != piece.digest:
                staging.want(path, offset_b, piece)
            offset_b += piece.size_b
        listed[path] = slots.Listed(whole.hexdigest(), is_executable)
    return listed


def schema_of(app: Index | None) -> int:
    """The newest database that this app can open; 0 if it does not say."""
    levels = app.facts.get("schema") if app else None
    return max(levels, default=0) if isinstance(levels, list | tuple) else 0


def start_anew(path: Path = RESTART) -> None:
    """For an agent that should have ended and has not: root starts it anew, whatever it does just now. OSError."""
    path.write_bytes(b"")


def _there_b(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None
