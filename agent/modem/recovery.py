"""What is done about a modem that does not carry us, in which order, how often at most, and when. Pure.

A trouble has its rungs: an action, and how long to wait for what it does. Behind the last one comes the back-off, which
grows from series to series and is kept over restarts, as are the limits: who resets a modem again and again undoes its
own back-off, and may find the SIM barred (GSMA TS.34 CER1 to CER4). `now` is monotonic seconds.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct, structs

from agent.modem import modem as facts
from agent.modem.liveness import Verdict
from agent.modem.modem import Bearer, Modem, Sim

HOUR_S, DAY_S = 3_600.0, 86_400.0
BACKOFFS_S = (300.0, 600.0, 900.0, 1_200.0, 1_800.0, 3_600.0)  # between series, the last one for ever (Particle)
JITTER = 0.2
AGAIN_S = 120.0  # a trouble that has come back after a rung has time, too
STABLE_S = 600.0  # online for so long: what was done has helped
START_MAX_S = 60.0  # after a power cut all stations of a site begin within this
REBOOT_AFTER_S = 6 * HOUR_S  # dark, in one piece
POWER_AFTER_S = HOUR_S  # of 10 modems 2 needed 20 to 50 minutes to come back by themselves (openwrt PR 23590)
REJECTED_S = 720.0  # T3402 (24.301): so long the modem itself keeps quiet after rejects, and a power cut undoes that


class Action(StrEnum):
    """The first six go over the AT port and the bearer, the others are the board's and the system's."""

    REDIAL = "redial"  # hang up, dial
    REATTACH = "reattach"  # AT+CGATT=0, AT+CGATT=1
    RESELECT = "reselect"  # AT+COPS=0: choose a network by yourself
    ON = "radio on"  # AT+CFUN=1
    RADIO = "radio off and on"  # AT+CFUN=4, ten seconds, AT+CFUN=1
    RESTART = "restart"  # AT+CFUN=1,1
    REOPEN = "reopen the port"
    START = "press its power key"
    USB = "USB port off and on"
    POWER = "reset, or supply off and on"
    OTHER_SIM = "the other SIM"
    REBOOT = "reboot the station"


ACCESSES = frozenset((Action.REDIAL, Action.REATTACH, Action.RESELECT, Action.ON, Action.RADIO, Action.RESTART))
ALWAYS = ACCESSES | {Action.REOPEN}  # every station can do these
RESETS = frozenset((Action.RESTART, Action.USB, Action.POWER, Action.OTHER_SIM, Action.REBOOT))
LEVELS = {
    Action.REDIAL: 0, Action.REATTACH: 1, Action.RESELECT: 1, Action.ON: 2, Action.RADIO: 2, Action.RESTART: 3,
    Action.REOPEN: 3, Action.USB: 4, Action.START: 5, Action.POWER: 5, Action.OTHER_SIM: 5, Action.REBOOT: 6,
}  # fmt: skip

# At most so many in so many seconds; ACCESS counts all that ask the network anew.
ACCESS = "access"
LIMITS: dict[str, tuple[tuple[int, float], ...]] = {
    ACCESS: ((12, HOUR_S), (100, DAY_S)),
    Action.RADIO: ((6, HOUR_S), (48, DAY_S)),
    Action.RESTART: ((4, HOUR_S), (24, DAY_S)),
    Action.REOPEN: ((12, HOUR_S), (100, DAY_S)),
    Action.START: ((6, HOUR_S), (24, DAY_S)),
    Action.USB: ((6, HOUR_S), (24, DAY_S)),
    Action.POWER: ((1, 600.0), (6, HOUR_S), (24, DAY_S)),
    Action.OTHER_SIM: ((1, HOUR_S), (4, DAY_S)),
    Action.REBOOT: ((1, DAY_S),),
}
LEDGER_MAX = {key: max(count for count, _ in limits) for key, limits in LIMITS.items()}

# How long an action may take, until it is taken for done.
TAKES_S = {
    Action.REDIAL: 180.0, Action.REATTACH: 310.0, Action.RESELECT: 190.0, Action.ON: 30.0, Action.RADIO: 90.0,
    Action.RESTART: 90.0, Action.REOPEN: 30.0, Action.START: 60.0, Action.USB: 60.0, Action.POWER: 90.0,
    Action.OTHER_SIM: 90.0, Action.REBOOT: 600.0,
}  # fmt: skip


class Trouble(StrEnum):
    LOST = "no port"
    HUNG = "no answer at the port"
    OFF = "the radio is off"
    SIM = "no SIM, or it has failed"
    DENIED = "the network denies this SIM"
    DEREGISTERED = "told not to register"
    UNREGISTERED = "no registration, though a network is heard"
    UNHEARD = "no network is heard"
    REFUSED = "no access point is accepted"
    DARK = "no data, though registered"


class Rung(Struct, frozen=True):
    action: Action
    wait_s: float  # for what it does, once it is done


class Ladder(Struct, frozen=True):
    """`patience_s`: the trouble must have lasted. `first`: the first series, `later`: each one after a back-off."""

    patience_s: float
    first: tuple[Rung, ...]
    later: tuple[Rung, ...]
    backoffs_s: tuple[float, ...] = BACKOFFS_S


def rungs(*pairs: tuple[Action, float]) -> tuple[Rung, ...]:
    return tuple(Rung(action, wait_s) for action, wait_s in pairs)


LADDERS: dict[Trouble, Ladder] = {
    Trouble.LOST: Ladder(
        60.0, rungs((Action.START, 60), (Action.USB, 60), (Action.POWER, 60)), rungs((Action.POWER, 60))
    ),
    Trouble.HUNG: Ladder(
        0.0,
        rungs((Action.REOPEN, 15), (Action.USB, 60), (Action.POWER, 60)),
        rungs((Action.USB, 60), (Action.POWER, 60)),
    ),
    Trouble.OFF: Ladder(
        2.0, rungs((Action.ON, 10), (Action.ON, 30), (Action.RADIO, 30), (Action.RESTART, 60)), rungs((Action.ON, 60))
    ),
    Trouble.SIM: Ladder(
        0.0,  # the modem's facts have waited already
        rungs((Action.RADIO, 60), (Action.RESTART, 90), (Action.POWER, 90), (Action.OTHER_SIM, 90)),
        rungs((Action.RADIO, 60)),
        (HOUR_S,),
    ),
    Trouble.DENIED: Ladder(6 * HOUR_S, rungs((Action.RADIO, 300)), rungs((Action.RADIO, 300)), (12 * HOUR_S,)),
    Trouble.DEREGISTERED: Ladder(5.0, rungs((Action.RESELECT, 120)), rungs((Action.RESELECT, 120))),
    Trouble.UNREGISTERED: Ladder(
        900.0,  # Sixfab waits as long; two of ten modems need longer, and get it
        rungs((Action.RESELECT, 300), (Action.RADIO, 300), (Action.RADIO, 600), (Action.RESTART, 900)),
        rungs((Action.RADIO, 300), (Action.POWER, 900)),
    ),
    Trouble.UNHEARD: Ladder(  # no reset: nothing would be heard afterwards either. Some modems stop listening, though
        HOUR_S, rungs((Action.RESELECT, 300)), rungs((Action.RADIO, 300)), (6 * HOUR_S,)
    ),
    Trouble.REFUSED: Ladder(0.0, rungs((Action.REDIAL, 60)), rungs((Action.REDIAL, 60)), (HOUR_S,)),
    Trouble.DARK: Ladder(
        0.0,
        rungs(
            (Action.REDIAL, 30), (Action.REDIAL, 60), (Action.REATTACH, 60), (Action.REATTACH, 60),
            (Action.RADIO, 120), (Action.RADIO, 120), (Action.RESTART, 300),
        ),
        rungs((Action.REDIAL, 60), (Action.RADIO, 120), (Action.POWER, 300)),
    ),
}  # fmt: skip


class Track(Struct, frozen=True):
    """How far one trouble has come."""

    rung: int = 0
    series: int = 0
    not_before: float = float("-inf")


class Recovery(Struct, frozen=True):
    tracks: dict[Trouble, Track] = {}
    ledger: dict[str, tuple[float, ...]] = {}  # when each action was taken, as far as a limit may ask
    acting: Action | None = None
    until: float = 0.0  # at the latest it is done
    wait_s: float = 0.0  # then, for what it does
    trouble: Trouble | None = None  # why
    owes_dial: bool = True  # nothing was dialled since there is something to dial with
    began_at: float = float("-inf")  # the first action is not before this
    well_since: float | None = None  # the bearer carries
    dark_since: float = 0.0  # not acknowledged by the broker, over whatever
    is_dark: bool = True

    @property
    def series(self) -> int:
        """The most that any trouble has come to."""
        return max((track.series for track in self.tracks.values()), default=0)


class Context(Struct, frozen=True):
    """What else counts. `can`: what station and board can do; what goes over AT needs no mention."""

    can: frozenset[Action] = frozenset()
    is_charging: bool = True  # unless we know that nobody does
    is_refused: bool = False  # every access point was tried, or the bearer cannot be had at all
    may_roam: bool = True


# -- what is wrong ----------------------------------------------------------------------------------------------------


def trouble(modem: Modem, verdict: Verdict | None, context: Context, now: float) -> Trouble | None:
    """`verdict` is of the bearer, None where it is not up. What only the broker has is none of the modem's, and a port
    that hangs while its bearer carries can wait."""
    if modem.opened_at is None:
        return Trouble.LOST
    if modem.bearer is Bearer.UP and verdict is not Verdict.DOWN:
        return None
    if modem.hung_at is not None:
        return Trouble.HUNG
    if not modem.is_known:
        return None
    if facts.is_radio_off(modem):
        return Trouble.OFF
    if modem.bearer is Bearer.UP:
        return Trouble.DARK
    match facts.sim(modem, now):
        case Sim.MISSING | Sim.FAILED:
            return Trouble.SIM
        case Sim.LOCKED | Sim.BUSY | Sim.UNKNOWN:
            return None
    if facts.is_registered(modem, now):
        if facts.is_roaming(modem) and not context.may_roam:
            return None
        if modem.bearer is Bearer.RISING or not facts.is_in_service(modem):
            return None
        return Trouble.REFUSED if context.is_refused else Trouble.DARK
    if modem.cops_mode == 2:
        return Trouble.DEREGISTERED
    if facts.is_denied_for_good(modem):
        return Trouble.DENIED
    return Trouble.UNREGISTERED if facts.has_coverage(modem, now) else Trouble.UNHEARD


def since(trouble: Trouble, modem: Modem, now: float) -> float:
    """How long it has lasted."""
    match trouble:
        case Trouble.LOST:
            return modem.gone_at
        case Trouble.HUNG:
            return now if modem.hung_at is None else modem.hung_at
        case Trouble.DENIED | Trouble.DEREGISTERED | Trouble.UNHEARD:
            return modem.unregistered_at
        case Trouble.UNREGISTERED:
            return max(modem.unregistered_at, modem.heard_at)
        case Trouble.OFF:
            return modem.sim_since
    return float("-inf")


# -- what to do -------------------------------------------------------------------------------------------------------


def allowed_at(recovery: Recovery, action: Action, now: float) -> float:
    """From when on the limits let it. -inf: now."""
    found = float("-inf")
    for key in keys_of(action):
        taken = recovery.ledger.get(key, ())
        for count, window_s in LIMITS[key]:
            if len(taken) >= count and taken[-count] + window_s > now:
                found = max(found, taken[-count] + window_s)
    return found


def keys_of(action: Action) -> tuple[str, ...]:
    return tuple(key for key in (ACCESS if action in ACCESSES else "", str(action)) if key in LIMITS)


def guarded(action: Action, trouble: Trouble, modem: Modem, recovery: Recovery, context: Context, now: float) -> Action:
    """The same, or the next weaker one where this is not to be."""
    if action not in (Action.POWER, Action.USB) or trouble in (Trouble.HUNG, Trouble.LOST):
        return action
    is_early = now < recovery.dark_since + POWER_AFTER_S and trouble is not Trouble.SIM
    is_quiet = now < modem.denied_at + REJECTED_S
    return Action.RESTART if is_early or is_quiet or action not in context.can else action


def is_able(action: Action, context: Context) -> bool:
    return action in ALWAYS or action in context.can


def next_rung(trouble: Trouble, track: Track, context: Context) -> tuple[int, Rung] | None:
    """From the track's on, the first that this station can do. None: none is left in this series."""
    series = LADDERS[trouble].later if track.series else LADDERS[trouble].first
    for index in range(track.rung, len(series)):
        if is_able(series[index].action, context) or (series[index].action is Action.POWER and trouble in AT_ANSWERS):
            return index, series[index]
    return None


