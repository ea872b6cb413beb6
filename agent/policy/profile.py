"""OCPP charging profiles (K01 to K09): how much a port, or the whole station, may draw now, and until when that holds.

A profile is kept as it was said and read anew at each start; what it limits is derived from it, the time and the
transaction. At every instant, of each purpose the valid profile with the highest stack level that has a period then
counts; TxProfile comes before TxDefaultProfile; the lowest across the purposes is the limit. What is not limited by any
profile is limited by the hardware, the circuit and the installer alone.

Times are seconds since 1970, UTC; `at` is where we stand. While the time is unknown, a schedule that goes by the clock
counts, with its lowest limit.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from itertools import pairwise
from math import ceil, inf, isfinite
from typing import Any

from msgspec import json

from agent.clock import read_time

PROFILES_MAX = 24
STACK_LEVEL_MAX = 9
PERIODS_MAX = 100
SAID_MAX_B = 16_000  # of one as JSON, for it is kept as it was said: 100 periods with a limit for each phase, and room
COMPOSITE_PERIODS_MAX = 200
COMPOSITE_MAX_S = 7 * 86_400
DAY_S = 86_400.0
DURATION_MAX_S = 2**31 - 1
LIMIT_MAX = 1_000_000.0  # A or W: what nobody's station draws
MILLI = 1_000
AGAIN = "and limits nothing: send it again"


class Purpose(StrEnum):
    """OCPP 2.1 ChargingProfilePurposeEnumType: those that a station without a battery or a driver's choice has."""

    EXTERNAL = "ChargingStationExternalConstraints"
    STATION_MAX = "ChargingStationMaxProfile"
    TX_DEFAULT = "TxDefaultProfile"
    TX = "TxProfile"


class Kind(StrEnum):
    ABSOLUTE = "Absolute"
    RECURRING = "Recurring"
    RELATIVE = "Relative"


PERIOD_S = {"Daily": DAY_S, "Weekly": 7 * DAY_S}
OF_STATION = frozenset({Purpose.EXTERNAL, Purpose.STATION_MAX})
# Of a schedule and a profile: what would change a limit, and that we do not do. What cannot is ignored.
NOT_HERE = ("limitAtSoC", "randomizedDelay")
NOT_IN_PERIODS = ("phaseToUse", "dischargeLimit", "dischargeLimit_L2", "dischargeLimit_L3", "evseSleep")
SETPOINTS = ("setpoint", "setpoint_L2", "setpoint_L3")  # nor these, whatever they say: 0 is an order, too


class Rejected(Exception):  # the word on the wire
    """The profile is not taken. `code`: OCPP's reasonCode (appendix 5 of part 2)."""

    def __init__(self, code: str, why: str) -> None:
        super().__init__(why)
        self.code, self.why = code, why


@dataclass(frozen=True, slots=True)
class Profile:
    evse_id: int  # 0: of the station, or of each port alike
    profile_id: int
    stack_level: int
    purpose: Purpose
    kind: Kind
    period_s: float  # of a recurring one; else 0
    start_s: float | None
    duration_s: float  # inf: to the end of the transaction, or for ever
    is_local: bool  # startSchedule is the site's own time, in summer and winter
    is_watts: bool
    limits: tuple[tuple[float, float], ...]  # seconds from the schedule's start, A or W; from 0, ascending
    valid_from_s: float
    valid_to_s: float
    transaction_id: str | None
    offline_max_s: float  # how long it counts without the cloud; 0: not at all, inf: however long
    ends_offline: bool  # and then never again
    said: Mapping[str, Any]  # OCPP's ChargingProfileType, for who asks for it back

    @property
    def is_timed(self) -> bool:
        """Whether it goes by the clock."""
        return self.kind is not Kind.RELATIVE or self.valid_from_s > -inf or self.valid_to_s < inf


@dataclass(frozen=True, slots=True)
class Situation:
    """What a limit depends on beside the profiles. `now_s`: None while nobody knows the time."""

    now_s: float | None
    zone: tzinfo = UTC
    offline_s: float = 0.0  # without the cloud, for so long; 0: it is there
    transaction_id: str | None = None  # of the port
    started_s: float | None = None  # since the transaction began; None: there is none
    voltage_mv: int = 230_000
    phases: int = 1


@dataclass(frozen=True, slots=True)
class Limit:
    """`limit_ma`, per phase; None: none. `by`: the profile that says so. It holds for so long, if nothing happens."""

    limit_ma: int | None
    by: Profile | None
    for_s: float


