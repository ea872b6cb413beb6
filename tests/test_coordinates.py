"""Coordinates as people write them: read in every common form, or refused in a sentence; never guessed."""

import math
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.wizard.coordinates import (
    ACCURACY_MIN_M,
    ALPHABET,
    DEGREE_M,
    TEXT_MAX,
    Point,
    Unread,
    averaged,
    decimal,
    distance_m,
    dms,
    is_place,
    moved,
    nudged,
    parse,
)

GATE = Point(52.516275, 13.377704)  # the Brandenburg Gate


def read(text: str) -> Point:
    point = parse(text)
    assert isinstance(point, Point), f"{text}: {point}"
    return point


@pytest.mark.parametrize(
    "text",
    [
        "52.516275, 13.377704",
        "52.516275,13.377704",
        "52.516275 13.377704",
        "52.516275; 13.377704",
        "52.516275 / 13.377704",
        "52.516275\n13.377704",
        "52,516275 13,377704",
        "52,516275; 13,377704",
        "52,516275, 13,377704",
        "(52.516275, 13.377704)",
        "+52.516275, +13.377704",
        "+52.516275+013.377704/",
        "N52.516275 E13.377704",
        "N52,516275,E13,377704",
        "52.516275N 13.377704E",
        "52.516275°, 13.377704°",
        "52.516275° N, 13.377704° E",
        "13.377704 E, 52.516275 N",
        "52.516275 north 13.377704 east",
        "Breite: 52,516275 Länge: 13,377704",
        "lon=13.377704 lat=52.516275",
        '{"lat": 52.516275, "lng": 13.377704}',
        "52°30'58.59\"N 13°22'39.73\"E",
        "52° 30′ 58.59″ N, 13° 22′ 39.73″ E",
        "52º30’58,59”N 13º22’39,73”E",
        "52°30'58.59''N 13°22'39.73''E",
        "52°30.9765'N 13°22.6622'E",
        "N 52° 30.9765' E 013° 22.6622'",
        "52 30 58.59 N 13 22 39.73 E",
        "52 30 58.59, 13 22 39.73",
        "52d30m58.59sN 13d22m39.73sE",
        "52 deg 30 min 58.59 sec N 13 deg 22 min 39.73 sec E",
        "52.516275\N{LEFT-TO-RIGHT MARK}, \N{RIGHT-TO-LEFT EMBEDDING}13.377704\N{POP DIRECTIONAL FORMATTING}",
        "\N{LEFT-TO-RIGHT ISOLATE}52.516275,\N{NO-BREAK SPACE}13.377704\N{POP DIRECTIONAL ISOLATE}",
        "٥٢٫٥١٦٢٧٥، ١٣٫٣٧٧٧٠٤",
        "५२.५१६२७५, १३.३७७७०४",
        "５２．５１６２７５，１３．３７７７０４",
        "北纬52.516275 东经13.377704",
        "北纬52度30分58.59秒 东经13度22分39.73秒",
        "geo:52.516275,13.377704",
        "geo:52.516275,13.377704,34;crs=wgs84;u=12",
        "geo:0,0?q=52.516275,13.377704(Depot)",
        "https://www.google.com/maps/@52.516275,13.377704,17z",
        "https://www.google.com/maps/place/52%C2%B030'58.6%22N+13%C2%B022'39.7%22E/@52.516275,13.377704,17z",
        "https://www.google.com/maps/place/Depot/@52.51,13.37,10z/data=!3m1!4b1!8m2!3d52.516275!4d13.377704!16z",
        "https://www.google.com/maps/search/?api=1&query=52.516275%2C13.377704",
        "https://www.google.com/maps/dir//52.516275,13.377704",
        "https://www.google.com/maps/embed?pb=!1m18!1m12!1m3!1d2428.1!2d13.377704!3d52.516275!2m3!1f0",
        "https://maps.google.com/?q=52.516275,13.377704",
        "maps.google.com/maps?q=loc:52.516275,13.377704",
        "https://maps.apple.com/?ll=52.516275,13.377704&q=Depot",
        "https://maps.apple.com/place?coordinate=52.516275,13.377704&name=Depot",
        "https://www.openstreetmap.org/?mlat=52.516275&mlon=13.377704#map=17/52.50/13.30",
        "https://www.openstreetmap.org/#map=19/52.516275/13.377704&layers=N",
        "https://www.bing.com/maps?cp=52.516275~13.377704&lvl=17",
        "https://bing.com/maps/default.aspx?sp=point.52.516275_13.377704_Depot",
        "https://share.here.com/l/52.516275,13.377704,Depot",
        "https://wego.here.com/?map=52.516275,13.377704,16,normal",
        "https://waze.com/ul?ll=52.516275%2C13.377704&navigate=yes",
        "9F4MG98H+G34",  # 3 m
    ],
)
def test_every_common_form_is_the_same_place(text: str) -> None:
    assert distance_m(read(text), GATE) < 4.0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", Unread.EMPTY),
        (" \N{ZERO WIDTH SPACE}\n", Unread.UNCLEAR),
        ("5" * (TEXT_MAX + 1), Unread.TOO_LONG),
        ("somewhere", Unread.UNCLEAR),
        ("52.5 north of 13.4", Unread.UNCLEAR),
        ("1e5, 2e5", Unread.UNCLEAR),
        ("1.2.3, 4.5", Unread.UNCLEAR),
        ("52.5 - 13.4", Unread.UNCLEAR),
        ("52.516-13.377", Unread.UNCLEAR),
        ("52 30 58 13 22 39", Unread.UNCLEAR),
        ("1, 2, 3", Unread.UNCLEAR),
        ("31′52° 13°", Unread.UNCLEAR),
        ("52.516275", Unread.ONE_NUMBER),
        ("52,5,13,4", Unread.COMMAS),
        ("52,516275,13,377704", Unread.COMMAS),
        ("52,13", Unread.COMMAS),
        ("52.5 N 13.4", Unread.ONE_LETTER),
        ("33D52M10S 151D12M30E", Unread.ONE_LETTER),  # S is seconds here, so no letter says north or south
        ("-52.5 S 13.4 E", Unread.SIGN_AND_LETTER),
        ("52.5 N 13.4 N", Unread.SAME_AXIS),
        ("52º31’12”N 13º24’17”O", Unread.LETTER_O),
        ("52°61'N 13°22'E", Unread.MINUTES),
        ("52.5°31'N 13°22'E", Unread.MINUTES),
        ("91 N, 13 E", Unread.SWAPPED),
        ("191.2, 13.4", Unread.LATITUDE),
        ("151.2153, -33.8568", Unread.SWAPPED),
        ("52.5, 180.1", Unread.LONGITUDE),
        ("0.0, 0.0", Unread.ZERO),
        ("geo:0,0", Unread.ZERO),
        ("geo:52.5,13.4;crs=nad27", Unread.DATUM),
        ("geo:here", Unread.UNCLEAR),
        ("9G8F+6X Zürich", Unread.SHORT_CODE),
        ("8FVC9G8F+6", Unread.CODE),
        ("8F0C0000+", Unread.CODE),
        ("8FVC0000+22", Unread.CODE),
        ("XXXX2222+22", Unread.CODE),  # north of the pole
        ("33U 390000 5820000", Unread.GRID),
        ("33UUU9003119786", Unread.GRID),
        ("https://maps.app.goo.gl/abcdefg", Unread.LINK),
        ("https://www.example.com/depot", Unread.LINK),
    ],
)
def test_what_could_mean_two_places_or_none_is_refused_with_its_reason(text: str, reason: Unread) -> None:
    assert parse(text) is reason


