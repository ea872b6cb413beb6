"""What a slot is on the disk, how it is checked, how it is written. Python's own library only: the launcher reads it.

    files       its list: a line for each file with the SHA-256 of all of it; the boot state has that of the list
    tree/       the agent with its dependencies; controller/: firmware. Exactly what the list names, nothing else
    head        the build's own head, as it was signed
    confirmed   made when the build was found healthy: a boot state that was lost is made from it again

It is written while the boot state says that it is unusable: first the list goes, last it comes.
"""

import hashlib
import os
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agent.files import DISK, EXECUTABLE, SHARED, Files, put

FOLDERS = ("tree", "controller")  # what the list names
LIST, HEAD, MARK = "files", "head", "confirmed"
HEADER = "station-files 1 "  # the list's first line; the version of the build follows
LIST_MAX_B = 8 << 20
MARK_MAX_B = 200


class Damaged(Exception):
    """Nothing may be run from this slot; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class Listed:
    digest: str  # of the whole file, in hex
    is_executable: bool


# -- its list ---------------------------------------------------------------------------------------------------------


def list_of(version: str, files: Mapping[str, Listed]) -> bytes:
    """A line for each file, `<sha256> <x or -> <path>`, sorted by path; no path has a line end in it."""
    lines = [f"{file.digest} {'x' if file.is_executable else '-'} {path}\n" for path, file in sorted(files.items())]
    return f"{HEADER}{version}\n{''.join(lines)}".encode()


def read_list(data: bytes) -> tuple[str, dict[str, Listed]]:
    """Version and files. Damaged: no list of ours."""
    try:
        header, *lines = data.decode().removesuffix("\n").split("\n")
    except UnicodeDecodeError:
        raise Damaged("its list of files is no text") from None
    version = header.removeprefix(HEADER)
    files = {line[67:]: Listed(line[:64], line[65:66] == "x") for line in lines}
    if list_of(version, files) != data:
        raise Damaged("its list of files is not as we write it")
    return version, files


# -- checked ----------------------------------------------------------------------------------------------------------


def checked(slot: Path, digest: str) -> str:
    """The version of the build that the slot holds whole; `digest` is its list's. Damaged, OSError."""
    if slot.is_symlink():
        raise Damaged("it is a link")
    data = listed_in(slot)
    if hashlib.sha256(data).hexdigest() != digest:
        raise Damaged("its list of files is another one")
    version, files = read_list(data)
    there = set(found(slot))
    if strange := sorted(there ^ files.keys()):
        raise Damaged(f"{strange[0]} is {'not listed' if strange[0] in there else 'not there'}")
    for path, listed in files.items():
        if hashed(slot / path) != listed:
            raise Damaged(f"{path} is damaged")
    return version


def listed_in(slot: Path) -> bytes:
    with (slot / LIST).open("rb") as file:
        return file.read(LIST_MAX_B + 1)


def found(slot: Path) -> Iterator[str]:
    """Every file below the slot's folders, by its path in the slot. Links count as files, and are none of ours; so is
    what stands in the place of one of the folders."""
    for folder in FOLDERS:
        if (slot / folder).is_symlink():  # what is written below it would be written elsewhere
            yield folder
            continue
        with suppress(FileNotFoundError):
            if stat.S_ISDIR((slot / folder).lstat().st_mode):
                yield from _files(slot / folder, f"{folder}/")
            else:
                yield folder


def _files(folder: Path, prefix: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path), f"{prefix}{entry.name}/")
            else:
                yield prefix + entry.name


def hashed(path: Path) -> Listed | None:
    """None: no plain file."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(fd, "rb", buffering=0) as file:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode):
            return None
        return Listed(hashlib.file_digest(file, "sha256").hexdigest(), bool(mode & stat.S_IXUSR))


def pieces(path: Path, sizes: Iterable[int]) -> Iterator[bytes]:
    """The file's bytes, cut to these sizes; less where it ends."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb", buffering=0) as file:
        for size_b in sizes:
            yield file.read(size_b)


# -- its mark ---------------------------------------------------------------------------------------------------------


def mark(slot: Path, number: int, floor: int, digest: str, files: Files = DISK) -> None:
    """The build was found healthy: `number` of the boot state then, the security floor, the list's digest. OSError."""
    put(slot / MARK, f"{number} {floor} {digest}\n".encode(), files=files, mode=SHARED)


