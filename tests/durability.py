"""Durability judged by recorded operations: what a writer did to its files, and every disk that a power cut may leave.

kill -9 keeps the page cache and proves nothing. So a real writer runs under strace (it sees SQLite's own system calls,
needs no root and nothing compiled), and what it printed stands in the same record: its promises. Then, for each cut:

surviving = what a completed fsync of that file, or of that folder for names, covers
          + of the rest none, all, each one alone, all but each one, random parts; writes torn at sectors and pages

Stricter than ext4: a file's fsync does not cover its name, and neither data nor names reach the disk in order.
"""

import ast
import random
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, TypeVar

SECTOR_B, PAGE_B = 512, 4096
CALLS = (
    "open,openat,creat,write,pwrite64,pwritev,pwritev2,writev,lseek,truncate,ftruncate,fallocate,fsync,fdatasync,"
    "rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,link,linkat,symlink,symlinkat,copy_file_range,"
    "sendfile,mmap,chdir,fchdir"
)
STRACE = f"strace -f --seccomp-bpf -y -qq -s 99999999 -e trace={CALLS} -e signal=none".split()
T = TypeVar("T")

Tree = dict[str, bytes | None]  # relative path -> content; None: a folder


# -- what a writer does -----------------------------------------------------------------------------------------------


class Data(NamedTuple):
    file: int
    offset: int
    data: bytes


class Size(NamedTuple):
    """Truncated, or grown with zeros, to exactly this."""

    file: int
    length: int


class Grown(NamedTuple):
    """At least this long: the size of a write whose data is not there."""

    file: int
    length: int


class Names(NamedTuple):
    """One atomic change of a folder: created, renamed or unlinked."""

    folder: int
    changes: dict[str, int | None]


class Sync(NamedTuple):
    """A file's content and size, or a folder's names, as they were when the call began: before step `covers`."""

    target: int
    covers: int


class Said(NamedTuple):
    line: str


Change = Data | Size | Grown | Names
Step = Change | Sync | Said


def target(change: Change) -> int:
    return change.folder if isinstance(change, Names) else change.file


# -- the record -------------------------------------------------------------------------------------------------------

ROOT = 0


@dataclass(slots=True)
class Recording:
    """Files are numbered: a name may come to mean another one. The folder itself is file 0."""

    before: Tree
    folders: set[int] = field(default_factory=set)
    steps: list[Step] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)  # each step in words
    errors: str = ""  # what the writers said on stderr

    def said(self) -> list[str]:
        return [step.line for step in self.steps if isinstance(step, Said)]


class WriterDied(Exception):
    """What it said on stderr."""


def record(folder: Path, scratch: Path, *commands: Sequence[str], cwd: Path) -> Recording:
    """Runs them one after the other, in `cwd`, where they stay; what each prints are its promises."""
    recording = Recording(tree(folder))
    reader = Reader(folder, cwd, recording)
    for command in commands:
        log = scratch / "strace"
        trace = [*STRACE, "-o", str(log), *command]
        done = subprocess.run(trace, cwd=cwd, capture_output=True, text=True, timeout=100, check=False)
        recording.errors += done.stderr
        if done.returncode:
            raise WriterDied(done.stderr)
        reader.read(log.read_text("latin-1"))
    return recording


def tree(folder: Path) -> Tree:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def plant(folder: Path, files: Tree) -> None:
    for name, data in sorted(files.items()):
        path = folder / name
        if data is None:
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


