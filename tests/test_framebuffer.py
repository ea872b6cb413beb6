"""The display without a browser: nothing overflows on any size, in any language; a real process beside a panel."""

import json
import os
import queue
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageDraw

import agent.ui
from agent.events import Link
from agent.panel import Page, Panel
from agent.policy.reasons import WORDS, Reason
from agent.port import Port
from agent.station import Notice, Station
from agent.ui.catalogues import load_says
from agent.ui.drawing import (
    BACK,
    CAPITAL_MM,
    TONES,
    Area,
    Drawn,
    Para,
    Sheet,
    decoded,
    draw,
    focus,
    screenfuls,
    waiting,
)
from agent.ui.fonts import CAP, Fonts, directions, found, pieces, words
from agent.ui.framebuffer import (
    TURN_S,
    Format,
    Renderer,
    Screen,
    Unfit,
    board_facts,
    format_of,
    main,
    newest,
    packed,
    screen_in,
    size,
    starting,
)
from agent.ui.model import Beat, Field, Map, Option, PageModel, Prose, Qr, Row, Rows, ScreenModel
from agent.ui.panelline import Address, Shown, address, snapshots
from agent.ui.view import screen
from agent.ui.web import Panel as WebPanel
from agent.ui.words import LANGUAGES, STARTING
from tests.process import until
from tests.test_view import CHARGING, FREE, NOW, PLUGGED, SITUATIONS, station, stations

STATIC = Path(agent.ui.__file__).parent / "static"
GOLDEN = Path(__file__).parent / "golden"
SIZES = {"480x272": (480, 272, 95.0), "800x480": (800, 480, 154.0), "1024x600": (1024, 600, 154.0),
         "1280x800": (1280, 800, 217.0)}  # fmt: skip
SMALL, COMMON = SIZES["480x272"], SIZES["800x480"]
SAYS = load_says()
FONTS = Fonts()


def spelled(model: ScreenModel) -> Any:
    """As the panel sends it."""
    return decoded(msgspec.json.encode(model))


def drawn(of: Station, at: tuple[int, int, float] = COMMON, language: str = "en", **panel: Any) -> Drawn:
    chosen = replace(of.panel, language=language if language != "en" else "", **panel)
    return turned_through(spelled(screen(replace(of, panel=chosen), NOW, SAYS)), at)


def turned_through(model: Any, at: tuple[int, int, float]) -> Drawn:
    """The first picture, with what is said by those that it turns to."""
    first = draw(model, *at, FONTS)
    for turn in range(1, first.turns):
        first.said += draw(model, *at, FONTS, turn).said
    return first


