"""A real agent process, a pty, the real firmware in MicroPython, in real time: what goes wrong at a real station.

Firmware and hardware go in step, so that a busy machine shows no weld where none is; one story has the chip's clock.
"""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.sim.box import Box
from agent.sim.car import Car
from board.controller import contract
from tests.process import ANN, Agent, no_echo, until, write_files, write_list, write_pki
from tests.rig import LATE_MS, WatchedController, need_interpreter

CIRCUIT_MA = 64_000  # of the board file


class Site:
    def __init__(self, folder: Path, pki: Path, *, lockstep: bool = True) -> None:
        self.folder = folder
        self.hardware = WatchedController(folder, CIRCUIT_MA, lockstep=lockstep)
        self.box = Box(self.hardware, folder).start()
        self.box.power_on()
        write_list(folder / "state", ANN)
        self.files = write_files(folder, self.box, pki=pki)
        self.agents: list[Agent] = []
        self.agent = self.start_agent()

    def start_agent(self) -> Agent:
        self.agent = Agent(self.folder, *self.files)
        self.agents.append(self.agent)
        return self.agent

    def kill_agent(self) -> None:
        self.agent.end(signal.SIGKILL)

    def charging(self) -> "Site":
        until(lambda: self.agent.is_free(1))
        self.box.plug(1, Car(reaction_ms=200, need_wh=50_000))
        until(lambda: self.agent.port(1).get("status") == "Occupied")
        self.box.tap(ANN)
        until(self.agent.is_charging)
        until(lambda: self.box.power_w(1) > 0)
        return self

    def heartbeats(self, count: int = 4) -> None:
        before = len(self.hardware.wished_ms)
        until(lambda: len(self.hardware.wished_ms) >= before + count)

    def clicks(self, index: int = 0) -> list[int]:
        return [value for _, value in self.hardware.edges(index, "contactor")]

    def coil_ms(self, began_ms: int) -> int:
        """From then until the coil was let go."""
        return next(at for at, is_on in self.hardware.edges(0, "coil") if not is_on and at >= began_ms) - began_ms

    def touch(self, **screws: object) -> int:
        """When it was, in ms of the box."""
        touched: list[int] = []

        def change(hardware: WatchedController) -> None:
            vars(hardware.bays[0]).update(screws)
            touched.append(hardware._now_ms)

        self.box.touch(change)
        return touched[0]

    def faults(self) -> list[str]:
        return list(self.agent.port(1).get("faults", []))

    def close(self) -> None:
        for agent in self.agents:
            if agent.process.poll() is None:
                agent.end(signal.SIGKILL)
        self.box.close()


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def site(tmp_path: Path, pki: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    need_interpreter()
    site = Site(tmp_path, pki, lockstep=getattr(request, "param", True))
    yield site
    print(site.agent.status(), list(site.hardware.pins)[-20:], site.hardware.resets, site.agent.log(), sep="\n")
    site.close()
    assert site.hardware.broken == []
    assert set(site.hardware.resets) <= {-9}, site.hardware.log.read_text()
    assert all("Traceback" not in agent.log() for agent in site.agents)


@pytest.mark.promise("S1")
def test_a_ground_fault_ends_the_power_at_once_and_is_told(site: Site) -> None:
    site.charging()
    began_ms = site.touch(cable_leaks=True)
    until(lambda: site.clicks() == [1, 0])
    assert site.coil_ms(began_ms) < 100 + LATE_MS
    until(lambda: "ground_fault" in site.faults())
    site.touch(cable_leaks=False)
    site.heartbeats()
    assert site.clicks() == [1, 0]  # it is tried again after 15 minutes, not before


@pytest.mark.promise("S1")
@pytest.mark.parametrize("site", [False], indirect=True)
def test_on_its_own_clock_a_session_starts_and_ends(site: Site) -> None:
    site.charging().heartbeats(6)
    no_echo()
    site.box.tap(ANN)
    until(lambda: site.clicks() == [1, 0])


@pytest.mark.promise("S1")
def test_a_weld_is_told_and_lasts_when_the_contact_has_come_loose(site: Site) -> None:
    site.charging()
    site.box.touch(lambda hardware: setattr(hardware.bays[0].contactor, "stuck", True))
    no_echo()
    site.box.tap(ANN)
    until(lambda: "contactor_welded" in site.faults())
    site.box.touch(lambda hardware: setattr(hardware.bays[0].contactor, "stuck", False))
    site.box.unplug(1)
    site.box.plug(1, Car(reaction_ms=200))
    no_echo()
    site.box.tap(ANN)
    site.heartbeats(6)
    assert "contactor_welded" in site.faults() and site.clicks() == [1, 0]


@pytest.mark.promise("S1")
def test_an_emergency_stop_opens_at_once_and_its_release_restarts_nothing(site: Site) -> None:
    site.charging()
    site.box.touch(lambda hardware: setattr(hardware, "emergency_stop", True))
    until(lambda: site.clicks() == [1, 0])
    until(lambda: "emergency_stop" in site.faults())
    site.box.touch(lambda hardware: setattr(hardware, "emergency_stop", False))
    until(lambda: "emergency_stop" not in site.faults())
    site.heartbeats(6)
    assert site.clicks() == [1, 0]


@pytest.mark.promise("S1", "S3")
def test_a_host_that_is_killed_in_mid_session_is_not_heard_in_the_contactor(site: Site) -> None:
    site.charging()
    transaction_id = site.agent.port(1)["transaction_id"]
    for _ in range(3):
        site.kill_agent()
        site.start_agent()
        until(site.agent.is_charging)
        site.heartbeats()
    assert site.agent.port(1)["transaction_id"] == transaction_id
    assert site.clicks() == [1] and site.hardware.boots == 1
    no_echo()
    site.box.tap(ANN)
    until(lambda: site.clicks() == [1, 0])


def test_a_light_blinks_on_after_the_host_is_killed(site: Site) -> None:
    site.charging()

    def lights() -> list[int]:
        return [value for _, i, name, value in list(site.hardware.pins) if (i, name) == (0, "light")]

    until(lambda: lights()[-1] == contract.BLUE)
    site.kill_agent()
    before = len(lights())
    until(lambda: len(lights()) >= before + 3)
    assert set(lights()[before:]) == {0, contract.BLUE}, "charging, as the host said last"


@pytest.mark.promise("S1", "S3")
@pytest.mark.parametrize("how", ["reset", "power"])
def test_a_controller_that_loses_its_mind_goes_on_with_the_same_session(site: Site, how: str) -> None:
    site.charging()
    transaction_id, register_wh = site.agent.port(1)["transaction_id"], site.box.register_wh(1)
    if how == "power":
        site.box.cut_power()
        assert not site.box.is_closed(1) or site.clicks()[-1] == 1
        until(lambda: not site.box.is_closed(1))
        site.box.power_on()
    else:
        site.box.reset_controller()
    until(lambda: site.clicks() == [1, 0, 1])
    until(site.agent.is_charging)
    assert site.agent.port(1)["transaction_id"] == transaction_id
    assert site.box.register_wh(1) >= register_wh and site.hardware.boots == 2


@pytest.mark.promise("S1", "S11")
def test_twenty_flickers_of_the_mains_leave_a_station_that_charges(site: Site) -> None:
    site.charging()
    for n in range(20):
        site.box.cut_power()
        if n % 3:
            until(lambda: not site.box.is_closed(1))
        site.box.power_on()
        until(lambda n=n: site.hardware.boots >= n + 2 and site.hardware.steps > n * 3)  # type: ignore[misc]
    until(site.agent.is_charging)
    until(lambda: site.box.power_w(1) > 0)
    site.heartbeats()
    assert site.hardware.boots == 21 and site.box.is_closed(1)


@pytest.mark.promise("S1")
def test_a_port_that_comes_back_under_another_number_is_the_same_port(site: Site) -> None:
    site.charging()
    device = site.box.link.device
    site.box.cut_line()
    until(lambda: "controller_lost" in site.faults())
    site.box.mend_line()
    assert site.box.link.device != device
    until(site.agent.is_charging)
    site.heartbeats()
    assert site.clicks() == [1]


@pytest.mark.promise("S1", "S9")
@pytest.mark.timeout(400)
@pytest.mark.parametrize("noise", [1e-3, pytest.param(1e-4, marks=pytest.mark.long)])
def test_a_byte_that_is_wrong_now_and_then_either_way_is_noticed_by_nobody(site: Site, noise: float) -> None:
    site.box.touch(lambda _: setattr(site.box, "noise", noise))
    site.charging()
    until(lambda: site.box.spoilt >= 4, 300.0)
    site.heartbeats()
    assert site.clicks() == [1] and site.faults() == []
    no_echo()
    site.box.tap(ANN)
    until(lambda: site.clicks() == [1, 0])


@pytest.mark.promise("S1", "S9")
def test_a_line_where_one_byte_in_fifty_is_wrong_still_ends_a_session_in_order(site: Site) -> None:
    site.charging()
    site.box.touch(lambda _: setattr(site.box, "noise", 0.02))
    site.heartbeats(2)
    site.box.touch(lambda _: setattr(site.box, "noise", 0.0))
    site.heartbeats()
    until(site.agent.is_charging)
    no_echo()
    site.box.tap(ANN)
    until(lambda: not site.box.is_closed(1))
