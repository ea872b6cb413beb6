"""What one hour of charging weighs on the wire, counted below TCP: ours against OCPP 2.0.1-J, in one run.

The real Mqtt, Uplink, core and codec, a real mosquitto, the reference cloud. The hour is simulated; what it says is
sent in real time, so that TCP acknowledges as it does in real life. Station and cloud are two network namespaces with
a cable (veth) between them, whose counters see each packet of both directions; no root is needed where user namespaces
are allowed.

    python -m bench.wire     in namespaces of its own, which `wire()` makes: prints what it has counted, as JSON
"""

import asyncio
import ctypes
import json
import os
import queue
import random
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from agent.effects import Durable, Record
from agent.events import Link
from agent.outbox import Database
from agent.settings import Settings
from agent.shell import BrokerPort
from agent.sim.car import Car
from agent.sim.disk import SimDisk
from agent.sim.mosquitto import Mosquitto, free_port
from agent.sim.world import STATION_ID, World
from agent.uplink.codec import Mark, Will
from agent.uplink.keepalive import MOST_S, START_S
from agent.uplink.mqtt import Connected, Mqtt, MqttConfig
from bench.figure import Figures, figure, missing
from tools.cloud.cloud import Cloud
from tools.cloud.drivers import Driver
from tools.cloud.ledger import Ledger
from tools.cloud.pki import ca_init, ca_station, read_operator
from tools.cloud.service import Service

CARD = "04A10001"
SAMPLES = 60
NOISE_EVERY_S = 20.0
QUIET_S = 0.25  # longer than TCP delays an acknowledgement
STEP_S = 0.25
READY_S = 20.0
CLOUD_IP, STATION_IP = "10.77.0.1", "10.77.0.2"
ETHERNET_B = 14
CLONE_NEWNET = 0x4000_0000
MONTH_S = 30 * 86_400
KEEPALIVES_S = (60, 240, 1_100)
HEARTBEAT_S = 0.95 * MOST_S  # agent/uplink/protocol.py: of the keepalive agreed
TARGETS = {
    "wire_hour_b": ("B", 6_000.0),
    "wire_per_ocpp": ("ratio", 1 / 12),
    "wire_per_ocpp_deflate": ("ratio", 1 / 3.5),
}


@dataclass(frozen=True, slots=True)
class Traffic:
    """IP bytes and packets, both ways: TCP, TLS and all else inside."""

    up_b: int
    down_b: int
    packets: int
    note: str = ""

    @property
    def total_b(self) -> int:
        return self.up_b + self.down_b

    def since(self, before: "Traffic") -> "Traffic":
        return Traffic(self.up_b - before.up_b, self.down_b - before.down_b, self.packets - before.packets)


# -- two hosts and a cable --------------------------------------------------------------------------------------------


class Cable:
    """The calling thread is the cloud's host; `at_station()` moves it to the other one. A socket stays where it was
    made."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._cloud = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        self._call("unshare", CLONE_NEWNET)
        self._station = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        self._call("setns", self._cloud, CLONE_NEWNET)
        macs, far = ("02:00:00:00:00:01", "02:00:00:00:00:02"), f"/proc/{os.getpid()}/fd/{self._station}"
        ip("link set lo up")
        ip(f"link add cable address {macs[0]} type veth peer name cable address {macs[1]} netns {far}")
        self._plug(CLOUD_IP, STATION_IP, macs[1])
        with self.at_station():
            self._plug(STATION_IP, CLOUD_IP, macs[0])

    def _plug(self, own: str, other: str, mac: str) -> None:
        """Neighbours that know each other, so that nothing crosses the cable but TCP; no packet larger than its MTU."""
        ip("link set cable addrgenmode none")
        ip("link set cable gso_max_segs 1")
        ip("link set cable up")
        ip(f"addr add {own}/30 dev cable")
        ip(f"neigh add {other} lladdr {mac} dev cable nud permanent")

    @contextmanager
    def at_station(self) -> Iterator[None]:
        self._call("setns", self._station, CLONE_NEWNET)
        try:
            yield
        finally:
            self._call("setns", self._cloud, CLONE_NEWNET)

    def dial(self, address: tuple[str, int], timeout_s: float) -> socket.socket:
        """From the station to the cloud's host, whatever its name."""
        with self.at_station():
            sock = socket.socket()
        sock.settimeout(timeout_s)
        sock.connect((CLOUD_IP, address[1]))
        return sock

    def traffic(self) -> Traffic:
        (link,) = json.loads(ip("-json -statistics link show dev cable"))
        up, down = link["stats64"]["rx"], link["stats64"]["tx"]
        up_b, down_b = (side["bytes"] - ETHERNET_B * side["packets"] for side in (up, down))
        return Traffic(up_b, down_b, up["packets"] + down["packets"])

    def _call(self, name: str, *args: int) -> None:
        if getattr(self._libc, name)(*args):
            raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


