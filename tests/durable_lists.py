"""The allowlist's stories: lists that come whole, in parts, as changes, in buckets, written here or by a process of
their own, with answers of the cloud in the cache beside them. And their judge (tests/durable_stories.py).

A story goes on from the version that it finds on the disk. What a version says, truth() knows; so the judge does, too.
"""

import json
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.app import state_folder
from agent.authcache import overlay
from agent.authcache.content import Content, bucket_of
from agent.authcache.listfile import ListError, key_hash, open_list, read_key
from agent.authcache.lists import FACT, Lists, Status
from agent.authcache.parts import Parts, read_parts
from agent.effects import Remember, Save
from agent.events import AuthorizationStatus as Said
from agent.events import Entry
from agent.outbox import StoreError
from agent.settings import Config, Paths
from agent.store import Committed
from tests.durability import Tree
from tests.durable_store import Open, nothing, planted, record, say
from tests.listed import Cloud, in_parts

WALL_S = 1_767_261_600.0
CARDS = ["04A1B2C3", "04A1B2C4", "04A1B2C5", "04A1B2C3D4E5F6", "04A1B2C3D4E5F7", "ACCOUNT-9"]
MANY = [*CARDS, *(f"04B1B2C{n:X}" for n in range(12))]
STRANGER = "04FE0001"  # on no list
ENTRIES = (Entry(), Entry(Said.BLOCKED, 1.8e9, frozenset({"night"})), Entry(language="fr", pending=True))
PARTS = 3


def truth(version: int, cards: Sequence[str]) -> dict[str, Entry]:
    """With each even version a good third of the cards is new, and the first goes; with each odd one nothing happens
    but that the first comes: nobody is taken off."""
    turns = version // 2 * 2
    listed = {card: random.Random(f"{n} {(turns + n) // 3}").choice((*ENTRIES, None)) for n, card in enumerate(cards)}
    listed[cards[0]] = ENTRIES[0] if version % 2 else None
    return {card: entry for card, entry in listed.items() if entry and version}


def cloud_at(version: int, cards: Sequence[str]) -> Cloud:
    cloud = Cloud()
    cloud.version, cloud.entries = version, truth(version, cards)
    return cloud


def parts_of(version: int, cards: Sequence[str]) -> list[dict[str, Any]]:
    """In the order in which they arrive."""
    parts = list(in_parts(cloud_at(version, cards).full(), PARTS))
    random.Random(version).shuffle(parts)
    return parts


# -- the writer -------------------------------------------------------------------------------------------------------


class Writer:
    """What agent/shell.py does with lists: the answer and what it changes are one commit, then it is in force."""

    def __init__(self, folder: Path, cards: Sequence[str]) -> None:
        state = state_folder(Config(paths=Paths(state=str(folder / "state"))))
        self.cards = cards
        self.open = Open(state)
        key = read_key(state / "list.key")
        self.lists = Lists(state / "lists", self.open.opened.facts, key, 0.0)
        if self.lists.problem:
            say(problem=self.lists.problem)
            os._exit(0)  # the judge has the disk
        self.folder = state / "lists"
        self.parts = Parts(self.folder)
        self.cached = set(cached_of(self.lists, key, cards))
        if not self.version:
            self.send(cloud_at(1, cards).full())

    @property
    def version(self) -> int:
        return self.lists.state.version

    def changes(self, version: int) -> dict[str, Entry | None]:
        """What leads there."""
        here, there = truth(self.version, self.cards), truth(version, self.cards)
        return {card: there.get(card) for card in self.cards if here.get(card) != there.get(card)}

    def hear(self) -> None:
        """The cloud answers about everybody; only of who is not listed it is kept."""
        owed: list[Save] = []
        for card in (*self.cards, STRANGER):
            if saves := self.lists.remember(Remember(card, Entry(), 0.0), WALL_S):
                self.cached.add(card)
                owed += saves
        self._commit(owed)

    def send(self, request: dict[str, Any]) -> None:
        outcome = self.lists.replace(request, WALL_S)
        assert outcome.status is Status.Accepted, outcome
        if outcome.state:
            is_new_file = any(save.key == FACT and not save.value["content"] for save in outcome.saves)
            named = {entry["idToken"]["idToken"]: entry for entry in request.get("localAuthorizationList", ())}
            takes_off = any("idTokenInfo" not in entry for entry in named.values())
            self.cached -= set(self.cached) if is_new_file or takes_off else set(named)
        self._commit(outcome.saves, outcome.state.version if outcome.state else self.version)
        self.lists.committed()

    def _commit(self, saves: Sequence[Save], version: int | None = None) -> None:
        version = version or self.version
        held = [(part.edition.version, part.number) for part in self.parts.held() if part.edition.version > version]
        step = self.open.ask(version=version, cached=sorted(self.cached), held=held)
        self.open.store.commit(step, (record(2, step), *saves))
        self.open.answer(Committed)

    def end(self, life: int) -> None:
        if life % 2:  # as a killed process
            os._exit(0)
        self.open.store.close()


