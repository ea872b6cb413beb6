"""Days of a station whose owner decides at random, from one seed: who, when, at what price, how much power, which plan.

The station is the simulated world's (agent/sim/world.py), whole; beside its cloud the reference cloud's ledger takes in
the same batches. While it lives, somebody reads its panel, asks `explain` before each tap, and looks at the pins; what
has come of it tests/policyjudges.py looks at.
"""

import random
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from agent.clock import iso8601
from agent.effects import Save
from agent.events import MachineTold, PanelTold
from agent.explain import Explanation, explain
from agent.life import rules
from agent.policy.access import name_of
from agent.policy.plan_token import CTI, EXP, NBF, SUB
from agent.port import is_plugged
from agent.reporting import VENDOR_ID
from agent.settings import Settings
from agent.sim.car import Car
from agent.sim.world import MACHINE, STATION_ID, WALL_S, World
from agent.station import BootReason
from agent.ui.view import screen
from agent.uplink.codec import WireRecord
from tests import clerk, ownerwords
from tests.ownerbook import Sent, Told
from tests.ownerwords import GROUPS, Json
from tests.play import cwt
from tests.test_life import WIZARD
from tests.test_world import Observer
from tools.cloud.ledger import Ledger

DAY_S, HOUR_S = 86_400.0, 3_600.0
EDGES = {  # days worth living at
    "Europe/Berlin": (date(2026, 10, 25), date(2027, 3, 28)),
    "America/New_York": (date(2026, 11, 1), date(2027, 3, 14)),
    "Australia/Lord_Howe": (date(2026, 10, 4), date(2027, 4, 4)),
    "Asia/Kolkata": (date(2026, 12, 1),),
    "UTC": (date(2027, 1, 1),),
}
CARDS = tuple(f"04D0000{n}" for n in range(6))  # of drivers whom the cloud knows
STRANGERS = ("04DEAD99", "04DEAD98", "08F00F12")
CERTIFIED = replace(MACHINE, certificate_expiry_s=2e9)
GAPS_S = 5 * HOUR_S  # between two things that happen
LATE_S = 5.0  # what a station may take to see that a time has come


