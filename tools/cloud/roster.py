"""The drivers as a CSV file, as a person or a spreadsheet writes it: what is written here is read back the same."""

import csv
import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tools.cloud.drivers import GROUPS_MAX, Driver, State, canonical_token
from tools.cloud.errors import OperatorError
from tools.cloud.referee import id_token_statuses
from tools.cloud.wire import Malformed, format_time, parse_time

COLUMNS = ("idToken", "groups", "status", "expiry", "language", "name", "state")
WRONG_MAX = 20                          # lines named in one error
A_NUMBER = re.compile(r"[0-9]+[.,]?[0-9]*E\+?[0-9]+", re.IGNORECASE)
AS_TEXT = "format the column as text, and enter it again"


def read_file(path: Path) -> list[Driver]:
    """OperatorError."""
    try:
        return read_drivers(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise OperatorError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise OperatorError(f"line {line}: no UTF-8: save it as »CSV UTF-8«; nothing imported") from None
    except OperatorError as error:
        raise OperatorError(f"{path}: {error}") from None


def read_drivers(text: str) -> list[Driver]:
    """The drivers of a CSV file, with commas, semicolons or tabs. Raises OperatorError naming each bad line."""
    text = text.removeprefix("\ufeff")
    (head,) = re.split(r"[\r\n]", text, maxsplit=1)[:1]
    rows = csv.reader(
        io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count), skipinitialspace=True, strict=True
    )
    try:
        return _read_rows(rows, read_header(next(rows, [])))
    except csv.Error as error:
        raise OperatorError(f"line {rows.line_num}: {error}; nothing imported") from None


def read_header(cells: list[str]) -> list[str]:
    known = {name.lower(): name for name in COLUMNS}
    header = [known.get(cell.strip().lower(), cell) for cell in cells]
    if "idToken" not in header or not set(header) <= set(COLUMNS) or len(set(header)) < len(header):
        raise OperatorError(f"the first line must name columns, each once: idToken, any of {', '.join(COLUMNS[1:])}")
    return header


def _read_rows(rows: Any, header: list[str]) -> list[Driver]:
    drivers: list[Driver] = []
    lines: dict[str, int] = {}          # where each card stands
    bad: list[str] = []
    line = rows.line_num + 1            # a quoted cell may have several
    for cells in rows:
        try:
            if cells := [cell.strip() for cell in cells] if any(map(str.strip, cells)) else []:
                if len(cells) != len(header):
                    raise OperatorError(f"{len(cells)} columns where the first line names {len(header)}; quote \"a,b\"")
                driver = read_driver(dict(zip(header, cells, strict=True)))
                if (first := lines.setdefault(driver.id_token, line)) != line:
                    raise OperatorError(f"{driver.id_token} stands in line {first}, too: take one of them out")
                drivers.append(driver)
        except OperatorError as error:
            bad.append(f"line {line}: {error}")
        line = rows.line_num + 1
    if bad:
        more = [f"and {len(bad) - WRONG_MAX} more"] if len(bad) > WRONG_MAX else []
        raise OperatorError("; ".join((*bad[:WRONG_MAX], *more, "nothing imported")))
    return drivers


def read_driver(row: dict[str, str]) -> Driver:
    """From texts by column; a missing one is empty. Raises OperatorError saying what to write instead."""
    token = canonical_token(row["idToken"])
    if token is None:
        raise OperatorError(no_card(row["idToken"]))
    expiry_ms = read_expiry(row["expiry"]) if row.get("expiry") else None
    status, state = row.get("status") or "Accepted", row.get("state") or State.APPROVED
    if status not in id_token_statuses():
        raise OperatorError(f"status {status!r} is none of {', '.join(id_token_statuses())}")
    if state not in tuple(State):
        raise OperatorError(f"state {state!r} is none of {', '.join(State)}")
    groups = tuple(dict.fromkeys(filter(None, map(str.strip, row.get("groups", "").split(";")))))
    language, name = (row.get(column, "").strip() for column in ("language", "name"))
    if len(language) > 8 or len(groups) > GROUPS_MAX or any(len(group) > 255 for group in groups):
        raise OperatorError(
            f"a language has at most 8 characters (en, de-CH), a driver {GROUPS_MAX} groups, a group 255 characters"
        )
    try:
        "".join((*groups, language, name)).encode()
    except UnicodeEncodeError:
        raise OperatorError("a group, language or name holds what is no Unicode: enter it again") from None
    return Driver(token, groups, status, expiry_ms, language, name, State(state))


def no_card(text: str) -> str:
    if A_NUMBER.fullmatch(text):
        return f"{text!r} is a number that a spreadsheet made of a card: {AS_TEXT}"
    if canonical_token(f"0{text}"):
        return f"{text!r} has an odd number of digits; a spreadsheet may have dropped a zero in front: {AS_TEXT}"
    return f"{text[:80]!r} is no card number: write 2 to 20 bytes in hex, like 04A2B3C4D5E6F7"


def read_expiry(text: str) -> int:
    expiry_ms = parse_time(text)
    try:
        if expiry_ms is not None:
            format_time(expiry_ms)      # a zone may move it out of the years that there are
            return expiry_ms
    except Malformed:
        pass
    raise OperatorError(f"{text[:80]!r} is no time: write 2027-01-31 or 2027-01-31T18:00:00Z")


def write_drivers(drivers: Iterable[Driver]) -> str:
    """The CSV file that read_drivers reads back as the same drivers."""
    out = io.StringIO()
    rows = csv.writer(out)
    rows.writerow(COLUMNS)
    rows.writerows(cells(driver) for driver in drivers)
    return out.getvalue()


def cells(d: Driver) -> tuple[str, ...]:
    """In the order of COLUMNS."""
    return d.id_token, ";".join(d.groups), d.status, shown_expiry(d.expiry_ms), d.language, d.name, d.state


def shown_expiry(expiry_ms: int | None) -> str:
    try:
        return "" if expiry_ms is None else format_time(expiry_ms)
    except Malformed:                   # a year that a CSV file cannot have brought
        return str(expiry_ms)
