"""What an owner may decide, at random, over station-days: the panel, the record and the ledger agree to the cent, and
nobody charges whom the owner has not let in.
"""

from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from typing import Any

import pytest

from agent import atlas, core, listing
from agent.sim.net import SimCloud
from agent.uplink import protocol
from tests import clerk, referee
from tests.ownermoves import WideLife
from tests.policydays import HOUR_S, Life
from tests.policyjudges import Verdict, judged
from tests.test_policy_tariff_examples import BERLIN, EXAMPLES, Example, reading

DAYS, LIVES = 10, 25  # of one life; lives of one block
HARD = ("11 ", "13 ")  # the power of a car; a time that nobody knows


def lived(seeds: range, days: float) -> Verdict:
    """Every other life is one in which the owner changes his mind in all the ways that he has."""
    verdict = Verdict()
    for seed in seeds:
        life = (WideLife if seed % 2 else Life)(seed, days)
        with life.closing():
            verdict += judged(life.play())
    return verdict


@pytest.fixture
def cheap_days(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an idle station does most of the time, more rarely; of the schemas what the station says, not we."""

    def heard(command_id: str, message: str, payload: dict[str, Any]) -> None:
        if command_id:
            referee.expect(command_id, message)
        else:
            referee.judge(message, payload)

    monkeypatch.setattr(core, "ALIVE_PERIOD_S", 4 * HOUR_S)
    monkeypatch.setattr(protocol, "HEARTBEAT_PART", 12.0)
    monkeypatch.setattr(listing, "AGAIN_S", 8 * HOUR_S)
    monkeypatch.setattr(atlas, "look", cache(atlas.look))
    monkeypatch.setattr(SimCloud, "judge", staticmethod(heard))


@pytest.mark.promise("S2", "S3", "S7", "S11")
def test_days_of_random_policies_end_with_one_total(cheap_days: None) -> None:
    verdict = lived(range(4), 4.0)
    assert min(verdict.sessions, verdict.priced, verdict.worked_out, verdict.walked, verdict.explained) > 0, verdict
    assert min(verdict.refusals, verdict.answered, verdict.read, verdict.owned) > 0, verdict


@pytest.mark.long
@pytest.mark.promise("S2", "S3", "S7", "S11")
@pytest.mark.parametrize("first", range(100, 1_100, LIVES))
def test_ten_thousand_days_of_random_policies_end_with_one_total(cheap_days: None, first: int) -> None:
    verdict = lived(range(first, first + LIVES), DAYS)
    assert min(verdict.sessions, verdict.priced, verdict.worked_out, verdict.walked, verdict.explained) > 20, verdict
    assert min(verdict.refusals, verdict.answered, verdict.read, verdict.owned) > 10, verdict


# -- who judges the judge ---------------------------------------------------------------------------------------------


def lines(example: Example) -> Iterator[clerk.Line]:
    """Of an example of docs/policy.md, as events: each says what goes on from then on, and a last one that it ended."""
    rows = [row for row in example.lines if row[3] != "ReserveNow"]
    last = rows[0]
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        state = "" if following is None else following[3].replace("ChangeTransactionTariff", "")
        trigger = {"outage": "TxResumed", "ChangeTransactionTariff": "TariffChanged"}.get(row[3], "")
        last = row if row[0] else last
        yield line(last, state or "SuspendedEVSE", trigger)
    yield line(last, "", "EVDeparted")


def line(row: list[str], state: str, trigger: str) -> clerk.Line:
    at = reading(*row[:3])
    assert at.wall_s is not None
    return clerk.Line(b"", at.mono_s, at.wall_s, at.energy_wh, state, trigger)


@pytest.mark.parametrize(
    "example", [each for each in EXAMPLES if not each.name.startswith(HARD)], ids=lambda example: example.name
)
def test_the_clerk_comes_to_what_was_computed_by_hand(example: Example) -> None:
    reserved = [reading(*row[:3]).wall_s for row in example.lines if row[3] == "ReserveNow"]
    forms = [each.sent for each in example.tariffs]
    worked_out = clerk.bill(forms, list(lines(example)), BERLIN, reserved[0] if reserved else None, {})
    total, currency = Decimal(example.parts["total"][1]), forms[0]["currency"]
    assert clerk.agrees(total, worked_out, currency, len(example.lines)), worked_out
    assert not clerk.agrees(total + Decimal(1).scaleb(1 - clerk.UNITS[currency]), worked_out, currency, 1)
