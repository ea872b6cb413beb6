"""The boot state on the disk: two copies, written in turn; the newest that is whole counts. Standard library only.

A copy is replaced by rename, so a cut leaves the old or the new one; the second one is for a disk that goes bad. Two
write it, the launcher at a start of the agent and the updater, so each change is read, made and written under a lock.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from agent.files import DISK, PRIVATE, SHARED, Files, put
from agent.update.bootstate import FILE_MAX_B, State, encode, newest

LOCK = "state.lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Nobody else changes the state meanwhile. The kernel's lock, which ends with its process, on a file that nobody
    else may open: on the folder, whoever may read it could hold it for ever."""
    try:
        fd = os.open(folder / LOCK, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE)
    except OSError:  # a disk that takes no new file: what is there must start all the same
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def load(root: Path) -> State | None:
    """None: no copy is whole. One that the disk does not give is as good as torn."""
    return newest(_bytes(root / f"state.{turn}") for turn in (0, 1))


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(FILE_MAX_B + 1)
    except OSError:
        return b""


def save(root: Path, state: State, files: Files = DISK) -> State:
    """As the next number, in the place of the older copy; whoever calls holds the lock. OSError."""
    state = replace(state, number=state.number + 1)
    put(root / f"state.{state.number % 2}", encode(state), files=files, mode=SHARED)
    return state


def change(root: Path, changed: Callable[[State], State], files: Files = DISK) -> State:
    """What is now on the disk; nothing is written where nothing changes. Whoever calls has seen to it that a copy is
    whole. OSError."""
    with locked(root):
        before = load(root)
        assert before is not None
        after = changed(before)
        return before if after == before else save(root, after, files)
