"""The command line. `python tools/devcloud.py --help` lists the commands; each of them is one function here."""

import argparse
import json
import os
import re
import secrets
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tools.cloud import (
    cli_drivers,
    cli_firmware,
    cli_ledger,
    cli_life,
    cli_owner,
    cli_profiles,
    cli_reports,
    cli_tariffs,
    handover,
)
from tools.cloud.arguments import Args, Run, ledger, opened, positive, shown_time
from tools.cloud.cloud import Cloud
from tools.cloud.commands import Command, transfer
from tools.cloud.content import Said, counts_of, different, read_said
from tools.cloud.drivers import Version, canonical_token
from tools.cloud.errors import OperatorError
from tools.cloud.gist import gist, shown_variable
from tools.cloud.ledger import Ledger
from tools.cloud.lists import CONTENT, is_newer, is_way
from tools.cloud.pki import Authority, ca_init, ca_sign, ca_station, read_ca, read_operator, validity
from tools.cloud.service import Service, clock_ms
from tools.cloud.wire import STATION_ID, STREAMS, Json, Malformed, read_record
from tools.est import EstServer, Refused

POLL_S = 0.2                            # how often --wait looks, and watch --json
MESSAGES = 40                           # of watch --json


# -- serving ----------------------------------------------------------------------------------------------------------


def serve(args: Args) -> int:
    operator = read_operator(args.pki)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    authority = Authority(args.pki, args.cert_days) if (args.pki / "ca.key").exists() else None
    validity(args.cert_days, clock_ms())
    ledger = Ledger(args.db)
    with enrolling(args, authority):
        cloud = Cloud(ledger, operator, authority, args.reports or "")
        Service(cloud, args.pki, args.host, args.port, args.name).run(stop)
    ledger.close()
    return 0


@contextmanager
def enrolling(args: Args, authority: Authority | None) -> Iterator[None]:
    """With --enrol: stations that no broker lets in any more, since their certificates have expired, come there."""
    if args.enrol is None:
        yield
        return
    if authority is None:
        raise OperatorError(f"{args.pki} holds no CA that could sign: leave --enrol away, or name the CA's folder")

    def sign(station: str, csr: x509.CertificateSigningRequest) -> list[x509.Certificate]:
        try:
            pem = authority.sign(station, csr.public_bytes(Encoding.PEM).decode("ascii"), clock_ms())
        except OperatorError as error:
            books = ledger(args)                        # a thread of its own, so a connection of its own
            books.count(station, "certificate_requests_refused", clock_ms())
            books.close()
            raise Refused(str(error)) from None
        print(f"devcloud: a certificate for {station}, who came to enrol again", flush=True)
        return x509.load_pem_x509_certificates(pem.encode("ascii"))

    cert, key = args.pki / "broker.pem", args.pki / "broker.key"  # ours as a TLS server
    try:
        server = EstServer(args.pki / "ca.pem", cert, key, sign, args.enrol)
    except (OSError, OverflowError) as error:
        raise OperatorError(f"no EST server with {cert} on port {args.enrol}: {error}") from None
    server.start()
    print(f"devcloud: enrols at https://localhost:{server.port}", flush=True)
    try:
        yield
    finally:
        server.stop()


def ca(args: Args) -> int:
    valid = validity(getattr(args, "days", None), clock_ms())
    match args.what:
        case "init":
            ca_init(args.dir)
            print(f"made {args.dir}")
        case "station":
            print(f"made {ca_station(args.dir, args.serial, args.csr, valid)}")
        case "sign":
            print(ca_sign(args.dir, args.csr, valid).decode("ascii"), end="")
    return 0


def watch(args: Args) -> int:
    if args.json:
        return follow(opened(args))
    from tools.cloud.view import run_view  # rich: only for whoever looks

    return run_view(opened(args), clock_ms)


def follow(books: Ledger) -> int:
    """For a program: a line of JSON whenever something has changed, until it reads no more. As `ledger --json` has it,
    with the newest messages, oldest first, as [received_ms, station, stream, seq, action, in a few words]."""
    last = "SELECT received_ms, station, stream, seq, coalesce(action, '?'), body FROM record ORDER BY id DESC LIMIT ?"
    seen = None
    try:
        while True:
            (change,) = books.db.execute("PRAGMA data_version").fetchone()  # what others have committed
            if change != seen:
                seen = change
                rows = books.db.execute(last, (MESSAGES,)).fetchall()
                messages = [[*row, said(body, books)] for *row, body in reversed(rows)]
                print(json.dumps(cli_ledger.report_json(books.report()) | {"messages": messages}), flush=True)
            time.sleep(POLL_S)
    except (BrokenPipeError, KeyboardInterrupt):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains once more at the end
        return 0
    finally:
        books.close()


