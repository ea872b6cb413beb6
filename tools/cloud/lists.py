"""When a station is sent the list of drivers: when what it has confirmed is not what we have, and not at each hello."""

import json

from tools.cloud.commands import Command, Commands
from tools.cloud.database import Database
from tools.cloud.drivers import Drivers, Version
from tools.cloud.wire import Json

LIST_EXPIRY_MS = 24 * 3600 * 1000
LIST_FRESH_MS = 12 * 3600 * 1000        # then it is sent again: a station knows how old its list is, and warns at 20 h


class Lists:
    def __init__(self, db: Database, drivers: Drivers, commands: Commands) -> None:
        self.db, self.drivers, self.commands = db, drivers, commands

    def greeted(self, station: str, is_new_epoch: bool, is_new_boot: bool, now_ms: int) -> None:
        """A hello, before the station's row says so. A new epoch has forgotten the list; a new boot may have an older
        copy, so it is asked; after a mere reconnect what was said before still holds."""
        if (version := self.drivers.version()) is None:
            return
        if is_new_epoch:
            self.db.execute("UPDATE station SET listed = '', offered = '' WHERE name = ?", (station,))
        elif is_new_boot and self._listed(station) == version:
            self.commands.supersede(station, "GetLocalListVersion")
            self.commands.add(station, "GetLocalListVersion", {}, now_ms + LIST_EXPIRY_MS, now_ms)
        elif not self._is_open(station, now_ms):
            self.db.execute("UPDATE station SET offered = '' WHERE name = ? AND listed <> offered", (station,))

    def _listed(self, station: str) -> Version | None:
        row = self.db.execute("SELECT listed FROM station WHERE name = ?", (station,)).fetchone()
        return (*json.loads(row[0]),) if row and row[0] else None

    def _is_open(self, station: str, now_ms: int) -> bool:
        waiting = "SELECT 1 FROM command WHERE station = ? AND action = ? AND status IS NULL AND expires_ms > ?"
        return self.db.execute(waiting, (station, "SendLocalList", now_ms)).fetchone() is not None

    def queue(self, now_ms: int) -> None:
        """Queues what each station that is there needs: the way from the list that it has confirmed to ours, the whole
        list where there is no such way; where it has ours, but confirmed it long ago, that this is the newest."""
        if (version := self.drivers.version()) is None:
            return
        offer = json.dumps(version)
        needy = (
            "SELECT name, listed FROM station WHERE online AND (offered <> ?1 OR (listed = ?1 AND listed_ms < ?2))"
        )
        if not self.db.execute(needy, (offer, now_ms - LIST_FRESH_MS)).fetchone():
            return
        with self.db.transaction():
            for station, listed in self.db.execute(needy, (offer, now_ms - LIST_FRESH_MS)).fetchall():
                is_news = listed != offer
                self.db.execute(
                    "UPDATE station SET offered = ?1, listed_ms = max(listed_ms, ?2) WHERE name = ?3",
                    (offer, 0 if is_news else now_ms - LIST_FRESH_MS // 2, station),
                )
                self._send(station, self._way(station, version, now_ms), now_ms + LIST_EXPIRY_MS, now_ms)

    def _way(self, station: str, version: Version, now_ms: int) -> list[Json]:
        since = self._listed(station)
        if since == version:
            return [self.drivers.confirmation(now_ms)]
        return (self.drivers.differential(since, now_ms) if since else None) or self.drivers.full(now_ms)

    def _send(self, station: str, requests: list[Json], expires_ms: int, now_ms: int) -> list[str]:
        self.commands.supersede(station, "SendLocalList")
        return [self.commands.add(station, "SendLocalList", each, expires_ms, now_ms) for each in requests]

    def push(self, station: str, now_ms: int, expires_ms: int, *, whole: bool) -> list[str] | None:
        """Queues the whole list now, or what leads from the station's confirmed one to ours. The ids of the commands;
        None: there is no such way."""
        since = self._listed(station)
        requests = self.drivers.full(now_ms) if whole else since and self.drivers.differential(since, now_ms)
        if not requests:
            return None
        offer = json.dumps(self.drivers.version())
        self.db.execute("UPDATE station SET offered = ? WHERE name = ?", (offer, station))
        return self._send(station, requests, expires_ms, now_ms)

    def mend(self, station: str, theirs: bytes, now_ms: int, expires_ms: int) -> list[str] | None:
        """What a station's list says: if it is not what ours says, queues what mends it. None: it is the same."""
        with self.db.transaction():
            requests = self.drivers.mend(theirs, now_ms)
            if requests is None:
                return None
            offer = json.dumps(self.drivers.version())
            self.db.execute("UPDATE station SET offered = ? WHERE name = ?", (offer, station))
            return self._send(station, requests, expires_ms, now_ms)

    def finished(self, command: Command, now_ms: int) -> None:
        """What the result of a command says about the list there."""
        custom = command.payload.get("customData", {})
        if command.action == "SendLocalList" and command.response.get("status") == "Accepted":
            if not command.response.get("customData", {}).get("missing"):
                listed = json.dumps([custom.get("generation"), command.payload["versionNumber"]])
                self._confirmed(command.station, listed, now_ms)
        elif command.action == "GetLocalListVersion" and command.status == "Done":
            version = self.drivers.version()
            if version and command.response.get("versionNumber") == version[1]:
                self._confirmed(command.station, json.dumps(version), None)
            else:
                self.db.execute("UPDATE station SET listed = '', offered = '' WHERE name = ?", (command.station,))
        elif command.action == "SendLocalList" and command.payload["updateType"] == "Differential":
            # Then the whole list: what we took for confirmed is not there.
            self.db.execute("UPDATE station SET listed = '', offered = '' WHERE name = ?", (command.station,))

    def _confirmed(self, station: str, listed: str, now_ms: int | None) -> None:
        """`now_ms` is None where nothing made the list any younger there."""
        confirmed = "UPDATE station SET listed = ?, listed_ms = coalesce(?, listed_ms) WHERE name = ?"
        self.db.execute(confirmed, (listed, now_ms, station))
