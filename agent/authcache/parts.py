"""The parts of a list that is on its way, on the disk: bad radio may take days, and power cuts, to bring them all.

One list at a time: parts that say something else of the whole take the place of what was there. A part's file is
compressed, for cards expire on the same days, and bears the hash of its content, so a torn one is none. A part whose
entries are wrong is none either, and never gets here.
"""

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from agent.authcache.listfile import DiskError, Edition, ListError
from agent.authcache.request import Offer, read_changes
from agent.files import DISK, Files, put
from agent.uplink.codec import WireError, decode_payload, encode_payload, from_cbor, to_cbor

NAME = re.compile(r"part-(\d+)-(\d+)-(\d+)-([0-9a-f]{8})-([0-9a-f]{16})")
NEW = "part.new"
TOTAL_MAX_B = 64_000_000


@dataclass(frozen=True, slots=True)
class Part:
    path: Path
    edition: Edition
    number: int  # from 1
    whole: str  # the same for all parts of one list


class Parts:
    """One thread at a time."""

    def __init__(self, directory: Path, files: Files = DISK) -> None:
        self._directory, self._files = directory, files

    def held(self) -> list[Part]:
        """What is there, by name alone, in order. OSError."""
        found = []
        for path in self._directory.iterdir():
            if name := NAME.fullmatch(path.name):
                generation, version, number = (int(digits) for digits in name.groups()[:3])
                found.append(Part(path, Edition(generation, version), number, name[4]))
        return sorted(found, key=lambda part: (part.edition, part.number, part.path))

    def put(self, offer: Offer, request: Mapping[str, Any]) -> list[Path]:
        """Keep this part, durably; the parts that are here now, in their order. WireError, ListError."""
        for _ in read_changes(request):
            pass
        data = zlib.compress(to_cbor(encode_payload(request)))
        whole = sha256(repr(offer.whole).encode()).hexdigest()[:8]
        edition = offer.edition
        name = f"part-{edition.generation}-{edition.version}-{offer.part}-{whole}-{_digest(data)}"
        try:
            held = self.held()
            if newer := [part.edition for part in held if part.edition > edition]:
                raise ListError(f"parts of list {newer[0].generation}/{newer[0].version} are here, which is newer")
            if sum(size_b(part.path) for part in held if part.whole == whole) + len(data) > TOTAL_MAX_B:
                raise ListError(f"the parts of this list are larger than {TOTAL_MAX_B} B")
            put(self._directory / name, data, self._directory / NEW, self._files)
            others = [part for part in held if part.whole != whole or part.number == offer.part]
            self.drop([part.path for part in others if part.path.name != name])
            return list({part.number: part.path for part in self.held() if part.whole == whole}.values())
        except OSError as error:
            self.drop([self._directory / NEW])
            raise DiskError(f"part {offer.part} could not be written: {error}") from None

    def forget(self, up_to: Edition) -> None:
        """Lists up to this one are in force, or passed over."""
        with suppress(OSError):  # the next start tries again
            self.drop([part.path for part in self.held() if part.edition <= up_to])

    def drop(self, paths: Iterable[Path]) -> None:
        for path in paths:
            with suppress(OSError):
                self._files.remove(path)


def size_b(path: Path) -> int:
    """0: another thread has removed it meanwhile."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def read_parts(paths: list[Path]) -> Iterator[dict[str, Any]]:
    """The requests in these files, one after the other: never all in memory. DiskError: one is damaged, or gone."""
    for path in paths:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DiskError(f"{path.name} cannot be read: {error.strerror}") from None
        name = NAME.fullmatch(path.name)
        if name is None or _digest(data) != name[5]:
            with suppress(OSError):
                path.unlink()
            raise DiskError(f"{path.name} is damaged: send that part again")
        try:
            yield decode_payload(from_cbor(zlib.decompress(data)))
        except (WireError, zlib.error) as error:
            raise ListError(f"{path.name}: {error}") from None


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()[:16]
