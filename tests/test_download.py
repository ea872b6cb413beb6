"""Parts of a build: what is asked for, what is taken, what an answer is worth. Sockets are in test_courier.py."""

import io
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import cbor2
import pytest
from hypothesis import given
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


@given(st.dictionaries(st.text(max_size=30), st.binary(max_size=70_000), min_size=1, max_size=5), st.binary(max_size=9))
def test_an_envelopes_end_is_cbors_own(members: dict[str, bytes], rest: bytes) -> None:
    data = cbor2.dumps(cbor2.CBORTag(107, members))
    assert envelope_end(data + rest) == len(data)
    assert envelope_end(data[:-1]) is None or data[-1:] == b""


@given(st.integers(0, 2**32), st.integers(1, 30_000), st.sets(st.sampled_from(sorted(ALL))))
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


def test_a_known_head_is_not_asked_for_again_and_is_nothing_new() -> None:
    hands = Hands(sorted(ALL)[1:])
    taker = Taker(hands, HEAD.raw)
    at, piece = build.pieces_of(HEAD)[min(ALL)]
    first = len(HEAD.raw) + at
    assert taker.wants() == Span(first, first + piece.stored_b - 1)
    assert taker.got_b == 0


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
        (404, {}, End.REFUSAL), (500, {}, End.REFUSAL), (100, {}, End.REFUSAL), (304, {}, End.REFUSAL),
        (503, {}, End.LINK), (429, {}, End.LINK),
        (302, {"location": "/there"}, Redirect("https://builds.example/there")),
        (307, {"location": "https://other.example/x?y"}, Redirect("https://other.example/x?y")),
        (302, {"location": "http://other.example/"}, End.REFUSAL),
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
    for said in ({}, {"retry-after": "soon"}, {"retry-after": later["retry-after"]}, {"retry-after": "-5"}):
        assert retry_after_s(said) == 0
