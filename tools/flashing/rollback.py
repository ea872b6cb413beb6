"""flash.py rollback: back to the build before, or the end of a trial."""

import argparse
from typing import Any

from tools.flashing import steps, target
from tools.flashing.cli import Out

HELP = f"""\
Ends a trial at once, or goes back to the build that was confirmed before, if the station still holds it and its
security sequence is not too low. Lists, settings and records stay. The reason is logged and told to the cloud.

{target.WHERE}"""
EXAMPLES = """\
examples:
  flash.py rollback --reason "hums at 32 A" --port ssh://flasher@10.0.0.7"""


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "rollback", help="go back to the build before", description=HELP,
        epilog=EXAMPLES,
    )  # fmt: skip
    parser.add_argument("--reason", required=True, help="why; it is logged and reported")
    target.add(parser)


def run(args: argparse.Namespace, out: Out) -> int:
    target.one(args, out, lambda talk, tell: steps.rolled_back(talk, args.reason, tell, args.serial))
    return 0
