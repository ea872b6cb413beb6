"""Updates of a controller's firmware in a real MicroPython: its boot part, its littlefs, its 64 kB of heap."""

import random
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import cbor2
import pytest

from agent.sim.interpreter import RealController
from agent.update.chip import Flash, Image, Look, Report, Rollback
from agent.update.refusal import Refused
from board import chip, firmware
from board.controller import contract, receive, slip, slots
from board.controller.app.firmware import HELD, INPUTS_FIRST, INPUTS_PER_PORT, OUTPUTS_FIRST, OUTPUTS_PER_PORT
from board.controller.app.pilot import STEADY
from tests.chip import TETHERED, pins, rom_file
from tests.conftest import LONG
from tests.rig import CIRCUIT_MA, OFF, ON, Rig, need_interpreter
from tests.rig import TETHERED as PORT
from tests.slotchip import Line, component

NONCE = b"nonce-02"
PORTS = (tuple(TETHERED.items()),) * 2


@pytest.fixture(autouse=True)
def interpreter() -> None:
    need_interpreter()


# -- power cuts


@pytest.mark.promise("S8")
def test_a_power_cut_at_any_operation_on_the_real_flash_boots_the_old_image_or_the_new(tmp_path: Path) -> None:
    probe = (Path(__file__).parent / "on_chip" / "update.py").read_text()
    torn = tuple(range(0, 256, 5)) if LONG else (0, 1, 128, 255)
    command = chip.command(rom_file(tmp_path, TETHERED), f"TORN = {torn}\n{probe}", heap_kb=4_096)
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-2_000:]
    cuts = [words for line in done.stdout.splitlines() if len(words := line.split()) == 4]
    print(f"{len(cuts)} cuts")
    assert {(first, last) for _, _, first, last in cuts} == {("1", "1"), ("2", "1"), ("2", "2")}
    assert done.stdout.count("end 2") == 2 * len(torn) and len(cuts) >= 100 * len(torn)


# -- images of the real firmware, spoilt in one place

IN_MAIN = "    now_ms = hardware.boot()\n"
IN_LOOP = "        turn(firmware, hardware, now_ms)\n"
SPOILT = {
    "import": ("main.py", "import gc\n", "import gc\nimport no_such_module\n"),
    "loop": ("main.py", IN_LOOP, IN_LOOP + "        no_such_name\n"),
    "heap": ("main.py", IN_MAIN, IN_MAIN + "    bytearray(1 << 20)\n"),
    "exits": ("main.py", IN_MAIN, IN_MAIN + "    sys.exit(0)\n"),
}  # fmt: skip


@cache
def image(version: str, spoilt: str = "") -> bytes:
    table = pins(*PORTS)
    if not spoilt:
        return firmware.image(table, version)
    name, old, new = SPOILT[spoilt]
    source = firmware.CONTROLLER / name
    text = source.read_text()
    assert old in text
    romfs = firmware.romfs({"pins.py": table}, firmware.slot_files("unix"), {source: text.replace(old, new, 1)})
    return slots.sealed("test", version, romfs)


@cache
def boot_rom() -> bytes:
    return firmware.boot_rom(pins(*PORTS))


class Running:
    """A chip in lockstep, in surroundings that never change; its supervisor starts it again."""

    def __init__(self, folder: Path, a: bytes) -> None:
        boot = folder / "boot"
        boot.write_bytes(boot_rom())
        self.sim = RealController(chip.Unit(boot, a), folder / "flash", (PORT, PORT), lockstep=True, on_a_tty=False)
        self.sim.power_on(0.0)
        self.now = 0.0

    def step(self, now: float, line: bytes) -> bytes:
        if line and self.sim.boot is not None:
            self.sim.boot.write(line)
        self.sim.poll(now)
        assert not any(bay.out.coil for bay in self.sim.bays), "nobody wishes it"
        return self.sim.transmit()

    def power_cycle(self, now: float) -> None:
        self.sim.power_off(now)
        self.sim.power_on(now)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    found = Running(tmp_path, image("1"))
    yield found
    found.sim.close()


