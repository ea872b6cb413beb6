"""The host's end of a controller's flashing, sans-IO: bytes in, bytes out, on the controller's own line.

Whoever is there is found first: firmware that runs (board/controller/contract.py) or the receiver of the boot part
(docs/flash-protocol.md). Running firmware is halted, and only when no cable carries current; the image is sent, checked
by the chip and booted on trial; then we wish, as a host does, until it has said that it stays. A new image that does
not come up, or that this build of the station would not understand, ends in the one before it.

Used by the station's update service and by tools/flash.py. The signature was checked by then; what is checked here is
that the image is this controller's.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from math import inf
from typing import Any

from agent.update.build import pack, unpack
from agent.update.index import File, Index, Piece, dump
from agent.update.line import (
    ACK,
    ACTIVATE,
    ANSWER,
    BYE,
    FINISH,
    HELLO,
    PATIENCE_S,
    PLAN,
    REFUSED,
    ROLLBACK,
    SEND,
    VERSION,
    WANTED,
    WORKING,
    Deframer,
    body,
    frame,
    packed,
)
from agent.update.refusal import EXITS, Refused
from agent.update.sender import Sender
from board.controller import contract, link
from board.controller.slots import DIGEST_AT, SECTOR_B, head_of

AGAIN_S, AGAIN_MAX_S = 0.3, 5.0  # a request that nobody has answered; doubled
KNOCK_S = 0.25  # between two HELLOs to whoever is there
FIND_S = 20.0  # a chip whose firmware ends again and again listens for ten seconds now and then
REPORTS_S = 3.0  # until each port has told its state
STOP_S = 20.0  # until all ports are open, at most
WISH_S = contract.HEARTBEAT_MS / 1000
BOOT_S = 30.0  # until the new image is heard; three tries of one that ends at once take less
PROOF_S = 60.0  # until it has said that it stays
SAID_S = 20.0  # it says so once, and a bad line may swallow that: then it is asked
LINE_IDLE_S = 0.1  # longer than a frame of firmware lasts
FIRMWARE_S = 1.0  # after a WELCOME
WINDOW_MAX = 64
DIGEST_B = 8  # of an image's digest are told


@dataclass(frozen=True, slots=True)
class Image:
    """A controller's component of a build. `stored`: a piece as it lies in the build."""

    index: Index
    raw: bytes  # the index as it was signed: what the chip is sent as its head
    stored: Callable[[Piece], bytes]

    @property
    def board(self) -> str:
        return str(self.index.facts["board"])

    @property
    def version(self) -> str:
        """As the chip will tell it: what the firmware calls itself. The build's, where that is not said."""
        return str(self.index.facts.get("image") or self.index.facts["version"])

    @property
    def pieces(self) -> Sequence[Piece]:
        """In the order of their numbers."""
        return tuple(self.index.pieces().values())

    @property
    def digest(self) -> str:
        """What contract.FIRMWARE tells of it."""
        first = self.pieces[0]
        return unpack(first, self.stored(first))[DIGEST_AT : DIGEST_AT + DIGEST_B].hex()


def image_of(data: bytes) -> Image:
    """Of an image as it lies in a slot, without its build."""
    head = head_of(data)
    if head is None:
        raise Refused("format", "this is no firmware image: take the file controller/<board>.rom of a build")
    _, board, version, _ = head
    parts = [data[at : at + SECTOR_B] for at in range(0, len(data), SECTOR_B)]
    stored = {sha256(part).digest(): pack(part) for part in parts}
    pieces = tuple(Piece(digest, len(part), len(stored[digest])) for part in parts if (digest := sha256(part).digest()))
    found = Index({"version": version, "board": board}, (File(f"{board}.rom", False, pieces),))
    return Image(found, dump(found), lambda piece: stored[piece.digest])


@dataclass(frozen=True, slots=True)
class Progress:
    """For whoever looks on. Bytes as they are stored in the build."""

    step: str  # find, halt, plan, send, check, boot, prove
    sent_b: int = 0
    total_b: int = 0
    again_b: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """What was found at the end. What an old firmware does not tell is ""."""

    board: str = ""
    kind: str = ""  # of chip
    is_receiving: bool = False  # the boot part waits: no firmware runs
    version: str = ""  # of the firmware that runs, or boots next
    digest: str = ""
    on_trial: bool = False
    fell_back: bool = False  # the image before this has failed its trial
    contract: tuple[int, int, int] = (0, 0, 0)  # major, first and last minor
    port_count: int = 0
    is_production: bool = False
    slots: Mapping[str, Any] = field(default_factory=dict)
    sent_b: int = 0
    again_b: int = 0
    have_b: int = 0  # was there already


