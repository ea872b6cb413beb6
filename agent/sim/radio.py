"""The radio between a real agent and its broker: a TCP relay that can be cut without anybody being told.

A broker that is cut refuses; a radio that is off is silent: what stands goes on standing, and nothing comes through.
"""

import asyncio
import threading

PIECE_B = 65_536
READY_S = 5.0


class Radio:
    """Listens on `port`, any free one. What both ends send while it is off is gone, and so is that connection: TCP
    cannot go on after a gap, so it stays silent for good, and only a new one works when the radio is on again."""

    def __init__(self, target_port: int) -> None:
        self.is_on = True
        self._target = target_port
        self._lines: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="radio", daemon=True)
        self._thread.start()
        self.port = 0
        self.open()

    def open(self) -> None:
        """There is somebody to connect to."""
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(READY_S)

    def refuse(self) -> None:
        """There is nobody: who comes now is refused, as by a broker that is down."""
        self._loop.call_soon_threadsafe(self._server.close)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(READY_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(READY_S)
        self._loop.close()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._opened, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        self._server.close()
        tasks = list(self._lines)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _opened(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._carry_both(reader, writer))
        self._lines.add(task)
        task.add_done_callback(self._lines.discard)

    async def _carry_both(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = Line(self)
        far: asyncio.StreamWriter | None = None
        try:
            if self.is_on:
                far_reader, far = await asyncio.open_connection("127.0.0.1", self._target)
                await asyncio.gather(line.carry(reader, far), line.carry(far_reader, writer))
            else:
                line.is_broken = True
                await line.carry(reader, writer)
        except OSError:  # the broker is not there, or one end has gone
            pass
        finally:
            for end in (writer, far):
                if end is not None:
                    end.close()


class Line:
    """One connection. Broken once, it is never whole again."""

    def __init__(self, radio: Radio) -> None:
        self._radio = radio
        self.is_broken = False

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(PIECE_B):
            self.is_broken |= not self._radio.is_on
            if not self.is_broken:
                writer.write(data)
                await writer.drain()
        if not self.is_broken:
            writer.close()
