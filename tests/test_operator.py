"""Whose signature counts can be changed by whoever's signature counts; never to nobody, and never silently back."""

from base64 import b64encode
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from agent.settings import OPERATOR_KEYS_MAX
from agent.uplink.operator import FACT, Changed, OperatorKeys, key_id
from tools.cloud import wire

KEYS = [Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32).public_key() for n in range(12)]
A, B, C = KEYS[:3]


def added(key: Ed25519PublicKey, kid: str = "") -> dict[str, str]:
    return {"kid": kid or key_id(key).hex(), "key": b64encode(key.public_bytes_raw()).decode()}


def change(keys: OperatorKeys, add: list[Ed25519PublicKey], retire: list[Ed25519PublicKey]) -> Any:
    data = {"add": [added(key) for key in add], "retire": [key_id(key).hex() for key in retire]}
    changed = keys.change(data)
    return keys.put(changed) if isinstance(changed, Changed) else changed


def names(keys: OperatorKeys) -> set[bytes]:
    return set(keys.keys)


def ids(*keys: Ed25519PublicKey) -> set[bytes]:
    return {key_id(key) for key in keys}


def test_a_key_id_is_the_clouds_own() -> None:
    assert key_id(A) == wire.key_id(A)


@pytest.mark.promise("S9")
def test_a_new_key_comes_and_the_old_one_goes_and_both_outlive_a_restart() -> None:
    keys = OperatorKeys([A], {})
    save = change(keys, [B], [A])
    assert save.key == FACT and names(keys) == ids(B)
    assert names(OperatorKeys([A], {FACT: save.value})) == ids(B), "a retired key stays so, though the file names it"
    assert change(keys, [B], [A]).value == save.value, "a repetition is harmless"


def test_a_key_that_is_put_into_the_config_file_later_counts_at_once() -> None:
    keys = OperatorKeys([A], {})
    save = change(keys, [B], [A])
    assert names(OperatorKeys([A, C], {FACT: save.value})) == ids(B, C)


@pytest.mark.promise("S9", "S10")
def test_the_set_is_never_empty_and_never_endless() -> None:
    keys = OperatorKeys([A], {})
    assert "last key" in change(keys, [], [A]) and "last key" in change(keys, [B], [A, B])
    assert "at most 8" in change(keys, KEYS[1:9], [])
    assert not isinstance(change(keys, KEYS[1:8], []), str) and len(keys.keys) == OPERATOR_KEYS_MAX


@pytest.mark.promise("S9")
@pytest.mark.parametrize(
    "data",
    [
        None, [], {"remove": []}, {"add": [added(A, "00" * 8)]}, {"add": [{"kid": "zz", "key": ""}]},
        {"add": [{**added(B), "key": "AAAA"}]}, {"retire": ["00"]}, {"retire": [5]},
        {"add": [added(B)], "retire": ["x"]},
    ],
)  # fmt: skip
def test_what_cannot_be_read_changes_nothing(data: Any) -> None:
    keys = OperatorKeys([A], {})
    assert isinstance(keys.change(data), str) and names(keys) == ids(A)


MEMBERS = st.sampled_from(["keys", "configured", "add", "x"])
JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(MEMBERS, inner, max_size=3),
)


@pytest.mark.promise("S9")
@given(JSON)
def test_a_fact_that_makes_no_sense_is_no_fact(fact: Any) -> None:
    keys = OperatorKeys([A], {FACT: fact})
    assert names(keys) <= ids(A)
    assert not isinstance(keys.change(fact), Changed) or fact == {} or fact == {"add": []}


@pytest.mark.promise("S9")
@given(st.lists(st.tuples(st.lists(st.sampled_from(KEYS), max_size=3), st.lists(st.sampled_from(KEYS), max_size=3))))
def test_after_any_changes_what_is_saved_is_what_is_in_force(story: list[tuple[Any, Any]]) -> None:
    keys, facts = OperatorKeys([A, B], {}), dict[str, Any]()
    for add, retire in story:
        save = change(keys, add, retire)
        if not isinstance(save, str):
            facts = {FACT: save.value}
        assert 1 <= len(keys.keys) <= OPERATOR_KEYS_MAX
        assert names(OperatorKeys([A, B], facts)) == names(keys)