def ip(command: str) -> str:
    return subprocess.run(["ip", *command.split()], capture_output=True, text=True, check=True).stdout


# -- our hour ---------------------------------------------------------------------------------------------------------


class FiveValues(Database):
    """What the simulated meter does not have, a real one does: the fifth value of each reading. And it takes notes."""

    def __init__(self, path: Path, boot_id: bytes) -> None:
        super().__init__(path, boot_id)
        self._random = random.Random(5)
        self.seen: list[Record] = []

    def commit(self, items: Sequence[Any], marks: Mapping[int, Mark] | None = None) -> dict[int, int]:
        items = [self._with_frequency(item) for item in items]
        self.seen += [item for item in items if isinstance(item, Record)]
        return super().commit(items, marks)

    def _with_frequency(self, item: Durable) -> Durable:
        if not isinstance(item, Record) or "meterValue" not in item.payload:
            return item
        (meter,) = item.payload["meterValue"]
        context = meter["sampledValue"][0]["context"]
        frequency = {
            "value": 50_000 + round(self._random.gauss(0, 20)), "measurand": "Frequency", "context": context,
            "unitOfMeasure": {"unit": "Hz", "multiplier": -3},
        }  # fmt: skip
        with_it = {**meter, "sampledValue": [*meter["sampledValue"], frequency]}
        return replace(item, payload={**item.payload, "meterValue": [with_it]})


class Disk(SimDisk):
    """A file, and the database of five values in it."""

    database: FiveValues

    def mount(self, boot_id: bytes) -> Database:
        self.database = FiveValues(self.path / "station.db", boot_id)
        return self.database


class RealNet:
    """In the simulated world's place of a network: the real Mqtt, through the cable."""

    def __init__(self, world: World, config: MqttConfig, cable: Cable) -> None:
        self.world, self._config, self._cable = world, config, cable
        self.will = Will(b"", b"")
        self.learned_keepalive_s = START_S
        self.inbox: queue.SimpleQueue[object] = queue.SimpleQueue()
        self.connection = 0
        self.spoke: Counter[str] = Counter()  # payload bytes up, by topic
        self.times: Counter[str] = Counter()
        self.is_fresh = False  # it has just spoken

    def start(self, post: Callable[[object], None]) -> None:
        assert self.world.shell
        self._post, uplink = post, self.world.shell.uplink
        will = Will(uplink.epoch, uplink.boot_id)
        clock = self.world.mono
        self.mqtt = Mqtt(self._config, will, self.inbox.put, random.Random(1), clock, self._cable.dial, START_S)

    @property
    def is_up(self) -> bool:
        assert self.world.shell
        return self.world.shell.uplink.link(self.world.mono()) is Link.UP

    def wait_for(self, what: Callable[[], bool]) -> None:
        """In real time; and until what belongs to it has been said, too."""
        until = time.monotonic() + READY_S
        while not what():
            if time.monotonic() > until:
                raise TimeoutError
            self._take(0.05)
            self.world.run(0.05)
        self.run(5.0)

    def publish(self, connection: int, packet_id: int, topic: str, payload: bytes, qos: int) -> None:
        kind = topic.rsplit("/", 1)[1]
        self.spoke[kind] += len(payload)
        self.times[kind] += 1
        self.is_fresh = True
        self.mqtt.publish(connection, packet_id, topic, payload, qos)

    def drop(self, connection: int, why: str) -> None:
        raise AssertionError(why)  # nothing goes wrong here

    def use(self, cert: Path, pair: str) -> None:
        raise AssertionError("nobody renews here")

    def go(self, address: tuple[str, int] | None, *, is_trial: bool = False) -> None:
        assert address is None, "there is one broker"

    def power_cut(self) -> None:
        pass

    def run(self, seconds: float) -> None:
        """The world turns fast while nobody speaks, and as fast as the real one while somebody waits for an answer."""
        until = self.world.now + seconds
        while self.world.now < until - 1e-6:
            self.world.run(min(STEP_S, until - self.world.now))
            pings = self.mqtt.keepalive.next_deadline() <= self.world.mono()
            if pings:
                self.mqtt.drop(0, "")  # no connection of ours; it wakes the thread, whose clock has leapt
            if self.is_fresh or pings:
                self._until_quiet()
            elif self._is_waiting():
                self._take(STEP_S)

    def _is_waiting(self) -> bool:
        assert self.world.shell
        uplink = self.world.shell.uplink
        return any(lane.sent for lane in uplink.lanes.values())

    def _until_quiet(self) -> None:
        while self._take(QUIET_S) or self.is_fresh:
            self.is_fresh = False

    def _take(self, timeout_s: float) -> bool:
        """What has come, if anything does in time; and what follows from it at once."""
        try:
            news = self.inbox.get(timeout=timeout_s)
        except queue.Empty:
            return False
        if isinstance(news, Connected):
            self.connection = news.connection
        self._post(news)
        self.world.run(0.02)
        return True


