"""What the owner charges, from the command line: default tariffs, those of groups, that of a running session."""

import argparse
from collections.abc import Callable
from pathlib import Path

from tools.cloud.arguments import Args, Run, ledger
from tools.cloud.cli_owner import Send, read
from tools.cloud.commands import transfer


def add_tariffs(to: Callable[[str, Run, str], argparse.ArgumentParser], send: Send) -> None:
    sub = to("tariff", lambda args: set_default(args, send), "give a station, or one EVSE, its default tariff")
    sub.add_argument("file", type=Path, metavar="JSON", help="OCPP 2.1 TariffType: tariffId, currency, energy …")
    sub.add_argument("--evse", type=int, default=0, metavar="N", help="else at each")

    sub = to("tariffs", lambda args: send(args, "GetTariffs", {"evseId": args.evse}), "which tariffs are there?")
    sub.add_argument("--evse", type=int, default=0, metavar="N")

    sub = to("clear-tariffs", lambda args: clear(args, send), "take default tariffs away: those named, or all")
    sub.add_argument("ids", nargs="*", metavar="TARIFF")
    sub.add_argument("--evse", type=int, metavar="N", help="else at each")

    sub = to("group-tariffs", lambda args: groups(args, send), "give drivers of groups their tariffs (docs/policy.md)")
    what = sub.add_mutually_exclusive_group(required=True)
    what.add_argument("--file", type=Path, metavar="JSON", help="version, rules: groups and tariff")
    what.add_argument("--none", action="store_true", help="take them away")

    sub = to("change-tariff", lambda args: change(args, send), "another tariff for a running session, from now on")
    sub.add_argument("transaction")
    sub.add_argument("file", type=Path, metavar="JSON")


def add_drivers_tariff(add: Callable[[str, Run, str], argparse.ArgumentParser]) -> None:
    sub = add("driver-tariff", of_driver, "the tariff of one driver, for every station that asks about him")
    sub.add_argument("card")
    what = sub.add_mutually_exclusive_group(required=True)
    what.add_argument("--file", type=Path, metavar="JSON", help="OCPP 2.1 TariffType, without validFrom")
    what.add_argument("--none", action="store_true", help="take it away")


def of_driver(args: Args) -> int:
    card = ledger(args).drivers.price(args.card, None if args.none else read(args.file))
    print(f"{card} has {'no tariff of his own' if args.none else 'a tariff of his own'}")
    return 0


def set_default(args: Args, send: Send) -> int:
    return send(args, "SetDefaultTariff", {"evseId": args.evse, "tariff": read(args.file)})


def clear(args: Args, send: Send) -> int:
    ids = {"tariffIds": args.ids} if args.ids else {}
    return send(args, "ClearTariffs", ids | ({"evseId": args.evse} if args.evse else {}))


def groups(args: Args, send: Send) -> int:
    return send(args, "DataTransfer", transfer("GroupTariffs", None if args.none else read(args.file)))


def change(args: Args, send: Send) -> int:
    return send(args, "ChangeTransactionTariff", {"transactionId": args.transaction, "tariff": read(args.file)})
