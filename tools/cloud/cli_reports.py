"""Reports: ordering one (GetLog), what its station has said of it, its health, and the receiving end."""

import argparse
import json
import secrets
from collections.abc import Callable
from pathlib import Path
from threading import Event
from urllib.parse import urlsplit

from tools.cloud.arguments import Args, Run, opened, positive, shown_time
from tools.cloud.cli_drivers import shown
from tools.cloud.errors import OperatorError
from tools.cloud.gist import shown_variable
from tools.cloud.wire import VENDOR, Json

Send = Callable[[Args, str, Json], int]
To = Callable[[str, Run, str], argparse.ArgumentParser]
FAILURES = ("BadMessage", "NotSupportedOperation", "PermissionDenied", "UploadFailure")
HEALTH = "Health"


def add_reports(add: To, to: To, send: Send) -> None:
    sub = to("problem", lambda args: report(args, send), "order a station's report; without URL: how far it is")
    sub.add_argument("url", nargs="?", metavar="https://HOST/PATH", help="where the station is to PUT it")
    sub.add_argument("--security", action="store_true", help="as SecurityLog")
    sub.add_argument("--id", type=positive, metavar="N", help="requestId; else a random one")
    sub.add_argument("--retries", type=int, metavar="N")
    sub.add_argument("--retry-interval", type=positive, metavar="S")
    sub.add_argument("--budget", type=positive, metavar="BYTES", help="on the radio, all attempts together")
    sub = to("health", health, "the newest health record of a station")
    sub.add_argument("--json", action="store_true")
    sub = to("events", events, "what a station has told by NotifyEvent: plan, faults, thresholds; the newest last")
    sub.add_argument("--only", metavar="COMPONENT[.VARIABLE]", help="like ChargingStation.Plan: the plan's warnings")
    sub.add_argument("--last", type=positive, default=20, metavar="N")
    sub = add("receive", receive, "take stations' reports by HTTPS PUT, into a folder")
    sub.add_argument("folder", type=Path)
    sub.add_argument("--cert", type=Path, required=True, metavar="PEM", help="certificate, with its key or --key")
    sub.add_argument("--key", type=Path, metavar="PEM")
    sub.add_argument("--port", type=positive, default=8443)


def report(args: Args, send: Send) -> int:
    return told(args) if args.url is None else send(args, "GetLog", request(args))


def request(args: Args) -> Json:
    parts = urlsplit(args.url)
    if parts.scheme != "https" or not parts.hostname or parts.username is not None:
        raise OperatorError(f"{args.url!r} is no place for a report: write https://HOST/PATH")
    asked: Json = {
        "log": {"remoteLocation": args.url}, "logType": "SecurityLog" if args.security else "DiagnosticsLog",
        "requestId": args.id or secrets.randbits(31),
    }  # fmt: skip
    if args.retries is not None:
        asked["retries"] = args.retries
    if args.retry_interval:
        asked["retryInterval"] = args.retry_interval
    return asked | ({"customData": {"vendorId": VENDOR, "budgetB": args.budget}} if args.budget else {})


def told(args: Args) -> int:
    """Every status that the station has told, oldest first. Exit code 1 if the last one is a failure."""
    records = opened(args).records(args.station, "LogStatusNotification")
    if not records:
        raise OperatorError(f"{args.station} has said nothing about a report yet: order one with a URL")
    for received_ms, record in records:
        payload = record.payload
        why = (payload.get("statusInfo") or {}).get("additionalInfo", "")
        at = shown_time(received_ms if record.wall_ms is None else record.wall_ms)
        print(f"{at}  {payload.get('requestId', '-'):>10}  {payload.get('status')}{f'  {why}' if why else ''}")
    return 1 if records[-1][1].payload.get("status") in FAILURES else 0


def health(args: Args) -> int:
    """docs/uplink.md says what the letters are. Exit code 1 if a threshold is passed."""
    found = [each for each in opened(args).records(args.station, "DataTransfer") if is_health(each[1].payload)]
    if not found:
        raise OperatorError(f"{args.station} has told nothing of its health yet")
    received_ms, record = found[-1]
    data = record.payload["data"]
    if args.json:
        print(json.dumps(data))
    else:
        print(shown_time(received_ms if record.wall_ms is None else record.wall_ms))
        for key, value in data.items():
            print(f"{NAMES.get(key, key):24}  {value}")
    return 1 if data.get("a") else 0


def is_health(payload: Json) -> bool:
    return payload.get("messageId") == HEALTH and isinstance(payload.get("data"), dict)


NAMES = {
    "p": "ports", "t": "port temperatures/0.1 C", "n": "contactor cycles", "c": "processor/0.1 C", "d": "disk free/MB",
    "m": "memory free/MB", "k": "clock by", "l": "list age/s", "w": "waiting, by stream", "e": "line errors",
    "r": "modem", "s": "signal/dBm", "u": "up/s", "b": "data of month, budget/MB",
    "z": "low-data mode", "a": "thresholds passed",
}  # fmt: skip


def events(args: Args) -> int:
    """One line each: when, of what, and what it says."""
    found = [
        (received_ms if record.wall_ms is None else record.wall_ms, event)
        for received_ms, record in opened(args).records(args.station, "NotifyEvent")
        for event in record.payload["eventData"]
        if args.only in (None, event["component"]["name"], f"{event['component']['name']}.{event['variable']['name']}")
    ]
    if not found:
        raise OperatorError(f"{args.station} has told of no {args.only or 'event'} yet")
    for at_ms, event in found[-args.last :]:
        said = (f"{shown_variable(event)} = {event['actualValue']}", event.get("techCode"), event.get("techInfo"))
        over = "over" if event.get("cleared") else None
        print(shown("  ".join(filter(None, (shown_time(at_ms), *said, over)))))
    return 0


def receive(args: Args) -> int:
    from tools.cloud.receiving import Receiver

    try:
        receiver = Receiver(args.folder, args.cert, args.key, host="", port=args.port)
    except OSError as error:
        raise OperatorError(f"{args.folder}, {args.cert} or port {args.port}: {error.strerror or error}") from None
    receiver.start()
    print(f"reports come to https://HOST:{receiver.port}/NAME, into {args.folder}", flush=True)
    try:
        Event().wait()
    except KeyboardInterrupt:
        receiver.stop()
    return 0
