"""Where the agent tells the update service what the cloud has ordered: a Unix socket, one agent at a time; and what
the service's loop does with it (`Delivery`).

Non-blocking, for whatever loop the service has: it waits for `sockets()` and calls `ready()`. The kernel says who calls
(SO_PEERCRED): root, the service's own user and the agent's.
"""

import os
import socket
from collections.abc import Callable, Collection
from contextlib import suppress
from math import inf
from pathlib import Path

from agent.sockets import peer_uid
from agent.update import orders
from agent.update.courier import Courier
from agent.update.orders import Lines, State, Wish

BACKLOG = 4
READ_B = 65_536


class OrderSocket:
    def __init__(
        self, path: Path, uids: Collection[int] = (), log: Callable[[str], None] = lambda _: None
    ) -> None:
        """A stale socket at `path` is replaced. OSError."""
        self._path, self._log = path, log
        self._uids = {0, os.getuid(), *uids}
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._agent: socket.socket | None = None
        self._lines = Lines()
        try:
            if path.is_socket():
                path.unlink()
            self._listener.bind(str(path))
            path.chmod(0o666)  # the kernel's word about who calls is what counts
            self._listener.listen(BACKLOG)
        except BaseException:
            self._listener.close()
            raise

    def sockets(self) -> list[socket.socket]:
        return [self._listener] if self._agent is None else [self._listener, self._agent]

    @property
    def has_agent(self) -> bool:
        return self._agent is not None

    def ready(self, which: socket.socket) -> tuple[list[Wish], bool]:
        """What the agent wishes by now; True: it has just come, and is to be told everything."""
        if which is self._listener:
            return [], self._accept()
        return (self._read() if which is self._agent else []), False

    def tell(self, state: State) -> None:
        """An agent that does not read is hung up on: it comes again, and is told everything."""
        if self._agent is None:
            return
        try:
            line = orders.write(state)
            if self._agent.send(line) < len(line):
                raise BlockingIOError
        except OSError:
            self._hang_up()

    def close(self) -> None:
        self._hang_up()
        self._listener.close()
        with suppress(OSError):
            self._path.unlink()

    def _accept(self) -> bool:
        try:
            talk, _ = self._listener.accept()
        except OSError:
            return False
        if (uid := peer_uid(talk)) not in self._uids:
            self._log(f"user {uid} may not order updates")
            talk.close()
            return False
        self._hang_up()  # the newest agent is the one that runs
        talk.setblocking(False)
        self._agent, self._lines = talk, Lines()
        return True

    def _read(self) -> list[Wish]:
        assert self._agent is not None
        try:
            data = self._agent.recv(READ_B)
            said = [orders.read(line) for line in self._lines.feed(data)]
        except BlockingIOError:
            return []
        except (OSError, orders.LineError) as error:
            self._log(f"the agent's line is closed: {error}")
            self._hang_up()
            return []
        if not data:
            self._hang_up()
        return [each for each in said if isinstance(each, Wish)]

    def _hang_up(self) -> None:
        if self._agent is not None:
            self._agent.close()
            self._agent = None


class Delivery:
    """What agent/update/service.py calls an Air: all on its loop's thread, the engine used in due() alone."""

    def __init__(self, courier: Courier, door: OrderSocket) -> None:
        self._courier, self._door = courier, door
        self._has_news = False

    def sockets(self) -> list[socket.socket]:
        return self._door.sockets()

    def ready(self, which: socket.socket) -> None:
        wishes, is_new = self._door.ready(which)
        for wish in wishes[-1:]:  # each is the whole of it
            self._courier.wish(wish)
        if is_new:
            self._courier.connected()
            self._has_news = True

    def due(self, now: float) -> float | None:
        """When it wants to be called again; None: when something happens."""
        self._courier.due(now)
        if self._has_news:
            self._has_news = False
            self._door.tell(self._courier.news())
        elif (said := self._courier.state(now)) is not None:
            self._door.tell(said)
        due = self._courier.next_deadline()
        return None if due == inf else due

    def aside(self, is_aside: bool) -> None:
        self._courier.stand_aside(is_aside)

    def close(self) -> None:
        self._courier.close()
        self._door.close()
