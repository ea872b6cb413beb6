"""What an engineer types about the modem, and what he reads; the keeper is the real one, at a simulated modem."""

import asyncio
import json
from collections.abc import Awaitable, Mapping
from math import inf
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from agent import modemtool
from agent.app import no_modem
from agent.control import ControlServer, Slow, ask
from agent.events import SignalTold
from agent.modem.apn import Access
from agent.modem.desk import Desk, facts, told_of
from agent.modem.diagnosis import Reach
from agent.modem.recovery import Action, Trouble
from agent.modem.spotter import BUSY_S, PERIOD_S, Spotter
from agent.modem.status import Extra, as_text, origin
from agent.settings import ConfigError
from agent.sim.modem.personalities import ALL
from agent.sim.modem.scenarios import SCENARIOS
from tests.modem_line import Line
from tests.test_modem_host import Scene

ICCID = "8949020000012345675"


def desk_of(line: Line, **extra: Any) -> Desk:
    def known() -> Extra:
        return Extra(is_acknowledged=line.keeper.is_acknowledged, **extra)

    return Desk(line, lambda: line.now, known)


def answered(desk: Desk, do: str, **more: object) -> dict[str, Any]:
    answer = desk.answer(modemtool.request(do, **more))

    async def awaited(answer: Awaitable[dict[str, Any]]) -> dict[str, Any]:
        return await answer

    return asyncio.run(awaited(answer)) if isinstance(answer, Awaitable) else answer


# -- status -----------------------------------------------------------------------------------------------------------


def test_the_status_is_one_screen_with_what_is_known_and_no_whole_number_of_anybody() -> None:
    line = Line(ALL["eg25"]).run(90.0)
    desk = desk_of(line, interface="ppp0", used={"records": 1_500_000}, session_b=300_000)
    answer = json.loads(json.dumps(answered(desk, "status"), allow_nan=False))
    assert (answer["state"], answer["acknowledged"], answer["type"]) == ("online", True, "LTE")
    assert answer["verdict"] == "good" and answer["rsrp_dbm"] == -97 and answer["signal_age_s"] <= 60
    screen = as_text(answer)
    for said in ("online", "Quectel", "LTE", "26201", "10.64.12.7 on ppp0", "good", "MB this month, 0.3 MB", "own"):
        assert said in screen, screen
    whole = json.dumps(answer) + screen
    assert ICCID not in whole and ICCID[-4:] in whole and str(line.told().imei) not in whole
    assert max(map(len, screen.splitlines())) < 120 and len(screen.splitlines()) < 24


def test_the_status_of_a_modem_that_is_gone_has_what_was_done_and_what_comes() -> None:
    line = Line(ALL["eg25"])
    desk = desk_of(line)
    line.run(60.0)
    SCENARIOS["attach-fails"](line.modem, line.now)
    line.drop()
    line.run(120.0)
    answer = answered(desk, "status")
    assert [what for _, what in answer["actions"]], answer
    assert answer["trouble"] in list(Trouble) and answer["next_action"] in list(Action)
    assert f"{answer['next_action']} in " in as_text(answer) or answer["state"] == "recovering"
    assert "redial" in as_text(answer) and all(age_s >= 0 for age_s, _ in answer["actions"])


def test_who_has_named_the_access_point_is_told() -> None:
    told = structs.replace(Line(ALL["eg25"]).run(60.0).told(), apn="one", iccid=ICCID, imsi="262011234567890")
    table = {"26201": (Access("one"),)}
    assert origin(told, Extra(access="one", known=table)) == "the config file"
    assert origin(told, Extra(known=table, providers=table)) == "known for this SIM"
    assert origin(told, Extra(providers=table)) == "Debian's list for the SIM's network"
    assert origin(structs.replace(told, apn=""), Extra()) == "the network's own"
    assert origin(told, Extra()) == "the modem had it"


# -- watch ------------------------------------------------------------------------------------------------------------


