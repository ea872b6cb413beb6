"""A card reader behind PC/SC: pcscd has the reader, pyscard asks pcscd, one thread waits for both.

Nothing in PC/SC has a time-out but the wait for a card, so nothing of it runs on the event loop: a card that goes mute
in mid-answer stops this thread, and a timer says so. What is away (service, reader) is tried again every second for
ever.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event as Flag
from threading import Thread, Timer
from typing import Annotated, Any

from msgspec import Meta, Struct

from agent.events import CardTapped, Event
from agent.hal.card import Held
from agent.policy.id_token import UID_LENGTHS
from agent.settings import ConfigError

GET_UID = [0xFF, 0xCA, 0x00, 0x00, 0x00]  # PC/SC part 3, 3.2.2.1.3 Get Data: the id of a contactless card
GOOD = b"\x90\x00"
TRIES = 3  # a card on its way into the field may miss a question
TRY_S = 0.1
ANSWER_S = 2.0  # a card that has not answered by then does not answer; a later answer is nobody's tap any more
SETTLE_S = 1.0  # a reader that has just come finds what lies on it within so long
WAIT_MS = 1_000  # how long one wait for a card lasts: so soon is a new reader found
RETRY_S = 1.0
READERS_MAX = 8

NO_SERVICE = "the card reader's service does not run: type systemctl start pcscd.socket"
NO_READER = "no card reader is plugged in: check its cable, then type pcsc_scan"
OTHER_READER = "no card reader is called {!r}, there is {}: correct name under [reader] in the board file"
GARBLED = "a card reader has a name that cannot be read: unplug what is not the station's, then type pcsc_scan"
REFUSED = "the card reader's service refuses us ({}): type journalctl -u pcscd"
HUNG = "the card reader hangs in the middle of a card: take the card away, or type systemctl restart pcscd"
NO_LIBRARY = 'pyscard is not installed: install the extra "pcsc", or use a reader on a serial line'


class PcscFacts(Struct, frozen=True, forbid_unknown_fields=True):
    """Which of pcscd's readers are this station's. Two slots of one device are two readers."""

    name: Annotated[str, Meta(max_length=128)] = ""  # part of the name that pcsc_scan shows; "": all readers


class Away(Exception):
    """Service or context is gone; the message is the sentence for the operator."""


def uid_of(answer: bytes) -> str | None:
    """The id in a card's answer to GET_UID, or None: refused, cut, or of no length that a card has."""
    uid, status = answer[:-2], answer[-2:]
    return uid.hex().upper() if status == GOOD and len(uid) in UID_LENGTHS else None


class Slot:
    """One reader, as pcscd told it last."""

    def __init__(self, settled_at: float) -> None:
        self.state = 0  # SCARD_STATE_UNAWARE: tell us how it is
        self.counted: int | None = None  # pcscd's count of comings and goings, when the card there now came
        self.uid: str | None = None  # of that card
        self.settled_at = settled_at