AT_ANSWERS = frozenset(Trouble) - {Trouble.LOST, Trouble.HUNG}  # then RESTART is always there in place of POWER


def ready_at(recovery: Recovery, trouble: Trouble, modem: Modem, context: Context, now: float) -> float:
    """When the next rung of this trouble may be taken, as things are. +inf: while an action is under way."""
    if recovery.acting is not None:
        return float("inf")
    track = recovery.tracks.get(trouble, Track())
    at = max(
        since(trouble, modem, now) + min(LADDERS[trouble].patience_s, AGAIN_S if track.rung else float("inf")),
        track.not_before, recovery.began_at,
    )  # fmt: skip
    if is_dial_due(recovery, trouble, modem):
        return max(recovery.began_at, allowed_at(recovery, Action.REDIAL, now))
    if action := next_action(recovery, trouble, modem, context, now):
        at = max(at, allowed_at(recovery, action, now))
    return at


def next_action(recovery: Recovery, trouble: Trouble, modem: Modem, context: Context, now: float) -> Action | None:
    """What comes next against this trouble, as things are. None: this station can do nothing about it but wait."""
    if is_dial_due(recovery, trouble, modem):
        return Action.REDIAL
    found = next_rung(trouble, recovery.tracks.get(trouble, Track()), context)
    return guarded(found[1].action, trouble, modem, recovery, context, now) if found else None


