"""A flash over a real serial line: two ttys with a cable between them that is as slow as a line, and as bad."""

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent.update import facts
from agent.update.build import load_head
from agent.update.line import BODY_MAX, WINDOW
from agent.update.protocol import numbered
from agent.update.refusal import Refused
from bench.nullmodem import NullModem
from tests.flashsite import Site
from tests.flashstation import made
from tools.flashing import driver, steps
from tools.flashing.buildfile import BuildFile
from tools.flashing.lines import Address, SerialLine
from tools.flashing.steps import Flashed, Wish
from tools.flashing.talk import Steps, Talk

BAUD = 921_600


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with closing(Site(tmp_path)) as site:
        yield site


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BuildFile]:
    with closing(BuildFile(made(tmp_path_factory.mktemp("builds"), files=16))) as file:
        yield file


def plugged(site: Site, cable: NullModem) -> Address:
    """The flasher's end; the other one is in the station."""
    site.service.serials = {cable.far: BAUD}
    site.service.wake()
    return Address("serial", cable.near, BAUD)


def flash(to: Address, file: BuildFile) -> Flashed:
    wish = Wish(file, waits=False)
    end = driver.converse(to, lambda talk: steps.flashed(talk, wish, lambda *_: None))
    assert isinstance(end, Flashed)
    return end


def test_a_build_comes_over_a_serial_line_that_spoils_bytes(site: Site, file: BuildFile) -> None:
    with NullModem(BAUD, latency_s=0.001, errors=1e-4, seed=3) as cable:
        end = flash(plugged(site, cable), file)
    assert end.result == "activated" and end.again_b


@pytest.mark.promise("S8")
def test_a_cable_that_is_pulled_costs_at_most_one_window(site: Site, file: BuildFile) -> None:
    """And the next one may be another: the station says what it has, also of the piece that was on its way."""
    seen: list[Any] = []

    def half(talk: Talk) -> Steps:
        seen.append(talk)
        for _ in steps.flashed(talk, Wish(file, waits=False), lambda *_: None):
            if talk.sender and talk.sends == "pieces" and talk.sender.acked_b > 60_000:
                seen[1:] = [talk.sender.sent_b]
                cable.__exit__(None, None, None)
            yield

    with NullModem(BAUD, latency_s=0.001) as cable:
        to = plugged(site, cable)
        with pytest.raises(Refused) as lost:
            driver.converse(to, half)
    assert lost.value.code == "link"
    with NullModem(BAUD, latency_s=0.001) as cable:
        end = flash(plugged(site, cable), file)
    head = load_head(file.slim(facts.station(site.where).platform, "duo_sim"), None)
    whole_b = sum(piece.stored_b for piece in numbered(head))
    assert end.result == "activated" and end.sent_b < whole_b
    assert seen[1] + end.sent_b <= whole_b + (WINDOW + 1) * BODY_MAX


def test_a_port_that_somebody_has_open_is_busy(site: Site) -> None:
    with NullModem(BAUD) as cable:
        to = Address("serial", cable.near, BAUD)
        with closing(SerialLine(to)), pytest.raises(Refused) as taken:
            SerialLine(to)
    assert taken.value.code == "busy"


def test_a_console_that_chatters_on_the_same_line_is_no_frame(site: Site, file: BuildFile) -> None:
    """Kernel messages, a login prompt: what is no frame is nothing."""
    stop = threading.Event()

    def chatter(device: SerialLine) -> None:
        while not stop.wait(0.02):
            device.write(b"[   12.345] usb 1-1: new device\r\nlogin: ")

    with NullModem(BAUD) as cable, closing(SerialLine(Address("serial", cable.near, BAUD))) as near:
        site.service.serials = {cable.far: BAUD}
        thread = threading.Thread(target=chatter, args=(near,))
        thread.start()
        talk = Talk(b"12345678", "tests")
        try:
            status = driver.run(near, talk, steps.status(talk, lambda *_: None), threading.Event())
        finally:
            stop.set()
            thread.join()
    assert status["serial"] == "SA-0001"
