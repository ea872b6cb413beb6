"""What modems say, each in its own spelling, and what it means. The numbers are made up, the spellings are not."""

import json
import string
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.modem.at import Answered
from agent.modem.errors import CME, CMS, final
from agent.modem.fields import address, luhn, numbers, split, ucs2
from agent.modem.modem import Modem, questioned
from agent.modem.parse import as_json, pieces
from agent.modem.reading import Piece
from agent.modem.vocabulary import BARE, FREE, KNOWN, PARSERS, REGISTRATIONS, command_of


def read(command: str | None, line: str) -> Piece:
    """The only piece of one line."""
    (piece,) = pieces(command, f"\r\n{line}\r\n".encode())
    return piece


def has(piece: Piece, fields: Mapping[str, object]) -> None:
    got = {name: piece.fields.get(name, "nothing") for name in fields}
    assert got == dict(fields), piece


# -- registration -----------------------------------------------------------------------------------------------------

SOLICITED = {
    "0,1": (1, None, None, None),
    "0, 5": (5, None, None, None),
    "1,11": (11, None, None, None),
    "2,10": (10, None, None, None),
    "002,001": (1, None, None, None),
    '2,1,"1A2B","01C3D4E5"': (1, 0x1A2B, 0x01C3D4E5, None),
    '2,1,"1A2B","01C3D4E5",7': (1, 0x1A2B, 0x01C3D4E5, 7),
    "2,1,1a2b,1c3d4e5,7": (1, 0x1A2B, 0x01C3D4E5, 7),
    "2,1,0x1A2B,0x01C3D4E5,2": (1, 0x1A2B, 0x01C3D4E5, 2),
    "2,1, 1A2B, 1C3D4E5 ,7": (1, 0x1A2B, 0x01C3D4E5, 7),
    '2,1,"1A2B","01C3D4E5",7,"01"': (1, 0x1A2B, 0x01C3D4E5, 7),
    '4,1,"1A2B","0B","01C3D4E5",8,,,"00100100","10100101"': (1, 0x1A2B, 0x01C3D4E5, 8),
    "2,1, 1A2B, 20 ,1C3D4E5 ,7": (1, 0x1A2B, 0x01C3D4E5, 7),
    '2,1,"1A2B","01C3D4E5",9,,,,': (1, 0x1A2B, 0x01C3D4E5, 9),
    "2,0,00,0": (0, 0, 0, None),
    '0,0,"0000","00000000"': (0, 0, 0, None),
    '2,2,"",""': (2, None, None, None),
    "2,2,,": (2, None, None, None),
    '3,3,"1A2B","01C3D4E5",7,0,15': (3, 0x1A2B, 0x01C3D4E5, 7),
    '2,1,"00ABCD","0123456789",11,4,"01.0000AB"': (1, 0xABCD, 0x0123456789, 11),
    "2,1,  0 7, 2A15": (1, 7, 0x2A15, None),
    "2,1,000B,2A16, B, C2A16": (1, 0x0B, 0x2A16, None),
    '2,1,"FFFE","0FFFFFFF",7': (1, 0xFFFE, 0x0FFFFFFF, 7),
    '2,1,"1A2B","01C3D4E5",13': (1, 0x1A2B, 0x01C3D4E5, 13),
    '1,6,"1A2B","01C3D4E5",7': (6, 0x1A2B, 0x01C3D4E5, 7),
    '2,0, "ffffffff", "ffffffff"': (0, None, None, None),
    '2,1,"1A2B","03",2,"0"': (1, 0x1A2B, 3, 2),
    "3,5,,,,1,2": (5, None, None, None),
    '2,1,"1A2B","01C3D4E5,7': (1, 0x1A2B, None, None),  # without its quote nobody knows where it ends
    "2,255": (None, None, None, None),
    '2,1,"1A2B","01C3': (1, 0x1A2B, None, None),  # a part of a number is another number
    "5,90,,,,,,,": (90, None, None, None),
    '5,90,,"FFFFFFFF",,,,,': (90, None, None, None),
    "2,1,28683,117004595,7": (1, 28683, 117004595, 7),
    "2,1,14892,13955777,7": (1, 14892, 13955777, 7),  # decimal beside decimal
    "0,80": (80, None, None, None),
    "5,90": (90, None, None, None),
}
URC = {
    "1": (1, None, None, None),
    "10": (10, None, None, None),
    "2,,": (2, None, None, None),
    '5,"1A2B","01C3D4E5",7': (5, 0x1A2B, 0x01C3D4E5, 7),
    "1,1A2B,1C3D4E5": (1, 0x1A2B, 0x01C3D4E5, None),
    "2,8A2B,2BCF": (2, 0x8A2B, 0x2BCF, None),
    '001,"0001","0010",000': (1, 1, 0x10, 0),
    "1,0001,0010,0": (1, 1, 0x10, 0),
    '1,"1A2B","01C3D4E5",3,"0B"': (1, 0x1A2B, 0x01C3D4E5, 3),
    "1, 1A2B, 20 ,1C3D4E5 ,7": (1, 0x1A2B, 0x01C3D4E5, 7),
    '5,"1A2B","01C3D4E5",7,,,"11100000","11100000"': (5, 0x1A2B, 0x01C3D4E5, 7),
    '3,"1A2B",,9': (3, 0x1A2B, None, 9),
    '1,"1A2B","01C3D4E5",4,6': (1, 0x1A2B, 0x01C3D4E5, 4),
    '1,"FFFE"': (1, 0xFFFE, None, None),
    "1,1A2B00,1C3D4E5,11,6,ABCDEF": (1, 0x1A2B00, 0x1C3D4E5, 11),
    '1, "1A2B", "01C3D4E5",9': (1, 0x1A2B, 0x01C3D4E5, 9),
    '3,"1A2B","01C3D4E5",7,0,11': (3, 0x1A2B, 0x01C3D4E5, 7),
    "0,,,,,,,,": (0, None, None, None),
    "90": (90, None, None, None),
}


@pytest.mark.parametrize("name", sorted(REGISTRATIONS))
@pytest.mark.parametrize("body", SOLICITED)
def test_a_registration_is_read_in_every_spelling(name: str, body: str) -> None:
    stat, lac, ci, act = SOLICITED[body]
    for line in (f"{name}: {body}", f"{name}:{body}", f"{name.lower()}: {body}", f"{name} : {body} "):
        piece = read(f"AT{name}?", line)
        assert (piece.kind, piece.prefix) == ("answer", name)
        has(piece, {"stat": stat, "lac": lac, "ci": ci, "act": act})


@pytest.mark.parametrize("body", URC)
@pytest.mark.parametrize("command", [None, "AT+CREG?", "AT+CSQ", "AT+CREG=2"])
def test_a_change_of_registration_is_a_urc_whatever_is_in_flight(command: str | None, body: str) -> None:
    stat, lac, ci, act = URC[body]
    piece = read(command, f"+CREG: {body}")
    assert piece.kind == "URC" and "n" not in piece.fields
    has(piece, {"stat": stat, "lac": lac, "ci": ci, "act": act})


def test_a_urc_that_is_spelled_like_an_answer_is_still_a_urc() -> None:
    for body in ('2,5,"1A2B","01C3D4E5"', "2,1, 1A2B, 1C3D4E", "2,1"):
        piece = read(None, f"+CGREG: {body}")
        assert piece.kind == "URC" and piece.fields["stat"] in (1, 5) and piece.fields["n"] == 2


def test_a_short_area_code_is_read_by_what_was_asked() -> None:
    has(read("AT+CREG?", "+CREG: 1,5,2A16"), {"n": 1, "stat": 5, "lac": 0x2A16, "ci": None})
    has(read(None, "+CREG: 1,5,2A16"), {"stat": 1, "lac": 5, "ci": 0x2A16})


def test_the_cause_of_a_rejection_and_the_timers_of_power_saving_are_told() -> None:
    has(read("AT+CEREG?", '+CEREG: 3,3,"1A2B","01C3D4E5",7,0,15'), {"cause_type": 0, "reject_cause": 15})
    timers = {"active_time": "00100100", "periodic_tau": "10100101"}
    bg96 = '+CEREG: 4,5,"1A2B","0001C3D4",9,"0B",,,"00100100","10100101"'
    has(read("AT+CEREG?", bg96), {"lac": 0x1A2B, "ci": 0x1C3D4, "act": 9, "rac": 0x0B, **timers})
    assert "reject_cause" not in read("AT+CEREG?", bg96).fields
    lara = '+CEREG: 4,5,,,,,,,"00100100","10100101"'
    has(read("AT+CEREG?", lara), {"stat": 5, "lac": None, "act": None, **timers})
    has(read("AT+CEREG?", '+CEREG: 4,1,"1A2B","01C3D4E5",9,,,"00100100","10100101"'), timers)
    has(read(None, '+CGREG: 1,"1A2B","01C3D4E5",3,"0B"'), {"rac": 0x0B})


