"""flash.py monitor: watches a station until Ctrl-C: its log, and each change of its state."""

import argparse
from collections.abc import Mapping
from typing import Any

from agent.update import line
from tools.flashing import status, steps, target
from tools.flashing.cli import Interrupted, Out
from tools.flashing.talk import Steps, Talk

HELP = f"""\
Prints each new line of the station's update log and each change of its state until Ctrl-C. It changes nothing, and may
run beside a flash.

{target.WHERE}"""
EXAMPLES = """\
examples:
  flash.py monitor --port ssh://flasher@10.0.0.7"""


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "monitor", help="watch a station's updates until Ctrl-C", description=HELP,
        epilog=EXAMPLES,
    )  # fmt: skip
    parser.add_argument("--every", type=float, default=1.0, metavar="S", help="look so often; default: %(default)s")
    target.add(parser)


def run(args: argparse.Namespace, out: Out) -> int:
    try:
        target.one(args, out, lambda talk, tell: conversation(talk, tell, args, out))
    except Interrupted:
        return 0
    raise AssertionError("only Ctrl-C ends it")


def conversation(talk: Talk, tell: steps.Tell, args: argparse.Namespace, out: Out) -> Steps:
    identity = yield from steps.identified(talk, tell, args.serial)
    before: Mapping[str, Any] = {}
    after = 0
    while True:
        after = yield from steps.logged(talk, after, tell)
        state = yield from talk.ask(line.STATUS)
        if state != before:
            before = state
            facts = {"serial": str(identity.get("serial", "")), "software": str(identity.get("software", ""))}
            tell("status", {**facts, "state": state})
            for text in status.told(state):
                out.say(f"  {text}")
        yield from talk.pause(max(0.1, args.every))
