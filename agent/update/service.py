"""The update service: what engineers flash a station through, in a process of its own that no agent can crash.

    serve   owns the slots' engine; speaks the flash protocol on serial ports and a Unix socket, judges trials
    relay   stdin and stdout are the other end of that socket: what sshd runs for a flasher's key (docs/flashing.md)

One loop, and one thread beside it for what takes long: the engine is that thread's while it has work, else the loop's.
The protocol is agent/update/protocol.py, what is done for it agent/update/hands.py; here are files and clocks only.
"""

import argparse
import grp
import os
import pwd
import queue
import random
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import serial

from agent.update import facts
from agent.update.courier import Courier
from agent.update.download import trusting
from agent.update.engine import Engine, start_anew
from agent.update.hands import Hands
from agent.update.kept import Kept
from agent.update.launcher import CHOICE, ROOT
from agent.update.ordersocket import Delivery, OrderSocket
from agent.update.protocol import Desk, Device
from agent.update.provision import Provisioner
from agent.update.refusal import Refused

SOCKET = Path("/run/station-update/flash.sock")
CLIENTS_MAX = 8  # at the socket; then who says nothing makes room, and where all are at work nobody comes in
READ_B = 65_536
REOPEN_S = 5.0  # a serial port that is not there, or has gone
SYNC_EACH_S = 10.0  # of a build that comes; at 115200 baud that is 110 kB: engine.SYNC_B would be six minutes
TURN_S = 1.0  # at most between two looks at a trial, an order that waits, a port that has come back
BAUD = 115_200


class Port(Protocol):
    """A line's bytes. All methods return at once; OSError, or end of file as b"" from read(): it has gone."""

    def fileno(self) -> int: ...
    def read(self) -> bytes: ...
    def write(self, data: bytes) -> int: ...
    def close(self) -> None: ...


class SocketPort:
    def __init__(self, talk: socket.socket) -> None:
        talk.setblocking(False)
        self._talk = talk

    def fileno(self) -> int:
        return self._talk.fileno()

    def read(self) -> bytes:
        return self._talk.recv(READ_B)

    def write(self, data: bytes) -> int:
        return self._talk.send(data)

    def close(self) -> None:
        self._talk.close()


class SerialPort:
    """Raw 8N1, locked against others, as little latency as the driver gives."""

    def __init__(self, path: str, baud: int) -> None:
        try:
            self._serial = serial.Serial(path, baud, timeout=0, write_timeout=0, exclusive=True)
        except serial.SerialException as error:
            raise OSError(str(error)) from None
        with suppress(OSError, ValueError, NotImplementedError, AttributeError):
            self._serial.set_low_latency_mode(True)
        self._fd = self._serial.fileno()
        os.set_blocking(self._fd, False)

    def fileno(self) -> int:
        return self._fd

    def read(self) -> bytes:
        return os.read(self._fd, READ_B)

    def write(self, data: bytes) -> int:
        return os.write(self._fd, data)

    def close(self) -> None:
        self._serial.close()


@dataclass(slots=True)
class Wire:
    """A port, its protocol, and what of the last frame the port has not taken yet."""

    port: Port
    device: Device
    out: bytes = b""
    is_writing: bool = False


