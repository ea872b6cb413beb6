"""The AT port on a real line: found, taken, lost, found again."""

import asyncio
import os
import subprocess
import termios
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import pytest
from msgspec import structs

from agent.hal.device import DeviceFailed
from agent.modem import tty
from agent.modem.at import Answered
from agent.modem.tty import Gone, Lock, Opened, holder, identity, resolve, taken
from agent.sim.modem.air import HOME, Card, Network
from agent.sim.modem.modem import Modem
from agent.sim.modem.personalities import EG25
from agent.sim.modem.shell import Shell
from tests.atport import AtPort

QUICK = structs.replace(EG25, boot_s=0.05, boot=(), delay_s=0.001, search_s=0.05)
LIMIT_S = 100.0
T = TypeVar("T")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.hal.device.RETRY_S", 0.05)
    monkeypatch.setattr("agent.modem.at.QUIET_S", 0.02)


class Desk:
    """A modem on a pty, and our port at it, driven by the loop's clock."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.heard, self.news = folder, list[object](), asyncio.Event()
        self.loop = asyncio.get_running_loop()
        self.modem = Modem(QUICK, Card(), Network())
        self.shell = Shell(self.modem)
        self.shell.pty(folder / "modem")
        self.port = AtPort(str(folder / "modem"), self.loop, self.hear, self.loop.time, locks=folder)

    def hear(self, what: object) -> None:
        self.heard.append(what)
        self.news.set()

    async def until(self, what: Callable[[], object]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not what():
                self.port.due(self.loop.time())
                self.news.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.news.wait(), 0.01)

    async def ask(self, command: str) -> Answered:
        await self.until(lambda: self.port.is_ready)
        self.heard.clear()
        self.port.send(command)
        await self.until(lambda: self.told(Answered))
        return self.told(Answered)[0]

    def told(self, kind: type[T]) -> list[T]:
        return [each for each in self.heard if isinstance(each, kind)]

    def close(self) -> None:
        self.port.close()
        self.shell.close()


def at_desk(folder: Path, story: Callable[[Desk], Coroutine[None, None, None]]) -> None:
    async def run() -> None:
        desk = Desk(folder)
        try:
            await story(desk)
        finally:
            desk.close()

    asyncio.run(run())


def test_a_command_goes_over_the_line_and_its_answer_comes_back(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        assert (await desk.ask("AT+CGSN")).get("imei") == EG25.imei
        assert (await desk.ask("AT+CPIN?")).error == 14, "a SIM takes its time"

    at_desk(tmp_path, story)


def test_a_modem_that_restarts_is_found_again(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        await desk.ask("AT")
        desk.heard.clear()
        desk.modem.restart(desk.shell.now)
        await desk.until(lambda: desk.told(Gone))
        await desk.until(lambda: desk.told(Opened))
        assert (await desk.ask("AT+CGSN")).get("imei") == EG25.imei

    at_desk(tmp_path, story)


def test_hanging_up_ends_a_call_that_does_not_listen(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        desk.modem.faults.ignores_escape = True
        await desk.until(lambda: desk.modem.stat == HOME)
        assert (await desk.ask("ATD*99***1#")).is_ok and desk.port.channel.is_data
        desk.port.hang_up()
        assert (await desk.ask("AT+CGACT?")).get("active") is not True
        assert not desk.modem.ports[0].is_online

    at_desk(tmp_path, story)


def test_a_line_that_another_program_holds_is_said_with_its_name(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        await desk.until((tmp_path / "modem").exists)
        desk.port.close()
        child = subprocess.Popen(["sleep", "60"], stdin=os.open(tmp_path / "modem", os.O_RDWR | os.O_NOCTTY))
        try:
            second = AtPort(str(tmp_path / "modem"), desk.loop, desk.heard.append, desk.loop.time, locks=tmp_path)
            desk.heard.clear()
            second.due(desk.loop.time())
            assert not second.is_open
            (failed,) = desk.told(DeviceFailed)
            assert f"is in use by sleep ({child.pid})" in failed.why
        finally:
            child.kill()
            child.wait()

    at_desk(tmp_path, story)


def test_modem_manager_is_switched_off_by_a_line_that_can_be_typed() -> None:
    assert "systemctl disable --now ModemManager" in taken(Path("/dev/ttyUSB2"), "ModemManager (412)")


def test_our_port_is_nobody_elses(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        await desk.ask("AT")
        line = (tmp_path / "modem").resolve()
        lock = tmp_path / f"LCK..{line.name}"
        assert int(lock.read_text()) == os.getpid() and lock.read_text()[10:] == "\n"
        with pytest.raises(BlockingIOError):
            tty.opened(line)

    at_desk(tmp_path, story)


def test_the_other_port_is_poked_whatever_comes_of_it() -> None:
    master, slave = os.openpty()
    try:
        termios.tcsetattr(slave, termios.TCSANOW, [0, 0, termios.CS8, 0, 0, 0, termios.tcgetattr(slave)[6]])
        tty.poke(os.ttyname(slave))
        assert os.read(master, 10) == b"AT\r"
        tty.poke("/nowhere")
    finally:
        os.close(master)
        os.close(slave)


def test_a_lock_whose_process_has_ended_is_no_lock(tmp_path: Path) -> None:
    line, file = tmp_path / "ttyUSB2", tmp_path / "LCK..ttyUSB2"
    (tmp_path / "412").mkdir()
    (tmp_path / "412" / "comm").write_text("pppd\n")
    file.write_text("       412\n")
    assert Lock(line, tmp_path).take(tmp_path) == "pppd (412)"
    file.write_text("       413\n")
    lock = Lock(line, tmp_path)
    assert lock.take(tmp_path) == "" and int(file.read_text()) == os.getpid()
    lock.release()
    assert not file.exists()


def test_without_a_folder_for_locks_the_line_is_opened_all_the_same(tmp_path: Path) -> None:
    assert Lock(tmp_path / "ttyUSB2", tmp_path / "none").take() == ""


def usb(sys: Path, number: int, interface: int, product: str = "0125", is_acm: bool = False) -> None:
    """A line as the kernel shows it."""
    name = f"tty{'ACM' if is_acm else 'USB'}{number}"
    device = sys / "devices" / "usb1" / f"1-{product}"
    place = device / f"1-{product}:1.{interface}"
    (place if is_acm else place / name).mkdir(parents=True, exist_ok=True)
    (device / "idVendor").write_text("2c7c\n")
    (device / "idProduct").write_text(f"{product}\n")
    (place / "bInterfaceNumber").write_text(f"{interface:02x}\n")
    (sys / "class" / "tty" / name).mkdir(parents=True)
    (sys / "class" / "tty" / name / "device").symlink_to(place if is_acm else place / name)


def test_a_port_is_found_by_what_it_is_and_not_by_its_number(tmp_path: Path) -> None:
    for number, interface in ((7, 2), (2, 3), (0, 0), (1, 11)):
        usb(tmp_path, number, interface)
    usb(tmp_path, 3, 2, product="0306")
    usb(tmp_path, 0, 4, product="0900", is_acm=True)
    (tmp_path / "class" / "tty" / "ttyAMA0").mkdir()
    assert resolve("usb:2c7c:0125:2", tmp_path) == Path("/dev/ttyUSB7")
    assert resolve("usb:2C7C:0125:11", tmp_path) == Path("/dev/ttyUSB1")
    assert resolve("usb:2c7c:0900:4", tmp_path) == Path("/dev/ttyACM0")
    assert resolve("usb:2c7c:0125:1", tmp_path) is None and resolve("usb:1e0e:9001:2", tmp_path) is None
    assert identity(tmp_path / "class" / "tty" / "ttyAMA0" / "device") is None


def test_a_port_that_is_not_there_says_so_once(tmp_path: Path) -> None:
    async def story() -> None:
        heard: list[object] = []
        post, loop = heard.append, asyncio.get_running_loop()
        port = AtPort("usb:2c7c:0125:2", loop, post, lambda: 0.0, sys=tmp_path, locks=tmp_path)
        for now in range(5):
            port.due(float(now))
        assert heard == [DeviceFailed("modem", "usb:2c7c:0125:2 is not there: check its cable and the board file")]

    asyncio.run(story())


def test_what_is_no_line_is_said_to_be_none(tmp_path: Path) -> None:
    async def story() -> None:
        heard: list[object] = []
        (tmp_path / "file").write_text("")
        port = AtPort(str(tmp_path / "file"), asyncio.get_running_loop(), heard.append, lambda: 0.0, locks=tmp_path)
        port.due(0.0)
        assert isinstance(heard[0], DeviceFailed) and "does not work" in heard[0].why and not port.is_open
        assert not list(tmp_path.glob("LCK*"))

    asyncio.run(story())


def test_nobody_is_named_where_nobody_is(tmp_path: Path) -> None:
    (tmp_path / "5" / "fd").mkdir(parents=True)
    assert holder(tmp_path / "ttyUSB2", tmp_path) == ""
