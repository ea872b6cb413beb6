"""The update service with a real engine on a real folder, over sockets: what a flasher gets, and what it bears."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from agent.update import facts, health, line, service
from agent.update.hands import WAITING, Hands
from agent.update.kept import Kept
from agent.update.line import BODY_MAX, WINDOW
from agent.update.protocol import Desk, Provision
from agent.update.refusal import Refused
from agent.update.service import CLIENTS_MAX, Air, SerialPort, Worker
from tests.flashsite import WAIT_S, Site
from tests.flashstation import made, root_key
from tools.flashing import driver, steps
from tools.flashing.buildfile import BuildFile
from tools.flashing.lines import Address, UnixLine
from tools.flashing.steps import Wish
from tools.flashing.talk import Steps, Talk


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
    """But for what has come of a head: that is no slot's."""
    files = [path for path in sorted(root.rglob("*")) if path.is_file() and not path.name.startswith("coming.")]
    return {str(path): path.read_bytes() for path in files}


ONE, TWO = b"1" * 32, b"2" * 32


def test_what_is_kept_of_a_piece_is_what_a_cut_has_left_whole(tmp_path: Path) -> None:
    """At every length that the file may have then; and it goes on from there."""
    path = tmp_path / "pieces"
    kept = Kept(path)
    for digest, data in ((ONE, b"one"), (TWO, b"two"), (ONE, b"three")):
        kept.add(digest, data)
    kept.close()
    whole, found = path.read_bytes(), set()
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        again = Kept(path)
        found.add(tuple(map(bytes, again.data.values())))
        again.add(TWO, b"more")
        again.close()
        last = Kept(path)
        assert last.data == again.data
        last.close()
    assert found == {(), (b"one",), (b"one", b"two"), (b"onethree", b"two")}
    path.write_bytes(b"\xff" * 100)
    rubbish = Kept(path)
    assert not rubbish.data
    rubbish.close()
    unwritable = Kept(tmp_path / "no" / "folder")
    unwritable.add(ONE, b"x")
    assert unwritable.data == {ONE: b"x"}


def test_what_is_kept_survives_a_kill_between_any_two_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was added and not dropped is there, whichever call of the operating system was the last one."""
    real = {name: getattr(os, name) for name in ("pwrite", "ftruncate")}
    left = 0

    def counted(name: str) -> Callable[..., Any]:
        def call(*words: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt  # nothing of ours catches it: as if the process were gone
            return real[name](*words)

        return call

    for name in real:
        monkeypatch.setattr(os, name, counted(name))
    for calls in range(30):
        folder, must = tmp_path / str(calls), {}
        folder.mkdir()
        left = 1_000
        kept = Kept(folder / "pieces")
        left = calls
        try:
            for i in range(6):
                digest = bytes((i,)) * 32
                kept.add(digest, b"first")
                must[digest] = b"first"
                kept.add(digest, b"second")
                must[digest] = b"firstsecond"
                if i % 3:
                    gone = bytes((i - 1,)) * 32
                    must.pop(gone)
                    kept.drop(gone)
        except KeyboardInterrupt:
            pass
        left = 1_000
        kept.close()
        again = Kept(folder / "pieces")
        assert {digest: bytes(again.data.get(digest, b"")[: len(data)]) for digest, data in must.items()} == must
        again.close()
    assert left < 1_000


def test_files_that_keep_do_not_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.update.kept.FULL_B", 10_000)
    kept = Kept(tmp_path / "pieces")
    for i in range(1_000):
        kept.add(i.to_bytes(32), bytes(500))
        kept.add(i.to_bytes(32), bytes(100))
        kept.drop(max(0, i - 2).to_bytes(32))  # two are always on their way
    assert len(kept.data) == 2 and sum(path.stat().st_size for path in tmp_path.iterdir()) < 12_000
    kept.only(())
    assert [path.stat().st_size for path in tmp_path.iterdir()] == [0, 0]
    kept.close()


@pytest.mark.promise("S8")
def test_a_flash_that_was_cut_goes_on_after_the_service_was_started_anew(tmp_path: Path, file: BuildFile) -> None:
    site, sent_b = Site(tmp_path), 0

    def some(talk: Any, tell: steps.Tell) -> Steps:
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
    assert sent_b + end.sent_b <= whole_b + WINDOW * BODY_MAX


def test_what_a_slow_line_brings_is_on_the_disk_after_some_seconds(
    site: Site, file: BuildFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long before there is enough of it to be worth a sync by its size."""
    unsynced: list[int] = []

    def stopping(talk: Any, tell: steps.Tell) -> Steps:
        for _ in steps.flashed(talk, Wish(file, waits=False), tell):
            if talk.sender and talk.sends == "pieces" and talk.sender.acked_b > 60_000:
                break
            yield
        while (staging := site.engine._staging) is None or not staging.unsynced_b:
            yield  # acknowledged, and not yet written
        monkeypatch.setattr(service, "SYNC_EACH_S", 0.1)  # the ten seconds are over
        while staging.unsynced_b:
            yield
        unsynced.append(len(staging.writer._written))

    monkeypatch.setattr(service, "SYNC_EACH_S", 1e9)
    site.talk(stopping)
    assert unsynced == [0]


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

    def first(talk: Any, tell: steps.Tell) -> Steps:
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
    """Clients that say nothing make room; those that are at work do not."""
    idle = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(CLIENTS_MAX)]
    for each in idle:
        each.connect(str(site.socket))
    status, _ = site.talk(steps.status)
    assert status["serial"] == "SA-0001"
    with ExitStack() as stack:
        for _ in range(CLIENTS_MAX):
            at_work(site, stack)
        with refusal("link"):
            site.talk(steps.status)
    for each in idle:
        each.close()