TIMERS = {"active_time": "00000110", "periodic_tau": "11100000"}
BEHIND_ACT = ("rac", "nssai", "cause_type", "reject_cause", "active_time", "periodic_tau")


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        # 10.1.20: the RAC stands between <AcT> and the cause
        ('+CGREG: 3,3,"2C4F","0008F7A3",2,"1A",0,7', {"rac": 0x1A, "cause_type": 0, "reject_cause": 7}),
        ("+CGREG: 3,3,2C4F,0008F7A3,2,1A,0,7", {"rac": 0x1A, "cause_type": 0, "reject_cause": 7}),
        ("+CGREG: 3,3,2C4F,0008F7A3,2,0,0,7", {"rac": 0, "cause_type": 0, "reject_cause": 7}),
        ('+CGREG: 3,3,"2C4F","0008F7A3",2,,0,7', {"cause_type": 0, "reject_cause": 7}),
        ('+CGREG: 3,3,"2C4F","0008F7A3",2,0,7', {"cause_type": 0, "reject_cause": 7}),  # without it
        ('+CGREG: 3,3,"2C4F","0008F7A3",2,0,7,,', {"cause_type": 0, "reject_cause": 7}),
        ('+CGREG: 2,1,"2C4F","0008F7A3",2,1A,', {"rac": 0x1A}),
        ('+CGREG: 5,1,"2C4F","0008F7A3",0,"1A",0,14,"00000110","11100000","01000010"',
         {"rac": 0x1A, "cause_type": 0, "reject_cause": 14, **TIMERS}),
        ('+CGREG: 4,1,"2C4F","0008F7A3",7,"1A",,,"00000110"', {"rac": 0x1A, "active_time": "00000110"}),
        ('+CGREG: 4,1,"2C4F","0008F7A3",7,,,"00000110","11100000"', TIMERS),  # as +CEREG has it
        # a timer is no cause
        ('+CEREG: 4,1,"2B2A","FF","0A1B2C03",9,,,"00000110","11100000","01000001"', {"rac": 0xFF, **TIMERS}),
        ('+CEREG: 5,1,"2B2A","0A1B2C03",9,"00","00000110","11100000"', {"rac": 0, **TIMERS}),
        ('+CEREG: 4,1,"2B2A","0A1B2C03",9,,,,"11100000"', {"periodic_tau": "11100000"}),
        ('+CEREG: 5,1,"2B2A","0A1B2C03",9,0,0,"00000110","11100000"', {"cause_type": 0, "reject_cause": 0, **TIMERS}),
        ('+CEREG: 5,3,"2B2A","0A1B2C03",7,0,15,,', {"cause_type": 0, "reject_cause": 15}),
        ('+CEREG: 5,1,"2B2A","0A1B2C03",7,0,0,0,0', {"cause_type": 0, "reject_cause": 0}),
        ('+CEREG: 3,3,"2B2A","0A1B2C03",7,0,256', {"cause_type": 0}),
        ('+CEREG: 3,3,"2B2A","0A1B2C03",13,0,15', {"cause_type": 0, "reject_cause": 15}),
        ('+CEREG: 3,3,"2B2A","0A1B2C03",11,0,15', {"cause_type": 0, "reject_cause": 15}),
        # 10.1.47: the slices stand there, whatever the technology
        ('+C5GREG: 2,1,"0001F4","00000100F",11,4,"01.0000AB"', {"nssai": "01.0000AB"}),
        ('+C5GREG: 2,1,"0001F4","00000100F",10,4,"01"', {"nssai": "01"}),
        ('+C5GREG: 2,1,"0001F4","00000100F",11,4,"01000001"', {"nssai": "01000001"}),
        ('+C5GREG: 2,1,"0001F4","00000100F",11,0', {}),
        ('+C5GREG: 3,3,"0001F4","00000100F",11,1,"01",0,22', {"nssai": "01", "cause_type": 0, "reject_cause": 22}),
        ("+C5GREG: 3,3,,,,,,0,22", {"cause_type": 0, "reject_cause": 22}),
        ('+C5GREG: 3,3,"0001F4","00000100F",11,0,22', {"cause_type": 0, "reject_cause": 22}),
    ],
)  # fmt: skip
def test_what_stands_behind_the_technology_is_told_by_the_clause_of_its_prefix(
    line: str, fields: dict[str, object]
) -> None:
    name, _, body = line.partition(": ")
    for piece in (read(f"AT{name}?", line), read(None, f"{name}: {body.partition(',')[2]}")):
        assert {key: piece.fields[key] for key in BEHIND_ACT if key in piece.fields} == fields, piece


@pytest.mark.parametrize("line", ["+CREG: 0,1.", "+CREG: 0;1", "+CREG: stat 1", "+CREG:", "+CREG: ,"])
def test_of_a_line_that_is_damaged_nobody_takes_a_registration(line: str) -> None:
    has(read("AT+CREG?", line), {"stat": None})


def test_what_a_test_lists_is_no_registration() -> None:
    piece = read("AT+CREG=?", "+CREG: (0-2)")
    assert piece.kind == "answer" and "stat" not in piece.fields


# -- operators --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ("0", {"mode": 0, "format": None, "operator": None, "act": None}),
        ("2", {"mode": 2, "operator": None}),
        ('0,0,"Ex, Ample Tel",7', {"mode": 0, "format": 0, "operator": "Ex, Ample Tel", "mccmnc": None, "act": 7}),
        ('1,2,"00101",13', {"mode": 1, "format": 2, "operator": "00101", "mccmnc": "00101", "act": 13}),
        ("0,2,001010,7", {"mccmnc": "001010", "act": 7}),
        ("0,0,Example,2", {"operator": "Example", "act": 2}),
        ('0,1,"EXA"', {"format": 1, "operator": "EXA", "act": None}),
        ('0,0,"Example ",8', {"operator": "Example ", "act": 8}),
        ('0,0,"004500780061006D0070006C0065",7', {"operator": "Example", "act": 7}),
        ('0,2,"00300030003100300031",7', {"operator": "00101", "mccmnc": "00101"}),
        ('0,0,"4E2D56FD79FB52A8",7', {"operator": "\u4e2d\u56fd\u79fb\u52a8"}),
        ('0,0,"Exam', {"operator": "Exam"}),
        (',,"",', {"mode": None, "operator": None}),
        ('(0,2,"00101",7,0),(0,2,"00101",7,0)', {"mode": 0, "format": 2, "mccmnc": "00101", "act": 7}),
    ],
)
def test_the_operator_is_read_in_every_form(body: str, fields: dict[str, object]) -> None:
    has(read("AT+COPS?", f"+COPS: {body}"), fields)


A, B = ("Alpha Tel", "Alpha", "00101"), ("Beta, Inc", "Beta", "001020")


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ('(2,"Alpha Tel","Alpha","00101",7),(1,"Beta, Inc","Beta","001020",0),,(0,1,2,3,4),(0,1,2)',
         [(2, *A, 7), (1, *B, 0)]),
        ('(2,"Alpha Tel","Alpha","00101"),7),(1,"Beta, Inc","Beta","001020"),0)', [(2, *A, 7), (1, *B, 0)]),
        ('(2,"Alpha Tel","Alpha","00101",7)(1,"Beta, Inc","Beta","001020",0)(0-4),(0-2)', [(2, *A, 7), (1, *B, 0)]),
        ('(2,"Alpha Tel","Alpha","00101",7),(1,"Beta, Inc","Beta","001020",0),,)', [(2, *A, 7), (1, *B, 0)]),
        ('(2,"Alpha Tel","","00101"),(3,"","","001020"),',
         [(2, "Alpha Tel", None, "00101", None), (3, None, None, "001020", None)]),
        ('(1,"Alpha Tel",,"00101"),,(0,1,3),(0,2)', [(1, "Alpha Tel", None, "00101", None)]),
        ('( 2 , "Alpha Tel" , "Alpha" , "00101" , 7 ), (0, 1,)', [(2, *A, 7)]),
        ('(1,"0041006C007000680061","0041006C007000680061","00300030003100300031",12)',
         [(1, "Alpha", "Alpha", "00101", 12)]),
        ('(2,"","","0010100",2)', [(2, None, None, "0010100", 2)]),
        ('(02,"Alpha Tel","Alpha","00101",07)', [(2, *A, 7)]),
        ('(2,"Alpha Tel","Alpha","001-01",7),(1,"Beta, Inc","Beta","001-020")', [(2, *A, 7), (1, *B, None)]),
        ('(1,"Alpha Tel ,"Alpha","00101",7),(1,"Beta, Inc","Beta","001020",0)', [(1, *A, 7), (1, *B, 0)]),
        ('(1,"Beta, Inc","Beta","001020",0),(2,"Alpha Tel","Alpha,"00101",7),,(0-4),(0-2)', [(1, *B, 0), (2, *A, 7)]),
        ('(1,"Alpha ""A""","Alpha","00101",7),(2,Alpha Tel","Alpha","00101",7)',
         [(1, 'Alpha "A"', "Alpha", "00101", 7), (2, *A, 7)]),
        ('("2","Alpha Tel","Alpha","00101","7"),(1,"Beta, Inc","Beta","001020",0)', [(2, *A, 7), (1, *B, 0)]),
        ("(0,1,2,3,4),(1,2,3,4,5)", []),
        ("", []),
    ],
)  # fmt: skip
def test_a_list_of_networks_is_read_however_it_is_broken(body: str, found: list[tuple[object, ...]]) -> None:
    networks = read("AT+COPS=?", f"+COPS: {body}").fields["networks"]
    assert isinstance(networks, list)
    assert [tuple(each[key] for key in ("stat", "long", "short", "mccmnc", "act")) for each in networks] == found


def test_an_answer_to_a_read_is_one_beside_a_test_too() -> None:
    has(read("AT+COPS=?;+COPS?", '+COPS: 0,0,"Example",7'), {"operator": "Example", "act": 7})
    has(read("AT+COPS=?", "+COPS: ,,(0-4),(0-2)"), {"networks": []})


def test_a_list_of_networks_may_have_several_lines() -> None:
    wire = '+COPS: (2,"A",,"00101",0),\r\n(1,"B",,"00102",0),,(0,1,3),(0,2)\r\n+COPS: (3,"C","C","00103",2)\r\nOK\r\n'
    found = pieces("AT+COPS=?", wire.encode())
    assert [piece.kind for piece in found] == ["answer", "answer", "answer", "final"]
    networks = [as_json(piece)["networks"] for piece in found[:3]]
    assert [code for code in ("00101", "00102", "00103") if code in json.dumps(networks)] == ["00101", "00102", "00103"]
    wire = '+COPS: (2,"A",,"00101",0)\r\n,(0-4),(0-2)\r\nOK\r\n'
    assert [piece.kind for piece in pieces("AT+COPS=?", wire.encode())] == ["answer", "answer", "final"]
    assert read("AT+CSQ", ",(0,1),(0,1)").kind == "unknown"
    has(read("AT+COPS?;+WS46=?", "(12,22,28)"), {"codes": [12, 22, 28]})


WHOLE = '+COPS: (2,"Alpha Tel","Alpha","00101",7),(1,"Beta, Inc","Beta","001020",0),,(0-4),(0-2)'


