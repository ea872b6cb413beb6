"""What the owner decides, from the command line: access policies and reservations."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from tools.cloud.arguments import Args, Run, positive
from tools.cloud.commands import transfer
from tools.cloud.drivers import canonical_token
from tools.cloud.errors import OperatorError
from tools.cloud.service import clock_ms
from tools.cloud.wire import Json, format_time, parse_time

POLICY_MAX_B = 90_000  # of its JSON: what fits into one command with its signature
Send = Callable[[Args, str, Json], int]


def add_owner(to: Callable[[str, Run, str], argparse.ArgumentParser], send: Send) -> None:
    sub = to("policy", lambda args: policy(args, send), "give a station its access policy (docs/policy.md)")
    what = sub.add_mutually_exclusive_group(required=True)
    what.add_argument("--file", type=Path, metavar="JSON", help="the policy: policyId, version, rules …")
    what.add_argument("--none", action="store_true", help="take it away: whoever the list or the cloud accepts")

    sub = to("reserve", lambda args: reserve(args, send), "keep a port for a driver")
    sub.add_argument("id", type=positive, help="of the reservation; the same one again replaces it")
    sub.add_argument("card")
    sub.add_argument("--evse", type=positive, metavar="N", help="else any port: one is kept free")
    sub.add_argument("--group", metavar="ID", help="whoever is of this group may use it, too")
    when = sub.add_mutually_exclusive_group(required=True)
    when.add_argument("--for-s", type=positive, metavar="S")
    when.add_argument("--until", metavar="TIME", help="like 2026-12-24T18:00:00.000Z")

    sub = to("unreserve", lambda args: send(args, "CancelReservation", {"reservationId": args.id}), "cancel one")
    sub.add_argument("id", type=positive)


def policy(args: Args, send: Send) -> int:
    return send(args, "DataTransfer", transfer("AccessPolicy", None if args.none else read(args.file)))


def read(path: Path) -> Json:
    """What the station itself judges; here only that it is JSON, and fits."""
    try:
        text = path.read_text("utf-8")
        said = json.loads(text)
    except (OSError, ValueError) as error:
        raise OperatorError(f"{path} cannot be read: {error}") from None
    if not isinstance(said, dict):
        raise OperatorError(f"{path} holds no object: write one, as docs/policy.md has it")
    if len(text.encode()) > POLICY_MAX_B:
        raise OperatorError(f"{path} has over {POLICY_MAX_B} bytes: put less into it")
    return said


def reserve(args: Args, send: Send) -> int:
    return send(args, "ReserveNow", reservation(args, clock_ms()))


def reservation(args: Args, now_ms: int) -> Json:
    ends_ms = now_ms + args.for_s * 1000 if args.for_s else parse_time(args.until)
    if ends_ms is None:
        raise OperatorError(f"{args.until!r} is no time: write it like 2026-12-24T18:00:00.000Z")
    if (card := canonical_token(args.card)) is None:
        raise OperatorError(f"{args.card!r} is no card number: write it like 04A2B3C4")
    token = {"idToken": card, "type": "ISO14443"}
    asked: Json = {"id": args.id, "expiryDateTime": format_time(ends_ms), "idToken": token}
    if args.evse:
        asked["evseId"] = args.evse
    if args.group:
        asked["groupIdToken"] = {"idToken": args.group, "type": "Central"}
    return asked
