"""What the cloud never takes is kept, can be read whole, and the doctor speaks of it."""

import asyncio
import json
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import cli, deadletters
from agent.control import ControlServer, ask, dead_letters_handler
from agent.deadletters import shown
from agent.doctor import Patient, Verdict, check_dead_letters
from agent.effects import Record, Stream
from agent.outbox import Database, DeadLetter, StoreError
from agent.settings import Config
from agent.store import Store

BOOT = b"the boot"
WALL_S = 1_790_000_000.0


def event(number: int, wall_s: float | None = WALL_S) -> Record:
    return Record(Stream.MONEY, "TransactionEvent", {"seqNo": number, "eventType": "Updated"}, 1.5, wall_s, 3)


def filled(state: Path, count: int, clock: float | None = WALL_S) -> None:
    state.mkdir(mode=0o700, exist_ok=True)
    database = Database(state / "station.db", BOOT)
    database.commit([event(number, clock) for number in range(count)])
    for seq in range(1, count + 1):
        assert database.bury(Stream.MONEY, seq, f"why {seq}")
    database.close()


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "config.toml"
    path.write_text('[paths]\ncontrol = "control.sock"\nstate = "state"\n')
    return str(path)


class Running:
    """The store and the control socket of an agent, on a thread of their own."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder / "state" / "station.db", BOOT, lambda _: None, lambda: 0.0)
        self.opened = self.store.open()
        self.path = folder / "control.sock"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.serve({"deadletters": dead_letters_handler(self.store.dead_letters)})

    def serve(self, handlers: Any) -> None:
        self.server = ControlServer(self.path, handlers, idle_s=0.5)
        asyncio.run_coroutine_threadsafe(self.server.start(), self._loop).result(10)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self.server.close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        self.store.close()


def typed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.main(["deadletters", *words]) == 0
    return capsys.readouterr().out


@pytest.mark.promise("S2")
@pytest.mark.parametrize("is_running", [True, False])
def test_every_dead_letter_is_shown_whole_with_its_place_and_why(
    tmp_path: Path, config: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, is_running: bool
) -> None:
    monkeypatch.setattr(deadletters, "PAGE_B", 150)  # of some fifty bytes each
    filled(tmp_path / "state", 20)
    before = (tmp_path / "state" / "station.db").read_bytes()
    running = Running(tmp_path) if is_running else None
    said = [json.loads(line) for line in typed(capsys, "--json", "--config", config).splitlines()]
    lines = typed(capsys, "--config", config).splitlines()
    if running:
        assert running.opened.dead_letters == 20
        running.close()
    else:
        assert (tmp_path / "state" / "station.db").read_bytes() == before
    assert [letter["seq"] for letter in said] == list(range(1, 21))
    first = said[0]
    assert (first["stream"], first["why"], first["action"]) == (0, "why 1", "TransactionEvent")
    assert first["payload"] == {"seqNo": 0, "eventType": "Updated"} and first["at"] == "2026-09-21T14:13:20.000Z"
    assert len(bytes.fromhex(first["epoch"])) == 8
    assert len(lines) == 20 and lines[19].startswith("stream 0 seq 20 epoch ") and lines[19].endswith("why 20")


def test_without_any_it_says_so_and_a_station_that_never_ran_is_one_sentence(
    tmp_path: Path, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["deadletters", "--config", config]) == 2
    assert "none has ever run" in capsys.readouterr().err
    filled(tmp_path / "state", 0)
    assert typed(capsys, "--config", config).startswith("none")
    assert typed(capsys, "--config", config, "--json") == ""
    (tmp_path / "state" / "station.db").write_bytes(b"rubbish" * 1000)
    assert cli.main(["deadletters", "--config", config]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_disk_that_hangs_or_fails_is_one_sentence(tmp_path: Path) -> None:
    filled(tmp_path / "state", 1)
    running = Running(tmp_path)
    asyncio.run_coroutine_threadsafe(running.server.close(), running._loop).result(10)
    hung: Future[list[DeadLetter]] = Future()
    failed: Future[list[DeadLetter]] = Future()
    failed.set_exception(StoreError("the dead letters cannot be read: disk I/O error"))
    answers = iter([hung, failed])
    running.serve({"deadletters": dead_letters_handler(lambda after_id, limit: next(answers))})
    assert "does not answer" in (ask(running.path, {"command": "deadletters"}, 5.0) or {})["error"]
    assert hung.cancelled()
    assert "disk I/O error" in (ask(running.path, {"command": "deadletters"}, 5.0) or {})["error"]
    assert "type {" in (ask(running.path, {"command": "deadletters", "after_id": -1}, 5.0) or {})["error"]
    running.close()


@given(st.binary(max_size=60), st.one_of(st.none(), st.integers()))
def test_any_body_is_shown_as_json(body: bytes, seq: int | None) -> None:
    said = json.loads(json.dumps(shown(DeadLetter(b"theepoch", 1, seq or 1, "damaged on disk", body, 7))))
    assert said["id"] == 7 and (said["payload"] is not None or bytes.fromhex(said["body"]) == body)


def test_a_record_of_a_time_that_no_calendar_has_is_shown_all_the_same(tmp_path: Path) -> None:
    for wall_s in (None, 9e12):
        folder = tmp_path / str(wall_s)
        filled(folder, 1, wall_s)
        database = Database(folder / "station.db", BOOT)
        (letter,) = map(shown, database.dead_letters())
        database.close()
        assert letter["at"] is None and list(deadletters.as_text([letter]))


def test_the_doctor_warns_of_dead_letters() -> None:
    def found(**status: Any) -> Any:
        return check_dead_letters(Patient(None, Config(), {}, status, 0.0))

    assert found(dead_letters=0) is None and found() is None and found(error="x", dead_letters=1) is None
    finding = found(dead_letters=3)
    assert finding.verdict is Verdict.WARN and "station-agent deadletters" in finding.fix
