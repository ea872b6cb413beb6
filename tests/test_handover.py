"""The hand-over is signed by the station itself: years later its owner can tell what was handed over from what somebody
has made of it. The verdict is the reference cloud's, which knows nothing of the agent's code."""

import base64
import json
import random
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from agent.certificates import Pair, new_request, paired, read_chain, read_key, self_made
from agent.effects import Record
from agent.events import FieldEntered, KeyPressed, MachineTold, PanelTold
from agent.identity import Folder, Held, Identity
from agent.settings import Settings
from agent.sim.world import STATION_ID, World
from agent.uplink.codec import Batch, WireRecord, encode_batch, encode_record
from agent.uplink.signed import sign_as_station
from agent.wizard import handover
from agent.wizard.facts import Step
from tests.pki import Ca
from tests.test_look import complete
from tests.test_wizard import events
from tools import devcloud
from tools.cloud import pki
from tools.cloud.handover import Verdict, hand_overs, judged
from tools.cloud.ledger import Ledger
from tools.cloud.wire import read_batch, read_cbor

SERIAL = "SA-1"  # of tests/installing.py


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    devcloud.ca_init(folder)
    for serial in (SERIAL, "SA-2", STATION_ID):
        pki.ca_station(folder, serial)
    return folder


def pair_of(ca: Path, serial: str) -> Pair:
    stem = ca / "stations" / serial
    return paired(read_key(stem.with_suffix(".key").read_bytes()), read_chain(stem.with_suffix(".pem").read_bytes()))


def identity_of(ca: Path, pair: Pair | None) -> Identity:
    folder = Folder(ca / "nowhere")
    return Identity(folder, Held(pair), SERIAL, ca / "ca.pem", None, lambda job, then: None, random.Random(1))


def handed_over() -> Record:
    """As the core has made it."""
    me = complete()
    me.press("Hand over")
    (record,) = [r for r in me.play.records if r.seal]
    return record


@pytest.fixture(scope="module")
def record() -> Record:
    return handed_over()


def custom_of(record: Record) -> dict[str, Any]:
    found: dict[str, Any] = record.payload["eventData"][0]["customData"]
    return deepcopy(found)


def sealed(ca: Path, record: Record, pair: Pair | None) -> dict[str, Any]:
    return custom_of(handover.sealed(record, identity_of(ca, pair).seal(record.seal)))


def verdict(ca: Path, custom: dict[str, Any], station: str = SERIAL) -> Verdict:
    return judged(station, custom, pki.read_ca(ca))


@pytest.fixture(scope="module")
def good(ca: Path, record: Record) -> dict[str, Any]:
    return sealed(ca, record, pair_of(ca, SERIAL))


# -- what is signed ---------------------------------------------------------------------------------------------------


def test_the_owner_can_prove_what_was_handed_over_with_the_cas_certificate_alone(
    ca: Path, good: dict[str, Any]
) -> None:
    assert verdict(ca, good) == Verdict(True, f"signed by {SERIAL}")
    protected, _, payload, signature = read_cbor(base64.b64decode(good["signed"])[1:])
    content = cbor2.loads(payload)
    assert content["breakerMa"] == 40_000 and content["installer"] == "Al Lee" and content["serial"] == SERIAL
    assert content["handedOverAt"].endswith("Z") and cbor2.dumps(content, canonical=True) == payload
    assert cbor2.loads(protected)[1] == -7 and len(signature) == 64


def test_without_a_key_of_its_own_the_station_says_that_nothing_is_signed(ca: Path, record: Record) -> None:
    for pair in (None, rsa_pair()):
        custom = sealed(ca, record, pair)
        assert custom["signed"] is None and verdict(ca, custom) == Verdict(None, "not signed")


def rsa_pair() -> Pair:
    """Of a config file that is older than ours."""
    key = rsa.generate_private_key(65537, 2048)
    pair = self_made(SERIAL, "192.0.2.1", 0.0, 1e9)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return replace(pair, pem=pem + pair.pem.partition(b"-----END PRIVATE KEY-----\n")[2])


def test_pressed_again_it_is_signed_again_by_the_key_of_that_day(ca: Path) -> None:
    me = complete().press("Hand over")
    me.service().enter("step", "hand-over").press("Hand over")
    first, second = [record for record in me.play.records if record.seal]
    assert len(events(me, "HandOver")) == 2 and first.seal != second.seal


# -- what somebody makes of it ----------------------------------------------------------------------------------------

