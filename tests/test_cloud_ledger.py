"""What the reference cloud's ledger says of money: who paid, let in by what, at which price, and who has not come."""

import csv
import io
import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.play import ANN, BOB, Json, Play
from tests.test_cost import at_noon, booted, default, fixed, of_groups, reserve, tariff, timed
from tests.test_devcloud import EPOCH, START_MS, STATION, batch, record, run, session_records
from tests.test_owner import ordered, policy
from tools.cloud import cli_ledger
from tools.cloud.ledger import Ledger
from tools.cloud.wire import VENDOR, Hello, format_time

RESERVED = tariff(kwh=0.30, reservationTime=timed(0.10), reservationFixed=fixed(0.50))
HOUR_MS = 3_600_000


def ended(number: int = 7, end: str = "Expired", mono_ms: int = 0, clock: int = 3, **more: Any) -> bytes:
    """A ReservationStatusUpdate, with what it costs."""
    payload: Json = {"reservationId": number, "reservationUpdateStatus": end}
    if more:
        payload["customData"] = {"vendorId": VENDOR, **more}
    return record("ReservationStatusUpdate", payload, mono_ms, clock)


def owed(total: object = "3.50", currency: object = "EUR") -> Json:
    return {"tariffId": "T", "tariffVersion": "1f", "currency": currency, "totalCost": total}


def reserved(ledger: Ledger, number: int, card: str, made_ms: int = START_MS, evse_id: int | None = 1) -> str:
    until = format_time(made_ms + HOUR_MS)
    asked: Json = {"id": number, "expiryDateTime": until, "idToken": {"idToken": card, "type": "ISO14443"}}
    asked |= {} if evse_id is None else {"evseId": evse_id}
    return ledger.commands.add(STATION, "ReserveNow", asked, made_ms + HOUR_MS, made_ms)


def heard(play: Play, ledger: Ledger) -> None:
    """All money and all ends of reservations that the station has to tell."""
    for stream, action in ((0, "TransactionEvent"), (1, "ReservationStatusUpdate")):
        bodies = [record(action, payload, n) for n, payload in enumerate(play.payloads(action))]
        if bodies:
            ledger.ingest(STATION, stream, batch(1, *bodies), START_MS)


def exported(db: Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, str]]:
    capsys.readouterr()
    assert run("export", "--db", db) == 0
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


# -- who and why