def flash(line: Line, image: Image) -> Report:
    talk = line.run(Flash(image, nonce=NONCE))
    if talk.refused:
        raise talk.refused
    assert talk.report
    return talk.report


def look(line: Line) -> Report:
    report = line.run(Look(nonce=NONCE)).report
    assert report
    return report


def component_of(data: bytes, version: str = "2") -> Image:
    return component(data, "test", version)


@pytest.mark.promise("S8")
def test_the_real_firmware_is_replaced_over_its_line_and_stays_over_a_power_cut(running: Running) -> None:
    line = Line(running, rate_b=1_000)
    report = flash(line, component_of(image("2")))
    assert (report.version, report.on_trial, report.kind) == ("2", False, "unix")
    assert 10_000 < report.sent_b < len(image("2"))
    running.power_cycle(line.now)
    found = look(line)
    assert (found.version, found.digest) == ("2", image("2")[96:104].hex()) and found.port_count == 2
    assert flash(line, component_of(image("1"), "1")).sent_b == 0, "it is still in the other slot"


@pytest.mark.promise("S8")
@pytest.mark.parametrize("seed", range(20) if LONG else [1, 7])
def test_frames_that_a_bad_line_spoils_cost_the_small_heap_nothing_but_time(running: Running, seed: int) -> None:
    """What comes before a frame that is missing has its place in the heap, also of an image that fills its slot."""
    rng = random.Random(seed)
    data = slots.sealed("test", "2", image("2")[slots.HEAD_B :] + rng.randbytes(30_000))
    line = Line(running, rate_b=1_000, noise=2e-4, seed=seed)
    report = flash(line, component_of(data))
    assert report.version == "2" and 0 < report.again_b < report.sent_b
    assert running.sim.boots == 3, "factory, halted, new: it never had to be reset"


LATER = {"heap", "exits"}  # in the long run


@pytest.mark.promise("S8")
@pytest.mark.parametrize("how", [pytest.param(how, marks=[pytest.mark.long] * (how in LATER)) for how in SPOILT])
def test_real_firmware_that_ends_at_import_or_in_its_loop_is_gone_after_its_tries(running: Running, how: str) -> None:
    line = Line(running, rate_b=1_000)
    with pytest.raises(Refused, match="1 again"):
        flash(line, component_of(image("2", how)))
    assert running.sim.boots == 1 + 1 + slots.TRIES + 1, "halted, its tries, and the old one"
    found = look(line)
    assert found.version == "1" and found.fell_back
    assert flash(line, component_of(image("3"), "3")).version == "3"


@pytest.mark.promise("S8")
def test_with_both_slots_damaged_the_real_receiver_waits_and_takes_an_image(running: Running) -> None:
    running.sim.power_off(0.0)
    data = bytearray(running.sim.flash.read_bytes())
    data[9_000] ^= 4
    running.sim.flash.write_bytes(data)
    running.sim.power_on(0.0)
    line = Line(running, rate_b=1_000)
    line.idle(90)
    found = look(line)
    assert found.is_receiving and found.board == "test" and not found.slots
    assert flash(line, component_of(image("2"))).version == "2"


@pytest.mark.promise("S8", "S9")
def test_hostile_bytes_do_not_end_the_real_receiver(running: Running) -> None:
    running.sim.power_off(0.0)
    running.sim.flash.write_bytes(b"\xff" * len(running.sim.flash.read_bytes()))
    running.sim.power_on(0.0)
    line, rng = Line(running, rate_b=1_000), random.Random(5)
    line.idle(1)
    boots = running.sim.boots
    hello = slip.frame(1, 0, cbor2.dumps({"versions": [1, 1], "nonce": b"hostile!", "who": ""}))
    for _ in range(300 if LONG else 60):
        large = cbor2.dumps({"what": "head", "size_b": 1 << 60, "seq": 0, "digest": b""})
        endless = b"\xbb" + b"\xff" * 8, b"\x9b" + b"\x7f" * 8, b"\x81" * 900
        body = rng.choice([rng.randbytes(rng.randrange(900)), large, b"", *endless])
        kind = rng.choice([kind for kind in range(20) if kind != receive.BYE])  # after which it is reset as it should
        sent = slip.frame(kind, rng.randrange(4), body)
        torn = sent[: rng.randrange(len(sent))]
        said = rng.choice([hello + sent, sent, torn, b"\xc0" * 500, b"\x01" * 900])
        line.idle(0.02, said)
    assert running.sim.boots == boots, "it never had to be reset"
    assert flash(line, component_of(image("2"))).version == "2"


