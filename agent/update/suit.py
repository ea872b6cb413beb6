"""One linear profile of SUIT (draft-ietf-suit-manifest): an envelope around a manifest, signed with COSE_Sign1.

The envelope is read as the draft's own examples have it. Of the manifest the facts are read; then the only manifest
that says them is made again, and one that differs by a byte is refused. So a signed build has no command, no key and no
order of them that this file does not know.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from typing import Any, BinaryIO, NoReturn
from uuid import NAMESPACE_DNS, UUID, uuid5

from agent.update import cose, strict
from agent.update.refusal import Refused

HEAD_MAX_B = 1 << 20
COMPONENTS_MAX = 64
PAYLOADS_MAX = COMPONENTS_MAX + 1  # an index each, and the keyring
WRAPPER_MAX_B = 1_024
TEXT_MAX = 100  # characters of version and commit
SEQUENCE_MAX = 2**53  # as far as a boot state counts (agent/update/bootstate.py)
DIGEST_B = 32

TAG = b"\xd8\x6b"  # 107, SUIT_Envelope_Tagged
AUTHENTICATION, MANIFEST = 2, 3  # keys of the envelope
SHA_256 = -16  # RFC 9054

VERSION, SEQUENCE, COMMON, VALIDATE, INSTALL, TEXT = 1, 2, 3, 7, 20, 23  # keys of the manifest
COMPONENTS, SHARED = 2, 4  # of common
VENDOR_ID, CLASS_ID, IMAGE_DIGEST, IMAGE_SIZE, URI = 1, 2, 3, 14, 21  # parameters
VENDOR_MATCH, CLASS_MATCH, IMAGE_MATCH = 1, 2, 3  # conditions
SET_COMPONENT_INDEX, OVERRIDE_PARAMETERS, FETCH = 12, 20, 21  # directives
REPORT, REPORT_FAILURE = 15, 2  # what the draft's examples ask to be reported
DESCRIPTION, UPDATE_DESCRIPTION = 1, 2  # keys of the text: our version, our commit
LANGUAGE = "en"

VENDOR = uuid5(NAMESPACE_DNS, "station-agent.example")


class TooShort(Refused):
    """As far as it goes it may be one."""


# Algorithm, key id, message, signature: raises Refused if they do not belong together, or the key counts for nothing.
Verify = Callable[[int, bytes | None, bytes, bytes], None]


@dataclass(frozen=True, slots=True)
class Envelope:
    """As read; nobody has verified it yet unless it comes from open_envelope()."""

    digest: bytes  # SHA-256 of the manifest
    manifest: bytes
    payloads: Mapping[str, bytes]  # by name, "#app-x86_64"
    block: cose.Sign1


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


def seal(manifest: bytes, payloads: Mapping[str, bytes], signer: cose.Signer) -> bytes:
    signature = signer.sign(to_be_signed(manifest, signer.alg, signer.kid))
    return attach(manifest, payloads, signer.alg, signer.kid, signature)


def to_be_signed(manifest: bytes, alg: int, kid: bytes) -> bytes:
    """What the key signs, wherever it is: the manifest's digest in its Sig_structure."""
    return cose.to_be_signed(cose.header(alg, kid), _suit_digest(manifest))


def attach(manifest: bytes, payloads: Mapping[str, bytes], alg: int, kid: bytes, signature: bytes) -> bytes:
    """The envelope with a signature that was made before; does not look whether it is right."""
    block = cose.dump(cose.header(alg, kid), None, signature)
    wrapper = strict.dumps([_suit_digest(manifest), block])
    return TAG + strict.dumps({AUTHENTICATION: wrapper, MANIFEST: manifest, **payloads})


def with_payloads(envelope: Envelope, payloads: Mapping[str, bytes]) -> bytes:
    """The same manifest and signature, with other payloads."""
    wrapper = strict.dumps([_suit_digest(envelope.manifest), envelope.block.encoded])
    return TAG + strict.dumps({AUTHENTICATION: wrapper, MANIFEST: envelope.manifest, **payloads})


def open_envelope(data: bytes, verify: Verify) -> Envelope:
    """The envelope, if `verify` says that the digest of its manifest is signed. Refused."""
    envelope = read(data)
    check(envelope, verify)
    return envelope