class Worker:
    """One thread; what it was given is done in order. `wake` is called from it when results() has something."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._todo: queue.SimpleQueue[tuple[Any, Callable[[], Any]] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
        self._open = 0  # counted by the loop alone
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def is_busy(self) -> bool:
        """The engine is this thread's."""
        return self._open > 0

    def do(self, name: Any, what: Callable[[], Any]) -> None:
        self._open += 1
        self._todo.put((name, what))

    def results(self) -> list[tuple[Any, Any]]:
        """(name, result); a Refused is one, any other exception is raised here: a bug ends the service."""
        found = []
        with suppress(queue.Empty):
            while True:
                name, result = self._done.get_nowait()
                self._open -= 1
                if isinstance(result, BaseException) and not isinstance(result, Refused):
                    raise result
                found.append((name, result))
        return found

    def close(self, timeout_s: float) -> None:
        self._todo.put(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (work := self._todo.get()) is not None:
            name, what = work
            try:
                result = what()
            except Refused as refused:
                result = refused
            except BaseException as error:
                result = error
            self._done.put((name, result))
            self._wake()


@dataclass(slots=True)
class Air:
    """What else uses the engine, on the loop's thread, while no flasher's job is done (agent/update/courier.py).
    `due` does what is due and returns when it wants to be called again; `aside`: a flasher is at work, or no more."""

    sockets: Callable[[], Sequence[socket.socket]] = tuple
    ready: Callable[[socket.socket], None] = lambda which: None
    due: Callable[[float], float | None] = lambda now: None
    aside: Callable[[bool], None] = lambda is_aside: None
    close: Callable[[], None] = lambda: None


@dataclass(slots=True)
class Service:
    """`clock`: monotonic seconds since Linux booted."""

    hands: Hands
    serials: dict[str, int] = field(default_factory=dict)  # path: baud
    listener: socket.socket | None = None
    air: Air = field(default_factory=Air)
    clock: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME)
    desk: Desk = field(init=False)
    wires: list[Wire] = field(default_factory=list)
    is_ending: bool = False
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _worker: Worker = field(init=False)
    _wake_r: int = -1
    _wake_w: int = -1
    _open_serials: dict[str, Wire] = field(default_factory=dict)
    _tried_s: dict[str, float] = field(default_factory=dict)
    _air_sockets: list[socket.socket] = field(default_factory=list)
    _air_due_s: float | None = 0.0
    _looked_s: float = 0.0
    _synced_s: float = 0.0

    def __post_init__(self) -> None:
        root = self.hands.engine.root
        self.desk = Desk(text=Kept(root / "coming.head"), pieces=Kept(root / "coming.pieces"))
        self._wake_r, self._wake_w = os.pipe()
        os.set_blocking(self._wake_r, False)
        os.set_blocking(self._wake_w, False)
        self._selector.register(self._wake_r, selectors.EVENT_READ, self._woken)
        self._worker = Worker(self.wake)
        if self.listener is not None:
            self.listener.setblocking(False)
            self._selector.register(self.listener, selectors.EVENT_READ, self._accept)

    # -- the loop

    def run(self) -> None:
        try:
            while not self.is_ending:
                self.turn()
        finally:
            self.close()

    def turn(self, wait_max_s: float = TURN_S) -> None:
        """Waits for the next thing that happens, and lets it."""
        now = self.clock()
        self._open_ports(now)
        self._settle(now)
        for wire in tuple(self.wires):
            self._serve(wire, now)
        self._look(now)
        self._follow_air()
        for key, _ in self._selector.select(self._wait_s(now, wait_max_s)):
            key.data()

    def _wait_s(self, now: float, most_s: float) -> float:
        due = [now + most_s, *(each for wire in self.wires if (each := wire.device.next_deadline()) is not None)]
        if self._air_due_s is not None and not self._worker.is_busy:
            due.append(self._air_due_s)
        return max(0.0, min(due) - now)

    def wake(self) -> None:
        """From any thread."""
        with suppress(BlockingIOError, OSError):
            os.write(self._wake_w, b"x")

    def _woken(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._wake_r, READ_B)
        self._air_due_s = 0.0

    def _settle(self, now: float) -> None:
        """What the engine's thread has done."""
        for name, result in self._worker.results():
            if name is not None:
                device, ticket = name
                device.done(ticket, result, now)

    def _look(self, now: float) -> None:
        """The trial, an order that waits, the air: between two jobs of flashers."""
        self.air.aside(self.desk.holder is not None)
        if now >= self._synced_s + SYNC_EACH_S:
            self._synced_s = now
            self._worker.do(None, self.hands.engine.sync)
        if self._worker.is_busy:
            return
        if now >= self._looked_s + TURN_S:
            self._looked_s = now
            if self.hands.has_watch():
                self._worker.do(None, lambda: self.hands.watch(now))
                return
        self._air_due_s = self.air.due(now)

    # -- the lines

    def add(self, port: Port) -> Wire:
        wire = Wire(port, Device(self.desk))
        self.wires.append(wire)
        self._selector.register(port.fileno(), selectors.EVENT_READ, lambda: self._read(wire))
        return wire

    def _drop(self, wire: Wire) -> None:
        if wire in self.wires:
            self.wires.remove(wire)
            self._selector.unregister(wire.port.fileno())
            wire.port.close()
            wire.device.close()

    def _accept(self) -> None:
        assert self.listener is not None
        try:
            talk, _ = self.listener.accept()
        except OSError:
            return
        clients = [wire for wire in self.wires if isinstance(wire.port, SocketPort)]
        if len(clients) >= CLIENTS_MAX:
            silent = next((wire for wire in clients if not wire.device.has_session), None)
            if silent is None:
                talk.close()
                return
            self._drop(silent)  # whoever has said nothing yet makes room for somebody who may
        self.add(SocketPort(talk))

    def _open_ports(self, now: float) -> None:
        for path, baud in self.serials.items():
            wire = self._open_serials.get(path)
            if wire is not None and wire in self.wires:
                continue
            if now < self._tried_s.get(path, 0.0):
                continue
            self._tried_s[path] = now + REOPEN_S
            with suppress(OSError):
                self._open_serials[path] = self.add(SerialPort(path, baud))

    def _read(self, wire: Wire) -> None:
        try:
            data = wire.port.read()
        except BlockingIOError:
            data = None
        except OSError:
            data = b""
        if data == b"":
            self._drop(wire)
        elif data:
            wire.device.receive(data, self.clock())
        self._write(wire)

    def _serve(self, wire: Wire, now: float) -> None:
        due = wire.device.next_deadline()
        if due is not None and now >= due:
            wire.device.tick(now)
        for ticket, job in wire.device.jobs():
            self._worker.do((wire.device, ticket), lambda job=job: self.hands.perform(job, self.desk))  # type: ignore[misc]
        self._write(wire)

    def _write(self, wire: Wire) -> None:
        """As much as the port takes; what it does not take now waits, and one frame at most."""
        if wire not in self.wires:
            return
        now = self.clock()
        try:
            while wire.out or (made := wire.device.pull(now)):
                wire.out = wire.out or made or b""
                wire.out = wire.out[wire.port.write(wire.out) :]
        except BlockingIOError:
            pass
        except OSError:
            self._drop(wire)
            return
        if bool(wire.out) != wire.is_writing:
            wire.is_writing = bool(wire.out)
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if wire.is_writing else 0)
            self._selector.modify(wire.port.fileno(), events, lambda: self._read(wire))

    def _follow_air(self) -> None:
        wanted = list(self.air.sockets())
        for gone in [each for each in self._air_sockets if each not in wanted]:
            with suppress(KeyError, ValueError):
                self._selector.unregister(gone)
        for come in [each for each in wanted if each not in self._air_sockets]:
            self._selector.register(come, selectors.EVENT_READ, lambda which=come: self.air.ready(which))
        self._air_sockets = wanted

    def close(self) -> None:
        for wire in tuple(self.wires):
            self._drop(wire)
        self.air.close()
        self._worker.close(timeout_s=5.0)
        for kept in (self.desk.text, self.desk.pieces):
            assert isinstance(kept, Kept)
            kept.close()
        if self.listener is not None:
            self.listener.close()
        self._selector.close()
        for fd in (self._wake_r, self._wake_w):
            with suppress(OSError):
                os.close(fd)


