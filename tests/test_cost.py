"""What a session costs, at the plug: whose tariff it has, what is shown, what is recorded, and that these agree."""

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.events import ControllerLost, Cp, Entry, Link, LinkChanged, OnlineAnswered, PortChosen, PortReported, Report
from agent.explain import explain
from agent.policy import plan_token
from agent.policy.plan_token import Standing
from agent.policy.tariff import bill, terms
from agent.reporting import VENDOR_ID
from agent.settings import Settings
from agent.transaction import Transaction
from agent.ui.price import OWN_MAX
from agent.ui.view import screen
from agent.ui.words import END_ISOLATE, ISOLATE
from agent.uplink.answers import authorized
from tests import referee
from tests.play import ANN, BOB, EVE, WALL_S, Json, Play
from tests.test_owner import iso
from tools.cloud import cli
from tools.cloud.cloud import Cloud
from tools.cloud.drivers import Driver
from tools.cloud.errors import OperatorError
from tools.cloud.ledger import Ledger
from tools.cloud.sessions import read_event, session_of
from tools.cloud.wire import KEYS, Record

DAY_S = 86_400
NOON_S = WALL_S - WALL_S % DAY_S + 12 * 3600
KWH = 1000


def tariff(tariff_id: str = "T", kwh: float = 0.25, **more: Any) -> Json:
    return {"tariffId": tariff_id, "currency": "EUR", "energy": {"prices": [{"priceKwh": kwh}]}} | more


def timed(price: float, **conditions: Any) -> Json:
    return {"prices": [{"priceMinute": price} | ({"conditions": conditions} if conditions else {})]}


def fixed(price: float) -> Json:
    return {"prices": [{"priceFixed": price}]}


FULL = tariff(
    chargingTime=timed(0.02), idleTime=timed(0.10, minIdleTime=600), fixedFee=fixed(1.00),
    minCost={"inclTax": 1.50}, maxCost={"inclTax": 40.00},
)  # fmt: skip


def at_noon(**more: Any) -> Play:
    """Ann is of the fleet, Bob of nobody."""
    allow = {ANN: Entry(groups=frozenset({"fleet"})), BOB: Entry()}
    return Play(allow=allow, wall_s=NOON_S, **more)


def default(play: Play, sent: Json, evse_id: int = 0) -> str:
    return str(play.command("SetDefaultTariff", evseId=evse_id, tariff=sent)["status"])


def of_groups(play: Play, *rules: tuple[str, Json], version: str = "7") -> Json:
    said = [{"groups": [group], "tariff": sent} for group, sent in rules]
    return play.command(
        "DataTransfer", vendorId=VENDOR_ID, messageId="GroupTariffs", data={"version": version, "rules": said}
    )


def session(play: Play, evse_id: int = 1) -> Transaction:
    running = play.port(evse_id).transaction
    assert running
    return running


def events(play: Play, kind: str = "") -> list[Json]:
    return [p for p in play.payloads("TransactionEvent") if kind in ("", p["eventType"])]


def total(payload: Json) -> Any:
    return payload["costDetails"]["totalCost"]["total"]["inclTax"]


def shown(play: Play, evse_id: int = 1) -> str | None:
    """The cost that the screen shows at a port, of the session that runs or has run there last."""
    port = screen(play.station, play.now).ports[evse_id - 1]
    last = port.last.cost.removesuffix(" EUR") if port.last and port.last.cost else None
    return next((each.value for each in port.figures if each.name == "cost"), last)


def booted(play: Play, cp: Cp = Cp.B, energy_wh: int = 1000) -> Play:
    for evse_id in (1, 2):
        play.on(PortReported(evse_id, Report(cp=cp if evse_id == 1 else Cp.A, energy_wh=energy_wh * evse_id)))
    return play


# -- whose tariff


def test_the_default_of_the_evse_counts_and_the_record_says_which_it_was() -> None:
    play = at_noon()
    assert default(play, tariff("T1")) == default(play, tariff("T2", 0.50), 2) == "Accepted"
    play.plug(1).tap(BOB).plug(2).tap(ANN)
    first, second = events(play, "Started")
    assert first["transactionInfo"]["tariffId"] == "T1" and second["transactionInfo"]["tariffId"] == "T2"
    assert first["customData"]["tariffRule"] == "default tariff"
    assert first["customData"]["tariffVersion"] == terms.read(tariff("T1")).version
    assert "costDetails" not in first


def test_the_tariff_of_the_drivers_group_comes_before_the_default() -> None:
    play = at_noon()
    default(play, tariff("T1"))
    assert of_groups(play, ("fleet", tariff("F", 0.0)))["status"] == "Accepted"
    play.plug(1).tap(ANN).plug(2).tap(BOB)
    ann, bob = events(play, "Started")
    assert (ann["transactionInfo"]["tariffId"], bob["transactionInfo"]["tariffId"]) == ("F", "T1")
    said = ann["customData"]
    assert (said["tariffRule"], said["tariffGroup"], said["tariffPolicy"]) == ("tariff of the group", "fleet", "7")


