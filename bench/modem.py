"""What reading a modem costs: bytes to lines to pieces with their fields, of a session as the station has all day."""

from agent.modem.lines import Framer
from agent.modem.reading import Reader
from bench.figure import Figures, figure, timed

OK = b"\r\nOK\r\n"
SESSION: tuple[tuple[str, bytes], ...] = (
    ("AT+CREG?", b'\r\n+CREG: 2,1,"1A2B","01C3D4E5",7\r\n' + OK),
    ("AT+CEREG?", b'\r\n+CEREG: 5,1,"1A2B","01C3D4E5",7,,,"00100100","10100101"\r\n' + OK),
    ("AT+CSQ", b"\r\n+CSQ: 20,99\r\n" + OK),
    ("AT+CESQ", b"\r\n+CESQ: 99,99,255,255,20,60\r\n" + OK),
    ("AT+COPS?", b'\r\n+COPS: 0,0,"Example Tel",7\r\n' + OK),
    ("AT+CPIN?", b"\r\n+CPIN: READY\r\n" + OK),
    ("AT+CGPADDR=1", b'\r\n+CGEV: ME PDN ACT 1\r\n\r\n+CGPADDR: 1,"10.1.2.3"\r\n' + OK),
    ("AT+CCLK?", b'\r\n+CCLK: "26/11/22,10:00:00+04"\r\n' + OK),
    ("AT+CCID", b"\r\n+CCID: 89490000123456789035\r\n" + OK),
    ("AT+CGSN", b"\r\n490154203237518\r\n" + OK),
    ('AT+QENG="servingcell"',
     b'\r\n+QENG: "servingcell","NOCONN","LTE","FDD",001,01,1A2B3C,20,3350,7,5,5,3AC9,-86,-13,-52,15,-\r\n' + OK),
    ("AT+CGATT?", b"\r\n+CME ERROR: 14\r\n"),
)  # fmt: skip
CHUNK_B = 8  # what a slow UART gives at once
TARGET_US = 20.0  # 50,000 lines a second


def modem() -> Figures:
    framer, reader = Framer(), Reader()
    counted = 0

    def session(size: int) -> None:
        nonlocal counted
        for command, wire in SESSION:
            reader.begin(command)
            for at in range(0, len(wire), size):
                for line in framer.feed(wire[at : at + size]):
                    counted += len(reader.read(line))

    figures: Figures = {}
    for name, size in (("modem_line_us", 4_096), ("modem_line_chunked_us", CHUNK_B)):
        counted = 0
        session(size)
        lines = counted
        measured = [us / lines for us in timed(lambda size=size: session(size), 300, 5)]  # type: ignore[misc]
        note = f"framer, reader, parsers, mean of {lines} lines, {size} bytes a read; 20 us are 50,000 lines a second"
        figures[name] = figure(measured, "us", TARGET_US if size > CHUNK_B else None, note)
    return figures