class PcscReader:
    """Posts CardTapped from its own thread. `tell` hears, from there too, each new `problem`; "" is none.

    A card that lies on the reader when the reader comes is no tap: who can say whether it has been one before?
    """

    def __init__(
        self, facts: PcscFacts, post: Callable[[Event], None], now: Callable[[], float],
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:  # fmt: skip
        """ConfigError if there is no pyscard."""
        try:
            from smartcard import scard
        except ImportError:
            raise ConfigError(NO_LIBRARY) from None
        self.problem = ""
        self.bad_cards = 0  # that gave no id we can use
        self._scard: Any = scard
        self._facts, self._post, self._now, self._tell = facts, post, now, tell
        self._closed = Flag()
        self._held = Held()
        self.thread = Thread(target=self._run, name="pcsc", daemon=True)
        self.thread.start()

    def close(self) -> None:
        """Returns at once; the thread ends within WAIT_MS, or with the process if a card has hung it."""
        self._closed.set()

    # -- on the thread

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                with self._context() as context:
                    self._watch(context)
            except Away as away:
                self._say(str(away))
                self._closed.wait(RETRY_S)
            except UnicodeError:  # whoever plugs in a USB device chooses its name
                self._say(GARBLED)
                self._closed.wait(RETRY_S)

    @contextmanager
    def _context(self) -> Iterator[int]:
        result, context = self._scard.SCardEstablishContext(self._scard.SCARD_SCOPE_USER)
        self._check(result)
        try:
            yield context
        finally:
            self._scard.SCardReleaseContext(context)

    def _watch(self, context: int) -> None:
        slots: dict[str, Slot] = {}
        while not self._closed.is_set():
            names = self._readers(context)
            slots = {name: slots.get(name) or Slot(self._now() + SETTLE_S) for name in names}
            if not slots:
                self._closed.wait(RETRY_S)
                continue
            asked = [(name, slot.state) for name, slot in slots.items()]
            result, states = self._scard.SCardGetStatusChange(context, WAIT_MS, asked)
            if result not in (self._scard.SCARD_E_TIMEOUT, self._scard.SCARD_E_UNKNOWN_READER):
                self._check(result)
                for name, state, _ in states:
                    self._changed(context, name, slots[name], state)

    def _readers(self, context: int) -> list[str]:
        """Ours among those that are there; what is wrong with them is said on the way."""
        result, names = self._scard.SCardListReaders(context, [])
        if result == self._scard.SCARD_E_NO_READERS_AVAILABLE:
            names = []
        else:
            self._check(result)
        ours = [name for name in names if self._facts.name in name][:READERS_MAX]
        self._say("" if ours else OTHER_READER.format(self._facts.name, ", ".join(names)) if names else NO_READER)
        return ours

    def _changed(self, context: int, name: str, slot: Slot, state: int) -> None:
        state &= ~self._scard.SCARD_STATE_CHANGED
        slot.state, count, now = state, state >> 16, self._now()
        if not state & self._scard.SCARD_STATE_PRESENT:
            if slot.uid:
                self._held.is_tap(slot.uid, now)  # from here on it is away
            slot.uid = None
        elif count != slot.counted:
            slot.counted = count
            if now >= slot.settled_at:
                self._came(context, name, slot)

    def _came(self, context: int, name: str, slot: Slot) -> None:
        began = self._now()
        hung = Timer(ANSWER_S, self._say, (HUNG,))
        hung.daemon = True
        hung.start()
        try:
            slot.uid = self._uid(context, name)
        finally:
            hung.cancel()
        now = self._now()
        if slot.uid is None or now > began + ANSWER_S:
            self.bad_cards += 1
        elif self._held.is_tap(slot.uid, now):
            self._post(CardTapped(slot.uid))

    def _uid(self, context: int, name: str) -> str | None:
        for _ in range(TRIES):
            if uid := uid_of(self._asked(context, name)):
                return uid
            if self._closed.wait(TRY_S):
                break
        return None

    def _asked(self, context: int, name: str) -> bytes:
        """What the card says to GET_UID; nothing, if it says nothing. Away if it is not the card's fault."""
        s = self._scard
        result, card, protocol = s.SCardConnect(
            context, name, s.SCARD_SHARE_SHARED, s.SCARD_PROTOCOL_T0 | s.SCARD_PROTOCOL_T1
        )
        self._check_service(result)
        if result:
            return b""
        pci = s.SCARD_PCI_T1 if protocol == s.SCARD_PROTOCOL_T1 else s.SCARD_PCI_T0
        result, answer = s.SCardTransmit(card, pci, GET_UID)
        s.SCardDisconnect(card, s.SCARD_LEAVE_CARD)
        self._check_service(result)
        return b"" if result else bytes(answer)

    def _check_service(self, result: int) -> None:
        s = self._scard
        if result in (s.SCARD_E_NO_SERVICE, s.SCARD_E_SERVICE_STOPPED, s.SCARD_E_INVALID_HANDLE, s.SCARD_F_COMM_ERROR):
            raise Away(NO_SERVICE)

    def _check(self, result: int) -> None:
        """Away for whatever is no success."""
        self._check_service(result)
        if result:
            raise Away(REFUSED.format(self._scard.SCardGetErrorMessage(result)))

    def _say(self, sentence: str) -> None:
        if sentence != self.problem:
            self.problem = sentence
            self._tell(sentence)
