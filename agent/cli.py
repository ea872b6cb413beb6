"""`station-agent run | demo | doctor | explain | status | panel | list | replay | deadletters | plan | csr |
certificate | board | modem | gateway`.

What an operator can mend is one sentence on stderr and exit code 2. Modules are imported by the command that needs
them: `run` has a budget from exec to the first tap.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from agent import __version__
from agent.settings import ConfigError

BOARD = Path("/etc/station-agent/board.toml")
CONFIG = Path("/etc/station-agent/config.toml")
ASK_TIMEOUT_S = 5.0
MODEM_TIMEOUT_S, AT_TIMEOUT_S = 15.0, 370.0  # it answers behind the agent's own questions; a scan takes five minutes
FAILED, OPERATOR = 1, 2  # exit codes: what was asked for went wrong; the operator can mend it


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        code: int = args.command(args)
    except ConfigError as error:
        print(f"station-agent: {error}", file=sys.stderr)
        return OPERATOR
    except KeyboardInterrupt:
        return 130  # 128 + SIGINT, as a shell counts
    except BrokenPipeError:  # `station-agent status | head`
        sys.stderr.close()
        return FAILED
    return code


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One sentence instead of the whole usage."""
        self.exit(OPERATOR, f"{self.prog}: {message}: type {self.prog} --help\n")


def parser() -> argparse.ArgumentParser:
    top = Parser(prog="station-agent", description="The software of an AC charging station.")
    top.add_argument("--version", action="version", version=f"station-agent {__version__}")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="be the station; systemd starts this")
    run.set_defaults(command=command_run)

    demo = commands.add_parser("demo", help="broker, reference cloud, a simulated station with two ports, a story")
    demo.add_argument("--once", action="store_true", help="play the story, check the ledger against the meters, exit")
    demo.add_argument("--page", type=tcp_port, metavar="PORT", help="serve the page on this TCP port; 0: any free one")
    demo.add_argument(
        "--broker", choices=("auto", "mosquitto", "own"), default="auto", help="auto: mosquitto where it is installed"
    )
    demo.add_argument("--keep", action="store_true", help="keep the demo's folder (certificates, database, logs)")
    demo.set_defaults(command=command_demo)

    doctor = commands.add_parser("doctor", help="is this station fit to work, and if not, what to type")
    doctor.set_defaults(command=command_doctor)

    explain = commands.add_parser("explain", help="which rule decides about a card, and why")
    explain.add_argument("card", metavar="CARD", help="the card's id: 8, 14 or 20 hexadecimal digits")
    explain.add_argument("--port", type=int, metavar="N", help="as if the driver had pressed the button of port N")
    explain.add_argument("--at", metavar="TIME", help="at another time: 2026-11-21T18:00, UTC unless it says +01:00")
    explain.set_defaults(command=command_explain)

    status = commands.add_parser("status", help="what the running agent knows")
    status.set_defaults(command=command_status)

    panel = commands.add_parser("panel", help="the address of the station's screen, for a browser on this machine")
    panel.set_defaults(command=command_panel)

    list_ = commands.add_parser("list", help="the allowlist: which one is in force, and is it sound")
    does = list_.add_subparsers(title="commands", required=True, metavar="COMMAND")
    which = does.add_parser("status", help="which list is in force, how old it is, what is on its way")
    which.set_defaults(command=command_list_status)
    sound = does.add_parser("verify", help="read every entry, and compare with what the list says of itself")
    sound.set_defaults(command=command_list_verify)
    export = does.add_parser("export", help="every entry as CSV")
    export.add_argument("--hashed", action="store_true", help="ids as keyed hashes, and this station has no others")
    export.set_defaults(command=command_list_export)

    letters = commands.add_parser("deadletters", help="records that the cloud refuses for good, or that were damaged")
    letters.set_defaults(command=command_deadletters)

    plan = commands.add_parser("plan", help="give the running agent a plan token (base64) that somebody has brought")
    plan.add_argument("file", type=Path, metavar="FILE")
    plan.set_defaults(command=command_plan)

    csr = commands.add_parser("csr", help="print the request for this station's certificate, for your CA to sign")
    csr.set_defaults(command=command_csr)

    certificate = commands.add_parser("certificate", help="install the certificate that your CA has signed")
    certificate.add_argument("file", type=Path, metavar="FILE", help="the certificate, then the CAs above it (PEM)")
    certificate.set_defaults(command=command_certificate)

    replay = commands.add_parser("replay", help="an event log once more, decision by decision; on any machine")
    replay.add_argument("file", type=Path, metavar="FILE", help="a report, a folder events, or one file")
    replay.set_defaults(command=command_replay)

    add_board(commands)
    add_modem(commands)
    gateway = add_gateway(commands)

    for command in (
        run, doctor, explain, status, panel, which, sound, export, letters, plan, csr, certificate, gateway
    ):  # fmt: skip
        command.add_argument("--board", type=Path, default=BOARD, metavar="FILE", help=f"default: {BOARD}")
        command.add_argument("--config", type=Path, default=CONFIG, metavar="FILE", help=f"default: {CONFIG}")
    for command in (doctor, explain, status, which, gateway):
        command.add_argument("--json", action="store_true", help="for a machine to read")
    letters.add_argument("--json", action="store_true", help="all that is in them: JSON, a line each")
    return top


