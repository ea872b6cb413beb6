"""What of a bearer only root may do: pppd, a DHCP client, a route, resolvers. station-bearer.service, or a child.

The agent has no privilege at all, so it asks this helper, over a Unix socket that systemd opens to the agent's user
alone (board/systemd/station-bearer.socket); an agent that is root itself, on an engineer's table, starts it as a child.
One connection is one bearer (agent/modem/links/orders.py), one at a time; when its other end goes, killed or not,
everything is taken back: the child ends, then address, route and resolvers go. Killed itself, it takes its child with
it (PR_SET_PDEATHSIG, by setpriv), and its next start undoes what it finds in RUN.

What it is asked is believed only as far as `orders` and `pppd.refusal` check it: the options of pppd are made here.
"""

import asyncio
import os
import shutil
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec

from agent.modem.events import Cause
from agent.modem.links import changes, leases, orders, pppd
from agent.modem.links.changes import Change, Kept
from agent.modem.links.orders import Dhcp, Down, Fell, Note, Order, Ppp, Static, Up, Word

SOCKET, RUN = Path("/run/station-bearer.sock"), Path("/run/station-bearer")
NET, PROC = Path("/sys/class/net"), Path("/proc")
RESOLVED = Path("/run/systemd/resolve")  # it is there while systemd-resolved is
FIRST_FD = 3  # sd_listen_fds(3)
RISE_S = 75.0  # for an address; pppd gives up LCP after 30 s
SETTLE_S = 0.2  # pppd says its resolvers right after its address
END_S = 7.0  # for a child to end by itself: LCP's goodbye is 2 × 3 s
LOOK_S, LOOKS = 2.0, 2  # an interface that is gone or without carrier so often has ended
COMMAND_S = 5.0  # for ip(8) and resolvectl(1)
CONNECTIONS_MAX = 4  # one bears, one waits for its end; more are nobody's
ORDER_S = 10.0  # for the order, once somebody has connected
IDLE_S = 5.0  # without a connection, then systemd starts us again


class Ended(Exception):
    """The bearer is over: why."""

    def __init__(self, cause: Cause, why: str = "") -> None:
        super().__init__(why)
        self.fell = Fell(cause, why)


class Ledger:
    """What is changed, on the disk before it is done."""

    def __init__(self, run: Path) -> None:
        self._file = run / "kept.json"
        self._kept = Kept()
        run.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def child(self) -> tuple[int, int] | None:
        return self._kept.child

    def load(self) -> None:
        with suppress(OSError):
            self._kept = changes.kept(self._file.read_bytes())

    def has_child(self, child: tuple[int, int] | None) -> None:
        self._keep(Kept(self._kept.changes, child))

    async def make(self, wanted: Iterable[Change], say: Callable[[Word], None]) -> None:
        """Ended: an address or a route could not be set. Without its resolvers a bearer carries all the same."""
        for change in wanted:
            self._keep(Kept((*self._kept.changes, change), self._kept.child))
            if said := await command(change.do):
                wrong = f"{' '.join(change.do)}: {said}"
                if change.do[0] == "ip":
                    raise Ended(Cause.SYSTEM, wrong)
                say(Note(wrong))

    async def undo(self, keep: int = 0) -> None:
        """All but the first `keep`. What cannot be undone has gone with its interface, or was never done."""
        if len(self._kept.changes) <= keep:
            return
        for words in changes.undoing(self._kept.changes[keep:]):
            await command(words)
        self._keep(Kept(self._kept.changes[:keep], self._kept.child))

    def _keep(self, kept: Kept) -> None:
        self._kept = kept
        half = self._file.with_suffix(".half")
        half.write_bytes(msgspec.json.encode(kept))
        half.replace(self._file)


async def command(words: tuple[str, ...]) -> str:
    """What it says if it fails, or its program is not there."""
    try:
        child = await asyncio.create_subprocess_exec(*words, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT)
    except OSError as error:
        return f"{words[0]}: {error.strerror}"
    try:
        said, _ = await asyncio.wait_for(child.communicate(), COMMAND_S)
    except TimeoutError:
        return f"no answer for {COMMAND_S:.0f} s"
    finally:
        if child.returncode is None:
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()
    return said.decode(errors="replace").strip()[:200] or f"exit code {child.returncode}" if child.returncode else ""


