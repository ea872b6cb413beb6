"""Somebody who has a developer's laptop, the network, or a serial cable at the pole: what he tries, and what comes of
it. A station in production runs no byte of his, goes back to nothing older than it may, and does not fall over."""

import base64
import io
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from agent.update import bootstate, build, cose, facts, index, keyring, line, rules, strict, suit
from agent.update.courier import Courier
from agent.update.engine import KEYRING, ROOT_KEY, Engine
from agent.update.hands import Hands
from agent.update.keyring import Trust
from agent.update.protocol import BACKLOG_B, Begin, Begun, Desk, Device, Put
from agent.update.provision import Provisioner
from agent.update.refusal import Refused
from agent.update.slots import Damaged, checked
from tests import builds
from tests.builds import DEV, PROD, RING, ROOT, STRANGER, TRUST
from tests.test_slots import STATION, Site, built, refused
from tools.flashing import cli, keyfiles, packing

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    site.install("1.0.0", sequence=2)
    return site


def seen(site: Site) -> dict[str, bytes]:
    """All that its updater keeps, but the log."""
    return {
        str(path): path.read_bytes() for path in sorted(site.root.rglob("*")) if path.is_file() and path.name != "log"
    }


def nothing_comes_of(site: Site, head: bytes, code: str) -> None:
    before = seen(site)
    for way in (site.engine.begin, site.engine.look):
        assert refused(lambda way=way: way(head)) == code  # type: ignore[misc]
    assert seen(site) == before and site.start().version == "1.0.0"


# -- with a stolen dev key --------------------------------------------------------------------------------------------


@pytest.mark.promise("S8")
def test_a_stolen_dev_key_brings_nothing_onto_a_station_in_production(site: Site) -> None:
    nothing_comes_of(site, builds.head_of(built("6.6.6", sequence=9, signer=DEV)).raw, "role")


@pytest.mark.promise("S8")
def test_a_dev_key_makes_no_keyring_that_anybody_believes(site: Site) -> None:
    """Neither one that he signs, nor the root's with another row, nor one that claims the root's key id."""

    class Impostor:
        alg, kid = DEV.alg, ROOT.kid
        sign = staticmethod(DEV.sign)

    mine = keyring.payload(9, [("prod", DEV.alg, DEV.public)])
    block = cose.load(RING, "it")
    for ring, code in (
        (keyring.seal(mine, DEV), "key"),
        (keyring.seal(mine, Impostor()), "signature"),
        (cose.dump(block.protected, mine, block.signature), "signature"),
    ):
        nothing_comes_of(site, builds.head_of(built("6.6.6", sequence=9, signer=DEV, keys=ring), None).raw, code)


@pytest.mark.promise("S8")
def test_what_was_a_development_station_runs_no_dev_build_again_once_it_is_in_production(tmp_path: Path) -> None:
    """Neither the one that is staged, nor by going back to the one that was confirmed then."""
    site = Site(tmp_path)
    site.updater(replace(STATION, is_production=False))
    site.install("1.0.0", signer=DEV)
    site.install("2.0.0", signer=PROD)
    site.updater(STATION)
    assert refused(lambda: site.engine.roll_back("by hand")) == "role"
    assert refused(site.engine.activate) == "role"
    assert site.start().version == "2.0.0"


@pytest.mark.promise("S8")
def test_nobody_goes_back_by_hand_to_a_build_whose_key_was_revoked(site: Site) -> None:
    site.install("2.0.0", sequence=2)
    assert site.engine.roll_back("by hand") == "a"
    site.engine.roll_back("and forth")
    (site.root / KEYRING).write_bytes(builds.ring(7, prod=STRANGER))
    assert refused(lambda: site.engine.roll_back("by hand")) == "key"
    assert refused(site.engine.activate) == "key"
    assert site.start().version == "2.0.0", "what runs goes on"


# -- with signatures that are right, over something else --------------------------------------------------------------


