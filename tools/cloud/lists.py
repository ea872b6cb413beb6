"""What a station is sent of the list of drivers: what leads from the list that it has to ours.

A station says which list it has (ListStatus), after each connection and a few times a day; what it is sent, it
confirms. So the way always begins at a list that is there; and where two lists differ that should not, they are
compared, and the buckets that differ are sent, not the list.
"""

import json
from base64 import b64decode

from tools.cloud.commands import Command, Commands, transfer
from tools.cloud.content import hash_of
from tools.cloud.database import Database
from tools.cloud.drivers import Drivers, Version
from tools.cloud.wire import Json

LIST_EXPIRY_MS = 30 * 24 * 3600 * 1000  # the parts of a long list may take weeks on bad radio
STATUS, CONTENT = "ListStatus", "ListContent"
CONTENT_B = 5_120


class Lists:
    def __init__(self, db: Database, drivers: Drivers, commands: Commands) -> None:
        self.db, self.drivers, self.commands = db, drivers, commands

    # -- what the station says ----------------------------------------------------------------------------------------

    def greeted(self, station: str, is_new_epoch: bool, is_new_boot: bool) -> None:
        """A hello, before the station's row says so. A new epoch, or boot, may have another copy: it will say."""
        if is_new_epoch:
            self.commands.supersede(station, "SendLocalList")
        if is_new_epoch or is_new_boot:
            self._unknown(station)

    def told(self, station: str, status: object, now_ms: int) -> bool:
        """ListStatus. False: it cannot be read."""
        match status:
            case {"generation": int(generation), "version": int(number), "hash": str(said)}:
                theirs = generation, number
            case _:
                return False
        with self.db.transaction():
            ours = self.drivers.version()
            if self._is_long_way(station):              # then what is on its way goes on, at once
                self.commands.retry(station)
            elif ours is not None and ours == theirs and said != hash_of(self.drivers.content()):
                self._compare(station, now_ms)
            elif ours is not None and ours == theirs:
                self._send(station, [self.drivers.confirmation(now_ms)], now_ms + LIST_EXPIRY_MS, now_ms)
                self._confirmed(station, theirs, None)
            else:
                self._confirmed(station, theirs, None)
                self.db.execute("UPDATE station SET offered = '' WHERE name = ?", (station,))
        return True

    def finished(self, command: Command, now_ms: int) -> None:
        """The result of a command."""
        if command.is_transfer(CONTENT) and "data" in command.payload:      # without: an operator asks, and decides
            self._compared(command.station, command.response.get("data"), now_ms)
        if command.action != "SendLocalList":
            return
        custom = command.payload.get("customData", {})
        if command.response.get("status") != "Accepted":
            self._refused(command, now_ms)
        elif not command.response.get("customData", {}).get("missing"):
            self._confirmed(command.station, (custom.get("generation"), command.payload["versionNumber"]), now_ms)
        elif not self._is_long_way(command.station):    # it lacks parts that it has confirmed: a disk was exchanged
            self.db.execute("UPDATE station SET offered = '' WHERE name = ?", (command.station,))

    def _refused(self, command: Command, now_ms: int) -> None:
        """A difference that does not fit: which list is there? Where not even its buckets help, all of it. A whole list
        that is refused is not sent again before the station asks."""
        self.commands.supersede(command.station, "SendLocalList")
        if command.payload["updateType"] == "Full":
            return
        if "buckets" in command.payload.get("customData", {}):
            self.push(command.station, now_ms, now_ms + LIST_EXPIRY_MS, whole=True)
        else:
            self._compare(command.station, now_ms)

    def _compare(self, station: str, now_ms: int) -> None:
        self.commands.add(station, "DataTransfer", transfer(CONTENT, {}), now_ms + LIST_EXPIRY_MS, now_ms)

    def _compared(self, station: str, said: object, now_ms: int) -> None:
        match said:
            case {"generation": int(generation), "version": int(number), "content": str(text)}:
                theirs, content = (generation, number), b64decode(text)
            case _:
                return
        ours = self.drivers.version()
        if ours is None or len(content) != CONTENT_B:
            return
        if theirs == ours and content == self.drivers.content():
            self._confirmed(station, theirs, now_ms)
        elif is_way(theirs, ours) or theirs == ours:
            self.mend(station, content, now_ms, now_ms + LIST_EXPIRY_MS, theirs)
        else:
            self._confirmed(station, theirs, None)
            self.db.execute("UPDATE station SET offered = '' WHERE name = ?", (station,))

    # -- what it is sent ----------------------------------------------------------------------------------------------

    def queue(self, now_ms: int) -> None:
        """Queues what each station that is there, and has said what it has, needs. A list in parts is left to arrive:
        with a new one at each change no station on bad radio would ever have a list."""
        if (version := self.drivers.version()) is None:
            return
        offer = json.dumps(version)
        needy = "SELECT name, listed FROM station WHERE online AND listed <> '' AND offered <> ?"
        if not self.db.execute(needy, (offer,)).fetchone():
            return
        with self.db.transaction():
            for station, listed in self.db.execute(needy, (offer,)).fetchall():
                if self._is_long_way(station):
                    continue
                self.db.execute("UPDATE station SET offered = ? WHERE name = ?", (offer, station))
                if requests := self._way((*json.loads(listed),), version, now_ms):
                    self._send(station, requests, now_ms + LIST_EXPIRY_MS, now_ms)

    def _way(self, theirs: Version, ours: Version, now_ms: int) -> list[Json]:
        """Empty: it has ours, or a newer one, which only a new generation of ours can replace."""
        if theirs == ours or is_newer(theirs, ours):
            return []
        return (self.drivers.differential(theirs, now_ms) if theirs[1] else None) or self.drivers.full(now_ms)

    def _send(self, station: str, requests: list[Json], expires_ms: int, now_ms: int) -> list[str]:
        self.commands.supersede(station, "SendLocalList")
        return [self.commands.add(station, "SendLocalList", each, expires_ms, now_ms) for each in requests]

    def push(self, station: str, now_ms: int, expires_ms: int, *, whole: bool) -> list[str] | None:
        """Queues the whole list now, or what leads from the station's confirmed one to ours. The ids of the commands;
        None: there is no such way."""
        since = self._listed(station)
        requests = self.drivers.full(now_ms) if whole else since and self.drivers.differential(since, now_ms)
        return self._push(station, requests, now_ms, expires_ms) if requests else None

    def mend(
        self, station: str, theirs: bytes, now_ms: int, expires_ms: int, at: Version | None = None
    ) -> list[str] | None:
        """What a station's list says, at this version or ours: if it is not what ours says, queues what mends it. None:
        it is the same."""
        with self.db.transaction():
            requests = self.drivers.mend(theirs, now_ms, at)
            return self._push(station, requests, now_ms, expires_ms) if requests else None

    def _push(self, station: str, requests: list[Json], now_ms: int, expires_ms: int) -> list[str]:
        offer = json.dumps(self.drivers.version())
        self.db.execute("UPDATE station SET offered = ? WHERE name = ?", (offer, station))
        return self._send(station, requests, expires_ms, now_ms)

    def ahead(self) -> list[tuple[str, Version]]:
        """Stations whose list is newer than ours: this database is yesterday's. `devcloud generation` begins anew."""
        ours = self.drivers.version()
        rows = self.db.execute("SELECT name, listed FROM station WHERE listed <> '' ORDER BY name")
        said: list[tuple[str, Version]] = [(name, (*json.loads(listed),)) for name, listed in rows]
        return [(name, theirs) for name, theirs in said if ours and is_newer(theirs, ours)]

    # -- the station's row --------------------------------------------------------------------------------------------

    def _listed(self, station: str) -> Version | None:
        row = self.db.execute("SELECT listed FROM station WHERE name = ?", (station,)).fetchone()
        return (*json.loads(row[0]),) if row and row[0] else None

    def _unknown(self, station: str) -> None:
        self.db.execute("UPDATE station SET listed = '', offered = '' WHERE name = ?", (station,))

    def _is_long_way(self, station: str) -> bool:
        """Whether parts of a list wait to be confirmed."""
        waiting = (
            "SELECT 1 FROM command WHERE station = ? AND action = 'SendLocalList' AND status IS NULL AND is_part"
        )
        return self.db.execute(waiting, (station,)).fetchone() is not None

    def _confirmed(self, station: str, listed: tuple[object, object], now_ms: int | None) -> None:
        """`now_ms` is None where nothing made the list any younger there."""
        confirmed = "UPDATE station SET listed = ?, listed_ms = coalesce(?, listed_ms) WHERE name = ?"
        self.db.execute(confirmed, (json.dumps(listed), now_ms, station))


def is_newer(theirs: Version, ours: Version) -> bool:
    """No list is there where the version is 0."""
    return theirs[1] > 0 and theirs > ours


def is_way(theirs: Version, ours: Version) -> bool:
    return theirs[0] == ours[0] and 0 < theirs[1] < ours[1]