def said(body: bytes, books: Ledger) -> str:
    try:
        return gist(read_record(body, books.keys).payload)
    except Malformed as malformed:
        return str(malformed)[:100]


# -- commands ---------------------------------------------------------------------------------------------------------


def start(args: Args) -> int:
    token = canonical_token(args.token) if args.type == "ISO14443" else args.token
    if token is None:
        raise OperatorError(f"{args.token!r} is no card number; name another kind with --type Central")
    request = {"idToken": {"idToken": token, "type": args.type}, "remoteStartId": request_id()}
    more = {
        "evseId": args.evse,
        "groupIdToken": {"idToken": args.group, "type": "Central"} if args.group else None,
    }
    return send(args, "RequestStartTransaction", request | {name: value for name, value in more.items() if value})


def stop(args: Args) -> int:
    return send(args, "RequestStopTransaction", {"transactionId": args.transaction})


def availability(args: Args) -> int:
    return send(args, "ChangeAvailability", {"operationalStatus": args.status} | evse_of(args))


def reset(args: Args) -> int:
    return send(args, "Reset", {"type": args.type})


def unlock(args: Args) -> int:
    return send(args, "UnlockConnector", {"evseId": args.evse, "connectorId": 1})


def trigger(args: Args) -> int:
    return send(args, "TriggerMessage", {"requestedMessage": args.message} | evse_of(args))


def get(args: Args) -> int:
    return send(args, "GetVariables", {"getVariableData": [variable(name) for name in args.names]})


def set_(args: Args) -> int:
    data = []
    for text in args.values:
        name, equals, value = text.partition("=")
        if not equals:
            raise OperatorError(f"{text!r} sets nothing: write Component.Variable=value")
        data.append(variable(name) | {"attributeValue": value})
    return send(args, "SetVariables", {"setVariableData": data})


def report(args: Args) -> int:
    """Without --base or --only: what NotifyReport has brought so far."""
    if args.base:
        return send(args, "GetBaseReport", {"requestId": request_id(), "reportBase": args.base})
    if args.only:
        wanted = [variable(name) for name in args.only]
        return send(args, "GetReport", {"requestId": request_id(), "componentVariable": wanted})
    reports = opened(args).records(args.station, "NotifyReport")
    if not reports:
        raise OperatorError(f"no report of {args.station} yet: ask for one with --base FullInventory --wait")
    values = {}                                         # (component, variable) -> its newest value
    for _, record in reports:
        for data in record.payload.get("reportData", ()):
            values[shown_variable(data)] = ", ".join(map(shown_attribute, data["variableAttribute"]))
    for name, value in sorted(values.items()):
        print(f"{name} = {value}")
    return 0


NO_LIST = "there is no list yet: make one with `devcloud allow`"
RESTORED = "if this database is a restored one, `devcloud generation` makes its list the newest"


def generation(args: Args) -> int:
    """For a database that is a restored copy, or a new owner's: stations take its list, whatever they have."""
    books = ledger(args)
    ahead = books.lists.ahead()
    version = books.drivers.new_generation(clock_ms(), max((theirs[0] for _, theirs in ahead), default=0))
    print(f"list {shown_edition(version)}; {', '.join(name for name, _ in ahead) or 'no station'} had a newer one")
    return 0


def list_(args: Args) -> int:
    """Pushes the list of drivers now, or asks which one is there."""
    if args.ask:
        return send(args, "GetLocalListVersion", {})
    books = ledger(args)
    if books.drivers.version() is None:
        raise OperatorError(NO_LIST)
    now_ms = clock_ms()
    with books.db.transaction():
        expires_ms = now_ms + args.expires_s * 1000
        ids = books.lists.push(station_id(args), now_ms, expires_ms, whole=not args.differential)
    if ids is None:
        raise OperatorError(f"nothing to tell {args.station}, or its list is not known: push the whole one, --full")
    return max(sent(args, books, command_id) for command_id in ids)


