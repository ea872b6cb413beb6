"""The PC/SC driver against the real pcscd with vsmartcard's virtual reader: a card is a socket that this file speaks.

pcscd knows one place for its own socket, /run. Each pcscd here has a /run of its own (a mount namespace), so that
tests run side by side and a machine's own pcscd is left alone.
"""

import os
import queue
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.events import CardTapped, Event
from agent.hal import pcsc
from agent.hal.card import AWAY_S, SEEN_MAX, Held
from agent.hal.pcsc import PcscFacts, PcscReader, uid_of
from agent.loop import monotonic
from agent.policy.id_token import UID_LENGTHS, is_random, normalised
from tests.conftest import LONG

TIMEOUT_S = 10.0
POLL_S = 0.4  # pcscd asks this reader so often whether a card is there
UID4, UID7, UID10 = bytes.fromhex("04A1B2C3"), bytes.fromhex("04A1B2C3D4E5F6"), bytes.fromhex("04A1B2C3D4E5F6071829")
ATR = bytes.fromhex("3B8F8001804F0CA000000306030001000000006A")  # PC/SC part 3: a MIFARE Classic, as readers show it
POWER_OFF, POWER_ON, RESET, GET_ATR = 0, 1, 2, 4  # vpcd's words of one byte; anything longer is for the card
DRIVER = "/usr/lib/pcsc/drivers/serial/libifdvpcd.so"

NAMESPACE = ("unshare", "--map-root-user", "--mount")
RUN = Path(tempfile.gettempdir()) / f"pcsc-{os.getpid()}"  # short: a socket's path has 107 characters
# libpcsclite reads it once in the life of a process.
os.environ["PCSCLITE_CSOCK_NAME"] = str(RUN / "pcscd/pcscd.comm")

virtual = pytest.mark.needs("pcscd", "pcscd")


