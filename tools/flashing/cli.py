"""The command line of tools/flash.py: one table of subcommands, and the one place where a Refused becomes a sentence.

Each subcommand is a module with `add(subparsers)` and `run(args, out) -> int`, loaded when it is typed.
"""

import argparse
import json
import os
import re
import shutil
import sys
import textwrap
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import IO, Any, NoReturn

from agent.update.refusal import INTERNAL, INTERRUPTED, USAGE, Refused

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
exit codes:
    0  done
    2  typed wrongly, or a file that is not there
    3  no device
    4  another device than the build is for
    5  not a build, damaged, or signed by no key that counts there
    6  a downgrade
    7  an interlock: somebody charges, another flasher is at work
    8  the link was lost
    9  what was written is not what was signed, or the disk is full
   10  rolled back: the station went back to its old build
   11  some of several stations failed
   70  a bug of this tool
  130  interrupted by Ctrl-C, or nobody reads what it prints any more

environment:
  STATION_PORT          the device, as --port
  STATION_ROOT          the root's public key, as --root of verify and controller
  STATION_KEY_PASSWORD  of a private key, where nobody can be asked
  STATION_USB           more USB ids of serial ports that may be asked who they are
  STATION_SSH           another program instead of ssh

a first build, from nothing:
  flash.py keys new --root
  flash.py keys new --role dev
  flash.py keys ring --root keys/root.key.pem --dev keys/dev.pub.pem
  flash.py build --key keys/dev.key.pem
  flash.py flash dist/station-VERSION.build --port /dev/ttyUSB0@921600

More in docs/flashing.md."""


WIDTH_MAX, HELP_AT = 100, 24  # columns of a page of help, and where it explains an option


class Manual(argparse.HelpFormatter):
    """Pages as manuals have them: as wide as the terminal, up to a limit. Paragraphs with an indented line stay as they
    are written."""

    def __init__(self, prog: str) -> None:
        columns = shutil.get_terminal_size((WIDTH_MAX, 24)).columns
        super().__init__(prog, max_help_position=HELP_AT, width=max(40, min(columns, WIDTH_MAX) - 2))
        self._action_max_length = HELP_AT - 8

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = (each.strip("\n").splitlines() for each in re.split(r"\n\s*\n", text))
        return "\n\n".join(
            "\n".join(indent + line for line in lines) if any(line.startswith(" ") for line in lines)
            else textwrap.fill(" ".join(lines), width, initial_indent=indent, subsequent_indent=indent)
            for lines in paragraphs
        )  # fmt: skip


class Parser(argparse.ArgumentParser):
    """Of the tool, and of each of its subcommands."""

    def __init__(self, **how: Any) -> None:
        super().__init__(**{**how, "formatter_class": Manual})

    def error(self, message: str) -> NoReturn:
        """One sentence, and where the rest can be read."""
        self.exit(USAGE, f"{self.prog}: {message}: type {self.prog} --help\n")


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
    parser = Parser(
        prog="flash.py",
        description="Builds for charging stations: make, sign, check, and bring them onto stations. Each command has a"
        " page of its own: flash.py COMMAND --help.",
        epilog=EPILOG,
    )
    parser.add_argument("--json", action="store_true", help="one event per line, for machines")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module, line in COMMANDS:
        if name in names:
            import_module(f"tools.flashing.{module}").add(subparsers)
            _take_json(subparsers.choices[name])
        else:
            subparsers.add_parser(name, help=line)
    return parser


def _take_json(parser: argparse.ArgumentParser) -> None:
    """Behind the command, too, as people type it."""
    if "--json" not in parser._option_string_actions:
        parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="events, for machines")
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                _take_json(each)


def main(argv: Sequence[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else list(argv)
    typed = parser(argv)
    args, unknown = typed.parse_known_args(argv)
    if unknown:
        page = f"{typed.prog} {args.command}"
        typed.exit(USAGE, f"{page}: {unknown[0]!r} is nothing that it knows: type {page} --help\n")
    out = Out(args.json)
    module = next(module for name, module, _ in COMMANDS if name == args.command)
    try:
        code: int = import_module(f"tools.flashing.{module}").run(args, out)
        sys.stdout.flush()
        return code
    except Refused as refused:
        out.event("refused", code=refused.code, sentence=refused.sentence, exit=refused.exit)
        print(plain(f"flash.py: {refused.sentence}"), file=sys.stderr)
        return refused.exit
    except (KeyboardInterrupt, Interrupted):
        out.event("refused", code="interrupted", sentence="interrupted", exit=INTERRUPTED)
        print("flash.py: interrupted; a station runs what it ran", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # | head has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor does Python's end complain
        return INTERRUPTED
    except Exception as error:
        sentence = bug(error)
        out.event("refused", code="internal", sentence=sentence, exit=INTERNAL)
        print(f"flash.py: {sentence}", file=sys.stderr)
        return INTERNAL


def bug(error: Exception) -> str:
    """What somebody who meets one should send to us."""
    at = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(at.filename).name}, line {at.lineno}"
    return f"a bug in this tool ({error!r} in {where}): report it with what you typed; no station was harmed by it"
