"""The update service of the simulated world: a download takes its time on the radio, an install restarts the agent, a
build that is not well comes back. What it says and hears passes through the lines of agent/update/orders.py.

What is on its disk outlives the power; where a build comes from, and what is wrong with it, the story says.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from agent.effects import UpdaterWish
from agent.events import UpdaterLost
from agent.update import orders
from agent.update.orders import State, Wish
from agent.updater import told_of, wish_of

START_S = 1.0  # of the service, after the agent
TURN_S = 10.0
WRITE_BS = 5_000_000
SWITCH_S = 1.0
HEALTHY_S, PATIENCE_S = 60.0, 600.0  # agent/update/health.py


@dataclass(frozen=True, slots=True)
class SimBuild:
    version: str
    size_b: int = 4_000_000
    fault: str = ""  # a code of agent/update/refusal.py: refused at its head; "verify": it reads back wrong
    is_well: bool = True  # else its trial fails


Later = Callable[[float, Callable[[], None]], None]


class Radio(Protocol):
    is_up: bool
    is_mute: bool


class SimUpdater:
    """`post` of the run of the agent that is on; `later` of the world."""

    def __init__(self, builds: dict[str, SimBuild], radio: Radio, later: Later) -> None:
        self.builds, self.speed_bs = builds, 20_000
        self.running, self.spent_b = "1.0.0", 0
        self._radio, self._later = radio, later
        self._state, self._wish = State(), Wish()
        self._post: Callable[[object], None] | None = None
        self._power = object()
        self._is_turning = False
        self._before = self.running
        self._restarts, self._is_back = 0, False  # the boot state says: back to the one before

    # -- the world's side

    def power_cut(self) -> None:
        """Of the whole station: what it was about to do is not done."""
        self._power, self._post, self._is_turning = object(), None, False
        self._wish = Wish(self._wish.order)

    def agent_gone(self) -> None:
        self._post = None

    def agent_started(self, post: Callable[[object], None], later: Later) -> None:
        """The launcher has chosen what runs, and the service has been found. `later`: in this run only."""
        self._post = None
        state = self._state
        if state.progress == orders.ACTIVATED:
            self._before, self.running, self._is_back = self.running, self._build.version, False
            self._change(progress=orders.TRIAL)
            self._judged_later()
        elif state.progress == orders.TRIAL and self._is_back:
            self.running = self._before
            self._change(progress=orders.ROLLED_BACK, code="rolled-back", why="the controller is not heard")
        elif state.progress == orders.TRIAL:
            self._judged_later()

        def connected() -> None:
            self._post = post
            self._tell()

        later(START_S, connected)

    def wish(self, wish: UpdaterWish) -> None:
        line = orders.write(wish_of(wish))
        said = orders.read(line.rstrip(b"\n"))
        assert isinstance(said, Wish)
        self._wish = said
        if said.restarted == self._state.restart_id:
            self._state = replace(self._state, restart_id="", restart="", restart_why="")
        if said.order is None:
            if self._state.progress not in (orders.TRIAL, orders.NONE):
                self._state = State()
            return
        if said.order.name != self._state.order:
            self._change(State(said.order.name, orders.WAITING))
        self._go_on()

    # -- its own

    @property
    def _build(self) -> SimBuild:
        order = self._wish.order
        assert order
        return self.builds[order.url]

    def _go_on(self) -> None:
        if self._is_turning:
            return
        progress = self._state.progress
        if progress in (orders.WAITING, orders.DOWNLOADING) and self._wish.download:
            self._soon(TURN_S, self._fetch)
        if progress == orders.STAGED and self._wish.install:
            self._soon(SWITCH_S, self._switch)

    def _soon(self, seconds: float, then: Callable[[], None]) -> None:
        self._is_turning = True
        power = self._power

        def due() -> None:
            if power is self._power:
                self._is_turning = False
                then()

        self._later(seconds, due)

    def _fetch(self) -> None:
        order = self._wish.order
        if order is None or order.name != self._state.order or not self._wish.download:
            return self._go_on()
        if not self._radio.is_up or self._radio.is_mute:
            return self._soon(TURN_S, self._fetch)
        if order.url not in self.builds:
            return self._change(progress=orders.FAILED, code="link", why="the server answers 404")
        build = self._build
        self.spent_b += round(self.speed_bs * TURN_S)
        if build.fault and build.fault != "verify":
            return self._change(progress=orders.FAILED, code=build.fault, why=f"this build is refused: {build.fault}")
        received_b = min(build.size_b, self._state.received_b + round(self.speed_bs * TURN_S))
        self._change(
            progress=orders.DOWNLOADING, received_b=received_b, wanted_b=build.size_b, version=build.version
        )
        if received_b == build.size_b:
            return self._soon(build.size_b / WRITE_BS, self._staged)
        return self._go_on()

    def _staged(self) -> None:
        if self._build.fault == "verify":
            return self._change(progress=orders.FAILED, code="verify", why="3 pieces read back as something else")
        self._change(progress=orders.STAGED)
        return self._go_on()

    def _switch(self) -> None:
        if self._wish.install and self._state.progress == orders.STAGED:
            self._change(progress=orders.ACTIVATED)

    def _judged_later(self) -> None:
        power = self._power
        is_well = self._wish.order is not None and self._build.is_well

        def judged() -> None:
            if power is not self._power or self._state.progress != orders.TRIAL:
                return
            if is_well:
                self._change(progress=orders.CONFIRMED)
                return
            self._restarts, self._is_back = self._restarts + 1, True
            self._change(
                restart_id=f"r{self._restarts}", restart="resume", restart_why="the trial has failed: not heard"
            )

        self._later(HEALTHY_S if is_well else PATIENCE_S, judged)

    def _change(self, state: State | None = None, **facts: object) -> None:
        self._state = state or replace(self._state, **facts)  # type: ignore[arg-type]
        self._tell()

    def _tell(self) -> None:
        if self._post is None:
            return
        said = orders.read(orders.write(self._state).rstrip(b"\n"))
        assert isinstance(said, State)
        self._post(told_of(said))

    def dies(self) -> None:
        """Its process, alone."""
        if self._post:
            self._post(UpdaterLost())
        self.power_cut()
