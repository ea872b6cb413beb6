"""The update service with a real engine on a real folder, over sockets: what a flasher gets, and what it bears."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.update import facts
from agent.update.refusal import Refused
from agent.update.service import CLIENTS_MAX
from tests.flashsite import Site
from tests.flashstation import made
from tools.flashing import driver, steps
from tools.flashing.buildfile import BuildFile
from tools.flashing.lines import Address
from tools.flashing.steps import Wish


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with closing(Site(tmp_path)) as site:
        yield site


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BuildFile]:
    with closing(BuildFile(made(tmp_path_factory.mktemp("builds"), files=12))) as file:
        yield file


@contextmanager
def refusal(code: str) -> Iterator[None]:
    with pytest.raises(Refused) as caught:
        yield
    assert caught.value.code == code


@pytest.mark.promise("S8")
def test_a_build_is_flashed_and_the_next_start_of_the_agent_tries_it(site: Site, file: BuildFile) -> None:
    end = site.flash(file)
    assert end.result == "activated" and site.restarts == [("idle", "a build is to be tried")]
    site.start_agent()
    facts_, _ = site.talk(steps.status)
    assert facts_["state"]["running"] == "a" and facts_["state"]["is_trial"] and facts_["serial"] == "SA-0001"
    for name, index in file.head.components.items():
        folder = site.root / "a" / ("tree" if name[0] == "app" else "controller")
        if name in (("app", facts_["platform"]), ("controller", "duo_sim")):
            assert {each.path for each in index.files} == {str(p.relative_to(folder)) for p in folder.rglob("*.*")}


def test_a_dry_run_changes_no_file(site: Site, file: BuildFile) -> None:
    before = snapshot(site.root)
    end = site.flash(file, is_dry=True)
    assert end.result == "planned" and end.wanted_b > 50_000 and snapshot(site.root) == before
    assert site.flash(file).wanted_b == end.wanted_b


def test_the_dry_run_of_a_difference_is_what_is_sent(site: Site, file: BuildFile, tmp_path: Path) -> None:
    confirmed(site, file)
    with closing(BuildFile(made(tmp_path, "2.1.0", files=14))) as newer:
        planned = site.flash(newer, is_dry=True)
        end = site.flash(newer)
    assert 0 < planned.wanted_b == end.wanted_b < 40_000


def confirmed(site: Site, file: BuildFile) -> None:
    site.flash(file)
    site.start_agent()
    site.engine.confirm()


def snapshot(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.mark.promise("S8")
def test_a_flash_that_was_cut_goes_on_after_the_service_was_started_anew(tmp_path: Path, file: BuildFile) -> None:
    site, sent_b = Site(tmp_path), 0

    def some(talk: Any, tell: steps.Tell) -> steps.Steps:
        nonlocal sent_b
        for _ in steps.flashed(talk, Wish(file, waits=False), tell):
            if talk.sender and talk.sends == "pieces" and talk.sender.acked_b > 40_000:
                sent_b = talk.sender.sent_b
                return
            yield

    site.talk(some)
    site.close()
    with closing(Site(tmp_path)) as again:
        end = again.flash(file, goes_on=True)
        whole_b = sum(piece.stored_b for _, piece in pieces(file, facts.station(again.where).platform))
    assert end.result == "activated" and sent_b > 40_000
    assert sent_b + end.sent_b <= whole_b + 65_536 + 32 * 1_024  # the piece on its way, and a window


def pieces(file: BuildFile, platform: str) -> list[tuple[str, Any]]:
    return [
        (name[1], piece)
        for name, index in file.head.components.items()
        if name in (("app", platform), ("controller", "duo_sim"))
        for piece in index.pieces().values()
    ]


def test_resume_begins_nothing(site: Site, file: BuildFile) -> None:
    with refusal("usage"):
        site.flash(file, goes_on=True)
    assert not (site.root / "a").exists()


def test_a_second_flasher_is_told_that_there_is_one(site: Site, file: BuildFile) -> None:
    """The first one is in the middle of its build; it goes on undisturbed."""
    codes = []

    def first(talk: Any, tell: steps.Tell) -> steps.Steps:
        flashing = steps.flashed(talk, Wish(file, waits=False), tell)
        for _ in flashing:
            if talk.sends == "pieces":
                break
            yield
        with pytest.raises(Refused) as caught:
            site.flash(file)
        codes.append(caught.value.code)
        return (yield from flashing)

    end, _ = site.talk(first)
    assert codes == ["busy"] and end.result == "activated"


def test_nobody_is_sent_away_because_somebody_else_hangs(site: Site) -> None:
    """Clients that say nothing take their places, up to the bound; one that leaves makes room."""
    idle = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(CLIENTS_MAX)]
    for each in idle:
        each.connect(str(site.socket))
    with refusal("link"):
        site.talk(steps.status)
    for each in idle:
        each.close()
    status, _ = site.talk(steps.status)
    assert status["serial"] == "SA-0001"


def test_rubbish_at_the_socket_changes_nothing_and_crashes_nobody(site: Site) -> None:
    before = snapshot(site.root)
    for seed in range(20):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as talk:
            talk.connect(str(site.socket))
            talk.sendall(bytes((seed * i * 7 + i) & 0xFF for i in range(20_000)))
    status, _ = site.talk(steps.status)
    assert status["serial"] == "SA-0001" and snapshot(site.root) == before


def test_a_client_that_never_reads_takes_no_memory(site: Site) -> None:
    """It asks and asks; of what is owed to it one frame waits."""
    from agent.update import line

    hello = line.frame(line.HELLO, 0, line.packed({"versions": [1, 1], "nonce": b"12345678", "who": "x"}))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as talk:
        talk.connect(str(site.socket))
        talk.setblocking(False)
        for _ in range(3_000):
            try:
                talk.send(hello)
            except BlockingIOError:
                break
        status, _ = site.talk(steps.status)
        assert status["serial"] == "SA-0001"
        assert all(len(wire.out) < 3_000 for wire in site.service.wires)


def test_a_session_waits_is_respected_or_overridden(site: Site, file: BuildFile) -> None:
    def vitals(has_session: bool) -> None:
        from agent.update import health

        now_s = facts.uptime_s()
        said = health.Facts(now_s - 1_000, now_s, True, True, True, True, has_session)
        site.where.vitals.write_bytes(health.dump(said))

    vitals(has_session=True)
    with refusal("session"):
        site.flash(file)
    assert site.flash(file, when_idle=True).result == "waiting"
    vitals(has_session=False)
    site.service.wake()
    status: dict[str, Any] = {"state": {"trial": None}}
    for _ in range(100):
        status, _ = site.talk(steps.status)
        if status["state"]["trial"]:
            break
    assert status["state"]["trial"] and not status["state"]["waiting"]
    assert site.restarts == [("idle", "a build is to be tried")]


def test_a_rollback_by_hand_ends_the_trial(site: Site, file: BuildFile) -> None:
    site.flash(file)
    site.start_agent()
    site.talk(lambda talk, tell: steps.rolled_back(talk, "it hums", tell))
    status, _ = site.talk(steps.status)
    last = status["state"]["last"]
    assert not last["is_confirmed"] and "it hums" in last["reason"] and status["state"]["trial"] is None
    assert steps.trial_of(status["state"], file.head.digest.hex()[:16]) == "rolled-back"


def test_the_log_tells_what_was_done(site: Site, file: BuildFile) -> None:
    site.flash(file)

    def talked(talk: Any, tell: steps.Tell) -> steps.Steps:
        yield from steps.identified(talk, tell)
        yield from steps.logged(talk, 0, tell)

    _, told = site.talk(talked)
    lines = [str(said["line"]) for name, said in told if name == "log"]
    assert [word for word in ("begin", "staged", "activated") if any(word in line for line in lines)] == [
        "begin", "staged", "activated",
    ]  # fmt: skip


def test_the_forced_command_is_the_same_as_the_socket(
    site: Site, file: BuildFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What sshd runs for a flasher's key: stdin and stdout of a program that has no other right."""
    program = f"{sys.executable} -m agent.update.service relay --socket {site.socket} #"
    monkeypatch.setenv("STATION_SSH", f"sh -c '{program}' ssh")
    wish = Wish(file, waits=False)
    end = driver.converse(Address("ssh", "flasher@sa-0001"), lambda talk: steps.flashed(talk, wish, lambda *_: None))
    assert end.result == "activated"


def test_a_relay_without_a_service_says_what_to_type(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "agent.update.service", "relay", "--socket", str(tmp_path / "none")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and "systemctl start station-update" in done.stderr

