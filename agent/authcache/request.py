"""SendLocalList as a station reads it: OCPP's form, and what docs/allowlist.md adds in customData. Pure."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agent.authcache.content import BUCKETS
from agent.authcache.listfile import Edition, ListError, canonical
from agent.events import AuthorizationStatus, Entry
from agent.policy.id_token import masked
from agent.reporting import VENDOR_ID
from agent.uplink.messages import AuthorizationData, CustomData, SendLocalListRequest, UpdateEnumType, from_wire

GROUPS_MAX, GROUP_MAX = 32, 255  # of one entry; characters of a group's name
PARTS_MAX = 4_000
NUMBER_MAX = 2**63 - 1  # what our files hold
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # no card and no account has one; on a screen or in a log it is an attack

Change = tuple[str, Entry | None]  # canonical id, what is said of it from now on; None: nothing


@dataclass(frozen=True, slots=True)
class Offer:
    """What a SendLocalList says of the list it makes. `hash` and `count` are the result's, not this message's."""

    edition: Edition
    is_full: bool
    base: int | None = None  # the version that a differential leads from; None: whichever is there
    part: int = 1
    parts: int = 1
    count: int | None = None
    hash: str | None = None
    as_of_s: float | None = None  # the cloud's own time when this was the newest
    buckets: tuple[int, ...] = ()  # replaced whole: what is not named again is gone

    @property
    def whole(self) -> tuple[object, ...]:
        """What all parts of one list say alike."""
        return self.edition, self.is_full, self.base, self.parts, self.count, self.hash, self.buckets


def read_offer(request: Mapping[str, Any]) -> Offer:
    """The head alone; the entries are not looked at. WireError, ListError."""
    head = {name: value for name, value in request.items() if name != "localAuthorizationList"}
    asked = from_wire(SendLocalListRequest, head)
    custom = _custom(asked.customData)
    edition = Edition(_number(custom, "generation", 0, NUMBER_MAX, 0), asked.versionNumber)
    if edition.version > NUMBER_MAX:
        raise ListError(f"a version is a number up to {NUMBER_MAX}")
    parts = _number(custom, "parts", 1, PARTS_MAX, 1)
    base, count = custom.get("base"), custom.get("count")
    said, as_of, buckets = custom.get("hash"), custom.get("asOf"), custom.get("buckets", [])
    is_full = asked.updateType is UpdateEnumType.Full
    if base is not None and (is_full or type(base) is not int):
        raise ListError("base is the version that a differential list leads from")
    if count is not None and type(count) is not int:
        raise ListError("count is a number")
    if said is not None and not (isinstance(said, str) and len(said) == 64):
        raise ListError("hash is 64 hexadecimal digits")
    if not isinstance(buckets, list) or not all(type(each) is int and 0 <= each < BUCKETS for each in buckets):
        raise ListError(f"buckets are numbers below {BUCKETS}")
    if buckets and is_full:
        raise ListError("a full list replaces every bucket")
    if parts > 1 and (said is None or count is None):
        raise ListError("a list in parts needs count and hash")
    as_of_s = None if as_of is None else _seconds(as_of)
    part = _number(custom, "part", 1, parts, 1)
    return Offer(edition, is_full, base, part, parts, count, said, as_of_s, tuple(sorted(set(buckets))))


def read_changes(request: Mapping[str, Any]) -> Iterator[Change]:
    """The entries of one message, one by one. WireError, ListError."""
    asked = from_wire(SendLocalListRequest, request)
    is_full = asked.updateType is UpdateEnumType.Full
    return (read_entry(data, is_full=is_full) for data in asked.localAuthorizationList or ())


def read_entry(data: AuthorizationData, *, is_full: bool) -> Change:
    """OCPP's AuthorizationData; without idTokenInfo, in a differential list, it takes the card off. ListError."""
    id_token, info, custom = canonical(data.idToken.idToken), data.idTokenInfo, _custom(data.customData)
    if not id_token:
        raise ListError("an entry has no id")
    if CONTROL.search(id_token):
        raise ListError("an id holds a control character")
    if info is None:
        if is_full:
            raise ListError(f"{masked(id_token)} has no idTokenInfo, which a full list needs")
        return id_token, None
    group_id = info.groupIdToken.idToken if info.groupIdToken else None
    groups = custom.get("groups", [group_id] if group_id else [])
    if not isinstance(groups, list) or len(groups) > GROUPS_MAX or not all(map(_is_group, groups)):
        raise ListError(f"{masked(id_token)}: groups are up to {GROUPS_MAX} names of 1 to {GROUP_MAX} characters")
    if any(CONTROL.search(name) for name in (*groups, group_id or "")):
        raise ListError(f"{masked(id_token)}: a group's name holds a control character")
    pending, removed = custom.get("pending", False), custom.get("removed", False)
    if not isinstance(pending, bool) or not isinstance(removed, bool):
        raise ListError(f"{masked(id_token)}: pending and removed are true or false")
    expiry_s = _seconds(info.cacheExpiryDateTime) if info.cacheExpiryDateTime else None
    status = AuthorizationStatus(info.status)
    return id_token, Entry(status, expiry_s, frozenset(groups), group_id, pending, removed, info.language1)


def _is_group(name: object) -> bool:
    return isinstance(name, str) and 1 <= len(name) <= GROUP_MAX


def _seconds(time: object) -> float:
    """Since 1970, of a time with its zone. ListError."""
    with suppress(ValueError):
        if isinstance(time, str) and (read := datetime.fromisoformat(time)).tzinfo:
            return read.timestamp()
    raise ListError(f"{repr(time)[:40]} is no time: write 2026-01-31T18:00:00Z")


def _custom(data: CustomData | None) -> CustomData:
    return data if data and data["vendorId"] == VENDOR_ID else CustomData()


def _number(custom: CustomData, name: str, low: int, high: int, default: int) -> int:
    value = custom.get(name, default)
    if type(value) is not int or not low <= value <= high:
        raise ListError(f"{name} is a number from {low}" + (f" to {high}" if high < NUMBER_MAX else ""))
    return value
