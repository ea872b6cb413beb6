"""The allowlist in force and the cache beside it. A new list is in force when the fact that names it is on the disk.

plan       may this list be taken, by its version? Quick; the loop's thread
build      read the entries and write the file; slow, any thread, one at a time
apply      open and check it; the saves, committed together with the command's result, are the commit point
committed  they are on the disk: the new file answers from here on, the old one is removed

A power cut before the commit leaves the old list and a stray file that the next start removes; after it, the new one.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from msgspec import ValidationError, convert

from agent.authcache.cache import Cache
from agent.authcache.listfile import (
    DISK,
    NAME,
    NEW,
    Built,
    Edition,
    Files,
    ListError,
    ListFile,
    build,
    canonical,
    key_hash,
    open_list,
)
from agent.effects import Remember, Save
from agent.events import AuthorizationStatus, Entry, ListState
from agent.policy.id_token import masked
from agent.reporting import VENDOR_ID
from agent.uplink.codec import WireError
from agent.uplink.messages import (
    AuthorizationData,
    CustomData,
    SendLocalListRequest,
    SendLocalListStatusEnumType,
    UpdateEnumType,
    from_wire,
)

FACT = "allowlist"
GROUPS_MAX, GROUP_MAX = 32, 255  # of one entry; characters of a group's name

Status = SendLocalListStatusEnumType
REASON_CODES = {Status.Failed: "InvalidList", Status.VersionMismatch: "OldVersion"}


@dataclass(frozen=True, slots=True)
class Fact:
    """The commit point: which file is the list. `hash` is its content's."""

    file: str
    generation: int
    version: int
    hash: str
    count: int
    synced_s: float | None  # the cloud's time when it was told to be current

    @property
    def edition(self) -> Edition:
        return Edition(self.generation, self.version)

    @property
    def state(self) -> ListState:
        return ListState(self.version, self.count, self.synced_s)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to SendLocalList. `saves` and the answer are one commit; `state` is what holds after it."""

    status: Status
    reason: str = ""
    saves: tuple[Save, ...] = ()
    state: ListState | None = None

    @property
    def response(self) -> dict[str, Any]:
        """OCPP's SendLocalListResponse."""
        if not self.reason:
            return {"status": self.status.value}
        info = {"reasonCode": REASON_CODES[self.status], "additionalInfo": self.reason[:1024]}
        return {"status": self.status.value, "statusInfo": info}


@dataclass(frozen=True, slots=True)
class Plan:
    """A list that may be built, and everything that takes: a thread can do it."""

    directory: Path
    request: Mapping[str, Any]
    edition: Edition
    key: bytes
    files: Files

    def build(self) -> Built | Outcome:
        try:
            return build(self.directory, read_entries(self.request), self.edition, self.key, self.files)
        except (WireError, ListError) as error:
            return Outcome(Status.Failed, str(error))


