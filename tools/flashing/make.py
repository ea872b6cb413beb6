"""flash.py build: this checkout's commit as a build, for every platform and every board that has firmware."""

import argparse
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from agent import __version__
from agent.board import Board
from agent.board import load as load_board
from agent.outbox import MIGRATIONS
from agent.pintable import pin_table, pins_hash
from agent.settings import ConfigError
from agent.update import build, cose, suit
from agent.update.refusal import Refused
from board.controller import contract
from board.firmware import image
from tools.flashing import files, keyfiles, packing, tree, wheels
from tools.flashing.cli import Out

ROOT = tree.ROOT
MADE_OF = ("agent", "board", "tools", "pyproject.toml")  # what a build depends on
COMMIT_DIGITS = 10  # in the version's name; the build has the whole; of a firmware's hash as many
ROM = "app.rom"  # the one file of a controller's component
CONTRACT = [contract.MAJOR, contract.MINOR_FIRST, contract.MINOR_LAST]

HELP = """\
Makes dist/station-VERSION.build of the commit that is checked out. The same commit gives the same bytes; the signature
may differ. Python packages come from PyPI, by the hashes of tools/flashing/wheels.txt, and stay in
~/.cache/station-agent/wheels. Without --key it waits for its signature: see flash.py sign."""


@dataclass(frozen=True, slots=True)
class Source:
    """What a build is made of."""

    commit: str
    made_at_s: int  # the commit's time: the build's own time would not be the same twice
    files: tree.Files

    @property
    def version(self) -> str:
        digits, _, changes = self.commit.partition("+")
        return f"{__version__}+g{digits[:COMMIT_DIGITS]}{'.' if changes else ''}{changes}"
EXAMPLES = """\
examples:
  flash.py build --key keys/dev.key.pem
  flash.py build --platform aarch64 --board duo_cm4 -o try.build
  flash.py build --sequence 4 --key keys/prod.key.pem"""


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "build", help="make a build of this checkout", description=HELP,
        epilog=EXAMPLES,
    )  # fmt: skip
    option = parser.add_argument
    option("-o", "--output", type=Path, metavar="FILE", help="default: dist/station-VERSION.build")
    option("--key", type=Path, metavar="FILE", help="sign it with this private key")
    option("--keyring", type=Path, metavar="FILE", help=f"the one it brings; default: {files.RING!r} beside the key")
    option("--sequence", type=int, default=0, metavar="N", help="its security sequence, default 0: a station that has"
           " confirmed a higher one refuses it. Raise it when older builds must never come back")  # fmt: skip
    option("--platform", action="append", choices=build.PLATFORMS, help="default: all; repeat for several")
    option("--board", action="append", metavar="NAME", help='firmware for these boards; default: all; "" for none')
    option("--with-changes", action="store_true", help="build the working folder as it is; only dev keys sign that")
    option("--lock", action="store_true", help="resolve the Python packages anew, write wheels.txt, and end")


def run(args: argparse.Namespace, out: Out) -> int:
    if args.lock:
        count = wheels.lock()
        out.say(f"{wheels.LOCK.relative_to(ROOT)}: {count} packages. Commit it.")
        out.event("locked", packages=count)
        return 0
    if not 0 <= args.sequence <= suit.SEQUENCE_MAX:
        raise Refused("usage", f"a security sequence is 0 to {suit.SEQUENCE_MAX}: type --sequence 0, or a higher one")
    signer = keyfiles.load(args.key, files.ask_password) if args.key else None
    ring = files.ring(args)
    source = found(with_changes=args.with_changes)
    if signer:
        files.check_key(source.commit, ring, signer.kid)
    boards = chosen(args.board)
    data = made(source, args.platform or build.PLATFORMS, boards, args.sequence, out, signer, ring)
    path: Path = args.output or ROOT / "dist" / f"station-{source.version}.build"
    files.write(path, data)
    tell(path, data, out)
    return 0


def made(
    source: Source,
    platforms: Collection[str],
    boards: Collection[Board],
    sequence: int,
    out: Out,
    signer: cose.Signer | None = None,
    ring: bytes = b"",
) -> bytes:
    """The whole file."""
    contents = [*apps(source, platforms, out), *firmwares(source, boards, out)]
    unsigned = packing.packed(source.version, source.commit, sequence, contents)
    return packing.sealed(unsigned, ring, signer or packing.Nobody())


def tell(path: Path, data: bytes, out: Out) -> None:
    head = build.load_head(files.head_bytes(data), None)
    kid = head.kid if head.kid != packing.UNSIGNED else None
    out.say(f"{path}: {head.version}, {len(data):,} bytes, signed by {kid.hex() if kid else 'nobody yet'}")
    out.event(
        "built", path=path, version=head.version, commit=head.commit, size_b=len(data), kid=kid,
        digest=head.digest, sha256=sha256(data).digest(),
    )  # fmt: skip


def found(*, with_changes: bool, folder: Path = ROOT) -> Source:
    """The commit that is checked out; Refused if what a build is made of differs from it."""
    commit = tree.git(folder, "rev-parse", "HEAD").decode().strip()
    made_at_s = int(tree.git(folder, "log", "-1", "--format=%ct").decode())
    changed = tree.git(folder, "status", "--porcelain", "--", *MADE_OF).decode().splitlines()
    if not changed:
        return Source(commit, made_at_s, tree.read_commit(folder))
    if with_changes:
        return Source(commit + files.CHANGED, made_at_s, tree.read_folder(folder))
    raise Refused(
        "usage", f"{changed[0][3:]} and maybe more is not committed: commit it, or build it with --with-changes"
    )


# -- components --------------------------------------------------------------------------------------------------------


def apps(source: Source, platforms: Collection[str], out: Out) -> Iterator[packing.Content]:
    for platform in platforms:
        out.say(f"app for {platform}")
        facts = {
            "version": source.version, "build_time_s": source.made_at_s, "python": wheels.PYTHON, "contract": CONTRACT,
            "schema": [0, len(MIGRATIONS)],  # it reads databases from here, and writes them as there
        }  # fmt: skip
        yield packing.Content(build.APP, platform, facts, tree.tree(source.files, platform, source.version))


def firmwares(source: Source, boards: Collection[Board], out: Out) -> Iterator[packing.Content]:
    for board in boards:
        out.say(f"firmware for {board.name}")
        name, rom = firmware(board)
        facts = {
            "version": source.version, "board": board.name, "contract": CONTRACT, "pins_hash": pins_hash(board),
            "image": name,
        }  # fmt: skip
        yield packing.Content(build.CONTROLLER, board.name, facts, {ROM: (rom, False)})


def firmware(board: Board) -> tuple[str, bytes]:
    """The image and the version that it calls itself: of its content alone, for a chip is not flashed with what it has
    only because the app beside it is a new one."""
    pins, port = pin_table(board), "rp2" if board.controller.chip == "rp2040" else "unix"
    version = f"{__version__}+f{sha256(image(pins, '', port)).hexdigest()[:COMMIT_DIGITS]}"
    return version, image(pins, version, port)


def chosen(names: Collection[str] | None) -> list[Board]:
    """The boards that have firmware, or those of them that were asked for."""
    paths = sorted((ROOT / "board").glob("*.toml"))
    try:
        boards = [board for board in map(load_board, paths) if board.controller.chip != "none"]
    except ConfigError as error:
        raise Refused("usage", str(error)) from None
    known = [board.name for board in boards]
    if unknown := set(names or ()) - {"", *known}:
        raise Refused("usage", f"no board {min(unknown)!r} has firmware: type {' or '.join(known)}")
    return boards if names is None else [board for board in boards if board.name in names]
