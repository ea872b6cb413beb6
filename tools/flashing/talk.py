"""The flasher's end of the flash protocol on one line (docs/flash-protocol.md). Sans-IO.

A conversation is a generator that yields while it waits: `identity = yield from talk.hello()`. Whoever runs it
(tools/flashing/driver.py, a test) feeds receive(), sends what pull() gives, waits until next_deadline() at the latest,
and then goes on with it. What the device refuses is raised as Refused, and so is a silent line: Refused("link").
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from agent.update import line
from agent.update.line import ANSWER, BODY_MAX, Deframer, frame, packed
from agent.update.refusal import EXITS, Refused
from agent.update.sender import RTO_MAX_S, RoundTrip, Sender

Steps = Generator[None, None, Any]
WAITS_S = 300.0  # that a device may work on one request, as long as it says so
WORKING_TRIES = 4
LOST = "the link was lost: check the cable or the network, then type the same command again, it goes on where it was"


@dataclass(slots=True)
class _Request:
    kind: int
    number: int
    frame: bytes
    sent_s: float | None = None
    tries: int = 0


@dataclass(slots=True)
class Counts:
    """Of one conversation."""

    sent_b: int = 0  # on the wire
    data_b: int = 0  # of builds
    again_b: int = 0  # of them, sent more than once
    bad_frames: int = 0  # that came


class Talk:
    def __init__(
        self,
        nonce: bytes,
        who: str,
        trace: Callable[[str, int, int, bytes], None] | None = None,
        patience_s: float = line.PATIENCE_S,
    ) -> None:
        """`trace` gets ">" or "<", type, seq and body of each frame; `patience_s`: how long the line may be silent."""
        self.now = 0.0
        self.sender: Sender | None = None
        self.sends = ""  # what the sender sends: "head" or "pieces"
        self.counts = Counts()
        self.identity: Mapping[str, Any] = {}
        self._nonce, self._who, self._trace, self._patience_s = nonce, who, trace, patience_s
        self._frames = Deframer()
        self._request: _Request | None = None
        self._answer: tuple[int, bytes] | None = None
        self._number = -1
        self._first = int.from_bytes(nonce[:2], "little")  # the next DATA frame's number
        self._failed: Refused | None = None
        self._heard_s = 0.0
        self._trip = RoundTrip()
        self._wake_s: float | None = None

    # -- bytes

    def receive(self, data: bytes, now: float) -> None:
        self.now = now
        for kind, seq, body in self._frames.feed(data):
            if self._trace:
                self._trace("<", kind, seq, body)
            self._heard_s = now
            self._frame(kind, seq, body)
        self.counts.bad_frames = self._frames.errors

    def pull(self, now: float) -> bytes | None:
        self.now = now
        made = self._pull(now)
        if made is not None:
            self.counts.sent_b += len(made)
            if self._trace:
                self._trace(">", *Deframer().feed(made)[0])
        return made

    def next_deadline(self) -> float | None:
        request, sender = self._request, self.sender
        due = [self._heard_s + self._patience_s] if request is not None or sender is not None else []
        if request is not None and request.sent_s is not None:
            due.append(request.sent_s + self._repeat_s(request))
        if sender is not None and (time_out := sender.next_deadline()) is not None:
            due.append(time_out)
        if self._wake_s is not None:
            due.append(self._wake_s)
        return min(due, default=None)

    def _pull(self, now: float) -> bytes | None:
        request = self._request
        if request is not None:
            if request.sent_s is None or now >= request.sent_s + self._repeat_s(request):
                request.sent_s = now
                request.tries += 1
                return request.frame
        elif self.sender is not None:
            return self.sender.pull(now)
        return None

    def _repeat_s(self, request: _Request) -> float:
        return min(RTO_MAX_S, max(0.2, self._trip.time_out_s) * 2.0 ** max(0, request.tries - 1))

    def _frame(self, kind: int, seq: int, body: bytes) -> None:
        request, sender = self._request, self.sender
        if kind == line.REFUSED and (request is None or seq == request.number or self._is_over(body)):
            if request is not None:
                self._answer = kind, body
            elif sender is not None:
                self._failed = refusal(body)
        elif request is not None and seq == request.number and kind == request.kind + ANSWER:
            if request.tries == 1 and request.sent_s is not None:
                self._trip.measured(self.now - request.sent_s)
            self._answer = kind, body
        elif request is not None and seq == request.number and kind == line.WORKING:
            request.tries, request.sent_s = WORKING_TRIES, self.now  # it has it: asking again is not urgent
        elif kind == line.ACK and request is None and sender is not None:
            try:
                sender.acked(seq, body, self.now)
            except ValueError:
                self._failed = Refused("link", "the device acknowledged what was never sent: begin again")

    def _is_over(self, body: bytes) -> bool:
        return refusal(body).code == "link"

    # -- requests

    def ask(self, kind: int, **fields: Any) -> Generator[None, None, dict[str, Any]]:
        """The answer's fields. Refused."""
        self._number = self._number + 1 & 0xFFFF
        self._request = _Request(kind, self._number, frame(kind, self._number, packed(fields)))
        self._answer, self._heard_s, began_s = None, self.now, self.now
        try:
            while self._answer is None:
                yield
                self._check_silence()
                if self.now - began_s > WAITS_S:
                    raise Refused("link", "the device works on and on: look at status, and at its log")
            answered, body = self._answer
        finally:
            self._request = None
        if answered == line.REFUSED:
            raise refusal(body)
        try:
            return line.body(body)
        except ValueError:
            raise Refused("link", "the device's answer was not understood: use a newer tool") from None

    def hello(self) -> Generator[None, None, Mapping[str, Any]]:
        self._number = -1
        versions = [line.VERSIONS.start, line.VERSIONS[-1]]
        self.identity = yield from self.ask(line.HELLO, versions=versions, nonce=self._nonce, who=self._who)
        return self.identity

    def send(
        self, what: str, read: Callable[[int, int], bytes], size_b: int, digest: bytes
    ) -> Generator[None, None, int]:
        """The whole of it, from where the device wants it on; returns how many bytes that were. Refused."""
        go = yield from self.ask(line.SEND, what=what, size_b=size_b, digest=digest, seq=self._first)
        at_b = go.get("at_b")
        if type(at_b) is not int or not 0 <= at_b <= size_b:
            raise Refused("link", "the device's answer was not understood: use a newer tool")
        frame_b, window = self.identity.get("frame_b", BODY_MAX), self.identity.get("window", 8)
        sender = Sender(read, size_b, at_b, first=self._first, frame_b=frame_b, window=window)
        self.sender, self.sends, self._failed = sender, what, None
        self._heard_s = self.now
        try:
            while not sender.is_done:
                yield
                if self._failed:
                    raise self._failed
                self._check_silence()
        finally:
            self._first = sender.next_number & 0xFFFF
            self.sender = None
            self.counts.data_b += sender.sent_b - at_b
            self.counts.again_b += sender.again_b
        return size_b - at_b

    def send_bytes(self, what: str, data: bytes) -> Generator[None, None, int]:
        return self.send(what, lambda at, n: data[at : at + n], len(data), sha256(data).digest())

    def plan(
        self, head: bytes, *, is_dry: bool = False, sends: bool = True
    ) -> Generator[None, None, Mapping[str, Any]]:
        """WANT for this head, which is sent if the device does not have it yet. Refused."""
        digest = sha256(head).digest()
        for _ in range(3):
            want = yield from self.ask(line.PLAN, digest=digest, is_dry=is_dry)
            if want.get("is_known"):
                return want
            if not sends:
                raise Refused("usage", "no flash of this build was begun on this station: type flash instead of resume")
            yield from self.send_bytes("head", head)
        raise Refused("link", "the device takes no head: look at its log")

    def wanted(self, pieces: int) -> Generator[None, None, list[int]]:
        """The numbers of the pieces that the device wants, of so many that there are."""
        numbers: list[int] = []
        first = 0
        while first < pieces:
            answer = yield from self.ask(line.WANTED, first=first)
            bits = answer.get("bits")
            if not isinstance(bits, bytes) or not bits:
                raise Refused("link", "the device's answer was not understood: use a newer tool")
            numbers += [first + i for i in range(8 * len(bits)) if bits[i // 8] >> i % 8 & 1]
            first += 8 * len(bits)
        return [number for number in numbers if number < pieces]

    def pause(self, seconds: float) -> Steps:
        self._wake_s = wake_s = self.now + seconds
        while self.now < wake_s:
            yield
        self._wake_s = None

    def _check_silence(self) -> None:
        if self.now - self._heard_s >= self._patience_s:
            raise Refused("link", LOST)


def refusal(body: bytes) -> Refused:
    """What REFUSED says; a code of the future is shown by its sentence."""
    try:
        fields = line.body(body)
    except ValueError:
        fields = {}
    code, sentence = fields.get("code"), fields.get("sentence")
    if not isinstance(sentence, str) or not sentence:
        sentence = "the device refused and did not say why: look at its log"
    return Refused(code if isinstance(code, str) and code in EXITS else "internal", sentence)
