"""Draw the instructional video that an idle station plays: agent/ui/static/video/how.webm, and how.json beside it.

    apt-get install ffmpeg
    .venv/bin/python tools/make_video.py                  draw and encode; says what it weighs
    .venv/bin/python tools/make_video.py --frame 9.5 X.png   one instant of it, to look at
    .venv/bin/python tools/make_video.py --manifest FILE     how.json for a video of your own, beside it

No word is in it, so it needs no translation; no sound; nothing flashes. It ends as it begins, so it can be played round
and round. A car comes, is plugged in, a card is held to the reader, energy flows, the card again, unplugged, gone.
"""

import argparse
import hashlib
import json
import math
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from PIL import Image, ImageDraw

OUT = Path(__file__).parent.parent / "agent" / "ui" / "static" / "video"
FILM, MANIFEST = "how.webm", "how.json"
WIDTH, HEIGHT, FPS = 640, 360, 15
FINER = 2  # drawn so many times larger, then made smaller: smooth edges

NIGHT, ROAD, LINE = "#0b1420", "#16243a", "#2b3d5c"
WHITE, GREY, BODY, GLASS, RUBBER = "#f4f8ff", "#8fa3c4", "#33496e", "#0b1420", "#05090f"
FREE, BUSY = "#39ffc2", "#86a4db"  # the tones of the screens, as in agent/ui/static
CARD = "#efe503"

Point = tuple[float, float]

# -- what happens when ------------------------------------------------------------------------------------------------

COME, PLUG, TAP, CHARGE, STOP, UNPLUG, GO, END = 0.0, 3.5, 8.0, 12.0, 18.0, 21.0, 24.5, 27.0
SCENES = (COME, PLUG, TAP, CHARGE, STOP, UNPLUG, GO, END)
HOLSTER, INLET, READER = (452.0, 226.0), (352.0, 222.0), (505.0, 214.0)
PARKED, OUTSIDE_LEFT, OUTSIDE_RIGHT = 60.0, -340.0, 680.0
AWAY = (470.0, 420.0)  # where the hand comes from

# Camera: at this second, what it looks at and how near.
CAMERA: tuple[tuple[float, Point, float], ...] = (
    (COME, (320, 180), 1.0), (PLUG, (320, 180), 1.0), (PLUG + 1.2, (400, 215), 1.6), (TAP, (400, 215), 1.6),
    (TAP + 1.0, (470, 190), 2.0), (CHARGE - 0.5, (470, 190), 2.0), (CHARGE + 1.0, (320, 190), 1.15),
    (STOP - 0.6, (320, 190), 1.15), (STOP + 0.6, (470, 190), 2.0), (UNPLUG - 0.4, (470, 190), 2.0),
    (UNPLUG + 0.6, (400, 215), 1.6), (GO - 0.6, (400, 215), 1.6), (GO + 0.4, (320, 180), 1.0), (END, (320, 180), 1.0),
)  # fmt: skip


def eased(share: float) -> float:
    """0 to 1, slow at both ends."""
    share = min(1.0, max(0.0, share))
    return share * share * (3 - 2 * share)


def between(t: float, begin: float, end: float, of: Point, to: Point) -> Point:
    share = eased((t - begin) / (end - begin))
    return of[0] + (to[0] - of[0]) * share, of[1] + (to[1] - of[1]) * share


def camera(t: float) -> tuple[Point, float]:
    (begin, of, near), (end, to, nearer) = next(
        (pair for pair in pairwise(CAMERA) if t < pair[1][0]), (CAMERA[-2], CAMERA[-1])
    )
    share = eased((t - begin) / (end - begin))
    return between(t, begin, end, of, to), near + (nearer - near) * share


def car_x(t: float) -> float:
    if t < PLUG:
        return between(t, COME, PLUG - 0.4, (OUTSIDE_LEFT, 0), (PARKED, 0))[0]
    share = max(0.0, (t - GO - 0.2) / (END - GO - 0.3))
    return PARKED + (OUTSIDE_RIGHT - PARKED) * share * share  # it drives off faster and faster


def plug_at(t: float) -> Point:
    if t < CHARGE:
        return between(t, PLUG + 1.6, PLUG + 3.4, HOLSTER, INLET)
    return between(t, UNPLUG + 1.2, UNPLUG + 2.8, INLET, HOLSTER)


