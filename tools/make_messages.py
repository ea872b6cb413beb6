"""Write agent/uplink/messages.py: the OCPP 2.1 messages the station reads, as msgspec structs made from the schemas.

`python tools/make_messages.py` needs the `ocpp` package. Do not edit what it writes; to take another command, name it
in COMMANDS. What the station only says has no struct: it costs memory, and the tests hold it against the schema itself.
"""

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

TARGET = Path(__file__).resolve().parent.parent / "agent" / "uplink" / "messages.py"

COMMANDS = """
RequestStartTransaction RequestStopTransaction ChangeAvailability Reset UnlockConnector TriggerMessage
SendLocalList GetLocalListVersion ClearCache DataTransfer GetTransactionStatus SetNetworkProfile
CertificateSigned UpdateFirmware GetLog
GetVariables SetVariables GetBaseReport GetReport
ReserveNow CancelReservation
SetChargingProfile ClearChargingProfile GetChargingProfiles GetCompositeSchedule
SetDefaultTariff GetTariffs ClearTariffs ChangeTransactionTariff
SetDisplayMessage GetDisplayMessages ClearDisplayMessage
""".split()
SAID = """
BootNotification Heartbeat Authorize
TransactionEvent StatusNotification NotifyEvent SecurityEventNotification MeterValues
SignCertificate NotifyReport FirmwareStatusNotification LogStatusNotification
ReservationStatusUpdate ReportChargingProfiles NotifyDisplayMessages
NotifyChargingLimit ClearedChargingLimit
""".split()
ACTIONS = COMMANDS + SAID
FORMS = [*(f"{action}Request" for action in COMMANDS), "AuthorizeResponse", "SendLocalListResponse"]

HEADER = '''\
"""The OCPP 2.1 messages this station reads. Written by tools/make_messages.py from the official schemas: do not edit.

Classes, members and values are spelled as in OCPP; what a schema bounds is bounded here. A member that is None is
absent on the wire.
"""

from enum import StrEnum
from typing import Annotated, Any, TypeVar

from msgspec import UNSET, Meta, Struct, ValidationError, convert, json

from agent.uplink.codec import WireError


class CustomData(dict[str, Any]):
    """What OCPP has no word for: any members, with the vendor's id among them."""


class Message(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Base of every message and of what they are made of."""


M = TypeVar("M", bound=Message)


def from_wire(form: type[M], wire: Any) -> M:
    """The JSON form as a message of this type; WireError, with one sentence, if the schema would refuse it."""
    try:
        message = convert(wire, form, dec_hook=_custom_data)
    except (ValidationError, UnicodeError) as error:  # UnicodeError: half a surrogate pair
        raise WireError(f"{form.__name__}: {error}") from None
    if _may_say_null(wire) and _members(wire) != _members(message):
        raise WireError(f"{form.__name__}: a member is null where OCPP leaves it out")
    return message


def _may_say_null(wire: Any) -> bool:
    """Its JSON does, perhaps within a text. Quickly: a list is long, and counting its members is most of the work."""
    try:
        return b"null" in json.encode(wire)
    except (ValueError, TypeError):  # half a surrogate pair
        return True


def _members(wire: Any) -> int:
    """How many members an object has, all levels together; None is lost on the way through a struct."""
    if isinstance(wire, Message):
        names, defaults = reversed(wire.__struct_fields__), reversed(wire.__struct_defaults__)
        absent = dict(zip(names, defaults, strict=False))  # the first fields may have no default
        values = [(getattr(wire, name), absent.get(name)) for name in wire.__struct_fields__]
        return sum(1 + _members(value) for value, nothing in values if value is not nothing)
    if isinstance(wire, dict):
        return len(wire) + sum(map(_members, wire.values()))
    return sum(map(_members, wire)) if isinstance(wire, list | tuple) else 0


def _custom_data(form: type, wire: Any) -> CustomData:
    assert form is CustomData, form
    vendor = wire.get("vendorId") if isinstance(wire, dict) else None
    if not isinstance(vendor, str) or len(vendor) > 255:
        raise ValueError("customData needs a vendorId of at most 255 characters")
    return CustomData(wire)


Time = Annotated[str, Meta(pattern=r"^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d(\\.\\d+)?(Z|[+-]\\d\\d:\\d\\d)\\Z")]
'''