NUMBERS = st.integers(-(2**31), 2**31)
VALUES = st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=8), st.lists(st.text(), max_size=2))


@given(data=st.data())
def test_whatever_is_changed_beside_the_signature_is_seen(ca: Path, good: dict[str, Any], data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(good.keys() - {"signed"})) | st.text(max_size=9))
    value = data.draw(VALUES)
    changed = {**good, key: value}
    is_same = json.dumps(changed, sort_keys=True) == json.dumps(good, sort_keys=True)
    if key != "signed" and not is_same:
        said = verdict(ca, changed)
        assert said.is_good is False and said.text.startswith("TAMPERED: "), (key, value)


def test_what_is_left_out_is_seen(ca: Path, good: dict[str, Any]) -> None:
    for key in good.keys() - {"signed"}:
        assert verdict(ca, {k: v for k, v in good.items() if k != key}).is_good is (None if key == "signed" else False)


@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_whatever_is_changed_in_the_envelope_is_seen(ca: Path, good: dict[str, Any], at: float, bit: int) -> None:
    envelope = bytearray(base64.b64decode(good["signed"]))
    envelope[int(at * len(envelope))] ^= 1 << bit
    said = verdict(ca, {**good, "signed": base64.b64encode(envelope).decode()})
    assert said.is_good is False


@given(st.one_of(st.text(max_size=40), st.integers(), st.lists(st.integers(), max_size=2), st.binary(max_size=60).map(
    lambda junk: base64.b64encode(junk).decode()
)))  # fmt: skip
def test_any_envelope_has_a_verdict_and_none_raises(ca: Path, good: dict[str, Any], junk: object) -> None:
    assert verdict(ca, {**good, "signed": junk}).is_good is False


def test_another_stations_signature_is_not_this_ones(ca: Path, record: Record) -> None:
    said = verdict(ca, sealed(ca, record, pair_of(ca, "SA-2")))
    assert said == Verdict(False, "TAMPERED: the certificate in it is another station's")


def test_a_hand_over_is_not_another_stations(ca: Path, good: dict[str, Any]) -> None:
    assert verdict(ca, good, "SA-2").is_good is False


def test_who_makes_a_certificate_himself_proves_nothing(ca: Path, record: Record) -> None:
    said = verdict(ca, sealed(ca, record, self_made(SERIAL, "192.0.2.1", 0.0, 2e9)))
    assert said == Verdict(False, "TAMPERED: the certificate in it is not our CA's")
    request = new_request(SERIAL)
    theirs = paired(read_key(request.pem), read_chain(Ca().signed(request.csr, 0, 2e9).encode()))
    assert verdict(ca, sealed(ca, record, theirs)).is_good is False
    posing = paired(read_key(request.pem), read_chain(Ca(name="devcloud CA").signed(request.csr, 0, 2e9).encode()))
    assert verdict(ca, sealed(ca, record, posing)).is_good is False, "of the CA's name, not of its key"


def test_a_stations_certificate_issues_no_other(ca: Path, record: Record) -> None:
    thief, request = Ca(name="SA-2"), new_request(SERIAL)
    key = read_key(pair_of(ca, "SA-2").pem)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    thief.key = key
    leaf = thief.signed(request.csr, 0, 2e9)
    chain = [*read_chain(leaf.encode()), *read_chain(pair_of(ca, "SA-2").pem)]
    mine = read_key(request.pem)
    assert isinstance(mine, ec.EllipticCurvePrivateKey)
    envelope = sign_as_station(record.seal, mine, [cert.public_bytes(Encoding.DER) for cert in chain])
    assert verdict(ca, custom_of(handover.sealed(record, envelope))).is_good is False


def test_a_ca_between_is_followed(ca: Path, record: Record) -> None:
    between, request = Ca(name="between", above=Ca(ca)), new_request(SERIAL)
    chain = [*read_chain(between.signed(request.csr, 0, 2e9).encode()), between.cert]
    assert verdict(ca, sealed(ca, record, paired(read_key(request.pem), chain))).is_good


# -- on its way -------------------------------------------------------------------------------------------------------

NEW = Settings(station_id=STATION_ID, activated=False, circuit_limit_ma=40_000, restart_delay_max_s=0.0)


def at_the_key(ca: Path, world: World) -> None:
    """Everything is done but the key Hand over."""
    give(ca, world)
    steps = [("installer", "Al Lee"), ("company", "A1"), ("step", "circuit"), ("breaker_a", "20")]
    for name, value in steps:
        happened(world, FieldEntered(name, value))
    happened(world, KeyPressed(4, "continue"), KeyPressed(4, "save"), FieldEntered("step", "hand-over"))