def check(picture: Drawn, at: tuple[int, int, float]) -> None:
    """Every text in its place, readable, and on the display."""
    width, height, width_mm = at
    assert picture.image.size == (width, height) and picture.said
    for said in picture.said:
        area = said.area
        assert min(area.x, area.y) >= 0 and area.x + area.w <= width and area.y + area.h <= height, said
        if said.whole:
            lines = FONTS.wrapped(said.text, area.w, said.size)
            assert all(FONTS.width(line, said.size) <= area.w + 1 or len(line) == 1 for line in lines), said
        assert said.size * CAP / width * width_mm >= CAPITAL_MM - 0.15, said
    assert not is_blank(picture.image, (0, 0, width, height // 2)), "the upper half is empty"


def is_blank(image: Image.Image, box: tuple[int, int, int, int]) -> bool:
    return bool(image.crop(box).getcolors(1))


def texts(picture: Drawn) -> str:
    return "\n".join(said.text for said in picture.said)


# -- what stands on it ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("situation", SITUATIONS)
def test_every_situation_stands_on_the_smallest_and_the_most_common_display(situation: Any) -> None:
    of = SITUATIONS[situation]
    for at in (SMALL, COMMON):
        picture = drawn(of, at)
        check(picture, at)
        model = screen(of, NOW, SAYS)
        port = next(each for each in model.ports if each.evse_id == focus(model))
        if model.layout == "ports":
            assert port.title in texts(picture) and port.action in texts(picture)
        assert all(key.label in texts(picture) for key in model.keys)


@pytest.mark.long
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", SIZES)
def test_every_situation_and_refusal_stands_on_every_display_in_every_language(name: str, language: str) -> None:
    for of in SITUATIONS.values():
        for large in (False, True):
            check(drawn(of, SIZES[name], language, large=large), SIZES[name])
    for reason in Reason:
        for evse_id in (0, 1):
            of = station(PLUGGED, FREE, notices=(Notice(evse_id, reason, NOW + 8),))
            check(drawn(of, SIZES[name], language), SIZES[name])
    for page in (Page.HELP, Page.ABOUT, Page.PORT):
        for part in range(4):
            turned = replace(station(FREE, CHARGING), panel=Panel(page=page, at=min(part, 2)))
            check(drawn(turned, SIZES[name], language), SIZES[name])


@pytest.mark.promise("S7")
@pytest.mark.parametrize("reason", Reason)
def test_a_refused_driver_reads_reason_action_and_number_on_the_smallest_display(reason: Reason) -> None:
    for evse_id in (0, 1):
        of = station(PLUGGED, FREE, notices=(Notice(evse_id, reason, NOW + 8),))
        model = screen(of, NOW)
        notice = model.ports[0].notice if evse_id else model.notice
        picture = drawn(of, SMALL)
        assert notice and notice.text == WORDS[reason].text
        for said in (notice.title, notice.text, notice.action):
            assert said in texts(picture), (picture.dropped, said)
        assert all(said.whole for said in picture.said)
        assert notice.code in texts(drawn(of, COMMON))


@settings(max_examples=15, deadline=None)
@given(stations, st.sampled_from(sorted(SIZES)), st.sampled_from(sorted(LANGUAGES)))
def test_any_station_fits_on_any_display(of: Station, name: str, language: str) -> None:
    check(drawn(of, SIZES[name], language), SIZES[name])


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=200), st.integers(5, 400), st.integers(8, 300))
def test_any_text_stays_in_its_area(text: str, width: int, height: int) -> None:
    sheet = Sheet(600, 400, 150.0, FONTS)
    area = Area(100, 50, width, height)
    used = sheet.stack(area, [Para(text), Para("second", rank=1)])
    assert used <= height
    outside = sheet.drawn.image.copy()
    outside.paste(BACK, (60, 30, 100 + width + 40, 50 + height + 20))
    assert is_blank(outside, (0, 0, 600, 400))


def test_a_page_that_is_longer_than_the_display_is_turned_and_says_how_long_it_is() -> None:
    about = station(FREE, panel=Panel(page=Page.ABOUT))
    first = drawn(about, SMALL)
    assert first.screenfuls > 1
    model = screen(about, NOW)
    content = model.content
    assert content
    turns = [spelled(msgspec.structs.replace(model, turned=turned)) for turned in range(first.screenfuls)]
    seen = [said.text for each in turns for said in draw(each, *SMALL, FONTS).said]
    for block in content.blocks:
        assert isinstance(block, Rows) and all(row.label in seen and row.value in seen for row in block.rows)


LARGEST = SIZES["1280x800"]


def paged(*blocks: Any, **facts: Any) -> Any:
    content = PageModel("The title", tuple(blocks), **facts)
    return spelled(msgspec.structs.replace(screen(station(FREE), NOW), layout="page", content=content))


def test_every_kind_of_block_is_drawn() -> None:
    field = Field("amps", "number", "Breaker", "32", "32", unit="A", hint="On its label.", chosen=True)
    choice = Field("kind", "choice", "Wiring", "a", "one phase", (Option("a", "one phase"),), error="Choose one.")
    model = paged(
        Prose("A warning.", "warning"), Rows((Row("Serial", "SA-1", "passed"),)), field, choice,
        step=2, steps=9, footer="Two things are left.",
    )  # fmt: skip
    picture = draw(model, *LARGEST, FONTS)
    picture.said += draw(paged(Map(1.5, -2.25, 3.0, "At sea")), *LARGEST, FONTS).said
    check(picture, LARGEST)
    for word in ("A warning.", "✔ Serial", "32 A", "On its label.", "Choose one.", "At sea", "1.500000, -2.250000",
                 "Two things are left.", "The title   2/9"):  # fmt: skip
        assert word in texts(picture), word


