"""The allowlist in force and the cache beside it. A new list is in force when the facts that name it are on the disk.

A list is a file (listfile.py), written once, and what differential lists have changed since (overlay.py), as facts.

plan       may this list be taken, by its version? A short differential is staged at once; the loop's thread
build      keep the part that came; when none is missing, write the file; slow, any thread, one at a time
apply      open and check it; the saves, committed together with the command's result, are the commit point
committed  they are on the disk: the new list answers from here on, the old file is removed

A power cut before the commit leaves the old list and a stray file that the next start removes; after it, the new one.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from msgspec import ValidationError, convert

from agent.authcache import overlay as overlays
from agent.authcache.builder import HERE_MAX, Found, Job, changed, difference, elsewhere, run
from agent.authcache.cache import LIFETIME_S, Cache
from agent.authcache.content import Content
from agent.authcache.listfile import NAME, NEW, Built, DiskError, Edition, ListError, ListFile, key_hash, open_list
from agent.authcache.overlay import Overlay
from agent.authcache.parts import Part, Parts
from agent.authcache.request import Offer, read_changes, read_offer
from agent.effects import Remember, Save
from agent.events import Entry, ListState
from agent.files import DISK, Files
from agent.reporting import VENDOR_ID
from agent.uplink.codec import WireError
from agent.uplink.messages import SendLocalListStatusEnumType

FACT = "allowlist"

Status = SendLocalListStatusEnumType
REASON_CODES = {Status.Failed: "InvalidList", Status.VersionMismatch: "OldVersion"}


@dataclass(frozen=True, slots=True)
class Fact:
    """The commit point: which file, and what it says with the overlay's facts upon it. `hash` is the content's."""

    file: str  # "": all is in the overlay
    generation: int
    version: int
    hash: str
    count: int
    synced_s: float | None  # the cloud's time when this was the newest
    content: str = ""  # base64; "": the file's
    overlay: str = ""  # overlays.digest()

    @property
    def edition(self) -> Edition:
        return Edition(self.generation, self.version)

    @property
    def state(self) -> ListState:
        return ListState(self.version, self.count, self.synced_s, self.generation, self.hash)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to SendLocalList. `saves` and the answer are one commit; `state` is what holds after it."""

    status: Status
    reason: str = ""
    saves: tuple[Save, ...] = ()
    state: ListState | None = None
    missing: int = 0  # parts that have not come yet

    @property
    def response(self) -> dict[str, Any]:
        """OCPP's SendLocalListResponse."""
        if self.missing:
            custom = {"vendorId": VENDOR_ID, "missing": self.missing}
            return {"status": self.status.value, "customData": custom}
        if not self.reason:
            return {"status": self.status.value}
        info = {"reasonCode": REASON_CODES[self.status], "additionalInfo": self.reason[:1024]}
        return {"status": self.status.value, "statusInfo": info}


@dataclass(frozen=True, slots=True)
class Made:
    """What a Plan has built, what it was to be, and the list in force at that time."""

    built: Built
    offer: Offer
    since: Edition


@dataclass(frozen=True, slots=True)
class Plan:
    """A list that may be built, and everything that takes: a thread can do it."""

    request: Mapping[str, Any] = field(repr=False)
    offer: Offer
    job: Job
    since: Edition
    files: Files

    def build(self) -> Made | Outcome:
        parts = Parts(Path(self.job.directory), self.files)
        is_in_files = self.offer.parts > 1 or self._is_long
        try:
            paths = parts.put(self.offer, self.request) if is_in_files else []
            if is_in_files and (missing := self.offer.parts - len(paths)):
                return Outcome(Status.Accepted, missing=missing)
            return self._made(paths, parts)
        except (WireError, ListError) as error:
            return Outcome(Status.Failed, str(error))

    def _made(self, paths: list[Path], parts: Parts) -> Made:
        """ListError; parts that together are no list are forgotten, or every one that came again would be the last."""
        job = replace(self.job, parts=[str(path) for path in paths], requests=[] if paths else [dict(self.request)])
        try:
            return Made(elsewhere(job) if self._is_long else run(job, self.files), self.offer, self.since)
        except DiskError:
            raise
        except ListError:
            parts.drop(paths)
            raise

    @property
    def _is_long(self) -> bool:
        here = len(self.request.get("localAuthorizationList", ()))
        there = Content.load(self.job.content).count if self.job.content else 0
        return max(here, there, self.offer.count or 0) > HERE_MAX