@pytest.mark.parametrize("cut", range(len("+COPS:"), len(WHOLE)))
def test_a_list_of_networks_that_a_line_end_has_cut_is_whole_wherever_it_was(cut: int) -> None:
    wire = f"{WHOLE[:cut]}\r\n{WHOLE[cut:]}\r\nOK\r\n"
    *said, last = pieces("AT+COPS=?", wire.encode())
    assert last.kind == "final" and all(piece.kind == "answer" for piece in said)
    found = [network for piece in said for network in as_json(piece)["networks"]]  # type: ignore[attr-defined]
    assert [each["mccmnc"] for each in found] == ["00101", "001020"]
    assert [each["long"].replace(" ", "") for each in found] == ["AlphaTel", "Beta,Inc"]  # a blank at an end is lost
    for each, act in zip(found, (7, 0), strict=True):  # a number is told at once, with what the line has of its <AcT>
        assert each["act"] == (None if WHOLE[:cut].rstrip(",").endswith(f'"{each["mccmnc"]}"') else act)


def test_what_comes_between_two_halves_of_a_network_is_told_apart() -> None:
    wire = '+COPS: (2,"A","A",\r\n+CREG: 5\r\n"00101",\r\n7),(1,"B","B","00102",0)\r\nOK\r\n'
    found = pieces("AT+COPS=?", wire.encode())
    assert [piece.kind for piece in found] == ["answer", "URC", "answer", "answer", "final"]
    assert pieces("AT+COPS=?", b'+COPS: (2,"A","A",\r\nwhat\r\n')[1].kind == "unknown"
    assert pieces("AT+CSQ", b'+COPS: (2,"A","A",\r\n"00101",7)\r\n')[1].kind == "unknown"


def test_the_name_of_the_sims_operator_may_be_in_ucs2() -> None:
    line = '+QSPN: "004500780061006D0070006C0065","",,1,"00101"'
    has(read("AT+QSPN", line), {"operator": "Example", "mccmnc": "00101"})


# -- signal -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("+CSQ: 0,0", {"rssi_dbm": -113, "ber": 0}),
        ("+CSQ:20, 99", {"rssi_dbm": -73, "ber": None}),
        ("+CSQ: 31,99", {"rssi_dbm": -51}),
        ("+CSQ: 99,99", {"rssi_dbm": None, "ber": None}),
        ("+CSQ: 199,99", {"rssi_dbm": None}),
        ("+CSQ: 150,99", {"rssi_dbm": -66}),
        ("+CSQ: -71,99", {"rssi_dbm": -71}),
        ("+CSQ: 17", {"rssi_dbm": -79, "ber": None}),
        ("+CSQ:", {"rssi_dbm": None}),
        ("+CESQ: 99,99,255,255,20,80", {"rsrq_db": -10.0, "rsrp_dbm": -61, "rssi_dbm": None, "rscp_dbm": None}),
        ("+CESQ: 99,99,95,40,255,255", {"rscp_dbm": -26, "ecno_db": -4.5, "rsrp_dbm": None, "rsrq_db": None}),
        ("+CESQ: 10,6,255,255,255,255", {"rssi_dbm": -101, "ber": 6, "rsrp_dbm": None}),
        ("+CESQ: 99,99,255,255,255,255,65,70,77", {"rsrq_db": -11.0, "rsrp_dbm": -87, "sinr_db": 15.0}),
        ("+CESQ: 27,99,255,255,16,44,255,255,255", {"rsrq_db": -12.0, "rsrp_dbm": -97}),
        ("+XCESQ: 0,99,99,255,255,24,51,18", {"rsrq_db": -8.0, "rsrp_dbm": -90, "sinr_db": 9.0}),
        ("%CESQ: 35,1,10,1", {"rsrp_dbm": -106, "rsrq_db": -15.0}),
        ('+QCSQ: "LTE",-71,-102,134,-11', {"act": 7, "rssi_dbm": -71, "rsrp_dbm": -102, "rsrq_db": -11}),
        ('+QCSQ: "eMTC",-65,-85,180,-8', {"act": 7, "rsrp_dbm": -85, "rsrq_db": -8}),
        ('+QCSQ: "NR5G",-75,4,-11', {"act": 11, "rssi_dbm": None, "rsrp_dbm": -75, "rsrq_db": -11}),
        ('+QCSQ: "WCDMA",-70,-80,-5', {"act": 2, "rssi_dbm": -70, "rscp_dbm": -80, "rsrp_dbm": None}),
        ('+QCSQ: "GSM",-69', {"act": 0, "rssi_dbm": -69}),
        ('+QCSQ: "NOSERVICE"', {"rat": "NOSERVICE", "act": None, "rssi_dbm": None, "rsrp_dbm": None}),
        ('+QCSQ: "LTE",0,0,0,0', {"rsrp_dbm": None}),
        ('+QCSQ: "LTE",54,-85,200,-14', {"rssi_dbm": -54, "rsrp_dbm": -85, "rsrq_db": -14}),  # EP06
        ('+QCSQ: "LTE",-65,-95,13.5,-9.5', {"rssi_dbm": -65, "rsrq_db": -9.5}),
        ("+QRSRP: -97,-101,-140,-32768,LTE", {"rsrp_dbm": -97, "act": 7}),
        ("+QRSRP: -32768,-101,-140,-32768,LTE", {"rsrp_dbm": -101}),
        ("+QRSRQ: -11,-12,-20,-20,NR5G", {"rsrq_db": -11, "act": 11}),
        ("^LTERSRP: -98,-12", {"rsrp_dbm": -98, "rsrq_db": -12}),
        ("+RSRP: 500,1820,-82.00,500,6200,-89.00", {"rsrp_dbm": -82.0}),
        ("+RSRQ: 500,1820,-9.-50,500,6200,-10.00", {"rsrq_db": None}),
        ('^HCSQ: "LTE",45,34,106,19', {"act": 7, "rssi_dbm": -76, "rsrp_dbm": -107, "rsrq_db": -10.5, "sinr_db": 1.0}),
        ('^HCSQ:"LTE",58,47,116,255', {"rsrp_dbm": -94, "rsrq_db": None}),
        ('^HCSQ: "NR",58,165,22', {"act": 11, "rssi_dbm": None, "rsrp_dbm": -83, "rsrq_db": -9.0}),
        ('^HCSQ: "WCDMA",30,30,58', {"act": 2, "rssi_dbm": -91, "rscp_dbm": -91, "ecno_db": -3.5}),
        ('^HCSQ: "GSM",36,255', {"act": 0, "rssi_dbm": -85}),
        ('^HCSQ: "NOSERVICE",0,0,0,0', {"act": None, "rssi_dbm": None, "rsrp_dbm": None}),
        ('^HCSQ: "CDMA",30,20', {"act": None, "rssi_dbm": -91}),
        ('+QCSQ: "LTE",0,-85,200,-14', {"rssi_dbm": None, "rsrp_dbm": -85}),
        ("^RSSI: 19", {"rssi_dbm": -75}),
        ('$QCRSRP: 277,3350,"-098.30"', {"rsrp_dbm": -98.3}),
        ('$QCRSRQ: 277,3350,"-11.20"', {"rsrq_db": -11.2}),
        ('$QCRSRP: 5,100,"nan"', {"rsrp_dbm": None}),
    ],
)
def test_a_level_is_told_in_dbm_and_db_whoever_says_it(line: str, fields: dict[str, object]) -> None:
    has(read(None, line), fields)


