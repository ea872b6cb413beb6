"""Makes a bare station one of an operator's: serial number, broker, whom it believes, and a certificate for a key that
is made here and never leaves (docs/flashing.md). The folder is that of the agent's config file.

    request      -> a certificate request (PKCS 10) for the key that waits in request.pem, made if there is none
    install      the certificate: everything is written beside what is there, and config.toml, written last, names it

A cut between any two writes leaves the old config with its old files, or the new one with its new ones. The agent takes
key and certificate over at its next start (agent/identity.py), as a pair that was made elsewhere. Records, lists and
settings are elsewhere and stay; so does everything in config.toml that is not named here, but its comments.

Who may: on a bare station whoever is there. Later the serial number and the root key stay, and all else may be changed
by whoever has a key that builds are signed with.
"""

import json
import os
import re
import secrets
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, time
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from cryptography.x509.oid import NameOID

from agent.files import DISK, SHARED, Files, put
from agent.update import cose, line, strict
from agent.update.engine import ROOT_KEY
from agent.update.facts import DEVELOPMENT
from agent.update.keyring import PROD, Trust
from agent.update.refusal import Refused

REQUEST, CONFIG = "request.pem", "config.toml"
CHAIN_MAX = 5
PEM_MAX_B = 32_768
KEYS_MAX = 8  # as agent/settings.py OPERATOR_KEYS_MAX
SERIAL = re.compile(r"[A-Za-z0-9-]{1,36}", re.ASCII)
HOST = re.compile(r"[A-Za-z0-9.:-]{1,253}", re.ASCII)
ENROL = re.compile(r"https://[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?", re.ASCII)
KEY_ID = re.compile(r"[A-Za-z0-9_.-]{1,32}", re.ASCII)
OURS = re.compile(r"(ca|station|operator)-[0-9a-f]{16}\.(pem|new)", re.ASCII)
PURPOSE = b"station provisioning 1"
NEVER = "UNPROVISIONED"
GROUP_MODE = 0o640  # of the key: the agent's group reads it
UNREADABLE = (
    ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)  # fmt: skip



@dataclass(frozen=True, slots=True)
class Wanted:
    """What a station is to be."""

    serial: str
    host: str
    port: int
    ca: bytes  # PEM: whom the broker, and our own certificate, must lead to
    enrol: str  # an EST server, "" = none
    operator: Mapping[str, bytes]  # key id: Ed25519 public key, PEM
    root: bytes  # raw public key that builds' keyrings are signed with
    is_production: bool

    @property
    def digest(self) -> bytes:
        """What a signature is over, with the station's challenge."""
        rows = [[kid, pem] for kid, pem in sorted(self.operator.items())]
        fields = [self.serial, self.host, self.port, self.ca, self.enrol, rows, self.root, int(self.is_production)]
        return sha256(strict.dumps(fields)).digest()


def to_be_signed(challenge: bytes, wanted: Wanted) -> bytes:
    return PURPOSE + challenge + wanted.digest


def document(wanted: Wanted, **more: Any) -> bytes:
    """As it travels; `more`: step, and for install chain and signature."""
    fields = {
        "serial": wanted.serial, "host": wanted.host, "port": wanted.port, "ca": wanted.ca, "enrol": wanted.enrol,
        "operator": dict(wanted.operator), "root": wanted.root, "is_production": wanted.is_production,
    }  # fmt: skip
    return line.packed({**fields, **more})


