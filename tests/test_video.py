"""The station plays the operator's video if it is the one that the operator meant, and always has one to play."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops

from agent.ui.video import BUILT_IN, FILM, FILM_MAX, MANIFEST, MANIFEST_MAX, check, chosen
from tools.make_video import END, FPS, frame

HEAD = b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\xf7\x81\x01\x42\xf2\x81\x04\x42\xf3\x81\x08\x42\x82\x84webm"
WEBM = HEAD + bytes(99)


def put(folder: Path, film: bytes = WEBM, /, **said: Any) -> Path:
    """A film, and what its manifest says of it."""
    (folder / FILM).write_bytes(film)
    manifest = {"file": FILM, "sha256": hashlib.sha256(film).hexdigest(), "seconds": 20.0, **said}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


def told(folder: Path) -> str:
    """What is logged when the built-in video is played instead; exactly one sentence."""
    lines: list[str] = []
    assert chosen(folder, lines.append) == BUILT_IN / FILM
    assert len(lines) == 1 and "\n" not in lines[0] and lines[0].endswith(".") and str(folder / FILM) in lines[0]
    return lines[0]


def test_the_built_in_video_is_what_its_manifest_says() -> None:
    manifest = check(BUILT_IN)
    assert 20 <= manifest.seconds <= 30
    assert (BUILT_IN / FILM).stat().st_size <= 600_000


def test_the_operators_video_is_played(tmp_path: Path) -> None:
    lines: list[str] = []
    assert chosen(put(tmp_path), lines.append) == tmp_path / FILM and not lines


def test_without_one_there_is_nothing_to_say(tmp_path: Path) -> None:
    lines: list[str] = []
    assert chosen(tmp_path, lines.append) == chosen(tmp_path / "nowhere", lines.append) == BUILT_IN / FILM
    assert not lines


@pytest.mark.promise("S9")
@pytest.mark.parametrize(
    ("said", "word"),
    [
        ({"sha256": "0" * 64}, "copy both again"),
        ({"sha256": "F" * 64}, "docs/panel.md"),
        ({"file": "../../station.db"}, "called how.webm"),
        ({"seconds": 0}, "docs/panel.md"),
        ({"seconds": None}, "docs/panel.md"),
        ({"file": "x" * MANIFEST_MAX}, "at most"),
    ],
)
def test_a_manifest_that_is_not_of_this_film_is_said(tmp_path: Path, said: dict[str, Any], word: str) -> None:
    assert word in told(put(tmp_path, **said))


@pytest.mark.promise("S9")
def test_a_film_that_was_cut_off_is_not_played(tmp_path: Path) -> None:
    (put(tmp_path) / FILM).write_bytes(WEBM[:-1])
    assert "copy both again" in told(tmp_path)


@pytest.mark.promise("S9")
@pytest.mark.parametrize("film", [b"", b"\x00\x00\x00\x18ftypmp42", WEBM[1:], b"webm" + WEBM[4:], WEBM[:20]])
def test_another_kind_of_file_is_not_played(tmp_path: Path, film: bytes) -> None:
    assert "no WebM file" in told(put(tmp_path, film))


@pytest.mark.promise("S9", "S10")
def test_a_film_that_is_too_large_is_not_even_read(tmp_path: Path) -> None:
    os.truncate(put(tmp_path) / FILM, FILM_MAX + 1)
    assert "20,000,000 bytes" in told(tmp_path)


@pytest.mark.promise("S9")
@pytest.mark.parametrize("name", [FILM, MANIFEST])
def test_half_of_the_two_files_is_said(tmp_path: Path, name: str) -> None:
    (put(tmp_path) / name).unlink()
    assert f"{name}: No such file" in told(tmp_path)


@pytest.mark.promise("S9")
@pytest.mark.parametrize("name", [FILM, MANIFEST])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_what_is_no_plain_file_is_neither_waited_for_nor_followed(tmp_path: Path, name: str, make: object) -> None:
    (put(tmp_path) / name).unlink()
    assert callable(make)
    make(tmp_path / name)
    assert told(tmp_path)


# -- what the built-in one shows (tools/make_video.py) -----------------------------------------------------------------

TILES, FULL = (16, 9), 25  # a change of a tenth of all brightness is one (WCAG 2.3.1)


def test_it_ends_as_it_begins() -> None:
    first, last = frame(0.0), frame(END - 1 / FPS)
    assert not ImageChops.difference(first, last).crop((0, 0, 640, 320)).getbbox()


@pytest.mark.long
def test_nothing_in_it_flashes() -> None:
    """WCAG 2.3.1: no tile of the picture goes up and down by a tenth more than three times in any second."""
    frames = [frame(i / FPS).convert("L").resize(TILES, Image.Resampling.BOX).tobytes() for i in range(int(END * FPS))]
    for tile in zip(*frames, strict=True):
        turns = list(turning(tile))
        assert all(late - early > FPS for early, late in zip(turns, turns[6:], strict=False))


def turning(levels: tuple[int, ...]) -> Iterator[int]:
    """When the brightness has gone the other way by FULL since it last turned."""
    extreme, way = levels[0], 0
    for i, level in enumerate(levels):
        if abs(level - extreme) >= FULL and (level > extreme) != (way > 0):
            way, extreme = (1 if level > extreme else -1), level
            yield i
        elif (level - extreme) * way > 0:
            extreme = level


def test_a_flash_would_be_found() -> None:
    assert len(list(turning((0, 200) * 8))) > 6 and not list(turning((100, 110, 100, 95) * 8))


@pytest.mark.promise("S9")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.binary(max_size=200))
def test_whatever_lies_there_something_is_played(tmp_path: Path, film: bytes, manifest: bytes) -> None:
    (tmp_path / FILM).write_bytes(film)
    (tmp_path / MANIFEST).write_bytes(manifest)
    assert told(tmp_path)
