"""What an owner's engineer works out by hand from docs/policy.md: who may start, and what a session costs.

He knows nothing of the station's code. He has what the owner has sent, as JSON, the cloud's records and a calendar; a
pocket calculator, and so the cent on which half a cent falls may be one or the other.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise
from typing import Any

Json = dict[str, Any]

QUARTER_S = 900  # every clock of the world is set by quarters, and all that an owner says here
UNITS = {"EUR": 2, "USD": 2, "JPY": 0, "KWD": 3}
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
ENDING_S = 15.0  # an orderly stop, and a controller that is slow to say so
RAW = {"energy": "priceKwh", "chargingTime": "priceMinute", "idleTime": "priceMinute", "fixedFee": "priceFixed",
       "reservationTime": "priceMinute", "reservationFixed": "priceFixed"}  # fmt: skip
KINDS = {"Charging": "chargingTime", "EVConnected": "idleTime", "SuspendedEV": "idleTime"}  # else nobody's time
IDLE = {"Energy": 0.0, "Time": 0.0, "ChargingTime": 0.0, "IdleTime": 0.0}


# -- who and when -----------------------------------------------------------------------------------------------------


def is_open(hours: Json | None, there: datetime) -> bool:
    """By the clock on the wall. Hours over midnight belong to the day on which they begin."""
    if hours is None:
        return True
    today = there.date().isoformat()
    special = [each for each in hours.get("dated", ()) if each["day"] == today]
    if special:
        return any(is_within(span, there, over_midnight=False) for span in special[0].get("spans", ()))
    return any(is_within(span, there, over_midnight=True) for span in hours.get("week", ()))


def is_within(span: Json, there: datetime, *, over_midnight: bool) -> bool:
    minute, begin, end = there.hour * 60 + there.minute, span.get("start_min", 0), span.get("end_min", 0)
    if begin == end:
        return is_day_of(span, there)
    if begin < end or end == 0:
        return begin <= minute < (end or 1440) and is_day_of(span, there)
    began_today = minute >= begin and is_day_of(span, there)
    return began_today or (over_midnight and minute < end and is_day_of(span, there - timedelta(days=1)))


def is_day_of(span: Json, there: datetime) -> bool:
    days = span.get("weekdays") or range(7)
    date = there.date().isoformat()
    return there.weekday() in days and span.get("from_date", date) <= date < span.get("to_date", "9999")


def deciding_rule(policy: Json, groups: Collection[str], at_s: float, zone: tzinfo, *, is_connected: bool) -> str:
    """The name of the rule by which he may start; "closed": some name him, none is open; "": none names him."""
    said = ""
    for rule in policy["rules"]:
        mine = rule["who"] == "everyone" or (rule["who"] == "connected" and is_connected)
        if mine or set(rule.get("groups", ())) & set(groups):
            if is_open(rule.get("hours"), datetime.fromtimestamp(at_s, zone)):
                return str(rule["name"])
            said = "closed"
    return said


# -- what it costs ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Line:
    """One event of a session, as the cloud has it."""

    boot: bytes
    mono_s: float
    wall_s: float
    wh: int
    state: str
    trigger: str


@dataclass(frozen=True, slots=True)
class Metered:
    """What the station knew of the meter at an instant."""

    boot: bytes
    mono_s: float
    wh: int


@dataclass(slots=True)
class Book:
    """What has been used so far, and what it comes to, with tax; never more than each tariff's most."""

    used: dict[str, float] = field(default_factory=lambda: dict(IDLE))
    owed: float = 0.0
    doubt: float = 0.0  # by so much it may be more or less: what went on in the seconds of the end nobody has written


def is_simple(form: Json) -> bool:
    """Whether he can do it: no condition of power, no limit without tax."""
    told = [each for part in RAW for each in form.get(part, {}).get("prices", ())]
    names = {name for each in told for name in each.get("conditions", ())}
    is_of_load = any(name.endswith(("Power", "Current")) for name in names)
    return not is_of_load and all("inclTax" in form.get(limit, {"inclTax": 0}) for limit in ("minCost", "maxCost"))


def holds(said: Json, there: datetime, used: Mapping[str, float]) -> bool:
    """In the words of OCPP: all of them, each by itself."""
    day, minute = there.date().isoformat(), f"{there:%H:%M}"
    begin, end = said.get("startTimeOfDay", "00:00"), said.get("endTimeOfDay", "00:00")
    in_window = begin <= minute < end if begin < end else minute >= begin or minute < end
    in_dates = said.get("validFromDate", day) <= day < said.get("validToDate", "9999")
    on_day = DAYS[there.weekday()] in said.get("dayOfWeek", DAYS)
    least = all(used[name[3:]] >= said[name] for name in said if name.startswith("min"))
    most = all(used[name[3:]] < said[name] for name in said if name.startswith("max"))
    return in_window and in_dates and on_day and least and most and said.get("evseKind") != "DC"


