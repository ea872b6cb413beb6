"""A host flashes a controller over its own line, in simulated time: agent/update/chip.py against the boot part and the
firmware as they are (tests/slotchip.py)."""

import random
from functools import partial

import pytest

from agent.update import chip as host
from agent.update.chip import Flash, Image, Look, Progress, Report, Rollback, Talk
from agent.update.line import BODY_MAX, Deframer
from agent.update.refusal import Refused
from board.controller import contract, main, receive, slots
from board.controller.contract import pack
from board.controller.link import frame
from board.controller.slots import NONE, SLOT_B, A, B
from tests.chip import HELLO
from tests.slotchip import Chip, Cut, Line, component, sealed

OLD, NEW = sealed("1"), sealed("2")
IMAGE = component(NEW)
NONCE = b"nonce-01"


def flash(chip: Chip, image: Image, *, noise: float = 0.0, seed: int = 0, **options: str | bool) -> Report:
    talk = Line(chip, noise=noise, seed=seed, rate_b=2_000).run(Flash(image, nonce=NONCE, **options))  # type: ignore[arg-type]
    if talk.refused:
        raise talk.refused
    assert talk.report
    return talk.report


def refused(chip: Chip, image: Image, **options: str | bool) -> Refused:
    with pytest.raises(Refused) as caught:
        flash(chip, image, **options)  # type: ignore[arg-type]
    return caught.value


def wishes(ports: int = 1, offer_ma: int = 0) -> bytes:
    rows = ((offer_ma, 0 if offer_ma else 1, 0, 0),) * ports
    return frame(0, pack(*HELLO)) + frame(1, pack(contract.WISH, contract.MINOR_LAST, rows))


# -- the whole of it


@pytest.mark.promise("S8")
def test_firmware_is_halted_replaced_booted_on_trial_and_stays_once_a_host_has_wished() -> None:
    chip, steps = Chip(OLD), list[Progress]()
    image = IMAGE
    talk = Line(chip).run(Flash(image, nonce=NONCE, tell=steps.append))
    assert talk.refused is None
    report = talk.report
    assert report and (report.version, report.digest) == ("2", image.digest)
    assert (report.board, report.kind, report.port_count, report.on_trial) == ("duo_test", "sim", 1, False)
    assert report.contract == (1, contract.MINOR_FIRST, contract.MINOR_LAST)
    assert list(dict.fromkeys(step.step for step in steps)) == "find halt plan send check boot prove".split()
    sends = [step for step in steps if step.step == "send"]
    assert sends[-1].sent_b == sends[-1].total_b == report.sent_b and report.again_b <= 1_024
    assert chip.boots == ["1", "2"] and chip.settled() == "2"


@pytest.mark.promise("S8")
def test_a_blank_chip_is_flashed_through_the_receiver_that_never_goes() -> None:
    chip = Chip()
    assert flash(chip, IMAGE).version == "2" and chip.settled() == "2"


@pytest.mark.promise("S8")
def test_what_lies_in_the_other_slot_is_not_sent_again() -> None:
    chip = Chip(OLD)
    flash(chip, IMAGE)
    report = flash(chip, component(OLD, version="1"))
    assert report.version == "1" and report.sent_b == 0 and report.have_b > 10_000
    again = flash(chip, component(OLD, version="1"))
    assert again.sent_b == 0 and chip.settled() == "1"


@pytest.mark.promise("S8")
@pytest.mark.parametrize("seed", range(2))
def test_a_noisy_line_costs_time_and_nothing_else(seed: int) -> None:
    chip = Chip(OLD)
    report = flash(chip, IMAGE, noise=1e-4, seed=seed)
    assert report.version == "2" and 0 < report.again_b < report.sent_b


def test_to_roll_back_needs_no_build() -> None:
    chip = Chip(OLD)
    flash(chip, IMAGE)
    talk = Line(chip).run(Rollback(nonce=NONCE))
    assert talk.report and talk.report.version == "1" and talk.report.on_trial
    assert Line(Chip(OLD)).run(Rollback(nonce=NONCE)).refused, "there is nothing to go back to"


