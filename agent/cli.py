"""`station-agent run | demo | doctor | explain | status`.

What an operator can mend is one sentence on stderr and exit code 2. Modules are imported by the command that needs
them: `run` has a budget from exec to the first tap.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from agent import __version__
from agent.settings import ConfigError

BOARD = Path("/etc/station-agent/board.toml")
CONFIG = Path("/etc/station-agent/config.toml")
ASK_TIMEOUT_S = 5.0
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
    demo.add_argument("--page", type=int, metavar="PORT", help="serve the station's page on this TCP port")
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

    for command in (run, doctor, explain, status):
        command.add_argument("--board", type=Path, default=BOARD, metavar="FILE", help=f"default: {BOARD}")
        command.add_argument("--config", type=Path, default=CONFIG, metavar="FILE", help=f"default: {CONFIG}")
    for command in (doctor, explain, status):
        command.add_argument("--json", action="store_true", help="for a machine to read")
    return top


def command_run(args: argparse.Namespace) -> int:
    from agent import app  # type: ignore[attr-defined, unused-ignore]

    return int(app.run(args.board, args.config) or 0)


def command_demo(args: argparse.Namespace) -> int:
    from agent.sim import demo  # type: ignore[attr-defined, unused-ignore]

    return int(demo.main(once=args.once, page_port=args.page, keep=args.keep) or 0)


def command_doctor(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from agent.doctor import as_text, examine, is_fit

    now_s = time.time()  # noqa: TID251 - whether the system's own clock is plausible is what the doctor is asked
    findings = examine(args.board, args.config, now_s)
    print(as_json([asdict(finding) for finding in findings]) if args.json else as_text(findings))
    return 0 if is_fit(findings) else FAILED


def command_explain(args: argparse.Namespace) -> int:
    import msgspec

    from agent.explain import Explanation, as_text, card_of

    request: dict[str, Any] = {"command": "explain", "card": card_of(args.card), "port": args.port}
    if args.at:
        request["at_s"] = seconds(args.at)
    answer = asked(args.config, request)
    if answer is None:
        answer = explained_offline(args.board, args.config, request)
    try:
        print(as_json(answer) if args.json else as_text(msgspec.convert(answer, Explanation)))
    except msgspec.ValidationError as error:
        raise ConfigError(f"the running agent is of another version ({error}): restart it, or type --json") from None
    return 0


def explained_offline(board_path: Path, config_path: Path, request: dict[str, Any]) -> dict[str, Any]:
    """The same answer from the files themselves, which the agent holds locked while it runs."""
    raise ConfigError("no agent is running: type systemctl start station-agent")


def command_status(args: argparse.Namespace) -> int:
    answer = asked(args.config, {"command": "status"})
    if answer is None:
        raise ConfigError("no agent is running: type systemctl start station-agent")
    print(as_json(answer) if args.json else status_text(answer))
    return 0


def asked(config_path: Path, request: dict[str, Any]) -> dict[str, Any] | None:
    """The running agent's answer; None if none runs. ConfigError carries its complaint."""
    from agent.board import load_config
    from agent.control import ask

    answer = ask(Path(load_config(config_path).paths.control), request, ASK_TIMEOUT_S)
    if answer is not None and "error" in answer:
        raise ConfigError(str(answer["error"]))
    return answer


def status_text(answer: dict[str, Any]) -> str:
    """Facts a line each; every port on a line of its own."""
    ports = answer.pop("ports", [])
    lines = [f"{key:14}  {'-' if value is None else value}" for key, value in answer.items()]
    for port in ports:
        known = [f"{key} {value}" for key, value in port.items() if value not in (None, []) and key != "evse_id"]
        lines.append(f"{'port ' + str(port.get('evse_id')):14}  {', '.join(known)}")
    return "\n".join(lines)


def seconds(text: str) -> float:
    """ISO 8601 to seconds since 1970; without an offset it is UTC, as everywhere in this software."""
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ConfigError(f"{text[:40]} is no time: type it like 2026-11-21T18:00") from None


def as_json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
