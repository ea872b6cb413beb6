"""The clock helper raises the clock to the floor, never lowers it, and believes nobody far beyond its own time."""

import socket
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import clockset
from agent.clock import BUILD_S
from agent.clockset import FAILED, KEPT, LATEST_S, REFUSED, SET, answered, ask, decided, main, serve


class SystemClock:
    def __init__(self, wall_s: float = 0.0, *, refuses: bool = False) -> None:
        self.wall_s, self.refuses = wall_s, refuses

    def read(self) -> float:
        return self.wall_s

    def set(self, wall_s: float) -> None:
        if self.refuses:
            raise PermissionError
        self.wall_s = wall_s


def asked(clock: SystemClock, request: bytes) -> str:
    return answered(request, clock.read, clock.set)


def test_an_early_clock_is_raised_and_a_late_one_kept() -> None:
    clock = SystemClock()
    assert asked(clock, b"%d\n" % (BUILD_S + 5)) == SET and clock.wall_s == BUILD_S + 5
    assert asked(clock, b"%d\n" % BUILD_S) == KEPT and clock.wall_s == BUILD_S + 5
    assert asked(SystemClock(refuses=True), b"%d\n" % BUILD_S) == FAILED


@pytest.mark.promise("S9")
@pytest.mark.parametrize(
    "request_",
    [b"", b"\n", b"1790000000", b"-1\n", b"1e12\n", b" 1790000001\n", b"1790000001\n\n", b"9" * 31 + b"\n", b"0\n"],
)
def test_what_is_no_time_of_a_stations_life_is_refused(request_: bytes) -> None:
    clock = SystemClock()
    assert asked(clock, request_) == REFUSED and clock.wall_s == 0.0


@pytest.mark.promise("S9")
@given(st.binary(max_size=40) | st.integers(0, 10**12).map(lambda n: b"%d\n" % n), st.floats(0, 1e11))
def test_no_request_sets_the_clock_back_or_beyond_25_years(request_: bytes, clock_s: float) -> None:
    wanted = decided(request_, clock_s)
    assert isinstance(wanted, str) or max(clock_s, BUILD_S) <= wanted <= LATEST_S


def test_the_agent_asks_over_a_socket_and_a_missing_helper_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clockset, "IDLE_S", 0.3)
    path, clock = tmp_path / "station-clock.sock", SystemClock()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(4)
        helper = served(listener, clock)
        with socket.socket(socket.AF_UNIX) as silent:
            silent.connect(str(path))
        assert [ask(BUILD_S + 7.9, path), ask(1.0, path)] == [SET, REFUSED]
        helper.join(10)
        assert not helper.is_alive() and clock.wall_s == BUILD_S + 7
    why = ask(BUILD_S, tmp_path / "station-clock.none")
    assert "is not there" in why and "systemctl enable --now station-clock.socket" in why


def served(listener: socket.socket, clock: SystemClock) -> Thread:
    run: Callable[[], None] = lambda: serve(listener, clock.read, clock.set)
    helper = Thread(target=run, daemon=True)
    helper.start()
    return helper


def test_it_is_started_by_systemd_only(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("LISTEN_FDS", raising=False)
    assert main() == 2 and "station-clock.socket" in capsys.readouterr().err
    assert abs(clockset.system_clock() - time.time()) < 5.0  # noqa: TID251 - the same one
