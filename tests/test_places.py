"""What is known of a place without a network: enough to notice a slip of the hand, and honest about the rest."""

import zoneinfo
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import atlas
from agent.ui.maps import station_map, words
from agent.ui.words import ENGLISH, Say
from agent.wizard.coordinates import Point
from agent.wizard.places import COAST_KM, Atlas, Place

BERLIN = Point(52.516, 13.3777)
SWAPPED, SIGN = "wrong way round", "minus sign"
SYDNEY = Point(-33.868, 151.207)


@pytest.fixture(scope="module")
def known() -> Atlas:
    return atlas.opened()


@pytest.mark.parametrize(
    ("latitude", "longitude", "code", "zone"),
    [
        (52.516, 13.3777, "DE", "Europe/Berlin"),
        (48.570, 7.810, "DE", "Europe/Berlin"),  # Kehl, 4 km from
        (48.580, 7.750, "FR", "Europe/Paris"),  # Strasbourg
        (-33.857, 151.2153, "AU", "Australia/Sydney"),  # at the water
        (33.450, -112.070, "US", "America/Phoenix"),
        (39.770, -86.160, "US", "America/Indiana/Indianapolis"),
        (24.550, -81.780, "US", "America/New_York"),  # on an island
        (21.300, -157.850, "US", "Pacific/Honolulu"),
        (4.930, -52.330, "GF", "America/Cayenne"),  # France, but not its time
        (28.100, -15.420, "ES", "Atlantic/Canary"),
        (43.730, 7.420, "MC", "Europe/Monaco"),
        (22.300, 114.170, "HK", "Asia/Hong_Kong"),
        (28.610, 77.200, "IN", "Asia/Kolkata"),
        (-18.140, 178.440, "FJ", "Pacific/Fiji"),  # the outline is cut at 180 degrees
        (64.150, -21.940, "IS", "Atlantic/Reykjavik"),
        (55.750, 37.620, "RU", "Europe/Moscow"),
        (43.120, 131.890, "RU", "Asia/Vladivostok"),
    ],
)
def test_country_and_time_zone_of_cities(known: Atlas, latitude: float, longitude: float, code: str, zone: str) -> None:
    place = known.place(Point(latitude, longitude))
    assert (place.code, place.zone, place.sea_km) == (code, zone, 0.0)
    assert place.country and place.town and place.town_km < 25


@pytest.mark.parametrize(("latitude", "longitude"), [(40.0, -40.0), (55.0, 4.0), (13.3777, 52.516), (-60.0, 0.0)])
def test_the_sea_is_no_country(known: Atlas, latitude: float, longitude: float) -> None:
    place = known.place(Point(latitude, longitude))
    assert place == Place(sea_km=place.sea_km) and place.sea_km > COAST_KM


@settings(max_examples=60)
@given(st.floats(-90, 90), st.floats(-180, 180))
def test_any_point_of_the_earth_is_on_land_with_a_country_or_at_sea_without(latitude: float, longitude: float) -> None:
    place = atlas.opened().place(Point(latitude, longitude))
    assert bool(place.code) == bool(place.country) == (place.sea_km == 0)
    assert place.code or place == Place(sea_km=place.sea_km)


@pytest.mark.parametrize(
    ("latitude", "longitude", "code"),
    [(67.0, 178.5, "RU"), (66.8, -175.0, "RU"), (66.0, 100.0, "RU"), (-16.85, -179.97, "FJ"), (-80.0, 100.0, "AQ"),
     (-85.0, 180.0, "AQ"), (-85.0, -180.0, "AQ"), (51.9, -176.6, "US")],
)  # fmt: skip
def test_the_date_line_and_the_pole_cut_no_land_apart(
    known: Atlas, latitude: float, longitude: float, code: str
) -> None:
    assert known.place(Point(latitude, longitude)).code == code


def test_every_zone_it_can_name_is_one_that_the_station_can_load(known: Atlas) -> None:
    there = zoneinfo.available_timezones()
    assert {kind.zone for kind in known.towns.kinds} <= there