def hand_at(t: float) -> tuple[Point, bool] | None:
    """Where the hand is, and whether it holds the card; None: nowhere."""
    if PLUG + 0.6 < t < TAP:
        here = between(t, PLUG + 0.6, PLUG + 1.6, AWAY, HOLSTER) if t < PLUG + 1.6 else plug_at(t)
        return (here if t < PLUG + 3.5 else between(t, PLUG + 3.5, TAP, INLET, (INLET[0], 430))), False
    for begin, end in ((TAP, CHARGE), (STOP, UNPLUG)):
        if begin + 0.4 < t < end:
            return (
                between(t, begin + 0.4, begin + 1.4, AWAY, READER)
                if t < end - 0.9
                else between(t, end - 0.9, end, READER, AWAY)
            ), True
    if UNPLUG + 0.2 < t < GO:
        here = between(t, UNPLUG + 0.2, UNPLUG + 1.2, (INLET[0], 430), INLET) if t < UNPLUG + 1.2 else plug_at(t)
        return (here if t < UNPLUG + 2.8 else between(t, UNPLUG + 2.8, GO, HOLSTER, AWAY)), False
    return None


def is_charging(t: float) -> bool:
    return CHARGE - 1.4 < t < STOP + 1.5


def charge(t: float) -> float:
    """How full the car's battery is."""
    return 0.2 + 0.75 * eased((t - CHARGE) / (STOP + 1.0 - CHARGE))


# -- how it is drawn --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Canvas:
    """Draws in the scene's own coordinates, 640 x 360, as the camera sees them."""

    draw: ImageDraw.ImageDraw
    middle: Point
    zoom: float

    def at(self, x: float, y: float) -> Point:
        return (
            ((x - self.middle[0]) * self.zoom + WIDTH / 2) * FINER,
            ((y - self.middle[1]) * self.zoom + HEIGHT / 2) * FINER,
        )

    def scaled(self, size: float) -> int:
        return max(1, round(size * self.zoom * FINER))

    def box(
        self, x: float, y: float, width: float, height: float, fill: str, round_: float = 0, edge: str = ""
    ) -> None:
        line = self.scaled(2.5) if edge else 0
        corners = (*self.at(x, y), *self.at(x + width, y + height))
        self.draw.rounded_rectangle(corners, self.scaled(round_) if round_ else 0, fill, edge or None, line)

    def disc(self, x: float, y: float, radius: float, fill: str, edge: str = "") -> None:
        corners = (*self.at(x - radius, y - radius), *self.at(x + radius, y + radius))
        self.draw.ellipse(corners, fill, edge or None, self.scaled(2.5) if edge else 0)

    def shape(self, points: Sequence[Point], fill: str, edge: str = "") -> None:
        seen = [self.at(*point) for point in points]
        self.draw.polygon(seen, fill)
        if edge:
            self.draw.line([*seen, seen[0], seen[1]], edge, self.scaled(2.5), joint="curve")

    def line(self, points: Sequence[Point], fill: str, width: float) -> None:
        seen = [self.at(*point) for point in points]
        self.draw.line(seen, fill, self.scaled(width), joint="curve")
        for x, y in (seen[0], seen[-1]):  # round ends
            radius = self.scaled(width) / 2
            self.draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill)

    def arc(self, x: float, y: float, radius: float, begin: float, end: float, fill: str, width: float) -> None:
        corners = (*self.at(x - radius, y - radius), *self.at(x + radius, y + radius))
        self.draw.arc(corners, begin, end, fill, self.scaled(width))


def curve(begin: Point, low: Point, end: Point, steps: int = 24) -> list[Point]:
    """A quadratic Bézier curve."""
    shares = [i / steps for i in range(steps + 1)]
    weights = [((1 - s) ** 2, 2 * s * (1 - s), s * s) for s in shares]
    return [(a * begin[0] + b * low[0] + c * end[0], a * begin[1] + b * low[1] + c * end[1]) for a, b, c in weights]


