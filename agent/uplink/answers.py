"""The cloud's word about a card, as an entry. Words that cannot be read are no answer."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from agent.events import AuthorizationStatus, Entry
from agent.policy.tariff import terms
from agent.uplink.codec import WireError, time_ms
from agent.uplink.messages import AuthorizeResponse, IdTokenInfoType, from_wire


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


def authorized(response: Mapping[str, Any]) -> tuple[Entry | None, str]:
    """AuthorizeResponse as an entry, with the tariff for this very tap; None if the cloud's words cannot be read, which
    is no answer. And what its operator should know: a tariff that is refused is no tariff, and says nothing of the
    card."""
    try:
        from_wire(AuthorizeResponse, response)
        entry = entry_of(response["idTokenInfo"])
    except WireError:
        return None, ""
    try:
        tariff = response.get("tariff")
        return (replace(entry, tariff=terms.read(tariff)) if tariff is not None else entry), ""
    except terms.TariffRefused as refused:
        return entry, f"the tariff of an AuthorizeResponse is not taken: {refused}"