class Provisioner:
    """`config`: the agent's config file, also where it is not there yet; `root`: the updater's folder. `trust` gives
    what builds are judged by now; `done` is called when the agent is to read its config anew."""

    def __init__(
        self, config: Path, root: Path, trust: Callable[[], Trust], *, done: Callable[[], None] = lambda: None,
        group: int | None = None, files: Files = DISK,
    ) -> None:  # fmt: skip
        """`group`: the agent's, which may read the key; None: nobody but us."""
        self._config, self._root, self._trust, self._done = config.resolve(), root, trust, done
        self._group, self._files = group, files
        self._challenge = secrets.token_bytes(16)

    def perform(self, data: bytes) -> Mapping[str, Any]:
        """Refused: nothing has changed. OSError."""
        fields = _fields(data)
        wanted = read(fields)
        has_leave = self._judge(wanted)
        match fields.get("step"):
            case "request":
                return self._requested(wanted, has_leave)
            case "install":
                if not has_leave:
                    self._check_signature(wanted, fields.get("signature"))
                return self._install(wanted, _bytes(fields, "chain", PEM_MAX_B))
        raise _wrong("step")

    # -- may it be

    def _judge(self, wanted: Wanted) -> bool:
        """Whether nobody need sign this: the station is bare, knows no key that could, or nothing changes. Refused
        for what no signature allows."""
        serial, root = self._in_force().get("station", {}).get("station_id", ""), self._root_key()
        if serial not in ("", NEVER, wanted.serial):
            raise Refused(
                "wrong-device", f"this is {serial}, and so are its records: choose another one, or --serial {serial}"
            )
        if root and root != wanted.root:
            name = cose.kid_of(root).hex()
            raise Refused("key", f"this station believes another root key ({name}): give its root.pub.pem with --root")
        if serial in ("", NEVER):
            return True
        if wanted.is_production is False and root and not (self._root / DEVELOPMENT).exists():
            raise Refused("role", "a station in production stays there: leave --development out")
        return not root or self._is_same(wanted)

    def _check_signature(self, wanted: Wanted, signature: Any) -> None:
        if not isinstance(signature, bytes):
            raise Refused("key", "this station is provisioned: a change must be signed, give --key prod.key.pem")
        block = cose.load(signature, "the signature")
        key = self._trust().key(block.kid)
        if key.role != PROD and not (self._root / DEVELOPMENT).exists():
            raise Refused("role", f"a {key.role} key changes no station in production: give --key with a prod key")
        key.check(block.alg, block.message(to_be_signed(self._challenge, wanted)), block.signature)
        self._challenge = secrets.token_bytes(16)

    def _is_same(self, wanted: Wanted) -> bool:
        """What is in force is this, but for the certificate."""
        config = self._in_force()
        broker, operator = config.get("broker", {}), config.get("operator", {})
        files = {kid: self._named(name) for kid, name in operator.items()}
        facts = [broker.get("host"), broker.get("port", 8883), broker.get("enrol", ""), self._named(broker.get("ca"))]
        is_production = not (self._root / DEVELOPMENT).exists()
        return (
            config.get("station", {}).get("station_id") == wanted.serial
            and facts == [wanted.host, wanted.port, wanted.enrol, wanted.ca]
            and files == dict(wanted.operator)
            and (self._root_key(), is_production) == (wanted.root, wanted.is_production)
        )

    # -- the two steps

    def _requested(self, wanted: Wanted, has_leave: bool) -> Mapping[str, Any]:
        pem = self._pending(wanted.serial)
        if pem is None:
            pem = new_request(wanted.serial)
            self._config.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            put(self._config.parent / REQUEST, pem, files=self._files)
        csr = pem[pem.index(b"-----BEGIN CERTIFICATE REQUEST") :]
        is_same = bool(self._root_key()) and self._is_same(wanted) and self._has_certificate(wanted)
        return {"csr": csr, "challenge": self._challenge, "is_same": is_same, "needs_signature": not has_leave}

    def _install(self, wanted: Wanted, chain: bytes) -> Mapping[str, Any]:
        pending = self._pending(wanted.serial)
        if pending is None:
            raise Refused("usage", "no key waits for a certificate here: type provision again, it begins anew")
        pair = certified(pending, chain, wanted)
        name = self._write(wanted, pair)
        self._done()
        return {"certificate": name, "changed": True}

    def _write(self, wanted: Wanted, pair: bytes) -> str:
        """Files by the hash of their content, so that none is overwritten; then the config that names them.

        A root key is replaced before the config makes the station one that believes no other; a first one comes after
        it, so that up to the end whoever is there may do all of this again."""
        folder, root = self._config.parent, self._root_key()
        if wanted.is_production:
            self._files.remove(self._root / DEVELOPMENT)
            self._files.sync(self._root)
        elif not (self._root / DEVELOPMENT).exists():
            put(self._root / DEVELOPMENT, b"", files=self._files, mode=SHARED)
        if root and root != wanted.root:
            put(self._root / ROOT_KEY, wanted.root, files=self._files, mode=SHARED)
        made = {"ca": self._kept("ca", wanted.ca), "cert": self._kept("station", pair, is_secret=True)}
        keys = {kid: self._kept("operator", pem) for kid, pem in wanted.operator.items()}
        config = self._in_force()
        broker = {"host": wanted.host, "port": wanted.port, "ca": made["ca"], "cert": made["cert"], "key": made["cert"]}
        config["station"] = {**config.get("station", {}), "station_id": wanted.serial}
        config["broker"] = {**broker, **({"enrol": wanted.enrol} if wanted.enrol else {})}
        config["operator"] = keys
        put(self._config, toml(config).encode(), files=self._files, mode=SHARED)
        if not root:
            put(self._root / ROOT_KEY, wanted.root, files=self._files, mode=SHARED)
        for old in sorted(folder.glob("*-*")):
            if OURS.fullmatch(old.name) and str(old) not in {*made.values(), *keys.values()}:
                self._files.remove(old)
        self._files.remove(folder / REQUEST)
        self._files.sync(folder)
        return Path(made["cert"]).name

    def _kept(self, kind: str, data: bytes, *, is_secret: bool = False) -> str:
        path = self._config.parent / f"{kind}-{sha256(data).hexdigest()[:16]}.pem"
        new = path.with_suffix(".new")
        self._files.write(new, data, 0o600 if is_secret else SHARED)
        if is_secret and self._group is not None:
            os.chown(new, -1, self._group)
            new.chmod(GROUP_MODE)
        self._files.sync(new)
        self._files.rename(new, path)
        self._files.sync(path.parent)
        return str(path)

    # -- what is

    def _in_force(self) -> dict[str, Any]:
        """The config file. Refused for one that nobody can read: what it holds would be lost."""
        try:
            found = tomllib.loads(self._config.read_text())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise Refused("storage", f"{self._config} cannot be read ({error}): mend it or remove it first") from None
        return found

    def _root_key(self) -> bytes:
        return _content(self._root / ROOT_KEY)

    def _named(self, name: Any) -> bytes:
        """A file that the config names, by the rules of the config."""
        return _content(self._config.parent / name) if isinstance(name, str) and name else b""

    def _pending(self, serial: str) -> bytes | None:
        """The key that waits, with its request; None: there is none for this serial number."""
        pem = _content(self._config.parent / REQUEST)
        try:
            request = x509.load_pem_x509_csr(pem)
            load_pem_private_key(pem, None)
        except UNREADABLE:
            return None
        return pem if _common_name(request.subject) == serial else None

    def _has_certificate(self, wanted: Wanted) -> bool:
        pem = self._named(self._in_force().get("broker", {}).get("cert"))
        try:
            certified(pem, pem, wanted)
        except Refused:
            return False
        return True