Message = tuple[str, tuple[Any, ...]]  # "slip" (type, seq, body), or "link" (type, fields…); see Talk
Script = Generator[float, Message | None, Any]  # yields until when it waits, is sent what came, or None


class Talk:
    """One conversation. The owner gives it what comes, sends what `poll` returns, and calls `poll` again when that is
    out, when something came, or at `next_deadline`. When `is_over`, there is a `report` or a `refused`."""

    def __init__(self, *, nonce: bytes, tell: Callable[[Progress], None] = lambda _: None) -> None:
        """`nonce`: 8 bytes that no other session has."""
        self.report: Report | None = None
        self.refused: Refused | None = None
        self._nonce, self._tell = nonce, tell
        self._now = 0.0
        self._out: list[bytes] = []
        self._slip, self._link = Deframer(), link.Deframer()
        self._seq = 0  # of requests
        self._link_seq = 0
        self._sender: Sender | None = None
        self._script: Script | None = None
        self._due = 0.0

    # -- for the owner

    @property
    def is_over(self) -> bool:
        return self.report is not None or self.refused is not None

    def received(self, data: bytes, now: float) -> None:
        is_late = now > self._now + LINE_IDLE_S
        self._now = now
        for kind, seq, data_ in self._slip.feed(data):
            self._step(("slip", (kind, seq, data_)))
        for _, data_ in (self._link.idle() if is_late else []) + self._link.feed(data):
            if message := contract.unpack(data_):
                self._step(("link", message))

    def poll(self, now: float) -> bytes:
        """What goes out now: one frame of a transfer at most."""
        self._now = now
        if now >= self._due:
            self._step(None)
        if self._out:
            out, self._out = b"".join(self._out), []
            return out
        return self._sender.pull(now) or b"" if self._sender is not None else b""

    def next_deadline(self) -> float:
        if self.is_over:
            return inf
        sender = self._sender.next_deadline() if self._sender is not None else None
        return self._due if sender is None else min(self._due, sender)

    def _step(self, message: Message | None) -> None:
        if self.is_over:
            return
        try:
            if self._script is None:
                self._script = self._run()
                self._due = next(self._script)
            else:
                self._due = self._script.send(message)
        except StopIteration as done:
            self.report = done.value
        except Refused as refused:
            self.refused = refused

    def _run(self) -> Script:
        raise NotImplementedError

    # -- words

    def _say(self, *message: Any) -> None:
        """To firmware."""
        self._out.append(link.frame(self._link_seq, contract.pack(*message)))
        self._link_seq = (self._link_seq + 1) & 0xFF

    def _until(self, due: float) -> Script:
        """The next message, or None at that time."""
        return (yield due)

    def _ask(self, kind: int, fields: Mapping[str, Any], patience_s: float = PATIENCE_S) -> Script:
        """A request to the receiver; its answer's fields. Refused as the chip says, or if it says nothing."""
        self._seq = (self._seq + 1) & 0xFFFF
        request = frame(kind, self._seq, packed(fields))
        again_s, give_up = AGAIN_S, self._now + patience_s
        while True:
            self._out.append(request)
            again_at = self._now + again_s
            while self._now < again_at:
                match (yield min(again_at, give_up)):
                    case ("slip", (int(told), int(seq), data)) if seq == self._seq:
                        if told == kind + ANSWER:
                            return fields_of(data)
                        if told == REFUSED:
                            raise refusal_of(data)
                        if told == WORKING:
                            give_up = again_at = self._now + patience_s
                if self._now >= give_up:
                    raise Refused("link", "the controller fell silent: check the line, and flash again")
            again_s = min(2 * again_s, AGAIN_MAX_S)

    # -- whoever is there

    def _find(self, patience_s: float) -> Script:
        """("slip", identity) of a receiver, or ("link", WELCOME) of firmware."""
        give_up = self._now + patience_s
        while self._now < give_up:
            self._knock()
            again_at = self._now + KNOCK_S
            while self._now < again_at:
                match (yield again_at):
                    case ("slip", (kind, 0, data)) if kind == HELLO + ANSWER:
                        self._seq = 0
                        return "slip", fields_of(data)
                    case ("link", (contract.WELCOME, *_) as welcome):
                        return "link", welcome
                    case ("link", (contract.REFUSED, contract.NO_COMMON_VERSION, text)):
                        raise Refused("contract", f"the controller speaks another language altogether ({text})")
        raise Refused("no-device", "nobody answers on the controller's line: check power, line and port, and try again")

    def _knock(self) -> None:
        """A receiver takes the one for noise, firmware the other. Firmware is greeted in whatever minor it speaks."""
        hello = {"versions": [VERSION, VERSION], "nonce": self._nonce, "who": "station-agent"}
        self._out.append(frame(HELLO, 0, packed(hello)))
        self._say(contract.HELLO, contract.MAJOR, 0, 255, "")

    def _greeted(self, welcome: tuple[Any, ...]) -> Script:
        """What firmware says of itself."""
        _, major, first, last, _, _, _, _, ports, _, _ = welcome
        report = Report(contract=(major, first, last), port_count=ports)
        until = self._now + FIRMWARE_S
        while last >= 3 and self._now < until:
            match (yield until):
                case ("link", (contract.FIRMWARE, version, digest, on_trial, fell_back)):
                    return told(report, version, digest, bool(on_trial), bool(fell_back))
        return report

    def _halted(self, welcome: tuple[Any, ...], override: str) -> Script:
        """Firmware has made way for the receiver. Refused while a cable carries current, unless there is a reason."""
        minor, ports = min(255, welcome[3]), welcome[8]
        reports: dict[int, tuple[int, ...]] = {}
        until = self._now + REPORTS_S
        while len(reports) < ports and self._now < until:
            match (yield until):
                case ("link", (contract.REPORT, _, int(index), tuple(row))):
                    reports[index] = row
        busy = [index + 1 for index, row in sorted(reports.items()) if row[PWM] or row[CONTACTOR]]
        if busy and not override:
            fix = "wait until it is free, or give a reason with --override"
            raise Refused("session", f"port {busy[0]} is in use: {fix}")
        wish = tuple((0, contract.STOP_ORDERLY, reports[i][LOCKED] if i in reports else 0, 0) for i in range(ports))
        give_up, why = self._now + STOP_S, "it does not answer"
        while self._now < give_up:
            self._say(contract.WISH, minor, wish)
            self._say(contract.HALT, minor)
            again_at = self._now + WISH_S
            while self._now < again_at:
                match (yield again_at):
                    case ("link", (contract.HALTED, *_)):
                        return
                    case ("link", (contract.REFUSED, contract.HALT_REFUSED, str(text))):
                        why = text
                    case ("link", (contract.REFUSED, contract.HELLO_FIRST, _)):
                        self._knock()
        raise Refused("interlock", f"the controller does not halt ({why})")

    def _received(self, override: str) -> Script:
        """The receiver's identity, whoever was there before."""
        self._tell(Progress("find"))
        found = yield from self._find(FIND_S)
        if found[0] == "link":
            self._tell(Progress("halt"))
            yield from self._halted(found[1], override)
            found = yield from self._find_receiver(FIND_S)
        return found[1]

    def _find_receiver(self, patience_s: float) -> Script:
        give_up = self._now + patience_s
        while self._now < give_up:
            found = yield from self._find(give_up - self._now)
            if found[0] == "slip":
                return found
        raise Refused("link", "the controller was halted, but its receiver does not answer: switch it off and on")

    def _leave(self) -> Script:
        """BYE; the chip resets and may be gone before it has answered."""
        try:
            yield from self._ask(BYE, {}, patience_s=1.0)
        except Refused:
            return


