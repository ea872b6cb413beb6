"""A modem is kept online: each story is one complaint from the field, in simulated time, through the channel."""

from collections import Counter
from itertools import pairwise

import pytest

from agent.modem.apn import Access
from agent.modem.events import Lost, Opened
from agent.modem.keeper import Wishes
from agent.modem.kinds import Kind, Sunset
from agent.modem.modem import Sim, State
from agent.modem.recovery import DAY_S, HOUR_S, LEVELS, LIMITS, RESETS, Action
from agent.modem.told import KindNews, ModemNews, SimNews, StartNews, StateNews, Warn, WarningNews
from tests.modem_world import ALL, IMEI, OTHER_IMEI, SLOW_S, Card, Hardware, Network, World

NO_BOARD = Wishes(stable_s=SLOW_S)
OTHER = Card(iccid="8949020000999999999", imsi="262021234567890")


def levels(world: World) -> list[int]:
    return [LEVELS[action] for _, action in world.actions]


# -- coming up --------------------------------------------------------------------------------------------------------


def test_a_modem_is_online_within_twenty_seconds_and_says_all_that_it_knows() -> None:
    world = World()
    assert world.until(State.ONLINE) < 20
    told = world.run(120).keeper.told(world.now)
    assert (told.imei, told.model, told.kind, told.sunset) == (IMEI, "EC25", Kind.LTE, None)
    assert (told.operator, told.mccmnc, told.act, told.generation) == ("Telekom.de", "26201", 7, "4g")
    assert (told.signal.rsrp_dbm, told.signal.rsrq_db, told.is_signal_good) == (-96, -10.0, True)
    assert (told.iccid, told.imsi, told.address) == ("89490200001234567890", "262011234567890", "10.0.0.2")
    assert set(told.registrations) == {"+CREG", "+CGREG", "+CEREG"} and not told.warnings and not world.done()
    met = [state for _, state in world.states if state is not State.ATTACHED]
    assert met == [State.ABSENT, State.PROBING, State.SEARCHING, State.REGISTERED, State.BEARER_UP, State.ONLINE]


def test_a_sim_for_data_only_is_not_judged_by_the_registration_for_calls() -> None:
    world = World()
    world.until(State.ONLINE)
    assert world.keeper.modem.registrations["+CREG"].stat == 0


@pytest.mark.parametrize("fun", [0, 4])
def test_a_radio_that_was_left_off_is_switched_on_and_the_sim_is_not_blamed(fun: int) -> None:
    world = World()
    world.fun = fun
    assert world.until(State.ONLINE) < 60
    assert not any(state.value.startswith("SIM") for _, state in world.states) and not world.done()
    assert world.commands["AT+CFUN=1"] == 1, "+CFUN: 1,0 is on"


def test_a_modem_that_was_told_not_to_register_is_told_to() -> None:
    world = World()
    world.cops_mode = 2
    assert world.until(State.ONLINE) < 60
    assert world.commands["AT+COPS=0"] == 1


def test_a_network_is_never_searched_by_hand() -> None:
    world = World(network=Network(is_heard=False)).run(900)
    assert not any("=?" in command for command in world.commands if "COPS" in command)


def test_after_a_power_cut_the_stations_of_a_site_do_not_dial_together() -> None:
    starts = [World(is_cold=True, seed=seed).until(State.ONLINE) for seed in range(12)]
    assert max(starts) < 90 and max(starts) - min(starts) > 20


# -- SIM --------------------------------------------------------------------------------------------------------------