def unsteady(world: World, car: Car) -> None:
    """Mains and car are never as steady as a simulator: without it, columns would be too good."""
    rng, bay = random.Random(7), world.controller.bays[0]

    def turn() -> None:
        volt, amp = (round(rng.gauss(0, sigma)) for sigma in (900, 120))
        car.max_ma = 16_000 + amp
        world.controller.touch(world.now, lambda _: setattr(bay, "voltage_mv", (230_000 + volt, 0, 0)))
        world.later(NOISE_EVERY_S, turn)

    turn()


def station_world(disk: Disk, cable: Cable, config: MqttConfig) -> tuple[World, RealNet]:
    settings = Settings(
        station_id=STATION_ID, restart_delay_max_s=0.0, aligned_interval_s=0.0, tx_updated_interval_s=3_600 / SAMPLES
    )
    world = World(1, settings, meter_s=NOISE_EVERY_S)
    world.disk.close()
    world.disk = disk
    net = RealNet(world, config, cable)
    _: BrokerPort = net
    world.net = net  # type: ignore[assignment]  # it stands where SimNet stands, in a world that cuts nothing
    return world, net


def our_hour(net: RealNet, cable: Cable) -> Traffic:
    """Plug, tap, charge for an hour, tap, unplug; until the cloud has all of it."""
    world, car = net.world, Car(need_wh=100_000)
    net.spoke.clear()
    net.times.clear()
    before = cable.traffic()
    world.plug(1, car)
    unsteady(world, car)
    net.run(10.0)
    world.tap(CARD)
    net.run(SAMPLES * 60.0 + 5.0)
    world.tap(CARD)
    net.run(30.0)
    assert world.unplug(1)
    net.run(60.0)
    return cable.traffic().since(before)


def ours(folder: Path, cable: Cable) -> tuple[dict[str, Traffic], list[tuple[str, dict[str, Any]]]]:
    pki = folder / "pki"
    ca_init(pki)
    ca_station(pki, STATION_ID)
    ca, certificate, key = pki / "ca.pem", pki / "broker.pem", pki / "broker.key"
    broker = Mosquitto(folder / "broker", cafile=ca, certfile=certificate, keyfile=key, address="0.0.0.0")
    broker.start()
    mine = pki / "stations" / f"{STATION_ID}.pem"
    config = MqttConfig("localhost", broker.port, STATION_ID, ca, mine, mine.with_suffix(".key"))
    disk = Disk(1)
    world, net = station_world(disk, cable, config)
    stop = threading.Event()
    cloud = threading.Thread(target=serve, args=(folder, pki, broker.port, world, stop))
    cloud.start()
    try:
        world.power_on().run(60.0)
        before = cable.traffic()
        net.mqtt.start()
        net.wait_for(lambda: net.is_up)
        set_up = cable.traffic().since(before)
        allow(folder, pki, net)
        ping, heartbeat = idle_costs(net, cable)
        net.mqtt.keepalive.learned_s = MOST_S
        already = len(disk.database.seen)
        hour = our_hour(net, cable)
        seen = disk.database.seen[already:]
        texts = [f"{kind} {net.times[kind]} x {size // net.times[kind]}" for kind, size in sorted(net.spoke.items())]
        more = another_status(net, cable)
        again = reconnect(net, cable)
        said = [(record.action, record.payload) for record in seen]
        out = {"set up": set_up, "again": again, "ping": ping, "heartbeat": heartbeat, "status": more}
        return {**out, "ours": replace(hour, note=", ".join(texts))}, said
    finally:
        stop.set()
        cloud.join(READY_S)
        net.mqtt.stop()
        broker.stop()
        disk.close()


