"""The command line of tools/flash.py: one table of subcommands, and the one place where a Refused becomes a sentence.

Each subcommand is a module with `add(subparsers)` and `run(args, out) -> int`, loaded when it is typed.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import IO, Any

from agent.update.refusal import INTERNAL, INTERRUPTED, Refused

# What --help lists, in this order: name, module in tools/flashing, one line.
COMMANDS = (
    ("build", "make", "make a build of this checkout"),
    ("sign", "sign", "sign a build, here or with a key that is elsewhere"),
    ("inspect", "inspect", "say what is in a build"),
    ("verify", "verify", "check a build: signature, every piece, and whether a station would take it"),
    ("keys", "keys", "make keys, and the keyring that the root key signs"),
    ("provision", "provision", "give a bare station its identity"),
    ("devices", "devices", "list serial ports, and the stations that answer there"),
    ("flash", "flash", "bring a build onto one station or many"),
    ("resume", "resume", "go on with a flash that was interrupted"),
    ("status", "status", "what a station runs, and what its slots hold"),
    ("rollback", "rollback", "go back to the build before"),
    ("log", "logs", "print a station's update log"),
    ("controller", "controllers", "bring firmware onto a port controller's own line"),
    ("monitor", "monitor", "watch a station's updates until Ctrl-C"),
)

EPILOG = """\
exit codes: 0 done, 2 usage, 3 no device, 4 another device than the build is for, 5 not signed by a key that counts,
or damaged, 6 downgrade, 7 interlock (somebody charges, another flasher), 8 link lost, 9 verification failed, 10 rolled
back, 11 some stations failed, 70 a bug in this tool, 130 interrupted. More in docs/flashing.md."""


class Interrupted(Exception):
    """Somebody has pressed Ctrl-C, and every device was told goodbye."""


class Out:
    """Where a subcommand speaks: sentences for people, or with --json one event per line for machines."""

    def __init__(self, is_json: bool, stream: IO[str] | None = None) -> None:
        self.is_json = is_json
        self.stream = stream or sys.stdout

    def say(self, text: str) -> None:
        """For people alone."""
        if not self.is_json:
            print(plain(text), file=self.stream, flush=True)

    def event(self, name: str, **facts: Any) -> None:
        """For machines alone: {"event": name, ...}; bytes become hex digits."""
        if self.is_json:
            print(json.dumps({"event": name, **facts}, default=_plain), file=self.stream, flush=True)


def plain(text: str) -> str:
    """Lines for a terminal: a build that nobody has verified, or a strange device, must not be able to drive it."""
    return "".join(char if char.isprintable() or char == "\n" else "?" for char in text)


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else str(value)


def parser(names: Sequence[str]) -> argparse.ArgumentParser:
    """With the subcommands of `names` in full, the others by name alone: their modules stay unread."""
    parser = argparse.ArgumentParser(
        prog="flash.py",
        description="Builds for charging stations: make, sign, check, and bring them onto stations.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="one event per line, for machines")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module, line in COMMANDS:
        if name in names:
            import_module(f"tools.flashing.{module}").add(subparsers)
        else:
            subparsers.add_parser(name, help=line)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else list(argv)
    args = parser(argv).parse_args(argv)
    out = Out(args.json)
    module = next(module for name, module, _ in COMMANDS if name == args.command)
    try:
        code: int = import_module(f"tools.flashing.{module}").run(args, out)
        return code
    except Refused as refused:
        out.event("refused", code=refused.code, sentence=refused.sentence, exit=refused.exit)
        print(plain(f"flash.py: {refused.sentence}"), file=sys.stderr)
        return refused.exit
    except (KeyboardInterrupt, Interrupted):
        out.event("refused", code="interrupted", sentence="interrupted", exit=INTERRUPTED)
        print("flash.py: interrupted; a station runs what it ran", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        return INTERNAL
