"""A message of OCPP in a few words, for whoever looks at many."""

from tools.cloud.wire import Json

PATHS = (  # what is worth a word, in this order, wherever a message has it
    ("eventType",), ("triggerReason",), ("transactionInfo", "chargingState"), ("transactionInfo", "stoppedReason"),
    ("connectorStatus",), ("evse", "id"), ("evseId",), ("type",), ("techInfo",), ("commandId",), ("status",),
    ("statusInfo", "reasonCode"), ("last",),
)  # fmt: skip
PORT = {"id", "evseId"}
WORD_MAX = 60
EVENTS_MAX = 4  # of one message


def gist(payload: Json) -> str:
    """Like `Started, CablePluggedIn, EVConnected, port 1`; "" if there is nothing that we know."""
    words = events(payload)
    for path in PATHS:
        found: object = payload
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        if isinstance(found, str | int):
            words.append(f"port {found}" if path[-1] in PORT else str(found)[:WORD_MAX])
    return ", ".join(words)


def events(payload: Json) -> list[str]:
    """Of a NotifyEvent each one: `Modem Problem SIM_MISSING`."""
    found = payload.get("eventData")
    words = []
    for event in found[:EVENTS_MAX] if isinstance(found, list) else ():
        if isinstance(event, dict):
            component, variable = (event.get(part) for part in ("component", "variable"))
            names = (part.get("name") for part in (component, variable) if isinstance(part, dict))
            said = " ".join(str(word) for word in (*names, event.get("actualValue")) if word is not None)
            words.append(f"{said[:WORD_MAX]}{' (over)' if event.get('cleared') else ''}")
    return words


def shown_variable(data: Json) -> str:
    """Like `EVSE@1.Power[L1]`."""
    component, named = data["component"], data["variable"]
    evse = f"@{component['evse']['id']}" if "evse" in component else ""
    instance = f"[{named['instance']}]" if "instance" in named else ""
    return f"{component['name']}{evse}.{named['name']}{instance}"
