"""Writes a list's file: here for a short list, in a niced process of its own for a long one, so that neither memory nor
processor of the agent feels it. The process reads one Job as CBOR and answers with what it built, or a sentence.
"""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cbor2

from agent.authcache.content import Content
from agent.authcache.listfile import (
    ENTRIES_MAX,
    Built,
    DiskError,
    Edition,
    ListError,
    ListFile,
    Rows,
    entry_of,
    gathered,
    key_hash,
    open_list,
    write,
)
from agent.authcache.parts import read_parts
from agent.authcache.request import Change, read_changes
from agent.events import Entry
from agent.files import DISK, Files
from agent.policy.id_token import masked
from agent.uplink.codec import WireError

HERE_MAX = 2_000  # entries that are written without a process
TIMEOUT_S = 600.0
NICENESS = 15
PR_SET_PDEATHSIG = 1
OURS = str(Path(__file__).parents[2])  # a build's tree is on no path of Python's own: its child must be told
UNREADABLE = "the list that is here cannot be read to be changed: send it whole"


@dataclass(frozen=True, slots=True)
class Job:
    """`requests`, or the files that hold them, are a full list, or lead from `base` and `overlay`, whose `content` is
    known, to another: one of `count` entries and this `hash`, if that was announced. An overlay's entry is
    `[attributes, expiry_ms]`, or empty: taken off."""

    directory: str
    generation: int
    version: int
    key: bytes = field(repr=False)
    is_full: bool = True
    parts: list[str] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    base: str = ""
    overlay: list[tuple[bytes, list[Any]]] = field(default_factory=list)
    content: bytes = b""
    buckets: list[int] = field(default_factory=list)
    count: int | None = None
    hash: str | None = None


def run(job: Job, files: Files = DISK) -> Built:
    """Any thread. ListError: nothing was written."""
    directory = Path(job.directory)
    try:
        content, rows = gathered(Listed(job), job.key) if job.is_full else derived(job)
    except WireError as error:
        raise ListError(str(error)) from None
    except sqlite3.Error:
        raise DiskError(UNREADABLE) from None
    if wrong := difference(content, job.count, job.hash):
        raise ListError(wrong)
    return write(directory, rows, Built(directory, Edition(job.generation, job.version), content), job.key, files)


def difference(content: Content, count: int | None, said: str | None) -> str:
    """Why this is not the list that was announced, or none at all; "" if it is."""
    if content.count > ENTRIES_MAX:
        return f"more than {ENTRIES_MAX} entries"
    if count is not None and count != content.count:
        return f"this makes a list of {content.count} entries, {count} were announced"
    if said is not None and said != content.hash:
        made = f"this makes a list with hash {content.hash[:16]}, {said[:16]} was announced"
        return f"{made}: compare the two, or send it whole"
    return ""


def derived(job: Job) -> tuple[Content, Rows]:
    """What differs applied to what is there. WireError, ListError, sqlite3.Error."""
    kept = (each for each in job.overlay if each[0][0] not in job.buckets)
    overlay = {hashed: entry_of(said[0], said[1] / 1000) if said else None for hashed, said in kept}
    try:
        base = open_list(Path(job.directory) / job.base, job.key) if job.base else None
    except ListError:
        raise DiskError(UNREADABLE) from None
    try:
        content, rows = Content.load(job.content), Rows()
        overlay |= changed(content, changes_of(job), Found(base, overlay), job.key, job.buckets)
        for hashed, entry in base.entries() if base else ():
            if hashed not in overlay and hashed[0] not in job.buckets:
                rows.add(hashed, entry)
        for hashed, said in overlay.items():
            if said:
                rows.add(hashed, said)
        assert not rows.twice()
        return content, rows
    finally:
        if base:
            base.close()


@dataclass(frozen=True, slots=True)
class Found:
    """What the list says by key_hash."""

    base: ListFile | None
    overlay: Mapping[bytes, Entry | None]

    def __call__(self, hashed: bytes) -> Entry | None:
        if hashed in self.overlay:
            return self.overlay[hashed]
        return self.base.find(hashed) if self.base else None

    @property
    def failures(self) -> int:
        return self.base.failures if self.base else 0


def changed(
    content: Content, changes: Iterable[Change], find: Found, key: bytes, buckets: Sequence[int]
) -> dict[bytes, Entry | None]:
    """The changes by key_hash; `content` is what holds after them. In `buckets` nothing counts that was there before.
    ListError: a card comes twice, or nobody can tell what was said of one before."""
    found: dict[bytes, Entry | None] = {}
    failures = find.failures
    for number in buckets:
        content.empty(number)
    for id_token, entry in changes:
        hashed = key_hash(key, id_token)
        if hashed in found:
            raise ListError(f"{masked(id_token)} is changed twice")
        before = None if hashed[0] in buckets else find(hashed)
        if before:
            content.remove(id_token, before)
        if entry:
            content.add(id_token, entry)
        found[hashed] = entry
    if find.failures > failures:
        raise DiskError(UNREADABLE)
    return found


def changes_of(job: Job) -> Iterator[Change]:
    """Of one message after the other."""
    for request in job.requests:
        yield from read_changes(request)
    for request in read_parts([Path(path) for path in job.parts]):
        yield from read_changes(request)


class Listed:
    """The entries of a full list, as often as they are asked for."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def __iter__(self) -> Iterator[tuple[str, Entry]]:
        return ((id_token, entry) for id_token, entry in changes_of(self._job) if entry)


# -- the process ------------------------------------------------------------------------------------------------------


def elsewhere(job: Job) -> Built:
    """`run` in a process of its own. Blocks until it has ended. ListError."""
    command = [sys.executable, "-P", "-m", "agent.authcache.builder", str(os.getpid())]
    try:
        asked = cbor2.dumps(asdict(job))
        done = subprocess.run(
            command, input=asked, capture_output=True, timeout=TIMEOUT_S, check=False,
            env={**os.environ, "PYTHONPATH": OURS},
        )  # fmt: skip
        answer = cbor2.loads(done.stdout)
    except (OSError, subprocess.TimeoutExpired, cbor2.CBORDecodeError) as error:
        raise DiskError(f"the process that writes the list has failed: {type(error).__name__}") from None
    match answer:
        case ["built", path, content]:
            return Built(Path(path), Edition(job.generation, job.version), Content.load(content))
        case ["disk", why]:
            raise DiskError(why)
    raise ListError(answer[1])


def die_with(agent_pid: int) -> None:
    """Two writers at a time would be in each other's way: one whose agent is gone goes, too (prctl(2))."""
    import ctypes  # 0.4 MB that the agent, who imports this file too, has no use for

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != agent_pid:  # it went before we asked
        os._exit(1)


def main() -> None:
    die_with(int(sys.argv[1]))
    os.nice(NICENESS)
    said = cbor2.loads(sys.stdin.buffer.read())
    job = Job(**said | {"overlay": [tuple(each) for each in said["overlay"]]})
    try:
        built = run(job)
        answer = ["built", str(built.path), built.content.dump()]
    except ListError as error:
        answer = ["disk" if isinstance(error, DiskError) else "list", str(error)]
    sys.stdout.buffer.write(cbor2.dumps(answer))


if __name__ == "__main__":
    main()
