"""A stalled name server, broker, TLS handshake or disk costs no heartbeat: the real loop in real time, a car charging."""

import asyncio
import queue
import socket
import sqlite3
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from agent.app import App
from agent.board import load, load_config
from agent.loop import Inbox, Loop, monotonic
from agent.port import Port
from agent.sim.car import Car
from agent.store import Connect, connect
from agent.uplink.mqtt import Dial
from tests.process import (
    ANN,
    BOB,
    TIMEOUT_S,
    edges,
    longest_gap_s,
    started_box,
    until,
    write_files,
    write_list,
    write_pki,
)

BEATS_PER_S = 2
GAP_MAX_S = 1.0  # two heartbeats
DECISION_S = 0.5  # S6 says 0.3 s; the box and this test look every 20 ms, and share their processor
NOT_LONG_S = 4
STALL_S = pytest.mark.parametrize("stall_s", [NOT_LONG_S, pytest.param(10, marks=pytest.mark.long)])
PROMISES = pytest.mark.promise("S1", "S6", "S10")


class Station:
    """App and Loop on a thread of their own, the box at the other end of their lines; port 1 charges for Ann."""

    def __init__(self, folder: Path, port: int, connect: Connect, dial: Dial) -> None:
        self.box, self.hardware = started_box(folder)
        write_list(folder / "state", ANN, BOB)
        self.files = write_files(folder, self.box, pki=write_pki(folder / "pki"), port=port)
        self.turns: list[float] = []  # when systemd's watchdog was fed
        self._seams = connect, dial
        self._built: queue.SimpleQueue[tuple[App, Loop]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()), name="loop")

    def start(self) -> None:
        self._thread.start()
        self.app, self.loop = self._built.get(timeout=TIMEOUT_S)
        for evse_id in (1, 2):
            until(lambda evse_id=evse_id: self.port(evse_id).report)
            self.box.plug(evse_id, Car(reaction_ms=200))
            until(lambda evse_id=evse_id: self.port(evse_id).plugged_at is not None)
        until(lambda: edges(self.hardware, 1, "self_test")[-1] == 2)
        self.box.tap(ANN)
        self.app.shell.happened  # noqa: B018

    async def _live(self) -> None:
        inbox = Inbox()
        connect, dial = self._seams
        app = App(load(self.files[0]), load_config(self.files[1]), inbox, connect=connect, dial=dial)
        loop = Loop(app, inbox, alive=lambda: self.turns.append(monotonic()))
        self._built.put((app, loop))
        try:
            await loop.run()
        finally:
            app.close()

    def close(self) -> None:
        self.loop.stop()
        self._thread.join(5.0)
        self.box.close()
        assert not self._thread.is_alive(), "an orderly stop waits for nobody"
        assert self.app.broker.join(TIMEOUT_S)  # type: ignore[union-attr]

    def port(self, evse_id: int) -> Port:
        return self.app.shell.station.ports[evse_id - 1]
