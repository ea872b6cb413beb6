"""Lists as a cloud sends them: whole, as differences, in parts."""

from collections.abc import Iterator, Mapping
from typing import Any

from agent.authcache.content import Content, bucket_of
from agent.clock import iso8601
from agent.events import Entry

OURS = "station-agent"
CARD = "04A22B1C"


def one(id_token: str = CARD, status: str = "Accepted", **custom: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {"idToken": {"idToken": id_token, "type": "ISO14443"}, "idTokenInfo": {"status": status}}
    return {**entry, "customData": {"vendorId": OURS, **custom}} if custom else entry


def said(id_token: str, entry: Entry | None) -> dict[str, Any]:
    if entry is None:
        return {"idToken": {"idToken": id_token, "type": "ISO14443"}}
    expiry = {} if entry.expiry_s is None else {"cacheExpiryDateTime": iso8601(entry.expiry_s)}
    language = {"language1": entry.language} if entry.language else {}
    card = one(id_token, entry.status, groups=sorted(entry.groups), pending=entry.pending, removed=entry.removed)
    return {**card, "idTokenInfo": {"status": entry.status.value, **expiry, **language}}


class Cloud:
    """The list as its operator has it; `send` leads a station there in one way or another."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.version = 0

    def change(self, changes: dict[str, Entry | None]) -> None:
        self.version += 1
        self.entries = {card: entry for card, entry in (self.entries | changes).items() if entry}

    def content(self) -> Content:
        return Content.of(self.entries.items())

    def request(self, kind: str, cards: list[dict[str, Any]], **custom: Any) -> dict[str, Any]:
        content = self.content()
        head = {"vendorId": OURS, "generation": 1, "count": content.count, "hash": content.hash, **custom}
        listed = {"localAuthorizationList": cards} if cards else {}
        return {"versionNumber": self.version, "updateType": kind, **listed, "customData": head}

    def full(self) -> dict[str, Any]:
        return self.request("Full", [said(*each) for each in self.entries.items()])

    def differential(self, changes: Mapping[str, Entry | None], **custom: Any) -> dict[str, Any]:
        return self.request("Differential", [said(*each) for each in changes.items()], **custom)


WAYS = ["full", "diff", "parts", "buckets"]


def messages(cloud: Cloud, way: str, changes: Mapping[str, Entry | None], base: int) -> list[dict[str, Any]]:
    """What leads to the cloud's list from that version, `changes` ago."""
    if way == "full":
        return [cloud.full()]
    if way == "buckets":
        buckets = sorted({bucket_of(card) for card in changes})
        named = {card: entry for card, entry in cloud.entries.items() if bucket_of(card) in buckets}
        return [cloud.differential(named, base=base, buckets=buckets)]
    whole = cloud.differential(changes, base=base)
    return list(in_parts(whole, 3)) if way == "parts" else [whole]


def in_parts(request: dict[str, Any], parts: int) -> Iterator[dict[str, Any]]:
    cards = request.get("localAuthorizationList", [])
    for n in range(parts):
        mine = {"localAuthorizationList": cards[n::parts]} if cards[n::parts] else {}
        custom = {**request["customData"], "part": n + 1, "parts": parts}
        rest = {name: value for name, value in request.items() if name != "localAuthorizationList"}
        yield {**rest, **mine, "customData": custom}
