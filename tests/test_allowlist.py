"""Lists that come whole, as differences, in parts, in buckets: the station has the cloud's list or the one before."""

import os
import random
import resource
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.authcache import builder, overlay
from agent.authcache.builder import HERE_MAX
from agent.authcache.content import Content, bucket_of
from agent.authcache.lists import Made, Outcome, Plan, Status
from agent.events import AuthorizationStatus as Said
from agent.events import Entry
from tests.listed import WAYS, Cloud, in_parts, messages, said
from tests.process import until
from tests.test_authcache import Station, folder
from tools.cloud import content

CARDS = [f"04A22B{n:02X}" for n in range(24)]
ENTRIES = st.builds(Entry, st.sampled_from([Said.ACCEPTED, Said.BLOCKED]), st.none() | st.just(1.8e9),
                    st.frozensets(st.sampled_from("abc"), max_size=2), pending=st.booleans(),
                    language=st.none() | st.just("fr"))  # fmt: skip
CHANGES = st.dictionaries(st.sampled_from(CARDS), st.none() | ENTRIES, max_size=8)


def held(station: Station) -> dict[str, Entry]:
    return {card: entry for card in CARDS if (entry := station.listed(card))}


@pytest.mark.promise("S4", "S5")
@given(st.lists(st.tuples(CHANGES, st.sampled_from(WAYS), st.booleans()), max_size=4),
       st.randoms(use_true_random=False), st.integers(1, 30))  # fmt: skip
def test_whichever_way_a_list_comes_the_station_has_it_and_its_hash_agrees(
    story: list[tuple[dict[str, Entry | None], str, bool]], chance: random.Random, most: int
) -> None:
    before, overlay.ENTRIES_MAX = overlay.ENTRIES_MAX, most  # some go into a new file
    try:
        with folder() as directory:
            station, cloud = Station(directory), Cloud()
            cloud.version = 1
            assert station.send(cloud.full()).status is Status.Accepted
            for changes, way, restarts in story:
                base, there = cloud.version, dict(cloud.entries)
                cloud.change(changes)
                coming = messages(cloud, way, changes, base)
                chance.shuffle(coming)
                for message in coming:
                    assert held(station) == there, "not before the last part"
                    assert station.send(message).status is Status.Accepted
                    if restarts and message is not coming[-1]:
                        station.restart()
                assert held(station) == cloud.entries
                if restarts:
                    station.restart()
                    assert held(station) == cloud.entries and not station.lists.problem
            assert station.lists.state.version == cloud.version
            assert station.lists.content == cloud.content()
    finally:
        overlay.ENTRIES_MAX = before


@given(st.dictionaries(st.sampled_from(CARDS), ENTRIES, max_size=8))
def test_the_cloud_that_was_written_from_the_docs_says_the_same_of_a_list(entries: dict[str, Entry]) -> None:
    ours = Content.of(entries.items())
    theirs = content.content_of(said(*each) for each in entries.items())
    assert (theirs, content.hash_of(theirs), content.count_of(theirs)) == (ours.dump(), ours.hash, ours.count)


def test_the_hashes_in_the_docs_are_those_of_the_lists_that_they_name() -> None:
    docs = (Path(__file__).parent.parent / "docs" / "allowlist.md").read_text()
    ann = Entry(groups=frozenset({"staff", "guests"}), group_id="staff")
    for listed in ({}, {"04A2B3C4D5E6F7": ann}):
        assert f"`{Content.of(listed.items()).hash}`" in docs