def read_mark(slot: Path, digest: str) -> tuple[int, int]:
    """Number and floor; -1 if what the slot holds was never confirmed."""
    with suppress(OSError, ValueError), (slot / MARK).open("rb") as file:
        number, floor, of = file.read(MARK_MAX_B).decode().split()
        if of == digest and number.isdecimal() and floor.isdecimal():
            return int(number), int(floor)
    return -1, 0


# -- written ----------------------------------------------------------------------------------------------------------


class Writer:
    """Of a slot that the boot state calls unusable. Every method may be repeated, also after a power cut. OSError."""

    def __init__(self, slot: Path, files: Files = DISK) -> None:
        self.slot, self._files = slot, files
        self._unsynced: set[Path] = set()  # files, and folders whose names have changed
        self._written: set[Path] = set()  # of them, files that have got something of the build

    def head(self) -> bytes:
        """Of the build that it is to hold; b"": of none."""
        with suppress(OSError):
            return (self.slot / HEAD).read_bytes()
        return b""

    def begin(self, head: bytes, wanted: Mapping[str, tuple[int, bool]]) -> None:
        """The build's files are there, with their size and mode (size_b, is_executable), whatever is in them; what is
        not of it is gone. From here on the slot knows by its head what it is to become."""
        if self.slot.is_symlink():
            self._files.remove(self.slot)
        self._files.make_folder(self.slot)  # its name is synced with the boot state, which lies beside it
        for name in (LIST, MARK):
            self._files.remove(self.slot / name)
        self._unsynced.add(self.slot)
        if self.head() != head:
            put(self.slot / HEAD, head, files=self._files, mode=SHARED)
        self._clear(wanted)
        folders = {str(above) for path in wanted for above in Path(path).parents if str(above) != "."}
        for folder in sorted(folders):
            self._files.make_folder(self.slot / folder)
            self._unsynced |= {self.slot / folder, (self.slot / folder).parent}
        for path, (size_b, is_executable) in sorted(wanted.items()):
            self._files.shape(self.slot / path, size_b, EXECUTABLE if is_executable else SHARED)
            self._unsynced |= {self.slot / path, (self.slot / path).parent}

    def _clear(self, wanted: Collection[str]) -> None:
        """What is no plain file, or a folder where a file is to be, goes with the rest."""
        for path in sorted(found(self.slot)):
            if path not in wanted or not stat.S_ISREG((self.slot / path).lstat().st_mode):
                self._files.remove(self.slot / path)
                self._unsynced.add((self.slot / path).parent)
        kept = {str(above) for path in wanted for above in Path(path).parents}
        for folder in sorted(self._folders(), reverse=True):
            if folder not in kept:
                self._files.remove_folder(self.slot / folder)
                self._unsynced.discard(self.slot / folder)
                self._unsynced.add((self.slot / folder).parent)

    def _folders(self) -> Iterator[str]:
        for top in FOLDERS:
            for folder, _, _ in os.walk(self.slot / top):
                yield str(Path(folder).relative_to(self.slot))

    def write(self, path: str, offset_b: int, data: bytes) -> None:
        self._files.write_at(self.slot / path, offset_b, data)
        self._unsynced.add(self.slot / path)
        self._written.add(self.slot / path)

    def sync_written(self) -> None:
        """What was written need hardly be sent again after a power cut; their names are not promised yet."""
        for path in sorted(self._written):
            self._files.sync(path)
        self._unsynced -= self._written
        self._written.clear()

    def sync(self) -> None:
        """A power cut from here on loses nothing."""
        for path in sorted(self._unsynced):
            self._files.sync(path)
        self._unsynced.clear()
        self._written.clear()

    def forget(self, path: str) -> None:
        """The next read is of what the disk has, not of what memory has; after sync()."""
        assert self.slot / path not in self._unsynced
        self._files.forget(self.slot / path)

    def end(self, version: str, files: Mapping[str, Listed]) -> str:
        """The list, and its digest for the boot state: all that it names is on the disk and was read back."""
        assert not self._unsynced
        data = list_of(version, files)
        put(self.slot / LIST, data, files=self._files, mode=SHARED)
        return hashlib.sha256(data).hexdigest()
