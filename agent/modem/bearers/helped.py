"""The agent's end of the line to the service that may change the network (agent/modem/linkservice.py), and what
the bearers that need it have in common."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from math import inf
from pathlib import Path

from agent.modem.bearer import Context, Hands
from agent.modem.events import BearerFell, BearerRose, Cause
from agent.modem.links import orders
from agent.modem.links.orders import Down, Fell, Note, Order, Up, Word
from agent.modem.linkservice import RUN, SOCKET

CLOSE_S = 2.0  # a child gets to end at `close`; it goes on by itself after that
FALL_S = 20.0  # for everything to be taken back: pppd's goodbye, some commands
GONE = Fell(Cause.FAILED, "the bearer's helper has ended: journalctl -u station-bearer says more")


Hear = Callable[[Word], None]


class Helped:
    """One order, and the words that answer it; Fell is the last one."""

    def __init__(self, hear: Hear, path: Path = SOCKET, run: Path = RUN) -> None:
        self._hear, self._path, self._run = hear, path, run
        self._writer: asyncio.StreamWriter | None = None
        self._child: subprocess.Popen[bytes] | None = None

    async def order(self, order: Order) -> Fell:
        """Until the bearer is over; every other word is heard meanwhile. Cancelled, it takes the bearer down."""
        try:
            reader, self._writer = await self._connected()
        except OSError as error:
            why = f"the bearer's helper is not there ({error.strerror or error}): "
            return Fell(Cause.SYSTEM, why + "type systemctl enable --now station-bearer.socket")
        try:
            self._writer.write(orders.line(order))
            return await self._words(reader)
        except asyncio.CancelledError:
            with suppress(OSError, TimeoutError):
                self._writer.write(orders.line(Down()))
                async with asyncio.timeout(FALL_S):
                    await self._words(reader)
            raise
        finally:
            self._writer.close()
            await asyncio.get_running_loop().run_in_executor(None, self._reap)

    async def _words(self, reader: asyncio.StreamReader) -> Fell:
        with suppress(OSError, ValueError):
            while data := await reader.readline():
                word = orders.word(data)
                if isinstance(word, Fell):
                    return word
                if word is not None:
                    self._hear(word)
        return GONE

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """OSError. Whoever is root needs no service: it has a child."""
        limit = 4 * orders.LINE_MAX_B
        if self._path.exists() or os.geteuid():
            return await asyncio.open_unix_connection(self._path, limit=limit)
        ours, theirs = socket.socketpair()
        with theirs:
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", "agent.modem.linkservice", "--child", str(theirs.fileno()), self._run],
                stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),), start_new_session=True,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )  # fmt: skip
        return await asyncio.open_unix_connection(sock=ours, limit=limit)

    def close(self) -> None:
        """The line goes, and with it the bearer."""
        if self._writer:
            self._writer.transport.abort()
        self._reap()

    def _reap(self) -> None:
        if self._child:
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(CLOSE_S)


class Refused(Exception):
    """It does not come about."""

    def __init__(self, cause: Cause, why: str) -> None:
        super().__init__(why)
        self.fell = Fell(cause, why)


class Helping:
    """A bearer as one task: `_carry` lasts as long as it, `_end` takes back what is not the service's.

    `helped`: how root is asked; a test asks another.
    """

    def __init__(self, hands: Hands, helped: Callable[[Hear], Helped] = Helped) -> None:
        self.hands, self._helped = hands, helped
        self._task: asyncio.Task[None] | None = None
        self._falling: asyncio.Task[None] | None = None
        self._help: Helped | None = None
        self.why = ""

    async def _carry(self, context: Context) -> Fell:
        """How it has ended. Refused."""
        raise NotImplementedError

    async def _end(self) -> None:
        """Whatever has happened before."""

    def rise(self, context: Context) -> None:
        assert self._task is None or self._task.done(), "it is up, or rising"
        self._task = asyncio.get_running_loop().create_task(self._bear(context))

    def fall(self) -> None:
        if self._falling is None or self._falling.done():
            self._falling = asyncio.get_running_loop().create_task(self._fall())

    def due(self, now: float) -> None:
        """Everything here has its own timers."""

    def next_deadline(self) -> float:
        return inf

    def close(self) -> None:
        if self._task:
            self._task.cancel()
        if self._help:
            self._help.close()

    async def help(self, order: Order) -> Fell:
        """The service's part of it, until that is over."""
        self._help = self._helped(self._heard)
        try:
            return await self._help.order(order)
        finally:
            self._help = None

    async def _bear(self, context: Context) -> None:
        try:
            fell = await self._carry(context)
        except Refused as refused:
            fell = refused.fell
        finally:
            await self._end()
        self.why = fell.why
        self.hands.post(BearerFell(fell.cause))

    async def _fall(self) -> None:
        if self._task and not self._task.done():
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self.why = ""
        self.hands.post(BearerFell(Cause.ASKED))

    def _heard(self, word: Word) -> None:
        match word:
            case Up(interface, address, dns):
                self.why = ""
                self.hands.post(BearerRose(address, interface, dns))
            case Note(text):
                self.hands.log(text)
