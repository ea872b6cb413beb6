"""An ordered build over real HTTPS on loopback: an honest server, one that is hostile in every way we could think of,
and days of bad radio. Waits between attempts pass in simulated time."""

import random
import shutil
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from agent.files import DISK, Files
from agent.update import air, courier, download, orders
from agent.update.courier import Courier
from agent.update.download import trusting
from agent.update.health import Facts
from agent.update.keyring import Trust
from agent.update.orders import Order, Wish
from agent.update.refusal import Refused
from tests import builds
from tests.test_slots import FILES, STATION, Full, ReadOnly, Site
from tests.weblab import Answer, Authority, Request, Web, authority, honest

NEW = {**FILES, "agent/a.pyc": random.Random(1).randbytes(300_000), "agent/new.pyc": b"new" * 1_000}
TURNS_S = 20.0  # real seconds that an attempt may take here


def built(version: str = "2.0.0", files: dict[str, bytes] | None = None, **how: object) -> bytes:
    contents = builds.app(version=version, files=NEW if files is None else files), builds.firmware(version=version)
    return builds.build_file(*contents, version=version, **how)  # type: ignore[arg-type]


NEWEST = built()


@pytest.fixture(scope="session")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """For servers that say nothing; on a busy machine an honest one, too, may be silent for so long."""
    monkeypatch.setattr(download, "SILENT_S", 0.2)
    monkeypatch.setattr(download, "OPEN_S", 0.3)


@cache
def trusted(ca: Path) -> ssl.SSLContext:
    """To read the system's roots takes longer than an attempt."""
    return trusting(ca)


class Lab:
    """A station's updater with a courier, and an agent that lets it do everything."""

    def __init__(self, folder: Path, ca: Authority, files: Files = DISK) -> None:
        """`folder`: where 1.0.0 is installed."""
        self.site = Site(folder, files)
        self.site.start()
        self.folder, self.ca = folder, ca
        self.now, self.woken = 1_000.0, threading.Event()
        self.seen: list[str] = []
        self.vitals: Facts | None = Facts(0.0, 0.0)
        self.by_root = 0  # starts of the agent
        self.courier = self.made()
        self.orders = 0

    def made(self) -> Courier:
        self.courier = Courier(
            self.site.root, self.site.engine, self.context, clock=lambda: self.now, chance=random.Random(7),
            wake=self.woken.set, vitals=lambda: self.vitals, start_anew=self.started_anew,
        )  # fmt: skip
        return self.courier

    def started_anew(self) -> None:
        self.by_root += 1

    def context(self) -> ssl.SSLContext:
        return trusted(self.ca.ca)

    def order(self, url: str, **how: int) -> "Lab":
        self.orders += 1
        self.wish = Wish(Order(f"c{self.orders}", url, **how), download=True)
        self.courier.wish(self.wish)
        return self

    def turn(self) -> None:
        self.woken.clear()
        self.courier.due(self.now)
        if self.courier.task and self.seen[-1:] != [self.courier.task.progress]:
            self.seen.append(self.courier.task.progress)

    def until(self, what: Callable[[], bool], attempts: int = 60) -> "Lab":
        """Simulated time passes while nothing runs."""
        for _ in range(attempts * 200):
            self.turn()
            if what():
                return self
            if self.courier._thread is not None:
                assert self.woken.wait(TURNS_S), "nothing happens any more"
                continue
            due = self.courier.next_deadline()
            assert due < float("inf"), f"it rests as {self.courier.task}"
            self.now = max(self.now, due)
        raise AssertionError(f"{self.courier.task}")

    def staged(self) -> "Lab":
        return self.until(lambda: self.progress == orders.STAGED)

    def activated(self) -> "Lab":
        self.courier.wish(Wish(self.wish.order, install=True))
        return self.until(lambda: self.progress == orders.ACTIVATED)

    def failed(self) -> str:
        self.until(lambda: self.progress == orders.FAILED)
        assert self.courier.task
        return self.courier.task.code

    @property
    def progress(self) -> str:
        return self.courier.task.progress if self.courier.task else ""

    @property
    def why(self) -> str:
        return self.courier.task.why if self.courier.task else ""

    @property
    def spent_b(self) -> int:
        return self.courier.task.spent_b if self.courier.task else 0

    def runs(self) -> str:
        """What a start of the agent runs now."""
        return self.site.start().version

    def updater_dies(self) -> "Lab":
        """Its process, at this instant; systemd starts it again."""
        self.courier.close()
        self.site.updater()
        self.made()
        self.courier.wish(self.wish)
        return self


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    site = Site(folder)
    site.install("1.0.0")
    site.engine.close()
    return folder


