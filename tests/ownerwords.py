"""What an owner may send, at random: access policies, tariffs, charging profiles. All of it can be kept to."""

import random
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

from tests import clerk

Json = dict[str, Any]

QUARTERS = range(0, 1440, 15)  # minutes of a day
GROUPS = ("fleet", "staff", "guests", "vips")
OF_START, OF_USE = ("hours", "day", "dates"), ("energy", "time")  # sorts of a tariff's conditions


def span(rng: random.Random, days: Iterable[date] = ()) -> Json:
    """Some hours, told by quarters."""
    said: Json = {"start_min": rng.choice(QUARTERS), "end_min": rng.choice(QUARTERS)}
    if rng.random() < 0.5:
        said["weekdays"] = sorted(rng.sample(range(7), rng.randint(1, 6)))
    if (some := list(days)) and rng.random() < 0.2:
        first, last = sorted(rng.sample(some, 2))
        said |= {"from_date": first.isoformat(), "to_date": last.isoformat()}
    return said


def hours(rng: random.Random, days: list[date]) -> Json:
    dated = [
        {"day": day.isoformat()} | ({"spans": [span(rng)]} if rng.random() < 0.5 else {})
        for day in rng.sample(days, rng.choice((0, 0, 1, 2)))
    ]
    return {"week": [span(rng, days) for _ in range(rng.randint(1, 3))]} | ({"dated": dated} if dated else {})


def access_policy(rng: random.Random, version: int, days: list[date]) -> Json:
    rules: list[Json] = []
    for number in range(rng.randint(1, 4)):
        who = rng.choice(("everyone", "connected", "groups", "groups"))
        rule: Json = {"name": f"rule {number}", "who": who}
        if who == "groups":
            rule["groups"] = rng.sample(GROUPS, rng.randint(1, 2))
        if rng.random() < 0.7:
            rule["hours"] = hours(rng, days)
        if rng.random() < 0.3:
            rule |= {"sessionLimitS": rng.choice((900, 3600, 7200)), "limitStops": rng.random() < 0.7}
        if rng.random() < 0.2:
            rule["overstayS"] = 1800
        rules.append(rule)
    if rng.random() < 0.5:
        rules.append({"name": "whoever is left", "who": "everyone"})
    return {
        "policyId": "owner", "version": version, "rules": rules, "atClosing": rng.choice(("finish", "stop")),
        "visible": rng.choice(("everyone", "usable", "nobody")), "warningS": rng.choice((0, 600)),
    }  # fmt: skip


def clock_time(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def conditions(rng: random.Random, days: list[date], kinds: Sequence[str]) -> Json:
    """None, one or two of these kinds."""
    said: Json = {}
    for kind in rng.sample(kinds, rng.choice((0, 1, 1, 2))):
        match kind:
            case "hours":
                first, last = (clock_time(rng.choice(QUARTERS)) for _ in range(2))
                said |= {"startTimeOfDay": first, "endTimeOfDay": last}
            case "day":
                said["dayOfWeek"] = rng.sample(clerk.DAYS, rng.randint(1, 6))
            case "dates":
                from_day, to_day = sorted(rng.sample(days, 2))
                said |= {"validFromDate": from_day.isoformat(), "validToDate": to_day.isoformat()}
            case "energy":
                said[rng.choice(("minEnergy", "maxEnergy"))] = rng.choice((500, 2_000, 5_000))
            case "time":
                bound, what = rng.choice(("min", "max")), rng.choice(("Time", "ChargingTime", "IdleTime"))
                said[bound + what] = rng.choice((300, 1_800, 5_400))
            case "load":
                said[rng.choice(("minPower", "maxPower"))] = rng.choice((2_000, 5_000))
    return said


def tariff(rng: random.Random, tariff_id: str, currency: str, days: list[date]) -> Json:
    """One of seven is more than a clerk can work out: by the power of the car, or with limits without tax."""
    places, is_hard = clerk.UNITS[currency], rng.random() < 0.15
    form: Json = {"tariffId": tariff_id, "currency": currency}
    chances = {"energy": 0.9, "chargingTime": 0.5, "idleTime": 0.5, "fixedFee": 0.4, "reservationTime": 0.4,
               "reservationFixed": 0.3}  # fmt: skip
    for part, chance in chances.items():
        if rng.random() > chance:
            continue
        kinds = OF_START if part.startswith(("fixed", "reservation")) else (*OF_START, *OF_USE, *["load"] * is_hard)
        prices = []
        for _ in range(rng.randint(1, 3)):
            amount = rng.choice((0, rng.randint(1, 900_000) / 1_000_000, rng.randint(1, 60) / 100))
            said = conditions(rng, days, kinds)
            prices.append({clerk.RAW[part]: amount} | ({"conditions": said} if said else {}))
        form[part] = {"prices": prices}
        if rng.random() < 0.6:
            rates = [{"type": f"T{n}", "tax": rng.choice((7, 19, 20.5)), "stack": rng.randrange(2)} for n in range(2)]
            form[part]["taxRates"] = rates[: rng.randint(1, 2)]
    least, most = sorted(round(rng.uniform(0.5, 30), places) for _ in range(2))
    for name, amount, chance in (("minCost", least, 0.25), ("maxCost", most, 0.25)):
        if rng.random() < chance:
            form[name] = {"exclTax" if is_hard else "inclTax": amount}
    return form


def profile(rng: random.Random, number: int, *, is_station: bool) -> Json:
    purpose = "ChargingStationMaxProfile" if is_station else "TxDefaultProfile"
    amperes = [rng.choice((0, 6, 8.5, 10, 16, 32)) for _ in range(rng.randint(1, 3))]
    periods = [{"startPeriod": n * 7_200, "limit": limit} for n, limit in enumerate(amperes)]
    schedule: Json = {"id": number, "chargingRateUnit": "A", "chargingSchedulePeriod": periods}
    kind: Json = {"chargingProfileKind": "Relative"}
    if is_station or rng.random() < 0.5:
        kind = {"chargingProfileKind": "Recurring", "recurrencyKind": "Daily"}
        schedule |= {"startSchedule": "2026-01-01T00:00:00Z", "useLocalTime": True, "duration": 86_400}
    return {"id": number, "stackLevel": rng.randrange(3), "chargingProfilePurpose": purpose, **kind,
            "chargingSchedule": [schedule]}  # fmt: skip
