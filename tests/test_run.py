"""`station-agent run` as systemd runs it: a process that starts, ends, dies and comes back, on a simulated box."""

import random
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import cli
from agent.loop import monotonic
from agent.sim.car import Car
from board.controller import contract
from tests.process import (
    ANN,
    BOB,
    Agent,
    Hardware,
    Systemd,
    edges,
    longest_gap_s,
    no_echo,
    started_box,
    until,
    write_files,
    write_list,
    write_pki,
)

END_S = 5.0


class Site:
    """One station with its box; agents come and go."""

    def __init__(self, folder: Path, pki: Path | None) -> None:
        self.folder = folder
        self.box, self.hardware = started_box(folder)
        write_list(folder / "state", ANN, BOB)
        self.board, self.config = write_files(folder, self.box, pki=pki)
        self.agents: list[Agent] = []

    def agent(self, **environment: str) -> Agent:
        self.agents.append(Agent(self.folder, self.board, self.config, **environment))
        return self.agents[-1]

    def ready(self) -> Agent:
        """An agent whose ports are free."""
        agent = self.agent()
        until(lambda: agent.is_free(1) and agent.is_free(2))
        return agent

    def charging(self) -> Agent:
        """An agent, and Ann's car at port 1."""
        agent = self.ready()
        self.box.plug(1, Car(reaction_ms=200))
        until(lambda: agent.port(1)["status"] == "Occupied")
        self.box.tap(ANN)
        until(agent.is_charging)
        until(lambda: self.box.power_w(1) > 0)
        return agent

    def close(self) -> None:
        for agent in self.agents:
            if agent.process.poll() is None:
                agent.end(signal.SIGKILL)
        self.box.close()


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def site(tmp_path: Path, pki: Path) -> Iterator[Site]:
    site = Site(tmp_path, pki)
    yield site
    site.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    systemd = Systemd(tmp_path / "notify")
    yield systemd
    systemd.close()


def power_edges(hardware: Hardware) -> list[tuple[float, int, str, int]]:
    """What a car or its contactor could notice."""
    return [pin for pin in hardware.pins if pin[2] in ("offer_ma", "coil", "contactor")]


def goes_on(hardware: Hardware) -> None:
    """For some heartbeats."""
    since = hardware.wished_at[-1] if hardware.wished_at else 0.0
    until(lambda: hardware.wished_at[-1:] >= [since + 1.5])


# -- systemd ----------------------------------------------------------------------------------------------------------


def test_systemd_hears_ready_then_the_watchdog_then_stopping(site: Site, systemd: Systemd) -> None:
    agent = site.agent(NOTIFY_SOCKET=str(systemd.path))
    systemd.hears("READY=1")
    for _ in range(3):
        systemd.hears("WATCHDOG=1")
    agent.process.send_signal(signal.SIGTERM)
    systemd.hears("STOPPING=1")
    assert agent.process.wait(END_S) == 0


@pytest.mark.promise("S9")
def test_a_systemd_that_does_not_listen_is_no_reason_to_die(site: Site, tmp_path: Path) -> None:
    agent = site.agent(NOTIFY_SOCKET=str(tmp_path / "nobody"))
    until(agent.is_free)
    assert agent.end() == 0


@pytest.mark.promise("S1", "S3")
@pytest.mark.parametrize(("how", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGKILL, -9)])
def test_a_restart_in_mid_session_is_not_noticed_by_the_car(site: Site, how: signal.Signals, code: int) -> None:
    agent = site.charging()
    transaction_id = agent.port(1)["transaction_id"]
    pins = power_edges(site.hardware)
    began = monotonic()
    assert agent.end(how) == code
    assert monotonic() - began < END_S
    agent = site.agent()
    until(agent.is_charging)
    assert agent.port(1)["transaction_id"] == transaction_id
    goes_on(site.hardware)
    was_silent = longest_gap_s(site.hardware.wished_at) >= contract.HOST_SILENT_MS / 1000  # a slow computer: failsafe
    names = ("coil", "contactor") if was_silent else ("coil", "contactor", "offer_ma")
    assert [pin for pin in power_edges(site.hardware) if pin[2] in names] == [pin for pin in pins if pin[2] in names]
    no_echo()
    site.box.tap(ANN)
    until(lambda: edges(site.hardware, 0, "contactor") == [1, 0])


@pytest.mark.promise("S3")
def test_a_car_that_left_while_nobody_looked_is_not_charged_for(site: Site) -> None:
    agent = site.charging()
    agent.end(signal.SIGKILL)
    site.box.unplug(1)
    site.box.plug(1, Car(reaction_ms=200))
    agent = site.agent()
    until(lambda: agent.port(1).get("status") == "Occupied" and agent.port(1)["transaction_id"] is None)
    assert edges(site.hardware, 0, "contactor") == [1, 0]


@pytest.mark.promise("S2")
def test_an_orderly_end_leaves_nothing_in_the_write_ahead_log(site: Site) -> None:
    agent = site.charging()
    assert agent.end() == 0
    wal = site.folder / "state" / "station.db-wal"
    assert not wal.exists() or wal.stat().st_size == 0
    assert not (site.folder / "control.sock").exists()


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.promise("S9")
def test_nobody_else_may_read_what_the_station_keeps(site: Site) -> None:
    config = site.config.read_text()
    site.config.write_text(config.replace('"state"', '"new/state"').replace('"control', '"run/control'))
    agent = site.agent()
    until((site.folder / "run" / "control.sock").exists)
    until((site.folder / "new" / "state" / "list.key").exists)
    modes = {str(path.relative_to(site.folder)): stat.S_IMODE(path.stat().st_mode)
             for folder in ("new", "run") for path in (site.folder / folder).rglob("[!.]*")}  # fmt: skip
    assert modes.pop("run/vitals", 0o640) == 0o640, "the updater's user is in our group"
    assert modes["new/state"] == modes["new/state/lists"] == 0o700
    assert modes["run/control.sock"] == modes["new/state/station.db"] == modes["new/state/list.key"] == 0o600
    assert {mode & 0o077 for mode in modes.values()} == {0}
    assert agent.end() == 0