def test_the_screenful_with_the_cursor_is_shown() -> None:
    fields = [Field(f"f{i}", "text", f"Field {i}", "", "", chosen=i == 17) for i in range(20)]
    picture = draw(paged(*fields), *COMMON, FONTS)
    assert "Field 17" in texts(picture) and picture.screenfuls > 3


@given(st.lists(st.integers(1, 90), max_size=40), st.integers(90, 200))
def test_screenfuls_hold_each_piece_once_and_none_too_many(heights: list[int], room: int) -> None:
    todo = [(height, lambda y: None, False) for height in heights]
    fulls = screenfuls(todo, room, 4)
    assert [piece for full in fulls for piece in full] == todo
    assert all(sum(height + 4 for height, _, _ in full) - 4 <= room for full in fulls)


def test_a_codes_modules_are_square_and_dark_on_white() -> None:
    rows = tuple("".join("1" if (i * j) % 3 else "0" for j in range(29)) for i in range(29))
    model = paged(Qr("https://example.org/", "https://example.org/"))
    model.content.blocks[0].rows = rows
    picture = draw(model, *COMMON, FONTS)
    colours = picture.image.getcolors(1 << 20) or []
    counts = {colour: count for count, colour in colours}
    dark = sum(row.count("1") for row in rows)
    each = (counts[(0, 0, 0)] / dark) ** 0.5
    assert each == int(each) >= 4 and "https://example.org/" in texts(picture)


def test_a_code_that_nobody_has_drawn_still_says_its_address() -> None:
    model = paged(Qr("https://example.org/", "https://example.org/"))
    assert "https://example.org/" in texts(draw(model, *SMALL, FONTS))


def test_what_was_entered_is_in_sight_on_the_smallest_display_all_the_time_and_with_its_unit_once() -> None:
    field = Field("amps", "number", "Breaker of this station", "40", "40 A", unit="A", hint="As printed.", chosen=True)
    picture = draw(paged(field, footer="Missing: Circuit."), *SMALL, FONTS)
    assert "Breaker of this station: 40 A" in texts(picture).splitlines() and picture.turns == 1


@pytest.mark.parametrize("name", SIZES)
def test_a_box_that_its_heading_fills_turns_with_its_heading(name: str) -> None:
    of = station(Port(1), Port(2), Port(3), link=Link.DOWN)
    for language in LANGUAGES:
        check(drawn(of, SIZES[name], language, large=True), SIZES[name])


def test_states_are_told_apart_without_colour_by_mark_and_border() -> None:
    pictures = []
    for tone in TONES:
        sheet = Sheet(400, 300, 120.0, FONTS)
        sheet.frame(Area(0, 0, 400, 300), tone)
        border = sheet.drawn.image.convert("L").point(lambda v: 255 if v > 60 else 0)
        sheet.mark(Area(100, 50, 200, 200), tone)
        mark = sheet.drawn.image.convert("L").crop((100, 50, 300, 250)).point(lambda v: 255 if v > 60 else 0)
        assert TONES[tone] in {colour for _, colour in sheet.drawn.image.getcolors(1 << 16) or []}
        pictures.append((border, mark))
    for one, other in combinations(pictures, 2):
        for a, b in zip(one, other, strict=True):
            differs = ImageChops.difference(a, b).histogram()[255]
            assert differs > 300