# -- cells ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("+CPSI: LTE,Online,001-01,0x1A2B,12345678,55,EUTRAN-BAND3,1650,5,5,-98,-892,-591,12",
         {"act": 7, "mccmnc": "00101", "lac": 0x1A2B, "ci": 12345678, "rsrp_dbm": -89.2, "rsrq_db": -9.8,
             "rssi_dbm": -59.1}),
        ("+CPSI: LTE CAT-M1,Online,001-010,0x1A2B,12345678,55,EUTRAN-BAND20,6350,5,5,-16,-83,-53,10",
         {"act": 7, "mccmnc": "001010", "rsrp_dbm": -83, "rsrq_db": -16, "rssi_dbm": -53}),
        ("+CPSI: LTE,Online,001-01,0x1A2B,12345678,55,EUTRAN-BAND3,1650,5,5,-109,-13,-80,16",
         {"rsrp_dbm": -109, "rsrq_db": -13}),
        ("+CPSI: LTE,Online,001-01,0x1A2B,12345678,55,EUTRAN-BAND7,2850,5,5,21,47,43,17",
         {"rsrp_dbm": -94, "rsrq_db": -9.5}),
        ("+CPSI: LTE NB-IOT,Online,001-01,0x1A2B,12345678,55,EUTRAN-BAND8,3700,0,0,-12,-95,-83,9",
         {"act": 9, "rsrp_dbm": -95}),
        ("+CPSI: GSM,Online,001-01,0x1a2b,5559,79 EGSM 900,-83,0,24-24",
         {"act": 0, "lac": 0x1A2B, "ci": 5559, "rssi_dbm": -83, "band": "EGSM 900"}),
        ("+CPSI: WCDMA,Online,001-01,0x1A2B,3846084,WCDMA 850,355,4385,0,4.5,78,39,37,500",
         {"act": 2, "ci": 3846084, "rscp_dbm": -78, "ecno_db": -4.5, "rssi_dbm": -74}),
        ("+CPSI: WCDMA,Online,001-01,0x1A2B,3846084,WCDMA 850,355,4385,0,-3,-83,-32768,-83,-15",
         {"rscp_dbm": -83, "rssi_dbm": -83}),
        ("+CPSI: NR5G_SA,Online,001-01,0x00765D,4955280,0,NR5G_BAND78,640704,-770,-110,290",
         {"act": 11, "lac": 0x765D, "ci": 4955280, "rsrp_dbm": -77, "rsrq_db": -11, "band": "NR5G_BAND78"}),
        ("+CPSI: NR5G_NSA,298,NR5G_BAND41,520110,-760,-110,18,0,12",
         {"act": 13, "rsrp_dbm": -76, "rsrq_db": -11, "mccmnc": None}),
        ("+CPSI: NR5G,255,629952,-11,-92,153",
         {"act": 13, "rsrp_dbm": -92, "rsrq_db": -11, "mccmnc": None, "lac": None, "ci": None}),
        ("+CPSI: NR5G,Online,001-010,0x1A2B,50896642,255,629952,-92,-11,15",
         {"act": 11, "mccmnc": "001010", "lac": 0x1A2B, "ci": 50896642, "rsrp_dbm": -92, "rsrq_db": -11, "band": None}),
        ("+CPSI: NR5G_SA,Online,001-01,0x1A2B,0x1234567,1,NR5G_BAND41,504990,-670,-110,190",
         {"act": 11, "ci": 0x1234567, "rsrp_dbm": -67, "rsrq_db": -11}),
        ("+CPSI: NOT IN EN-DC CONNECTED MODE", {"act": None, "mccmnc": None, "rsrp_dbm": None}),
        ("+CPSI: GSM,Online,000-00,0x0000,0,0 Unknown,0,0,0-0", {"act": 0, "mccmnc": None}),
        ("+CPSI: LTE CAT-M1,Online,001-01,0x1A2B,12345678,55,EUTRAN-BAND8,3749,3,3,0,0,0,0",
         {"act": 7, "rsrp_dbm": None, "rsrq_db": None, "rssi_dbm": None}),  # nothing measured
        ("+CPSI: NO SERVICE,Online", {"act": None, "service": "Online", "mccmnc": None, "rsrp_dbm": None}),
        ("+CPSI: CDMA,Online,001-03,1019,248,-4.7", {"rat": "CDMA", "act": None, "mccmnc": "00103"}),
        ('+QNWINFO: "FDD LTE","00101","LTE BAND 3",1650',
         {"act": 7, "mccmnc": "00101", "band": "LTE BAND 3", "channel": 1650}),
        ('+QNWINFO: "EDGE","00101","GSM 900",1', {"act": 3, "mccmnc": "00101"}),
        ('+QNWINFO: "TDD NR5G","001010","NR5G BAND 41",528030', {"act": 11, "mccmnc": "001010"}),
        ('+QNWINFO: "CAT-NB1","00101","LTE BAND 8",3740', {"act": 9}),
        ("+QNWINFO: No Service", {"rat": "No Service", "act": None, "mccmnc": None}),
        ('+QENG: "servingcell","NOCONN","LTE","FDD",001,01,1A2B3C4,20,3350,7,5,5,3AC9,-86,-13,-52,15,-',
         {"act": 7, "mccmnc": "00101", "ci": 0x1A2B3C4, "lac": 0x3AC9, "rsrp_dbm": -86, "rsrq_db": -13,
             "rssi_dbm": -52}),
        ('+QENG: "servingcell","CONNECT","CAT-M","FDD",001,1,1A2B3C,187,6200,20,3,3,2AFB,-105,-11,-76,10,-',
         {"act": 7, "mccmnc": "00101", "rsrp_dbm": -105, "rsrq_db": -11}),
        ('+QENG: "servingcell","LIMSRV","GSM",001,01,1A2B,B919,26,50,-,-73,255,255,0,38,38,1,-,-,-,-,-,-,-,-,-,"-"',
         {"act": 0, "lac": 0x1A2B, "ci": 0xB919, "rssi_dbm": -73}),
        ('+QENG: "servingcell","NOCONN","WCDMA",001,  01,  1A2B, 2883C, 4385, 84, 254, -98, -7, -, -, -, -, -',
         {"act": 2, "lac": 0x1A2B, "ci": 0x2883C, "rscp_dbm": -98, "ecno_db": -7}),
        ('+QENG: "servingcell","NOCONN","NR5G-SA","TDD",001,010,939204254,24,60AA00,126490,71,1,-104,-13,11,0,-',
         {"act": 11, "mccmnc": "001010", "ci": 0x939204254, "lac": 0x60AA00, "rsrp_dbm": -104, "rsrq_db": -13}),
        ("+QENG: 0,001,01,1806,2c93,64,40,-67,52,255,255,0,7,7,1,x,x,x,x,x,x,x",
         {"act": 0, "mccmnc": "00101", "lac": 0x1806, "ci": 0x2C93, "rssi_dbm": -67}),
        ('+QENG: "servingcell","LTE","FDD",001,01,1A2B3C4,20,3350,7,5,5,3AC9,-86,-13,-52,15,-',
         {"service": None, "act": 7, "mccmnc": "00101", "ci": 0x1A2B3C4, "rsrp_dbm": -86}),
        ('+QENG: "servingcell","NOCONN","TDSCDMA",001,01,1A2B,B919,10054,-70,-79,-5',
         {"act": 2, "lac": 0x1A2B, "rssi_dbm": -70, "rscp_dbm": -79, "ecno_db": -5}),
        ("+QENG: 1,0", {"cell": None, "rat": None, "act": None}),
        ('+QENG: "servingcell","SEARCH"', {"service": "SEARCH", "act": None, "mccmnc": None}),
        ('+QENG: "servingcell","NOCONN","LTE","FDD",-,-,-,-,-,-,-,-,-,-,-,-,-,-',
         {"act": 7, "mccmnc": None, "rsrp_dbm": None, "band": None}),
        ('+QENG: "LTE","FDD",001,03,3359966,1,150,1,5,5,4AA3,-89,-13,-58,16,15,20,-',
         {"act": 7, "lac": 0x4AA3, "rsrp_dbm": -89}),
        ('+QENG:"NR5G-NSA",001,03,832,-76,21,-11,528030,41,8,1', {"act": 13, "rsrp_dbm": -76, "rsrq_db": -11}),
        ('+QENG: "neighbourcell intra","LTE",5230,318,-13,-103,-78,8,30',
         {"cell": "neighbourcell intra", "rsrp_dbm": -103}),
        ('^SYSINFOEX:2,3,0,1,,6,"LTE",101,"LTE"', {"act": 7, "roaming": False, "sim": "ready"}),
        ("^SMONI: 4G,6300,20,10,10,FDD,001,01,BF75,0345103,350,33,-94,-7,NOCONN",
         {"act": 7, "mccmnc": "00101", "lac": 0xBF75, "ci": 0x0345103, "rsrp_dbm": -94, "rsrq_db": -7}),
        ("^SMONI: 3G,10564,296,-7.5,-79,001,01,0143,00228FF,-92,-78,NOCONN",
         {"act": 2, "mccmnc": "00101", "lac": 0x143, "rscp_dbm": -79, "ecno_db": -7.5}),
        ("^SMONI: 2G,71,-61,001,01,0143,83BA,33,33,3,6,G,NOCONN", {"act": 0, "ci": 0x83BA, "rssi_dbm": -61}),
        ("^SMONI: 4G,SEARCH,SEARCH", {"act": 7, "mccmnc": None}),
        ('#RFSTS: "001 01",5230,-101,-82,-11.5,00af,,32,3,1,abcdef01,"001010123456789","Example",2,12,100',
         {"act": 7, "mccmnc": "00101", "lac": 0xAF, "rsrp_dbm": -101, "rsrq_db": -11.5, "rssi_dbm": -82}),
        ('#RFSTS: "001 01",66786,-101,-68,-13,2D18,255,,640,1,0,3089F02,"001010123456789","Example",3,66',
         {"act": 7, "mccmnc": "00101", "lac": 0x2D18, "ci": 0x3089F02, "rsrp_dbm": -101, "rsrq_db": -13,
             "rssi_dbm": -68}),
        ('#RFSTS: "001 04",14,-83,0CBC,00,5,19,10,,BEE9,"001010123456789","",0,2',
         {"act": 0, "mccmnc": "00104", "lac": 0xCBC, "ci": 0xBEE9, "rssi_dbm": -83, "rsrp_dbm": None}),
        ('#RFSTS: "001 01",10638,173,-5.5,-78,-73,002B,01,-2,19,1,0,1,,B1F13,"001010123456789","EX",3,1',
         {"act": 2, "lac": 0x2B, "ci": 0xB1F13, "ecno_db": -5.5, "rscp_dbm": -78, "rssi_dbm": -73}),
        ("#MONI: Example PSC:3 RSCP:-80 LAC:1A2B Id:0A1B2C3 EcIo:-5.5 UARFCN:10638 PWR:-73dbm DRX:128 SCR:48",
         {"act": 2, "lac": 0x1A2B, "rscp_dbm": -80, "ecno_db": -5.5, "rssi_dbm": -73}),
        ("#MONI: Example BSIC:27 RxQual:0 LAC:1A2B Id:83BA ARFCN:71 PWR:-61dbm TA:1", {"act": 0, "ci": 0x83BA}),
        ("#MONI: Example RSRP:-92 RSRQ:-17 TAC:8B1E Id:A204C01 EARFCN:800 PWR:-59dbm",
         {"act": 7, "lac": 0x8B1E, "ci": 0xA204C01, "rsrp_dbm": -92, "rsrq_db": -17, "rssi_dbm": -59}),
        ('%XMONITOR: 1,"Example","EX","00101","81AE",7,20,"0331C805",281,6400,53,42,"","","",""',
         {"stat": 1, "operator": "Example", "mccmnc": "00101", "lac": 0x81AE, "act": 7, "rsrp_dbm": -88}),
        ("^SYSINFOEX:2,4,1,255,,3,WCDMA,41,HSPA+", {"act": 6, "roaming": True, "sim": "missing"}),
        ("^SYSINFO: 2,3,0,17,1,7", {"act": 7, "roaming": False, "sim": "ready"}),
        ("^SYSINFO:2,3,1,5,1,,5", {"act": 4, "roaming": True, "sim": "ready"}),
        ("^SYSINFO: 0,0,0,0,255", {"act": None, "sim": "missing"}),
        ("^SYSINFO: 0,0,0,17,4", {"act": 7, "sim": "failed"}),
    ],
)  # fmt: skip
def test_a_serving_cell_is_told_in_our_words_whoever_says_it(line: str, fields: dict[str, object]) -> None:
    has(read(f"AT{line.partition(':')[0]}", line), fields)


