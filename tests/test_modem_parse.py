"""Whose line is it: the pieces of raw text after a command, and `station-agent modem parse`."""

import io
import json
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.cli import main
from agent.modem.lines import Framer
from agent.modem.parse import LINE_MAX, answers, parsed, pieces
from agent.modem.reading import Piece, Reader

OK = "\r\nOK\r\n"


def kinds(command: str | None, wire: str) -> list[str]:
    return [piece.kind for piece in pieces(command, wire.encode())]


# -- whose line -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("echo", ["", "AT+CSQ\r", "AT+CSQ\r\n", "at+csq\r\r\n", "T+CSQ\r"])
@pytest.mark.parametrize("end", ["\r\n", "\r", "\n", "\r\r\n"])
def test_an_echo_is_told_from_an_answer_whatever_ends_the_lines(echo: str, end: str) -> None:
    expected = ["echo", "answer", "final"] if echo else ["answer", "final"]
    assert kinds("AT+CSQ", f"{echo}{end}+CSQ: 20,99{end}{end}OK{end}") == expected


def test_an_echo_may_have_its_answer_on_the_same_line() -> None:
    assert kinds("AT+CSQ", "AT+CSQ+CSQ: 20,99\r\nOK\r\n") == ["echo", "answer", "final"]
    assert kinds("AT", "ATOK\r\n") == ["echo", "final"]


def test_an_end_without_a_line_end_is_a_line() -> None:
    assert kinds("AT+CSQ", "\r\n+CSQ: 20,99\r\n\r\nOK") == ["answer", "final"]


def test_a_second_result_is_stray() -> None:
    assert kinds("AT+CSIM=1", f"\r\n+CSIM: 4,6800\r\n{OK}\r\nERROR\r\n") == ["answer", "final", "stray"]


def test_a_result_that_nobody_waits_for_is_stray_and_the_end_of_a_call_is_a_urc() -> None:
    assert kinds(None, f"{OK}\r\n+CME ERROR: 10\r\n\r\nNO CARRIER\r\n\r\nRING\r\n") == ["stray", "stray", "URC", "URC"]


def test_the_end_of_a_call_ends_no_other_command() -> None:
    assert kinds("AT+CSQ", f"\r\nNO CARRIER\r\n\r\n+CSQ: 20,99\r\n{OK}") == ["URC", "answer", "final"]
    assert kinds("ATD*99#", "\r\nNO CARRIER\r\n") == ["final"]


def test_an_answer_to_another_command_is_stray_and_so_is_the_result_behind_it() -> None:
    late = '\r\n+COPS: (2,"Example","Ex","00101",7)\r\n'
    assert kinds("AT+CSQ", f"{late}{OK}\r\n+CSQ: 20,99\r\n{OK}") == ["stray", "stray", "answer", "final"]
    wire = f'\r\n+CRSM: 144,0,""\r\n{OK}\r\n001010123456789\r\n{OK}'
    assert kinds("AT+CIMI", wire) == ["stray", "stray", "answer", "final"]


def test_what_only_sets_something_may_have_the_result_behind_a_stray_line() -> None:
    """AT+CMEE=1 has no answer of its own: nothing says that the OK is not its."""
    assert kinds("AT+CMEE=1", f"\r\n+CSQ: 20,99\r\n{OK}") == ["stray", "final"]