def compare(args: Args) -> int:
    """Asks the station what its list says, in few bytes. Exit code 1 if it does not say what ours says. With --mend the
    station is sent what differs."""
    books, station = ledger(args), station_id(args)
    ours, now_ms = books.drivers.version(), clock_ms()
    if ours is None:
        raise OperatorError(NO_LIST)
    expires_ms = now_ms + args.expires_s * 1000
    asked = answered(books, books.commands.add(station, "DataTransfer", transfer(CONTENT), expires_ms, now_ms))
    if asked.result is None:
        raise OperatorError(f"{station} has not answered: `devcloud watch` shows whether it is there")
    if asked.response.get("status") != "Accepted":
        said = outcome(asked, clock_ms())
        raise OperatorError(f"{station} cannot say what its list says ({said}): `devcloud list {station}` sends ours")
    try:
        theirs = read_said(asked.response.get("data"))
    except Malformed as error:
        raise OperatorError(f"{station}'s answer cannot be read: {error}") from None
    return compared(args, books, station, theirs)


def compared(args: Args, books: Ledger, station: str, theirs: Said) -> int:
    with books.db.transaction():                        # nobody changes the list between a look and a mend
        ours, content = books.drivers.version(), books.drivers.content()
        buckets = different(content, theirs.content)
        print(comparison(station, ours, content, theirs, buckets))
        if not (buckets and args.mend):
            return 1 if buckets or theirs.version != ours else 0
        if ours is None or is_newer(theirs.version, ours):
            raise OperatorError(f"the list there is newer than ours: {RESTORED}")
        if theirs.version != ours and not is_way(theirs.version, ours):
            raise OperatorError(f"from another generation no bucket leads to ours: `devcloud list {station}` sends it")
        now_ms = clock_ms()
        ids = books.lists.mend(station, theirs.content, now_ms, now_ms + args.expires_s * 1000, theirs.version)
    assert ids
    return max([sent(args, books, command_id) for command_id in ids])


def comparison(station: str, ours: Version | None, content: bytes, theirs: Said, buckets: list[int]) -> str:
    """In one line, and if they differ in a second one."""
    here, there = counts_of(content), counts_of(theirs.content)
    is_other = "" if theirs.version == ours else f", ours is {shown_edition(ours)}"
    head = f"{station} has list {shown_edition(theirs.version)}{is_other}: {sum(there)} drivers"
    if not buckets:
        return f"{head}, the same as ours"
    least = sum(max(1, abs(here[i] - there[i])) for i in buckets)
    return (
        f"{head}, ours has {sum(here)}\nthey differ in {len(buckets)} of {len(here)} buckets, so in at least {least}"
        f" drivers; to mend it takes the {sum(here[i] for i in buckets)} drivers of these buckets (--mend)"
    )


def shown_edition(version: Version | None) -> str:
    return f"{version[1]} of generation {version[0]}" if version else "none"


def clear_cache(args: Args) -> int:
    return send(args, "ClearCache", {})


def transaction_status(args: Args) -> int:
    return send(args, "GetTransactionStatus", {"transactionId": args.transaction} if args.transaction else {})


def network(args: Args) -> int:
    """Another broker, e.g. mqtts://broker.example.com:8883."""
    if not re.fullmatch(r"mqtts://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:\d{1,5})?", args.url):
        raise OperatorError(f"{args.url!r} is no broker: write mqtts://HOST:PORT")
    profile = {"ocppCsmsUrl": args.url, "ocppTransport": "JSON", "messageTimeout": 30, "securityProfile": 3}
    connection = profile | {"ocppInterface": args.interface}
    return send(args, "SetNetworkProfile", {"configurationSlot": args.slot, "connectionData": connection})


def live(args: Args) -> int:
    if not (1 <= args.interval <= 60 and 0 <= args.seconds <= 3600):
        raise OperatorError("give --interval 1..60 and --for 0..3600 seconds")
    return send(args, "DataTransfer", transfer("LiveMode", {"intervalS": args.interval, "forS": args.seconds}))


