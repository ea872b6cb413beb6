"""The wire as the cloud reads it: columns that are exact, and nothing that hostile bytes could make expensive."""

from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.uplink import columns as station
from tools.cloud import wire
from tools.cloud.wire import KEYS, Malformed, read_batch, read_cbor, rebuilt

EPOCH, BOOT = b"epoch--1", b"boot---1"

scalars = (
    st.integers(-(1 << 63), (1 << 63) - 1)
    | st.integers(0, 30)
    | st.floats(allow_nan=False)
    | st.text(max_size=3)
    | st.binary(max_size=30)
    | st.booleans()
    | st.none()
)
shapes = st.recursive(
    st.sampled_from(("int", "other", "same")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.integers(0, 1200) | st.text(max_size=2), inner),
    max_leaves=8,
)


def filled(draw: st.DrawFn, shape: Any) -> Any:
    """A value of this shape."""
    match shape:
        case dict():
            return {key: filled(draw, item) for key, item in shape.items()}
        case list():
            return [filled(draw, item) for item in shape]
        case "int":
            return draw(st.integers(0, 40) | st.integers(-(1 << 62), 1 << 62))
        case "other":
            return draw(scalars.filter(lambda value: type(value) is not int))
    return "same"


@st.composite
def alike(draw: st.DrawFn) -> list[bytes]:
    """Records of one shape, as a station writes them."""
    shape = draw(shapes)
    payloads = [filled(draw, {0: shape, 1: "int", 2: "same"}) for _ in range(draw(st.integers(2, 9)))]
    return [
        cbor2.dumps([BOOT, 1000 * i, None, 0, 24, payload], canonical=True) for i, payload in enumerate(payloads)
    ]


@pytest.mark.promise("S2")
@given(alike())
def test_columns_rebuild_each_record_to_the_byte(bodies: list[bytes]) -> None:
    sent, count = station.encode_columns(EPOCH, 7, bodies)
    assert count == len(bodies)
    batch = read_batch(sent)
    assert [entry.body for entry in batch.entries] == bodies
    assert (batch.first, batch.last) == (7, 6 + len(bodies))
    assert [entry.digest for entry in batch.entries] == [
        entry.digest for entry in read_batch(cbor2.dumps([EPOCH, 7, bodies])).entries
    ]


def test_columns_by_hand_as_the_page_explains_them() -> None:
    """Two ports take turns: leaf 0 counts on, leaf 1 likewise, leaf 2 by a list, leaf 3 is a text, leaf 4 stays."""
    templates = [cbor2.dumps([10, 10, 5, "a", 1.5]), cbor2.dumps([20, 21, 6, "b", 2.5])]
    columns = {0: 1000, 1: {0: 0}, 2: [-6, 0, 300], 3: [None, "c", True]}
    records = [cbor2.loads(body) for body in rebuilt(5, templates, columns)]
    assert records[2:] == [[1010, 1010, -1, None, 1.5], [1020, 1021, 6, "c", 2.5], [2010, 2010, 299, True, 1.5]]


RECORD = cbor2.dumps([BOOT, 1, None, 0, 24, {0: 1, 1: "x"}])