@pytest.mark.parametrize(
    ("command", "line", "kind"),
    [
        ("AT+CREG?", "+CREG: 0,1", "answer"),
        ("AT+CREG?", "+CREG: 1", "URC"),
        ("AT+CREG=2", "+CREG: 2,1", "URC"),
        ("AT+CGREG?", "+CREG: 0,1", "stray"),  # <n> is in answers alone, and nobody has asked for this one
        ("AT+CGREG=2", "+CREG: 0,1", "URC"),
        ("AT+CPIN?", "+CPIN: READY", "answer"),
        ('AT+CPIN="1234"', "+CPIN: READY", "URC"),
        ("AT+CFUN=1", "+CPIN: READY", "URC"),
        ("AT+CFUN=1", "+CFUN: 1", "URC"),
        ("AT+CFUN?", "+CFUN: 1", "answer"),
        ("AT+CGDCONT?", "+CGEV: NW DETACH", "URC"),
        ("AT+CCID", "89490000123456789035", "answer"),
        ("AT+CCID", "001010123456789", "unknown"),
        ("AT+CIMI", "001010123456789", "answer"),
        ("AT+CSQ", "001010123456789", "unknown"),
        (None, "001010123456789", "unknown"),
        ("AT+CGMM", "RDY", "URC"),
        ("AT+CGMM", "LX 1", "answer"),
        ("AT+CGMM", "+CSQ: 20,99", "stray"),
        ("AT+FOO?", "+FOO: 1", "answer"),
        ("AT+FOO?", "+BAR: 1", "unknown"),
        ("AT+FOO?", "bar", "unknown"),
        (None, "+CSQ: 20,99", "URC"),  # SIMCom reports it by itself
        (None, "+CGMM: LX1", "stray"),
        (None, "AT+CREG?", "echo"),
        ("AT+CPMS?", "ATE0+CPMS?", "echo"),  # ZTE MF710M
        (None, "ATTACHED", "unknown"),
        ("AT+CSQ;+CREG?", "+CREG: 0,1", "answer"),
        ("ATE0V1+CMEE=1;+CREG?", "+CREG: 0,1", "answer"),
        ("AT+CREG=2;+CREG?;+CMEE=1", "+CREG: 2,1", "answer"),
        ("AT+COPS=3,0;+COPS?;+COPS=3,2;+COPS?", '+COPS: 0,2,"00101",7', "answer"),
        ("AT + CSQ", "+CSQ: 20,99", "answer"),
        ("AT&FE0;I", "Example", "answer"),
        ("ATI", "IMEI: 490154203237518", "answer"),
        ("AT+COPS=?", '(1,"Beta",,"00102",0)', "answer"),
        ("AT+COPS?", '+COPS: (1,"Beta",,"00102",0),,(0-4),(0-2)', "stray"),  # it takes minutes: a late one
        ("AT+COPS=?", '+COPS: 0,0,"Beta",7', "stray"),
        ("AT+COPS=?", "+COPS:", "answer"),
        ("AT+CREG?", "+CREG: (0-2)", "stray"),
        ("AT+CSQ", '(1,"Beta",,"00102",0)', "stray"),
        ("AT+CSQ", "CSQ: 20,99", "answer"),
        ("AT+CSQ", "+CSQ 20,99", "answer"),
        (None, "+SAPBR 1: DEACT", "URC"),
        (None, '+QIURC: "pdpdeact",1', "URC"),
        ("AT", "0", "final"),
        ("AT", "4", "final"),
        ("AT+CSQ", "0", "unknown"),
        ("AT+CSQ", "4", "final"),
        ("AT+CGSN", "4", "final"),
        ("AT+WS46?", "4", "unknown"),
        ("AT+FOO?", "4", "unknown"),
        ("AT+CSQ", "3", "unknown"),
        ("ATD*99#", "3", "final"),
        ("ATS3?", "013", "answer"),
        (None, "START", "URC"),
        (None, "^boot.rom'v'!\\n", "URC"),  # its makers have printed what they meant to print
        ("AT+CREG=2", "\u00ffOK", "final"),
        ("ATI", "\u00ffOK", "answer"),
        ("AT+CREG?", "+CREG: 0,1\u00ff", "answer"),
        ("AT+CREG?", "+CREG: 0,\x001", "answer"),
        ("AT", "ATAT", "echo"),
        ("AT+CREG?", "\u2592\u2592AT+CREG?", "echo"),  # with noise in front
        ("AT+CREG?", "\u00fe+CREG: 0,1", "answer"),
        (None, "\u00fe\u00ff+CREG: 1", "URC"),
        ("AT+CREG?", "x+CREG: 0,1", "unknown"),  # a letter is no noise
        (None, "+PACSP1", "URC"),
        (None, "^SYSSTART AIRPLANE MODE", "URC"),
        (None, '%NWTIME: "26/11/22,10:20:30+04"', "URC"),
        ("AT+GSN", "+MEID: A1000013FB653A", "answer"),
        ("AT+GSN", "+UEID: A1000013FB653A", "unknown"),
        ("AT+CGSN=0", "MT1234567", "answer"),
        ("AT+CGSN", "MT1234567", "unknown"),
        ("AT+CIPSHUT", "SHUT OK", "final"),
        ("AT+CIPSEND", "1, SEND FAIL", "final"),
        ("AT+CSQ", "SEND OK", "URC"),
        (None, "SEND OK", "URC"),
        ("AT+USOWR=0,3", "@", "answer"),
        ("AT+CSQ", "@", "unknown"),
        ("ATE0", "0", "final"),
        ("AT+CREG=2", "4", "final"),
        ("ATS0?", "0", "unknown"),  # the register's value, or a result
        (None, "+CREG", "unknown"),
        (None, "+CPIN", "unknown"),
    ],
)
def test_a_line_is_given_by_its_prefix_its_shape_and_what_was_asked(command: str | None, line: str, kind: str) -> None:
    assert kinds(command, f"\r\n{line}\r\n") == [kind]


