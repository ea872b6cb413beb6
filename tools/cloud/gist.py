"""A message of OCPP in a few words, for whoever looks at many."""

from tools.cloud.wire import Json

PATHS = (  # what is worth a word, in this order, wherever a message has it
    ("eventType",), ("triggerReason",), ("transactionInfo", "chargingState"), ("transactionInfo", "stoppedReason"),
    ("connectorStatus",), ("evse", "id"), ("evseId",), ("type",), ("techInfo",), ("commandId",), ("status",),
    ("statusInfo", "reasonCode"), ("last",),
)  # fmt: skip
PORT = {"id", "evseId"}
WORD_MAX = 60


def gist(payload: Json) -> str:
    """Like `Started, CablePluggedIn, EVConnected, port 1`; "" if there is nothing that we know."""
    words = []
    for path in PATHS:
        found: object = payload
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        if isinstance(found, str | int):
            words.append(f"port {found}" if path[-1] in PORT else str(found)[:WORD_MAX])
    return ", ".join(words)