@pytest.mark.promise("S2")
def test_a_second_agent_on_the_same_state_refuses_with_a_sentence_and_disturbs_nothing(site: Site) -> None:
    first = site.charging()
    pins = power_edges(site.hardware)
    second = site.agent()
    assert second.process.wait(10.0) == 2
    assert "station.db is in use: another station-agent runs, stop that first" in second.log()
    assert "Traceback" not in second.log()
    assert first.is_charging() and power_edges(site.hardware) == pins
    assert first.end() == 0


@pytest.mark.promise("S9")
@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("S-1", "S 1!", "[station] station_id = 'S 1!' cannot be: type 1 to 36 letters, digits and hyphens"),
        ("ca.pem", "no.pem", "no.pem: No such file or directory"),
        ('state = "state"', 'state = "/proc/nowhere"', "/proc/nowhere cannot be made"),
        ('"control.sock"', '"/proc/nowhere/control.sock"', "/proc/nowhere cannot be made"),
        ('"control.sock"', '"board.toml"', "that is another file"),
        ("[settings]", "[settings]\ncolour = 1", "unknown key 'colour'"),
        ("[settings]", '[operator]\n"op" = "agent.log"\n[settings]', "is no public key"),
        ("[paths]", "[paths", "not valid TOML"),
        ("[settings]", "[panel]\nport = {taken}\n[settings]", "is taken"),
    ],
)
def test_a_wrong_config_is_one_sentence_and_exit_code_2(site: Site, old: str, new: str, sentence: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        new = new.replace("{taken}", str(server.getsockname()[1]))
        assert old in site.config.read_text()
        site.config.write_text(site.config.read_text().replace(old, new))
        agent = site.agent()
        assert agent.process.wait(10.0) == 2
    assert agent.log().startswith("station-agent: ")
    assert sentence in agent.log() and agent.log().count("\n") == 1


@pytest.mark.promise("S7")
def test_a_station_without_a_broker_charges_nobody_and_says_why(tmp_path: Path) -> None:
    site = Site(tmp_path, None)
    try:
        agent = site.agent()
        until(lambda: "no identity and charges nobody: add [station] and [broker]" in agent.log())
        site.box.plug(1, Car())
        until(lambda: agent.port(1).get("status") == "Unavailable")
        site.box.tap(ANN)
        assert "station not activated" in agent.explain(ANN)
        goes_on(site.hardware)
        assert power_edges(site.hardware) == []
        assert agent.end() == 0
    finally:
        site.close()


# -- noise and lost lines ---------------------------------------------------------------------------------------------


@pytest.mark.promise("S9")
def test_rubbish_on_both_lines_changes_nothing(site: Site) -> None:
    agent, rng = site.charging(), random.Random(1)
    before, pins = agent.port(1), power_edges(site.hardware)
    for _ in range(50):
        site.box.babble(site.box.link, rng.randbytes(200))
        site.box.babble(site.box.reader, rng.randbytes(1_000) + b"\n" * 50)
        site.box.babble(site.box.reader, b"no card\n\x00\n" + b"A" * 5_000 + b"\r\n")
    goes_on(site.hardware)
    after = agent.port(1)
    assert (after["transaction_id"], after["status"]) == (before["transaction_id"], before["status"])
    assert agent.port(2)["status"] == "Available" and agent.port(2)["transaction_id"] is None
    assert agent.status()["controller_link"]["heard_here"]["noise_bytes"] > 0
    assert power_edges(site.hardware) == pins
    site.box.plug(2, Car(reaction_ms=200))
    until(lambda: agent.port(2)["status"] == "Occupied")
    site.box.tap(BOB)  # the next card is read as ever
    until(lambda: agent.is_charging(2))


@pytest.mark.promise("S1", "S9")
def test_a_controller_line_that_vanishes_and_returns_heals_by_itself(site: Site) -> None:
    agent = site.charging()
    pins = power_edges(site.hardware)
    site.box.cut_line()
    until(lambda: "controller_lost" in agent.port(1)["faults"])
    site.box.mend_line()
    until(agent.is_charging)
    goes_on(site.hardware)
    assert power_edges(site.hardware) == pins
    no_echo()
    site.box.tap(ANN)
    until(lambda: edges(site.hardware, 0, "contactor") == [1, 0])


def test_a_card_reader_that_is_unplugged_is_a_part_that_failed_until_it_is_back(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    def reader() -> dict[str, Any]:
        return next((part for part in agent.status().get("self_test", []) if part["part"] == "TokenReader"), {})

    agent = site.agent()
    until(lambda: reader().get("result") == "passed")
    site.box.cut_reader()
    until(lambda: reader().get("result") == "failed")
    assert reader()["code"] == "reader" and reader()["fix"] == "Check its cable and the board file."
    assert cli.main(["status", "--config", str(site.config)]) == 0
    said = capsys.readouterr().out
    assert "TokenReader failed (reader): " in said and "'part'" not in said
    site.box.mend_reader()
    until(lambda: reader().get("result") == "passed")


def test_a_controller_that_is_not_there_yet_is_waited_for(site: Site) -> None:
    site.box.cut_line()
    agent = site.agent()
    until(lambda: agent.status().get("controller") is False)
    site.box.mend_line()
    until(agent.is_free)
