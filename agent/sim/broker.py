"""A hostile broker: MQTT 5 in a thread of its own, with TLS as agent/sim/mosquitto.py has it, and faults on command.

It stands in for mosquitto where that is not at hand, and does what no real broker does when asked to:

    broker.faults.on_publish.append(OnPublish(0x97, "u/+/0", times=3))      # Faults: read anew for each packet
    broker.disconnect(0x9D, server_reference="localhost:8884")              # at once
    broker.wait_for(lambda facts: len(facts.published) > 10, 30.0)          # what has happened

What it is asked and what it has seen is described in agent/sim/exchange.py, which does the protocol.
"""

import asyncio
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from agent.sim.exchange import NEVER, Exchange, Faults, Peer, Published, Silent, Visit
from agent.sim.mosquitto import BrokerError

CONNECTIONS_MAX = 5_000  # beyond it a connection is closed at once
BACKLOG = 1_000  # connections that the kernel keeps for us, when a whole fleet comes back
HANDSHAKE_S = 10.0
GOODBYE_S = 1.0
SHUTTING_DOWN = 0x8B


class Line(asyncio.Protocol):
    """A connection's socket."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        self.transport: asyncio.Transport
        self.peer: Peer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.peer = self._broker._opened(self, common_name(transport.get_extra_info("peercert")))

    def data_received(self, data: bytes) -> None:
        self._broker._received(self, data)

    def connection_lost(self, error: Exception | None) -> None:
        self._broker._closed(self)

    def pause_writing(self) -> None:
        self.peer.is_full = True

    def resume_writing(self) -> None:
        self.peer.is_full = False
        self._broker._flush()

    def perform(self, data: bytes, is_closed: bool) -> None:
        """Of a black hole not even the end is seen."""
        if not self.peer.is_frozen:
            self.transport.write(data)
            if is_closed:
                self.transport.close()


def common_name(certificate: dict[str, Any] | None) -> str | None:
    names = [value for rdn in (certificate or {}).get("subject", ()) for key, value in rdn if key == "commonName"]
    return names[0] if names else None


class Broker:
    """One broker on loopback; its port, and after stop() its sessions, survive until the next start().

    `cafile` signs every client; without it plain TCP, where everybody is who he says. `cloud` is the CN that may read
    and write for all stations. What is public may be used from any thread.
    """

    def __init__(
        self, *, cafile: Path | None = None, certfile: Path | None = None, keyfile: Path | None = None,
        port: int | None = None, cloud: str = "devcloud",
    ) -> None:  # fmt: skip
        self.port = port or 0
        self._tls = server_context(cafile, certfile, keyfile) if cafile and certfile else None
        self._exchange = Exchange(cloud)
        self._changed = threading.Condition()  # held by whoever looks at or touches the exchange
        self._lines: dict[Peer, Line] = {}
        self._strangers: set[socket.socket] = set()  # met with silence
        self._handshakes: dict[asyncio.Task[None], socket.socket] = {}
        self._bugs: deque[dict[str, Any]] = deque(maxlen=3)  # exceptions in the thread
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._thread: threading.Thread | None = None
        self._end, self._gone = asyncio.Event(), asyncio.Event()

    # -- from any thread

    @property
    def faults(self) -> Faults:
        return self._exchange.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._exchange.faults = faults

    @property
    def running(self) -> bool:
        return self._thread is not None

    def start(self) -> None:
        """Returns when it accepts connections. Raises BrokerError."""
        assert not self.running
        try:
            listener = socket.create_server(("127.0.0.1", self.port), backlog=BACKLOG)
        except OSError as error:
            raise BrokerError(f"the broker does not start on port {self.port}: {error.strerror}") from None
        listener.setblocking(False)
        self.port = listener.getsockname()[1]
        self._loop, self._end, self._gone = asyncio.new_event_loop(), asyncio.Event(), asyncio.Event()
        self._loop.set_exception_handler(lambda _, context: self._bugs.append(context))
        self._thread = threading.Thread(target=self._run, args=(listener,), name="broker", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """As the operator stops it: all are told, the sessions are kept."""
        if self.running:
            self.disconnect(SHUTTING_DOWN)
        self._stop()

    def kill(self) -> None:
        """As a power cut stops it: nobody is told, everything is forgotten."""
        if self.running:
            self.disconnect(None)
        self._stop()
        self.forget()

    def disconnect(
        self, code: int | None, client_id: str | None = None, server_reference: str | None = None
    ) -> None:
        """Send these clients away (None: all) with this reason code; without one the connection is cut."""
        with self._changed:
            self._exchange.disconnect(code, client_id, server_reference, self._now())
        self._ring(self._flush)

    def freeze(self, client_id: str | None = None) -> None:
        """These connections (None: all) become black holes: they stand, and nothing comes out of them ever again."""
        with self._changed:
            self._exchange.freeze(client_id)
        self._ring(self._stop_reading)

    def forget(self, client_id: str | None = None) -> None:
        """Lose these sessions (None: all), queues and subscriptions, while their connections stand."""
        with self._changed:
            self._exchange.forget(client_id)

    def wait_for(self, what: Callable[[Exchange], object], timeout_s: float) -> bool:
        """Until it is so; False: it was not so in time. Do not change what you look at."""
        with self._changed:
            return bool(self._changed.wait_for(lambda: what(self._exchange), timeout_s))

    def visits(self, client_id: str | None = None) -> list[Visit]:
        """The connections (None: everybody's), the oldest first."""
        with self._changed:
            return [visit for visit in self._exchange.visits if client_id in (None, visit.client_id)]

    def clients(self) -> dict[str, list[str]]:
        """Who is connected, and the topic filters each has subscribed."""
        with self._changed:
            return self._exchange.clients()

    def published(self, client_id: str | None = None) -> list[Published]:
        with self._changed:
            return [said for said in self._exchange.published if client_id in (None, said.client_id)]

    @property
    def violations(self) -> list[str]:
        """What clients did that MQTT 5 forbids, or that we had told them not to do."""
        with self._changed:
            return list(self._exchange.violations)

    def _now(self) -> float:
        assert self._loop
        return self._loop.time()

    def _ring(self, what: Callable[[], None]) -> None:
        assert self._loop
        self._loop.call_soon_threadsafe(what)

    def _stop(self) -> None:
        if self._thread and self._loop:
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join()
            self._thread = self._loop = None
        assert not self._bugs, self._bugs[0]

    # -- the thread

    def _run(self, listener: socket.socket) -> None:
        assert self._loop
        with listener:
            self._loop.run_until_complete(self._serve(listener))
        self._loop.close()

    async def _serve(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(listener, self._accept, listener)
        await self._end.wait()
        loop.remove_reader(listener)
        unfinished = dict(self._handshakes)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        for stranger in self._strangers:
            stranger.close()
        self._strangers.clear()
        self._flush()  # the last words; then whoever does not take them in time is cut
        with suppress(TimeoutError):
            await asyncio.wait_for(self._are_gone(), GOODBYE_S)
        for line in self._lines.values():
            line.transport.abort()
        await self._are_gone()
        for sock in unfinished.values():  # asyncio would close them in a turn of the loop that does not come any more
            sock.close()
        if self._timer:
            self._timer.cancel()

    async def _are_gone(self) -> None:
        while self._lines:
            self._gone.clear()
            await self._gone.wait()

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, _ = listener.accept()
        except OSError:  # it has gone again
            return
        sock.setblocking(False)
        if len(self._lines) + len(self._strangers) + len(self._handshakes) >= CONNECTIONS_MAX:
            sock.close()
        elif self.faults.silent is Silent.TCP:
            self._strangers.add(sock)
            self._ignored()
        else:
            task = asyncio.get_running_loop().create_task(self._welcome(sock))
            self._handshakes[task] = sock
            task.add_done_callback(self._handshakes.pop)

    async def _welcome(self, sock: socket.socket) -> None:
        """With TLS, if that is how we speak; a client who cannot is let go."""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop, patience = asyncio.get_running_loop(), {"ssl_handshake_timeout": HANDSHAKE_S} if self._tls else {}
        with suppress(OSError):  # so are TLS's errors
            await loop.connect_accepted_socket(lambda: Line(self), sock, ssl=self._tls, **patience)

    def _opened(self, line: Line, user: str | None) -> Peer:
        with self._changed:
            peer = self._exchange.opened(user, self._now())
        self._lines[peer] = line
        self._flush()
        return peer

    def _ignored(self) -> None:
        with self._changed:
            self._exchange.ignored(self._now())
        self._flush()

    def _received(self, line: Line, data: bytes) -> None:
        with self._changed:
            self._exchange.received(line.peer, data, self._now())
        self._flush()

    def _closed(self, line: Line) -> None:
        del self._lines[line.peer]
        self._gone.set()
        with self._changed:
            self._exchange.closed(line.peer, self._now())
        self._flush()

    def _stop_reading(self) -> None:
        for peer, line in self._lines.items():
            if peer.is_frozen:
                line.transport.pause_reading()

    def _flush(self) -> None:
        """Do what is due, send what is ready, tell who waits, and re-arm the one timer."""
        loop = asyncio.get_running_loop()
        with self._changed:
            self._exchange.deadline(loop.time())
            ready = list(self._exchange.take(loop.time()))
            due_at = self._exchange.next_deadline()
            self._changed.notify_all()
        for peer, data, is_closed in ready:
            if peer in self._lines:  # else it has gone by itself
                self._lines[peer].perform(data, is_closed)
        if self._timer:
            self._timer.cancel()
        self._timer = None if due_at == NEVER else loop.call_at(due_at, self._flush)


def server_context(cafile: Path, certfile: Path, keyfile: Path | None) -> ssl.SSLContext:
    """TLS 1.3, both ends with a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cafile)
    context.load_cert_chain(certfile, keyfile)
    return context
