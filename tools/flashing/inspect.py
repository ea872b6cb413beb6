"""flash.py inspect: what is in a build, believed or not."""

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.update import build, keyring
from agent.update.index import Index
from agent.update.refusal import Refused
from tools.flashing import files
from tools.flashing.cli import Out

HELP = """\
Says what is in a build: version, commit, security sequence, whose signature it has, and each component. Verifies
nothing: see flash.py verify."""
EXAMPLES = """\
examples:
  flash.py inspect dist/station-2.1.0.build
  flash.py inspect dist/station-2.1.0.build --files --json"""


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser("inspect", help="say what is in a build", description=HELP, epilog=EXAMPLES)
    parser.add_argument("build", type=Path, help="the build's file")
    parser.add_argument("--files", action="store_true", help="and list its files")


def run(args: argparse.Namespace, out: Out) -> int:
    data = files.read_build(args.build)
    head = build.load_head(files.head_bytes(data), None)
    out.say(f"version     {head.version}\ncommit      {head.commit}\nsequence    {head.security_sequence}")
    out.say(f"name        {head.digest.hex()}")
    out.say(f"signed by   {signer(head)}, not verified here")
    out.say(f"size        {len(data):,} bytes, of them {len(head.raw):,} the head")
    out.event(
        "build", path=args.build, version=head.version, commit=head.commit, sequence=head.security_sequence,
        digest=head.digest, kid=None if files.is_unsigned(head) else head.kid, size_b=len(data),
        head_b=len(head.raw), components=[f"{kind} {name}" for kind, name in head.named],
    )  # fmt: skip
    for (kind, name), content in head.components.items():
        component(kind, name, content, out, with_files=args.files)
    return 0


def signer(head: build.Head) -> str:
    if files.is_unsigned(head):
        return "nobody yet"
    kid = head.kid.hex() if head.kid else "a key without a name"
    try:
        ring = keyring.load(head.keyring, None) if head.keyring else keyring.Keyring(0, ())
    except Refused:
        return f"{kid}; its keyring is damaged"
    role = next((key.role for key in ring.keys if key.kid == head.kid), None)
    return f"{kid} ({role or 'a key that is not'} in its own keyring, version {ring.version})"


def component(kind: str, name: str, content: Index, out: Out, *, with_files: bool) -> None:
    stored_b = sum(piece.stored_b for piece in content.pieces().values())
    out.say(f"\n{kind} {name}: {len(content.files):,} files, {content.size_b:,} bytes, {stored_b:,} stored")
    for fact, value in sorted(content.facts.items()):
        out.say(f"  {fact:14}{said(fact, value)}")
    listed = [{"path": file.path, "size_b": file.size_b} for file in content.files] if with_files else None
    out.event("component", component=f"{kind} {name}", facts=dict(content.facts), files=len(content.files),
              size_b=content.size_b, stored_b=stored_b, **({"list": listed} if listed is not None else {}))  # fmt: skip
    for file in content.files if with_files else ():
        out.say(f"  {file.size_b:10,}  {file.path}")


def said(fact: str, value: Any) -> str:
    if fact == "build_time_s" and abs(value) < 1 << 35:
        return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%S} UTC"
    if fact == "contract":
        return f"{value[0]}.{value[1]} to {value[0]}.{value[2]}"
    return " to ".join(map(str, value)) if isinstance(value, list) else str(value)