def play_lists(folder: Path, life: int) -> None:
    writer = Writer(folder, CARDS)
    for _ in range(3):
        writer.hear()
        writer.send(cloud_at(writer.version + 1, CARDS).full())
    writer.end(life)


def play_parts(folder: Path, life: int) -> None:
    """Begun in one life, ended in another; sometimes a newer list takes the place of one that is on its way."""
    writer = Writer(folder, CARDS)
    writer.hear()
    pending = [part.edition.version for part in writer.parts.held()] or [writer.version + 1]
    if life % 2:
        first, *rest = parts_of(pending[0], CARDS)
        for part in (*rest, first):
            if writer.version < pending[0]:
                writer.send(part)
    elif life % 4 == 2:
        writer.send(parts_of(pending[0], CARDS)[0])
        pending = [pending[0] + 1]
    if life % 2 == 0:
        for part in parts_of(pending[0], CARDS)[:-1]:
            writer.send(part)
    writer.end(life)


def play_changes(folder: Path, life: int) -> None:
    """Some into the overlay, some over its limit and so into a new file."""
    writer = Writer(folder, CARDS)
    files = {path.name for path in writer.folder.iterdir()}
    for _ in range(4):
        writer.hear()
        version = writer.version + 1
        writer.send(cloud_at(version, CARDS).differential(writer.changes(version), base=writer.version))
        files |= {path.name for path in writer.folder.iterdir()}
    assert len(files) > 1
    writer.end(life)


def play_mends(folder: Path, life: int) -> None:
    writer = Writer(folder, CARDS)
    for _ in range(2):
        writer.hear()
        cloud = cloud_at(writer.version + 1, CARDS)
        buckets = {bucket_of(card) for card in writer.changes(cloud.version)}
        named = {card: entry for card, entry in cloud.entries.items() if bucket_of(card) in buckets}
        writer.send(cloud.differential(named, base=writer.version, buckets=sorted(buckets)))
    writer.end(life)


def play_long(folder: Path, life: int) -> None:
    """Both are written by a process of their own."""
    writer = Writer(folder, MANY)
    writer.hear()
    changes = writer.changes(writer.version + 4)
    assert len(changes) > len(CARDS)
    writer.send(cloud_at(writer.version + 4, MANY).differential(changes, base=writer.version))
    writer.end(life)


# -- the judge --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Legal:
    version: int = 0
    cached: tuple[str, ...] = ()
    held: tuple[tuple[int, int], ...] = ()  # version and number of parts of a newer list; at least these


def legal_states(said: Sequence[str]) -> tuple[list[Legal], int]:
    """All of them in order, and the index of the first that the promises allow."""
    states, first, promised = [Legal()], 0, 0
    for line in said:
        match json.loads(line):
            case {"opened": _}:
                first = len(states) - 1
            case {"ask": _, "version": version, "cached": cached, "held": held}:
                states.append(Legal(version, tuple(cached), tuple((of, part) for of, part in held)))
            case {"done": step}:
                promised = first + step
    return states, promised


