"""What `--json` prints: one object a line. Members are added, never taken away or given another meaning; SCHEMA rises
if that ever has to be. docs/flashing.md shows them; tests/test_flash_tool.py and tests/test_flashing.py hold every
line against this.

Every event of a station has `station`: its address, as typed, and for a fleet the name in the file.
"""

from collections.abc import Mapping
from typing import Any

SCHEMA = 1

_TEXT, _FLAG, _COUNT = {"type": "string"}, {"type": "boolean"}, {"type": "integer", "minimum": 0}
_SECONDS = {"type": ["number", "null"], "minimum": 0}
_RATE = {"type": ["integer", "null"]}
_HEX = {"type": "string", "pattern": "^([0-9a-f]{2})*$"}
_KID = {"anyOf": [_HEX, {"type": "null"}]}  # null: nobody has signed it yet
_EXIT = {"type": "integer", "minimum": 0, "maximum": 255}
_STATE = {"type": "object"}  # as the station tells it: docs/flash-protocol.md
STAGES = "send verify staged waiting activated trial confirmed rolled-back request certified".split()
STEPS = "find halt plan send check boot prove".split()  # of a controller: agent/update/chip.py
RESULTS = ["planned", "same", "staged", "waiting", "activated", "confirmed", "failed", "not-begun"]

EVENTS: Mapping[str, Mapping[str, Any]] = {
    "began": {"schema": {"const": SCHEMA}, "command": _TEXT},
    "device": {"address": _TEXT, "what": _TEXT, "usb": _TEXT, "is_ours": _FLAG, "serial": _TEXT, "software": _TEXT},
    "identified": {
        "station": _TEXT, "kind": _TEXT, "serial": _TEXT, "platform": _TEXT, "board": _TEXT, "software": _TEXT,
        "is_production": _FLAG, "security_floor": _COUNT, "state": _STATE,
    },
    "planned": {
        "station": _TEXT, "version": _TEXT, "slot": _TEXT, "held": {"enum": ["", "running", "staged"]},
        "pieces": _COUNT, "wanted": _COUNT, "wanted_b": _COUNT, "have_b": _COUNT, "total_b": _COUNT,
        "seconds": _SECONDS, "is_dry": _FLAG,
    },
    "progress": {
        "station": _TEXT, "done_b": _COUNT, "total_b": _COUNT, "again_b": _COUNT, "rate_bps": _RATE,
        "left_s": _SECONDS,
    },
    "stage": {"station": _TEXT, "stage": {"enum": STAGES}},
    "lost": {"station": _TEXT, "sentence": _TEXT},
    "log": {"station": _TEXT, "number": _COUNT, "line": _TEXT},
    "status": {"station": _TEXT, "serial": _TEXT, "software": _TEXT, "state": _STATE},
    "step": {"step": {"enum": STEPS}, "sent_b": _COUNT, "total_b": _COUNT, "again_b": _COUNT},
    "controller": {
        "board": _TEXT, "version": _TEXT, "digest": _TEXT, "on_trial": _FLAG, "fell_back": _FLAG,
        "is_receiving": _FLAG, "contract": {"type": "array", "items": _COUNT}, "sent_b": _COUNT, "again_b": _COUNT,
        "have_b": _COUNT,
    },
    "provisioned": {"station": _TEXT, "serial": _TEXT, "certificate": _TEXT, "changed": _FLAG},
    "ended": {
        "station": _TEXT, "serial": _TEXT, "result": {"enum": RESULTS}, "version": _TEXT, "slot": _TEXT,
        "sent_b": _COUNT, "again_b": _COUNT, "seconds": _SECONDS, "code": _TEXT, "sentence": _TEXT, "exit": _EXIT,
    },
    "summary": {"stations": _COUNT, "done": _COUNT, "failed": _COUNT, "not_begun": _COUNT, "exit": _EXIT},
    "refused": {"code": _TEXT, "sentence": _TEXT, "exit": _EXIT},
    "key": {"kid": _HEX, "alg": _TEXT},  # `keys new` adds its two files, `keys show` the path
    "keyring": {"path": _TEXT, "version": _COUNT, "keys": {"type": ["integer", "array"]}},  # `keys show` lists them
    "request": {"path": _TEXT, "kid": _HEX},
    "built": {
        "path": _TEXT, "version": _TEXT, "commit": _TEXT, "size_b": _COUNT, "kid": _KID, "digest": _HEX, "sha256": _HEX,
    },
    "build": {
        "path": _TEXT, "version": _TEXT, "commit": _TEXT, "sequence": _COUNT, "digest": _HEX, "kid": _KID,
        "size_b": _COUNT, "head_b": _COUNT, "components": {"type": "array", "items": _TEXT},
    },
    "component": {
        "component": _TEXT, "facts": {"type": "object"}, "files": _COUNT, "size_b": _COUNT, "stored_b": _COUNT,
    },
    "verified": {"path": _TEXT, "version": _TEXT, "role": {"enum": ["prod", "dev"]}, "kid": _KID, "pieces": _COUNT},
    "locked": {"packages": _COUNT},
}  # fmt: skip


def of(name: str) -> dict[str, Any]:
    """The JSON schema of one event. A reader must bear members that it does not know."""
    members = EVENTS[name]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"event": {"const": name}, **members},
        "required": ["event", *members],
    }
