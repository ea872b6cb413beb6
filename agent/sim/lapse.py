"""An evening in a minute: the simulated world, some hundred times as fast as the real one.

The same core, shell, store and protocol as on a station, in simulated time and from one seed: guests come to two
ports, the broker and the power go, and at the end the ledger must equal the meters.
"""

import random
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import msgspec

from agent.clock import iso8601
from agent.explain import card_of, explain
from agent.loop import monotonic
from agent.settings import Settings
from agent.sim.car import Car, car_of
from agent.sim.demo import Visit, settled
from agent.sim.scenario import CARDS
from agent.sim.sight import Decision, Samples, Scene, cost_of, decision, marks, port_sight, verdict
from agent.sim.world import World
from agent.ui.catalogues import load_says
from agent.ui.model import ScreenModel
from agent.ui.view import screen
from agent.uplink.codec import WireRecord

SESSIONS = 40
PORTS = 2
MINUTE_S = 60.0  # of the onlooker's, for the whole evening
EVENING_S = 5.0 * 3600  # about; the last guest ends it
TURN_S = 0.05  # of real time
BORN_S = 20.0
GIVE_UP_S = 3600.0  # after the last guest, for what is owed
TALK_MAX = 40
SAMPLE_S = 30.0  # of simulated time

MISHAPS = (  # seconds into the evening, verb, what
    (1800.0, "cut", "broker"),
    (3000.0, "mend", "broker"),
    (5400.0, "kill", "agent"),
    (8100.0, "cut", "power"),
    (8160.0, "mend", "power"),
    (10_800.0, "cut", "radio"),
    (12_000.0, "mend", "radio"),
)


