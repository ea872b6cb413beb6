"""What the owner has decided, at the plug: who, when, with which reservation, under which plan, at how much current."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.clock import iso8601
from agent.commands.station import shut
from agent.effects import Stream
from agent.events import (
    Cp,
    Entry,
    Link,
    LinkChanged,
    Machine,
    OnlineAnswered,
    PortChosen,
    PortReported,
    Report,
    StoreFailed,
    StoreRecovered,
)
from agent.explain import as_text, explain
from agent.faults import Fault
from agent.owner import reservations_over
from agent.policy.plan_token import CTI, EXP, NBF, SUB
from agent.policy.reasons import WORDS, Reason
from agent.port import Level, Status, status
from agent.reporting import VENDOR_ID
from agent.settings import Settings
from agent.ui.catalogues import load_says
from agent.ui.view import screen
from agent.ui.words import END_ISOLATE, ISOLATE
from tests.play import ANN, BOB, EVE, WALL_S, Json, Play, cwt

DAY_S = 86_400
ISOLATES = ISOLATE + END_ISOLATE
MIDNIGHT_S = WALL_S - WALL_S % DAY_S  # of the day on which the stories begin, UTC


def ordered(play: Play, message: str, data: Any) -> Json:
    return play.command("DataTransfer", vendorId=VENDOR_ID, messageId=message, data=data)


def hours(first_h: float, last_h: float) -> Json:
    """Each day; a time of the day in hours."""
    return {"week": [{"start_min": round(first_h * 60), "end_min": round(last_h * 60)}]}


def policy(*rules: Json, **more: Any) -> Json:
    return {"policyId": "p", "version": 1, "rules": list(rules), **more}


def iso(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat().replace("+00:00", "Z")


def at_noon(**more: Any) -> Play:
    """Ann is of the fleet, Bob of nobody."""
    allow = {ANN: Entry(groups=frozenset({"fleet"})), BOB: Entry()}
    return Play(allow=allow, wall_s=MIDNIGHT_S + 12 * 3600, **more)


def booted(play: Play, cp: Cp = Cp.A) -> Play:
    """The ports have spoken, and the random delay after the cut is over."""
    for evse_id in (1, 2):
        play.on(PortReported(evse_id, Report(cp=cp if evse_id == 1 else Cp.A, energy_wh=1000 * evse_id)))
    return play.after(30)


def charging(play: Play) -> list[str | None]:
    return [p.transaction.id_token if p.transaction else None for p in play.station.ports]


# -- who and when


def test_a_rule_that_names_the_driver_and_is_open_lets_him_start_and_the_record_says_which() -> None:
    play = at_noon()
    rule = {"name": "fleet at noon", "who": "groups", "groups": ["fleet"], "hours": hours(8, 18)}
    assert ordered(play, "AccessPolicy", policy(rule))["status"] == "Accepted"
    play.plug(1).tap(ANN)
    assert charging(play) == [ANN, None]
    (started,) = play.payloads("TransactionEvent")
    assert started["customData"]["accessRule"] == "fleet at noon" and started["customData"]["accessPolicy"] == "p@1"
    assert play.plug(2).tap(BOB).said(2) is Reason.NOT_HERE


def test_who_comes_when_it_is_closed_is_told_so_and_charges_when_it_opens() -> None:
    play = at_noon()
    ordered(play, "AccessPolicy", policy({"name": "evening", "who": "everyone", "hours": hours(18, 22)}))
    assert play.plug(1).tap(ANN).said(1) is Reason.CLOSED
    assert charging(play.after(6 * 3600).on(PortChosen(1)).tap(ANN)) == [ANN, None]


def test_at_closing_time_a_session_finishes_or_stops_as_the_owner_has_said() -> None:
    for at_closing, running in (("finish", ANN), ("stop", None)):
        play = at_noon()
        rule = {"name": "day", "who": "everyone", "hours": hours(8, 14)}
        ordered(play, "AccessPolicy", policy(rule, atClosing=at_closing))
        play.plug(1).tap(ANN).charge(1).after(2 * 3600 - 1)
        assert play.wish[0].offer_ma
        play.after(2).open(1).after(1)
        assert charging(play) == [running, None]
    assert play.transactions(1)[-1] == ("Ended", "TimeLimitReached")


def test_a_session_lasts_as_long_as_its_rule_allows_also_over_a_power_cut() -> None:
    play = at_noon()
    ordered(play, "AccessPolicy", policy({"name": "short", "who": "everyone", "sessionLimitS": 3600}))
    play.plug(1).tap(ANN).charge(1).after(1800)
    play = booted(play.reboot(60.0), Cp.B)
    play.charge(1).after(1650)
    assert charging(play) == [ANN, None]
    assert charging(play.after(61).open(1).after(1)) == [None, None]
    assert play.transactions(1)[-1] == ("Ended", "TimeLimitReached")


def test_an_older_version_is_a_repetition_and_without_data_the_policy_is_taken_away() -> None:
    play = at_noon()
    newer = {**policy(), "version": 2}
    assert ordered(play, "AccessPolicy", newer)["status"] == "Accepted"
    assert ordered(play, "AccessPolicy", policy())["statusInfo"]["reasonCode"] == "OldVersion"
    assert play.plug(1).tap(ANN).said(1) is Reason.NOT_HERE, "no rules: nobody"
    assert ordered(play, "AccessPolicy", None)["status"] == "Accepted"
    assert charging(play.after(10).tap(ANN)) == [ANN, None]


def test_a_policy_that_cannot_be_read_changes_nothing_and_says_why() -> None:
    play = at_noon()
    said = ordered(play, "AccessPolicy", policy({"name": "x", "who": "nobody knows"}))
    assert said["status"] == "Rejected" and "rules" in said["statusInfo"]["additionalInfo"]
    assert charging(play.plug(1).tap(BOB)) == [BOB, None]


def test_explain_names_the_owners_rule_and_when_it_opens() -> None:
    play = at_noon()
    rule = {"name": "evening", "who": "groups", "groups": ["fleet"], "hours": hours(18, 22)}
    ordered(play, "AccessPolicy", policy(rule))
    closed = explain(play.station, ANN, play.allow[ANN], None, 1, play.now)
    opens = iso8601(MIDNIGHT_S + 18 * 3600)
    assert closed.rules[-1] == ("allowlist", "refuse: closed (access: evening)") and closed.until == opens
    assert as_text(closed).count(opens[:16]) == 1, "once is enough"
    play.after(7 * 3600)
    assert explain(play.station, ANN, play.allow[ANN], None, 1, play.now).rules[-1][1].endswith("rule 'evening'")


def test_a_free_station_has_hours_too() -> None:
    play = at_noon(settings=Settings(free=True))
    ordered(play, "AccessPolicy", policy({"name": "evening", "who": "everyone", "hours": hours(18, 22)}))
    assert charging(play.plug(1)) == [None, None]
    assert charging(play.after(6 * 3600).see(1)) == ["", None]


def test_hours_over_midnight_are_of_the_day_on_which_they_begin() -> None:
    """The stories begin on a Monday."""
    play = at_noon()
    night = {"start_min": 22 * 60, "end_min": 6 * 60, "weekdays": [0]}
    rule = {"name": "Monday night", "who": "everyone", "hours": {"week": [night]}}
    assert ordered(play, "AccessPolicy", policy(rule))["status"] == "Accepted"
    assert play.plug(1).tap(ANN).said(1) is Reason.CLOSED
    assert charging(play.after(15 * 3600).on(PortChosen(1)).tap(ANN)) == [ANN, None], "Tuesday, 3:00"
    play.tap(ANN).open(1).unplug(1).after(4 * 3600).plug(1)
    assert play.tap(ANN).said(1) is Reason.CLOSED, "and at 7:00 no more"
    play.unplug(1).after(5 * DAY_S + 20 * 3600).plug(1)
    assert play.tap(ANN).said(1) is Reason.CLOSED, "Monday, 3:00, is Sunday's night"


def test_a_start_from_the_cloud_keeps_to_the_owners_hours_and_reservations_too() -> None:
    play = at_noon()
    remote = {"idToken": {"idToken": "app", "type": "Central"}, "remoteStartId": 1}
    rules: list[Json] = [{"name": "day", "who": "connected", "hours": hours(8, 14)}]
    rules.append({"name": "fleet", "who": "groups", "groups": ["x"]})
    ordered(play, "AccessPolicy", policy(*rules, atClosing="stop"))
    reserve(play, evse_id=2)
    said = play.command("RequestStartTransaction", **remote, evseId=2)
    assert said == {"status": "Rejected", "statusInfo": {"reasonCode": "NotReady", "additionalInfo": "reserved"}}
    play.plug(1)
    assert play.command("RequestStartTransaction", **remote, evseId=1) == {"status": "Accepted"}
    assert charging(play.charge(1).after(3600)) == ["app", None], "the cloud has approved who is let in by it"
    (started,) = [p for p in play.payloads("TransactionEvent") if p["eventType"] == "Started"]
    assert started["customData"]["accessRule"] == "day" and started["customData"]["accessPolicy"] == "p@1"
    play.after(3601).open(1).after(1)
    assert play.transactions(1)[-1] == ("Ended", "TimeLimitReached")
    said = play.command("RequestStartTransaction", **remote, evseId=1)
    assert said["statusInfo"]["additionalInfo"] == "closed"
    group = {"groupIdToken": {"idToken": "x", "type": "Central"}}
    assert play.command("RequestStartTransaction", **remote, **group, evseId=1) == {"status": "Accepted"}


def test_a_refusal_says_by_which_rule_of_which_list_and_policy_and_explain_says_the_same() -> None:
    play = at_noon()
    ordered(play, "AccessPolicy", policy({"name": "evening", "who": "everyone", "hours": hours(18, 22)}))
    explained = explain(play.station, ANN, play.allow[ANN], None, 1, play.now)
    play.plug(1).tap(ANN)
    events = [event for p in play.payloads("NotifyEvent") for event in p["eventData"]]
    (told,) = [event for event in events if event["actualValue"] == "closed"]
    said = {name: told["customData"][name] for name in ("rule", "listVersion", "accessPolicy")}
    assert said == {"rule": "access: evening", "listVersion": 0, "accessPolicy": "p@1"}
    assert (explained.rule, explained.list_version, explained.access_policy) == tuple(said.values())
    assert "Rule: access: evening, access policy p@1" in as_text(explained)


def test_the_record_names_the_policy_that_has_let_the_driver_in_also_when_another_has_come_before_his_car() -> None:
    play = at_noon()
    ordered(play, "AccessPolicy", policy({"name": "all", "who": "everyone"}))
    play.tap(ANN)
    ordered(play, "AccessPolicy", {**policy({"name": "other", "who": "everyone"}), "version": 2})
    play.plug(1)
    (started,) = play.payloads("TransactionEvent")
    assert (started["customData"]["accessRule"], started["customData"]["accessPolicy"]) == ("all", "p@1")


# -- what people read of it


def test_the_screen_says_who_may_charge_now_and_until_when() -> None:
    play = at_noon(settings=Settings(owner="Acme"))
    idle = {
        "everyone": "For everybody. Until 14:00.", "connected": "For connected drivers of Acme. Until 14:00.",
        "groups": "For some of the connected drivers. Until 14:00.",
    }  # fmt: skip
    for version, (who, text) in enumerate(idle.items(), 1):
        groups = {"groups": ["fleet"]} if who == "groups" else {}
        rule = {"name": "day", "who": who, "hours": hours(8, 14), **groups}
        ordered(play, "AccessPolicy", {**policy(rule), "version": version})
        assert screen(play.station, play.now).who == text
    play.after(2 * 3600 + 1)
    drawn = screen(play.station, play.now)
    assert drawn.who == drawn.headline == drawn.ports[0].text == "The station is closed. Until Tuesday 08:00."
    assert [port.code for port in drawn.ports] == ["A018", "A018"] and drawn.ports[0].status is Status.AVAILABLE


def test_a_day_with_hours_of_its_own_is_called_a_holiday_and_tells_when_it_opens_again() -> None:
    play = at_noon(settings=Settings(owner="Acme"))
    week = {**hours(8, 14), "dated": [{"day": "2026-09-21"}, {"day": "2026-09-22", "spans": [{"start_min": 540}]}]}
    ordered(play, "AccessPolicy", policy({"name": "day", "who": "everyone", "hours": week}))
    drawn = screen(play.station, play.now)
    said = "The station is closed. Until Tuesday 09:00. Holiday hours today."
    assert drawn.who == drawn.headline == drawn.ports[0].text == said
    play.after(22 * 3600)
    assert screen(play.station, play.now).who == "For everybody. Until Wednesday 00:00. Holiday hours today."
    play.after(DAY_S)
    assert screen(play.station, play.now).who == "For everybody. Until 14:00."


def stay(play: Play) -> str:
    """What port 1 says after the sentence of its situation."""
    return screen(play.station, play.now).ports[0].text.partition(". ")[2]


def rest(play: Play, **more: Any) -> Play:
    """The car takes no more."""
    return play.see(1, cp=Cp.B, contactor=False, power_w=0, **more)


def test_a_full_car_is_asked_to_leave_with_a_warning_and_its_driver_reads_what_staying_costs() -> None:
    play = at_noon()
    idle = {"prices": [{"priceMinute": 0.05, "conditions": {"minIdleTime": 1200}}]}
    tariff = {"tariffId": "T", "currency": "EUR", "energy": {"prices": [{"priceKwh": 0.25}]}, "idleTime": idle}
    assert play.command("SetDefaultTariff", evseId=0, tariff=tariff)["status"] == "Accepted"
    ordered(play, "AccessPolicy", policy({"name": "a", "who": "everyone", "overstayS": 1800}, warningS=900))
    play.plug(1).tap(ANN).charge(1).after(3600)
    assert stay(play) == ""
    rest(play).after(890)
    assert stay(play) == ""
    play.after(20)
    assert stay(play) == "Your car may stay 14:50 more. Staying costs 0.05 EUR per idle minute after 20 min."
    play.after(600)
    assert stay(play).endswith("Staying costs 0.05 EUR per idle minute.")
    play.after(300)
    over = "Your car has stayed too long: please make room."
    assert stay(play) == f"{over} Staying costs 0.05 EUR per idle minute."
    assert charging(play.tap(ANN).open(1).after(1)) == [None, None]
    assert stay(play) == over, "no session, no price"
    assert stay(play.unplug(1).plug(1)) == "It is not charging yet."


def test_who_charges_again_has_all_his_time_again() -> None:
    play = at_noon()
    ordered(play, "AccessPolicy", policy({"name": "a", "who": "everyone", "overstayS": 60}))
    rest(play.plug(1).tap(ANN).charge(1).after(60)).after(61)
    assert stay(play) == "Your car has stayed too long: please make room."
    assert stay(play.charge(1)) == ""
    assert stay(rest(play).after(1)) == "Your car may stay 0:59 more."


def test_a_limit_that_stops_nobody_asks_him_to_leave() -> None:
    play = at_noon()
    rule = {"name": "a", "who": "everyone", "sessionLimitS": 3600, "limitStops": False}
    ordered(play, "AccessPolicy", policy(rule))
    play.plug(1).tap(ANN).charge(1).after(3000)
    assert stay(play) == "Your car may stay 10:00 more."
    play.after(601)
    assert stay(play) == "Your car has stayed too long: please make room." and charging(play) == [ANN, None]


def test_before_its_end_by_the_hours_a_session_says_how_long_it_has() -> None:
    play = at_noon()
    day = {"name": "day", "who": "everyone", "hours": hours(8, 14)}
    ordered(play, "AccessPolicy", policy(day, atClosing="stop", warningS=300))
    play.plug(1).tap(ANN).charge(1).after(2 * 3600 - 301)
    assert stay(play) == ""
    assert stay(play.after(2)) == "Charging ends in 4:59."


def test_a_port_that_waits_says_when_its_turn_comes_at_the_latest_and_so_does_explain() -> None:
    play = at_noon(settings=Settings(circuit_limit_ma=10_000))
    play.plug(1).tap(ANN).charge(1).see(1, current_ma=(9_500, 0, 0)).after(60)
    play.plug(2).on(PortChosen(2)).tap(BOB).after(1)
    waits = screen(play.station, play.now).ports[1]
    assert waits.text.endswith("Your turn comes in 30 min at the latest.")
    assert screen(play.after(600).station, play.now).ports[1].text.endswith("in 20 min at the latest.")
    said = explain(play.station, BOB, Entry(), None, 2, play.now)
    assert said.waits == "its turn at the circuit comes in 20 min at the latest" and said.waits in as_text(said)
    assert explain(play.station, ANN, Entry(), None, 1, play.now).waits == ""
    play.after(1200)
    assert "turn" not in screen(play.station, play.now).ports[1].text


def test_who_is_refused_is_told_until_when() -> None:
    play = at_noon()
    rules = [{"name": "evening", "who": "everyone", "hours": hours(18, 22)}]
    rules.append({"name": "fleet", "who": "groups", "groups": ["other"]})
    ordered(play, "AccessPolicy", policy(*rules))
    play.plug(1).tap(ANN)
    notice = screen(play.station, play.now).ports[0].notice
    assert notice and notice.text == "Closed for this card at this time. Until 18:00."
    explained = explain(play.station, ANN, Entry(), None, 1, play.now)
    assert explained.until == iso(MIDNIGHT_S + 18 * 3600).replace("Z", ".000Z") and "Until" in as_text(explained)


def test_a_port_that_is_kept_for_somebody_is_reserved_on_the_screen_and_to_the_cloud() -> None:
    play = at_noon()
    reserve(play)
    drawn = screen(play.after(1).station, play.now)
    assert [port.status for port in drawn.ports] == [Status.RESERVED, Status.AVAILABLE]
    assert drawn.ports[0].text == "This port is reserved for another driver. Until 13:00."
    told = [(p["evseId"], p["connectorStatus"]) for p in play.payloads("StatusNotification")]
    assert (1, "Reserved") in told
    reserve(play, 2, BOB, None)
    assert [p.status for p in screen(play.after(1).station, play.now).ports] == [Status.RESERVED] * 2
    assert screen(play.station, play.now).headline == "No port is free"
    play.after(3600)
    told = [(p["evseId"], p["connectorStatus"]) for p in play.payloads("StatusNotification")]
    assert set(told[-2:]) == {(1, "Available"), (2, "Available")}


def test_the_driver_is_warned_before_the_station_closes_or_his_time_is_up() -> None:
    for more, ends_s in (({"hours": hours(8, 14)}, 7200), ({"sessionLimitS": 3600}, 3600)):
        play = at_noon()
        rule = {"name": "day", "who": "everyone", **more}
        ordered(play, "AccessPolicy", policy(rule, atClosing="stop", warningS=300))
        play.plug(1).tap(ANN).charge(1).after(ends_s - 301)
        assert "ends in" not in screen(play.station, play.now).ports[0].text
        assert "Charging ends in 4:00." in screen(play.after(61).station, play.now).ports[0].text


# -- reservations


def reserve(play: Play, number: int = 1, token: str = ANN, evse_id: int | None = 1, for_s: float = 3600) -> str:
    now_s = play.epoch_s + play.now
    where = {} if evse_id is None else {"evseId": evse_id}
    id_token = {"idToken": token, "type": "ISO14443"}
    answer = play.command("ReserveNow", id=number, expiryDateTime=iso(now_s + for_s), idToken=id_token, **where)
    return str(answer["status"])


def test_a_reserved_port_is_its_holders_and_the_session_says_which_reservation_it_used() -> None:
    play = at_noon()
    assert reserve(play) == "Accepted"
    assert play.plug(1).tap(BOB).said(1) is Reason.RESERVED
    play.after(20).unplug(1).after(1).plug(1).tap(ANN)
    assert charging(play) == [ANN, None] and play.station.owner.reservations == ()
    (started,) = play.payloads("TransactionEvent")
    assert started["reservationId"] == 1


def test_a_free_station_keeps_what_is_reserved() -> None:
    play = at_noon(settings=Settings(free=True))
    reserve(play)
    assert charging(play.plug(1).plug(2)) == [None, ""]


@pytest.mark.parametrize("how", ["out of service", "a strangers car", "a car that was served"])
def test_a_port_that_nobody_can_take_is_not_the_one_that_stays_free(how: str) -> None:
    play = at_noon()
    if how == "out of service":
        play.command("ChangeAvailability", evse={"id": 2}, operationalStatus="Inoperative")
    else:
        play.plug(2)
    if how == "a car that was served":
        play.tap(BOB).charge(2).tap(BOB).after(30)
    assert reserve(play, evse_id=None) == "Accepted"
    assert play.on(PortChosen(1)).plug(1).tap(EVE if how == "out of service" else BOB).said(1) is not None
    assert charging(play)[0] is None
    play.after(30).unplug(1).after(5).on(PortChosen(1)).plug(1).tap(ANN)
    assert charging(play)[0] == ANN


def test_a_reservation_that_nobody_has_used_costs_what_its_port_costs_and_for_any_port_the_cheapest() -> None:
    def told(came_at: int | None) -> list[Any]:
        play = at_noon()
        for evse_id, fixed in ((1, 1.0), (2, 5.0)):
            fee = {"prices": [{"priceFixed": fixed}]}
            said = {"tariffId": f"T{evse_id}", "currency": "EUR", "reservationFixed": fee}
            assert play.command("SetDefaultTariff", evseId=evse_id, tariff=said)["status"] == "Accepted"
        reserve(play, evse_id=None)
        if came_at:
            play.on(PortChosen(came_at)).tap(ANN)
        play.after(3_700)
        ends = [each for each in play.records if each.action == "ReservationStatusUpdate"]
        assert {each.stream for each in ends} == {Stream.MONEY}, "it is never what is dropped"
        return [each.payload["customData"]["tariffId"] for each in ends]

    assert told(None) == ["T1"] and told(1) == ["T1"] and told(2) == ["T2"]


def test_explain_names_the_reservation_the_limits_of_the_rule_and_each_plan_token() -> None:
    play = at_noon()
    rule = {"name": "all", "who": "everyone", "hours": hours(8, 18), "sessionLimitS": 3600, "overstayS": 600}
    ordered(play, "AccessPolicy", policy(rule))
    reserve(play, 7)
    for issue, begins_d, ends_d in ((1, -10, 10), (2, 5, 50)):
        ordered(play, "PlanToken", cwt(token(issue, begins_d, ends_d)))
    ann, bob = (explain(play.station, card, play.allow[card], None, 1, play.now) for card in (ANN, BOB))
    assert ann.reservation.startswith("uses reservation 7 of …A1A1 for port 1, until 2026-")
    assert bob.reservation.startswith("kept by reservation 7 of …A1A1") and not bob.limits
    closes = f"{iso(MIDNIGHT_S + 18 * 3600)[:-1]}.000Z"
    assert ann.limits == f"closes {closes}; 60 min at most, then it stops; 10 min without charging"
    assert ann.life == "active, on the map for everyone"
    first, second = ann.plan.split("; ")
    assert "(1) Active, " in first and "(2) Available, " in second
    text = as_text(ann)
    assert all(each in text for each in (ann.reservation, ann.limits, ann.plan)) and ANN not in ann.reservation


def test_a_station_that_is_only_reserved_says_so_whatever_its_access_policy_says() -> None:
    play = at_noon(facts={"owner/reservable": True})
    ordered(play, "AccessPolicy", policy({"name": "all", "who": "everyone"}))
    assert play.tap(BOB).said() is Reason.NEEDS_RESERVATION
    assert screen(play.station, play.now).who == WORDS[Reason.NEEDS_RESERVATION].text


def test_a_reservation_survives_a_power_cut_and_ends_by_time_fault_or_word() -> None:
    play = at_noon()
    reserve(play, 1, evse_id=1, for_s=1800)
    reserve(play, 2, BOB, 2, for_s=7200)
    play = booted(play.reboot(60.0))
    assert [each.reservation_id for each in play.station.owner.reservations] == [1, 2]
    play.after(1800)
    assert play.payloads("ReservationStatusUpdate") == [{"reservationId": 1, "reservationUpdateStatus": "Expired"}]
    assert play.records[-1].stream is Stream.STATUS, "it costs nothing"
    assert play.command("CancelReservation", reservationId=2)["status"] == "Accepted"
    assert play.command("CancelReservation", reservationId=2)["status"] == "Rejected"


def test_a_reset_and_an_update_take_no_reservation_away() -> None:
    """Both are over with the restart, which a reservation outlives."""
    play = at_noon()
    reserve(play, 1, evse_id=1)
    reserve(play, 2, BOB, 2)
    assert play.command("Reset", type="Immediate")["status"] == "Accepted"
    assert any(port.off for port in play.station.ports) and ended(play) == []
    play = booted(play.reboot(10.0))
    assert [each.reservation_id for each in play.station.owner.reservations] == [1, 2]
    station = play.station
    for level in (Level.UPDATE, Level.STATION):
        over = reservations_over(shut(station, level), play.now)[1]
        assert len(over) == (0 if level is Level.UPDATE else 2)


def ended(play: Play) -> list[tuple[int, str]]:
    return [(p["reservationId"], p["reservationUpdateStatus"]) for p in play.payloads("ReservationStatusUpdate")]


def test_who_shows_his_card_and_does_not_plug_in_has_used_his_reservation() -> None:
    play = at_noon()
    reserve(play)
    play.on(PortChosen(1)).tap(ANN).after(59)
    assert ended(play) == [] and play.tap(BOB).said(1) is not Reason.RESERVED
    play.after(2)
    assert ended(play) == [(1, "NoTransaction")] and play.station.owner.reservations == ()
    play.after(600)
    assert ended(play) == [(1, "NoTransaction")]


def test_one_for_any_port_is_used_up_by_a_card_that_waits_for_none_in_particular() -> None:
    play = at_noon()
    reserve(play, evse_id=None)
    play.tap(ANN).after(61)
    assert ended(play) == [(1, "NoTransaction")]


def test_a_reservation_outlasts_a_port_that_fails_under_its_holders_hand_and_a_card_shown_at_another_port() -> None:
    play = at_noon()
    reserve(play, evse_id=None)
    play.on(PortChosen(1)).tap(ANN).see(1, faults=frozenset({Fault.OVER_CURRENT})).after(61)
    assert ended(play) == [] and play.station.owner.reservations
    play = at_noon()
    reserve(play)
    play.on(PortChosen(2)).tap(ANN).after(61)
    assert ended(play) == [], "it was for port 1"


def test_a_port_that_fails_or_goes_out_of_service_ends_its_reservation_and_leaves_the_other_ports() -> None:
    play = at_noon()
    reserve(play, 1, evse_id=1)
    reserve(play, 2, BOB, 2)
    play.see(1, faults=frozenset({Fault.OVER_CURRENT}))
    assert ended(play) == [(1, "Removed")]
    play.command("ChangeAvailability", evse={"id": 2}, operationalStatus="Inoperative")
    assert ended(play) == [(1, "Removed"), (2, "Removed")]


def test_a_reservation_for_a_connector_of_some_kind_is_one_for_a_port_that_has_it() -> None:
    play = at_noon(machine=Machine(connectors=("cType2", "sType2")))
    token = {"idToken": ANN, "type": "ISO14443"}

    def answer(number: int, kind: str, **more: int) -> Json:
        expiry = iso(play.epoch_s + play.now + 600)
        asked = {"id": number, "expiryDateTime": expiry, "idToken": token, "connectorType": kind}
        return play.command("ReserveNow", **asked, **more)

    assert answer(1, "sType2")["status"] == "Accepted" and play.station.owner.reservations[0].evse_id == 2
    assert answer(2, "sType2")["status"] == "Occupied"
    for refused in (answer(3, "cCCS2"), answer(4, "cType2", evseId=2)):
        assert refused["status"] == "Rejected" and "cType2, sType2" in refused["statusInfo"]["additionalInfo"]


def test_a_station_takes_no_reservations_if_its_owner_says_so() -> None:
    play = at_noon()
    item = {"component": {"name": "ReservationCtrlr"}, "variable": {"name": "Enabled"}, "attributeValue": "false"}
    play.command("SetVariables", setVariableData=[item])
    assert reserve(play) == "Rejected" and not play.station.owner.reservations


def test_a_station_that_nobody_may_use_keeps_no_reservation() -> None:
    play = at_noon()
    reserve(play, evse_id=None)
    ordered(play, "Transfer", {"waitS": 600})
    assert ended(play) == [(1, "Removed")]
    assert reserve(play, 2) == reserve(play, 3, evse_id=None) == "Unavailable"


def test_a_reservation_for_nobody_is_refused() -> None:
    play = at_noon()
    nobody = {"idToken": " ", "type": "NoAuthorization"}
    expiry = iso(play.epoch_s + play.now + 600)
    said = play.command("ReserveNow", id=1, evseId=1, expiryDateTime=expiry, idToken=nobody)
    assert said["statusInfo"]["reasonCode"] == "InvalidIdToken"


def test_a_station_that_is_only_reserved_refuses_who_has_none() -> None:
    play = at_noon(facts={"owner/reservable": True})
    assert play.plug(1).tap(BOB).said(1) is Reason.NEEDS_RESERVATION
    reserve(play, evse_id=2)
    assert charging(play.plug(2).on(PortChosen(2)).tap(ANN)) == [None, ANN]


# -- between the tap and the plug


def refusals(play: Play) -> list[Json]:
    """What the cloud was told of cards that could not start, in order."""
    events = [event for p in play.payloads("NotifyEvent") for event in p["eventData"]]
    return [event for event in events if event["component"]["name"] == "TokenReader"]


def reasons(play: Play) -> list[str]:
    return [event["actualValue"] for event in refusals(play)]


def seen(play: Play, evse_id: int, seconds: int) -> Play:
    """The controller reports this port every two seconds."""
    for _ in range(seconds // 2):
        play.after(2).see(evse_id)
    return play


def test_who_plugs_in_at_a_port_that_is_kept_for_another_is_told_so_once_and_until_when() -> None:
    play = at_noon()
    reserve(play, 1, BOB, 1)
    seen(play.tap(ANN).plug(1), 1, 20)
    (told,) = refusals(play)
    assert told["actualValue"] == "reserved" and told["component"]["evse"] == {"id": 1}
    assert told["customData"]["rule"] == "reservation"
    assert seen(play, 1, 38).said(1) is None and reasons(play) == ["reserved"], "and not again while she waits"
    assert reasons(seen(play, 1, 10)) == ["reserved", "timed out"] and charging(play) == [None, None]


def test_the_driver_reads_until_when_the_port_that_she_came_to_is_kept() -> None:
    play = at_noon()
    reserve(play, 1, BOB, 1)
    play.tap(ANN).plug(1)
    notice = screen(play.station, play.now).ports[0].notice
    assert notice and notice.text == "Reserved for another driver. Until 13:00."
    play.unplug(1).on(PortChosen(1))
    notice = screen(play.station, play.now).ports[0].notice
    assert notice and notice.text == "Reserved for another driver. Until 13:00.", "nor does the button give it to her"


def test_a_card_that_is_held_serves_the_other_port_too_after_one_that_is_kept_for_another() -> None:
    play = at_noon()
    reserve(play, 1, BOB, 1)
    play.tap(ANN).plug(1).after(10).unplug(1).after(5)
    assert charging(play.plug(2)) == [None, ANN]
    play = at_noon()
    reserve(play, 1, BOB, 1)
    play.tap(ANN).plug(1).after(10).plug(2)
    assert charging(play) == [None, None] and play.said() is Reason.CHOOSE_PORT, "the car at 2 may be anybody's"


def test_a_new_word_follows_when_something_else_refuses_and_a_start_when_nothing_does() -> None:
    play = at_noon()
    reserve(play, 1, BOB, 1)
    seen(play.tap(ANN).plug(1), 1, 10)
    seen(play.on(StoreFailed("disk full")), 1, 10)
    assert reasons(play) == ["reserved", "cannot record"]
    seen(play.on(StoreRecovered()), 1, 10)
    play.command("CancelReservation", reservationId=1)
    assert charging(play) == [ANN, None] and reasons(play) == ["reserved", "cannot record", "reserved"]


def test_a_store_that_fails_under_a_held_card_is_one_word_to_its_driver() -> None:
    play = at_noon()
    seen(play.tap(ANN).on(StoreFailed("disk full")).plug(1), 1, 20)
    assert reasons(play) == ["cannot record"]
    assert charging(play.on(StoreRecovered())) == [ANN, None]


def test_a_port_that_a_driver_has_been_given_is_not_taken_from_him_for_who_reserves_later() -> None:
    play = at_noon().on(PortChosen(1)).tap(ANN)
    assert reserve(play, 1, BOB, None) == "Accepted", "port 2 is there for him"
    play.on(PortChosen(2)).tap(BOB).see(2, faults=frozenset({Fault.OVER_CURRENT}))
    assert charging(play.plug(1)) == [ANN, None] and refusals(play) == []


@pytest.mark.parametrize("at_closing", ["finish", "stop"])
@pytest.mark.parametrize("evse_id", [None, 1])
def test_who_taps_before_closing_time_and_plugs_in_after_it_is_refused_as_closed(
    at_closing: str, evse_id: int | None
) -> None:
    play = at_noon()
    rule = {"name": "day", "who": "everyone", "hours": hours(8, 12 + 1 / 60)}
    ordered(play, "AccessPolicy", policy(rule, atClosing=at_closing))
    play.after(30)
    (play.on(PortChosen(evse_id)) if evse_id else play).tap(ANN).after(29)
    assert reasons(play) == [], "it is open yet"
    play.after(1.5)
    (told,) = refusals(play)
    assert told["actualValue"] == "closed" and told["customData"]["rule"] == "access: day", "as soon as it is so"
    drawn = screen(play.station, play.now)
    notice = drawn.ports[0].notice if evse_id else drawn.notice
    assert notice and notice.text == "Closed for this card at this time. Until Tuesday 08:00."
    play.after(10).plug(1)
    assert charging(play) == [None, None] and play.transactions() == []
    assert reasons(play.after(60)) == ["closed"]


def test_a_plug_at_the_very_instant_of_closing_starts_nothing() -> None:
    play = at_noon()
    ordered(play, "AccessPolicy", policy({"name": "day", "who": "everyone", "hours": hours(8, 12 + 1 / 60)}))
    play.after(30).tap(ANN)
    play.now += 30.5  # the timer is late
    assert play.plug(1).transactions() == [] and reasons(play) == ["closed"]


def test_another_rule_that_is_open_at_the_plug_lets_in_who_has_tapped_under_the_one_before() -> None:
    play = at_noon()
    day = {"name": "day", "who": "groups", "groups": ["fleet"], "hours": hours(8, 12 + 1 / 60)}
    ordered(play, "AccessPolicy", policy(day, {"name": "all", "who": "connected"}))
    assert charging(play.after(30).tap(ANN).after(40).plug(1)) == [ANN, None]
    (started,) = play.payloads("TransactionEvent")
    assert started["customData"]["accessRule"] == "day", "that has let her in"


def test_after_closing_time_a_start_from_the_cloud_and_a_listed_card_go_by_the_rules_for_connected_drivers() -> None:
    for who, said in (("connected", []), ("everyone", ["closed"])):
        play = at_noon()
        rules: list[Json] = [{"name": "day", "who": "everyone", "hours": hours(8, 12 + 1 / 60)}]
        rules += [{"name": "always", "who": who}] if who == "connected" else []
        ordered(play, "AccessPolicy", policy(*rules))
        play.after(30)
        remote = {"idToken": {"idToken": "app", "type": "Central"}, "remoteStartId": 1, "evseId": 1}
        assert play.command("RequestStartTransaction", **remote) == {"status": "Accepted"}
        play.on(PortChosen(2)).tap(BOB)
        play.after(40).plug(1).plug(2)
        assert charging(play) == ([None, None] if said else ["app", BOB])
        assert reasons(play) == said * 2


def test_a_policy_that_comes_between_tap_and_plug_decides_about_the_plug() -> None:
    play = at_noon().tap(BOB)
    ordered(play, "AccessPolicy", policy({"name": "fleet", "who": "groups", "groups": ["fleet"]}))
    (told,) = refusals(play)
    assert told["actualValue"] == "not at this station" and told["customData"]["rule"] == "access: no rule"
    assert charging(play.plug(1)) == [None, None]


@pytest.mark.parametrize("evse_id", [None, 1])
def test_without_the_reservation_that_has_let_her_in_a_driver_does_not_start(evse_id: int | None) -> None:
    play = at_noon(facts={"owner/reservable": True})
    reserve(play)
    (play.on(PortChosen(1)) if evse_id else play).tap(ANN).after(5)
    assert play.command("CancelReservation", reservationId=1)["status"] == "Accepted"
    (told,) = refusals(play)
    assert told["actualValue"] == "needs a reservation" and told["customData"]["rule"] == "reservations only"
    play.after(5).plug(1)
    assert charging(play) == [None, None] and play.transactions() == []


@pytest.mark.parametrize("evse_id", [None, 1])
def test_a_card_shown_in_time_keeps_its_reservation_until_the_plug(evse_id: int | None) -> None:
    play = at_noon(facts={"owner/reservable": True})
    priced(play)
    reserve(play, for_s=60)
    play.after(30)
    (play.on(PortChosen(1)) if evse_id else play).tap(ANN).after(40)
    assert ended(play) == [], "her time has passed while she fetches her cable"
    assert charging(play.plug(1)) == [ANN, None] and ended(play.after(600)) == []
    (started,) = [p for p in play.payloads("TransactionEvent") if p["eventType"] == "Started"]
    assert started["reservationId"] == 1 and play.station.owner.reservations == ()


@pytest.mark.parametrize("evse_id", [None, 1])
def test_who_shows_her_card_in_time_and_never_plugs_in_has_used_her_reservation_once(evse_id: int | None) -> None:
    play = at_noon()
    priced(play)
    reserve(play, for_s=60)
    play.after(30)
    (play.on(PortChosen(1)) if evse_id else play).tap(ANN).after(59)
    assert ended(play) == []
    assert ended(play.after(600)) == [(1, "NoTransaction")]
    (told,) = play.payloads("ReservationStatusUpdate")
    assert told["customData"]["totalCost"] == "5.00"


@pytest.mark.parametrize("evse_id", [None, 1])
def test_whom_the_station_keeps_from_starting_keeps_her_reservation_and_pays_nothing(evse_id: int | None) -> None:
    for for_s, said in ((3600, []), (60, [(1, "Removed")])):
        play = at_noon()
        priced(play)
        reserve(play, evse_id=None, for_s=for_s)
        play.after(30)
        (play.on(PortChosen(1)) if evse_id else play).tap(ANN).on(StoreFailed("disk full")).after(61)
        assert reasons(play) == ["cannot record"] and ended(play) == said
        assert all("customData" not in told for told in play.payloads("ReservationStatusUpdate"))


def test_only_her_own_card_keeps_a_reservation_past_its_time() -> None:
    play = at_noon()
    reserve(play, for_s=60)
    assert ended(play.after(30).on(PortChosen(2)).tap(ANN).after(31)) == [(1, "Expired")], "it was for port 1"
    play = at_noon()
    reserve(play, for_s=60)
    assert ended(play.after(30).tap(BOB).after(31)) == [(1, "Expired")]


def test_a_card_that_the_cloud_is_asked_about_keeps_its_reservation_too() -> None:
    play = at_noon(facts={"owner/reservable": True}).on(LinkChanged(Link.UP))
    play.allow.clear()
    reserve(play, for_s=60)
    play.after(57).plug(1).tap(ANN).after(5)
    assert ended(play) == []
    play.on(OnlineAnswered(play.asked[0].ask_id, Entry()))
    assert charging(play) == [ANN, None] and ended(play) == []
    (started,) = [p for p in play.payloads("TransactionEvent") if p["eventType"] == "Started"]
    assert started["reservationId"] == 1


@pytest.mark.parametrize("evse_id", [None, 1])
def test_a_station_whose_plan_ends_between_tap_and_plug_starts_nobody_and_says_why(evse_id: int | None) -> None:
    play = Play()
    minute_days = 60 / DAY_S
    assert ordered(play, "PlanToken", cwt(token(1, -100, minute_days - 90)))["status"] == "Accepted"
    play.after(30)
    (play.on(PortChosen(1)) if evse_id else play).tap(ANN).after(31)
    assert charging(play.plug(1)) == [None, None]
    (told,) = refusals(play)
    assert told["actualValue"] == "plan ended" and told["customData"]["rule"] == "station"


def test_a_transfer_or_a_port_out_of_service_between_tap_and_plug_starts_nobody() -> None:
    play = at_noon().tap(ANN)
    ordered(play, "Transfer", {"waitS": 600})
    assert charging(play.plug(1)) == [None, None]
    play = at_noon().on(PortChosen(1)).tap(ANN)
    play.command("ChangeAvailability", evse={"id": 1}, operationalStatus="Inoperative")
    assert charging(play.plug(1)) == [None, None]
    (told,) = refusals(play.after(60))
    assert told["actualValue"] == "unavailable" and told["customData"]["rule"] == "port"


def test_a_port_that_is_back_in_service_in_time_serves_who_has_waited_for_it() -> None:
    play = at_noon().on(PortChosen(1)).tap(ANN)
    for to in ("Inoperative", "Operative"):
        play.command("ChangeAvailability", evse={"id": 1}, operationalStatus=to)
    assert charging(play.plug(1)) == [ANN, None] and refusals(play) == []


def priced(play: Play) -> None:
    tariff = {"tariffId": "T", "currency": "EUR", "reservationFixed": {"prices": [{"priceFixed": 5}]}}
    assert play.command("SetDefaultTariff", evseId=0, tariff=tariff)["status"] == "Accepted"


# -- the plan


def token(issue: int, first_day: float, last_day: float, station: str = "UNPROVISIONED") -> Json:
    claims: dict[Any, Any] = {
        SUB: station, CTI: bytes([issue]), NBF: int(WALL_S + first_day * DAY_S), EXP: int(WALL_S + last_day * DAY_S),
        "issue": issue, "plan": "Enterprise",
    }  # fmt: skip
    return claims


def test_ninety_days_after_its_plan_the_station_is_closed_until_a_token_comes() -> None:
    play = Play()
    assert ordered(play, "PlanToken", cwt(token(1, -10, 10)))["status"] == "Accepted"
    play.after(99 * DAY_S)
    assert charging(play.plug(1).tap(ANN).charge(1)) == [ANN, None]
    play.after(1.5 * DAY_S)
    assert charging(play) == [ANN, None], "a session that runs is not cut off"
    assert play.plug(2).tap(BOB).said(2) is Reason.PLAN_ENDED
    assert ordered(play, "PlanToken", cwt(token(2, 90, 300)))["status"] == "Accepted"
    assert charging(play.after(10).tap(BOB)) == [ANN, BOB]


def test_the_owner_hears_of_the_end_some_days_before() -> None:
    play = Play()
    ordered(play, "PlanToken", cwt(token(1, -10, 61.5)))
    play.after(2 * DAY_S)
    told = [event["techInfo"] for p in play.payloads("NotifyEvent") for event in p["eventData"] if "techInfo" in event]
    assert [text for text in told if "plan" in text] == ["plan Enterprise ends in 60 days"]


def test_a_token_for_another_station_or_an_earlier_one_is_refused() -> None:
    play = Play()
    assert ordered(play, "PlanToken", cwt(token(2, -10, 10)))["status"] == "Accepted"
    wrong: Any
    other_key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    for wrong, why in (
        (cwt(token(3, -10, 10, "SA-0002")), "this is UNPROVISIONED"), (cwt(token(1, -10, 10)), "send the newest"),
        (cwt(token(3, -10, 10), other_key), "a key that this station does not know"), ("AAAA", "COSE_Sign1"),
        ("not base64!", "base64"), (None, "base64"), (token(3, -10, 10), "base64"), (cwt([]), "a map of claims"),
    ):  # fmt: skip
        said = ordered(play, "PlanToken", wrong)
        assert said["status"] == "Rejected" and why in said["statusInfo"]["additionalInfo"]


# -- what the owner has the display say


def info(number: int, text: str = "Hello", priority: str = "NormalCycle", **more: Any) -> Json:
    return {"id": number, "priority": priority, "message": {"format": "UTF8", "content": text}, **more}


def put(play: Play, *args: Any, **more: Any) -> str:
    return str(play.command("SetDisplayMessage", message=info(*args, **more))["status"])


def note(play: Play) -> str:
    return screen(play.station, play.now).note.strip(ISOLATES)


def test_a_message_is_shown_in_its_time_and_survives_a_power_cut() -> None:
    play = at_noon()
    now_s = play.epoch_s + play.now
    assert put(play, 1, "Open day", startDateTime=iso(now_s + 600), endDateTime=iso(now_s + 1200)) == "Accepted"
    assert note(play) == ""
    assert note(play.after(601)) == "Open day"
    play = booted(play.reboot(60.0))
    assert note(play) == "Open day"
    assert note(play.after(600)) == "" and play.station.owner.messages == ()


def test_of_several_messages_the_foremost_are_shown_one_after_the_other() -> None:
    play = at_noon()
    for number, text in enumerate(("a", "b"), 1):
        put(play, number, text)
    assert {note(play.after(10)) for _ in range(4)} == {"a", "b"}
    put(play, 3, "front", "InFront")
    assert {note(play.after(10)) for _ in range(4)} == {"front"}
    put(play, 4, "first", "AlwaysFront")
    put(play, 5, "only", "AlwaysFront")
    assert {note(play.after(10)) for _ in range(4)} == {"only"} and len(play.station.owner.messages) == 4
    assert play.command("ClearDisplayMessage", id=5)["status"] == "Accepted"
    assert play.command("ClearDisplayMessage", id=5)["status"] == "Unknown"
    put(play, 3, "again")
    assert {note(play.after(10)) for _ in range(6)} == {"a", "b", "again"}


def test_a_message_belongs_to_a_state_or_to_a_session_and_goes_with_it() -> None:
    play = at_noon()
    assert put(play, 9, transactionId="nobody's") == "UnknownTransaction"
    put(play, 1, "busy", state="Charging")
    assert note(play) == ""
    play.plug(1).tap(ANN).charge(1).after(20)
    tx = play.port(1).transaction
    assert tx and put(play, 2, "Ann's", "InFront", transactionId=tx.transaction_id) == "Accepted"
    first, second = screen(play.station, play.now).ports
    assert "Ann's" in first.text and "Ann's" not in second.text and note(play) == "busy"
    play.tap(ANN).open(1).after(5)
    assert [each.number for each in play.station.owner.messages] == [1] and note(play) == ""


def display(evse_id: int | None = None, **more: Any) -> Json:
    at = {} if evse_id is None else {"evse": {"id": evse_id}}
    return {"display": {"name": "Display", **at, **more}}


def test_a_message_for_the_display_of_one_port_is_there_and_nowhere_else() -> None:
    play = at_noon()
    assert put(play, 1, "taxis", "AlwaysFront", **display(2)) == put(play, 2, "all", **display()) == "Accepted"
    first, second = screen(play.station, play.now).ports
    assert first.text.endswith("all") and second.text.endswith("taxis") and "all" not in second.text
    assert note(play) == "all Port 2: taxis"
    assert put(play, 3, "first", "AlwaysFront", **display(1)) == "Accepted"
    assert {each.number for each in play.station.owner.messages} == {1, 2, 3}, "each display has its own AlwaysFront"
    assert put(play, 4, "everywhere", "AlwaysFront") == "Accepted"
    assert all(port.text.endswith("everywhere") for port in screen(play.station, play.now).ports)
    play = booted(play.reboot(60.0))
    assert play.command("GetDisplayMessages", requestId=1, id=[1])["status"] == "Accepted"
    assert play.payloads("NotifyDisplayMessages")[-1]["messageInfo"][0]["display"] == display(2)["display"]


@pytest.mark.parametrize(
    "wrong",
    [display(3), display(0, instance="left"), display(instance="x"), {"display": {"name": "TokenReader"}},
     {"display": {"name": "Display", "evse": {"id": 1, "connectorId": 2}}}],
)  # fmt: skip
def test_a_display_that_is_not_there_is_refused(wrong: Json) -> None:
    play = at_noon()
    said = play.command("SetDisplayMessage", message=info(1, **wrong))
    assert (said["status"], said["statusInfo"]["reasonCode"]) == ("Rejected", "NotFound")
    assert play.station.owner.messages == ()


def test_a_message_of_a_session_stands_with_it_and_on_no_other_display() -> None:
    play = at_noon().plug(1).tap(ANN).charge(1).after(1)
    tx = play.port(1).transaction
    assert tx and put(play, 1, "hers", transactionId=tx.transaction_id, **display(2)) == "Rejected"
    assert put(play, 1, "hers", transactionId=tx.transaction_id, **display(1)) == "Accepted"
    assert screen(play.station, play.now).ports[0].text.endswith("hers") and note(play) == ""


def test_a_message_is_said_in_the_language_of_the_display() -> None:
    play = at_noon(settings=Settings(language="de"))
    german = {"format": "UTF8", "language": "de-AT", "content": "Grüß Gott"}
    put(play, 1, "Hello", messageExtra=[german])
    says = load_says()
    assert screen(play.station, play.now, says).note.strip(ISOLATES) == "Grüß Gott"
    play.station = replace(play.station, settings=Settings(language="fr"))
    assert screen(play.station, play.now, says).note.strip(ISOLATES) == "Hello"


def test_a_message_that_cannot_be_shown_is_refused_with_ocpps_word_for_it() -> None:
    play = at_noon()
    wrong: list[tuple[Json, str]] = [
        (info(1, "x" * 251), "Rejected"), (info(1, "a\u202eb"), "Rejected"), (info(1, ""), "Rejected"),
        (info(1, state="Discharging"), "NotSupportedState"), (info(1, endDateTime=iso(WALL_S - 1e6)), "Rejected"),
        ({**info(1), "message": {"format": "HTML", "content": "<b>"}}, "NotSupportedMessageFormat"),
        ({**info(1), "message": {"format": "UTF8", "content": "x", "language": "tlh"}}, "LanguageNotSupported"),
        (info(1, messageExtra=[{"format": "UTF8", "content": "y"}]), "Rejected"),
        ({**info(1), "message": {"format": "ASCII", "content": "é"}}, "Rejected"),
        (info(1, startDateTime=iso(WALL_S + 1e6), endDateTime=iso(WALL_S + 1e6)), "Rejected"),
        (info(1, customData={"vendorId": "x", "much": "y" * 9_000}), "Rejected"),
    ]
    for message, status_ in wrong:
        said = play.command("SetDisplayMessage", message=message)
        assert said["status"] == status_ and said["statusInfo"]["reasonCode"]
    assert play.station.owner.messages == ()
    for number in range(16):
        assert put(play, number) == "Accepted"
    assert put(play, 16) == "Rejected" and put(play, 15, "another") == "Accepted"


def test_the_messages_that_are_asked_for_are_told_in_as_many_records_as_it_takes() -> None:
    play = at_noon()
    for number in range(6):
        put(play, number, priority="InFront" if number % 2 else "NormalCycle")
    assert play.command("GetDisplayMessages", requestId=7)["status"] == "Accepted"
    told = play.payloads("NotifyDisplayMessages")
    assert [len(p["messageInfo"]) for p in told] == [4, 2] and [p.get("tbc") for p in told] == [True, None]
    assert play.command("GetDisplayMessages", requestId=8, priority="InFront", id=[1, 2])["status"] == "Accepted"
    assert [m["id"] for m in play.payloads("NotifyDisplayMessages")[-1]["messageInfo"]] == [1]
    assert play.command("GetDisplayMessages", requestId=9, state="Faulted")["status"] == "Unknown"


# -- how much


def limit(number: int, amperes: float, purpose: str = "TxDefaultProfile", evse_id: int = 0, **more: Any) -> Json:
    schedule = {
        "id": number, "chargingRateUnit": "A", "startSchedule": iso(WALL_S - DAY_S),
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": amperes}],
    }  # fmt: skip
    profile = {
        "id": number, "stackLevel": 0, "chargingProfilePurpose": purpose, "chargingProfileKind": "Absolute",
        "chargingSchedule": [schedule], **more,
    }  # fmt: skip
    return {"evseId": evse_id, "chargingProfile": profile}


def test_a_profile_lowers_what_is_offered_at_once_and_below_six_amperes_it_is_nothing() -> None:
    play = Play().plug(1).tap(ANN).charge(1)
    assert play.wish[0].offer_ma == 32_000
    for amperes, offer_ma in ((10, 10_000), (5.9, 0), (20.5, 20_000)):
        assert play.command("SetChargingProfile", **limit(1, amperes))["status"] == "Accepted"
        play.see(1, offer_ma=play.wish[0].offer_ma)
        assert play.wish[0].offer_ma == offer_ma
    assert play.command("ClearChargingProfile", chargingProfileId=1)["status"] == "Accepted"
    assert play.wish[0].offer_ma == 32_000


@pytest.mark.promise("S11")
def test_the_stations_profile_is_shared_by_its_ports_like_a_smaller_circuit() -> None:
    play = Play().plug(1).tap(ANN).charge(1).plug(2).tap(BOB)
    play.command("SetChargingProfile", **limit(1, 20, "ChargingStationMaxProfile"))
    play.see(1, offer_ma=play.wish[0].offer_ma).charge(2)
    assert [wish.offer_ma for wish in play.wish] == [10_000, 10_000]


def test_a_profile_holds_offline_over_a_power_cut_and_until_its_end() -> None:
    play = Play()
    play.command("SetChargingProfile", **limit(1, 10, validTo=iso(WALL_S + 3600)))
    play.on(LinkChanged(Link.DOWN))
    play = booted(play.reboot(60.0)).plug(1).tap(ANN)
    assert play.wish[0].offer_ma == 10_000
    play.charge(1).after(3600)
    assert play.wish[0].offer_ma == 32_000 and play.station.owner.profiles == ()


def test_a_transactions_own_profile_comes_before_and_ends_with_it() -> None:
    play = Play().plug(1).tap(ANN).charge(1)
    running = play.port(1).transaction
    assert running
    play.command("SetChargingProfile", **limit(1, 10))
    own = limit(2, 16, "TxProfile", 1, transactionId=running.transaction_id)
    assert play.command("SetChargingProfile", **own)["status"] == "Accepted"
    assert play.wish[0].offer_ma == 16_000
    assert play.command("SetChargingProfile", **limit(3, 8, "TxProfile", 2))["statusInfo"]["reasonCode"] == "TxNotFound"
    play.unplug(1).after(10)
    assert [each.profile_id for each in play.station.owner.profiles] == [1]


def test_what_is_kept_can_be_asked_for_and_the_schedule_that_will_hold_too() -> None:
    play = Play()
    play.command("SetChargingProfile", **limit(1, 10, validTo=iso(WALL_S + 1800)))
    play.command("SetChargingProfile", **limit(2, 20, "ChargingStationMaxProfile"))
    assert play.command("GetChargingProfiles", requestId=7, chargingProfile={"stackLevel": 0})["status"] == "Accepted"
    (report,) = play.payloads("ReportChargingProfiles")
    assert [each["id"] for each in report["chargingProfile"]] == [1, 2] and report["requestId"] == 7
    assert play.command("GetChargingProfiles", requestId=8, chargingProfile={"stackLevel": 5})["status"] == "NoProfiles"
    schedule = play.command("GetCompositeSchedule", evseId=1, duration=3600)["schedule"]
    assert [(p["startPeriod"], p["limit"]) for p in schedule["chargingSchedulePeriod"]] == [(0, 10.0), (1800, 20.0)]
    assert play.command("GetCompositeSchedule", evseId=9, duration=60)["status"] == "Rejected"


def test_the_status_of_a_station_without_a_plan_is_what_it_was() -> None:
    assert [status(port) for port in Play().tap(EVE).station.ports] == [Status.AVAILABLE] * 2
