"""A bare station becomes an operator's: its key is made there and stays, a cut harms nothing, a repetition changes
nothing, and whoever is not the operator changes nothing later."""

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from datetime import UTC, date, datetime
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.board import load_config
from agent.certificates import read_pair
from agent.files import Files
from agent.identity import Folder, open_identity
from agent.update import cose, facts, keyring, line, provision
from agent.update.engine import ROOT_KEY
from agent.update.provision import Provisioner, Wanted, document, to_be_signed, toml
from agent.update.refusal import Refused
from tests.flashsite import Site
from tests.flashstation import dev_key, prod_key, ring, root_key
from tools.cloud import pki
from tools.flashing import cli, keyfiles


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki") / "ca"
    pki.ca_init(folder)
    return folder


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki") / "stranger"
    pki.ca_init(folder)
    return folder


class Bare:
    """A station that has just been made, or one of this folder."""

    def __init__(self, folder: Path, files: Files | None = None) -> None:
        self.config, self.root = folder / "etc" / "config.toml", folder / "root"
        self.root.mkdir(exist_ok=True)
        self.done = 0
        self.hands = Provisioner(self.config, self.root, self.trust, done=self._done, files=files or Files())

    def trust(self) -> keyring.Trust:
        path = self.root / ROOT_KEY
        return keyring.Trust(path.read_bytes() if path.exists() else None, ring())

    def _done(self) -> None:
        self.done += 1

    def provision(self, ca: Path, wanted: Wanted, **how: Any) -> Mapping[str, Any]:
        answer = self.hands.perform(document(wanted, step="request"))
        if answer["is_same"] and not how.get("renews"):
            return answer
        more: dict[str, Any] = {}
        if (signer := how.get("signer")) is not None:
            more["signature"] = signed(signer, answer["challenge"], how.get("over", wanted))
        chain = how.get("chain") or pki_sign(ca, answer["csr"])
        return self.hands.perform(document(wanted, step="install", chain=chain, **more))

    @property
    def pair(self) -> bytes:
        return Path(load_config(self.config).broker.cert).read_bytes()  # type: ignore[union-attr]


def signed(signer: keyfiles.FileSigner, challenge: bytes, wanted: Wanted) -> bytes:
    protected = cose.header(signer.alg, signer.kid)
    message = cose.to_be_signed(protected, to_be_signed(challenge, wanted))
    return cose.dump(protected, None, signer.sign(message))


def pki_sign(ca: Path, csr: bytes) -> bytes:
    file = ca / "request.csr"
    file.write_bytes(csr)
    return pki.ca_sign(ca, file)


def wish(folder: Path, **changes: Any) -> Wanted:
    fields = {
        "serial": "SA-0001", "host": "broker.example.net", "port": 8883, "ca": (folder / "ca.pem").read_bytes(),
        "enrol": "", "operator": {"operator": (folder / "operator.pub").read_bytes()}, "root": root_key().public,
        "is_production": True,
    }  # fmt: skip
    return Wanted(**{**fields, **changes})


def refused(code: str, station: Bare, ca: Path, wanted: Wanted, **how: Any) -> None:
    before = snapshot(station)
    with pytest.raises(Refused) as caught:
        station.provision(ca, wanted, **how)
    assert caught.value.code == code
    assert {name: data for name, data in snapshot(station).items() if "request" not in name} == before


def snapshot(station: Bare) -> dict[str, bytes]:
    folders = (station.config.parent, station.root)
    return {
        str(path): path.read_bytes() for folder in folders for path in sorted(folder.rglob("*"))
        if path.is_file() and "request" not in path.name
    }  # fmt: skip


# -- the way ----------------------------------------------------------------------------------------------------------


def test_a_bare_station_becomes_one_that_its_agent_understands(tmp_path: Path, ca: Path) -> None:
    """The agent's own code reads the config, and takes key and certificate over."""
    station = Bare(tmp_path)
    answer = station.provision(ca, wish(ca))
    assert answer["changed"] and station.done == 1
    config = load_config(station.config)
    broker = config.broker
    assert broker is not None and (broker.host, broker.port) == ("broker.example.net", 8883)
    held = open_identity(Folder(tmp_path / "identity"), broker)
    assert held.current is not None and held.current.common_name == "SA-0001" and not held.problems
    assert (station.root / ROOT_KEY).read_bytes() == root_key().public
    assert not list(station.config.parent.glob("*request*")) and not list(station.config.parent.glob("*.new"))


