"""The composition root: the only file that knows every part of the device, and `station-agent run`.

    config, board  ->  store, lists, uplink, broker, controller, reader, panel  ->  one Shell on one Loop
"""

import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from agent import __version__
from agent.authcache.lists import Lists
from agent.board import Board
from agent.clock import Clock
from agent.core import born
from agent.hal.controller import ControllerLink
from agent.hal.tty import LineReader, SerialController, checked_tty
from agent.loop import Inbox, monotonic
from agent.settings import Config, Layer, merge
from agent.shell import Shell
from agent.store import Store
from agent.uplink.commands import SeenCommands
from agent.uplink.protocol import Uplink

BUILD_S = 1_790_000_000.0  # the clock's first floor: this software did not exist earlier
KERNEL_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class NoBroker:
    """A station without identity talks to nobody (I8)."""

    def publish(self, connection: int, packet_id: int, topic: str, payload: bytes, qos: int) -> None:
        raise AssertionError("nobody is connected")

    def drop(self, connection: int, why: str) -> None:
        pass


class App:
    """One run of the agent. Everything in it lives on the loop's thread; what does not, answers through the inbox."""

    def __init__(self, board: Board, config: Config, inbox: Inbox, *, panel_port: int | None) -> None:
        now = monotonic()
        state = Path(config.paths.state)
        merged = merge({Layer.BOARD: board.layer(), Layer.CONFIG: config.layer()})
        settings = merged.settings
        boot_id = secrets.token_bytes(8)
        self.store = Store(state / "station.db", boot_id, inbox.post)
        opened = self.store.open()
        if opened.damaged:
            log(f"the database was damaged and is kept as {opened.damaged}; a new one has been opened")
        facts = opened.facts
        boot = boot_of(boot_id, facts, now)
        floor_s = max(BUILD_S, facts.get("station", {}).get("floor_s", 0.0))
        ports = len(board.port)
        station, first = born(settings, boot, Clock(floor_s, now), ports, facts, [secrets.randbelow(1000) / 1000] * ports, now)
        link = ControllerLink(ports, settings.circuit_limit_ma, settings.failsafe_ma, settings.host_grace_s)
        self.controller = SerialController(link, checked_tty(board.controller.tty), inbox.post, monotonic)
        self.reader = LineReader(board.reader.tty, inbox.post) if board.reader.tty else None
        self.broker = broker_of(config, inbox)
        announced = {
            "chargingStation": {"model": board.name, "vendorName": "station-agent", "firmwareVersion": __version__},
            "reason": boot.reason,
        }
        self.lists = Lists(state, facts)
        self._work = ThreadPoolExecutor(1, "work")
        self._inbox = inbox
        self.shell = Shell(
            station, (*first, *kernel_fact()),
            store=self.store, broker=self.broker or NoBroker(), controller=self.controller,
            uplink=Uplink(settings.station_id, boot_id, opened.epoch, opened.marks, announced),
            lists=self.lists, seen=SeenCommands(facts), keys=operator_keys(config), work=self._elsewhere,
            now=now, log=log,
        )  # fmt: skip