@dataclass(frozen=True, slots=True)
class PortSeen:
    """What somebody sees who stands at a port, and the state that its messages go by."""

    has_car: bool
    is_taken: bool  # somebody charges here, or is waited for
    state: str
    transaction_id: str | None
    note: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What somebody reads on the panel."""

    at: float
    has_time: bool
    title: str
    note: str
    ports: tuple[PortSeen, ...]


@dataclass(slots=True)
class Expected:
    """What `explain` has said of a tap, and who has tapped: by list, cache, or the cloud that was asked."""

    at: float
    said: Explanation
    groups: frozenset[str]
    is_connected: bool
    card: str = ""
    evse_id: int = 0  # where he stood
    taken: frozenset[int] = frozenset()  # ports with a car, with a session, or with somebody who is waited for
    has_time: bool = True
    outcome: str = ""  # start, or the reason of a refusal


@dataclass(frozen=True, slots=True)
class Asked:
    """A ReserveNow or a start from the cloud; the ports that were taken when it was sent, and when it was answered."""

    command_id: str
    at: float
    until: float
    taken: tuple[frozenset[int], frozenset[int]]


class Site(World):
    """A world with a calendar of its own; the reference cloud's ledger, and somebody who reads the panel."""

    def __init__(self, seed: int, settings: Settings, ports: int, begins_s: float) -> None:
        self.begins_s, self.machine = begins_s, CERTIFIED
        super().__init__(seed, settings, ports=ports, meter_s=900.0)
        self.ledger = Ledger(":memory:")
        self.turned: dict[str, clerk.Metered] = {}  # transactionId -> when its end began, and what had flowed
        self.totals: dict[str, str] = {}  # transactionId -> what the panel showed in the end
        self.running: dict[tuple[str, int], str] = {}  # transactionId, seqNo -> what it showed right after that record
        self.explained: dict[str, Expected] = {}  # transactionId -> what was said of the tap that began it
        self.unnamed: list[str] = []  # sessions that began under a policy, and do not say under which
        self.policy_at: tuple[Any, float] = None, 0.0  # in force, since when
        self.group_tariffs: dict[str, str] = {}  # transactionId -> the version that was in force when it began
        self.expected: dict[tuple[int, str], Expected] = {}  # evse_id, card
        self.waits_s = 65.0  # from a tap to the plug, at most
        self.sent: dict[str, Sent] = {}  # commandId -> what was sent
        self.kernels: dict[bytes, float] = {}  # boot_id -> when its monotonic clock was 0
        self.seen: list[Seen] = []
        self.gone_at: list[float] = []  # when it lost its power, or its agent died
        self.seqs: list[tuple[int, int]] = []  # of each record of the cloud's log: stream, seq
        self._apply, self.cloud._apply = self.cloud._apply, self._applied  # type: ignore[method-assign]
        self._received, self.cloud.received = self.cloud.received, self._ingested  # type: ignore[method-assign]

    def true_wall_s(self) -> float:
        return self.begins_s + self.now

    def command(self, action: str, **payload: Any) -> "Site":
        super().command(action, **payload)
        ours = (payload["messageId"], payload.get("data")) if action == "DataTransfer" else (action, payload)
        self.sent[self.last_command] = Sent(self.now, *ours)
        return self

    @property
    def last_command(self) -> str:
        return f"c{self.cloud._commands}"

    def told(self) -> list[Told]:
        """What the cloud has, each at the instant at which it was made, in the order in which it was."""
        found = [
            (self.kernels[each.boot_id] + each.mono_ms / 1000, seq, each)
            for each, seq in zip(self.cloud.log, self.seqs, strict=True)
        ]
        return [
            Told(at, each.action, each.payload, each.wall_ms / 1000 if each.clock_source and each.wall_ms else None)
            for at, _, each in sorted(found, key=lambda each: each[:2])
        ]

    def _applied(self, record: WireRecord, epoch: bytes, stream: int, seq: int) -> None:
        self.seqs.append((stream, seq))
        self._apply(record, epoch, stream, seq)

    def taken(self) -> frozenset[int]:
        """The ports that nobody else could take now."""
        cars = {n for n, bay in enumerate(self.controller.bays, 1) if bay.car is not None}
        ports = self.shell.station.ports if self.shell else ()
        return frozenset(cars | {port.evse_id for port in ports if port.transaction or port.grant})

    def look(self) -> None:
        """Somebody reads the whole panel."""
        if self.shell is None:
            return
        station, model = self.shell.station, screen(self.shell.station, self.mono())
        ports = []
        for port, shown in zip(station.ports, model.ports, strict=True):
            status, tx = self.status(port.evse_id), port.transaction
            state = "Idle" if tx is None else self.charging_state(port.evse_id)
            state = status if status in ("Faulted", "Unavailable") else state
            state = "Suspended" if state.startswith("Suspended") else "Charging" if state == "EVConnected" else state
            has_car = self.controller.bays[port.evse_id - 1].car is not None
            is_taken, named = bool(tx or port.grant), tx.transaction_id if tx else None
            ports.append(PortSeen(has_car, is_taken, state, named, shown.also))
        has_time = bool(station.clock.source)
        self.seen.append(Seen(self.now, has_time, model.title, model.note, tuple(ports)))

    def _ingested(self, topic: str, payload: bytes) -> list[tuple[str, bytes]]:
        if (kind := topic.rsplit("/", 1)[1]) in "01234":
            self.ledger.ingest(STATION_ID, int(kind), payload, round(self.true_wall_s() * 1000))
        return self._received(topic, payload)

    def _start(self, reason: BootReason, *, same_kernel: bool) -> None:
        super()._start(reason, same_kernel=same_kernel)
        assert self.shell
        self.kernels[bytes.fromhex(self.shell.station.boot.boot_id)] = self.kernel_since
        self.shell.on_change = self._looked
        for told in (MachineTold(self.machine), PanelTold(drawn=True, video=True)):
            self.shell.happened(told, self.mono())

    def _host_gone(self) -> None:
        super()._host_gone()
        self.gone_at.append(self.now)

    def _looked(self) -> None:
        """Somebody stands there and reads the panel whenever a session has something to say."""
        assert self.shell
        station = self.shell.station
        if station.owner.access is not self.policy_at[0]:
            self.policy_at = station.owner.access, self.now
        for port in station.ports:
            tx, last = port.transaction, port.finished
            if tx is not None and tx.ending and tx.transaction_id not in self.turned and port.report is not None:
                boot = bytes.fromhex(station.boot.boot_id)
                self.turned[tx.transaction_id] = clerk.Metered(boot, self.mono(), port.report.energy_wh)
            if last is not None and last.transaction_id not in self.totals:
                shown = screen(station, self.mono()).ports[port.evse_id - 1].last
                self.totals[last.transaction_id] = shown.cost if shown else "nothing"
            if tx is not None and (key := (tx.transaction_id, tx.seq_no - 1)) not in self.running:
                figures = screen(station, self.mono()).ports[port.evse_id - 1].figures
                self.running[key] = next((f"{each.value} {each.unit}" for each in figures if each.name == "cost"), "")
                said = self.expected.get((port.evse_id, tx.id_token))
                if tx.seq_no == 1 and said and tx.remote_start_id is None and self.now - said.at < self.waits_s:
                    self.explained[tx.transaction_id] = said
                if tx.seq_no == 1:
                    self.group_tariffs[tx.transaction_id] = station.owner.group_tariffs.version
                if tx.seq_no == 1 and rules(station) and not tx.access_rule and self.now - self.policy_at[1] > 61:
                    self.unnamed.append(tx.transaction_id)

    def close(self) -> None:
        self.ledger.close()
        self.disk.close()