# -- keys and certificates ---------------------------------------------------------------------------------------------


def new_request(serial: str) -> bytes:
    """PEM: a new P-256 key, then the request for its certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, serial)])
    csr = x509.CertificateSigningRequestBuilder(subject).sign(key, hashes.SHA256())
    form = Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    return key.private_bytes(*form) + csr.public_bytes(Encoding.PEM)


def certified(pending: bytes, chain: bytes, wanted: Wanted) -> bytes:
    """PEM: the key, its certificate and the CAs above. Refused for a certificate that is not this key's, not this
    station's, or not of this CA. Dates are not looked at: the station may not know the time yet."""
    try:
        key = load_pem_private_key(pending, None)
        certs = x509.load_pem_x509_certificates(chain)
        cas = x509.load_pem_x509_certificates(wanted.ca)
        spki = _spki(key.public_key())
        leaf = next((cert for cert in certs if _spki(cert.public_key()) == spki), None)
        if leaf is None:
            raise Refused("verify", "the certificate is of another key: have the request signed that this station gave")
        if (name := _common_name(leaf.subject)) != wanted.serial:
            raise Refused("verify", f"the certificate is {name}'s, not {wanted.serial}'s: have it issued anew")
        above = _path(leaf, [cert for cert in certs if cert != leaf], cas)
        form = Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        return key.private_bytes(*form) + b"".join(cert.public_bytes(Encoding.PEM) for cert in (leaf, *above))
    except UNREADABLE:
        raise Refused("verify", "the certificate cannot be read: give a PEM file") from None


Certs = list[x509.Certificate]


def _path(leaf: x509.Certificate, between: Certs, cas: Certs) -> Certs:
    """The certificates between the leaf and one of the CAs. Refused if none leads there."""
    above: Certs = []
    at = leaf
    for _ in range(CHAIN_MAX):
        if any(_has_issued(ca, at) for ca in cas):
            return above
        at = next((cert for cert in between if cert not in above and _has_issued(cert, at)), leaf)
        if at is leaf:
            break
        above.append(at)
    raise Refused("verify", "the certificate does not lead to the CA of --ca: give the CA that has signed it")


def _has_issued(ca: x509.Certificate, cert: x509.Certificate) -> bool:
    try:
        cert.verify_directly_issued_by(ca)
        return ca.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (InvalidSignature, x509.ExtensionNotFound, *UNREADABLE):
        return False


