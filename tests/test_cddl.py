"""docs/uplink.cddl is true: every message of a whole story, in both directions, is what its rule says."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import cbor2
import pycddl
import pytest

from agent.settings import Settings
from agent.sim.car import Car
from agent.sim.net import SimNet
from agent.sim.scenario import CARDS, DEMO, play
from agent.sim.world import STATION_ID, World

CDDL = (Path(__file__).parent.parent / "docs" / "uplink.cddl").read_text()
UP = {**dict.fromkeys("01234", "batch"), "h": "hello", "w": "will", "v": "request", "l": "live"}
DOWN = {"a": "ack", "r": "answer", "v": "response", "c": "envelope"}
E8, RECORD = b"EPOCH..1", cbor2.dumps([b"BOOT...1", 5, None, 0, 25, {7: 1}])


@cache
def rule(name: str) -> Any:
    """pycddl knows no .cbor inside an array and no map of words, so these two are left out; records are looked at."""
    simpler = re.sub(r" \.cbor (\w+|\{[^}]*\})", "", CDDL)
    return pycddl.Schema(f"start = {name}\n" + re.sub(r"payload = .*", "payload = {* any => any}", simpler))


def fits(name: str, data: bytes) -> bool:
    try:
        rule(name).validate_cbor(data)
    except pycddl.ValidationError:
        return False
    return True


class Referee(SimNet):
    """The network, which holds every message against its rule."""

    def __init__(self, world: World) -> None:
        super().__init__(world.cloud, 1, world.later)
        self.seen: set[str] = set()

    def publish(self, connection: int, packet_id: int, topic: str, payload: bytes, qos: int) -> None:
        self._judge(UP[topic.rsplit("/", 1)[1]], payload)
        super().publish(connection, packet_id, topic, payload, qos)

    def _deliver(self, kind: str, payload: bytes) -> bool:
        self._judge(DOWN[kind], payload)
        return super()._deliver(kind, payload)

    def _judge(self, name: str, payload: bytes) -> None:
        assert fits(name, payload), (name, cbor2.loads(payload))
        self.seen.add(name)
        if name == "batch":
            _, _, *bodies = cbor2.loads(payload)
            self.seen.add("columns" if len(bodies) > 1 else "plain")
            for body in bodies[1] if len(bodies) > 1 else bodies[0]:
                assert fits("record", body), cbor2.loads(body)


@pytest.mark.promise("S9")
def test_every_message_of_a_story_is_what_its_rule_says() -> None:
    with World(3, Settings(station_id=STATION_ID, restart_delay_max_s=0.0)).closing() as world:
        world.net = net = Referee(world)
        world.allow(*(CARDS[name] for name in ("ann", "bob", "cara"))).power_on()
        play(DEMO, world)
        world.plug(1, Car(need_wh=20_000)).run(3).tap(CARDS["ann"]).run(3_000)
        world.command("DataTransfer", vendorId="station-agent", messageId="LiveMode", data={"intervalS": 2, "forS": 20})
        world.cloud.refuses = {1: ((world.shell.uplink.lanes[1].next_seq, "never"),)} if world.shell else {}
        world.run(5).unplug(1)
        world.run(300)
        assert net.seen >= {"hello", "request", "live", "plain", "columns", "ack", "response", "envelope"}, net.seen


@pytest.mark.parametrize(
    ("name", "value", "good"),
    [
        ("batch", [E8, 1, [RECORD]], True), ("batch", [E8, 0, [RECORD]], False), ("batch", [E8, 1, []], False),
        ("batch", [E8, 1, 3, [RECORD], {1: 60_000, 2: [1, 2], 3: {0: 1}, 4: ["a", None]}], True),
        ("batch", [E8[1:], 1, [RECORD]], False), ("hello", [1, E8, E8, {}, 0, "many"], False),
        ("will", [E8, E8, 3], True), ("will", [E8, E8], False), ("ack", [E8, {0: [-1, []]}, 5], False),
        ("ack", [E8, {0: [5, [[1, 2]], E8, 4]}, 5, False, {0: [[7, "never"]]}], True),
        ("ack", [E8, {}, 5, True, {}, E8], False), ("ack", [E8, {0: [0, []]}, 5, False, {}, E8, 3], True),
        ("answer", [E8, 7, 1, {}], False),
        ("record", [E8, -1, None, 0, 25, {}], False), ("command", ["S", "", 5, "Reset", {}], False),
    ],
)  # fmt: skip
def test_the_rules_tell_good_from_bad(name: str, value: Any, good: bool) -> None:
    assert fits(name, cbor2.dumps(value)) is good


def test_the_topics_of_the_page_have_a_rule_each() -> None:
    page = (Path(__file__).parent.parent / "docs" / "uplink.md").read_text()
    topics = set(re.findall(r"\| `u/<id>/(\w)`", page)) | set("01234")
    assert topics == UP.keys() and set(re.findall(r"\| `d/<id>/(\w)`", page)) == DOWN.keys()
