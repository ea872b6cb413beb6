"""The lines between agent and updater: what is written is read, what is not understood harms nobody, and software of
different ages understands each other. And the socket that they pass through, with a real agent's end."""

import asyncio
import json
import os
import selectors
import socket
from collections.abc import Iterator
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.effects import Ordered, UpdaterWish
from agent.events import Progress, UpdaterLost, UpdaterTold
from agent.update import orders
from agent.update.courier import Courier
from agent.update.orders import LINE_MAX_B, LineError, Lines, Order, State, Wish
from agent.update.ordersocket import Delivery, OrderSocket
from agent.updater import UpdaterLine, told_of, wish_of

WISH = Wish(Order("c1", "https://x/1", 3, 60, 5_000_000), True, False, "r1")
STATE = State("c1", orders.DOWNLOADING, "", "", 5, 9, "2.0.0", "r2", "idle", "flashed by hand")
COUNTS = st.none() | st.integers(0, 2**50)
NAMES = st.text(max_size=100)


@given(
    st.none() | st.builds(Order, st.text(min_size=1, max_size=100), st.text(min_size=1, max_size=300), *[COUNTS] * 3),
    st.booleans(), st.booleans(), NAMES,
)  # fmt: skip
def test_a_wish_is_read_as_it_was_written(order: Order | None, download: bool, install: bool, name: str) -> None:
    wish = Wish(order, download, install, name)
    assert orders.read(orders.write(wish)) == wish


STATES = st.builds(
    State, NAMES, st.sampled_from((orders.NONE, *orders.PROGRESS)), NAMES, st.text(max_size=300), st.integers(0, 2**50),
    st.integers(0, 2**50), NAMES,
)  # fmt: skip


@given(STATES)
def test_a_state_is_read_as_it_was_written(state: State) -> None:
    assert orders.read(orders.write(state)) == state


def test_the_longest_line_of_ours_fits() -> None:
    worst = "\U0001f50c"
    name, text = worst * 100, worst * 1_000
    state = State(name, orders.FAILED, name, text, 2**53, 2**53, name, name, name, text)
    assert orders.read(orders.write(state)) == state
    orders.write(Wish(Order("c", "https://" + "x" * 1_992), True, True, worst * 100))


def test_a_text_may_be_as_long_as_was_agreed_and_no_longer() -> None:
    for least, most in (
        (Wish(Order("n" * 100, "u" * 2_000), restarted="r" * 100), Wish(Order("n", "u" * 2_001))),
        (Wish(Order("n", "u", 2**53, 0, 2**53)), Wish(Order("n", "u", 2**53 + 1))),
        (State("n" * 100, why="w" * 1_000, restart_why="w" * 1_000), State(why="w" * 1_001)),
        (State(received_b=2**53), State(restart_why="w" * 1_001)),
    ):
        assert orders.read(orders.write(least)) == least
        with pytest.raises(LineError):
            orders.read(orders.write(most))


def test_progress_has_one_spelling_on_both_sides() -> None:
    assert {str(each) for each in Progress} == {orders.NONE, *orders.PROGRESS}
    for name in (orders.NONE, *orders.PROGRESS):
        assert told_of(State(progress=name)).progress == name


# -- ages -------------------------------------------------------------------------------------------------------------


def line(said: Wish | State, **more: Any) -> bytes:
    return json.dumps({**json.loads(orders.write(said)), **more}).encode()


def test_what_newer_software_adds_is_left_out() -> None:
    assert orders.read(line(STATE, v=7, mood="sunny", nested={"a": [1]})) == STATE
    assert orders.read(line(STATE, progress="teleporting")) == State(**{**vars_of(STATE), "progress": orders.NONE})
    assert orders.read(line(WISH, say="song")) is None
    assert orders.read(line(WISH, least=2)) is None, "it says itself that it is not for us"


