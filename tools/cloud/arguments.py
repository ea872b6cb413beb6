"""What the commands of the command line share: the database that they are given, times as they are shown."""

import argparse
from collections.abc import Callable

from tools.cloud.errors import OperatorError
from tools.cloud.ledger import Ledger
from tools.cloud.wire import Malformed, format_time

Args = argparse.Namespace
Run = Callable[[Args], int]


def ledger(args: Args) -> Ledger:
    return Ledger(args.db)


def opened(args: Args) -> Ledger:
    """For whoever only reads: no file is made."""
    if not args.db.exists():
        raise OperatorError(f"{args.db} is not there: give --db the file that `devcloud serve` uses")
    return Ledger(args.db)


def shown_time(ms: int | None) -> str:
    try:
        return "?" if ms is None else format_time(ms)
    except Malformed:
        return f"{ms} ms"


def positive(text: str) -> int:
    return whole(text, 1)


def natural(text: str) -> int:
    return whole(text, 0)


def whole(text: str, least: int) -> int:
    if not (text.isascii() and text.isdigit() and least <= int(text) <= 2**53):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} on")
    return int(text)