@pytest.fixture
def lab(tmp_path: Path, installed: Path, ca: Authority) -> Iterator[Lab]:
    lab = Lab(shutil.copytree(installed, tmp_path / "site"), ca)
    yield lab
    lab.courier.close()


@pytest.fixture
def web(ca: Authority) -> Iterator[Callable[[Answer], Web]]:
    made: list[Web] = []

    def serve(answer: Answer) -> Web:
        made.append(Web(ca.server, answer))
        return made[-1]

    yield serve
    for each in made:
        each.close()


Serve = Callable[[Answer], Web]


# -- an honest server -------------------------------------------------------------------------------------------------


def test_an_ordered_build_is_fetched_staged_tried_and_confirmed(lab: Lab, web: Serve) -> None:
    lab.order(web(honest(NEWEST)).url).staged()
    assert lab.seen == [orders.DOWNLOADING, orders.STAGED]
    assert lab.runs() == "1.0.0", "nobody has said that it may begin"
    lab.activated()
    assert lab.runs() == "2.0.0"
    lab.courier.connected()
    lab.turn()
    assert lab.progress == orders.TRIAL
    lab.site.engine.confirm()
    lab.now += 10
    lab.turn()
    assert lab.progress == orders.CONFIRMED


def test_only_the_pieces_that_the_station_lacks_are_asked_for_and_close_ones_together(lab: Lab, web: Serve) -> None:
    files = {**FILES, "agent/new.pyc": random.Random(2).randbytes(3_000), "zz": b"zz"}
    small = built(files=files)
    server = web(honest(small))
    lab.order(server.url).staged()
    first, last = server.requests[0].range
    assert (first, len(server.requests)) == (0, 1), "all of it was in the first step"
    assert lab.courier.task and lab.courier.task.wanted_b < 3_100
    assert last == download.HEAD_STEP_B - 1


def test_a_build_that_runs_already_is_confirmed_at_once_and_nothing_of_it_is_fetched(lab: Lab, web: Serve) -> None:
    lab.order(web(honest(NEWEST)).url).staged()
    lab.site.engine.activate()
    lab.site.start()
    lab.site.engine.confirm()
    lab.site.start()
    lab.courier.connected()
    server = web(honest(NEWEST))
    lab.order(server.url).until(lambda: lab.progress == orders.CONFIRMED)
    assert len(server.requests) == 1


def test_the_head_of_the_order_before_is_not_taken_for_that_of_the_new_one(lab: Lab, web: Serve) -> None:
    """Each name of a folder may outlive a power cut by itself: that the old head is gone is not known by the order."""
    lab.order(web(honest(NEWEST)).url).staged()
    lab.activated()
    assert lab.runs() == "2.0.0"
    lab.site.engine.confirm()
    lab.courier.connected()
    lab.until(lambda: lab.progress == orders.CONFIRMED)
    newer = Order("c8", web(honest(built("3.0.0"))).url)
    lab.wish = Wish(newer, download=True)
    (lab.site.root / "order").write_bytes(air.dump(air.Task(newer)))
    lab.updater_dies().staged()
    lab.activated()
    assert lab.runs() == "3.0.0"


def test_a_build_that_was_rolled_back_is_told_with_its_reason_and_may_be_ordered_again(lab: Lab, web: Serve) -> None:
    server = web(honest(NEWEST))
    for _ in range(2):
        lab.order(server.url).staged()
        lab.activated()
        assert lab.runs() == "2.0.0"
        lab.site.engine.roll_back("the controller is not heard")
        assert lab.runs() == "1.0.0"
        lab.courier.connected()
        lab.turn()
        assert (lab.progress, lab.why) == (orders.ROLLED_BACK, "the controller is not heard")


def test_an_engineer_is_first_and_his_build_ends_the_order(lab: Lab, web: Serve) -> None:
    begun = threading.Event()

    def hangs(request: Request) -> None:
        begun.set()
        request.line.recv(1)

    lab.order(web(hangs).url)
    lab.turn()
    assert begun.wait(TURNS_S)
    lab.courier.stand_aside(True)
    assert lab.woken.wait(TURNS_S)
    lab.turn()
    lab.site.stage("1.5.0")
    lab.courier.overruled("an engineer has staged 1.5.0")
    lab.courier.stand_aside(False)
    lab.turn()
    assert lab.progress == orders.FAILED and lab.courier.next_deadline() == float("inf")
    lab.site.engine.activate()
    assert lab.runs() == "1.5.0"