def keys(args: Args) -> int:
    """A new key signed by the old one; when the station has taken it, its commands are signed by it. `--retire` then
    makes it forget the others."""
    operator, books = read_operator(args.pki), ledger(args)
    row = books.db.execute("SELECT key_id FROM station WHERE name = ?", (station_id(args),)).fetchone()
    now_at = (row and row[0]) or operator.first_id
    if not args.retire:
        made = operator.make()
        print(f"made key {made.hex()}", file=sys.stderr)
        added = {"add": [operator.entry(made)], "retire": []}
        return send(args, "DataTransfer", transfer("OperatorKeys", added), books)
    folder = args.pki / "operators"
    all_ids = {operator.first_id, *(bytes.fromhex(path.stem) for path in folder.glob("*.key"))}
    if now_at == operator.first_id and len(all_ids) > 1:
        raise OperatorError(f"{args.station} takes no newer key yet: run `devcloud keys {args.station}` first")
    retired = sorted(kid.hex() for kid in all_ids - {now_at})
    if not retired:
        raise OperatorError("there is one key only, and a station never forgets its last one")
    return send(args, "DataTransfer", transfer("OperatorKeys", {"add": [], "retire": retired}), books)


def certificate(args: Args) -> int:
    try:
        chain = args.pem.read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorError(f"{args.pem}: {error}") from None
    request = {"certificateChain": chain, "certificateType": "ChargingStationCertificate"}
    return send(args, "CertificateSigned", request)


def results(args: Args) -> int:
    now_ms = clock_ms()
    for command in opened(args).commands.of(args.station, args.last):
        print(f"{shown_time(command.made_ms)}  {command.id}  {command.action:24} {outcome(command, now_ms)}")
    return 0


def refuse(args: Args) -> int:
    """A hook for tests: the cloud never stores this record, and says so."""
    if not args.off and not args.why:
        raise OperatorError("say why, in one sentence, or --off")
    ledger(args).refuse(station_id(args), args.stream, args.seq, None if args.off else args.why)
    return 0


def send(args: Args, action: str, payload: Json, books: Ledger | None = None) -> int:
    now_ms = clock_ms()
    station = station_id(args)
    books = books or ledger(args)
    return sent(args, books, books.commands.add(station, action, payload, now_ms + args.expires_s * 1000, now_ms))


def sent(args: Args, books: Ledger, command_id: str) -> int:
    print(command_id, flush=True)
    return wait(books, command_id) if args.wait else 0


def answered(books: Ledger, command_id: str) -> Command:
    """When its result has come, or its time is over."""
    while (command := books.commands.find(command_id)) and command.status is None and clock_ms() <= command.expires_ms:
        time.sleep(POLL_S)
    assert command
    return command


def wait(books: Ledger, command_id: str) -> int:
    """Prints the CommandResult when it has come. Exit code 1 if it did not, or was no good news."""
    command = answered(books, command_id)
    print(json.dumps(command.result, indent=2) if command.result else outcome(command, clock_ms()))
    return 0 if command.status == "Done" and command.response.get("status", "Accepted") in GOOD_NEWS else 1


GOOD_NEWS = ("Accepted", "AcceptedCanceled", "Scheduled", "Unlocked", "NotApplicable", "RebootRequired")


def outcome(command: Command, now_ms: int) -> str:
    if command.result is not None:
        said = command.response.get("status") or command.result.get("why") or ""
        return f"{command.status} {said}".rstrip()
    if command.status is not None:
        return command.status
    if now_ms > command.expires_ms:
        return f"expired without a word ({command.sends} sends)"
    return f"on its way ({command.sends} sends)" if command.sends else "waits for the station"


def station_id(args: Args) -> str:
    station: str = args.station
    if not STATION_ID.fullmatch(station):
        raise OperatorError(f"{station!r} is no station id: 1 to 36 letters, digits and hyphens")
    return station


def request_id() -> int:
    return secrets.randbits(31)


def evse_of(args: Args) -> Json:
    return {"evse": {"id": args.evse}} if args.evse else {}


VARIABLE = re.compile(r"(\w+)(?:@(\d+))?\.(\w+)(?:\[([^\]]+)\])?", re.ASCII)


def variable(name: str) -> Json:
    """OCPP's component and variable of `Component@evse.Variable[instance]`."""
    if (parts := VARIABLE.fullmatch(name)) is None:
        raise OperatorError(f"{name!r} is no variable: write Component.Variable, Component@1.Variable for port 1")
    component, evse, variable_name, instance = parts.groups()
    return {
        "component": {"name": component} | ({"evse": {"id": int(evse)}} if evse else {}),
        "variable": {"name": variable_name} | ({"instance": instance} if instance else {}),
    }


