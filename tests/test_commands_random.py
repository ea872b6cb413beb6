"""Commands of every content, at every moment: none raises, each has one result, and none is done twice."""

import os
import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.events import Cp
from agent.settings import Settings
from agent.sim.world import STATION_ID, World
from agent.uplink.codec import WireError
from agent.uplink.commands import Answered, Command, Refusal, to_event
from agent.uplink.messages import COMMANDS, from_wire
from tests import referee
from tests.play import ANN, BOB, Json, Play
from tests.test_codec import made, schema
from tests.test_world import judge, mended

ORDERS = (
    "RequestStartTransaction RequestStopTransaction ChangeAvailability Reset UnlockConnector TriggerMessage"
    " GetVariables SetVariables GetBaseReport GetReport SetNetworkProfile DataTransfer"
).split()  # what the core carries out


def ordered(rng: random.Random, action: str) -> Json:
    """Anything that the schema allows, more often about what is here."""
    request = schema(f"{action}Request")
    payload: Json = made(rng, request, request["definitions"])
    for member in ("evseId", "connectorId"):
        if member in payload and rng.random() < 0.8:
            payload[member] = rng.choice([1, 1, 2])
    if "evse" in payload and rng.random() < 0.8:
        payload["evse"] = {"id": rng.choice([0, 1, 2]), "connectorId": 1}
    if action == "SetNetworkProfile" and rng.random() < 0.8:
        payload["configurationSlot"] = rng.randint(0, 4)
        payload["connectionData"] |= {"ocppCsmsUrl": "mqtts://b.example", "securityProfile": 3}
    if action == "DataTransfer" and rng.random() < 0.8:
        data = {"intervalS": rng.randint(0, 61), "forS": rng.randint(0, 60)}
        payload = {"vendorId": "station-agent", "messageId": "LiveMode", "data": data}
    if action in ("SetVariables", "GetVariables") and rng.random() < 0.8:
        payload = {f"{action[0].lower()}{action[1:-1]}Data": [variable(rng, action) for _ in range(rng.randint(1, 4))]}
    return payload


def variable(rng: random.Random, action: str) -> Json:
    name, value = rng.choice([
        ("TxCtrlr.EVConnectionTimeOut", str(rng.randint(0, 700))), ("ChargingStation.CircuitLimit", "16000"),
        ("SampledDataCtrlr.TxUpdatedInterval", str(rng.randint(0, 100))), ("ChargingStation.Model", "x"),
        ("OCPPCommCtrlr.NetworkConfigurationPriority", rng.choice(["0", "1,0", "3", ""])),
        ("TxCtrlr.ConcurrentTx", rng.choice(["true", "false", "TRUE", "1"])),
    ])  # fmt: skip
    component, _, name = name.partition(".")
    item: Json = {"component": {"name": component}, "variable": {"name": name}}
    return {**item, "attributeValue": value} if action == "SetVariables" else item


def happens(play: Play, rng: random.Random) -> None:
    match rng.randrange(7):
        case 0:
            play.plug(rng.choice([1, 2]))
        case 1:
            play.tap(rng.choice([ANN, BOB]))
        case 2:
            play.see(rng.choice([1, 2]), cp=Cp.A, contactor=False)
        case 3:
            play.see(rng.choice([1, 2]), locked=rng.random() < 0.5, contactor=False)
        case 4:
            play.after(rng.choice([0.5, 5.0, 60.0]))
        case _:
            for port in play.station.ports:
                if play.wish and play.wish[port.evse_id - 1].offer_ma and port.transaction and port.report:
                    play.charge(port.evse_id, wh=10)


@pytest.mark.promise("S9")
@given(st.integers(0, 2**32))
def test_any_order_at_any_time_has_one_result_and_leaves_a_station_that_works(seed: int) -> None:
    rng = random.Random(seed)
    play = Play(Settings(socketed=rng.random() < 0.5))
    given_: list[str] = []
    for n in range(25):
        happens(play, rng)
        action = rng.choice(ORDERS)
        try:
            payload = ordered(rng, action)
            request = from_wire(COMMANDS[action], payload)
        except WireError:
            continue
        event = to_event(Command(f"x{n}", action, payload, request))
        if not isinstance(event, Refusal | Answered):
            referee.expect(f"x{n}", action)
            given_.append(f"x{n}")
            play.on(event)  # type: ignore[arg-type]  # ORDERS are the core's
    play.after(200)
    results = Counter(p["commandId"] for p in play.payloads("CommandResult"))
    assert results == Counter(given_), f"{seed=}"
    assert play.station.unlocks == ()
    seq_nos: dict[str, list[int]] = {}
    for event_ in play.payloads("TransactionEvent"):
        seq_nos.setdefault(event_["transactionInfo"]["transactionId"], []).append(event_["seqNo"])
    assert all(numbers == list(range(len(numbers))) for numbers in seq_nos.values())


def disturbed(world: World, rng: random.Random) -> None:
    match rng.randrange(9):
        case 0:
            world.cut_power().run(rng.choice([0.5, 20])).power_on()
        case 1 if world.shell:
            world.kill_agent(rng.choice([0.5, 3]))
        case 2:
            world.net.cut()
        case 3:
            world.net.mend()
        case 4:
            world.net.doubling, world.net.loss = rng.choice([0.0, 0.5]), rng.choice([0.0, 0.05])
        case 5:
            world.disk.latency_s = rng.choice([0.001, 0.05, 3.0])
        case 6 | 7:
            evse_id = rng.choice([1, 2])
            if world.controller.bays[evse_id - 1].car:
                world.unplug(evse_id)
            else:
                world.plug(evse_id).run(1).choose(evse_id).tap(rng.choice([ANN, BOB]))
        case _:
            world.tap(rng.choice([ANN, BOB]))


@pytest.mark.promise("S2", "S9")
@pytest.mark.parametrize("seed", range(int(os.environ.get("STATION_SEEDS", "8"))))
def test_orders_survive_power_cuts_between_result_and_effect(seed: int) -> None:
    """The cloud repeats what has no result; in the end each order has one, and the ledger is true."""
    rng = random.Random(seed)
    with World(seed, Settings(station_id=STATION_ID, restart_delay_max_s=0.0)).closing() as world:
        world.allow(ANN, BOB).power_on().run(30)
        orders: dict[str, bytes] = {}
        for _ in range(60):
            disturbed(world, rng)
            action = rng.choice([*ORDERS, "GetTransactionStatus", "ClearCache", "GetLocalListVersion"])
            payload: Any = ordered(rng, action)
            if action == "ChangeAvailability":
                payload["operationalStatus"] = "Operative"
            if action == "SetVariables" and rng.random() < 0.5:
                payload = {"setVariableData": [variable(rng, action)]}
            data = world.cloud.command(action, payload, lives_s=1e7)
            orders[f"c{world.cloud._commands}"] = data
            world.net.send_command(data)
            world.run(rng.choice([0.0, 0.01, 0.3, 5, 60]))
            if rng.random() < 0.3:
                world.net.send_command(rng.choice(list(orders.values())))
        mended(world)
        for _ in range(6):
            done = {r["commandId"] for r in world.cloud.results}
            for command_id, data in orders.items():
                if command_id not in done:
                    world.net.send_command(data)
                    world.run(60)
        results = Counter(r["commandId"] for r in world.cloud.results)
        assert {n: results[n] for n in orders} == dict.fromkeys(orders, 1), f"{seed=}"
        world.run(1200)
        judge(world)
