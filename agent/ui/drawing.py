"""A `ScreenModel` as a picture: text, marks and borders, for any size of display from 480 × 272 on. Decides nothing.

Letters are measured in millimetres, as on the page: no capital is lower than 4.8 mm (508 402.4). Where a box has no
room, its larger letters go down to that, then what only helps is left out, and the rest turns by itself, so many lines
at a time. What has one line is narrowed, then cut with … . Pages that are longer than the display are turned by a key.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from math import ceil, cos, pi, sin
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from PIL import Image, ImageDraw

from agent.ui.fonts import CAP, LINE, Fonts, Rgb

if TYPE_CHECKING:  # the contract; to import it here would cost as much memory as all the drawing
    from agent.ui.model import Block, Field, PageModel, PortModel, Qr, Row, ScreenModel

CAPITAL_MM, LARGE_MM, HUGE_MM = 4.8, 6.5, 9.0
NARROWEST = 0.55  # of a letter's own width, as on the page
ONE_LINE = 0.72  # keys that would be narrower have the room of shorter ones
SCALES = (1.0, 0.94, 0.88, 0.82, 0.76, 0.7, 0.64, 0.58, 0.52, 0.46, 0.4)  # of all text in a box, until it fits
SPARE = 4  # paragraphs of this rank are left out before anything has to be turned
MARGIN_MM, GAP_MM, DOTS_MM = 2.0, 1.2, 2.2
SMALL_DISPLAY_MM = 70.0  # lower than this, one thing at a time
COLUMN_MM = 60.0  # a port needs so much to stand beside another one
LARGER = 1.35  # large text

BACK, TEXT, DIM, LINE_COLOUR = (11, 20, 32), (255, 255, 255), (184, 197, 214), (74, 92, 117)
TONES: dict[str, Rgb] = {
    "free": (57, 255, 194), "charging": (134, 164, 219), "wait": (239, 229, 3), "fault": (255, 138, 122),
}  # fmt: skip
LIGHTS: dict[str, Rgb] = {
    "green": (57, 255, 194), "blue": (134, 164, 219), "yellow": (239, 229, 3), "red": (219, 81, 65),
    "white": (255, 255, 255),
}  # fmt: skip
MARKS = {"passed": "✔", "failed": "✖", "running": "…", "open": "○"}


@dataclass(frozen=True, slots=True)
class Area:
    x: int
    y: int
    w: int
    h: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """As Pillow spells it, the last pixels included."""
        return self.x, self.y, self.x + self.w - 1, self.y + self.h - 1

    def inside(self, margin: int) -> "Area":
        return Area(self.x + margin, self.y + margin, max(1, self.w - 2 * margin), max(1, self.h - 2 * margin))


@dataclass(frozen=True, slots=True)
class Said:
    """A text as it was set, for whoever checks it."""

    text: str
    area: Area
    size: int
    whole: bool  # nothing of it was cut


@dataclass(frozen=True, slots=True)
class Para:
    text: str
    mm: float = CAPITAL_MM  # of its capitals
    bold: bool = False
    colour: Rgb = TEXT
    rank: int = 0  # the highest goes first where there is no room


@dataclass(slots=True)
class Drawn:
    image: Image.Image
    said: list[Said] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)  # texts for which there was no room
    screenfuls: int = 1  # of the page, which a key turns
    turns: int = 1  # of the longest text, which turns by itself


def decoded(text: str | bytes) -> "ScreenModel":
    """The panel's JSON: attributes, as the contract has them."""
    return cast("ScreenModel", json.loads(text, object_hook=lambda facts: SimpleNamespace(**facts)))


