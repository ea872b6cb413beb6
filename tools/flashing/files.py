"""What several subcommands do with files: builds, keyrings, keys and their passwords, and options that ask for them."""

import argparse
import io
import os
from getpass import getpass
from pathlib import Path

from agent.update import build, keyring, suit
from agent.update.refusal import Refused
from tools.flashing import keyfiles, packing

BUILD_MAX_B = 512 << 20
RING = "keyring"  # the file's name, beside the keys


def add_signing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--key", type=Path, metavar="FILE", help="sign it with this private key")
    parser.add_argument(
        "--keyring", type=Path, metavar="FILE", help=f"the keyring it brings; default: {RING!r} beside the key"
    )


def signing(args: argparse.Namespace) -> tuple[keyfiles.FileSigner | None, bytes]:
    """The key and the keyring that the options name."""
    path: Path | None = args.keyring
    if path is None and args.key and (beside := args.key.with_name(RING)).exists():
        path = beside
    ring = read(path, keyring.KEYRING_MAX_B) if path else b""
    return keyfiles.load(args.key, ask_password) if args.key else None, ring


def ask_password(text: str) -> str:
    """STATION_KEY_PASSWORD, or what somebody types."""
    return os.environ.get("STATION_KEY_PASSWORD") or getpass(text)


def read_build(path: Path) -> bytes:
    return read(path, BUILD_MAX_B)


def head_bytes(data: bytes) -> bytes:
    """The head of a build, as far as it looks like one."""
    return build.head_bytes(io.BytesIO(data))


def pieces_are_whole(head: build.Head, size_b: int) -> bool:
    """Whether a file of `size_b` bytes can hold this head and its pieces, and nothing else."""
    return size_b == len(head.raw) + sum(piece.stored_b for _, piece in build.pieces_of(head).values())


def is_unsigned(head: build.Head | suit.Envelope) -> bool:
    kid = head.kid if isinstance(head, build.Head) else head.block.kid
    return kid == packing.UNSIGNED


def read(path: Path, most_b: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(most_b + 1)
    except OSError as error:
        raise Refused("usage", f"{path} cannot be read ({error.strerror}): type the path of a file") from None
    if len(data) > most_b:
        raise Refused("usage", f"{path} has more than {most_b} bytes, it is something else: type another path")
    return data


def write(path: Path, data: bytes) -> None:
    """The whole file or none, whatever happens meanwhile."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with new.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise Refused("usage", f"{path} cannot be written ({error.strerror}): type another path with -o") from None
