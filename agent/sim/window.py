"""A window onto a station's own panel, for a page that shows it in a frame. Development only.

The panel lets nobody frame it (`frame-ancestors 'none'`), and stays so. This relay serves it on a port of its own,
byte for byte, but for that one header, which then names the workbench's page.
"""

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

BODY_MAX = 65_536
HEAD_MAX = 16_384
PIECE_B = 65_536
ANSWER_S = 5.0  # until the head of an answer is there
FORWARDED = ("content-type", "accept", "range", "if-none-match", "last-event-id", "sec-fetch-site", "cookie")
KEPT_BACK = ("connection", "x-frame-options", "content-security-policy", "transfer-encoding")

DISPLAYS = {"800x480": 154, "480x272": 95, "1024x600": 154, "1280x800": 217}  # pixels, and millimetres of width

DARK = """<!doctype html><html lang="en"><meta charset="utf-8"><title>dark</title><script src="/dark.js"></script>
<body bgcolor="#000000" text="#8a97a5"><p>The display is dark: no power, or no agent yet.</p></body></html>"""
AGAIN = "setTimeout(() => location.reload(), 1000);"  # not by <meta>: what stands behind # must stay


class PanelWindow:
    """`panel_port` tells where the panel listens now; `ancestor` is the origin of the page that may frame it. `size`: a
    display of DISPLAYS in place of the board's own."""

    def __init__(self, panel_port: Callable[[], int]) -> None:
        self._panel_port = panel_port
        self.port = 0  # ours, once it is served
        self.ancestor = "'none'"
        self.size = next(iter(DISPLAYS))

    def screen(self) -> dict[str, Any] | None:
        """The ScreenModel as the panel serves it; None while there is none."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._panel_port()}/api/screen", timeout=2) as answer:
                model: dict[str, Any] = json.load(answer)
                return model
        except (OSError, ValueError):
            return None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        answer = await self._relayed(request)
        await answer(scope, receive, send)

    async def _relayed(self, request: Request) -> Response:
        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > BODY_MAX:
                return PlainTextResponse(f"At most {BODY_MAX} bytes.\n", 413)
        if request.url.path == "/api/profile":
            width_px, height_px = map(int, self.size.split("x"))
            return JSONResponse({"width_px": width_px, "height_px": height_px, "width_mm": DISPLAYS[self.size]})
        if request.url.path == "/dark.js":
            return Response(AGAIN, media_type="text/javascript")
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(ANSWER_S):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._panel_port(), limit=HEAD_MAX)
                writer.write(self._head(request, len(body)) + body)
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError):
            if writer is not None:
                writer.close()
            is_page = request.method == "GET" and request.url.path == "/"
            policy = {"content-security-policy": f"default-src 'self'; frame-ancestors {self.ancestor}"}
            if is_page:
                return HTMLResponse(DARK, headers=policy)
            return PlainTextResponse("The panel does not answer.\n", 502)
        answer = StreamingResponse(pieces(reader, writer), int(head[0].split(" ")[1]))
        answer.raw_headers = self._headers(head[1:])
        return answer

    def _head(self, request: Request, length: int) -> bytes:
        """HTTP/1.0: an answer of unknown length ends with the connection."""
        host = f"127.0.0.1:{self._panel_port()}"
        path, query = request.scope["raw_path"].decode("latin-1"), request.scope["query_string"].decode("latin-1")
        lines = [f"{request.method} {path}{'?' if query else ''}{query} HTTP/1.0", f"host: {host}"]
        lines += [f"{name}: {request.headers[name]}" for name in FORWARDED if name in request.headers]
        if "origin" in request.headers:  # its own, as agent/sim/workbench.py has seen to
            lines.append(f"origin: http://{host}")
        if length or request.method == "POST":
            lines.append(f"content-length: {length}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _headers(self, lines: list[str]) -> list[tuple[bytes, bytes]]:
        named = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines) if name]
        policy = next((value for name, value in named if name == "content-security-policy"), "default-src 'self'")
        policy = policy.replace("frame-ancestors 'none'", f"frame-ancestors {self.ancestor}")
        kept = [*((name, value) for name, value in named if name not in KEPT_BACK), ("content-security-policy", policy)]
        return [(name.encode(), value.encode("latin-1")) for name, value in kept]


async def pieces(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> AsyncIterator[bytes]:
    try:
        while piece := await reader.read(PIECE_B):
            yield piece
    except OSError:  # the agent was killed: the page sees its stream end
        return
    finally:
        writer.close()