def test_the_tariff_of_the_clouds_answer_to_this_very_tap_comes_first_and_is_not_kept_for_the_next() -> None:
    play = at_noon(settings=Settings(concurrent_tx=True))
    default(play, tariff("T1"))
    play.on(LinkChanged(Link.UP)).plug(1).tap(EVE)
    own = terms.read(tariff("E", 0.10))
    play.on(OnlineAnswered(play.asked[-1].ask_id, Entry(tariff=own)))
    (started,) = events(play, "Started")
    assert started["transactionInfo"]["tariffId"] == "E"
    assert started["customData"]["tariffRule"] == "tariff of the cloud's answer"
    assert [each.entry.tariff for each in play.remembered] == [None]


def answered(cloud: Cloud, card: str) -> Json:
    """The reference cloud's AuthorizeResponse, as a station reads it."""
    asked = {"idToken": {"idToken": card, "type": "ISO14443"}}
    said = cloud.receive("u/SA-1/v", cbor2.dumps([1, KEYS.word("Authorize"), KEYS.encode(asked)]), 0)
    (answer,) = [each for each in said if each.topic == "d/SA-1/v"]
    response: Json = KEYS.decode(cbor2.loads(answer.payload)[1])
    referee.judge("AuthorizeResponse", response)
    return response


def test_the_cloud_gives_one_driver_his_own_tariff_and_his_session_has_it_before_any_other() -> None:
    books = Ledger(":memory:")
    books.drivers.put([Driver(ANN, ("fleet",)), Driver(BOB)], 0)
    assert books.drivers.price(ANN, tariff("A", 0.05)) == ANN
    cloud = Cloud(books, Ed25519PrivateKey.generate())
    play = at_noon(settings=Settings(concurrent_tx=True))
    play.allow.clear()
    default(play, tariff("T1"))
    of_groups(play, ("fleet", tariff("F")))
    play.on(LinkChanged(Link.UP))
    for evse_id, card in ((1, ANN), (2, BOB)):
        play.plug(evse_id).tap(card)
        entry, why = authorized(answered(cloud, card))
        assert entry and not why
        play.on(OnlineAnswered(play.asked[-1].ask_id, entry))
    assert [each["transactionInfo"]["tariffId"] for each in events(play, "Started")] == ["A", "T1"]
    books.drivers.price(ANN, None)
    assert "tariff" not in answered(cloud, ANN)
    books.close()


def test_the_cloud_gives_nobody_a_tariff_that_no_station_would_take_nor_who_may_not_charge_any() -> None:
    books = Ledger(":memory:")
    books.drivers.put([Driver(ANN), Driver(BOB, status="Blocked")], 0)
    later = {**tariff("A"), "validFrom": "2026-01-01T00:00:00Z"}
    for card, sent in ((ANN, {"tariffId": "A"}), (ANN, later), (EVE, tariff("A"))):
        with pytest.raises(OperatorError):
            books.drivers.price(card, sent)
    assert books.drivers.tariff(ANN) is None
    books.drivers.price(BOB, tariff("B"))
    assert "tariff" not in answered(Cloud(books, Ed25519PrivateKey.generate()), BOB)
    books.close()


def test_a_tariff_that_is_refused_says_nothing_about_the_card_that_it_came_with() -> None:
    info = {"idTokenInfo": {"status": "Accepted"}}
    entry, why = authorized(info | {"tariff": tariff("E")})
    assert entry and entry.tariff and entry.tariff.tariff_id == "E" and not why
    entry, why = authorized(info | {"tariff": tariff("E", currency="XYZ")})
    assert entry == Entry() and "ISO 4217" in why
    assert authorized({"idTokenInfo": {"status": "Perhaps"}}) == (None, "")


def test_without_a_tariff_no_price_is_shown_and_no_cost_is_sent() -> None:
    play = at_noon().plug(1).tap(ANN).charge(1).after(3600).charge(1, 10 * KWH)
    assert shown(play) is None
    play.unplug(1).after(1)
    assert all("costDetails" not in each and "tariffId" not in each["transactionInfo"] for each in events(play))


def test_a_session_keeps_the_tariff_that_it_began_with() -> None:
    play = at_noon()
    default(play, tariff("T1", 0.25))
    play.plug(1).tap(ANN).charge(1)
    default(play, tariff("T2", 9.00))
    assert play.command("ClearTariffs")["clearTariffsResult"] == [{"tariffId": "T2", "status": "Accepted"}]
    play.after(3600).charge(1, 10 * KWH).unplug(1)
    (ended,) = events(play, "Ended")
    assert ended["transactionInfo"]["tariffId"] == "T1" and total(ended) == 2.5


