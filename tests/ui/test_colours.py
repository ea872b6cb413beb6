"""The colours of the display, as the style sheet names them: bright enough in sunlight, and told apart by any eye."""

import math
import re
from itertools import combinations
from pathlib import Path

import pytest

from agent.ui import web
from agent.ui.model import Tone

STYLE = (Path(web.__file__).parent / "static" / "style.css").read_text()
PAGE = (Path(__file__).parent.parent.parent / "docs" / "panel.md").read_text()
TOKENS = dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})", STYLE))
SPOKEN = ["ink", "soft", *Tone]  # letters have these

# How eyes without one kind of cone see, in linear light: Machado, Oliveira and Fernandes 2009, severity 1.0.
EYES = {
    "normal": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}
APART = 25.0  # CIE 1976; 2.3 is what an eye just notices
Colour = tuple[float, float, float]


def linear(token: str) -> Colour:
    r, g, b = (int(TOKENS[token][i : i + 2], 16) / 255 for i in (1, 3, 5))
    return tuple(c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (r, g, b))  # type: ignore[return-value]


def luminance(colour: Colour) -> float:
    return 0.2126 * colour[0] + 0.7152 * colour[1] + 0.0722 * colour[2]


def contrast(a: str, b: str) -> float:
    """WCAG 2.2."""
    dark, light = sorted((luminance(linear(a)), luminance(linear(b))))
    return (light + 0.05) / (dark + 0.05)


def seen(colour: Colour, eye: str) -> Colour:
    r, g, b = (min(1.0, max(0.0, sum(m * c for m, c in zip(row, colour, strict=True)))) for row in EYES[eye])
    return r, g, b


def lab(colour: Colour) -> Colour:
    """CIE L*a*b*, white point D65."""
    r, g, b = colour
    xyz = (
        (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.95047,
        0.2126 * r + 0.7152 * g + 0.0722 * b,
        (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.08883,
    )
    x, y, z = (v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116 for v in xyz)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def apart(a: str, b: str, eye: str) -> float:
    one, other = (lab(seen(linear(token), eye)) for token in (a, b))
    return math.dist(one, other)


@pytest.mark.parametrize("token", SPOKEN)
def test_letters_have_seven_to_one_on_the_ground(token: str) -> None:
    assert contrast(token, "ground") >= 7


@pytest.mark.parametrize("eye", EYES)
def test_no_two_tones_look_alike_to_any_eye(eye: str) -> None:
    alike = {(a, b): apart(a, b, eye) for a, b in combinations(Tone, 2)}
    assert min(alike.values()) >= APART, alike


def test_edges_can_be_seen() -> None:
    """WCAG 1.4.11."""
    assert contrast("rule", "ground") >= 3


@pytest.mark.parametrize("tone", Tone)
def test_the_page_for_people_names_the_colour(tone: Tone) -> None:
    assert re.search(rf"^\| {tone} \| `{TOKENS[tone]}`", PAGE, re.MULTILINE)


def test_black_on_black_would_be_found() -> None:
    assert contrast("ground", "ground") == 1 and contrast("ink", "ground") > 15
    assert apart("free", "free", "deuteranopia") == 0