def test_a_status_over_many_lines_is_read_line_by_line() -> None:
    wire = "!GSTATUS: \r\nSystem mode:   LTE  \tPS state: Attached\r\nRSRP (dBm):    -98   TAC:   1A2B (6699)\r\nOK\r\n"
    first, second, third, last = pieces("AT!GSTATUS?", wire.encode())
    assert {first.kind, second.kind, third.kind} == {"answer"} and last.kind == "final"
    has(second, {"act": 7, "rat": "LTE"})
    has(third, {"rsrp_dbm": -98, "lac": 0x1A2B})


# -- SIM --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "lock"),
    [
        ("READY", "READY"), ("SIM PIN", "SIM PIN"), ("sim puk", "SIM PUK"), ("SIM PIN2", "SIM PIN2"), ('"SIM PIN"',
         "SIM PIN"),
        ("PH-NET PIN", "PH-NET PIN"), ("PH-SIM PIN", "PH-SIM PIN"), ("PH_NETSUB PIN", "PH-NETSUB PIN"), ("PH-SP PIN",
         "PH-SP PIN"),
        ("PH-CORP PUK", "PH-CORP PUK"), ("NOT READY", "NOT READY"), ("NOT INSERTED", "NOT INSERTED"), ("BLOCKED",
         "BLOCKED"),
        ("BLOCK", "BLOCKED"), ("(4-8)", None),
        ("SIM REMOVED", "NOT INSERTED"), ("NEW KIND", "NEW KIND"), ("", None),
    ],
)  # fmt: skip
def test_the_lock_is_told_in_the_words_of_the_standard(said: str, lock: str | None) -> None:
    has(read(None, f"*CPIN: {said}"), {"lock": lock})
    for line in (f"+CPIN: {said}", f"+CPIN:{said}"):
        piece = read("AT+CPIN?", line)
        assert piece.kind == "answer"
        has(piece, {"lock": lock})


@pytest.mark.parametrize(
    ("line", "retries"),
    [
        ("+CPINR: SIM PIN,3,3", {"SIM PIN": 3}),
        ('+CPINR: "SIM PUK2",10', {"SIM PUK2": 10}),
        ('+QPINC: "SC",2,10', {"SIM PIN": 2, "SIM PUK": 10}),
        ('+QPINC: "P2",3,10', {"SIM PIN2": 3, "SIM PUK2": 10}),
        ("+SPIC: 3,10,0,10", {"SIM PIN": 3, "SIM PUK": 10, "SIM PIN2": 0, "SIM PUK2": 10}),
        ("+UPINCNT: 3,2,10,9", {"SIM PIN": 3, "SIM PIN2": 2, "SIM PUK": 10, "SIM PUK2": 9}),
        ("#PCT: 3", {"SIM PIN": 3}),
        ("^CPIN: SIM PIN,3,10,3,10,2", {"SIM PUK": 10, "SIM PIN": 3, "SIM PUK2": 10, "SIM PIN2": 2}),
        ("*EPIN: 3,10,2,9", {"SIM PIN": 3, "SIM PUK": 10, "SIM PIN2": 2, "SIM PUK2": 9}),
        ("%PINNUM: 3, 10, 2, 9", {"SIM PIN": 3, "SIM PUK": 10, "SIM PIN2": 2, "SIM PUK2": 9}),
        ("+EPINC: 3, 2, 10, 9", {"SIM PIN": 3, "SIM PIN2": 2, "SIM PUK": 10, "SIM PUK2": 9}),
        ("+XPINCNT: 3,2,10,9", {"SIM PIN": 3, "SIM PIN2": 2, "SIM PUK": 10, "SIM PUK2": 9}),
        ("+ZPINPUK: 3,10", {"SIM PIN": 3, "SIM PUK": 10}),
        ("^CPIN: READY,10,3,10,2", {"SIM PUK": 10, "SIM PIN": 3, "SIM PUK2": 10, "SIM PIN2": 2}),
        ("+SPIC: pin1=3,puk1=10,pin2=2,puk2=9", {"SIM PIN": 3, "SIM PUK": 10, "SIM PIN2": 2, "SIM PUK2": 9}),
        ("^SPIC: SIM PIN", {}),
        ("^SPIC: 3", {"SIM PIN": 3}),
        ('^SPIC: "SC",3', {"SIM PIN": 3}),
        ('^SPIC: "P2",2', {"SIM PIN2": 2}),
        ("+CPINR: what,x", {}),
    ],
)
def test_the_tries_that_are_left_are_told_by_their_code(line: str, retries: dict[str, int]) -> None:
    has(read(f"AT{line.partition(':')[0]}?", line), {"retries": retries})


@pytest.mark.parametrize(
    ("command", "line", "retries"),
    [
        ('AT^SPIC="SC",1', "^SPIC: 10", {"SIM PUK": 10}),
        ('AT^SPIC="P2"', "^SPIC: 3", {"SIM PIN2": 3}),
        ('AT^SPIC="FD"', "^SPIC: 3", {}),
        ("AT+CPNNUM", "PIN1=3; PUK1=10; PIN2=0; PUK2=9",
         {"SIM PIN": 3, "SIM PUK": 10, "SIM PIN2": 0, "SIM PUK2": 9}),
    ],
)  # fmt: skip
def test_the_tries_that_are_left_are_of_the_code_that_was_asked_for(
    command: str, line: str, retries: dict[str, int]
) -> None:
    piece = read(command, line)
    assert piece.kind == "answer"
    has(piece, {"retries": retries})


def test_the_status_of_a_verification_tells_its_tries() -> None:
    has(read("AT+CSIM=10", '+CSIM: 4, "63C2"'), {"tries": 2, "status": "63C2"})
    assert "tries" not in read("AT+CSIM=10", '+CSIM: 4,"9000"').fields


ICCID = "8949000012345678903"


@pytest.mark.parametrize(
    "line",
    [
        f"+CCID: {ICCID}", f'+CCID: "{ICCID}"', f"+QCCID: {ICCID}F", f"+ICCID: {ICCID}", f"^ICCID: {ICCID}F",
            f"#CCID: {ICCID}",
        f"%CCID: {ICCID}", f"%XICCID: {ICCID}", f"!ICCID: {ICCID}", f"+CCID:{ICCID}f", ICCID, f'"{ICCID}"', f"{ICCID}F",
        f"SCID: {ICCID}", f"SIM Card ID: {ICCID}", f"+SCID: SIM Card ID: {ICCID}",
        "+CCID: 989400002143658709F3", '^ICCID:"989400002143658709F3', f"ICCID: {ICCID}", f"+CCID: {ICCID},",
    ],
)  # fmt: skip
def test_an_iccid_is_the_same_in_every_spelling(line: str) -> None:
    piece = read(f"AT{line.partition(':')[0]}" if line[0] in "+^#%!" and "Card" not in line else "AT+CCID", line)
    assert piece.kind == "answer"
    has(piece, {"iccid": ICCID, "valid": True, "luhn": True})


@pytest.mark.parametrize(
    ("said", "iccid", "is_valid"),
    [
        ("898600A1091830030220", "898600A1091830030220", True),  # letters in the account number
        ("89490000123456789035", "89490000123456789035", True),
        ("894900001234567890", "894900001234567890", True),
        ("98940000214365", "89490000123456", False),
        ("0049000012345678904", "0049000012345678904", False),
        ("89490000123456789043211", "89490000123456789043211", False),
        ("8949pl00123456789", None, False),
        ("", None, False),
    ],
)
def test_an_iccid_is_valid_by_its_form_alone(said: str, iccid: str | None, is_valid: bool) -> None:
    has(read("AT+CCID", f"+CCID: {said}"), {"iccid": iccid, "valid": is_valid})


def test_the_file_of_the_iccid_is_one_too() -> None:
    has(read("AT+CRSM=176,12258,0,0,10", '+CRSM: 144,0,"989400002143658709F3"'), {"iccid": ICCID, "sw1": 144})


@pytest.mark.parametrize(
    ("line", "state"),
    [
        ("+QUSIM: 1", "inserted"), ("+QSIMSTAT : 1,0", "missing"), ("+QSIMSTAT: 1", "inserted"), ("#QSS: 0", "missing"),
        ("#QSS: 1,3", "ready"), ("^SIMST: 1", "ready"), ("^SIMST:255,1", "missing"), ("+SIMCARD: NOT AVAILABLE",
         "missing"),
        ("$QCSIMSTAT: 1 SIM INIT COMPLETED", "ready"), ("$QCSIMSTAT: 0,SIM INIT COMPLETED", "ready"), ("%XSIM: 0",
         "missing"),
        ("+XSIM: 7", "ready"), ("^SCKS: 0", "missing"), ("+QUSIM: x", None),
        ("+QUSIM: 0", "inserted"),  # a SIM that is no USIM
        ("+QSIMSTAT: 1,2", "unknown"), ("+QSIMSTAT: 1,1", "inserted"),
        ("+XSIM: 1,7", "ready"), ("+XSIM: 6", "failed"), ("+XSIM: 8", "failed"), ("+XSIM: 99", "unknown"),
        ("^SIMST:4,0", "failed"),
        ("^SIMST:3", "ready"), ("+UUSIMSTAT: 0", "missing"), ("+UUSIMSTAT: 1", "locked"), ("+UUSIMSTAT: 3", "failed"),
        ("+SIM Removed", "missing"), ("+WIND: 0", "missing"), ("+WIND: 1", "inserted"), ("+WIND: 4", None),
        ("+CSMINS: 1,0", "missing"), ("+XSIMSTATE: 1,7,1,0", "ready"),
        ("+UUSIMSTAT: 6", "ready"), ("+UUSIMSTAT: 9", None), ("+ESIMS: 0,13", "missing"), ("+ESIMS: 1,12", "inserted"),
    ],
)  # fmt: skip
def test_a_sim_that_comes_or_goes_is_told(line: str, state: str | None) -> None:
    piece = read(None, line)
    assert piece.kind == "URC"
    has(piece, {"sim": state})