def station(canvas: Canvas, t: float) -> None:
    canvas.box(478, 284, 84, 16, LINE, 3)
    canvas.box(462, 92, 96, 196, BODY, 14, WHITE)
    screen(canvas, t)
    light = BUSY if is_charging(t) else FREE
    canvas.box(478, 166, 64, 9, light, 4)
    canvas.box(480, 186, 60, 58, NIGHT, 8, GREY)
    for i, radius in enumerate((8, 16, 24)):  # the sign of contactless cards; while one is read, it grows
        read = TAP + 1.4 < t < CHARGE - 0.9 or STOP + 1.4 < t < UNPLUG - 0.9
        lit = not read or ((t - TAP) * 2) % 4 >= i
        canvas.arc(490, 215, radius, -50, 50, WHITE if lit else LINE, 4)
    canvas.box(446, 214, 20, 24, LINE, 5, GREY)


def screen(canvas: Canvas, t: float) -> None:
    """A small display: what the large one would say, as a sign."""
    canvas.box(474, 104, 72, 50, NIGHT, 6, GREY)
    if is_charging(t):
        bolt(canvas, 510, 129, 1.0, BUSY)
        return
    canvas.disc(510, 129, 17, NIGHT, FREE)
    canvas.line([(502, 130), (508, 136), (518, 122)], FREE, 4)


def bolt(canvas: Canvas, x: float, y: float, size: float, fill: str) -> None:
    points = ((3, -20), (-12, 4), (-2, 4), (-4, 20), (12, -5), (2, -5))
    canvas.shape([(x + dx * size, y + dy * size) for dx, dy in points], fill)


def car(canvas: Canvas, t: float) -> None:
    x = car_x(t)
    body = [
        (0, 52), (4, 28), (30, 18), (66, -22), (92, -32), (176, -32), (206, -22), (244, 14), (296, 26), (312, 42),
        (314, 60), (304, 68), (8, 68),
    ]  # fmt: skip
    canvas.shape([(x + dx, 208 + dy) for dx, dy in body], BODY, WHITE)
    rear = [(48, 14), (74, -16), (96, -23), (136, -23), (136, 14)]
    front = [(144, 14), (144, -23), (174, -23), (198, -14), (228, 14)]
    for window in (rear, front):
        canvas.shape([(x + dx, 208 + dy) for dx, dy in window], GLASS, GREY)
    canvas.line([(x + 140, 228), (x + 140, 268)], LINE, 2)
    canvas.line([(x + 152, 234), (x + 168, 234)], GREY, 3)
    canvas.disc(x + 306, 248, 5, CARD)
    for wheel in (66, 250):
        canvas.disc(x + wheel, 274, 27, RUBBER, GREY)
        canvas.disc(x + wheel, 274, 13, LINE, GREY)
        for spoke in range(3):
            angle = x / 27 + spoke * math.tau / 3
            canvas.line([(x + wheel, 274), (x + wheel + 12 * math.cos(angle), 274 + 12 * math.sin(angle))], GREY, 3)
    canvas.box(x + 276, 218, 22, 22, NIGHT, 5, GREY)
    canvas.disc(x + 287, 229, 6, LINE)
    if is_charging(t):
        battery(canvas, x + 84, 118, charge(t))


def battery(canvas: Canvas, x: float, y: float, full: float) -> None:
    canvas.box(x, y, 124, 44, NIGHT, 8, WHITE)
    canvas.box(x + 124, y + 13, 8, 18, WHITE, 2)
    canvas.box(x + 7, y + 7, 110 * full, 30, FREE, 4)
    bolt(canvas, x + 62, y + 22, 0.75, WHITE)


def cable(canvas: Canvas, t: float) -> None:
    x, y = plug_at(t)
    inlet = (x - 8, y + 6)
    root, low = (470.0, 262.0), ((x + 470) / 2, 300.0)
    path = curve(root, low, (inlet[0] + 26, inlet[1]))
    canvas.line(path, RUBBER, 11)
    canvas.line(path, GREY, 6)
    if is_charging(t):
        for bead in beads(t):
            canvas.disc(*along(path, bead), 5, BUSY, WHITE)
    canvas.box(inlet[0] - 6, inlet[1] - 9, 30, 18, WHITE, 6)
    canvas.box(inlet[0] - 14, inlet[1] - 6, 10, 12, GREY, 2)


def beads(t: float) -> Iterator[float]:
    """Energy on its way to the car: where along the cable."""
    for i in range(4):
        yield (t * 0.28 + i / 4) % 1.0


def along(path: Sequence[Point], share: float) -> Point:
    return path[min(len(path) - 1, int(share * len(path)))] if share < 1 else path[-1]


