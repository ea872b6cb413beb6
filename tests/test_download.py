"""Parts of a build: what is asked for, what is taken, what an answer is worth. Sockets are in test_courier.py."""

import io
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.update import build
from agent.update.air import End
from agent.update.download import (
    GAP_B,
    HEAD_STEP_B,
    Bad,
    Body,
    Changed,
    Known,
    Redirect,
    Span,
    Taker,
    Wanted,
    envelope_end,
    judged,
    retry_after_s,
)
from tests import builds

FILE = builds.build_file()
HEAD = builds.head_of(FILE)
URL = "https://builds.example/2"


class Hands:
    """Wants what is missing, and notes what comes."""

    def __init__(self, have: Sequence[bytes] = ()) -> None:
        self.have, self.got = set(have), dict[bytes, bytes]()
        self.begun = 0

    def begin(self, head: bytes) -> list[Wanted]:
        assert head == HEAD.raw
        self.begun += 1
        places = build.pieces_of(HEAD).items()
        return [
            Wanted(len(head) + at, piece.stored_b, digest) for digest, (at, piece) in places if digest not in self.have
        ]

    def put(self, digest: bytes, stored: bytes) -> None:
        assert digest not in self.got, "each once"
        build.unpack(build.pieces_of(HEAD)[digest][1], stored)
        self.got[digest] = stored


ALL = set(build.pieces_of(HEAD))


def test_the_end_of_a_head_is_where_its_reader_finds_it() -> None:
    assert envelope_end(FILE) == len(HEAD.raw) == len(builds.head_of(FILE).raw)
    stream = io.BytesIO(FILE)
    build.read_head(stream, builds.TRUST)
    assert stream.tell() == envelope_end(FILE)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 50, len(HEAD.raw) - 1])
def test_a_head_that_is_not_whole_has_no_end_yet(size: int) -> None:
    assert envelope_end(FILE[:size]) is None


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_of_a_head_do_anything_but_wait_or_refuse(data: bytes) -> None:
    for start in (b"", b"\xd8\x6b", b"\xd8\x6b\xa3", b"\xd8\x6b\xa2\x02"):
        try:
            end = envelope_end(start + data)
        except ValueError:
            continue
        assert end is None or end <= len(start + data)


@pytest.mark.parametrize("size_b", [0, 23, 24, 255, 256, 65_535, 65_536])
def test_an_envelopes_end_is_cbors_own(size_b: int) -> None:
    data = cbor2.dumps(cbor2.CBORTag(107, {2: b"", "#" + "x" * (size_b % 300): bytes(size_b), 3: bytes(size_b)}))
    assert envelope_end(data) == envelope_end(data + b"more") == len(data)
    assert envelope_end(data[:-1]) is None


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.integers(50, 30_000), st.sets(st.sampled_from(sorted(ALL))))
def test_whatever_parts_come_in_whatever_sizes_each_missing_piece_is_put_once(
    seed: int, size_b: int, have: set[bytes]
) -> None:
    rng = random.Random(seed)
    hands = Hands(tuple(have))
    taker = Taker(hands)
    asked = 0
    while (span := taker.wants()) is not None:
        asked += 1
        assert asked < 20_000
        whole = rng.random() < 0.1
        at, last = (0, len(FILE) - 1) if whole else (span.first, min(span.last, len(FILE) - 1))
        if rng.random() < 0.3:  # the line breaks
            last = rng.randint(span.first, last)
        while at <= last:
            part = FILE[at : min(last + 1, at + size_b)]
            taker.feed(at, part)
            at += len(part)
    assert set(hands.got) == ALL - have and hands.begun == 1
    assert taker.got_b == len(HEAD.raw) + sum(len(stored) for stored in hands.got.values())


def test_a_file_that_comes_at_once_is_taken_at_once() -> None:
    hands = Hands()
    taker = Taker(hands)
    taker.feed(0, FILE)
    assert set(hands.got) == ALL and taker.wants() is None and taker.got_b == len(FILE)
    taker.feed(0, FILE)
    assert (hands.begun, taker.got_b) == (1, len(FILE)), "nobody wants it twice"