# -- what it comes to


def test_screen_and_record_say_the_same_to_the_cent_all_along() -> None:
    play = at_noon()
    default(play, FULL)
    play.plug(1).tap(ANN).charge(1)
    assert shown(play) == "1.50", "the least"
    play.after(1800).charge(1, 5 * KWH)
    assert shown(play) == "2.85", "1.00 + 5 x 0.25 + 30 x 0.02"
    play.see(1, cp=Cp.B, contactor=False, power_w=0)
    assert total(events(play)[-1]) == 2.85 and events(play)[-1]["triggerReason"] == "ChargingStateChanged"
    play.after(1200)
    assert shown(play) == "3.85", "of 20 idle minutes 10 cost something"
    play.unplug(1).after(1)
    (ended,) = events(play, "Ended")
    assert total(ended) == 3.85 and shown(play) == "3.85"
    assert ended["costDetails"]["totalUsage"] == {"energy": 5000, "chargingTime": 3000, "idleTime": 1200}
    assert [p["tariffId"] for p in ended["costDetails"]["chargingPeriods"]] == ["T"] * 3


def test_a_sample_carries_no_cost_and_is_as_long_as_before() -> None:
    play = at_noon()
    default(play, FULL)
    play.plug(1).tap(ANN).charge(1).after(3600)
    samples = [each for each in events(play) if each["triggerReason"].startswith("MeterValue")]
    assert samples and not any("costDetails" in each or "customData" in each for each in samples)


def test_the_seconds_of_an_orderly_stop_are_nobodys() -> None:
    play = at_noon()
    default(play, tariff(kwh=0.0, chargingTime=timed(1.00), idleTime=timed(1.00)))
    play.plug(1).tap(ANN).charge(1).after(60).tap(ANN)
    assert shown(play) == "1.00"
    play.after(6).open(1)
    assert total(events(play, "Ended")[0]) == 1.0


def test_a_test_charge_and_a_deactivated_station_that_is_free_cost_nothing() -> None:
    play = at_noon(facts={"owner/free after plan": True, "owner/tokens": ended_plan()})
    default(play, FULL)
    play.plug(1).tap(ANN)
    assert session(play).bill is None


def ended_plan() -> Any:
    ended_s = int(NOON_S) - 100 * DAY_S
    return plan_token.saved((plan_token.Token("01", 1, "Basic", ended_s - DAY_S, ended_s),))


# -- power cuts, restarts, outages


@pytest.mark.promise("S3")
def test_a_session_that_a_power_cut_ends_costs_what_its_last_reading_costs() -> None:
    play = at_noon()
    default(play, FULL)
    play.plug(1).tap(ANN).charge(1).after(3600).charge(1, 10 * KWH).see(1, cp=Cp.B, contactor=False, power_w=0)
    stored = total(events(play)[-1])
    play.after(30)
    play = booted(play.reboot(7200.0), Cp.A, 11 * KWH)
    (ended,) = events(play, "Ended")
    assert ended["transactionInfo"]["stoppedReason"] == "PowerLoss"
    assert total(ended) == stored == 4.7 and shown(play) == "4.70"
    assert "4.70 EUR" in screen(play.station, play.now).ports[0].last_text


@pytest.mark.promise("S3")
def test_a_session_that_goes_on_after_a_cut_bills_the_energy_and_not_the_dark() -> None:
    play = at_noon()
    default(play, FULL)
    play.plug(1).tap(ANN).charge(1).after(1800).charge(1, 5 * KWH).see(1, cp=Cp.B, contactor=False, power_w=0)
    play = booted(play.reboot(120.0), Cp.B, 6 * KWH + 400)
    assert events(play)[-1]["triggerReason"] == "TxResumed"
    assert total(events(play)[-1]) == 2.95, "1.00 + 5.4 x 0.25 + 30 x 0.02, and no minute of the dark"
    assert shown(play) == "2.95"
    play.after(20).charge(1).after(600).charge(1, KWH).unplug(1).after(1)
    ended = events(play, "Ended")[0]
    assert shown(play) == f"{total(ended):.2f}" and ended["transactionInfo"]["tariffId"] == "T"


def test_a_restart_of_the_agent_costs_nobody_anything() -> None:
    play = at_noon()
    default(play, tariff(kwh=0.0, chargingTime=timed(1.00)))
    play.plug(1).tap(ANN).charge(1).after(60).see(1, cp=Cp.B, contactor=False, power_w=0)
    before = total(events(play)[-1])
    play = booted(play.reboot(30.0, same_kernel=True, controller_too=False))
    assert total(events(play)[-1]) == before == 1.0


