"""A decision at the plug with everything loaded: who taps is looked up in a real list file, walked through the rules,
the owner's access policy and reservations, and given a tariff, as agent/shell.py and agent/taps.py do it.

The list comes from the reference cloud and is built as the product builds it. What the loop does besides (the record,
the commit) is in core_tap and commit.
"""

import random
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from time import thread_time_ns

from agent import billing, owner
from agent.authcache.lists import Lists, Made, Plan, Status
from agent.policy import access, plan_token, profile
from agent.policy.authorize import Accept, Ask, decide
from agent.policy.reservation import Reservation
from agent.policy.tariff.choice import Defaults, read_group_tariffs
from agent.policy.tariff.terms import read
from agent.settings import Settings
from agent.sim.world import STATION_ID, WALL_S, World
from agent.station import Ask as Tap
from agent.station import Stage, Station
from agent.taps import question
from bench.figure import Figures, figure, percentile
from bench.liststation import KEY, card
from bench.tariff import tariff
from tools.cloud.drivers import Driver
from tools.cloud.ledger import Ledger

DRIVERS, GROUPS, GROUPS_EACH = 100_000, 10_000, 4
RULES, TARIFFS, RESERVATIONS, PROFILES = 100, 32, 32, 24
TAPS, TARGET_US = 20_000, 200.0
GOES = 3  # at each decision, of which the least counts: a processor that others use has cold caches at any moment
NOW_MS = round(WALL_S * 1000)


def group(number: int) -> str:
    return f"g{number % GROUPS}"


def groups_of(number: int) -> tuple[str, ...]:
    """No two drivers need be in the same ones."""
    return tuple(map(group, random.Random(number).sample(range(GROUPS), GROUPS_EACH)))


def listed(folder: Path) -> Lists:
    """The list in force, from the cloud's messages to the file."""
    ledger = Ledger(":memory:")
    ledger.drivers.put((Driver(card(n), groups_of(n)) for n in range(DRIVERS)), NOW_MS)
    lists = Lists(folder, {}, KEY, 0.0)
    for request in ledger.drivers.full(NOW_MS):
        plan = lists.plan(request, WALL_S, 0.0)
        assert isinstance(plan, Plan), plan
        made = plan.build()
        outcome = lists.apply(made, WALL_S, 0.0) if isinstance(made, Made) else made
        assert outcome.status is Status.Accepted, outcome
    ledger.close()
    assert lists.committed().entries == DRIVERS
    return lists


def access_rules() -> access.Rules:
    """Each group in one rule, each rule with hours of its own: of the week, of a holiday, over midnight."""
    rules = []
    for number in range(RULES):
        week = [{"start_min": 360 + number, "end_min": 1_080 + number % 300, "weekdays": [0, 1, 2, 3, 4]},
                {"start_min": 1_320, "end_min": 120 + number, "weekdays": [4, 5]}]  # fmt: skip
        hours = {"week": week, "dated": [{"day": "2026-12-25"}, {"day": "2027-01-01", "spans": week[:1]}]}
        mine = [group(n) for n in range(number, GROUPS, RULES)]
        who = {"who": "groups", "groups": mine}
        rules.append({"name": f"rule {number}", **who, "hours": hours, "sessionLimitS": 14_400})
    return access.ready(access.read({"policyId": "bench", "version": 1, "rules": rules}))


def loaded() -> Station:
    """A station that has come up, with all that an owner may decide, as much of it as is taken."""
    with World(1, Settings(station_id=STATION_ID, time_zone="Europe/Berlin")).closing() as world:
        world.power_on().run(60)
        assert world.shell
        station = world.shell.station
    terms = tariff()
    of_groups = [
        {"groups": [group(n) for n in range(k, GROUPS, TARIFFS)], "tariff": terms.sent | {"tariffId": f"bench {k}"}}
        for k in range(TARIFFS)
    ]
    reserved = (Reservation(n, card(DRIVERS + n), WALL_S + 9e6, 2, group(n)) for n in range(RESERVATIONS))
    limits = [{"startPeriod": 3_600 * n, "limit": 16 + n % 5} for n in range(24)]
    schedule = {"id": 1, "chargingRateUnit": "A", "chargingSchedulePeriod": limits, "duration": 86_400}
    daily = {
        "chargingProfileKind": "Recurring", "recurrencyKind": "Daily", "chargingProfilePurpose": "TxDefaultProfile",
        "chargingSchedule": [{**schedule, "startSchedule": "2026-01-01T00:00:00Z"}],
    }  # fmt: skip
    profiles = tuple(profile.read(1 + n % 2, daily | {"id": n + 1, "stackLevel": n // 3}, 2) for n in range(PROFILES))
    token = plan_token.Token("01", 1, "Basic", int(WALL_S) - 86_400, int(WALL_S) + 30_000_000)
    said = replace(
        station.owner, access=access_rules(), group_tariffs=read_group_tariffs({"version": "1", "rules": of_groups}),
        default_tariffs=Defaults({1: (read(terms.sent),), 2: (read(terms.sent),)}), reservations=tuple(reserved),
        profiles=profiles, tokens=(token,),
    )  # fmt: skip
    return replace(station, owner=said)


def decided(station: Station, lists: Lists, id_token: str, now: float) -> str:
    """From the card to the word, and whose tariff."""
    listed, cached = lists.lookup(id_token, now, WALL_S)
    tap = Tap(0, id_token, 1, False, None, now, now, Stage.LOOKUP, listed, cached)
    decision = decide(question(station, tap, None, now), now)
    if isinstance(decision, Accept):
        chosen = billing.choice(station, 1, decision.groups, now)
        assert chosen.group
        return "accepted"
    return "asked" if isinstance(decision, Ask) else str(decision.reason)


def policy() -> Figures:
    rng, first_us, took_us, said = random.Random(1), [], [], Counter[str]()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        lists = listed(Path(folder))
        station = owner.derived(replace(loaded(), allowlist=lists.state), 60.0)
        for number in range(TAPS):
            id_token, now = card(rng.randrange(DRIVERS + DRIVERS // 10)), 60.0 + number * 30.0
            if now >= station.owner.due:  # a rule has opened or closed: the core's next step, whoever taps
                station = owner.derived(station, now)
            goes_us = []
            for _ in range(GOES):
                began_ns = thread_time_ns()
                word = decided(station, lists, id_token, now)
                goes_us.append((thread_time_ns() - began_ns) / 1_000)
            first_us.append(goes_us[0])
            took_us.append(min(goes_us))
            said[word] += 1
    words = ", ".join(f"{word} {count}" for word, count in said.most_common())
    note = (
        f"{TAPS} taps over a week, CPU of each from the card to the word and its tariff: {DRIVERS} drivers in a list"
        f" file, each in {GROUPS_EACH} of {GROUPS} groups, {RULES} rules with hours, {TARIFFS} tariffs, {RESERVATIONS}"
        f" reservations, a plan token, {PROFILES} profiles; {words}; p50 {percentile(took_us, 50):.3g}, greatest"
        f" {max(took_us):.3g}; the least of {GOES} goes each, p99 of the first {percentile(first_us, 99):.3g}"
    )
    return {"decision_p99_us": figure(took_us, "us", TARGET_US, note, percentile(took_us, 99))}