def later(at: Situation, by_s: float) -> Situation:
    """The same, if nothing happens until then."""
    return replace(
        at,
        now_s=None if at.now_s is None else at.now_s + by_s,
        offline_s=at.offline_s + by_s if at.offline_s else 0.0,
        started_s=None if at.started_s is None else at.started_s + by_s,
    )


# -- what counts now --------------------------------------------------------------------------------------------------


def port_limit(profiles: Iterable[Profile], evse_id: int, at: Situation) -> Limit:
    """What the transaction profiles allow at this port. A port without a transaction is judged as if one began now."""
    at = at if at.started_s is not None else replace(at, started_s=0.0)
    mine = [p for p in profiles if p.purpose not in OF_STATION and p.evse_id in (0, evse_id) and is_of(p, at)]
    own = of_purpose(mine, Purpose.TX, at)
    if own.limit_ma is not None:
        return own
    default = of_purpose(mine, Purpose.TX_DEFAULT, at)
    return replace(default, for_s=min(own.for_s, default.for_s))


def station_limit(profiles: Iterable[Profile], at: Situation) -> Limit:
    """What the whole station may draw, over all ports together."""
    mine = [p for p in profiles if p.purpose in OF_STATION]
    return lowest([of_purpose(mine, purpose, at) for purpose in sorted(OF_STATION)])


def lowest(limits: Sequence[Limit]) -> Limit:
    """All of them hold, so the lowest does."""
    for_s = min((limit.for_s for limit in limits), default=inf)
    known = [limit for limit in limits if limit.limit_ma is not None]
    if not known:
        return Limit(None, None, for_s)
    return replace(min(known, key=lambda limit: limit.limit_ma or 0), for_s=for_s)


def is_of(profile: Profile, at: Situation) -> bool:
    return profile.transaction_id is None or profile.transaction_id == at.transaction_id


def of_purpose(profiles: Iterable[Profile], purpose: Purpose, at: Situation) -> Limit:
    """The highest stack level that has something to say; a lower one where it has a gap."""
    for_s = inf
    for profile in sorted((p for p in profiles if p.purpose is purpose), key=lambda p: -p.stack_level):
        limit_ma, holds_s = said_by(profile, at)
        for_s = min(for_s, holds_s)
        if limit_ma is not None:
            return Limit(limit_ma, profile, for_s)
    return Limit(None, None, for_s)


def said_by(profile: Profile, at: Situation) -> tuple[int | None, float]:
    """What one profile says now, in mA per phase, and for how long; None: nothing."""
    if is_cut_off(profile, at):
        return None, inf
    for_s = profile.offline_max_s - at.offline_s if at.offline_s else inf
    if at.now_s is None and profile.is_timed:
        return in_ma(profile, min(limit for _, limit in profile.limits), at), for_s
    if at.now_s is not None:
        if at.now_s >= profile.valid_to_s:
            return None, inf
        if at.now_s < profile.valid_from_s:
            return None, min(for_s, profile.valid_from_s - at.now_s)
        for_s = min(for_s, profile.valid_to_s - at.now_s)
    limit, holds_s = scheduled(profile, at)
    return None if limit is None else in_ma(profile, limit, at), min(for_s, holds_s)


def is_cut_off(profile: Profile, at: Situation) -> bool:
    """Whether the cloud has been away for longer than it may."""
    return 0.0 < at.offline_s >= profile.offline_max_s


def scheduled(profile: Profile, at: Situation) -> tuple[float | None, float]:
    """The schedule's own word, in its own unit, and for how long."""
    if profile.kind is Kind.RELATIVE:
        gone_s = at.started_s
        return (None, inf) if gone_s is None else period_at(profile, gone_s)
    assert at.now_s is not None
    assert profile.start_s is not None
    gone_s = local_s(at.now_s, at.zone) - profile.start_s if profile.is_local else at.now_s - profile.start_s
    if gone_s < 0.0:
        limit, for_s = None, -gone_s
    elif profile.period_s:
        into_s = gone_s % profile.period_s
        limit, for_s = period_at(profile, into_s)
        for_s = min(for_s, profile.period_s - into_s)
    else:
        limit, for_s = period_at(profile, gone_s)
    return limit, real_s(at.now_s, for_s, at.zone) if profile.is_local else for_s


