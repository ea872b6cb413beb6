"""A real agent process with a simulated modem on a pty: it is found, told of, and found again."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.sim.box import Box
from agent.sim.modem.air import Card, Network
from agent.sim.modem.modem import Modem
from agent.sim.modem.personalities import EG25
from tests.process import Agent, Hardware, until, write_files

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]
MODEM = '\n[modem]\nport = "{port}"\nbearer = "given"\ninterface = "lo"\n'
LIMIT_S = 180.0


class Site:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.box = Box(Hardware(), folder, (Modem(EG25, Card(), Network()), folder / "modem")).start()
        self.box.power_on()
        self.board, self.config = write_files(folder, self.box)
        self.config.write_text(self.config.read_text() + MODEM.format(port=folder / "modem"))
        self.agents: list[Agent] = []

    def agent(self) -> Agent:
        self.agents.append(Agent(self.folder, self.board, self.config))
        return self.agents[-1]

    def close(self) -> None:
        for agent in self.agents:
            agent.end()
        self.box.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.close()


def modem(agent: Agent) -> dict[str, Any]:
    return agent.status().get("modem") or {}


def test_a_modem_is_found_told_of_and_found_again(site: Site) -> None:
    agent = site.agent()
    until(lambda: modem(agent).get("state") == "bearer up", LIMIT_S)
    until(lambda: modem(agent).get("operator") == "Telekom.de", LIMIT_S)
    told = modem(agent)
    assert (told["kind"], told["imei"], told["rsrp_dbm"]) == ("LTE", EG25.imei, -97)
    site.box.cellular(lambda simulated, now: simulated.restart(now))
    until(lambda: modem(agent).get("state") == "absent", LIMIT_S)
    until(lambda: modem(agent).get("state") == "bearer up", LIMIT_S)
    assert agent.end() == 0 and "Traceback" not in agent.log()
    again = site.agent()
    until(lambda: modem(again).get("imei") == EG25.imei, LIMIT_S)
    assert "in place of" not in again.log().split("station-agent 0")[-1], "the same modem, the same SIM as before"