class Reader:
    """strace's text -> steps. What it does not understand and may have changed a file is an AssertionError."""

    def __init__(self, folder: Path, cwd: Path, recording: Recording) -> None:
        self._folder, self._cwd, self._recording = str(folder), cwd, recording
        self._ids: dict[str, int] = {".": ROOT}  # path, relative to the folder -> file, as the writer sees it now
        for name in recording.before:
            self._ids[name] = len(self._ids)
        recording.folders |= {self._ids[name] for name, data in recording.before.items() if data is None}
        self._next_id = len(self._ids)
        self._output = ""  # where promises go: what the first one was written to; a child's output is not ours
        self._begun: dict[str, tuple[str, int]] = {}  # thread -> the call it is in, at which step it began
        self._position: dict[str, int] = {}  # of files that are written without an offset
        self._length = {self._ids[name]: len(data) for name, data in recording.before.items() if data is not None}

    def read(self, text: str) -> None:
        assert not self._begun
        self._output = ""
        for line in text.splitlines():
            thread, call = line.split(maxsplit=1)
            began = len(self._recording.steps)
            if resumed := re.match(r"<\.\.\. \w+ resumed>", call):
                start, began = self._begun.pop(thread)
                call = start + call[resumed.end() :]
            if call.endswith("<unfinished ...>"):
                self._begun[thread] = call.removesuffix("<unfinished ...>"), began
            else:
                self._call(call, began)
        self._begun.clear()  # what a writer that died never finished

    def _call(self, call: str, began: int) -> None:
        parsed = re.fullmatch(r"(\w+)\((.*)\) += (-?\d+|\?)(?:<(.*?)>)?.*", call)
        assert parsed, f"not understood: {call[:200]}"
        if not parsed[3].isdigit():
            return  # it failed and changed nothing, or the process died in it
        name, arguments, result = parsed[1], parsed[2], int(parsed[3])
        if name == "write" and arguments.startswith("1<"):
            output = arguments.partition(">")[0]
            self._output = self._output or output
            for line in text_of(arguments).decode().splitlines() if output == self._output else ():
                self._add(Said(line), line)
            return
        handler = getattr(self, f"_{name}", None)
        paths = [path for path in map(self._relative, names_in(arguments, parsed[4], self._cwd)) if path is not None]
        if paths or "chdir" in name:
            assert handler, f"not modelled: {call[:200]}"
            handler(paths, arguments, result, began)

    def _relative(self, path: str) -> str | None:
        """None: not ours, or deleted and so of no consequence."""
        if path == self._folder:
            return "."
        inside = path.startswith(self._folder + "/") and not path.endswith("(deleted)")
        return path[len(self._folder) + 1 :] if inside else None

    def _add(self, step: Step, shown: str) -> None:
        self._recording.steps.append(step)
        self._recording.shown.append(shown[:100])

    # One for each system call: paths (of names and open files, in order), arguments, result, the step it began at.

    def _openat(self, paths: list[str], arguments: str, _result: int, _began: int) -> None:
        path = paths[-1]
        assert not re.search(r"O_(D?SYNC|DIRECT)\b", arguments), f"not modelled: {arguments}"
        if "O_CREAT" in arguments and path not in self._ids:
            self._create(path)
        if "O_TRUNC" in arguments and self._length[self._ids[path]]:
            self._resize(path, 0)
        is_sequential = "O_WRONLY" in arguments and "O_APPEND" not in arguments
        self._position[path] = 0 if is_sequential else -1

    _open = _creat = _openat

    def _write(self, paths: list[str], arguments: str, result: int, _began: int) -> None:
        path = paths[0]
        at = self._length[self._ids[path]] if self._position[path] < 0 else self._position[path]
        self._store(path, at, text_of(arguments)[:result])
        if self._position[path] >= 0:
            self._position[path] = at + result

    def _pwrite64(self, paths: list[str], arguments: str, result: int, _began: int) -> None:
        self._store(paths[0], int(arguments.rpartition(", ")[2]), text_of(arguments)[:result])

    def _lseek(self, paths: list[str], _arguments: str, result: int, _began: int) -> None:
        if self._position.get(paths[0], -1) >= 0:
            self._position[paths[0]] = result

    def _ftruncate(self, paths: list[str], arguments: str, _result: int, _began: int) -> None:
        self._resize(paths[0], int(arguments.rpartition(", ")[2]))

    _truncate = _ftruncate

    def _fallocate(self, paths: list[str], arguments: str, _result: int, _began: int) -> None:
        mode, offset, length = arguments.split(", ")[1:]
        assert mode == "0", f"not modelled: fallocate({arguments})"
        file = self._ids[paths[0]]
        self._length[file] = max(self._length[file], int(offset) + int(length))
        self._add(Grown(file, self._length[file]), f"fallocate {paths[0]} {offset}+{length}")

    def _fsync(self, paths: list[str], _arguments: str, _result: int, began: int) -> None:
        self._add(Sync(self._ids[paths[0]], began), f"fsync {paths[0]}")

    _fdatasync = _fsync

    def _unlink(self, paths: list[str], _arguments: str, _result: int, _began: int) -> None:
        folder, name = self._where(paths[-1])
        self._ids.pop(paths[-1])
        self._add(Names(folder, {name: None}), f"unlink {paths[-1]}")

    _unlinkat = _rmdir = _unlink

    def _rename(self, paths: list[str], _arguments: str, _result: int, _began: int) -> None:
        source, path = paths[-2:]
        (folder, old), (new_folder, new) = self._where(source), self._where(path)
        assert folder == new_folder, f"not modelled: rename {source} -> {path}"
        self._ids[path] = self._ids.pop(source)
        self._add(Names(folder, {old: None, new: self._ids[path]}), f"rename {source} -> {path}")

    _renameat = _renameat2 = _rename

    def _mkdir(self, paths: list[str], _arguments: str, _result: int, _began: int) -> None:
        self._create(paths[-1], is_folder=True)

    _mkdirat = _mkdir

    def _mmap(self, paths: list[str], arguments: str, _result: int, _began: int) -> None:
        assert not ("PROT_WRITE" in arguments and "MAP_SHARED" in arguments), f"not modelled: {paths} is mapped"

    def _where(self, path: str) -> tuple[int, str]:
        return self._ids[str(Path(path).parent)], Path(path).name

    def _create(self, path: str, is_folder: bool = False) -> None:
        folder, name = self._where(path)
        self._ids[path], self._next_id = self._next_id, self._next_id + 1
        if is_folder:
            self._recording.folders.add(self._ids[path])
        else:
            self._length[self._ids[path]] = 0
        kind = "mkdir" if is_folder else "create"
        self._add(Names(folder, {name: self._ids[path]}), f"{kind} {path}")

    def _store(self, path: str, offset: int, data: bytes) -> None:
        file = self._ids[path]
        self._length[file] = max(self._length[file], offset + len(data))
        self._add(Data(file, offset, data), f"write {path} {offset}+{len(data)}")

    def _resize(self, path: str, length: int) -> None:
        self._length[self._ids[path]] = length
        self._add(Size(self._ids[path], length), f"truncate {path} {length}")


QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')


def text_of(arguments: str) -> bytes:
    quoted = QUOTED.search(arguments)
    assert quoted
    text: bytes = ast.literal_eval(f'b"{quoted[1]}"')
    return text


def names_in(arguments: str, opened: str | None, cwd: Path) -> list[str]:
    """The paths that a call is about: the file it has opened, or its open file, or those it spells out."""
    if opened:
        return [opened]
    if file := re.match(r"\d+<(.*?)>", arguments):
        return [file[1]]
    return [str(cwd / quoted) for quoted in QUOTED.findall(arguments)]


# -- the disk ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Disk:
    """What is on it for good. Folders map names to files, files are bytes."""

    folders: dict[int, dict[str, int]]
    files: dict[int, bytes]

    def apply(self, change: Change) -> None:
        match change:
            case Names(folder, changes):
                names = {name: file for name, file in self.folders.get(folder, {}).items() if name not in changes}
                self.folders[folder] = names | {name: file for name, file in changes.items() if file is not None}
            case Size(file, length):
                self.files[file] = self.files.get(file, b"")[:length].ljust(length, b"\0")
            case Grown(file, length):
                self.files[file] = self.files.get(file, b"").ljust(length, b"\0")
            case Data(file, offset, data):
                old = self.files.get(file, b"").ljust(offset, b"\0")
                self.files[file] = old[:offset] + data + old[offset + len(data) :]

    def with_changes(self, changes: Sequence[Change]) -> "Disk":
        disk = Disk(dict(self.folders), dict(self.files))
        for change in changes:
            disk.apply(change)
        return disk

    def tree(self, is_folder: set[int], folder: int = ROOT, path: str = "") -> Tree:
        found: Tree = {}
        for name, file in self.folders.get(folder, {}).items():
            if file in is_folder:
                found[path + name] = None
                found |= self.tree(is_folder, file, f"{path}{name}/")
            else:
                found[path + name] = self.files.get(file, b"")
        return found


def disk_before(recording: Recording) -> Disk:
    """The disk when the recording began, all of it durable."""
    ids = {".": ROOT} | {name: number for number, name in enumerate(recording.before, 1)}
    disk = Disk({}, {ids[name]: data for name, data in recording.before.items() if data is not None})
    for name in recording.before:
        disk.folders.setdefault(ids[str(Path(name).parent)], {})[Path(name).name] = ids[name]
    return disk