def shown_attribute(attribute: Json) -> str:
    kind = attribute.get("type", "Actual")
    return f"{attribute.get('value', '')}{'' if kind == 'Actual' else f' ({kind})'}"


# -- hand-overs -------------------------------------------------------------------------------------------------------


def hand_overs(args: Args) -> int:
    """What installers have handed over, and whether their stations have signed just that; exit code 1 if not."""
    ca, books, is_good = read_ca(args.pki), opened(args), True
    rows = "SELECT received_ms, station, body FROM record WHERE action = 'NotifyEvent' ORDER BY id"
    for received_ms, station, body in books.db.execute(rows):
        try:
            record = read_record(body, books.keys)
        except Malformed:
            continue
        for custom in handover.hand_overs(record):
            verdict = handover.judged(station, custom, ca)
            is_good = is_good and verdict.is_good is not False
            if args.json:
                facts = {"station": station, "received_ms": received_ms, "is_good": verdict.is_good}
                print(json.dumps({**facts, "verdict": verdict.text, "handOver": custom}))
            else:
                who = ", ".join(str(custom.get(key) or "?") for key in ("installer", "company"))
                at = custom.get("handedOverAt") or shown_time(received_ms)
                print(" ".join(f"{station}  {at}  {who}: {verdict.text}".splitlines()))
    books.close()
    return 0 if is_good else 1


# -- arguments --------------------------------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser("devcloud", description="The reference cloud of station-agent.")
    commands = root.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Run, text: str, *, to_station: bool = False) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=run.__doc__ or text)
        sub.set_defaults(run=run)
        if name != "ca":
            sub.add_argument("--db", type=Path, default=Path("devcloud.db"), metavar="FILE")
        if to_station:
            sub.add_argument("station")
            sub.add_argument("--expires-s", type=positive, default=60, metavar="S")
            sub.add_argument("--wait", action="store_true", help="until the station has answered; print its result")
        return sub

    add_ca(add("ca", ca, "demo certificates: `ca init DIR`, `ca station DIR SERIAL`, `ca sign DIR CSR`"))
    sub = add("serve", serve, "take in what the stations send, and answer")
    sub.add_argument("--pki", type=Path, required=True, metavar="DIR")
    sub.add_argument("--host", default="localhost")
    sub.add_argument("--port", type=int, default=8883)
    sub.add_argument("--name", default="devcloud", help="this consumer's own; several share one database")
    sub.add_argument("--cert-days", type=float, metavar="D", help="how long the certificates that it renews are valid")
    sub.add_argument("--enrol", type=int, metavar="PORT", help="also be the EST server of stations that have expired")
    sub.add_argument("--reports", metavar="URL", help="where a station that reports a problem is to PUT its report")
    sub = add("watch", watch, "look at it: stations, ports, sessions, what is wrong")
    sub.add_argument("--json", action="store_true", help="for a program: a line whenever something has changed")

    cli_ledger.add_ledger(add)
    sub = add("handovers", hand_overs, "what was handed over, and whether its station has signed it")
    sub.add_argument("--pki", type=Path, required=True, metavar="DIR")
    sub.add_argument("--json", action="store_true", help="with all of it, a line each")

    cli_drivers.add_drivers(add)
    cli_tariffs.add_drivers_tariff(add)

    def to(name: str, run: Run, text: str) -> argparse.ArgumentParser:
        return add(name, run, text, to_station=True)

    add_commands(to)
    cli_firmware.add_firmware(to, send)
    cli_owner.add_owner(to, send)
    cli_life.add_life(to, send)
    cli_tariffs.add_tariffs(to, send)
    cli_profiles.add_profiles(to, send)
    cli_reports.add_reports(add, to, send)
    add("generation", generation, "our list is the newest, whatever was sent before: after a restore")
    sub = add("results", results, "what became of the commands to a station")
    sub.add_argument("station")
    sub.add_argument("--last", type=positive, default=20, metavar="N")
    sub = add("refuse", refuse, "never store a record (for tests)")
    sub.add_argument("station")
    sub.add_argument("stream", type=int, choices=STREAMS)
    sub.add_argument("seq", type=positive)
    sub.add_argument("why", nargs="?")
    sub.add_argument("--off", action="store_true")
    return root


