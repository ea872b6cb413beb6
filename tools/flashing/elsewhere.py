"""Signing with a key in this file system, or with one that never leaves its own machine, in two steps.

  --public PUB --request FILE   writes what the key must sign; nothing else happens
  --public PUB --attach FILE    takes the signature: 64 bytes, or DER as OpenSSL and most hardware give it for ES256
"""

import argparse
from collections.abc import Callable
from pathlib import Path

from agent.update import cose
from agent.update.refusal import Refused
from tools.flashing import files, keyfiles
from tools.flashing.cli import Out

SIGNATURE_FILE_MAX_B = 4_096

Message = Callable[[int, bytes], bytes]  # what a key of this algorithm and name must sign
Signed = tuple[int, bytes, bytes]  # algorithm, key id, signature


def add(parser: argparse.ArgumentParser, option: str, help_: str) -> None:
    parser.add_argument(option, type=Path, metavar="KEY", help=help_)
    parser.add_argument("--public", type=Path, metavar="PUB", help="the public half of a key that is elsewhere")
    parser.add_argument("--request", type=Path, metavar="FILE", help="write here what that key must sign, and end")
    parser.add_argument("--attach", type=Path, metavar="FILE", help="the signature that it made of that")


def signed(args: argparse.Namespace, key: Path | None, message: Message, out: Out) -> Signed | None:
    """None: there is a request now, and no signature yet. Refused("signature") if it is not over this."""
    if (key is None) == (args.public is None):
        raise Refused("usage", "type either the private key, or --public with --request or --attach")
    if key is not None:
        signer = keyfiles.load(key, files.ask_password)
        return signer.alg, signer.kid, signer.sign(message(signer.alg, signer.kid))
    public = keyfiles.load_public(args.public)
    alg, kid = keyfiles.alg_of(public), cose.kid_of(public)
    if (args.request is None) == (args.attach is None):
        raise Refused("usage", "type --request FILE first, and --attach FILE when the key has signed that")
    if args.request is not None:
        files.write(args.request, message(alg, kid))
        out.say(f"{args.request}: have it signed, then type the same with --attach and the signature")
        out.event("request", path=args.request, kid=kid)
        return None
    signature = _flat(files.read(args.attach, SIGNATURE_FILE_MAX_B), alg)
    cose.checker(alg, public)(message(alg, kid), signature)
    return alg, kid, signature


def _flat(data: bytes, alg: int) -> bytes:
    if len(data) == cose.SIGNATURE_B:
        return data
    try:
        if alg == cose.ES256:
            return keyfiles.flat(data)
    except ValueError:
        pass
    raise Refused("usage", f"a signature of {len(data)} bytes is none of this key: attach its 64 bytes, or DER")
