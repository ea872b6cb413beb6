"""A station with its real list and cache, over days: who is let in, who is let go on, and what its drivers are told."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from agent.authcache.cache import LIFETIME_S, lifetime_s
from agent.authcache.listfile import ListFile
from agent.authcache.lists import Lists, Status
from agent.clock import ClockSource, earliest, floor, iso8601, wall
from agent.effects import Remember
from agent.events import (
    AuthorizationStatus,
    CacheCounted,
    ClockTold,
    Cp,
    Entry,
    Link,
    LinkChanged,
    ListChanged,
    LookedUp,
    OnlineAnswered,
    RemoteStartRequested,
    TransactionAnswered,
)
from agent.explain import Explanation, as_text, explain
from agent.policy.reasons import WORDS, Reason
from agent.settings import Settings
from agent.sim.world import World
from agent.station import charging_state
from agent.transaction import ChargingState
from agent.ui.situation import Situation, situation
from agent.ui.view import screen
from tests.listed import OURS, one
from tests.play import ANN, BOB, EVE, WALL_S, Play
from tests.test_authcache import KEY, full

STATUS = AuthorizationStatus
STOPS = Settings(stop_tx_on_removal=True)
DAY_S = 86_400.0


class Says(dict[str, Entry]):
    """The list's (0) or the cache's (1) word about a card, now."""

    def __init__(self, charger: "Charger", which: int) -> None:
        super().__init__()
        self.charger, self.which = charger, which

    def get(self, id_token: str, default: Any = None) -> Any:
        return self.charger.looked_up(id_token)[self.which]


class Charger:
    """What the shell does between core and lists, with the facts as the disk."""

    def __init__(self, directory: Path, settings: Settings | None = None, *cards: dict[str, Any], **more: Any) -> None:
        self.directory, self.version = directory, 0
        self.attach(Play(settings, allow={}, ports=more.pop("ports", 1), **more))
        self.list(*cards)

    def attach(self, play: Play) -> None:
        self.play = play
        play.facts = {name: fact for name, fact in play.facts.items() if fact is not None}
        self.lists = Lists(self.directory, play.facts, KEY, play.now)
        play.allow, play.cached, play.watch = Says(self, 0), Says(self, 1), lambda _: self.remember()
        play.on(ListChanged(self.lists.state))

    def looked_up(self, id_token: str) -> tuple[Entry | None, Entry | None]:
        station, now = self.play.station, self.play.now
        return self.lists.lookup(id_token, now, earliest(station.clock, now), lifetime_s(station.settings))

    def remember(self) -> None:
        while self.play.remembered:
            effect: Remember = self.play.remembered.pop(0)
            asked_s = floor(self.play.station.clock, effect.asked_at)
            self.commit(self.lists.remember(effect, asked_s, lifetime_s(self.play.station.settings)))

    def commit(self, saves: Any) -> None:
        for save in saves:
            self.play.facts[save.key] = save.value
            if save.value is None:
                del self.play.facts[save.key]

    # -- verbs

    def list(self, *cards: dict[str, Any]) -> "Charger":
        """The whole list comes."""
        self.version += 1
        return self._take(full(self.version, *cards))

    def change(self, *cards: dict[str, Any], heard: bool = True) -> "Charger":
        """A difference comes. Not `heard`: the power goes between its commit and the core."""
        self.version += 1
        custom = {"vendorId": OURS, "generation": 1}
        request = {"versionNumber": self.version, "updateType": "Differential", "localAuthorizationList": list(cards)}
        return self._take({**request, "customData": custom}, heard=heard)

    def _take(self, request: dict[str, Any], *, heard: bool = True) -> "Charger":
        play = self.play
        outcome = self.lists.replace(request, wall(play.station.clock, play.now), play.now)
        assert outcome.status is Status.Accepted, outcome.reason
        self.commit(outcome.saves)
        state = self.lists.committed()
        if heard:
            play.on(ListChanged(state))
        return self

    def answer(self, entry: Entry | None = None) -> "Charger":
        """The cloud answers the newest question."""
        self.play.on(OnlineAnswered(self.play.asked[-1].ask_id, entry or Entry()))
        return self

    def know(self, card: str, entry: Entry | None = None) -> "Charger":
        """The cloud was asked about the card, and the car is gone again."""
        self.play.on(LinkChanged(Link.UP)).plug(1).tap(card)
        self.answer(entry)
        if self.play.port(1).transaction:
            self.play.charge(1).after(5).tap(card).open(1)
        self.play.after(60).unplug(1).after(60)
        self.play.on(LinkChanged(Link.DOWN))
        return self

    def may(self, card: str) -> bool:
        """Whether the card starts a session now; it ends at once, and the car leaves."""
        play = self.play.after(10).plug(1).tap(card)
        if started := play.port(1).transaction is not None:
            play.charge(1).after(5).tap(card).open(1)
        self.said = play.said(1)
        play.after(10).unplug(1).after(10)
        return started

    def reboot(self, off_s: float = 5.0, **how: Any) -> "Charger":
        self.attach(self.play.reboot(off_s, **how))
        return self

    def resume(self) -> "Charger":
        """The controller is back, and the car is still there; the random delay passes."""
        self.play.see(1, cp=Cp.B, energy_wh=1500).after(60)
        return self

    def charging(self, card: str = ANN) -> "Charger":
        self.play.plug(1).tap(card).charge(1, wh=500)
        assert self.play.wish[0].offer_ma
        return self

    def ended(self) -> tuple[str, str] | None:
        """How the session ended, or None while it runs."""
        if self.play.wish[0].offer_ma == 0 and self.play.port(1).transaction:
            self.play.open(1)
        return None if self.play.port(1).transaction else self.play.transactions()[-1]

    def shown(self) -> str:
        port = screen(self.play.station, self.play.now).ports[0]
        return f"{port.title}. {port.text} {port.action}"

    def explained(self, card: str) -> Explanation:
        return explain(self.play.station, card, *self.looked_up(card), None, self.play.now)


def gone(card: str) -> dict[str, Any]:
    return {"idToken": {"idToken": card, "type": "ISO14443"}}


def blocked(card: str) -> dict[str, Any]:
    return one(card, "Blocked")


def removed(card: str) -> dict[str, Any]:
    return one(card, "Invalid", removed=True)


def ending(card: str, wall_s: float) -> dict[str, Any]:
    info = {"status": "Accepted", "cacheExpiryDateTime": iso8601(wall_s)}
    return {**one(card), "idTokenInfo": info}


def expired(card: str) -> dict[str, Any]:
    return ending(card, WALL_S - 1)


def pending(card: str) -> dict[str, Any]:
    return one(card, "Unknown", pending=True)


@contextmanager
def charger(settings: Settings | None = None, *cards: dict[str, Any], **more: Any) -> Iterator[Charger]:
    with TemporaryDirectory() as name:
        yield Charger(Path(name), settings, *(cards or (one(ANN), one(BOB))), **more)


# -- only a real answer changes the cache -----------------------------------------------------------------------------


def test_a_good_card_first_tapped_while_nobody_can_be_asked_is_not_remembered_as_unknown() -> None:
    with charger() as it:
        assert not it.may(EVE) and it.said is Reason.COULD_NOT_ASK
        it.know(EVE)
        assert it.may(EVE), "from the cache, offline"


@pytest.mark.promise("S6")
def test_a_mute_cloud_overwrites_no_answer() -> None:
    with charger() as it:
        it.know(EVE, Entry(STATUS.BLOCKED))
        it.play.on(LinkChanged(Link.UP)).plug(1).tap(EVE).after(30)
        assert it.play.said(1) is None and it.looked_up(EVE) == (None, Entry(STATUS.BLOCKED))
        it.play.on(OnlineAnswered(it.play.asked[-1].ask_id, Entry()))
        assert it.looked_up(EVE)[1] == Entry(STATUS.BLOCKED), "nor does an answer that came too late"


def test_what_the_station_decides_by_itself_is_no_answer() -> None:
    with charger(Settings(offline_tx_for_unknown_id=True)) as it:
        assert it.may(EVE) and it.looked_up(EVE) == (None, None)
        assert it.may(ANN) and it.looked_up(ANN)[1] is None
        it.play.plug(1).on(RemoteStartRequested("c", 1, EVE, "ISO14443", evse_id=1))
        assert it.looked_up(EVE) == (None, None)


def test_an_answer_after_the_next_card_was_tapped_is_that_of_the_card_that_was_asked_about() -> None:
    with charger(ports=2) as it:
        it.play.on(LinkChanged(Link.UP)).plug(1).tap(EVE).after(1).plug(2).tap("04F0F0F0")
        first, second = it.play.asked
        it.play.on(OnlineAnswered(second.ask_id, Entry(STATUS.BLOCKED))).on(OnlineAnswered(first.ask_id, Entry()))
        assert it.looked_up(EVE)[1] == Entry() and it.looked_up("04F0F0F0")[1] == Entry(STATUS.BLOCKED)


def test_the_answer_to_a_record_is_a_real_one_too() -> None:
    with charger() as it:
        it.play.on(LinkChanged(Link.UP)).plug(1).tap(EVE)
        it.answer().play.charge(1)
        tx = it.play.port(1).transaction
        assert tx
        said = Entry(expiry_s=WALL_S + 7200, groups=frozenset({"home"}), group_id="home")
        it.play.on(TransactionAnswered(tx.transaction_id, said, it.play.now))
        assert it.looked_up(EVE)[1] == said and it.play.wish[0].offer_ma, "and it stops nobody"
        it.play.on(TransactionAnswered("another", Entry(STATUS.BLOCKED), it.play.now))
        assert it.looked_up(EVE)[1] == said
        it.play.on(TransactionAnswered(tx.transaction_id, Entry(STATUS.NO_CREDIT), it.play.now)).open(1)
        assert it.looked_up(EVE)[1] == Entry(STATUS.NO_CREDIT)
        assert it.play.transactions()[-1] == ("Ended", "DeAuthorized")
        assert WORDS[Reason.NO_CREDIT].text in it.shown() and WORDS[Reason.NO_CREDIT].action in it.shown()


@pytest.mark.promise("S5")
def test_an_accepted_that_waited_in_the_broker_is_as_old_as_its_question() -> None:
    with charger() as it:
        it.play.on(LinkChanged(Link.UP)).plug(1).tap(EVE)
        it.answer().play.charge(1)
        tx, asked_at = it.play.port(1).transaction, it.play.now
        assert tx
        it.play.after(20 * 3600).on(TransactionAnswered(tx.transaction_id, Entry(group_id="x"), asked_at))
        assert it.looked_up(EVE)[1] == Entry(group_id="x")
        it.play.after(4 * 3600)
        assert it.looked_up(EVE)[1] is None


# -- how long, and how much -------------------------------------------------------------------------------------------


@pytest.mark.promise("S5")
def test_who_taps_each_day_does_not_outlive_a_removal_that_only_the_cloud_knows() -> None:
    with charger() as it:
        it.know(EVE)
        let_in = []
        for _ in range(8):
            it.play.after(4 * 3600)
            let_in.append(it.may(EVE))
        assert let_in == [True] * 5 + [False] * 3 and it.said is Reason.COULD_NOT_ASK


@pytest.mark.promise("S5")
@pytest.mark.parametrize("knows_time", [True, False])
def test_a_station_that_reboots_every_hour_forgets_all_the_same(knows_time: bool) -> None:
    """Without a clock the floor, saved every ten minutes, tells how long it has run at least."""
    with charger() as it:
        it.know(EVE)
        let_in = 0
        for _ in range(40):
            it.reboot(3600.0, wall=knows_time)
            let_in += it.looked_up(EVE)[1] is not None
            it.play.after(3600)
        assert let_in == 12 if knows_time else 24 <= let_in <= 29


def test_a_stale_entry_neither_lets_in_nor_refuses() -> None:
    with charger(Settings(offline_tx_for_unknown_id=True)) as it:
        it.know(EVE, Entry(STATUS.BLOCKED))
        assert not it.may(EVE) and it.said is Reason.CARD_BLOCKED
        it.play.after(LIFETIME_S)
        assert it.may(EVE), "as any other unknown card here"


def test_a_clock_gone_wild_destroys_neither_list_nor_cache() -> None:
    with charger(None, ending(ANN, WALL_S + 30 * DAY_S), one(BOB)) as it:
        it.know(EVE, Entry(expiry_s=WALL_S + 3600))
        disk = dict(it.play.facts)
        for year_s in (4e8, -4e8, 8e8):
            it.play.on(ClockTold(it.play.epoch_s + it.play.now + year_s, ClockSource.CLOUD))
            it.may(ANN), it.may(EVE)
        it.play.on(ClockTold(it.play.epoch_s + it.play.now, ClockSource.CLOUD))
        assert it.may(ANN) and it.may(EVE)
        names = [name for name in disk if name.startswith(("cache/", "list"))]
        assert all(it.play.facts[name] == disk[name] for name in names) and names


def test_the_cloud_sets_how_long_an_answer_counts_and_never_longer_than_a_day() -> None:
    def set_to(variable: str, value: str) -> str:
        name = {"component": {"name": "AuthCacheCtrlr"}, "variable": {"name": variable}}
        answer = it.play.command("SetVariables", setVariableData=[{**name, "attributeValue": value}])
        return str(answer["setVariableResult"][0]["attributeStatus"])

    with charger() as it:
        it.know(EVE)
        assert set_to("LifeTime", "90000") == "Rejected"
        assert set_to("LifeTime", "600") == "Accepted" and it.may(EVE)
        it.play.after(600)
        assert not it.may(EVE)
        assert set_to("LifeTime", "86400") == "Accepted" and it.may(EVE)
        assert set_to("Enabled", "false") == "Accepted" and not it.may(EVE)
        it.know(EVE, Entry(STATUS.BLOCKED))
        assert set_to("Enabled", "true") == "Accepted"
        assert it.looked_up(EVE) == (None, None), "what was said meanwhile has ended what was known before"


def test_the_cloud_can_ask_how_much_is_remembered() -> None:
    def value(variable: str) -> str:
        wanted = {"component": {"name": "AuthCacheCtrlr"}, "variable": {"name": variable}}
        answer = it.play.command("GetVariables", getVariableData=[wanted])
        return str(answer["getVariableResult"][0]["attributeValue"])

    with charger() as it:
        it.know(EVE)
        it.play.on(CacheCounted(it.lists.cache.size_b))
        assert (value("Available"), value("Enabled"), value("LifeTime")) == ("true", "true", "86400")
        assert 50 < int(value("Storage")) < 300


# -- the list has the last word ---------------------------------------------------------------------------------------


@pytest.mark.promise("S5")
@pytest.mark.parametrize("how", [gone, removed])
def test_a_removal_takes_the_whole_cache_with_it_for_nobody_knows_whose_cards_are_in_it(how: Any) -> None:
    with charger() as it:
        it.know(EVE)
        it.change(blocked(BOB))
        assert it.may(EVE), "whom it does not concern"
        it.change(how(ANN))
        assert not it.may(EVE) and not it.may(ANN)
        it.reboot()
        assert not it.may(EVE), "it was one commit"


@pytest.mark.promise("S5")
def test_an_answer_from_before_a_removal_does_not_come_back_after_it() -> None:
    with charger() as it:
        it.play.on(LinkChanged(Link.DOUBT)).plug(1).tap(EVE).after(5)
        it.change(gone(ANN))
        it.answer()
        assert it.play.port(1).transaction, "the cloud has let him in, this once"
        assert it.looked_up(EVE) == (None, None)


def test_a_card_that_comes_on_the_list_leaves_the_cache() -> None:
    with charger() as it:
        it.know(EVE, Entry(STATUS.BLOCKED))
        it.change(one(EVE))
        assert it.may(EVE) and it.looked_up(EVE)[1] is None
        it.know(EVE)
        assert not [name for name in it.play.facts if name.startswith("cache/")]


# -- removed in mid-session -------------------------------------------------------------------------------------------

WAYS = [(gone, Reason.CONNECTION_REMOVED), (removed, Reason.CONNECTION_REMOVED), (blocked, Reason.CARD_BLOCKED),
        (expired, Reason.CARD_EXPIRED), (pending, Reason.APPROVAL_PENDING)]  # fmt: skip


@pytest.mark.parametrize("how", [how for how, _ in WAYS])
def test_who_is_taken_off_in_mid_session_finishes_and_does_not_start_again(how: Any) -> None:
    with charger() as it:
        it.charging().change(how(ANN))
        tx = it.play.port(1).transaction
        assert tx
        it.play.on(LookedUp(tx.transaction_id, None, None))
        assert it.play.after(3600).wish[0].offer_ma and it.ended() is None
        it.play.tap(ANN)
        assert it.ended() == ("Ended", "Local"), "his card stops it, as ever"
        it.play.unplug(1)
        assert not it.may(ANN)


@pytest.mark.promise("S7")
@pytest.mark.parametrize(("how", "reason"), WAYS)
def test_where_the_owner_says_so_it_stops_in_order_with_a_record_and_words(how: Any, reason: Reason) -> None:
    with charger(STOPS) as it:
        it.charging().change(how(ANN))
        port = it.play.port(1)
        assert it.play.wish[0].offer_ma == 0 and situation(it.play.station, port) is Situation.ENDING
        assert WORDS[reason].text in it.shown() and WORDS[reason].action in it.shown()
        assert it.ended() == ("Ended", "DeAuthorized")
        record = it.play.payloads("TransactionEvent")[-1]
        assert record["triggerReason"] == "Deauthorized"
        assert record["customData"] == {"vendorId": OURS, "reason": reason, "listVersion": it.version}
        assert "Finished" in it.shown() and WORDS[reason].text in it.shown() and WORDS[reason].action in it.shown()
        assert it.play.after(3600).wish[0].offer_ma == 0


def test_a_whole_list_without_him_takes_him_off_as_well() -> None:
    with charger(STOPS) as it:
        it.charging().list(one(BOB))
        assert it.ended() == ("Ended", "DeAuthorized")


def test_a_list_that_keeps_him_changes_nothing() -> None:
    with charger(STOPS) as it:
        it.charging().list(one(ANN, groups=["night"])).change(gone(BOB), blocked(EVE))
        assert it.play.after(7200).wish[0].offer_ma


@pytest.mark.parametrize("stop", [True, False])
def test_it_may_draw_what_a_token_refused_late_may_and_then_ends_or_waits(stop: bool) -> None:
    settings = Settings(stop_tx_on_removal=True, max_energy_on_invalid_id_wh=1000, stop_tx_on_invalid_id=stop)
    with charger(settings) as it:
        it.charging().change(gone(ANN))
        assert it.play.wish[0].offer_ma and it.play.transactions()[-1] == ("Updated", "Deauthorized")
        assert WORDS[Reason.CONNECTION_REMOVED].text in it.shown() and "Charging will stop soon." in it.shown()
        it.play.charge(1, wh=999)
        assert it.play.wish[0].offer_ma
        it.play.charge(1, wh=1)
        assert it.ended() == (("Ended", "DeAuthorized") if stop else None)
        assert WORDS[Reason.CONNECTION_REMOVED].text in it.shown() and "Ask the owner." in it.shown()
        if not stop:
            assert charging_state(it.play.station, it.play.port(1)) is ChargingState.SUSPENDED_EVSE


def test_whoever_is_refused_again_and_again_gets_no_more_for_it() -> None:
    with charger(Settings(stop_tx_on_removal=True, max_energy_on_invalid_id_wh=1000)) as it:
        it.charging().change(blocked(ANN)).play.charge(1, wh=600)
        tx = it.play.port(1).transaction
        assert tx and tx.energy_cap_wh == 2500
        it.change(gone(ANN)).play.on(TransactionAnswered(tx.transaction_id, Entry(STATUS.INVALID), it.play.now))
        it.play.charge(1, wh=400)
        assert it.ended() == ("Ended", "DeAuthorized") and WORDS[Reason.CARD_BLOCKED].text in it.shown()


def test_what_the_cloud_says_of_an_account_is_no_answer_about_a_card() -> None:
    with charger() as it:
        it.play.plug(1).on(RemoteStartRequested("c", 1, EVE, evse_id=1)).charge(1)
        tx = it.play.port(1).transaction
        assert tx and tx.token_type == "Central"
        it.play.on(TransactionAnswered(tx.transaction_id, Entry(STATUS.BLOCKED), it.play.now))
        assert it.ended() == ("Ended", "DeAuthorized") and it.looked_up(EVE) == (None, None)


def test_a_session_that_waits_for_power_or_for_its_car_ends_as_well() -> None:
    with charger(STOPS) as it:
        it.play.plug(1).tap(ANN)
        it.play.see(1, pwm=True, offer_ma=16_000)
        it.change(gone(ANN))
        assert it.ended() == ("Ended", "DeAuthorized"), "nothing had flowed yet"
    with charger(STOPS) as it:
        it.charging().play.see(1, contactor=False, power_w=0)
        assert charging_state(it.play.station, it.play.port(1)) is ChargingState.SUSPENDED_EV
        it.change(gone(ANN))
        assert it.ended() == ("Ended", "DeAuthorized")


@pytest.mark.promise("S3")
def test_after_a_reboot_in_mid_session_the_removal_that_comes_then_ends_it() -> None:
    with charger(STOPS) as it:
        it.charging().reboot(60)
        it.resume().play.charge(1)
        it.change(gone(ANN))
        assert it.ended() == ("Ended", "DeAuthorized")


@pytest.mark.promise("S3", "S4")
def test_a_cut_between_the_list_s_commit_and_its_consequences_loses_neither() -> None:
    with charger(STOPS) as it:
        it.charging().change(gone(ANN), heard=False).reboot(60)
        tx = it.play.port(1).transaction
        assert tx and tx.interrupted and tx.energy_cap_wh == 1500
        it.resume()
        assert it.play.transactions()[-1] == ("Ended", "DeAuthorized")
    with charger(STOPS) as it:
        it.charging().change(gone(ANN), heard=False).reboot(3600)
        it.resume()
        assert it.play.transactions()[-1] == ("Ended", "PowerLoss"), "the cut came first"
        assert it.play.energy_wh()[-1] == it.play.energy_wh()[-2]


def test_while_nobody_knows_whether_it_resumes_a_removal_does_not_end_it() -> None:
    with charger(STOPS) as it:
        it.charging().change(gone(ANN), heard=False).reboot(60, wall=False)
        it.resume()
        tx = it.play.port(1).transaction
        assert tx and tx.interrupted and not tx.ending and it.play.wish[0].offer_ma == 0
        it.play.on(ClockTold(it.play.epoch_s + it.play.now, ClockSource.CLOUD))
        assert it.play.transactions()[-1] == ("Ended", "DeAuthorized")


def test_an_expiry_needs_no_word_of_the_cloud() -> None:
    with charger(STOPS, ending(ANN, WALL_S + 7200)) as it:
        it.charging().play.after(7100)
        assert it.play.wish[0].offer_ma
        it.play.after(700 + 100)
        assert it.ended() == ("Ended", "DeAuthorized")
        assert WORDS[Reason.CARD_EXPIRED].text in it.shown()


def test_the_setting_counts_at_once() -> None:
    name = {"component": {"name": "TxCtrlr"}, "variable": {"name": "StopTxOnRemoval"}}
    with charger() as it:
        it.charging().change(gone(ANN))
        assert it.play.wish[0].offer_ma
        it.play.command("SetVariables", setVariableData=[{**name, "attributeValue": "true"}])
        assert it.ended() == ("Ended", "DeAuthorized")


def test_a_session_that_the_list_never_knew_is_the_cloud_s_to_stop() -> None:
    with charger(STOPS) as it:
        it.play.on(LinkChanged(Link.UP)).plug(1).tap(EVE)
        it.answer().play.charge(1)
        it.change(gone(BOB)).list(one(ANN))
        assert it.play.after(3600).wish[0].offer_ma
        it.change(one(EVE)).change(gone(EVE))
        assert it.ended() == ("Ended", "DeAuthorized"), "it has known him since"


def test_whom_the_cloud_started_in_spite_of_the_list_it_stops_itself() -> None:
    with charger(STOPS, one(ANN), blocked(EVE)) as it:
        it.play.plug(1).on(RemoteStartRequested("c", 1, EVE, "ISO14443", evse_id=1)).charge(1)
        it.change(gone(ANN))
        assert it.play.after(3600).wish[0].offer_ma
        it.change(one(EVE)).change(blocked(EVE))
        assert it.ended() == ("Ended", "DeAuthorized")


@pytest.mark.promise("S4")
def test_a_list_that_is_lost_or_cannot_be_read_takes_nobody_off() -> None:
    with charger(STOPS) as it:
        it.charging()
        tx = it.play.port(1).transaction
        assert tx
        it.play.on(LookedUp(tx.transaction_id, None, None, is_read=False))
        assert it.play.wish[0].offer_ma
        for path in it.directory.glob("list-*"):
            path.write_bytes(b"torn")
        it.reboot(60)
        it.resume().play.charge(1).after(3600)
        assert it.lists.problem and it.play.wish[0].offer_ma


@pytest.mark.promise("S4")
def test_a_flash_that_goes_bad_under_the_list_takes_nobody_off(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: ListFile, hashed: bytes) -> None:
        self.failures += 1

    with sim(stop_tx_on_removal=True).closing() as world:
        monkeypatch.setattr(ListFile, "find", fails)
        world.run(1800)
        assert world.shell and world.shell.lists.failures and world.is_closed(1)


def test_words_about_a_session_that_is_over_change_nothing() -> None:
    with charger(STOPS) as it:
        it.charging()
        tx = it.play.port(1).transaction
        assert tx
        it.play.after(5).tap(ANN).open(1).after(10)
        before = it.play.station
        it.play.on(LookedUp(tx.transaction_id, None, None)).on(LookedUp("", Entry(STATUS.BLOCKED), None))
        assert it.play.station == before


# -- what people are told ---------------------------------------------------------------------------------------------


@pytest.mark.promise("S7")
def test_who_waits_for_approval_and_who_was_taken_off_hear_so_and_what_to_do() -> None:
    with charger(None, pending(ANN), removed(BOB)) as it:
        said = {card: it.explained(card) for card in (ANN, BOB, EVE)}
        assert [said[card].reason for card in said] == ["approval pending", "connection removed", "could not ask"]
        assert "is on its way" in said[ANN].text and "Ask the owner to approve it" in said[ANN].text
        assert "Owner: Approve or decline the request in the app." in as_text(said[ANN])
        assert "was taken off the list" in said[BOB].text and "Owner: To let it in again" in as_text(said[BOB])
        assert "on its way" not in as_text(said[BOB]) + as_text(said[EVE])
        assert [(it.may(card), it.said) for card in (ANN, BOB)] == [
            (False, Reason.APPROVAL_PENDING), (False, Reason.CONNECTION_REMOVED),
        ]  # fmt: skip
        it.change(one(ANN))
        assert it.may(ANN)


@pytest.mark.promise("S5", "S7")
def test_a_list_grows_old_in_words_and_a_listed_driver_hears_that_it_is_the_list() -> None:
    with charger() as it:
        texts, let_in = [], []
        for hours in (0, 19, 20, 23, 24, 6 * 24, 7 * 24):
            it.play.at(hours * 3600 + 100.0)
            texts.append((screen(it.play.station, it.play.now).list_text, it.explained(ANN).list_follows))
            let_in.append(it.may(ANN))
        assert let_in == [True] * 6 + [False] and it.said is Reason.LIST_TOO_OLD
        marks = [text.partition("ago")[2].partition(".")[0] for text, _ in texts]
        assert marks == ["", "", ": late", ": late", ": old", ": old", ": too old"]
        firsts = [(text, follows.partition(".")[0]) for text, follows in texts]
        assert all(follows in text for text, follows in firsts) and not texts[1][1] and texts[2][1]
        said = it.explained(ANN)
        assert said.reason == "list too old" and "GraceDays" in said.owner and said.status == "Unknown"
        assert "Nobody starts by it until the network is back." in as_text(said)
        it.play.plug(1).tap(ANN)
        notice = screen(it.play.station, it.play.now).ports[0].notice
        assert notice and notice.code == "A046" and "confirmed 7 d ago" in notice.action
        it.play.on(LinkChanged(Link.UP))
        assert it.explained(ANN).decision == "ask"


# -- over the wire ----------------------------------------------------------------------------------------------------


def sim(**settings: Any) -> World:
    world = World(5, Settings(station_id="SIM-0001", restart_delay_max_s=5.0, **settings))
    world.allow(ANN, BOB).power_on().run(30)
    world.plug(1).run(2).tap(ANN).run(60)
    assert world.is_closed(1)
    return world


def test_a_removal_over_the_wire_leaves_a_session_alone() -> None:
    with sim().closing() as world:
        world.remove(ANN).run(900)
        assert world.is_closed(1)


@pytest.mark.promise("S1", "S2")
def test_a_removal_over_the_wire_opens_the_contactor_and_is_billed_to_the_last_watt_hour() -> None:
    with sim(stop_tx_on_removal=True).closing() as world:
        world.remove(ANN).run(8)
        assert not world.is_closed(1), "in order, within the 6 s of a car that does not let go"
        world.run(60)
        assert world.unplug(1)
        world.run_until(world.is_equal, 600)
        assert [session.stopped_reason for session in world.cloud.sessions.values()] == ["DeAuthorized"]


@pytest.mark.promise("S3", "S5")
def test_a_removal_that_waited_for_a_station_without_power_ends_the_session_that_resumes() -> None:
    with sim(stop_tx_on_removal=True, tx_resumption_timeout_s=3600.0).closing() as world:
        world.cut_power().run(60)
        world.remove(ANN)
        world.power_on().run(120)
        assert not world.is_closed(1)
        assert world.unplug(1)
        world.run_until(world.is_equal, 600)
        assert [session.stopped_reason for session in world.cloud.sessions.values()] == ["DeAuthorized"]


def test_clear_cache_is_refused_where_there_is_none() -> None:
    for enabled, status in ((True, "Accepted"), (False, "Rejected")):
        with World(5, Settings(station_id="SIM-0001", cache_enabled=enabled)).closing() as world:
            world.cloud.drivers[EVE] = {"status": "Accepted"}
            world.power_on().run(30)
            world.plug(1).run(2).tap(EVE).run(30)
            assert world.shell and world.is_closed(1) and len(world.shell.lists.cache) == enabled
            world.command("ClearCache").run(5)
            assert not len(world.shell.lists.cache)
            assert world.cloud.results[-1]["response"]["status"] == status