def at_work(site: Site, stack: ExitStack) -> None:
    """Somebody who has said hello and stays."""
    talk, line = Talk(os.urandom(8), "tests"), stack.enter_context(closing(UnixLine(site.address)))
    driver.run(line, talk, talk.hello(), threading.Event())


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
    vitals(site, has_session=True)
    with refusal("session"):
        site.flash(file)
    vitals(site, has_session=False)
    site.flash(file, activates=False)
    vitals(site, has_session=True)
    with refusal("session"):
        site.talk(begun_late)  # the station says so, too: the car came after the tool had looked
    status, _ = site.talk(steps.status)
    assert not status["state"]["waiting"] and status["state"]["trial"] is None
    assert site.flash(file, when_idle=True).result == "waiting"
    vitals(site, has_session=False)
    site.service.wake()
    assert site.is_restarted.wait(WAIT_S)
    status, _ = site.talk(steps.status)
    assert status["state"]["trial"] and not status["state"]["waiting"]
    assert site.restarts == [("idle", "a build is to be tried")]


@pytest.mark.promise("S8")
def test_a_session_is_overridden_with_a_reason_that_is_logged_and_goes_on_after_the_restart(
    site: Site, file: BuildFile
) -> None:
    vitals(site, has_session=True)
    assert site.flash(file, override="its meter hangs").result == "activated"
    assert site.restarts == [("resume", "a build is to be tried")]
    said = site.engine.log_lines()[-1]
    assert (said["event"], said["reason"], said["waived"]) == ("activated", "its meter hangs", ["interlock", "session"])
    trial = site.engine.state.trial
    assert trial and trial.was_online, "what runs has its broker: the new build must reach it, too"


@pytest.mark.promise("S8")
def test_a_link_that_is_lost_during_the_wait_ends_no_wait(site: Site, file: BuildFile) -> None:
    """The tool begins its conversation anew then, and so does whoever types the same command again."""
    vitals(site, has_session=True)
    for _ in range(2):
        assert site.flash(file, when_idle=True).result == "waiting" and (site.root / WAITING).exists()
    vitals(site, has_session=False)
    assert site.flash(file, when_idle=True).result == "activated" and site.engine.state.trial
    assert site.flash(file, when_idle=True).result == "activated", "it is on its way already"


def test_who_charges_during_a_trial_keeps_nobody_from_waiting_for_its_end(site: Site, file: BuildFile) -> None:
    site.flash(file)
    site.start_agent()
    vitals(site, has_session=True)
    assert site.flash(file).result == "activated"


@pytest.mark.promise("S8")
def test_a_build_that_was_taken_back_while_the_link_was_lost_is_not_tried_again(site: Site, file: BuildFile) -> None:
    site.flash(file)
    site.start_agent()
    site.engine.roll_back("it hums")
    site.start_agent()
    with refusal("rolled-back"):
        site.flash(file, begun="a")
    assert site.engine.state.trial is None
    assert site.flash(file).result == "activated", "somebody who types it again means it"


