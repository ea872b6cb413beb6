"""A plan token as it travels: a CWT (RFC 8392), signed by one of the operator's keys, in base64.

The claims are looked at only after the signature is right; what they mean is for agent/policy/plan_token.py.
"""

from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from agent.policy.plan_token import UNSIGNED
from agent.uplink.codec import WireError, from_cbor
from agent.uplink.signed import SignatureError, verify

TAG_61 = b"\xd8\x3d"  # CWT; optional in front of COSE_Sign1's own tag
TOKEN_MAX = 4_000  # characters; one has about 300

Claims = Mapping[Any, Any]


def claims_of(said: Any, keys: Mapping[bytes, Ed25519PublicKey]) -> Claims | str:
    """The claims of a token that the operator has signed; or, as a text, why it is none."""
    if not isinstance(said, str) or not 0 < len(said.strip()) <= TOKEN_MAX:
        return f"a plan token is a CWT in base64, at most {TOKEN_MAX} characters"
    try:
        data = b64decode(said.strip(), validate=True)
    except ValueError:
        return "the plan token is not base64"
    try:
        claims = from_cbor(verify(data.removeprefix(TAG_61), keys))
    except SignatureError as error:
        return f"{UNSIGNED}: {error}"
    except WireError as error:
        return f"the plan token cannot be read: {error}"
    return claims if isinstance(claims, Mapping) else "a plan token is a map of claims (RFC 8392)"