def period_at(profile: Profile, gone_s: float) -> tuple[float | None, float]:
    """The period so long after the schedule's start, and how long it lasts."""
    if gone_s >= profile.duration_s:
        return None, inf
    until_s, limit = profile.duration_s, profile.limits[0][1]
    for start_s, each in profile.limits:
        if start_s > gone_s:
            until_s = min(until_s, start_s)
            break
        limit = each
    return limit, until_s - gone_s


def in_ma(profile: Profile, limit: float, at: Situation) -> int:
    """Per phase, rounded down. Watts go over all phases that are wired: which of them a car uses, nobody knows."""
    if profile.is_watts:
        return int(limit * MILLI * MILLI / (at.voltage_mv * at.phases))
    return int(limit * MILLI)


def local_s(now_s: float, zone: tzinfo) -> float:
    """What the clock on the wall shows, as if it were UTC."""
    offset = datetime.fromtimestamp(now_s, zone).utcoffset() or timedelta()
    return now_s + offset.total_seconds()


def real_s(now_s: float, for_s: float, zone: tzinfo) -> float:
    """How long it takes until the clock on the wall has gone `for_s` on, or is set, whichever comes first."""
    if for_s == inf:
        return inf
    offset_s = local_s(now_s, zone) - now_s
    first, last = now_s, now_s + for_s
    if local_s(last, zone) - last == offset_s:
        return for_s
    while last - first > 1.0:  # the clock is set once in it
        middle = (first + last) / 2
        first, last = (middle, last) if local_s(middle, zone) - middle == offset_s else (first, middle)
    return max(ceil(last), 1.0 + now_s) - now_s


def composite(
    limit_of: Callable[[Situation], Limit], at: Situation, duration_s: float
) -> Iterator[tuple[float, int | None]]:
    """Seconds from now, limit in mA (None: none): what `limit_of(situation)` will say, if nothing happens. Without a
    transaction one begins now."""
    at = replace(at, started_s=at.started_s or 0.0)
    gone_s, before = 0.0, object()
    for _ in range(COMPOSITE_PERIODS_MAX * 4):
        limit = limit_of(later(at, gone_s))
        if limit.limit_ma != before:
            yield gone_s, limit.limit_ma
            before = limit.limit_ma
        gone_s += max(limit.for_s, 1.0)
        if gone_s >= duration_s:
            return


# -- what is kept -----------------------------------------------------------------------------------------------------


def with_profile(profiles: Sequence[Profile], new: Profile) -> tuple[Profile, ...]:
    """One with the same id gives way. Rejected where two would contradict each other, or there is no room."""
    kept = [p for p in profiles if p.profile_id != new.profile_id]
    for other in kept:
        if contradict(other, new):
            raise Rejected("DuplicateProfile", f"profile {other.profile_id} has the same purpose and stackLevel")
    if len(kept) >= PROFILES_MAX:
        raise Rejected("OutOfStorage", f"{PROFILES_MAX} profiles are kept here: clear one first")
    return (*kept, new)


def begun(profiles: Sequence[Profile], own: Profile, transaction_id: str) -> tuple[Profile, ...]:
    """A transaction begins whose start brought a profile: what was promised then holds, also if there is no room."""
    kept = (p for p in profiles if p.profile_id != own.profile_id)
    return (*kept, replace(own, transaction_id=transaction_id, said={**own.said, "transactionId": transaction_id}))


def contradict(one: Profile, other: Profile) -> bool:
    """Of the same rank, for the same port at the same time: nobody could say which of them counts."""
    alike = all(getattr(one, name) == getattr(other, name) for name in ("purpose", "stack_level", "transaction_id"))
    is_same_port = 0 in (one.evse_id, other.evse_id) or one.evse_id == other.evse_id
    return alike and is_same_port and one.valid_from_s < other.valid_to_s and other.valid_from_s < one.valid_to_s


def matches(
    profile: Profile, evse_id: int | None = None, purpose: str | None = None, stack_level: int | None = None,
    ids: Sequence[int] = (),
) -> bool:  # fmt: skip
    """The criteria of ClearChargingProfile and GetChargingProfiles; what is not said matches all."""
    return (
        (evse_id is None or profile.evse_id == evse_id)
        and (purpose is None or profile.purpose == purpose)
        and (stack_level is None or profile.stack_level == stack_level)
        and (not ids or profile.profile_id in ids)
    )