# -- the programs ------------------------------------------------------------------------------------------------------


def listening(path: Path) -> socket.socket:
    """A stale socket is replaced. Who may come: our own user, and who is in our group, as ssh's user is."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with suppress(FileNotFoundError):
        if path.is_socket():
            path.unlink()
    listener.bind(str(path))
    path.chmod(0o660)
    listener.listen(CLIENTS_MAX)
    return listener


def group_of(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def relay(path: Path, stdin: int = 0, stdout: int = 1) -> int:
    """Both ways until either end is closed. The service decides; whoever may open the socket may flash."""
    talk = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        talk.connect(str(path))
    except OSError as error:
        print(f"the update service is not there ({error.strerror}): systemctl start station-update", file=sys.stderr)
        return 1
    with talk, selectors.DefaultSelector() as selector:
        selector.register(stdin, selectors.EVENT_READ, (stdin, talk.fileno()))
        selector.register(talk, selectors.EVENT_READ, (talk.fileno(), stdout))
        while True:
            for key, _ in selector.select():
                source, target = key.data
                try:
                    data = os.read(source, READ_B)
                    while data:
                        data = data[os.write(target, data) :]
                        if not data:
                            break
                    else:
                        return 0
                except OSError:
                    return 0


def notify(said: str) -> None:
    """To systemd, if it has started us."""
    if address := os.environ.get("NOTIFY_SOCKET"):
        name = "\0" + address[1:] if address.startswith("@") else address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as talk:
            talk.sendto(said.encode(), name)


def serve(args: argparse.Namespace) -> int:
    where = facts.Where(args.board, args.config, args.vitals, args.root)
    boot_id = facts.boot_id()
    engine = Engine(args.root, facts.station(where), choice=args.choice, clock=facts.wall, boot_id=boot_id)
    courier = courier_of(engine, where, lambda: service.wake())  # noqa: PLW0108  # there is none yet
    overruled = partial(courier.overruled, "somebody at the station has flashed another build")
    anew = partial(courier.ask_restart, "idle", "the station was provisioned")
    provisioner = Provisioner(args.config, args.root, engine.trust, done=anew, group=group_of(args.agent))
    hands = Hands(engine, where, restart=courier.ask_restart, provision=provisioner.perform, staged=overruled)
    air = air_of(courier, args.orders, args.agent) if args.orders else Air()
    service = Service(hands, dict(args.serial), listening(args.socket), air)

    def end(_number: int, _frame: object) -> None:
        service.is_ending = True
        service.wake()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    notify("READY=1")
    service.run()
    engine.close()
    return 0


def courier_of(engine: Engine, where: facts.Where, wake: Callable[[], None]) -> Courier:
    def fresh() -> None:
        engine.station = facts.station(where)

    return Courier(
        engine.root, engine, lambda: trusting(facts.operator_ca(where)), clock=facts.uptime_s,
        chance=random.SystemRandom(), wake=wake, vitals=partial(facts.vitals, where), fresh=fresh,
        start_anew=start_anew, log=partial(print, flush=True),
    )  # fmt: skip


def air_of(courier: Courier, path: Path, agent: str) -> Air:
    """`agent`: the user that the agent runs as."""
    try:
        uids = [pwd.getpwnam(agent).pw_uid]
    except KeyError:
        uids = []
    door = Delivery(courier, OrderSocket(path, uids, partial(print, flush=True)))
    return Air(door.sockets, door.ready, door.due, door.aside, door.close)


def tty(text: str) -> tuple[str, int]:
    path, _, baud = text.partition("@")
    if not path.startswith("/") or not (baud or str(BAUD)).isdigit():
        raise argparse.ArgumentTypeError("a tty's path, or PATH@BAUD")
    return path, int(baud or BAUD)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="station-update", description="The station's update service.")
    commands = parser.add_subparsers(dest="command", required=True)
    serving = commands.add_parser("serve", help="own the slots; speak on serial ports and a Unix socket")
    serving.add_argument("--root", type=Path, default=ROOT, help="the slots' folder")
    serving.add_argument("--board", type=Path, default=facts.BOARD, help="the board file")
    serving.add_argument("--config", type=Path, default=facts.CONFIG, help="the agent's config file")
    serving.add_argument("--vitals", type=Path, default=facts.VITALS, help="what the agent tells of itself")
    serving.add_argument("--choice", type=Path, default=CHOICE, help="what the launcher has picked for the agent")
    serving.add_argument("--serial", type=tty, action="append", default=[], metavar="TTY[@BAUD]", help="a serial port")
    serving.add_argument("--socket", type=Path, default=SOCKET)
    serving.add_argument("--orders", type=Path, help="where the agent says what the cloud has ordered")
    serving.add_argument("--agent", default="station-agent", help="the user that the agent runs as")
    relaying = commands.add_parser("relay", help="connect stdin and stdout with the service")
    relaying.add_argument("--socket", type=Path, default=SOCKET)
    args = parser.parse_args(argv)
    return serve(args) if args.command == "serve" else relay(args.socket)


if __name__ == "__main__":
    sys.exit(main())
