"""Reads the counters of the modem's bearers and of a gateway's leaves, and tells the core what has passed.

The arithmetic is `budget`'s. A bearer is any interface that Linux calls a modem's: ppp0 today, ppp1 after the next
dial. What a power cut can lose is what has passed since the last word: TELL_S, or TELL_B if that comes first.
"""

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from agent.events import DataUsed
from agent.gateway import leaves
from agent.gateway.leaves import Told
from agent.machine import DEVICES, ROUTES, is_mobile, ways_out
from agent.modem import budget
from agent.modem.budget import Cause, Counters, Meter

LOOK_S = 10.0
TELL_S, TELL_B = 600.0, 4 * budget.MEGA_B
LEAVES = Path("/run/station-gateway/told.json")  # agent/gateway/service.py writes it
NAMES_MAX = 8  # of interfaces that only the bearer knows to be a modem's
Found = tuple[Mapping[str, Counters], bool]  # the bearers, and whether the station's own way out is one of them


# -- what Linux tells --------------------------------------------------------------------------------------------------


def bearers(named: Collection[str] = (), devices: Path = DEVICES, routes: Path = ROUTES) -> Found:
    """`named`: interfaces that are a modem's, whatever they look like. Never raises: one that goes while it is read is
    not there."""
    found: dict[str, Counters] = {}
    try:
        names = sorted(device.name for device in devices.iterdir())
    except OSError:
        names = []
    for name in names:
        if name in named or is_mobile(name, devices):
            with suppress(OSError, ValueError):
                counts = (number(devices / name / each) for each in COUNTED)
                found[name] = Counters(*counts)
    return found, next(iter(ways_out(routes)), "") in found


COUNTED = ("ifindex", "statistics/rx_bytes", "statistics/tx_bytes")


def number(file: Path) -> int:
    return int(file.read_text())


def leaves_told(path: Path = LEAVES) -> Told | None:
    """None: this station is no gateway."""
    try:
        with path.open("rb") as file:
            return leaves.read(file.read(leaves.FILE_MAX))
    except OSError:
        return None


# -- what is made of it -----------------------------------------------------------------------------------------------


class DataMeter:
    """On the loop's thread, but for what `found` and `told` read in an instant. `kept` is what DataUsed last kept;
    `boot_id` tells whether Linux has run through since, `named` which interface the modem's bearer is just now."""

    def __init__(
        self, kept: Mapping[str, Any], boot_id: str, post: Callable[[DataUsed], None], now: float,
        found: Callable[[Collection[str]], Found] = bearers, told: Callable[[], Told | None] = leaves_told,
        named: Callable[[], str] = lambda: "",
    ) -> None:  # fmt: skip
        self._post, self._boot_id, self._found, self._told_by = post, boot_id, found, told
        self._meter, self._leaves = restored(kept, boot_id)
        self._named, self._names = named, set(self._meter.counters)
        self._claims: dict[Cause, int] = {}
        self._by_leaf: dict[str, int] = {}  # since the last word
        self._look_at, self._tell_at = now, now + TELL_S

    def spent(self, cause: Cause, size_b: int) -> None:
        """Somebody has sent or got so much for this."""
        self._claims[cause] = self._claims.get(cause, 0) + size_b

    def due(self, now: float) -> None:
        if now < self._look_at:
            return
        self._look_at = now + LOOK_S
        self.look()
        if now >= self._tell_at or sum(self._meter.used.values()) >= TELL_B:
            self._tell_at = now + TELL_S
            if (word := self.word()) is not None:
                self._post(word)

    def next_deadline(self) -> float:
        return self._look_at

    def look(self) -> None:
        if (name := self._named()) and len(self._names) < NAMES_MAX:
            self._names.add(name)  # also when it is down: it counts on when it rises again
        found, is_ours = self._found(self._names)
        claims = self._claims if is_ours else {}
        of_leaves = self._leaves_passed()
        self._meter = budget.looked(self._meter, found, budget.sums(claims, {Cause.LEAVES: of_leaves}))
        self._claims = {}

    def word(self) -> DataUsed | None:
        """What has passed since the last one; None: nothing. Who takes it has to have it written."""
        if not self._meter.used:
            return None
        kept = saved(self._boot_id, self._meter, self._leaves)
        used = {str(cause): size_b for cause, size_b in self._meter.used.items()}
        word = DataUsed(used, self._by_leaf, self._meter.session, kept)
        self._meter, self._by_leaf = budget.told(self._meter), {}
        return word

    def _leaves_passed(self) -> int:
        """Of all leaves since the last look."""
        told = self._told_by()
        if told is None:
            return 0
        before = self._leaves if self._leaves.get("since") == told.since else {}
        now = {leaf.address: leaf.traffic.all_b for leaf in told.leaves}
        all_b = 0
        for leaf in told.leaves:
            passed_b = budget.grown(before.get(leaf.address, 0), now[leaf.address])
            name = leaf.name or leaf.address
            if passed_b:
                self._by_leaf[name] = self._by_leaf.get(name, 0) + passed_b
            all_b += passed_b
        self._leaves = {"since": told.since, **now}
        return all_b


def saved(boot_id: str, meter: Meter, of_leaves: Mapping[str, Any]) -> dict[str, Any]:
    counters = {name: [each.number, each.received_b, each.sent_b] for name, each in meter.counters.items()}
    return {"boot": boot_id, "counters": counters, "leaves": dict(of_leaves)}


def restored(kept: Mapping[str, Any], boot_id: str) -> tuple[Meter, dict[str, Any]]:
    """Counters begin at nothing with each boot; what cannot be read, too."""
    try:
        if kept["boot"] == boot_id:
            rows = msgspec.convert(kept["counters"], dict[str, tuple[int, int, int]])
            of_leaves = msgspec.convert(kept["leaves"], dict[str, str | int])
            return Meter({name: Counters(*row) for name, row in rows.items()}), dict(of_leaves)
    except (KeyError, TypeError, msgspec.ValidationError):
        pass
    return Meter(), {}