def add_board(commands: Any) -> None:
    """Its commands name a board file where the others have --board."""
    board = commands.add_parser("board", help="make a board file, and prove it on the hardware")
    does = board.add_subparsers(title="commands", required=True, metavar="COMMAND")
    file = {"type": Path, "metavar": "FILE", "help": "a board file"}

    check = does.add_parser("check", help="is the file right, and what of it does this machine lack")
    check.add_argument("file", **file)
    check.add_argument("--json", action="store_true", help="for a machine to read")
    check.set_defaults(command=command_board_check)

    describe = does.add_parser("describe", help="every input, output, part and pin, for who wires it")
    describe.add_argument("file", **file)
    describe.set_defaults(command=command_board_describe)

    pins = does.add_parser("pins", help="the pin table that the controller's firmware is built with")
    pins.add_argument("file", **file)
    pins.set_defaults(command=command_board_pins)

    new = does.add_parser("new", help="begin a board file as a copy of another one")
    new.add_argument("--from", dest="source", required=True, metavar="NAME", help="one of our boards, or a file")
    new.add_argument("file", **{**file, "help": "the new file; its name is the board's"})
    new.set_defaults(command=command_board_new)

    safe = does.add_parser("safe", help="every output at its safe value, after an agent that was killed")
    safe.add_argument("file", **file)
    safe.set_defaults(command=command_board_safe)

    try_ = does.add_parser("try", help="every input and output, one at a time, by hand; not while the agent runs")
    try_.add_argument("file", **file)
    try_.add_argument("--config", type=Path, default=CONFIG, metavar="FILE", help=f"default: {CONFIG}")
    try_.set_defaults(command=command_board_try)


def add_modem(commands: Any) -> None:
    modem = commands.add_parser("modem", help="what a modem says, and what it means")
    does = modem.add_subparsers(title="commands", required=True, metavar="COMMAND")

    parse = does.add_parser("parse", help="raw answers to their fields: JSON lines in, JSON lines out (docs/modem.md)")
    parse.set_defaults(command=command_modem_parse)

    status = does.add_parser("status", help="the modem on one screen: state, network, signal, what is done next")
    status.set_defaults(command=command_modem_status)

    watch = does.add_parser("watch", help="the signal, again and again, while the antenna is turned; Ctrl-C ends it")
    watch.add_argument("--minutes", type=minutes, default=15, metavar="N", help="end after so many; default: 15")
    watch.set_defaults(command=command_modem_watch)

    at = does.add_parser("at", help="ask the modem something yourself, between the agent's own questions")
    at.add_argument("text", metavar="COMMAND", help="like AT+CSQ, in quotes where it has any")
    at.add_argument("--force", action="store_true", help="also what may end the connection, or write what stays")
    at.set_defaults(command=command_modem_at)

    diagnose = does.add_parser("diagnose", help="why there is no connection: one cause, and what to do")
    diagnose.set_defaults(command=command_modem_diagnose)

    for command in (status, watch, at, diagnose):
        command.add_argument("--config", type=Path, default=CONFIG, metavar="FILE", help=f"default: {CONFIG}")
        command.add_argument("--json", action="store_true", help="for a machine to read")
    diagnose.add_argument("--board", type=Path, default=BOARD, metavar="FILE", help=f"default: {BOARD}")


