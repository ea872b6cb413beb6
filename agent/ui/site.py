"""The site extract: the streets around this station (PMTiles v3 with vector tiles), from the install kit.

The installer's kit, or the operator by hand, puts `site.pmtiles` into the station's state folder, and beside it, if he
wants it checked, `site.pmtiles.sha256` as sha256sum writes it. Nothing is fetched. The panel serves the file on
loopback, in ranges, once it has passed `checked`.
"""

import hashlib
import re
import struct
from dataclasses import dataclass
from errno import EINVAL
from io import BufferedReader
from pathlib import Path
from stat import S_ISREG

NAME = "site.pmtiles"
SIZE_MAX = 64 * 1024 * 1024
HEADER = struct.Struct("<7sB11Q6B4i")  # PMTiles v3, section 3, as far as the bounds
MVT = 1  # tile type
DEGREE = 1e-7


@dataclass(frozen=True, slots=True)
class Site:
    """A site extract, or why there is none. Degrees; zooms as in the file."""

    problem: str = ""  # one sentence; "" if it can be shown
    west: float = 0.0
    south: float = 0.0
    east: float = 0.0
    north: float = 0.0
    zoom_max: int = 0

    def covers(self, latitude: float, longitude: float) -> bool:
        return not self.problem and self.south <= latitude <= self.north and self.west <= longitude <= self.east


MISSING = Site("This station has no streets: its kit brought none.")


def checked(path: Path) -> Site:
    """Whether the file can be shown: size, kind, hash. Reads all of it. Never raises for what is in it."""
    try:
        with opened(path) as file:
            if path.stat().st_size > SIZE_MAX:
                return Site(f"The streets are larger than {SIZE_MAX >> 20} MB: cut a smaller extract.")
            head = file.read(HEADER.size)
            if (wanted := manifest(path)) is None:
                return Site(f"{path.name}.sha256 holds no hash: copy both files again.")
            file.seek(0)
            if wanted and hashlib.file_digest(file, "sha256").hexdigest() != wanted:
                return Site("The streets are damaged: copy both files again.")
    except FileNotFoundError:
        return MISSING
    except OSError as error:
        return Site(f"The streets cannot be read: {error.strerror}.")
    return described(head)


def opened(path: Path) -> BufferedReader:
    """A pipe of that name would be waited for, for ever."""
    if not S_ISREG(path.stat().st_mode):
        raise OSError(EINVAL, "it is no file")
    return path.open("rb")


def manifest(path: Path) -> str | None:
    """The hash that stands beside the file; "" without one, None if that file says none."""
    try:
        with opened(path.with_name(f"{path.name}.sha256")) as file:
            found = re.match(rb"\s*([0-9a-fA-F]{64})(?![0-9a-fA-F])", file.read(200))
    except FileNotFoundError:
        return ""
    return found[1].decode().lower() if found else None


def described(head: bytes) -> Site:
    if len(head) < HEADER.size or head[:7] != b"PMTiles" or head[7] != 3:
        return Site("The streets are no PMTiles file of version 3: make the extract again.")
    *_, tile_type, _, zoom_max, west, south, east, north = HEADER.unpack(head)
    if tile_type != MVT:
        return Site("The streets are pictures: an extract with vector tiles is needed.")
    box = Site("", west * DEGREE, south * DEGREE, east * DEGREE, north * DEGREE, zoom_max)
    if not (-180 <= box.west < box.east <= 180 and -90 <= box.south < box.north <= 90):
        return Site("The streets do not say which place they are of: make the extract again.")
    return box


def is_there(folder: Path) -> bool:
    """As far as size and header tell: whoever asks for the file learns the rest (`Streets`)."""
    try:
        with opened(folder / NAME) as file:
            return not described(file.read(HEADER.size)).problem
    except OSError:
        return False


class Streets:
    """The file in this folder, looked at anew when it has changed."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._seen: tuple[object, Site] = (None, MISSING)

    def site(self) -> Site:
        """As `checked`, which reads the whole file only when it, or its hash, is another one than before."""
        stamps = stamp(self.path), stamp(self.path.with_name(f"{NAME}.sha256"))
        if self._seen[0] != stamps:
            self._seen = stamps, checked(self.path)
        return self._seen[1]


def stamp(path: Path) -> object:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
