"""What several subcommands do with files: builds, keyrings, and the passwords of keys."""

import argparse
import io
import os
import sys
from getpass import getpass
from pathlib import Path

from agent.update import build, keyring, suit
from agent.update.refusal import Refused
from tools.flashing import packing

BUILD_MAX_B = 512 << 20
CHANGED = "+changes"  # ends the commit of a build of uncommitted work
PASSWORD_ENV = "STATION_KEY_PASSWORD"
RING = "keyring"  # the file's name, beside the keys


def ring(args: argparse.Namespace) -> bytes:
    """The keyring that --keyring names, or the one beside the key; b"" for none."""
    path: Path | None = args.keyring
    if path is None and args.key and (beside := args.key.with_name(RING)).exists():
        path = beside
    return read(path, keyring.KEYRING_MAX_B) if path else b""


def ask_password(text: str) -> str:
    """PASSWORD_ENV, or what somebody types. Refused."""
    if password := os.environ.get(PASSWORD_ENV):
        return password
    if not sys.stdin.isatty():
        raise Refused("usage", f"the key has a password and nobody can be asked for it: set {PASSWORD_ENV}")
    try:
        return getpass(text)
    except EOFError:
        raise Refused("usage", "no password was typed: type the command again") from None


def read_build(path: Path) -> bytes:
    return read(path, BUILD_MAX_B)


def head_bytes(data: bytes) -> bytes:
    """The head of a build, as far as it looks like one."""
    return suit.head_bytes(io.BytesIO(data))


def check_key(commit: str, ring: bytes, kid: bytes) -> None:
    """That a station could take it: the build's keyring has the key, and no prod key signs uncommitted work."""
    if not ring:
        return  # a station that has a keyring already needs none
    roles = {key.kid: key.role for key in keyring.load(ring, None).keys}
    if kid not in roles:
        raise Refused("key", f"the keyring that the build brings lacks the key {kid.hex()}: add it with keys ring")
    if roles[kid] == keyring.PROD and commit.endswith(CHANGED):
        raise Refused("role", "this build is of uncommitted work, which no prod key signs: commit, and build again")


def is_unsigned(head: build.Head) -> bool:
    return head.kid == packing.UNSIGNED


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
