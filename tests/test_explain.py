"""What `explain` says about a card is what a tap of it then does; and it is said so that a human understands it."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.control import explain_request
from agent.events import AuthorizationStatus, Entry, Link, LinkChanged, ListChanged, ListState, PortChosen
from agent.explain import Explanation, as_text, at_time, card_of, explain, offline_station
from agent.policy.authorize import RULES
from agent.policy.reasons import WORDS, Reason
from agent.settings import ConfigError, Settings
from tests.play import ANN, BOB, EVE, WALL_S, Play

STATUS = AuthorizationStatus


def told(play: Play, card: str, evse_id: int | None = None) -> Explanation:
    return explain(play.station, card, play.allow.get(card), play.cached.get(card), evse_id, play.now)


# -- the same as a tap

ENTRIES = st.sampled_from(
    [
        None,
        Entry(),
        Entry(group_id="fleet"),
        Entry(group_id="master"),
        Entry(STATUS.BLOCKED),
        Entry(expiry_s=WALL_S - 1.0),
        Entry(pending=True),
        Entry(removed=True),
    ]
)
MOVES = st.lists(
    st.sampled_from(["plug 1", "plug 2", "tap ANN", "tap BOB", "choose 1", "choose 2", "wait"]), max_size=5
)


@given(ENTRIES, ENTRIES, ENTRIES, MOVES, st.sampled_from(Link), st.booleans(), st.sampled_from([ANN, EVE, "08A1B2C3"]))
def test_what_explain_says_is_what_the_tap_then_does(
    ann: Entry | None, listed: Entry | None, cached: Entry | None, moves: list[str], link: Link, free: bool, card: str
) -> None:
    settings = Settings(free=free, master_pass_group_id="master")
    allow = {ANN: ann, BOB: Entry(group_id="fleet"), EVE: listed}
    play = Play(settings, allow={k: v for k, v in allow.items() if v}, cached={EVE: cached} if cached else {})
    play.on(LinkChanged(link))
    for move in moves:
        match move.split():
            case ["plug", n]:
                play.plug(int(n))
            case ["tap", "ANN"]:
                play.tap(ANN)
            case ["tap", _]:
                play.tap(BOB)
            case ["choose", n]:
                play.on(PortChosen(int(n)))
        play.after(20.0)
    said = told(play, card)
    asked, started = len(play.asked), len(play.transactions())
    running = [p.transaction for p in play.station.ports]
    play.tap(card)
    match said.decision:
        case "ask":
            assert len(play.asked) == asked + 1
            assert play.asked[-1].evse_id == said.evse_id
        case "refuse":
            assert len(play.asked) == asked and len(play.transactions()) == started
            assert play.station.notices[-1].reason == said.reason
        case "stop":
            stopped = next(p for p in play.station.ports if p.evse_id == said.evse_id)
            assert stopped.transaction is None or stopped.transaction.ending
            assert running[stopped.evse_id - 1] is not None
        case "start":
            assert play.station.notices[-1].reason == said.reason
            here, holding = play.port(said.evse_id or 1), play.station.holding
            token = (here.grant or here.transaction) if said.evse_id else (holding and holding.grant)
            assert token and token.id_token == card


def test_the_walk_is_that_of_the_core_and_its_last_rule_decides() -> None:
    said = told(Play(allow={}).on(LinkChanged(Link.DOWN)), EVE)
    assert [name for name, _ in said.rules] == [name for name, _ in RULES]
    assert all(opinion == "no opinion" for _, opinion in said.rules[:-1])
    assert said.rules[-1][1] == "refuse: could not ask"


@pytest.mark.promise("S7")
@given(st.sampled_from([status for status in STATUS if status is not STATUS.ACCEPTED]))
def test_a_refusal_has_its_reason_text_status_and_log_code(status: AuthorizationStatus) -> None:
    said = told(Play(allow={EVE: Entry(status)}), EVE)
    words = WORDS[Reason(said.reason or "")]
    assert (said.decision, said.status, said.code) == ("refuse", words.status, words.code)
    assert words.text in said.text and words.action in said.text


@pytest.mark.promise("S7")
def test_an_unknown_card_while_the_cloud_can_be_asked_says_both_outcomes() -> None:
    said = told(Play(allow={}).on(LinkChanged(Link.UP)), EVE)
    assert said.decision == "ask"
    assert said.status is None
    assert said.unanswered == "refuse: could not ask"
    assert "If the cloud does not answer: refuse: could not ask" in as_text(said)


# -- port and time


def test_the_port_option_is_the_button_of_that_port() -> None:
    play = Play().plug(1).plug(2)
    assert told(play, ANN).reason == Reason.CHOOSE_PORT
    assert told(play, ANN, 2).evse_id == 2
    assert told(play, ANN, 2).text == "Charging starts at port 2."
    with pytest.raises(ConfigError, match="type --port and one of 1, 2"):
        told(play, ANN, 3)


def test_at_another_time_a_card_has_expired() -> None:
    play = Play(allow={ANN: Entry(expiry_s=WALL_S + 3600)})
    for at_s, reason in ((None, None), (WALL_S + 7200, Reason.CARD_EXPIRED), (WALL_S - 1e8, None)):
        station = at_time(play.station, at_s, play.now)
        assert explain(station, ANN, play.allow[ANN], None, None, play.now).reason == reason


def test_explaining_changes_nothing() -> None:
    play = Play().plug(1)
    before = play.station
    told(play, ANN, 2)
    assert play.station == before


def test_the_age_of_the_list_and_the_clock_stand_below() -> None:
    play = Play().on(ListChanged(ListState(7, 2, WALL_S - 3600)))
    text = as_text(told(play, ANN), "+1 555 0100")
    assert "list version 7, 2 cards, called current 1.0 h ago; clock 2026-" in text
    assert "told by cloud" in text
    unknown = as_text(told(Play(wall_s=None), ANN))
    assert "never called current; clock unknown, not before 20" in unknown
    assert "Support: +1 555 0100" in as_text(told(Play(allow={ANN: Entry(STATUS.BLOCKED)}), ANN), "+1 555 0100")


# -- the request


def test_a_card_is_the_same_however_it_is_typed() -> None:
    assert card_of("04:a1-a1 a1") == ANN
    for wrong in ("", "04", "xyz", "04A1A1A1A1", "04A1" * 1000):
        with pytest.raises(ConfigError, match="8 or 14 or 20 hexadecimal digits"):
            card_of(wrong)


@pytest.mark.promise("S9")
@given(
    st.dictionaries(
        st.sampled_from(["card", "port", "at_s", "x"]),
        st.sampled_from([ANN, "04", 1, 3, -1, 10**30, 1.5, 1e308, float("nan"), float("inf"), None, [], {}, True]),
    )
)
def test_any_request_is_explained_or_refused_in_one_sentence(request: dict[str, object]) -> None:
    play = Play()
    try:
        answer = explain_request(play.station, lambda card: (play.allow.get(card), None), request, play.now)
    except ConfigError as error:
        assert "\n" not in str(error)
    else:
        assert msgspec.convert(answer, Explanation).card == ANN


# -- without a running agent


def test_the_files_alone_tell_the_same_as_an_idle_station() -> None:
    state = ListState(7, 2, WALL_S - 60)
    station = offline_station(Settings(), 2, {}, WALL_S, state)
    said = explain(station, ANN, Entry(), None, 1, 0.0)
    assert said == msgspec.structs.replace(told(Play().on(ListChanged(state)), ANN, 1), clock=said.clock)
    assert "told by rtc" in said.clock