DETAILED = '+CMT: "+49",,"26/11/22,10:00:00+04",145,4,0,0,"+49",145'
# Command, what came, and the first letter of each piece's kind; "f" is the final.
STORIES = [
    # A late answer whose prefix may be a URC's: its OK ends the command before.
    ("AT+CEREG?", "+CREG: 0,1|OK|+CEREG: 0,5|OK", "ssaf"),
    ("AT+CSQ", '+CREG: 2,1,"1A2B","01C3D4E5",7|OK|+CSQ: 15,99|OK', "ssaf"),
    ("AT+CIMI", "+CGREG: 0,1|OK|001010123456789|OK", "ssaf"),
    ("AT+CSQ", "+CPIN: READY|OK|+CSQ: 15,99|OK", "Usaf"),
    ("AT+CSQ", "+CFUN: 1|OK|+CSQ: 15,99|OK", "Usaf"),
    ("AT+CSQ", "001010123456789|OK|+CSQ: 15,99|OK", "usaf"),
    # A URC is still one, and ends nothing.
    ("AT+CSQ", "+CREG: 1|OK", "Uf"),
    ("AT+CSQ", "+CPIN: READY|+CSQ: 15,99|OK", "Uaf"),
    ("AT+CSQ", "+CSQ: 15,99|+CREG: 2,1|OK", "aUf"),
    ("AT+CGDCONT?", "+CPIN: READY|OK", "Uf"),  # a modem may know no context
    ("AT+CFUN=1", "+CPIN: READY|OK", "Uf"),
    ("AT+CSQ", "+CPIN: READY|ERROR", "Uf"),
    ("AT+CPIN?", "^CPIN: SIM PIN,3,10,3,10,3|OK", "Uf"),
    ("AT+GSN", "+CPIN: READY|+UEID: A1000013FB653A|OK", "Uuf"),  # it may be the answer
    # The text of a stored message is no word of the modem's.
    ("AT+CMGR=1", '+CMGR: "REC READ","+49",,"26/11/22,10:00:00+04"|OK|OK', "aaf"),
    ("AT+CMGR=1", '+CMGR: "REC READ","+49",,"26/11/22,10:00:00+04"|x|+CREG: 3|RDY|NO CARRIER|OK', "aaaaaf"),
    ("AT+CMGR=1", '+CMGR: "REC READ","+49",,"26/11/22,10:00:00+04"|>RDY|OK', "aaaf"),
    ("AT+CMGL", '+CMGL: 1,"REC READ","+49"|RDY|+CMGL: 2,"REC READ","+49"|+CREG: 3|OK|RDY', "aaaafU"),
    ("AT+CMGL=4", "+CMGL: 1,1,,24|0791AA|+CMGL: 2,1,,24|0791AA|+CREG: 3|OK", "aaaaUf"),  # a PDU has one line
    ("AT+CMGR=1", "+CMGR: 0,,0|OK", "af"),
    ("AT+CMGR=1", '+CMGR: "REC READ",6,12,"+49",145,"26/11/22,10:00:00+04","26/11/22,10:00:05+04",0|OK', "af"),
    ("AT+CMGR=1", "+CMGR: 1,,24|+CME ERROR: 10|+CME ERROR: 10", "aaf"),
    ("AT+CMGL=?", '+CMGL: ("REC READ","ALL")|OK', "af"),
    ("AT+CSQ", '+CMGR: "REC READ","+49"|RDY|OK|+CSQ: 15,99|OK', "sssaf"),
    (None, '+CMGR: "REC READ","+49"|RDY|RDY', "ssU"),
    (None, "+CMT: ,24|>RDY|RDY", "UUUU"),
    ("AT+CSQ", '+CDS: 6,12,"+49",145,"26/11/22,10:00:00+04","26/11/22,10:00:05+04",0|OK', "Uf"),  # told as text
    ("AT+CSQ", "+CDS: 24|OK|OK", "UUf"),
    ("AT+CSQ", f"{DETAILED},11|OK|RDY|last|OK", "UUUUf"),  # its length says how much of it is text
    ("AT+CSQ", f"{DETAILED},7|hello|OK", "UUf"),  # blanks at its end were lost
    (None, f"{DETAILED},3|004100420043|RDY", "UUU"),
    (None, f"{DETAILED},9|>OK|RDY|+CREG: 1", "UUUUU"),
    ("AT+CUSD=1", '+CUSD: 0,"a|RDY|+CREG: 3|b",15|OK|RDY', "UUUUfU"),  # so is what a network says
    ("AT+CSQ", '+CUSD: 0,"a|OK|RDY', "UfU"),
    (None, '+CUSD: 0,"a",15|RDY', "UU"),
    # Line ends that were lost.
    ("AT+CSQ", "+CSQ: 15,99OK|+CREG: 1", "afU"),
    ("AT+CSQ", "AT+CSQ+CSQ: 15,99OK", "eaf"),
    ("AT+CPIN?", "+CPIN: READYOK", "af"),
    ("AT+CREG?", '+CREG: 2,1,"1A2B","01C3D4E5",7OK', "af"),
    ("AT+CGSN", "490154203237518OK", "af"),
    ("AT+CFUN?", "+CFUN: 1ERROR", "af"),
    ("AT+CSQ", "+CSQ: 15,99|OK+CREG: 1", "afU"),
    (None, "OK+CREG: 1", "sU"),
    ("AT+CSQ", "+CSQ: 15,99 OK", "af"),
    ("AT+CSQ", "+CREG: 1+CSQ: 15,99OK", "Uaf"),
    ("AT+CSQ", "+CSQ: 15,99+CREG: 1|OK", "aUf"),
    ("AT+CPIN?", "+CPIN: READY+QUSIM: 1|OK", "aUf"),
    ("AT+CREG?", "+CREG: 0,1+CME ERROR: 3", "af"),
    (None, "+CREG: 1+CGREG: 1+CEREG: 1", "UUU"),
    ("AT+COPS?", '+COPS: 0,0,"a+CREG: 1",7|OK', "af"),
    ("ATI", "Model: +GMI: A1+GMM: B|OK", "af"),
    ("AT+COPS?", "+COPS: 0,0,ROOK|OK", "af"),  # a name may end so
    ("AT+COPS?", '+COPS: 0,0,"9OK|OK', "af"),
    ("AT+CGSN=0", "MT1234OK|OK", "af"),
    ("AT+CGMI", "BR0OK|OK", "af"),
    ("AT+CSQ", "+CREG: 1OK|+CSQ: 15,99|OK", "Uaf"),  # nobody has asked for it
    # An echo that a URC has cut.
    ("AT+CSQ", "AT+C|+CREG: 2|SQ|+CSQ: 15,99|OK", "eUeaf"),
    ("AT+CSQ", "AT|+CREG: 2|+C|+CGREG: 2|SQ+CSQ: 15,99|OK", "eUeUeaf"),
    ("AT+CFUN=1", "AT+CFUN=|+CPIN: READY|1|OK", "eUef"),
    ("AT+CSQ", "AT+C|+CSQ: 15,99|SQ|OK", "eauf"),  # the rest of an echo does not come behind the answer
    # Lists of commands, and of settings.
    ("AT+CLAC", "AT+CLAC|+CREG|+CSQ|&F|D|AT+CREG|+CLAC|OK", "eaaaaaaf"),
    ("AT+CLAC", "+CSQ|RING|+CREG: 1|RDY|NO CARRIER|OK", "aUUUUf"),
    ("AT&V", 'ACTIVE PROFILE:|E1 Q0|S0:000|+CREG: 0,1|+CREG: 2|+COPS: 0,0,"X"|OK', "aaaaaaf"),
    ("AT&V", '+CMEE: 1|+CGEV: NW DETACH|+CMTI: "SM",3|RDY|OK', "aUUUf"),
    # Results of other words, prompts, digits.
    ("AT+QISEND=0", "> |SEND OK", "af"),
    ("AT+CSQ", "+CSQ: 3,99|0", "af"),
    ("AT+CGSN", "490154203237518|0", "af"),
    ("ATS0?", "000|0", "af"),
    ("AT+CSQ", "0|OK", "uf"),
    ("AT+WS46?", "25|0|OK", "auf"),
]