def test_whoever_flashes_goes_back_or_gives_up_ends_a_wait(site: Site, file: BuildFile) -> None:
    def asked(kind: int, **fields: Any) -> None:
        def conversation(talk: Talk, tell: steps.Tell) -> Steps:
            yield from talk.hello()
            yield from talk.ask(kind, **fields)

        site.talk(conversation)

    vitals(site, has_session=True)
    assert site.flash(file, when_idle=True).result == "waiting"
    assert site.flash(file, is_dry=True).result == "planned" and (site.root / WAITING).exists(), "he only looks"
    with refusal("verify"):
        asked(line.ROLLBACK, reason="it may hum")  # there is no build before
    assert not (site.root / WAITING).exists()
    assert site.flash(file, when_idle=True).result == "waiting"
    site.flash(file, activates=False)
    assert not (site.root / WAITING).exists()
    assert site.flash(file, when_idle=True).result == "waiting"
    asked(line.ABANDON)
    assert not (site.root / WAITING).exists() and not site.engine.tryable


@pytest.mark.promise("S8")
def test_nobody_goes_back_by_hand_to_a_build_that_cannot_open_what_the_database_has_become(
    site: Site, file: BuildFile, tmp_path: Path
) -> None:
    confirmed(site, file)
    with closing(BuildFile(made(tmp_path, "2.1.0", files=14))) as newer:
        confirmed(site, newer)
    site.start_agent()
    now_s = facts.uptime_s()
    for schema, code in ((3, "wrong-device"), (2, "")):
        site.where.vitals.write_bytes(health.dump(health.Facts(now_s, now_s, schema=schema)))
        with refusal(code) if code else nullcontext():
            site.talk(lambda talk, tell: steps.rolled_back(talk, "it hums", tell))
    assert site.engine.state.default == "a" and site.restarts[-1] == ("resume", "a rollback by hand")


