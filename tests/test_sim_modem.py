"""The simulated modem: what is set in it is what our channel and parsers read, and no bytes bring it down."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from agent.modem.at import Answered, Heard, Hung, Prompted, Rebooted, Twice
from agent.modem.parsers.identity import imei
from agent.sim.modem import ppp
from agent.sim.modem.air import Card, Network, with_check_digit
from agent.sim.modem.commands import HANDLERS
from agent.sim.modem.modem import Modem
from agent.sim.modem.personalities import ALL, E725, EG25, LE910, SIM5320
from agent.sim.modem.personality import Personality
from agent.sim.modem.scenarios import SCENARIOS
from tests.modemhost import Host

GSM = [make for make in ALL.values() if not make.is_cdma]
LTE = [make for make in GSM if 7 in make.acts]
ICCID_OF = {"eg25": "AT+QCCID", "sim5320": "AT+CICCID", "lara": "AT+CCID", "le910": "AT#CCID", "mc7455": "AT!ICCID?"}
UP_S = 30.0  # until a modem with a SIM and a network is in it
makes = pytest.mark.parametrize("make", GSM, ids=lambda make: make.name)


def host(make: Personality = EG25, card: Card | None = None, network: Network | None = None) -> Host:
    made = Host(make, card or Card(), network or Network())
    made.run(UP_S)
    return made


# -- what is set is what is read --------------------------------------------------------------------------------------


@makes
@settings(max_examples=6, deadline=None)
@given(
    account=st.integers(0, 10**12 - 1), area=st.integers(0x100, 0xFFFD), cell=st.integers(0x1000, 0xFFF_FFFE),
    rssi=st.integers(-113, -52), rsrp=st.integers(-140, -45), rsrq=st.integers(-19, -4),
    code=st.sampled_from(["26201", "20404", "310410", "00101"]),
    name=st.sampled_from(["O2", "A1 - at", "T-Mobile, US"]),
)  # fmt: skip
def test_every_reading_agrees_with_what_the_simulator_is_set_to(
    make: Personality, account: int, area: int, cell: int, rssi: int, rsrp: int, rsrq: int, code: str, name: str
) -> None:
    iccid = with_check_digit(f"894902{account:012d}")
    network = Network(code, name, name[:3], area=area, cell=cell, rssi_dbm=rssi, rsrp_dbm=rsrp, rsrq_db=rsrq)
    at = host(make, Card(iccid, f"{code}{account:010d}"[:15], mnc_digits=len(code) - 3), network)
    assert at.get("AT+CGSN", "imei") == make.imei
    assert at.get(ICCID_OF[make.name], "iccid") == iccid
    assert at.get("AT+CRSM=176,12258,0,0,10", "iccid") == iccid
    assert at.get("AT+CPIN?", "lock") == "READY" and at.get("AT+CFUN?", "fun") == 1
    assert at.get("AT+COPS?", "operator") == name
    assert at.ask("AT+COPS=3,2").is_ok and at.get("AT+COPS?", "mccmnc") == code
    expected = (1, area, cell, 2 if make is SIM5320 else 7)
    for command in ("AT+CREG", "AT+CGREG") if make is SIM5320 else ("AT+CREG", "AT+CGREG", "AT+CEREG"):
        assert at.ask(f"{command}=2").is_ok
        answer = at.ask(f"{command}?")
        assert tuple(answer.get(field) for field in ("stat", "lac", "ci", "act")) == expected
    read = at.get("AT+CSQ", "rssi_dbm")
    assert isinstance(read, int) and 0 <= rssi - read < 2
    if make is not SIM5320:
        answer = at.ask("AT+CESQ")
        assert answer.get("rsrp_dbm") == rsrp and answer.get("rsrq_db") == rsrq
    for command, fields in VENDORS.get(make.name, {}).items():
        answer = at.ask(command)
        known = {"rsrp_dbm": rsrp, "rsrq_db": rsrq, "rssi_dbm": rssi, "mccmnc": code, "lac": area, "ci": cell}
        assert {field: answer.get(field) for field in fields} == {field: known[field] for field in fields}, command


VENDORS: dict[str, dict[str, tuple[str, ...]]] = {
    "eg25": {
        "AT+QCSQ": ("rsrp_dbm", "rsrq_db", "rssi_dbm"), "AT+QNWINFO": ("mccmnc",),
        'AT+QENG="servingcell"': ("rsrp_dbm", "rsrq_db", "rssi_dbm", "mccmnc", "lac", "ci"), "AT+QSPN": ("mccmnc",),
    },
    "sim5320": {"AT+CPSI?": ("mccmnc", "lac", "ci")},
    "le910": {
        "AT#RFSTS": ("rsrp_dbm", "rsrq_db", "rssi_dbm", "mccmnc", "lac", "ci"), "AT#MONI": ("rsrp_dbm", "lac", "ci"),
    },
    "mc7455": {"AT!GSTATUS?": ("rsrp_dbm", "rsrq_db", "lac", "ci")},
}  # fmt: skip


@makes
def test_its_identity_has_the_form_of_one(make: Personality) -> None:
    assert imei(make.imei)["luhn"] and re.fullmatch("[0-9]{15}", make.imei)


def test_a_cdma_modem_has_an_esn_and_no_sim() -> None:
    at = host(E725)
    assert at.get("AT+GSN", "esn") == "8034AABB" and not at.ask("AT+CPIN?").is_ok
    assert "+CIS707-A" in str(at.get("AT+GCAP", "capabilities"))


def test_only_an_lte_modem_gives_evidence_of_lte() -> None:
    assert host(EG25).ask("AT+CEREG?").is_ok and not host(SIM5320).ask("AT+CEREG?").is_ok
    assert host(SIM5320).get("AT+WS46=?", "mode_sets") == [["2g"], ["3g"], ["2g", "3g"]]


@makes
def test_what_comes_in_single_bytes_reads_the_same(make: Personality) -> None:
    at = Host(make, Card(), Network(), cut=1)
    at.run(UP_S)
    assert at.get("AT+CGSN", "imei") == make.imei and at.get("AT+COPS?", "operator") == "Telekom.de"


# -- V.250 ------------------------------------------------------------------------------------------------------------


def said(modem: Modem, typed: bytes, now: float = 40.0) -> bytes:
    port = modem.ports[0]
    port.poll(now)
    port.received(typed, now)
    return port.poll(now + 5)


def on(make: Personality = EG25) -> Modem:
    modem = Modem(make, Card(), Network())
    modem.power(True, 0.0)
    modem.run(30.0)
    return modem


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        (b"at\r", b"at\r\r\nOK\r\n"), (b"ATE0\rAT\r", b"ATE0\r\r\nOK\r\n\r\nOK\r\n"),
        (b"noise AT\r", b"noise AT\r\r\nOK\r\n"),
        (b"AX\x08T\r", b"AX\x08T\r\r\nOK\r\n"), (b"AT\rA/", b"AT\r\r\nOK\r\nA/\r\nOK\r\n"), (b"ATV0\r", b"ATV0\r0\r"),
        (b"ATQ1\rAT\r", b"ATQ1\rAT\r"), (b"ATE0V1+CMEE=1\r", b"ATE0V1+CMEE=1\r\r\nOK\r\n"), (b"\r\r", b"\r\r"),
        (b"AT+NONE\r", b"AT+NONE\r\r\nERROR\r\n"),
        (b"AT+CFUN?;+NONE;+CSQ\r", b"AT+CFUN?;+NONE;+CSQ\r\r\n+CFUN: 1\r\n\r\nERROR\r\n"),
        (b"AT+CFUN=9\r", b"AT+CFUN=9\r\r\n+CME ERROR: 50\r\n"), (b"ATS3?\r", b"ATS3?\r\r\n000\r\n\r\nOK\r\n"),
        (b"AT" + b"X" * 600 + b"\r", b"AT" + b"X" * 600 + b"\r\r\nERROR\r\n"), (b"AT\n\r", b"AT\n\r\r\nOK\r\n"),
    ],
)  # fmt: skip
def test_the_command_line_is_v250s(typed: bytes, answer: bytes) -> None:
    assert said(on(), typed) == answer


def test_an_error_has_a_number_or_words_or_neither() -> None:
    modem = on()
    modem.pull(40.0)
    assert b"+CME ERROR: 10\r" in said(modem, b"AT+CPIN?\r", 41.0)
    assert b"+CME ERROR: SIM not inserted\r" in said(modem, b"AT+CMEE=2;+CPIN?\r", 50.0)
    assert b"\r\nERROR\r" in said(modem, b"AT+CMEE=0;+CPIN?\r", 60.0)


TYPED = ("AT+COPS=?\r", "ATD*99#\r", "+++", "AT+CMGS=1\r", "\x1a", "AT+CFUN=1,1\r", "A/", "ATA/", "AT+CPIN=\r")


@settings(max_examples=60, deadline=None)
@given(
    make=st.sampled_from(list(ALL.values())),
    pieces=st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from([each.encode() for each in TYPED]),
            st.builds(
                lambda name, form, rest: f"AT{name}{form}{rest}\r".encode(), st.sampled_from(sorted(HANDLERS)),
                st.sampled_from(["", "?", "=?", "=", "=1", "=0,", '="']), st.text('0123456789",;()*A', max_size=12),
            ),
        ),
        max_size=12,
    ),
    waits=st.lists(st.floats(0, 40), min_size=12, max_size=12),
)  # fmt: skip
def test_no_bytes_bring_it_down(make: Personality, pieces: list[bytes], waits: list[float]) -> None:
    modem = Modem(make, Card(pin="1234"), Network())
    modem.power(True, 0.0)
    now = 10.0
    for piece, wait_s in zip(pieces, waits, strict=False):
        modem.ports[0].received(piece, now)
        now += wait_s
        assert isinstance(modem.ports[0].poll(now), bytes) and isinstance(modem.ports[1].poll(now), bytes)
    assert len(modem._events) < 100


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(sorted(SCENARIOS)), min_size=1, max_size=4), st.sampled_from(LTE))
def test_whatever_befalls_it_no_wrong_identity_is_ever_sure_twice(names: list[str], make: Personality) -> None:
    """Of whatever is wrong with line and modem, nothing looks like another modem."""
    at = host(make)
    seen = Twice()
    for name in names:
        SCENARIOS[name](at.modem, at.now)
        for _ in range(3):
            due = at.now + 30.0
            while at.now < due and not at.channel.is_ready:
                at.step(due)
            if at.channel.is_ready and at.port.poll(at.now) is not None:
                answer = at.ask("AT+CGSN")
                seen.read(answer.get("imei"), answer.is_sure)
    assert seen.value in (None, make.imei) or "garbage" in names


# -- SIM --------------------------------------------------------------------------------------------------------------


def test_a_pin_opens_the_sim_and_then_it_registers() -> None:
    at = host(card=Card(pin="1234"))
    assert at.get("AT+CPIN?", "lock") == "SIM PIN" and at.get("AT+CREG?", "stat") == 0
    assert at.ask("AT+CIMI").error == 11
    assert at.ask('AT+CPIN="1234"').is_ok
    at.run(UP_S)
    assert at.get("AT+CREG?", "stat") == 1


def test_three_wrong_pins_ask_for_the_puk_and_pulling_the_sim_does_not_help() -> None:
    at = host(card=(card := Card(pin="1234", puk="87654321")))
    assert [at.ask('AT+CPIN="0000"').error for _ in range(3)] == [16, 16, 12]
    at.modem.insert(card, at.now)
    at.run(10)
    assert at.get("AT+CPIN?", "lock") == "SIM PUK"
    assert at.ask('AT+QPINC="SC"').get("retries") == {"SIM PIN": 0, "SIM PUK": 10}
    assert at.ask('AT+CPIN="87654321","4321"').is_ok and card.pin == "4321"


def test_a_sim_that_is_pulled_is_told_and_takes_the_network_along() -> None:
    at = host()
    at.ask("AT+CEREG=1")
    at.modem.pull(at.now)
    at.run(5)
    heard = [event.piece.text for event in at.told(Heard)]
    assert "+QSIMSTAT: 1,0" in heard and "+CEREG: 0" in heard and at.ask("AT+CPIN?").error == 10


def test_under_cfun_0_no_sim_answers() -> None:
    at = host()
    assert at.ask("AT+CFUN=0").is_ok and at.ask("AT+CPIN?").error == 13 and at.get("AT+COPS?", "operator") is None
    assert at.ask("AT+CFUN=1").is_ok
    at.run(UP_S)
    assert at.get("AT+CEREG?", "stat") == 1


# -- network ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scenario", "stat"),
    [
        ("no-coverage", 2), ("denied", 3), ("roaming", 5), ("deregistered", 0), ("radio-off", 0), ("data-only", 1),
        ("well", 1),
    ],
)  # fmt: skip
def test_registration_follows_the_network(scenario: str, stat: int) -> None:
    at = host()
    SCENARIOS[scenario](at.modem, at.now)
    at.run(UP_S)
    assert at.get("AT+CEREG?", "stat") == stat
    assert at.get("AT+CREG?", "stat") == (3 if scenario == "data-only" else stat)


def test_a_3g_modem_searches_for_ever_when_its_network_is_switched_off() -> None:
    at = host(SIM5320)
    SCENARIOS["sunset"](at.modem, at.now)
    at.run(3_600)
    assert at.get("AT+CREG?", "stat") == 2 and at.get("AT+CSQ", "rssi_dbm") is None


def test_an_lte_modem_on_3g_says_so() -> None:
    at = host()
    SCENARIOS["only-3g"](at.modem, at.now)
    at.run(UP_S)
    at.ask("AT+CREG=2")
    assert at.get("AT+CREG?", "act") == 2 and at.get("AT+CEREG?", "stat") == 0 and at.get("AT+QNWINFO", "act") == 2


def test_coverage_that_flaps_is_told_each_time() -> None:
    at = host()
    at.ask("AT+CEREG=1")
    SCENARIOS["flapping"](at.modem, at.now)
    at.run(200)
    told = [event.piece.fields.get("stat") for event in at.told(Heard) if event.piece.prefix == "+CEREG"]
    assert told.count(1) == told.count(2) and 9 <= told.count(1) <= 11


def test_a_scan_takes_its_time_and_lists_who_is_heard() -> None:
    at = host()
    began = at.now
    networks = at.ask("AT+COPS=?").get("networks")
    assert at.now - began >= EG25.scan_s and isinstance(networks, list)
    assert [each["mccmnc"] for each in networks] == ["26201", "26202", "26203"]


# -- faults -----------------------------------------------------------------------------------------------------------


def test_a_modem_that_hangs_is_found_hung_and_comes_back_with_power() -> None:
    at = host()
    at.modem.hang(at.now)
    at.ask("AT")
    at.until(lambda: at.told(Hung))
    at.modem.power(False, at.now)
    at.modem.power(True, at.now + 10)
    at.run(60)
    assert at.get("AT+CGSN", "imei") == EG25.imei and at.modem.starts == 2


@pytest.mark.parametrize("make", [EG25, SIM5320], ids=lambda make: make.name)
def test_a_start_by_itself_is_told_and_forgets_what_was_set(make: Personality) -> None:
    at = host(make)
    at.ask("AT+CREG=2")
    at.run(100)
    at.modem.restart(at.now)
    at.run(100)
    assert at.told(Rebooted) and "+CREG: 0," in at.ask("AT+CREG?").lines[0].text


def test_a_usb_modem_goes_while_it_starts_and_a_serial_one_stays() -> None:
    for make, stays in ((EG25, False), (structs.replace(EG25, usb=None), True)):
        at = host(make)
        at.modem.restart(at.now)
        assert at.modem.is_there is stays
        at.run(20)
        assert at.modem.is_there


def test_a_second_result_and_a_missing_one_are_never_sure() -> None:
    at = host()
    at.modem.faults.second_final, at.modem.faults.no_final = {"+CSIM"}, {"+CPIN"}
    assert not at.ask('AT+CSIM=10,"0020000100"').is_sure and at.ask("AT+CIMI").get("imsi") == "262011234567890"
    answer = at.ask("AT+CPIN?")
    assert answer.final is None and answer.get("lock") == "READY" and at.ask("AT+CGSN").get("imei") == EG25.imei


def test_a_late_answer_comes_after_others() -> None:
    modem = on()
    modem.faults.late = {"+COPS": 60.0}
    assert b"+CSQ" in said(modem, b"ATE0\rAT+COPS?\rAT+CSQ\r") and b"+COPS: 0" in modem.ports[0].poll(101.0)


def test_at_another_speed_nothing_is_understood() -> None:
    modem = on(structs.replace(EG25, usb=None))
    modem.baud = 9_600
    assert b"OK" not in said(modem, b"AT\r")
    modem.ports[0].baud = 9_600
    assert b"OK" in said(modem, b"\rAT\r", 50.0)


def test_a_modem_that_is_told_to_go_says_good_bye_and_stays_away() -> None:
    at = host()
    at.ask("AT+QPOWD=1")
    at.until(lambda: [event for event in at.told(Rebooted) if event.is_down], 5)
    at.run(100)
    assert not at.modem.is_on


def test_a_prompt_waits_for_its_text() -> None:
    at = host()
    at.until(lambda: at.channel.is_ready)
    at.port.received(at.channel.send('AT+CMGS="123"', at.now), at.now)
    at.until(lambda: at.told(Prompted))
    at.port.received(at.channel.text(b"hello"), at.now)
    assert at.until(lambda: at.told(Answered))[-1].is_ok


# -- a call -----------------------------------------------------------------------------------------------------------


def configured(protocol: int, number: int, *options: tuple[int, bytes]) -> bytes:
    body = ppp.packed(list(options))
    return ppp.framed(protocol, bytes([1, number]) + (len(body) + 4).to_bytes(2, "big") + body)


def dialled() -> Modem:
    modem = on()
    assert b"CONNECT 150000000\r\n" in said(modem, b"ATD*99***1#\r")
    return modem


def test_a_call_gives_an_address_and_dns_servers() -> None:
    modem = dialled()
    frames = ppp.Frames().feed(said(modem, configured(ppp.LCP, 1, (ppp.MAGIC, b"abcd")), 50.0))
    assert [(protocol, body[0]) for protocol, body in frames] == [(ppp.LCP, ppp.REQUEST), (ppp.LCP, ppp.ACK)]
    asked = [(ppp.ADDRESS, bytes(4)), (ppp.DNS1, bytes(4)), (ppp.DNS2, bytes(4))]
    _, (_, nak) = ppp.Frames().feed(said(modem, configured(ppp.IPCP, 1, *asked), 60.0))
    assert nak[0] == ppp.NAK
    told = ppp.options(nak[4:])
    assert told and told[0] == (ppp.ADDRESS, bytes([10, 64, 12, 7]))
    ((_, ack),) = ppp.Frames().feed(said(modem, configured(ppp.IPCP, 2, *told), 70.0))
    assert ack[0] == ppp.ACK and modem.contexts[1].is_active


def test_three_signs_between_two_silences_leave_the_call_and_ato_goes_back() -> None:
    modem = dialled()
    assert b"OK" not in said(modem, b"x+++", 50.0), "no silence before"
    assert said(modem, b"+++", 60.0) == b"\r\nOK\r\n" and b"+CSQ:" in said(modem, b"AT+CSQ\r", 70.0)
    assert b"CONNECT" in said(modem, b"ATO\r", 80.0) and modem.ports[0].is_online
    modem.ports[0].dtr_dropped(90.0)
    assert modem.ports[0].poll(91.0) == b"\r\nNO CARRIER\r\n" and not modem.contexts[1].is_active


def test_a_call_ends_with_its_network_but_not_in_a_short_gap() -> None:
    for scenario, lives in (("short-gap", True), ("long-gap", False)):
        modem = dialled()
        SCENARIOS[scenario](modem, 50.0)
        assert (b"NO CARRIER" not in modem.ports[0].poll(100.0)) is lives


def test_a_wrong_apn_is_no_carrier() -> None:
    modem = on(LE910)
    modem.cover(Network(apns=("iot.example",)), 35.0)
    assert b"NO CARRIER" in said(modem, b"ATD*99***1#\r")
    assert b"CONNECT" in said(modem, b'AT+CGDCONT=1,"IP","iot.example"\rATD*99***1#\r', 50.0)


def test_the_second_port_answers_while_the_first_one_has_a_call() -> None:
    modem = dialled()
    modem.ports[1].received(b"AT+CEREG?\r", 50.0)
    assert b"+CEREG: 0,1" in modem.ports[1].poll(51.0)


@given(st.binary(max_size=200))
@settings(max_examples=50, deadline=None)
def test_no_frame_brings_the_other_end_of_a_call_down(data: bytes) -> None:
    peer = ppp.NullPeer("10.0.0.1", ("10.0.0.2", "10.0.0.3"), 1)
    peer.received(data, 0.0)
    for protocol in (ppp.LCP, ppp.IPCP, 0x1234):
        peer.received(ppp.framed(protocol, data), 0.0)
    assert isinstance(peer.poll(0.0), bytes)