def test_an_order_that_is_called_off_takes_nothing_from_the_engineer_who_has_come_between(lab: Lab) -> None:
    begun(lab)
    lab.courier.stand_aside(True)
    lab.site.stage("1.5.0")
    lab.courier.stand_aside(False)
    lab.courier.wish(Wish())
    lab.turn()
    assert lab.courier.task is None and lab.site.engine.activate() == "b"


def begun(lab: Lab) -> None:
    """An order whose head has just come."""
    lab.courier.task = air.Task(Order("c1", "https://127.0.0.1:9/x"), orders.DOWNLOADING)
    lab.courier.wish(Wish(lab.courier.task.order))
    lab.courier.begin(builds.head_of(NEWEST).raw)


def test_an_order_that_fails_leaves_no_build_on_its_way(lab: Lab) -> None:
    begun(lab)
    assert lab.site.engine.status().missing_b
    lab.courier._ended(air.Outcome(air.End.REFUSED, code="format", why="it is no build"))
    assert lab.progress == orders.FAILED and lab.site.engine.status().missing_b is None


@pytest.mark.promise("S10")
def test_a_kill_forgets_at_most_a_megabyte_of_what_was_spent(lab: Lab) -> None:
    begun(lab)
    attempt = tried(lab)
    for attempt.spent_b in (courier.SAVE_B - 1, courier.SAVE_B):
        assert spent_on_disk_b(lab) == 0
        lab.courier.put(b"not wanted", b"")
    assert spent_on_disk_b(lab) == courier.SAVE_B


def tried(lab: Lab) -> download.Attempt:
    """An attempt that is under way."""
    hands = courier.ForAttempt(lab.courier, lab.courier._hands)
    lab.courier._attempt = download.Attempt(
        download.Job("https://x", hands, lab.context(), 1), download.Stop(), lambda: 0.0
    )
    return lab.courier._attempt


def test_after_a_lie_everything_is_asked_for_anew(lab: Lab) -> None:
    """What has come of the head may be the lie."""
    begun(lab)
    attempt = tried(lab)
    attempt.taker = download.Taker(attempt.job.hands, b"\xd8\x6b\xa3")
    attempt.known = download.Known('"a name"', 5)
    lab.courier._over.put((attempt, air.Outcome(air.End.LIE, why="something else")))
    lab.turn()
    assert lab.courier.task and (lab.courier.task.lies, lab.courier.task.etag, lab.courier._head) == (1, "", b"")


def test_what_reads_back_as_something_else_is_fetched_again_and_no_end_of_the_order(lab: Lab) -> None:
    begun(lab)
    made = lab.courier._finish(air.Outcome(air.End.DONE, got_b=9))
    assert (made.end, made.code, made.got_b) == (air.End.LIE, "verify", 0)


def spent_on_disk_b(lab: Lab) -> int:
    task = air.load((lab.site.root / "order").read_bytes())
    assert task
    return task.spent_b


def test_an_order_that_the_disk_does_not_take_is_carried_out_all_the_same(lab: Lab) -> None:
    said: list[str] = []
    lab.courier._log, lab.courier._files = said.append, ReadOnly()
    lab.order("https://127.0.0.1:9/x")
    lab.turn()
    assert lab.progress == orders.DOWNLOADING and "not on the disk" in said[0]


def test_a_build_is_judged_by_what_the_station_is_then_and_not_by_what_it_was(lab: Lab) -> None:
    here(lab)
    lab.courier._fresh = lambda: became(lab, has_session=True)  # as the agent may still say, though every port is shut
    lab.activated()
    assert lab.site.state.trial and lab.site.engine.station.has_session
    lab.site.engine.roll_back("it hums")
    lab.courier._fresh = lambda: became(lab, platform="aarch64")
    with pytest.raises(Refused) as caught:
        begun(lab)
    assert caught.value.code == "platform"


def became(lab: Lab, **what: Any) -> None:
    lab.site.engine.station = replace(STATION, **what)


def after(lab: Lab, seconds: float) -> int:
    lab.now += seconds
    lab.turn()
    return lab.by_root


@pytest.mark.promise("S8")
def test_an_agent_that_does_not_hear_that_it_is_to_end_is_started_anew_once(lab: Lab) -> None:
    lab.courier.ask_restart("resume", "a trial has failed")
    lab.turn()
    assert lab.courier.news().restart == "resume" and lab.courier.next_deadline() == lab.now + courier.DEAF_S
    lab.vitals = Facts(0.0, 0.0, has_session=True)  # its controller carries on meanwhile
    assert [after(lab, seconds) for seconds in (courier.DEAF_S - 1, 2, 1_000)] == [0, 1, 1]


