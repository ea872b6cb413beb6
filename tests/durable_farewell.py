"""A station that is taken from its owner, cut anywhere: the real shell, store and lists, without a broker. In even
lives it is transferred, in odd ones reset to the factory's state. And their judge (tests/durable_stories.py).

A life makes the station somebody's, with prices, a list, a cached answer and part of another list; sells once; and
takes it from him. With each commit it says where the station stands then, and how many records of money there are.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agent.app import NoBroker, state_folder
from agent.authcache import cache, overlay
from agent.authcache import lists as listed
from agent.authcache.listfile import read_key
from agent.authcache.lists import Lists
from agent.clock import Clock, ClockSource
from agent.core import born
from agent.effects import Durable, PortCommand, Record, Remember, Save, Stream
from agent.events import (
    AllDelivered,
    CardTapped,
    ClockTold,
    ControllerFound,
    Cp,
    Entry,
    Event,
    Machine,
    PanelTold,
    PortReported,
    Report,
)
from agent.outbox import StoreError
from agent.policy.owner import NO_DEFAULTS, NO_GROUPS
from agent.reporting import VENDOR_ID
from agent.settings import Config, Paths, Settings
from agent.shell import CommandOpened, Shell
from agent.sim.world import at_once
from agent.station import Boot, BootReason, Station
from agent.store import Committed, Search
from agent.uplink.codec import Mark
from agent.uplink.commands import Command, SeenCommands
from agent.uplink.messages import COMMANDS, from_wire
from agent.uplink.operator import OperatorKeys
from agent.uplink.protocol import Uplink
from tests.durability import Judge, Tree, tree
from tests.durable_store import BOOT, Open, nothing, planted
from tests.listed import Cloud, in_parts
from tests.play import ANN, BOB, EVE, OPERATOR, WALL_S, Json

DAY_S = 86_400.0
SERIAL = "SA-0001"
NEW = Settings(station_id=SERIAL, activated=False, circuit_limit_ma=32_000, restart_delay_max_s=0.0)
WIZARD: Json = {
    "settings": {"circuit_limit_ma": 32_000}, "breaker_ma": 40_000, "installer": "Al Lee", "company": "A1",
    "pinpoint": {
        "latitude": 52.52, "longitude": 13.4, "accuracy_m": 5.0, "method": "typed", "at_s": None, "who": "Al Lee",
    },
    "done": {"hand-over": [WALL_S, False]}, "told": "d1", "is_heard": True,
}  # fmt: skip
TARIFF: Json = {"tariffId": "T", "currency": "EUR", "energy": {"prices": [{"priceKwh": 0.25}]}}
ACTIVATION: Json = {
    "name": "Yard 1", "owner": "Acme", "defaultTariff": TARIFF,
    "accessPolicy": {"policyId": "p", "version": 1, "rules": [{"name": "all", "who": "everyone"}]},
    "groupTariffs": {"version": "1", "rules": [{"groups": ["fleet"], "tariff": {**TARIFF, "tariffId": "G"}}]},
}  # fmt: skip
NEWER = "04A1A1A2"  # a card that comes when there is a list
NOBODYS, OWNED, LISTED, LEAVING = "nobody's", "owned", "owned, with its list", "leaving"
WAIT_S = 3600
OF_CARDS = (overlay.PREFIX, cache.PREFIX)  # the names of facts about them begin so
NOBODY = "nobody is connected, and so nobody asks for this"


def stage(station: Station, *, has_list: bool) -> str:
    """Where it stands; or, if that is nowhere, what of the owner is there and what is not."""
    said, settings = station.owner, station.settings
    parts = {
        "activation": said.activation is not None, "name": settings.owner == "Acme", "access": said.access is not None,
        "default": said.default_tariffs != NO_DEFAULTS, "groups": said.group_tariffs != NO_GROUPS,
    }  # fmt: skip
    if not any(parts.values()) and not has_list and not said.leaving and not settings.activated:
        return NOBODYS
    if all(parts.values()) and settings.activated and not said.leaving:
        return LISTED if has_list else OWNED
    if all(parts.values()) and has_list and said.leaving and not settings.activated:
        return LEAVING
    return f"half: {parts}, list {has_list}, {said.leaving}, activated {settings.activated}"


class Numbered:
    """The store as the shell knows it: its batches are the steps of the story."""

    def __init__(self, disk: "Disk") -> None:
        self.open, self.money = disk.open, disk.money
        self.batches: dict[int, int] = {}  # step -> the shell's number, of those that are on their way
        self.has_list = bool(disk.lists.state.version)
        self.station: Station | None = None  # as the shell has it now

    def commit(self, batch_id: int, durable: Sequence[Durable]) -> None:
        assert self.station
        self.money += sum(isinstance(each, Record) and each.stream is Stream.MONEY for each in durable)
        for each in durable:
            if isinstance(each, Save) and each.key == listed.FACT:
                self.has_list = each.value is not None
        step = self.open.ask(stage=stage(self.station, has_list=self.has_list), money=self.money)
        self.batches[step] = batch_id
        self.open.store.commit(step, durable)

    def flush(self) -> None:
        self.open.store.flush()

    def fetch(self, stream: int, after_seq: int, limit_bytes: int) -> None:
        raise AssertionError(NOBODY)

    def search(self, search: Search) -> None:
        raise AssertionError(NOBODY)

    def acknowledged(self, epoch: bytes, marks: Mapping[int, Mark]) -> None:
        raise AssertionError(NOBODY)

    def bury(self, stream: int, seq: int, why: str) -> None:
        raise AssertionError(NOBODY)

    def new_epoch(self) -> None:
        raise AssertionError(NOBODY)


class NoController:
    """Its reports are the story's."""

    def wish(self, commands: tuple[PortCommand, ...], now: float) -> None: ...

    def fresh(self, evse_id: int, now: float) -> Event | None:
        return None

    def commission(self, limits: tuple[int, int, int], now: float) -> None: ...


