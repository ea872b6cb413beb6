"""The local control socket: the command line asks the running agent.

A Unix socket, 0600; besides the file's mode the kernel says who calls (SO_PEERCRED), and only root and the agent's own
user are answered. One connection, one request: a line of JSON, answered by a line of JSON; an answer with the key
"error" is a sentence for the operator. What a client sends wrong costs that client its answer, nobody else anything.
"""

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable, Generator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict
from difflib import get_close_matches
from errno import EADDRINUSE
from pathlib import Path
from typing import Annotated, Any

import msgspec

from agent import dataplan, deadletters, selftest
from agent.clock import WALL_MAX_S
from agent.events import Entry
from agent.explain import at_time, card_of, clock_text, explain, life_text, plan_text
from agent.outbox import DeadLetter, StoreError
from agent.policy.freshness import age_s
from agent.policy.id_token import masked
from agent.policy.plan_token import Refused, Token
from agent.port import faults
from agent.settings import ConfigError, shown
from agent.sockets import peer_uid
from agent.station import Station, charging_state
from agent.terms import status
from agent.uplink.cwt import TOKEN_MAX

REQUEST_MAX = 65_536  # bytes of one line; ours have a hundred
ANSWER_MAX = 1_048_576
CLIENTS_MAX = 8  # one more is told so and hung up on
IDLE_S = 5.0  # for a whole line to come, and for an answer to be taken

Answer = dict[str, Any]
Handler = Callable[[dict[str, Any]], Answer | Awaitable[Answer]]  # awaited: what another thread has to look up


class Slow:
    """An answer that takes longer than a disk; `late` is what to say if it takes longer than `timeout_s`."""

    def __init__(self, answer: Awaitable[Answer], timeout_s: float, late: str) -> None:
        self.answer, self.timeout_s, self.late = answer, timeout_s, late

    def __await__(self) -> Generator[Any, None, Answer]:
        return self.answer.__await__()


DISK = "the disk does not answer: look into journalctl -k"


class ControlServer:
    """Answers on the Unix socket `path`. Handlers run on the loop: they are quick and raise only ConfigError."""

    def __init__(
        self, path: Path, handlers: Mapping[str, Handler], *, idle_s: float = IDLE_S, owner: int | None = None
    ) -> None:
        self.path = path
        self.handlers = handlers
        self.idle_s = idle_s
        self.owner = os.getuid() if owner is None else owner
        self.clients = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """ConfigError if there can be no socket at `path`."""
        listener = listening(self.path)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=REQUEST_MAX)

    async def close(self) -> None:
        """No more clients; those that are here end with their own timeouts. The file goes."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self.path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.clients += 1
        try:
            answer = await self._answer(reader, writer.get_extra_info("socket"))
            if answer is not None:
                writer.write(json.dumps(answer).encode() + b"\n")
            writer.close()
            await asyncio.wait_for(writer.wait_closed(), self.idle_s)
        except (TimeoutError, OSError):  # too slow, or gone: the client's own affair
            writer.transport.abort()
        finally:
            self.clients -= 1

    async def _answer(self, reader: asyncio.StreamReader, peer: socket.socket) -> dict[str, Any] | None:
        if self.clients > CLIENTS_MAX:
            return {"error": f"{CLIENTS_MAX} others are asking just now: try again"}
        if peer_uid(peer) not in (0, self.owner):
            return {"error": "only root and the agent's own user may ask: type sudo before the command"}
        try:
            line = await asyncio.wait_for(reader.readline(), self.idle_s)
        except ValueError:  # longer than the reader's limit
            return {"error": f"a request has at most {REQUEST_MAX} bytes"}
        if not line.endswith(b"\n"):
            return None  # it went away in the middle of a line
        answer = self.answer(line)
        return await self._awaited(answer) if isinstance(answer, Awaitable) else answer

    async def _awaited(self, answer: Awaitable[Answer]) -> Answer:
        timeout_s, late = (answer.timeout_s, answer.late) if isinstance(answer, Slow) else (self.idle_s, DISK)
        try:
            return await asyncio.wait_for(answer, timeout_s)
        except TimeoutError:
            return {"error": late}
        except (ConfigError, StoreError) as error:
            return {"error": str(error)}

    def answer(self, line: bytes) -> Answer | Awaitable[Answer]:
        """One request line's answer; of any bytes."""
        try:
            request = json.loads(line)
        except (ValueError, RecursionError) as error:
            return {"error": f"a request is one line of JSON: {str(error)[:100]}"}
        command = request.get("command") if isinstance(request, dict) else None
        if not isinstance(command, str):
            return {"error": f'a request is {{"command": "…"}}; commands are {", ".join(sorted(self.handlers))}'}
        if command not in self.handlers:
            near = get_close_matches(command[:100], self.handlers, 1)
            hint = f"did you mean {near[0]}?" if near else f"commands are {', '.join(sorted(self.handlers))}"
            return {"error": f"unknown command {shown(command)}: {hint}"}
        try:
            return self.handlers[command](request)
        except ConfigError as error:
            return {"error": str(error)}


