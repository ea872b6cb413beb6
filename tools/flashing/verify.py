"""flash.py verify: whether a build is whole and signed by a key that counts, and whether a station would take it."""

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent.update import build, keyring, rules
from agent.update.refusal import Refused
from tools.flashing import files, keyfiles
from tools.flashing.cli import Out

ROOT_ENV = "STATION_ROOT"

HELP = f"""\
Checks the signature, by the root's public key (--root, or {ROOT_ENV}) and the newest keyring, then every piece. With
--platform it also says whether such a station would take the build."""
EXAMPLES = """\
examples:
  flash.py verify BUILD --root keys/root.pub.pem
  flash.py verify BUILD --root keys/root.pub.pem --platform aarch64 --board duo_cm4 --production --floor 3"""


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "verify", help="check a build: signature, every piece, and whether a station would take it", description=HELP,
        epilog=EXAMPLES,
    )  # fmt: skip
    option = parser.add_argument
    option("build", type=Path, help="the build's file")
    option("--root", type=Path, metavar="PUB", help=f"the root's public key; default: {ROOT_ENV}")
    option("--keyring", type=Path, metavar="FILE", help="a keyring that may be newer than the build's")
    option("--platform", choices=build.PLATFORMS, help="of the station")
    option("--board", default="", metavar="NAME", help="of the station")
    option("--production", action="store_true", help="the station is in production")
    option("--floor", type=int, default=0, metavar="N", help="the security sequence that the station has confirmed")


def run(args: argparse.Namespace, out: Out) -> int:
    root = args.root or os.environ.get(ROOT_ENV)
    if not root:
        raise Refused("usage", f"only a root key says whose builds count: type --root root.pub.pem, or set {ROOT_ENV}")
    ring = files.read(args.keyring, keyring.KEYRING_MAX_B) if args.keyring else None
    data = files.read_build(args.build)
    head = build.load_head(files.head_bytes(data), keyring.Trust(keyfiles.load_public(Path(root)), ring))
    count = check_pieces(head, data)
    out.say(f"{args.build}: {head.version}, signed by the {head.role} key {head.kid.hex() if head.kid else ''}")
    out.say(f"{count:,} pieces, each as it was signed")
    if args.platform:
        station = rules.Station(args.platform, args.board, args.production, args.floor)
        if refused := rules.refusal(head, replace(station, needs_controller=bool(args.board))):
            raise refused
        out.say("such a station would take it")
    out.event("verified", path=args.build, version=head.version, role=head.role, kid=head.kid, pieces=count)
    return 0


def check_pieces(head: build.Head, data: bytes) -> int:
    """Their number. Refused("hash") for one that is not what was signed, Refused("format") for a a wrong length."""
    if not head.is_whole:
        raise Refused("format", "the head lacks an index: this is a part of a build, fetch the whole")
    at = len(head.raw)
    places = build.pieces_of(head)
    size_b = at + sum(piece.stored_b for _, piece in places.values())
    if len(data) != size_b:
        raise Refused("format", f"the file has {len(data):,} bytes, the build has {size_b:,}: fetch it anew")
    for offset, piece in places.values():
        build.unpack(piece, data[at + offset : at + offset + piece.stored_b])
    return len(places)