@pytest.mark.promise("S8")
def test_a_signature_over_anything_else_is_none_over_a_build(site: Site) -> None:
    """A keyring's, a provisioning's, another manifest's, the root's; the prod key's own, under another algorithm."""
    manifest = suit.read(builds.head_of(built("6.6.6", sequence=9)).raw).manifest
    keyrings = keyring.seal(keyring.payload(9, [("prod", PROD.alg, PROD.public)]), PROD)
    provisioning = PROD.sign(b"station provisioning 1" + bytes(48))
    others = (cose.load(keyrings, "it").signature, provisioning, PROD.sign(manifest))
    payloads = {"#keyring": RING}
    for signature in others:
        nothing_comes_of(site, suit.attach(manifest, payloads, PROD.alg, PROD.kid, signature), "signature")
    eddsa = DEV.sign(suit.to_be_signed(manifest, cose.EDDSA, PROD.kid))
    nothing_comes_of(site, suit.attach(manifest, payloads, cose.EDDSA, PROD.kid, eddsa), "signature")
    nothing_comes_of(site, suit.seal(manifest, payloads, ROOT), "key")


def test_a_keyring_is_no_manifest_and_a_manifest_no_keyring(site: Site) -> None:
    ring = keyring.payload(9, [("prod", PROD.alg, PROD.public)])
    nothing_comes_of(site, suit.seal(ring, {}, PROD), "format")
    manifest = suit.read(builds.head_of(built("6.6.6")).raw).manifest
    with pytest.raises(Refused):
        keyring.load(keyring.seal(manifest, ROOT), ROOT.public)


@pytest.mark.promise("S8")
def test_a_signature_that_is_said_in_another_way_names_the_same_build(site: Site) -> None:
    """Of an ECDSA signature anybody can make a second one that is right: nothing is begun anew, and nothing is lost."""
    data = built("2.0.0", sequence=2)
    head = builds.head_of(data)
    envelope = suit.read(head.raw)
    r, s = envelope.block.signature[:32], int.from_bytes(envelope.block.signature[32:], "big")
    second = r + (P256_ORDER - s).to_bytes(32, "big")
    other = suit.attach(envelope.manifest, envelope.payloads, PROD.alg, PROD.kid, second)
    plan = site.engine.begin(head.raw)
    site.send(data, plan.wanted[:1])
    again = site.engine.begin(other)
    assert other != head.raw and again.build == plan.build and again.wanted == plan.wanted[1:]
    site.send(data, again.wanted)
    site.engine.finish()
    assert site.engine.begin(head.raw).held == "staged"


def test_an_old_keyring_brings_no_revoked_key_back(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.updater(replace(STATION, is_production=False))
    site.install("1.0.0", keys=builds.ring(2, prod=PROD))
    nothing_comes_of(site, builds.head_of(built("6.6.6", signer=DEV, keys=RING)).raw, "key")


# -- with numbers -----------------------------------------------------------------------------------------------------


@pytest.mark.promise("S8")
def test_the_highest_security_sequence_there_is_can_be_confirmed_and_flashed_again(site: Site) -> None:
    """A boot state that cannot count so far would never be whole again."""
    site.install("2.0.0", sequence=suit.SEQUENCE_MAX)
    assert site.state.security_floor == suit.SEQUENCE_MAX <= bootstate.NUMBER_MAX
    site.install("3.0.0", sequence=suit.SEQUENCE_MAX)
    assert site.start().version == "3.0.0"


@pytest.mark.parametrize("sequence", [suit.SEQUENCE_MAX + 1, 2**63, 2**64 - 1, -1, -(2**63)])
def test_a_security_sequence_beyond_what_can_be_counted_is_no_builds(site: Site, sequence: int) -> None:
    nothing_comes_of(site, suit.head_bytes(io.BytesIO(built("6.6.6", sequence=sequence))), "format")


@pytest.mark.promise("S8")
def test_a_build_that_is_only_tried_raises_no_floor(site: Site) -> None:
    site.stage("2.0.0", sequence=9)
    site.engine.activate()
    site.start()
    assert site.state.security_floor == 2
    site.engine.roll_back("ill")
    site.start()
    site.install("3.0.0", sequence=2)
    assert site.state.security_floor == 2


# -- with what is signed, but strange ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "digest", ["a" * 32, [1] * 32, None, 7, {i: i for i in range(32)}], ids=["text", "list", "null", "number", "map"]
)
def test_a_digest_is_bytes(digest: Any) -> None:
    component = suit.Component("app", "x86_64", digest, 10)
    with pytest.raises(Refused) as caught:
        suit.load_manifest(suit.dump_manifest(suit.Manifest(0, "1", "c", (component,))))
    assert caught.value.code == "format"