def test_every_town_and_country_is_written_in_letters_that_the_display_has(known: Atlas) -> None:
    """tools/make_fonts.py cuts Latin there; of the rest of the world's letters it has what the catalogues use."""
    towns = known.towns
    names = [towns.name(number) for number in range(0, len(towns.latitudes), 97)]
    letters = set("".join([*names, *towns.countries.values(), bytes(towns._names).decode()]))
    assert "" not in names and not {each for each in letters if ord(each) >= 0x180 and each not in "‘’"}


def test_the_towns_themselves_are_found_where_they_are(known: Atlas) -> None:
    towns = known.towns
    for number in range(0, len(towns.latitudes), 2_003):
        point = Point(towns.latitudes[number] / 32_767 * 90, towns.longitudes[number] / 32_767 * 180)
        found = towns.nearest(point)
        assert found is not None and found[1] < 0.1


# -- slips of the hand ------------------------------------------------------------------------------------------------


def test_nothing_speaks_against_the_right_point(known: Atlas) -> None:
    assert known.warnings(BERLIN, "Europe/Berlin", Point(52.517, 13.378), Point(52.5165, 13.379)) == ()
    assert known.warnings(SYDNEY, "Australia/Sydney") == ()
    assert known.warnings(BERLIN) == ()


@pytest.mark.parametrize(
    ("typed", "zone", "sister", "slip"),
    [
        (Point(13.3777, 52.516), "Europe/Berlin", None, SWAPPED),
        (Point(13.3777, 52.516), "", Point(52.51, 13.38), SWAPPED),
        (Point(52.516, -13.3777), "Europe/Berlin", None, SIGN),
        (Point(33.868, 151.207), "Australia/Sydney", None, SIGN),
        (Point(33.868, -151.207), "Australia/Sydney", SYDNEY, SIGN),
    ],
)
def test_a_swapped_order_and_a_wrong_sign_are_told_with_what_was_meant(
    known: Atlas, typed: Point, zone: str, sister: Point | None, slip: str
) -> None:
    *_, said = known.warnings(typed, zone, sister)
    meant = BERLIN if abs(typed.latitude) in (BERLIN.latitude, BERLIN.longitude) else SYDNEY
    assert slip in said.text
    assert said.facts == {"point": f"{meant.latitude:.6f}, {meant.longitude:.6f}"}


def test_another_country_than_the_zones_is_told_without_a_guess(known: Atlas) -> None:
    (said,) = known.warnings(Point(48.0, 2.0), "Europe/Berlin")
    assert said.text.format_map(said.facts) == "This point is in France, but the time zone is Europe/Berlin."


def test_a_zone_that_no_town_has_says_nothing_about_countries(known: Atlas) -> None:
    assert known.warnings(BERLIN, "UTC") == ()


def test_the_distance_to_sister_and_address_is_told(known: Atlas) -> None:
    said = known.warnings(BERLIN, sister=Point(52.6, 13.3777), address=Point(52.53, 13.3777))
    texts = [each.text.format_map(each.facts) for each in said]
    assert texts == ["The station beside this one is 9.3 km away.", "The address of this site is 1.6 km away."]


def test_a_device_without_the_files_knows_no_place_and_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(atlas, "TOWNS", tmp_path / "towns.bin")
    assert atlas.look(BERLIN, "Europe/Berlin") == (Place(), ())


# -- as a block of a page ---------------------------------------------------------------------------------------------


def test_the_map_says_where_how_exact_and_next_to_which_town() -> None:
    place = Place("DE", "Germany", "Berlin", 3.84, "Europe/Berlin")
    text = station_map(Point(52.516, 13.3777, 5.4), place, ENGLISH).text
    assert text == "52.516000, 13.377700 ± 5 m: 3.8 km from Berlin, Germany."
    assert station_map(Point(52.5, 13.4, 11_120.0), place, Say("de")).text.startswith("52.500000, 13.400000 ± 11 km")


def test_the_map_without_a_point_says_so() -> None:
    block = station_map(None, None, ENGLISH)
    assert (block.latitude, block.longitude, block.accuracy_m) == (None, None, None)
    assert block.text == "The place is not known yet." and all(words(ENGLISH).values())
