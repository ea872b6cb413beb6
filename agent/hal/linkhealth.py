"""How the line to the port controller does, both ways: counters, and whether they are worth a word. Pure.

A spoilt frame is nothing: the next heartbeat says it all again. Many of them in a short time are a bad cable; missed
turns, lost messages or a meter that leaps are worth a look. Each is told once, and that it is over after QUIET_S.
"""

from collections.abc import Iterable, Mapping

from agent.events import PartTold
from board.controller import contract
from board.controller.link import Deframer

COUNTS = contract.COUNTS.split()
PART = "ControllerLink"  # component name
QUIET_S = 600.0

# So many more from one COUNTERS to the next, 30 s, are worth telling; what it is, and what to do.
ODDS: dict[str, tuple[int, str, str]] = {
    "crc_errors": (20, "the line to the port controller is noisy", "Check its cable and earth."),
    "host_crc_errors": (20, "the line from the port controller is noisy", "Check its cable and earth."),
    "bad_messages": (1, "the port controller does not understand us", "Flash the controller: tools/flash.py."),
    "host_bad_messages": (1, "the port controller says what we do not understand", "Flash it: tools/flash.py."),
    "dropped": (1, "the port controller has more to say than the line carries", "Restart it; send the log."),
    "overruns": (10, "the port controller misses turns", "Restart it; if it stays so, replace it."),
    "leaps": (1, "a meter's register has leapt", "Look at the meter and its wiring."),
}  # fmt: skip


class LinkHealth:
    """`controller`: what it has counted since its boot, by name; empty = it has not said."""

    def __init__(self) -> None:
        self.controller: Mapping[str, int] = {}
        self._before: Mapping[str, int] | None = None  # of this boot; None: there is nothing to compare with
        self._odd: dict[str, float] = {}  # what is odd: when it was last

    def booted(self, is_new: bool) -> None:
        """Greeted: a controller that we have not seen before (a new boot) has counted nothing that we know of."""
        if is_new:
            self.controller, self._before = {}, None

    def counted(self, counts: Iterable[int], ear: Deframer, bad_messages: int, now: float) -> PartTold | None:
        """A COUNTERS has come; what of it is news."""
        self.controller = dict.fromkeys(COUNTS, 0) | dict(zip(COUNTS, counts, strict=False))
        seen = {**self.controller, "host_crc_errors": ear.crc_errors, "host_bad_messages": bad_messages}
        before, self._before = self._before or seen, seen
        was_odd = bool(self._odd)
        more = {name for name, (least, _, _) in ODDS.items() if seen[name] - before[name] >= least}
        is_news = bool(more - self._odd.keys())
        self._odd = {name: at for name, at in self._odd.items() if now < at + QUIET_S} | dict.fromkeys(more, now)
        if not is_news and bool(self._odd) == was_odd:
            return None
        words = [ODDS[name] for name in sorted(self._odd)]
        fixes = dict.fromkeys(fix for _, _, fix in words)
        return PartTold(PART, "; ".join(why for _, why, _ in words), " ".join(fixes), min(self._odd, default=""))


def health_of(ear: Deframer, bad_messages: int, health: LinkHealth) -> dict[str, dict[str, int]]:
    """For `station-agent status`: what each end has counted of what it heard."""
    ours = {
        "noise_bytes": ear.noise_bytes, "crc_errors": ear.crc_errors, "gaps": ear.gaps, "bad_messages": bad_messages,
    }  # fmt: skip
    return {"heard_here": ours, "heard_there": dict(health.controller)}