# -- a life -----------------------------------------------------------------------------------------------------------


class Life:
    """So many days from a seed. `play` lives them and ends with everybody gone and all delivered."""

    looks = False  # somebody reads the whole panel after each thing that happens

    def __init__(self, seed: int, days: float) -> None:
        self.rng, self.seed, self.length_s = random.Random(seed), seed, days * DAY_S
        rng = self.rng
        name = rng.choice(list(EDGES))
        self.zone, edge = ZoneInfo(name), rng.choice(EDGES[name])
        begins = datetime(edge.year, edge.month, edge.day, tzinfo=self.zone).timestamp()
        begins_s = max(WALL_S, begins - rng.uniform(-0.1, days) * DAY_S)
        first = datetime.fromtimestamp(begins_s, self.zone).date()
        self.days = [first + timedelta(days=n) for n in range(round(days) + 2)]
        settings = Settings(
            station_id=STATION_ID, time_zone=name, restart_delay_max_s=rng.choice((0.0, 20.0)),
            circuit_limit_ma=rng.choice((10_000, 16_000, 20_000, 32_000, 63_000)), phases=rng.choice((1, 3)),
            port_limit_ma=rng.choice((16_000, 32_000)), free=rng.random() < 0.1, list_grace_days=0,
            tx_updated_interval_s=HOUR_S, aligned_interval_s=0.0, socketed=rng.random() < 0.2,
            offline_tx_for_unknown_id=rng.random() < 0.2, concurrent_tx=rng.random() < 0.2,
        )  # fmt: skip
        self.site = Site(seed, settings, rng.choice((1, 2)), begins_s)
        self.site.rtc = rng.random() < 0.85
        self.currency = rng.choice(("EUR", "EUR", "USD", "JPY", "KWD"))
        self.drivers = {card: tuple(rng.sample(GROUPS, rng.randint(0, 2))) for card in CARDS}
        self.policies: dict[str, Json] = {}  # id@version -> as sent
        self.tariffs: dict[str, Json] = {}  # tariffId -> as sent
        self.group_tariffs: dict[str, list[Json]] = {"": []}  # version -> the rules that were sent
        self.reservations: dict[str, Json] = {}  # commandId -> ReserveNow
        self.cancels: dict[str, int] = {}
        self.plans: dict[str, dict[Any, Any]] = {}  # commandId -> claims
        self.disturbed: list[float] = []  # when the controller was reset: nobody counts what went on just before
        self.answered: set[str] = set()  # tariffIds of the cloud's answers
        self.remotes: dict[int, frozenset[str]] = {}  # remoteStartId -> the group that the cloud has named
        self.transfers: set[str] = set()  # commandIds
        self.reasons: set[str | None] = set()  # of refusals that were foreseen
        self.numbers = 0
        self.refusals = self.taps = 0
        self.tally: Counter[str] = Counter()  # what taps came to
        self.tapped: list[Expected] = []
        self.asked: list[Asked] = []  # while the station could be reached
        self.is_free_after = self.is_reservable = False  # as the owner has said before the first day
        self.observer = Observer(self.site)

    def number(self) -> int:
        self.numbers += 1
        return self.numbers

    def play(self) -> "Life":
        try:
            self._begin()
            until = self.site.now + self.length_s
            while self.site.now < until:
                self._happen()
                self.tally[""] += 1
                self.site.run(self.rng.expovariate(1 / GAPS_S))
                self.observer.check()
                self._check_running()
                if self.looks:
                    self.site.look()
            self._end()
        except AssertionError as error:
            raise AssertionError(f"seed {self.seed}: {error}") from error
        return self

    def closing(self) -> "closing[Site]":
        return closing(self.site)

    def _begin(self) -> None:
        rng, site = self.rng, self.site
        wizard = {**WIZARD, "settings": {"circuit_limit_ma": site.settings.circuit_limit_ma}, "breaker_ma": 80_000}
        self.is_free_after, self.is_reservable = rng.random() < 0.5, rng.random() < 0.03
        owner = {"owner/free after plan": self.is_free_after, "owner/reservable": self.is_reservable}
        facts = [Save("wizard", wizard), *(Save(name, value) for name, value in owner.items())]
        site.disk.mount(bytes(8)).commit(facts)
        self._send_list()
        site.power_on().run(60.0)
        for order in rng.sample((self._access, self._default, self._group_tariffs, self._plan), 3):
            order()
        site.run(10.0)

    def _end(self) -> None:
        """Everything works again, everybody goes home, and all is delivered."""
        site = self.site
        if site.shell is None:
            site.run(120.0)
        site.net.mend()
        site.run(60.0)
        for evse_id in range(1, site.ports + 1):
            self._leave(evse_id)
            if site.controller.bays[evse_id - 1].car is not None:  # its cable is locked
                assert site.shell
                tx = site.shell.station.ports[evse_id - 1].transaction
                assert tx, "a cable is locked, and nobody charges"
                site.command("RequestStopTransaction", transactionId=tx.transaction_id).run(30.0)
                assert site.unplug(evse_id)
        site.run_until(self._is_delivered, 4 * HOUR_S).run(60.0)

    def _is_delivered(self) -> bool:
        shell = self.site.shell
        if shell is None or any(port.transaction for port in shell.station.ports):
            return False
        sessions = self.site.cloud.sessions.values()
        return len(sessions) == len(self.site.totals) and all(each.is_whole for each in sessions)

    def _happen(self) -> None:
        chances: dict[Callable[[], None], int] = {
            self._somebody: 10, self._access: 1, self._group_tariffs: 1, self._default: 2, self._change: 2,
            self._reserve: 2, self._profiles: 1, self._plan: 1, self._remote: 1, self._listed: 1, self._power: 1,
            self._radio: 1, self._restart: 1, self._availability: 1, self._transfer: 1,
        }  # fmt: skip
        (what,) = self.rng.choices(list(chances), list(chances.values()))
        what()

    def _check_running(self) -> None:
        """Nobody goes on whom the owner's hours or his limit should have stopped."""
        site = self.site
        for port in site.shell.station.ports if site.shell else ():
            tx, station = port.transaction, site.shell.station if site.shell else None
            if tx is None or tx.ending or tx.interrupted or station is None or not station.clock.source:
                continue
            if tx.limit_s and tx.limit_stops and tx.started.source and tx.started.wall_s:
                lasted_s = site.true_wall_s() - tx.started.wall_s
                assert lasted_s < tx.limit_s + LATE_S, f"{tx.transaction_id} lasts {lasted_s:.0f} of {tx.limit_s} s"
            held = rules(station)
            policy = self.policies[name_of(held.policy)] if held else None
            if policy is None or policy["atClosing"] == "finish" or site.now - site.policy_at[1] < LATE_S:
                continue
            is_approved = bool(tx.groups) or tx.was_listed or tx.remote_start_id is not None
            at_s = site.true_wall_s()
            said = [
                clerk.deciding_rule(policy, tx.groups, at_s - late_s, self.zone, is_connected=is_approved)
                for late_s in (0.0, LATE_S)
            ]
            assert any(each not in ("", "closed") for each in said), f"{tx.transaction_id} goes on: {said}, {policy}"

    # -- drivers

    def _somebody(self) -> None:
        evse_id = self.rng.randint(1, self.site.ports)
        if self.site.controller.bays[evse_id - 1].car is None:
            self._come(evse_id)
        else:
            self._leave(evse_id)

    def _come(self, evse_id: int) -> None:
        rng, site = self.rng, self.site
        card, car = rng.choice((*CARDS, *CARDS, *STRANGERS)), self._car()
        if is_first := rng.random() < 0.2:
            self._tap(card, evse_id)
            site.run(rng.uniform(4, 50))
        site.plug(evse_id, car).run(rng.uniform(4, 60))
        if not is_first:
            self._tap(card, evse_id)

    def _car(self) -> Car:
        rng = self.rng
        return Car(
            need_wh=rng.choice((300, 3_000, 12_000, 40_000)), max_ma=rng.choice((6_000, 13_000, 32_000)),
            phases=rng.choice((1, 3)), reaction_ms=rng.choice((200, 1_000, 4_000)),
        )  # fmt: skip

    def _leave(self, evse_id: int) -> None:
        rng, site = self.rng, self.site
        tx = site.shell.station.ports[evse_id - 1].transaction if site.shell else None
        if tx and tx.id_token in CARDS and rng.random() < 0.6:
            self._tap(tx.id_token, evse_id)
            site.run(rng.choice((2.0, 15.0)))
        elif tx and rng.random() < 0.3:
            site.command("RequestStopTransaction", transactionId=tx.transaction_id).run(15.0)
        if site.controller.bays[evse_id - 1].car is not None and not site.unplug(evse_id):
            site.run(20.0)
            site.unplug(evse_id)
        site.run(5.0)

    def _tap(self, card: str, evse_id: int) -> None:
        """What `explain` says of it just before is what happens."""
        site = self.site
        if site.shell is None:
            site.run(5.0)
            return
        now, station = site.mono(), site.shell.station
        said = explain(station, card, *site.shell.looked_up(card, now), evse_id, now)
        self.taps += 1
        self.tally[str(said.reason or said.decision)] += 1
        listed, cached = site.shell.looked_up(card, now)
        entry = listed or cached
        of_cloud = site.cloud.drivers.get(card, {}).get("groupIdToken", {}).get("idToken")
        groups = entry.groups if entry else frozenset({of_cloud} if of_cloud else ())
        is_approved, has_time = bool(groups) or listed is not None, bool(station.clock.source)
        expected = Expected(site.now, said, groups, is_approved, card, evse_id, site.taken(), has_time)
        site.expected[evse_id, card] = expected
        self.tapped.append(expected)
        before = station.ports[evse_id - 1].transaction
        site.choose(evse_id).tap(card)
        port = site.shell.station.ports[evse_id - 1]
        what = f"{card} at port {evse_id}: {said.decision} ({said.reason}), by {said.rules[-1]}"
        match said.decision:
            case "refuse":
                self.refusals += 1
                self.reasons.add(said.reason)
                assert site.said(said.evse_id or 0) == said.reason, f"{what}, but it was {site.said(said.evse_id or 0)}"
                assert port.transaction is None or port.transaction is before
            case "start":
                is_granted = port.grant is not None and port.grant.id_token == card
                is_started = port.transaction is not None and port.transaction.id_token == card
                assert is_started if is_plugged(port) and is_plugged(station.ports[evse_id - 1]) else is_granted, what
            case "stop":
                assert before and (port.transaction is None or port.transaction.ending), what
        expected.outcome = said.reason or said.decision
        site.run(4.0)
        if said.decision == "ask" and site.shell is not None:
            port = site.shell.station.ports[evse_id - 1]
            came = (port.grant or port.transaction) if port.transaction is not before or port.grant else None
            is_his = came is not None and came.id_token == card
            expected.outcome = "start" if is_his else site.said(evse_id) or "ask"

    def _remote(self) -> None:
        rng, site = self.rng, self.site
        evse_id = rng.randint(1, site.ports)
        if site.controller.bays[evse_id - 1].car is None:
            site.plug(evse_id, Car(need_wh=rng.choice((1_000, 9_000)))).run(5.0)
        card, number, more = rng.choice(CARDS), self.number(), {}
        if groups := self.drivers[card]:
            more = {"groupIdToken": {"idToken": groups[0], "type": "Central"}}
        self.remotes[number] = frozenset(groups[:1])
        token = {"idToken": f"app-{card}", "type": "Central"}
        taken = site.taken()
        site.command("RequestStartTransaction", remoteStartId=number, idToken=token, evseId=evse_id, **more)
        self.asked.append(Asked(site.last_command, site.now, site.now + 1.0, (taken, taken)))
        site.run(5.0)

    # -- the owner

    def _ours(self, message: str, data: Any) -> str:
        """The id of the command."""
        self.site.command("DataTransfer", vendorId=VENDOR_ID, messageId=message, data=data)
        return f"c{self.site.cloud._commands}"

    def _access(self) -> None:
        if self.rng.random() < 0.2:
            self._ours("AccessPolicy", None)
            return
        policy = ownerwords.access_policy(self.rng, self.number(), self.days)
        self.policies[f"{policy['policyId']}@{policy['version']}"] = policy
        self._ours("AccessPolicy", policy)

    def _tariff(self) -> Json:
        currency = self.currency if self.rng.random() < 0.95 else "EUR"
        form = ownerwords.tariff(self.rng, f"T{self.number()}", currency, self.days)
        self.tariffs[form["tariffId"]] = form
        return form

    def _default(self) -> None:
        if self.rng.random() < 0.15:
            self.site.command("ClearTariffs")
            return
        form = self._tariff()
        if self.rng.random() < 0.2:
            form["validFrom"] = iso8601(self.site.true_wall_s() + self.rng.choice((-60, 3 * HOUR_S)))
        self.site.command("SetDefaultTariff", evseId=self.rng.randint(0, self.site.ports), tariff=form)

    def _group_tariffs(self) -> None:
        if self.rng.random() < 0.2:
            self._ours("GroupTariffs", None)
            return
        some = self.rng.sample(GROUPS, self.rng.randint(1, 3))
        rules = [{"groups": [group], "tariff": self._tariff()} for group in some]
        version = str(self.number())
        self.group_tariffs[version] = rules
        self._ours("GroupTariffs", {"version": version, "rules": rules})

    def _change(self) -> None:
        """Of a session that runs; the price of an app's driver is in the cloud's answer."""
        shell = self.site.shell
        if self.rng.random() < 0.3:
            form = self._tariff()
            self.answered.add(form["tariffId"])
            self.site.cloud.tariffs = {self.rng.choice((*CARDS, *STRANGERS)): form}
        for port in shell.station.ports if shell else ():
            if port.transaction and self.rng.random() < 0.5:
                named = port.transaction.transaction_id
                self.site.command("ChangeTransactionTariff", transactionId=named, tariff=self._tariff())

    def _reserve(self) -> None:
        rng, site = self.rng, self.site
        if self.reservations and rng.random() < 0.2:
            number = rng.choice(list(self.reservations.values()))["id"]
            site.command("CancelReservation", reservationId=number)
            self.cancels[f"c{site.cloud._commands}"] = number
            return
        card = rng.choice(CARDS)
        request: Json = {}
        if rng.random() < 0.7:
            request["evseId"] = rng.randint(1, site.ports)
        if rng.random() < 0.3:
            request["groupIdToken"] = {"idToken": rng.choice(GROUPS), "type": "Central"}
        request |= {
            "id": self.number(), "idToken": {"idToken": card, "type": "ISO14443"},
            "expiryDateTime": iso8601(site.true_wall_s() + rng.choice((600, 2 * HOUR_S, 5 * HOUR_S))),
        }  # fmt: skip
        self._reserved(request)
        if rng.random() < 0.5:
            site.run(rng.uniform(60, 1_800))
            evse_id = request.get("evseId", 1)
            if site.controller.bays[evse_id - 1].car is None:
                site.plug(evse_id, Car(need_wh=5_000)).run(5.0)
                self._tap(card, evse_id)

    def _reserved(self, request: Json) -> None:
        """Sent; what it is to come to is judged by the ports as they are now."""
        site, begun, taken = self.site, self.site.now, self.site.taken()
        site.command("ReserveNow", **request)
        self.reservations[site.last_command] = request
        if self.looks:
            named = site.last_command
            site.run(1.0)
            self.asked.append(Asked(named, begun, site.now, (taken, site.taken())))

    def _profiles(self) -> None:
        rng, site = self.rng, self.site
        if rng.random() < 0.4:
            site.command("ClearChargingProfile", chargingProfileCriteria={})
            return
        said = ownerwords.profile(rng, self.number(), is_station=rng.random() < 0.4)
        evse_id = 0 if said["chargingProfilePurpose"].startswith("Charging") else rng.randint(0, site.ports)
        site.command("SetChargingProfile", evseId=evse_id, chargingProfile=said)

    def _plan(self, *, is_good: bool = False) -> None:
        """Mostly one that holds; sometimes one that has ended long ago, until the next."""
        rng, now_s = self.rng, self.site.true_wall_s()
        ended = (-200.0, rng.choice((-60.0, -90.2, -95.0)))
        first, last = rng.choice(((-10.0, 300.0), (1.0, 300.0))) if is_good or rng.random() < 0.6 else ended
        number = self.number()
        claims: dict[Any, Any] = {SUB: STATION_ID, CTI: bytes([1, number % 256]), NBF: int(now_s + first * DAY_S),
                  EXP: int(now_s + last * DAY_S), "issue": number, "plan": "Basic"}  # fmt: skip
        self.plans[self._ours("PlanToken", cwt(claims, self.site._key))] = claims
        if last < 0:
            self.site.run(rng.uniform(0.2, 5) * HOUR_S)
            self._somebody()
            self._plan(is_good=True)

    def _listed(self) -> None:
        card = self.rng.choice(CARDS)
        self.drivers[card] = tuple(self.rng.sample(GROUPS, self.rng.randint(0, 2)))
        self._send_list()

    def _send_list(self) -> None:
        """Most of them are on it; the cloud knows all."""
        site, entries = self.site, []
        for card, groups in self.drivers.items():
            info: Json = {"status": "Accepted"}
            if groups:
                info["groupIdToken"] = {"idToken": groups[0], "type": "Central"}
            site.cloud.drivers[card] = info
            custom = {"customData": {"vendorId": VENDOR_ID, "groups": list(groups)}} if len(groups) > 1 else {}
            entries.append({"idToken": {"idToken": card, "type": "ISO14443"}, "idTokenInfo": info, **custom})
        site.cloud.list_version += 1
        some = self.rng.sample(entries, len(entries) - self.rng.randint(0, 2))
        request = {"versionNumber": site.cloud.list_version, "updateType": "Full", "localAuthorizationList": some}
        site.command("SendLocalList", **request)

    def _availability(self) -> None:
        """Out of service, and soon back."""
        where = {"evse": {"id": self.rng.randint(1, self.site.ports)}} if self.rng.random() < 0.5 else {}
        self.site.command("ChangeAvailability", operationalStatus="Inoperative", **where)
        self.site.run(self.rng.uniform(60, 3_600))
        self._somebody()
        self.site.command("ChangeAvailability", operationalStatus="Operative", **where)

    def _transfer(self) -> None:
        """To another owner, now and then: he sends all of his own."""
        if self.rng.random() > 0.3:
            return
        site = self.site
        self.transfers.add(self._ours("Transfer", {"waitS": 600}))
        site.run(1_800.0)
        self._somebody()
        self._ours("Activation", {"name": f"Yard {self.number()}", "owner": "Acme", "afterPlan": "free"})
        site.run(5.0)
        self._send_list()
        self._access()
        self._default()

    # -- mishaps

    def _power(self) -> None:
        if self.site.shell is not None:
            self.site.cut_power().run(self.rng.choice((2.0, 60.0, 500.0, 3_000.0))).power_on().run(40.0)

    def _radio(self) -> None:
        self.site.net.cut()
        self.site.run(self.rng.choice((60.0, 1_800.0, 4 * HOUR_S)))
        self._somebody()
        self.site.net.mend()

    def _restart(self) -> None:
        rng, site = self.rng, self.site
        match rng.choice(("agent", "agent", "controller", "reset", "idle")):
            case "agent" if site.shell is not None:
                site.kill_agent(rng.choice((0.5, 30.0))).run(60.0)
            case "controller" if site.shell is not None:
                self.disturbed.append(site.now)
                site.reset_controller().run(60.0)
            case "reset":
                site.command("Reset", type="Immediate").run(60.0)
            case "idle":
                site.command("Reset", type="OnIdle").run(60.0)