@pytest.mark.parametrize(
    ("text", "accuracy_m"),
    [
        ("52.5, 13.4", 11_120),
        ("52.516, 13.3777", 111),  # the coarser of the two
        ("52.516275, 13.377704", ACCURACY_MIN_M),
        ("52°30'N 13°22'E", 1_853),
        ("52°30'58\"N 13°22'39\"E", 31),
        ("9F4MGC22+2V", 7),
        ("geo:52.5,13.4;u=35", 35),
        ("geo:52.516275,13.377704;u=0", ACCURACY_MIN_M),
    ],
)
def test_the_accuracy_is_that_of_the_last_digit(text: str, accuracy_m: float) -> None:
    assert read(text).accuracy_m == pytest.approx(accuracy_m, rel=0.01)


@pytest.mark.parametrize("text", ["33.8568s 151.2153e", "S33.8568 E151.2153", "33°51'24\"S, 151°12'55\"E"])
def test_s_is_south_wherever_no_letters_stand_for_degrees_and_minutes(text: str) -> None:
    assert distance_m(read(text), Point(-33.8568, 151.2153)) < 40


# -- whatever is typed ------------------------------------------------------------------------------------------------

places = st.builds(
    Point,
    st.floats(-90, 90).map(lambda degrees: round(degrees, 6)),
    st.floats(-180, 180).map(lambda degrees: round(degrees, 6)),
).filter(is_place)
SOUP = "0123456789.,;:°'\"′″NSEWOnsewodmlatgeo+-/@?&=!% \n٣５度北\N{RIGHT-TO-LEFT MARK}FVC"