def test_while_the_controller_is_silent_no_time_is_billed() -> None:
    play = at_noon()
    default(play, tariff(chargingTime=timed(1.00)))
    play.plug(1).tap(ANN).charge(1).after(60).see(1)
    play.on(ControllerLost("mute")).after(50)
    play.on(PortReported(1, Report(cp=Cp.C, energy_wh=3 * KWH, contactor=True, offer_ma=32_000, power_w=7000)))
    assert total(events(play)[-1]) == 0.5, "2 kWh; the minute was not told before the silence"


def test_what_cannot_be_read_any_more_is_kept_aside_and_the_record_says_that_the_cost_is_not_known() -> None:
    play = at_noon()
    default(play, FULL)
    play.plug(1).tap(ANN).charge(1).after(600)
    play.facts["tariffs/1"] = [{"tariffId": "from the future"}]
    play = booted(play.reboot(60.0), Cp.A)
    ended = events(play, "Ended")[0]
    assert ended["costDetails"]["failureToCalculate"] is True
    assert play.facts["unread/bill/1"]["tariffs"] == [{"tariffId": "from the future"}]
    assert shown(play) is None


def test_defaults_and_groups_survive_a_power_cut() -> None:
    play = at_noon()
    default(play, tariff("T1"))
    of_groups(play, ("fleet", tariff("F", 0.10)))
    play = booted(play.reboot(60.0), Cp.A).after(30)
    play.plug(1).tap(ANN).plug(2).tap(BOB)
    assert [each["transactionInfo"]["tariffId"] for each in events(play, "Started")] == ["F", "T1"]


def test_without_a_time_the_cheapest_of_what_may_hold_is_counted_and_the_record_says_so() -> None:
    day = {"priceKwh": 0.40, "conditions": {"startTimeOfDay": "08:00", "endTimeOfDay": "18:00"}}
    play = Play(wall_s=None)
    default(play, tariff(energy={"prices": [day, {"priceKwh": 0.25}]}))
    play.plug(1).tap(ANN).charge(1).after(600).charge(1, 4 * KWH).unplug(1)
    ended = events(play, "Ended")[0]
    assert total(ended) == 1 and ended["costDetails"]["customData"]["timeUnknown"] is True


# -- commands


def test_what_is_wrong_with_a_tariff_is_said_and_nothing_changes() -> None:
    play = at_noon()
    default(play, tariff("T1"))
    held = play.station.owner.default_tariffs
    assert default(play, tariff(kwh=-1.0)) == "Rejected"
    assert default(play, tariff(), 9) == "Rejected"
    assert default(play, tariff("T1", 0.5), 1) == "DuplicateTariffId"
    many = {"prices": [{"priceKwh": 0.1}] * 51}
    said = play.command("SetDefaultTariff", evseId=0, tariff=tariff(energy=many))
    assert said["status"] == "TooManyElements" and "50" in said["statusInfo"]["additionalInfo"]
    assert of_groups(play, ("x", {"tariffId": "x"}))["status"] == "Rejected"
    assert play.station.owner.default_tariffs is held and not play.station.owner.group_tariffs.tariffs


def test_get_tariffs_tells_the_defaults_and_the_tariffs_of_drivers() -> None:
    play = at_noon()
    assert play.command("GetTariffs", evseId=0) == {"status": "NoTariff"}
    default(play, tariff("T1"))
    of_groups(play, ("fleet", tariff("F")))
    play.plug(1).tap(ANN).plug(2).tap(BOB)
    found = play.command("GetTariffs", evseId=0)["tariffAssignments"]
    assert [(each["tariffId"], each["tariffKind"], each["evseIds"]) for each in found] == [
        ("T1", "DefaultTariff", [1, 2]), ("F", "DriverTariff", [1]),
    ]  # fmt: skip
    assert found[1]["idTokens"] == [ANN]
    assert play.command("DataTransfer", vendorId=VENDOR_ID, messageId="GroupTariffs")["status"] == "Accepted"
    assert play.station.owner.group_tariffs.tariffs == ()


def test_the_cloud_changes_the_tariff_of_a_running_session_from_that_moment_on() -> None:
    play = at_noon()
    default(play, tariff("A", 0.30, fixedFee=fixed(1.00)))
    play.plug(1).tap(ANN).charge(1).after(1800).charge(1, 5 * KWH)
    named = session(play).transaction_id
    other = tariff("B", 0.20, fixedFee=fixed(9.00))
    assert play.command("ChangeTransactionTariff", transactionId="x", tariff=other)["status"] == "TxNotFound"
    francs = {**other, "currency": "CHF"}
    said = play.command("ChangeTransactionTariff", transactionId=named, tariff=francs)
    assert said["status"] == "NoCurrencyChange"
    assert play.command("ChangeTransactionTariff", transactionId=named, tariff=other)["status"] == "Accepted"
    told = events(play)[-1]
    assert told["triggerReason"] == "TariffChanged" and told["transactionInfo"]["tariffId"] == "B"
    assert told["customData"]["tariffRule"] == "changed by the cloud" and total(told) == 2.5
    play = booted(play.reboot(60.0), Cp.B, 6 * KWH)
    play.after(30).charge(1, 5 * KWH).unplug(1).after(1)
    assert total(events(play, "Ended")[0]) == 3.5 and shown(play) == "3.50"


