"""Builds: ordering one, and what its station has said of it. The build itself lies on any HTTPS server."""

import argparse
import re
import secrets
from collections.abc import Callable
from urllib.parse import urlsplit

from tools.cloud.arguments import Args, Run, opened, positive, shown_time
from tools.cloud.errors import OperatorError
from tools.cloud.service import clock_ms
from tools.cloud.wire import VENDOR, Json, format_time, parse_time

WINDOW = re.compile(r"((?:[01]\d|2[0-3]):[0-5]\d)-((?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII)
FAILURES = ("DownloadFailed", "InvalidSignature", "InstallVerificationFailed", "InstallationFailed")
Send = Callable[[Args, str, Json], int]


def add_firmware(to: Callable[[str, Run, str], argparse.ArgumentParser], send: Send) -> None:
    sub = to("firmware", lambda args: firmware(args, send), "order a build for a station; without URL: how far it is")
    sub.add_argument("url", nargs="?", metavar="https://HOST/PATH")
    sub.add_argument("--id", type=positive, metavar="N", help="requestId; else a random one")
    sub.add_argument("--at", metavar="TIME", help="not before, like 2026-12-24T01:00:00.000Z; else now")
    sub.add_argument("--install-at", metavar="TIME", help="not before; else as soon as nobody charges")
    sub.add_argument("--retries", type=int, metavar="N", help="attempts in a row that may bring nothing")
    sub.add_argument("--retry-interval", type=positive, metavar="S")
    sub.add_argument("--budget", type=positive, metavar="BYTES", help="on the radio, all attempts together")
    sub.add_argument("--window", metavar="HH:MM-HH:MM", help="of the site's day; else at any time")
    sub.add_argument("--spread", type=positive, metavar="S", help="a fleet begins within so long, each at its place")
    sub.add_argument("--override", metavar="WHY", help="end running sessions for it; it is logged")


def firmware(args: Args, send: Send) -> int:
    if args.url is None:
        return told(args)
    return send(args, "UpdateFirmware", request(args, clock_ms()))


def request(args: Args, now_ms: int) -> Json:
    parts = urlsplit(args.url)
    if parts.scheme != "https" or not parts.hostname or parts.username is not None:
        raise OperatorError(f"{args.url!r} is no place for a build: write https://HOST/PATH")
    build: Json = {"location": args.url, "retrieveDateTime": time_of(args.at) if args.at else format_time(now_ms)}
    if args.install_at:
        build["installDateTime"] = time_of(args.install_at)
    asked: Json = {"requestId": args.id or secrets.randbits(31), "firmware": build}
    if args.retries is not None:
        asked["retries"] = args.retries
    if args.retry_interval:
        asked["retryInterval"] = args.retry_interval
    custom = {"budgetB": args.budget, "spreadS": args.spread, "override": args.override, "window": window(args.window)}
    said = {name: value for name, value in custom.items() if value is not None}
    return asked | ({"customData": {"vendorId": VENDOR, **said}} if said else {})


def time_of(text: str) -> str:
    if (ms := parse_time(text)) is None:
        raise OperatorError(f"{text!r} is no time: write it like 2026-12-24T01:00:00.000Z")
    return format_time(ms)


def window(text: str | None) -> list[str] | None:
    if text is None:
        return None
    if (found := WINDOW.fullmatch(text)) is None or found[1] == found[2]:
        raise OperatorError(f"{text!r} is no window: write it like 22:00-05:00")
    return [found[1], found[2]]


def told(args: Args) -> int:
    """Every status that the station has told, oldest first. Exit code 1 if the last one is a failure."""
    records = opened(args).records(args.station, "FirmwareStatusNotification")
    if not records:
        raise OperatorError(f"{args.station} has said nothing about a build yet: order one with its URL")
    for received_ms, record in records:
        payload = record.payload
        info = payload.get("statusInfo") or {}
        why = f"  {info.get('reasonCode', '')}: {info.get('additionalInfo', '')}" if info else ""
        at = shown_time(received_ms if record.wall_ms is None else record.wall_ms)
        print(f"{at}  {payload.get('requestId', '-'):>10}  {payload.get('status')}{why}")
    return 1 if records[-1][1].payload.get("status") in FAILURES else 0
