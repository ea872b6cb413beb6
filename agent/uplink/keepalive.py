"""How long a silent link may be trusted: learned, for no two mobile networks forget a silent connection alike. Pure.

MQTT fixes the keepalive with CONNECT, for the life of a connection. It is a promise to speak at least so often, and
nothing forbids to speak earlier. So we always promise the most (MOST_S), and PING at the interval learned so far: a
connection that stands for a month gets cheaper as it goes. What the broker asks for instead (Server Keep Alive) binds
us, and is how its operator hears sooner that a station has vanished.
"""

START_S, LEAST_S, MOST_S = 240.0, 60.0, 1_100.0
GROWTH = 1.5
BRIDGED = 0.9  # of the interval, without a byte either way: so much counts as all of it
EARLY_S = 10.0  # a promise to the broker is kept with room to spare
ANSWER_S, ANSWER_LEAST_S = 30.0, 10.0
PATIENCE_MAX = 64


class Keepalive:
    """Of one process; opened() and closed() for each connection. `now` is monotonic seconds."""

    def __init__(self, learned_s: float = START_S) -> None:
        self.learned_s = min(max(learned_s, LEAST_S), MOST_S)  # worth keeping over a restart
        self._patience = 1  # silences to be bridged before the next step; doubled by each one that was not
        self._bridged = 0
        self.opened(0, 0.0)

    def opened(self, server_s: int, now: float) -> None:
        """A connection begins, or is welcomed. `server_s`: the broker's Server Keep Alive; 0: it asks for nothing."""
        self._agreed_s = min(float(server_s), MOST_S) if server_s else MOST_S
        self._sent_at = self._heard_at = now
        self._silence_s = 0.0  # before what we sent first without having heard since
        self._is_waiting = False
        self._pinged_at: float | None = None

    @property
    def agreed_s(self) -> float:
        """What the broker counts on."""
        return self._agreed_s

    @property
    def interval_s(self) -> float:
        """How long nothing may be sent or heard until a PING asks."""
        return min(self.learned_s, self._agreed_s - min(EARLY_S, self._agreed_s / 10))

    def sent(self, now: float) -> None:
        """Bytes went out."""
        if not self._is_waiting:
            self._is_waiting, self._silence_s = True, now - max(self._sent_at, self._heard_at)
        self._sent_at = now

    def heard(self, now: float) -> None:
        """Bytes came in: whatever they are, the link lives, and it has bridged the silence before."""
        silence_s = self._silence_s if self._is_waiting else now - max(self._sent_at, self._heard_at)
        if silence_s >= BRIDGED * self.learned_s:
            self._bridged += 1
            if self._bridged >= self._patience:
                self.learned_s, self._bridged = min(self.learned_s * GROWTH, MOST_S), 0
        self._heard_at, self._is_waiting, self._pinged_at = now, False, None

    def pinged(self, now: float) -> None:
        """A PINGREQ was handed to TCP."""
        self._pinged_at = now

    def is_ping_due(self, now: float) -> bool:
        return self._pinged_at is None and now >= self.next_deadline()

    def is_dead(self, now: float) -> bool:
        """The PING was not answered: noticed at 1.5 intervals at the latest (intervals below 20 s: 10 s later)."""
        return self._pinged_at is not None and now >= self.next_deadline()

    def next_deadline(self) -> float:
        """When is_ping_due or is_dead may become true."""
        if self._pinged_at is not None:
            return self._pinged_at + min(ANSWER_S, max(self.interval_s / 2, ANSWER_LEAST_S))
        return min(self._sent_at, self._heard_at) + self.interval_s

    def closed(self, is_silent: bool) -> None:
        """Disconnected; `is_silent`: without a word from the broker, and not by us. If it died of a silence, the next
        silences are half as long, and must prove themselves more often before they grow again."""
        if is_silent and self._is_waiting and self._silence_s >= self.interval_s / 2:
            self.learned_s = max(min(self.learned_s, self.interval_s) / 2, LEAST_S)
            self._patience, self._bridged = min(2 * self._patience, PATIENCE_MAX), 0
        self._is_waiting = False