def test_the_key_is_made_on_the_station_and_never_leaves_it(tmp_path: Path, ca: Path) -> None:
    station = Bare(tmp_path)
    answers = [station.hands.perform(document(wish(ca), step="request"))]
    answers.append(station.provision(ca, wish(ca)))
    assert not any(b"PRIVATE" in str(each).encode() for each in answers)
    secret = [path for path in station.config.parent.iterdir() if b"PRIVATE" in path.read_bytes()]
    assert len(secret) == 1 and secret[0].stat().st_mode & 0o777 == 0o600
    request = x509.load_pem_x509_csr(answers[0]["csr"])
    assert request.public_key() == x509.load_pem_x509_certificates(station.pair)[0].public_key()


def test_a_request_that_waits_keeps_its_key(tmp_path: Path, ca: Path) -> None:
    """The CA may take days, and the flasher may ask again."""
    station = Bare(tmp_path)
    first, again = (station.hands.perform(document(wish(ca), step="request"))["csr"] for _ in range(2))
    other = Bare(tmp_path).hands.perform(document(wish(ca), step="request"))["csr"]
    assert first == again == other


@pytest.mark.promise("S8")
def test_a_repetition_changes_nothing_and_a_renewal_only_the_pair(tmp_path: Path, ca: Path) -> None:
    station = Bare(tmp_path)
    station.provision(ca, wish(ca))
    before, pair = snapshot(station), station.pair
    assert station.provision(ca, wish(ca))["is_same"] and snapshot(station) == before and station.done == 1
    station.provision(ca, wish(ca), renews=True)
    assert station.pair != pair and read_pair(station.pair).common_name == "SA-0001"
    assert len(list(station.config.parent.glob("station-*.pem"))) == 1
    held = open_identity(Folder(tmp_path / "identity"), load_config(station.config).broker)
    assert held.current is not None and held.current.name == read_pair(station.pair).name


def test_what_else_the_config_says_stays(tmp_path: Path, ca: Path) -> None:
    station = Bare(tmp_path)
    station.config.parent.mkdir()
    settings_ = '[settings]\ncircuit_limit_ma = 25_000\nowner = "Ann\'s \\"Parking\\" Ü"\n'
    station.config.write_text(settings_ + "[panel]\nport = 8080\n")
    station.provision(ca, wish(ca))
    config = load_config(station.config)
    assert config.settings["circuit_limit_ma"] == 25_000 and config.settings["owner"] == 'Ann\'s "Parking" Ü'
    assert tomllib.loads(station.config.read_text())["panel"] == {"port": 8080}


def test_a_development_station_takes_dev_builds_until_it_is_provisioned_for_good(tmp_path: Path, ca: Path) -> None:
    station = Bare(tmp_path)
    station.provision(ca, wish(ca, is_production=False))
    assert (station.root / facts.DEVELOPMENT).exists()
    refused("key", station, ca, wish(ca))
    station.provision(ca, wish(ca), signer=dev_key())
    assert not (station.root / facts.DEVELOPMENT).exists()
    refused("role", station, ca, wish(ca, is_production=False), signer=prod_key())


# -- who may ----------------------------------------------------------------------------------------------------------


def test_a_provisioned_station_is_changed_by_nobody_without_a_key(tmp_path: Path, ca: Path, stranger: Path) -> None:
    station = Bare(tmp_path)
    station.provision(ca, wish(ca))
    theirs = (stranger / "ca.pem").read_bytes()
    keys = {"operator": (stranger / "operator.pub").read_bytes()}
    for change in (
        {"host": "evil.example.net"}, {"ca": theirs}, {"enrol": "https://evil"}, {"port": 1}, {"operator": keys},
    ):  # fmt: skip
        refused("key", station, stranger, wish(ca, **change))
    refused("role", station, ca, wish(ca, host="new.example.net"), signer=dev_key())
    refused("key", station, ca, wish(ca, host="new.example.net"), signer=keyfiles.new(cose.EDDSA))
    refused("signature", station, ca, wish(ca, host="a.example.net"), signer=prod_key(), over=wish(ca))
    station.provision(ca, wish(ca, host="new.example.net"), signer=prod_key())
    assert load_config(station.config).broker.host == "new.example.net"  # type: ignore[union-attr]


