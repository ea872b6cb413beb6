"""tools/flash.py controller: on a pty, to a real MicroPython that its supervisor starts again, and at its prompt."""

import os
import pty
import socket
import subprocess
import tty
from collections.abc import Iterator
from contextlib import closing
from io import StringIO
from pathlib import Path

import pytest

from agent.update import chipline
from agent.update.chip import Flash, Look, Report, image_of
from agent.update.chipline import converse
from agent.update.refusal import Refused
from board import chip, firmware
from board.controller import slots
from tests.rig import need_interpreter
from tests.slotchip import sealed
from tests.supervised import TABLE, Supervised
from tools.flashing import controllers
from tools.flashing.cli import Out
from tools.flashing.lines import SerialLine, address

NONCE = b"nonce-03"


@pytest.fixture(autouse=True)
def interpreter() -> None:
    need_interpreter()


@pytest.fixture
def blank(tmp_path: Path) -> Iterator[Supervised]:
    with closing(Supervised(tmp_path)) as found:
        yield found


def conversed(path: str, talk: Flash | Look) -> Report:
    with closing(SerialLine(address(path))) as line:
        return converse(line, talk)


@pytest.mark.promise("S8")
def test_a_blank_chip_is_flashed_on_its_own_serial_port_and_says_what_it_runs(blank: Supervised) -> None:
    image, said = image_of(firmware.image(TABLE, "7")), StringIO()
    report = conversed(blank.path, Flash(image, nonce=NONCE, tell=controllers.teller(Out(False, said))))
    assert (report.version, report.on_trial, report.digest) == ("7", False, image.digest)
    assert "send" in said.getvalue() and said.getvalue().strip().endswith("prove")
    looked = StringIO()
    assert controllers.said(conversed(blank.path, Look(nonce=NONCE)), Out(False, looked)) == 0
    assert looked.getvalue() == "the controller runs 7\n"


def test_a_port_that_another_program_has_is_not_taken_from_it(blank: Supervised) -> None:
    with closing(SerialLine(address(blank.path))), pytest.raises(Refused) as caught:
        conversed(blank.path, Look(nonce=NONCE))
    assert caught.value.code == "busy"


# -- before the agent starts


class Slot:
    """A slot with its tree, and a station with a controller on that line."""

    def __init__(self, folder: Path, tty: str) -> None:
        self.tree, self.rom = folder / "slot" / "tree", folder / "slot" / chipline.ROM
        self.board, self.state = folder / "board.toml", folder / "controller"
        self.rom.parent.mkdir(parents=True)
        self.name(tty)

    def name(self, tty: str, link: str = "serial", chip: str = "unix") -> None:
        self.board.write_text(f'[controller]\nlink = "{link}"\ntty = "{tty}"\nchip = "{chip}"\n')

    def start(self) -> None:
        assert chipline.main([str(self.board), str(self.state)], self.tree) == 0, "the agent starts whatever happens"


