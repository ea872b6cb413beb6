"""A station's life, from the command line: activation, plan tokens, transfer."""

import argparse
import base64
import json
import secrets
from collections.abc import Callable
from pathlib import Path

import cbor2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tools.cloud.arguments import Args, Run, positive
from tools.cloud.cli_owner import POLICY_MAX_B, read
from tools.cloud.errors import OperatorError
from tools.cloud.pki import read_operator
from tools.cloud.service import clock_ms
from tools.cloud.wire import VENDOR, Json, parse_time, sign

DAY_S = 86_400
SUB, EXP, NBF, IAT, CTI = 2, 4, 5, 6, 7  # RFC 8392 §4
Send = Callable[[Args, str, Json], int]


def add_life(to: Callable[[str, Run, str], argparse.ArgumentParser], send: Send) -> None:
    sub = to("plan", lambda args: plan(args, send), "make a plan token for a station, and send it")
    add_token(sub, required=True)
    sub.add_argument("--file", type=Path, metavar="FILE", help="write it there instead: for `station-agent plan FILE`")
    sub = to("activate", lambda args: activate(args, send), "make an installed station its owner's")
    sub.add_argument("--name", required=True, help="of the station, as drivers know it")
    sub.add_argument("--owner", required=True)
    sub.add_argument("--contact", help="of the owner")
    sub.add_argument("--free-after-plan", action="store_true", help="90 days after its plan it charges for nothing")
    sub.add_argument("--reservable", action="store_true", help="only with a reservation")
    sub.add_argument("--visibility", choices=("everyone", "usable", "nobody"))
    sub.add_argument("--policy", type=Path, metavar="JSON", help="the access policy (docs/policy.md)")
    sub.add_argument("--tariff", type=Path, metavar="JSON", help="the default tariff, at each EVSE")
    sub.add_argument("--group-tariffs", type=Path, metavar="JSON", help="those of groups: version, rules")
    add_token(sub, required=False)
    sub = to("transfer", lambda args: transfer(args, send), "take a station from its owner: what it owes comes first")
    sub.add_argument("--wait-days", type=positive, default=7, metavar="D", help="for what it owes, at most")
    to("factory-reset", lambda args: send(args, "DataTransfer", message("FactoryReset", {})), "as it left the factory")


def add_token(sub: argparse.ArgumentParser, *, required: bool) -> None:
    sub.add_argument("--issue", type=positive, required=required, metavar="N", help="ascending, for this station")
    sub.add_argument("--plan", default="Plan", metavar="NAME")
    sub.add_argument("--from", dest="begins", metavar="TIME", help="like 2026-12-24T00:00:00.000Z; else now")
    sub.add_argument("--days", type=positive, default=365, metavar="D")
    sub.add_argument("--support-days", type=positive, metavar="D", help="the end of support, which is only shown")
    sub.add_argument("--pki", type=Path, required=required, metavar="DIR", help="where operator.key is")


def plan(args: Args, send: Send) -> int:
    text = made(args)
    if args.file is None:
        return send(args, "DataTransfer", message("PlanToken", text))
    try:
        args.file.write_text(text + "\n", "ascii")
    except OSError as error:
        raise OperatorError(f"{args.file} cannot be written: {error}") from None
    print(f"{args.file}: take it to the station and type station-agent plan {args.file.name}")
    return 0


def made(args: Args) -> str:
    if args.pki is None:
        raise OperatorError("a plan token needs the operator's key: add --pki DIR")
    begins_ms = parse_time(args.begins) if args.begins else clock_ms()
    if begins_ms is None:
        raise OperatorError(f"{args.begins!r} is no time: write it like 2026-12-24T00:00:00.000Z")
    operator = read_operator(args.pki)
    key = operator.key(operator.first_id)
    assert key, "the first one is there"
    return token(key, args.station, claims(args, begins_ms // 1000))


def claims(args: Args, begins_s: int) -> Json:
    said = {"issue": args.issue, "plan": args.plan}
    if args.support_days:
        said["supportEnd"] = begins_s + args.support_days * DAY_S
    return {"begins_s": begins_s, "ends_s": begins_s + args.days * DAY_S, "said": said}


def token(key: Ed25519PrivateKey, station: str, of: Json) -> str:
    """A CWT (RFC 8392) in base64."""
    body = {SUB: station, EXP: of["ends_s"], NBF: of["begins_s"], IAT: clock_ms() // 1000, CTI: secrets.token_bytes(8)}
    signed = sign(key, cbor2.dumps({**body, **of["said"]}, canonical=True))
    return base64.b64encode(b"\xd8\x3d" + signed).decode("ascii")  # tag 61


def activate(args: Args, send: Send) -> int:
    return send(args, "DataTransfer", message("Activation", activation(args)))


def activation(args: Args) -> Json:
    data: Json = {"name": args.name, "owner": args.owner}
    if args.contact:
        data["contact"] = args.contact
    if args.free_after_plan:
        data["afterPlan"] = "free"
    if args.reservable:
        data["reservable"] = True
    if args.visibility:
        data["visibility"] = args.visibility
    parts = {"accessPolicy": args.policy, "defaultTariff": args.tariff, "groupTariffs": args.group_tariffs}
    data |= {name: read(path) for name, path in parts.items() if path}
    if args.issue:
        data["planToken"] = made(args)
    if len(json.dumps(data).encode()) > POLICY_MAX_B:
        raise OperatorError(f"the activation has over {POLICY_MAX_B} bytes: send group-tariffs by itself, after it")
    return data


def transfer(args: Args, send: Send) -> int:
    return send(args, "DataTransfer", message("Transfer", {"waitS": args.wait_days * DAY_S}))


def message(message_id: str, data: object) -> Json:
    return {"vendorId": VENDOR, "messageId": message_id, "data": data}
