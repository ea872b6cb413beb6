"""The site extract: shown if it is whole and of the right kind, else a sentence; never more than one file is served."""

import asyncio
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.types import Message

from agent.ui.maps import STREETS
from agent.ui.site import MISSING, NAME, SIZE_MAX, Streets, checked, described, is_there
from agent.ui.web import streets_route
from tests.pmtiles import archive

SITE = archive(52.516, 13.3777)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / NAME
    file.write_bytes(SITE)
    return file


def test_an_extract_tells_which_place_it_is_of(path: Path) -> None:
    site = checked(path)
    assert site.problem == "" and site.zoom_max == 15
    assert site.covers(52.516, 13.3777) and not site.covers(52.516, 14.0)


def test_without_a_file_there_are_no_streets_and_that_is_said(tmp_path: Path) -> None:
    assert checked(tmp_path / NAME) is MISSING and not MISSING.covers(0, 0)


def test_a_hash_beside_the_file_is_held_against_it(path: Path) -> None:
    beside = path.with_name(f"{NAME}.sha256")
    beside.write_text(f"{hashlib.sha256(SITE).hexdigest()}  {NAME}\n")
    assert checked(path).problem == ""
    beside.write_text(f"{hashlib.sha256(SITE[:-1]).hexdigest()}  {NAME}\n")
    assert "damaged" in checked(path).problem
    beside.write_text("no hash")
    assert "holds no hash" in checked(path).problem


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda data: b"", "no PMTiles"),
        (lambda data: data[:60], "no PMTiles"),
        (lambda data: b"GIF89a" + data, "no PMTiles"),
        (lambda data: data[:7] + b"\x02" + data[8:], "version 3"),
        (lambda data: data[:99] + b"\x02" + data[100:], "pictures"),
        (lambda data: data[:102] + bytes(16) + data[118:], "which place"),
    ],
    ids=["empty", "cut", "another kind", "version 2", "pictures", "nowhere"],
)
def test_what_cannot_be_shown_is_refused_in_a_sentence(
    path: Path, change: Callable[[bytes], bytes], sentence: str
) -> None:
    path.write_bytes(change(SITE))
    assert sentence in checked(path).problem


def test_a_file_that_is_too_large_is_not_even_read(path: Path) -> None:
    os.truncate(path, SIZE_MAX + 1)
    assert "larger than 64 MB" in checked(path).problem


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_no_file_is_a_sentence_too_and_nobody_waits_for_it(make: Callable[[Path], None], path: Path) -> None:
    path.unlink()
    make(path)
    assert "it is no file" in checked(path).problem and not is_there(path.parent)


def test_a_hash_that_is_no_file_is_a_sentence_too(path: Path) -> None:
    os.mkfifo(path.with_name(f"{NAME}.sha256"))
    assert "it is no file" in checked(path).problem


@given(st.binary(max_size=200) | st.binary(max_size=118).map(lambda tail: SITE[:8] + tail))
def test_no_header_raises(head: bytes) -> None:
    site = described(head)
    assert site.problem or site.covers(site.south, site.west)


def test_the_file_is_looked_at_anew_when_it_has_changed(path: Path) -> None:
    streets = Streets(path.parent)
    assert streets.site().problem == "" and is_there(path.parent)
    path.write_bytes(b"something else")
    assert streets.site().problem
    path.unlink()
    assert streets.site() is MISSING and not is_there(path.parent)


# -- over HTTP --------------------------------------------------------------------------------------------------------


async def ask(folder: Path, range_: str = "", method: str = "GET") -> tuple[int, bytes, dict[str, str]]:
    app = Starlette(routes=[streets_route(Streets(folder))])
    headers = [(b"range", range_.encode())] if range_ else []
    scope = {"type": "http", "method": method, "path": STREETS, "raw_path": STREETS.encode(), "query_string": b"",
             "headers": headers, "http_version": "1.1", "scheme": "http", "server": ("127.0.0.1", 80)}  # fmt: skip
    sent: list[Message] = []

    asked = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> Message:
        if message := next(asked, None):
            return message
        await asyncio.Event().wait()  # the client stays
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], body, {k.decode(): v.decode() for k, v in sent[0]["headers"]}


def run(*args: object, **kwargs: object) -> tuple[int, bytes, dict[str, str]]:
    return asyncio.run(ask(*args, **kwargs))  # type: ignore[arg-type]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None)
@given(st.integers(0, len(SITE) - 1), st.integers(1, 5_000))
def test_any_range_of_it_is_served(path: Path, first: int, length: int) -> None:
    status, body, headers = run(path.parent, f"bytes={first}-{first + length - 1}")
    assert (status, body) == (206, SITE[first : first + length])
    assert headers["content-range"].endswith(f"/{len(SITE)}")


def test_what_is_not_shown_is_not_served(path: Path) -> None:
    assert run(path.parent)[:2] == (200, SITE)
    assert run(path.parent, method="POST")[0] == 405
    path.write_bytes(b"something else")
    status, body, _ = run(path.parent)
    assert status == 404 and b"no PMTiles" in body