def is_dial_due(recovery: Recovery, trouble: Trouble, modem: Modem) -> bool:
    """After whatever was done, and at the beginning: no rung of its own."""
    return recovery.owes_dial and trouble is Trouble.DARK and modem.bearer is Bearer.DOWN


Uniform = Callable[[float, float], float]


def step(
    recovery: Recovery, trouble: Trouble | None, modem: Modem, context: Context, uniform: Uniform, now: float
) -> tuple[Recovery, Action | None]:
    """What to do now. `uniform` is that of random.Random."""
    if recovery.acting is not None and now >= recovery.until:
        recovery = done(recovery, now)
    if may_reboot(recovery, trouble, context, now):
        return begun(recovery, trouble, Rung(Action.REBOOT, 0.0), now), Action.REBOOT
    if trouble is None or now < ready_at(recovery, trouble, modem, context, now):
        return recovery, None
    if is_dial_due(recovery, trouble, modem):
        return begun(recovery, trouble, Rung(Action.REDIAL, 30.0), now), Action.REDIAL
    track = recovery.tracks.get(trouble, Track())
    found = next_rung(trouble, track, context)
    if found is None:
        return ended(recovery, trouble, track, 0.0, uniform, now), None
    index, rung = found
    action = guarded(rung.action, trouble, modem, recovery, context, now)
    moved = Track(index + 1, track.series, now)
    recovery = begun(with_track(recovery, trouble, moved), trouble, Rung(action, rung.wait_s), now)
    if next_rung(trouble, moved, context) is None:
        recovery = ended(recovery, trouble, moved, rung.wait_s, uniform, now)
    return recovery, action


