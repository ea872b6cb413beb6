"""`station-agent list`, as somebody before the station types it: with an agent that runs, and with none."""

import asyncio
import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent import cli
from agent.authcache import overlay
from agent.authcache.listfile import key_hash, read_key
from agent.authcache.lists import FACT, Lists
from agent.control import ControlServer
from agent.effects import Save
from agent.store import open_database
from tests.listed import one
from tests.test_authcache import T0, full, in_group

ANN, BOB, EVE = "04A1A1A1", "04B2B2B2", "04E5E5E5"
Typed = Callable[..., tuple[int, str, str]]


class Place:
    """The files of a station."""

    def __init__(self, folder: Path) -> None:
        self.state, self.config, self.socket = folder / "state", folder / "config.toml", folder / "control.sock"
        self.state.mkdir()
        self.config.write_text(f'[paths]\ncontrol = "{self.socket}"\nstate = "{self.state}"\n')
        self.key = read_key(self.state / "list.key")
        self.facts: dict[str, Any] = {}

    def take(self, request: dict[str, Any]) -> None:
        """In force, and on the disk."""
        lists = Lists(self.state / "lists", self.facts, self.key, 0.0)
        outcome = lists.replace(request, T0)
        assert outcome.status == "Accepted", outcome.reason
        self.save(outcome.saves)
        lists.committed()

    def save(self, saves: tuple[Save, ...]) -> None:
        self.facts |= {save.key: save.value for save in saves}
        database, *_ = open_database(self.state / "station.db", bytes(8))
        database.commit(saves)
        database.close()

    def files(self) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in sorted(self.state.rglob("*")) if path.is_file()}

    @property
    def list_path(self) -> Path:
        (path,) = (self.state / "lists").glob("list-*.sqlite")
        return path


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A list of two cards, a difference that has taken one off and brought another, and a part of a third list."""
    place = Place(tmp_path)
    staff = {**one(EVE), "idTokenInfo": in_group("staff", cacheExpiryDateTime="2027-01-31T00:00:00.000Z")}
    place.take(full(7, one(ANN), staff))
    away = {"idToken": {"idToken": ANN, "type": "ISO14443"}}
    custom = {"vendorId": "station-agent", "generation": 1, "base": 7}
    place.take({
        "versionNumber": 8, "updateType": "Differential", "customData": custom,
        "localAuthorizationList": [away, one(BOB, pending=True)],
    })  # fmt: skip
    return place


@pytest.fixture
def typed(place: Place, capsys: pytest.CaptureFixture[str]) -> Typed:
    def typed(*words: str) -> tuple[int, str, str]:
        code = cli.main(["list", *words, "--config", str(place.config)])
        return code, *capsys.readouterr()

    return typed


def test_status_says_which_list_is_in_force_how_old_it_is_and_what_is_on_its_way(place: Place, typed: Typed) -> None:
    code, out, _ = typed("status", "--json")
    said = json.loads(out)
    assert code == 0 and said["hash"] == place.facts["allowlist"]["hash"]
    assert said["current_at"] == "2026-01-01T10:00:00Z" and said["age_h"] > 24
    assert (said["generation"], said["version"], said["entries"], said["parts_here"]) == (1, 8, 2, {})
    lists = Lists(place.state / "lists", place.facts, place.key, 0.0)
    custom = {"vendorId": "station-agent", "generation": 1, "part": 2, "parts": 3, "count": 9, "hash": "0" * 64}
    plan = lists.plan(full(9, one(EVE)) | {"customData": custom}, T0, 0.0)
    assert getattr(plan.build(), "missing") == 2  # type: ignore[union-attr]  # noqa: B009
    assert "parts_here    {'1/9': 1}" in typed("status")[1]


def test_every_entry_goes_out_as_csv_with_its_id_hashed(place: Place, typed: Typed) -> None:
    code, out, _ = typed("export", "--hashed")
    rows = list(csv.DictReader(out.splitlines()))
    assert code == 0 and len(rows) == 2 and ANN not in out and BOB not in out
    bob = next(row for row in rows if row["key"] == key_hash(place.key, BOB).hex())
    staff = next(row for row in rows if row is not bob)
    assert (bob["status"], bob["pending"], bob["groups"]) == ("Accepted", "yes", "")
    assert (staff["groups"], staff["expiry"]) == ("staff", "2027-01-31T00:00:00Z")
    code, out, error = typed("export")
    assert (code, out) == (2, "") and "type --hashed" in error


def test_a_sound_list_is_called_sound_and_nothing_is_changed_by_looking(place: Place, typed: Typed) -> None:
    before = place.files()
    assert typed("verify") == (0, "list 1/8 with 2 entries is sound\n", "")
    typed("status")
    typed("export", "--hashed")
    assert place.files() == before


@pytest.mark.promise("S4")
def test_a_list_with_a_flipped_bit_a_lost_entry_or_a_lying_fact_is_not_called_sound(place: Place, typed: Typed) -> None:
    whole = place.list_path.read_bytes()
    place.list_path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    code, out, _ = typed("verify")
    assert code == 1 and "is damaged" in out and typed("status")[0] == 1 and typed("export", "--hashed")[0] == 2
    place.list_path.write_bytes(whole)
    assert typed("verify")[0] == 0
    of_eve, of_bob = (f"list/{key_hash(place.key, card).hex()}" for card in (EVE, BOB))
    place.save((Save(of_eve, ["x", 0]),))
    code, out, _ = typed("verify")
    assert code == 1 and f"{of_eve} is malformed" in out
    place.save((Save(of_eve, None), Save(of_bob, None)))
    code, out, _ = typed("verify")
    assert code == 1 and "its changes are not the list that was committed" in out
    left = {name: value for name, value in place.facts.items() if value is not None}
    place.save((Save(FACT, left[FACT] | {"overlay": overlay.digest(overlay.load(left))}),))
    code, out, _ = typed("verify")
    assert code == 1 and "1 of 256 buckets" in out and "it has 1 entries, and says 2" in out


def test_where_no_agent_has_ever_run_and_where_there_is_no_list_it_says_so(tmp_path: Path, typed: Typed) -> None:
    (tmp_path / "fresh").mkdir()
    fresh = Place(tmp_path / "fresh")
    for does in ("status", "verify"):
        with_none = ["list", does, "--config", str(fresh.config)]
        assert cli.main(with_none) == 2
    fresh.save((Save("station", {}),))
    assert cli.main(["list", "verify", "--config", str(fresh.config)]) == 0
    assert cli.main(["list", "status", "--config", str(fresh.config)]) == 0


def test_a_running_agent_is_asked_which_list_it_has(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """What stands in its database it may be writing just now."""
    lists = Lists(place.state / "lists", place.facts, place.key, 0.0)
    (place.state / "station.db").write_bytes(b"not to be looked at")
    said: dict[str, Any] = {}

    async def story() -> None:
        server = ControlServer(place.socket, {"list": lambda _: lists.facts()})
        await server.start()
        said["code"] = await asyncio.to_thread(cli.main, ["list", "verify", "--config", str(place.config)])
        await server.close()

    asyncio.run(story())
    assert said["code"] == 0 and capsys.readouterr().out == "list 1/8 with 2 entries is sound\n"


def test_files_that_cannot_be_read_are_one_sentence(place: Place, typed: Typed) -> None:
    (place.state / "station.db").write_bytes(b"rubbish" * 1_000)
    code, _, error = typed("status")
    assert code == 2 and "cannot be read" in error


def test_a_list_that_is_being_written_disturbs_nobody_who_looks(place: Place, typed: Typed) -> None:
    """Its draft may be gone, or a link to nowhere, by the time that it is copied."""
    (place.state / "lists" / "list.new").symlink_to("nowhere")
    assert typed("verify")[0] == 0