def test_a_session_that_began_without_a_tariff_gets_none() -> None:
    play = at_noon().plug(1).tap(ANN).charge(1)
    said = play.command("ChangeTransactionTariff", transactionId=session(play).transaction_id, tariff=tariff())
    assert said["status"] == "Rejected" and "without a tariff" in said["statusInfo"]["additionalInfo"]


# -- reservations


def reserve(play: Play, for_s: float = 3600) -> None:
    token = {"idToken": ANN, "type": "ISO14443"}
    expiry = iso(play.epoch_s + play.now + for_s)
    assert play.command("ReserveNow", id=5, evseId=1, expiryDateTime=expiry, idToken=token)["status"] == "Accepted"


RESERVED = tariff(kwh=0.30, reservationTime=timed(0.10), reservationFixed=fixed(0.50))


def test_a_session_pays_for_the_reservation_that_it_uses_up() -> None:
    play = at_noon()
    default(play, RESERVED)
    reserve(play)
    play.after(1200).plug(1).tap(ANN).charge(1).after(600).charge(1, 10 * KWH).unplug(1)
    ended = events(play, "Ended")[0]["costDetails"]
    assert ended["totalCost"]["total"]["inclTax"] == 5.5 and ended["totalUsage"]["reservationTime"] == 1200


def test_who_reserves_and_does_not_come_pays_for_that_and_the_record_says_how_much() -> None:
    play = booted(at_noon(), Cp.A)
    default(play, RESERVED)
    reserve(play, 1800)
    play = booted(play.reboot(60.0), Cp.A).after(1800)
    (over,) = play.payloads("ReservationStatusUpdate")
    assert over["reservationUpdateStatus"] == "Expired"
    assert over["customData"]["totalCost"] == "3.50" and over["customData"]["tariffId"] == "T"


def test_who_comes_and_does_not_plug_in_pays_for_the_reservation_by_his_own_tariff() -> None:
    play = at_noon()
    default(play, RESERVED)
    of_groups(play, ("fleet", tariff("F", reservationFixed=fixed(0.20))))
    reserve(play)
    play.after(600).on(PortChosen(1)).tap(ANN).after(61)
    (over,) = play.payloads("ReservationStatusUpdate")
    assert over["reservationUpdateStatus"] == "NoTransaction"
    assert over["customData"]["totalCost"] == "0.20" and over["customData"]["tariffId"] == "F"


# -- what cannot be used


def problems(play: Play) -> list[tuple[str, bool]]:
    """actualValue, and whether it is over."""
    told = [event for p in play.payloads("NotifyEvent") for event in p["eventData"]]
    mine = [event for event in told if event["component"] == {"name": "TariffCostCtrlr"}]
    return [(event["actualValue"], "cleared" in event) for event in mine]


def asked_online(play: Play, why: str = "", sent: Json | None = None) -> None:
    play.on(LinkChanged(Link.UP)).on(PortChosen(1)).tap(EVE)
    entry = Entry(tariff=terms.read(sent) if sent else None)
    play.on(OnlineAnswered(play.asked[-1].ask_id, entry, why)).after(90)


def test_a_drivers_tariff_that_cannot_be_used_is_told_once_and_the_next_one_that_can_ends_it() -> None:
    play = at_noon()
    asked_online(play, "no such currency")
    asked_online(play, "no such currency")
    assert problems(play) == [("true", False)] and play.station.owner.tariff_problem
    asked_online(play)
    assert len(problems(play)) == 1, "an answer without a tariff says nothing of tariffs"
    asked_online(play, sent=tariff("E"))
    assert problems(play) == [("true", False), ("false", True)]


def test_a_stored_tariff_that_this_software_cannot_read_is_told_at_the_start_until_another_is_sent() -> None:
    facts = {"owner/group tariffs": {"version": "9", "rules": [{"groups": ["x"], "tariff": {"new": "kind"}}]}}
    play = at_noon(facts=facts)
    assert problems(play) == [("true", False)]
    assert default(play, tariff("T")) == "Accepted" and problems(play)[-1] == ("false", True)
    assert problems(at_noon()) == []


def test_a_price_for_a_brand_of_card_counts_where_a_remote_start_names_it_and_nowhere_else() -> None:
    fee = {"prices": [
        {"priceFixed": 2.0, "conditions": {"paymentBrand": "Visa"}}, {"priceFixed": 1.0},
    ]}  # fmt: skip
    play = at_noon(settings=Settings(concurrent_tx=True))
    assert default(play, tariff(fixedFee=fee)) == "Accepted"
    play.plug(1).tap(BOB)
    info = [{"additionalIdToken": "Visa", "type": "PaymentBrand"}]
    token = {"idToken": "psp-1", "type": "DirectPayment", "additionalInfo": info}
    play.plug(2).command("RequestStartTransaction", evseId=2, idToken=token, remoteStartId=1)
    play.unplug(1).unplug(2).after(1)
    assert [total(each) for each in events(play, "Ended")] == [1.0, 2.0]


