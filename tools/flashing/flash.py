"""flash.py flash: brings a build onto one station or many."""

import argparse
import json
import os
import queue
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

from agent.update.refusal import INTERNAL, INTERRUPTED, Refused
from tools.flashing import driver, fleet, schema, steps, target
from tools.flashing.buildfile import BuildFile
from tools.flashing.cli import Interrupted, Out, bug
from tools.flashing.fleet import Rollout, Row, Target
from tools.flashing.show import Show, show_for
from tools.flashing.steps import Flashed, Wish
from tools.flashing.talk import Steps, Talk

AGAIN_FOR_S = 60.0
BEGUN = ("waiting", "activated", "trial")  # stages in which the station needs nobody any more
HELP = f"""\
Identifies the station, checks the build by the station's own root key and rules, says what it will send, sends it, has
it read back, and begins its trial. Only pieces that the station lacks are sent. The station runs its old build until
the new one is all there and verified; a new one that is not found healthy gives way to the old one by itself.

A link that is lost is tried again for --retry seconds. Whatever ends the flash (Ctrl-C, a cable, a power cut), the same
command, or resume, goes on where it was: the station says what it has.

{target.WHERE}"""

FLEET = """\
--stations FILE has one station a line: address, serial number (or -) and name; # begins a comment. The first --canary
stations are flashed first, and the others only when these have confirmed the build. When more than --max-failures have
failed nobody new is begun; those that are at work go on to their end. A table sums up; the exit code is 11 if any
station failed or was not begun."""
EXAMPLES = """\
examples:
  flash.py flash station-2.1.0.build --port /dev/ttyUSB0@921600 --dry-run
  flash.py flash station-2.1.0.build --port ssh://flasher@10.0.0.7 --when-idle
  flash.py flash station-2.1.0.build --stations site.txt --canary 2 --max-failures 3"""


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "flash", help="bring a build onto one station or many", description=HELP, epilog=EXAMPLES,
    )  # fmt: skip
    parser.add_argument("build", type=Path, help="the build's file")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done and how long it takes; no more")
    add_options(parser)
    option = parser.add_argument_group("many stations", FLEET).add_argument
    option("--stations", type=Path, metavar="FILE", help="a file with one station a line, instead of --port")
    option("--canary", type=int, default=1, metavar="N", help="so many first, alone; default: %(default)s")
    option("--max-failures", type=int, default=0, metavar="N", help="so many may fail; default: %(default)s")
    option("-j", "--jobs", type=int, default=10, metavar="N", help="so many at once; default: %(default)s")


def add_options(parser: argparse.ArgumentParser) -> None:
    """What flash and resume share."""
    target.add(parser)
    option = parser.add_argument_group("the trial").add_argument
    option("--stage", action="store_true", help="only stage the build; begin no trial")
    option("--when-idle", action="store_true", help="begin the trial as soon as nobody charges")
    option("--override", default="", metavar="REASON", help="begin it although somebody charges; the reason is logged")
    option("--no-wait", action="store_true", help="do not wait until the station has confirmed the build")
    option("--retry", type=float, default=AGAIN_FOR_S, metavar="S", help="try a lost link again; default: %(default)s")


def run(args: argparse.Namespace, out: Out) -> int:
    if args.override and args.when_idle:
        raise Refused("usage", "--override does not wait and --when-idle does: choose one of them")
    if args.stations and args.port:
        raise Refused("usage", "--stations has an address for each station: leave --port out")
    if min(args.canary, args.max_failures, args.jobs - 1) < 0:
        raise Refused("usage", "--canary and --max-failures begin with 0, --jobs with 1")
    check_retry(args)
    with closing(BuildFile(args.build)) as file:
        targets = fleet.read(args.stations, args.baud) if args.stations else [_single(args)]
        canaries = args.canary if len(targets) > 1 else 0
        rollout = Rollout(targets, canaries, args.jobs, args.max_failures)
        return flashed(args, out, rollout, wished(args, file))


def check_retry(args: argparse.Namespace) -> None:
    if not 0 <= args.retry < inf:
        raise Refused("usage", "--retry is a number of seconds from 0 up: type --retry 60")


def wished(args: argparse.Namespace, file: BuildFile) -> Wish:
    return Wish(
        file, is_dry=getattr(args, "dry_run", False), activates=not args.stage, waits=not args.no_wait,
        when_idle=args.when_idle, override=args.override, goes_on=args.command == "resume",
    )  # fmt: skip


def _single(args: argparse.Namespace) -> Target:
    to = target.chosen(args)
    return Target(str(to), to, args.serial)


