"""The official OCPP 2.1 schemas, each compiled once: whatever a station or this cloud says has to pass them."""

import json
import re
from functools import cache
from importlib.resources import files
from typing import Any

import jsonschema_rs

from tools.cloud.wire import INT64, Json, Record, parse_time

RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)


def is_date_time(text: str) -> bool:
    return bool(RFC3339.fullmatch(text)) and parse_time(text) is not None


@cache
def schema(name: str) -> Json | None:
    """The schema of `<Action>Request` or `<Action>Response`; None if there is none."""
    file = files("ocpp") / "v21" / "schemas" / f"{name}.json"
    if not re.fullmatch(r"\w{1,80}", name, re.ASCII) or not file.is_file():
        return None
    read: Json = json.loads(file.read_text("utf-8-sig"))
    return read


@cache
def validator(name: str) -> Any:
    known = schema(name)
    formats = {"date-time": is_date_time}
    return known and jsonschema_rs.Draft6Validator(known, formats=formats, validate_formats=True)


def schema_fault(name: str, payload: Json) -> str | None:
    """What is wrong with this payload, in at most 300 characters; None if nothing is."""
    if (judge := validator(name)) is None:
        return f"no schema {name}"
    if judge.is_valid(payload):
        return None
    error = next(iter(judge.iter_errors(payload)))
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.instance_path)
    return f"${path}: {error.message}"[:300]


@cache
def id_token_statuses() -> tuple[str, ...]:
    known = schema("AuthorizeResponse")
    assert known
    return tuple(known["definitions"]["AuthorizationStatusEnumType"]["enum"])


def record_fault(record: Record) -> tuple[str, str] | None:
    """(kind, text) of what is wrong with a record that could be read."""
    if record.action == "CommandResult":
        return None if isinstance(record.payload.get("commandId"), str) else ("schema_errors", "no commandId")
    if record.action == "Tombstone":
        return "schema_errors", "a tombstone must stand alone in its batch, from its own seq on"
    if validator(f"{record.action}Request") is None:
        return "unknown_actions", record.action[:80]
    text = schema_fault(f"{record.action}Request", record.payload)
    if not text and record.action == "TransactionEvent" and int(record.payload["seqNo"]) not in INT64:
        text = "$.seqNo: beyond 64 bits"
    return ("schema_errors", text) if text else None
