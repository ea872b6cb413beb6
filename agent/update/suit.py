"""One linear profile of SUIT (draft-ietf-suit-manifest): an envelope around a manifest, signed with COSE_Sign1.

The envelope is read in general, as far as the draft's examples need. The manifest is read by what it says: from its facts
the only manifest that has them is made again, and one that differs by a byte is refused. So there is no command, no key
and no order of them that a signed build can have and this file does not know.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NoReturn, Protocol
from uuid import NAMESPACE_DNS, UUID, uuid5

from agent.update import strict
from agent.update.refusal import Refused

HEAD_MAX_B = 1 << 20
COMPONENTS_MAX = 64
PAYLOADS_MAX = COMPONENTS_MAX + 1  # an index each, and the keyring
TEXT_MAX = 100  # characters of version and commit
DIGEST_B = 32

TAG_107, TAG_18 = b"\xd8\x6b", b"\xd2"  # SUIT_Envelope_Tagged; COSE_Sign1
AUTHENTICATION, MANIFEST = 2, 3  # keys of the envelope
SHA_256 = -16  # RFC 9054
ALG, KID = 1, 4  # RFC 9052 §3.1
EDDSA, ES256 = -8, -7  # RFC 9053 §2
SIGNATURE_B = 64  # of either

VERSION, SEQUENCE, COMMON, VALIDATE, INSTALL, TEXT = 1, 2, 3, 7, 20, 23  # keys of the manifest
COMPONENTS, SHARED = 2, 4  # of common
VENDOR_ID, CLASS_ID, IMAGE_DIGEST, IMAGE_SIZE, URI = 1, 2, 3, 14, 21  # parameters
VENDOR_MATCH, CLASS_MATCH, IMAGE_MATCH = 1, 2, 3  # conditions
SET_COMPONENT_INDEX, OVERRIDE_PARAMETERS, FETCH = 12, 20, 21  # directives
REPORT, REPORT_FAILURE = 15, 2  # what the draft's examples ask to be reported
DESCRIPTION, UPDATE_DESCRIPTION = 1, 2  # keys of the text: our version, our commit
LANGUAGE = "en"

VENDOR = uuid5(NAMESPACE_DNS, "station-agent.example")

Verify = Callable[[int, bytes | None, bytes, bytes], None]  # algorithm, key id, message, signature; or it raises Refused


class Signer(Protocol):
    """A private key, wherever it is."""

    alg: int  # EDDSA or ES256
    kid: bytes

    def sign(self, message: bytes) -> bytes:
        """SIGNATURE_B bytes; for ES256 the two numbers one after the other (RFC 9053 §2.1)."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """As read; nobody has verified it yet unless it comes from open_envelope()."""

    digest: bytes  # SHA-256 of the manifest
    manifest: bytes
    payloads: Mapping[str, bytes]  # by name, "#app-x86_64"
    protected: bytes  # COSE headers
    signature: bytes
    alg: int
    kid: bytes | None


@dataclass(frozen=True, slots=True)
class Component:
    """(kind, name): ("app", platform) or ("controller", board); digest and size are of its index."""

    kind: str
    name: str
    digest: bytes
    size_b: int

    @property
    def uri(self) -> str:
        return f"#{self.kind}-{self.name}"


@dataclass(frozen=True, slots=True)
class Manifest:
    sequence: int  # the security sequence
    version: str
    commit: str
    components: tuple[Component, ...]


# -- the envelope ----------------------------------------------------------------------------------------------------


def seal(manifest: bytes, payloads: Mapping[str, bytes], signer: Signer) -> bytes:
    return attach(manifest, payloads, signer.alg, signer.kid, signer.sign(to_be_signed(manifest, signer.alg, signer.kid)))


def to_be_signed(manifest: bytes, alg: int, kid: bytes) -> bytes:
    """What the key signs: Sig_structure of RFC 9052 §4.4 over the manifest's digest. For keys that are elsewhere, too."""
    return _sig_structure(_protected(alg, kid), _suit_digest(manifest))


