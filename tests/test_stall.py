"""A stalled name server, broker, TLS handshake or disk costs no heartbeat: the real loop, in real time, with cars."""

import asyncio
import queue
import socket
import sqlite3
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from agent.app import App
from agent.board import load, load_config
from agent.events import SelfTest
from agent.loop import Inbox, Loop, monotonic
from agent.outbox import Connect, connect
from agent.port import Port
from agent.sim.car import Car
from agent.uplink.dial import Dial, dial
from agent.uplink.mqtt import Mqtt
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
GAP_MAX_S = 1.0  # one heartbeat may be late, none is missed
DECISION_S = 0.5  # S6 says 0.3 s; here two threads look only every 20 ms, and share their processor
STALL_S = pytest.mark.parametrize("stall_s", [3, pytest.param(10, marks=pytest.mark.long)])
PROMISES = pytest.mark.promise("S1", "S6", "S10")


class Station:
    """App and Loop on a thread of their own, the box at the other end of their lines; port 1 charges for Ann."""

    def __init__(
        self, folder: Path, *, port: int = 1, connect: Connect = connect, dial: Dial = dial
    ) -> None:
        self.box, self.hardware = started_box(folder)
        write_list(folder / "state", ANN, BOB)
        self.pki = write_pki(folder / "pki")
        self.fed_at: list[float] = []  # systemd's watchdog
        self._files = write_files(folder, self.box, pki=self.pki, port=port)
        self._seams = connect, dial
        self._built: queue.SimpleQueue[tuple[App, Loop]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()), name="loop")

    def start(self) -> None:
        self._thread.start()
        self.app, self.loop = self._built.get(timeout=TIMEOUT_S)
        until(lambda: self._is_ready(1) and self._is_ready(2))
        self.plug_and_tap(1, ANN)
        until(lambda: self.box.power_w(1) > 0)

    async def _live(self) -> None:
        inbox, (connect, dial) = Inbox(), self._seams
        app = App(load(self._files[0]), load_config(self._files[1]), inbox, connect=connect, dial=dial)
        loop = Loop(app, inbox, alive=lambda: self.fed_at.append(monotonic()))
        self._built.put((app, loop))
        try:
            await loop.run()
        finally:
            app.close()

    def close(self) -> None:
        """As SIGTERM does it."""
        self.loop.stop()
        self._thread.join(5.0)
        self.box.close()
        assert not self._thread.is_alive(), "an orderly stop waits for nobody"

    def port(self, evse_id: int) -> Port:
        return self.app.shell.station.ports[evse_id - 1]

    def _is_ready(self, evse_id: int) -> bool:
        report = self.port(evse_id).report
        return report is not None and report.self_test is SelfTest.PASSED

    def plug_and_tap(self, evse_id: int, card: str) -> float:
        """How long the decision took."""
        self.box.plug(evse_id, Car(reaction_ms=200))
        until(lambda: self.port(evse_id).plugged_at is not None and self._is_ready(evse_id))
        began = monotonic()
        self.box.tap(card)
        until(lambda: self.port(evse_id).transaction is not None)
        return monotonic() - began

    @contextmanager
    def not_disturbed(self, for_s: int) -> Iterator[None]:
        """For so long neither heartbeat nor watchdog stops, and no contactor opens."""
        beats, feeds, until_s = len(self.hardware.wished_at) - 1, len(self.fed_at) - 1, monotonic() + for_s
        yield
        until(lambda: monotonic() >= until_s)
        assert len(self.hardware.wished_at) - beats > for_s * BEATS_PER_S * 0.9
        assert longest_gap_s(self.hardware.wished_at[beats:]) <= GAP_MAX_S
        assert longest_gap_s(self.fed_at[feeds:]) <= GAP_MAX_S
        assert 0 not in edges(self.hardware, 0, "contactor")


# -- the network ------------------------------------------------------------------------------------------------------


class NameServer:
    """Answers nobody."""

    def __init__(self) -> None:
        self.is_asked, self.is_over = threading.Event(), threading.Event()

    def dial(self, address: tuple[str, int], timeout_s: float) -> socket.socket:
        self.is_asked.set()
        self.is_over.wait(TIMEOUT_S)
        raise socket.gaierror(f"{address[0]}: temporary failure in name resolution")