def allow(folder: Path, pki: Path, net: RealNet) -> None:
    """The owner approves the card; returns when the list is in force."""
    assert net.world.shell
    operator = read_operator(pki)
    key = operator.key(None)
    assert key
    net.world.shell.operator_keys.keys = {operator.first_id: key.public_key()}
    with closing(Ledger(folder / "cloud.db")) as ledger:
        ledger.drivers.put([Driver(CARD, ("drivers",))], round(net.world.true_wall_s() * 1000))
    lists = net.world.shell.lists
    net.wait_for(lambda: lists.state.entries > 0)
    net.run(60.0)


def another_status(net: RealNet, cable: Cable) -> Traffic:
    """A car comes to the other port, and nobody taps."""
    before = cable.traffic()
    net.world.plug(2)
    net.run(60.0)
    return cable.traffic().since(before)


def reconnect(net: RealNet, cable: Cable) -> Traffic:
    """With the TLS session of the connection before."""
    before, last = cable.traffic(), net.connection
    net.mqtt.drop(last, "to see what it costs")
    net.wait_for(lambda: net.connection > last and net.is_up)
    return cable.traffic().since(before)


def idle_costs(net: RealNet, cable: Cable) -> tuple[Traffic, Traffic]:
    """One PING, and one heartbeat, which goes where the cloud has not been heard for so long."""
    net.mqtt.keepalive.learned_s = START_S
    costs = []
    for seconds in (START_S + 10, HEARTBEAT_S):
        before = cable.traffic()
        net.run(seconds)
        costs.append(cable.traffic().since(before))
        net.mqtt.keepalive.learned_s = MOST_S
    return costs[0], costs[1]


def serve(folder: Path, pki: Path, port: int, world: World, stop: threading.Event) -> None:
    """The reference cloud, by the world's clock."""
    with closing(Ledger(folder / "cloud.db")) as ledger:
        cloud = Cloud(ledger, read_operator(pki))
        Service(cloud, pki, "localhost", port, "devcloud", lambda: round(world.true_wall_s() * 1000)).run(stop)


# -- the same hour as OCPP 2.0.1-J ------------------------------------------------------------------------------------


def ocpp_calls(records: Sequence[tuple[str, dict[str, Any]]]) -> list[tuple[str, dict[str, Any]]]:
    """The same records, and Authorize: a message for each."""
    id_token: dict[str, Any] = {"idToken": {"idToken": CARD, "type": "ISO14443"}}
    calls = [(action, ocpp_event(said) if "meterValue" in said else said) for action, said in records]
    return [calls[0], ("Authorize", id_token), *calls[1:]]


def ocpp_event(payload: dict[str, Any]) -> dict[str, Any]:
    """Our record as others write it: UUIDs, decimals, and nothing that stands for itself."""
    (meter,) = payload["meterValue"]
    values = []
    for value in meter["sampledValue"]:
        unit, multiplier = value["unitOfMeasure"]["unit"], value["unitOfMeasure"].get("multiplier", 0)
        shown = value["value"] if not multiplier else round(value["value"] * 10**multiplier, 2)
        kept = {key: value[key] for key in ("context", "measurand", "phase") if key in value}
        values.append({"value": shown, **kept, "unitOfMeasure": {"unit": unit}})
    info = {**payload["transactionInfo"], "transactionId": str(uuid.UUID(int=random.Random(3).getrandbits(128)))}
    out = {**payload, "transactionInfo": info, "meterValue": [{**meter, "sampledValue": values}]}
    return {key: value for key, value in out.items() if key not in ("customData", "offline")}


async def ocpp(
    pki: Path, cable: Cable, calls: Sequence[tuple[str, dict[str, Any]]], compression: str | None
) -> tuple[Traffic, Traffic]:
    """The hour, and its connection's set-up."""
    from websockets.asyncio.client import connect
    from websockets.asyncio.server import ServerConnection
    from websockets.asyncio.server import serve as ws_serve

    async def central(connection: ServerConnection) -> None:
        async for message in connection:
            _, message_id, action, _ = json.loads(message)
            answer = {"idTokenInfo": {"status": "Accepted"}} if action == "Authorize" else {}
            await connection.send(compact([3, message_id, answer]))

    server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=pki / "ca.pem")
    server_tls.verify_mode = ssl.CERT_REQUIRED
    server_tls.load_cert_chain(pki / "broker.pem", pki / "broker.key")
    client_tls = ssl.create_default_context(cafile=pki / "ca.pem")
    certificate = pki / "stations" / f"{STATION_ID}.pem"
    client_tls.load_cert_chain(certificate, certificate.with_suffix(".key"))
    protocol, port = "ocpp2.0.1", free_port()
    options: dict[str, Any] = {"compression": compression, "ping_interval": None, "subprotocols": [protocol]}
    async with ws_serve(central, CLOUD_IP, port, ssl=server_tls, **options):
        before = cable.traffic()
        sock = cable.dial(("", port), READY_S)
        url = f"wss://localhost:{port}/{STATION_ID}"
        async with connect(url, sock=sock, ssl=client_tls, server_hostname="localhost", **options) as station:
            await asyncio.sleep(QUIET_S)
            ready = cable.traffic()
            payload_b = 0
            for action, payload in calls:
                said = compact([2, str(uuid.uuid4()), action, payload])
                payload_b += len(said)
                await station.send(said)
                await station.recv()
                await asyncio.sleep(QUIET_S / 2)
            done = cable.traffic().since(ready)
    note = f"{len(calls)} messages of {payload_b} bytes"
    return replace(done, note=note), ready.since(before)