def test_who_looks_disturbs_nobody_and_sees_firmware_and_receiver() -> None:
    chip = Chip(OLD)
    line = Line(chip)
    line.idle(1, wishes())
    report = line.run(Look(nonce=NONCE)).report
    assert report and (report.version, report.is_receiving) == ("1", False) and chip.boots == ["1"]
    line = Line(Chip())
    assert (report := line.run(Look(nonce=NONCE)).report) and report.is_receiving and report.board == "duo_test"
    line.is_cut = True
    assert (nobody := line.run(Look(nonce=NONCE)).refused) and nobody.code == "no-device"


# -- a new image that is no good


@pytest.mark.promise("S8")
@pytest.mark.parametrize("how", ["bad import", "bad loop"])
def test_a_new_image_that_crashes_is_gone_by_itself_and_that_is_said(how: str) -> None:
    chip = Chip(OLD)
    why = refused(chip, component(sealed(f"2 {how}")))
    assert why.code == "rolled-back" and "1 again" in why.sentence
    assert chip.boots == ["1", *[f"2 {how}"] * slots.TRIES, "1"]
    assert chip.settled() == "1"
    report = Line(chip).run(Look(nonce=NONCE)).report
    assert report and report.fell_back, "and it is told until the next flash"


@pytest.mark.promise("S8")
def test_a_new_image_that_no_host_wishes_gives_way_after_its_tries() -> None:
    chip = Chip(OLD)
    report = flash(chip, IMAGE, is_proven_here=False)
    assert report.on_trial and chip.version == "2"
    line = Line(chip)
    line.idle(slots.TRIES * (main.TRIAL_MS / 1000 + 1) + 1)
    assert chip.version == "1" and chip.boots.count("2") == slots.TRIES
    line.idle(20, wishes())
    assert chip.settled() == "1"


@pytest.mark.promise("S8")
def test_the_agents_own_wishes_confirm_it_and_power_cuts_before_cost_tries() -> None:
    chip = Chip(OLD)
    flash(chip, IMAGE, is_proven_here=False)
    line = Line(chip)
    chip.power_on()
    line.idle(5, wishes())
    chip.power_on()
    line.idle(11, wishes())
    assert chip.version == "2" and slots.load(chip.home.read(slots.FILE)) == (B, NONE, 0, NONE)
    assert chip.settled() == "2"


# -- contracts


@pytest.mark.promise("S8")
def test_an_old_controller_charges_with_a_new_host_and_is_flashed_by_it() -> None:
    chip = Chip(sealed("1 old"))
    line = Line(chip)
    said = line.idle(2, wishes().replace(frame(1, pack(contract.WISH, contract.MINOR_LAST, ((0, 1, 0, 0),))), b""))
    from board.controller.link import Deframer as Ear

    welcome = next(m for _, body in Ear().feed(said) if (m := contract.unpack(body)) and m[0] == contract.WELCOME)
    assert contract.agree(*welcome[1:5])[0] == 2
    assert flash(Chip(sealed("1 old")), IMAGE).version == "2"


@pytest.mark.promise("S8")
def test_a_controller_can_go_back_to_an_image_of_an_older_contract() -> None:
    chip = Chip(OLD)
    report = flash(chip, component(sealed("2 old")))
    assert report.contract[2] == 2 and report.digest == "", "it does not know how to tell"
    line = Line(chip)
    rows = ((0, 1, 0, 0),)
    line.idle(12, frame(0, pack(*HELLO)) + frame(1, pack(contract.WISH, 2, rows)))
    assert chip.settled() == "2 old"


@pytest.mark.promise("S8")
def test_an_image_that_we_would_not_understand_goes_back_at_once_and_one_that_runs_is_replaced() -> None:
    chip = Chip(OLD)
    why = refused(chip, component(sealed("2 alien")))
    assert why.code == "contract" and "old firmware again" in why.sentence
    assert chip.settled() == "1"
    assert flash(Chip(sealed("1 alien")), IMAGE).version == "2"