def test_in_arabic_marks_and_text_stand_at_the_right_and_left_is_still_left() -> None:
    of = station(CHARGING, FREE)
    for language, is_right in (("en", False), ("ar", True)):
        image = drawn(of, COMMON, language).image
        left_port = image.crop((0, 60, 395, 420))
        colours = [left_port.crop((x, 0, x + 90, 120)).getcolors(1 << 16) or [] for x in (8, 300)]
        bolt = [sum(count for count, colour in each if colour == TONES["charging"]) for each in colours]
        assert (bolt[1] > bolt[0]) == is_right, "the bolt of port 1, which is at the left"


# -- text -------------------------------------------------------------------------------------------------------------


def test_capitals_of_the_station_are_as_high_as_the_rule_asks() -> None:
    for width, _, width_mm in SIZES.values():
        sheet = Sheet(width, 480, width_mm, FONTS)
        image = Image.new("RGB", (width, 200))
        FONTS.draw(ImageDraw.Draw(image), 10, 10, "H", sheet.size(CAPITAL_MM), (255, 255, 255))
        box = image.convert("L").point(lambda v: 255 if v > 128 else 0).getbbox()
        assert box and (box[3] - box[1]) * width_mm / width == pytest.approx(CAPITAL_MM, abs=0.25)


def order(text: str, *, rtl: bool) -> str:
    return "".join(p.text[::-1] if p.is_rtl else p.text for p in pieces(text, lambda letter: "", rtl=rtl))


@pytest.mark.parametrize(
    ("text", "rtl", "seen"),
    [
        ("abc 12", False, "abc 12"),
        ("אבג", True, "גבא"),
        ("אבג 12 kW", True, "12 kW גבא"),
        ("אבג, 5 kWh.", True, ".5 kWh ,גבא"),
        ("Ann אבג and דהו", False, "Ann גבא and והד"),
        ("1:02:03", True, "1:02:03"),
        ("אבג \u20665 kW (3)\u2069, דהו", True, "והד ,5 kW (3) גבא"),
        ("אבג \u2066-5.2\u2069", True, "-5.2 גבא"),
    ],
)
def test_mixed_lines_stand_as_they_are_read(text: str, rtl: bool, seen: str) -> None:
    assert order(text, rtl=rtl) == seen


@given(st.text(st.characters(exclude_categories=("C", "Z"), include_characters=" "), max_size=60), st.booleans())
def test_no_letter_is_lost_whatever_the_script(text: str, rtl: bool) -> None:
    assert "".join(run for run, _ in directions(text, rtl=rtl)) == text
    assert sorted(order(text, rtl=rtl)) == sorted(text)
    assert "".join(words(text)) == text


@given(st.text(max_size=60), st.booleans())
def test_any_text_is_measured_and_set(text: str, rtl: bool) -> None:
    FONTS.draw(ImageDraw.Draw(Image.new("RGB", (50, 50))), 0, 0, text, 20, TONES["free"], rtl=rtl)
    assert FONTS.width(text, 20) >= 0


def test_chinese_is_broken_between_its_signs_but_not_before_a_full_stop() -> None:
    assert list(words("充电，请 wait。")) == ["充", "电，", "请 ", "wait。"]


def test_our_own_fonts_come_first_and_without_any_a_sentence_says_what_to_type(tmp_path: Path) -> None:
    assert "static/fonts" in found()[0].path
    with pytest.raises(RuntimeError, match="apt-get install fonts-dejavu"):
        Fonts(found(tmp_path, tmp_path))


# -- pictures that are kept -------------------------------------------------------------------------------------------

READ = {  # in words of our own: a better translation changes no picture
    "arabic": ("السيارة موصولة. لم يبدأ الشحن بعد، 12.5 kWh (Harbour Offices).", "rtl"),
    "chinese": ("车辆已连接，尚未充电。12.5 kWh（Harbour Offices）。", "ltr"),
}


def kept(name: str) -> Drawn:
    if name in READ:
        text, direction = READ[name]
        model = paged(Prose(text), Rows((Row(text[:12], text[-20:], "passed"),)))
        model.direction = direction
    else:
        model = spelled(screen(station(*{"idle": (FREE, FREE), "charging": (CHARGING, FREE)}[name]), NOW))
    return draw(model, *SMALL, FONTS)