def test_a_signature_counts_once(tmp_path: Path, ca: Path) -> None:
    station = Bare(tmp_path)
    station.provision(ca, wish(ca))
    other = wish(ca, host="other.example.net")
    answer = station.hands.perform(document(other, step="request"))
    signature = signed(prod_key(), answer["challenge"], other)
    order = document(other, step="install", chain=pki_sign(ca, answer["csr"]), signature=signature)
    station.hands.perform(order)
    station.provision(ca, wish(ca), signer=prod_key())
    station.hands.perform(document(other, step="request"))
    with pytest.raises(Refused) as caught:
        station.hands.perform(order)
    assert caught.value.code == "signature"


def test_serial_number_and_root_key_stay(tmp_path: Path, ca: Path) -> None:
    station = Bare(tmp_path)
    station.provision(ca, wish(ca))
    refused("wrong-device", station, ca, wish(ca, serial="SA-0002"), signer=prod_key())
    refused("key", station, ca, wish(ca, root=dev_key().public), signer=prod_key())


def test_a_certificate_of_somebody_else_is_refused(tmp_path: Path, ca: Path, stranger: Path) -> None:
    station = Bare(tmp_path)
    csr = station.hands.perform(document(wish(ca), step="request"))["csr"]
    theirs = pki_sign(ca, csr_of(provision.new_request("SA-0001")))
    public = x509.load_pem_x509_csr(csr).public_key()
    assert isinstance(public, EllipticCurvePublicKey)
    other_name = pki.certificate("SA-0009", public, pki.CA_NAME, pki.read_ca_key(ca))
    for chain in (theirs, other_name, pki_sign(stranger, csr), b"rubbish", (ca / "ca.pem").read_bytes()):
        refused("verify", station, ca, wish(ca), chain=chain)
    assert station.provision(ca, wish(ca))["changed"]


def test_a_certificate_that_another_station_has_issued_is_refused(tmp_path: Path, ca: Path) -> None:
    """It leads to the CA, over one that is no CA's."""
    station, other = Bare(tmp_path), ec.generate_private_key(ec.SECP256R1())
    public = x509.load_pem_x509_csr(station.hands.perform(document(wish(ca), step="request"))["csr"]).public_key()
    assert isinstance(public, EllipticCurvePublicKey)
    theirs = pki.certificate("SA-0009", other.public_key(), pki.CA_NAME, pki.read_ca_key(ca))
    refused("verify", station, ca, wish(ca), chain=pki.certificate("SA-0001", public, "SA-0009", other) + theirs)


def test_the_agents_group_reads_the_key_and_nobody_else_reads_it_or_the_one_that_waits(
    tmp_path: Path, ca: Path
) -> None:
    station = Bare(tmp_path)
    station.hands = Provisioner(station.config, station.root, station.trust, group=os.getgid())
    station.hands.perform(document(wish(ca), step="request"))
    assert (station.config.parent / provision.REQUEST).stat().st_mode & 0o777 == 0o600
    station.provision(ca, wish(ca))
    (pair,) = station.config.parent.glob("station-*.pem")
    assert (pair.stat().st_mode & 0o777, pair.stat().st_gid) == (0o640, os.getgid())


def test_a_config_that_nobody_can_read_is_not_replaced(tmp_path: Path, ca: Path) -> None:
    station = Bare(tmp_path)
    station.config.parent.mkdir()
    station.config.write_text("[settings\ncircuit_limit_ma = 25_000\n")
    refused("storage", station, ca, wish(ca))


@pytest.mark.parametrize(
    "changes",
    [{"serial": provision.NEVER}, {"serial": ""}, {"operator": {}}, {"operator": {"a": b"none"}}, {"port": 0}],
)
def test_what_no_station_can_be_is_refused(tmp_path: Path, ca: Path, changes: dict[str, Any]) -> None:
    refused("usage", Bare(tmp_path), ca, wish(ca, **changes))


def test_certificates_stand_in_the_order_in_which_each_is_issued_by_the_next(ca: Path) -> None:
    """However they came; a TLS server may take no other order."""
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("root", "upper", "lower", "aside")}
    request = provision.new_request("SA-0001")
    csr = x509.load_pem_x509_csr(csr_of(request))
    leaf = issued("SA-0001", csr.public_key(), "lower", keys["lower"], is_ca=False)
    lower, upper, root, aside = (
        issued(name, keys[name].public_key(), by, keys[by])
        for name, by in (("lower", "upper"), ("upper", "root"), ("root", "root"), ("aside", "root"))
    )
    wanted = wish(ca, ca=root.public_bytes(Encoding.PEM))
    for order in permutations([leaf, lower, upper, aside]):
        chain = b"".join(cert.public_bytes(Encoding.PEM) for cert in order)
        pair = provision.certified(request, chain, wanted)
        assert x509.load_pem_x509_certificates(pair) == [leaf, lower, upper]
    with pytest.raises(Refused, match="does not lead"):
        provision.certified(request, leaf.public_bytes(Encoding.PEM) + upper.public_bytes(Encoding.PEM), wanted)