def judge_lists(cards: Sequence[str], files: Tree, told: Sequence[str]) -> str:
    with planted(files | {"state": None}) as folder:
        state = folder / "state"
        try:
            again = Open(state, say=nothing)
        except StoreError as error:
            return str(error)
        facts, damaged = dict(again.opened.facts), again.opened.damaged
        again.store.close()
        key = read_key(state / "list.key")
        there = Lists(state / "lists", facts, key, 0.0)
        if there.problem or damaged:
            return f"{there.problem}, {damaged}"
        held = Parts(state / "lists").held()
        states, promised = legal_states(told)
        found = Legal(there.state.version, tuple(cached_of(there, key, cards)))
        if not any((each.version, each.cached) == (found.version, found.cached) for each in states[promised:]):
            return f"{found} and not {states[promised]}"
        numbers = [(part.edition.version, part.number) for part in held]
        newest = max([of for of, _ in numbers], default=found.version)  # whose parts have taken the place of others
        wanted = {(of, part) for of, part in states[promised].held if of >= newest > found.version}
        if not wanted <= set(numbers) or any(of <= found.version for of, _ in numbers):
            return f"parts {numbers} are held beside version {found.version}, promised {wanted}"
        if said := next(wrong(there, facts, state / "lists", key, truth(found.version, cards)), ""):
            return said
        if held and any(each.held for each in states):  # not one long message, whose part is the whole
            pending = parts_of(newest, cards)
            rest = [part for part in pending if (newest, part["customData"]["part"]) not in numbers] or pending[-1:]
            return goes_on(there, rest, truth(newest, cards))
        return goes_on(there, [cloud_at(found.version + 1, cards).full()], truth(found.version + 1, cards))


def wrong(there: Lists, facts: Mapping[str, Any], folder: Path, key: bytes, listed: dict[str, Entry]) -> Iterator[str]:
    """What the version says, by whatever way one asks."""
    content, version = Content.of(listed.items()), there.state.version
    for card in (*MANY, STRANGER):
        if there.lookup(card, 0.0, WALL_S)[0] != listed.get(card):
            yield f"version {version} says {there.lookup(card, 0.0, WALL_S)} of {card}"
    if there.content != content or (version and facts[FACT]["hash"] != content.hash):
        yield f"version {version} does not match its hash"
    file = facts[FACT]["file"] if version else ""
    strays = {path.name for path in folder.iterdir()} - {file} - {part.path.name for part in Parts(folder).held()}
    if strays:
        yield f"strays: {strays}"
    try:
        list(read_parts([part.path for part in Parts(folder).held()]))
    except ListError as error:
        yield str(error)
    if version:
        rows = {**dict(open_list(folder / file, key).entries()), **overlay.load(facts)}
        if {hashed: entry for hashed, entry in rows.items() if entry} != {
            key_hash(key, card): entry for card, entry in listed.items()
        }:
            yield f"version {version} has rows {rows}"


def goes_on(there: Lists, requests: Sequence[dict[str, Any]], listed: dict[str, Entry]) -> str:
    """The rest of the list on its way comes, or the next list."""
    for request in requests:
        outcome = there.replace(request, WALL_S)
        there.committed()
        if outcome.status is not Status.Accepted:
            return f"the next list was refused: {outcome.reason}"
    found = {card: entry for card in (*MANY, STRANGER) if (entry := there.lookup(card, 0.0, WALL_S)[0])}
    return "" if found == listed else f"the next list says {found}"


def cached_of(there: Lists, key: bytes, cards: Sequence[str]) -> list[str]:
    """Whatever the list says of them: were its file lost, the cache would speak again."""
    return sorted(card for card in (*cards, STRANGER) if there.cache.lookup(key_hash(key, card), 0.0, WALL_S))