def ended(
    recovery: Recovery, trouble: Trouble, track: Track, more_s: float, uniform: Uniform, now: float
) -> Recovery:
    """A series: the next one begins after the back-off."""
    backoffs = LADDERS[trouble].backoffs_s
    wait_s = backoffs[min(track.series, len(backoffs) - 1)] * uniform(1 - JITTER, 1 + JITTER)
    series = min(track.series + 1, len(BACKOFFS_S))
    return with_track(recovery, trouble, Track(0, series, now + more_s + wait_s))


def with_track(recovery: Recovery, trouble: Trouble, track: Track) -> Recovery:
    return structs.replace(recovery, tracks={**recovery.tracks, trouble: track})


def begun(recovery: Recovery, trouble: Trouble | None, rung: Rung, now: float) -> Recovery:
    ledger = dict(recovery.ledger)
    for key in keys_of(rung.action):
        ledger[key] = (*(at for at in ledger.get(key, ()) if now - at < DAY_S), now)[-LEDGER_MAX[key] :]
    return structs.replace(
        recovery, ledger=ledger, acting=rung.action, until=now + TAKES_S[rung.action], wait_s=rung.wait_s,
        trouble=trouble, owes_dial=rung.action is not Action.REDIAL,
    )  # fmt: skip


def done(recovery: Recovery, now: float) -> Recovery:
    """The action under way has ended, well or not."""
    if recovery.acting is None:
        return recovery
    if recovery.trouble is not None:
        track = recovery.tracks.get(recovery.trouble, Track())
        track = structs.replace(track, not_before=max(track.not_before, now + recovery.wait_s))
        recovery = with_track(recovery, recovery.trouble, track)
    return structs.replace(recovery, acting=None, trouble=None)


