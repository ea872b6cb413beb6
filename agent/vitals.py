"""What this run of the agent tells of itself, for whoever updates it: a small file in /run (agent/update/health.py).

It is written by completed turns of the loop and by nothing else, so an agent that hangs is seen to hang.
"""

import os
from collections.abc import Callable
from pathlib import Path

from agent.events import Link
from agent.faults import Fault
from agent.port import faults
from agent.station import Station
from agent.update.health import Facts, dump

NAME = "vitals"
EVERY_S = 5.0


class Vitals:
    """`due` is called in every turn of the loop; the folder is on tmpfs, so nothing waits for a disk."""

    def __init__(
        self, folder: Path, schema: int, contract: Callable[[], tuple[int, int, int] | None],
        log: Callable[[str], None], now: float,
    ) -> None:  # fmt: skip
        """`schema`: what the database asks for; `contract`: what the controller speaks, once it has said so."""
        self._path, self._schema, self._contract, self._log = folder / NAME, schema, contract, log
        self._began_s, self._due_at = now, now
        self._is_reached = False  # the cloud has answered in this run
        self._is_busy = False  # as last told
        self._is_told = False  # that the file cannot be written

    def next_deadline(self) -> float:
        return self._due_at

    def due(self, station: Station, now: float) -> None:
        self._is_reached = self._is_reached or station.link is Link.UP
        if now < self._due_at and is_busy(station) == self._is_busy:
            return
        self._due_at, self._is_busy = now + EVERY_S, is_busy(station)
        try:
            self._write(dump(self._facts(station, now)))
        except OSError as error:
            if not self._is_told:
                self._log(f"{self._path} cannot be written ({error.strerror}): a build on trial will be taken back")
            self._is_told = True

    def _facts(self, station: Station, now: float) -> Facts:
        found = frozenset[Fault]().union(*map(faults, station.ports))
        heard = station.controller is not None and all(port.report and not port.lost for port in station.ports)
        return Facts(
            self._began_s, now, controller=heard, meter=heard and Fault.METER_FAULT not in found,
            store=station.store_ok, broker=self._is_reached, has_session=self._is_busy, schema=self._schema,
            contract=self._contract(),
        )  # fmt: skip

    def _write(self, data: bytes) -> None:
        """In one piece; the updater's user is in our group."""
        new = self._path.with_name(f".{NAME}.new")
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o640), "wb") as file:
            os.fchmod(file.fileno(), 0o640)
            file.write(data)
        new.replace(self._path)


def is_busy(station: Station) -> bool:
    """Somebody charges, or may at any moment."""
    return any(port.transaction or port.grant for port in station.ports)