def test_a_session_says_by_what_it_was_let_in_which_reservation_it_used_and_why_it_cost_so_much(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    play, db = at_noon(), tmp_path / "cloud.db"
    ordered(play, "AccessPolicy", policy({"name": "staff", "who": "everyone"}))
    default(play, RESERVED)
    of_groups(play, ("fleet", tariff("F", kwh=0.1)), version="42")
    reserve(play)
    play.plug(1).tap(ANN).charge(1).after(600).charge(1, 10_000).unplug(1).after(15)
    started = play.payloads("TransactionEvent")[0]["customData"]
    ledger = Ledger(db)
    heard(play, ledger)
    ledger.close()
    (row,) = exported(db, capsys)
    assert row["rule"] == started["rule"] != "" and row["list_version"] == str(started["listVersion"])
    assert (row["access_rule"], row["access_policy"]) == ("staff", started["accessPolicy"])
    assert (row["reservation_id"], row["tariff_id"], row["tariff_version"]) == ("5", "F", started["tariffVersion"])
    assert (row["tariff_rule"], row["tariff_group"], row["tariff_policy"]) == ("tariff of the group", "fleet", "42")
    assert run("ledger", "--db", db) == 0
    line = capsys.readouterr().out.splitlines()[1]
    for words in (
        row["cost"], f"tariff F {row['tariff_version']} (tariff of the group fleet)", f"let in by {row['rule']}",
        f"access rule staff of {row['access_policy']}", "reservation 5",
    ):  # fmt: skip
        assert f"  {words}" in line
    assert run("ledger", "--db", db, "--json") == 0
    (told,) = json.loads(capsys.readouterr().out)["stations"][STATION]["sessions"]
    assert told["reservation_id"] == 5 and told["access_rule"] == "staff"


def test_a_tariff_that_the_cloud_changed_is_no_longer_that_of_a_group() -> None:
    play, ledger = at_noon(), Ledger(":memory:")
    of_groups(play, ("fleet", tariff("F", kwh=0.1)))
    play.plug(1).tap(ANN).charge(1)
    running = play.port(1).transaction
    assert running
    play.command("ChangeTransactionTariff", transactionId=running.transaction_id, tariff=tariff("G", kwh=0.2))
    play.after(600).charge(1, 10_000).unplug(1).after(15)
    heard(play, ledger)
    (session,) = ledger.sessions(STATION)
    assert (session.tariff_id, session.tariff_rule, session.tariff_group) == ("G", "changed by the cloud", None)
    ledger.close()


def test_a_database_from_before_these_columns_is_read_and_goes_on(tmp_path: Path) -> None:
    db = tmp_path / "cloud.db"
    Ledger(db).close()
    with sqlite3.connect(db) as old:
        old.execute("ALTER TABLE event DROP COLUMN marks")
        old.execute("DROP INDEX record_reservation")
    old.close()
    ledger = Ledger(db)
    ledger.ingest(STATION, 0, batch(1, *session_records(3)), START_MS)
    assert ledger.sessions(STATION)[0].rule is None and ledger.report().clean
    ledger.close()


def test_a_name_from_the_wire_orders_nothing_of_a_terminal() -> None:
    ledger = Ledger(":memory:")
    payload: Json = {
        "eventType": "Started", "triggerReason": "Authorized", "seqNo": 0, "timestamp": format_time(START_MS),
        "transactionInfo": {"transactionId": "t"}, "customData": {"vendorId": VENDOR, "rule": "\x1b[2J\n" * 99},
    }  # fmt: skip
    ledger.ingest(STATION, 0, batch(1, record("TransactionEvent", payload)), START_MS)
    lines = cli_ledger.report_text(ledger.report()).split("\n")
    assert "let in by ?[2J?" in lines[1] and "\x1b" not in lines[1] and len(lines[1]) < 500
    ledger.close()


# -- who has not come


@pytest.mark.promise("S2")
def test_who_reserves_and_does_not_come_is_a_row_of_the_ledger_with_his_name_and_his_debt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    play, db = booted(at_noon()), tmp_path / "cloud.db"
    default(play, RESERVED)
    play.unplug(1).after(15)
    reserve(play, 1800)
    play.after(1801)
    ledger = Ledger(db)
    reserved(ledger, 5, ANN)
    heard(play, ledger)
    (no_show,) = ledger.no_shows(STATION)
    assert (no_show.id_token, no_show.evse_id, no_show.end) == (ANN, 1, "Expired")
    assert (no_show.cost, no_show.tariff_id) == ("3.5 EUR", "T")
    ledger.close()
    rows = [row for row in exported(db, capsys) if row["kind"] == "noShow"]
    assert [(row["id_token"], row["cost"], row["reservation_id"], row["stopped_reason"]) for row in rows] == [
        (ANN, "3.5 EUR", "5", "Expired")
    ]
    assert rows[0]["ended_ms"] == "2026-01-01T00:00:00.000Z" and rows[0]["energy_wh"] == ""
    assert run("ledger", "--db", db) == 0
    out = capsys.readouterr().out.splitlines()
    assert "1 no-shows, 3.5 EUR" in out[0]
    assert f"reservation 5  evse 1  {ANN}  no-show  2026-01-01T00:00:00.000Z  3.5 EUR  tariff T" in "\n".join(out)


@pytest.mark.promise("S2")
@settings(max_examples=20)
@given(st.data())
def test_no_order_repetition_or_epoch_changes_the_no_shows_or_their_total(data: st.DataObject) -> None:
    bodies = [ended(n, ("Expired", "NoTransaction")[n % 2], n, 3 * (n % 3 > 0), **owed(f"{n}.10")) for n in range(1, 4)]
    pieces = data.draw(st.permutations([*enumerate(bodies, 1)] * 2))
    ledger = Ledger(":memory:")
    for number, card in ((1, ANN), (2, BOB)):
        reserved(ledger, number, card)
    for seq, body in pieces:
        epoch = data.draw(st.sampled_from([EPOCH, b"epoch--2"]))
        ledger.ingest(STATION, 1, batch(seq, body, epoch=epoch), START_MS)
    found = sorted(ledger.no_shows(STATION), key=lambda each: each.reservation_id)
    assert [(each.reservation_id, each.cost, each.id_token) for each in found] == [
        (1, "1.1 EUR", ANN), (2, "2.1 EUR", BOB), (3, "3.1 EUR", None),
    ]  # fmt: skip
    assert [each.at_ms for each in found] == [START_MS + n for n in (1, 2, 3)], "the undated one by its boot, too"
    assert ledger.report().stations[STATION].money == {"EUR": "6.3"}
    ledger.close()


def test_a_number_that_is_used_again_is_another_persons_and_a_refused_reservation_nobodys() -> None:
    ledger = Ledger(":memory:")
    for card, made_ms in ((ANN, START_MS), (BOB, START_MS + HOUR_MS)):
        reserved(ledger, 7, card, made_ms, evse_id=None)
    refused = reserved(ledger, 7, "04FF", START_MS + HOUR_MS + 1)
    ledger.commands.finish(STATION, {"commandId": refused, "status": "Done", "response": {"status": "Occupied"}})
    late = START_MS + 9 * HOUR_MS  # the records come long after
    ledger.ingest(STATION, 1, batch(1, ended(7, mono_ms=60_000), ended(7, mono_ms=2 * HOUR_MS)), late)
    assert [each.id_token for each in ledger.no_shows(STATION)] == [ANN, BOB]
    ledger.close()


def test_what_the_station_could_not_keep_is_no_no_show_and_what_costs_nothing_is_one() -> None:
    ledger = Ledger(":memory:")
    ledger.ingest(STATION, 1, batch(1, ended(1, "Removed"), ended(2), ended(3, "NoTransaction", 1)), START_MS)
    assert [(each.reservation_id, each.cost) for each in ledger.no_shows(STATION)] == [(2, None), (3, None)]
    assert ledger.report().stations[STATION].money == {} and ledger.report().clean
    ledger.close()


@pytest.mark.parametrize(
    "wrong", [owed(3.5), owed("-1"), owed("nan"), owed("1e9"), owed("3,50"), owed(currency=None), owed(currency="euro")]
)
def test_money_that_cannot_be_read_is_counted_and_in_no_total(wrong: Json) -> None:
    ledger = Ledger(":memory:")
    ledger.ingest(STATION, 1, batch(1, ended(**wrong)), START_MS)
    station = ledger.report().stations[STATION]
    assert station.violations == {"no_show_cost_unreadable": 1} and station.money == {}
    assert "no_show_cost_unreadable" in cli_ledger.report_text(ledger.report())
    ledger.close()


@pytest.mark.promise("S9")
@settings(max_examples=20)
@given(st.recursive(st.none() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=4))
def test_no_end_of_a_reservation_stops_the_ledger(strange: Any) -> None:
    ledger = Ledger(":memory:")
    known = {"totalCost": strange, "currency": strange, "tariffId": strange}
    bodies = [ended(**known), ended(strange), ended(1, strange), ended(mono_ms=2**63 - 1, clock=0)]
    bodies.append(cbor2.dumps(strange))
    ledger.ingest(STATION, 1, batch(1, *bodies), START_MS)
    ledger.greeting(STATION, Hello(EPOCH, b"boot---1", 1, None), START_MS)
    cli_ledger.report_text(ledger.report())
    ledger.close()


def test_the_total_is_of_sessions_and_no_shows_and_each_currency_has_its_own() -> None:
    ledger = Ledger(":memory:")
    ledger.ingest(STATION, 0, batch(1, *session_records(3)), START_MS)
    bodies = [ended(n, mono_ms=n, **owed(total, currency)) for n, (total, currency) in enumerate(
        [("0.10", "EUR"), ("0.20", "EUR"), ("7", "SEK")]
    )]  # fmt: skip
    ledger.ingest(STATION, 1, batch(1, *bodies), START_MS)
    station = ledger.report().stations[STATION]
    paid = replace(station, sessions=tuple(replace(each, cost="1.05 EUR") for each in station.sessions))
    assert paid.money == {"EUR": "1.35", "SEK": "7"}
    assert cli_ledger.summed(paid) == "6 records, 1 sessions, 3 no-shows, 1.35 EUR, 7 SEK"
    ledger.close()