def attach(manifest: bytes, payloads: Mapping[str, bytes], alg: int, kid: bytes, signature: bytes) -> bytes:
    """The envelope with a signature that was made before, maybe elsewhere; does not look whether it is right."""
    assert len(signature) == SIGNATURE_B and not {AUTHENTICATION, MANIFEST} & payloads.keys()
    block = TAG_18 + strict.dumps([_protected(alg, kid), {}, None, signature])
    wrapper = strict.dumps([_suit_digest(manifest), block])
    return TAG_107 + strict.dumps({AUTHENTICATION: wrapper, MANIFEST: manifest, **payloads})


def open_envelope(data: bytes, verify: Verify) -> Envelope:
    """The envelope, if its manifest has the digest that `verify` says is signed. Refused."""
    envelope = read(data)
    check(envelope, verify)
    return envelope


def check(envelope: Envelope, verify: Verify) -> None:
    message = _sig_structure(envelope.protected, _suit_digest(envelope.manifest))
    verify(envelope.alg, envelope.kid, message, envelope.signature)


def read(data: bytes) -> Envelope:
    """Its parts, the manifest unread. Refused("format")."""
    if len(data) > HEAD_MAX_B:
        _not_ours(f"its head has {len(data)} bytes, at most {HEAD_MAX_B} are allowed")
    if not data.startswith(TAG_107):
        _not_ours("it does not begin like one")
    match strict.loads(data[len(TAG_107) :], "this build", HEAD_MAX_B):
        case {2: bytes() as wrapper, 3: bytes() as manifest, **payloads} if len(payloads) <= PAYLOADS_MAX:
            for name, payload in payloads.items():
                if not isinstance(name, str) or not name.startswith("#") or not isinstance(payload, bytes):
                    _not_ours("something unknown is in its envelope")
            protected, signature = _authentication(wrapper, manifest)
            alg, kid = _headers(protected)
            return Envelope(sha256(manifest).digest(), manifest, payloads, protected, signature, alg, kid)
    _not_ours("its envelope has no manifest, or too much else")


def _authentication(wrapper: bytes, manifest: bytes) -> tuple[bytes, bytes]:
    """One COSE_Sign1 with detached payload, over the digest of this manifest."""
    match strict.loads(wrapper, "this build's signature", HEAD_MAX_B):
        case [bytes() as digest, bytes() as block] if block.startswith(TAG_18):
            if digest != _suit_digest(manifest):
                raise Refused("signature", "the build was changed after it was signed: fetch it anew")
            match strict.loads(block[len(TAG_18) :], "this build's signature", HEAD_MAX_B):
                case [bytes() as protected, {**others}, None, bytes() as signature] if not others:
                    return protected, signature
    _not_ours("its signature is not one COSE_Sign1 over the manifest's digest")


def _headers(protected: bytes) -> tuple[int, bytes | None]:
    match strict.loads(protected, "this build's signature", HEAD_MAX_B):
        case {1: -8 | -7 as alg, **others} if not others:
            return alg, None
        case {1: -8 | -7 as alg, 4: bytes() as kid, **others} if not others:
            return alg, kid
    _not_ours("it is signed with another algorithm than EdDSA or ES256")


def _protected(alg: int, kid: bytes) -> bytes:
    return strict.dumps({ALG: alg, KID: kid})


def _suit_digest(manifest: bytes) -> bytes:
    """SUIT_Digest over the manifest as it stands in the envelope: with the header of its byte string."""
    return strict.dumps([SHA_256, sha256(strict.dumps(manifest)).digest()])


def _sig_structure(protected: bytes, payload: bytes) -> bytes:
    return strict.dumps(["Signature1", protected, b"", payload])


# -- the manifest ----------------------------------------------------------------------------------------------------