def test_the_antenna_is_watched_with_the_best_so_far_and_the_keeper_goes_on() -> None:
    line = Line(ALL["eg25"]).run(60.0)
    desk = desk_of(line)
    network = line.modem.network
    assert network
    places = iter([(-118, -15.0), (-97, -9.5), (-126, -19.5)])

    def turned(request: Mapping[str, Any]) -> dict[str, Any]:
        rsrp, rsrq = next(places)
        line.modem.cover(structs.replace(network, rsrp_dbm=rsrp, rsrq_db=rsrq), line.now)
        return answered(desk, **{key: value for key, value in request.items() if key != "command"})

    waited: list[float] = []
    found = list(modemtool.watched(turned, lambda: float(len(waited)), 3.0, waited.append))
    assert [each["verdict"] for each in found] == ["weak", "good", "unusable"]
    assert [each["best"]["rsrq_db"] for each in found] == [-15.0, -9.5, -9.5]
    assert waited == [modemtool.PAUSE_S] * 3
    lines = [modemtool.watch_line(each) for each in found]
    assert lines[1].startswith("GOOD") and "RSRQ -9.5 dB" in lines[1] and "best RSRQ -9.5 dB" in lines[2]
    assert "UNUSABLE" in lines[2] and "move the antenna" in lines[2] and "4g" in lines[1]
    assert line.run(60.0).told().state == "online"


def test_a_3g_modem_is_watched_by_its_rssi_and_what_it_does_not_know_is_asked_once() -> None:
    line = Line(ALL["sim5320"]).run(90.0)
    desk = desk_of(line)
    for _ in range(2):
        reading = answered(desk, "signal")
        assert reading["rsrp_dbm"] is None and reading["rssi_dbm"] is not None and reading["verdict"] == "good"
    assert desk._antenna._refused == {"AT+CESQ"}


def test_where_nothing_can_be_asked_the_last_word_is_shown_as_that() -> None:
    line = Line(ALL["eg25"]).run(60.0)
    line.modem.power(False, line.now)
    reading = answered(desk_of(line), "signal")
    assert reading["stale"] == "the modem is not there" and "not new" in modemtool.watch_line({**reading, "best": None})


def test_the_signal_is_read_for_an_installer_while_he_looks_and_no_longer() -> None:
    line = Line(ALL["eg25"]).run(60.0)
    told: list[SignalTold] = []

    async def story() -> None:
        spotter = Spotter(line, told.append, lambda: line.now)
        spotter.due(False, line.now)
        assert spotter.next_deadline() == inf and not told
        for _ in range(3):
            spotter.due(True, line.now)
            task = spotter.task
            spotter.due(True, line.now)
            assert task is not None and spotter.task is task, "one at a time"
            assert spotter.next_deadline() == inf
            await task
            line.run(PERIOD_S)
        line.modem.power(False, line.now)
        spotter.due(True, line.now)
        assert spotter.task
        await spotter.task
        assert spotter.next_deadline() >= line.now + BUSY_S - 0.1, "who cannot answer is not asked all the time"
        spotter.due(True, line.now)
        assert spotter.task is None
        spotter.close()

    asyncio.run(story())
    assert [(each.rsrp_dbm, each.rsrq_db) for each in told] == [(-97, -9.5)] * 3


# -- at ---------------------------------------------------------------------------------------------------------------


def test_a_persons_command_is_answered_line_by_line_with_what_it_means() -> None:
    desk = desk_of(Line(ALL["eg25"]).run(60.0))
    answer = answered(desk, "at", text="AT+CSQ")
    lines = list(modemtool.at_lines(answer))
    assert lines[0].startswith("answer   +CSQ: 23,99") and '"rssi_dbm": -67' in lines[0] and lines[-1] == "final    OK"
    assert list(modemtool.at_lines(answered(desk, "at", text="AT+NOSUCH")))[-1].startswith("final    ERROR")


def test_what_would_cut_the_station_off_needs_a_second_word() -> None:
    desk = desk_of(Line(ALL["eg25"]).run(60.0))
    with pytest.raises(ConfigError, match="--force"):
        answered(desk, "at", text="AT+CFUN=0")
    assert answered(desk, "at", text="AT+CFUN=0", force=True)["final"]["final"] == "OK"


