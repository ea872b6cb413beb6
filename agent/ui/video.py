"""Which instructional video the idle screen plays: the operator's own where it is sound, else the one that came along.

The operator puts `how.webm` and `how.json` into the folder `video` of the station's state (`docs/panel.md`). They are
looked at when the station starts; what does not fit is named in one sentence, and nobody stands before an empty screen.
"""

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec
from msgspec import Meta

BUILT_IN = Path(__file__).parent / "static" / "video"
FILM, MANIFEST = "how.webm", "how.json"
FILM_MAX, MANIFEST_MAX = 20_000_000, 4_096  # bytes
EBML, DOCTYPE = b"\x1a\x45\xdf\xa3", b"webm"  # RFC 8794 §11.2: how a WebM file begins
HEAD = 64  # bytes, within which it says its DocType


class Manifest(msgspec.Struct, frozen=True):
    """how.json: what makes a file that was cut off, or mixed up, known as such."""

    file: str
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    seconds: Annotated[float, Meta(gt=0, le=300)]


class UnfitError(Exception):
    """Why this video is not played; the message says what to do about it."""


def chosen(folder: Path, log: Callable[[str], None] = lambda line: None) -> Path:
    """The file to play. `log` gets one sentence if `folder` has something that cannot be played. Never raises."""
    film, manifest = folder / FILM, folder / MANIFEST
    if not (os.path.lexists(film) or os.path.lexists(manifest)):
        return BUILT_IN / FILM
    try:
        check(folder)
    except (UnfitError, OSError) as error:
        why = error if isinstance(error, UnfitError) else f"{Path(error.filename or film).name}: {error.strerror}"
        log(f"{film} is not played, but the video that came with the software: {why}.")
        return BUILT_IN / FILM
    return film


def check(folder: Path) -> Manifest:
    """What a folder's how.json says of its how.webm, if that is true. UnfitError, OSError."""
    manifest = read_manifest(folder)
    with opened(folder / FILM, FILM_MAX) as film:
        found = hashlib.file_digest(film, "sha256").hexdigest()  # type: ignore[arg-type]  # typeshed wants readinto
        film.seek(0)
        head = film.read(HEAD)
    if found != manifest.sha256:
        raise UnfitError(f"{MANIFEST} says another SHA-256; copy both again, or write {found} there")
    if not head.startswith(EBML) or DOCTYPE not in head:
        raise UnfitError(f"it is no WebM file; make one with ffmpeg -i FILE -an -c:v libvpx {FILM}")
    return manifest


def read_manifest(folder: Path) -> Manifest:
    with opened(folder / MANIFEST, MANIFEST_MAX) as file:
        text = file.read()
    try:
        manifest = msgspec.json.decode(text, type=Manifest)
    except (msgspec.DecodeError, ValueError) as error:
        raise UnfitError(f"{MANIFEST} is wrong ({error}); docs/panel.md shows one") from None
    if manifest.file != FILM:
        raise UnfitError(f"{MANIFEST} is about {manifest.file[:40]!r}; the file is called {FILM}")
    return manifest


def opened(path: Path, size_max: int) -> BinaryIO:
    """A plain file of that size at most: not a link out of the folder, nor a pipe that would be waited for."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    about = os.fstat(fd)
    if stat.S_ISREG(about.st_mode) and about.st_size <= size_max:
        return os.fdopen(fd, "rb")
    os.close(fd)
    raise UnfitError(f"{path.name} is no plain file of at most {size_max:,} bytes")
