"""The update service as its unit starts it: a process, a folder, an agent at its socket, a build on an HTTPS server."""

import platform
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.update import orders
from agent.update.engine import KEYRING, ROOT_KEY
from agent.update.orders import Lines, Order, State, Wish
from tests import builds
from tests.weblab import Request, Web, authority

ROOT = Path(__file__).parent.parent
FILES = {**builds.FILES, "agent/big.pyc": random.Random(3).randbytes(1_500_000)}
NEW = "2.0.0"
BUILD = builds.build_file(builds.app(platform.machine(), NEW, FILES), builds.firmware(version=NEW), version=NEW)
WAIT_S = 60.0


class Agent:
    """The agent's end of the line, without an agent."""

    def __init__(self, path: Path) -> None:
        self._talk = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._talk.settimeout(WAIT_S)
        self._talk.connect(str(path))
        self._lines, self._said = Lines(), list[State]()

    def wish(self, wish: Wish) -> None:
        self._talk.sendall(orders.write(wish))

    def until(self, progress: str) -> State:
        while True:
            while self._said:
                state = self._said.pop(0)
                if state.progress == progress:
                    return state
                assert state.progress != orders.FAILED, state
            data = self._talk.recv(65_536)
            assert data, "the service has hung up"
            told = [orders.read(line) for line in self._lines.feed(data)]
            self._said += [each for each in told if isinstance(each, State)]

    def close(self) -> None:
        self._talk.close()


@contextmanager
def service(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    command = [
        sys.executable, "-m", "agent.update.service", "serve", "--root", str(folder / "root"),
        "--board", str(folder / "board.toml"), "--config", str(folder / "config.toml"),
        "--vitals", str(folder / "vitals"), "--socket", str(folder / "flash.sock"),
        "--orders", str(folder / "orders.sock"),
    ]  # fmt: skip
    (folder / "orders.sock").unlink(missing_ok=True)
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            wait_until(lambda: (folder / "orders.sock").exists() or process.poll() is not None)
            assert process.poll() is None, process.stdout and process.stdout.read()
            yield process
        finally:
            process.kill()


def has_come(root: Path, size_b: int) -> bool:
    found = [path.read_bytes()[:size_b] for path in root.glob("*/tree/agent/big.pyc")]
    return FILES["agent/big.pyc"][:size_b] in found


def wait_until(what: Callable[[], bool]) -> None:
    for _ in range(round(WAIT_S * 20)):
        if what():
            return
        threading.Event().wait(0.05)
    raise AssertionError("it does not happen")


@pytest.mark.long  # tests/test_courier.py has the same in one process
@pytest.mark.promise("S8")
def test_an_update_service_that_is_killed_in_the_middle_goes_on_where_it_was(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / ROOT_KEY).write_bytes(builds.ROOT.public)
    (root / KEYRING).write_bytes(builds.RING)
    (tmp_path / "board.toml").write_text("")
    (tmp_path / "config.toml").write_text('[broker]\nca = "ca.pem"\n')
    certificates = authority(tmp_path)
    is_halfway, sent = threading.Event(), [0]

    def answer(request: Request) -> None:
        first, last = request.range
        body = BUILD[first : last + 1]
        where = f"bytes {first}-{first + len(body) - 1}/{len(BUILD)}"
        request.send(f"HTTP/1.1 206 X\r\nContent-Range: {where}\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        for at in range(0, len(body), 50_000):
            sent[0] += len(body[at : at + 50_000])
            request.send(body[at : at + 50_000])
            if not is_halfway.is_set() and sent[0] > len(BUILD) // 2:
                is_halfway.set()
                request.line.recv(1)  # and no more, to this one

    with Web(certificates.server, answer) as web:
        wish = Wish(Order("c1", web.url), download=True)
        with service(tmp_path) as process:
            agent = Agent(tmp_path / "orders.sock")
            agent.wish(wish)
            agent.until(orders.DOWNLOADING)
            assert is_halfway.wait(WAIT_S)
            wait_until(lambda: has_come(root, 500_000))  # what lies in the sockets is lost
            process.send_signal(signal.SIGKILL)
            process.wait(WAIT_S)
            agent.close()
        with service(tmp_path) as process:
            agent = Agent(tmp_path / "orders.sock")
            agent.wish(wish)
            said = agent.until(orders.STAGED)
            assert (said.version, said.received_b) == ("2.0.0", said.wanted_b)
            assert sent[0] < 1.3 * len(BUILD), "what had come was not fetched again"
            agent.wish(Wish(wish.order, install=True))
            agent.until(orders.ACTIVATED)
            agent.close()
            process.send_signal(signal.SIGTERM)
            assert process.wait(WAIT_S) == 0