class Sheet:
    """One picture in the making."""

    def __init__(
        self, width: int, height: int, width_mm: float, fonts: Fonts, *, rtl: bool = False, turn: int = 0
    ) -> None:
        """`turn`: how often what is longer than its box has been turned."""
        self.drawn = Drawn(Image.new("RGB", (width, height), BACK))
        self.whole = Area(0, 0, width, height)
        self.fonts, self.rtl, self.turn = fonts, rtl, turn
        self.px_mm = width / width_mm
        self.larger = 1.0  # what is read; keys and title stay as they are
        self.pen = ImageDraw.Draw(self.drawn.image)

    def px(self, mm: float) -> int:
        return max(1, round(mm * self.px_mm))

    def size(self, mm: float, scale: float = 1.0) -> int:
        """Of a font whose capitals have this height; scaled, never below the rule."""
        return round(max(mm * scale * self.larger, CAPITAL_MM) * self.px_mm / CAP)

    def line(self) -> int:
        """How high one is, of the lowest letters there are."""
        return round(LINE * self.size(CAPITAL_MM))

    # -- text

    def stack(self, area: Area, paras: Sequence[Para], *, middle: bool = False, centred: bool = False) -> int:
        """One below the other; how high it is. All of it stays in the area, now or when its turn comes; what only helps
        (rank SPARE and more) goes first."""
        todo = [para for para in paras if para.text.strip()]
        while todo:
            for scale in SCALES:
                sets = [(para, self.size(para.mm, scale)) for para in todo]
                lines = [self.fonts.wrapped(p.text, area.w, size, bold=p.bold) for p, size in sets]
                if self._height(sets, lines) <= area.h:
                    return self._set(area, sets, lines, middle=middle, centred=centred)
            least = max(todo, key=lambda para: para.rank)
            if least.rank < SPARE:
                return self._turned(area, todo, centred=centred)
            todo.remove(least)
            self.drawn.dropped.append(least.text)
        return 0

    def _height(self, sets: Sequence[tuple[Para, int]], lines: Sequence[Sequence[str]]) -> int:
        text = sum(len(each) * round(LINE * size) for (_, size), each in zip(sets, lines, strict=True))
        return text + self.px(GAP_MM) * (len(sets) - 1)

    def _set(self, area: Area, sets: Sequence[tuple[Para, int]], lines: Sequence[Sequence[str]], *, middle: bool,
             centred: bool) -> int:  # fmt: skip
        height = self._height(sets, lines)
        y = area.y + (area.h - height) // 2 if middle else area.y
        for (para, size), each in zip(sets, lines, strict=True):
            top = y
            for line in each:
                self._line(area, y, line, size, para, centred=centred)
                y += round(LINE * size)
            self.drawn.said.append(Said(para.text, Area(area.x, top, area.w, y - top), size, whole=True))
            y += self.px(GAP_MM)
        return height

    def _turned(self, area: Area, paras: Sequence[Para], *, centred: bool) -> int:
        """As many lines as there is room for; the others when their turn comes. One paragraph in a box of one line is
        narrowed instead."""
        size = min(self.size(CAPITAL_MM), int(area.h / LINE))
        step = max(1, round(LINE * size))
        room = max(1, (area.h - self.px(DOTS_MM)) // step)
        if room == 1 and (len(paras) == 1 or size < self.size(CAPITAL_MM)):
            return self._narrowed(area, paras[0], size, centred=centred)
        todo = [(p, line) for p in paras for line in self.fonts.wrapped(p.text, area.w, size, bold=p.bold)]
        turns = -(-len(todo) // room)
        self.drawn.turns = max(self.drawn.turns, turns)
        at = self.turn % turns
        for i, (para, line) in enumerate(todo[at * room : (at + 1) * room]):
            self._line(area, area.y + i * step, line, size, para, centred=centred)
            self.drawn.said.append(Said(para.text, Area(area.x, area.y + i * step, area.w, step), size, whole=True))
        if area.h >= room * step + self.px(DOTS_MM) // 2:
            self._dots(area, turns, at)
        return area.h

    def _dots(self, area: Area, turns: int, at: int) -> None:
        """Which of how many turns it is; where there is no room for so many, as a share of the width."""
        side = self.px(DOTS_MM) // 2
        pitch = min(2.0 * side, area.w / turns)
        left = area.x + (area.w - pitch * (turns - 1) - min(side, pitch)) / 2
        for i in range(turns):
            x = round(left + pitch * (turns - 1 - i if self.rtl else i))
            box = Area(x, area.y + area.h - side, max(1, min(side, int(pitch))), side).box
            self.pen.rectangle(box, fill=TEXT if i == at else None, outline=DIM)

    def _narrowed(self, area: Area, para: Para, size: int, *, centred: bool) -> int:
        """One line, its letters as high as ever; with … where even the narrowest are too wide."""
        wide = area.w / NARROWEST
        line = self.fonts.cut(para.text, wide, size, bold=para.bold)
        whole, step = line == para.text, max(1, round(LINE * size))
        width = max(1, ceil(self.fonts.width(line, size, para.bold)))
        if width > area.w:
            strip = Image.new("RGB", (width, step), BACK)
            self.fonts.draw(ImageDraw.Draw(strip), 0, 0, line, size, para.colour, bold=para.bold, rtl=self.rtl)
            self.drawn.image.paste(strip.resize((area.w, step)), (area.x, area.y))
        else:
            self._line(area, area.y, line, size, para, centred=centred)
        self.drawn.said.append(Said(para.text, Area(area.x, area.y, area.w, step), size, whole=whole))
        return step

    def _line(self, area: Area, y: int, text: str, size: int, para: Para, *, centred: bool = False) -> None:
        spare = area.w - self.fonts.width(text, size, para.bold)
        x = area.x + (spare / 2 if centred else spare if self.rtl else 0)
        self.fonts.draw(self.pen, x, y, text, size, para.colour, bold=para.bold, rtl=self.rtl)

    # -- borders and marks: each tone has its own, so that none depends on colour

    def frame(self, area: Area, tone: str) -> None:
        thin, colour = self.px(0.4), TONES[tone]
        box = area.box
        match tone:
            case "fault":
                self.pen.rectangle(box, outline=colour, width=3 * thin)
            case "charging":
                self.pen.rectangle(box, outline=colour, width=thin)
                self.pen.rectangle(area.inside(2 * thin).box, outline=colour, width=thin)
            case "wait":
                dash = self.px(3)
                for x in range(area.x, area.x + area.w, 2 * dash):
                    right = min(x + dash, area.x + area.w) - 1
                    self.pen.rectangle((x, area.y, right, area.y + thin), fill=colour)
                    self.pen.rectangle((x, box[3] - thin, right, box[3]), fill=colour)
                for y in range(area.y, area.y + area.h, 2 * dash):
                    low = min(y + dash, area.y + area.h) - 1
                    self.pen.rectangle((area.x, y, area.x + thin, low), fill=colour)
                    self.pen.rectangle((box[2] - thin, y, box[2], low), fill=colour)
            case _:
                self.pen.rectangle(box, outline=colour, width=2 * thin)

    def mark(self, area: Area, tone: str) -> None:
        """✔ in a circle, a bolt in a bar, an hourglass, ✖ in an octagon."""
        colour, side = TONES[tone], min(area.w, area.h)
        left, top = area.x + (area.w - side) // 2, area.y + (area.h - side) // 2
        thick = max(2, side // 9)

        def at(*shares: float) -> list[float]:
            return [(top if i % 2 else left) + share * side for i, share in enumerate(shares)]

        match tone:
            case "free":
                self.pen.ellipse(at(0.04, 0.04, 0.96, 0.96), outline=colour, width=max(2, side // 14))
                self.pen.line(at(0.27, 0.52, 0.44, 0.7, 0.74, 0.32), fill=colour, width=thick, joint="curve")
            case "charging":
                self.pen.rounded_rectangle(at(0.04, 0.04, 0.96, 0.96), side // 8, fill=colour)
                bolt = 0.58, 0.1, 0.24, 0.56, 0.47, 0.56, 0.4, 0.9, 0.76, 0.42, 0.52, 0.42
                self.pen.polygon(at(*bolt), fill=BACK)
            case "wait":
                self.pen.polygon(at(0.18, 0.08, 0.82, 0.08, 0.55, 0.5, 0.82, 0.92, 0.18, 0.92, 0.45, 0.5), fill=colour)
            case _:
                corners = [0.5 + 0.5 * turn(pi / 8 + i * pi / 4) for i in range(8) for turn in (cos, sin)]
                self.pen.polygon(at(*corners), fill=LIGHTS["red"])
                for x in (0.3, 0.7):
                    self.pen.line(at(x, 0.3, 1 - x, 0.7), fill=TEXT, width=thick)

    def beside(self, area: Area, side: int) -> tuple[Area, Area]:
        """A square at the side where reading begins, and what is left."""
        gap = self.px(GAP_MM)
        mark_x = area.x + area.w - side if self.rtl else area.x
        rest_x = area.x if self.rtl else area.x + side + gap
        return Area(mark_x, area.y, side, min(side, area.h)), Area(rest_x, area.y, max(1, area.w - side - gap), area.h)


# -- whole screens ----------------------------------------------------------------------------------------------------


def draw(
    screen: "ScreenModel", width: int, height: int, width_mm: float, fonts: Fonts, turn: int = 0
) -> Drawn:
    """What the station shows; `turn` counts on while there is more of it than room (`turns`)."""
    sheet = Sheet(width, height, width_mm, fonts, rtl=screen.direction == "rtl", turn=turn)
    above = keys(sheet, screen)
    if screen.leaving_s:
        above = footer(sheet, above, Para(screen.leaving_text, colour=TONES["wait"]))
    is_small = height < sheet.px(SMALL_DISPLAY_MM)
    if not is_small:  # there, all of it is the reader's
        above = title(sheet, above, screen)
    sheet.larger = LARGER if screen.large else 1.0
    match screen.layout:
        case "page" if screen.content:
            page(sheet, above, screen, screen.content)
        case "idle":
            idle(sheet, above, screen)
        case "port":
            one = next((port for port in screen.ports if port.evse_id == screen.evse_id), screen.ports[0])
            port_box(sheet, above, screen, one)
        case _:
            ports(sheet, above, screen)
    return sheet.drawn


def waiting(
    texts: Sequence[str], width: int, height: int, width_mm: float, fonts: Fonts, *, rtl: bool = False
) -> Drawn:
    """Nobody can be asked: the station starts, or starts again."""
    sheet = Sheet(width, height, width_mm, fonts, rtl=rtl)
    area = sheet.whole.inside(sheet.px(2 * MARGIN_MM))
    side = min(area.h // 3, sheet.px(30))
    sheet.frame(sheet.whole.inside(sheet.px(MARGIN_MM)), "wait")
    sheet.mark(Area(area.x, area.y + side // 4, area.w, side), "wait")
    below = Area(area.x, area.y + side + side // 2, area.w, area.h - side - side // 2)
    first, *more = texts
    paras = [Para(first, LARGE_MM, bold=True), *(Para(text, colour=DIM, rank=1) for text in more)]
    sheet.stack(below, paras, centred=True)
    return sheet.drawn


def keys(sheet: Sheet, screen: "ScreenModel") -> Area:
    """The four keys at the lower edge, where the buttons are, whatever the language; what is left above them."""
    whole, gap = sheet.whole, sheet.px(GAP_MM)
    height = sheet.line() + 2 * gap
    if not any(key.label for key in screen.keys):
        return whole.inside(gap)
    labels = [Para(key.label, bold=True) for key in screen.keys]
    widths = [sheet.fonts.width(label.text, sheet.size(CAPITAL_MM), True) + 4 * gap for label in labels]
    if max(widths) * ONE_LINE <= whole.w / 4:  # over the buttons of the frame; else as wide as they need
        widths = [1.0] * len(widths)
    edges = [round(whole.w * each / sum(widths)) for each in accumulate(widths, initial=0.0)]
    for label, (left, right) in zip(labels, pairwise(edges), strict=True):
        area = Area(left + gap // 2, whole.h - height, max(1, right - left - gap), height - gap // 2)
        if label.text:
            sheet.pen.rectangle(area.box, outline=LINE_COLOUR, width=sheet.px(0.3))
            sheet.stack(area.inside(sheet.px(0.6)), [label], middle=True, centred=True)
    return Area(gap, gap, whole.w - 2 * gap, whole.h - height - 2 * gap)


def footer(sheet: Sheet, area: Area, para: Para) -> Area:
    height = round(sheet.size(para.mm) * LINE)
    sheet.stack(Area(area.x, area.y + area.h - height, area.w, height), [para])
    return Area(area.x, area.y, area.w, area.h - height - sheet.px(GAP_MM))


def title(sheet: Sheet, area: Area, screen: "ScreenModel") -> Area:
    """Whose station this is, and the support number at the other end."""
    height = sheet.line()
    name = Para(screen.title, bold=True, colour=DIM)
    size = sheet.size(CAPITAL_MM)
    number_w = round(sheet.fonts.width(screen.support, size)) + sheet.px(GAP_MM)
    if sheet.fonts.width(name.text, size, bold=True) + number_w + 2 * sheet.px(GAP_MM) <= area.w:
        at = area.x if sheet.rtl else area.x + area.w - number_w
        sheet.stack(Area(at, area.y, number_w, height), [Para(screen.support, colour=DIM)], middle=True)
        rest_x = area.x + number_w if sheet.rtl else area.x
        sheet.stack(Area(rest_x, area.y, area.w - number_w, height), [name], middle=True)
    else:
        sheet.stack(Area(area.x, area.y, area.w, height), [name], middle=True)
    y = area.y + height + sheet.px(0.4)
    sheet.pen.line((area.x, y, area.x + area.w, y), fill=LINE_COLOUR, width=sheet.px(0.3))
    y += sheet.px(GAP_MM)
    return Area(area.x, y, area.w, area.y + area.h - y)


def idle(sheet: Sheet, area: Area, screen: "ScreenModel") -> None:
    """Nobody is here: who may charge, how, for what. Below it each port."""
    height = sheet.line() + sheet.px(GAP_MM) if screen.ports else 0
    steps = [Para(f"{i}  {text}", rank=3, colour=DIM) for i, (_, text) in enumerate(screen.how.steps, 1)]
    paras = [
        Para(screen.headline, HUGE_MM, bold=True), Para(screen.who, rank=1), Para(screen.start_text, bold=True, rank=1),
        Para(screen.price, rank=2), *([Para(screen.note, rank=2)] if screen.note else ()), *steps,
    ]  # fmt: skip
    sheet.stack(Area(area.x, area.y, area.w, area.h - height), paras)
    for i, port in enumerate(screen.ports):
        left, right = area.x + area.w * i // len(screen.ports), area.x + area.w * (i + 1) // len(screen.ports)
        strip(sheet, Area(left, area.y + area.h - height, right - left - sheet.px(GAP_MM), height), port)


def ports(sheet: Sheet, area: Area, screen: "ScreenModel") -> None:
    """Side by side, left is left; where there is no room for all, the one that matters and a line for each other."""
    count, gap = len(screen.ports), sheet.px(GAP_MM)
    line = sheet.line() + gap
    is_small = sheet.whole.h < sheet.px(SMALL_DISPLAY_MM)
    if screen.notice:
        room = area.h if is_small else area.h - line * count
        notice_box(sheet, Area(area.x, area.y, area.w, room - gap), screen, screen.notice)
        return strips(sheet, area, screen.ports if room < area.h else (), line)
    if area.w >= count * sheet.px(COLUMN_MM):
        for i, port in enumerate(screen.ports):
            left, right = area.x + area.w * i // count, area.x + area.w * (i + 1) // count
            port_box(sheet, Area(left, area.y, right - left - (gap if i + 1 < count else 0), area.h), screen, port)
        return None
    first = next(port for port in screen.ports if port.evse_id == focus(screen))
    others = [port for port in screen.ports if port is not first]
    room = area.h - line * len(others)
    if (is_small and (first.notice or screen.large)) or room < max(area.h // 3, 3 * line):
        others, room = [], area.h + gap
    port_box(sheet, Area(area.x, area.y, area.w, room - gap), screen, first)
    return strips(sheet, area, others, line)


def strips(sheet: Sheet, area: Area, ports: Sequence["PortModel"], line: int) -> None:
    """At the lower end of the area, a line for each."""
    y = area.y + area.h - line * len(ports)
    for i, port in enumerate(ports):
        strip(sheet, Area(area.x, y + i * line, area.w, line - sheet.px(GAP_MM) // 2), port)


def focus(screen: "ScreenModel") -> int:
    """The port that needs somebody most."""
    said = next((port.evse_id for port in screen.ports if port.notice), 0)
    busy = next((port.evse_id for port in screen.ports if port.situation != "available"), 0)
    return said or int(getattr(screen, "focus", 0)) or busy or screen.ports[0].evse_id


def strip(sheet: Sheet, area: Area, port: "PortModel") -> None:
    """A port in one line."""
    mark, rest = sheet.beside(area, area.h)
    sheet.mark(mark.inside(max(1, area.h // 10)), port.tone)
    figure = f"  {port.figures[0].value} {port.figures[0].unit}" if port.figures else ""
    sheet.stack(rest, [Para(f"{port.name}: {port.title}{figure}", colour=TONES[port.tone])], middle=True)


def port_box(sheet: Sheet, area: Area, screen: "ScreenModel", port: "PortModel") -> None:
    if port.notice:
        return notice_box(sheet, area, screen, port.notice, port.name)
    sheet.frame(area, port.tone)
    numbers = [f"{each.value} {each.unit}" for each in port.figures]
    has_code = bool(getattr(port, "code", ""))
    code = f"{port.check}   {port.code}" if has_code else port.check
    words = [
        Para(port.title, LARGE_MM, bold=True, colour=TONES[port.tone]),
        *([Para(port.price, rank=1)] if getattr(port, "offers", False) else ()),
        Para(port.text, rank=2), Para(port.action, bold=True, rank=1),
        Para(port.last_text, colour=DIM, rank=5), Para(code, colour=DIM, rank=3 if has_code else 4),
    ]  # fmt: skip
    if numbers and area.w >= 2 * sheet.px(COLUMN_MM):  # the numbers beside the words, to be read from afar
        half = area.w // 2
        left, right = Area(area.x, area.y, half, area.h), Area(area.x + half, area.y, half, area.h)
        beside, area = (left, right) if sheet.rtl else (right, left)
        large = [Para(numbers[0], HUGE_MM, bold=True), *(Para(each, LARGE_MM, rank=1) for each in numbers[1:])]
        sheet.stack(beside.inside(sheet.px(2 * MARGIN_MM)), large, middle=True)
    elif numbers and sheet.whole.h < sheet.px(SMALL_DISPLAY_MM):
        words[1:1] = [Para("   ".join(numbers), bold=True)]
    elif numbers:
        words[1:1] = [Para(numbers[0], LARGE_MM, bold=True), *(Para(each, rank=1) for each in numbers[1:])]
    told(sheet, area, port.tone, port.name, words)
    return None


def notice_box(sheet: Sheet, area: Area, screen: "ScreenModel", notice: Any, name: str = "") -> None:
    sheet.frame(area, notice.tone)
    support = f"{screen.support}   {notice.code}" if notice.code else ""
    told(sheet, area, notice.tone, name, [
        Para(notice.title, LARGE_MM, bold=True, colour=TONES[notice.tone]), Para(notice.text, rank=1),
        Para(notice.action, bold=True), Para(support, colour=DIM, rank=3),
    ])  # fmt: skip


def told(sheet: Sheet, area: Area, tone: str, name: str, paras: Sequence[Para]) -> None:
    """The mark of its tone, whose it is, and what is to say of it. The heading stays where the rest has to turn, unless
    it would leave no line for that."""
    inner, line = area.inside(sheet.px(MARGIN_MM)), sheet.line()
    head, *paras = paras
    if sheet.whole.h < sheet.px(SMALL_DISPLAY_MM):  # the mark beside the heading alone
        heading = [replace(head, text=f"{name}: {head.text}" if name else head.text, mm=CAPITAL_MM)]
        mark, top = sheet.beside(Area(inner.x, inner.y, inner.w, min(line, inner.h)), min(line, inner.h))
        below = Area(inner.x, inner.y + line, inner.w, inner.h - line)
    else:
        mark, top = sheet.beside(inner, min(sheet.px(13), inner.h // 2, inner.w // 5))
        is_narrow = area.w < 2 * sheet.px(COLUMN_MM)
        heading = [Para(name, bold=True, colour=DIM), replace(head, mm=CAPITAL_MM) if is_narrow else head]
        used = sum(measured(sheet, para.text, top.w, para.mm, top.h) + sheet.px(GAP_MM) for para in heading)
        below = Area(top.x, top.y + used, top.w, top.h - used)
    sheet.mark(mark, tone)
    if below.h < line:
        sheet.stack(Area(top.x, inner.y, top.w, inner.h), [*heading, *paras])
    else:
        sheet.stack(Area(top.x, top.y, top.w, below.y - top.y), heading)
        sheet.stack(below, paras)


# -- pages ------------------------------------------------------------------------------------------------------------

Piece = tuple[int, Callable[[int], None], bool]  # its height; draws it at this y; the cursor is here


def page(sheet: Sheet, area: Area, screen: "ScreenModel", content: "PageModel") -> None:
    """Title, then as much of the blocks as a screenful holds."""
    mm = CAPITAL_MM if sheet.whole.h < sheet.px(SMALL_DISPLAY_MM) else LARGE_MM
    head = round(sheet.size(mm) * LINE)
    steps = f"   {content.step}/{content.steps}" if content.step else ""
    sheet.stack(Area(area.x, area.y, area.w, head), [Para(f"{content.title}{steps}", mm, bold=True)])
    gap = sheet.px(GAP_MM)
    area = Area(area.x, area.y + head + gap, area.w, max(1, area.h - head - gap))
    if content.footer:
        area = footer(sheet, area, Para(content.footer, colour=TONES["wait"]))
    fulls = screenfuls([piece for block in content.blocks for piece in pieces(sheet, area, block)], area.h, gap)
    sheet.drawn.screenfuls = max(1, len(fulls))
    turned = min(int(getattr(screen, "turned", 0)), sheet.drawn.screenfuls - 1)
    at_cursor = next((i for i, full in enumerate(fulls) if any(here for _, _, here in full)), turned)
    y = area.y
    for height, put, _ in fulls[at_cursor] if fulls else ():
        put(y)
        y += height + gap


def screenfuls(todo: Sequence[Piece], height: int, gap: int) -> list[list[Piece]]:
    fulls: list[list[Piece]] = []
    left = 0
    for piece in todo:
        if not fulls or piece[0] > left:
            fulls.append([])
            left = height
        fulls[-1].append(piece)
        left -= piece[0] + gap
    return fulls


def pieces(sheet: Sheet, area: Area, block: "Block") -> list[Piece]:
    """A block as what need not stand on one screenful together."""
    facts: Any = block
    match facts.type:
        case "rows":
            return [table_row(sheet, area, row) for row in facts.rows]
        case "prose":
            tone = TONES["wait"] if facts.style == "warning" else TEXT
            return [text(sheet, area, facts.text, CAPITAL_MM, tone)]
        case "steps":
            return [step(sheet, area, i, each) for i, (_, each) in enumerate(facts.steps, 1)]
        case "lights":
            return [light(sheet, area, row) for row in facts.rows]
        case "field":
            return [entry(sheet, area, facts)]
        case "qr":
            return [code(sheet, area, facts)]
        case "map":
            where = "" if facts.latitude is None else f"{facts.latitude:.6f}, {facts.longitude:.6f}"
            return [text(sheet, area, each, CAPITAL_MM, TEXT) for each in (facts.text, where) if each]
    return []


def measured(sheet: Sheet, said: str, width: int, mm: float, most: int, *, bold: bool = False) -> int:
    """The height that a paragraph wants, at most that."""
    size = sheet.size(mm)
    return min(most, max(1, len(sheet.fonts.wrapped(said, width, size, bold=bold))) * round(LINE * size))


def text(sheet: Sheet, area: Area, said: str, mm: float, colour: Rgb) -> Piece:
    height = measured(sheet, said, area.w, mm, area.h)
    return height, lambda y: void(sheet.stack(Area(area.x, y, area.w, height), [Para(said, mm, colour=colour)])), False


def table_row(sheet: Sheet, area: Area, row: "Row") -> Piece:
    mark = MARKS.get(row.mark, "")
    label, split = f"{mark} {row.label}".strip(), area.w * 2 // 5
    rest = area.w - split - sheet.px(GAP_MM)
    height = max(measured(sheet, said, wide, CAPITAL_MM, area.h) for said, wide in ((label, split), (row.value, rest)))
    colour = {"failed": TONES["fault"], "passed": TONES["free"]}.get(row.mark, DIM)

    def put(y: int) -> None:
        start, end = Area(area.x, y, split, height), Area(area.x + area.w - rest, y, rest, height)
        if sheet.rtl:
            start, end = Area(area.x + area.w - split, y, split, height), Area(area.x, y, rest, height)
        sheet.stack(start, [Para(label, CAPITAL_MM, colour=colour)])
        sheet.stack(end, [Para(row.value, bold=True)])

    return height, put, False


def step(sheet: Sheet, area: Area, number: int, said: str) -> Piece:
    side = sheet.line()
    height = max(side, measured(sheet, said, sheet.beside(area, side)[1].w, CAPITAL_MM, area.h))

    def put(y: int) -> None:
        mark, rest = sheet.beside(Area(area.x, y, area.w, height), side)
        sheet.pen.ellipse((mark.x, y, mark.x + side - 1, y + side - 1), outline=TONES["free"], width=sheet.px(0.4))
        disc = Area(mark.x, y, side, side)
        sheet.stack(disc, [Para(str(number), bold=True)], middle=True, centred=True)
        sheet.stack(rest, [Para(said)])

    return height, put, False


def light(sheet: Sheet, area: Area, row: Any) -> Piece:
    """Its rhythm as a bar of five seconds, and what it means."""
    _, meaning, colour, rhythm_s = row
    bar_w = min(area.w // 3, sheet.px(40))
    height = measured(sheet, meaning, area.w - bar_w - sheet.px(MARGIN_MM), CAPITAL_MM, area.h)

    def put(y: int) -> None:
        left = area.x + area.w - bar_w if sheet.rtl else area.x
        thick = round(sheet.size(CAPITAL_MM) * CAP)
        top, per_s = y + (sheet.line() - thick) // 2, bar_w / 5
        at, lit = 0.0, True
        sheet.pen.rectangle((left, top, left + bar_w - 1, top + thick), outline=LINE_COLOUR)
        while at < 5:
            for duration in rhythm_s or (5.0,):
                if lit and at < 5:
                    right = left + min(5.0, at + duration) * per_s - 1
                    sheet.pen.rectangle((left + at * per_s, top, right, top + thick), fill=LIGHTS[colour])
                at, lit = at + duration, not lit
            lit = True
        x = area.x if sheet.rtl else area.x + bar_w + sheet.px(MARGIN_MM)
        sheet.stack(Area(x, y, area.w - bar_w - sheet.px(MARGIN_MM), height), [Para(meaning, CAPITAL_MM)])

    return height, put, False


def entry(sheet: Sheet, area: Area, facts: "Field") -> Piece:
    """What is asked, what was said, and a hint; on a small display the first two in one line, so that none is away."""
    unit = f" {facts.unit}" if facts.shown and facts.unit not in facts.shown else ""
    value = f"{facts.shown}{unit}" or "–"
    said = [Para(facts.label, colour=DIM), Para(value, bold=True)]
    if sheet.whole.h < sheet.px(SMALL_DISPLAY_MM):
        said = [Para(f"{facts.label}: {value}")]
    hint = Para(facts.hint, colour=DIM, rank=SPARE)
    said.append(Para(facts.error, colour=TONES["fault"], rank=1) if facts.error else hint)
    inner_w = area.w - 4 * sheet.px(GAP_MM)
    height = sum(measured(sheet, each.text, inner_w, each.mm, area.h, bold=each.bold) for each in said if each.text)
    height = min(area.h, height + 6 * sheet.px(GAP_MM))

    def put(y: int) -> None:
        at = Area(area.x, y, area.w, height)
        if facts.chosen:
            colour = TONES["wait"] if facts.editing else TONES["free"]
            sheet.pen.rectangle(at.box, outline=colour, width=sheet.px(1.2 if facts.editing else 0.6))
        sheet.stack(at.inside(2 * sheet.px(GAP_MM)), said)

    return height, put, facts.chosen


def code(sheet: Sheet, area: Area, facts: "Qr") -> Piece:
    """Dark on white, each module some whole pixels, as many as there is room for: a phone reads it at arm's length. The
    text in full is beside it, or beneath it where there is no width."""
    modules: Sequence[str] = getattr(facts, "rows", ())
    if not modules:
        return text(sheet, area, facts.text, CAPITAL_MM, TEXT)
    gap, is_beside = sheet.px(GAP_MM), area.w >= 2 * area.h
    below = 0 if is_beside else measured(sheet, facts.text, area.w, CAPITAL_MM, area.h) + gap
    each = max(1, min(area.w, area.h - below) // len(modules))
    side = each * len(modules)
    height = min(area.h, side + below)

    def put(y: int) -> None:
        left = area.x if is_beside else area.x + (area.w - side) // 2
        sheet.pen.rectangle((left, y, left + side - 1, y + side - 1), fill=(255, 255, 255))
        for i, line in enumerate(modules):
            for j, module in enumerate(line):
                if module == "1":
                    x, top = left + j * each, y + i * each
                    sheet.pen.rectangle((x, top, x + each - 1, top + each - 1), fill=(0, 0, 0))
        beside = Area(left + side + gap, y, area.w - side - gap, height)
        beneath = Area(area.x, y + side + gap, area.w, max(1, height - side - gap))
        sheet.stack(beside if is_beside else beneath, [Para(facts.text, CAPITAL_MM)], centred=not is_beside)

    return height, put, False


def void(_: object) -> None:
    """A piece draws, and says nothing."""
