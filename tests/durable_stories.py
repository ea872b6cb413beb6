"""What is recorded and judged: for each kind of durable file, a story that its real writer plays in a process of its
own, and a judge that opens what a power cut has left of it with the real reader.

A story says what it asks before it asks, and what it was promised at the moment of the promise, as lines of JSON:

    {"ask": 7, ...}     from here on the step may be on the disk
    {"done": 7, ...}    from here on it must be
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from agent import outbox, store
from agent.authcache import lists, overlay
from agent.update import courier, engine
from tests import durable_air, durable_provision, durable_slots
from tests.durability import Judge, Recording, Tree, plant, record
from tests.durable_farewell import farewell_judge, play_farewell
from tests.durable_lists import CARDS, MANY, judge_lists, play_changes, play_lists, play_long, play_mends, play_parts
from tests.durable_store import DAMAGED, half_readable, judge_rebuilt, judge_store, play_reopening, play_store

# In thousands it would be a long story. HERE_MAX: the long list is written by a process of its own.
SMALL = (
    (outbox, "CHECKPOINT_PAGES", 12), (outbox, "PRUNED_ROWS", 3), (store, "PRUNED_ROWS", 3),
    (store, "BALLAST_B", 4_096), (overlay, "ENTRIES_MAX", 4), (lists, "HERE_MAX", len(CARDS)),
    (engine, "SYNC_B", 2_000), (courier, "SAVE_B", 2_000),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Story:
    play: Callable[[Path, int], None]
    judge: Callable[[], Judge]
    before: Tree = field(default_factory=dict)


STORIES = {
    "store": Story(play_store, judge_store),
    "reopening": Story(play_reopening, judge_store),
    "damaged": Story(partial(play_store, turns=1), lambda: judge_store(DAMAGED), {"station.db": DAMAGED}),
    "rebuilt": Story(play_reopening, lambda: judge_rebuilt, {"station.db": half_readable()}),
    "lists": Story(play_lists, lambda: partial(judge_lists, CARDS)),
    "parts": Story(play_parts, lambda: partial(judge_lists, CARDS)),
    "changes": Story(play_changes, lambda: partial(judge_lists, CARDS)),
    "mends": Story(play_mends, lambda: partial(judge_lists, CARDS)),
    "slots": Story(durable_slots.play_slots, durable_slots.slots_judge, durable_slots.BEFORE),
    "provision": Story(
        durable_provision.play_provision, durable_provision.provision_judge, durable_provision.BEFORE
    ),
    "air": Story(durable_air.play_air, durable_air.air_judge, durable_air.before()),
    "farewell": Story(play_farewell, farewell_judge),
    "long list": Story(play_long, lambda: partial(judge_lists, MANY)),
}
WRITER = [sys.executable, "-m", "tests.durable_stories"]


def recorded(story: str, lives: Iterable[int], writer: Sequence[str] = WRITER, before: Tree | None = None) -> Recording:
    with TemporaryDirectory() as scratch, TemporaryDirectory() as folder:
        plant(Path(folder), STORIES[story].before if before is None else before)
        commands = [[*writer, story, folder, str(life)] for life in lives]
        return record(Path(folder), Path(scratch), *commands, cwd=Path(__file__).parent.parent)


def main(story: str, folder: str, life: str) -> None:
    """The writer's process."""
    for module, name, value in SMALL:
        assert name in vars(module)
        vars(module)[name] = value
    STORIES[story].play(Path(folder), int(life))


if __name__ == "__main__":
    main(*sys.argv[1:])
