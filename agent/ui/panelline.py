"""The framebuffer's line to the panel: the screens that the agent sends, and the beats that say what is drawn of them.

`framebuffer.py` imports this when its first picture stands: an HTTP client is half of all that it imports.
"""

import http.client
import json
import queue
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

ADDRESS = re.compile(r"http://127\.0\.0\.1:([0-9]{1,5})/(?:#([A-Za-z0-9_-]{0,100}))?\s*\Z")
BEAT_S = 1.0
SILENT_S = 3.0  # without a word of the agent, which says one each second (agent/ui/web.py), it is restarting
AGAIN_S = 1.0
LINE_MAX = 1 << 20  # bytes of one event; a screen has a few thousand


@dataclass(frozen=True, slots=True)
class Address:
    port: int
    token: str  # lets beat; without it the picture is drawn all the same


def address(panel: Path) -> Address | None:
    """None while the agent has not said where its panel is."""
    with suppress(OSError):
        if found := ADDRESS.match(panel.read_text(encoding="ascii", errors="replace")[:300]):
            return Address(int(found[1]), found[2] or "")
    return None


@dataclass(frozen=True, slots=True)
class Shown:
    """A snapshot: its id, and the screen as the panel spells it."""

    id: int
    screen: bytes


def snapshots(lines: Iterator[bytes]) -> Iterator[Shown | None]:
    """Server-sent events (WHATWG HTML §9.2.6) as the panel makes them; None is a sign of life. What is no snapshot is
    passed over."""
    id_, data = 0, b""
    for line in lines:
        name, _, value = line.rstrip(b"\r\n").partition(b":")
        value = value.removeprefix(b" ")
        match name:
            case b"id" if value.isdigit() and len(value) < 16:
                id_ = int(value)
            case b"data" if len(data) + len(value) <= LINE_MAX:
                data += value
            case b"":
                if data:
                    yield Shown(id_, data)
                elif not value:
                    yield None
                data = b""


class Line:
    """A connection to the panel that is made anew whenever it ends, in a thread of its own. `news` gets what came:
    (address, Shown), or None when the agent cannot be asked."""

    def __init__(self, panel: Path) -> None:
        self.news: queue.Queue[tuple[Address, Shown] | None] = queue.Queue(maxsize=8)
        self._panel = panel
        self._stopped = Event()

    def start(self) -> None:
        Thread(target=self._run, name="line", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            if at := address(self._panel):
                with suppress(OSError, http.client.HTTPException):
                    self._listen(at)
            self.news.put(None)
            self._stopped.wait(AGAIN_S)

    def _listen(self, at: Address) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", at.port, timeout=SILENT_S)
        try:
            connection.request("GET", "/events", headers={"accept": "text/event-stream"})
            answer = connection.getresponse()
            if answer.status != 200:
                return
            for shown in snapshots(iter(lambda: answer.readline(LINE_MAX + 1), b"")):
                if self._stopped.is_set():
                    return
                if shown:
                    self.news.put((at, shown))
        finally:
            connection.close()


class Beater:
    """Says to the agent what is drawn, as the page does. Never raises: an agent that is away hears nothing."""

    def __init__(self) -> None:
        self._at: Address | None = None
        self._cookie = ""

    def say(self, at: Address, path: str, facts: dict[str, Any]) -> None:
        if not at.token:
            return
        with suppress(OSError, http.client.HTTPException):
            if at != self._at or not self._cookie:
                self._cookie = self._post(at, "/api/session", {"token": at.token}).partition(";")[0]
                self._at = at
            if self._cookie:
                self._post(at, path, facts)

    def _post(self, at: Address, path: str, facts: dict[str, Any]) -> str:
        """The cookie that is set, if one is. A refusal makes us show the token again."""
        connection = http.client.HTTPConnection("127.0.0.1", at.port, timeout=BEAT_S)
        headers = {
            "content-type": "application/json", "origin": f"http://127.0.0.1:{at.port}", "cookie": self._cookie,
        }  # fmt: skip
        try:
            connection.request("POST", path, json.dumps(facts), headers)
            answer = connection.getresponse()
            if answer.status >= 400:
                self._cookie = ""
            return answer.getheader("set-cookie", "")
        finally:
            connection.close()