# -- identity ---------------------------------------------------------------------------------------------------------

IMEI = "490154203237518"


@pytest.mark.parametrize("command", ["AT+CGSN", "AT+GSN", "AT+CGSN=1"])
@pytest.mark.parametrize(
    "line",
    [IMEI, f'"{IMEI}"', f"+CGSN: {IMEI}", f'+GSN: "{IMEI}"', f"+CGSN:{IMEI}", f"{IMEI},NL2A62Z0N5", IMEI[:14],
        f"IMEI: {IMEI}",
     "49-015420-323751-8", f"{IMEI[:14]}01", f"{IMEI}01"],
)  # fmt: skip
def test_an_imei_is_the_same_in_every_spelling(command: str, line: str) -> None:
    piece = read(command, line)
    assert piece.kind == "answer"
    has(piece, {"imei": IMEI, "valid": True})


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("0x6744775", {"esn": "06744775", "imei": None}),
        ("6030C012", {"esn": "6030C012"}),
        ("+GSN: 0x9235EB52", {"esn": "9235EB52"}),
        ("A1000013FB653A", {"meid": "A1000013FB653A"}),
        ("0x00A1000013FB653A:0x80D9BBCA", {"meid": "A1000013FB653A", "esn": "80D9BBCA"}),
        ("0000000000000000", {"imei": "0" * 15, "valid": False}),
        ("45317471585658170:2161753034", {"imei": None, "valid": False}),
        ("+CGSN: 12", {"svn": "12", "imei": None}),
        ("+MEID: A1000013FB653A", {"meid": "A1000013FB653A"}),
        ("+MEID: 49015420323751", {"meid": "49015420323751", "imei": None}),
        ("+ESN: 0x6030C012", {"esn": "6030C012"}),
        ('+CGSN: "MT1234567"', {"imei": None, "valid": False, "serial": "MT1234567"}),
    ],
)
def test_a_cdma_modem_has_an_esn_or_a_meid(line: str, fields: dict[str, object]) -> None:
    piece = read("AT+GSN", line)
    assert piece.kind == "answer"
    has(piece, fields)


@pytest.mark.parametrize("line", ["adsfasdfasdfasdf", "0x6030Cfgh", "1234", "+CRSM: 144,0", "RDY", IMEI + "1234"])
def test_what_is_no_serial_number_is_no_answer(line: str) -> None:
    assert read("AT+CGSN", line).kind != "answer"


def test_the_check_digit_is_told_apart_from_the_form() -> None:
    assert read("AT+CGSN", IMEI).fields["luhn"] is True
    has(read("AT+CGSN", IMEI[:14] + "9"), {"valid": True, "luhn": False})


@pytest.mark.parametrize(
    ("command", "line", "fields"),
    [
        ("AT+CGMI", "Example Wireless, Inc.", {"manufacturer": "Example Wireless, Inc."}),
        ("AT+CGMI", '+CGMI: "example"', {"manufacturer": "example"}),
        ("AT+GMI", "Manufacturer: +GMI: Example", {"manufacturer": "Example"}),
        ("AT+CGMM", "Model CDX-1", {"model": "CDX-1"}),
        ("AT+GMM", "Model:LX1", {"model": "LX1"}),
        ("AT+CGMM", '"GSM900","GSM1800","MODEL=I250-000"', {"model": "I250-000"}),
        ("AT+CGMM", "88", {"model": "88"}),
        ("AT+CGMR", "Revision: R1.2 (Date: Jun 17 2008, Time: 12:30:47)",
         {"revision": "R1.2 (Date: Jun 17 2008, Time: 12:30:47)"}),
        ("AT+CGMR", "+CGMR: EX21A01", {"revision": "EX21A01"}),
        ("ATI", "Manufacturer: Example", {"manufacturer": "Example"}),
        ("ATI", "Model: E1", {"model": "E1"}),
        ("ATI", "Model: +GMI: Example Inc.+GMM: Model:LX-1", {"model": "LX-1"}),
        ("ATI", "Revision: 11.0 [Jan 07 2008 16:00:00]", {"revision": "11.0 [Jan 07 2008 16:00:00]"}),
        ("ATI", f"IMEI: {IMEI}", {"imei": IMEI}),
        ("ATI", "ESN: +GSN:12de4fa6", {"esn": "12DE4FA6"}),
        ("ATI", "IMEI SV: 6", {"svn": "6"}),
        ("ATI", f"MEID: {IMEI[:14]}", {"meid": IMEI[:14], "imei": None}),  # of digits alone, but no IMEI
        ("ATI", "ESN: 12813506123, 80CF1234", {"esn": "80CF1234"}),
        ("ATI", "REVISION 03.017", {"revision": "03.017"}),
        ("ATI", "A-REVISION 01.000.08", {"text": "A-REVISION 01.000.08"}),
        ("AT+SIMCOMATI", "+GCAP: +CGSM", {"capabilities": ["+CGSM"]}),
        ("AT+GCAP", "+CIS707-A, +MS", {"capabilities": ["+CIS707-A", "+MS"]}),
        ("AT+GMM?", '+GMM: "LX-8 LTE Module","LX-8"', {"model": "LX-8 LTE Module"}),
        ("AT+CGSN", f'+CGSN: "{IMEI}","0","35"', {"imei": IMEI}),
        ("AT+CGSN", f'+CGSN: {IMEI},"00000000"', {"imei": IMEI, "serial": "00000000"}),
        ("AT+CGSN=0", "MT1234567", {"imei": None, "serial": "MT1234567"}),
        ("AT+CGSN=0", IMEI, {"imei": IMEI}),
        ("AT+EGMR=0,7", IMEI, {"imei": IMEI}),
        ("AT+EGMR=0,5", '+EGMR: "MT1234567"', {"imei": None, "serial": "MT1234567"}),
        ("AT+CGMR", "REVISION 03.017", {"revision": "03.017"}),
        ("AT+GSN", f"MEID: {IMEI[:14]}", {"meid": IMEI[:14], "imei": None}),
        ("ATI", "Example", {"text": "Example"}),
        ("ATI", "+GCAP: +CIS707-A, +MS, +FCLASS", {"capabilities": ["+CIS707-A", "+MS", "+FCLASS"]}),
        ("AT+CIMI", "001010123456789", {"imsi": "001010123456789"}),
        ("AT+CIMI", "+CIMI: 001010123456789", {"imsi": "001010123456789"}),
    ],
)  # fmt: skip
def test_names_come_without_labels_and_quotes(command: str, line: str, fields: dict[str, object]) -> None:
    piece = read(command, line)
    assert piece.kind == "answer"
    has(piece, fields)


# -- the packet domain ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "fields"),
    [
        ("REJECT IP, 10.1.2.3", {"event": "REJECT", "pdp_type": "IP", "address": "10.1.2.3", "cid": None}),
        ("NW REACT IP, 10.1.2.3, 1", {"event": "NW REACT", "cid": 1}),
        ("NW DEACT IP, 10.1.2.3, 1", {"event": "NW DEACT", "cid": 1, "address": "10.1.2.3"}),
        ('ME DEACT "IP","10.1.2.3",2', {"event": "ME DEACT", "cid": 2}),
        ("NW DETACH", {"event": "NW DETACH", "cid": None}),
        ("me detach", {"event": "ME DETACH"}),
        ("ME PDN ACT 2", {"event": "ME PDN ACT", "cid": 2}),
        ("ME PDN ACT 2, 3, 4", {"event": "ME PDN ACT", "cid": 2, "reason": 3}),
        ("NW PDN DEACT 5,1", {"event": "NW PDN DEACT", "cid": 5}),
        ("EPS PDN ACT 1", {"event": "EPS PDN ACT", "cid": 1}),
        ("ME ACT 3, 2, 1", {"event": "ME ACT", "p_cid": 3, "cid": 2, "event_type": 1}),
        ("NW DEACT 3,2,1", {"event": "NW DEACT", "p_cid": 3, "cid": 2}),
        ('NW CLASS "A"', {"event": "NW CLASS", "class": "A"}),
        ("NW DEACT 3", {"event": "NW DEACT", "cid": 3}),
        ("NW MODIFY 1,2,0", {"event": "NW MODIFY", "cid": 1}),
        ("SOMETHING NEW 7", {"event": "SOMETHING NEW", "cid": None}),
        ("USER_EVT", {"event": "USER_EVT", "cid": None}),
        ("", {"event": None}),
    ],
)
def test_every_event_of_the_packet_domain_is_named(said: str, fields: dict[str, object]) -> None:
    piece = read(None, f"+CGEV: {said}")
    assert piece.kind == "URC"
    has(piece, fields)