def test_a_head_goes_on_where_it_ended_and_only_what_nobody_has_had_is_new() -> None:
    for is_new in (True, False):
        hands = Hands(sorted(ALL))
        taker = Taker(hands, HEAD.raw[:100], is_new=is_new)
        assert not taker.is_begun and taker.wants() == Span(100, 99 + HEAD_STEP_B)
        taker.feed(101, HEAD.raw[101:])
        taker.feed(50, HEAD.raw[50:100])
        assert (taker.head, hands.begun) == (HEAD.raw[:100], 0), "it does not continue what is there"
        taker.feed(50, HEAD.raw[50:])
        assert (taker.head, hands.begun, taker.is_begun) == (HEAD.raw, 1, True)
        assert taker.wants() is None and taker.got_b == (len(HEAD.raw) - 100 if is_new else 0)


def test_of_a_piece_that_came_in_part_the_rest_is_asked_for_and_what_does_not_continue_it_is_another_one() -> None:
    class Three(Hands):
        def begin(self, head: bytes) -> list[Wanted]:
            return [Wanted(at, 10, bytes([at // 100])) for at in (9_000, 9_100, 9_200)]

        def put(self, digest: bytes, stored: bytes) -> None:
            assert digest not in self.got
            self.got[digest] = stored

    hands = Three()
    taker = Taker(hands, HEAD.raw)
    taker.feed(8_990, bytes(10) + b"abcd")
    assert taker.wants() == Span(9_004, 9_209)
    taker.feed(9_100, b"0123456789")
    assert hands.got == {b"\x5b": b"0123456789"} and taker.got_b == 10
    assert taker.wants() == Span(9_000, 9_209)
    taker.feed(9_000, b"abcdefghij" + bytes(190) + b"0123")
    assert hands.got.pop(b"\x5a") == b"abcdefghij" and taker.wants() == Span(9_204, 9_209)
    taker.feed(9_204, b"456789")
    assert hands.got[b"\x5c"] == b"0123456789" and taker.wants() is None and taker.got_b == 30


def test_a_head_that_is_longer_than_any_of_ours_is_no_build() -> None:
    taker = Taker(Hands())
    with pytest.raises(ValueError, match="longer than"):
        taker.feed(0, b"\xd8\x6b\xa3\x02\x5a\x00\x10\x00\x00")


def test_a_known_head_is_not_asked_for_again_and_is_nothing_new() -> None:
    hands = Hands(sorted(ALL)[1:])
    taker = Taker(hands, HEAD.raw)
    at, piece = build.pieces_of(HEAD)[min(ALL)]
    first = len(HEAD.raw) + at
    assert taker.wants() == Span(first, first + piece.stored_b - 1)
    assert taker.got_b == 0


def test_what_a_server_says_first_is_known_from_then_on_and_a_weak_name_is_none() -> None:
    for status, more in ((206, {"content-range": "bytes 100-199/1000"}), (200, {"content-length": "1000"})):
        for etag, name in (('"one"', '"one"'), ('W/"one"', ""), ("one", ""), ('"' + "x" * 201 + '"', "")):
            found = judged(URL, ASKED, status, {**more, "etag": etag}, Known())
            assert isinstance(found, Body) and found.known == Known(name, 1_000)
    assert isinstance(found := judged(URL, ASKED, 416, {}, Known()), Bad) and found.end is End.LIE


def test_one_byte_that_is_the_last_one_is_an_answer() -> None:
    assert judged(URL, Span(5, 5), 206, {"content-range": "bytes 5-5/6"}, Known()) == Body(5, 5, Known("", 6))
    assert isinstance(judged(URL, Span(5, 5), 206, {"content-range": "bytes 5-5/5"}, Known()), Bad)


def test_a_place_may_have_four_thousand_characters_and_none_that_a_request_line_could_be_broken_with() -> None:
    longest = "https://other.example/".ljust(4_000, "x")
    assert judged(URL, ASKED, 302, {"location": longest}, KNOWN) == Redirect(longest)
    for bad in (longest + "x", "/a b", "/a\x01b", "https://:443/x"):
        assert isinstance(judged(URL, ASKED, 302, {"location": bad}, KNOWN), Bad), bad


def test_pieces_that_lie_close_together_are_one_request() -> None:
    class Far(Hands):
        def begin(self, head: bytes) -> list[Wanted]:
            return [Wanted(at, 10, bytes([n]) * 32) for n, at in enumerate((9_000, 9_010, 9_020 + GAP_B, 99_000))]

    taker = Taker(Far(), HEAD.raw)
    assert taker.wants() == Span(9_000, 9_029 + GAP_B)
    assert Taker(Hands()).wants() == Span(0, HEAD_STEP_B - 1)


KNOWN = Known('"one"', 1_000)
ASKED = Span(100, 199)


@pytest.mark.parametrize(
    ("status", "headers", "worth"),
    [
        (206, {"content-range": "bytes 100-199/1000", "etag": '"one"'}, Body(100, 199, KNOWN)),
        (206, {"content-range": "bytes 100-149/1000"}, Body(100, 149, KNOWN)),
        (206, {"content-range": "bytes 100-199/*"}, Body(100, 199, KNOWN)),
        (206, {"content-range": "bytes 100-199/1000", "etag": 'W/"one"'}, Changed()),
        (206, {"content-range": "bytes 100-199/1000", "etag": '"two"'}, Changed()),
        (206, {"content-range": "bytes 100-199/999"}, Changed()),
        (206, {"content-range": "bytes 100-200/1000"}, End.LIE),
        (206, {"content-range": "bytes 99-199/1000"}, End.LIE),
        (206, {"content-range": "bytes 100-99/1000"}, End.LIE),
        (206, {"content-range": "bytes 100-199/150"}, End.LIE),
        (206, {"content-range": "bytes 100-199/1000", "content-length": "101"}, End.LIE),
        (206, {"content-range": "bytes 100-199/1000", "content-encoding": "gzip"}, End.LIE),
        (206, {"content-range": "bytes " + "9" * 400}, End.LIE),
        (200, {"content-length": "1000"}, Body(0, 999, KNOWN, is_whole=True)),
        (200, {}, Body(0, None, KNOWN, is_whole=True)),
        (200, {"content-length": "2000"}, Changed()),
        (200, {"content-length": "-1"}, End.LIE),
        (200, {"etag": '"two"'}, Changed()),
        (416, {}, Changed()),
        (206, {}, End.LIE), (206, {"content-type": "multipart/byteranges; boundary=x"}, End.LIE),
        (404, {}, End.REFUSAL), (403, {}, End.REFUSAL), (204, {}, End.REFUSAL),
        (500, {}, End.REFUSAL), (100, {}, End.REFUSAL), (304, {}, End.REFUSAL),
        (503, {}, End.LINK), (429, {}, End.LINK),
        (302, {"location": "/there"}, Redirect("https://builds.example/there")),
        (307, {"location": "https://other.example/x?y"}, Redirect("https://other.example/x?y")),
        (302, {"location": "http://other.example/"}, End.REFUSAL),
        (302, {"location": "file:///etc/passwd"}, End.REFUSAL),
        (302, {"location": "https://a@other.example/"}, End.REFUSAL),
        (302, {"location": "https://other.example:99999/"}, End.REFUSAL),
        (302, {"location": "https://other.example:0/"}, End.REFUSAL),
        (302, {"location": "//[/"}, End.REFUSAL),
        (302, {"location": "https://other.example/" + "x" * 5_000}, End.REFUSAL),
        (302, {"location": "https://other.example/\u00e4"}, End.REFUSAL),
        (302, {"location": ""}, End.REFUSAL), (302, {}, End.REFUSAL),
    ],
)  # fmt: skip
def test_an_answer_is_worth_what_it_says_and_no_more(status: int, headers: dict[str, str], worth: object) -> None:
    found = judged(URL, ASKED, status, headers, KNOWN)
    assert (found.end if isinstance(found, Bad) else found) == worth


@given(
    st.integers(100, 599),
    st.dictionaries(
        st.sampled_from(["content-range", "content-length", "etag", "location", "content-encoding", "retry-after"]),
        st.text(max_size=50),
    ),
)
def test_no_answer_makes_the_judge_stumble(status: int, headers: dict[str, str]) -> None:
    judged(URL, ASKED, status, headers, KNOWN)
    judged(URL, ASKED, status, headers, Known())


def test_retry_after_is_seconds_or_a_date_by_the_servers_own_clock() -> None:
    now = datetime(2031, 5, 1, tzinfo=UTC)
    later = {"retry-after": format_datetime(now + timedelta(minutes=5), usegmt=True), "date": format_datetime(now)}
    assert retry_after_s(later) == 300
    assert retry_after_s({"retry-after": "17"}) == 17
    over = {"retry-after": later["date"], "date": later["retry-after"]}
    for said in ({}, over, {"retry-after": "soon"}, {"retry-after": later["retry-after"]}, {"retry-after": "-5"}):
        assert retry_after_s(said) == 0