# -- before the start, and for the owner who wonders


def test_the_price_is_on_the_screen_before_the_start_for_everybody_and_for_who_has_his_own() -> None:
    play = at_noon()
    assert screen(play.station, play.now).price == "The price is in the app."
    day = {"priceKwh": 0.40, "conditions": {"startTimeOfDay": "08:00", "endTimeOfDay": "18:00"}}
    default(play, tariff(energy={"prices": [day, {"priceKwh": 0.25}]}, fixedFee=fixed(1), minCost={"inclTax": 2}))
    assert screen(play.station, play.now).price == (
        "0.40 EUR per kWh, 1.00 EUR to start. At least 2.00 EUR. Until 18:00."
    )
    of_groups(play, ("fleet", tariff("F", 0.0)))
    play.tap(ANN).on(PortChosen(1))
    mine, other = screen(play.station, play.now).ports
    assert mine.price == "Charging is free." and other.price.startswith("Connected drivers: 0.40 EUR")
    of_groups(play)
    default(play, tariff("T2", 0.50), 2)
    assert screen(play.station, play.now).price.startswith("Port 1: 0.40 EUR per kWh")


def governed(play: Play, *rules: Json, version: int = 1) -> None:
    said = {"policyId": "p", "version": version, "rules": list(rules)}
    play.command("DataTransfer", vendorId=VENDOR_ID, messageId="AccessPolicy", data=said)


EVERYONE, CONNECTED = {"name": "all", "who": "everyone"}, {"name": "ours", "who": "connected"}
FLEET = {"name": "fleet", "who": "groups", "groups": ["fleet"]}


def test_the_idle_screen_says_what_it_costs_the_public_and_what_connected_drivers() -> None:
    """D8. Who reads it has not tapped yet."""
    play = at_noon()
    default(play, tariff("T", 0.59))
    of_groups(play, ("fleet", tariff("F", 0.0)), ("guests", tariff("G", 0.59)))
    public, free = "0.59 EUR per kWh.", "Some connected drivers: Charging is free."
    for version, (rules, said) in enumerate((
        ((), f"Connected drivers: {public} {free}"),
        ((FLEET, EVERYONE), f"Public: {public} {free}"),
        ((FLEET, CONNECTED), f"Connected drivers: {public} {free}"),
        ((FLEET,), "Charging is free."),
        (({**FLEET, "groups": ["guests"]},), public),
        (({**FLEET, "groups": ["staff"]},), public),
        (({**FLEET, "groups": ["fleet", "staff"]},), f"Connected drivers: {public} {free}"),
        (({**FLEET, "groups": ["fleet", "guests"]},), f"{free} Some connected drivers: {public}"),
    )):  # fmt: skip
        if rules:
            governed(play, *rules, version=version)
        drawn = screen(play.station, play.now)
        assert {drawn.price, *(port.price for port in drawn.ports)} == {said}, rules


def test_the_price_of_many_groups_is_not_told_to_whoever_comes_and_of_one_port_beside_a_car_is() -> None:
    play = at_noon()
    governed(play, EVERYONE)
    default(play, tariff("T", 0.59), 1)
    of_groups(play, *((f"g{i}", tariff(f"G{i}", i / 10)) for i in range(5)), ("old", tariff("T", 0.59)))
    said = screen(play.plug(2).station, play.now).ports[0].price
    assert said.startswith("Public: 0.59 EUR per kWh. Some connected drivers: Charging is free. Some connected drivers")
    assert said.count("Some connected drivers") == OWN_MAX and said.endswith("when they tap their card.")
    assert screen(play.station, play.now).ports[1].price.startswith("Public: The price is in the app.")
    of_groups(play)
    assert screen(play.station, play.now).ports[0].price == "0.59 EUR per kWh."


def test_a_station_that_is_free_for_all_has_no_other_price() -> None:
    play = at_noon(settings=Settings(free=True))
    default(play, tariff("T", 0.59))
    of_groups(play, ("fleet", tariff("F", 0.0)))
    assert screen(play.station, play.now).price == "0.59 EUR per kWh."


def test_explain_names_the_tariff_of_each_port_while_none_is_known_and_they_differ() -> None:
    play = at_noon()
    default(play, tariff("T1"))
    assert explain(play.station, ANN, Entry(), None, None, play.now).tariff.startswith("default tariff: T1, version")
    default(play, tariff("T2", 0.50), 2)
    said = explain(play.station, ANN, Entry(), None, None, play.now).tariff
    assert said.startswith("at port 1 default tariff: T1") and "; at port 2 default tariff: T2" in said
    assert explain(play.station, ANN, Entry(), None, 2, play.now).tariff.startswith("default tariff: T2")


