"""How much power, at the plug: profiles, the circuit, and everything that what is worked out depends on."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from msgspec.structs import replace

from agent.clock import ClockSource
from agent.events import ClockTold, Cp, Entry, Link, LinkChanged, PortChosen, PortReported, Report
from agent.policy import profile
from agent.policy.sharing import CURRENT_MIN_MA, LENT_S, TURN_S, WATCHED_S
from agent.settings import Settings
from agent.station import circuit_ma, commissioned_ma
from agent.terms import limits
from tests.play import ANN, BOB, WALL_S, Json, Play
from tests.test_owner import iso

CALM = Settings(tx_updated_interval_s=3600.0, restart_delay_max_s=0.0)


def schedule(
    *periods: tuple[int, float], unit: str = "A", start_s: float | None = WALL_S - 86_400, **more: Any
) -> Json:
    said: Json = {
        "id": 1, "chargingRateUnit": unit,
        "chargingSchedulePeriod": [{"startPeriod": at, "limit": limit} for at, limit in periods], **more,
    }  # fmt: skip
    return said if start_s is None else said | {"startSchedule": iso(start_s)}


def charging_profile(
    number: int, said: Json, purpose: str = "TxDefaultProfile", kind: str = "Absolute", **more: Any
) -> Json:
    return {
        "id": number, "stackLevel": 0, "chargingProfilePurpose": purpose, "chargingProfileKind": kind,
        "chargingSchedule": [said], **more,
    }  # fmt: skip


def set_profile(play: Play, said: Json, evse_id: int = 0) -> str:
    return str(play.command("SetChargingProfile", evseId=evse_id, chargingProfile=said)["status"])


def obeyed(play: Play) -> Play:
    """The controller has done what it was wished, port by port, until all is quiet."""
    for _ in range(8):
        before = play.wish
        for port, wish in zip(play.station.ports, play.wish, strict=True):
            if port.report and port.report.offer_ma != wish.offer_ma:
                on = wish.offer_ma > 0 and port.report.cp in (Cp.B, Cp.C)
                play.see(port.evse_id, offer_ma=wish.offer_ma, cp=Cp.C if on else Cp.B, contactor=on, pwm=on)
        if play.wish == before:
            return play
    return play


def offers(play: Play) -> list[int]:
    return [wish.offer_ma // 1000 for wish in play.wish]


def remote_start(play: Play, own: Json | None = None, evse_id: int = 1) -> Json:
    token = {"idToken": ANN, "type": "ISO14443"}
    more = {} if own is None else {"chargingProfile": own}
    return play.command("RequestStartTransaction", remoteStartId=5, idToken=token, evseId=evse_id, **more)


# -- what is worked out is worked out anew


def test_a_relative_schedule_begins_with_the_transaction_and_not_with_the_plug() -> None:
    play = Play(CALM)
    own = charging_profile(1, schedule((0, 6), (600, 16), start_s=None), kind="Relative")
    assert set_profile(play, own) == "Accepted"
    play.plug(1).after(3000).on(PortChosen(1)).tap(ANN)
    assert offers(play) == [6, 0]
    assert offers(play.after(599)) == [6, 0]
    assert offers(play.after(2)) == [16, 0]


def test_a_clock_that_is_told_moves_what_goes_by_the_clock_and_not_what_goes_by_the_session() -> None:
    play = Play(CALM, wall_s=None)
    hour = schedule((0, 10), duration=3600, start_s=WALL_S)
    assert set_profile(play, charging_profile(1, hour)) == "Accepted"
    play.plug(1).tap(ANN)
    assert offers(play) == [10, 0], "nobody knows the time: the least that it ever allows"
    play.on(ClockTold(WALL_S + 7200, ClockSource.NTP))
    assert offers(play) == [32, 0], "it was over long ago"
    play.on(ClockTold(WALL_S + 60, ClockSource.CLOUD))
    assert offers(play) == [10, 0]
    assert offers(play.after(3541)) == [32, 0]
    relative = charging_profile(2, schedule((0, 8), (7200, 16), start_s=None), kind="Relative", stackLevel=1)
    set_profile(play, relative)
    play.on(ClockTold(WALL_S + 90_000, ClockSource.CLOUD))
    assert offers(play) == [8, 0], "the session is an hour old, whatever the clock was"
    assert offers(play.after(3660)) == [16, 0]


def test_a_clock_that_is_corrected_in_mid_session_makes_it_no_older() -> None:
    play = Play(CALM, wall_s=None).on(ClockTold(WALL_S, ClockSource.RTC))
    set_profile(play, charging_profile(1, schedule((0, 8), (7200, 16), start_s=None), kind="Relative"))
    play.plug(1).tap(ANN).after(3600)
    play.on(ClockTold(WALL_S + 86_400, ClockSource.CLOUD))
    assert offers(play) == [8, 0]
    assert offers(play.after(3599)) == [8, 0]
    assert offers(play.after(2)) == [16, 0]


def test_a_profile_that_needs_the_cloud_gives_way_when_the_link_has_been_down_for_so_long() -> None:
    for ends, after_ma in ((False, 10), (True, 32)):
        play = Play(CALM).on(LinkChanged(Link.UP)).plug(1).tap(ANN)
        offline: Json = {"maxOfflineDuration": 600, "invalidAfterOfflineDuration": ends}
        set_profile(play, charging_profile(1, schedule((0, 10)), **offline))
        assert offers(play.after(3600)) == [10, 0]
        play.on(LinkChanged(Link.DOWN))
        assert offers(play.after(599)) == [10, 0]
        assert offers(play.after(3)) == [32, 0], "by its own deadline: nothing else has happened"
        play.on(LinkChanged(Link.UP))
        assert offers(play) == [after_ma, 0]


def test_a_profile_that_may_not_be_offline_is_over_with_the_link_at_once() -> None:
    for ends, after_ma in ((False, 10), (True, 32)):
        play = Play(CALM).on(LinkChanged(Link.UP)).plug(1).tap(ANN)
        offline: Json = {"maxOfflineDuration": 0, "invalidAfterOfflineDuration": ends}
        assert set_profile(play, charging_profile(1, schedule((0, 10)), **offline)) == "Accepted"
        assert offers(play.after(3600)) == [10, 0]
        play.on(LinkChanged(Link.DOWN))
        assert offers(play) == offers(play.after(3600)) == [32, 0]
        play.on(LinkChanged(Link.UP))
        assert offers(play) == [after_ma, 0]


@pytest.mark.promise("S11")
@pytest.mark.parametrize("wrong", [{"maxOfflineDuration": -5}, {"duration": -5}, {"duration": 0}], ids=str)
def test_a_profile_with_a_length_of_time_that_is_none_is_rejected_and_the_one_before_holds(wrong: Json) -> None:
    play = Play(CALM).on(LinkChanged(Link.UP)).plug(1).tap(ANN)
    assert set_profile(play, charging_profile(1, schedule((0, 10)))) == "Accepted"
    of_schedule = {key: value for key, value in wrong.items() if key == "duration"}
    said = charging_profile(1, schedule((0, 32), **of_schedule), **{k: v for k, v in wrong.items() if k != "duration"})
    answer = play.command("SetChargingProfile", evseId=0, chargingProfile=said)
    assert answer["status"] == "Rejected" and next(iter(wrong)) in answer["statusInfo"]["additionalInfo"]
    assert offers(play.after(60)) == [10, 0]


def test_a_profile_in_watts_is_whole_amperes_of_the_nominal_voltage_over_the_phases() -> None:
    sites = ((1, 229.1, 3680, 16), (3, 231.7, 11_040, 16), (1, 238.9, 3680, 15), (1, 0, 3680, 16))
    for phases, volts, watts, amperes in sites:
        play = Play(replace(CALM, phases=phases))
        play.see(1, voltage_mv=(round(volts * 1000),) * 3)
        set_profile(play, charging_profile(1, schedule((0, watts), unit="W")))
        assert offers(play.plug(1).tap(ANN)) == [amperes, 0]
        for noise_mv in (-900, 0, 400, 900, -100):
            play.see(1, voltage_mv=(round(volts * 1000) + noise_mv,) * 3)
            assert offers(play) == [amperes, 0], "a meter's noise moves nothing"


def test_after_a_power_cut_profiles_count_from_the_first_offer_on() -> None:
    play = Play(CALM)
    set_profile(play, charging_profile(1, schedule((0, 10))))
    set_profile(play, charging_profile(2, schedule((0, 6)), "ChargingStationMaxProfile"))
    play.plug(1).tap(ANN)
    seen: list[int] = []
    play = obeyed(play).reboot(60.0)
    play.watch = lambda play: seen.append(max(offers(play)))
    play.see(1, cp=Cp.B, energy_wh=1000).see(2).after(5)
    assert max(seen) == 6 and offers(play) == [6, 0]


def test_one_phase_of_three_is_rejected_and_the_composite_schedule_says_what_is_offered() -> None:
    play = Play(replace(CALM, phases=3)).see(1).see(2)
    said = {"id": 1, "chargingRateUnit": "A", "startSchedule": iso(WALL_S - 60)}
    said |= {"chargingSchedulePeriod": [{"startPeriod": 0, "limit": 16, "numberPhases": 1}]}
    answer = play.command("SetChargingProfile", evseId=0, chargingProfile=charging_profile(1, said))
    assert (answer["status"], answer["statusInfo"]["reasonCode"]) == ("Rejected", "UnsupportedParam")
    assert "numberPhases is 3 here" in answer["statusInfo"]["additionalInfo"]
    of_start = charging_profile(2, {k: v for k, v in said.items() if k != "startSchedule"}, "TxProfile", "Relative")
    token = {"idToken": "app-1", "type": "Central"}
    start: Json = {"evseId": 1, "idToken": token, "remoteStartId": 1, "chargingProfile": of_start}
    assert play.command("RequestStartTransaction", **start)["status"] == "Rejected" and not play.station.owner.profiles
    told = play.command("GetCompositeSchedule", evseId=1, duration=60, chargingRateUnit="A")
    assert told["schedule"]["chargingSchedulePeriod"] == [{"startPeriod": 0, "limit": 32.0, "numberPhases": 3}]


def test_a_stored_profile_that_is_refused_now_is_told_at_each_start_and_the_others_count() -> None:
    play = Play(CALM)
    for number, level in ((1, 0), (2, 1)):
        set_profile(play, charging_profile(number, schedule((0, 10.0 * number)), stackLevel=level))
    play.facts["owner/profiles"][1]["profile"]["chargingSchedule"][0]["chargingSchedulePeriod"][0]["setpoint"] = 1
    play.facts["owner/access"] = {"policyId": "of another build"}
    for starts in (1, 2):
        play = play.reboot(60.0)
        events = (event for payload in play.payloads("NotifyEvent") for event in payload["eventData"])
        told = [event for event in events if event.get("techCode") in ("profile-refused", "policy-unreadable")]
        assert [event["techCode"] for event in told[-2:]] == ["profile-refused", "policy-unreadable"]
        assert len(told) == 2 * starts
        assert "charging profile 2 is refused now" in told[-2]["techInfo"] and "access policy" in told[-1]["techInfo"]
    play.see(1).see(2)
    assert offers(play.plug(1).tap(ANN)) == [10, 0]
    play.command("ClearChargingProfile", chargingProfileId=1)
    told_before = len(play.payloads("NotifyEvent"))
    play.facts.pop("owner/access")
    play = play.reboot(60.0)
    assert "profile-refused" not in str(play.payloads("NotifyEvent")[told_before:])


# -- a profile that comes with a remote start


def test_a_profile_in_a_remote_start_is_the_transactions_from_its_first_offer_to_its_end() -> None:
    play = Play(CALM)
    own = charging_profile(7, schedule((0, 8), start_s=None), "TxProfile", "Relative")
    assert remote_start(play, own)["status"] == "Accepted"
    assert list(play.station.owner.profiles) == []
    assert offers(play.plug(1)) == [8, 0]
    kept = play.station.owner.profiles[0]
    running = play.port(1).transaction
    assert running and kept.transaction_id == running.transaction_id == kept.said["transactionId"]
    assert play.facts["owner/profiles"] == profile.saved([kept]), "in the commit that has the transaction"
    play.unplug(1).after(20)
    assert play.station.owner.profiles == ()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"chargingProfilePurpose": "TxDefaultProfile"}, "InvalidProfile"),
        ({"transactionId": "another"}, "InvalidProfile"),
        ({"stackLevel": 99}, "InvalidStackLevel"),
        ({"chargingProfileKind": "Dynamic"}, "UnsupportedParam"),
    ],
)
def test_a_start_whose_profile_cannot_be_kept_to_is_refused(change: Json, code: str) -> None:
    play = Play(CALM).plug(1)
    own = charging_profile(7, schedule((0, 8), start_s=None), "TxProfile", "Relative") | change
    said = remote_start(play, own)
    assert said["status"] == "Rejected" and said["statusInfo"]["reasonCode"] == code
    assert play.port(1).transaction is None and play.port(1).grant is None
    assert remote_start(play)["status"] == "Accepted"


def test_a_random_delay_is_refused_because_nobody_here_would_do_it() -> None:
    own = charging_profile(1, schedule((0, 8), randomizedDelay=60))
    assert set_profile(Play(CALM), own) == "Rejected"


# -- the circuit


def two_cars(play: Play) -> Play:
    return obeyed(play.plug(1).tap(ANN).plug(2).tap(BOB))


def test_one_car_has_the_whole_circuit_and_two_have_half_of_it_each() -> None:
    play = obeyed(Play(CALM).plug(1).tap(ANN))
    assert offers(play) == [32, 0]
    assert offers(two_cars(play)) == [16, 16]
    play.unplug(1).after(1)
    assert offers(obeyed(play)) == [0, 32]


def test_a_full_car_lends_its_part_and_has_it_again_when_it_wakes_up() -> None:
    play = two_cars(Play(CALM))
    play.see(2, current_ma=(16_000, 0, 0)).see(1, current_ma=(0, 0, 0), power_w=0)
    assert offers(obeyed(play.after(WATCHED_S + 1))) == [6, 26]
    play.see(2, current_ma=(26_000, 0, 0)).see(1, current_ma=(6_000, 0, 0))
    assert play.wish[1].offer_ma == 16_000 and play.wish[0].offer_ma == 6_000, "lowered first"
    assert offers(obeyed(play)) == [16, 16]


def test_where_only_one_can_charge_the_other_has_the_next_turn_and_its_record_says_who_held_it() -> None:
    play = two_cars(Play(replace(CALM, circuit_limit_ma=10_000)))
    assert offers(play) == [10, 0]
    play.see(1, current_ma=(10_000, 0, 0), power_w=2300)
    play = obeyed(play.after(TURN_S))
    assert offers(play) == [0, 10]
    states = [(p["evse"]["id"], p["transactionInfo"].get("chargingState")) for p in play.payloads("TransactionEvent")]
    assert (1, "SuspendedEVSE") in states and states[-1] == (2, "Charging")


def test_temperature_lowers_at_once_and_its_noise_is_not_seen() -> None:
    play = obeyed(Play(CALM).plug(1).tap(ANN))
    hot = CALM.derate_from_dc + 40
    changes, was = 0, offers(play)
    for noise in (0, 4, -4, 3, -3, 9, 0, -1, 5):
        play = obeyed(play.see(1, temperature_dc=hot + noise))
        changes, was = changes + (offers(play) != was), offers(play)
    assert changes <= 3 and was[0] < 32
    assert offers(obeyed(play.see(1, temperature_dc=CALM.derate_from_dc - 11))) == [32, 0]


# -- at every instant

PURPOSES = ("TxDefaultProfile", "ChargingStationMaxProfile", "ChargingStationExternalConstraints")
LIMITS = st.sampled_from([0.0, 5.5, 6.0, 7.9, 10.0, 16.0, 20.0, 32.0, 63.0])
VERBS = ("plug", "unplug", "set", "clear", "wait", "down", "up", "cut", "draw", "heat", "clock")
STEP = st.tuples(st.sampled_from(VERBS), st.integers(1, 3), st.integers(0, 10_000), LIMITS)


def stepped(play: Play, what: str, evse_id: int, number: int, limit: float) -> Play:
    match what:
        case "plug" if play.port(evse_id).plugged_at is None:
            return play.plug(evse_id).tap((ANN, BOB, "04C3C3C3")[evse_id - 1])
        case "unplug":
            return play.unplug(evse_id)
        case "set":
            later_s = number % 900
            said = schedule((0, limit), (later_s + 1, 20.0), start_s=play.epoch_s + play.now, duration=2 * later_s + 5)
            own = charging_profile(number % 5, said, PURPOSES[number % 3], stackLevel=number % 4)
            set_profile(play, own, evse_id if number % 3 == 0 and number % 2 else 0)
        case "clear":
            play.command("ClearChargingProfile", chargingProfileId=number % 5)
        case "wait":
            return play.after(float(number))
        case "down" | "up":
            return play.on(LinkChanged(Link.DOWN if what == "down" else Link.UP))
        case "cut":
            play = play.reboot(float(number % 900), wall=number % 2 == 0)
            cp = Cp.B if number % 3 else Cp.A
            for port in play.station.ports:
                play.on(PortReported(port.evse_id, Report(cp=cp, energy_wh=1000 * port.evse_id)))
        case "draw":
            return play.see(evse_id, current_ma=(number % 32_000, 0, 0))
        case "heat":
            return play.see(evse_id, temperature_dc=200 + number % 700)
        case "clock":
            return play.on(ClockTold(play.epoch_s + play.now, ClockSource.CLOUD))
    return play


def kept_to(play: Play) -> None:
    """Judged by the profiles themselves, worked out for this very instant, and by what the pins show."""
    station, wished = play.station, [wish.offer_ma for wish in play.wish]
    whole = circuit_ma(station)
    said = [tuple(limits(station, port, play.now)) for port in station.ports]
    station_ma = said[0][1].limit_ma
    assert whole == min(commissioned_ma(station), commissioned_ma(station) if station_ma is None else station_ma)
    assert sum(wished) <= whole, (wished, whole)
    for port, offer_ma, (own, _) in zip(station.ports, wished, said, strict=True):
        assert offer_ma == 0 or CURRENT_MIN_MA <= offer_ma <= (own.limit_ma if own.limit_ma is not None else offer_ma)
        assert offer_ma <= station.settings.port_limit_ma
        assert not offer_ma or port.transaction


@pytest.mark.promise("S11")
@examples(max_examples=25)
@given(st.lists(STEP, max_size=14), st.sampled_from([10_000, 16_000, 32_000]))
def test_in_any_story_all_offers_together_fit_the_circuit_and_the_profiles_and_nobody_starves(
    steps: list[tuple[str, int, int, float]], circuit: int
) -> None:
    allow = {ANN: Entry(), BOB: Entry(), "04C3C3C3": Entry()}
    play = Play(replace(CALM, circuit_limit_ma=circuit), ports=3, allow=allow)
    for step in steps:
        play.watch = kept_to
        play = obeyed(stepped(play, *step))
        play.watch = kept_to
    play.command("ClearChargingProfile", chargingProfileCriteria={})
    for port in play.station.ports:
        play.see(port.evse_id, temperature_dc=200)
    play = obeyed(play.on(ClockTold(play.epoch_s + play.now, ClockSource.CLOUD)))
    waiting = {port.evse_id for port in play.station.ports if port.transaction and not port.transaction.ending}
    for _ in range(int(4 * (TURN_S + WATCHED_S) / 300)):
        play = obeyed(play.after(300.0))
        waiting -= {port.evse_id for port, wish in zip(play.station.ports, play.wish, strict=True) if wish.offer_ma}
    assert not waiting, "everybody has had a turn"
    assert LENT_S < TURN_S


# -- and why


def said(play: Play, evse_id: int = 1) -> str:
    named = {"component": {"name": "EVSE", "evse": {"id": evse_id}}, "variable": {"name": "LimitedBy"}}
    (found,) = play.command("GetVariables", getVariableData=[named])["getVariableResult"]
    return str(found["attributeValue"])


def test_the_station_says_what_keeps_an_offer_from_being_higher() -> None:
    play = Play(replace(CALM, circuit_limit_ma=40_000))
    assert said(play) == ""
    play = obeyed(play.plug(1).tap(ANN))
    assert said(play) == "port limit, 32 A"
    set_profile(play, charging_profile(4, schedule((0, 24.5))))
    assert said(play) == "TxDefaultProfile 4, 24.5 A"
    play = two_cars(play)
    assert said(play, 2) == "share of the circuit, 40 A"
    set_profile(play, charging_profile(5, schedule((0, 9)), "ChargingStationMaxProfile"))
    assert said(play, 1) == "share of the ChargingStationMaxProfile 5, 9 A"
    assert said(play, 2) == "no place now at the ChargingStationMaxProfile 5, 9 A"
    set_profile(play, charging_profile(4, schedule((0, 5))))
    assert said(play, 2) == "TxDefaultProfile 4, 5 A"
    assert said(play.see(1, temperature_dc=900)) == "temperature of 90 °C, 0 A"
