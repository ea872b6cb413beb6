"""Lowering at once, raising only when the disk has spoken (design: a record is on disk before a contactor closes).

Every batch of effects may carry a wish. What is wished of the controller is the safest of all wishes that are not older
than the newest committed batch: so a stop overtakes any number of slow commits, and a commit that comes late cannot
bring back what was stopped meanwhile.
"""

from collections import deque

from agent.effects import PortCommand, safer

Commands = tuple[PortCommand, ...]


class Gate:
    def __init__(self, commands: Commands) -> None:
        self.released = commands  # the newest wish with nothing uncommitted before it
        self._newest_batch = self._committed = 0
        self._waiting: deque[tuple[int, Commands]] = deque()  # batch that must be on disk first, wish

    def batch(self, batch_id: int | None, wish: Commands | None) -> None:
        """A step's effects: `batch_id` names its durable part, None if it has none."""
        newest = self._waiting[-1][1] if self._waiting else self.released
        self._newest_batch = batch_id or self._newest_batch
        if wish is None or wish == newest:  # nothing new is wished: what it hung on before is enough
            return
        if self._newest_batch > self._committed:
            self._waiting.append((self._newest_batch, wish))
        else:
            self.released = wish

    def committed(self, batch_id: int) -> None:
        """Everything up to this batch is on disk."""
        self._committed = max(self._committed, batch_id)
        while self._waiting and self._waiting[0][0] <= batch_id:
            self.released = self._waiting.popleft()[1]

    @property
    def is_waiting(self) -> bool:
        """Whether something is to be raised once the disk has spoken."""
        return bool(self._waiting)

    @property
    def wish(self) -> Commands:
        """What may be asked of the controller now."""
        wish = self.released
        for _, later in self._waiting:
            wish = tuple(safer(a, b) for a, b in zip(wish, later, strict=True))
        return wish