def price(form: Json, part: str, at_s: float, zone: tzinfo, used: Mapping[str, float]) -> float:
    """The first that holds, with tax."""
    if part not in form:
        return 0.0
    there = datetime.fromtimestamp(at_s, zone)
    found = (each[RAW[part]] for each in form[part]["prices"] if holds(each.get("conditions", {}), there, used))
    return float(next(found, 0.0)) * tax_factor(form[part])


def tax_factor(part: Json) -> float:
    factor, rates = 1.0, part.get("taxRates", ())
    for stack in sorted({rate.get("stack", 0) for rate in rates}):
        factor *= 1 + sum(rate["tax"] for rate in rates if rate.get("stack", 0) == stack) / 100
    return factor


def dearest(form: Json, part: str) -> float:
    amounts = [each[RAW[part]] for each in form.get(part, {}).get("prices", ())]
    return max(amounts, default=0.0) * tax_factor(form.get(part, {}))


def bill(
    forms: Sequence[Json],
    lines: Sequence[Line],
    zone: tzinfo,
    reserved_since_s: float | None,
    told: Mapping[str, float],
    turned: Metered | None = None,
) -> tuple[float, float]:
    """(total with tax, how much it may be off). A TariffChanged goes on to the next form; `reserved_since_s`: the
    reservation that it used was made then; `told`: chargingTime and idleTime of the record, in seconds, which say when
    in the last stretch the end began; `turned`: the same, where somebody has looked."""
    book, form, left = Book(), forms[0], list(forms[1:])
    book.owed = price(form, "fixedFee", lines[0].wall_s, zone, IDLE)
    if reserved_since_s is not None:
        book.owed += reservation(form, reserved_since_s, lines[0].wall_s, zone)
    for before, after in pairwise(lines):
        if after.trigger == "TxResumed" or after.boot != before.boot:
            before = up_to_its_end(form, book, before, zone, told, turned) if after is lines[-1] else before
            unseen(form, book, before, after, zone)
        elif after is lines[-1]:
            last_stretch(form, book, before, after, zone, told, turned)
        else:
            stretch(form, book, before, after.mono_s - before.mono_s, after, zone)
        if after.trigger == "TariffChanged":
            book.owed = min(book.owed, most(form))
            form = left.pop(0)
    assert not left, "a tariff that was never told of"
    owed = min(book.owed, most(form))
    return max(owed, form.get("minCost", {}).get("inclTax", 0.0)), book.doubt


def most(form: Json) -> float:
    return float(form.get("maxCost", {}).get("inclTax", "inf"))


def reservation(form: Json, since_s: float, until_s: float, zone: tzinfo) -> float:
    owed = price(form, "reservationFixed", until_s, zone, IDLE)
    for begin_s, end_s in pairwise([since_s, *quarters(since_s, until_s), until_s]):
        owed += price(form, "reservationTime", (begin_s + end_s) / 2, zone, IDLE) * (end_s - begin_s) / 60
    return owed


def stretch(form: Json, book: Book, before: Line, seconds: float, after: Line, zone: tzinfo) -> None:
    """Time and energy are a straight line; it is cut wherever a condition may change, and each piece looked at in its
    middle. Dated by its end: that is the newest that is known of the time."""
    wh, part = max(0, after.wh - before.wh), KINDS.get(before.state, "")
    began_s, used = after.wall_s - seconds, dict(book.used)

    def at(share: float) -> dict[str, float]:
        timed = {} if not part else {part[0].upper() + part[1:]: seconds * share}
        more = {"Energy": wh * share, "Time": seconds * share, **timed}
        return {name: used[name] + more.get(name, 0.0) for name in used}

    shares = sorted({0.0, 1.0, *cuts(form, began_s, seconds, at)})
    for begin, end in pairwise(shares):
        middle, now_s = at((begin + end) / 2), began_s + seconds * (begin + end) / 2
        book.owed += price(form, "energy", now_s, zone, middle) * wh * (end - begin) / 1000
        if part:
            book.owed += price(form, part, now_s, zone, middle) * seconds * (end - begin) / 60
    book.used = at(1.0)


def cuts(form: Json, began_s: float, seconds: float, at: Any) -> Iterator[float]:
    """Shares of the stretch at which a price may change."""
    if seconds > 0:
        yield from ((quarter_s - began_s) / seconds for quarter_s in quarters(began_s, began_s + seconds))
    first, last = at(0.0), at(1.0)
    for part in ("energy", "chargingTime", "idleTime"):
        for each in form.get(part, {}).get("prices", ()):
            for name, bound in each.get("conditions", {}).items():
                if name[:3] in ("min", "max") and first[name[3:]] < bound < last[name[3:]]:
                    yield (bound - first[name[3:]]) / (last[name[3:]] - first[name[3:]])