def test_nobody_is_cut_off_by_a_restart_that_may_wait_and_an_agent_that_has_heard_ends_by_itself(lab: Lab) -> None:
    lab.courier.ask_restart("idle", "a build is to be tried")
    lab.vitals = Facts(0.0, 0.0, has_session=True)
    assert [after(lab, courier.DEAF_S + 1) for _ in range(5)] == [0] * 5
    lab.vitals = Facts(0.0, 0.0)
    assert after(lab, courier.DEAF_S + 1) == 1
    lab.courier.ask_restart("idle", "another one")
    lab.turn()
    lab.courier.wish(Wish(restarted=lab.courier.news().restart_id))
    assert after(lab, 10 * courier.DEAF_S) == 1


# -- without a line ---------------------------------------------------------------------------------------------------


def here(lab: Lab, progress: str = orders.STAGED) -> air.Task:
    """The build was staged by an order, and the updater has begun anew since."""
    lab.site.stage("2.0.0")
    held = lab.site.engine.status().slots["b"]
    assert held
    number = lab.site.engine.status().state.number
    task = air.Task(Order("c1", "https://127.0.0.1:9/x"), progress, held.build.hex(), held.version, number=number)
    (lab.site.root / "order").write_bytes(air.dump(task))
    lab.wish = Wish(task.order)
    lab.updater_dies()
    return task


def test_progress_in_bytes_is_told_every_ten_seconds_and_all_else_at_once(lab: Lab) -> None:
    it = lab.courier
    it.task = air.Task(Order("c1", "https://x"), orders.DOWNLOADING)
    told = it.state(lab.now)
    assert told and it.state(lab.now) is None
    it.task = replace(it.task, received_b=5)
    assert it.state(lab.now + 9.9) is None
    told = it.state(lab.now + 10.0)
    assert told and told.received_b == 5
    it.task = replace(it.task, progress=orders.STAGED, received_b=9)
    told = it.state(lab.now + 10.0)
    assert told and (told.progress, told.received_b) == (orders.STAGED, 9)
    assert it.state(lab.now + 99.0) is None and it.news() == told, "whoever has just come hears all of it"


def test_an_operators_ca_that_cannot_be_read_ends_the_attempt_and_says_so(lab: Lab) -> None:
    def unreadable() -> ssl.SSLContext:
        raise PermissionError(13, "Permission denied")

    lab.courier._context = unreadable
    lab.order("https://127.0.0.1:9/x", retries=1)
    lab.turn()
    assert lab.progress == orders.WAITING and lab.courier.next_deadline() > lab.now
    assert lab.failed() == "link" and "operator's CA cannot be read: Permission denied" in lab.why


@pytest.mark.promise("S8")
def test_after_a_start_nothing_goes_on_and_nothing_is_called_off_before_the_agent_has_spoken(lab: Lab) -> None:
    task = here(lab)
    lab.made()
    lab.turn()
    assert lab.courier.task == task and (lab.site.root / "order").exists()
    lab.courier.wish(Wish())
    lab.turn()
    assert lab.courier.task is None and not (lab.site.root / "order").exists()


def test_a_kill_between_the_word_and_the_deed_of_a_switch_is_made_good(lab: Lab) -> None:
    here(lab, orders.ACTIVATED)
    assert lab.activated().runs() == "2.0.0"


def test_an_order_that_is_called_off_frees_the_slot_and_an_activated_one_is_never_begun(lab: Lab) -> None:
    here(lab)
    (lab.site.root / "order.head").write_bytes(b"its head")
    lab.activated()
    lab.courier.wish(Wish())
    lab.turn()
    assert lab.courier.task is None and not (lab.site.root / "order").exists()
    assert lab.runs() == "1.0.0" and not (lab.site.root / "order.head").exists()


def test_a_staged_build_that_is_called_off_can_be_tried_by_nobody(lab: Lab) -> None:
    here(lab)
    lab.turn()
    assert lab.progress == orders.STAGED and lab.site.engine.tryable
    lab.courier.wish(Wish())
    lab.turn()
    assert not lab.site.engine.tryable and lab.runs() == "1.0.0"


def test_what_was_activated_is_watched_every_five_seconds_and_a_staged_build_is_not(lab: Lab) -> None:
    here(lab)
    lab.turn()
    assert lab.courier.next_deadline() == float("inf")
    lab.activated()
    looked_s = lab.now
    lab.turn()
    assert lab.courier.next_deadline() <= looked_s + courier.LOOK_S
    assert lab.runs() == "2.0.0"
    lab.now = looked_s + courier.LOOK_S + 0.1
    lab.turn()
    assert lab.progress == orders.TRIAL
    lab.site.engine.confirm()
    lab.turn()
    assert lab.progress == orders.TRIAL, "not every turn reads the boot state"
    lab.now += courier.LOOK_S
    lab.turn()
    assert lab.progress == orders.CONFIRMED