def listening(path: Path) -> socket.socket:
    """A listening socket at `path`, nobody else's to open from its first instant; a stale one is replaced."""
    if is_listening(path):
        raise ConfigError(f"another agent listens at {path}: type systemctl stop station-agent")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    umask = os.umask(0o177)
    try:
        if path.is_socket():
            path.unlink()
        listener.bind(str(path))
        listener.listen(CLIENTS_MAX)
    except OSError as error:
        listener.close()
        why = "that is another file" if error.errno == EADDRINUSE else error
        raise ConfigError(f"no control socket at {path} ({why}): set [paths] control to a file we may make") from None
    finally:
        os.umask(umask)
    return listener


def is_listening(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as talk:
        talk.setblocking(False)
        try:
            talk.connect(str(path))
        except BlockingIOError:  # so many ask already that this one would have to wait
            return True
        except OSError:
            return False
        return True


def ask(path: Path, request: Mapping[str, Any], timeout_s: float) -> dict[str, Any] | None:
    """The running agent's answer; None if no agent is running: no socket, or a stale one that nobody listens at.

    An agent that refuses, hangs or talks nonsense is running: the answer then is {"error": sentence}.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as talk:
        talk.settimeout(timeout_s)
        try:
            talk.connect(str(path))
            with suppress(BrokenPipeError):  # it has answered and hung up before we asked: so many ask just now
                talk.sendall(json.dumps(request).encode() + b"\n")
            line = talk.makefile("rb").readline(ANSWER_MAX)
            answer = json.loads(line)
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        except PermissionError:
            return {"error": f"{path} may not be opened: type sudo before the command"}
        except TimeoutError:
            return {"error": f"the agent did not answer within {timeout_s:g} s: type systemctl status station-agent"}
        except (OSError, ValueError, RecursionError) as error:
            return {"error": f"no answer from the agent at {path}: {error}"}
    return answer if isinstance(answer, dict) else {"error": f"no answer from the agent at {path}"}


# -- what the running agent answers ------------------------------------------------------------------------------------


class ExplainRequest(msgspec.Struct, frozen=True):
    card: str
    port: int | None = None
    at_s: Annotated[float, msgspec.Meta(gt=0, lt=WALL_MAX_S)] | None = None  # seconds since 1970


def control_handlers(
    get_station: Callable[[], Station],
    lookup: Callable[[str], tuple[Entry | None, Entry | None]],
    clock: Callable[[], float],
    more: Callable[[], dict[str, Any]] = dict,
) -> dict[str, Handler]:
    """`status` and `explain`. `lookup` gives what list and cache say, `more` what the shell adds to the status."""

    def explained(request: dict[str, Any]) -> dict[str, Any]:
        return explain_request(get_station(), lookup, request, clock())

    return {"status": lambda _: {**status_of(get_station(), clock()), **more()}, "explain": explained}


class DeadLettersRequest(msgspec.Struct, frozen=True):
    after_id: Annotated[int, msgspec.Meta(ge=0, le=2**53)] = 0


def dead_letters_handler(read: Callable[[int, int], "Future[list[DeadLetter]]"]) -> Handler:
    """`deadletters`: a page of them; the next one is asked for with the last id, until one is empty."""

    async def answered(request: DeadLettersRequest) -> Answer:
        letters = await asyncio.wrap_future(read(request.after_id, deadletters.PAGE_B))
        return {"letters": [deadletters.shown(letter) for letter in letters]}

    def asked(request: dict[str, Any]) -> Awaitable[Answer]:
        try:
            return answered(msgspec.convert(request, DeadLettersRequest))
        except msgspec.ValidationError as error:
            raise ConfigError(f'type {{"command": "deadletters", "after_id": 0}}: {error}') from None

    return asked


class PlanRequest(msgspec.Struct, frozen=True):
    token: Annotated[str, msgspec.Meta(max_length=TOKEN_MAX)]


def plan_handler(take: Callable[[str, Callable[[Token | Refused], None]], None]) -> Handler:
    """`plan`: a token that somebody has brought in a file. `take` says why not, or what it is when it is on disk."""

    def asked(request: dict[str, Any]) -> Awaitable[Answer]:
        try:
            token = msgspec.convert(request, PlanRequest).token
        except msgspec.ValidationError as error:
            raise ConfigError(f'type {{"command": "plan", "token": "…"}}: {error}') from None
        said: asyncio.Future[Token | Refused] = asyncio.get_running_loop().create_future()

        def taken(judged: Token | Refused) -> None:
            if not said.done():  # else nobody waits any more
                said.set_result(judged)

        take(token, taken)
        return answered(said)

    async def answered(said: "asyncio.Future[Token | Refused]") -> Answer:
        judged = await said
        return {"error": str(judged)} if isinstance(judged, Refused) else {"status": "Accepted"}

    return asked


def explain_request(
    station: Station,
    lookup: Callable[[str], tuple[Entry | None, Entry | None]],
    request: Mapping[str, Any],
    now: float,
) -> dict[str, Any]:
    """An Explanation in JSON form. ConfigError."""
    try:
        wanted = msgspec.convert(request, ExplainRequest)
    except msgspec.ValidationError as error:
        raise ConfigError(f'type {{"command": "explain", "card": "04A2…", "port": 1, "at_s": 0.0}}: {error}') from None
    card = card_of(wanted.card)
    explanation = explain(at_time(station, wanted.at_s, now), card, *lookup(card), wanted.port, now)
    made: dict[str, Any] = msgspec.to_builtins(explanation)
    return made


def update_of(station: Station) -> dict[str, Any] | None:
    """What the cloud has ordered last, and how far it is."""
    update, told = station.update, station.updater
    if update is None:
        return None
    is_its = told is not None and told.order == update.order
    return {
        "request_id": update.request_id,
        "url": update.url,
        "status": update.told and str(update.told),
        "why": update.why,
        "received_b": told.received_b if told and is_its else None,
        "wanted_b": told.wanted_b if told and is_its else None,
        "updater": told is not None,
    }


def status_of(station: Station, now: float) -> dict[str, Any]:
    """What the core knows, for `station-agent status` and the doctor. Times are ages in seconds."""
    return {
        "station_id": station.settings.station_id,
        "link": str(station.link),
        "store_ok": station.store_ok,
        "clock": clock_text(station, now),
        "life": life_text(station),
        "plan": plan_text(station, now),
        "list_generation": station.allowlist.generation,
        "list_version": station.allowlist.version,
        "list_hash": station.allowlist.hash,
        "list_freshness": station.list_word.freshness.name.capitalize(),
        "list_entries": station.allowlist.entries,
        "list_age_s": age_s(station.allowlist, station.clock, now),
        "controller": station.controller is not None and not any(port.lost for port in station.ports),
        "ports": [
            {
                "evse_id": port.evse_id,
                "status": str(status(station, port)),
                "charging_state": str(charging_state(station, port)),
                "faults": sorted(faults(port)),
                "id_token": masked(port.transaction.id_token) if port.transaction else None,
                "transaction_id": port.transaction.transaction_id if port.transaction else None,
                "power_w": port.report.power_w if port.report else None,
                "energy_wh": port.report.energy_wh if port.report else None,
            }
            for port in station.ports
        ],
        "modem": asdict(station.modem) if station.machine.has_modem else None,
        "update": update_of(station),
        "data": dataplan.told(station),
        "self_test": [asdict(part) for part in selftest.results(station, now)],
    }