def test_an_event_is_known_without_its_prefix() -> None:
    has(read(None, "NW PDN DEACT 2"), {"event": "NW PDN DEACT", "cid": 2})
    assert read("AT+CSQ", "ME DETACH").kind == "URC"


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ('+CGDCONT: 1,"IP","example.org","10.1.2.3",0,0',
         {"cid": 1, "pdp_type": "IP", "apn": "example.org", "address": "10.1.2.3"}),
        ('+CGDCONT: 1,"IPV4V6","","0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0",0,0', {"apn": None, "address": None}),
        ('+CGDCONT: 1,"IP",,,0,0', {"cid": 1, "apn": None}),
        ('+CGDCONT: (1-16),"IPV6",,,(0-2),(0-4)', {"cid": None, "cid_min": 1, "cid_max": 16, "pdp_type": "IPV6"}),
        ('+CGDCONT: ( 1 ) , "IP" ,,, (0-2)', {"cid_min": 1, "cid_max": 1, "pdp_type": "IP"}),
        ("+CGACT: 1,1", {"cid": 1, "active": True}),
        ("+CGACT: 2, 0", {"cid": 2, "active": False}),
        ("+CGATT: 1", {"attached": True}),
        ("+CGATT:0", {"attached": False}),
        ("+CGATT: x", {"attached": None}),
        ('+CGPADDR: 1,"10.1.2.3"', {"cid": 1, "addresses": ["10.1.2.3"]}),
        ("+CGPADDR: 1,10.1.2.3", {"addresses": ["10.1.2.3"]}),
        ('+CGPADDR: 1,"10.1.2.3","32.1.13.184.0.0.0.0.0.0.0.0.0.0.0.1"', {"addresses": ["10.1.2.3", "2001:db8::1"]}),
        ('+CGPADDR: 1,"10.1.2.3,2001:DB8:0:0:0:0:0:1"', {"addresses": ["10.1.2.3", "2001:db8::1"]}),
        ('+CGPADDR: 1,"0.0.0.0"', {"addresses": []}),
        ('+CGPADDR: 1,"10.1.2.3 32.1.13.184.0.0.0.0.0.0.0.0.0.0.0.1"', {"addresses": ["10.1.2.3", "2001:db8::1"]}),
        ('+CGPADDR: 1,"10.1.2.3.32.1.13.184.0.0.0.0.0.0.0.0.0.0.0.1"', {"addresses": ["10.1.2.3", "2001:db8::1"]}),
        ('+CGPADDR: 1,"10.1.2.3 2001:db8::1"', {"addresses": ["10.1.2.3", "2001:db8::1"]}),
        ('+CGDCONT: 1,"IPV4V6","a","10.1.2.3 0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0",0,0', {"address": "10.1.2.3"}),
        ('+CGDCONT: 1,"IPV4V6","a","10.1.2.3.32.1.0.0.0.0.0.0.0.0.0.0.0.0.0.1",0,0', {"address": "10.1.2.3"}),
        ('+CGDCONT: 1,"IPV4V6","a","0.0.0.0 0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0",0,0', {"address": None}),
        ("+CGPADDR: 3", {"cid": 3, "addresses": []}),
        ('+QIACT: 1,1,1,"10.1.2.3"', {"cid": 1, "active": True, "address": "10.1.2.3"}),
    ],
)  # fmt: skip
def test_a_context_is_told_with_its_addresses(line: str, fields: dict[str, object]) -> None:
    name = line.partition(":")[0]
    has(read(f"AT{name}=?" if "(" in line else f"AT{name}?", line), fields)


@pytest.mark.parametrize(
    "said",
    [
        '"10.1.2.3.255.255.255.0","10.1.2.1","10.9.9.1","10.9.9.2"',
        '"10.1.2.3","255.255.255.0","10.1.2.1","10.9.9.1","10.9.9.2"',
        "10.1.2.3.255.255.255.0,10.1.2.1,10.9.9.1,10.9.9.2,,,",
        '"10.1.2.3 255.255.255.0","10.1.2.1","10.9.9.1","10.9.9.2"',
    ],
)
def test_a_contexts_dynamic_values_are_told_of_either_release(said: str) -> None:
    piece = read("AT+CGCONTRDP=1", f'+CGCONTRDP: 1,5,"example.org.mnc001.mcc001.gprs",{said}')
    has(piece, {"cid": 1, "bearer_id": 5, "apn": "example.org.mnc001.mcc001.gprs", "address": "10.1.2.3"})
    has(piece, {"mask": "255.255.255.0", "gateway": "10.1.2.1", "dns": ["10.9.9.1", "10.9.9.2"]})


def test_dynamic_values_may_be_few_or_of_ipv6() -> None:
    has(read("AT+CGCONTRDP", '+CGCONTRDP: 1,5,""'), {"apn": None, "address": None, "dns": []})
    has(read("AT+CGCONTRDP", '+CGCONTRDP: 1,5,"a","10.1.2.3",,"10.9.9.1","10.9.9.2"'),
        {"gateway": None, "dns": ["10.9.9.1", "10.9.9.2"]})
    six = ".".join(["32.1.13.184", *["0"] * 11, "9"]), ".".join(["255"] * 8 + ["0"] * 8)
    has(read("AT+CGCONTRDP", f'+CGCONTRDP: 1,5,"a","{six[0]}.{six[1]}"'),
        {"address": "2001:db8::9", "mask": "ffff:ffff:ffff:ffff::"})
    for dotted in (f"{six[0]} {six[1]}", "2001:db8::9 ffff:ffff:ffff:ffff::"):
        has(read("AT+CGCONTRDP", f'+CGCONTRDP: 1,5,"a","{dotted}"'),
            {"address": "2001:db8::9", "mask": "ffff:ffff:ffff:ffff::"})
    assert address("192.168.97.2/30") == ("192.168.97.2", "30") and address("1.2.3.999") == (None, None)


@pytest.mark.parametrize(
    "said",
    [
        '"10.1.2.3","32.1.13.184.0.0.0.0.0.0.0.0.0.0.0.9","10.1.2.1","10.9.9.1","10.9.9.2"',
        '"10.1.2.3","255.255.255.0","2001:db8::9","10.1.2.1","10.9.9.1","10.9.9.2"',
        f'"10.1.2.3.255.255.255.0","32.1.13.184{".0" * 11}.9{".255" * 8}{".0" * 8}","10.1.2.1","10.9.9.1","10.9.9.2"',
        "10.1.2.3,2001:db8::9,10.1.2.1,10.9.9.1,10.9.9.2",
    ],
)
def test_a_second_address_is_no_gateway(said: str) -> None:
    piece = read("AT+CGCONTRDP=1", f'+CGCONTRDP: 1,5,"a",{said}')
    has(piece, {"address": "10.1.2.3", "addresses": ["10.1.2.3", "2001:db8::9"], "gateway": "10.1.2.1"})
    has(piece, {"dns": ["10.9.9.1", "10.9.9.2"]})
    assert "addresses" not in read("AT+CGCONTRDP=1", '+CGCONTRDP: 1,5,"a","10.1.2.3","10.1.2.1","10.9.9.1"').fields


# -- time -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "line", "told"),
    [
        ("AT+CCLK?", '+CCLK: "26/11/22,10:20:30+04"', "2026-11-22T10:20:30+01:00"),
        ("AT+CCLK?", '+CCLK: "26/11/22,10:20:30-32"', "2026-11-22T10:20:30-08:00"),
        ("AT+CCLK?", "+CCLK:   26/11/22,10:20:30+01", "2026-11-22T10:20:30+00:15"),
        ("AT+CCLK?", '+CCLK: "26/11/22,10:20:30"', "2026-11-22T10:20:30"),
        ("AT+CCLK?", '+CCLK: "2026/11/22,10:20:30+23"', "2026-11-22T10:20:30+05:45"),
        ("AT+CCLK?", '+CCLK: "80/01/06,00:00:05+00"', "1980-01-06T00:00:05+00:00"),
        ("AT+CCLK?", '+CCLK: "70/01/01,00:00:05"', "1970-01-01T00:00:05"),
        ("AT+CCLK?", '+CCLK: "26/02/30,10:20:30+04"', None),
        ("AT+CCLK?", '+CCLK: "XX/XX/XX,XX:XX:XX+XX"', None),
        ("AT+CCLK?", "+CCLK:", None),
        ("AT+CCLK?", '+CCLK: "26/11/22,10:20:30","+04"', "2026-11-22T10:20:30+01:00"),
        ("AT+CCLK?", '+CCLK: "26/11/22","10:20:30"', "2026-11-22T10:20:30"),
        ("AT+QLTS = 1", '+QLTS: "2026/11/22,09:20:30+04,0"', "2026-11-22T09:20:30+00:00"),
        ("AT+QLTS=1;+CSQ", '+QLTS: "2026/11/22,09:20:30+04,0"', "2026-11-22T09:20:30+00:00"),
        (None, '+CTZEU: "+04",0,"2026/11/22,09:20:30"', "2026-11-22T09:20:30+00:00"),
        (None, '+CTZV: "26/11/22,10:20:30",4', "2026-11-22T10:20:30"),
        ("AT+QLTS=2", '+QLTS: "2026/11/22,10:20:30+04,0"', "2026-11-22T10:20:30+01:00"),
        ("AT+QLTS=1", '+QLTS: "2026/11/22,09:20:30+04,0"', "2026-11-22T09:20:30+00:00"),
        ("AT+QLTS", '+QLTS: ""', None),
        (None, "^NWTIME:26/11/22,10:20:30+04,00", "2026-11-22T10:20:30+01:00"),
        (None, '^NWTIME: "26/11/22,10:20:30+4",00', "2026-11-22T10:20:30+01:00"),
        (None, '*PSUTTZ: 2026,11,22,9,20,30,"+4",0', "2026-11-22T09:20:30+00:00"),
        (None, '*PSUTTZ: 26/11/22,09:20:30","+4",0', "2026-11-22T09:20:30+00:00"),
        (None, '+CTZE: "+04",0,"2026/11/22,10:20:30"', "2026-11-22T10:20:30+01:00"),
        (None, "+CTZV: +04", None),
        (None, '+CTZV: "26/11/22,10:20:30+04,0"', "2026-11-22T10:20:30+01:00"),
        (None, '#NITZ: "26/11/22,10:20:30+04,0"', "2026-11-22T10:20:30+01:00"),
        (None, '+QNITZ: "26/11/22,10:20:30+32",0', "2026-11-22T10:20:30+08:00"),
    ],
)
def test_a_time_is_told_with_the_zone_that_was_told(command: str | None, line: str, told: str | None) -> None:
    has(read(command, line), {"iso8601": told})


def test_a_zone_is_told_in_minutes() -> None:
    has(read(None, "+CTZV: -22"), {"zone_min": -330})
    has(read(None, '+CTZV: "26/11/22,10:20:30-22"'), {"zone_min": -330})
    has(read(None, '+CTZV: 8,"26/11/22,10:20:30"'), {"zone_min": 120, "iso8601": "2026-11-22T10:20:30+02:00"})