def flashed(args: argparse.Namespace, out: Out, rollout: Rollout, wish: Wish) -> int:
    """The exit code, after a table if there are many."""
    show, is_fleet = show_for(out), len(rollout.targets) > 1
    out.event("began", schema=schema.SCHEMA, command=args.command)
    if not wish.is_dry:
        remember(args, wish.build.path, rollout)
    with closing(show), closing(target.Tracing(args)) as trace:

        def flash(at: Target, stop: threading.Event) -> Row:
            return at_one(at, wish, show, trace.trace, stop, args.retry)

        is_interrupted = carry_out(rollout, flash)
    if is_fleet:
        for line in fleet.table(rollout.rows, rollout.not_begun):
            out.say(line)
        done = sum(row.is_well for row in rollout.rows)
        out.event(
            "summary", stations=len(rollout.targets), done=done, failed=rollout.failed,
            not_begun=len(rollout.not_begun), exit=INTERRUPTED if is_interrupted else rollout.exit,
        )  # fmt: skip
    return INTERRUPTED if is_interrupted else rollout.exit


def carry_out(rollout: Rollout, flash: Callable[[Target, threading.Event], Row]) -> bool:
    """One thread for each station at work. Ctrl-C: nobody new, and those at work say goodbye; True then."""
    ended: queue.SimpleQueue[Row] = queue.SimpleQueue()
    stop = threading.Event()

    def work(at: Target) -> None:
        ended.put(flash(at, stop))

    while not rollout.is_over:
        try:
            for at in rollout.begin():
                threading.Thread(target=work, args=(at,), name=at.name, daemon=True).start()
            rollout.ended(ended.get())
        except KeyboardInterrupt:
            stop.set()
            rollout.stop()
    return stop.is_set()


def at_one(
    at: Target, wish: Wish, show: Show, trace: driver.Trace | None, stop: threading.Event, again_for_s: float
) -> Row:
    """One station, whatever happens there."""
    began_s = time.monotonic()
    wish = replace(wish, serial=at.serial, rate_bps=at.address.rate_bps)
    tell = target.teller(show, at.name)
    seen = {"serial": at.serial, "stage": "", "slot": ""}

    def told(name: str, facts: Any) -> None:
        for what in seen.keys() & facts.keys():
            seen[what] = facts[what]
        tell(name, facts)

    def conversation(talk: Talk) -> Steps:
        is_begun = seen["stage"] in BEGUN
        more: dict[str, Any] = {"serial": seen["serial"], "begun": seen["slot"]} if is_begun else {}
        return steps.flashed(talk, replace(wish, **more), told)

    def row(result: str, **more: Any) -> Row:
        return Row(at, result, **{"serial": seen["serial"], "seconds": time.monotonic() - began_s, **more})

    try:
        end: Flashed = driver.persistent(
            at.address, conversation, again_for_s=again_for_s, trace=trace, stop=stop,
            lost=lambda refused: tell("lost", {"sentence": refused.sentence}),
        )  # fmt: skip
        made = row(end.result, version=end.version, slot=end.slot, sent_b=end.sent_b, again_b=end.again_b)
    except Refused as refused:
        made = row("failed", code=refused.code, sentence=refused.sentence, exit=refused.exit)
    except Interrupted:
        made = row("failed", code="interrupted", sentence=f"interrupted; {goes_on(seen['stage'])}", exit=INTERRUPTED)
    except Exception as error:
        made = row("failed", code="internal", sentence=bug(error), exit=INTERNAL)
    tell("ended", ended_facts(made))
    return made


def goes_on(stage: str) -> str:
    """What the station does after Ctrl-C."""
    match stage:
        case "waiting":
            return "the station tries the build by itself as soon as nobody charges: flash.py status shows it"
        case _ if stage in BEGUN:
            return "the station goes on with the trial by itself: flash.py status shows how it ends"
    return "the station runs what it ran, and flash.py resume goes on"


def ended_facts(row: Row) -> dict[str, Any]:
    return {
        "serial": row.serial, "result": row.result, "version": row.version, "slot": row.slot, "sent_b": row.sent_b,
        "again_b": row.again_b, "seconds": round(row.seconds, 1), "code": row.code, "sentence": row.sentence,
        "exit": row.exit,
    }  # fmt: skip


# -- what resume goes on with ------------------------------------------------------------------------------------------


def notes() -> Path:
    """Where the last flash is noted down, for resume without arguments."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "station-flash" / "last.json"


def remember(args: argparse.Namespace, build: Path, rollout: Rollout) -> None:
    """A note that cannot be written is none."""
    port = "" if getattr(args, "stations", None) else str(rollout.targets[0].address)
    with suppress(OSError):
        path = notes()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"build": str(build.absolute()), "port": port}))


def remembered() -> tuple[Path, str]:
    """Build and address of the last flash. Refused("usage") if none is known."""
    try:
        table = json.loads(notes().read_text())
        return Path(table["build"]), str(table["port"])
    except (OSError, ValueError, KeyError, TypeError):
        raise Refused("usage", "no flash was begun on this computer: name the build, and the --port") from None
