"""Bytes from a modem to lines: wherever the reads cut them, whatever is among them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.modem.lines import LINE_MAX, PROMPT, Framer

WIRE = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\r\n", b">", b" ", b"\0", b"OK", b"+CSQ: 20,99", b'"', b"\xff", b"\xc3\xa9"]),
    max_size=40,
).map(b"".join)


def lines(data: bytes, size: int | None = None) -> list[str]:
    framer = Framer()
    chunks = [data[i : i + size] for i in range(0, len(data), size)] if size else [data]
    return [line for chunk in chunks for line in framer.feed(chunk)] + framer.flush()


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\r", b"\r\n\r\n"])
def test_any_run_of_cr_and_lf_ends_a_line(end: bytes) -> None:
    assert lines(end + b"+CSQ: 20,99" + end + b"OK" + end) == ["+CSQ: 20,99", "OK"]


def test_a_prompt_is_told_before_anything_ends_it() -> None:
    assert Framer().feed(b"\r\n> ") == [PROMPT] and Framer().feed(b"\r\n>") == [PROMPT]


def test_what_stands_behind_a_prompt_is_a_line_of_its_own() -> None:
    assert lines(b"\r\n> +CMGS: 4\r\nOK\r\n") == [PROMPT, "+CMGS: 4", "OK"]


def test_blanks_and_nulls_around_a_line_are_no_part_of_it() -> None:
    assert lines(b"\0\0 RDY \0\r\n\0\r\n") == ["RDY"]


def test_a_name_in_utf_8_or_in_latin_1_is_text() -> None:
    assert lines('"Télécom"'.encode()) == lines('"Télécom"'.encode("latin-1")) == ['"Télécom"']


@given(WIRE, st.integers(1, 9))
def test_every_cut_gives_the_same_lines(data: bytes, size: int) -> None:
    assert lines(data, size) == lines(data, 1) == lines(data)


@pytest.mark.promise("S9")
@given(st.lists(st.binary(max_size=300), max_size=20))
def test_no_bytes_raise_and_no_line_is_empty(chunks: list[bytes]) -> None:
    framer = Framer()
    assert all(line.strip(" \t\0") for chunk in chunks for line in framer.feed(chunk))


@pytest.mark.promise("S10")
@pytest.mark.parametrize("size", [1_000, 100_000, LINE_MAX, LINE_MAX + 1])
def test_of_a_line_without_an_end_the_beginning_is_kept_and_no_more(size: int) -> None:
    framer = Framer()
    sent = b"x" * 100_000
    told = [line for i in range(0, len(sent), size) for line in framer.feed(sent[i : i + size])]
    assert not told and len(framer._rest) <= LINE_MAX
    assert framer.feed(b"\r\nOK\r\n") == ["x" * LINE_MAX, "OK"] and framer.overlong == 1
