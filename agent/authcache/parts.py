"""The parts of a list that is on its way, on the disk: bad radio may take days, and power cuts, to bring them all.

One list at a time: parts that say something else of the whole take the place of what was there. A part's file is
compressed, for cards expire on the same days, and bears the hash of its content, so a torn one is none.
"""

import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from agent.authcache.listfile import DISK, Edition, Files, ListError, put
from agent.authcache.request import Offer
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
        """What is there, by name alone, in order."""
        found = []
        for path in self._directory.iterdir():
            if name := NAME.fullmatch(path.name):
                generation, version, number = (int(digits) for digits in name.groups()[:3])
                found.append(Part(path, Edition(generation, version), number, name[4]))
        return sorted(found, key=lambda part: (part.edition, part.number))

    def put(self, offer: Offer, request: Mapping[str, Any]) -> list[Path]:
        """Keep this part, durably; the parts that are here now, in their order. ListError."""
        data = zlib.compress(to_cbor(encode_payload(request)))
        whole = sha256(repr(offer.whole).encode()).hexdigest()[:8]
        edition = offer.edition
        name = f"part-{edition.generation}-{edition.version}-{offer.part}-{whole}-{_digest(data)}"
        held = self.held()
        if sum(part.path.stat().st_size for part in held if part.whole == whole) + len(data) > TOTAL_MAX_B:
            raise ListError(f"the parts of this list are larger than {TOTAL_MAX_B} B")
        try:
            put(self._directory / name, data, self._directory / NEW, self._files)
        except OSError as error:
            with suppress(OSError):
                self._files.remove(self._directory / NEW)
            raise ListError(f"part {offer.part} could not be written: {error}") from None
        for part in held:
            if part.path.name != name and (part.whole != whole or part.number == offer.part):
                self._drop(part)
        return [part.path for part in self.held() if part.whole == whole]

    def forget(self, up_to: Edition) -> None:
        """Lists up to this one are in force, or passed over."""
        for part in self.held():
            if part.edition <= up_to:
                self._drop(part)

    def _drop(self, part: Part) -> None:
        with suppress(OSError):
            self._files.remove(part.path)


def read_parts(paths: list[Path]) -> Iterator[dict[str, Any]]:
    """The requests in these files, one after the other: never all in memory. ListError: one is damaged, or gone."""
    for path in paths:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ListError(f"{path.name} cannot be read: {error.strerror}") from None
        name = NAME.fullmatch(path.name)
        if name is None or _digest(data) != name[5]:
            with suppress(OSError):
                path.unlink()
            raise ListError(f"{path.name} is damaged: send that part again")
        try:
            yield decode_payload(from_cbor(zlib.decompress(data)))
        except (WireError, zlib.error) as error:
            raise ListError(f"{path.name}: {error}") from None


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()[:16]