@given(st.one_of(st.text(max_size=TEXT_MAX + 1), st.text(SOUP, max_size=40)))
def test_whatever_is_typed_is_a_place_in_range_or_a_reason(text: str) -> None:
    point = parse(text)
    assert isinstance(point, Unread) or is_place(point)


@given(st.text(SOUP, max_size=30), st.sampled_from(["geo:{}", "https://maps.example/?q={}", "https://x.example/@{}"]))
def test_nor_does_any_link_raise(text: str, link: str) -> None:
    point = parse(link.format(text))
    assert isinstance(point, Unread) or is_place(point)


def comma(point: Point) -> str:
    return f"{point.latitude:.6f} {point.longitude:.6f}".replace(".", ",")


def lettered(point: Point) -> str:
    north, east = "NS"[point.latitude < 0], "EW"[point.longitude < 0]
    return f"{abs(point.longitude):.6f}{east} {abs(point.latitude):.6f}{north}"


def minutes(point: Point) -> str:
    def one(degrees: float, letters: str) -> str:
        units = round(abs(degrees) * 6_000_000)  # 1e-5 of a minute
        return f"{letters[degrees < 0]}{units // 6_000_000}° {units % 6_000_000 / 100_000:.5f}'"

    return f"{one(point.latitude, 'NS')} {one(point.longitude, 'EW')}"


def osm(point: Point) -> str:
    return f"https://www.openstreetmap.org/?mlat={point.latitude:.6f}&mlon={point.longitude:.6f}"


def geo(point: Point) -> str:
    return f"geo:{point.latitude:.6f},{point.longitude:.6f}"


def google(point: Point) -> str:
    return f"https://www.google.com/maps/@{point.latitude:.6f},{point.longitude:.6f},17z"


def plus_code(point: Point) -> str:
    """The encoder of the specification, in whole cells."""
    north = min(math.floor((point.latitude + 90) * 8_000 * 5), 180 * 8_000 * 5 - 1)
    east = math.floor((point.longitude + 180) % 360 * 8_000 * 4)
    last = ALPHABET[north % 5 * 4 + east % 4]
    north, east, digits = north // 5, east // 4, ""
    for _ in range(5):
        digits = ALPHABET[north % 20] + ALPHABET[east % 20] + digits
        north, east = north // 20, east // 20
    return f"{digits[:8]}+{digits[8:]}{last}"


@pytest.mark.parametrize("write", [decimal, dms, comma, lettered, minutes, osm, geo, google, plus_code])
@given(point=places)
def test_what_is_written_is_read_back(write: Callable[[Point], str], point: Point) -> None:
    assert distance_m(read(write(point)), point) < 3.0


@given(places)
def test_six_digits_and_hundredths_of_a_second_are_read_back_to_the_last_digit(point: Point) -> None:
    assert decimal(read(decimal(point))) == decimal(point)
    assert dms(read(dms(point))) == dms(point)


def test_a_second_that_rounds_up_carries() -> None:
    assert dms(Point(52.9999999, -0.9999999)) == "53°00′00.00″N 1°00′00.00″W"


# -- metres -----------------------------------------------------------------------------------------------------------


@given(places.filter(lambda point: abs(point.latitude) < 88), st.floats(-100, 100), st.floats(-100, 100))
def test_a_nudge_goes_as_far_as_it_says_and_back(point: Point, north_m: float, east_m: float) -> None:
    there = moved(point, north_m, east_m)
    assert is_place(there) or abs(there.latitude) < 0.002
    assert distance_m(point, there) == pytest.approx(math.hypot(north_m, east_m), rel=0.02, abs=0.01)
    assert distance_m(moved(there, -north_m, -east_m), point) < 0.2