def compact(message: object) -> str:
    return json.dumps(message, separators=(",", ":"))


# -- the figures ------------------------------------------------------------------------------------------------------


def wire() -> Figures:
    """What one hour weighs; and from what one sign of life weighs, what a month of idleness does."""
    program = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-rn"]
    try:
        command = [*program, sys.executable, "-m", "bench.wire"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        return nothing(f"{error.filename} is missing: apt-get install util-linux iproute2")
    except subprocess.CalledProcessError as error:
        return nothing(error.stderr.strip().splitlines()[-1])
    seen = json.loads(done.stdout.splitlines()[-1])  # the cloud has said what it serves
    traffic = {name: Traffic(**each) for name, each in seen.items()}
    return {**hour_figures(traffic), **month_figures(traffic["ping"], traffic["heartbeat"])}


def nothing(why: str) -> Figures:
    names = {**TARGETS, **{f"idle_month_{keepalive_s}s_mb": ("MB", None) for keepalive_s in KEEPALIVES_S}}
    return {name: missing(unit, target, why) for name, (unit, target) in names.items()}


def hour_figures(traffic: Mapping[str, Traffic]) -> Figures:
    hour, plain, deflate = traffic["ours"], traffic["plain"], traffic["deflate"]
    note = (
        f"{SAMPLES} samples x 5 values, noisy; IP bytes at the interface: {hour.up_b} up, {hour.down_b} down in"
        f" {hour.packets} packets; stream, messages x mean payload: {hour.note}; another status would cost"
        f" {traffic['status'].total_b}; not counted: set-up {traffic['set up'].total_b}, resumed"
        f" {traffic['again'].total_b}; no PING: this link is trusted for {MOST_S:.0f} s, a new one for {START_S:.0f} s"
    )
    set_up = traffic["plain set up"].total_b
    theirs = f"{plain.total_b} B in {plain.packets} packets: {plain.note}; set-up {set_up}, WebSocket pings not counted"
    return {
        "wire_hour_b": figure([hour.total_b], "B", TARGETS["wire_hour_b"][1], note),
        "wire_per_ocpp": figure(
            [hour.total_b / plain.total_b], "ratio", TARGETS["wire_per_ocpp"][1],
            f"the same records as OCPP 2.0.1-J over TLS, and Authorize: {theirs}",
        ),
        "wire_per_ocpp_deflate": figure(
            [hour.total_b / deflate.total_b], "ratio", TARGETS["wire_per_ocpp_deflate"][1],
            f"the same with permessage-deflate: {deflate.total_b} B",
        ),
    }  # fmt: skip


def month_figures(ping: Traffic, heartbeat: Traffic) -> Figures:
    """A heartbeat goes each HEARTBEAT_S, a PING in each silence of the keepalive in between."""
    out: Figures = {}
    for keepalive_s in KEEPALIVES_S:
        pings = int(HEARTBEAT_S / keepalive_s)
        month_b = MONTH_S / HEARTBEAT_S * (heartbeat.total_b + pings * ping.total_b)
        each = f"a PING {ping.total_b} B, a heartbeat {heartbeat.total_b} B as measured"
        note = f"modelled: {each}; {pings} PINGs to a heartbeat"
        out[f"idle_month_{keepalive_s}s_mb"] = figure([month_b / 1e6], "MB", note=note)
    return out


def measured() -> dict[str, Any]:
    """In namespaces of our own."""
    cable = Cable()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        out, records = ours(Path(name), cable)
        calls = ocpp_calls(records)
        out["plain"], out["plain set up"] = asyncio.run(ocpp(Path(name) / "pki", cable, calls, None))
        out["deflate"], _ = asyncio.run(ocpp(Path(name) / "pki", cable, calls, "deflate"))
        return {name: asdict(traffic) for name, traffic in out.items()}


if __name__ == "__main__":
    json.dump(measured(), sys.stdout)
