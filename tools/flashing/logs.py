"""flash.py log: the update log of a station."""

import argparse
from typing import Any

from tools.flashing import steps, target
from tools.flashing.cli import Out
from tools.flashing.talk import Steps, Talk

HELP = f"""\
Prints the station's update log, oldest line first: what was begun, staged, activated, confirmed, rolled back, and why.

{target.WHERE}"""
EXAMPLES = """\
examples:
  flash.py log --port /dev/ttyUSB0@921600
  flash.py log --port ssh://flasher@10.0.0.7 --after 120 --json"""


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "log", help="print a station's update log", description=HELP,
        epilog=EXAMPLES,
    )  # fmt: skip
    parser.add_argument("--after", type=int, default=0, metavar="N", help="only lines after that number")
    target.add(parser)


def run(args: argparse.Namespace, out: Out) -> int:
    target.one(args, out, lambda talk, tell: conversation(talk, tell, args))
    return 0


def conversation(talk: Talk, tell: steps.Tell, args: argparse.Namespace) -> Steps:
    yield from steps.identified(talk, tell, args.serial)
    yield from steps.logged(talk, args.after, tell)
    yield from steps.bye(talk)