def test_the_price_stands_with_each_port_at_which_somebody_may_start() -> None:
    """Not only where there is room for the video: 23 CFR 680.116."""
    play = at_noon()
    default(play, tariff())
    play.plug(1).tap(ANN).charge(1).plug(2)
    busy, plugged = screen(play.station, play.now).ports
    assert (plugged.offers, plugged.price) == (True, "0.25 EUR per kWh.") and not busy.offers


def test_who_charges_for_nothing_after_the_plans_end_reads_that_it_is_free() -> None:
    play = at_noon(settings=Settings(tariff_text="$0.32 per kWh"))
    owner = replace(play.station.owner, standing=Standing.DEACTIVATED, is_free_after_plan=True)
    drawn = screen(replace(play.station, owner=owner), play.now)
    assert {drawn.price, *(port.price for port in drawn.ports)} == {"Charging is free."}


def test_the_owners_words_for_a_tariff_stand_behind_its_price_as_plain_text() -> None:
    play = at_noon()
    said = [
        {"format": "UTF8", "language": "ar", "content": "سعر الليل"}, {"format": "UTF8", "content": "Night price"},
        {"format": "HTML", "content": "<b>Night</b>"},
    ]  # fmt: skip
    default(play, tariff(description=said))
    assert screen(play.station, play.now).price == "0.25 EUR per kWh. Night price"
    default(play, tariff("T2", description=said[:1]))
    assert screen(play.station, play.now).price == f"0.25 EUR per kWh. {ISOLATE}سعر الليل{END_ISOLATE}"
    for content in ("x" * 251, "two\nlines", "\u202ebackwards"):
        default(play, tariff("T3", description=[{"format": "UTF8", "content": content}]))
        assert screen(play.station, play.now).price == "0.25 EUR per kWh."
def test_the_owners_words_stand_where_no_price_is_known_and_others_while_the_cloud_cannot_be_reached() -> None:
    said = Settings(tariff_text="See the sign.", tariff_text_offline="Offline: 1 EUR.", total_cost_text="See the app.")
    play = at_noon(settings=said)
    assert screen(play.station, play.now).price == "Offline: 1 EUR."
    assert screen(play.on(LinkChanged(Link.UP)).station, play.now).price == "See the sign."
    play.plug(1).tap(BOB).charge(1, KWH).unplug(1).after(60)
    assert "See the app." in screen(play.station, play.now).ports[0].last_text
    default(play, tariff())
    play.plug(1).tap(ANN).charge(1, KWH).unplug(1).after(60)
    assert "See the app." not in screen(play.station, play.now).ports[0].last_text


def test_a_price_that_waits_or_depends_says_so() -> None:
    play = at_noon()
    steps = {"prices": [{"priceKwh": 0.10, "conditions": {"maxEnergy": 5000}}, {"priceKwh": 0.5}]}
    default(play, tariff(energy=steps, idleTime=timed(0.05, minIdleTime=1800), chargingTime=timed(0.2, minPower=9000)))
    time = "up to 0.20 EUR per minute of charging, 0.05 EUR per idle minute after 30 min."
    said = f"0.10 EUR per kWh (up to 0.50), {time}"
    assert screen(play.station, play.now).price == said


def test_explain_says_which_tariff_would_count() -> None:
    play = at_noon()
    default(play, tariff("T1"))
    of_groups(play, ("fleet", tariff("F")))
    version = terms.read(tariff("F")).version

    def told(card: str) -> str:
        return explain(play.station, card, play.allow.get(card), None, None, play.now).tariff

    play.plug(1)
    assert told(ANN) == f"tariff of the group fleet by group tariffs 7: F, version {version}"
    assert told(BOB).startswith("default tariff: T1")
    play.tap(ANN)
    assert told(ANN) == f"tariff of the group: F, version {version}"


# -- any tariff, any session


PRICES = st.sampled_from([0.0, 0.01, 0.333, 0.25, 1.0])
TARIFFS = st.builds(
    lambda kwh, charging, idle, fee, least, most: tariff(
        kwh=kwh, chargingTime=timed(charging), idleTime=timed(idle, minIdleTime=300), fixedFee=fixed(fee),
    )
    | ({"minCost": {"inclTax": least}} if least else {})
    | ({"maxCost": {"inclTax": most}} if most else {}),
    PRICES, PRICES, PRICES, PRICES, st.sampled_from([0, 2]), st.sampled_from([0, 5]),
)  # fmt: skip
MOVES = st.lists(
    st.tuples(st.sampled_from(["charge", "rest", "wait", "cut", "restart", "change"]), st.integers(1, 2000)), max_size=8
)


