"""flash.py controller: brings firmware onto a port controller on its own serial line, without a station."""

import argparse
import os
from binascii import b2a_base64
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Protocol

from agent.update import build, suit
from agent.update.chip import Flash, Image, Look, Progress, Report, Rollback, Talk
from agent.update.chipline import converse
from agent.update.keyring import Trust
from agent.update.refusal import Refused
from tools.flashing import keyfiles, schema
from tools.flashing.buildfile import BuildFile
from tools.flashing.cli import Out
from tools.flashing.lines import BAUD, SerialLine, address
from tools.flashing.verify import ROOT_ENV

PART_B = 768  # of a piece, in one line at the prompt
PROMPT_HOME = "home_rp2.Home()"

HELP = f"""\
For the bench, and for a controller that no station reaches any more. The signature is checked here, for the chip cannot
(--root, or {ROOT_ENV}); the chip refuses another board's image, checks every piece and the whole, and goes back to
its old firmware by itself if the new one does not come up. A port that is in use is not interrupted, unless --override
says why. Without BUILD it says what the controller runs.

--prompt is for a chip that answers only MicroPython's prompt: its boot part is there and its start failed. It needs
mpremote, and a prompt that the chip still has: one in production has none."""
EXAMPLES = """\
examples:
  flash.py controller --port /dev/ttyUSB0
  flash.py controller station-2.1.0.build --port /dev/ttyUSB0 --root keys/root.pub.pem
  flash.py controller --port /dev/ttyUSB0 --rollback"""


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "controller", help="bring firmware onto a port controller's own line", description=HELP, epilog=EXAMPLES,
    )  # fmt: skip
    option = parser.add_argument
    option("build", type=Path, nargs="?", help="the build's file")
    option("--port", required=True, metavar="TTY", help="the controller's serial port, /dev/ttyUSB0 or …@115200")
    option("--board", default="", help="which of the build's boards it is, if there is more than one")
    option("--root", type=Path, metavar="PUB", help=f"the root's public key; default: {ROOT_ENV}")
    option("--override", default="", metavar="REASON", help="stop ports that are in use")
    option("--prompt", action="store_true", help="over MicroPython's prompt")
    option("--rollback", action="store_true", help="back to the firmware in the other slot; without BUILD")
    option("--json", action="store_true", default=argparse.SUPPRESS, help="one event per line, for machines")


def run(args: argparse.Namespace, out: Out) -> int:
    if args.rollback and (args.build or args.prompt):
        raise Refused("usage", "--rollback takes no build and no --prompt: it goes to what the other slot holds")
    if args.prompt and not args.build:
        raise Refused("usage", "--prompt brings a build onto the chip: name its file")
    out.event("began", schema=schema.SCHEMA, command=args.command)
    if args.build is None:
        nonce = os.urandom(8)
        asked: Talk = Rollback(nonce=nonce, override=args.override) if args.rollback else Look(nonce=nonce)
        return said(conversed(args.port, asked), out)
    with closing(BuildFile(args.build)) as file:
        head = file.verified(Trust(root_of(args), None))
        image = image_in(file, head, args.board)
        allow = allowed(head.role)
        if args.prompt:
            with closing(mpremote(args.port)) as prompt:
                recover(prompt, image, allow)
            return said(conversed(args.port, Look(nonce=os.urandom(8), patience_s=20.0)), out)
        talk = Flash(image, nonce=os.urandom(8), override=args.override, tell=teller(out), allow=allow)
        return said(conversed(args.port, talk), out)


def root_of(args: argparse.Namespace) -> bytes:
    root = args.root or os.environ.get(ROOT_ENV)
    if not root:
        raise Refused("usage", f"only a root key says whose builds count: type --root root.pub.pem, or set {ROOT_ENV}")
    return keyfiles.load_public(Path(root))


def image_in(file: BuildFile, head: build.Head, board: str) -> Image:
    """The build's firmware for this board, or the only one that it has."""
    boards = [name for kind, name in head.named if kind == build.CONTROLLER and board in ("", name)]
    if len(boards) != 1:
        names = ", ".join(name for kind, name in head.named if kind == build.CONTROLLER) or "no board"
        raise Refused("board", f"this build has firmware for {names}: name one of them with --board")
    index = head.components[(build.CONTROLLER, boards[0])]
    raw = suit.read(head.raw).payloads[f"#{build.CONTROLLER}-{boards[0]}"]
    return Image(index, raw, lambda piece: file.read(file.place(piece), piece.stored_b))


def allowed(role: str) -> Callable[[Mapping[str, Any]], None]:
    def allow(identity: Mapping[str, Any]) -> None:
        if identity.get("is_production") and role != "prod":
            why = f"this controller is in production, the build is signed by a {role} key"
            raise Refused("role", f"{why}: sign it with a prod key")

    return allow


def teller(out: Out) -> Callable[[Progress], None]:
    """Each step once, and how far it is in tenths."""
    told: set[object] = set()

    def tell(progress: Progress) -> None:
        tenths = 10 * progress.sent_b // progress.total_b if progress.total_b else 0
        if (progress.step, tenths) not in told:
            told.add((progress.step, tenths))
            facts = {"sent_b": progress.sent_b, "total_b": progress.total_b, "again_b": progress.again_b}
            out.event("step", step=progress.step, **facts)
            out.say(f"{progress.step}" + (f" {progress.sent_b:,} of {progress.total_b:,}" if progress.total_b else ""))

    return tell