class Disk:
    """What a folder holds, as the agent finds it when it starts."""

    def __init__(self, folder: Path, **how: Any) -> None:
        state = state_folder(Config(paths=Paths(state=str(folder / "state"))))
        self.open, self.folder = Open(state, **how), state / "lists"
        self.facts = dict(self.open.opened.facts)
        self.money = self.open.opened.marks[Stream.MONEY][1] - 1  # records
        self.lists = Lists(self.folder, self.facts, read_key(state / "list.key"), 0.0)
        if not self.facts.get("wizard", {}).get("done"):  # an installer comes, after a reset too
            self.facts["wizard"] = WIZARD
        seen = self.facts.get("station", {})
        boot = Boot(BOOT.hex(), 0.0, BootReason.POWER_UP, False, seen.get("seen_s"), seen.get("starts", 0) + 1)
        clock = Clock(max(WALL_S - 1e6, seen.get("floor_s", 0.0)), 0.0)
        machine = Machine(certificate_expiry_s=2e9)
        self.station, self.first = born(NEW, boot, clock, 2, self.facts, [0.5] * 2, 0.0, machine)

    @property
    def stage(self) -> str:
        return stage(self.station, has_list=bool(self.lists.state.version))

    @property
    def key(self) -> str:
        """Two disks that have it in common go on alike."""
        return repr((sorted(self.facts.items()), sorted(path.name for path in self.folder.iterdir())))


class Driven:
    """The shell on it."""

    def __init__(self, disk: Disk, life: int, wall_s: float | None = None) -> None:
        self.folder = disk.folder
        self.open, self.lists, self.life, self.now, self.commands = disk.open, disk.lists, life, 0.0, 0
        self.reports = {evse_id: Report(energy_wh=1000 * evse_id) for evse_id in (1, 2)}
        station, facts = disk.station, disk.facts
        self.store = Numbered(disk)
        self.store.station = station
        self.shell = Shell(
            station, (*disk.first, Save("wizard", facts["wizard"])), store=self.store, broker=NoBroker(),
            controller=NoController(), uplink=Uplink(SERIAL, BOOT, self.open.opened.epoch, self.open.opened.marks, {}),
            lists=self.lists, seen=SeenCommands(facts), keys=OperatorKeys([OPERATOR.public_key()], facts),
            work=at_once, build=at_once, now=0.0,
        )  # fmt: skip
        self.shell.on_change = self._changed
        self._pump()
        at_s = WALL_S + DAY_S * life if wall_s is None else wall_s
        self.on(ClockTold(at_s, ClockSource.CLOUD), ControllerFound(7, 1.0, 32_000))
        self.on(PanelTold(drawn=True, video=True)).see(1).see(2).after(30.0)

    def _changed(self) -> None:
        self.store.station = self.shell.station

    def _pump(self) -> None:
        while self.store.batches:
            self.open.store.flush()
            done = self.open.answer(Committed)
            self.shell.happened(Committed(self.store.batches.pop(done.batch_id), done.next_seq), self.now)

    def on(self, *events: Any) -> "Driven":
        for event in events:
            self.shell.happened(event, self.now)
            self._pump()
        return self

    def after(self, seconds: float) -> "Driven":
        until = self.now + seconds
        while (due := self.shell.next_deadline()) <= until:
            self.now = max(self.now, due)
            self.shell.due(self.now)
            self._pump()
        self.now = until
        return self

    def see(self, evse_id: int, **changes: Any) -> "Driven":
        self.reports[evse_id] = replace(self.reports[evse_id], **changes)
        return self.on(PortReported(evse_id, self.reports[evse_id]))

    def command(self, action: str, payload: Json) -> None:
        self.commands += 1
        request = from_wire(COMMANDS[action], payload)
        self.on(CommandOpened(Command(f"{self.life}-{self.commands}", action, payload, request)))

    def order(self, message: str, data: Any) -> None:
        self.command("DataTransfer", {"vendorId": VENDOR_ID, "messageId": message, "data": data})

    @property
    def stage(self) -> str:
        return stage(self.shell.station, has_list=bool(self.lists.state.version))

    @property
    def charges(self) -> bool:
        return any(port.transaction for port in self.shell.station.ports)


