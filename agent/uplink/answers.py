"""The cloud's word about a card, as an entry. Words that cannot be read are no answer."""

from collections.abc import Mapping
from typing import Any

from agent.events import AuthorizationStatus, Entry
from agent.uplink.codec import WireError, time_ms
from agent.uplink.messages import IdTokenInfoType, from_wire


def entry_of(info: Mapping[str, Any]) -> Entry:
    """OCPP's idTokenInfo. Its cacheExpiryDateTime is the entry's expiry. WireError."""
    said = from_wire(IdTokenInfoType, info)
    expiry_ms = time_ms(said.cacheExpiryDateTime) if said.cacheExpiryDateTime else None
    if said.cacheExpiryDateTime and expiry_ms is None:
        raise WireError("cacheExpiryDateTime is no time")
    group_id = said.groupIdToken.idToken if said.groupIdToken else None
    groups = frozenset([group_id] if group_id else ())
    expiry_s = None if expiry_ms is None else expiry_ms / 1000
    return Entry(AuthorizationStatus(said.status), expiry_s, groups, group_id, language=said.language1)