def said(report: Report, out: Out) -> int:
    """In words, and as an event."""
    out.event(
        "controller", board=report.board, version=report.version, digest=report.digest, on_trial=report.on_trial,
        fell_back=report.fell_back, is_receiving=report.is_receiving, contract=list(report.contract),
        sent_b=report.sent_b, again_b=report.again_b, have_b=report.have_b,
    )  # fmt: skip
    running = report.version or "firmware that does not say which"
    what = "waits for a flasher" if report.is_receiving else f"runs {running}"
    out.say(f"the controller {report.board} {what}".replace("  ", " "))
    if report.on_trial:
        out.say("it is on trial: it stays once a station has wished for ten seconds")
    if report.fell_back:
        out.say("the firmware that was flashed last failed its trial: this is the one before")
    return 0


# -- a serial line ----------------------------------------------------------------------------------------------------


def conversed(port: str, talk: Talk) -> Report:
    """Refused("busy") where somebody else has the line, such as the station's agent."""
    with closing(SerialLine(address(port, BAUD))) as line:
        return converse(line, talk)


# -- MicroPython's prompt ---------------------------------------------------------------------------------------------


class Prompt(Protocol):
    """A chip that runs the lines it is given."""

    def run(self, code: str) -> str:
        """What they print. Refused, with the chip's own last words."""

    def close(self) -> None: ...


class Mpremote:
    """All that knows mpremote, whose library may change with each version."""

    def __init__(self, port: str) -> None:
        from mpremote.transport import TransportError
        from mpremote.transport_serial import SerialTransport

        self._error = TransportError
        to = address(port, BAUD)
        try:
            self._transport = SerialTransport(to.path, baudrate=to.number)
            self._transport.enter_raw_repl(soft_reset=False)
        except (TransportError, OSError) as error:
            why = f"no MicroPython prompt at {to.path} ({error}): flash without --prompt"
            raise Refused("no-device", why) from None

    def run(self, code: str) -> str:
        try:
            said: bytes = self._transport.exec(code)
        except (self._error, OSError) as error:
            words = str(error).strip().splitlines() or ["nothing"]
            raise Refused("verify", f"the chip says {words[-1][:200]!r}: read it there, with mpremote") from None
        return said.decode("utf-8", "replace").strip()

    def close(self) -> None:
        with suppress(Exception):
            self._transport.close()


def mpremote(port: str) -> Prompt:
    try:
        return Mpremote(port)
    except ImportError:
        raise Refused("usage", "mpremote is not installed: type pip install mpremote") from None


WHO = """
try:
    import fixed
    print(fixed.BOARD, fixed.IS_PRODUCTION)
except ImportError:
    print()
"""
BEGIN = """
import gc, sys
for name in [name for name in sys.modules if name.startswith("board.controller")]:
    del sys.modules[name]
from board.controller import {module}
from board.controller.receive import Room, Target
home = {home}
room = Room()
target = Target(home, index, room)
piece = memoryview(room.piece)
target.open(home.feed)
print(target.wanted)
"""


def recover(
    prompt: Prompt, image: Image, allow: Callable[[Mapping[str, Any]], None], home: str = PROMPT_HOME
) -> None:
    """What the receiver does, line by line at the prompt, with the boot part's own code: the same checks, the same
    slot. `home` makes the chip's Home. At the end the chip is reset into the new image, on trial."""
    board, _, is_production = prompt.run(WHO).partition(" ")
    if not board:
        fix = "freeze one into its MicroPython first (board/controller/manifest.py)"
        raise Refused("wrong-device", f"this chip has no boot part of ours: {fix}")
    if board != image.board:
        raise Refused("board", f"this controller is a {board}, the firmware is for {image.board}: take another")
    allow({"is_production": is_production == "1"})
    prompt.run("from binascii import a2b_base64\nindex = b''")
    for part in parts(image.raw):
        prompt.run(f"index += {part}")
    wanted = prompt.run(BEGIN.format(module=home.split(".")[0], home=home)).strip("[]")
    for number in map(int, wanted.split(",") if wanted else ()):
        stored = image.stored(image.pieces[number])
        for at, part in zip(range(0, len(stored), PART_B), parts(stored), strict=True):
            prompt.run(f"home.feed()\npiece[{at}:{min(at + PART_B, len(stored))}] = {part}")
        prompt.run(f"target.put({number}, piece[:{len(stored)}])\ngc.collect()")
    prompt.run("target.finish()\ntarget.activate()")
    with suppress(Refused):  # it is gone before it can answer
        prompt.run("home.reset()")


def parts(data: bytes) -> Iterator[str]:
    """As the prompt reads them: a chip's small heap takes the whole only so."""
    for at in range(0, len(data), PART_B):
        yield f"a2b_base64('{b2a_base64(data[at : at + PART_B], newline=False).decode()}')"
