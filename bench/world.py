"""What a day and a month cost in the simulated world: the device's own code, fast-forward."""

import gc
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from agent.outbox import Database
from agent.settings import Settings
from agent.sim.car import Car
from agent.sim.disk import SimDisk
from agent.sim.net import SimNet
from agent.sim.world import STATION_ID, World
from agent.ui.catalogues import load_says
from agent.ui.view import screen
from agent.ui.web import Panel
from bench.figure import Figures, digits, figure, loop_s, resident_mb
from bench.live import watching

DAY_S = 86_400.0
PORTS, TURNS = 2, 20  # cars at each port in a day
STAY_S = 2_700.0
MONTH_DAYS, WARM_DAYS = 30, 2
RUNS, SLICES = 3, 24


def card(number: int) -> str:
    return f"04A1{number:04X}"


def plan_day(world: World) -> None:
    """Cars will come and go at all ports, forty in all; most want more energy than they get."""
    for turn in range(TURNS):
        for evse_id in range(1, PORTS + 1):
            visit(world, turn * DAY_S / TURNS + evse_id * 400, evse_id, turn * PORTS + evse_id)


def visit(world: World, at: float, evse_id: int, number: int) -> None:
    def arrive() -> None:
        world.plug(evse_id, Car(need_wh=3_000 + number * 997 % 9_000))

    def tap() -> None:
        world.tap(card(number))

    def leave() -> None:
        assert world.unplug(evse_id)

    world.later(at, arrive)
    world.later(at + 10, tap)
    world.later(at + STAY_S, leave)


def station(settings: Settings | None = None, disk: SimDisk | None = None) -> World:
    """A world that has come up, knows its cards and is idle."""
    world = World(1, settings, ports=PORTS, meter_s=60.0)
    if disk:
        world.disk.close()
        world.disk = disk
    world.net = Counting(world)
    return world.allow(*(card(n) for n in range(PORTS * TURNS + 1))).power_on().run(120)


class FileDisk(SimDisk):
    """The simulated station's disk, as a file; `is_synced` False: only its size matters."""

    def __init__(self, *, is_synced: bool = True) -> None:
        super().__init__(1)
        self._is_synced = is_synced

    def mount(self, boot_id: bytes) -> Database:
        self.database = Database(self.path / "station.db", boot_id)
        if not self._is_synced:
            self.database.db.execute("PRAGMA synchronous = OFF")
        return self.database

    def close(self) -> None:
        self.database.close()
        super().close()

    @property
    def size_b(self) -> int:
        return sum(path.stat().st_size for path in self.path.glob("station.db*"))


class Counting(SimNet):
    """The network, with a meter in it: payload bytes by topic, without MQTT, TLS and TCP."""

    def __init__(self, world: World) -> None:
        super().__init__(world.cloud, 1, world.later)
        self.bytes_up: Counter[str] = Counter()
        self.messages_up = 0

    def publish(self, connection: int, packet_id: int, topic: str, payload: bytes, qos: int) -> None:
        self.bytes_up[topic.rsplit("/", 1)[1]] += len(payload)
        self.messages_up += 1
        super().publish(connection, packet_id, topic, payload, qos)


def session_hours(world: World) -> float:
    """From the first to the last word about each transaction."""
    times: dict[str, list[int]] = {}
    for record in world.cloud.log:
        if record.action == "TransactionEvent":
            times.setdefault(record.payload["transactionInfo"]["transactionId"], []).append(record.mono_ms)
    return sum(max(ms) - min(ms) for ms in times.values()) / 3.6e6


def station_day() -> Figures:
    """With default settings, and with five times as many samples."""
    seconds, loops, world, note = days(Settings(station_id=STATION_ID, restart_delay_max_s=5.0))
    often = Settings(station_id=STATION_ID, restart_delay_max_s=5.0, tx_updated_interval_s=60.0)
    often_seconds, often_loops, _, often_note = days(often)
    in_turns = "the same, in turns with the calibration and in its units"
    return {
        "station_day_cpu_s": figure(seconds, "s", 1.0, note),
        "station_day_loops": figure(loops, "loops", note=in_turns),
        "station_day_60s_cpu_s": figure(often_seconds, "s", note=f"a sample a minute: {often_note}"),
        "station_day_60s_loops": figure(often_loops, "loops", note=in_turns),
        **wire(world),
    }


