"""The station's life: one table, derived from facts; nobody charges at a station that is nobody's."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.policy.lifecycle import TABLE, Facts, Starts, State, state
from agent.policy.plan_token import Standing
from agent.policy.reasons import Reason

POLICY = Path(__file__).parent.parent / "docs" / "policy.md"
FACTS = st.builds(
    Facts, st.booleans(), st.booleans(), st.booleans(), st.booleans(), st.sampled_from(Standing), st.booleans()
)
NEW = Facts(is_provisioned=False, is_installed=False, is_activated=False)


def yes(it: bool) -> str:
    return "yes" if it else "no"


@pytest.mark.parametrize("at", State)
def test_each_state_may_do_what_its_row_in_the_docs_says(at: State) -> None:
    row = TABLE[at]
    said = [str(row.local), str(row.remote), yes(row.download), yes(row.install)]
    said += ["as the owner wants" if row.is_visible else "nobody", "Unavailable" if row.is_closed else "as its ports"]
    said.append(str(row.refusal or "-"))
    found = re.search(rf"^\| {at} \|(.*)\|$", POLICY.read_text(), re.MULTILINE)
    assert found, "docs/policy.md"
    assert [cell.strip() for cell in found[1].split("|")] == said


def test_a_station_lives_from_the_shelf_to_its_next_owner() -> None:
    facts, seen = NEW, []
    changes: list[dict[str, Any]] = [
        {}, {"is_provisioned": True}, {"is_installed": True}, {"is_activated": True}, {"standing": Standing.ACTIVE},
        {"standing": Standing.ENDED}, {"standing": Standing.DEACTIVATED}, {"is_free_after_plan": True},
        {"is_activated": False, "is_transferred": True},
    ]  # fmt: skip
    for change in changes:
        facts = replace(facts, **change)
        seen.append(state(facts))
    assert seen == [
        State.BARE, State.PROVISIONED, State.INSTALLED, State.ACTIVE, State.ACTIVE, State.PLAN_EXPIRED,
        State.DEACTIVATED, State.DEACTIVATED_FREE, State.TRANSFERRED,
    ]  # fmt: skip
    assert state(Facts(True, True, False), is_ready=True) is State.READY


def test_installing_is_over_where_somebody_sells_and_begins_anew_where_the_station_is_nobodys() -> None:
    nobodys = {State.BARE, State.PROVISIONED, State.INSTALLED, State.READY, State.TRANSFERRED}
    assert {at for at, row in TABLE.items() if not row.is_owned} == nobodys


def test_who_only_asks_what_may_be_done_need_not_look_whether_all_is_ready() -> None:
    assert TABLE[State.INSTALLED] == TABLE[State.READY]


@given(FACTS, st.booleans())
def test_only_an_activated_station_sells_and_only_a_closed_one_is_silent(facts: Facts, is_ready: bool) -> None:
    row = TABLE[state(facts, is_ready=is_ready)]
    assert facts.is_activated or row.local is row.remote is Starts.NOBODY
    assert (row.local is Starts.BY_RULES) == (facts.is_activated and facts.standing is not Standing.DEACTIVATED)
    assert row.install, "what is here may always be made better"
    assert row.is_closed == (row.local is Starts.NOBODY)
    assert row.is_visible <= (not row.is_closed)
    assert (row.refusal is Reason.PLAN_ENDED) == (facts.is_activated and facts.standing is Standing.DEACTIVATED)