def test_without_a_sim_the_modem_still_says_who_it_is_and_an_inserted_one_is_found() -> None:
    world = World(card=None)
    world.until(State.SIM_MISSING)
    told = world.keeper.told(world.now)
    assert (told.imei, told.kind, told.sim) == (IMEI, Kind.LTE, Sim.MISSING)
    world.run(3 * HOUR_S)
    by_hour = Counter(int((when - world.start) // HOUR_S) for when in world.done(*LEVELS))
    assert all(count <= 2 for hour, count in by_hour.items() if hour) and len(world.done()) <= 4
    world.card = Card()
    assert world.until(State.ONLINE) < 1_700


def test_the_pin_is_entered_once_and_only_while_a_person_has_a_try_left() -> None:
    world = World(card=Card(pin="1234"), wishes=Wishes(pin="1234", stable_s=SLOW_S))
    assert world.until(State.ONLINE) < 30 and world.commands['AT+CPIN="1234"'] == 1

    world = World(card=Card(pin="1234"), wishes=Wishes(pin="9999", can=ALL, stable_s=SLOW_S)).run(900.0)
    assert world.card and world.card.tries == 2 and world.state is State.SIM_LOCKED
    assert Warn.PIN_WRONG in world.keeper.told(world.now).warnings and not world.done()
    after = World(card=world.card, wishes=world.wishes, kept=world.saves[-1][1]).run(200.0)
    assert world.card.tries == 2, "a wrong PIN is remembered over restarts"
    corrected = World(card=world.card, wishes=Wishes(pin="1234"), kept=after.keeper.saved(0.0))
    assert corrected.until(State.ONLINE) < 30

    for tries, warning in ((1, Warn.PIN_UNSURE), (0, Warn.PUK)):
        world = World(card=Card(pin="1234", tries=tries), wishes=Wishes(pin="1234", stable_s=SLOW_S)).run(200.0)
        assert world.card and world.card.tries == tries and warning in world.keeper.told(world.now).warnings
    world = World(card=Card(pin="1234")).run(200.0)
    assert Warn.PIN_MISSING in world.keeper.told(world.now).warnings


@pytest.mark.promise("M3")
def test_a_sim_that_is_changed_while_all_runs_is_reported_and_everything_derived_anew() -> None:
    known = {"26202": (Access("new.apn"),), "26201": (Access("old.apn"),)}
    world = World(card=Card(apns=("old.apn",)), wishes=Wishes(known=known, can=ALL, stable_s=SLOW_S))
    world.until(State.ONLINE)
    world.card = None
    world.set(is_heard=False)
    world.until(State.SIM_MISSING)
    world.set(is_heard=True).card = Card(OTHER.iccid, OTHER.imsi, apns=("new.apn",))
    world.until(State.ONLINE)
    told = world.keeper.told(world.now)
    assert (told.iccid, told.imsi, told.apn) == (OTHER.iccid, OTHER.imsi, "new.apn")
    assert world.told(SimNews) == [SimNews(None, Card().iccid), SimNews(Card().iccid, OTHER.iccid)]


@pytest.mark.promise("M3")
def test_another_sim_or_modem_is_noticed_at_boot() -> None:
    before = World().run(60)
    world = World(card=OTHER, hardware=Hardware(imei=OTHER_IMEI), kept=before.keeper.saved(before.now)).run(60)
    assert world.told(SimNews) == [SimNews(Card().iccid, OTHER.iccid)]
    assert world.told(ModemNews) == [ModemNews(IMEI, OTHER_IMEI)]
    same = World(kept=before.keeper.saved(before.now)).run(60)
    assert not same.told(SimNews) and not same.told(ModemNews)


@pytest.mark.promise("M3")
def test_lines_in_the_wrong_place_are_never_another_sim() -> None:
    world = World().run(60)
    for n in range(200):
        world.say(f"\r\n+CCID: 8949020000{n:09}\r\n\r\n+CPIN: READY\r\n\r\nOK\r\n" if n % 2 else f"\r\n8944{n:015}\r\n")
        world.run(7.0)
    assert len(world.told(SimNews)) == 1 and world.keeper.modem.iccid == Card().iccid
    assert not world.done(*RESETS)


@pytest.mark.promise("M3")
def test_an_answer_that_is_wrong_once_is_never_another_sim() -> None:
    world = World().run(60)
    for _ in range(20):
        assert world.card
        world.card = Card(OTHER.iccid)
        world.keeper._again("AT+CCID")
        asked = world.commands["AT+CCID"]
        while world.commands["AT+CCID"] == asked:
            world.run(0.01)
        world.card = Card()
        world.run(30.0)
    assert len(world.told(SimNews)) == 1


@pytest.mark.promise("M1")
def test_a_modem_is_not_called_old_before_every_question_is_answered() -> None:
    world = World(hardware=Hardware(model="X1"), network=Network(act=2)).run(60)
    assert [news.kind for news in world.told(KindNews)] == [Kind.LTE]


# -- the network ------------------------------------------------------------------------------------------------------


def test_the_signal_is_gone_for_ten_minutes_and_comes_back() -> None:
    world = World().run(900)
    world.set(is_heard=False).run(600)
    assert world.state is State.SEARCHING
    world.set(is_heard=True)
    assert world.until(State.ONLINE) < 60 and not world.done()


@pytest.mark.promise("R1")
def test_without_coverage_nothing_is_reset_for_hours() -> None:
    world = World(network=Network(is_heard=False)).run(9 * HOUR_S)
    assert not world.done(*RESETS) and len(world.actions) <= 4 and world.state is not State.ONLINE
    world.set(is_heard=True)
    assert world.until(State.ONLINE) < 60


@pytest.mark.promise("R1")
@pytest.mark.long
def test_without_coverage_nothing_is_reset_however_long_it_lasts() -> None:
    world = World(wishes=Wishes(can=ALL, stable_s=SLOW_S), network=Network(is_heard=False)).run(3 * DAY_S)
    assert not world.done(*RESETS) and world.state is not State.ONLINE
    assert len(world.actions) < 3 * 6
    world.set(is_heard=True)
    assert world.until(State.ONLINE) < 60


@pytest.mark.long
def test_a_modem_that_has_gone_deaf_hears_again_after_its_radio_was_off() -> None:
    world = World(deaf=True, cures=frozenset((Action.RADIO,)))
    assert 6 * HOUR_S < world.until(State.ONLINE) < 12 * HOUR_S and not world.done()


def test_a_sim_that_the_network_denies_is_not_tried_faster_than_hours() -> None:
    world = World(network=Network(denies=8)).run(7 * HOUR_S)
    assert world.state is State.DENIED and Warn.DENIED in world.keeper.told(world.now).warnings
    assert len(world.actions) <= 1 and not world.done()
    world.set(denies=None)
    assert world.until(State.ONLINE) < 60


def test_a_network_that_is_heard_but_not_joined_has_fifteen_minutes_before_anything_is_done() -> None:
    world = World(network=Network(denies=15)).run(1_300.0)
    assert world.actions[0][0] - world.start >= 900
    assert len(world.done(Action.POWER)) == 0, "the modem's own back-off after rejects is not undone"


def test_a_foreign_network_is_used_unless_roaming_is_off() -> None:
    world = World(network=Network(is_foreign=True))
    world.until(State.ONLINE)
    assert world.keeper.told(world.now).is_roaming
    world = World(network=Network(is_foreign=True), wishes=Wishes(may_roam=False, can=ALL, stable_s=SLOW_S)).run(HOUR_S)
    assert not world.actions and Warn.ROAMING in world.keeper.told(world.now).warnings


# -- the access point -------------------------------------------------------------------------------------------------


def test_access_points_are_tried_in_their_order_and_the_networks_own_last() -> None:
    providers = {"26201": (Access("one.de"), Access("two.de", "u", "p"))}
    world = World(card=Card(apns=("two.de",)), wishes=Wishes(providers=providers, known={}))
    world.until(State.ONLINE)
    assert world.keeper.told(world.now).apn == "two.de"
    world = World(card=Card(apns=("",)), wishes=Wishes(providers=providers, known={}))
    world.until(State.ONLINE)
    assert world.keeper.told(world.now).apn == ""


def test_the_configs_access_point_is_the_only_one_and_one_that_is_refused_is_tried_once_an_hour() -> None:
    wishes = Wishes(access=Access("wrong"), can=ALL, stable_s=SLOW_S)
    world = World(card=Card(apns=("right",)), wishes=wishes).run(5 * HOUR_S)
    assert Warn.ACCESS in world.keeper.told(world.now).warnings and not world.done()
    assert 4 <= len(world.done(Action.REDIAL)) <= 9
    assert set(world.contexts.values()) == {"wrong"}


# -- the ladder -------------------------------------------------------------------------------------------------------


@pytest.mark.promise("R1")
@pytest.mark.parametrize(
    "cure", [Action.REDIAL, Action.REATTACH, Action.RADIO, Action.RESTART, Action.POWER], ids=lambda each: each.name
)
def test_data_that_have_stopped_flow_again_and_nothing_stronger_was_done_than_what_has_helped(cure: Action) -> None:
    world = World().run(1_200)
    world.actions.clear()
    world.stuck, world.cures = True, frozenset((cure,))
    world.until(State.DEGRADED, 200)
    began = world.now
    assert not world.actions, "nothing is done before three checks have failed over 90 s"
    world.until(State.ONLINE)
    assert max(levels(world)) == LEVELS[cure] and levels(world)[0] == 0
    limit_s = {Action.REDIAL: 300, Action.REATTACH: 600, Action.RADIO: 1_200, Action.RESTART: 2_400}
    assert world.now - began < limit_s.get(cure, 9_000)


def test_between_series_the_back_off_grows_and_no_limit_is_passed() -> None:
    world = World().run(1_200)
    world.actions.clear()
    world.stuck = True
    world.run(9 * HOUR_S)
    strong = world.done(Action.RESTART, Action.POWER)
    gaps = [b - a for a, b in pairwise(strong)]
    assert gaps[0] > 300 and sum(gaps[-2:]) / 2 > 3_000 and max(gaps) < 2 * HOUR_S
    assert State.BACK_OFF in {state for _, state in world.states}
    within_limits(world)
    assert len(world.done(Action.POWER)) >= 5, "it is never given up"


def within_limits(world: World) -> None:
    for action, limits in LIMITS.items():
        taken = [when for when, each in world.actions if each == action]
        for count, window_s in limits:
            for first, last in zip(taken, taken[count:], strict=False):
                assert last - first >= window_s - 20.0, (action, count, window_s, first, last)


@pytest.mark.promise("R1")
def test_a_broker_that_is_silent_alone_never_costs_the_modem_anything() -> None:
    world = World().run(900)
    world.actions.clear()
    world.broker = False
    world.run(6 * HOUR_S)
    assert not world.actions and world.state is State.DEGRADED
    assert Warn.BROKER in world.keeper.told(world.now).warnings
    assert 65 < world.probes < 80, "a check every five minutes, no more"
    world.broker = True
    assert world.until(State.ONLINE) <= 241


def test_while_the_broker_answers_nothing_else_is_asked_over_the_line() -> None:
    world = World().run(2 * HOUR_S)
    assert world.probes == 0 and world.state is State.ONLINE


@pytest.mark.parametrize("cure", [Action.REOPEN, Action.USB, Action.POWER], ids=lambda each: each.name)
def test_a_modem_that_answers_no_more_is_opened_anew_then_usb_and_supply_are_switched(cure: Action) -> None:
    world = World().run(900)
    world.set(is_heard=False, hangs=True, cures=frozenset((cure,)))
    world.run(60).set(is_heard=True)
    assert world.until(State.ONLINE) < 300
    assert max(levels(world)[1:], default=3) <= LEVELS[cure]


def test_a_port_that_hangs_while_data_flow_is_left_alone() -> None:
    world = World().run(900)
    world.actions.clear()
    world.hangs = True
    world.run(HOUR_S)
    assert not world.actions and world.state is State.ONLINE


def test_a_modem_that_has_left_the_usb_is_started_by_key_port_and_supply() -> None:
    world = World(has_port=False, cures=frozenset((Action.POWER,)))
    assert world.until(State.ONLINE) < 400
    assert [action for _, action in world.actions[:3]] == [Action.START, Action.USB, Action.POWER]
    bare = World(has_port=False, wishes=NO_BOARD).run(DAY_S)
    assert not bare.actions and bare.state is State.BACK_OFF


def test_a_modem_that_starts_by_itself_is_set_up_anew() -> None:
    world = World().run(900)
    commands = world.commands["AT+CEREG=2"]
    world.hardware.leaves_usb = False
    world._restart(1.0)
    world.run(60)
    assert world.told(StartNews) == [StartNews("RDY")] and world.commands["AT+CEREG=2"] == commands + 1
    assert world.state is State.ONLINE and not world.done()


@pytest.mark.parametrize("leaves_usb", [False, True])
@pytest.mark.parametrize("says_rdy", [False, True])
def test_a_restart_is_survived_with_and_without_a_word_of_it(leaves_usb: bool, says_rdy: bool) -> None:
    world = World(hardware=Hardware(leaves_usb=leaves_usb, says_rdy=says_rdy, has_cfun4=False)).run(900)
    world.stuck, world.cures = True, frozenset((Action.RESTART,))
    world.run(200).until(State.ONLINE)
    assert world.done(Action.RESTART) and not world.done(Action.POWER) and not world.echo


@pytest.mark.promise("R1")
def test_the_station_is_rebooted_once_a_day_at_most_and_never_while_somebody_charges() -> None:
    charging = World(is_charging=True, has_port=False).run(7 * HOUR_S)
    assert not charging.done(Action.REBOOT) and charging.done(Action.POWER)
    world = World(has_port=False, wishes=Wishes(can=ALL, stable_s=SLOW_S)).run(7 * HOUR_S)
    assert len(world.done(Action.REBOOT)) == 1 and world.done(Action.REBOOT)[0] - world.start >= 6 * HOUR_S
    kept = world.saves[-1][1]
    again = World(has_port=False, wishes=Wishes(can=ALL, stable_s=SLOW_S), kept=kept).run(10 * HOUR_S)
    assert not again.done(Action.REBOOT), "the reboot itself does not make it forget"


@pytest.mark.long
def test_what_was_tried_is_kept_over_a_restart_of_the_station() -> None:
    world = World().run(1_200)
    world.stuck = True
    world.run(5 * HOUR_S)
    after = World(stuck=True, kept=world.saves[-1][1], wishes=world.wishes).run(HOUR_S)
    assert len(after.done()) <= 2 and len(after.actions) <= 6


def test_what_was_kept_can_be_anything() -> None:
    odd: list[object] = [
        None, 7, [], {"recovery": 3}, {"recovery": {"ledger": {"redial": 4, "access": ["x", None, -1e9]}}},
        {"recovery": {"tracks": {"no port": [99, -4, 1e12], "x": 1}}, "lte": 4, "on_3g_s": "x"},
    ]  # fmt: skip
    for kept in odd:
        assert World(kept=kept, wishes=NO_BOARD).until(State.ONLINE) < 30


# -- flapping ---------------------------------------------------------------------------------------------------------


def flapping(world: World, down: dict[str, object], up: dict[str, object], for_s: float) -> World:
    def go_up() -> None:
        world.set(**up)

    def go_down() -> None:
        world.set(**down)
        world.at(10.0, go_up)
        world.at(20.0, go_down)

    go_down()
    return world.run(for_s)


@pytest.mark.parametrize(
    ("down", "up"),
    [
        ({"is_heard": False}, {"is_heard": True}),
        ({"carries": False}, {"carries": True}),
        ({"broker": False}, {"broker": True}),
        ({"denies": 22}, {"denies": None}),
        ({"takes_data": False}, {"takes_data": True}),
        ({"hangs": True}, {"hangs": False}),
    ],
    ids=["coverage", "data", "broker", "denial", "contexts", "port"],
)
@pytest.mark.parametrize("for_s", [600.0, pytest.param(DAY_S, marks=pytest.mark.long)])
def test_a_day_of_flapping_every_twenty_seconds_is_bounded_in_all_it_does_and_says(
    down: dict[str, object], up: dict[str, object], for_s: float
) -> None:
    world = flapping(World().run(900), down, up, for_s)
    within_limits(world)
    assert len(world.done(*RESETS)) <= 26 and len(world.actions) <= 110
    assert len(world.news) < 700 and len(world.saves) < 130
    world._queue.clear()
    world.at(1.0, world._ping)
    world.set(**up)
    world.until(State.ONLINE, 3 * HOUR_S)


@pytest.mark.long
def test_a_port_that_comes_and_goes_every_twenty_seconds_is_bounded_too() -> None:
    world = World().run(900)
    for _ in range(4_320):
        world.give(Lost())
        world.run(10.0)
        world.give(Opened())
        world.run(10.0)
    within_limits(world)
    assert len(world.actions) <= 110 and len(world.news) < 900
    assert world.until(State.ONLINE, 3 * HOUR_S)


# -- type and sunset --------------------------------------------------------------------------------------------------


@pytest.mark.promise("M1")
def test_a_modem_without_lte_must_be_upgraded_or_the_station_replaced() -> None:
    old = Hardware(model="UC20", has_lte=False)
    for upgradable, sunset, warning in ((True, Sunset.UPGRADE, Warn.UPGRADE), (False, Sunset.REPLACE, Warn.REPLACE)):
        world = World(hardware=old, network=Network(act=2), wishes=Wishes(upgradable=upgradable))
        world.until(State.ONLINE)
        told = world.keeper.told(world.now)
        assert (told.kind, told.sunset) == (Kind.GSM, sunset) and warning in told.warnings
        assert world.told(KindNews) == [KindNews(Kind.GSM, sunset)]
        assert any(warning in news.risen for news in world.told(WarningNews))


@pytest.mark.promise("M1")
def test_a_cdma_modem_is_known_by_its_serial_number_and_words() -> None:
    world = World(hardware=Hardware(model="MC5728", is_cdma=True, has_lte=False), network=Network(act=2)).run(60)
    assert world.keeper.told(world.now).kind is Kind.CDMA


@pytest.mark.promise("M1")
def test_an_lte_modem_stays_one_whatever_fails_later() -> None:
    first = World(hardware=Hardware(model="X1")).run(60)
    assert first.keeper.told(first.now).kind is Kind.LTE
    world = World(
        hardware=Hardware(model="X1", has_lte=False), network=Network(act=2), kept=first.keeper.saved(first.now)
    ).run(60)
    assert world.keeper.told(world.now).kind is Kind.LTE


@pytest.mark.promise("M3")
def test_a_new_modem_in_place_of_an_old_one_ends_the_warning_by_itself() -> None:
    old = World(hardware=Hardware(imei=OTHER_IMEI, model="UC20", has_lte=False), network=Network(act=2)).run(60)
    world = World(kept=old.keeper.saved(old.now))
    world.until(State.ONLINE)
    told = world.keeper.told(world.now)
    assert (told.kind, told.sunset, told.warnings) == (Kind.LTE, None, frozenset())
    assert world.told(ModemNews) == [ModemNews(OTHER_IMEI, IMEI)]


def test_an_lte_modem_that_is_on_3g_for_a_day_is_warned_of_also_over_a_restart() -> None:
    world = World(network=Network(act=2)).run(20 * HOUR_S)
    assert Warn.LTE_ON_3G not in world.keeper.told(world.now).warnings
    world = World(network=Network(act=2), kept=world.saves[-1][1]).run(5 * HOUR_S)
    assert Warn.LTE_ON_3G in world.keeper.told(world.now).warnings
    world.set(act=7).run(120)
    assert Warn.LTE_ON_3G not in world.keeper.told(world.now).warnings


def test_a_poor_signal_is_told_by_its_quality() -> None:
    world = World(network=Network(rsrq=14)).run(60)
    told = world.keeper.told(world.now)
    assert (told.signal.rsrq_db, told.is_signal_good) == (-13.0, False) and Warn.SIGNAL in told.warnings
    world = World(network=Network(rsrq=15)).run(60)
    assert world.keeper.told(world.now).is_signal_good


def test_states_are_told_as_edges_and_what_was_skipped_is_counted() -> None:
    world = flapping(World().run(900), {"carries": False}, {"carries": True}, HOUR_S)
    news = world.told(StateNews)
    assert all(a.after is b.before for a, b in pairwise(news))
    assert all(each.before is not each.after for each in news)