def moved(play: Play, move: str, n: int, other: Json) -> Play:
    tx = play.port(1).transaction
    report = play.port(1).report
    match move:
        case "charge" if play.wish[0].offer_ma:
            return play.charge(1, n)
        case "rest" if report and report.contactor:
            return play.see(1, cp=Cp.B, contactor=False, power_w=0)
        case "change" if tx:
            play.command("ChangeTransactionTariff", transactionId=tx.transaction_id, tariff=other)
        case "cut" | "restart" if report:
            is_cut = move == "cut"
            play = play.reboot(float(n), same_kernel=not is_cut, controller_too=is_cut)
            return booted(play, Cp.B, report.energy_wh + n // 10).after(30)
    return play.after(n)


@given(TARIFFS, TARIFFS, MOVES)
@settings(max_examples=25)
def test_the_last_total_on_the_screen_is_that_of_the_record_whatever_happens(
    sent: Json, other: Json, moves: list[tuple[str, int]]
) -> None:
    play = at_noon()
    default(play, sent)
    play.plug(1).tap(ANN)
    for move, n in moves:
        play = moved(play, move, n, other)
        if (costs := [each for each in events(play) if "costDetails" in each]) and play.port(1).transaction:
            told = session(play).bill
            assert told and Decimal(shown(play) or "") >= Decimal(bill_total(play))
            assert not costs[-1]["costDetails"].get("failureToCalculate")
    play.after(1).unplug(1).after(15)
    (ended,) = events(play, "Ended")
    assert play.port(1).transaction is None
    if play.port(1).finished:  # else another run of the agent has shown it
        assert shown(play) == f"{Decimal(repr(total(ended))):.2f}"
    stored = [session_of("SA", session_id, each) for session_id, each in by_id(events(play)).items()]
    assert [each.violations for each in stored] == [()]
    assert stored[0].cost and Decimal(stored[0].cost.split()[0]) == Decimal(repr(total(ended)))


def bill_total(play: Play) -> str:
    cost = bill.total(session(play).bill)
    assert cost
    return cost.text


def by_id(payloads: list[Json]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for payload in payloads:
        made = Record(b"BOOT...1", 0, 0, 1, "TransactionEvent", payload)  # as the cloud reads it
        transaction_id, event = read_event(made)
        found.setdefault(transaction_id, []).append(event)
    return found


# -- the owner at the command line


@pytest.mark.parametrize(
    ("words", "action", "payload"),
    [
        (["tariff", "S", "FILE", "--evse", "2"], "SetDefaultTariff", {"evseId": 2, "tariff": FULL}),
        (["tariffs", "S"], "GetTariffs", {"evseId": 0}),
        (["clear-tariffs", "S", "T1", "T2", "--evse", "1"], "ClearTariffs", {"tariffIds": ["T1", "T2"], "evseId": 1}),
        (["clear-tariffs", "S"], "ClearTariffs", {}),
        (["change-tariff", "S", "t-1", "FILE"], "ChangeTransactionTariff", {"transactionId": "t-1", "tariff": FULL}),
        (["group-tariffs", "S", "--none"], "DataTransfer", {"vendorId": VENDOR_ID, "messageId": "GroupTariffs"}),
    ],
)
def test_each_command_goes_out_as_it_was_typed_and_what_the_station_takes_it_takes(
    tmp_path: Path, words: list[str], action: str, payload: Json
) -> None:
    file, db = tmp_path / "tariff.json", tmp_path / "cloud.db"
    file.write_text(json.dumps(FULL))
    line = [{"S": "SA-1", "FILE": str(file)}.get(word, word) for word in words]
    assert cli.main([line[0], "--db", str(db), *line[1:]]) == 0
    books = Ledger(db)
    (queued,) = books.commands.of("SA-1", 1)
    books.close()
    assert (queued.action, queued.payload) == (action, payload)
    at_noon().command(queued.action, **queued.payload)  # the referee judges its answer


def test_from_the_command_line_a_driver_gets_a_tariff_of_his_own_and_loses_it_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, db = tmp_path / "tariff.json", tmp_path / "cloud.db"
    file.write_text(json.dumps(FULL))

    def run(*words: str) -> int:
        return cli.main([words[0], "--db", str(db), *words[1:]])

    assert run("allow", "--add", ANN) == 0
    assert run("driver-tariff", ANN, "--file", str(file)) == 0
    books = Ledger(db)
    assert books.drivers.tariff(ANN.lower()) == FULL
    assert run("driver-tariff", ANN, "--none") == 0 and books.drivers.tariff(ANN) is None
    books.close()
    assert "no tariff of his own" in capsys.readouterr().out
    assert run("driver-tariff", EVE, "--file", str(file)) != 0 and "is not on the list" in capsys.readouterr().err