class SilentBroker:
    """Takes the TCP connection, with `tls` also the handshake, and says no word."""

    def __init__(self, undo: ExitStack) -> None:
        self.undo = undo
        self.server = undo.enter_context(closing(socket.create_server(("127.0.0.1", 0))))
        self.server.settimeout(TIMEOUT_S)
        self.port: int = self.server.getsockname()[1]

    def take_tcp(self) -> None:
        self.take()

    def take(self) -> socket.socket:
        connection, _ = self.server.accept()
        connection.settimeout(TIMEOUT_S)
        return self.undo.enter_context(closing(connection))

    def take_tls(self, pki: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pki / "broker.pem", pki / "broker.key")
        tls = self.undo.enter_context(closing(context.wrap_socket(self.take(), server_side=True)))
        assert tls.recv(1) == b"\x10"  # CONNECT


def lives_through(station: Station, stall_s: int) -> None:
    """The network stalls: a driver comes, taps and charges, as if nothing were."""
    with station.not_disturbed(stall_s):
        assert station.plug_and_tap(2, BOB) <= DECISION_S
        until(lambda: station.box.power_w(2) > 0)


def stalled(folder: Path, stall_s: int, begin: Callable[[Station], None], undo: ExitStack, **seams: object) -> None:
    station = Station(folder, **seams)  # type: ignore[arg-type]
    try:
        station.start()
        begin(station)
        lives_through(station, stall_s)
    finally:
        station.close()
        undo.close()
        assert isinstance(station.app.broker, Mqtt)
        assert station.app.broker.join(TIMEOUT_S)


@PROMISES
@STALL_S
def test_a_name_server_that_hangs_costs_no_heartbeat(tmp_path: Path, stall_s: int) -> None:
    with ExitStack() as undo:
        dns = NameServer()
        undo.callback(dns.is_over.set)
        stalled(tmp_path, stall_s, lambda _: until(dns.is_asked.is_set), undo, dial=dns.dial)


@PROMISES
@STALL_S
def test_a_tls_handshake_that_hangs_costs_no_heartbeat(tmp_path: Path, stall_s: int) -> None:
    with ExitStack() as undo:
        broker = SilentBroker(undo)
        stalled(tmp_path, stall_s, lambda _: broker.take_tcp(), undo, port=broker.port)


@PROMISES
@STALL_S
def test_a_broker_that_never_answers_costs_no_heartbeat(tmp_path: Path, stall_s: int) -> None:
    with ExitStack() as undo:
        broker = SilentBroker(undo)
        stalled(tmp_path, stall_s, lambda station: broker.take_tls(station.pki), undo, port=broker.port)


# -- the disk ---------------------------------------------------------------------------------------------------------


class Disk:
    """Hangs in COMMIT while `takes` is not set."""

    def __init__(self) -> None:
        self.takes, self.hangs = threading.Event(), threading.Event()
        self.takes.set()

    def connect(self, path: Path) -> sqlite3.Connection:
        disk = self

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *args: object) -> sqlite3.Cursor:
                if sql == "COMMIT" and not disk.takes.is_set():
                    disk.hangs.set()
                    assert disk.takes.wait(2 * TIMEOUT_S)
                return super().execute(sql, *args)  # type: ignore[arg-type]

        return sqlite3.connect(path, timeout=1.0, isolation_level=None, check_same_thread=False, factory=Connection)


@PROMISES
@STALL_S
def test_a_disk_that_hangs_costs_no_heartbeat_and_no_contactor_closes_before_its_record_is_safe(
    tmp_path: Path, stall_s: int
) -> None:
    disk, dns = Disk(), NameServer()
    station = Station(tmp_path, connect=disk.connect, dial=dns.dial)
    try:
        station.start()
        disk.takes.clear()
        with station.not_disturbed(stall_s):
            assert station.plug_and_tap(2, BOB) <= DECISION_S
            assert disk.hangs.wait(TIMEOUT_S)
        assert edges(station.hardware, 1, "offer_ma") == []
        assert edges(station.hardware, 1, "contactor") == []
        station.box.tap(ANN)  # what is asked for less waits for no disk
        until(lambda: edges(station.hardware, 0, "contactor") == [1, 0], 2.0)
        disk.takes.set()
        until(lambda: edges(station.hardware, 1, "contactor") == [1])
    finally:
        disk.takes.set()
        dns.is_over.set()
        station.close()