@pytest.mark.parametrize("path", ["a\u202eb", "a\u2028b", "a\x7fb", "a\u200bb", "\ufeffa", "a/./b", "a/../../b", "a/"])
def test_no_path_looks_like_another(path: str) -> None:
    with pytest.raises(Refused):
        index.load(index.dump(index.Index({}, (index.File(path, False, ()),))))


@pytest.mark.promise("S8")
@pytest.mark.parametrize("folder", ["tree", "controller"])
@pytest.mark.parametrize("what", ["link", "file"])
def test_what_stands_in_the_place_of_a_slots_folder_is_never_run_and_gives_way(
    site: Site, folder: str, what: str
) -> None:
    slot, aside = site.root / "a", site.root / "aside"
    (slot / folder).rename(aside)
    if what == "link":
        (slot / folder).symlink_to(aside)
    else:
        (slot / folder).write_bytes(b"")
    with pytest.raises((Damaged, OSError)):
        checked(slot, site.state.a.digest)
    assert site.start().slot == bootstate.RESCUE
    before = {path: path.read_bytes() for path in aside.rglob("*") if path.is_file()}
    site.install("2.0.0", sequence=2)
    site.install("3.0.0", sequence=2)
    assert site.start().version == "3.0.0"
    assert before == {path: path.read_bytes() for path in aside.rglob("*") if path.is_file()}


@pytest.mark.promise("S8")
def test_a_head_with_too_little_in_it_costs_no_slot_over_the_air(site: Site, tmp_path: Path) -> None:
    """As a server may cut it: the signature is right, and where the pieces lie nobody could tell."""
    site.install("2.0.0", sequence=2)
    apps = builds.app(version="3.0.0"), builds.app("aarch64", "3.0.0")
    head = builds.head_of(builds.build_file(*apps, version="3.0.0", sequence=2))
    slim = build.slim(head, {("app", "x86_64")})
    courier = Courier(site.root, site.engine, lambda: None, clock=lambda: 0.0, chance=None)  # type: ignore[arg-type, return-value]
    courier.task = object()  # type: ignore[assignment]
    before = seen(site)
    assert refused(lambda: courier.begin(slim)) == "format"
    assert seen(site) == before


# -- with a cable at the pole -----------------------------------------------------------------------------------------


def hands_of(site: Site, **how: Any) -> Hands:
    board, config, vitals = (site.root / name for name in ("board.toml", "config.toml", "vitals"))
    where = facts.Where(board, config, vitals, site.root)
    return Hands(site.engine, where, **how)


