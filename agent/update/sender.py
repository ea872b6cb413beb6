"""The sending end of one transfer: a window of DATA frames with selective repeat (docs/flash-protocol.md). Sans-IO.

The transport asks for a frame whenever its line takes one: `pull(now)`. What comes back goes to `acked(...)`, and
`next_deadline()` says when `pull` has something to say though nothing came. A line does not overtake, so a frame that
is missing while one that was sent after it has arrived is lost, and is sent again at once.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

from agent.update.line import BODY_MAX, DATA, OVERHEAD, frame, read_ack

FRAME_MIN_B = 64
RTO_MIN_S, RTO_FIRST_S, RTO_MAX_S = 0.02, 1.0, 5.0
LOSS_MEMORY_B = 65_536  # how far back losses are remembered when the length of the next frame is chosen
BYTES_PER_FRAME = OVERHEAD + 2  # that carry no data


@dataclass(slots=True)
class _Flying:
    frame: bytes
    size_b: int
    end_b: int  # where its data ends in the transfer
    at_s: float
    first: int  # the how many-eth transmission of all it was at first,
    last: int  # and when it was sent again
    is_here: bool = False


class Sender:
    def __init__(
        self,
        read: Callable[[int, int], bytes],
        size_b: int,
        at_b: int = 0,
        *,
        first: int = 0,
        frame_b: int = BODY_MAX,
        window: int = 8,
    ) -> None:
        """`read(at, n)` gives bytes of the transfer; it goes on from `at_b`, its frames are numbered from `first`, for
        a device that takes bodies of `frame_b` and has room for `window` frames."""
        assert 0 <= at_b <= size_b
        self._read = read
        self.size_b, self.frame_b = size_b, max(1, min(frame_b, BODY_MAX))
        self.sent_b = at_b  # of the transfer: what has been sent at least once
        self.acked_b = at_b  # what has arrived, without a gap
        self.again_b = 0  # was sent again
        self.lost_frames = 0
        self._room = max(1, window)
        self._first = self._next = first  # the frame that is acknowledged next, and sent next, counted without end
        self._flying: dict[int, _Flying] = {}
        self._lost: deque[int] = deque()
        self._count = 0  # transmissions
        self._newest = 0  # the latest transmission that is known to have arrived
        self._loss = 0.0  # frames lost and bytes sent, lately
        self._lately_b = float(LOSS_MEMORY_B)
        self.round_trip = RoundTrip()
        self._heard_s: float | None = None  # since when nothing has come that says more than before
        self._backoff = 1.0

    @property
    def is_done(self) -> bool:
        return self.acked_b == self.size_b

    @property
    def in_flight_b(self) -> int:
        """How much would be sent twice if everything ended here."""
        return self.sent_b - self.acked_b

    @property
    def next_number(self) -> int:
        """For the transfer after this one: so that an ACK of this one, repeated by the line, means nothing there."""
        return self._next

    def pull(self, now: float) -> bytes | None:
        """The next frame to be sent, if there is one."""
        if self._is_overdue(now):
            self._time_out(now)
        while self._lost:
            flying = self._flying.get(number := self._lost.popleft())
            if flying is not None and not flying.is_here:
                return self._again(number, flying, now)
        if self.sent_b < self.size_b and self._next - self._first < self._room:
            return self._new(now)
        return None

    def acked(self, seq: int, body: bytes, now: float) -> None:
        """An ACK frame. ValueError for one that says what cannot be; nothing has changed then."""
        room, bitmap = read_ack(body)
        ahead = (seq - self._first) & 0xFFFF
        if ahead > 0x8000:
            return  # an old one, repeated by the line
        if ahead > self._next - self._first or bitmap.bit_length() > max(0, self._next - self._first - ahead - 1):
            raise ValueError("an ACK of frames that were never sent")
        upto = self._first + ahead
        news = [number for number in range(self._first, upto) if not self._flying[number].is_here]
        news += [
            number
            for number, flying in self._flying.items()
            if number > upto and not flying.is_here and bitmap >> (number - upto - 1) & 1
        ]
        self._room = room
        for number in news:
            self._arrived(self._flying[number], now)
        for number in range(self._first, upto):
            self.acked_b = self._flying.pop(number).end_b
        self._first = upto
        if news:
            self._heard_s, self._backoff = now, 1.0
            self._miss()

    def next_deadline(self) -> float | None:
        """When a frame that nobody has spoken of is sent again."""
        if self._heard_s is None or not any(not each.is_here for each in self._flying.values()):
            return None
        return self._heard_s + min(RTO_MAX_S, self.round_trip.time_out_s * self._backoff)

    # -- sending

    def _new(self, now: float) -> bytes:
        data = self._read(self.sent_b, min(self._frame_size_b(), self.size_b - self.sent_b))
        assert data, "the transfer ends before its size"
        self.sent_b += len(data)
        made = frame(DATA, self._next & 0xFFFF, data)
        if not self._flying:
            self._heard_s = now
        self._count += 1
        self._flying[self._next] = _Flying(made, len(data), self.sent_b, now, self._count, self._count)
        self._next += 1
        self._remember(len(made), 0)
        return made

    def _again(self, number: int, flying: _Flying, now: float) -> bytes:
        self._count += 1
        flying.last, flying.at_s = self._count, now
        self.again_b += flying.size_b
        self._remember(len(flying.frame), 0)
        return flying.frame

    def _frame_size_b(self) -> int:
        """Where bytes go wrong at the rate p, a frame of sqrt(overhead / p) bytes costs least."""
        if self._loss <= 0:
            return self.frame_b
        best = sqrt(BYTES_PER_FRAME * self._lately_b / self._loss)
        return max(min(FRAME_MIN_B, self.frame_b), min(self.frame_b, int(best)))

    def _remember(self, bytes_: int, losses: int) -> None:
        fade = 1 - min(1.0, bytes_ / LOSS_MEMORY_B)
        self._loss = self._loss * fade + losses
        self._lately_b = self._lately_b * fade + bytes_

    # -- hearing

    def _arrived(self, flying: _Flying, now: float) -> None:
        flying.is_here = True
        self._newest = max(self._newest, flying.first)  # of a repeated one nobody knows which came
        if flying.first == flying.last:
            self.round_trip.measured(now - flying.at_s)

    def _miss(self) -> None:
        """What was sent before something that has arrived, and is not here, is lost."""
        lost = set(self._lost)
        for number, flying in self._flying.items():
            if not flying.is_here and flying.last < self._newest and number not in lost:
                self._lost.append(number)
                self.lost_frames += 1
                self._remember(0, 1)

    def _is_overdue(self, now: float) -> bool:
        due = self.next_deadline()
        return due is not None and now >= due and not self._lost

    def _time_out(self, now: float) -> None:
        """Nothing came. The last frame that is out goes again: the answer to it tells what is missing before it."""
        self._heard_s = now
        self._backoff = min(self._backoff * 2, 256.0)
        missing = [number for number, each in self._flying.items() if not each.is_here]
        self._lost.append(max(missing, key=lambda number: self._flying[number].last))


class RoundTrip:
    """Mean and mean deviation of the round trips (RFC 6298), and the time-out that follows."""

    def __init__(self) -> None:
        self.mean_s: float | None = None
        self._deviation_s = 0.0

    def measured(self, trip_s: float) -> None:
        if self.mean_s is None:
            self.mean_s, self._deviation_s = trip_s, trip_s / 2
            return
        self._deviation_s += (abs(trip_s - self.mean_s) - self._deviation_s) / 4
        self.mean_s += (trip_s - self.mean_s) / 8

    @property
    def time_out_s(self) -> float:
        if self.mean_s is None:
            return RTO_FIRST_S
        return max(RTO_MIN_S, self.mean_s + 4 * self._deviation_s)
