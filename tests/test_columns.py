"""Records in columns come out, byte for byte, as they went in; and no bytes from anywhere make the reader fall over."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from agent.uplink.codec import RECORD_MAX_B, WireError, WireRecord, decode_batch, encode_record, to_cbor
from agent.uplink.columns import COUNT_MAX, decode_any_batch, encode_columns, rebuilt

EPOCH, BOOT = b"EPOCH..1", b"BOOT...1"


def alike(bodies: Sequence[bytes]) -> int:
    return encode_columns(EPOCH, 1, bodies)[1]



numbers = st.integers(-(2**62), 2**62 - 1)
leaves = st.one_of(st.none(), st.booleans(), st.text(max_size=5), st.floats(allow_nan=False, allow_infinity=False))
shapes = st.recursive(
    st.sampled_from(["integer", "other"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def filled(draw: st.DrawFn, shape: Any) -> Any:
    if isinstance(shape, dict):
        return {name: filled(draw, inner) for name, inner in shape.items()}
    if isinstance(shape, list):
        return [filled(draw, inner) for inner in shape]
    return draw(numbers if shape == "integer" else leaves)


@st.composite
def batches(draw: st.DrawFn) -> list[bytes]:
    """Records of one shape; some repeat an earlier one, as samples do."""
    shape = {"a": draw(shapes), "b": draw(shapes)}
    payloads = [filled(draw, shape) for _ in range(draw(st.integers(1, 4)))]
    picked = draw(st.lists(st.integers(0, len(payloads) - 1), min_size=2, max_size=12))
    return [record(n * 60_000, payloads[which]) for n, which in enumerate(picked)]


def record(mono_ms: int, payload: dict[str, Any]) -> bytes:
    return encode_record(WireRecord(BOOT, mono_ms, 1_767_261_600_000 + mono_ms, 3, "TransactionEvent", payload))


@pytest.mark.promise("S2")
@given(batches())
def test_what_goes_in_comes_out_byte_for_byte(bodies: list[bytes]) -> None:
    data, count = encode_columns(EPOCH, 7, bodies)
    assert (count > 1) is bool(data)
    assume(data)  # a leaf may be an integer in one record and not in the next
    assert decode_any_batch(data).records == tuple(bodies[:count])


def test_records_of_another_shape_end_the_batch() -> None:
    a, b, c = record(0, {"n": 1}), record(1, {"n": 2}), record(2, {"n": 2, "offline": True})
    assert alike([a, b, c]) == 2 and alike([c, a]) == 1 and alike([a]) == 1
    assert alike([a, record(1, {"n": 1.0})]) == 1, "an integer is never compared with a float"


def test_samples_of_two_ports_that_take_turns_cost_hardly_more_than_those_of_one() -> None:
    def sample(n: int, port: int) -> bytes:
        info = {"transactionId": f"0123456789abcdef-{port}", "chargingState": "Charging"}
        value = {"value": 1_000_000 * port + 61 * n, "measurand": "Energy.Active.Import.Register"}
        return record(60_000 * n + port, {"seqNo": n, "transactionInfo": info, "meterValue": [value]})

    one, _ = encode_columns(EPOCH, 1, [sample(n, 1) for n in range(30)])
    two, _ = encode_columns(EPOCH, 1, [sample(n // 2, 1 + n % 2) for n in range(30)])
    assert len(one) < 200 and len(two) < len(one) + 120, (len(one), len(two))


def test_a_plain_batch_is_read_as_before() -> None:
    plain = to_cbor([EPOCH, 3, [record(0, {"n": 1})]])
    assert decode_any_batch(plain) == decode_batch(plain)


@pytest.mark.promise("S9")
@given(
    st.integers(-1, COUNT_MAX + 1) | numbers,
    st.lists(st.sampled_from([record(0, {"n": 1}), record(9, {"n": 5}), record(0, {"n": "x"}), b"\xff"]), max_size=3),
    st.dictionaries(st.integers(-2, 8), numbers | st.lists(numbers | leaves, max_size=3) | st.just({0: 1}), max_size=4),
)
@example(3, [record(0, {"n": 1})], {1: 2**62})
def test_hostile_columns_are_refused_or_records(count: int, templates: list[bytes], changes: dict[int, Any]) -> None:
    try:
        bodies = rebuilt(count, templates, changes)
    except WireError:
        return
    assert len(bodies) == count and alike(bodies) == count


@pytest.mark.promise("S9", "S10")
@pytest.mark.parametrize(
    "changes",
    [
        {1: {0: 1}}, {1: {0: 2}, 2: 5}, {1: {0: 0}}, {1: True}, {1: [1]}, {1: [1, 2.0]}, {0: 1}, {0: [1, 1]}, {99: 1},
        {"1": 1}, {2**64: 1}, {1: 2**63}, {1: None},
    ],
)  # fmt: skip
def test_a_column_that_does_not_fit_its_leaf_is_refused(changes: dict[Any, Any]) -> None:
    with pytest.raises(WireError):
        rebuilt(3, [record(5, {"n": 1})], changes)


@pytest.mark.promise("S10")
def test_a_few_bytes_cannot_grow_without_limit() -> None:
    big = record(0, {"info": "x" * (RECORD_MAX_B - 1_000)})
    with pytest.raises(WireError, match="more than"):
        rebuilt(COUNT_MAX, [big], {1: 1})
    with pytest.raises(WireError):
        rebuilt(COUNT_MAX + 1, [record(0, {})], {1: 1})
    with pytest.raises(WireError):
        decode_any_batch(to_cbor([EPOCH, 0, 3, [record(0, {})], {1: 1}]))
