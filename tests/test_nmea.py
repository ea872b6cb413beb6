"""What a GNSS receiver says: which epochs are a fix, how exact, and which bytes are none."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock import BUILD_S
from agent.events import FixTold
from agent.hal.nmea import LINE_MAX, Nmea, checksum
from agent.sim.gnss import GPS, Receiver, sentence
from agent.wizard.coordinates import Point, distance_m

GGA = "GNGGA,101500.00,5231.20048,N,01324.29724,E,1,09,0.9,38.1,M,44.9,M,,"
RMC = "GNRMC,101500.00,A,5231.20048,N,01324.29724,E,0.01,,221126,,,A,V"
GSA = "GNGSA,A,3,05,07,09,13,,,,,,,,,1.6,0.9,1.3"
GST = "GNGST,101500.00,6.2,,,,1.8,2.4,4.0"
NEXT = "GNRMC,101501.00,V,,,,,,,221126,,,N,V"
HERE = Point(52.520008, 13.404954)


def told(*said: str) -> FixTold | None:
    """The epoch of these sentences."""
    (epoch,) = Nmea().received(b"".join(map(sentence, (*said, NEXT))))
    return epoch


def fix(*said: str) -> FixTold:
    found = told(*said)
    assert found
    return found


def test_an_epoch_is_one_fix_with_accuracy_satellites_and_time() -> None:
    found = fix(RMC, GGA, GSA, GST)
    assert distance_m(HERE, Point(found.latitude, found.longitude)) < 0.02
    assert (found.accuracy_m, found.satellites) == (3.0, 9), "1.8 m north and 2.4 m east are 3 m"
    assert found.wall_s == datetime(2026, 11, 22, 10, 15, tzinfo=UTC).timestamp()


def test_without_its_own_estimate_the_geometry_says_how_exact_it_is() -> None:
    assert fix(GGA).accuracy_m == fix(RMC, GSA).accuracy_m == pytest.approx(4.5)
    assert fix(RMC).accuracy_m is None
    assert fix(GGA.replace("5231.20048", "5231.2")).accuracy_m == pytest.approx(185.3, abs=1), "the last digit's"


@pytest.mark.parametrize("talker", ["GP", "GN", "GL", "GA", "GB", "BD", "GQ", "GI"])
def test_any_system_may_talk(talker: str) -> None:
    assert fix(talker + GGA[2:], talker + RMC[2:]).wall_s


@pytest.mark.parametrize("order", [(GGA, GSA, RMC, GST), (RMC, GGA, GST, GSA), (GST, RMC, GSA, GSA, GGA)])
def test_the_order_of_the_sentences_is_the_receivers_own(order: tuple[str, ...]) -> None:
    assert fix(*order).accuracy_m == 3.0 and fix(*order).wall_s


def test_southern_and_western_places_are_negative() -> None:
    found = fix("GPGGA,101500,3352.1044,S,07039.2511,W,1,07,1.1,520,M,,M,,")
    assert (round(found.latitude, 4), round(found.longitude, 4)) == (-33.8684, -70.6542)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ((GGA.replace(",E,1,", ",E,0,"),), "no fix"),
        ((GGA.replace(",E,1,", ",E,6,"),), "estimated"),
        ((GGA.replace(",E,1,", ",E,7,"),), "typed in"),
        ((GGA.replace(",E,1,", ",E,8,"),), "simulated"),
        ((RMC.replace(",A,5231", ",V,5231"),), "a warning"),
        ((RMC.replace(",A,V", ",E,V"),), "dead reckoning"),
        ((GGA, RMC.replace(",A,5231", ",V,5231")), "they contradict each other"),
        ((GGA, GSA.replace("A,3", "A,1")), "no dimension"),
        ((GGA, GSA, GSA.replace("A,3", "A,1")), "none in one system"),
        (("GNGNS,101500.00,5231.20048,N,01324.29724,E,NN,00,99.9,,,,",), "no system has measured"),
        (("GNGNS,101500.00,5231.20048,N,01324.29724,E,AE,09,0.9,,,,",), "one system guesses"),
        ((GGA.replace("5231", "5261"),), "61 minutes"),
        ((GGA.replace("5231.20048,N", "9100.00000,N"),), "north of the pole"),
        ((GGA.replace("5231.20048,N,01324.29724", "0000.00000,N,00000.00000"),), "zero is no place"),
        ((GGA.replace(",N,", ",E,"),), "a latitude to the east"),
        ((GGA.replace("5231.20048", "nan"),), "no number"),
        (("GNGGA,101500.00",), "cut short"),
    ],
)
def test_what_is_no_real_fix_is_none(said: tuple[str, ...], why: str) -> None:
    assert told(*said) is None, why


def test_one_system_that_has_measured_is_enough() -> None:
    assert fix("GNGNS,101500.00,5231.20048,N,01324.29724,E,ANN,09,0.9,,,,").satellites == 9


@pytest.mark.parametrize("date", ["221106", "310226", "000000", "2211", "", "22112Z"])
def test_a_date_that_cannot_be_is_not_told(date: str) -> None:
    """2006 is what a receiver says whose count of weeks has run over."""
    found = fix(RMC.replace("221126", date))
    assert found.wall_s is None and datetime(2006, 11, 22, tzinfo=UTC).timestamp() < BUILD_S


def test_a_receiver_without_clock_and_fix_says_so_every_time() -> None:
    said = sentence("GPGGA,,,,,,0,00,99.99,,,,,,") + sentence("GPRMC,,V,,,,,,,,,,N")
    assert Nmea().received(3 * said) == [None, None]


def test_times_that_are_written_in_two_ways_are_one_epoch() -> None:
    found = fix(RMC.replace("101500.00", "101500"), GGA.replace("101500.00", "101500.000"))
    assert found.wall_s and found.satellites


@pytest.mark.promise("S9")
def test_a_sentence_with_a_wrong_checksum_is_nothing() -> None:
    line = Nmea()
    assert not line.received(sentence(GGA).replace(b"5231", b"5232") + sentence(NEXT)) and line.sentences == 1


@pytest.mark.promise("S9")
@given(st.lists(st.binary(max_size=300), max_size=20))
def test_no_bytes_raise_or_are_kept(chunks: list[bytes]) -> None:
    line = Nmea()
    for chunk in chunks:
        line.received(chunk)
        assert len(line._line) <= LINE_MAX
    assert line.received(b"\r\n" + sentence(GGA) + sentence(NEXT))[-1], "and afterwards it reads on"


FIELDS = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="$*"), max_size=90)


@pytest.mark.promise("S9")
@given(st.lists(st.tuples(st.sampled_from(["GGA", "RMC", "GNS", "GSA", "GST"]), FIELDS | st.sampled_from([
    GGA.partition(",")[2], RMC.partition(",")[2], GSA.partition(",")[2], GST.partition(",")[2],
])), max_size=12))  # fmt: skip
def test_whatever_intact_sentences_say_a_fix_is_a_place_on_earth(said: list[tuple[str, str]]) -> None:
    for epoch in Nmea().received(b"".join(sentence(f"GP{kind},{fields}") for kind, fields in said)):
        if epoch:
            assert abs(epoch.latitude) <= 90 and abs(epoch.longitude) <= 180 and 0 <= epoch.satellites <= 999
            assert epoch.accuracy_m is None or 0 <= epoch.accuracy_m < 1e7


@pytest.mark.promise("S9")
@given(st.data())
def test_in_whatever_pieces_it_comes_it_says_the_same(data: st.DataObject) -> None:
    receiver = Receiver(HERE, seed=3, cold_s=2, systems=data.draw(st.sampled_from([GPS, ("GP", "GL", "GA")])))
    said = b"".join(receiver.second() for _ in range(6))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(said)), max_size=8)))
    line, whole = Nmea(), Nmea().received(said)
    pieces = [said[a:b] for a, b in zip([0, *cuts], [*cuts, len(said)], strict=True)]
    assert [epoch for piece in pieces for epoch in line.received(piece)] == whole
    assert [epoch is not None for epoch in whole] == [False, False, True, True, True]


@given(st.binary(max_size=60))
def test_a_checksum_is_one_byte(data: bytes) -> None:
    assert 0 <= checksum(data) <= 255