@pytest.mark.promise("S9")
@pytest.mark.parametrize(("command", "said", "told"), STORIES)
def test_no_line_is_given_to_a_command_or_to_the_modem_that_is_not_its(
    command: str | None, said: str, told: str
) -> None:
    assert "".join(kind[0] for kind in kinds(command, said.replace("|", "\r\n"))) == told


def test_the_end_of_another_word_is_told_with_its_word() -> None:
    assert pieces("AT+QISEND=0", b"SEND OK")[0].fields == {"final": "SEND OK", "error": None}
    assert pieces("AT+CIPSEND", b"0, send fail")[0].fields == {"final": "SEND FAIL", "error": "SEND FAIL"}


def test_the_text_of_a_message_never_tells_a_start_or_a_registration() -> None:
    said = b'+CMGL: 1,"REC UNREAD","+49"\r\nRDY\r\n+CREG: 3\r\n>\r\nPOWERED DOWN\r\n\r\nOK\r\n'
    assert all(not {"boot", "stat"} & piece.fields.keys() for piece in pieces('AT+CMGL="ALL"', said))
    assert all("boot" not in piece.fields for piece in pieces(None, b'+CMT: "+49",,"x"\r\n>RDY\r\n'))


def test_lines_without_a_prefix_are_given_to_several_commands_in_turn() -> None:
    wire = "\r\nExample\r\nLX-1\r\n001010123456789\r\n490154203237518\r\n\r\nOK\r\n"
    *told, last = pieces("AT+CGMI;+CGMM;+CIMI;+CGSN", wire.encode())
    assert [piece.kind for piece in told] == ["answer"] * 4 and last.kind == "final"
    names = ("manufacturer", "model", "imsi", "imei")
    assert [piece.fields.get(name) for piece, name in zip(told, names, strict=True)] == [
        "Example", "LX-1", "001010123456789", "490154203237518",
    ]  # fmt: skip
    early, late, _ = pieces("AT+CGSN;+CGMM", b"LX-1\r\n490154203237518\r\nOK\r\n")  # in another order
    assert early.fields == {"model": "LX-1"} and late.fields["imei"] == "490154203237518"


