"""What the tool does with one station, as conversations over tools/flashing/talk.py. No line, no clock, no screen.

Each tells what happens as events, `tell(name, facts)`: tools/flashing/schema.py says what they hold.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from agent.update import line, rules
from agent.update.build import Head
from agent.update.keyring import Trust
from agent.update.refusal import Refused
from tools.flashing.buildfile import BuildFile
from tools.flashing.progress import Progress
from tools.flashing.talk import Steps, Talk

Tell = Callable[[str, Mapping[str, Any]], None]
LOOK_EACH_S = 2.0  # while a trial runs
TRIAL_MAX_S = 30 * 60.0  # longer than any trial: agent/update/health.py
PROGRESS_EACH_S = 0.25


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants of a flash."""

    build: BuildFile
    is_dry: bool = False  # say what would be done
    activates: bool = True  # else it is only staged
    waits: bool = True  # until the build is confirmed or rolled back
    when_idle: bool = False  # wait for a session's end
    override: str = ""  # why a session or an interlock is no reason to wait
    serial: str = ""  # the station that is meant; "" = whichever is there
    rate_bps: float | None = None  # what the line can do, if that is known
    goes_on: bool = False  # only go on with what was begun before
    begun: str = ""  # the slot that an earlier conversation of this flash has activated, before its link was lost


@dataclass(frozen=True, slots=True)
class Flashed:
    """How far it came: planned, same (it runs already), staged, waiting, activated or confirmed."""

    result: str
    serial: str
    version: str
    slot: str
    wanted_b: int
    sent_b: int
    again_b: int


# -- identify ----------------------------------------------------------------------------------------------------------


def identified(talk: Talk, tell: Tell, serial: str = "") -> Steps:
    """IDENTITY. Refused("wrong-device") if another serial is meant."""
    identity = yield from talk.hello()
    tell("identified", shown(identity))
    if serial and identity.get("serial") != serial:
        raise Refused("wrong-device", f"this is {identity.get('serial')}, not {serial}: choose another port or host")
    return identity


