"""After an outage: 100,000 records through a slow link, and a link that swallows everything without a word.

The real Store, Uplink and Mqtt of one station, on one thread as in agent/shell.py, but without a core; a real mosquitto
and the reference cloud in a process of its own. Between them a proxy with the delay and the rate of a poor mobile link.
"""

import asyncio
import queue
import random
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from agent.effects import Record, Stream
from agent.events import Link
from agent.loop import monotonic
from agent.outbox import Database
from agent.sim.demo import DEVCLOUD
from agent.sim.mosquitto import BrokerError, Mosquitto
from agent.store import Committed, Crashed, EpochOpened, Fetched, Store, open_database
from agent.uplink.backoff import Address
from agent.uplink.codec import Will
from agent.uplink.mqtt import Connected, Disconnected, Mqtt, MqttConfig, PubAcked, Received
from agent.uplink.protocol import Action, Delete, Drop, Fetch, Publish, Uplink
from bench.figure import Figures, figure, missing
from bench.records import outbox
from tools.cloud.ledger import Ledger
from tools.cloud.pki import ca_init, ca_station

STATION_ID = "S-1"
BOOT_ID = b"bench-01"
RTT_S, RATE_BIT_S = 0.2, 128_000
SEGMENT_B = 1_400
BUFFER_S = 1.0  # of a modem: then TCP has to wait
RECORDS, RECORDS_FULL = 10_000, 100_000
READY_S = 20.0
TARGETS = {"drain_s": ("s", 180.0), "first_money_s": ("s", 5.0), "black_hole_s": ("s", 30.0)}


# -- the link ---------------------------------------------------------------------------------------------------------


class Proxy:
    """A link with this round trip and this rate each way; `is_silent`: it takes everything and delivers nothing."""

    def __init__(self, target_port: int, rtt_s: float = 0.0, rate_bit_s: float = 1e9) -> None:
        self.is_silent = False
        self._target, self._delay_s, self._rate_b_s = target_port, rtt_s / 2, rate_bit_s / 8
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self.port: int = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(READY_S)

    async def _listen(self) -> int:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        for end in (writer, far_writer):
            end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for coroutine in (self._carry(reader, far_writer), self._carry(far_reader, writer)):
            task = asyncio.create_task(coroutine)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One direction: each segment leaves when the line is free, and is there half a round trip later."""
        free_at = 0.0
        with closing(writer):
            while data := await reader.read(SEGMENT_B):
                now = self._loop.time()
                free_at = max(now, free_at) + len(data) / self._rate_b_s
                self._loop.call_at(free_at + self._delay_s, self._deliver, writer, data)
                await asyncio.sleep(max(0.0, free_at - now - BUFFER_S))
            await asyncio.sleep(max(0.0, free_at + self._delay_s - self._loop.time()))

    def _deliver(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        if not self.is_silent and not writer.is_closing():
            writer.write(data)

    def close(self) -> None:
        async def end() -> None:
            self._server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(READY_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(READY_S)
        self._loop.close()


# -- the station ------------------------------------------------------------------------------------------------------


class Station:
    """Store, Uplink and Mqtt, and between them what agent/shell.py does between them."""

    def __init__(self, path: Path, config: MqttConfig, port: int) -> None:
        self._inbox: queue.SimpleQueue[object] = queue.SimpleQueue()
        self.store = Store(path, BOOT_ID, self._inbox.put, monotonic)
        opened = self.store.open()
        self.uplink = Uplink(STATION_ID, BOOT_ID, opened.epoch, opened.marks, {})
        will, rng = Will(opened.epoch, BOOT_ID), random.Random(1)

        def dial(address: Address, timeout_s: float) -> socket.socket:
            return socket.create_connection(("127.0.0.1", port), timeout_s)

        self.mqtt = Mqtt(config, will, self._inbox.put, rng, monotonic, dial)
        self.connected_at: float | None = None
        self.ended = ""  # why the connection has
        self.bytes_up = 0

    def turn(self) -> None:
        due = self.uplink.next_deadline()
        wait_s = 0.5 if due is None else min(0.5, max(0.0, due - monotonic()))
        try:
            news = self._inbox.get(timeout=wait_s)
        except queue.Empty:
            self._perform(self.uplink.deadline(monotonic()))
        else:
            self._perform(self._happened(news, monotonic()))

    def until(self, what: Callable[[], bool], timeout_s: float) -> None:
        give_up_at = monotonic() + timeout_s
        while not what():
            if monotonic() > give_up_at:
                raise TimeoutError(self.ended or "nothing happens")
            self.turn()

    def _happened(self, news: object, now: float) -> list[Action]:
        match news:
            case Connected(connection, receive_maximum, packet_max, keepalive_s=keepalive_s):
                self.connected_at = now
                return self.uplink.connected(connection, receive_maximum, packet_max, now, keepalive_s)
            case Disconnected(why=why):
                self.ended = why
                return self.uplink.disconnected(now)
            case Received(topic=topic, payload=payload):
                return self.uplink.received(topic, payload, now)
            case PubAcked(packet_id=packet_id, reason_code=reason_code):
                return self.uplink.puback(packet_id, reason_code, now)
            case Committed(next_seq=next_seq):
                return self.uplink.appended(next_seq, now)
            case Fetched(stream=stream, after_seq=after_seq, rows=rows):
                return self.uplink.fetched(stream, after_seq, rows, now)
            case EpochOpened(epoch=epoch, marks=marks):
                return self.uplink.epoch_opened(epoch, marks, now)
            case Crashed(error=error):
                raise error
        raise AssertionError(news)

    def _perform(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Publish(number, packet_id, topic, payload, qos):
                    self.bytes_up += len(payload)
                    self.mqtt.publish(number, packet_id, topic, payload, qos)
                case Fetch(stream, after_seq, limit_bytes):
                    self.store.fetch(stream, after_seq, limit_bytes)
                case Delete(epoch, marks):
                    self.store.acknowledged(epoch, marks)
                case Drop(number, why):
                    self.mqtt.drop(number, why)

    def owes(self, stream: int) -> bool:
        lane = self.uplink.lanes[stream]
        return lane.owed[0][0] < lane.next_seq

    def close(self) -> None:
        self.mqtt.stop()
        self.mqtt.join(READY_S)
        self.store.close()


@dataclass(frozen=True, slots=True)
class Stage:
    folder: Path
    config: MqttConfig
    port: int  # of the broker


@contextmanager
def stage() -> Iterator[Stage]:
    """Broker and cloud."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        pki = folder / "pki"
        ca_init(pki)
        mine = ca_station(pki, STATION_ID)
        ca = pki / "ca.pem"
        broker = Mosquitto(folder / "broker", cafile=ca, certfile=pki / "broker.pem", keyfile=pki / "broker.key")
        broker.start()
        db, port = str(folder / "cloud.db"), str(broker.port)
        serve = [sys.executable, str(DEVCLOUD), "serve", "--pki", str(pki), "--db", db, "--port", port]
        cloud = subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert cloud.stdout
        try:
            cloud.stdout.readline()  # it serves
            config = MqttConfig("localhost", broker.port, STATION_ID, ca, mine, mine.with_suffix(".key"))
            yield Stage(folder, config, broker.port)
        finally:
            cloud.terminate()
            cloud.wait(READY_S)
            cloud.stdout.close()
            broker.stop()