class Evening:
    """One evening. `turn` lets so many simulated seconds pass; everything is one thread's, under `lock`."""

    def __init__(self, seed: int = 1, sessions: int = SESSIONS) -> None:
        self.lock = threading.Lock()
        self.says = load_says()
        settings = Settings(
            station_id="SIM-0001", owner="Demo Parking", support_number="+1 555 0100", restart_delay_max_s=5.0
        )
        self.world = World(seed, settings, meter_s=30.0)
        self.sessions = sessions
        self.visits: list[Visit] = []
        self.here: dict[int, Visit] = {}
        self.samples = Samples()
        self.story: deque[str] = deque(maxlen=TALK_MAX)
        self.decisions: deque[Decision] = deque(maxlen=TALK_MAX)
        self.things = {"power": True, "broker": True, "radio": True, "agent": True, "stop": False, "clock": "right"}
        self.guests = 0  # who are still to come, or here
        self.over_at: float | None = None  # the last guest has left
        self._random = random.Random(seed)
        self._model: ScreenModel | None = None
        self._cards = [f"04B{n:05X}" for n in range(1, sessions + 1)]
        self.world.power_on().allow(*self._cards).run(60.0)
        self._sampled_at = self.world.now
        for evse_id in range(1, PORTS + 1):
            count = sessions // PORTS + (evse_id <= sessions % PORTS)
            self.guests += count
            self._go_on(self._guests(evse_id, count))
        for at_s, verb, what in MISHAPS:
            self.world.later(at_s, lambda verb=verb, what=what: self._mishap(verb, what))  # type: ignore[misc]
        self.world.later(900.0, lambda: self._tap("stranger", CARDS["stranger"]))

    # -- time ---------------------------------------------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        """Everybody has left and all that is owed is in the ledger, or it never will be."""
        if self.over_at is None:
            return False
        return self.verdict() in ("equal", "loss") or self.world.now > self.over_at + GIVE_UP_S

    def turn(self, seconds: float) -> None:
        """The world turns; a sample is taken now and then."""
        until = self.world.now + seconds
        while self.world.now < until:
            self.world.run(min(SAMPLE_S, until - self.world.now))
            if self.world.now >= self._sampled_at + SAMPLE_S:
                self._sampled_at = self.world.now
                self.samples.add(self.world.true_wall_s(), self._ports(), cost_of(self._seen(), PORTS))

    def _go_on(self, guests: Iterator[float]) -> None:
        """People wait as long as they say, then do the next thing."""
        seconds = next(guests, None)
        if seconds is not None:
            self.world.later(seconds, lambda: self._go_on(guests))

    # -- people -------------------------------------------------------------------------------------------------------

    def _guests(self, evse_id: int, count: int) -> Iterator[float]:
        rng = self._random
        for _ in range(count):
            yield rng.uniform(30.0, 240.0)
            while not self._is(evse_id, "Available"):
                yield 10.0
            card = self._cards.pop()
            stay_s = rng.uniform(300.0, 900.0)
            self._plug(evse_id, car_of("normal", round(rng.uniform(500, 2500)), rng.randrange(200, 3_000)))
            yield 10.0
            for _ in range(30):
                if self._transaction(evse_id) is None:
                    self.world.choose(evse_id)
                    self._tap(f"a driver at port {evse_id}", card)
                yield 30.0
                if self._transaction(evse_id) is not None:
                    break
            until = self.world.now + stay_s
            while self.world.now < until:
                yield 20.0
            if self._transaction(evse_id) is not None and rng.random() < 0.6:
                self._tap(f"the driver at port {evse_id}", card)
                yield 20.0
            self._unplug(evse_id)
            self.guests -= 1
        if not self.guests:
            self.over_at = self.world.now
            self._tell("Everybody has left.")

    def _transaction(self, evse_id: int) -> Any:
        shell = self.world.shell
        return shell.station.ports[evse_id - 1].transaction if shell is not None else None

    def _is(self, evse_id: int, status: str) -> bool:
        return self.world.shell is not None and self.world.status(evse_id) == status

    def _plug(self, evse_id: int, car: Car) -> None:
        self.here[evse_id] = Visit(evse_id, "normal", int(self.world.register_wh(evse_id)))
        self.visits.append(self.here[evse_id])
        self.world.plug(evse_id, car)

    def _unplug(self, evse_id: int) -> None:
        self.world.unplug(evse_id)
        visit = self.here.pop(evse_id)
        visit.to_wh = int(self.world.register_wh(evse_id))
        self._tell(f"the car at port {evse_id} leaves with {visit.to_wh - visit.from_wh} Wh")

    def _tap(self, who: str, card: str) -> None:
        shell, now = self.world.shell, self.world.mono()
        said = None
        if shell is not None:
            found = explain(shell.station, card_of(card), *shell.looked_up(card_of(card), now), None, now)
            said = msgspec.to_builtins(found)
        self.decisions.append(decision(who, said))
        self.world.tap(card)

    def _mishap(self, verb: str, what: str) -> None:
        getattr(self.world, verb)(what)
        if verb in ("cut", "mend"):
            self.things[what] = verb == "mend"
        if verb == "kill" or (verb, what) == ("cut", "power"):
            for visit in self.here.values():
                visit.was_cut = True
        words = {"cut": "is cut", "mend": "is back", "kill": "is killed"}
        self._tell(f"-- the {what} {words[verb]}")

    def _tell(self, line: str) -> None:
        self.story.append(f"{self._time()}  {line}")

    def _time(self) -> str:
        return iso8601(self.world.true_wall_s())[11:19]

    # -- what can be seen ---------------------------------------------------------------------------------------------

    def model(self) -> ScreenModel:
        """For the panel: without an agent the last picture stays, as on a display that nobody redraws."""
        with self.lock:
            self._look()
        assert self._model
        return self._model

    def press(self, event: Any) -> None:
        """Somebody presses a key of the panel; in the panel's thread."""
        with self.lock:
            if self.world.shell is not None:
                self.world.shell.happened(event, self.world.mono())

    def _look(self) -> None:
        shell = self.world.shell
        if shell is not None:
            self._model = screen(shell.station, self.world.mono(), self.says)

    def _seen(self) -> dict[str, Any] | None:
        self._look()
        return msgspec.to_builtins(self._model) if self._model else None

    def entries(self) -> list[Any]:
        sessions = [
            {
                "evse_id": s.evse_id, "id_token": s.id_token, "first_wh": s.start_wh, "energy_wh": s.energy_wh,
                "ended_ms": None if s.end_wh is None else 0,
            }
            for s in self.world.cloud.sessions.values()
        ]  # fmt: skip
        return settled(self.visits, sessions)

    def verdict(self) -> str:
        return verdict(marks(self.entries()), clean=not self.world.cloud.violations)

    def _ports(self) -> tuple[Any, ...]:
        world, powered = self.world, self.world.controller.controller is not None
        now_ms = round(world.now * 1000)
        return tuple(
            port_sight(
                bay, i, now_ms, world.register_wh(i), self.here[i].from_wh if i in self.here else None,
                car=self.here[i].kind if i in self.here else "", powered=powered, word=self._word(i),
            )
            for i, bay in enumerate(world.controller.bays, 1)
        )  # fmt: skip

    def _word(self, evse_id: int) -> str:
        if self.world.shell is None:
            return "no agent"
        return f"{self.world.status(evse_id)} · {self.world.charging_state(evse_id)}"

    def _busy(self, speed: float) -> str:
        if self.is_over:
            return "The evening is over."
        return f"Simulated: an evening of {self.sessions} cars plays by itself, {speed:.0f} times as fast."

    def scene(self, speed: float) -> Scene:
        """Under `lock`."""
        world, rows = self.world, marks(self.entries())
        shell = world.shell
        ended = sum(s.end_wh is not None for s in world.cloud.sessions.values())
        station = (
            ("link", str(shell.station.link) if shell else "no agent"),
            ("cars", f"{len(self.visits)} of {self.sessions}"),
            ("sessions in the ledger", f"{ended} whole, {len(world.cloud.sessions) - ended} running"),
            ("violations", str(len(world.cloud.violations))),
            ("speed", f"{speed:.0f} x"),
        )
        self.things["agent"] = shell is not None
        return Scene(
            view="lapse", clock=iso8601(world.true_wall_s()), busy=self._busy(speed),
            ports=self._ports(), things=dict(self.things), station=station,
            ledger=rows, verdict=verdict(rows, clean=not world.cloud.violations),
            said=tuple(map(told, world.cloud.log[-TALK_MAX:])),
            log=tuple(line for _, line in world.log[-TALK_MAX:]),
            decisions=tuple(self.decisions), story=tuple(self.story), series=self.samples.columns(),
        )  # fmt: skip