def add_gateway(commands: Any) -> argparse.ArgumentParser:
    gateway = commands.add_parser("gateway", help="stations without a modem that hang off this one")
    does = gateway.add_subparsers(title="commands", required=True, metavar="COMMAND")

    status: argparse.ArgumentParser = does.add_parser("status", help="each leaf, and what it has used this month")
    status.set_defaults(command=command_gateway_status)
    return status


def command_board_check(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from agent.boardtool import check, this_machine
    from agent.doctor import as_text, is_fit

    findings = check(args.file, this_machine())
    print(as_json([asdict(finding) for finding in findings]) if args.json else as_text(findings))
    return 0 if is_fit(findings) else FAILED


def command_board_describe(args: argparse.Namespace) -> int:
    from agent.board import load
    from agent.boardtool import described

    print(described(load(args.file)))
    return 0


def command_board_pins(args: argparse.Namespace) -> int:
    from agent.board import load
    from agent.pintable import pin_table

    print(pin_table(load(args.file)), end="")
    return 0


def command_board_new(args: argparse.Namespace) -> int:
    from agent.boardtool import new

    new(args.source, args.file)
    print(f"{args.file} is written: correct every fact in it, then type station-agent board check {args.file}")
    return 0


def command_board_safe(args: argparse.Namespace) -> int:
    from agent.board import load
    from agent.hal.gpio import Gpiod, make_safe

    outputs = load(args.file).output
    problems = make_safe(outputs, Gpiod()) if outputs else []
    for problem in problems:
        print(problem)
    return FAILED if problems else 0


def command_board_try(args: argparse.Namespace) -> int:
    from agent.board import load
    from agent.lock import exclusive
    from agent.trial import Verdict, run, steps, summary
    from agent.trialhands import hands_of

    board = load(args.file)
    taken = "the agent or another board try has the hardware: end it first, type systemctl stop station-agent"
    with exclusive(state_of(args.config), taken):
        end_once()
        hands = hands_of(board)
        try:
            results = run(board, hands)
        finally:
            hands.close()
    print(summary(results))
    is_whole = len(results) == len(list(steps(board)))
    return 0 if is_whole and all(result.verdict is not Verdict.FAILS for result in results) else FAILED


def command_modem_parse(args: argparse.Namespace) -> int:
    from agent.modem.parse import answers

    for answer in answers(sys.stdin.buffer.readline):
        print(answer, flush=True)
    return 0


def command_modem_status(args: argparse.Namespace) -> int:
    from agent.modem.status import as_text
    from agent.modemtool import request

    answer = of_agent(args.config, request("status"), MODEM_TIMEOUT_S)
    print(as_json(answer) if args.json else as_text(answer))
    return 0


def command_modem_watch(args: argparse.Namespace) -> int:
    from agent.loop import monotonic
    from agent.modemtool import rest, watch_line, watched

    def ask(request: Mapping[str, Any]) -> dict[str, Any]:
        return of_agent(args.config, request, MODEM_TIMEOUT_S)

    try:
        for reading in watched(ask, monotonic, args.minutes * 60.0, rest):
            print(json.dumps(reading) if args.json else watch_line(reading), flush=True)
    except KeyboardInterrupt:  # how one ends it
        print(file=sys.stderr)
    return 0


def command_modem_at(args: argparse.Namespace) -> int:
    from agent.modemtool import at_lines, request

    answer = of_agent(args.config, request("at", text=args.text, force=args.force), AT_TIMEOUT_S)
    print(as_json(answer) if args.json else "\n".join(at_lines(answer)))
    return 0 if answer["final"] is not None and answer["final"]["error"] is None else FAILED


def command_modem_diagnose(args: argparse.Namespace) -> int:
    from agent.doctor import admitted
    from agent.loop import system_wall
    from agent.modemtool import diagnosed, diagnosis_text, reached, request

    answer = of_agent(args.config, request("facts"), MODEM_TIMEOUT_S)
    found = diagnosed(answer, lambda: reached(admitted(args.board, args.config, system_wall(), ASK_TIMEOUT_S)))
    said = {"cause": found.cause, "evidence": found.evidence, "next": found.next}
    print(as_json(said) if args.json else diagnosis_text(found))
    return 0 if found.is_well else FAILED


def of_agent(config_path: Path, request: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
    """The running agent's answer, and nobody else's."""
    answer = asked(config_path, dict(request), timeout_s)
    if answer is None:
        raise ConfigError("no agent is running: type systemctl start station-agent")
    return answer


def end_once() -> None:
    """Ctrl-C, SIGTERM and a lost terminal end us by KeyboardInterrupt; the next ones do not disturb that."""
    import signal

    those = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def end(number: int, frame: object) -> None:
        for each in those:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    for each in those:
        signal.signal(each, end)


def state_of(config_path: Path) -> Path:
    """The folder that a running agent has locked. On a desk there may be no config file, and then no agent of it."""
    from agent.board import load_config
    from agent.settings import Paths

    return Path(load_config(config_path).paths.state if config_path.exists() else Paths().state)


def command_run(args: argparse.Namespace) -> int:
    from agent import app  # type: ignore[attr-defined, unused-ignore]

    return int(app.run(args.board, args.config) or 0)


def command_demo(args: argparse.Namespace) -> int:
    try:
        from agent.sim import demo
    except ModuleNotFoundError as error:
        raise ConfigError(f"no demo here ({error.name} is missing): run it from a checkout, after make setup") from None

    return int(demo.main(once=args.once, page_port=args.page, keep=args.keep, broker=args.broker) or 0)


def command_doctor(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from agent.doctor import as_text, examine, is_fit
    from agent.loop import system_wall

    findings = examine(args.board, args.config, system_wall())
    print(as_json([asdict(finding) for finding in findings]) if args.json else as_text(findings))
    return 0 if is_fit(findings) else FAILED


def command_explain(args: argparse.Namespace) -> int:
    import msgspec

    from agent.board import load_config
    from agent.explain import Explanation, as_text, card_of

    request: dict[str, Any] = {"command": "explain", "card": card_of(args.card), "port": args.port}
    if args.at:
        request["at_s"] = seconds(args.at)
    answer = asked(args.config, request)
    if answer is None:
        answer = explained_offline(args.board, args.config, request)
    try:
        if args.json:
            print(as_json(answer))
        else:
            support = str(load_config(args.config).settings.get("support_number", ""))
            print(as_text(msgspec.convert(answer, Explanation), support))
    except msgspec.ValidationError as error:
        raise ConfigError(f"the running agent is of another version ({error}): restart it, or type --json") from None
    return 0


def explained_offline(board_path: Path, config_path: Path, request: dict[str, Any]) -> dict[str, Any]:
    """The same answer from the files themselves; from a copy, so that nothing of them is changed or locked."""
    from tempfile import TemporaryDirectory

    from agent.app import settings_of
    from agent.authcache.cache import lifetime_s
    from agent.authcache.listfile import read_key
    from agent.authcache.lists import Lists
    from agent.board import load, load_config
    from agent.clock import BUILD_S, earliest
    from agent.control import explain_request
    from agent.explain import offline_station
    from agent.loop import system_wall
    from agent.outbox import StoreError
    from agent.store import open_database

    board, config = load(board_path), load_config(config_path)
    wall_s = system_wall() if system_wall() >= BUILD_S else None
    with TemporaryDirectory() as name:
        try:
            state = copied(Path(config.paths.state), Path(name))
            database, *_ = open_database(state / "station.db", bytes(8))
            facts = database.facts()
            database.close()
            lists = Lists(state / "lists", facts, read_key(state / "list.key"), 0.0)
        except (OSError, StoreError) as error:
            raise ConfigError(
                f"no agent is running, and its files cannot be read ({error}): type sudo before it"
            ) from None
        station = offline_station(settings_of(board, config), len(board.port), facts, wall_s, lists.state)
        earliest_s, kept_s = earliest(station.clock, 0.0), lifetime_s(station.settings)
        answer = explain_request(station, lambda card: lists.lookup(card, 0.0, earliest_s, kept_s), request, 0.0)
    print("no agent is running: this is what its files say, for idle ports and no link", file=sys.stderr)
    return answer


def command_list_status(args: argparse.Namespace) -> int:
    from agent.clock import BUILD_S
    from agent.listtool import status
    from agent.loop import system_wall

    with list_of(args.config) as lists:
        answer = status(lists, system_wall() if system_wall() >= BUILD_S else None)
    lines = (f"{key:12}  {'-' if value in (None, '', {}) else value}" for key, value in answer.items())
    print(as_json(answer) if args.json else "\n".join(lines))
    return FAILED if answer["problem"] else 0


def command_list_verify(args: argparse.Namespace) -> int:
    from agent.listtool import verify

    with list_of(args.config) as lists:
        problems, state = verify(lists), lists.state
    for problem in problems:
        print(problem)
    if not problems:
        said = f"list {state.generation}/{state.version} with {state.entries} entries is sound"
        print(said if state.version else "there is no list: who is not known to the cloud is refused")
    return FAILED if problems else 0


def command_list_export(args: argparse.Namespace) -> int:
    import sqlite3

    from agent.listtool import export

    if not args.hashed:
        raise ConfigError("this station knows no card ids, only keyed hashes of them: type --hashed")
    with list_of(args.config) as lists:
        if lists.problem:
            raise ConfigError(lists.problem)
        try:
            export(lists, sys.stdout)
        except sqlite3.Error as error:
            raise ConfigError(f"the list is damaged ({error}): type station-agent list verify") from None
    return 0


def list_of(config_path: Path) -> Any:
    """A copy of the list in force, of a running agent or of none."""
    from agent.board import load_config
    from agent.listtool import opened

    return opened(Path(load_config(config_path).paths.state), lambda: asked(config_path, {"command": "list"}))


def command_plan(args: argparse.Namespace) -> int:
    from agent.uplink.cwt import TOKEN_MAX

    try:
        with args.file.open("rb") as file:
            text = file.read(2 * TOKEN_MAX).decode("ascii").strip()
    except OSError as error:
        raise ConfigError(f"{args.file} cannot be read ({error.strerror}): type the path of the token's file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{args.file} holds no plan token: bring the file with its line of base64") from None
    if asked(args.config, {"command": "plan", "token": text}) is None:
        raise ConfigError("no agent is running: type systemctl start station-agent, then this again")
    print("the plan token is here")
    return 0


def command_deadletters(args: argparse.Namespace) -> int:
    from agent.deadletters import as_text

    letters = dead_letters(args.config)
    lines = (json.dumps(letter, ensure_ascii=False) for letter in letters) if args.json else as_text(letters)
    is_empty = True
    for line in lines:
        print(line)
        is_empty = False
    if is_empty and not args.json:
        print("none: the cloud has taken, or will take, all that was recorded")
    return 0


def dead_letters(config_path: Path) -> Iterator[dict[str, Any]]:
    """From the running agent, a page at a time; from the file if none runs."""
    after_id = 0
    while True:
        answer = asked(config_path, {"command": "deadletters", "after_id": after_id})
        if answer is None:
            yield from dead_letters_offline(config_path, after_id)
            return
        if not answer["letters"]:
            return
        yield from answer["letters"]
        after_id = answer["letters"][-1]["id"]


def dead_letters_offline(config_path: Path, after_id: int) -> Iterator[dict[str, Any]]:
    """Of a copy, so that nothing is changed or locked."""
    import sqlite3
    from tempfile import TemporaryDirectory

    from agent.board import load_config
    from agent.deadletters import shown
    from agent.outbox import Database, StoreError

    with TemporaryDirectory() as name:
        try:
            state = copied(Path(load_config(config_path).paths.state), Path(name))
            database = Database(state / "station.db", bytes(8))
            found = database.dead_letters(after_id)
            database.close()
        except (OSError, StoreError, sqlite3.Error) as error:
            raise ConfigError(
                f"no agent is running, and its files cannot be read ({error}): type sudo before it"
            ) from None
    yield from map(shown, found)


def copied(state: Path, to: Path) -> Path:
    """What a decision needs of the state folder."""
    if not (state / "station.db").exists():
        raise ConfigError(f"no agent is running, and none has ever run in {state}: type systemctl start station-agent")
    for name in ("station.db", "station.db-wal", "list.key"):
        if (state / name).exists():
            shutil.copy(state / name, to / name)
    if (state / "lists").is_dir():
        shutil.copytree(state / "lists", to / "lists", ignore=shutil.ignore_patterns("*.new*"))
    return to


def command_csr(args: argparse.Namespace) -> int:
    from agent.identity import requested

    answer = asked(args.config, {"command": "csr"})
    if answer is not None and not answer["csr"]:
        raise ConfigError("the key is being made: type station-agent csr again")
    if answer is None:
        with state_of_owner(args.config) as (config, folder):
            if config.station_id is None:
                raise ConfigError('a certificate needs a name: add [station] and below it station_id = "serial number"')
            request = requested(folder, config.station_id).request
            answer = {"csr": request.csr if request else ""}
    print(answer["csr"], end="")
    print(
        "have it signed (with the reference cloud: devcloud ca station DIR SERIAL --csr FILE), then type "
        "station-agent certificate FILE", file=sys.stderr,
    )  # fmt: skip
    return 0


def command_certificate(args: argparse.Namespace) -> int:
    from agent.certificates import CertificateError, read_chain
    from agent.clock import BUILD_S
    from agent.identity import Judge, installed, small
    from agent.loop import system_wall

    try:
        pem = small(args.file)
        chain = read_chain(pem)
        answer = asked(args.config, {"command": "certificate", "pem": pem.decode("ascii")})
        if answer is None:
            now_s = system_wall()
            with state_of_owner(args.config) as (config, folder):
                if config.broker is None or config.station_id is None:
                    raise ConfigError("whom to believe is not known: add [station] and [broker] with ca first")
                known_s = now_s if now_s >= BUILD_S else None
                judge = Judge(config.station_id, Path(config.broker.ca), max(now_s, BUILD_S), known_s)
                installed(folder, chain, judge)
    except (CertificateError, ValueError) as error:
        raise ConfigError(f"{args.file}: {error}") from None
    except OSError as error:
        raise ConfigError(f"{error.filename or args.file} cannot be read ({error.strerror}): name another") from None
    is_tried = answer is not None and not answer["first"]
    print("installed; it is tried within a minute" if is_tried else "installed; type systemctl restart station-agent")
    return 0


@contextmanager
def state_of_owner(config_path: Path) -> Iterator[tuple[Any, Any]]:
    """Config and identity folder of a station whose agent does not run. What root makes there is the agent's."""
    from agent.board import load_config
    from agent.identity import folder_of

    config = load_config(config_path)
    state, us = Path(config.paths.state), (os.geteuid(), os.getegid())
    try:
        owner = state.stat()
        if us[0] == 0:
            os.setegid(owner.st_gid)
            os.seteuid(owner.st_uid)
        folder = folder_of(state)
        folder.make()
        yield config, folder
    except OSError as error:
        why = f"{error.filename or state}: {error.strerror}"
        raise ConfigError(f"{why}: type sudo before the command, or mend [paths] state") from None
    finally:
        if us[0] == 0:
            os.seteuid(us[0])
            os.setegid(us[1])


def command_replay(args: argparse.Namespace) -> int:
    from agent.eventlog.replay import Difference, replay

    try:
        for line in replay(args.file):
            print(line)
    except Difference as difference:
        print(f"=> {difference}")
        return FAILED
    return 0


def command_status(args: argparse.Namespace) -> int:
    answer = asked(args.config, {"command": "status"})
    if answer is None:
        raise ConfigError("no agent is running: type systemctl start station-agent")
    print(as_json(answer) if args.json else status_text(answer))
    return 0


def command_gateway_status(args: argparse.Namespace) -> int:
    from agent.gateway.leaves import text

    answer = asked(args.config, {"command": "gateway"})
    if answer is None:
        raise ConfigError("no agent is running: type systemctl start station-agent")
    print(as_json(answer) if args.json else text(answer))
    return FAILED if answer["problem"] else 0


def command_panel(args: argparse.Namespace) -> int:
    """Whoever opens it may press keys: it is told to whom the control socket answers."""
    answer = asked(args.config, {"command": "panel"})
    if answer is None:
        raise ConfigError("no agent is running: type systemctl start station-agent")
    if not answer["url"]:
        raise ConfigError("this station has no page: add [panel] and below it port = 8080 to the config file")
    print(answer["url"])
    return 0


def asked(config_path: Path, request: dict[str, Any], timeout_s: float = ASK_TIMEOUT_S) -> dict[str, Any] | None:
    """The running agent's answer; None if none runs. ConfigError carries its complaint."""
    from agent.board import load_config
    from agent.control import ask

    answer = ask(Path(load_config(config_path).paths.control), request, timeout_s)
    if answer is not None and "error" in answer:
        raise ConfigError(str(answer["error"]))
    return answer


def status_text(answer: dict[str, Any]) -> str:
    """Facts a line each; every port on a line of its own."""
    ports, tested = answer.pop("ports", []), answer.pop("self_test", [])
    if data := answer.pop("data", None):
        answer["data"] = data_text(data)
    for end, counters in answer.pop("controller_link", {}).items():
        said = ", ".join(f"{name} {count}" for name, count in counters.items())
        answer[f"line, {end.replace('_', ' ')}"] = said or None
    lines = [f"{key:16}  {'-' if value is None else value}" for key, value in answer.items()]
    for port in ports:
        known = [f"{key} {value}" for key, value in port.items() if value not in (None, []) and key != "evse_id"]
        lines.append(f"{'port ' + str(port.get('evse_id')):16}  {', '.join(known)}")
    return "\n".join([*lines, *self_test_text(tested)])


def data_text(data: dict[str, Any]) -> str:
    """The modem's, of this month."""
    part = "" if data["percent"] is None else f", {data['percent']} % of {data['budget_mb']} MB"
    mode = ", low-data mode" if data["is_low_data"] else ""
    causes = ", ".join(f"{cause} {size_b / 1e6:.1f}" for cause, size_b in data["causes"].items())
    since = f" since {data['since']}" if data["since"] else ""
    return f"{data['used_b'] / 1e6:.1f} MB{since}{part}{mode}{f' ({causes})' if causes else ''}"


def self_test_text(tested: list[dict[str, Any]]) -> Iterator[str]:
    """What has not passed at this power-on, a line each, and how many have."""
    open_ = [part for part in tested if part["result"] != "passed"]
    yield f"{'self-test':16}  {len(tested) - len(open_)} of {len(tested)} parts have passed"
    for part in open_:
        where = f" of port {part['evse_id']}" if part["evse_id"] else ""
        said = f" ({part['code']}): {part['text']} {part['fix']}" if part["code"] else ""
        yield f"{'':16}  {part['part']}{where} {part['result']}{said}"


def minutes(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0.0 < found <= 1_440.0:
        raise argparse.ArgumentTypeError(f"{text[:40]} is no time to watch, type minutes like 15")
    return found


def tcp_port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65_535):
        raise argparse.ArgumentTypeError(f"{text[:40]} is no TCP port, type one like 8401")
    return int(text)


def seconds(text: str) -> float:
    """ISO 8601 to seconds since 1970; without an offset it is UTC, as everywhere in this software."""
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ConfigError(f"{text[:40]} is no time: type it like 2026-11-21T18:00") from None


def as_json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