def may_reboot(recovery: Recovery, trouble: Trouble | None, context: Context, now: float) -> bool:
    """Never while somebody charges, nor where a start of the station cannot help: no coverage, denied, no SIM, the
    broker alone."""
    return (
        Action.REBOOT in context.can
        and not context.is_charging
        and recovery.acting is None
        and trouble in (Trouble.LOST, Trouble.HUNG, Trouble.DARK, Trouble.UNREGISTERED)
        and recovery.is_dark
        and now >= recovery.dark_since + REBOOT_AFTER_S
        and recovery.tracks.get(trouble, Track()).series > 0  # all else was tried
        and now >= allowed_at(recovery, Action.REBOOT, now)
    )


def observed(recovery: Recovery, is_acknowledged: bool, is_well: bool, now: float) -> Recovery:
    """`is_acknowledged` by the broker, over whatever; `is_well`: the bearer carries.

    After STABLE_S of that all troubles begin from the bottom again; what stands for less has helped nobody.
    """
    if recovery.is_dark is is_acknowledged:
        recovery = structs.replace(recovery, is_dark=not is_acknowledged, dark_since=now)
    if not is_well:
        return recovery if recovery.well_since is None else structs.replace(recovery, well_since=None)
    if recovery.well_since is None:
        return structs.replace(recovery, well_since=now)
    if recovery.tracks and now >= recovery.well_since + STABLE_S:
        return structs.replace(recovery, tracks={}, owes_dial=True)
    return recovery


def in_service(recovery: Recovery) -> Recovery:
    """The modem is registered, and was not: that is worth a call."""
    return structs.replace(recovery, owes_dial=True)


def forgiven(recovery: Recovery) -> Recovery:
    """Another SIM or modem: what was tried with the old one says nothing. The limits stay."""
    return structs.replace(recovery, tracks={}, owes_dial=True)


# -- kept over restarts -----------------------------------------------------------------------------------------------


def saved(recovery: Recovery, now: float) -> dict[str, Any]:
    """Times as seconds from now. The station's off-time is not counted, so the limits are only ever stricter."""
    return {
        "ledger": {
            key: [round(now - at) for at in taken if now - at < DAY_S] for key, taken in recovery.ledger.items()
        },
        "tracks": {
            str(trouble): [track.rung, track.series, round(max(track.not_before - now, 0.0))]
            for trouble, track in recovery.tracks.items()
        },
    }  # fmt: skip


def restored(fact: object, now: float) -> Recovery:
    """As it was saved; what cannot be read is left out."""
    if not isinstance(fact, Mapping):
        return Recovery(dark_since=now)
    ledger: dict[str, tuple[float, ...]] = {}
    tracks: dict[Trouble, Track] = {}
    for key, ages in pairs(fact.get("ledger")):
        if key in LIMITS and isinstance(ages, (list, tuple)):
            found = sorted(now - min(max(float(age), 0.0), DAY_S) for age in ages if isinstance(age, (int, float)))
            ledger[key] = tuple(found[-LEDGER_MAX[key] :])
    for key, said in pairs(fact.get("tracks")):
        if key in list(Trouble) and isinstance(said, (list, tuple)) and len(said) == 3:
            rung, series, wait_s = (int(each) if isinstance(each, (int, float)) else 0 for each in said)
            longest_s = (1 + JITTER) * max(LADDERS[Trouble(key)].backoffs_s) + HOUR_S
            tracks[Trouble(key)] = Track(
                min(max(rung, 0), 16), min(max(series, 0), len(BACKOFFS_S)), now + min(max(wait_s, 0), longest_s)
            )
    is_waiting = any(track.not_before > now for track in tracks.values())
    return Recovery(tracks=tracks, ledger=ledger, dark_since=now, owes_dial=not is_waiting)


def pairs(said: object) -> list[tuple[Any, Any]]:
    return list(said.items()) if isinstance(said, Mapping) else []