# -- interlocks


def in_use(chip: Chip) -> None:
    chip.rows[0][:2] = 9_000, -12_000
    line = Line(chip)
    line.idle(1, wishes(offer_ma=0))
    line.idle(1, frame(0, pack(contract.LIMIT, 32_000, 6_000, 60)))
    line.idle(2, frame(1, pack(contract.WISH, contract.MINOR_LAST, ((16_000, 0, 0, 0),))))
    chip.rows[0][0] = 6_000


@pytest.mark.promise("S8")
def test_a_port_that_offers_current_is_not_interrupted_without_a_reason() -> None:
    chip = Chip(OLD)
    in_use(chip)
    before = bytes(chip.flash.data)
    why = refused(chip, IMAGE)
    assert why.code == "session" and "port 1" in why.sentence and "--override" in why.sentence
    assert bytes(chip.flash.data) == before and chip.boots == ["1"]


@pytest.mark.promise("S1", "S8")
def test_with_a_reason_the_session_is_stopped_in_order_first() -> None:
    chip = Chip(OLD)
    in_use(chip)
    line = Line(chip)
    talk = Flash(IMAGE, nonce=NONCE, override="fire brigade")
    line.run(talk, until=lambda: chip.is_receiving)
    assert chip.is_receiving and line.run(talk).report


@pytest.mark.promise("S8", "S9")
def test_another_boards_image_goes_nowhere_and_the_firmware_comes_back() -> None:
    chip = Chip(OLD)
    before = bytes(chip.flash.data)
    why = refused(chip, component(sealed("2", board="solo"), "solo"))
    assert why.code == "board" and "duo_test" in why.sentence and "solo" in why.sentence
    assert bytes(chip.flash.data) == before
    line = Line(chip)
    line.idle(slots.HALTED_MS / 1000 + 5)
    assert chip.version == "1", "nobody else came"


@pytest.mark.promise("S8", "S9")
def test_the_host_too_sends_another_boards_image_nothing_but_its_question() -> None:
    line = Line(Chip(OLD))
    talk = line.run(Flash(component(sealed("2", board="solo"), "solo"), nonce=NONCE))
    assert talk.refused and talk.refused.code == "board"
    assert {kind for kind, _, _ in Deframer().feed(line.carried)} == {receive.HELLO}


# -- interruptions


def has_sent(talk: Talk, size_b: int) -> bool:
    """Pieces, so many bytes."""
    return talk._sender is not None and talk._sender.size_b > 1_000 and talk._sender.acked_b >= size_b


WINDOW_B = receive.WINDOW * BODY_MAX


@pytest.mark.promise("S8")
def test_a_cable_that_is_pulled_costs_at_most_one_window() -> None:
    """The next flasher is another one; the chip has kept what it had of the piece that was on its way."""
    image = IMAGE
    whole = len(b"".join(map(image.stored, image.pieces)))
    for size_b in range(500, whole, 1_700):
        chip = Chip(OLD)
        line = Line(chip)
        talk = Flash(image, nonce=NONCE)
        line.run(talk, until=partial(has_sent, talk, size_b))
        assert talk._sender is not None
        sent_b, line._queue = talk._sender.sent_b, b""
        again = Flash(image, nonce=b"nonce-02")
        report = line.run(again).report
        assert report and report.version == "2" and whole <= sent_b + report.sent_b <= whole + WINDOW_B