def give(ca: Path, world: World) -> None:
    """Its identity: the simulated world has none."""
    assert world.shell
    identity = identity_of(ca, pair_of(ca, STATION_ID))
    identity.attach(world.shell)
    world.shell._identity = identity
    machine = replace(world.shell.station.machine, certificate_expiry_s=2e9)
    happened(world, MachineTold(machine), PanelTold(drawn=True, video=True))


def happened(world: World, *each: Any) -> None:
    for event in each:
        assert world.shell
        world.shell.happened(event, world.mono())
        world.run(2)


@pytest.mark.promise("S9")
def test_the_cloud_shows_what_was_handed_over_and_what_somebody_has_made_of_it(
    ca: Path, record: Record, good: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db = tmp_path / "devcloud.db"
    command = ["handovers", "--db", str(db), "--pki", str(ca)]
    stored(db, 1, record, good)
    assert devcloud.main(command) == 0
    assert capsys.readouterr().out == f"{SERIAL}  {good['handedOverAt']}  Al Lee, A1: signed by {SERIAL}\n"
    stored(db, 2, record, {**good, "breakerMa": 63_000, "company": "A1\nSA-1  signed by SA-1"})
    stored(db, 3, record, {**good, "signed": None})
    assert devcloud.main(command) == 1
    _, second, third = capsys.readouterr().out.splitlines()
    assert second.endswith("TAMPERED: signed was another breakerMa, company") and third.endswith(": not signed")
    assert devcloud.main([*command, "--json"]) == 1
    facts = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [fact["is_good"] for fact in facts] == [True, False, None] and facts[0]["handOver"] == good
    assert devcloud.main([*command[:3], "--pki", str(tmp_path)]) == 2
    assert "ca.pem is missing" in capsys.readouterr().err


def stored(db: Path, seq: int, record: Record, custom: dict[str, Any]) -> None:
    """As it comes over the wire."""
    payload = deepcopy(record.payload)
    payload["eventData"][0]["customData"] = custom
    wire = WireRecord(bytes(8), round(record.mono_s * 1000), None, 0, record.action, payload)
    ledger = Ledger(db)
    ledger.store(SERIAL, 1, read_batch(encode_batch(Batch(bytes(8), seq, (encode_record(wire),)))), 1_700_000_000_000)
    ledger.close()


def told(world: World) -> list[dict[str, Any]]:
    """Of hand-overs, to the cloud."""
    records = [Told(r.action, r.payload) for r in world.cloud.log]
    return [custom for record in records for custom in hand_overs(record)]


@dataclass
class Told:
    """As much of a record as the reference cloud looks at."""

    action: str
    payload: Any


@pytest.mark.promise("S2")
def test_over_a_month_without_network_and_a_power_cut_the_cloud_still_reads_who_signed(ca: Path) -> None:
    with World(settings=NEW).closing() as world:
        world.power_on().run(30)
        world.net.is_up = False
        at_the_key(ca, world)
        happened(world, KeyPressed(4, "do"))
        assert world.shell and Step.HAND_OVER in world.shell.station.wizard.done
        world.cut_power().run(3600)
        world.power_on().run(30)
        world.net.is_up = True
        world.run_until(lambda: bool(told(world)))
        (custom,) = told(world)
        assert verdict(ca, custom, STATION_ID) == Verdict(True, f"signed by {STATION_ID}")
        assert not world.cloud.violations


@pytest.mark.promise("S2")
def test_a_power_cut_around_the_key_leaves_a_signed_record_or_none(ca: Path) -> None:
    """The signature is made before the one commit, so there is no unsigned one to be found."""
    outcomes = set()
    for seed in range(8):
        with World(seed, settings=NEW).closing() as world:
            world.power_on().run(30)
            at_the_key(ca, world)
            assert world.shell
            world.disk.latency_s = 1.0
            world.shell.happened(KeyPressed(4, "do"), world.mono())
            world.run(0.5).cut_power().run(10)
            world.disk.latency_s = 0.004
            world.power_on().run(60)
            is_done = Step.HAND_OVER in world.shell.station.wizard.done
            assert len(told(world)) == is_done
            assert all(verdict(ca, each, STATION_ID).is_good for each in told(world))
            outcomes.add(is_done)
    assert outcomes == {True, False}, "both were seen"
