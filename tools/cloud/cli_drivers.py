"""The commands about drivers: who may charge, who asks to, who may not any more; groups; the CSV file."""

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from tools.cloud.arguments import Args, Run, ledger, opened, shown_time
from tools.cloud.drivers import Change, Driver, State, token_of
from tools.cloud.errors import OperatorError
from tools.cloud.roster import COLUMNS, cells, read_driver, read_file, write_drivers
from tools.cloud.service import clock_ms

SIGNS = {"added": "+", "requested": "?", "changed": "~", "removed": "-", "forgotten": "x"}


def allow(args: Args) -> int:
    """From a CSV file, or one with --add. A line says all of a driver: a column that is left out is empty. With
    --replace the file is the whole truth: who may charge and is not in it is removed, who only asked is forgotten."""
    if (args.csv is None) == (args.add is None):
        raise OperatorError("give a CSV file, or --add TOKEN")
    if args.add and args.replace:
        raise OperatorError("--replace takes a CSV file: it is all the drivers that there are")
    drivers = [one_driver(args, args.add)] if args.add else read_file(args.csv)
    if args.replace and not drivers:
        raise OperatorError(f"{args.csv} names no driver, so --replace would remove all: `devcloud remove` does that")
    books = ledger(args)
    if args.dry_run:
        changes = books.drivers.changes(drivers, whole=args.replace)
        print("".join(f"{shown_change(change)}\n" for change in changes), end="")
        print(f"{summary(changes)}; nothing is changed yet")
    else:
        print(summary(books.drivers.put(drivers, clock_ms(), whole=args.replace)))
    return 0


def request(args: Args) -> int:
    """Somebody asks to be approved: until then the station says that it is on its way."""
    driver = one_driver(args, args.token)
    ledger(args).drivers.request(driver, clock_ms())
    print(f"{driver.id_token} waits: `devcloud approve {driver.id_token}`")
    return 0


def approve(args: Args) -> int:
    print(summary(ledger(args).drivers.approve(args.tokens, clock_ms())))
    return 0


def remove(args: Args) -> int:
    """The station says so to whoever was removed, for 90 days; a request is just forgotten."""
    print(summary(ledger(args).drivers.remove(args.tokens, clock_ms())))
    return 0


def pending(args: Args) -> int:
    """Who waits, the longest first."""
    for driver in opened(args).drivers.all(State.PENDING):
        token, groups, _, expiry, language, name, _ = shown_cells(driver)
        print("  ".join(filter(None, (shown_time(driver.since_ms), token, groups, expiry, language, name))))
    return 0


def group_add(args: Args) -> int:
    return regroup(args, add=True)


def group_remove(args: Args) -> int:
    return regroup(args, add=False)


def regroup(args: Args, *, add: bool) -> int:
    named = read_driver({"idToken": "0000", "groups": args.group}).groups       # under the same rules as in a file
    if len(named) != 1:
        raise OperatorError(f"{args.group!r} is no group: write one name, without semicolons")
    books = ledger(args)
    if add and named[0] not in books.drivers.groups():
        print(f"{named[0]} is a new group")
    print(summary(books.drivers.group(named[0], args.tokens, clock_ms(), add=add)))
    return 0


def group_list(args: Args) -> int:
    """Each group and how many drivers it has; of one group its drivers, as CSV."""
    drivers = opened(args).drivers
    if args.group is None:
        print("".join(f"{count:7} {shown(name)}\n" for name, count in drivers.groups().items()), end="")
    else:
        print(write_drivers(drivers.all(group=args.group)), end="")
    return 0


def show_drivers(args: Args) -> int:
    """As the CSV file that `allow` reads."""
    text = write_drivers(opened(args).drivers.all(args.state and State(args.state), args.group))
    if args.csv is None:
        print(text, end="")
        return 0
    try:
        args.csv.write_text(text, "utf-8")
    except OSError as error:
        raise OperatorError(f"{args.csv}: {error.strerror}") from None
    return 0


def one_driver(args: Args, token: str) -> Driver:
    status = getattr(args, "status", "")
    row = {"idToken": token, "groups": args.groups, "expiry": args.expiry, "status": status}
    return read_driver(row | {"language": args.language, "name": args.driver})


# -- as people read it ------------------------------------------------------------------------------------------------


def summary(changes: Sequence[Change]) -> str:
    """Like `2 added, 1 removed`."""
    counts = Counter(change.kind for change in changes)
    return ", ".join(f"{counts[kind]} {kind}" for kind in SIGNS if counts[kind]) or "it is so already: no change"


def shown_change(change: Change) -> str:
    before, after = (shown_cells(driver) if driver else [""] * len(COLUMNS) for driver in (change.before, change.after))
    said = [
        f"{name}={f'{old} -> ' if change.before else ''}{new}"
        for name, old, new in zip(COLUMNS[1:], before[1:], after[1:], strict=True)
        if old != new
    ]
    return " ".join((SIGNS[change.kind], token_of(change), *(said if change.after else ())))


def shown_cells(driver: Driver) -> list[str]:
    return [shown(cell) for cell in cells(driver)]


def shown(text: str) -> str:
    """A terminal obeys no name."""
    return "".join(each if each.isprintable() else "?" for each in text)


# -- arguments --------------------------------------------------------------------------------------------------------


def add_drivers(add: Callable[[str, Run, str], argparse.ArgumentParser]) -> None:
    sub = add("allow", allow, f"add or change drivers: a CSV file ({','.join(COLUMNS)}) or one")
    sub.add_argument("csv", type=Path, nargs="?")
    sub.add_argument("--add", metavar="TOKEN")
    add_columns(sub)
    sub.add_argument("--status", default="")
    sub.add_argument("--replace", action="store_true", help="the file is the whole truth: the others are removed")
    sub.add_argument("--dry-run", action="store_true", help="only say what would be changed")
    sub = add("request", request, "a driver asks to be approved")
    sub.add_argument("token")
    add_columns(sub)
    add("pending", pending, "who asks, and since when")
    for name, run, text in (("approve", approve, "who asked may charge"), ("remove", remove, "who may not any more")):
        add(name, run, text).add_argument("tokens", nargs="+", metavar="TOKEN")
    add_groups(add("group", group_list, "put drivers into a group, take them out, list them"))
    sub = add("drivers", show_drivers, "the drivers, as CSV")
    sub.add_argument("--csv", type=Path, metavar="FILE")
    sub.add_argument("--state", choices=tuple(State))
    sub.add_argument("--group")


def add_columns(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--groups", default="", metavar="G;H")
    sub.add_argument("--expiry", default="", metavar="2027-01-31")
    for name in ("language", "driver"):
        sub.add_argument(f"--{name}", default="")


def add_groups(sub: argparse.ArgumentParser) -> None:
    whats = sub.add_subparsers(required=True, metavar="add|remove|list")
    for name, run in (("add", group_add), ("remove", group_remove)):
        what = whats.add_parser(name)
        what.set_defaults(run=run)
        what.add_argument("--db", type=Path, default=argparse.SUPPRESS, metavar="FILE")
        what.add_argument("group")
        what.add_argument("tokens", nargs="+", metavar="TOKEN")
    what = whats.add_parser("list", description=group_list.__doc__)
    what.set_defaults(run=group_list)
    what.add_argument("--db", type=Path, default=argparse.SUPPRESS, metavar="FILE")
    what.add_argument("group", nargs="?")