def lasting(profiles: Sequence[Profile], at: Situation, running: Iterable[str]) -> tuple[Profile, ...]:
    """Without those that will never count again: past their end, of a transaction that is over, given up offline."""
    alive = set(running)
    return tuple(
        p for p in profiles
        if not (at.now_s is not None and at.now_s >= p.valid_to_s)
        and (p.transaction_id is None or p.transaction_id in alive)
        and not (p.ends_offline and is_cut_off(p, at))
    )  # fmt: skip


# -- reading ----------------------------------------------------------------------------------------------------------


def read(evse_id: int, said: Mapping[str, Any], ports: int, phases: int = 1) -> Profile:
    """A ChargingProfileType that has passed the schema. `phases`: that are wired to each port. Rejected, with the rule
    that it breaks."""
    if (size_b := len(json.encode(said))) > SAID_MAX_B:
        raise Rejected("TooLargeElement", f"the profile has {size_b} bytes: send at most {SAID_MAX_B}")
    purpose, kind = said["chargingProfilePurpose"], said["chargingProfileKind"]
    if purpose not in set(Purpose) or kind not in set(Kind):
        raise Rejected("UnsupportedParam", f"{purpose} of kind {kind}: this station has no use for it")
    if not 0 <= evse_id <= ports:
        raise Rejected("UnknownEvse", f"EVSEs here are 1 to {ports}")
    if not 0 <= said["stackLevel"] <= STACK_LEVEL_MAX:
        raise Rejected("InvalidStackLevel", f"stack levels here are 0 to {STACK_LEVEL_MAX}")
    if len(said["chargingSchedule"]) != 1:
        raise Rejected("UnsupportedParam", "one chargingSchedule: only a car of ISO 15118 chooses among several")
    (schedule,) = said["chargingSchedule"]
    profile = Profile(
        evse_id, said["id"], said["stackLevel"], Purpose(purpose), Kind(kind),
        period_s=read_period(said),
        start_s=read_start(schedule),
        duration_s=read_duration(schedule, "duration", 1),
        is_local=schedule.get("useLocalTime") is True,
        is_watts=schedule["chargingRateUnit"] == "W",
        limits=read_limits(schedule, phases),
        valid_from_s=read_instant(said, "validFrom", -inf),
        valid_to_s=read_instant(said, "validTo", inf),
        transaction_id=said.get("transactionId"),
        offline_max_s=read_duration(said, "maxOfflineDuration", 0),
        ends_offline=said.get("invalidAfterOfflineDuration") is True,
        said=said,
    )  # fmt: skip
    if why := contradiction(profile, schedule):
        raise Rejected("InvalidProfile", why)
    return profile


def contradiction(profile: Profile, schedule: Mapping[str, Any]) -> str:
    """What a profile must not be, by K01; "" if it may be."""
    is_relative, is_station = profile.kind is Kind.RELATIVE, profile.purpose in OF_STATION
    for broken, why in (
        (is_station and profile.evse_id != 0, f"{profile.purpose} is of the station: evseId 0"),
        (is_station and is_relative, f"{profile.purpose} is not relative to a transaction"),
        (profile.purpose is Purpose.TX and profile.evse_id == 0, "a TxProfile is of one EVSE: evseId 1 or more"),
        (profile.purpose is not Purpose.TX and profile.transaction_id, "a transactionId belongs to a TxProfile"),
        (is_relative and profile.start_s is not None, "a relative schedule has no startSchedule"),
        (not is_relative and profile.start_s is None, "an absolute or recurring schedule has a startSchedule"),
        (profile.kind is Kind.RECURRING and not profile.period_s, "a recurring profile is Daily or Weekly"),
        (profile.kind is not Kind.RECURRING and profile.period_s, "only a recurring profile has a recurrencyKind"),
        (profile.period_s and isfinite(profile.duration_s) and profile.duration_s > profile.period_s,
         "the schedule lasts longer than its own repetition"),
        (profile.valid_from_s >= profile.valid_to_s, "validTo is not after validFrom"),
        (next((key for key in NOT_HERE if schedule.get(key)), ""), "limitAtSoC and randomizedDelay are not done here"),
        (not (schedule.get("minChargingRate") or 0.0) >= 0.0, "minChargingRate is 0 or more"),
    ):  # fmt: skip
        if broken:
            return why
    return ""