@pytest.mark.parametrize("is_online", [True, False])
def test_where_the_old_build_has_a_broker_the_new_one_must_reach_it_too(lab: Lab, is_online: bool) -> None:
    here(lab)
    lab.vitals = Facts(0.0, 0.0, broker=is_online, has_session=True)
    lab.activated()
    assert lab.site.state.trial and lab.site.state.trial.was_online is is_online


def test_a_build_that_may_not_be_begun_any_more_fails_the_order_with_the_reason(lab: Lab) -> None:
    here(lab)
    lab.site.engine.abandon()
    lab.courier.wish(Wish(lab.wish.order, install=True))
    lab.courier._looked_at = lab.now  # it has looked just before
    lab.turn()
    assert lab.progress == orders.FAILED and lab.why


def test_an_engineers_word_over_an_order_that_has_ended_changes_nothing(lab: Lab) -> None:
    lab.courier.overruled("an engineer has staged 1.5.0")
    lab.turn()
    assert lab.courier.task is None
    lab.courier.task = air.failed(air.Task(Order("c1", "https://x")), "link", "it broke")
    lab.courier.wish(Wish(lab.courier.task.order))
    lab.courier.overruled("an engineer has staged 1.5.0")
    lab.turn()
    assert lab.why == "it broke"


def test_while_an_engineer_flashes_nothing_is_begun(lab: Lab) -> None:
    lab.order("https://127.0.0.1:9/x")
    lab.courier.stand_aside(True)
    lab.turn()
    assert lab.courier._thread is None and lab.courier.next_deadline() == float("inf")
    lab.courier.stand_aside(False)
    assert lab.courier.next_deadline() == lab.now


def test_a_call_from_an_attempt_is_answered_refused_or_ended_and_never_hangs() -> None:
    woken = threading.Event()
    hands = courier.Elsewhere(woken.set)
    got: list[object] = []

    def asks() -> None:
        for what in (lambda: 5, lambda: int("x"), lambda: 6):
            try:
                got.append(hands.call(what))
            except (ValueError, OSError) as error:
                got.append(type(error))

    thread = threading.Thread(target=asks)
    thread.start()
    for _ in range(2):
        assert woken.wait(TURNS_S)
        woken.clear()
        hands.work_off()
    assert woken.wait(TURNS_S)
    hands.close()
    thread.join(TURNS_S)
    assert got == [5, ValueError, OSError]
    with pytest.raises(OSError, match="service ends"):
        hands.call(lambda: 7)


# -- hostile and broken servers ---------------------------------------------------------------------------------------


def cut_each(data: bytes, size_b: int) -> Answer:
    """The line breaks after so many bytes of each answer."""

    def answer(request: Request) -> None:
        first, last = request.range
        body = data[first : last + 1]
        head = f"HTTP/1.1 206 X\r\nContent-Range: bytes {first}-{first + len(body) - 1}/{len(data)}\r\n"
        request.send(f"{head}Content-Length: {len(body)}\r\nETag: \"one\"\r\n\r\n".encode() + body[:size_b])
        raise OSError

    return answer


def without_ranges(data: bytes) -> Answer:
    return lambda request: request.answer("200 OK", data, etag='"one"')