def last_stretch(
    form: Json, book: Book, before: Line, after: Line, zone: tzinfo, told: Mapping[str, float],
    turned: Metered | None,
) -> None:  # fmt: skip
    """First as before, then the seconds of the end, which are nobody's: only what was metered then is paid."""
    seconds, part = after.mono_s - before.mono_s, KINDS.get(before.state, "")
    if part:
        name = part[0].upper() + part[1:]
        mine_s = max(0.0, told[part] - book.used[name])
        assert -2.0 <= seconds - mine_s <= ENDING_S, f"{mine_s:.0f} of the last {seconds:.0f} s were billed as {part}"
        first_s = min(seconds, mine_s + 0.5)  # whole seconds are told
        book.doubt += dearest(form, part) / 60
    else:
        first_s = seconds
    wh = after.wh
    if turned and turned.boot == before.boot and turned.mono_s >= before.mono_s:
        assert not part or abs(turned.mono_s - before.mono_s - first_s) < 2.0
        first_s, wh = turned.mono_s - before.mono_s, turned.wh
    there = Line(after.boot, before.mono_s + first_s, after.wall_s - (seconds - first_s), wh, "", "")
    stretch(form, book, before, first_s, there, zone)
    ending_wh = max(0, after.wh - wh)
    changes = len({price(form, "energy", at_s, zone, book.used) for at_s in grid(there, after)}) > 1
    if changes or hangs_on(form, "energy", "Energy"):
        book.doubt += dearest(form, "energy") * ending_wh / 1000
    stretch(form, book, there, 0.0, after, zone)


def up_to_its_end(
    form: Json, book: Book, before: Line, zone: tzinfo, told: Mapping[str, float], turned: Metered | None
) -> Line:
    """It had begun to end when the power was cut: what was metered then was stored, without an event of its own."""
    part = KINDS.get(before.state, "")
    if not part or not turned or turned.boot != before.boot or turned.mono_s < before.mono_s:
        return before
    seconds = turned.mono_s - before.mono_s
    mine_s = told[part] - book.used[part[0].upper() + part[1:]]
    if mine_s < 1.0:  # the power was faster
        return before
    assert abs(seconds - mine_s) < 2.0, f"{mine_s:.0f} of {seconds:.0f} s were billed as {part}"
    there = Line(turned.boot, turned.mono_s, before.wall_s + seconds, turned.wh, "", "")
    stretch(form, book, before, seconds, there, zone)
    return there


def hangs_on(form: Json, part: str, what: str) -> bool:
    told = form.get(part, {}).get("prices", ())
    return any(name.endswith(what) for each in told for name in each.get("conditions", ()))


def unseen(form: Json, book: Book, before: Line, after: Line, zone: tzinfo) -> None:
    """No time, and the register's energy at the cheapest price that held."""
    wh = max(0, after.wh - before.wh)
    ends = [dict(book.used), dict(book.used) | {"Energy": book.used["Energy"] + wh}]
    held = [price(form, "energy", at_s, zone, used) for at_s in grid(before, after) for used in ends]
    book.owed += min(held) * wh / 1000
    if hangs_on(form, "energy", "Energy"):
        book.doubt += dearest(form, "energy") * wh / 1000
    book.used = ends[1]


def grid(before: Line, after: Line) -> list[float]:
    """An instant in every quarter of an hour between them."""
    ends = [before.wall_s, *quarters(before.wall_s, after.wall_s), max(before.wall_s, after.wall_s)]
    return [(one + other) / 2 for one, other in pairwise(ends)]


def quarters(from_s: float, to_s: float) -> list[float]:
    first = int(from_s // QUARTER_S) + 1
    return [float(n * QUARTER_S) for n in range(first, int(to_s // QUARTER_S) + 1) if n * QUARTER_S < to_s]


def rounded(amount: float, currency: str) -> Decimal:
    return Decimal(repr(amount)).quantize(Decimal(1).scaleb(-UNITS[currency]), ROUND_HALF_UP)


def agrees(total: Decimal, worked_out: tuple[float, float], currency: str, lines: int) -> bool:
    """`lines`: each of them is a millisecond and a milliwatt-hour off."""
    amount, doubt = worked_out
    off = doubt + 2e-5 * lines + 1e-6 * amount
    return rounded(max(0.0, amount - off), currency) <= total <= rounded(amount + off, currency)
