"""PPP: a call on the modem's data port, and pppd on that call. The way that every modem knows, 2G to 4G.

We dial ourselves, over a channel like the one that asks (agent/modem/at.py): it tells a refusal's number, finds a port
that is still in the last call, and needs no chat script. Then the port is pppd's; we keep it open, so that nothing but
we drops DTR: which ends a call whatever state it is in, and is done before each dialling, too.
"""

import asyncio
import fcntl
import os
import termios
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from agent.modem import tty
from agent.modem.at import Answered, Channel, Event, Hung
from agent.modem.bearer import Context, Hands, Traits
from agent.modem.bearers.helped import Hear, Helped, Helping, Refused
from agent.modem.events import Cause
from agent.modem.links import dialling
from agent.modem.links.orders import Fell, Ppp

TRAITS = Traits("ppp", takes_port=True)
FIND_S = 15.0  # until a bare AT is answered on the data port
ESCAPE_S, ESCAPE = 1.1, b"+++"  # silence before and after it (V.250), for modems that do not mind DTR
STEP_S = 0.02


class Line:
    """The data port while it is ours: dialled, left to pppd, hung up."""

    def __init__(self, path: Path, locks: Path = tty.LOCKS) -> None:
        """Refused."""
        self._lock = tty.Lock(path, locks)
        if who := self._lock.take() or tty.holder(path):
            self._lock.release()
            raise Refused(Cause.FAILED, tty.taken(path, who))
        try:
            self._fd = tty.opened(path)
        except (OSError, termios.error) as error:
            self._lock.release()
            why = f"{path} cannot be opened ({error.args[-1]}): check the modem's data port"
            raise Refused(Cause.FAILED, why) from None
        self._loop = asyncio.get_running_loop()
        self._channel = Channel(self._loop.time())
        self._events: list[Event] = []
        self._came = asyncio.Event()

    async def dial(self, command: str) -> None:
        """Refused. When it returns, the call is there and nobody reads."""
        self._loop.add_reader(self._fd, self._readable)
        try:
            await self.hang_up()
            if not await self._found():
                await self._escape()
                if not await self._found():
                    raise Refused(Cause.FAILED, "the modem does not answer on its data port: it may be in another call")
            answer = await self._ask(command)
            if not dialling.is_connected(answer):
                raise Refused(*dialling.refused(answer))
        finally:
            self._loop.remove_reader(self._fd)
        with suppress(OSError):
            fcntl.ioctl(self._fd, termios.TIOCNXCL)  # pppd opens it too, and may not be almighty

    async def hang_up(self) -> None:
        """DTR down for a moment. A port that has gone has no call."""
        if self._fd < 0:
            return
        for speed, wait_s in ((termios.B0, tty.DTR_S), (tty.SPEED, 0.0)):
            with suppress(OSError, ValueError, termios.error):  # closed meanwhile
                facts = termios.tcgetattr(self._fd)
                facts[4] = facts[5] = speed
                if not wait_s:
                    facts[0] = facts[1] = facts[3] = 0  # pppd's way with the line ends, too
                termios.tcsetattr(self._fd, termios.TCSANOW, facts)
            await self._pause(wait_s)

    def close(self) -> None:
        """HUPCL: DTR drops, if it has not."""
        if self._fd >= 0:
            with suppress(OSError):
                os.close(self._fd)
            self._fd = -1
            self._lock.release()

    # -- commands -----------------------------------------------------------------------------------------------------

    async def _found(self) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(FIND_S):
                while not self._channel.is_ready:
                    await self._turn()
                    if any(isinstance(event, Hung) for event in self._events):
                        self._events.clear()
                        return False
                return True
        return False

    async def _escape(self) -> None:
        await self._pause(ESCAPE_S)
        self._write(ESCAPE)
        await self._pause(ESCAPE_S)
        self._write(b"ATH\r")
        await self._pause(ESCAPE_S)
        self._channel = Channel(self._loop.time())

    async def _ask(self, command: str) -> Answered:
        """The channel gives it up in time."""
        self._events.clear()
        self._write(self._channel.send(command, self._loop.time()))
        while True:
            if answer := next((event for event in self._events if isinstance(event, Answered)), None):
                return answer
            await self._turn()

    async def _turn(self) -> None:
        data, events = self._channel.poll(self._loop.time())
        self._events += events
        self._write(data)
        self._came.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._came.wait(), STEP_S)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), seconds)

    def _write(self, data: bytes) -> None:
        try:
            os.write(self._fd, data)
        except BlockingIOError:
            pass  # a line that takes not even this is dead, and the channel's timeout says so
        except OSError as error:
            raise Refused(Cause.FAILED, f"the modem's data port has gone ({error.strerror})") from None

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, tty.READ_B)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._fd)  # it has gone: nothing is answered any more
        self._events += self._channel.received(data, self._loop.time())
        if self._channel.is_data:
            self._loop.remove_reader(self._fd)  # what comes now is pppd's
        self._came.set()


class Bearer(Helping):
    def __init__(
        self, hands: Hands, helped: Callable[[Hear], Helped] = Helped, locks: Path = tty.LOCKS
    ) -> None:
        super().__init__(hands, helped)
        self._locks = locks
        self._line: Line | None = None

    @property
    def traits(self) -> Traits:
        return TRAITS

    def close(self) -> None:
        super().close()
        if self._line:
            self._line.close()

    async def _carry(self, context: Context) -> Fell:
        if not context.data_port:
            raise Refused(Cause.FAILED, "the modem's data port is not there: check data_port")
        path = Path(context.data_port).resolve()
        self._line = Line(path, self._locks)
        await self._line.dial(dialling.dial(context.cid))
        access = context.access
        return await self.help(Ppp(str(path), access.username, access.password, metric=context.metric))

    async def _end(self) -> None:
        line, self._line = self._line, None
        if line:
            await line.hang_up()
            line.close()


def bearer(hands: Hands) -> Bearer:
    return Bearer(hands)
