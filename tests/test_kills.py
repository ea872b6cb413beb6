"""kill -9 of the real agent, the real broker and the reference cloud: the ledger equals the meters all the same.

It proves nothing about the disk (the page cache outlives a process: tests/test_durability.py), but everything about
who holds a record at which moment.
"""

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.sim.demo import Demo
from agent.sim.scenario import CARDS
from agent.taps import DEBOUNCE_S
from tests.conftest import LONG

KILLS = 20
RUNS = int(os.environ.get("STATION_KILL_RUNS", "10" if LONG else "1"))
KILLS_PER_SESSION = 5
TAP_S = 10.0  # a tap that the killed agent took with it is repeated after this


class Site(Demo):
    """Kills whom it is told to, whatever that one is doing; the supervisor starts it again at once."""

    def kill(self, what: str) -> None:
        self._tell(f"  -- kill -9 of the {what}")
        match what:
            case "agent":
                self._end(self._agent, signal.SIGKILL)
                self._start_agent()
            case "broker":
                self.broker.kill()
                self.broker.start()
            case "cloud":
                self.stop_cloud()
                self._start_cloud()

    def stop_cloud(self) -> None:
        self._end(self._cloud, signal.SIGKILL)

    def comes(self, *condition: str) -> None:
        assert self.until(lambda: self.holds(condition[0], condition[1:]), 60.0), "\n".join(self.story)

    def taps_until(self, card: str, evse_id: int, condition: str) -> None:
        """People wait until somebody is there, and tap again when nothing has happened."""

        def has_come() -> bool:
            port = self.port(evse_id)
            return bool(port) and (port["transaction_id"] is not None) is (condition == "charging")

        for _ in range(5):
            assert self.until(lambda: self.port(evse_id).get("status") == "Occupied", 60.0), "\n".join(self.story)
            self.tap(card)
            if self.until(has_come, TAP_S):
                break
        self.comes(condition, str(evse_id))

    def port(self, evse_id: int) -> dict[str, Any]:
        """Empty while the agent says nothing."""
        status = self.status()
        return dict(status["ports"][evse_id - 1]) if status else {}

    def session(self, rng: random.Random, kills: int) -> None:
        """A car comes, charges and leaves; somebody dies `kills` times meanwhile."""
        evse_id, card = rng.choice((1, 2)), CARDS[rng.choice(("ann", "bob"))]
        self.plug(evse_id, 10_000)
        steps = sorted(rng.choices(range(3), k=kills))
        self.dies(rng, steps.count(0))
        self.taps_until(card, evse_id, "charging")
        self.dies(rng, steps.count(1))
        self.comes("charging", str(evse_id))
        self.wait(DEBOUNCE_S)
        self.taps_until(card, evse_id, "stopped")
        self.dies(rng, steps.count(2))
        self.unplug(evse_id)
        self.comes("free", str(evse_id))

    def dies(self, rng: random.Random, times: int) -> None:
        for _ in range(times):
            self.wait(rng.uniform(0.0, 1.5))
            self.kill(rng.choice(("agent", "broker", "cloud")))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path, lambda _: None)
    try:
        site.start()
        site.comes("online")
        site.comes("free", "1")
        assert site.until(lambda: (site.status() or {}).get("list_version", 0) > 0, 30.0)
        yield site
    finally:
        site.close()
    assert "Traceback" not in (tmp_path / "agent.log").read_text()


@pytest.mark.needs("mosquitto", "mosquitto")
@pytest.mark.timeout(60 + 30 * KILLS)
@pytest.mark.promise("S2", "S3")
@pytest.mark.parametrize("seed", range(RUNS))
def test_whoever_dies_at_whatever_moment_each_session_is_in_the_ledger_once(site: Site, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(KILLS // KILLS_PER_SESSION):
        site.session(rng, KILLS_PER_SESSION)
    site.comes("equal")


@pytest.mark.needs("mosquitto", "mosquitto")
@pytest.mark.promise("S2")
def test_what_only_the_broker_had_is_sent_again_when_it_dies_while_the_cloud_is_away(site: Site) -> None:
    site.stop_cloud()
    site.session(random.Random(1), 0)
    status = site.status()
    assert status and status["link"] != "down" and status["outbox_records"] > 0
    assert site.sessions() == []
    site.broker.kill()
    site.broker.start()
    site._start_cloud()
    site.comes("equal")
    assert site.until(lambda: (site.status() or {}).get("outbox_records") == 0, 30.0)
