"""The ledger, from the command line: sessions, reservations that nobody has used, what they cost, what was wrong."""

import argparse
import csv
import io
import json
from collections.abc import Callable
from dataclasses import asdict

from tools.cloud.arguments import Args, Run, opened, shown_time
from tools.cloud.cli_drivers import shown
from tools.cloud.ledger import HARMLESS, Report, StationReport
from tools.cloud.sessions import NoShow, Session
from tools.cloud.wire import Json

Row = Session | NoShow


def add_ledger(add: Callable[[str, Run, str], argparse.ArgumentParser]) -> None:
    sub = add("ledger", show_ledger, "print sessions, no-shows and all that was wrong; exit code 1 if anything was")
    sub.add_argument("--json", action="store_true")
    sub = add("export", export, "all sessions and no-shows as CSV, or JSON")
    sub.add_argument("station", nargs="?")
    sub.add_argument("--json", action="store_true")


def show_ledger(args: Args) -> int:
    """Exit code 1 if anything is wrong that is not just a repetition."""
    books = opened(args)
    found = books.report()
    books.close()
    print(json.dumps(report_json(found), indent=2) if args.json else report_text(found))
    return 0 if found.clean else 1


def export(args: Args) -> int:
    """All sessions and no-shows, for a spreadsheet or another program."""
    books = opened(args)
    stations = [args.station] if args.station else books.stations()
    rows: list[Row] = []
    for name in stations:
        rows += [*books.sessions(name), *books.no_shows(name)]
    if args.json:
        print(json.dumps([{"kind": kind_of(row), **row_json(row)} for row in rows], indent=2))
    else:
        out = io.StringIO()
        table = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(row_csv(row) for row in rows)
        print(out.getvalue(), end="")
    return 0


COLUMNS = (
    *("station", "kind", "transaction_id", "reservation_id", "evse_id", "id_token", "started_ms", "ended_ms"),
    *("energy_wh", "cost", "tariff_id", "tariff_version", "tariff_rule", "tariff_group", "tariff_policy"),
    *("stopped_reason", "rule", "list_version", "access_rule", "access_policy", "violations"),
)


def row_csv(row: Row) -> Json:
    """A no-show has ended when the station gave the reservation up, and for that reason."""
    found = {"kind": kind_of(row), **row_json(row)}
    if isinstance(row, NoShow):
        found |= {"ended_ms": row.at_ms, "stopped_reason": row.end}
    times = {name: shown_time(at_ms) for name in ("started_ms", "ended_ms") if (at_ms := found.get(name))}
    found |= times | {"violations": " ".join(row.violations)}
    return {name: found[name] for name in COLUMNS if name in found}


def kind_of(row: Row) -> str:
    return "session" if isinstance(row, Session) else "noShow"


def row_json(row: Row) -> Json:
    return asdict(row) | ({"energy_wh": row.energy_wh} if isinstance(row, Session) else {})


def report_json(found: Report) -> Json:
    """{clean, stations: {name: {records, counts, violations, money, sessions: [Session's fields and energy_wh],
    no_shows: [NoShow's fields]}}}"""
    stations = {
        name: {
            "records": station.records,
            "counts": station.counts,
            "violations": station.violations,
            "money": station.money,
            "sessions": [row_json(session) for session in station.sessions],
            "no_shows": [row_json(no_show) for no_show in station.no_shows],
        }
        for name, station in found.stations.items()
    }
    return {"clean": found.clean, "stations": stations}


def report_text(found: Report) -> str:
    lines = []
    for name, station in found.stations.items():
        lines.append(f"{name}: {summed(station)}")
        lines += [f"  {shown('  '.join(filter(None, session_words(session))))}" for session in station.sessions]
        lines += [f"  {shown('  '.join(filter(None, no_show_words(no_show))))}" for no_show in station.no_shows]
        lines += [f"  {'-' if kind in HARMLESS or not n else '!'} {kind} {n}" for kind, n in station.counts.items()]
    return "\n".join((*lines, "clean" if found.clean else "NOT CLEAN"))


def summed(station: StationReport) -> str:
    """Like `9 records, 2 sessions, 1 no-shows, 14.5 EUR`."""
    money = (f", {amount} {currency}" for currency, amount in station.money.items())
    no_shows = f", {len(station.no_shows)} no-shows" if station.no_shows else ""
    return f"{station.records} records, {len(station.sessions)} sessions{no_shows}{''.join(money)}"


def session_words(s: Session) -> tuple[str, ...]:
    """Who, when, how much; for which money by which tariff; how it ended; what let him in; what is wrong."""
    return (
        f"{s.transaction_id}  evse {s.evse_id}  {s.id_token or '-'}",
        f"{shown_time(s.started_ms)} .. {shown_time(s.ended_ms)}",
        f"{s.energy_wh:.0f} Wh",
        s.cost or "",
        tariff_words(s.tariff_id, s.tariff_version, s.tariff_rule, s.tariff_group),
        s.stopped_reason or ("open" if s.ended_ms is None else "Local"),
        f"let in by {s.rule}" if s.rule else "",
        f"access rule {s.access_rule} of {s.access_policy}" if s.access_rule else "",
        "" if s.reservation_id is None else f"reservation {s.reservation_id}",
        f"! {' '.join(s.violations)}" if s.violations else "",
    )


def no_show_words(n: NoShow) -> tuple[str, ...]:
    return (
        f"reservation {n.reservation_id}  evse {n.evse_id or 'any'}  {n.id_token or '-'}",
        f"no-show  {shown_time(n.at_ms)}",
        n.cost or "",
        tariff_words(n.tariff_id, n.tariff_version),
        n.end,
        f"! {' '.join(n.violations)}" if n.violations else "",
    )


def tariff_words(tariff_id: str | None, version: str | None, rule: str | None = None, group: str | None = None) -> str:
    """Like `tariff night 1f0a (tariff of the group fleet)`."""
    if not (tariff_id or rule):
        return ""
    why = " ".join(filter(None, (rule, group)))
    return " ".join(filter(None, ("tariff", tariff_id, version, why and f"({why})")))