@contextmanager
def station(on: Stage, port: int) -> Iterator[Station]:
    made = Station(on.folder / "station.db", on.config, port)
    try:
        made.mqtt.start()
        yield made
    finally:
        made.close()


# -- the figures ------------------------------------------------------------------------------------------------------


def drain(count: int = RECORDS) -> Figures:
    """From the connection that stands again until the cloud has acknowledged everything."""
    try:
        with stage() as on:
            return drained(on, count)
    except BrokerError as error:
        return {name: missing(*TARGETS[name], str(error)) for name in ("drain_s", "first_money_s")}


def drain_full() -> Figures:
    return drain(RECORDS_FULL)


def drained(on: Stage, count: int) -> Figures:
    with closing(open_database(on.folder / "station.db", BOOT_ID)[0]) as database:
        fill(database, count)
    with closing(Proxy(on.port, RTT_S, RATE_BIT_S)) as proxy, station(on, proxy.port) as made:
        made.until(lambda: made.connected_at is not None, READY_S)
        assert made.connected_at is not None
        lane = made.uplink.lanes[Stream.MONEY]
        first = lane.owed[0][0]
        made.until(lambda: lane.owed[0][0] > first, 60.0)
        money_s = monotonic() - made.connected_at
        made.until(lambda: not any(made.owes(stream) for stream in made.uplink.lanes), 600.0)
        drain_s, up_b = monotonic() - made.connected_at, made.bytes_up
    with closing(Ledger(on.folder / "cloud.db")) as ledger:
        report = ledger.report()
        assert report.clean and report.stations[STATION_ID].records == count, report.stations[STATION_ID].violations
    scaled_s = money_s + (drain_s - money_s) * RECORDS_FULL / count
    link = f"{RTT_S * 1000:.0f} ms round trip, {RATE_BIT_S // 1000} kbit/s each way"
    how = "" if count == RECORDS_FULL else f"{count} in {drain_s:.1f} s, the rest in proportion (--full sends all); "
    note = f"{RECORDS_FULL} records, {link}; {how}{up_b / count:.1f} B of payload a record"
    first_note = f"acknowledged, after the connection stands with {count} records waiting; {link}"
    return {
        "drain_s": figure([scaled_s], *TARGETS["drain_s"], note),
        "first_money_s": figure([money_s], *TARGETS["first_money_s"], first_note),
    }


def fill(database: Database, count: int) -> None:
    """Not durable: it is only there to be sent."""
    database.db.execute("PRAGMA synchronous = OFF")
    batch: list[Record] = []
    for record in outbox(count):
        batch.append(record)
        if len(batch) == 1_000:
            database.commit(batch)
            batch.clear()
    database.commit(batch)


def black_hole() -> Figures:
    """Its kernel acknowledges every byte, so no timeout of TCP helps. From the record's commit to the end of the
    connection."""
    try:
        with stage() as on, closing(Proxy(on.port)) as proxy, station(on, proxy.port) as made:
            return swallowed(proxy, made)
    except BrokerError as error:
        return {"black_hole_s": missing(*TARGETS["black_hole_s"], str(error))}


def swallowed(proxy: Proxy, made: Station) -> Figures:
    made.until(lambda: made.uplink.link(monotonic()) is Link.UP, READY_S)
    settled_at = monotonic() + 1.0  # the boot's answer has come, too: nothing else waits
    made.until(lambda: monotonic() >= settled_at, READY_S)
    proxy.is_silent = True
    (record,) = outbox(1)
    began = monotonic()
    made.store.commit(1, [record])
    made.until(lambda: made.uplink.link(monotonic()) is not Link.UP, 120.0)
    doubt_s = monotonic() - began
    made.until(lambda: bool(made.ended), 120.0)
    noticed_s = monotonic() - began
    note = f"money waits, a proxy swallows everything: {made.ended}; the link is in doubt after {doubt_s:.1f} s"
    return {"black_hole_s": figure([noticed_s], *TARGETS["black_hole_s"], note)}