# -- modes and errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("body", "fun"), [("1", 1), ("1,0", 1), ("0", 0), ("4,0", 4), (" 19", 19), ("x", None)])
def test_the_functionality_is_the_first_number(body: str, fun: int | None) -> None:
    has(read("AT+CFUN?", f"+CFUN: {body}"), {"fun": fun})


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("+CFUN: (0,1,4),(0,1)", {"fun": None, "funs": [0, 1, 4]}),
        ("+CFUN: 0,1,4", {"fun": None, "funs": [0, 1, 4]}),
        ('+QCSQ: "NOSERVICE","GSM","WCDMA","LTE"', {"rat": None, "act": None, "rsrp_dbm": None}),
        ("+CPSI: (1-255)", {"rat": None, "act": None}),
        ("+CSQ: 0,99", {"rssi_dbm": None}),
        ('+QENG: ("servingcell","neighbourcell")', {"cell": None}),
        ('+CGDCONT: (0-10),("IP","IPV4V6"),,,(0,1)', {"cid": None, "cid_max": 10, "pdp_type": None}),
    ],
)
def test_what_can_be_is_not_told_as_what_is(line: str, fields: dict[str, object]) -> None:
    piece = read(f"AT{line.partition(':')[0]}=?", line)
    assert piece.kind == "answer"
    has(piece, fields)


def test_whether_there_is_a_connection_stands_behind_the_mode_of_its_reports() -> None:
    has(read("AT+CSCON?", "+CSCON: 1,0"), {"connected": 0})
    has(read(None, "+CSCON: 1"), {"connected": 1})
    has(read("AT+CSQ", "+CSCON: 1,7"), {"connected": 1})


def test_the_number_of_a_socket_is_no_context() -> None:
    has(read(None, '+QIURC: "pdpdeact",1'), {"event": "pdpdeact", "cid": 1})
    has(read(None, '+QIURC: "closed",1'), {"event": "closed", "cid": None})


def test_a_value_beside_a_test_of_the_same_command_is_one() -> None:
    has(read("AT+CFUN=?;+CFUN?", "+CFUN: 1"), {"fun": 1})


@pytest.mark.parametrize(
    ("line", "sets"),
    [
        ("+WS46: (12,22,25,28,29)", ["2g", "3g", "2g 3g 4g", "4g", "2g 3g"]),
        ("+WS46: (12,22,25)", ["2g", "3g", "2g 3g"]),
        ("(12,22,29)", ["2g", "3g", "2g 3g"]),
        ("(28)", ["4g"]),
        ("+WS46: (29-31)", ["2g 3g", "2g 4g", "3g 4g"]),
        ("+WS46: (22,25,28,31,36-38)", ["3g", "2g 3g 4g", "4g", "3g 4g", "5g", "4g 5g", "3g 4g 5g"]),
        ("+WS46: (12,22,25,28,35)", ["2g", "3g", "2g 3g 4g", "4g", "2g 3g 4g 5g"]),
        ("+WS46: (12,22,25,29)", ["2g", "3g", "2g 3g"]),
        ("+WS46: (25)", ["2g 3g"]),
        ("+WS46: 12,22,25", ["2g", "3g", "2g 3g"]),
        ("+WS46: 25", ["2g 3g 4g"]),
        ("25", ["2g 3g 4g"]),
        ("+WS46: 31", ["3g 4g"]),
        ("+WS46: (1)", []),
    ],
)
def test_the_choice_of_radio_is_told_as_generations(line: str, sets: list[str]) -> None:
    told = read("AT+WS46=?", line).fields["mode_sets"]
    assert isinstance(told, list) and [" ".join(each) for each in told] == sets


@pytest.mark.parametrize(("line", "sign"), [("25", None), ("(25)", None), ("(12,22,25,28)", "AT+WS46=?")])
def test_25_alone_is_no_sign_of_an_lte_modem(line: str, sign: str | None) -> None:
    answer = Answered("AT+WS46=?", (read("AT+WS46=?", line),), final("OK"), True)
    assert questioned(Modem(), answer, "AT+WS46=?").evidence.lte == sign


@pytest.mark.parametrize("code", CME)
def test_every_equipment_error_is_known_by_number_and_by_words(code: int) -> None:
    fields = final(f"+CME ERROR: {code}")
    assert fields == {"final": "+CME ERROR", "error": "CME", "code": code, "name": CME[code]}
    by_words = final(f"+CME ERROR: {CME[code].upper()}")
    assert by_words and by_words["name"] == CME[code] and CME[code] == CME[int(str(by_words["code"]))]


@pytest.mark.parametrize("code", CMS)
def test_every_message_error_is_known_by_number_and_by_words(code: int) -> None:
    fields = final(f"+CMS ERROR:{code}")
    assert fields and (fields["error"], fields["code"], fields["name"]) == ("CMS", code, CMS[code])
    by_words = final(f"+CMS ERROR: {CMS[code]}")
    assert by_words and by_words["name"] == CMS[code]


@pytest.mark.parametrize(
    ("line", "error", "code", "name"),
    [
        ("ERROR", "ERROR", None, None),
        ("+CME ERROR: sim not inserted", "CME", 10, "SIM not inserted"),
        ("+CME ERROR: (U)SIM not inserted", "CME", 10, "SIM not inserted"),
        ("+CME ERROR: Network not allowed, emergency calls only", "CME", 32,
         "network not allowed - emergency calls only"),
        ("+CME ERROR: Unknown error", "CME", 100, "unknown"),
        ("+CME ERROR: 4711", "CME", 4711, None),
        ("+CME ERROR: 10, SIM not inserted", "CME", 10, "SIM not inserted"),
        ("+CME ERROR: 3 (operation not allowed)", "CME", 3, "operation not allowed"),
        ("+CME ERROR: Illegal MS (#3)", "CME", 103, "illegal MS"),
        ("+CME ERROR: something of ours", "CME", None, "something of ours"),
        ("+CME ERROR:", "CME", None, None),
        ("+CMS ERROR: 500", "CMS", 500, "unknown error"),
        ("+CMS ERROR: SIM PIN required", "CMS", 311, "(U)SIM PIN required"),
        ("COMMAND NOT SUPPORT", "ERROR", None, "COMMAND NOT SUPPORT"),
        ("MODEM ERROR: 5", "ERROR", 5, None),
        ("NO CARRIER", "NO CARRIER", None, None),
    ],
)
def test_an_error_is_told_with_number_and_name(line: str, error: str, code: int | None, name: str | None) -> None:
    fields = final(line)
    assert fields and (fields["error"], fields["code"], fields["name"]) == (error, code, name)


def test_a_connection_may_tell_its_speed() -> None:
    assert final("CONNECT 115200") == {"final": "CONNECT", "error": None, "speed": "115200"}
    assert final("CONNECTED") is None and final("OKAY") is None


# -- the parts --------------------------------------------------------------------------------------------------------


def test_commas_divide_outside_of_quotes_and_parentheses_only() -> None:
    assert split('1,"a,b",(0,1),,c d , "e') == ["1", '"a,b"', "(0,1)", "", "c d", '"e']
    assert split("") == [""] and numbers("(0,1,4-6),(1)") == [0, 1, 4, 5, 6]


@settings(max_examples=20)
@given(st.text("0123456789", min_size=14, max_size=14))
def test_a_check_digit_catches_any_wrong_digit(digits: str) -> None:
    whole = next(f"{digits}{d}" for d in range(10) if luhn(f"{digits}{d}"))
    for index, digit in enumerate(whole):
        wrong = whole[:index] + str((int(digit) + 3) % 10) + whole[index + 1 :]
        assert not luhn(wrong)


def test_letters_that_could_be_ucs2_and_are_not_stay_what_they_are() -> None:
    assert [ucs2(said) for said in ("DECADE", "262011", "Example", "00000000", "FACEFACE")] == [
        "DECADE", "262011", "Example", "00000000", "FACEFACE",
    ]  # fmt: skip


# -- anything ---------------------------------------------------------------------------------------------------------

BODIES = st.text(st.sampled_from('0123456789ABCDEFx,,,,"":.-/+() READYSIMPINLTEOnlineIPNW\u00e9\u0660'),
    max_size=60) | st.text(max_size=30)
NAMES = sorted(KNOWN)
KINDS = ("echo", "answer", "URC", "final", "stray", "unknown")


@pytest.mark.promise("S9")
@settings(deadline=None)
@given(BODIES, st.sampled_from(["?", "=?", "=1", ""]), st.booleans())
def test_no_body_of_any_known_prefix_raises_or_is_lost(body: str, form: str, is_ours: bool) -> None:
    for name in NAMES:
        wire = f"\r\n{name}: {body}\r\n".encode("utf-8", "surrogatepass")
        found = pieces(f"AT{name}{form}" if is_ours else None, wire)
        assert found and all(piece.kind in KINDS for piece in found), name
        json.dumps([as_json(piece) for piece in found], allow_nan=False)


@pytest.mark.promise("S9")
@settings(deadline=None)
@given(st.sampled_from(sorted({*BARE, *FREE, "", "+CREG", "D*99#"})), st.text(string.printable, max_size=60))
def test_no_line_of_any_command_raises(name: str, wire: str) -> None:
    json.dumps([as_json(piece) for piece in pieces(f"AT{name}", wire.encode())], allow_nan=False)


@pytest.mark.promise("S9")
@pytest.mark.parametrize("junk",
    ["(", '"', '("', "(1,", "+CREG: 1", "OK+A:", '"+A:',
     " ", ",", "1,", "(1,\"a\",", "0-9,", "9", ": ", "+", "1.", "A:", "/", "26/11/22, "])
def test_no_line_takes_long_to_read(junk: str) -> None:
    """Eight thousand characters of anything, in milliseconds: no expression goes back and forth."""
    long = (junk * 8_000)[:8_000]
    for name in ("+COPS", "+CCLK", "+CREG", "+CGEV", "+QENG", "+CCID", "+CGPADDR", "+WS46", "+CTZE", "+CME ERROR",
        "+CGSN", "+CGMM", "#MONI"):
        pieces(f"AT{name}=?", f"{name}: {long}\r\n{long}\r\n{name}: (1,{long}x\r\n".encode())
    command_of(f"AT{long}")


def test_every_parser_is_one_that_somebody_can_find() -> None:
    assert len(PARSERS) > 80 and len(KNOWN) > 250 and all(name == name.upper() for name in KNOWN)