def test_what_older_software_does_not_say_has_its_default() -> None:
    assert orders.read(b'{"say": "wish"}') == Wish()
    assert orders.read(b'{"say": "state", "order": "c1"}') == State("c1")
    assert orders.read(b'{"say": "wish", "order": {"name": "c1", "url": "https://x"}}') == Wish(Order("c1", "https://x"))


def vars_of(state: State) -> dict[str, Any]:
    return {name: getattr(state, name) for name in state.__slots__}


@pytest.mark.parametrize(
    "bad",
    [
        b"", b"nonsense", b"[]", b"5", b"null", b'{"v": 1}', b'{"say": 5}', b'{"say": "wish", "download": 1}',
        b'{"say": "wish", "order": []}', b'{"say": "wish", "order": {}}', b'{"say": "state", "received_b": -1}',
        b'{"say": "state", "received_b": 1e400}', b'{"say": "state", "why": 5}', b'{"say": "wish", "least": "1"}',
        b'{"say": "state", "order": "' + b"x" * 101 + b'"}', b"[" * 100_000, b"\xff\xfe",
        b'{"say": "wish", "order": {"name": "a", "url": "b", "retries": true}}',
    ],
)  # fmt: skip
def test_what_nobody_of_ours_has_written_is_an_error_and_no_more(bad: bytes) -> None:
    with pytest.raises(LineError):
        orders.read(bad)


@given(st.binary(max_size=200))
def test_no_bytes_at_all_do_worse(data: bytes) -> None:
    with suppress(LineError):
        orders.read(data)


@given(st.lists(st.sampled_from([orders.write(WISH), orders.write(STATE)])), st.integers(1, 50))
def test_lines_come_out_whole_however_they_are_cut(lines: list[bytes], size: int) -> None:
    data, reader, out = b"".join(lines), Lines(), list[bytes]()
    for at in range(0, len(data), size):
        out += reader.feed(data[at : at + size])
    assert [each + b"\n" for each in out] == lines


def test_an_endless_line_is_cut_off() -> None:
    reader = Lines()
    list(reader.feed(b"x" * LINE_MAX_B))
    with pytest.raises(LineError):
        list(reader.feed(b"x"))


# -- the socket -------------------------------------------------------------------------------------------------------


@pytest.fixture
def door(tmp_path: Path) -> Iterator[OrderSocket]:
    door = OrderSocket(tmp_path / "orders.sock")
    yield door
    door.close()


def serve(door: OrderSocket, timeout_s: float = 5.0) -> tuple[list[Wish], bool]:
    """What is ready, once."""
    with selectors.DefaultSelector() as selector:
        for each in door.sockets():
            selector.register(each, selectors.EVENT_READ)
        ready = selector.select(timeout_s)
    assert ready, "nobody came"
    wishes, is_new = list[Wish](), False
    for key, _ in ready:
        more, new = door.ready(key.fileobj)  # type: ignore[arg-type]
        wishes, is_new = wishes + more, is_new or new
    return wishes, is_new


def called(tmp_path: Path) -> socket.socket:
    talk = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    talk.settimeout(5.0)
    talk.connect(str(tmp_path / "orders.sock"))
    return talk


def test_an_agent_is_heard_and_told_and_the_newest_one_is_the_one_that_runs(tmp_path: Path, door: OrderSocket) -> None:
    old = called(tmp_path)
    assert serve(door) == ([], True)
    old.sendall(orders.write(WISH))
    assert serve(door) == ([WISH], False)
    new = called(tmp_path)
    assert serve(door) == ([], True)
    door.tell(STATE)
    assert new.recv(65_536) == orders.write(STATE) and old.recv(1) == b""
    new.close()
    serve(door)
    assert not door.has_agent
    door.tell(STATE)
    old.close()