def test_a_builder_whose_agent_is_gone_goes_too() -> None:
    """Else it would write beside the builder of the next run."""
    kept, ours = os.pipe()
    parent = (
        "import os, subprocess, sys; builder = [sys.executable, '-m', 'agent.authcache.builder', str(os.getpid())];"
        f" child = subprocess.Popen(builder, stdin={kept}); print(child.pid, flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], stdin=PIPE, stdout=PIPE, pass_fds=(kept,))
    assert process.stdout and process.stdin
    child = Path(f"/proc/{process.stdout.readline().decode().strip()}")
    until(lambda: not child.exists() or b"authcache.builder" in (child / "cmdline").read_bytes())
    until(lambda: nice_of(child) >= builder.NICENESS)
    process.kill()
    process.wait()
    until(lambda: not child.exists() or (child / "stat").read_text().split()[2] == "Z")
    for end in (kept, ours, process.stdout, process.stdin):
        os.close(end) if isinstance(end, int) else end.close()


def nice_of(process: Path) -> int:
    return int((process / "stat").read_text().rpartition(")")[2].split()[16])


def test_a_card_that_expires_with_a_day_takes_few_bytes_while_its_list_is_on_the_way(tmp_path: Path) -> None:
    station, cloud, chance = Station(tmp_path / "lists"), Cloud(), random.Random(1)
    days = (Entry(expiry_s=1_800_000_000.0 + 86_400 * chance.randrange(1_000)) for _ in range(2_000))
    cloud.change({f"04{chance.randrange(2**48):012X}": entry for entry in days})
    first, *_ = in_parts(cloud.full(), 2)
    assert station.send(first).missing == 1
    assert sum(path.stat().st_size for path in station.directory.glob("part-*")) <= 12 * 1_000


@pytest.mark.parametrize(("changes", "is_here"), [(500, True), (501, False)])
def test_what_would_keep_the_loop_busy_is_made_beside_it(tmp_path: Path, changes: int, *, is_here: bool) -> None:
    station, cloud = Station(tmp_path / "lists"), Cloud()
    cloud.change({f"04A22B{n:06X}": Entry() for n in range(3)})
    station.send(cloud.full())
    change: dict[str, Entry | None] = {f"04A22B{n:06X}": Entry(groups=frozenset("a")) for n in range(changes)}
    cloud.change(change)
    assert isinstance(station.lists.plan(cloud.differential(change), None, 0.0), Outcome) is is_here


def test_a_short_change_of_a_long_list_makes_its_new_file_in_a_process_of_its_own(tmp_path: Path) -> None:
    station, cloud = Station(tmp_path / "lists"), Cloud()
    cards = [f"04{n:06X}" for n in range(HERE_MAX + 100)]
    cloud.change(dict.fromkeys(cards, Entry()))
    station.send(cloud.full())
    bucket = bucket_of(cards[0])
    cloud.change({cards[0]: None})
    left: dict[str, Entry | None] = {card: Entry() for card in cards[1:] if bucket_of(card) == bucket}
    request = cloud.differential(left, buckets=[bucket])
    del request["customData"]["count"], request["customData"]["hash"]  # nothing says how long the list is
    before_s = processes_s()
    assert station.send(request).status is Status.Accepted and processes_s() > before_s
    assert station.listed(cards[0]) is None and station.lists.content == cloud.content()


def processes_s() -> float:
    """CPU time of all child processes that have ended."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime


@pytest.mark.promise("S4", "S5")
def test_a_change_that_came_while_another_was_built_is_not_lost(tmp_path: Path) -> None:
    station, cloud = Station(tmp_path / "lists"), Cloud()
    cloud.change(dict.fromkeys(CARDS, Entry()))
    station.send(cloud.full())
    cloud.change({CARDS[0]: None})
    removal = cloud.differential({CARDS[0]: None})
    named: dict[str, Entry | None] = {CARDS[1]: Entry(Said.BLOCKED)}
    cloud.change(named)
    slow = cloud.differential(named, buckets=[bucket_of(CARDS[1])])
    del slow["customData"]["count"], slow["customData"]["hash"]
    plan = station.lists.plan(slow, None, 0.0)
    assert isinstance(plan, Plan)
    assert station.send(removal).status is Status.Accepted
    made = plan.build()
    assert isinstance(made, Made)
    assert station.lists.apply(made, None, 0.0).status is Status.Failed
    assert station.listed(CARDS[0]) is None and station.listed(CARDS[1]) == Entry()