def chunked(data: bytes) -> Answer:
    def answer(request: Request) -> None:
        request.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for at in range(0, len(data), 10_000):
            part = data[at : at + 10_000]
            request.send(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        request.send(b"0\r\n\r\n")

    return answer


def little_at_a_time(data: bytes) -> Answer:
    """Never more than 50,000 bytes, less than a piece."""

    def answer(request: Request) -> None:
        first, last = request.range
        last = min(last, first + 49_999, len(data) - 1)
        where = f"bytes {first}-{last}/{len(data)}"
        request.answer("206 Partial Content", data[first : last + 1], content_range=where)

    return answer


def closes_after_each(data: bytes) -> Answer:
    def answer(request: Request) -> None:
        request.part(data, etag='"one"', connection="close")
        raise OSError

    return answer


def closes_without_a_word(data: bytes) -> Answer:
    def answer(request: Request) -> None:
        request.part(data, etag='"one"')
        raise OSError

    return answer


def weak_names(data: bytes) -> Answer:
    return lambda request: request.part(data, etag='W/"one"')


def another_name_each_time(data: bytes) -> Answer:
    return lambda request: request.part(data, etag=f'"{request.number}"')


def busy_first(data: bytes) -> Answer:
    def answer(request: Request) -> None:
        if request.number == 1:
            return request.answer("503 Busy", retry_after="120")
        if request.number == 2:
            dates = {"retry_after": "Sun, 06 Nov 1994 09:49:37 GMT", "date": "Sun, 06 Nov 1994 08:49:37 GMT"}
            return request.answer("429 Slow down", b"", **dates)
        return request.part(data, etag='"one"')

    return answer


def redirects_first(data: bytes) -> Answer:
    def answer(request: Request) -> None:
        if request.path != "/there?signed=1":
            return request.answer("302 Found", location="/there?signed=1")
        return request.part(data, etag='"one"')

    return answer


def spoils_once(data: bytes) -> Answer:
    """A proxy with a bad memory: a bit of the pieces is turned, twice."""

    def answer(request: Request) -> None:
        spoilt = data[:-2_000] + bytes([data[-2_000] ^ 1]) + data[-1_999:]
        request.part(spoilt if request.number <= 2 else data, etag='"one"')

    return answer


def replaced(data: bytes) -> Answer:
    """Another build lies there after the first request."""
    other = built("2.0.1")

    def answer(request: Request) -> None:
        is_first = request.number == 1
        if not is_first and request.headers.get("if-range") == '"one"':
            return request.answer("200 OK", other, etag='"two"')
        return request.part(data if is_first else other, etag='"one"' if is_first else '"two"')

    return answer


PATIENT = [
    without_ranges, chunked, little_at_a_time, closes_after_each, closes_without_a_word, weak_names,
    another_name_each_time, redirects_first, spoils_once,
]  # fmt: skip


@pytest.mark.parametrize("kind", PATIENT, ids=lambda kind: kind.__name__)
def test_a_server_that_is_odd_but_has_the_build_gives_it_in_the_end(
    kind: Callable[[bytes], Answer], lab: Lab, web: Serve
) -> None:
    lab.order(web(kind(NEWEST)).url).staged()
    lab.site.engine.activate()
    assert lab.runs() == "2.0.0"


def test_the_server_says_how_long_to_wait(lab: Lab, web: Serve) -> None:
    lab.order(web(busy_first(NEWEST)).url).staged()
    assert lab.now >= 1_000.0 + 120.0 + 3_600.0


def test_another_build_that_lies_there_meanwhile_is_begun_anew(lab: Lab, web: Serve) -> None:
    lab.order(web(replaced(NEWEST)).url).staged()
    assert lab.courier.task and lab.courier.task.version == "2.0.1"
    lab.site.engine.activate()
    assert lab.runs() == "2.0.1"


def test_a_line_that_breaks_every_few_kilobytes_brings_all_of_it_and_each_piece_once(lab: Lab, web: Serve) -> None:
    server = web(cut_each(NEWEST, 70_000))
    lab.order(server.url).staged()
    assert len(server.requests) > 4
    assert lab.spent_b < 3 * len(NEWEST)


@pytest.mark.promise("S8")
def test_an_updater_that_dies_again_and_again_loses_no_piece_and_the_old_build_runs_all_the_time(
    lab: Lab, web: Serve
) -> None:
    server = web(cut_each(NEWEST, 150_000))
    lab.order(server.url)
    had_b = 0
    while lab.progress != orders.STAGED:
        before = len(server.requests)
        lab.until(lambda before=before: len(server.requests) > before or lab.progress == orders.STAGED)  # type: ignore[misc]
        lab.until(lambda: lab.courier._thread is None)
        assert lab.courier.task and lab.courier.task.received_b >= had_b
        had_b = lab.courier.task.received_b
        if lab.progress != orders.STAGED:
            assert lab.runs() == "1.0.0"
            lab.updater_dies()
    assert had_b > 300_000
    assert all(request.range[0] for request in server.requests[1:]), "the head has come once"
    lab.site.engine.activate()
    assert lab.runs() == "2.0.0"


def says(status: str, **headers: str) -> Answer:
    return lambda request: request.answer(status, b"", **headers)


def part_of(where: str, **headers: str) -> Answer:
    return lambda request: request.answer("206 Partial Content", b"x" * 10, content_range=where, **headers)


def compresses(request: Request) -> None:
    request.part(NEWEST, content_encoding="gzip")


def lies_about_length(request: Request) -> None:
    request.answer("206 X", NEWEST[:100], content_range=f"bytes 0-65535/{len(NEWEST)}", content_length="17")


def sends_more(request: Request) -> None:
    request.send(b"HTTP/1.1 206 X\r\nContent-Range: bytes 0-9/100000\r\nTransfer-Encoding: chunked\r\n\r\n")
    request.send(b"100\r\n" + NEWEST[:256] + b"\r\n0\r\n\r\n")


def endless(request: Request) -> None:
    request.send(b"HTTP/1.1 200 OK\r\n\r\n" + b"\xd8\x6b\xa3\x02\x59\xff\xff")
    while True:
        request.send(b"\0" * 65_536)


def silent(request: Request) -> None:
    request.line.recv(1)


def drips_its_head(request: Request) -> None:
    request.send(b"HTTP/1.1 206 X\r\n")
    for n in range(1_000):
        request.send(f"X-{n}: y\r\n".encode())
        threading.Event().wait(0.05)


def no_http(request: Request) -> None:
    request.send(b"SSH-2.0-OpenSSH_9.2p1\r\n" * 10)
    raise OSError


def huge_headers(request: Request) -> None:
    request.send(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000 + b"\r\n\r\n")
    raise OSError


def many_headers(request: Request) -> None:
    request.send(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n")
    raise OSError


def bad_chunks(request: Request) -> None:
    request.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
    raise OSError


def always_elsewhere(request: Request) -> None:
    request.answer("302 Found", location=f"/{request.number}")


def tiny(request: Request) -> None:
    first, _ = request.range
    request.answer("206 X", NEWEST[first : first + 1], content_range=f"bytes {first}-{first}/{len(NEWEST)}")


def another_product(request: Request) -> None:
    request.answer("200 OK", b"<html>" * 10_000)


def big_head(request: Request) -> None:
    head = b"\xd8\x6b\xa3\x02\x5a\x7f\xff\xff\xff"
    request.answer("200 OK", head + b"\0" * 3_000_000)


HOSTILE: dict[str, tuple[Answer, str]] = {
    "404": (says("404 Not Found"), "link"),
    "403": (says("403 Forbidden"), "link"),
    "500": (says("500 Oops"), "link"),
    "204": (says("204 No Content"), "link"),
    "304": (says("304 Not Modified"), "link"),
    "416": (says("416 Range Not Satisfiable"), "link"),
    "busy for ever": (says("503 Busy", retry_after="5"), "link"),
    "no range said": (says("206 Partial Content"), "link"),
    "another range": (part_of("bytes 5-14/1000"), "link"),
    "more than asked": (part_of("bytes 0-99999999/100000000"), "link"),
    "beyond the end": (part_of("bytes 0-9/5"), "link"),
    "multipart": (says("206 X", content_type="multipart/byteranges; boundary=x"), "link"),
    "compresses": (compresses, "link"),
    "lies about the length": (lies_about_length, "link"),
    "sends more than it says": (sends_more, "link"),
    "endless": (endless, "format"),
    "silent": (silent, "link"),
    "drips its head": (drips_its_head, "link"),
    "no http": (no_http, "link"),
    "huge headers": (huge_headers, "link"),
    "many headers": (many_headers, "link"),
    "bad chunks": (bad_chunks, "link"),
    "redirects in a circle": (always_elsewhere, "link"),
    "redirects to http": (says("302 Found", location="http://127.0.0.1/x"), "link"),
    "redirects to a file": (says("302 Found", location="file:///etc/passwd"), "link"),
    "redirects nowhere": (says("302 Found"), "link"),
    "redirects with a password": (says("302 Found", location="https://a:b@127.0.0.1/"), "link"),
    "redirects into madness": (says("302 Found", location="https://[::1/"), "link"),
    "another product": (another_product, "format"),
    "a head of two gigabytes": (big_head, "format"),
    "one byte at a time": (tiny, "budget"),
    "a dev build": (honest(built(signer=builds.DEV)), "role"),
    "a stranger's build": (honest(built(signer=builds.STRANGER)), "key"),
    "a build for others": (honest(builds.build_file(builds.app("aarch64"))), "platform"),
    "a tampered head": (honest(NEWEST[:300] + bytes([NEWEST[300] ^ 1]) + NEWEST[301:]), "signature"),
    "tampered pieces": (honest(NEWEST[:-100_000] + bytes(100_000)), "hash"),
    "a torn file": (honest(NEWEST[:-1_000]), "link"),
}  # fmt: skip


SILENT = ("silent", "drips its head")
NEXT = ("404", "endless", "tampered pieces")
# One of each kind of failure; what the others are worth is said without a line in test_download.py and test_build.py.
QUICK = (
    "404", "lies about the length", "sends more than it says", "endless", *SILENT, "no http", "huge headers",
    "bad chunks", "redirects in a circle", "one byte at a time", "a dev build", "a tampered head", "tampered pieces",
    "a torn file",
)  # fmt: skip


def test_an_older_build_than_allowed_is_refused_by_its_head_alone(lab: Lab, web: Serve) -> None:
    lab.site.install("1.1.0", sequence=5)
    lab.order(web(honest(NEWEST)).url)
    assert lab.failed() == "downgrade" and "5" in lab.why
    assert lab.spent_b < download.HEAD_STEP_B + 10_000 and lab.runs() == "1.1.0"


@pytest.mark.promise("S8", "S10")
def test_a_disk_that_is_full_fails_the_order_and_with_room_the_next_one_goes_on(
    tmp_path: Path, installed: Path, ca: Authority, web: Serve
) -> None:
    disk = Full(150_000)
    lab = Lab(shutil.copytree(installed, tmp_path / "site"), ca, disk)
    server = web(honest(NEWEST))
    lab.order(server.url)
    assert lab.failed() == "storage" and lab.runs() == "1.0.0"
    disk.left_b = 10**9
    assert lab.order(server.url).staged().spent_b < len(NEWEST) - 50_000
    lab.courier.close()


@pytest.mark.promise("S8")
@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in HOSTILE]
)
def test_no_server_does_more_than_fail_the_order_and_the_old_build_runs(
    name: str, lab: Lab, web: Serve, request: pytest.FixtureRequest
) -> None:
    answer, code = HOSTILE[name]
    if name in SILENT:
        request.getfixturevalue("hasty")
    server = web(answer)
    lab.order(server.url, retries=int(name in NEXT), budget_b=50_000 if name == "one byte at a time" else 2_000_000)
    assert lab.failed() in (code, *({"hash", "verify"} if code == "hash" else ())), lab.why
    assert lab.why and lab.spent_b <= 2_000_000 + 70_000 and len(server.requests) < 2_000
    assert lab.runs() == "1.0.0"
    if name in NEXT:
        lab.order(web(honest(NEWEST)).url).staged()
        lab.site.engine.activate()
        assert lab.runs() == "2.0.0", "and the next order is none the worse for it"