def test_an_agent_that_talks_nonsense_or_does_not_read_is_hung_up_on(tmp_path: Path, door: OrderSocket) -> None:
    talk = called(tmp_path)
    serve(door)
    talk.sendall(b"nonsense\n")
    assert serve(door) == ([], False) and not door.has_agent
    talk.close()
    deaf = called(tmp_path)
    serve(door)
    for _ in range(100_000):
        door.tell(State(why="x" * 1_000))
        if not door.has_agent:
            break
    assert not door.has_agent
    deaf.close()


def test_a_stranger_may_not_order(tmp_path: Path, door: OrderSocket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.update.ordersocket.peer_uid", lambda talk: os.getuid() + 1)
    talk = called(tmp_path)
    assert serve(door) == ([], False) and not door.has_agent
    assert talk.recv(1) == b""
    talk.close()


class Clerk:
    """The courier's end, without a download."""

    def __init__(self) -> None:
        self.wishes: list[Wish] = []
        self.calls: list[str] = []
        self.says: State | None = None
        self.deadline = inf

    def wish(self, wish: Wish) -> None:
        self.wishes.append(wish)

    def state(self, now: float) -> State | None:
        said, self.says = self.says, None
        return said

    def news(self) -> State:
        return STATE

    def next_deadline(self) -> float:
        return self.deadline

    def connected(self) -> None:
        self.calls.append("connected")

    def due(self, now: float) -> None:
        self.calls.append("due")

    def stand_aside(self, is_aside: bool) -> None:
        self.calls.append(f"aside {is_aside}")

    def close(self) -> None:
        self.calls.append("close")


def test_who_has_just_come_is_told_everything_and_then_what_is_new_and_of_many_wishes_the_last_one_counts(
    tmp_path: Path, door: OrderSocket
) -> None:
    clerk = Clerk()
    delivery = Delivery(cast(Courier, clerk), door)
    assert delivery.due(1.0) is None
    talk = called(tmp_path)
    delivery.ready(delivery.sockets()[0])
    clerk.deadline = 7.0
    assert delivery.due(2.0) == 7.0 and talk.recv(65_536) == orders.write(STATE)
    clerk.says = State("c1", orders.STAGED)
    delivery.due(3.0)
    assert talk.recv(65_536) == orders.write(State("c1", orders.STAGED)), "and everything only once"
    talk.sendall(orders.write(Wish()) + orders.write(WISH))
    delivery.ready(delivery.sockets()[1])
    assert clerk.wishes == [WISH] and clerk.calls == ["due", "connected", "due", "due"]
    talk.close()
    delivery.ready(delivery.sockets()[1])
    assert len(delivery.sockets()) == 1
    delivery.aside(True)
    delivery.close()
    assert clerk.calls[4:] == ["aside True", "close"] and not (tmp_path / "orders.sock").exists()


def test_the_agents_end_tells_the_cores_wish_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.updater.RETRY_S", 0.05)
    heard: list[object] = []
    wish = UpdaterWish(Ordered("c1", "https://x/1", 3, 60, 5_000_000), True, False, "r1")
    assert wish_of(wish) == WISH

    async def story() -> None:
        came = asyncio.Event()

        def post(happening: object) -> None:
            heard.append(happening)
            came.set()

        async def until(what: type) -> None:
            async with asyncio.timeout(20):
                while not heard or not isinstance(heard[-1], what):
                    came.clear()
                    await came.wait()

        line = UpdaterLine(tmp_path / "orders.sock", post, lambda _: None)
        task = asyncio.create_task(line.run())
        line.wish(wish)  # nobody is there: nothing happens
        for _ in range(2):
            door = OrderSocket(tmp_path / "orders.sock")
            assert await asyncio.to_thread(serve, door) == ([], True)
            door.tell(STATE)
            await until(UpdaterTold)
            line.wish(wish)
            assert await asyncio.to_thread(serve, door) == ([WISH], False)
            door.close()
            await until(UpdaterLost)
        line.stop()
        async with asyncio.timeout(20):
            await task

    asyncio.run(story())
    assert heard == [told_of(STATE), UpdaterLost()] * 2
