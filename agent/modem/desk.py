"""What the command line asks of the modem: the control socket's `modem` (agent/control.py).

`do` is status, signal, at or facts. A person's command goes into the keeper's queue by the host, which refuses what
would end our connection; a reading of the signal is such commands too, so the questions keep their own pace.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal, Protocol

import msgspec

from agent.control import Answer, Slow
from agent.modem import signal_verdict, watching
from agent.modem.at import Answered
from agent.modem.host import Refused
from agent.modem.parse import as_json
from agent.modem.signal_verdict import Levels
from agent.modem.status import ACTIONS_MAX, Extra, status_of
from agent.modem.told import ActionNews, Told
from agent.settings import ConfigError

SIGNAL_MAX_S = 8.0  # for one reading: three quick commands behind whatever the keeper asks
AT_MAX_S = 360.0  # AT+COPS=? may take 315 s


class HostLike(Protocol):
    """agent/modem/host.py's Host."""

    def told(self) -> Told: ...

    async def ask(self, command: str, *, force: bool = False) -> Answered: ...

    def listen(self, callback: Callable[[Any], None]) -> Callable[[], None]: ...


class Request(msgspec.Struct, frozen=True):
    do: Literal["status", "signal", "at", "facts"]
    text: Annotated[str, msgspec.Meta(max_length=500)] = ""
    force: bool = False


class Antenna:
    """Readings of one host's signal. What its modem does not know is asked once."""

    def __init__(self, host: HostLike) -> None:
        self._host = host
        self._refused: set[str] = set()
        self._modem: str | None = None

    async def read(self) -> Levels:
        """Refused: nothing can be asked now."""
        told = self._host.told()
        if told.imei != self._modem:
            self._refused.clear()
            self._modem = told.imei
        answers = []
        for command in watching.commands(told.manufacturer, self._refused):
            answer = await self._host.ask(command)
            if watching.is_refused(answer):
                self._refused.add(command)
            answers.append(answer)
        return watching.levels(answers)


class Desk:
    """Of one host. `extra` gives what the keeper does not tell, but its actions."""

    def __init__(self, host: HostLike, now: Callable[[], float], extra: Callable[[], Extra] = Extra) -> None:
        self._host, self._now, self._extra = host, now, extra
        self._antenna = Antenna(host)
        self._actions: deque[tuple[float, str]] = deque(maxlen=ACTIONS_MAX)
        host.listen(self._heard)

    def _heard(self, news: object) -> None:
        if isinstance(news, ActionNews):
            self._actions.append((self._now(), str(news.action)))

    def answer(self, request: dict[str, Any]) -> Answer | Awaitable[Answer]:
        """ConfigError."""
        try:
            wanted = msgspec.convert(request, Request)
        except msgspec.ValidationError as error:
            raise ConfigError(f'type {{"command": "modem", "do": "at", "text": "AT+CSQ"}}: {error}') from None
        match wanted.do:
            case "status":
                return self.status()
            case "signal":
                return Slow(self._signal(), SIGNAL_MAX_S + 1.0, "the modem does not answer")
            case "at":
                late = f"{shown(wanted.text)} was not answered: type station-agent modem diagnose"
                return Slow(self._at(wanted.text, wanted.force), AT_MAX_S, late)
        return {"told": facts(self._host.told()), "acknowledged": self._extra().is_acknowledged}

    def status(self) -> Answer:
        extra = msgspec.structs.replace(self._extra(), actions=tuple(self._actions))
        return status_of(self._host.told(), extra, self._now())

    async def _signal(self) -> Answer:
        """A reading; the keeper's last one where nothing can be asked."""
        told, why = self._host.told(), ""
        try:
            levels = await asyncio.wait_for(self._antenna.read(), SIGNAL_MAX_S)
        except (Refused, TimeoutError) as error:
            levels = watching.of_signal(told.signal)
            why = str(error) or "the modem is busy"
        judged = signal_verdict.judged(levels)
        return {
            **msgspec.structs.asdict(levels), "verdict": str(judged.verdict), "by": judged.by,
            "advice": judged.advice, "operator": told.operator or told.mccmnc, "generation": told.generation,
            "state": str(told.state), "stale": why,
        }  # fmt: skip

    async def _at(self, text: str, force: bool) -> Answer:
        try:
            answered = await self._host.ask(text, force=force)
        except Refused as refused:
            raise ConfigError(str(refused)) from None
        return {"sure": answered.is_sure, "final": answered.final, "lines": [as_json(line) for line in answered.lines]}


def facts(told: Told) -> dict[str, Any]:
    """A Told in JSON form; `told_of` reads it."""
    made: dict[str, Any] = msgspec.to_builtins(told)
    del made["signal"]["at"]  # on our clock, and -inf is no JSON
    return made


def told_of(answer: dict[str, Any]) -> Told:
    """ConfigError: the agent is of another version."""
    try:
        return msgspec.convert(answer, Told)
    except msgspec.ValidationError as error:
        raise ConfigError(f"the running agent is of another version ({error}): restart it") from None


def shown(command: str) -> str:
    """Without what stands behind its `=`, which may be a secret."""
    return command.partition("=")[0][:40] or "that"