def issued(
    name: str, public: Any, issuer: str, key: ec.EllipticCurvePrivateKey, *, is_ca: bool = True
) -> x509.Certificate:
    subject, by = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)]) for each in (name, issuer))
    builder = x509.CertificateBuilder(by, subject, public, x509.random_serial_number())
    builder = builder.not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
    builder = builder.not_valid_after(datetime(2036, 1, 1, tzinfo=UTC))
    return builder.add_extension(x509.BasicConstraints(is_ca, None), critical=True).sign(key, hashes.SHA256())


def csr_of(request: bytes) -> bytes:
    return request[request.index(b"-----BEGIN CERTIFICATE REQUEST") :]


# -- cuts and rubbish --------------------------------------------------------------------------------------------------


class PowerCut(Exception):
    pass


class Failing(Files):
    """The power goes at the n-th operation, which is not done, or half of it: a write is torn."""

    def __init__(self, left: int) -> None:
        self.left = left

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise PowerCut

    def write(self, path: Path, data: bytes, mode: int = 0o600) -> None:
        if self.left == 0:
            super().write(path, data[: len(data) // 2], mode)
        self._count()
        super().write(path, data, mode)

    def sync(self, path: Path) -> None:
        self._count()
        super().sync(path)

    def rename(self, source: Path, target: Path) -> None:
        self._count()
        super().rename(source, target)

    def remove(self, path: Path) -> None:
        self._count()
        super().remove(path)


@pytest.mark.promise("S8")
@pytest.mark.parametrize("is_first", [True, False])
def test_a_cut_at_any_operation_leaves_the_old_identity_or_the_new_one(
    tmp_path: Path, ca: Path, is_first: bool
) -> None:
    cuts = 0
    while True:
        folder = tmp_path / str(cuts)
        folder.mkdir()
        if not is_first:
            Bare(folder).provision(ca, wish(ca))
        after = wish(ca) if is_first else wish(ca, host="new.example.net")
        try:
            Bare(folder, Failing(cuts)).provision(ca, after, signer=None if is_first else prod_key())
            break
        except PowerCut:
            cuts += 1
        station = Bare(folder)
        if station.config.exists():
            broker = load_config(station.config).broker
            assert broker is not None and broker.host in ("broker.example.net", after.host)
            assert open_identity(Folder(folder / "identity"), broker).current is not None
        else:
            assert is_first
        answer = station.provision(ca, after, signer=None if is_first else prod_key())  # the same command again
        assert answer.get("changed") or answer.get("is_same")
        assert load_config(station.config).broker.host == after.host  # type: ignore[union-attr]
    assert cuts > 15


@pytest.mark.promise("S8")
def test_a_first_root_key_that_a_cut_has_let_through_locks_nobody_out(tmp_path: Path, ca: Path) -> None:
    """A station that was set up by hand has no keyring yet, so nobody could sign a repetition."""
    for cuts in range(40):
        folder = tmp_path / str(cuts)
        folder.mkdir()
        station = Bare(folder)
        station.config.parent.mkdir()
        station.config.write_text('[station]\nstation_id = "SA-0001"\n')
        station.hands = Provisioner(station.config, station.root, lambda: keyring.Trust(None, b""), files=Failing(cuts))
        try:
            station.provision(ca, wish(ca))
            break
        except PowerCut:
            station.hands = Provisioner(station.config, station.root, lambda: keyring.Trust(None, b""))
        station.provision(ca, wish(ca))
        assert load_config(station.config).broker and (station.root / ROOT_KEY).read_bytes() == root_key().public
    assert 15 < cuts < 39


@pytest.mark.promise("S8")
def test_after_a_provisioning_that_was_cut_off_a_bare_station_may_become_another_one(tmp_path: Path, ca: Path) -> None:
    """Meant for production, it becomes one for development."""
    for cuts in range(40):
        folder = tmp_path / str(cuts)
        folder.mkdir()
        with suppress(PowerCut):
            Bare(folder, Failing(cuts)).provision(ca, wish(ca))
        station = Bare(folder)
        if station.config.exists():
            break
        station.provision(ca, wish(ca, is_production=False, serial="SA-0002"))
        assert (station.root / facts.DEVELOPMENT).exists()
        assert load_config(station.config).broker and (station.root / ROOT_KEY).read_bytes() == root_key().public
    assert 10 < cuts < 39


FIELDS = st.dictionaries(
    st.sampled_from("serial host port ca enrol operator root is_production step chain".split()),
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.text(max_size=20), st.binary(max_size=50),
        st.dictionaries(st.text(max_size=5), st.binary(max_size=5), max_size=3),
    ),
)  # fmt: skip


@given(FIELDS)
@settings(max_examples=40, deadline=None)
def test_no_document_crashes_a_station(tmp_path_factory: pytest.TempPathFactory, fields: dict[str, Any]) -> None:
    folder = tmp_path_factory.getbasetemp() / "hostile"
    folder.mkdir(exist_ok=True)
    station = Bare(folder)
    with pytest.raises(Refused):
        station.hands.perform(line.packed(fields))
    assert not station.config.exists() and not (station.root / ROOT_KEY).exists()


PLAIN = st.one_of(st.booleans(), st.integers(-(2**40), 2**40), st.text(max_size=12), st.dates(date(1, 1, 1)))
INNER = st.one_of(PLAIN, st.lists(PLAIN, max_size=3), st.dictionaries(st.text(max_size=6), PLAIN, max_size=3))
VALUES = st.one_of(INNER, st.lists(INNER, max_size=3), st.dictionaries(st.text(max_size=6), INNER, max_size=3))


@given(st.dictionaries(st.text(max_size=6), VALUES, max_size=5))
@settings(max_examples=60, deadline=None)
def test_what_is_written_as_toml_reads_as_the_same(table: dict[str, Any]) -> None:
    assert tomllib.loads(toml(table)) == table


# -- as it is typed ----------------------------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with closing(Site(tmp_path)) as site:
        (site.root / ROOT_KEY).unlink()
        site.where.config.unlink()
        yield site


def typed(site: Site, ca: Path, *more: str | Path) -> int:
    public = site.folder / "root.pub.pem"
    public.write_bytes(keyfiles.pem(root_key().public))
    words = ("provision", "--serial", "SA-0001", "--broker", "b.example.net:8883", "--root", public)
    return cli.main([str(word) for word in (*words, "--port", site.address, *more)])


def test_provision_as_it_is_typed(site: Site, ca: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(site, ca, "--pki", ca, "--json") == 0
    events = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == ["began", "identified", "stage", "stage", "provisioned"]
    assert events[1]["serial"] == "" and events[-1]["changed"]
    assert typed(site, ca, "--pki", ca) == 0
    assert "nothing was to be changed" in capsys.readouterr().out
    assert facts.serial_number(site.where) == "SA-0001" and len(site.restarts) == 1
    assert typed(site, ca, "--pki", ca, "--enrol", "https://est.example.net") == 5
    assert "--key" in capsys.readouterr().err


def test_a_ca_that_is_elsewhere_gets_the_request_and_gives_the_certificate(
    site: Site, ca: Path, tmp_path: Path
) -> None:
    csr, pem = tmp_path / "x.csr", tmp_path / "x.pem"
    rest = ("--ca", ca / "ca.pem", "--operator", f"operator={ca / 'operator.pub'}")
    assert typed(site, ca, *rest, "--csr", csr) == 0
    assert not site.where.config.exists()
    pem.write_bytes(pki.ca_sign(ca, csr))
    assert typed(site, ca, *rest, "--certificate", pem) == 0
    assert facts.serial_number(site.where) == "SA-0001"


def test_unsent_records_outlive_a_second_provisioning(site: Site, ca: Path) -> None:
    """They lie in the agent's own folder, of which the updater knows nothing."""
    from agent.outbox import Database

    state = site.folder / "state"
    state.mkdir()
    database = Database(state / "station.db", b"boot")
    database.close()
    before = {path.name: path.read_bytes() for path in state.iterdir()}
    assert typed(site, ca, "--pki", ca) == 0 and typed(site, ca, "--pki", ca, "--renew") == 0
    assert {path.name: path.read_bytes() for path in state.iterdir()} == before