BOUNDS = {
    "minLength": "min_length", "maxLength": "max_length", "minItems": "min_length", "maxItems": "max_length",
    "minimum": "ge", "maximum": "le",
}  # fmt: skip
PLAIN = {"string": "str", "integer": "int", "number": "float", "boolean": "bool"}

Schema = dict[str, Any]


def read(name: str) -> Schema:
    schema: Schema = json.loads((files("ocpp") / "v21" / "schemas" / f"{name}.json").read_text("utf-8-sig"))
    return schema


def python_type(field: Schema) -> str:
    """The annotation of one member, its bounds included."""
    if "$ref" in field:
        name: str = field["$ref"].removeprefix("#/definitions/")
        return "CustomData" if name == "CustomDataType" else name
    if "type" not in field:
        return "Any"
    if field.get("format") == "date-time":
        return "Time"
    plain = f"list[{python_type(field['items'])}]" if field["type"] == "array" else PLAIN[field["type"]]
    bounds = [f"{ours}={field[theirs]:g}" for theirs, ours in BOUNDS.items() if theirs in field]
    return f"Annotated[{plain}, Meta({', '.join(bounds)})]" if bounds else plain


def enum(name: str, schema: Schema) -> str:
    lines = [f'    {re.sub(r"[^A-Za-z0-9]", "_", value)} = "{value}"\n' for value in schema["enum"]]
    return f"class {name}(StrEnum):\n{''.join(lines)}"


def struct(name: str, schema: Schema) -> str:
    assert schema.get("additionalProperties") is False, name
    required = schema.get("required", [])
    lines = []
    for member, field in schema["properties"].items():
        form = python_type(field)
        if member in required:
            lines.append(f"    {member}: {form}\n")
        elif form == "Any":  # where anything may stand, None is a value
            lines.append(f"    {member}: Any = UNSET\n")
        elif len(line := f"    {member}: {form} | None = None\n") <= 121:
            lines.append(line)
        else:
            lines.append(f"    {member}: (\n        {form} | None\n    ) = None\n")
    return f"class {name}(Message, frozen=True, kw_only=True):\n{''.join(lines)}"


def ordered(definitions: dict[str, Schema]) -> list[str]:
    """Names, each after those it refers to: annotations are evaluated as they are read."""
    done: dict[str, None] = {}

    def visit(name: str) -> None:
        for used in re.findall(r'"#/definitions/(\w+)"', json.dumps(definitions[name])):
            if used not in done and used in definitions:
                visit(used)
        done[name] = None

    for name in definitions:
        visit(name)
    return list(done)


def generate() -> str:
    definitions: dict[str, Schema] = {}
    for name in FORMS:
        schema = read(name)
        for part, definition in schema.pop("definitions").items():
            known = definitions.setdefault(part, definition)
            assert python_shape(known) == python_shape(definition), f"{part} differs in {name}"
        definitions[name] = schema
    del definitions["CustomDataType"]  # CustomData, above
    classes = [
        (enum if "enum" in definitions[name] else struct)(name, definitions[name]) for name in ordered(definitions)
    ]
    rows = [f'    "{action}": {action}Request,\n' for action in COMMANDS]
    said = [f'    "{action}",\n' for action in SAID]
    tables = (
        f"COMMANDS: dict[str, type[Message]] = {{\n{''.join(rows)}}}\n"
        f"SAID = {{  # by the station, and nobody's to command\n{''.join(said)}}}\n"
    )
    return "\n\n".join([HEADER, *classes, tables])


def python_shape(schema: Schema) -> Any:
    """A definition without its prose, to compare the same name in two files."""
    if isinstance(schema, dict):
        return {key: python_shape(value) for key, value in schema.items() if key not in ("description", "comment")}
    return schema


if __name__ == "__main__":
    TARGET.write_text(generate())