KEPT = ("idle", "charging", *READ)


@pytest.mark.parametrize("name", KEPT)
def test_a_screen_looks_as_it_did(name: str) -> None:
    """With our own fonts, nearly to the pixel. To keep another: python -m tests.test_framebuffer, and look at it."""
    image = kept(name).image
    with Image.open(GOLDEN / f"framebuffer-{name}.png") as before:
        differs = ImageChops.difference(image, before.convert("RGB")).convert("L").point(lambda v: 255 if v > 96 else 0)
    assert image.size == before.size and differs.histogram()[255] < 0.004 * SMALL[0] * SMALL[1]


# -- the kernel's layout ----------------------------------------------------------------------------------------------

RED, MIXED = (255, 0, 0), (0x12, 0xB4, 0x57)


@pytest.mark.parametrize(
    ("depth", "red", "mixed"),
    [
        (32, b"\x00\x00\xff", b"\x57\xb4\x12"),
        (24, b"\x00\x00\xff", b"\x57\xb4\x12"),
        (16, (0xF800).to_bytes(2, "little"), (0x12 >> 3 << 11 | 0xB4 >> 2 << 5 | 0x57 >> 3).to_bytes(2, "little")),
    ],
)
def test_a_pixel_is_where_the_kernel_looks_for_it(depth: int, red: bytes, mixed: bytes) -> None:
    image = Image.new("RGB", (2, 1), RED)
    image.putpixel((1, 0), MIXED)
    data, step = packed(image, depth), depth // 8
    assert len(data) == 2 * step
    assert data[: len(red)] == red and data[step : step + len(mixed)] == mixed


def test_only_rows_that_differ_are_written_and_the_padding_is_left_alone(tmp_path: Path) -> None:
    device = tmp_path / "fb0"
    device.write_bytes(b"\xaa" * (40 * 4))
    screen = Screen(device, Format(8, 4, 32, 40))
    image = Image.new("RGB", (8, 4), RED)
    screen.show(image)
    assert device.read_bytes() == (packed(image.crop((0, 0, 8, 1)), 32) + b"\xaa" * 8) * 4
    device.write_bytes(b"\xbb" * (40 * 4))
    changed = image.copy()
    changed.putpixel((3, 2), MIXED)
    screen.show(changed)
    rows = [device.read_bytes()[i * 40 : i * 40 + 32] for i in range(4)]
    assert [set(row) == {0xBB} for row in rows] == [True, True, False, True]
    screen.show(changed.copy())
    screen.close()


def graphics(folder: Path, **files: str) -> Path:
    for name, text in ({"virtual_size": "800,480", "bits_per_pixel": "32", "stride": "3200"} | files).items():
        (folder / name).write_text(f"{text}\n")
    return folder


def test_what_the_kernel_says_of_a_screen_is_believed_within_bounds(tmp_path: Path) -> None:
    assert format_of(graphics(tmp_path)) == Format(800, 480, 32, 3200)
    assert format_of(graphics(tmp_path, virtual_size="800,960", mode="U:800x480p-60")) == Format(800, 480, 32, 3200)


@pytest.mark.parametrize(
    "files",
    [{"virtual_size": "800"}, {"virtual_size": "0,480"}, {"bits_per_pixel": "8"}, {"stride": "100"}, {"stride": "x"},
     {"virtual_size": "99999,1"}],
)  # fmt: skip
def test_a_screen_that_cannot_be_is_a_sentence(files: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(Unfit):
        format_of(graphics(tmp_path, **files))


def test_a_machine_without_a_framebuffer_is_told_so_in_one_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "b.toml").write_text('[display]\nframebuffer = "fb77"\nwidth_mm = 95\n')
    assert main(["--board", str(tmp_path / "b.toml")]) == 2
    assert "fb77 is not there" in capsys.readouterr().err
    assert board_facts(tmp_path / "none.toml") == {} and board_facts(tmp_path) == {}
    (tmp_path / "b.toml").write_text("[display\n")
    assert board_facts(tmp_path / "b.toml") == {}