def check(envelope: Envelope, verify: Verify) -> None:
    block = envelope.block
    verify(block.alg, block.kid, block.message(_suit_digest(envelope.manifest)), block.signature)


def read(data: bytes) -> Envelope:
    """Its parts, the manifest unread and nothing verified but that the digest is the manifest's. Refused.

    First by its outline: whatever a stranger sends, a decoder of CBOR gets one flat map of byte strings to see."""
    head_bytes(BytesIO(data))
    match strict.loads(data[len(TAG) :], "the build", HEAD_MAX_B):
        case {2: wrapper, 3: manifest, **others}:
            return Envelope(sha256(manifest).digest(), manifest, _payloads(others), _block(wrapper, manifest))
    _not_ours("its envelope has no manifest")


def _payloads(others: dict[Any, Any]) -> dict[str, bytes]:
    if not all(isinstance(name, str) and name.startswith("#") for name in others):
        _not_ours("something unknown is in its envelope")
    return others


def _block(wrapper: bytes, manifest: bytes) -> cose.Sign1:
    """The one COSE_Sign1, with detached payload, and over this manifest's digest."""
    match strict.loads(wrapper, "the build's signature", WRAPPER_MAX_B):
        case [bytes() as digest, bytes() as block]:
            if digest != _suit_digest(manifest):
                raise Refused("signature", "the build was changed after it was signed: fetch it anew")
            found = cose.load(block, "the build's signature")
            if found.payload is None:
                return found
    _not_ours("its signature is not one COSE_Sign1 over the manifest's digest")


def _suit_digest(manifest: bytes) -> bytes:
    """SUIT_Digest over the manifest as it stands in the envelope, with the header of its byte string."""
    return strict.dumps([SHA_256, sha256(strict.dumps(manifest)).digest()])


# -- its outline -------------------------------------------------------------------------------------------------------


def head_bytes(stream: BinaryIO) -> bytes:
    """The envelope that a stream begins with, and not a byte more, as far as its outline is right; read() judges it."""
    data = bytearray(_take(stream, len(TAG), 0))
    if data != TAG:
        _not_ours("it does not begin like one")
    count = _length(stream, data, 5)
    if count > PAYLOADS_MAX + 2:
        _not_ours("too much is in its envelope")
    for _ in range(count):
        key = _take(stream, 1, len(data))[0]
        data.append(key)
        if key >> 5 == 3:
            data += _take(stream, _argument(stream, data, key), len(data))
        elif key >= 24:
            _not_ours("an unknown key is in its envelope")
        data += _take(stream, _length(stream, data, 2), len(data))
    return bytes(data)


def _length(stream: BinaryIO, data: bytearray, major: int) -> int:
    """Of the map or byte string that must begin here; its header goes to `data`."""
    first = _take(stream, 1, len(data))[0]
    data.append(first)
    if first >> 5 != major:
        _not_ours("its envelope is something else")
    return _argument(stream, data, first)


def _argument(stream: BinaryIO, data: bytearray, first: int) -> int:
    short = first & 31
    if short < 24:
        return short
    if short > 26:
        _not_ours("something in its envelope is longer than a build can be")
    more = _take(stream, 1 << (short - 24), len(data))
    data += more
    return int.from_bytes(more, "big")


def _take(stream: BinaryIO, size_b: int, before_b: int) -> bytes:
    if before_b + size_b > HEAD_MAX_B:
        _not_ours(f"its head is longer than {HEAD_MAX_B} bytes")
    data = bytearray()
    while len(data) < size_b:
        more = stream.read(size_b - len(data))
        if not more:
            raise TooShort("format", "this is no build for this software, or a part of one: fetch it anew")
        data += more
    return bytes(data)


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
    _not_ours("its manifest says what this software does not know")


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
    if not all(said.isprintable() and len(said) <= TEXT_MAX for said in (version, commit)):
        raise ValueError("text")
    if not 0 <= sequence <= SEQUENCE_MAX:
        raise ValueError("sequence")
    components = []
    for (kind, name), parameter in zip(names, parameters, strict=True):
        digest = strict.loads(parameter[IMAGE_DIGEST], "this build's manifest", HEAD_MAX_B)[1]
        if not isinstance(digest, bytes) or len(digest) != DIGEST_B or type(parameter[IMAGE_SIZE]) is not int:
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
    raise Refused("format", f"this is no build for this software, or a damaged one ({why}): fetch it anew")