def test_a_server_that_is_not_who_it_should_be_is_told_nothing(lab: Lab, ca: Authority) -> None:
    with Web(ca.stranger, honest(NEWEST)) as server:
        lab.order(server.url, retries=0)
        assert lab.failed() == "link" and "certificate" in lab.why.lower()
        assert not server.requests


def test_a_server_that_drips_its_content_is_left_after_a_minute(lab: Lab, web: Serve) -> None:
    def drips(request: Request) -> None:
        request.send(f"HTTP/1.1 206 X\r\nContent-Range: bytes 0-65535/{len(NEWEST)}\r\n\r\n".encode())
        for at in range(0, 1_000, 10):
            request.send(NEWEST[at : at + 10])
            lab.now += 7
            threading.Event().wait(0.01)

    lab.order(web(drips).url, retries=0)
    assert lab.failed() == "link" and "bytes in" in lab.why


def test_the_budget_is_kept_to_the_kilobyte_and_a_second_order_goes_on_where_the_first_has_ended(
    lab: Lab, web: Serve
) -> None:
    lab.order(web(honest(NEWEST)).url, budget_b=200_000)
    assert lab.failed() == "budget"
    assert lab.spent_b <= 200_000 + download.READ_B
    server = web(honest(NEWEST))
    lab.order(server.url).staged()
    assert lab.spent_b < len(NEWEST) - 100_000 + 70_000


def test_while_the_agent_forbids_it_nothing_is_fetched_and_a_running_attempt_ends_at_once(lab: Lab, web: Serve) -> None:
    begun = threading.Event()

    def hangs(request: Request) -> None:
        begun.set()
        request.line.recv(1)

    lab.order(web(hangs).url)
    lab.turn()
    assert begun.wait(TURNS_S)
    lab.courier.wish(Wish(lab.wish.order, download=False))
    lab.turn()
    assert lab.woken.wait(TURNS_S)
    lab.turn()
    assert lab.courier._thread is None and lab.courier.next_deadline() == float("inf")
    assert lab.progress == orders.DOWNLOADING
    task = lab.courier.task
    assert task and task.failures == 0, "it was not the network's fault"


def test_without_a_root_key_nobody_is_believed(lab: Lab, web: Serve) -> None:
    (lab.site.root / "root.pub").unlink()
    assert lab.site.engine.trust().version == Trust(None, None).version
    lab.order(web(honest(NEWEST)).url)
    assert lab.failed() in ("key", "signature")