def shown(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Of an IDENTITY what a machine may rely on."""
    texts = {name: str(identity.get(name, "")) for name in ("kind", "serial", "platform", "board", "software")}
    floor = identity.get("security_floor")
    return {
        **texts,
        "is_production": identity.get("is_production") is True,
        "security_floor": floor if type(floor) is int else 0,
        "state": identity.get("state") if isinstance(identity.get("state"), Mapping) else {},
    }


def judged(file: BuildFile, identity: Mapping[str, Any], waived: tuple[str, ...]) -> Head:
    """Refused before the station is touched, by the rules and the root key that the station has itself."""
    facts = shown(identity)
    if facts["kind"] == "controller":
        raise Refused("wrong-device", "this is a port controller, not a station: type flash.py controller")
    root = identity.get("root")
    try:
        trust = Trust(root if isinstance(root, bytes) and root else None, None)
    except ValueError:
        trust = Trust(None, None)
    head = file.verified(trust)
    state = facts["state"]
    station = rules.Station(
        facts["platform"], facts["board"], facts["is_production"], facts["security_floor"],
        contract=_contract(identity.get("contract")), app_contract=_contract(identity.get("app_contract")),
        needs_controller=identity.get("needs_controller") is True,
        has_session=state.get("has_session") is True and "session" not in waived,
    )  # fmt: skip
    if (refused := rules.refusal(head, station, waived)) is not None:
        raise refused
    return head


def _contract(value: Any) -> rules.Contract | None:
    match value:
        case [int() as major, int() as first, int() as last]:
            return major, first, last
    return None


# -- flash -------------------------------------------------------------------------------------------------------------


def flashed(talk: Talk, wish: Wish, tell: Tell) -> Steps:
    """Flashed. Refused: the station is as it was, or what was sent waits there to be gone on with."""
    identity = yield from identified(talk, tell, wish.serial)
    facts = shown(identity)
    if wish.begun:  # whatever has come of it meanwhile: it is not tried a second time
        head = wish.build.head
        yield from confirmed(talk, head, tell)
        yield from bye(talk)
        return Flashed("confirmed", facts["serial"], head.version, wish.begun, 0, 0, 0)
    head = judged(wish.build, identity, ("session", "interlock"))
    is_tried = is_on_trial(facts["state"], head)  # this flash was begun before, and whoever waited has gone
    if wish.activates and not (wish.when_idle or wish.override or wish.is_dry or is_tried):
        judged(wish.build, identity, ())
    slim = wish.build.slim(facts["platform"], facts["board"])
    want = yield from talk.plan(slim, is_dry=wish.is_dry, sends=not wish.goes_on)
    slot, held = str(want.get("slot", "")), str(want.get("held", ""))
    numbers: list[int] = [] if held else (yield from talk.wanted(_count(want, "pieces")))
    pieces = wish.build.pieces(slim, numbers)
    plan = {
        "version": head.version, "slot": slot, "held": held, "pieces": _count(want, "pieces"), "wanted": len(numbers),
        "wanted_b": pieces.size_b, "have_b": _count(want, "have_b"), "total_b": _count(want, "total_b"),
        "seconds": round(pieces.size_b / wish.rate_bps, 1) if wish.rate_bps else None, "is_dry": wish.is_dry,
    }  # fmt: skip
    tell("planned", plan)

    def ended(result: str) -> Flashed:
        return Flashed(
            result, facts["serial"], head.version, slot, pieces.size_b, talk.counts.data_b, talk.counts.again_b
        )

    if wish.is_dry or (held == "running" and not is_tried):
        yield from bye(talk)
        return ended("planned" if wish.is_dry else "same")
    if not held:
        yield from _sent(talk, pieces.read, pieces.size_b, slim, tell)
        tell("stage", {"stage": "verify"})
        yield from talk.ask(line.FINISH)
    tell("stage", {"stage": "staged"})
    if not wish.activates:
        yield from bye(talk)
        return ended("staged")
    result = "activated"
    if not is_tried:
        result = yield from activated(talk, wish.when_idle, wish.override, tell)
    if wish.waits:
        yield from confirmed(talk, head, tell)
        result = "confirmed"
    yield from bye(talk)
    return ended(result)


def _sent(talk: Talk, read: Callable[[int, int], bytes], size_b: int, slim: bytes, tell: Tell) -> Steps:
    """The pieces, with progress. An empty transfer is none."""
    if not size_b:
        return
    tell("stage", {"stage": "send"})
    progress = Progress(size_b)
    told_s = talk.now - PROGRESS_EACH_S
    for _ in talk.send("pieces", read, size_b, sha256(slim).digest()):
        if (sender := talk.sender) is not None:
            progress.update(sender.acked_b, sender.again_b, talk.now)
            if talk.now >= told_s + PROGRESS_EACH_S:
                told_s = talk.now
                tell("progress", progressed(progress))
        yield
    progress.update(size_b, progress.again_b, talk.now)
    tell("progress", progressed(progress))


def progressed(progress: Progress) -> dict[str, Any]:
    rate, left = progress.rate_bps, progress.left_s
    return {
        "done_b": progress.done_b, "total_b": progress.total_b, "again_b": progress.again_b,
        "rate_bps": None if rate is None else round(rate), "left_s": None if left is None else round(left, 1),
    }  # fmt: skip


def activated(talk: Talk, when_idle: bool, override: str, tell: Tell) -> Steps:
    """ "activated" or "waiting" """
    answer = yield from talk.ask(line.ACTIVATE, when_idle=when_idle, override=override)
    result = "waiting" if answer.get("result") == "waiting" else "activated"
    tell("stage", {"stage": result})
    return result


def confirmed(talk: Talk, head: Head, tell: Tell) -> Steps:
    """The build on trial is the one that stays. Refused("rolled-back") with the station's reason."""
    name = name_of(head)
    stage, began_s = "", talk.now
    while True:
        state = yield from talk.ask(line.STATUS)
        now_is = trial_of(state, name)
        if now_is == "confirmed":
            tell("stage", {"stage": now_is})
            return
        if now_is == "rolled-back":
            reason = _last(state).get("reason") or "the station does not say why"
            raise Refused("rolled-back", f"the station went back to its old build: {reason}; see log for more")
        if now_is != stage:
            stage, began_s = now_is, talk.now
            tell("stage", {"stage": stage})
        if now_is != "waiting" and talk.now - began_s > TRIAL_MAX_S:
            raise Refused("verify", "the station neither confirmed the build nor went back: look at status and log")
        yield from talk.pause(LOOK_EACH_S)


def trial_of(state: Mapping[str, Any], build: str) -> str:
    """waiting, activated (its trial comes with the agent's next start), trial, confirmed or rolled-back."""
    last = _last(state)
    if state.get("waiting"):
        return "waiting"
    if isinstance(state.get("trial"), Mapping):
        return "trial" if state.get("is_trial") else "activated"
    if last.get("build") == build:
        return "confirmed" if last.get("is_confirmed") else "rolled-back"
    return "activated"


def is_on_trial(state: Mapping[str, Any], head: Head) -> bool:
    """This build is tried, or is to be. One that waits is not: PLAN ends its wait, ACTIVATE begins one."""
    trial, slots = state.get("trial"), state.get("slots")
    slot = slots.get(trial.get("slot")) if isinstance(trial, Mapping) and isinstance(slots, Mapping) else None
    return isinstance(slot, Mapping) and slot.get("build") == name_of(head)


def name_of(head: Head) -> str:
    """Of a build in a state."""
    return head.digest.hex()[:16]


def _last(state: Mapping[str, Any]) -> Mapping[str, Any]:
    last = state.get("last")
    return last if isinstance(last, Mapping) else {}


def bye(talk: Talk) -> Steps:
    """Polite, and not worth an error."""
    try:
        yield from talk.ask(line.BYE)
    except Refused:
        return


def _count(fields: Mapping[str, Any], name: str) -> int:
    value = fields.get(name)
    return value if type(value) is int and value >= 0 else 0


# -- the rest ----------------------------------------------------------------------------------------------------------


def status(talk: Talk, tell: Tell, serial: str = "") -> Steps:
    identity = yield from identified(talk, tell, serial)
    yield from bye(talk)
    return shown(identity)


def rolled_back(talk: Talk, reason: str, tell: Tell, serial: str = "") -> Steps:
    yield from identified(talk, tell, serial)
    yield from talk.ask(line.ROLLBACK, reason=reason)
    tell("stage", {"stage": "rolled-back"})
    yield from bye(talk)


def logged(talk: Talk, after: int, tell: Tell) -> Steps:
    """Each line after that number as an event; returns the last number."""
    more = True
    while more:
        answer = yield from talk.ask(line.LOG, after=after)
        lines = answer.get("lines")
        rows = [row for row in lines if len(row) == 2] if isinstance(lines, list | tuple) else []
        for number, text in rows:
            after = max(after, int(number))
            tell("log", {"number": after, "line": str(text)})
        more = answer.get("more") is True and bool(rows)
    return after