@pytest.mark.parametrize(
    ("count", "templates", "columns"),
    [
        (1, [RECORD], {}),                                                      # no further record
        (1_001, [RECORD], {}),
        (2, [RECORD, RECORD], {}),                                              # as many templates as records
        (6, [RECORD] * 5, {}),
        (3, [RECORD, cbor2.dumps([1])], {}),                                    # of different shapes
        (3, [RECORD, "text"], {}),
        (2, [], {}),
        (2, [b"\xff"], {}),
        (2, [cbor2.dumps(cbor2.CBORTag(2, b"x"))], {}),
        (2, [RECORD], {1: [1, 2]}),                                             # too many values
        (2, [RECORD], {1: ["x"]}),
        (2, [RECORD], {1: True}),
        (2, [RECORD], {1: {0: 1}}),                                             # the same as itself
        (2, [RECORD], {1: {0: 5}, 5: 1}),                                       # .. as a later one
        (2, [RECORD], {1: 1, 5: {0: True}}),
        (2, [RECORD], {1: 1, 5: {0: 1, 1: 1}}),
        (2, [RECORD], {1: 1 << 63}),
        (2, [RECORD], {2: [5]}),                                                # an integer where null was
        (2, [RECORD], {2: 5}),
        (2, [RECORD], {2: [[]]}),
        (2, [RECORD], {7: 1}),
        (2, [RECORD], {-1: 1}),
        (2, [RECORD], {"1": 1}),
        (2, [RECORD], {True: 1}),
        (1_000, [cbor2.dumps(["x" * 1_100])], {}),                              # over a megabyte
        (1_000, [cbor2.dumps([[1] * 1_100])], dict.fromkeys(range(1_100), 1)),
        (11, [cbor2.dumps(["", "x" * 50_000])], {0: ["y" * 49_000] * 10}),
    ],
)
def test_columns_that_are_none_are_refused(count: int, templates: list[Any], columns: Any) -> None:
    with pytest.raises(Malformed):
        read_batch(cbor2.dumps([EPOCH, 1, count, templates, columns]))


@pytest.mark.promise("S9")
@given(st.binary(max_size=60) | scalars.map(cbor2.dumps), st.lists(st.binary(max_size=9), max_size=4), st.data())
def test_no_columns_raise_anything_but_malformed(rubbish: bytes, templates: list[bytes], data: st.DataObject) -> None:
    leaves = st.dictionaries(st.integers(-1, 9), scalars | st.lists(scalars, max_size=3) | st.just({0: 0}))
    columns = data.draw(leaves)
    for message in ([EPOCH, 1, 3, [rubbish, *templates], columns], [EPOCH, 1, 2, [rubbish], columns]):
        for reader in (read_batch, wire.read_hello, wire.read_will, wire.read_request, wire.read_live):
            try:
                reader(cbor2.dumps(message))
            except Malformed:
                continue


def test_a_live_message_is_read_and_a_strange_one_is_not() -> None:
    port = [2, 2, 16_000, 1234, 3_680, [16_000, 0, 0], [230_000, 0, 0]]
    live = wire.read_live(cbor2.dumps([90_500, None, [port, [*port, "later"]], "later"]))
    assert (live.mono_ms, live.ports[1].power_w, live.ports[0].current_ma) == (90_500, 3_680, [16_000, 0, 0])
    few: list[Any] = [[1, None, []], [1, None, [port] * 101], [1, None, [port[:-1]]], [-1, None, [port]]]
    for strange in (*few, [1, 2.5, [port]]):
        with pytest.raises(Malformed):
            wire.read_live(cbor2.dumps(strange))


@pytest.mark.parametrize("entries", [
    {"unit": "Wh"}, None, "all", [5], [None], [{"idToken": "04A2"}], [{"idToken": {"idToken": 5}}],
    [{"idToken": {"idToken": "04A2"}, "idTokenInfo": None}], [{"idTokenInfo": {}}, {"idToken": {"idToken": "04A2"}}],
    [{"idToken": {"idToken": "04A2"}, "idTokenInfo": {"cacheExpiryDateTime": 5}}],
    [{"idToken": {"idToken": "04A2"}, "idTokenInfo": {"cacheExpiryDateTime": None}}] * 2,
])  # fmt: skip
def test_a_list_that_is_none_is_sent_as_it_was_written_for_the_station_to_refuse(entries: Any) -> None:
    said = {"localAuthorizationList": entries}
    assert KEYS.decode(read_cbor(cbor2.dumps(KEYS.encode(said)))) == said


@given(st.sampled_from(sorted(KEYS.numbers)), st.integers(0, 1300))
def test_a_station_is_sent_no_number_beyond_the_words_it_knows(name: str, words: int) -> None:
    said = {name: {"unit": "Wh", name: name}}
    sent = KEYS.encode(said, words=words)
    numbers = [n for item in (sent, *sent.values()) for pair in item.items() for n in pair if type(n) is int]
    assert all(number < words for number in numbers) and KEYS.decode(read_cbor(cbor2.dumps(sent))) == said