def test_the_first_words_are_those_of_the_page_in_three_languages() -> None:
    assert starting() == tuple(SAYS[code](STARTING) for code in ("en", "es", "fr"))
    assert STARTING in (STATIC / "index.html").read_text()


def test_the_first_picture_does_not_wait_for_an_http_client() -> None:
    code = "import sys, agent.ui.framebuffer; print(sorted({'http', 'ssl', 'asyncio', 'msgspec'} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert said == "[]\n"


def test_each_line_that_has_no_room_has_its_turn() -> None:
    text, area = " ".join(f"word{n}" for n in range(60)), Area(10, 10, 500, 160)
    first = Sheet(600, 400, 150.0, FONTS)
    first.stack(area, [Para("Heading"), Para(text)])
    shown = 0
    for turn in range(first.drawn.turns):
        sheet = Sheet(600, 400, 150.0, FONTS, turn=turn)
        sheet.stack(area, [Para("Heading"), Para(text)])
        shown += sum(said.text == text for said in sheet.drawn.said)
        assert sheet.drawn.said, turn
    size = first.size(CAPITAL_MM)
    assert first.drawn.turns > 2 and shown == len(FONTS.wrapped(text, area.w, size))


class Kept:
    """A screen that keeps what was shown."""

    width, height = SMALL[:2]

    def __init__(self) -> None:
        self.images: list[Image.Image] = []

    def show(self, image: Image.Image) -> None:
        self.images.append(image)


def snapshot(of: Station) -> bytes:
    return msgspec.json.encode({"screen": screen(of, NOW, SAYS)})


def test_the_steps_of_the_start_page_are_told_when_all_of_them_have_been_there() -> None:
    output = Kept()
    renderer = Renderer(output, SMALL[2], FONTS)
    assert renderer.screen(snapshot(station(FREE, FREE)), 0.0) and renderer.turns > 2 and not renderer.has_steps
    for second in range(1, int(TURN_S) * renderer.turns):
        assert not renderer.has_steps or second > TURN_S * (renderer.turns - 1)
        renderer.due(float(second))
    assert renderer.has_steps and len(output.images) == renderer.turns
    assert renderer.screen(snapshot(station(CHARGING, FREE)), 60.0) and not renderer.has_steps


# -- what comes from the agent ----------------------------------------------------------------------------------------


def test_events_are_read_as_the_panel_writes_them() -> None:
    sent = b'retry: 1000\nid: 7\ndata: {"a":1}\n\nevent: alive\ndata:\n\n: a comment\n\nid: 8\ndata: {}\n\n'
    lines = sent.splitlines(keepends=True)
    assert [each for each in snapshots(iter(lines)) if each] == [Shown(7, b'{"a":1}'), Shown(8, b"{}")]
    assert None in list(snapshots(iter(lines)))


@given(st.lists(st.binary(max_size=40), max_size=30))
def test_any_lines_are_some_events_and_any_data_a_screen_or_none(lines: list[bytes]) -> None:
    for each in snapshots(iter(lines)):
        if each:
            screen_in(each.screen)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("http://127.0.0.1:8400/#abc-_1\n", Address(8400, "abc-_1")), ("http://127.0.0.1:80/", Address(80, "")),
        ("http://example.org/", None), ("", None), ("http://127.0.0.1:8400/x", None),
    ],
)  # fmt: skip
def test_the_panels_address_is_one_of_ours_or_none(text: str, at: Address | None, tmp_path: Path) -> None:
    (tmp_path / "panel.url").write_text(text)
    assert address(tmp_path / "panel.url") == at and address(tmp_path / "none") is None


def test_a_size_is_typed_as_people_write_it() -> None:
    assert size("800x480") == (800, 480)
    for text in ("800", "8x4", "800x", "99999x4"):
        with pytest.raises(Exception, match="800x480"):
            size(text)


