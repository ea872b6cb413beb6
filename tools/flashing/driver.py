"""Runs one conversation (tools/flashing/talk.py) over one line: the only place of the tool that waits."""

import os
import select
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import IO, Any

from agent.update import line as wire
from agent.update.refusal import Refused
from tools.flashing import steps
from tools.flashing.cli import Interrupted
from tools.flashing.lines import Address, Line, opened
from tools.flashing.talk import Steps, Talk

WHO = "flash.py"
STOP_EACH_S = 0.25  # how often a conversation looks whether somebody has pressed Ctrl-C
GOODBYE_S = 1.0
AGAIN_S = 1.0  # between two attempts to reach a device


class Trace:
    """Every frame with its time, one line each: seconds, address, direction, name, seq, size, and the body of all but
    DATA in hexadecimal. Many lines may write at once."""

    def __init__(self, path: Path) -> None:
        try:
            self._file: IO[str] = path.open("w")
        except OSError as error:
            raise Refused("usage", f"{path} cannot be written ({error.strerror}): name another file") from None
        self._lock, self._began_s = threading.Lock(), time.monotonic()

    def of(self, name: str) -> Callable[[str, int, int, bytes], None]:
        def write(way: str, kind: int, seq: int, body: bytes) -> None:
            shown = "" if kind == wire.DATA else " " + body.hex()
            said = f"{time.monotonic() - self._began_s:12.6f} {name} {way} {wire.NAMES.get(kind, f'{kind:02X}')}"
            with self._lock:
                self._file.write(f"{said} {seq} {len(body)}{shown}\n")

        return write

    def close(self) -> None:
        with self._lock:
            self._file.close()


def converse(
    to: Address,
    conversation: Callable[[Talk], Steps],
    *,
    trace: Trace | None = None,
    stop: threading.Event | None = None,
    patience_s: float = wire.PATIENCE_S,
) -> Any:
    """Opens the line, has the conversation, closes the line; what the conversation returns. Refused, Interrupted."""
    talk = Talk(os.urandom(8), WHO, trace.of(str(to)) if trace else None, patience_s)
    stop = stop or threading.Event()
    with closing(opened(to)) as line:
        try:
            return run(line, talk, conversation(talk), stop)
        except (KeyboardInterrupt, Interrupted):
            with suppress(Refused, Interrupted, KeyboardInterrupt):
                run(line, talk, steps.bye(talk), threading.Event(), time.monotonic() + GOODBYE_S)
            raise Interrupted from None


def run(line: Line, talk: Talk, steps: Steps, stop: threading.Event, until_s: float | None = None) -> Any:
    out = b""
    talk.now = time.monotonic()
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
        now = time.monotonic()
        if stop.is_set() or (until_s is not None and now >= until_s):
            raise Interrupted
        try:
            out = _written(line, talk, out)
            data = _read(line, talk, bool(out))
        except (BrokenPipeError, ConnectionError, OSError):
            data = b""
        if data == b"" and not line.is_there:
            raise Refused("no-device", f"no station answers there ({line.why()}): try that address with ssh alone")
        if data == b"":
            raise Refused("link", f"the link was lost ({line.why()}); the same command goes on where it was")
        talk.receive(data or b"", time.monotonic())


def _written(line: Line, talk: Talk, out: bytes) -> bytes:
    """What the line has not taken yet."""
    with suppress(BlockingIOError):
        while out or (made := talk.pull(time.monotonic())):
            out = out or made or b""
            out = out[line.write(out) :]
    return out


def _read(line: Line, talk: Talk, is_writing: bool) -> bytes | None:
    """What has come; None: nothing, but something is due."""
    due = talk.next_deadline()
    wait_s = STOP_EACH_S if due is None else min(STOP_EACH_S, max(0.0, due - time.monotonic()))
    readable, _, _ = select.select([line.fileno()], [line.write_fileno()] if is_writing else [], [], wait_s)
    if not readable:
        return None
    with suppress(BlockingIOError):
        return line.read()
    return None


def persistent(
    to: Address,
    conversation: Callable[[Talk], Steps],
    *,
    again_for_s: float,
    lost: Callable[[Refused], None],
    trace: Trace | None = None,
    stop: threading.Event | None = None,
) -> Any:
    """The same, begun again whenever the link is lost, until for so long nothing has come of it. `lost` hears of it."""
    stop = stop or threading.Event()
    heard_s: float | None = None  # when the device was last identified and alive

    def watched(talk: Talk) -> Steps:
        nonlocal heard_s
        steps = conversation(talk)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value
            if talk.identity:
                heard_s = time.monotonic()
            yield

    while True:
        try:
            return converse(to, watched, trace=trace, stop=stop)
        except Refused as refused:
            is_lost = refused.code == "link" or (refused.code == "no-device" and heard_s is not None)
            if not is_lost or heard_s is None or time.monotonic() - heard_s > again_for_s:
                raise
            lost(refused)
            if stop.wait(AGAIN_S):
                raise Interrupted from None