def _common_name(name: x509.Name) -> str:
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if len(found) == 1 else ""


def _spki(key: Any) -> bytes:
    found: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return found


# -- what a stranger sends ---------------------------------------------------------------------------------------------


def _fields(data: bytes) -> dict[str, Any]:
    try:
        return line.body(data)
    except ValueError:
        raise Refused("format", "the document was not understood: use a newer tool") from None


def read(fields: Mapping[str, Any]) -> Wanted:
    """Refused with the first thing that is wrong; the tool asks this of itself before it sends."""
    serial, host, enrol = (fields.get(name) for name in ("serial", "host", "enrol"))
    port, operator, root = (fields.get(name) for name in ("port", "operator", "root"))
    if not isinstance(serial, str) or not SERIAL.fullmatch(serial) or serial == NEVER:
        raise Refused("usage", "a serial number has 1 to 36 letters, digits and hyphens: type another --serial")
    if not isinstance(host, str) or not HOST.fullmatch(host) or type(port) is not int or not 1 <= port <= 65_535:
        raise Refused("usage", "--broker is HOST:PORT, like broker.example.net:8883")
    if not isinstance(enrol, str) or (enrol and not ENROL.fullmatch(enrol)):
        raise Refused("usage", "--enrol is an EST server, like https://est.example.net:8443")
    if not isinstance(operator, Mapping) or not 1 <= len(operator) <= KEYS_MAX:
        raise Refused("usage", f"--operator names 1 to {KEYS_MAX} public keys that commands are signed with")
    for kid, pem in operator.items():
        if not isinstance(kid, str) or not KEY_ID.fullmatch(kid) or not _is_operator_key(pem):
            raise Refused("usage", f"the operator's key {str(kid)[:40]!r} is no Ed25519 public key in PEM, ID=FILE")
    if not isinstance(root, bytes) or not _is_root(root):
        raise Refused("usage", "--root is the public key that builds' keyrings are signed with: root.pub.pem")
    if not isinstance(fields.get("is_production"), bool):
        raise _wrong("is_production")
    ca = _bytes(fields, "ca", PEM_MAX_B)
    if not _is_ca(ca):
        raise Refused("usage", "--ca is a CA's certificate in PEM")
    return Wanted(serial, host, port, ca, enrol, dict(operator), root, fields["is_production"])


def _bytes(fields: Mapping[str, Any], name: str, most_b: int) -> bytes:
    value = fields.get(name)
    if not isinstance(value, bytes) or not 0 < len(value) <= most_b:
        raise _wrong(name)
    return value


def _wrong(name: str) -> Refused:
    return Refused("format", f"the document has no {name} that can be read: use a newer tool")


def _is_root(root: bytes) -> bool:
    """One that is none would believe nobody, and could never be taken back."""
    alg = cose.alg_of(root)
    try:
        return alg is not None and bool(cose.checker(alg, root))
    except ValueError:
        return False


def _is_operator_key(pem: Any) -> bool:
    try:
        return isinstance(pem, bytes) and isinstance(load_pem_public_key(pem), Ed25519PublicKey)
    except UNREADABLE:
        return False


def _is_ca(pem: bytes) -> bool:
    try:
        certs = x509.load_pem_x509_certificates(pem)
        return all(cert.extensions.get_extension_for_class(x509.BasicConstraints).value.ca for cert in certs)
    except (x509.ExtensionNotFound, *UNREADABLE):
        return False


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(PEM_MAX_B)
    except OSError:
        return b""


# -- TOML --------------------------------------------------------------------------------------------------------------


def toml(table: Mapping[str, Any], path: tuple[str, ...] = ()) -> str:
    """What tomllib reads as the same; comments and order are lost."""
    plain = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
    lines = [f"{_quoted(key)} = {_value(value)}\n" for key, value in plain.items()]
    head = f"[{'.'.join(map(_quoted, path))}]\n" if path and (plain or not table) else ""
    inner = [toml(value, (*path, key)) for key, value in table.items() if isinstance(value, Mapping)]
    return head + "".join(lines) + ("\n" if lines else "") + "".join(inner)


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return _quoted(value)
        case list():
            return f"[{', '.join(map(_value, value))}]"
        case Mapping():
            return "{" + ", ".join(f"{_quoted(key)} = {_value(item)}" for key, item in value.items()) + "}"
        case date() | time():
            return value.isoformat()
    return str(value)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
