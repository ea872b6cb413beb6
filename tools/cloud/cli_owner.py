"""What the owner decides, from the command line: access policies, reservations, messages on the display."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from tools.cloud.arguments import Args, Run, opened, positive
from tools.cloud.commands import transfer
from tools.cloud.drivers import canonical_token
from tools.cloud.errors import OperatorError
from tools.cloud.service import clock_ms
from tools.cloud.wire import Json, format_time, parse_time

POLICY_MAX_B = 90_000  # of its JSON: what fits into one command with its signature
PRIORITIES = {"normal": "NormalCycle", "front": "InFront", "always": "AlwaysFront"}
STATES = ("Charging", "Faulted", "Idle", "Unavailable", "Suspended")
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
    sub.add_argument("--connector-type", metavar="TYPE", help="like cType2: the port that has it")
    sub.add_argument("--group", metavar="ID", help="whoever is of this group may use it, too")
    when = sub.add_mutually_exclusive_group(required=True)
    when.add_argument("--for-s", type=positive, metavar="S")
    when.add_argument("--until", metavar="TIME", help="like 2026-12-24T18:00:00.000Z")

    sub = to("unreserve", lambda args: send(args, "CancelReservation", {"reservationId": args.id}), "cancel one")
    sub.add_argument("id", type=positive)

    sub = to("message", lambda args: send(args, "SetDisplayMessage", {"message": message(args)}), "have it displayed")
    sub.add_argument("id", type=positive, help="of the message; the same one again replaces it")
    sub.add_argument("text")
    sub.add_argument("--language", metavar="TAG", help="else for readers of any")
    sub.add_argument("--priority", choices=PRIORITIES, default="normal")
    sub.add_argument("--evse", type=positive, metavar="N", help="only where this port stands")
    sub.add_argument("--state", choices=STATES, help="only while a port is so")
    sub.add_argument("--transaction", metavar="ID", help="only with this session")
    sub.add_argument("--from", dest="start", metavar="TIME", help="like 2026-12-24T18:00:00.000Z; else now")
    sub.add_argument("--until", metavar="TIME", help="and then it is forgotten")

    sub = to("messages", lambda args: get_messages(args, send), "ask which are displayed; --told: what it has said")
    sub.add_argument("--told", action="store_true")
    sub = to("clear-message", lambda args: send(args, "ClearDisplayMessage", {"id": args.id}), "take one away")
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
    if args.connector_type:
        asked["connectorType"] = args.connector_type
    if args.group:
        asked["groupIdToken"] = {"idToken": args.group, "type": "Central"}
    return asked


def message(args: Args) -> Json:
    content = {"format": "UTF8", "content": args.text} | ({"language": args.language} if args.language else {})
    more = {
        "state": args.state, "transactionId": args.transaction,
        "display": {"name": "Display", "evse": {"id": args.evse}} if args.evse else None,
        "startDateTime": args.start and format_time(time_of(args.start)),
        "endDateTime": args.until and format_time(time_of(args.until)),
    }  # fmt: skip
    said = {"id": args.id, "priority": PRIORITIES[args.priority], "message": content}
    return said | {name: value for name, value in more.items() if value is not None}


def time_of(text: str) -> int:
    if (ms := parse_time(text)) is None:
        raise OperatorError(f"{text!r} is no time: write it like 2026-12-24T18:00:00.000Z")
    return ms


def get_messages(args: Args, send: Send) -> int:
    if not args.told:
        return send(args, "GetDisplayMessages", {"requestId": clock_ms() % 2**31})
    records = opened(args).records(args.station, "NotifyDisplayMessages")
    if not records:
        raise OperatorError(f"{args.station} has told of no messages yet: ask without --told")
    last = records[-1][1].payload.get("requestId")
    for _, record in records:
        if record.payload.get("requestId") == last:
            for each in record.payload.get("messageInfo", ()):
                print(f"{each['id']}  {each['priority']}  {each['message']['content']}")
    return 0