def test_the_updater_has_the_agent_started_anew_where_it_takes_a_build_back_and_not_where_it_keeps_one(
    site: Site, file: BuildFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    restarts: list[tuple[str, str]] = []
    hands = Hands(site.engine, site.where, restart=lambda *asked: restarts.append(asked))
    for verdict in (health.Verdict(True), None, health.Verdict(False, "it hums")):
        monkeypatch.setattr(site.engine, "watch", lambda facts, now, said=verdict: said)
        hands.watch(1.0)
    assert restarts == [("resume", "it hums")]


def test_a_wait_for_a_build_that_may_not_be_tried_any_more_is_over(
    site: Site, file: BuildFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def revoked(**how: Any) -> str:
        raise Refused("key", "it is signed by a key that does not count any more")

    vitals(site, has_session=True)
    assert site.flash(file, when_idle=True).result == "waiting"
    monkeypatch.setattr(site.engine, "activate", revoked)
    site.hands.watch(1.0)
    assert not (site.root / WAITING).exists() and not site.restarts


def test_who_stages_a_build_at_the_station_ends_what_comes_over_the_air(site: Site, file: BuildFile) -> None:
    staged: list[bool] = []
    site.hands._staged = lambda: staged.append(True)
    site.flash(file, is_dry=True)
    assert not staged
    site.flash(file, activates=False)
    assert staged == [True]


def test_what_comes_over_the_air_stands_aside_for_a_flasher_and_never_has_the_engine_while_it_works(
    site: Site, file: BuildFile
) -> None:
    aside: set[bool] = set()
    has_both: set[bool] = set()
    site.service.air = Air(aside=aside.add, due=lambda now: has_both.add(site.service._worker.is_busy))
    site.flash(file)
    site.talk(steps.status)
    assert aside == {True, False} and has_both == {False}


def test_a_disk_that_fails_is_a_sentence_and_a_bug_ends_the_service(site: Site) -> None:
    def full(document: bytes) -> dict[str, Any]:
        raise OSError(28, "No space left on device")

    with refusal("storage"):
        Hands(site.engine, site.where, provision=full).perform(Provision(b""), Desk())
    woken = threading.Event()
    worker = Worker(woken.set)
    worker.do(None, lambda: 1 // 0)
    assert woken.wait(WAIT_S)
    with pytest.raises(ZeroDivisionError):
        worker.results()
    worker.close(WAIT_S)


def test_who_may_flash_is_the_updaters_user_and_its_group_alone(site: Site) -> None:
    assert site.socket.stat().st_mode & 0o777 == 0o660


def test_a_serial_line_is_the_updaters_alone() -> None:
    far, near = os.openpty()
    path = os.ttyname(near)
    port = SerialPort(path, 115_200)
    try:
        with pytest.raises(OSError, match="lock"):
            SerialPort(path, 115_200)
    finally:
        port.close()
        os.close(far)
        os.close(near)


def test_the_station_says_of_itself_what_the_tool_judges_a_build_by(site: Site, tmp_path: Path) -> None:
    with closing(BuildFile(made(tmp_path, "2.0.0", files=2, sequence=4))) as build:
        confirmed(site, build)
    said, _ = site.talk(lambda talk, tell: talk.hello())
    assert (said["security_floor"], said["is_production"], said["app_contract"]) == (4, True, [1, 0, 3])
    assert said["root"] == root_key().public and not said["needs_controller"]
    (site.root / facts.DEVELOPMENT).touch()
    said, _ = site.talk(lambda talk, tell: talk.hello())
    assert not said["is_production"]


@pytest.mark.promise("S8")
def test_what_has_waited_and_was_tried_by_other_hands_does_not_bring_the_build_before_back(
    site: Site, file: BuildFile, tmp_path: Path
) -> None:
    confirmed(site, file)
    vitals(site, has_session=True)
    with closing(BuildFile(made(tmp_path, "2.1.0", files=14))) as newer:
        assert site.flash(newer, when_idle=True).result == "waiting"
        before = (site.root / WAITING).read_bytes()
        assert site.engine.activate(waived={"session"}, reason="an order over the air") == "b"
        site.start_agent()
        site.engine.confirm()
    vitals(site, has_session=False)
    (site.root / WAITING).write_bytes(before)  # a power cut may undo its removal as well
    site.hands.watch(facts.uptime_s())
    assert site.engine.state.trial is None and site.engine.state.default == "b"
    assert not (site.root / WAITING).exists()


def vitals(site: Site, has_session: bool) -> None:
    now_s = facts.uptime_s()
    said = health.Facts(now_s - 1_000, now_s, True, True, True, True, has_session)
    site.where.vitals.write_bytes(health.dump(said))


def begun_late(talk: Talk, tell: steps.Tell) -> Steps:
    yield from talk.hello()
    return (yield from steps.activated(talk, False, "", tell))


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

    def talked(talk: Any, tell: steps.Tell) -> Steps:
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



@pytest.mark.promise("S8")
def test_a_service_that_is_killed_in_mid_flash_is_sent_at_most_one_window_twice(
    site: Site, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A process of its own, as its unit starts it, and kill -9 in the midst of a piece of 64 KiB: what it had
    acknowledged, the next one has, written or not."""
    site.close()
    file = BuildFile(made(tmp_path_factory.mktemp("big"), files=3, size_b=120_000))
    words = [sys.executable, "-m", "agent.update.service", "serve"]
    for name, path in (("root", site.root), ("board", site.where.board), ("config", site.where.config)):
        words += [f"--{name}", str(path)]
    words += ["--vitals", str(site.where.vitals), "--socket", str(site.socket)]
    seen: list[int] = []

    def killing(talk: Talk) -> Steps:
        for _ in steps.flashed(talk, Wish(file, waits=False), lambda *_: None):
            if talk.sender and talk.sends == "pieces" and talk.sender.acked_b > 90_000 and not seen:
                seen.append(talk.sender.sent_b)
                process.kill()
            yield

    for conversation in (killing, lambda talk: steps.flashed(talk, Wish(file, waits=False), lambda *_: None)):
        site.socket.unlink(missing_ok=True)
        with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
            end: Any = None
            try:
                while not site.socket.exists():
                    assert process.poll() is None
                    threading.Event().wait(0.05)
                end = driver.converse(site.address, conversation)
            except Refused as refused:
                assert refused.code == "link" and seen
            finally:
                process.kill()
    whole_b = sum(piece.stored_b for _, piece in pieces(file, facts.station(site.where).platform))
    assert end.result == "activated" and seen[0] > 90_000 and end.sent_b < end.wanted_b <= whole_b
    assert seen[0] + end.sent_b <= whole_b + WINDOW * BODY_MAX
    file.close()


def test_whoever_comes_after_one_that_has_hung_up_need_not_wait(site: Site, file: BuildFile) -> None:
    """It had begun, and closed its socket without a word: a socket that is closed is no silent line."""

    def leaving(talk: Talk, tell: steps.Tell) -> Steps:
        for _ in steps.flashed(talk, Wish(file, waits=False), tell):
            if talk.sends == "pieces":
                return
            yield

    site.talk(leaving)
    assert site.flash(file).result == "activated"