def hand(canvas: Canvas, t: float) -> None:
    found = hand_at(t)
    if found is None:
        return
    (x, y), has_card = found
    if has_card:
        canvas.box(x - 34, y - 22, 62, 42, CARD, 6, NIGHT)
        canvas.box(x - 26, y - 12, 14, 11, NIGHT, 2)
    canvas.shape([(x + 6, y + 30), (x + 44, y + 22), (x + 84, y + 190), (x + 24, y + 190)], LINE, GREY)  # sleeve
    canvas.box(x - 8, y + 2, 50, 38, WHITE, 16, NIGHT)
    for finger in range(3):
        canvas.box(x - 18, y + 3 + finger * 11, 36, 12, WHITE, 6, NIGHT)
    canvas.box(x + 4, y - 8, 15, 34, WHITE, 7, NIGHT)  # thumb


def marks(canvas: Canvas, t: float) -> None:
    """Which step this is, of how many."""
    canvas.box(256, 329, 128, 26, NIGHT, 13)
    here = sum(t >= scene for scene in SCENES[1:6]) - 1
    for i in range(5):
        canvas.disc(272 + i * 24, 342, 6, WHITE if i == here else NIGHT, GREY)


def frame(t: float) -> Image.Image:
    """The picture at this second."""
    image = Image.new("RGB", (WIDTH * FINER, HEIGHT * FINER), NIGHT)
    draw = ImageDraw.Draw(image)
    canvas = Canvas(draw, *camera(t))
    canvas.box(-400, 298, 1500, 300, ROAD)
    canvas.line([(-400, 299), (1100, 299)], LINE, 3)
    is_hung_up = not PLUG + 1.6 < t < UNPLUG + 2.8
    for part in (station, cable, car, hand) if is_hung_up else (station, car, cable, hand):  # from behind to the front
        part(canvas, t)
    marks(Canvas(draw, (WIDTH / 2, HEIGHT / 2), 1.0), t)
    return image.resize((WIDTH, HEIGHT), Image.Resampling.BOX)


# -- what comes out ---------------------------------------------------------------------------------------------------

ENCODE = [
    *f"ffmpeg -loglevel error -y -f rawvideo -pix_fmt rgb24 -s {WIDTH}x{HEIGHT} -r {FPS} -i -".split(),
    *"-an -c:v libvpx -pix_fmt yuv420p -b:v 160k -crf 8 -qmin 4 -qmax 40 -quality good -cpu-used 0 -g 150".split(),
    *"-threads 1 -auto-alt-ref 1 -lag-in-frames 16 -map_metadata -1 -fflags +bitexact -flags:v +bitexact".split(),
]  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("make_video", description="Draw the instructional video.")
    parser.add_argument("--frame", nargs=2, metavar=("SECOND", "FILE"), help="only this instant, as a picture")
    parser.add_argument("--manifest", type=Path, metavar="FILE", help="write how.json beside a video of your own")
    args = parser.parse_args(argv)
    if args.frame:
        frame(float(args.frame[0])).save(args.frame[1])
        return 0
    if args.manifest:
        write_manifest(args.manifest)
        return 0
    OUT.mkdir(exist_ok=True)
    with subprocess.Popen([*ENCODE, str(OUT / FILM)], stdin=subprocess.PIPE) as encoder:
        assert encoder.stdin
        for i in range(round(END * FPS)):
            encoder.stdin.write(frame(i / FPS).tobytes())
        encoder.stdin.close()
    if encoder.returncode == 0:
        write_manifest(OUT / FILM)
    return encoder.returncode


def write_manifest(film: Path) -> None:
    """What agent/ui/video.py holds the file against."""
    body = film.read_bytes()
    asked = [*"ffprobe -loglevel error -show_entries format=duration -of csv=p=0".split(), str(film)]
    seconds = round(float(subprocess.run(asked, capture_output=True, check=True, text=True).stdout), 2)
    said = {"file": FILM, "sha256": hashlib.sha256(body).hexdigest(), "seconds": seconds}
    (film.parent / MANIFEST).write_text(json.dumps(said, indent=2) + "\n")
    print(f"{film}: {len(body)} bytes, {seconds:g} s")


if __name__ == "__main__":
    sys.exit(main())