def test_the_text_of_a_message_is_no_result() -> None:
    assert kinds("AT+CSQ", f'\r\n+CMT: "+49","","26/11/22,10:00:00+04"\r\nOK\r\n\r\n+CSQ: 20,99\r\n{OK}') == [
        "URC", "URC", "answer", "final",
    ]  # fmt: skip


def test_a_prompt_is_an_answer() -> None:
    assert kinds("AT+CMGS=12", "\r\n> ") == ["answer"] and kinds(None, "\r\n> ") == ["stray"]


def test_a_start_in_the_middle_is_told() -> None:
    found = pieces("AT+COPS=?", b"\r\nRDY\r\n\r\n+CPIN: READY\r\n\r\nPB DONE\r\n")
    assert [piece.kind for piece in found] == ["URC"] * 3
    assert [piece.fields["boot"] for piece in found] == ["sure", "likely", "likely"]


SAID = st.lists(
    st.sampled_from(
        ["+CREG: 0,1", "+CREG: 5", "OK", "ERROR", "+CME ERROR: 10", "AT+CREG?", "RDY", "> ", "", "+CSQ: 20,99", "what",
         "NO CARRIER", '+COPS: (2,"A","B","00101",7)', "490154203237518", "+CMT: ,24",
         "89490000123456789035", "+CGEV: NW DETACH"]
    ), max_size=12,
).map("\r\n".join)  # fmt: skip


@pytest.mark.promise("S9")
@settings(deadline=None)
@given(SAID, st.sampled_from(["AT+CREG?", "AT+CGSN", "ATI", "AT"]), st.integers(1, 7))
def test_every_cut_gives_the_same_pieces(wire: str, command: str, size: int) -> None:
    def cut(data: bytes, size: int) -> list[Piece]:
        framer, reader = Framer(), Reader()
        reader.begin(command)
        chunks = [data[i : i + size] for i in range(0, len(data), size)]
        lines = [line for chunk in chunks for line in framer.feed(chunk)] + framer.flush()
        return [piece for line in lines for piece in reader.read(line)]

    data = wire.encode()
    assert cut(data, size) == cut(data, 1) == pieces(command, data)