@pytest.mark.promise("S8")
def test_a_flash_that_is_interrupted_anywhere_boots_and_resends_at_most_one_window_and_a_piece() -> None:
    image = IMAGE
    whole = len(b"".join(map(image.stored, image.pieces)))
    for percent in (3, 50, 90):
        chip = Chip(OLD)
        first = Line(chip)
        talk = Flash(image, nonce=NONCE)
        first.run(talk, until=partial(has_sent, talk, whole * percent // 100))
        assert talk._sender is not None
        sent_b = talk._sender.sent_b
        chip.power_on()
        chip.step(first.now + 1, b"")
        assert chip.version == "1"
        report = flash(chip, image)
        assert report.version == "2" and sent_b + report.sent_b - whole <= WINDOW_B + slots.SECTOR_B
        assert chip.settled() == "2"


@pytest.mark.promise("S8")
def test_the_power_goes_at_each_operation_of_a_flash_over_the_line() -> None:
    image, cut = component(sealed("2", 9_000)), 0
    while True:
        cut += 1
        chip = Chip(OLD)
        chip.flash.cut_at = cut
        line = Line(chip, rate_b=4_000)
        try:
            line.run(Flash(image, nonce=NONCE))
            break
        except Cut:
            chip.power_on()
        chip.step(line.now + 1, b"")
        assert chip.version in ("1", "2") and chip.settled() in ("1", "2")
    assert cut > 8 and chip.settled() == "2"


@pytest.mark.promise("S8")
def test_a_flasher_that_dies_leaves_firmware_behind() -> None:
    chip = Chip(OLD)
    line = Line(chip)
    talk = Flash(IMAGE, nonce=NONCE)
    line.run(talk, until=partial(has_sent, talk, 2_000))
    line.idle(slots.HALTED_MS / 1000 + 3)
    assert chip.version == "1"


@pytest.mark.promise("S8")
def test_firmware_that_ends_again_and_again_is_replaced_between_two_of_its_ends() -> None:
    chip = Chip(sealed("1 bad import"))
    line = Line(chip)
    line.idle(5)
    assert len(chip.boots) >= slots.RESTLESS
    assert flash(chip, IMAGE).version == "2"


def test_a_line_that_goes_dead_is_given_up_with_a_sentence() -> None:
    chip = Chip(OLD)
    line = Line(chip)
    talk = Flash(IMAGE, nonce=NONCE)
    line.run(talk, until=lambda: talk._sender is not None and talk._sender.acked_b > 2_000)
    line.is_cut = True
    line.run(talk)
    assert talk.refused and talk.refused.code == "link" and "flash again" in talk.refused.sentence


@pytest.mark.parametrize("step", ["find", "halt", "plan", "check", "boot", "prove"])
def test_a_line_that_goes_dead_between_two_steps_is_given_up_with_a_sentence(step: str) -> None:
    line, steps = Line(Chip(OLD)), list[Progress]()
    talk = Flash(IMAGE, nonce=NONCE, tell=steps.append)
    line.run(talk, until=lambda: bool(steps) and steps[-1].step == step)
    line.is_cut = True
    began_s = line.now
    line.run(talk)
    assert talk.refused and talk.refused.sentence and line.now - began_s < 90, "and within the patience of a person"


@pytest.mark.promise("S9")
@pytest.mark.parametrize("seed", range(3))
def test_what_a_mad_controller_says_ends_in_a_sentence_or_in_silence(seed: int) -> None:
    """It answers each frame with one of its own kind, full of nonsense."""
    rng = random.Random(seed)
    talk: Talk = Flash(IMAGE, nonce=NONCE)
    now, ear = 0.0, Deframer()
    while not talk.is_over:
        now += 0.05
        out = talk.poll(now)
        for kind, seq, _ in ear.feed(out):
            said = rng.choice([b"", rng.randbytes(20), b"\xa1\x64bits\x41\x00", b"\xa0", b"\xa1\x65board\x68duo_test"])
            from board.controller import slip

            talk.received(slip.frame(rng.choice((kind + 0x40, 0x43, 0x7E)), seq, said), now)
        talk.received(rng.randbytes(rng.randrange(20)), now)
        assert now < 600
    assert talk.refused is not None and talk.refused.sentence


def test_the_facts_that_both_sides_have_are_the_same() -> None:
    assert host.image_of(NEW).digest == IMAGE.digest and host.image_of(NEW).version == "2"
    assert SLOT_B == slots.SLOT_SECTORS * slots.SECTOR_B and (A, B) == (0, 1)