def add_ca(sub: argparse.ArgumentParser) -> None:
    whats = sub.add_subparsers(required=True, dest="what")
    whats.add_parser("init").add_argument("dir", type=Path)
    station = whats.add_parser("station")
    station.add_argument("dir", type=Path)
    station.add_argument("serial")
    station.add_argument("--csr", type=Path, metavar="FILE")
    sign = whats.add_parser("sign")
    sign.add_argument("dir", type=Path)
    sign.add_argument("csr", type=Path)
    for what in (station, sign):
        what.add_argument("--days", type=float, metavar="D")


def add_commands(to: Callable[[str, Run, str], argparse.ArgumentParser]) -> None:
    """Every row of the table of commands in docs/uplink.md."""
    sub = to("start", start, "start a session from afar")
    sub.add_argument("--token", required=True)
    sub.add_argument("--type", default="ISO14443")
    sub.add_argument("--evse", type=int, metavar="N")
    sub.add_argument("--group", metavar="ID", help="his: without one no access rule of groups lets him in")
    to("stop", stop, "end one").add_argument("transaction")
    sub = to("availability", availability, "take a station or one of its ports in or out of service")
    sub.add_argument("status", choices=("Operative", "Inoperative"))
    sub.add_argument("--evse", type=int, metavar="N")
    sub = to("reset", reset, "restart the station")
    sub.add_argument("type", choices=("Immediate", "OnIdle", "ImmediateAndResume"), nargs="?", default="OnIdle")
    to("unlock", unlock, "free a cable").add_argument("evse", type=positive)
    sub = to("trigger", trigger, "have a message sent now")
    sub.add_argument("message")
    sub.add_argument("--evse", type=int, metavar="N")
    to("get", get, "read variables: Component.Variable").add_argument("names", nargs="+", metavar="VARIABLE")
    sub = to("set", set_, "write variables: Component.Variable=value")
    sub.add_argument("values", nargs="+", metavar="VARIABLE=VALUE")
    sub = to("report", report, "ask for a report, or print what reports have brought")
    sub.add_argument("--base", choices=("ConfigurationInventory", "FullInventory", "SummaryInventory"))
    sub.add_argument("--only", action="append", metavar="VARIABLE")
    sub = to("list", list_, "push the list of drivers")
    how = sub.add_mutually_exclusive_group()
    how.add_argument("--full", action="store_true", help="all of it; so it is anyway")
    how.add_argument("--differential", action="store_true", help="what has changed since the list that is there")
    how.add_argument("--ask", action="store_true", help="which one is there?")
    sub = to("compare", compare, "does the list there say what ours says?")
    sub.add_argument("--mend", action="store_true", help="and send what differs")
    to("clear-cache", clear_cache, "forget the answers about cards that are on no list")
    to("transaction-status", transaction_status, "is anything on its way?").add_argument("transaction", nargs="?")
    sub = to("network", network, "another broker, from the next connection on")
    sub.add_argument("url", metavar="mqtts://HOST:PORT")
    sub.add_argument("--slot", type=int, choices=(1, 2, 3), default=1)
    sub.add_argument("--interface", default="Any")
    sub = to("live", live, "meters every few seconds, for a while")
    sub.add_argument("--interval", type=int, default=2, metavar="S")
    sub.add_argument("--for", type=int, default=600, dest="seconds", metavar="S", help="0 ends it")
    sub = to("keys", keys, "a new key of the operator's, or with --retire an end of the old ones")
    sub.add_argument("--pki", type=Path, required=True, metavar="DIR")
    sub.add_argument("--retire", action="store_true")
    to("certificate", certificate, "a new certificate for the station's own key").add_argument("pem", type=Path)


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        run: Run = args.run
        return run(args)
    except OperatorError as error:
        print(f"devcloud: {error}", file=sys.stderr)
        return 2
    except sqlite3.DatabaseError as error:
        print(f"devcloud: {args.db}: {error}", file=sys.stderr)
        return 2
    except UnicodeEncodeError as error:
        print(f"devcloud: {error.object!a} is no UTF-8: type it again", file=sys.stderr)
        return 2
    except BrokenPipeError:                             # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