@settings(deadline=None)
@given(SAID, st.sampled_from(["AT+CREG?", "AT+CGSN", "AT+CSQ"]))
def test_there_is_one_final_result_at_most_and_no_answer_behind_it(wire: str, command: str) -> None:
    found = kinds(command, wire)
    assert found.count("final") <= 1
    assert "final" not in found or "answer" not in found[found.index("final") :]


# -- the tool ---------------------------------------------------------------------------------------------------------


def told(line: str | bytes) -> dict[str, object]:
    found = json.loads(parsed(line if isinstance(line, bytes) else line.encode()))
    assert isinstance(found, dict)
    return found


def test_a_request_is_answered_by_its_pieces() -> None:
    found = told(json.dumps({"command": "AT+CREG?", "wire": f'\r\n+CREG: 2,1,"1A2B","01C3D4E5",7\r\n{OK}'}))
    assert found == {
        "pieces": [
            {"kind": "answer", "text": '+CREG: 2,1,"1A2B","01C3D4E5",7', "prefix": "+CREG", "n": 2, "stat": 1,
             "lac": 0x1A2B, "ci": 0x01C3D4E5, "act": 7},
            {"kind": "final", "text": "OK", "prefix": None, "final": "OK", "error": None},
        ]
    }  # fmt: skip


@pytest.mark.promise("S9")
@pytest.mark.parametrize(
    ("number", "line"),
    [*enumerate(
        ["", "x", "{", "[]", "null", "1e999", '"AT"', "{}", '{"command": "AT"}', '{"wire": ""}', b"\xff\xfe", b"\0",
         '{"command": 1, "wire": ""}', '{"command": null, "wire": null}', '{"command": null, "wire": ["OK"]}',
         "[" * 100_000, "9" * 10_000, '{"command": "AT", "wire": "OK"',
         b'{"command": null, "wire": "' + b"x" * LINE_MAX + b'"}']
    )],
    ids=lambda value: str(value) if isinstance(value, int) else "",
)  # fmt: skip
def test_a_line_that_is_no_request_gives_one_sentence(number: int, line: str | bytes) -> None:
    found = told(line)
    assert found["pieces"] == [] and "type {" in str(found["error"]) and "Traceback" not in str(found["error"])


@pytest.mark.parametrize(
    "wire", ["\ud800", "\x00", "\x1b[2J", "\u2028OK", "é", "\U0001f50c", '"' * 100, "\r" * 1000, ""], ids=ascii
)
def test_any_text_at_all_may_be_on_the_wire(wire: str) -> None:
    found = told(json.dumps({"command": "AT+CREG?", "wire": wire}))
    assert "error" not in found


def test_text_is_the_whole_line_of_every_piece() -> None:
    found = told(json.dumps({"command": "AT+CTZR?", "wire": "+CTZR: 1\r\nPB DONE\r\n+CMEE: 2\r\nwhat\r\nOK"}))["pieces"]
    assert isinstance(found, list)
    assert [each["text"] for each in found] == ["+CTZR: 1", "PB DONE", "+CMEE: 2", "what", "OK"]


@pytest.mark.promise("S9")
@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=60).filter(lambda line: b"\n" not in line), max_size=6))
def test_each_line_in_gives_exactly_one_line_out(lines: list[bytes]) -> None:
    stream = io.BytesIO(b"".join(line + b"\n" for line in lines))
    found = list(answers(stream.readline))
    assert len(found) == len(lines) and all("\n" not in line and isinstance(json.loads(line), dict) for line in found)


def test_a_line_beyond_the_bound_is_one_error_and_the_next_one_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.modem.parse.LINE_MAX", 100)
    good = b'{"command": null, "wire": "RING"}\n'
    stream = io.BytesIO(b"x" * 1_000 + b"\n" + good + b"y" * 100 + b"\n" + good)
    found = [json.loads(line) for line in answers(stream.readline)]
    assert ["error" in each for each in found] == [True, False, True, False]


def test_the_command_line_reads_and_writes_json_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = b'{"command": "AT+CPIN?", "wire": "+CPIN: SIM PIN\\r\\nOK"}\n\n{"command": null, "wire": "PB DONE"}'
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(said)))
    assert main(["modem", "parse"]) == 0
    first, second, third = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["pieces"][0]["lock"] == "SIM PIN" and "error" in second and third["pieces"][0]["kind"] == "URC"