class Lists:
    """`problem` says in one sentence why there is no list where there should be one."""

    def __init__(self, directory: Path, facts: Mapping[str, Any], key: bytes, now: float, files: Files = DISK) -> None:
        """`directory` belongs to the lists alone and is made if missing. OSError: it cannot be."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        DISK.sync(directory.parent)  # the folder's own name, or a cut takes every list with it
        self.cache = Cache(facts, now)
        self.problem = ""
        self._directory, self._key, self._files = directory, key, files
        self._current: ListFile | None = None
        self._staged: tuple[ListFile, Fact] | None = None  # applied, not committed
        self._fact = self._read(facts.get(FACT))
        for path in directory.iterdir():
            is_ours = NAME.fullmatch(path.name) or path.name == NEW
            if is_ours and (self._fact is None or path.name != self._fact.file):
                self._discard(path)

    @property
    def state(self) -> ListState:
        """Of the list in force; version 0 if there is none."""
        return self._fact.state if self._fact and self._current else ListState()

    def lookup(self, id_token: str, now: float, wall_s: float | None) -> tuple[Entry | None, Entry | None]:
        """(listed, cached) for any text; at most one of them."""
        listed = self._current.lookup(id_token) if self._current else None
        return listed, None if listed else self.cache.lookup(key_hash(self._key, id_token), now, wall_s)

    def remember(self, effect: Remember, now: float, wall_s: float | None) -> list[Save]:
        """Put the cloud's answer into the cache, unless the list has the last word about this card."""
        hashed = key_hash(self._key, effect.id_token)
        newest = self._staged[0] if self._staged else self._current
        if newest and newest.contains(hashed):
            return []
        status = AuthorizationStatus(effect.status)
        return self.cache.remember(
            hashed, Entry(status, effect.expiry_s, frozenset(effect.groups), effect.group_id), now, wall_s
        )

    # -- a new list ---------------------------------------------------------------------------------------------------

    def replace(self, request: Mapping[str, Any], wall_s: float | None) -> Outcome:
        """SendLocalList in OCPP's JSON form, all in this thread; `wall_s`: the wall time, None if nobody knows."""
        plan = self.plan(request)
        built = plan.build() if isinstance(plan, Plan) else plan
        return self.apply(built, wall_s) if isinstance(built, Built) else built

    def plan(self, request: Mapping[str, Any]) -> Plan | Outcome:
        try:
            head = {name: value for name, value in request.items() if name != "localAuthorizationList"}
            asked = from_wire(SendLocalListRequest, head)
            edition = Edition(_generation(asked.customData), asked.versionNumber)
            if asked.updateType is not UpdateEnumType.Full:
                raise ListError("differential updates are not supported yet: send the full list")
        except (WireError, ListError) as error:
            return Outcome(Status.Failed, str(error))
        return self._refusal(edition, None) or Plan(self._directory, request, edition, self._key, self._files)

    def apply(self, built: Built, wall_s: float | None) -> Outcome:
        """Stage what was built. The same list again changes nothing but the time of being current."""
        outcome = self._refusal(built.edition, built.content_hash) or self._stage(built, wall_s)
        kept = {fact.file for fact in (self._fact, self._staged and self._staged[1]) if fact}
        if built.path.name not in kept:
            self._discard(built.path)
        return outcome

    def committed(self) -> ListState:
        """The saves of the last apply are on the disk. Returns the state in force."""
        if self._staged:
            old, old_file = self._current, self._fact and self._fact.file
            (self._current, self._fact), self._staged, self.problem = self._staged, None, ""
            if old:
                old.close()
            if old_file and old_file != self._fact.file and NAME.fullmatch(old_file):
                self._discard(self._directory / old_file)
        return self.state

    def _refusal(self, edition: Edition, content_hash: str | None) -> Outcome | None:
        """OCPP D01, with our order of (generation, version): a version never goes back, nor changes its content."""
        if edition.version <= 0:
            return Outcome(Status.Failed, f"version {edition.version}: versions begin at 1")
        if self._staged:
            return Outcome(Status.Failed, "another list is on its way to the disk: send this one again")
        if self._fact and edition < self._fact.edition:
            have = self._fact.edition
            return Outcome(
                Status.VersionMismatch,
                f"list {edition.generation}/{edition.version} is older than {have.generation}/{have.version} here",
            )
        here = self._current.built if self._current else None
        if here and content_hash and edition == here.edition and content_hash != here.content_hash:
            return Outcome(Status.VersionMismatch, f"version {edition.version} is here with other content: count it up")
        return None

    def _stage(self, built: Built, wall_s: float | None) -> Outcome:
        if self._fact and self._current and self._current.built.edition == built.edition:
            self._fact = replace(self._fact, synced_s=self._fact.synced_s if wall_s is None else wall_s)
            return Outcome(Status.Accepted, saves=(Save(FACT, asdict(self._fact)),), state=self._fact.state)
        try:
            new = open_list(built.path, self._key)
        except ListError as error:
            return Outcome(Status.Failed, str(error))
        edition = built.edition
        fact = Fact(built.path.name, edition.generation, edition.version, built.content_hash, built.count, wall_s)
        self._staged = new, fact
        saves = (Save(FACT, asdict(fact)), *self.cache.list_changed(new.contains))
        return Outcome(Status.Accepted, saves=saves, state=fact.state)

    # -- the directory ------------------------------------------------------------------------------------------------

    def _read(self, value: Any) -> Fact | None:
        """The fact decides; without its file there is no list, but still no way back to an older one."""
        if value is None:
            return None
        try:
            fact = convert(value, Fact)
        except ValidationError as error:
            self.problem = f"the allowlist's fact is malformed: {error}"
            return None
        try:
            current = open_list(self._directory / fact.file, self._key)
        except ListError as error:
            self.problem = f"no allowlist: {error}"
            return fact
        if (current.built.edition, current.built.content_hash) != (fact.edition, fact.hash):
            current.close()
            self.problem = f"no allowlist: {fact.file} is not the list that was committed"
            return fact
        self._current = current
        return fact

    def _discard(self, path: Path) -> None:
        with suppress(OSError):  # the next start tries again
            self._files.remove(path)


# -- OCPP's form of an entry ------------------------------------------------------------------------------------------


def read_entries(request: Mapping[str, Any]) -> Iterator[tuple[str, Entry]]:
    """What a full SendLocalList lists, one by one. WireError, ListError."""
    asked = from_wire(SendLocalListRequest, request)
    listed = asked.localAuthorizationList or ()
    announced = _custom(asked.customData).get("count", len(listed))
    if announced != len(listed):
        raise ListError(f"{len(listed)} entries have come, {announced!r} were announced")
    return map(read_entry, listed)


def read_entry(data: AuthorizationData) -> tuple[str, Entry]:
    """(canonical id, entry) of OCPP's AuthorizationData. ListError."""
    id_token, info, custom = canonical(data.idToken.idToken), data.idTokenInfo, _custom(data.customData)
    if info is None:
        raise ListError(f"{masked(id_token)} has no idTokenInfo, which a full list needs")
    group_id = info.groupIdToken.idToken if info.groupIdToken else None
    groups = custom.get("groups", [group_id] if group_id else [])
    if not isinstance(groups, list) or len(groups) > GROUPS_MAX or not all(map(_is_group, groups)):
        raise ListError(f"{masked(id_token)}: groups are up to {GROUPS_MAX} names of 1 to {GROUP_MAX} characters")
    pending, removed = custom.get("pending", False), custom.get("removed", False)
    if not isinstance(pending, bool) or not isinstance(removed, bool):
        raise ListError(f"{masked(id_token)}: pending and removed are true or false")
    expiry_s = _seconds(info.cacheExpiryDateTime) if info.cacheExpiryDateTime else None
    return id_token, Entry(AuthorizationStatus(info.status), expiry_s, frozenset(groups), group_id, pending, removed)


def _is_group(name: object) -> bool:
    return isinstance(name, str) and 1 <= len(name) <= GROUP_MAX


def _seconds(time: str) -> float:
    try:
        return datetime.fromisoformat(time).timestamp()
    except ValueError:
        raise ListError(f"{time} is no time") from None


def _custom(data: CustomData | None) -> CustomData:
    return data if data and data["vendorId"] == VENDOR_ID else CustomData()


def _generation(data: CustomData | None) -> int:
    generation = _custom(data).get("generation", 0)
    if type(generation) is not int or not 0 <= generation < 2**63:
        raise ListError("generation is a number from 0")
    return generation
