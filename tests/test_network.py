"""Another broker is tried, and a wrong one is no way out of reach."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.events import ConnectionEnded, ConnectionMade, Link, LinkChanged
from agent.network import ANSWER_S, Network, address_of, restored, saved, where_to_connect, with_profile
from tests.play import Json, Play

CONFIG = ("one.example", 8883)
TWO = ("two.example", 8884)


def profile(url: str = "mqtts://two.example:8884", slot: int = 1, security: int = 3) -> Json:
    data = {
        "ocppCsmsUrl": url, "securityProfile": security, "messageTimeout": 30, "ocppInterface": "Any",
        "ocppTransport": "JSON",
    }  # fmt: skip
    return {"configurationSlot": slot, "connectionData": data}


def where(play: Play) -> tuple[str, int]:
    return where_to_connect(play.station.network, CONFIG)


def goal(play: Play) -> tuple[str, int] | None:
    """Whom the next attempt is for."""
    return play.station.network.address(play.station.network.order[0])


def online(play: Play) -> Play:
    return play.on(ConnectionMade(goal(play))).on(LinkChanged(Link.UP))


def offline(play: Play, was: tuple[str, int] | None = None) -> Play:
    return play.on(ConnectionEnded(was)).on(LinkChanged(Link.DOWN))


def told(play: Play) -> list[str]:
    """What the operator reads of it."""
    kind = "ReconfigurationOfSecurityParameters"
    return [record.payload["techInfo"] for record in play.records if record.payload.get("type") == kind]


def test_a_new_broker_is_tried_at_the_next_connection_and_stays_when_the_cloud_answers_there() -> None:
    play = online(Play())
    assert play.command("SetNetworkProfile", **profile()) == {"status": "Accepted"}
    play.on(LinkChanged(Link.DOUBT)).on(LinkChanged(Link.UP))
    assert play.station.network.trying == 1, "that was the old one's answer"
    offline(play)
    assert where(play) == TWO
    online(play)
    assert told(play) == ["network profile 1 (two.example:8884) is in use: the cloud answers there"]
    offline(play, TWO)
    for _ in range(9):
        play.on(ConnectionEnded(TWO))
    assert where(play) == TWO, "proven"
    assert where(play.reboot(30)) == TWO


@pytest.mark.parametrize("lets_in", [True, False])
def test_three_connections_without_the_cloud_lead_back_even_across_power_cuts(lets_in: bool) -> None:
    play = online(Play())
    play.command("SetNetworkProfile", **profile())
    offline(play)
    for _ in range(3):
        assert where(play) == TWO
        play = play.reboot(5)
        if lets_in:
            play.on(ConnectionMade(TWO))
        play.on(ConnectionEnded(TWO))
    failed = "network profile 1 (two.example:8884) has failed 3 times: back to network profile 0 (the config file)"
    assert told(play) == [failed]
    assert where(play) == CONFIG and where(play.reboot(5)) == CONFIG


def test_only_connections_made_to_the_very_address_count_for_or_against_it() -> None:
    play = online(Play())
    play.command("SetNetworkProfile", **profile())
    for _ in range(5):
        offline(play)
    assert play.station.network.failures == 0, "the old one's"
    play.on(ConnectionMade()).on(LinkChanged(Link.UP))
    assert play.station.network.trying == 1, "an attempt that was begun before the news came"
    offline(play)
    online(play)
    assert play.station.network.proven == 1


def test_a_slot_whose_connection_still_stands_is_not_proven_by_it_after_another_address_was_put_there() -> None:
    play = online(Play())
    play.command("SetNetworkProfile", **profile())
    offline(play)
    for _ in range(3):
        play.on(ConnectionEnded(TWO))
    play.on(ConnectionMade(TWO)).on(LinkChanged(Link.UP))  # a fourth attempt was on its way
    assert play.station.network.order == (0,)
    play.command("SetNetworkProfile", **profile("mqtts://three.example"))
    play.on(LinkChanged(Link.DOUBT)).on(LinkChanged(Link.UP))
    assert play.station.network.trying == 1
    play.on(ConnectionEnded(TWO))
    assert play.station.network.failures == 0


def test_a_broker_without_a_cloud_behind_it_is_hung_up_on_after_two_minutes() -> None:
    play = online(Play())
    play.command("SetNetworkProfile", **profile())
    offline(play)
    play.on(ConnectionMade(TWO))
    play.after(ANSWER_S - 1.0)
    assert play.hang_ups == 0
    play.after(2.0)
    play.after(500.0)
    assert play.hang_ups == 1
    play.on(ConnectionEnded(TWO))
    assert play.station.network.failures == 1
    online(play)
    play.after(2 * ANSWER_S)
    assert play.hang_ups == 1, "the cloud has answered"


def test_a_profile_that_would_lower_security_or_leave_no_way_back_is_rejected() -> None:
    play = Play()
    for wrong, code in (
        (profile("ws://two.example"), "InvalidNetworkConf"),
        (profile("mqtt://two.example"), "InvalidNetworkConf"),
        (profile(security=2), "NoSecurityDowngrade"),
        (profile(slot=0), "InvalidConfSlot"),
        (profile(slot=99), "InvalidConfSlot"),
    ):
        said = play.command("SetNetworkProfile", **wrong)
        assert (said["status"], said["statusInfo"]["reasonCode"]) == ("Rejected", code)
    play.command("SetNetworkProfile", **profile())
    again = play.command("SetNetworkProfile", **profile("mqtts://three.example"))
    assert again["statusInfo"]["reasonCode"] == "PriorityNetworkConf"
    assert where(play) == TWO


def test_the_priority_of_profiles_can_be_read_and_set() -> None:
    play = Play()
    name = {"component": {"name": "OCPPCommCtrlr"}, "variable": {"name": "NetworkConfigurationPriority"}}

    def put(value: str) -> str:
        said = play.command("SetVariables", setVariableData=[{**name, "attributeValue": value}])
        return str(said["setVariableResult"][0]["attributeStatus"])

    assert put("1,0") == "Rejected", "slot 1 holds nothing"
    play.command("SetNetworkProfile", **profile())
    assert play.command("GetVariables", getVariableData=[name])["getVariableResult"][0]["attributeValue"] == "1,0"
    assert put("0") == "Accepted" and where(play) == CONFIG
    assert put("1,0") == "Accepted" and where(play) == TWO
    for wrong in ("", "1,1", "x", "1,", "-1", "٣"):
        assert put(wrong) == "Rejected"


def test_addresses() -> None:
    assert address_of("mqtts://two.example") == ("two.example", 8883)
    assert address_of("mqtts://[2001:db8::1]:99/") == ("2001:db8::1", 99)
    for wrong in ("", "mqtts://", "mqtts://a:0", "mqtts://a:65536", "mqtts://a/b", "mqtts://u@a", "mqtts://a\n"):
        assert address_of(wrong) is None, wrong


@pytest.mark.promise("S9")
@given(st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda x: st.lists(x, max_size=3)
       | st.dictionaries(st.sampled_from(["slots", "proven", "trying", "failures"]), x, max_size=4)))  # fmt: skip
def test_any_stored_network_leads_somewhere(fact: Any) -> None:
    network = restored(fact)
    assert where_to_connect(network, CONFIG)
    assert restored(saved(network)) == network


def test_what_is_saved_comes_back() -> None:
    network = with_profile(Network(), 2, TWO)
    assert restored(saved(network)) == network