def told(record: WireRecord) -> tuple[str, str, str]:
    """When, stream, what: a row of what the cloud has received."""
    payload = record.payload
    at = "" if record.wall_ms is None else iso8601(record.wall_ms / 1000)[11:19]
    words = (payload.get("eventType"), payload.get("triggerReason"), payload.get("connectorStatus"))
    port = payload.get("evseId") or payload.get("evse", {}).get("id")
    more = [str(word) for word in words if word] + ([f"port {port}"] if port else [])
    return at, "", f"{record.action}  {', '.join(more)}"


class Lapse:
    """Plays an Evening in about a minute, in a thread of its own. What list one thread has opened no other one reads,
    and so the evening is born there, too."""

    def __init__(self, seed: int) -> None:
        self.speed = EVENING_S / MINUTE_S
        self.changed: Callable[[], None] = lambda: None  # there may be something new to see
        self._end = threading.Event()
        born: Future[Evening] = Future()
        self._thread = threading.Thread(target=self._run, args=(seed, born), name="lapse", daemon=True)
        self._thread.start()
        self.evening = born.result(BORN_S)

    def stop(self) -> None:
        self._end.set()
        self._thread.join()

    def scene(self) -> Scene:
        with self.evening.lock:
            return self.evening.scene(self.speed)

    def _run(self, seed: int, born: "Future[Evening]") -> None:
        evening = Evening(seed)
        born.set_result(evening)
        then = monotonic()
        while not self._end.wait(TURN_S) and not evening.is_over:
            now = monotonic()
            with evening.lock:
                evening.turn(min(1.0, now - then) * self.speed)
            self.changed()
            then = now
        self._end.wait()  # what there is can be looked at
        evening.world.disk.close()
