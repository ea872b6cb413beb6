"""Commands on their way: queued by anybody, sent by the service, repeated until their result comes as a record."""

import json
import secrets
from dataclasses import dataclass
from typing import Any

from tools.cloud.database import Database
from tools.cloud.errors import OperatorError
from tools.cloud.referee import schema_fault
from tools.cloud.wire import VENDOR, Json

REDELIVER_MS = 30_000                   # doubled each time, up to 64 times that
PART_REDELIVER_MS = 600_000             # of a list: long, and on bad radio no second copy shall be in its way ..
PARTS_MAX = 4                           # .. and so few are on their way at a time


@dataclass(frozen=True, slots=True)
class Command:
    """`status` and `result`, the payload of its CommandResult, are None while it is on its way."""

    id: str
    station: str
    action: str
    payload: Json
    made_ms: int
    expires_ms: int
    sends: int = 0
    status: str | None = None
    result: Json | None = None

    @property
    def response(self) -> Json:
        """The OCPP response; empty if there is none."""
        said = (self.result or {}).get("response")
        return said if isinstance(said, dict) else {}

    def is_transfer(self, message_id: str) -> bool:
        return self.action == "DataTransfer" and self.payload.get("messageId") == message_id


def is_part(action: str, payload: Json) -> bool:
    """Whether this is a list that comes in parts."""
    return action == "SendLocalList" and "parts" in payload.get("customData", {})


def redeliver_ms(command: Command) -> int:
    return PART_REDELIVER_MS if is_part(command.action, command.payload) else REDELIVER_MS << min(command.sends, 6)


COLUMNS = "id, command.station, action, payload, made_ms, expires_ms, sends, status, result"


def read_row(row: tuple[Any, ...]) -> Command:
    command_id, station, action, payload, made_ms, expires_ms, sends, status, result = row
    said = result and json.loads(result)
    return Command(command_id, station, action, json.loads(payload), made_ms, expires_ms, sends, status, said)


class Commands:
    def __init__(self, db: Database) -> None:
        self.db = db

    def add(self, station: str, action: str, payload: Json, expires_ms: int, now_ms: int = 0) -> str:
        """Queues a command for the service to sign and send. Returns its id. Raises OperatorError for a bad payload."""
        if fault := schema_fault(f"{action}Request", payload):
            raise OperatorError(f"{action}: {fault}")
        command_id = secrets.token_hex(8)
        with self.db.transaction():
            self.db.execute(
                "INSERT INTO command (id, station, action, payload, made_ms, expires_ms, is_part)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (command_id, station, action, json.dumps(payload), now_ms, expires_ms, is_part(action, payload)),
            )
        return command_id

    def due(self, now_ms: int) -> list[Command]:
        """The commands to send now to the stations that are there; each is due again later, ever more rarely."""
        with_waiting = (
            f"SELECT {COLUMNS} FROM command JOIN station ON station.name = command.station AND station.online"
            " WHERE status IS NULL AND expires_ms > ?1 AND next_ms <= ?1"
            " AND (NOT is_part OR (SELECT count(*) FROM command AS earlier WHERE earlier.station = command.station"
            " AND earlier.status IS NULL AND earlier.is_part AND earlier.rowid < command.rowid) < ?2)"
            " ORDER BY command.rowid"
        )
        if not self.db.execute(f"{with_waiting} LIMIT 1", (now_ms, PARTS_MAX)).fetchone():
            return []
        with self.db.transaction():             # of several consumers one finds them due
            found = [read_row(row) for row in self.db.execute(with_waiting, (now_ms, PARTS_MAX))]
            later = "UPDATE command SET sends = sends + 1, next_ms = ? WHERE id = ?"
            self.db.executemany(later, [(now_ms + redeliver_ms(one), one.id) for one in found])
        return found

    def retry(self, station: str) -> None:
        """The station has just come: what it has not answered is due at once."""
        self.db.execute("UPDATE command SET next_ms = 0, sends = 0 WHERE station = ? AND status IS NULL", (station,))

    def supersede(self, station: str, action: str) -> None:
        self.db.execute(
            "UPDATE command SET status = 'Superseded' WHERE station = ? AND action = ? AND status IS NULL",
            (station, action),
        )

    def finish(self, station: str, result: Json) -> Command | None:
        """A CommandResult has come. Returns the command it ends; None if it ends none: of several the first stands."""
        row = self.db.execute(
            "UPDATE command SET status = ?, result = ? WHERE id = ? AND station = ?"
            " AND (status IS NULL OR status = 'Superseded') RETURNING id",
            (str(result.get("status")), json.dumps(result), str(result.get("commandId")), station),
        ).fetchone()
        return self.find(row[0]) if row else None

    def find(self, command_id: str) -> Command | None:
        row = self.db.execute(f"SELECT {COLUMNS} FROM command WHERE id = ?", (command_id,)).fetchone()
        return read_row(row) if row else None

    def result(self, command_id: str) -> tuple[str | None, Json | None]:
        """(status, CommandResult payload) of a command; None while it is on its way."""
        found = self.find(command_id)
        return (found.status, found.result) if found else (None, None)

    def of(self, station: str, count: int) -> list[Command]:
        """The last `count` commands to this station, oldest first."""
        rows = self.db.execute(
            f"SELECT {COLUMNS} FROM command WHERE station = ? ORDER BY rowid DESC LIMIT ?", (station, count)
        )
        return [read_row(row) for row in rows][::-1]

    def reserved(self, station: str) -> list[tuple[int, Json]]:
        """(made_ms, request) of every ReserveNow that this station has not refused, the oldest first."""
        of_it = "WHERE station = ? AND action = 'ReserveNow' ORDER BY made_ms, rowid"
        found = (read_row(row) for row in self.db.execute(f"SELECT {COLUMNS} FROM command {of_it}", (station,)))
        return [(each.made_ms, each.payload) for each in found if each.response.get("status", "Accepted") == "Accepted"]


def transfer(message_id: str, data: Json | None = None) -> Json:
    """The DataTransferRequest of one of our own commands."""
    return {"vendorId": VENDOR, "messageId": message_id} | ({} if data is None else {"data": data})