def socket_at(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as talk:
        talk.bind(str(path))


def test_who_a_station_is_fits_into_one_frame_whatever_its_names_are(tmp_path: Path) -> None:
    """One that is longer is a bug, which ends the service: nobody may bring that about with a reason, or a name."""
    face, site = "\N{GRINNING FACE}", Site(tmp_path)
    for number in "12":
        site.install(face * 99 + number, sequence=suit.SEQUENCE_MAX)
    site.engine.roll_back(face * 200)
    hands = hands_of(site)
    hands.where.board.write_text(f'name = "{face * 64}"\n')
    hands.where.config.write_text(f'[station]\nstation_id = "{face * 36}"\n')
    (site.root / ROOT_KEY).write_bytes(PROD.public)  # the longer kind of key
    desk = Desk()
    device = Device(desk)
    device.receive(line.frame(line.HELLO, 1, line.packed({"versions": [1, 1], "nonce": b"n" * 8})), 0.0)
    for ticket, job in device.jobs():
        device.done(ticket, hands.perform(job, desk), 0.0)
    assert line.Deframer().feed(device.pull(0.0) or b"")[0][0] == line.HELLO + line.ANSWER


@pytest.mark.promise("S8")
@pytest.mark.parametrize("put", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero"), socket_at])
def test_whatever_a_broken_into_agent_puts_where_it_tells_of_itself_the_updater_goes_on(
    site: Site, put: Callable[[Path], object]
) -> None:
    """Its folder in /run is its own; a pipe there would be waited for, and nobody could flash any more."""
    hands = hands_of(site)
    before = hands.identity(Desk())["software"]
    put(hands.where.vitals)
    assert hands.identity(Desk())["software"] == before == "1.0.0"
    hands.watch(20.0)
    site.choice.unlink()
    put(site.choice)
    assert hands.identity(Desk())["state"]["running"] == bootstate.RESCUE
    with pytest.raises(Refused):
        hands.perform(Begin(b"d" * 32, b"no head", is_dry=False), Desk())


def test_a_flasher_that_heeds_no_room_takes_no_memory() -> None:
    """The disk is slow, and he sends all the same: what is beyond the window is dropped, as if the line had lost it."""
    device, count, size_b = Device(Desk()), 4_000, 1_000
    pieces = tuple(index.Piece(sha256(bytes([i % 256, i // 256])).digest(), size_b, size_b) for i in range(count))
    requests: tuple[tuple[int, dict[str, Any], Begun | None], ...] = (
        (line.HELLO, {"versions": [1, 1], "nonce": b"n" * 8}, None),
        (line.PLAN, {"digest": b"d" * 32}, Begun("a", pieces, tuple(range(count)), 0, count * size_b)),
        (line.SEND, {"what": "pieces", "size_b": count * size_b, "digest": b"", "seq": 0}, None),
    )
    for number, (kind, fields, result) in enumerate(requests):
        device.receive(line.frame(kind, number, line.packed(fields)), 0.0)
        for ticket, _ in device.jobs():
            device.done(ticket, result or {}, 0.0)
        assert line.Deframer().feed(device.pull(0.0) or b"")[0][0] == kind + line.ANSWER
    waiting_b = 0
    for seq in range(count):
        device.receive(line.frame(line.DATA, seq, bytes(size_b)), 0.0)
        waiting_b += sum(len(job.stored) for _, job in device.jobs() if isinstance(job, Put))
    assert BACKLOG_B < waiting_b <= BACKLOG_B + (device.window + 1) * line.BODY_MAX


def certificate(*, twice: bool = False) -> bytes:
    """A CA's; one that has the same extension twice is none, but can be read."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")])
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC)).not_valid_after(datetime(2040, 1, 1, tzinfo=UTC))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )  # fmt: skip
    for last in (1, 2):
        oid = x509.ObjectIdentifier(f"1.2.3.4.5.6.7.8.9.{last}")
        made = made.add_extension(x509.UnrecognizedExtension(oid, b"\5\0"), critical=False)
    der = made.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
    oids = [bytes.fromhex("2a03040506070809") + bytes([last]) for last in (1, 2)]
    assert all(der.count(oid) == 1 for oid in oids)
    der = der.replace(oids[0], oids[1]) if twice else der
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"


def document(**changes: Any) -> bytes:
    wanted = {
        "serial": "SA-0001", "host": "broker.example.net", "port": 8883, "ca": certificate(), "enrol": "",
        "operator": {"operator": keyfiles.pem(DEV.public)}, "root": ROOT.public, "is_production": True,
        "step": "request",
    }  # fmt: skip
    return line.packed({**wanted, **changes})


def provisioner(site: Site) -> Provisioner:
    return Provisioner(site.root / "etc" / "config.toml", site.root, lambda: TRUST)


def test_a_certificate_that_contradicts_itself_is_refused_and_crashes_no_station(site: Site) -> None:
    made = provisioner(site)
    assert made.perform(document())["csr"]
    assert refused(lambda: made.perform(document(ca=certificate(twice=True)))) == "usage"
    install = document(step="install", chain=certificate(twice=True))
    assert refused(lambda: made.perform(install)) == "verify"


def test_a_root_that_is_no_key_is_never_written_for_it_would_stay(tmp_path: Path) -> None:
    site = Site(tmp_path)
    (site.root / ROOT_KEY).unlink()
    for root in (b"\4" * 65, bytes(65), b"\4" + bytes(64), bytes(33), b""):
        assert refused(lambda root=root: provisioner(site).perform(document(root=root))) == "usage"  # type: ignore[misc]
    assert provisioner(site).perform(document(root=PROD.public))["csr"]


@pytest.mark.promise("S8")
def test_a_station_that_has_lost_its_config_believes_no_other_root(site: Site) -> None:
    assert refused(lambda: provisioner(site).perform(document(root=STRANGER.public))) == "key"
    assert provisioner(site).perform(document())["csr"], "the operator makes it good"


# -- with a file that somebody looks at -------------------------------------------------------------------------------


def test_a_build_that_nobody_has_verified_does_not_drive_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = builds.app(contract=[1, 2, 2], image="\x1b[2J\x1b]0;owned\x07\rgood")
    path = tmp_path / "a.build"
    path.write_bytes(packing.sealed(packing.packed("1.0.0", "c", 0, [content]), b"", packing.Nobody()))
    assert cli.main(["inspect", str(path)]) == 0
    said = capsys.readouterr().out
    assert "owned" in said and all(char.isprintable() or char == "\n" for char in said)


@pytest.mark.promise("S8")
def test_the_laptop_and_the_station_never_disagree_about_a_head(site: Site, tmp_path: Path) -> None:
    """What `verify` takes the station takes, and what it refuses the station refuses, with the same code."""
    whole = builds.head_of(built("2.0.0", sequence=2))
    envelope = suit.read(whole.raw)
    outer = strict.loads(envelope.manifest, "it", suit.HEAD_MAX_B)
    heads = [
        whole.raw, whole.raw + b"\0", whole.raw[:-1], b"\xd8\x6b\xb8\x05" + whole.raw[3:],
        build.slim(whole, {("app", "x86_64")}), build.slim(whole, {("controller", "duo_cm4")}),
        suit.seal(strict.dumps(outer | {24: b""}), envelope.payloads, PROD),
        suit.seal(envelope.manifest, {**envelope.payloads, "#app-x86_64": b"\x83\1\xa0\x80"}, PROD),
        suit.seal(envelope.manifest, {**envelope.payloads, "#keyring": b""}, PROD),
        builds.head_of(built("2.0.0", sequence=1)).raw, builds.head_of(built("2.0.0", signer=DEV, sequence=3)).raw,
    ]  # fmt: skip
    for head in heads:
        assert verified(head, Trust(ROOT.public, RING)) == staged(site.engine, head)


def verified(head: bytes, trust: Trust) -> str:
    try:
        refusal = rules.refusal(build.load_head(head, trust), replace(STATION, security_floor=2))
    except Refused as caught:
        return caught.code
    return refusal.code if refusal else ""


def staged(engine: Engine, head: bytes) -> str:
    try:
        engine.begin(head)
    except Refused as caught:
        return caught.code
    engine.abandon()
    return ""
