"""The wizard on a real agent, its hardware on ptys: a receiver's fixes, and a limit raised while the line is cut."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.events import FieldEntered, KeyPressed
from agent.loop import monotonic
from agent.sim.box import PLACE
from agent.station import Station
from agent.wizard import receiver
from agent.wizard.coordinates import Point, distance_m
from agent.wizard.facts import Method, Wizard
from tests.process import started_box, until, write_files
from tests.test_together import Running

pytestmark = pytest.mark.long
LATE_S = 120.0  # the machine may be busy


class Bench:
    def __init__(self, folder: Path) -> None:
        self.box, self.hardware = started_box(folder)
        self.box.receiver.cold_s = 3
        self.box.receiver.power_on()
        self.files = write_files(folder, self.box)
        self.files[0].write_text(f'{self.files[0].read_text()}\n[gnss]\ndevice = "{self.box.gnss.path}"\n')
        self.running = Running(*self.files)
        until(lambda: self.station.self_tested, LATE_S)

    @property
    def station(self) -> Station:
        return self.running.app.shell.station

    def enter(self, *fields: tuple[str, str]) -> None:
        for name, value in fields:
            self._entered(self.station.wizard, name, value)

    def _entered(self, before: Wizard, name: str, value: str) -> None:
        self.running.app.post(FieldEntered(name, value))
        until(lambda: self.station.wizard is not before, LATE_S)

    def key(self, action: str) -> None:
        self.running.app.post(KeyPressed(4, action))

    def close(self) -> None:
        self.running.close()
        self.box.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def test_the_pinpoint_is_taken_from_a_receiver_on_a_real_line(bench: Bench) -> None:
    bench.enter(("step", "pinpoint"))
    until(lambda: len(receiver.known(bench.station, monotonic())) >= receiver.FIXES_MIN, LATE_S)
    bench.enter(("gnss", "take"))
    point = bench.station.wizard.pinpoint
    assert point and point.method is Method.GNSS and point.accuracy_m and point.accuracy_m < 10
    assert distance_m(PLACE, Point(point.latitude, point.longitude)) < 15
    until(lambda: bench.station.wizard.place and bench.station.wizard.place.country == "Germany", LATE_S)
    bench.box.touch(lambda _: bench.box.gnss.cut())
    until(lambda: bench.station.parts["GNSS.receiver"].problem and not bench.station.wizard.is_fixed, LATE_S)
    bench.box.touch(lambda _: bench.box.gnss.mend())
    until(lambda: bench.station.wizard.is_fixed and not bench.station.parts["GNSS.receiver"].problem, LATE_S)


@pytest.mark.promise("S11")
def test_a_raise_confirmed_with_the_line_cut_reaches_the_real_controller_after_a_restart(bench: Bench) -> None:
    def confirmed(breaker_a: int) -> None:
        bench.enter(("step", "circuit"), ("breaker_a", str(breaker_a)), ("step", "next"))
        before = bench.station.wizard.commissions
        since = monotonic()
        until(lambda: monotonic() > since + 1.5)
        bench.key("save")
        until(lambda: bench.station.wizard.commissions > before, LATE_S)

    def held() -> int:
        return bench.box.ask(lambda _: int(bench.hardware.memory.circuit_limit_ma))

    confirmed(20)
    until(lambda: held() == 16_000, LATE_S)
    bench.box.cut_line()
    until(lambda: all(port.report is None for port in bench.station.ports), LATE_S)
    confirmed(32)
    assert held() == 16_000 and bench.station.wizard.owed
    bench.running.close()
    bench.box.mend_line()
    bench.running = Running(*bench.files)
    until(lambda: held() == 25_000 and bench.station.wizard.owed is None, LATE_S)