@pytest.mark.promise("S8")
def test_before_the_agent_starts_the_controller_gets_the_firmware_of_the_slot_once(
    blank: Supervised, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slot = Slot(tmp_path, blank.path)
    slot.start()
    assert capsys.readouterr().out == "", "a tree that has no firmware beside it has none to bring"
    slot.rom.write_bytes(firmware.image(TABLE, "7"))
    slot.start()
    slot.start()
    first, second = capsys.readouterr().out.splitlines()
    assert "runs 7, on trial" in first and "runs 7 already" in second
    slot.rom.write_bytes(sealed("8", 9_000, "test"))  # it starts nothing
    slot.start()
    slot.start()
    first, second = capsys.readouterr().out.splitlines()
    assert "runs 7 again" in first and "8 has failed its trial" in second
    tried = slot.state.read_text()
    slot.rom.write_bytes(sealed("9", 9_000, "solo"))
    slot.start()
    assert "is a test" in capsys.readouterr().out and slot.state.read_text() == tried, "it was never tried"


@pytest.mark.promise("S8", "S9")
def test_whatever_the_board_file_says_the_agent_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slot = Slot(tmp_path, "/dev/no-such-tty")
    slot.rom.write_bytes(sealed("8", 9_000, "test"))
    slot.start()
    assert "no-such-tty cannot be opened" in capsys.readouterr().out
    slot.name("sim", "sim", "none")
    slot.start()
    slot.name("/dev/no-such-tty", chip="none")
    slot.start()
    assert capsys.readouterr().out == "", "such a controller is not ours to flash"
    for text in (b"", b"[controller]", b"controller = 7", b"\xff"):
        slot.board.write_bytes(text)
        slot.start()
        assert "keeps its firmware" in capsys.readouterr().out
    slot.name("/dev/null")
    slot.rom.write_bytes(b"no image")
    slot.start()
    assert "no firmware image" in capsys.readouterr().out


# -- at the prompt


class AtPrompt:
    """A chip whose start ended at MicroPython's prompt."""

    def __init__(self, folder: Path) -> None:
        self.flash, boot = folder / "flash", folder / "boot"
        self.flash.write_bytes(chip.flash_image())
        boot.write_bytes(firmware.boot_rom(TABLE))
        master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.path = os.ttyname(self._slave)
        self._pins, theirs = socket.socketpair()
        null = os.open(os.devnull, os.O_RDWR)
        self.home = f"home_unix.Home({null}, {theirs.fileno()}, {str(self.flash)!r}, FLASH)"
        command = chip.command(boot, "-i", "", flash=self.flash)
        fds = (null, theirs.fileno())
        self.process = subprocess.Popen(command, stdin=master, stdout=master, stderr=master, pass_fds=fds)
        theirs.close()
        os.close(null)
        os.close(master)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._pins.close()
        os.close(self._slave)


def allow(identity: object) -> None:
    """Anything."""


@pytest.mark.promise("S8")
def test_a_chip_that_answers_only_its_prompt_is_flashed_there_with_the_same_checks(tmp_path: Path) -> None:
    image = image_of(sealed("8", 9_000, "test"))
    with closing(AtPrompt(tmp_path)) as at, closing(controllers.mpremote(at.path)) as prompt:
        controllers.recover(prompt, image, allow, at.home)
        assert at.process.wait(20) == 1, "reset"
    flash = (tmp_path / "flash").read_bytes()
    held = flash[slots.SLOT_B : 2 * slots.SLOT_B]
    assert slots.intact(held, "test") and slots.head_of(held)[2] == "8"  # type: ignore[index]


@pytest.mark.promise("S8", "S9")
def test_at_the_prompt_too_another_boards_image_and_a_stranger_are_refused(tmp_path: Path) -> None:
    with closing(AtPrompt(tmp_path)) as at, closing(controllers.mpremote(at.path)) as prompt:
        before = at.flash.read_bytes()
        for board, code in (("solo", "board"), ("test", "role")):
            image = image_of(sealed("8", 9_000, board))
            with pytest.raises(Refused) as caught:
                controllers.recover(prompt, image, refusing, at.home)
            assert caught.value.code == code
        prompt.run("import sys\nsys.modules.pop('fixed')\nsys.path.clear()")
        with pytest.raises(Refused) as caught:
            controllers.recover(prompt, image, allow, at.home)
        assert caught.value.code == "wrong-device" and "boot part" in caught.value.sentence
        with pytest.raises(Refused, match="NameError"):
            prompt.run("no_such_name")
        assert at.flash.read_bytes() == before


def refusing(identity: object) -> None:
    raise Refused("role", "a dev build")


def test_a_dev_build_goes_onto_no_controller_in_production() -> None:
    controllers.allowed("dev")({"is_production": 0})
    controllers.allowed("prod")({"is_production": 1})
    with pytest.raises(Refused, match="prod key"):
        controllers.allowed("dev")({"is_production": 1})


def test_what_cannot_be_meant_is_refused_in_a_sentence(tmp_path: Path) -> None:
    from tools.flashing.cli import main

    assert main(["controller", "--port", "/dev/null", "--prompt"]) == 2
    assert main(["controller", "--port", str(tmp_path / "no"), "--rollback", "x.build"]) == 2
    assert main(["controller", "--port", str(tmp_path / "no")]) == 3