class Pcscd:
    """The real daemon in the foreground, with one virtual reader on a port of its own, or with none."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]

    def start(self, *, is_reader_plugged: bool = True) -> None:
        config = self._folder / ("conf" if is_reader_plugged else "empty")
        config.mkdir(exist_ok=True)
        if is_reader_plugged:
            where = f"DEVICENAME /dev/null:{self.port:#x}\nCHANNELID {self.port:#x}\nLIBPATH {DRIVER}\n"
            (config / "vpcd").write_text('FRIENDLYNAME "Virtual"\n' + where)
        shutil.rmtree(RUN, ignore_errors=True)
        RUN.mkdir(mode=0o755)
        script = 'mount --bind "$1" /run && exec pcscd --foreground --info --config "$2"'
        with (self._folder / "pcscd.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*NAMESPACE, "sh", "-c", script, "sh", str(RUN), str(config)],
                stdout=log, stderr=log, env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
            )  # fmt: skip
        with socket.socket(socket.AF_UNIX) as probe:
            while probe.connect_ex(os.environ["PCSCLITE_CSOCK_NAME"]):
                assert self._process.poll() is None, (self._folder / "pcscd.log").read_text()
                threading.Event().wait(0.01)

    def stop(self, *, is_crash: bool = False) -> None:
        if self._process:
            (self._process.kill if is_crash else self._process.terminate)()
            self._process.wait(TIMEOUT_S)
            self._process = None


class Card:
    """A card in the field of the virtual reader from its birth until `take`. `answer` is for GET_UID; None: nothing."""

    def __init__(self, port: int, uid: bytes = UID4, *, answer: bytes | None = b"", atr: bytes = ATR) -> None:
        self.asked = threading.Event()
        self._answer = uid + b"\x90\x00" if answer == b"" else answer
        self._atr = atr
        self._socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        self._socket.settimeout(None)
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def take(self) -> None:
        """Away from the reader, even in the middle of a word, for long enough that pcscd must have seen it."""
        if self._socket.fileno() < 0:
            return
        with suppress(OSError):  # pcscd has gone before
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(TIMEOUT_S)
        self._socket.close()
        threading.Event().wait(1.5 * POLL_S)

    def _live(self) -> None:
        with suppress(OSError):
            while word := self._word():
                if word == bytes((GET_ATR,)):
                    self._say(self._atr)
                elif len(word) > 1:
                    self.asked.set()
                    if self._answer is not None:
                        self._say(self._answer if word == bytes(pcsc.GET_UID) else b"\x6d\x00")

    def _word(self) -> bytes:
        size = self._exactly(2)
        return self._exactly(int.from_bytes(size, "big")) if size else b""

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self._socket.recv(size - len(data))
            if not more:
                return b""
            data += more
        return data

    def _say(self, data: bytes) -> None:
        self._socket.sendall(len(data).to_bytes(2, "big") + data)


class Desk:
    """A reader driver, its pcscd, and what was heard from the driver."""

    def __init__(self, folder: Path) -> None:
        self.pcscd = Pcscd(folder)
        self.posted: queue.Queue[Event] = queue.Queue()
        self.told: queue.Queue[str] = queue.Queue()
        self._cards: list[Card] = []
        self.reader: PcscReader

    def open(self, name: str = "") -> None:
        self.reader = PcscReader(PcscFacts(name), self.posted.put, monotonic, self.told.put)

    def settled(self) -> "Desk":
        """Open, and the reader is known: what comes now is a tap."""
        self.pcscd.start()
        self.open()
        self.settle()
        return self

    def settle(self) -> None:
        threading.Event().wait(pcsc.SETTLE_S + 1.5 * POLL_S)

    def card(self, uid: bytes = UID4, *, answer: bytes | None = b"", atr: bytes = ATR) -> Card:
        self._cards.append(Card(self.pcscd.port, uid, answer=answer, atr=atr))
        return self._cards[-1]

    def tells(self, sentence: str) -> bool:
        """Sooner or later: a service that is just ending may refuse before it is gone."""
        while self.told.get(timeout=TIMEOUT_S) != sentence:
            pass
        return True

    def tap(self) -> str:
        event = self.posted.get(timeout=TIMEOUT_S)
        assert isinstance(event, CardTapped)
        return event.uid

    def close(self) -> None:
        for card in self._cards:
            card.take()
        self.pcscd.stop()
        self.reader.close()
        self.reader.thread.join(TIMEOUT_S)
        assert not self.reader.thread.is_alive()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    missing = {
        "pyscard: make setup": find_spec("smartcard") is None,
        f"{DRIVER}: apt-get install vsmartcard-vpcd": not Path(DRIVER).exists(),
        "mount namespaces": subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode,
    }
    for what in filter(missing.get, missing):
        (pytest.fail if LONG else pytest.skip)(f"needs {what}")
    desk = Desk(tmp_path)
    yield desk
    desk.close()
    shutil.rmtree(RUN, ignore_errors=True)


@virtual
def test_cards_of_every_length_one_after_the_other_are_taps(desk: Desk) -> None:
    desk.settled()
    for uid in (UID4, UID7, UID10):
        card = desk.card(uid)
        assert desk.tap() == uid.hex().upper()
        card.take()
    assert desk.posted.empty()
    assert desk.reader.problem == ""


@virtual
def test_a_held_card_taps_once_and_a_card_that_was_taken_away_taps_again(desk: Desk) -> None:
    desk.settled()
    card = desk.card(UID7)
    assert desk.tap() == UID7.hex().upper()
    desk.settle()  # held for longer than a flicker lasts
    card.take()
    desk.card(UID4)  # what else could end a wait for nothing?
    assert desk.tap() == UID4.hex().upper()
    desk._cards[-1].take()
    desk.settle()
    desk.card(UID7)
    assert desk.tap() == UID7.hex().upper()
    assert desk.posted.empty()


@virtual
def test_a_card_that_lies_on_the_reader_when_the_reader_comes_is_no_tap(desk: Desk) -> None:
    desk.pcscd.start()
    card = desk.card(UID7)
    desk.open()
    desk.settle()
    card.take()
    desk.card(UID4)
    assert desk.tap() == UID4.hex().upper()
    assert desk.posted.empty()


@virtual
@pytest.mark.promise("S9")
def test_cards_that_answer_rubbish_are_counted_and_the_next_one_is_read(desk: Desk) -> None:
    desk.settled()
    for count, (bad, atr) in enumerate([(b"\x6a\x81", ATR), (bytes(200) + b"\x90\x00", ATR), (None, b"\x00")], 1):
        card = desk.card(answer=bad, atr=atr)
        while desk.reader.bad_cards < count:
            assert desk.reader.thread.is_alive()
            threading.Event().wait(0.02)
        card.take()
    desk.card(UID4)
    assert desk.tap() == UID4.hex().upper()
    assert desk.posted.empty()


@virtual
@pytest.mark.promise("S9")
def test_a_card_that_goes_mute_is_a_sentence_and_the_next_one_is_read(desk: Desk) -> None:
    desk.settled()
    card = desk.card(answer=None)
    assert card.asked.wait(TIMEOUT_S)
    assert desk.tells(pcsc.HUNG)
    card.take()
    assert desk.tells("")
    desk.card(UID4)
    assert desk.tap() == UID4.hex().upper()
    assert desk.reader.bad_cards == 1


@virtual
def test_service_and_reader_may_go_and_come_back_and_each_absence_has_its_sentence(desk: Desk) -> None:
    desk.open()
    assert desk.tells(pcsc.NO_SERVICE)
    desk.pcscd.start(is_reader_plugged=False)
    assert desk.tells(pcsc.NO_READER)
    desk.pcscd.stop()
    assert desk.tells(pcsc.NO_SERVICE)
    desk.pcscd.start()
    assert desk.tells("")
    desk.settle()
    desk.card(UID7)
    assert desk.tap() == UID7.hex().upper()
    desk.pcscd.stop(is_crash=True)  # with a card on the reader
    assert desk.tells(pcsc.NO_SERVICE)
    desk.pcscd.start()
    assert desk.tells("")
    desk.settle()
    desk.card(UID4)
    assert desk.tap() == UID4.hex().upper()


@virtual
def test_a_name_that_no_reader_has_is_a_sentence_with_the_names_that_there_are(desk: Desk) -> None:
    desk.pcscd.start()
    desk.open("ACR122")
    sentence = desk.told.get(timeout=TIMEOUT_S)
    assert "'ACR122'" in sentence
    assert "Virtual 00 00" in sentence


@virtual
def test_a_reader_that_is_found_is_no_problem_and_closing_waits_for_nobody(desk: Desk) -> None:
    desk.pcscd.start()
    desk.open("Virtual 00 00")
    began = monotonic()
    desk.reader.close()
    assert monotonic() - began < 0.1
    desk.reader.thread.join(TIMEOUT_S)
    assert not desk.reader.thread.is_alive()
    assert desk.told.empty()


# -- what needs no reader ---------------------------------------------------------------------------------------------


@given(st.binary(max_size=300))
def test_an_answer_gives_an_id_that_the_core_takes_or_none(answer: bytes) -> None:
    uid = uid_of(answer)
    assert uid is None or normalised(uid) == uid


@given(st.sampled_from(UID_LENGTHS).flatmap(lambda size: st.binary(min_size=size, max_size=size)))
def test_an_id_comes_through_as_the_card_gave_it(uid: bytes) -> None:
    assert uid_of(uid + b"\x90\x00") == uid.hex().upper()
    assert uid_of(uid + b"\x63\x00") is None


sightings = st.lists(st.tuples(st.sampled_from(["04A1B2C3", "04B7C8D9", "08AA0001", "08AA0002"]), st.floats(0.0, 3.0)))


@given(sightings)
def test_a_card_taps_again_only_after_it_was_away(seen: list[tuple[str, float]]) -> None:
    held, now = Held(), 0.0
    last: dict[str, float] = {}
    for uid, pause_s in seen:
        now += pause_s
        card = "a phone" if is_random(uid) else uid
        assert held.is_tap(uid, now) == (card not in last or now - last[card] > AWAY_S)
        last[card] = now


def test_a_reader_gone_wild_fills_no_memory() -> None:
    held = Held()
    assert all(held.is_tap(f"04{n:06X}", 0.0) for n in range(1_000))
    assert len(held._seen) == SEEN_MAX