PWM, CONTACTOR, LOCKED = (contract.PORT_REPORT[::3].index(name) for name in ("pwm", "contactor", "locked"))


class Flash(Talk):
    """Bring the image onto the controller, and see it run."""

    def __init__(
        self, image: Image, *, nonce: bytes, override: str = "", is_proven_here: bool = True,
        tell: Callable[[Progress], None] = lambda _: None,
        allow: Callable[[Mapping[str, Any]], None] = lambda identity: None,
    ) -> None:  # fmt: skip
        """`override`: why ports in use are stopped; "" = they are not. `is_proven_here`: we wish until the image stays;
        else that is the agent's, and the report says on_trial. `allow` hears who is there before anything is sent, and
        may refuse."""
        super().__init__(nonce=nonce, tell=tell)
        self._image, self._override, self._is_proven_here, self._allow = image, override, is_proven_here, allow

    def _run(self) -> Script:
        identity = yield from self._received(self._override)
        check(identity, self._image.board)
        self._allow(identity)
        window = identity.get("window")
        self._window = window if isinstance(window, int) and 0 < window < WINDOW_MAX else 1
        sent = yield from self._brought()
        yield from self._leave()
        report = yield from self._booted()
        return Report(
            board=str(identity["board"]), kind=str(identity.get("platform", "")), version=report.version,
            digest=report.digest, on_trial=report.on_trial, fell_back=report.fell_back, contract=report.contract,
            port_count=report.port_count, is_production=bool(identity.get("is_production")), **sent,
        )  # fmt: skip

    def _brought(self) -> Script:
        """Everything is in the slot, checked, and boots next."""
        self._tell(Progress("plan"))
        digest = digest_of(self._image.raw)
        plan = yield from self._ask(PLAN, {"digest": digest})
        if not plan.get("is_known"):
            yield from self._send("head", self._image.raw, digest)
            plan = yield from self._ask(PLAN, {"digest": digest})
        pieces = self._image.pieces
        wanted = yield from self._wanted(len(pieces))
        data = b"".join(self._image.stored(pieces[number]) for number in wanted)
        sent_b = again_b = 0
        if data:
            sent_b, again_b = yield from self._send("pieces", data, digest)
        self._tell(Progress("check", len(data), len(data), again_b))
        yield from self._ask(FINISH, {})
        yield from self._ask(ACTIVATE, {"when_idle": False, "override": self._override})
        return {"sent_b": sent_b, "again_b": again_b, "have_b": int(plan.get("have_b", 0)) + len(data) - sent_b}

    def _wanted(self, count: int) -> Script:
        told = yield from self._ask(WANTED, {"first": 0})
        bits = told.get("bits")
        if not isinstance(bits, bytes) or len(bits) != (count + 7) // 8:
            raise Refused("internal", "the controller counts other pieces than we do: flash another version")
        return [number for number in range(count) if bits[number // 8] >> number % 8 & 1]

    def _send(self, what: str, data: bytes, digest: bytes) -> Script:
        """Returns how many bytes of it went, and how many of these twice."""
        first = self._sender_next
        go = yield from self._ask(SEND, {"what": what, "size_b": len(data), "digest": digest, "seq": first})
        at_b = go.get("at_b")
        if not isinstance(at_b, int) or not 0 <= at_b <= len(data):
            raise Refused("internal", "the controller has more than there is: flash another version")
        self._sender = sender = Sender(
            lambda at, size: data[at : at + size], len(data), at_b, window=self._window, first=first
        )
        heard = self._now
        while not sender.is_done:
            match (yield heard + PATIENCE_S):
                case ("slip", (kind, int(seq), ack)) if kind == ACK:
                    try:
                        sender.acked(seq, ack, self._now)
                    except ValueError:
                        continue  # of frames that were never sent
                    heard = self._now
                    if what == "pieces":
                        self._tell(Progress("send", sender.acked_b, len(data), sender.again_b))
                case ("slip", (kind, seq, said)) if kind == REFUSED and seq == self._seq:
                    raise refusal_of(said)
            if self._now >= heard + PATIENCE_S:
                raise Refused("link", "the controller fell silent in the middle: check the line, and flash again")
        self._sender, self._sender_next = None, sender.next_number & 0xFFFF
        return len(data) - at_b, sender.again_b

    _sender_next = 0
    _window = 1  # frames that the chip keeps

    def _booted(self) -> Script:
        """The new image runs, speaks our contract and, if that is ours to see, stays."""
        self._tell(Progress("boot"))
        give_up = self._now + BOOT_S
        while True:
            found = yield from self._find(max(KNOCK_S, give_up - self._now))
            if found[0] == "link":
                break
            if self._now >= give_up:
                raise Refused("rolled-back", "the controller waits for a flasher, no image starts: flash another build")
            yield from self._leave()
        welcome = found[1]
        report = yield from self._greeted(welcome)
        if report.digest and report.digest != self._image.digest:
            was = f"runs {report.version or 'the one before'} again"
            raise Refused("rolled-back", f"the new firmware did not come up, the controller {was}: flash another build")
        minor, _, sentence = contract.agree(*welcome[1:5])
        if minor is None:
            yield from self._roll_back(welcome)
            raise Refused("contract", f"{sentence}; the controller has its old firmware again")
        if self._is_proven_here and report.on_trial:
            report = yield from self._proven(welcome, minor, report)
        return report

    def _proven(self, welcome: tuple[Any, ...], minor: int, report: Report) -> Script:
        """We wish, all ports stopped and their bolts as they are, until it says that it stays."""
        self._tell(Progress("prove"))
        ports, locked = welcome[8], dict.fromkeys(range(welcome[8]), 0)
        give_up, hello_at = self._now + PROOF_S, self._now
        while self._now < give_up:
            if self._now >= hello_at:
                hello_at = self._now + SAID_S
                self._say(contract.HELLO, contract.MAJOR, contract.MINOR_FIRST, contract.MINOR_LAST, contract.HASH)
            self._say(contract.WISH, minor, tuple((0, contract.STOP_ORDERLY, locked[i], 0) for i in range(ports)))
            again_at = self._now + WISH_S
            while self._now < again_at:
                match (yield again_at):
                    case ("link", (contract.REPORT, _, int(index), tuple(row))):
                        locked[index] = row[LOCKED]
                    case ("link", (contract.REFUSED, contract.HELLO_FIRST, _)):
                        self._say(
                            contract.HELLO, contract.MAJOR, contract.MINOR_FIRST, contract.MINOR_LAST, contract.HASH
                        )
                    case ("link", (contract.FIRMWARE, version, digest, on_trial, fell_back)):
                        if digest != self._image.digest:
                            why = f"the new firmware gave up, the controller runs {version} again"
                            raise Refused("rolled-back", f"{why}: flash another build")
                        if not on_trial:
                            return told(report, version, digest, False, bool(fell_back))
        raise Refused("rolled-back", "the new firmware does not say that it stays: it goes at its next resets")

    def _roll_back(self, welcome: tuple[Any, ...]) -> Script:
        yield from self._halted(welcome, self._override)
        yield from self._find_receiver(FIND_S)
        yield from self._ask(ROLLBACK, {"reason": "contract"})
        yield from self._leave()


class Rollback(Talk):
    """To the image in the other slot."""

    def __init__(self, *, nonce: bytes, override: str = "", tell: Callable[[Progress], None] = lambda _: None) -> None:
        super().__init__(nonce=nonce, tell=tell)
        self._override = override

    def _run(self) -> Script:
        yield from self._received(self._override)
        yield from self._ask(ROLLBACK, {"reason": "asked for"})
        yield from self._leave()
        self._tell(Progress("boot"))
        found = yield from self._find(BOOT_S)
        if found[0] == "slip":
            return of_receiver(found[1])
        return (yield from self._greeted(found[1]))


class Look(Talk):
    """Who is there. Disturbs nobody: firmware is greeted, a receiver asked."""

    def __init__(self, *, nonce: bytes, patience_s: float = 3.0) -> None:
        super().__init__(nonce=nonce)
        self._patience_s = patience_s

    def _run(self) -> Script:
        found = yield from self._find(self._patience_s)
        if found[0] == "link":
            return (yield from self._greeted(found[1]))
        return of_receiver(found[1])


def check(identity: Mapping[str, Any], board: str) -> None:
    """Refused unless this is a controller for that board: nothing was sent yet."""
    if identity.get("kind") != "controller" or not isinstance(identity.get("board"), str):
        raise Refused("wrong-device", "what answers there is no port controller: name its own line")
    if identity["board"] != board:
        raise Refused("board", f"this controller is a {identity['board']}, the firmware is for {board}: take another")


def of_receiver(identity: Mapping[str, Any]) -> Report:
    state = identity.get("state")
    state = state if isinstance(state, Mapping) else {}
    slots = state.get("slots")
    slots = slots if isinstance(slots, Mapping) else {}
    running = slots.get(state.get("running"))
    return Report(
        board=str(identity.get("board", "")), kind=str(identity.get("platform", "")), is_receiving=True,
        version=str(identity.get("software", "")),
        digest=str(running.get("digest", ""))[: 2 * DIGEST_B] if isinstance(running, Mapping) else "",
        on_trial=bool(state.get("trial")), fell_back=bool(state.get("failed")),
        is_production=bool(identity.get("is_production")), slots=slots,
    )  # fmt: skip


def told(report: Report, version: str, digest: str, on_trial: bool, fell_back: bool) -> Report:
    return Report(
        contract=report.contract, port_count=report.port_count, version=version, digest=digest, on_trial=on_trial,
        fell_back=fell_back,
    )  # fmt: skip


def fields_of(data: bytes) -> dict[str, Any]:
    try:
        return body(data)
    except ValueError:
        raise Refused("link", "the controller says what nobody understands: check the line, and flash again") from None


def refusal_of(data: bytes) -> Refused:
    """As the chip has it: its codes are ours, but it may be a chip of another time."""
    fields = fields_of(data)
    code, sentence = fields.get("code"), fields.get("sentence")
    return Refused(code if isinstance(code, str) and code in EXITS else "internal", str(sentence)[:300])


def digest_of(data: bytes) -> bytes:
    return sha256(data).digest()