# -- the cuts ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class World:
    """One disk that a power cut before step `cut` may leave."""

    cut: int
    said: int  # lines, before it
    why: str
    tree: Tree

    def key(self) -> bytes:
        digest = sha256()
        for name, data in sorted(self.tree.items()):
            digest.update(f"{name}\0{'-' if data is None else len(data)}\0".encode() + (data or b""))
        return digest.digest()


def worlds(recording: Recording, effort: int, seed: int = 0) -> Iterator[World]:
    """Every cut; `effort` bounds how many of the ways to lose something are tried at each: 0 quick, 20 thorough."""
    disk = disk_before(recording)
    pending: list[tuple[int, Change]] = []
    said = 0
    for cut in range(len(recording.steps) + 1):
        rng = random.Random(f"{seed} {cut}")
        for why, survivors in fates([change for _, change in pending], effort, rng):
            yield World(cut, said, why, disk.with_changes(survivors).tree(recording.folders))
        if cut == len(recording.steps):
            return
        match recording.steps[cut]:
            case Said():
                said += 1
            case Sync(file, covers):
                for _, change in (entry for entry in pending if is_covered(entry, file, covers)):
                    disk.apply(change)
                pending = [entry for entry in pending if not is_covered(entry, file, covers)]
            case change:
                pending.append((cut, change))


def is_covered(entry: tuple[int, Change], file: int, covers: int) -> bool:
    return target(entry[1]) == file and entry[0] < covers


def fates(pending: Sequence[Change], effort: int, rng: random.Random) -> Iterator[tuple[str, list[Change]]]:
    """What may be left of what no fsync covers."""
    yield "nothing uncovered is left", []
    if not pending:
        return
    yield "all is left", list(pending)
    for at in some(range(len(pending)), effort, rng):
        yield f"only uncovered {at} of {len(pending)} is left", [pending[at]]
        yield f"uncovered {at} of {len(pending)} is lost", [*pending[:at], *pending[at + 1 :]]
        for name, rest in torn(pending[at], effort, rng):
            yield f"uncovered {at} of {len(pending)} {name}, the later ones are lost", [*pending[:at], rest]
            yield f"uncovered {at} of {len(pending)} {name}, the earlier ones are lost", [rest, *pending[at + 1 :]]
    for _ in range(max(1, effort)):
        odds = rng.random()
        kept = [change for change in pending if rng.random() < odds]
        parts = [rng.choice([rest for _, rest in torn(c, 1, rng)] or [c]) if rng.random() < 0.2 else c for c in kept]
        yield f"{len(kept)} of {len(pending)} uncovered, some torn", parts


def some(these: Sequence[T], count: int, rng: random.Random) -> Sequence[T]:
    """The newest one, on its way when the power goes, before all others."""
    return these if len(these) <= count else [*rng.sample(these[:-1], count - 1), these[-1]] if count else ()


def torn(change: Change, effort: int, rng: random.Random) -> Iterator[tuple[str, Change]]:
    """A write of which the disk took a part: up to a boundary, or from it on, or its size alone."""
    if not isinstance(change, Data):
        return
    file, offset, data = change
    end = offset + len(data)
    for size in (SECTOR_B, PAGE_B):
        for at in some(range((offset // size + 1) * size, end, size), max(1, effort // 5), rng):
            yield f"torn before {at}", Data(file, offset, data[: at - offset])
            yield f"torn after {at}", Data(file, at, data[at - offset :])
    yield "without its data", Grown(file, end)


# -- the verdict ------------------------------------------------------------------------------------------------------

Judge = Callable[[Tree, Sequence[str]], str]  # what is on the disk, what was said before the cut -> what is wrong


def broken(recording: Recording, judge: Judge, effort: int = 1, seed: int = 0) -> Iterator[str]:
    """What is wrong, world by world; none is how it should be."""
    said = recording.said()
    seen: set[tuple[bytes, int]] = set()
    for world in worlds(recording, effort, seed):
        if (key := (world.key(), world.said)) not in seen:
            seen.add(key)
            if wrong := judge(world.tree, said[: world.said]):
                before = recording.shown[world.cut - 1] if world.cut else "the start"
                yield f"cut {world.cut} of {len(recording.steps)}, after {before!r}, {world.why}: {wrong}"