def read_limits(schedule: Mapping[str, Any], phases: int) -> tuple[tuple[float, float], ...]:
    periods = schedule["chargingSchedulePeriod"]
    if not 1 <= len(periods) <= PERIODS_MAX:
        raise Rejected("TooManyElements", f"1 to {PERIODS_MAX} periods: split the schedule")
    limits = []
    for period in periods:
        said_too = (key for key in period if key in SETPOINTS or (key in NOT_IN_PERIODS and period[key]))
        if key := next((key for key in said_too if period[key] is not None), ""):
            raise Rejected("UnsupportedParam", f"{key} is not done here: give a limit")
        if period.get("operationMode", "ChargingOnly") != "ChargingOnly" or period.get("limit") is None:
            raise Rejected("UnsupportedParam", "every period needs a limit, and the operation mode ChargingOnly")
        if period.get("numberPhases") == 0:
            raise Rejected("InvalidSchedule", "numberPhases is 1 to 3: to let nobody charge, give the limit 0")
        said = [period[key] for key in ("limit", "limit_L2", "limit_L3") if period.get(key) is not None]
        if not all(0.0 <= each <= LIMIT_MAX for each in said):
            raise Rejected("InvalidSchedule", f"limits are 0 to {LIMIT_MAX:g}")
        if (period.get("numberPhases") or phases) < phases and max(said) > 0.0:  # K01.FR.45: none can be taken away
            why = f"numberPhases is {phases} here: the station cannot switch phases, so give the limit of all {phases}"
            raise Rejected("UnsupportedParam", why)
        limits.append((period["startPeriod"], float(min(said))))
    starts = [start_s for start_s, _ in limits]
    if starts[0] != 0 or starts[-1] > DURATION_MAX_S or any(b <= a for a, b in pairwise(starts)):
        raise Rejected("InvalidSchedule", f"startPeriod begins with 0 and rises, to {DURATION_MAX_S} s at most")
    return tuple((float(start_s), limit) for start_s, limit in limits)


def read_duration(said: Mapping[str, Any], key: str, least_s: int) -> float:
    """In seconds; inf where nothing is said: it has no end."""
    if (duration_s := said.get(key)) is None:
        return inf
    if not least_s <= duration_s <= DURATION_MAX_S:
        why = f"{key} is {least_s} to {DURATION_MAX_S} s: for no end, leave it away"
        raise Rejected("InvalidProfile", why)
    return float(duration_s)


def read_period(said: Mapping[str, Any]) -> float:
    return PERIOD_S.get(said.get("recurrencyKind") or "", 0.0)


def read_start(schedule: Mapping[str, Any]) -> float | None:
    """With useLocalTime the time zone in the text does not count: what is left is what the site's clock shows."""
    text = schedule.get("startSchedule")
    if text is None:
        return None
    if schedule.get("useLocalTime") is True:
        try:
            return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
        except (ValueError, OverflowError):
            raise Rejected("InvalidSchedule", "startSchedule is no time") from None
    return read_instant(schedule, "startSchedule", 0.0)


def read_instant(said: Mapping[str, Any], key: str, otherwise: float) -> float:
    if said.get(key) is None:
        return otherwise
    at_s = read_time(said[key])
    if at_s is None:
        raise Rejected("InvalidSchedule", f"{key} is no time")
    return at_s


def saved(profiles: Sequence[Profile]) -> list[Any]:
    return [{"evseId": p.evse_id, "profile": dict(p.said)} for p in profiles]


def restored(fact: Any, ports: int) -> tuple[Profile, ...]:
    """Those that this software can read."""
    return tuple(each for each in read_back(fact, ports) if isinstance(each, Profile))


def unread(fact: Any, ports: int) -> tuple[str, ...]:
    """Of the others a sentence each: what they limited is not limited any more."""
    return tuple(each for each in read_back(fact, ports) if isinstance(each, str))


def read_back(fact: Any, ports: int) -> Iterator[Profile | str]:
    """What was taken is not asked for its phases again: a limit on all of them is nearer to it than none."""
    if fact is not None and not isinstance(fact, list):
        yield f"no charging profile can be read, {AGAIN}"
        return
    for row in fact or []:
        said = row.get("profile") if isinstance(row, dict) else None
        number = said.get("id", "?") if isinstance(said, dict) else "?"
        try:
            yield read(row["evseId"], row["profile"], ports)
        except Rejected as rejected:
            yield f"charging profile {number} is refused now, {AGAIN}: {rejected.why}"
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError):
            yield f"charging profile {number} cannot be read, {AGAIN}"