# -- one connection ---------------------------------------------------------------------------------------------------


class Connection:
    """From the order to Fell."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ledger: Ledger, run: Path) -> None:
        self._reader, self._writer, self._ledger, self._run = reader, writer, ledger, run
        self._base = 0  # changes that outlive a lease

    async def serve(self) -> None:
        """Nothing is left when it returns, nor when it is cancelled."""
        fell = Fell(Cause.ASKED)
        try:
            fell = await self._served(await self._order())
        finally:
            await self._ledger.undo()
            self._say(fell)
            with suppress(OSError):
                await self._writer.drain()
            self._writer.close()

    async def _served(self, wanted: Order | str) -> Fell:
        if isinstance(wanted, str | Down):
            return Fell(Cause.SYSTEM, wanted) if isinstance(wanted, str) else Fell(Cause.ASKED)
        both = asyncio.ensure_future(self._listen()), asyncio.ensure_future(self._bear(wanted))
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            is_asked = both[0].done()
        finally:
            for each in both:
                each.cancel()
            _, result = await asyncio.gather(*both, return_exceptions=True)
        match result:
            case _ if is_asked:
                return Fell(Cause.ASKED)
            case Ended():
                return result.fell
        return Fell(Cause.FAILED, f"the bearer's helper has failed: {result!r}"[:200])

    async def _order(self) -> Order | str:
        with suppress(TimeoutError):
            async with asyncio.timeout(ORDER_S):
                return orders.order(await self._line())
        return "no order has come"

    async def _line(self) -> bytes:
        with suppress(asyncio.LimitOverrunError, ValueError, OSError):
            return await self._reader.readline()
        return b""

    async def _listen(self) -> None:
        """Until the other end says Down, or is gone."""
        while (data := await self._line()) and not isinstance(orders.order(data), Down):
            pass

    async def _bear(self, wanted: Order) -> None:
        match wanted:
            case Ppp():
                await self._ppp(wanted)
            case Dhcp():
                await self._raised(wanted.interface)
                await self._dhcp(wanted)
            case Static():
                await self._raised(wanted.interface)
                await self._static(wanted)

    def _say(self, word: Word) -> None:
        if not self._writer.is_closing():
            self._writer.write(orders.line(word))

    # -- PPP ----------------------------------------------------------------------------------------------------------

    async def _ppp(self, wanted: Ppp) -> None:
        call = pppd.Call(wanted.tty, wanted.username, wanted.password, wanted.mtu)
        if why := pppd.refusal(call):
            raise Ended(Cause.SYSTEM, why)
        link = pppd.Link()
        secret = memory_file(pppd.secrets(call))
        words = [program("pppd"), *pppd.options(call), "logfd", "1"]
        words += ["file", f"/proc/self/fd/{secret}"] if secret else []
        try:
            async with self._child(words, (secret,) if secret else ()) as child:
                assert child.stdout
                clock = asyncio.get_running_loop().time
                deadline, is_told = clock() + RISE_S, False
                while True:
                    until = None if is_told else clock() + SETTLE_S if link.is_up else deadline
                    try:
                        async with asyncio.timeout_at(until):
                            data = await child.stdout.readline()
                    except TimeoutError:
                        if not link.is_up:
                            raise Ended(Cause.FAILED, "pppd has no address after a minute") from None
                        await self._up(link.interface, link.address, link.dns, wanted.metric)
                        is_told = True
                        continue
                    if not data:
                        break
                    line = data.decode(errors="replace").rstrip()
                    link = pppd.heard(link, line)
                    self._say(Note(f"pppd: {line[:200]}"))
                code = await child.wait()
        finally:
            if secret:
                os.close(secret)
        raise Ended(*pppd.ended(code, link, is_asked=False))

    async def _up(self, interface: str, address: str, dns: tuple[str, ...], metric: int) -> None:
        await self._ledger.make(changes.of_ppp(interface, metric, dns, RESOLVED.exists()), self._say)
        self._say(Up(interface, address, dns))

    # -- DHCP ---------------------------------------------------------------------------------------------------------

    async def _raised(self, interface: str) -> None:
        if not (NET / interface).exists():
            raise Ended(Cause.FAILED, f"{interface} is not there: the modem has gone, or has another name")
        if not flags(interface) & 1:  # IFF_UP
            await self._ledger.make([changes.raised(interface)], self._say)
            self._base = 1

    async def _static(self, wanted: Static) -> None:
        """Until the interface goes."""
        lease = leases.Lease(wanted.address, wanted.prefix, wanted.router, wanted.dns, wanted.mtu)
        await self._leased(wanted, lease)
        gone, never = 0, asyncio.Event()
        while gone < LOOKS:
            with suppress(TimeoutError):
                await asyncio.wait_for(never.wait(), LOOK_S)
            gone = 0 if has_carrier(wanted.interface) else gone + 1
        raise Ended(Cause.ENDED, f"{wanted.interface} is gone, or has no carrier")

    async def _dhcp(self, wanted: Dhcp) -> None:
        interface = wanted.interface
        script = self._run / "lease"
        script.write_text(leases.SCRIPT)
        script.chmod(0o700)
        busybox = program("busybox")
        words = [busybox, "udhcpc", "-f", "-R", "-i", interface, "-s", str(script), "-t", "5", "-T", "3", "-A", "5"]
        async with self._child(words) as child:
            await self._lease(child, wanted)

    async def _lease(self, child: Process, wanted: Dhcp) -> None:
        assert child.stdout
        held: leases.Lease | None = None
        deadline, gone = asyncio.get_running_loop().time() + RISE_S, 0
        reading = asyncio.ensure_future(child.stdout.readline())
        try:
            while True:
                await asyncio.wait((reading,), timeout=LOOK_S)
                if not reading.done():
                    gone = 0 if has_carrier(wanted.interface) else gone + 1
                    if held is not None and gone >= LOOKS:
                        raise Ended(Cause.ENDED, f"{wanted.interface} is gone, or has no carrier")
                    if held is None and asyncio.get_running_loop().time() >= deadline:
                        raise Ended(Cause.FAILED, f"the modem gives no address on {wanted.interface}")
                    continue
                if not (data := reading.result()):
                    break
                reading = asyncio.ensure_future(child.stdout.readline())
                heard = leases.heard(data.decode(errors="replace"))
                if isinstance(heard, leases.Lost) and held is not None:
                    raise Ended(Cause.ENDED, "the modem has taken its address back")
                if isinstance(heard, leases.Lease) and heard != held:
                    await self._leased(wanted, heard)
                    held = heard
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        if await child.wait() == pppd.MISSING:
            raise Ended(Cause.SYSTEM, "there is no DHCP client: type apt-get install busybox-static")
        raise Ended(Cause.FAILED, "the DHCP client has ended by itself")

    async def _leased(self, wanted: Dhcp | Static, lease: leases.Lease) -> None:
        """The first address, or another one in place of it."""
        await self._ledger.undo(keep=self._base)
        of_lease = changes.of_lease(wanted.interface, wanted.metric, lease, RESOLVED.exists(), mtu(wanted.interface))
        await self._ledger.make(of_lease, self._say)
        self._say(Up(wanted.interface, lease.address, lease.dns))

    # -- a child ------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _child(self, words: list[str], fds: tuple[int, ...] = ()) -> AsyncIterator[Process]:
        """Ends with us, however we end: by SIGTERM while we can, by PR_SET_PDEATHSIG if we are killed."""
        guarded = ("setpriv", "--pdeathsig", "TERM", *words)
        child = await asyncio.create_subprocess_exec(
            *guarded, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, pass_fds=fds, env=ENVIRONMENT, start_new_session=True
        )
        with suppress(OSError):
            if began := changes.started((PROC / str(child.pid) / "stat").read_text()):
                self._ledger.has_child((child.pid, began))
        try:
            yield child
        finally:
            await ended(child)
            self._ledger.has_child(None)


ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


def program(name: str) -> str:
    """Its path; else its name, which setpriv then does not find."""
    return shutil.which(name, path=f"{ENVIRONMENT['PATH']}:{os.environ.get('PATH', '')}") or name


def memory_file(text: str) -> int | None:
    """A file that no disk holds, for one child alone."""
    if not text:
        return None
    fd = os.memfd_create("options")
    os.write(fd, text.encode())
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


async def ended(child: Process) -> None:
    """Asked once, then killed. Its last words are read, or it would wait for them to be."""
    if child.returncode is not None:
        return
    with suppress(ProcessLookupError):
        child.terminate()
    with suppress(TimeoutError):
        await asyncio.wait_for(child.communicate(), END_S)
    if child.returncode is None:
        with suppress(ProcessLookupError):
            child.kill()
        await child.wait()


def flags(interface: str) -> int:
    try:
        return int((NET / interface / "flags").read_text(), 16)
    except (OSError, ValueError):
        return 0


def mtu(interface: str) -> int | None:
    try:
        return int((NET / interface / "mtu").read_text())
    except (OSError, ValueError):
        return None


def has_carrier(interface: str) -> bool:
    try:
        return (NET / interface / "carrier").read_text().strip() == "1"
    except OSError:
        return False


# -- all connections --------------------------------------------------------------------------------------------------


class Service:
    """One bearer at a time; who comes meanwhile waits until the one before is gone, which its end is."""

    def __init__(self, run: Path = RUN) -> None:
        self._run = run
        self._ledger = Ledger(run)
        self._lock = asyncio.Lock()
        self._is_clean = False
        self.connections = 0
        self.left = asyncio.Event()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.connections >= CONNECTIONS_MAX:
            writer.close()
            return
        self.connections += 1
        try:
            async with self._lock:
                await self._clean()
                await Connection(reader, writer, self._ledger, self._run).serve()
        except asyncio.CancelledError:
            writer.close()  # the service ends, and has taken everything back
        finally:
            self.connections -= 1
            self.left.set()

    async def _clean(self) -> None:
        """What a run before us has left: its child, if that is really it, then what it has changed."""
        if self._is_clean:
            return
        self._is_clean = True
        self._ledger.load()
        if self._ledger.child:
            await self._end_leftover(*self._ledger.child)
            self._ledger.has_child(None)
        await self._ledger.undo()
        await command(("ip", "-4", "route", "flush", "proto", changes.PROTO))

    async def _end_leftover(self, pid: int, began: int) -> None:
        waiting = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGKILL):
            for _ in range(int(END_S / 0.1)):
                try:
                    if changes.started((PROC / str(pid) / "stat").read_text()) != began:
                        return
                    os.kill(pid, number)
                except OSError:
                    return
                with suppress(TimeoutError):
                    await asyncio.wait_for(waiting.wait(), 0.1)


async def serve_one(line: socket.socket, run: Path) -> None:
    """As a child, until its other end is gone."""
    ends_orderly()
    reader, writer = await asyncio.open_connection(sock=line, limit=orders.LINE_MAX_B)
    await Service(run).connected(reader, writer)


async def serve(listener: socket.socket, run: Path = RUN, idle_s: float = IDLE_S) -> None:
    """Until nobody is there for a while: systemd starts us again."""
    ends_orderly()
    service = Service(run)
    server = await asyncio.start_unix_server(service.connected, sock=listener, limit=orders.LINE_MAX_B)
    async with server:
        while True:
            service.left.clear()
            try:
                await asyncio.wait_for(service.left.wait(), idle_s)
            except TimeoutError:
                if not service.connections:
                    return


def ends_orderly() -> None:
    """SIGTERM cancels all that runs, and so takes everything back."""
    current = asyncio.current_task()
    assert current
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, current.cancel)


def main(argv: list[str] | None = None) -> int:
    """What station-bearer.service runs; `--child FD RUN` is the agent's own way."""
    match sys.argv[1:] if argv is None else argv:
        case ["--child", fd, run]:
            with suppress(KeyboardInterrupt, asyncio.CancelledError):
                asyncio.run(serve_one(socket.socket(fileno=int(fd)), Path(run)))
            return 0
        case [] if os.environ.get("LISTEN_FDS") == "1" and os.environ.get("LISTEN_PID") == str(os.getpid()):
            with suppress(asyncio.CancelledError):
                asyncio.run(serve(socket.socket(fileno=FIRST_FD)))
            return 0
    print("it is started by systemd: type systemctl enable --now station-bearer.socket", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