# -- a process --------------------------------------------------------------------------------------------------------


class Beside:
    """`python -m agent.ui.framebuffer` into a PNG, beside a real panel."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.png = folder, folder / "shown.png"
        self.beats: list[Beat] = []
        self.posted: list[object] = []
        self.model = screen(station(FREE, CHARGING), NOW, SAYS)
        self.panel: WebPanel | None = None
        files = ["--panel", str(folder / "panel.url"), "--png", str(self.png)]
        command = [sys.executable, "-m", "agent.ui.framebuffer", *files]
        self.process = subprocess.Popen(command, cwd=Path(__file__).parent.parent)

    def serve(self) -> None:
        self.panel = WebPanel(lambda: self.model, 0, self.posted.append, beat=self.beats.append)
        self.panel.start()
        (self.folder / "panel.url").write_text(self.panel.entrance)

    def stop(self) -> None:
        if self.panel:
            self.panel.stop()
        self.panel = None

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.stop()

    def shows(self, picture: Drawn) -> bool:
        try:
            with Image.open(self.png) as shown:
                return ImageChops.difference(shown.convert("RGB"), picture.image).getbbox() is None
        except OSError:
            return False

    def status(self, name: str) -> int:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(name)).split()[1])

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[Beside]:
    beside = Beside(tmp_path)
    yield beside
    beside.close()


def test_it_says_starting_shows_the_station_beats_and_says_restarting_when_the_agent_is_gone(beside: Beside) -> None:
    until(lambda: beside.shows(waiting(starting(), 800, 480, 154.0, FONTS)))
    beside.serve()
    until(lambda: beside.shows(draw(spelled(beside.model), *COMMON, FONTS)))
    until(lambda: len(beside.beats) >= 2)
    beat = beside.beats[-1]
    assert (beat.by, beat.visible, beat.video) == ("framebuffer", True, "none") and beside.panel
    assert beat.drawn == beside.panel.newest
    beside.model = msgspec.structs.replace(beside.model, headline="Something else", layout="idle")
    until(lambda: beside.shows(draw(spelled(beside.model), *COMMON, FONTS)))
    beside.stop()
    until(lambda: beside.shows(waiting((beside.model.words["lost"],), 800, 480, 154.0, FONTS)))
    beside.serve()
    until(lambda: beside.shows(draw(spelled(beside.model), *COMMON, FONTS)))
    assert beside.status("VmHWM") < 40_000, "kB"


def test_a_page_longer_than_the_display_is_measured_for_the_agent(beside: Beside) -> None:
    about = screen(station(FREE, panel=Panel(page=Page.ABOUT)), NOW, SAYS)
    assert about.content
    more = msgspec.structs.replace(about.content, blocks=about.content.blocks * 3)
    beside.model = msgspec.structs.replace(about, content=more)
    fulls = draw(spelled(beside.model), *COMMON, FONTS).screenfuls
    beside.serve()
    until(lambda: bool(beside.posted))
    assert json.loads(msgspec.json.encode(beside.posted[0])) == {"screenfuls": fulls} and fulls > 1


@pytest.mark.long
def test_it_costs_next_to_nothing_while_nothing_changes(beside: Beside) -> None:
    beside.serve()
    until(lambda: len(beside.beats) >= 2)
    before, count = beside.cpu_s(), len(beside.beats)
    until(lambda: len(beside.beats) >= count + 20, timeout_s=60)
    assert beside.cpu_s() - before < 0.02 * 20


def test_newest_of_many() -> None:
    news: queue.Queue[int] = queue.Queue()
    for i in range(5):
        news.put(i)
    assert newest(news, 1.0) == 4
    with pytest.raises(queue.Empty):
        newest(news, 0.0)


if __name__ == "__main__":
    for name in KEPT:
        kept(name).image.save(GOLDEN / f"framebuffer-{name}.png", optimize=True)
