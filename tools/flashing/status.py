"""flash.py status: what a station runs, what its slots hold, and how its last update ended."""

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from tools.flashing import steps, target
from tools.flashing.cli import Out
from tools.flashing.progress import size

HELP = f"""\
What the station runs, what its slots hold, whether a build is on trial or waits for one, and how the last one ended.

{target.WHERE}"""
EXAMPLES = """\
examples:
  flash.py status --port /dev/ttyUSB0@921600
  flash.py status --port ssh://flasher@10.0.0.7 --json"""


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "status", help="what a station runs, and what its slots hold", description=HELP,
        epilog=EXAMPLES,
    )  # fmt: skip
    target.add(parser)


def run(args: argparse.Namespace, out: Out) -> int:
    to, facts = target.one(args, out, lambda talk, tell: steps.status(talk, tell, args.serial))
    out.event(
        "status", station=str(to), serial=facts["serial"], software=facts["software"], state=facts["state"]
    )
    for line in told(facts["state"]):
        out.say(line)
    return 0


def told(state: Mapping[str, Any]) -> Iterator[str]:
    """A station's state in lines. What a newer station adds is left out."""
    slots = state.get("slots")
    for name, slot in sorted(slots.items()) if isinstance(slots, Mapping) else ():
        marks = [word for word, is_so in (
            ("runs", state.get("running") == name), ("default", state.get("default") == name),
            ("on trial", isinstance(state.get("trial"), Mapping) and state["trial"].get("slot") == name),
        ) if is_so]  # fmt: skip
        if not isinstance(slot, Mapping):
            yield f"slot {name}: empty"
            continue
        marks.append("confirmed" if slot.get("is_confirmed") else "staged" if slot.get("is_whole") else "not whole")
        what = f"{slot.get('version')} ({slot.get('commit')}, build {slot.get('build')})"
        yield f"slot {name}: {what}: {', '.join(marks)}"
    if state.get("running") == "starting":
        yield "starts: the slot that is to run is checked first, ask again in some seconds"
    if state.get("running") == "rescue":
        yield "runs the rescue tree of its image: flash a build"
    if type(missing_b := state.get("missing_b")) is int:
        yield f"a build is on its way: {size(missing_b)} are missing; resume goes on"
    if state.get("waiting"):
        yield "a build waits until nobody charges"
    if isinstance(last := state.get("last"), Mapping):
        how = "was confirmed" if last.get("is_confirmed") else f"was rolled back: {last.get('reason') or 'no reason'}"
        yield f"the last one, in slot {last.get('slot')}, {how}"
    if state.get("agent") is False:
        yield "the agent does not run: journalctl -u station-agent says why"
    if state.get("has_session"):
        yield "somebody charges"