def takes_off(changes: Overlay) -> bool:
    """Whether somebody is removed. Nobody here knows which cards else are his: the whole cache goes (S5)."""
    return any(entry is None or entry.removed for entry in changes.values())


@dataclass(frozen=True, slots=True)
class Staged:
    """Applied, not committed."""

    file: ListFile | None
    overlay: Overlay
    content: Content
    fact: Fact | None  # None: there is no list any more


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
        self._overlay: Overlay = {}
        self._content = Content()
        self._overlay_facts = {name for name in facts if name.startswith(overlays.PREFIX)}  # on the disk
        self._staged: Staged | None = None
        self._has_list = False
        self._fact = self._read(facts)
        if self._fact:  # of a list without its file they are still wanted
            have = self._fact.edition
            parts = Parts(directory, files)
            parts.forget(have if self._has_list else replace(have, version=have.version - 1))
        self._tidy()

    @property
    def state(self) -> ListState:
        """Of the list in force; version 0 if there is none."""
        return self._fact.state if self._fact and self._has_list else ListState()

    @property
    def content(self) -> Content:
        """Of the list in force, to be compared."""
        return self._content.copy()

    @property
    def said(self) -> dict[str, Any]:
        """The list in force, for the cloud to compare: docs/allowlist.md, "Repair"."""
        content = b64encode(self._content.dump()).decode()
        state = self.state
        return {"generation": state.generation, "version": state.version, "hash": state.hash, "content": content}

    @property
    def parts(self) -> list[Part]:
        """What is here of a list on its way. OSError."""
        return Parts(self._directory, self._files).held()

    def facts(self) -> dict[str, Any]:
        """The list in force as it stands in the store."""
        overlay = {overlays.name_of(hashed): overlays.fact_of(entry) for hashed, entry in self._overlay.items()}
        return {FACT: asdict(self._fact), **overlay} if self._fact else {}

    def entries(self) -> Iterator[tuple[bytes, Entry]]:
        """Every entry of the list in force, under its key_hash(). sqlite3.Error."""
        for hashed, entry in self._current.entries() if self._current else ():
            if hashed not in self._overlay:
                yield hashed, entry
        yield from ((hashed, entry) for hashed, entry in self._overlay.items() if entry)

    @property
    def failures(self) -> int:
        """How often the disk has refused to tell what the list says: then it says nothing, for or against."""
        return self._current.failures if self._current else 0

    def lookup(
        self, id_token: str, now: float, earliest_s: float, lifetime_s: float = LIFETIME_S
    ) -> tuple[Entry | None, Entry | None]:
        """(listed, cached) for any text; at most one of them. Times and lifetime: as the cache takes them."""
        hashed = key_hash(self._key, id_token)
        listed = Found(self._current, self._overlay)(hashed)
        return listed, None if listed else self.cache.lookup(hashed, now, earliest_s, lifetime_s)

    def remember(self, effect: Remember, asked_s: float, lifetime_s: float = LIFETIME_S) -> list[Save]:
        """Put the cloud's answer into the cache, unless the list has the last word about this card."""
        hashed = key_hash(self._key, effect.id_token)
        newest = self._staged
        file, overlay = (newest.file, newest.overlay) if newest else (self._current, self._overlay)
        if Found(file, overlay)(hashed):
            return []
        return self.cache.remember(hashed, effect.entry, effect.asked_at, asked_s, lifetime_s)

    # -- a new list ---------------------------------------------------------------------------------------------------

    def replace(self, request: Mapping[str, Any], wall_s: float | None, now: float = 0.0) -> Outcome:
        """SendLocalList in OCPP's JSON form, all in this thread; `wall_s`: the wall time, None if nobody knows."""
        plan = self.plan(request, wall_s, now)
        made = plan.build() if isinstance(plan, Plan) else plan
        return self.apply(made, wall_s, now) if isinstance(made, Made) else made

    def plan(self, request: Mapping[str, Any], wall_s: float | None, now: float) -> Plan | Outcome:
        """An Outcome with saves is staged, as `apply` does it."""
        try:
            offer = read_offer(request)
            if refused := self._refusal(offer):
                return refused
            if self._has_list and offer.hash and offer.edition == self._edition:
                return self._current_again(offer, wall_s)
            changes = len(request.get("localAuthorizationList", ()))
            is_small = offer.parts == 1 and not offer.is_full and self._has_list and not offer.buckets
            is_short = is_small and changes <= overlays.CHANGES_MAX
            if is_short and changes + len(self._overlay) <= overlays.ENTRIES_MAX:
                return self._change(offer, request, wall_s, now)
        except (WireError, ListError) as error:
            return Outcome(Status.Failed, str(error))
        return Plan(request, offer, self._job(offer), self._edition, self._files)

    def apply(self, made: Made, wall_s: float | None, now: float) -> Outcome:
        """Stage what was built. The same list again changes nothing but the time of being current."""
        built, offer = made.built, made.offer
        outcome = self._refusal(offer, built.content) or self._overtaken(made)
        outcome = outcome or self._stage(built, offer, wall_s, now)
        kept = {fact.file for fact in (self._fact, self._staged and self._staged.fact) if fact}
        if built.path.name not in kept:
            self._discard(built.path)
        return outcome

    def committed(self) -> ListState:
        """The saves of the last apply, or plan, are on the disk. Returns the state in force."""
        if self._staged:
            new, self._staged = self._staged, None
            old, old_file = self._current, self._fact and self._fact.file
            self._current, self._overlay, self._content, self._fact = new.file, new.overlay, new.content, new.fact
            self._has_list, self.problem = new.fact is not None, ""
            self._overlay_facts = {overlays.name_of(hashed) for hashed in new.overlay}
            if old and old is not new.file:
                old.close()
            if old_file and (self._fact is None or old_file != self._fact.file) and NAME.fullmatch(old_file):
                self._discard(self._directory / old_file)
            if self._fact:
                Parts(self._directory, self._files).forget(self._fact.edition)
            else:
                self._tidy()
        return self.state

    def _tidy(self) -> None:
        """Files of lists that are not in force go; parts have their own rule."""
        for path in self._directory.iterdir():
            is_ours = NAME.fullmatch(path.name) or path.name in (NEW, "part.new")
            if is_ours and (self._fact is None or path.name != self._fact.file):
                self._discard(path)

    def forget_drafts(self) -> None:
        """Nothing is left of a list that is on its way."""
        parts = Parts(self._directory, self._files)
        with suppress(OSError):
            if held := parts.held():
                parts.drop([part.path for part in held])
                self._files.sync(self._directory)
            self._tidy()

    def wiped(self, now: float) -> list[Save]:
        """No list and no cache, once this is committed: the next owner's may be of any generation. Parts of a list on
        its way go before: nobody could tell them from the next owner's."""
        self.forget_drafts()
        self._staged = Staged(None, {}, Content(), None)
        return [Save(FACT, None), *self._forgotten(), *self.cache.clear(now)]

    def _refusal(self, offer: Offer, content: Content | None = None) -> Outcome | None:
        """OCPP D01, with our order of (generation, version): a version never goes back, nor changes its content."""
        edition, have = offer.edition, self._edition
        if edition.version <= 0:
            return Outcome(Status.Failed, f"version {edition.version}: versions begin at 1")
        if self._staged:
            return Outcome(Status.Failed, "another list is on its way to the disk: send this one again")
        if edition < have:
            said = f"list {edition.generation}/{edition.version} is older than {have.generation}/{have.version} here"
            return Outcome(Status.VersionMismatch, said)
        if not offer.is_full and not (self._has_list and have.generation == edition.generation):
            return Outcome(Status.VersionMismatch, "there is no list here to change: send it whole")
        if not offer.is_full and offer.base not in (None, have.version) and edition != have:
            return Outcome(Status.VersionMismatch, f"this leads from version {offer.base}, here is {have.version}")
        said_hash = content.hash if content else offer.hash
        if self._has_list and edition == have and said_hash and said_hash != self._content.hash:
            return Outcome(Status.VersionMismatch, f"version {edition.version} is here with other content: count it up")
        return None

    def _overtaken(self, made: Made) -> Outcome | None:
        """Changes to a list lead nowhere from another one."""
        if made.offer.is_full or self._edition in (made.since, made.offer.edition):
            return None
        return Outcome(Status.Failed, "another list came meanwhile: send this one again")

    def _change(self, offer: Offer, request: Mapping[str, Any], wall_s: float | None, now: float) -> Outcome:
        """A short differential list: nothing is written but facts."""
        assert self._fact
        if offer.edition == self._fact.edition and request.get("localAuthorizationList"):
            return Outcome(Status.VersionMismatch, f"version {offer.edition.version} is here: count it up")
        if offer.edition == self._fact.edition:
            return self._current_again(offer, wall_s)
        content = self._content.copy()
        changes = changed(content, read_changes(request), Found(self._current, self._overlay), self._key, ())
        if wrong := difference(content, offer.count, offer.hash):
            return Outcome(Status.Failed, wrong)
        overlay = {**self._overlay, **changes}
        fact = replace(
            self._fact, version=offer.edition.version, hash=content.hash, count=content.count,
            content=b64encode(content.dump()).decode(), overlay=overlays.digest(overlay),
            synced_s=self._synced_s(offer, wall_s),
        )  # fmt: skip
        self._staged = Staged(self._current, overlay, content, fact)
        forgotten = self.cache.clear(now) if takes_off(changes) else self.cache.list_changed(changes.__contains__)
        saves = (Save(FACT, asdict(fact)), *overlays.saves(changes), *forgotten)
        return Outcome(Status.Accepted, saves=saves, state=fact.state)

    def _current_again(self, offer: Offer, wall_s: float | None) -> Outcome:
        """The list in force is the newest one: nothing but its age changes."""
        assert self._fact
        if wrong := difference(self._content, offer.count, offer.hash):
            return Outcome(Status.Failed, wrong)
        fact = replace(self._fact, synced_s=self._synced_s(offer, wall_s))
        self._staged = Staged(self._current, self._overlay, self._content, fact)
        return Outcome(Status.Accepted, saves=(Save(FACT, asdict(fact)),), state=fact.state)

    def _synced_s(self, offer: Offer, wall_s: float | None) -> float | None:
        """The cloud's own time if it says so: a command may have been on its way for a day. Of one list it never goes
        back; what was said of another says nothing of this one. Where we know the time no list is from the future: it
        would not age for as long as that is ahead."""
        said = wall_s if offer.as_of_s is None else offer.as_of_s
        before = self._fact.synced_s if self._fact and (self._fact.edition == offer.edition or not said) else None
        newest = max((each for each in (said, before) if each), default=None)
        return min(newest, wall_s) if newest and wall_s else newest

    @property
    def _edition(self) -> Edition:
        """Nothing older is taken."""
        return self._fact.edition if self._fact else Edition(0, 0)

    def _job(self, offer: Offer) -> Job:
        job = Job(
            str(self._directory), offer.edition.generation, offer.edition.version, self._key, offer.is_full,
            count=offer.count, hash=offer.hash,
        )  # fmt: skip
        if offer.is_full:
            return job
        overlay = [(hashed, overlays.fact_of(entry)) for hashed, entry in self._overlay.items()]
        base = self._current.path.name if self._current else ""
        return replace(job, base=base, overlay=overlay, content=self._content.dump(), buckets=list(offer.buckets))

    def _stage(self, built: Built, offer: Offer, wall_s: float | None, now: float) -> Outcome:
        if self._fact and self._has_list and self._fact.edition == built.edition:
            return self._current_again(offer, wall_s)
        try:
            new = open_list(built.path, self._key)
        except ListError as error:
            return Outcome(Status.Failed, str(error))
        edition, content, synced_s = built.edition, built.content, self._synced_s(offer, wall_s)
        name = built.path.name
        fact = Fact(name, edition.generation, edition.version, content.hash, content.count, synced_s)
        self._staged = Staged(new, {}, content, fact)
        saves = (Save(FACT, asdict(fact)), *self._forgotten(), *self.cache.clear(now))
        return Outcome(Status.Accepted, saves=saves, state=fact.state)

    def _forgotten(self) -> list[Save]:
        return [Save(name, None) for name in sorted(self._overlay_facts)]

    # -- the directory ------------------------------------------------------------------------------------------------

    def _read(self, facts: Mapping[str, Any]) -> Fact | None:
        """The fact decides; without its file there is no list, but still no way back to an older one."""
        if (value := facts.get(FACT)) is None:
            return None
        try:
            fact = convert(value, Fact)
        except ValidationError as error:
            self.problem = f"the allowlist's fact is malformed: {error}"
            return None
        try:
            overlay = overlays.load(facts)
            current = open_list(self._directory / fact.file, self._key)
            content = Content.load(b64decode(fact.content)) if fact.content else current.built.content
        except (ListError, ValueError) as error:
            self.problem = f"no allowlist: {error}"
            return fact
        is_as_committed = content.hash == fact.hash and overlays.digest(overlay) == fact.overlay
        if not is_as_committed or not (fact.content or current.built.edition == fact.edition):
            current.close()
            self.problem = f"no allowlist: {fact.file} and its changes are not the list that was committed"
            return fact
        self._current, self._overlay, self._content, self._has_list = current, overlay, content, True
        return fact

    def _discard(self, path: Path) -> None:
        with suppress(OSError):  # the next start tries again
            self._files.remove(path)
