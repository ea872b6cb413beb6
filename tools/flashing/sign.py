"""flash.py sign: a signature for a build that has none, or another one in its place."""

import argparse
from pathlib import Path
from typing import Any

from agent.update import build, suit
from tools.flashing import elsewhere, files
from tools.flashing.cli import Out
from tools.flashing.make import tell

HELP = """\
Signs a build, in place or into another file. Its content stays as it is, to the byte.

A key that is elsewhere (a smart card, an HSM, another room) signs in two steps:
  flash.py sign BUILD --public prod.pub.pem --request to-be-signed
  openssl dgst -sha256 -sign … -out signature to-be-signed       (there; an EdDSA key: openssl pkeyutl -sign -rawin)
  flash.py sign BUILD --public prod.pub.pem --attach signature"""
EXAMPLES = """\
examples:
  flash.py sign dist/station-2.1.0.build --key keys/prod.key.pem"""


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "sign", help="sign a build, here or with a key that is elsewhere", description=HELP,
        epilog=EXAMPLES,
    )  # fmt: skip
    parser.add_argument("build", type=Path, help="the build's file")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: in place")
    elsewhere.add(parser, "--key", "the private key")
    parser.add_argument("--keyring", type=Path, metavar="FILE", help="the keyring it brings from now on; default:"
                        f" {files.RING!r} beside the key, else what it brings already")  # fmt: skip


def run(args: argparse.Namespace, out: Out) -> int:
    data = files.read_build(args.build)
    head = files.head_bytes(data)
    build.load_head(head, None)  # what is no build gets no signature
    envelope = suit.read(head)
    signed = elsewhere.signed(args, args.key, lambda alg, kid: suit.to_be_signed(envelope.manifest, alg, kid), out)
    if signed is None:
        return 0
    ring = files.ring(args) or envelope.payloads.get(build.KEYRING, b"")
    files.check_key(suit.load_manifest(envelope.manifest).commit, ring, signed[1])
    payloads = {**envelope.payloads, **({build.KEYRING: ring} if ring else {})}
    result = suit.attach(envelope.manifest, payloads, *signed) + data[len(head) :]
    files.write(args.output or args.build, result)
    tell(args.output or args.build, result, out)
    return 0