def made_his(station: Driven) -> None:
    assert station.stage == NOBODYS, station.stage
    station.order("Activation", ACTIVATION)
    assert station.stage == OWNED, station.stage
    cloud = Cloud()
    cloud.change({ANN: Entry(groups=frozenset({"fleet"})), BOB: Entry()})
    station.command("SendLocalList", cloud.full())
    base = cloud.version
    cloud.change({NEWER: Entry()})  # of which a fact in the store is made
    station.command("SendLocalList", cloud.differential({NEWER: Entry()}, base=base))
    answered = station.lists.remember(Remember(EVE, Entry(), station.after(1.0).now), WALL_S)
    assert answered
    station.shell._save(answered, station.now)
    cloud.change({EVE: Entry()})
    station.command("SendLocalList", next(iter(in_parts(cloud.full(), 2))))
    assert station.stage == LISTED and station.lists.parts, station.stage


def play_farewell(folder: Path, life: int) -> None:
    station = Driven(Disk(folder), life)
    if station.stage != LISTED:
        made_his(station)
    station.see(1, cp=Cp.B).on(CardTapped(ANN)).see(1, cp=Cp.C, contactor=True, energy_wh=5_000).after(5.0)
    assert station.charges
    if life % 2:
        station.see(1, cp=Cp.A, contactor=False, unplugs=1).after(5.0)
        station.order("FactoryReset", {})
    else:
        station.order("Transfer", {"waitS": WAIT_S})
        station.see(1, cp=Cp.A, contactor=False, unplugs=1).after(5.0)
        station.on(AllDelivered()) if life % 4 else station.after(WAIT_S)
    assert station.stage == NOBODYS and not station.charges, station.stage
    if life % 3:  # as a killed process
        os._exit(0)
    station.open.store.close()


def his() -> Tree:
    """A station that is somebody's, switched off in good order."""
    with planted({}) as folder:
        station = Driven(Disk(folder, say=nothing), 0)
        made_his(station)
        station.open.store.close()
        return {name: data for name, data in tree(folder).items() if not name.endswith("ballast")}


# -- the judge --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Legal:
    stage: str = NOBODYS
    money: int = 0


def legal_states(said: Sequence[str], before: Legal) -> tuple[list[Legal], int]:
    """All of them in order, and the index of the first that the promises allow."""
    states, first, promised = [before], 0, 0
    for line in said:
        match json.loads(line):
            case {"opened": _}:
                first = len(states) - 1
            case {"ask": _, "stage": at, "money": money}:
                states.append(Legal(at, money))
            case {"done": step}:
                promised = first + step
    return states, promised


def farewell_judge(before: str = NOBODYS) -> Judge:
    """`before`: where the station stood when the story began."""
    tried: dict[str, str] = {}  # what came of a disk

    def judge(files: Tree, said: Sequence[str]) -> str:
        states, promised = legal_states(said, Legal(before))
        with planted(files | {"state": None}) as folder:
            try:
                disk = Disk(folder, say=nothing)
            except StoreError as error:
                return f"does not open: {error}"
            try:
                if Legal(disk.stage, disk.money) not in states[promised:]:
                    return f"{disk.stage} with {disk.money} records, and not {states[promised]}"
                if (owed := len(disk.open.rows(Stream.MONEY))) != disk.money:
                    return f"of {disk.money} records {owed} are there"
                key = disk.key
                if key not in tried:
                    tried[key] = what_comes(disk)
                return tried[key]
            finally:
                disk.open.store.close()

    return judge


def what_comes(disk: Disk) -> str:
    """What is wrong when it starts, and goes on by itself."""
    at, leaving = disk.stage, disk.station.owner.leaving
    there = Driven(disk, 0, leaving.ordered_s if leaving else WALL_S)  # whichever life it was: time does not go back
    if at in (OWNED, LISTED):  # before its list nobody is known
        return "" if sells(there) == (at == LISTED) else f"{at}: that is wrong at the plug"
    if sells(there):
        return f"{at}, and sells"
    if at == LEAVING:
        there.after(WAIT_S + 60.0)
    elif "Acme" in repr(disk.facts) or any(disk.facts[key] for key in disk.facts if key.startswith(OF_CARDS)):
        return "facts of his are left"
    return left(there) if there.stage == NOBODYS else f"it does not go on: {there.stage}"


def sells(there: Driven) -> bool:
    there.see(2, cp=Cp.B).on(CardTapped(BOB))
    found = there.charges
    there.see(2, cp=Cp.A, unplugs=1)
    return found


def left(there: Driven) -> str:
    """Of the owner, in what is his no more."""
    known = [card for card in (ANN, BOB, EVE, NEWER) if any(there.lists.lookup(card, there.now, WALL_S))]
    files = [path.name for path in there.folder.iterdir()]
    return f"left: {known} {files}" if known or files else ""
