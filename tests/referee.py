"""The referee: every message that a story sends or receives is one of OCPP 2.1's, by the official schemas.

tests/play.py shows it every record, tests/conftest.py every message that passes the simulated cloud. What it has
judged once it knows by its form: the same members with values of the same kind, and the same words.
"""

import json
import re
from functools import cache
from typing import Any

from jsonschema import Draft6Validator

from tools import make_messages

Json = dict[str, Any]

RESULTS = {"Done": {"response"}, "Expired": set(), "Refused": {"errorCode", "why"}}
COMMANDS: dict[str, str] = {}  # command id -> action
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
HEX = re.compile(r"[0-9a-f]{6,}")
CODE = re.compile(r"[A-Za-z]{1,50}")  # of OCPP-J, and of a statusInfo


@cache
def validator(name: str) -> Draft6Validator:
    return Draft6Validator(make_messages.read(name))


def expect(command_id: str, action: str) -> None:
    COMMANDS[command_id] = action


def heard(command_id: str, message: str, payload: Json) -> None:
    """What passes the simulated cloud, up or down."""
    if command_id:
        expect(command_id, message)
    judge(message, payload)


def judge(message: str, payload: Json) -> None:
    """AssertionError if this is no message of that name: `Heartbeat` is the request, `HeartbeatResponse` the answer."""
    match message:
        case "CommandResult":
            judge_result(payload)
        case "Tombstone":
            assert set(payload) == {"first", "last", "why"}, payload
        case _:
            known(message if message.endswith("Response") else f"{message}Request", json.dumps(form(payload)))


def judge_result(payload: Json) -> None:
    status = payload["status"]
    assert set(payload) == {"commandId", "status", *RESULTS[status]}, payload
    if status == "Refused":
        assert CODE.fullmatch(payload["errorCode"]) and payload["why"], payload
    if status == "Done" and (action := COMMANDS.get(payload["commandId"])):
        judge(f"{action}Response", payload["response"])
        for info in infos(payload["response"]):
            assert CODE.fullmatch(info["reasonCode"]), info


def infos(value: Any) -> list[Json]:
    """Every statusInfo in it."""
    if isinstance(value, dict):
        own = [v for k, v in value.items() if k in ("statusInfo", "attributeStatusInfo")]
        return own + [info for v in value.values() for info in infos(v)]
    return [info for v in value for info in infos(v)] if isinstance(value, list) else []


def form(value: Any) -> Any:
    """The value with what no schema looks at made equal: which number, which digits in a text."""
    match value:
        case dict():
            return {key: form(value[key]) for key in sorted(value)}
        case list():
            return [form(item) for item in value]
        case bool() | None:
            return value
        case int():
            return (value > 0) - (value < 0)
        case float():
            return 0.5 * ((value > 0) - (value < 0))
        case str():
            return "2026-01-01T00:00:00.000Z" if TIME.fullmatch(value) else HEX.sub(lambda m: "0" * len(m[0]), value)
    return value


@cache
def known(name: str, text: str) -> None:
    validator(name).validate(json.loads(text))