@given(places, st.floats(-1e9, 1e9), st.floats(-1e9, 1e9))
def test_no_nudge_leaves_the_earth(point: Point, north_m: float, east_m: float) -> None:
    there = moved(point, north_m, east_m)
    assert abs(there.latitude) <= 90 and abs(there.longitude) <= 180


def test_a_nudge_over_the_date_line_goes_on_at_the_other_side() -> None:
    there = moved(Point(-17.0, 179.999999), 0.0, 1.0)
    assert there.longitude == pytest.approx(-179.99999, abs=1e-5)


@pytest.mark.parametrize(
    ("step", "north_m", "east_m"), [("n1", 1, 0), ("s1", -1, 0), ("e0.1", 0, 0.1), ("w-0.1", 0, 0.1), ("e-10", 0, -10)]
)
def test_a_nudge_is_a_letter_and_metres(step: str, north_m: float, east_m: float) -> None:
    assert nudged(GATE, step) == moved(GATE, north_m, east_m)


@given(st.one_of(st.text(max_size=9), st.sampled_from(["", "n", "x1", "n1e9", "n9999", "n1 ", "nn1", "ninf", "n٣"])))
def test_anything_else_is_no_nudge(step: str) -> None:
    there = nudged(GATE, step)
    assert there is None or distance_m(there, GATE) <= 1_003


# -- fixes ------------------------------------------------------------------------------------------------------------


def test_sixty_fixes_give_their_middle_and_no_better_accuracy_than_their_own() -> None:
    fixes = [Point(*_at(GATE, 3 * math.cos(n), 3 * math.sin(n)), 5.0) for n in range(60)]
    mean = averaged(fixes)
    assert mean is not None and mean.accuracy_m == pytest.approx(5.0)
    assert distance_m(mean, GATE) < 0.3


def test_a_fix_that_leapt_does_not_pull_the_others() -> None:
    mean = averaged([Point(GATE.latitude, GATE.longitude, 4.0)] * 20 + [Point(53.0, 13.0, 4.0)])
    assert mean is not None and distance_m(mean, GATE) < 0.1


def test_the_better_fix_counts_for_more() -> None:
    good, poor = Point(GATE.latitude, GATE.longitude, 2.0), Point(*_at(GATE, 20, 0), 20.0)
    mean = averaged([good, poor])
    assert mean is not None and distance_m(mean, good) < 1.0


def test_fixes_that_scatter_more_than_they_say_are_called_as_bad_as_they_scatter() -> None:
    mean = averaged([Point(*_at(GATE, 0, east), 1.0) for east in range(-30, 31, 5)])
    assert mean is not None and mean.accuracy_m is not None and mean.accuracy_m > 15


def test_without_a_fix_there_is_no_mean() -> None:
    assert averaged([]) is None
    assert averaged([Point(0.0, 0.0, 5.0), Point(math.nan, 1.0), Point(1.0, 1.0, math.inf)]) is None


def test_fixes_on_both_sides_of_the_date_line_meet_on_it() -> None:
    mean = averaged([Point(-17.0, 179.99999, 5.0), Point(-17.0, -179.99999, 5.0)])
    assert mean is not None and abs(mean.longitude) == pytest.approx(180, abs=1e-6)


anything = st.builds(Point, st.floats(), st.floats(), st.none() | st.floats())


@given(st.lists(anything | places, max_size=20))
@example([Point(1.0, 2.0, 1e200)])
@example([Point(1.0, 2.0, 1e160)])
def test_no_fix_whatever_it_says_breaks_the_mean(fixes: list[Point]) -> None:
    mean = averaged(fixes)
    assert mean is None or (math.isfinite(mean.latitude) and ACCURACY_MIN_M <= (mean.accuracy_m or 0) < math.inf)


def _at(point: Point, north_m: float, east_m: float) -> tuple[float, float]:
    there = moved(point, north_m, east_m)
    return there.latitude, there.longitude


def test_a_degree_is_as_long_as_on_the_sphere() -> None:
    assert distance_m(Point(52.0, 13.0), Point(53.0, 13.0)) == pytest.approx(DEGREE_M)