@pytest.mark.promise("S8")
def test_halted_by_the_agent_flashed_and_given_back_it_charges(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, image("1"))
    assert rig.host is not None
    rig.charging(1).wish(1, OFF).until(lambda: not rig.closed(1)).after(1)
    told_wh = rig.reported(1, "energy_wh")
    rig.say(rig.host.halt()).after(1)
    assert rig.host.is_halted
    line = Line(Flashing(rig), rate_b=1_000)
    assert flash(line, component_of(image("2"))).version == "2"
    rig.now = line.now
    rig.host.resume(rig.now)
    rig.after(3)
    assert rig.host.firmware == ("2", image("2")[96:104].hex(), False, False)
    assert rig.reported(1, "energy_wh") >= told_wh and rig.circuit_ma == CIRCUIT_MA, "nothing was forgotten"
    rig.wish(1, ON).until(lambda: rig.bays[1].power_w > 0)
    rig.close()


@pytest.mark.promise("S1", "S8")
def test_the_controller_alone_goes_back_to_the_contract_before_and_charges_with_this_agent(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, old_image(), minor=2)
    rig.charging(0)
    assert rig.host and rig.host.firmware is None, "it does not know how to tell"
    halted(rig)
    rig._tap._last = contract.MINOR_LAST
    assert flash(Line(Flashing(rig), rate_b=1_000), component_of(image("2"))).version == "2"
    resumed(rig)
    assert rig.host.firmware == ("2", image("2")[96:104].hex(), False, False)
    rig.wish(0, ON).until(lambda: rig.bays[0].power_w > 0)
    halted(rig)
    talk = Line(Flashing(rig), rate_b=1_000).run(Rollback(nonce=NONCE))
    assert talk.report and talk.report.contract[2] == 2, talk.refused
    rig._tap._last = 2
    resumed(rig)
    assert rig.host.contract == (contract.MAJOR, contract.MINOR_FIRST, 2)
    rig.wish(0, ON).until(lambda: rig.bays[0].power_w > 0)
    assert rig.circuit_ma == CIRCUIT_MA, "nothing was forgotten"
    rig.close()


