"""The story of provisioning: a bare station becomes an operator's, and the operator has it moved to other brokers; and
its judge (tests/durable_stories.py).

What is in force is a number: 0 = bare, n = the n-th thing that the operator wanted. Whatever a cut has left is an old
one or the new one, with all of its files and a key that its certificate is for; the agent takes it over; and the same
command again makes it the new one.
"""

import json
import random
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from agent.board import load_config
from agent.certificates import CertificateError, read_pair
from agent.identity import Folder, open_identity
from agent.update import cose, keyring
from agent.update.engine import KEYRING, ROOT_KEY
from agent.update.facts import DEVELOPMENT
from agent.update.provision import REQUEST, Provisioner, Wanted, document, to_be_signed
from agent.update.refusal import Refused
from tests.durability import Judge, Tree
from tests.durable_slots import PROD, ROOT, ring
from tests.durable_store import planted, say

SERIAL = "SA-0001"
BEFORE: Tree = {"etc": None, "root": None, f"root/{KEYRING}": ring(1)}
LASTS = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


@cache
def ca_key(number: int) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(sha256(b"ca %d" % number).digest())


@cache
def ca_cert(number: int) -> bytes:
    """The same bytes in each process."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"CA {number}")])
    made = x509.CertificateBuilder(name, name, ca_key(number).public_key(), number + 1, *LASTS)
    made = made.add_extension(x509.BasicConstraints(True, None), critical=True)
    return made.sign(ca_key(number), None).public_bytes(Encoding.PEM)


def certificate(number: int, csr: bytes) -> bytes:
    request, ca = x509.load_pem_x509_csr(csr), x509.load_pem_x509_certificate(ca_cert(number))
    made = x509.CertificateBuilder(ca.subject, request.subject, request.public_key(), 7, *LASTS)
    return made.sign(ca_key(number), None).public_bytes(Encoding.PEM)


def wanted(number: int) -> Wanted:
    """The first one leaves the station in development, the others put it into production."""
    operator = Ed25519PrivateKey.from_private_bytes(sha256(b"operator %d" % number).digest()).public_key()
    pem = operator.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return Wanted(
        SERIAL, f"broker{number}.example.net", 8883, ca_cert(number), "", {"op": pem}, ROOT.public, number > 1
    )


class Station:
    def __init__(self, folder: Path) -> None:
        self.config, self.root = folder / "etc" / "config.toml", folder / "root"
        self.hands = Provisioner(self.config, self.root, self.trust)

    def trust(self) -> keyring.Trust:
        root = self.root / ROOT_KEY
        return keyring.Trust(root.read_bytes() if root.exists() else None, (self.root / KEYRING).read_bytes())

    def request(self, number: int) -> tuple[bytes, bytes]:
        """The request for a certificate, and a signature if one is asked for."""
        answer = self.hands.perform(document(wanted(number), step="request"))
        if not answer["needs_signature"]:
            return answer["csr"], b""
        protected = cose.header(PROD.alg, PROD.kid)
        message = cose.to_be_signed(protected, to_be_signed(answer["challenge"], wanted(number)))
        return answer["csr"], cose.dump(protected, None, PROD.sign(message))

    def install(self, number: int, csr: bytes, signature: bytes) -> None:
        more = {"signature": signature} if signature else {}
        self.hands.perform(document(wanted(number), step="install", chain=certificate(number, csr), **more))

    @property
    def in_force(self) -> int:
        broker = load_config(self.config).broker if self.config.exists() else None
        return int(broker.host.removeprefix("broker").partition(".")[0]) if broker else 0


# -- the writer -------------------------------------------------------------------------------------------------------


def play_provision(folder: Path, life: int) -> None:
    """Life 0 is the first one, life 1 the second; the others are one to three more."""
    station = Station(folder)
    for _ in range(1 if life < 2 else random.Random(life).randint(1, 3)):
        number = station.in_force + 1
        say(ask=number)
        csr, signature = station.request(number)
        say(key=key_in(csr))
        station.install(number, csr, signature)
        say(done=number)


def key_in(csr: bytes) -> str:
    public = x509.load_pem_x509_csr(csr).public_key()
    return sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


# -- the judge --------------------------------------------------------------------------------------------------------


def provision_judge() -> Judge:
    return judged


def judged(files: Tree, said: Sequence[str]) -> str:
    promised, asked, key = 0, 0, ""
    for line in map(json.loads, said):
        promised, asked = line.get("done", promised), line.get("ask", asked)
        key = "" if "ask" in line else line.get("key", key)
    with planted(files) as folder:
        station = Station(folder)
        if station.config.exists():  # it names its files by where they were
            text = re.sub(r'"/[^"]*/etc/', f'"{folder}/etc/', station.config.read_text())
            station.config.write_text(text)
        number = station.in_force
        if number not in (promised, asked):
            return f"{number} is in force and not {promised}"
        if number and (said_wrong := fails(station, number)):
            return said_wrong
        if promised == asked:
            return not_settled(station, number) or goes_on(station, number + 1)
        csr, _ = station.request(asked)
        if key and number != asked and key_in(csr) != key:
            return "a key that a certificate was asked for is gone"
        return goes_on(station, asked)


def fails(station: Station, number: int) -> str:
    """What the agent, which reads its config now, could not do."""
    config, is_wanted = load_config(station.config), wanted(number)
    broker = config.broker
    assert broker is not None
    try:
        pair = read_pair(Path(broker.cert).read_bytes())
    except (OSError, CertificateError) as error:
        return f"{number} has no key and certificate: {error}"
    if Path(broker.ca).read_bytes() != is_wanted.ca or broker.cert != broker.key:
        return f"{number} has another CA"
    if {kid: Path(name).read_bytes() for kid, name in config.operator.items()} != is_wanted.operator:
        return f"{number} has another operator"
    held = open_identity(Folder(station.root.parent / "identity"), broker)
    if held.problems or held.current is None or held.current.name != pair.name:
        return f"the agent has no key and certificate: {held.problems}"
    return ""


def not_settled(station: Station, number: int) -> str:
    """What is not as it was promised; a key that is in use no more is nowhere."""
    root = station.root / ROOT_KEY
    if number and (not root.exists() or root.read_bytes() != ROOT.public):
        return "the root key is not there"
    if number and (station.root / DEVELOPMENT).exists() != (number == 1):
        return f"{number} is {'not ' * (number > 1)}in production"
    secret = [path.name for path in station.config.parent.iterdir() if b"PRIVATE KEY" in path.read_bytes()]
    if len(secret) != min(number, 1):
        return f"keys lie in {secret}"
    return f"{REQUEST} is there" if (station.config.parent / REQUEST).exists() else ""


def goes_on(station: Station, number: int) -> str:
    """The operator types the command that was cut off, or the next one."""
    try:
        station.install(number, *station.request(number))
    except Refused as refused:
        return f"{number} cannot be provisioned any more: {refused.sentence}"
    if station.in_force != number:
        return f"{station.in_force} is in force and not {number}, after all"
    return fails(station, number) or not_settled(station, number)