def days(settings: Settings, runs: int = RUNS) -> tuple[list[float], list[float], World, str]:
    """The calibration runs in turns with it, for a shared processor is fast at one moment and slow at the next."""
    seconds, loops = [], []
    for _ in range(runs):
        with station(settings).closing() as world:
            plan_day(world)
            slices = [(loop_s(), run_s(world, DAY_S / SLICES)) for _ in range(SLICES)]
            seconds.append(sum(day_s for _, day_s in slices))
            loops.append(seconds[-1] / sum(one_s for one_s, _ in slices) * SLICES)
    assert world.shell and not world.cloud.violations, world.cloud.violations
    ended = [s for s in world.cloud.sessions.values() if s.is_whole]
    note = f"{world.shell.steps} steps, {world.disk.commits} commits, {len(ended)} sessions, the cloud's work included"
    return seconds, loops, world, note


def run_s(world: World, seconds: float) -> float:
    began = time.process_time()
    world.run(seconds)
    return time.process_time() - began


def wire(world: World) -> Figures:
    assert isinstance(world.net, Counting)
    hours, up = session_hours(world), world.net.bytes_up
    as_json = sum(len(json.dumps([r.action, r.payload], separators=(",", ":"))) for r in world.cloud.log)
    records = sum(up[kind] for kind in "01234")
    shares = ", ".join(f"{kind} {digits(size / hours):.0f}" for kind, size in sorted(up.items()))
    note = f"by topic: {shares}; {world.net.messages_up / hours:.0f} messages; one day, {hours:.0f} session-hours"
    ratio = f"the same records, as compact OCPP JSON: {as_json / hours:.0f} bytes without any envelope"
    return {
        "wire_b_per_session_hour": figure([sum(up.values()) / hours], "B", note=note),
        "wire_per_json": figure([records / as_json], "ratio", note=ratio),
    }


# -- a month, in a process of its own ---------------------------------------------------------------------------------


def month() -> Figures:
    done = subprocess.run([sys.executable, "-m", "bench.world"], capture_output=True, text=True, check=True)
    rss_mb: list[float] = json.loads(done.stdout)
    by_week = ", ".join(f"{mb:.1f}" for mb in rss_mb[::7])
    note = f"{MONTH_DAYS} days of 40 sessions, sampled every 5 min"
    note += f", a page open on the panel, after {WARM_DAYS} more; week by week {by_week}"
    return {"month_rss_growth_mb": figure([rss_mb[-1] - rss_mb[0]], "MB", 1.0, note)}


def month_rss_mb() -> list[float]:
    """Resident memory after each day, with an open page on the real panel. What grows without limit in the simulated
    cloud is thrown away every night."""
    settings = Settings(station_id=STATION_ID, tx_updated_interval_s=300.0, restart_delay_max_s=0.0)
    out = []
    # Its own disk is memory, and fills.
    with station(settings, FileDisk(is_synced=False)).closing() as world, shown(world):
        for _ in range(WARM_DAYS + MONTH_DAYS):
            plan_day(world)
            world.run(DAY_S)
            cloud = world.cloud
            seen = cloud.log, cloud.records, cloud.sessions, cloud._events, cloud.asked, cloud.watched
            for grown in (*seen, world.controller.pins, world.log, world.cars_wh):
                grown.clear()
            gc.collect()
            out.append(resident_mb())
    return out[WARM_DAYS - 1 :]


@contextmanager
def shown(world: World) -> Iterator[None]:
    """The panel's server in its thread, and who reads its snapshots: some twenty a second of this process's time."""
    says, shell = load_says(), world.shell
    assert shell
    panel = Panel(lambda: screen(shell.station, world.mono(), says), 0)
    panel.start()
    shell.on_change = panel.changed
    with watching(int(panel.url.rsplit(":", 1)[1].rstrip("/"))):
        yield
    panel.stop()
    assert panel.newest > MONTH_DAYS, "nobody was shown anything"


if __name__ == "__main__":
    print(json.dumps(month_rss_mb()))