# -- diagnose, and the socket -----------------------------------------------------------------------------------------


def test_a_diagnosis_crosses_the_socket_whole() -> None:
    line = Line(ALL["eg25"], "no-sim").run(60.0)
    sent = json.loads(json.dumps(facts(line.told()), allow_nan=False))
    back = told_of(sent)
    assert structs.replace(back, signal=line.told().signal) == line.told()
    found = modemtool.diagnosed({"told": sent, "acknowledged": False}, lambda: pytest.fail("there is nothing to reach"))
    assert found.cause == "no SIM" and "next" in modemtool.diagnosis_text(found)
    with pytest.raises(ConfigError, match="restart"):
        told_of({"state": "x"})


def test_the_way_to_the_broker_is_tried_only_while_it_is_silent() -> None:
    line = Line(ALL["eg25"]).run(60.0)
    answer = answered(desk_of(line), "facts")
    assert modemtool.diagnosed(answer, lambda: pytest.fail("it answers")).is_well
    silent = modemtool.diagnosed({**answer, "acknowledged": False}, lambda: Reach(dns="broker has no address"))
    assert silent.cause == "no names (DNS)" and silent.evidence == "broker has no address"


def test_a_station_without_a_modem_says_so_and_nonsense_is_refused() -> None:
    with pytest.raises(ConfigError, match="no modem"):
        no_modem({"do": "status"})
    handler = desk_of(Line(ALL["eg25"])).answer
    for request in ({}, {"do": "x"}, {"do": 1}, {"do": "at", "text": 1}, {"do": "at", "text": "A" * 501}):
        with pytest.raises(ConfigError, match="type"):
            handler(request)


def test_a_slow_answer_has_its_own_patience_and_its_own_sentence(tmp_path: Path) -> None:
    async def late() -> dict[str, Any]:
        await asyncio.get_running_loop().create_future()
        return {}

    async def soon() -> dict[str, Any]:
        return {"ok": True}

    async def story() -> list[dict[str, Any] | None]:
        handlers = {
            "late": lambda _: Slow(late(), 0.01, "the modem does not answer"), "soon": lambda _: Slow(soon(), 9.0, "")
        }
        server = ControlServer(tmp_path / "s", handlers)
        await server.start()
        answers = [await asyncio.to_thread(ask, tmp_path / "s", {"command": name}, 5.0) for name in handlers]
        await server.close()
        return answers

    assert asyncio.run(story()) == [{"error": "the modem does not answer"}, {"ok": True}]


def test_the_desk_stands_before_the_real_host() -> None:
    scene = Scene().up()
    desk = Desk(scene.host, lambda: scene.now)

    async def asked(**request: object) -> dict[str, Any]:
        answer = desk.answer({"command": "modem", **request})
        assert isinstance(answer, Slow)
        question = asyncio.ensure_future(answer.answer)
        for _ in range(400):
            await asyncio.wait([question], timeout=0)
            if question.done():
                break
            scene.run(0.1)
        return await question

    reading = asyncio.run(asked(do="signal"))
    assert (reading["rsrp_dbm"], reading["verdict"], reading["stale"]) == (-97, "good", "")
    answer = asyncio.run(asked(do="at", text="AT+CSQ"))
    assert answer["final"]["final"] == "OK" and answer["lines"][0]["rssi_dbm"] == -67
    with pytest.raises(ConfigError, match="--force"):
        asyncio.run(asked(do="at", text='AT+CPIN="1234"'))
    scene.modem.pull(scene.now)
    scene.run(180)
    told = told_of(json.loads(json.dumps(answered(desk, "facts")["told"])))
    found = modemtool.diagnosed({"told": facts(told), "acknowledged": False}, Reach)
    assert found.cause == "no SIM", (found, told.beneath)
    assert desk.status()["state"] == "SIM missing" and "SIM missing" in as_text(desk.status())