def dump_manifest(manifest: Manifest) -> bytes:
    common = {
        COMPONENTS: [[component.kind.encode(), component.name.encode()] for component in manifest.components],
        SHARED: _sequence(manifest, _identified),
    }
    return strict.dumps(
        {
            VERSION: 1,
            SEQUENCE: manifest.sequence,
            COMMON: strict.dumps(common),
            VALIDATE: _sequence(manifest, lambda component: [IMAGE_MATCH, REPORT]),
            INSTALL: _sequence(manifest, _fetched),
            TEXT: strict.dumps({LANGUAGE: {DESCRIPTION: manifest.version, UPDATE_DESCRIPTION: manifest.commit}}),
        }
    )


def load_manifest(data: bytes) -> Manifest:
    """Refused("format") for every manifest that dump_manifest() would not make."""
    try:
        manifest = _facts(data)
        if dump_manifest(manifest) == data:
            return manifest
    except (LookupError, TypeError, ValueError, AttributeError):
        pass  # something else stands where a fact of ours would
    _not_ours("its manifest says what this software does not know; it may be for a newer one: flash a build between first")


def _facts(data: bytes) -> Manifest:
    """What the manifest says, where dump_manifest() puts it; anything may be raised for what is not there."""
    outer = strict.loads(data, "this build's manifest", HEAD_MAX_B)
    common = strict.loads(outer[COMMON], "this build's manifest", HEAD_MAX_B)
    shared = strict.loads(common[SHARED], "this build's manifest", HEAD_MAX_B)
    text = strict.loads(outer[TEXT], "this build's manifest", HEAD_MAX_B)[LANGUAGE]
    names = [(kind.decode("ascii"), name.decode("ascii")) for kind, name in common[COMPONENTS]]
    if not 1 <= len(names) <= COMPONENTS_MAX or len(set(names)) < len(names):
        raise ValueError("components")
    parameters = [shared[8 * i + 3] for i in range(len(names))]
    version, commit, sequence = text[DESCRIPTION], text[UPDATE_DESCRIPTION], outer[SEQUENCE]
    if not all(isinstance(said, str) and said.isprintable() and len(said) <= TEXT_MAX for said in (version, commit)):
        raise ValueError("text")
    if type(sequence) is not int or not 0 <= sequence < 1 << 63:
        raise ValueError("sequence")
    components = []
    for (kind, name), parameter in zip(names, parameters, strict=True):
        digest = strict.loads(parameter[IMAGE_DIGEST], "this build's manifest", HEAD_MAX_B)[1]
        if len(digest) != DIGEST_B or type(parameter[IMAGE_SIZE]) is not int:
            raise ValueError("digest")
        components.append(Component(kind, name, digest, parameter[IMAGE_SIZE]))
    return Manifest(sequence, version, commit, tuple(components))


def _sequence(manifest: Manifest, commands: Callable[[Component], list[Any]]) -> bytes:
    """The same commands for each component."""
    found: list[Any] = []
    for i, component in enumerate(manifest.components):
        found += [SET_COMPONENT_INDEX, i, *commands(component)]
    return strict.dumps(found)


def _identified(component: Component) -> list[Any]:
    parameters = {
        VENDOR_ID: VENDOR.bytes,
        CLASS_ID: class_id(component.kind, component.name).bytes,
        IMAGE_DIGEST: strict.dumps([SHA_256, component.digest]),
        IMAGE_SIZE: component.size_b,
    }
    return [OVERRIDE_PARAMETERS, parameters, VENDOR_MATCH, REPORT, CLASS_MATCH, REPORT]


def _fetched(component: Component) -> list[Any]:
    return [OVERRIDE_PARAMETERS, {URI: component.uri}, FETCH, REPORT_FAILURE, IMAGE_MATCH, REPORT]


def class_id(kind: str, name: str) -> UUID:
    return uuid5(VENDOR, f"{kind}/{name}")


def _not_ours(why: str) -> NoReturn:
    raise Refused("format", f"this is no build of ours, or it is damaged ({why}): fetch it anew")