@pytest.mark.promise("S1", "S8")
def test_the_app_alone_goes_back_to_the_contract_before_and_charges_with_this_firmware(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The firmware is a process of its own: what is taken from our contract here is missing in the host's alone."""
    rig = rig_of(tmp_path, image("1"))
    rig.charging(0).wish(0, OFF).until(lambda: not rig.closed(0))
    rig.kill_host().after(1)
    monkeypatch.setattr(contract, "MINOR_LAST", 2)
    monkeypatch.setattr(contract, "MESSAGES", {k: v for k, v in contract.MESSAGES.items() if k != contract.FIRMWARE})
    monkeypatch.setattr(contract, "HASH", contract.hash_of_tables())
    rig._tap._last = 2
    rig.start_host().after(3)
    assert rig.host and rig.host.contract == (contract.MAJOR, contract.MINOR_FIRST, 3) and rig.host._minor == 2
    rig.wish(0, ON).until(lambda: rig.bays[0].power_w > 0)
    assert rig.host.firmware is None and rig.circuit_ma == CIRCUIT_MA
    rig.close()


def old_image() -> bytes:
    """Of the firmware whose contract was 1.2."""
    old = firmware.CONTROLLER / "contract.py"
    text = old.read_text()
    assert "MINOR_LAST = 3" in text
    replaced = {old: text.replace("MINOR_LAST = 3", "MINOR_LAST = 2")}
    return slots.sealed("test", "old", firmware.romfs({"pins.py": pins(*PORTS)}, firmware.slot_files("unix"), replaced))


def halted(rig: Rig) -> None:
    """By its agent, which then leaves the line to a flasher."""
    assert rig.host
    rig.wish(0, OFF).until(lambda: not rig.closed(0)).after(1)
    rig.say(rig.host.halt()).after(1)
    assert rig.host.is_halted


def resumed(rig: Rig) -> None:
    assert rig.host
    rig.host.resume(rig.now)
    rig.after(3)


class Flashing:
    """The rig's controller with a flasher on its line."""

    def __init__(self, rig: Rig) -> None:
        self.rig, self.now = rig, rig.now

    def step(self, now: float, line: bytes) -> bytes:
        rig = self.rig
        if rig.sim.boots != rig._boots:
            rig._boots = rig.sim.boots
            rig._tap.reset(now)
            rig.observer.booted()
        rig.now = now
        if line and rig.sim.boot is not None:
            rig.sim.boot.write(line)
            for message in rig._tap.hears(line, now):
                rig._take(message)
        rig.sim.poll(now)
        return rig.sim.transmit()


def rig_of(folder: Path, data: bytes, minor: int = contract.MINOR_LAST) -> Rig:
    boot = folder / "boot"
    boot.write_bytes(boot_rom())
    sim = RealController(chip.Unit(boot, data), folder / "flash.img", (PORT, PORT), lockstep=True, on_a_tty=False)
    return Rig(folder, (PORT, PORT), sim=sim, minor=minor)


# -- what boot part and firmware have to know alike


def test_the_boot_part_drives_the_pins_bus_as_the_firmware_does() -> None:
    text = (firmware.CONTROLLER / "home_unix.py").read_text()
    numbers = f"{INPUTS_FIRST}, {INPUTS_PER_PORT}, {OUTPUTS_FIRST}"
    assert f"INPUTS_FIRST, INPUTS_PER_PORT, OUTPUTS_FIRST = {numbers}\n" in text
    assert f"SAFE = ({STEADY:_}, 0, {HELD}, 0, 0)" in text and OUTPUTS_PER_PORT == 5


@pytest.mark.parametrize("name", ["start_unix.py", "boot.py"])
def test_the_second_life_knows_the_slots_by_number(name: str) -> None:
    """It names no constant of slots.py: each name costs the heap of the firmware some bytes."""
    text = (firmware.CONTROLLER / name).read_text()
    run = f"{slots.MARK | slots.RUN:#010X}".replace("0X", "0x")
    facts = {
        "start_unix.py": [
            f"told & {slots.RUN:#06x}", f"told & {slots.SLOT_B_RUNS:#06x}",
            f"{slots.SLOT_B:_}", f"data)[{slots.HEAD_B} :",
            f"data[{slots.SIZE_AT}:{slots.SIZE_AT + 4}]", f"data[{slots.VERSION_AT}:{slots.DIGEST_AT}]",
            f"data[{slots.DIGEST_AT}:{slots.DIGEST_AT + 8}]",
            f"{slots.ON_TRIAL:#06x} > 0", f"{slots.FELL_BACK:#06x} > 0",
            f"{slots.NEXT!r}, {slots.FILE!r}".replace("'", '"'), "0x57A1_1000, 0x57A1_0000",
            f", {2 * slots.SLOT_SECTORS}\n",
        ],
        "boot.py": [f"RUN = {run[:6]}_{run[6:]}\n", f"word & ~{slots.RUN:#06x}"],
    }  # fmt: skip
    assert (slots.MARK, slots.MARK | slots.STAY) == (0x57A1_0000, 0x57A1_1000)
    assert not [fact for fact in facts[name] if fact not in text]
