"""How much power a station may draw, from the command line: charging profiles, and the schedule that will hold."""

import argparse
import json
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from tools.cloud.arguments import Args, Run, natural, opened, positive, shown_time
from tools.cloud.cli_owner import read, time_of
from tools.cloud.errors import OperatorError
from tools.cloud.service import clock_ms
from tools.cloud.wire import Json, format_time

PURPOSES = {
    "default": "TxDefaultProfile",
    "session": "TxProfile",
    "station": "ChargingStationMaxProfile",
    "external": "ChargingStationExternalConstraints",
}
LIMIT = re.compile(r"(?:(\d{1,2}):([0-5]\d)=)?(\d{1,6}(?:\.\d)?)(A|W|kW)", re.ASCII)
Send = Callable[[Args, str, Json], int]


def add_profiles(to: Callable[[str, Run, str], argparse.ArgumentParser], send: Send) -> None:
    sub = to("profile", lambda args: set_profile(args, send), "limit a station, its ports or a session")
    sub.add_argument("limits", nargs="*", metavar="[H:MM=]LIMIT", help="16A, 3680W or 11kW; 22:00=32A from then on")
    sub.add_argument("--file", type=Path, metavar="JSON", help="instead: a ChargingProfileType as it is")
    sub.add_argument("--id", type=positive, default=1, metavar="N", help="the same one again replaces it")
    sub.add_argument("--purpose", choices=PURPOSES, default="default", help="whose limit it is: each session's, …")
    sub.add_argument("--evse", type=int, default=0, metavar="N", help="else all")
    sub.add_argument("--level", type=int, default=0, metavar="N", help="the highest counts")
    how = sub.add_mutually_exclusive_group()
    how.add_argument("--daily", action="store_true", help="each day, by the clock at the site")
    how.add_argument("--relative", action="store_true", help="from the beginning of each session")
    how.add_argument("--from", dest="start", metavar="TIME", help="like 2026-12-24T18:00:00.000Z; else now")
    sub.add_argument("--for-s", type=positive, metavar="S", help="of the schedule; else for good")
    sub.add_argument("--until", metavar="TIME", help="and then it is forgotten")
    sub.add_argument("--offline-s", type=natural, metavar="S", help="how long it counts without us; 0: never")
    sub.add_argument("--transaction", metavar="ID", help="with --purpose session")

    sub = to("clear-profile", lambda args: send(args, "ClearChargingProfile", criteria(args)), "take limits away")
    add_criteria(sub)
    sub = to("profiles", lambda args: get_profiles(args, send), "ask which ones are there; --told: what it has said")
    add_criteria(sub)
    sub.add_argument("--told", action="store_true")
    sub = to("schedule", lambda args: send(args, "GetCompositeSchedule", schedule(args)), "what will hold, see --wait")
    sub.add_argument("--evse", type=int, default=0, metavar="N", help="else the whole station")
    sub.add_argument("--for-s", type=positive, default=86_400, metavar="S")
    sub.add_argument("--watts", action="store_true")


def add_criteria(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--id", type=positive, metavar="N")
    sub.add_argument("--evse", type=int, metavar="N")
    sub.add_argument("--purpose", choices=PURPOSES)
    sub.add_argument("--level", type=int, metavar="N")


def set_profile(args: Args, send: Send) -> int:
    own = read(args.file) if args.file else profile(args, clock_ms())
    return send(args, "SetChargingProfile", {"evseId": args.evse, "chargingProfile": own})


def profile(args: Args, now_ms: int) -> Json:
    unit, periods = periods_of(args.limits)
    said: Json = {"id": args.id, "chargingRateUnit": unit, "chargingSchedulePeriod": periods}
    kind: Json = {"chargingProfileKind": "Relative" if args.relative else "Recurring" if args.daily else "Absolute"}
    if args.daily:
        kind["recurrencyKind"] = "Daily"
        said |= {"startSchedule": "2026-01-01T00:00:00.000Z", "useLocalTime": True}
    elif not args.relative:
        said["startSchedule"] = format_time(now_ms if args.start is None else time_of(args.start))
    if args.for_s:
        said["duration"] = args.for_s
    more = {
        "validTo": args.until and format_time(time_of(args.until)),
        "maxOfflineDuration": args.offline_s,
        "transactionId": args.transaction,
    }
    return {
        "id": args.id, "stackLevel": args.level, "chargingProfilePurpose": PURPOSES[args.purpose], **kind,
        "chargingSchedule": [said], **{name: value for name, value in more.items() if value is not None},
    }  # fmt: skip


def periods_of(limits: list[str]) -> tuple[str, list[Json]]:
    """In A or W, and OCPP's periods, each from its hour on."""
    found = [LIMIT.fullmatch(text) for text in limits]
    if not limits or not all(found):
        wrong = next((text for text, each in zip(limits, found, strict=True) if not each), "")
        raise OperatorError(f"{wrong!r} is no limit: write it like 16A, 3680W, 11kW, or 22:00=32A from an hour on")
    periods, units = [], set()
    for each in found:
        assert each
        hours, minutes, number, unit = each.groups()
        start_s = int(hours or 0) * 3600 + int(minutes or 0) * 60
        units.add(unit[-1])
        periods.append({"startPeriod": start_s, "limit": float(number) * (1000 if unit == "kW" else 1)})
    starts = [each["startPeriod"] for each in periods]
    if len(units) > 1 or starts[0] != 0 or any(b <= a for a, b in pairwise(starts)):
        raise OperatorError("the first limit holds from the start, the others from later hours, all in A or all in W")
    return units.pop(), periods


def criteria(args: Args) -> Json:
    """Of ClearChargingProfile: an id, or what all of them have in common."""
    named = common(args) | ({} if args.evse is None else {"evseId": args.evse})
    if args.id is None and not named:
        raise OperatorError("name what to take away: --id N, or --purpose, --evse, --level")
    asked: Json = {} if args.id is None else {"chargingProfileId": args.id}
    return asked | ({"chargingProfileCriteria": named} if named else {})


def common(args: Args) -> Json:
    named = {"chargingProfilePurpose": PURPOSES.get(args.purpose or ""), "stackLevel": args.level}
    return {name: value for name, value in named.items() if value is not None}


def get_profiles(args: Args, send: Send) -> int:
    if args.told:
        return told(args)
    wanted = common(args) | ({} if args.id is None else {"chargingProfileId": [args.id]})
    asked: Json = {"requestId": clock_ms() % 2**31, "chargingProfile": wanted}
    return send(args, "GetChargingProfiles", asked | ({} if args.evse is None else {"evseId": args.evse}))


def told(args: Args) -> int:
    """What the station has said last, a line for each profile."""
    records = opened(args).records(args.station, "ReportChargingProfiles")
    if not records:
        raise OperatorError(f"{args.station} has told of no profiles yet: ask without --told")
    last = records[-1][1].payload.get("requestId")
    for received_ms, record in records:
        payload = record.payload
        if payload.get("requestId") == last:
            for each in payload.get("chargingProfile") or ():
                print(f"{shown_time(received_ms)}  evse {payload.get('evseId')}  {json.dumps(each)}")
    return 0


def schedule(args: Args) -> Json:
    return {"evseId": args.evse, "duration": args.for_s, "chargingRateUnit": "W" if args.watts else "A"}
