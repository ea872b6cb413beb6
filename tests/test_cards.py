"""Cards in a list of drivers, few bytes each, and OCPP's list again at the other end."""

from contextlib import suppress
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock import iso8601
from agent.uplink import cards
from agent.uplink.codec import WireError, decode_payload, encode_payload, from_cbor, to_cbor
from tools.cloud.wire import KEYS

LIST = "localAuthorizationList"


def travelled(payload: dict[str, Any]) -> dict[str, Any]:
    return decode_payload(from_cbor(to_cbor(encode_payload(payload))))


def entry(uid: str, **info: Any) -> dict[str, Any]:
    return {"idToken": {"idToken": uid, "type": "ISO14443"}, "idTokenInfo": {"status": "Accepted", **info}}


UIDS = st.binary(min_size=1, max_size=19).map(lambda uid: uid.hex().upper()) | st.sampled_from(["", "ab", "0", "x"])
TIMES = st.integers(-(10**12), 4 * 10**12).map(lambda ms: iso8601(ms / 1000)) | st.sampled_from(["", "2027-01-01", 5])
ODD = st.sampled_from([5, 5.0, True, None, "", [], {}, [5], 2**70, {"idToken": 5}, {"idToken": {"idToken": 7}}])
ENTRIES = (
    st.builds(entry, UIDS)
    | st.builds(lambda uid, time: entry(uid, cacheExpiryDateTime=time), UIDS, TIMES)
    | st.builds(lambda uid, odd: {**entry(uid), "idTokenInfo": odd}, UIDS, ODD)
    | st.builds(lambda uid, odd: {"idToken": {"idToken": uid, "type": odd}}, UIDS, ODD)
    | st.builds(lambda uid, odd: entry(uid, customData={"vendorId": "x", "groups": odd}), UIDS, ODD)
    | ODD
)


@given(st.lists(ENTRIES, max_size=12) | ODD)
def test_any_list_comes_back_exactly(entries: Any) -> None:
    back = travelled({LIST: entries, "versionNumber": 3})
    assert repr(sorted_members(back)) == repr(sorted_members({LIST: entries, "versionNumber": 3}))


def sorted_members(value: Any) -> Any:
    """For repr: 5 is not 5.0, True is not 1."""
    if isinstance(value, dict):
        return {name: sorted_members(value[name]) for name in sorted(value)}
    return [sorted_members(each) for each in value] if isinstance(value, list) else value


def test_a_driver_takes_the_bytes_of_his_card_and_nine_more_with_an_expiry_of_his_own() -> None:
    plain = [entry(f"04{n:012X}") for n in range(1_000)]
    assert len(to_cbor(encode_payload({LIST: plain}))) < 7 * 1_000 + 60
    dated = [entry(f"04{n:012X}", cacheExpiryDateTime=iso8601(1.8e9 + n)) for n in range(1_000)]
    assert len(to_cbor(encode_payload({LIST: dated}))) < 16 * 1_000 + 60
    assert travelled({LIST: [*plain, *dated]}) == {LIST: [*plain, *dated]}


@pytest.mark.promise("S9")
@pytest.mark.parametrize(
    ("item", "why"),
    [
        ([{}, 7, b"1234567"], "no idToken"),
        ([{"idToken": {"idToken": "04"}}, 1, b"1"], "bears an id"),
        ([{"idToken": {}}, 7, b"123456"], "of that size"),
        ([{"idToken": {}}, 0, b""], "of that size"),
        ([{"idToken": {}}, 19, b"1" * 19], "of that size"),
        ([{"idToken": {}}, 1, b"1" * (cards.CARDS_MAX + 1)], "more than 5000 cards"),
        ([{"idToken": {}}, 1, b"1", [5]], "idTokenInfo"),
        ([{"idToken": {}, "idTokenInfo": {}}, 1, b"12", [5]], "one for each"),
        ([{"idToken": {}, "idTokenInfo": {}}, 1, b"1", ["5"]], "milliseconds"),
        ([{"idToken": {}, "idTokenInfo": {}}, 1, b"1", [2**62]], "no time"),
        ([5, 1, b"1"], "of that size"),
    ],
)
def test_what_is_no_cards_is_refused_with_its_reason(item: list[Any], why: str) -> None:
    with pytest.raises(WireError, match=why):
        decode_payload({LIST: [to_cbor(item)]})


@pytest.mark.promise("S10")
def test_a_small_message_cannot_grow_without_bounds() -> None:
    some = to_cbor([{"idToken": {}}, 1, b"1" * 3_000])
    with pytest.raises(WireError, match="more than 5000 cards"):
        decode_payload({LIST: [some, some]})


@pytest.mark.promise("S9")
@given(st.binary(max_size=60))
def test_random_cards_never_do_worse_than_a_wire_error(noise: bytes) -> None:
    for first in (b"\x83", b"\x84"):
        with suppress(WireError):
            decode_payload({LIST: [first + noise]})


def known(uid: str, groups: list[str], expiry_ms: int | None) -> dict[str, Any]:
    expiry = {} if expiry_ms is None else {"cacheExpiryDateTime": iso8601(expiry_ms / 1000)}
    custom = {"customData": {"vendorId": "station-agent", "groups": groups}} if groups else {}
    return {"idToken": {"idToken": uid, "type": "ISO14443"}, "idTokenInfo": {"status": "Accepted", **expiry}, **custom}


@given(st.lists(st.builds(known, st.sampled_from(["04A22B01", "04A22B02", "04A22B0304C5D6", "APP-7"]),
                          st.sampled_from([[], ["a"], ["a", "b"]]),
                          st.sampled_from([None, 1_800_000_000_000, 1_800_000_000_001])), max_size=12))  # fmt: skip
def test_what_the_cloud_packs_the_station_reads(entries: list[dict[str, Any]]) -> None:
    said = {"versionNumber": 3, "updateType": "Full", LIST: entries}
    wire = from_cbor(cbor2.dumps(KEYS.encode(said)))
    assert decode_payload(wire) == KEYS.decode(wire) == said
