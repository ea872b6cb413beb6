"""flash.py resume: goes on with a flash that was interrupted, and begins none."""

import argparse
from contextlib import closing
from pathlib import Path
from typing import Any

from agent.update.refusal import Refused
from tools.flashing import flash, target
from tools.flashing.buildfile import BuildFile
from tools.flashing.cli import Out
from tools.flashing.fleet import Rollout

HELP = f"""\
Goes on with a flash that was interrupted: the station says what it has, and only the rest is sent. Without a build and
an address those of the last flash on this computer are taken. A station on which no flash of this build was begun is
left as it is (flash does all this, too, and begins one there).

{target.WHERE}"""
EXAMPLES = """\
examples:
  flash.py resume
  flash.py resume station-2.1.0.build --port /dev/ttyUSB0@921600"""


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "resume", help="go on with a flash that was interrupted", description=HELP,
        epilog=EXAMPLES,
    )  # fmt: skip
    parser.add_argument("build", type=Path, nargs="?", help="the build's file; default: that of the last flash")
    flash.add_options(parser)


def run(args: argparse.Namespace, out: Out) -> int:
    if args.override and args.when_idle:
        raise Refused("usage", "--override does not wait and --when-idle does: choose one of them")
    flash.check_retry(args)
    if args.build is None:
        args.build, port = flash.remembered()
        args.port = args.port or port or None
    with closing(BuildFile(args.build)) as file:
        return flash.flashed(args, out, Rollout([flash._single(args)], 0), flash.wished(args, file))
