"""The control socket answers its own people and nobody else, and nothing a client sends disturbs the others."""

import asyncio
import json
import socket
import stat
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import cli, control
from agent.authcache.listfile import read_key
from agent.authcache.lists import Lists
from agent.board import BOARDS
from agent.control import (
    CLIENTS_MAX,
    REQUEST_MAX,
    ControlServer,
    ask,
    control_handlers,
    is_listening,
    plan_handler,
)
from agent.policy.plan_token import Refused, Token
from agent.settings import ConfigError
from agent.sockets import peer_uid
from agent.store import open_database
from tests.play import ANN, EVE, Play

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


def refusing(request: dict[str, Any]) -> dict[str, Any]:
    raise ConfigError("type something else")


def echo(request: dict[str, Any]) -> dict[str, Any]:
    return {"echo": request}


HANDLERS = {"echo": echo, "refuse": refusing}


def served(server: ControlServer, story: Callable[[], Awaitable[None]]) -> None:
    """Play a story of clients against a running server."""

    async def run() -> None:
        await server.start()
        try:
            async with asyncio.timeout(30):
                await story()
        finally:
            await server.close()

    asyncio.run(run())


async def asked(path: Path, command: str = "echo") -> dict[str, Any] | None:
    return await asyncio.to_thread(ask, path, {"command": command}, 5.0)


async def raw(path: Path, data: bytes, *, eof: bool = True) -> Any:
    """What comes back for these bytes; None if the server hangs up without a word."""

    def talk() -> bytes:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10.0)
            client.connect(str(path))
            with suppress(ConnectionError):  # it may hang up while we still send; what it said is there all the same
                client.sendall(data)
                if eof:
                    client.shutdown(socket.SHUT_WR)
            return client.makefile("rb").readline()

    line = await asyncio.to_thread(talk)
    return json.loads(line) if line else None


# -- who is answered


def test_a_question_is_answered_and_a_refusal_is_a_sentence(path: Path) -> None:
    async def story() -> None:
        assert await asked(path) == {"echo": {"command": "echo"}}
        assert await asked(path, "refuse") == {"error": "type something else"}

    served(ControlServer(path, HANDLERS), story)
    assert not path.exists()


def test_without_an_agent_or_with_a_stale_socket_there_is_no_answer(path: Path) -> None:
    assert ask(path, {"command": "echo"}, 5.0) is None
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    assert path.exists()
    assert ask(path, {"command": "echo"}, 5.0) is None

    async def story() -> None:
        assert await asked(path)

    served(ControlServer(path, HANDLERS), story)  # the stale file is replaced


def test_the_socket_is_private_from_its_first_instant_and_a_second_agent_does_not_take_it(path: Path) -> None:
    async def story() -> None:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert await asyncio.to_thread(is_listening, path)
        with pytest.raises(ConfigError, match="another agent listens"):
            await ControlServer(path, HANDLERS).start()
        assert await asked(path)

    served(ControlServer(path, HANDLERS), story)


def test_what_cannot_be_a_socket_is_the_operators_to_mend(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("precious")
    for path in (file, tmp_path / "no" / "folder", tmp_path / ("x" * 200)):
        with pytest.raises(ConfigError, match=r"set \[paths\] control"):
            asyncio.run(ControlServer(path, HANDLERS).start())
    assert file.read_text() == "precious"


def test_only_root_and_the_agents_own_user_are_answered(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = []

    async def story() -> None:
        answers.append(await asked(path))

    for uid in (0, 1234, 4321):
        monkeypatch.setattr(control, "peer_uid", lambda _, uid=uid: uid)
        served(ControlServer(path, HANDLERS, owner=1234), story)
    assert ["error" in (answer or {}) for answer in answers] == [False, False, True]


def test_the_kernel_says_who_calls() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert peer_uid(ours) == Path("/proc/self").stat().st_uid


# -- hostile clients


@pytest.mark.promise("S9")
@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_line_gets_an_answer_that_is_json(line: bytes) -> None:
    answer = ControlServer(Path("unused"), HANDLERS).answer(line)
    assert json.loads(json.dumps(answer)).keys() <= {"echo", "error"}


@pytest.mark.promise("S9")
@given(JSON, st.sampled_from(["status", "explain", "sttus"]))
def test_any_arguments_of_the_agents_own_commands_get_an_answer(value: Any, command: str) -> None:
    play = Play()
    handlers = control_handlers(lambda: play.station, lambda card: (play.allow.get(card), None), lambda: play.now)
    request = {**value, "command": command} if isinstance(value, dict) else {"command": command, "card": value}
    answer = ControlServer(Path("unused"), handlers).answer(json.dumps(request).encode())
    assert isinstance(answer, dict) and ("error" in answer or command == "status")


@pytest.mark.promise("S9", "S10")
def test_rubbish_half_lines_and_huge_lines_cost_only_their_sender(path: Path) -> None:
    async def story() -> None:
        assert "JSON" in (await raw(path, b"\xff\x00 rubbish\n"))["error"]
        assert "JSON" in (await raw(path, b"[" * 20_000 + b"\n"))["error"]
        assert "JSON" in (await raw(path, b'{"command": ' + b"9" * 10_000 + b"}\n"))["error"]
        assert "did you mean echo" in (await raw(path, b'{"command": "ecko"}\n'))["error"]
        assert "commands are echo, refuse" in (await raw(path, b'{"command": "format"}\n'))["error"]
        assert "echo, refuse" in (await raw(path, b"[1]\n"))["error"]
        assert f"at most {REQUEST_MAX} bytes" in (await raw(path, b"x" * (3 * REQUEST_MAX), eof=False))["error"]
        assert await raw(path, b'{"command": "echo"}') is None
        assert await raw(path, b"") is None
        assert await asked(path)

    served(ControlServer(path, HANDLERS), story)


@pytest.mark.promise("S9", "S10")
def test_slow_clients_fill_no_more_than_their_places_and_lose_them(path: Path) -> None:
    server = ControlServer(path, HANDLERS, idle_s=1.0)

    async def story() -> None:
        slow = [await asyncio.open_unix_connection(path) for _ in range(CLIENTS_MAX)]
        for _, writer in slow:
            writer.write(b'{"comm')
        assert "try again" in (await asked(path) or {})["error"]
        assert [await reader.read() for reader, _ in slow] == [b""] * CLIENTS_MAX  # each was hung up on
        assert await asked(path) == {"echo": {"command": "echo"}}
        for _, writer in slow:
            writer.close()

    served(server, story)
    assert server.clients == 0


@pytest.mark.promise("S10")
def test_a_client_that_does_not_take_its_answer_loses_it(path: Path) -> None:
    answered: list[dict[str, Any]] = []

    def big(request: dict[str, Any]) -> dict[str, Any]:
        answered.append(request)
        return {"big": "x" * 10_000_000}

    server = ControlServer(path, {"big": big, **HANDLERS}, idle_s=0.2)

    async def story() -> None:
        deaf = socket.socket(socket.AF_UNIX)
        deaf.connect(str(path))
        deaf.sendall(b'{"command": "big"}\n')
        while not answered or server.clients:  # until the server has given it up
            assert await asked(path)
        deaf.close()

    served(server, story)


# -- the asking side


@pytest.mark.promise("S9")
@pytest.mark.parametrize("said", [b"", b"\xff\n", b"[]\n", b"{", b"[" * 20_000])
def test_an_agent_that_talks_nonsense_is_an_error_not_a_crash(path: Path, said: bytes) -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(said)
        writer.close()

    async def story() -> None:
        async with await asyncio.start_unix_server(nonsense, path):
            assert "no answer from the agent" in (await asked(path) or {})["error"]

    asyncio.run(story())


def test_an_agent_that_hangs_is_told_apart_from_one_that_does_not_run(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(path))
        hung.listen(1)
        assert "did not answer within 0.1 s" in (ask(path, {}, 0.1) or {})["error"]


# -- what the agent answers, as the command line shows it


def lines(capsys: pytest.CaptureFixture[str], code: int, *argv: str) -> str:
    assert cli.main(list(argv)) == code
    out = capsys.readouterr()
    assert (out.err.count("\n") == 1) == (code == 2)
    return out.out or out.err


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "config.toml"
    path.write_text('[paths]\ncontrol = "control.sock"\n')
    return str(path)


def test_status_and_explain_ask_the_running_agent(path: Path, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    play = Play().plug(1).tap(ANN)
    handlers = control_handlers(
        lambda: play.station, lambda card: (play.allow.get(card), None), lambda: play.now, lambda: {"outbox_records": 3}
    )
    shown: dict[str, str] = {}

    async def story() -> None:
        def typed() -> None:
            shown["status"] = lines(capsys, 0, "status", "--config", config)
            shown["json"] = lines(capsys, 0, "status", "--config", config, "--json")
            shown["stop"] = lines(capsys, 0, "explain", "04:a1:a1:a1", "--config", config)
            shown["eve"] = lines(capsys, 0, "explain", EVE, "--port", "2", "--config", config)
            shown["at"] = lines(capsys, 0, "explain", EVE, "--at", "2027-01-01T00:00", "--json", "--config", config)
            shown["port"] = lines(capsys, 2, "explain", EVE, "--port", "7", "--config", config)

        await asyncio.to_thread(typed)

    served(ControlServer(path, handlers), story)
    assert "outbox_records    3" in shown["status"] and "port 1            status Occupied" in shown["status"]
    status = json.loads(shown["json"])
    assert status["link"] == "down"
    assert status["ports"][0]["id_token"] == "…A1A1"  # enough to tell cards apart, not enough to copy one
    assert ANN not in shown["json"]
    assert "=> stop" in shown["stop"]
    assert "=> refuse (could not ask, Unknown, A040)" in shown["eve"]
    assert json.loads(shown["at"])["clock"] == "2027-01-01T00:00:00.000Z, told by cloud"
    assert "there is no port 7 here: type --port and one of 1, 2" in shown["port"]


@pytest.mark.parametrize(("url", "code", "said"), [("http://127.0.0.1:1/#x", 0, "#x\n"), ("", 2, "add [panel]")])
def test_panel_prints_the_address_that_may_press(
    path: Path, config: str, capsys: pytest.CaptureFixture[str], url: str, code: int, said: str
) -> None:
    async def story() -> None:
        shown = await asyncio.to_thread(lines, capsys, code, "panel", "--config", config)
        assert said in shown

    served(ControlServer(path, {"panel": lambda _: {"url": url}}), story)
    assert "systemctl start" in lines(capsys, 2, "panel", "--config", config)


def test_every_operator_error_is_one_sentence_and_exit_code_2(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "systemctl start" in lines(capsys, 2, "status", "--config", config)
    assert "no card id" in lines(capsys, 2, "explain", "me", "--config", config)
    assert "no time" in lines(capsys, 2, "explain", ANN, "--at", "noon", "--config", config)
    assert "no config file at" in lines(capsys, 2, "status", "--config", config + "x")
    for wrong in ([], ["dotcor"], ["explain"], ["explain", ANN, "--port", "one"]):
        with pytest.raises(SystemExit, match="2"):
            cli.main(wrong)
        assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--version"])
    assert capsys.readouterr().out.startswith("station-agent 0.")


def test_without_an_agent_explain_reads_the_files_and_changes_none(
    tmp_path: Path, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    Path(config).write_text(f'[paths]\ncontrol = "control.sock"\nstate = "{state}"\n')
    with_identity(tmp_path)
    argv = ["--board", str(BOARDS / "duo_sim.toml"), "--config", config]
    assert "none has ever run" in lines(capsys, 2, "explain", ANN, *argv)
    lists = Lists(state / "lists", {}, read_key(state / "list.key"), 0.0)
    info = {"idToken": {"idToken": ANN, "type": "ISO14443"}, "idTokenInfo": {"status": "Blocked"}}
    custom = {"vendorId": "station-agent", "generation": 1, "count": 1}
    request = {"versionNumber": 4, "updateType": "Full", "localAuthorizationList": [info], "customData": custom}
    outcome = lists.replace(request, 1_790_000_000.0)
    database, *_ = open_database(state / "station.db", bytes(8))
    database.commit(outcome.saves)
    database.close()
    before = {path: path.read_bytes() for path in sorted(state.rglob("*")) if path.is_file()}

    assert cli.main(["explain", ANN, *argv]) == 0
    out = capsys.readouterr()
    assert "=> refuse (card blocked, Blocked, A014)" in out.out and "list version 4, 1 cards" in out.out
    assert out.err.startswith("no agent is running")
    assert cli.main(["explain", EVE, "--json", *argv]) == 0
    assert json.loads(capsys.readouterr().out)["reason"] == "could not ask"
    assert before == {path: path.read_bytes() for path in sorted(state.rglob("*")) if path.is_file()}


def with_identity(folder: Path) -> None:
    config = folder / "config.toml"
    broker = '[broker]\nhost = "localhost"\nca = "ca.pem"\ncert = "s.pem"\nkey = "s.key"\n'
    sells = "[settings]\nactivated = true\n"
    config.write_text(f'[station]\nstation_id = "SA-1"\n{broker}{sells}{config.read_text()}')


def test_a_plan_token_is_given_to_the_running_agent_as_a_file(
    path: Path, config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, came, shown = tmp_path / "token.txt", list[str](), dict[str, str]()
    file.write_text("AAAA\n")

    def judged(text: str, then: Callable[[Token | Refused], None]) -> None:
        came.append(text)
        then(Token("01", 1, "Basic", 0, 1) if text == "AAAA" else Refused("a replay"))

    async def story() -> None:
        def typed() -> None:
            shown["good"] = lines(capsys, 0, "plan", str(file), "--config", config)
            file.write_text("BBBB")
            shown["replay"] = lines(capsys, 2, "plan", str(file), "--config", config)
            shown["none"] = lines(capsys, 2, "plan", str(tmp_path / "none"), "--config", config)

        await asyncio.to_thread(typed)

    served(ControlServer(path, {"plan": plan_handler(judged)}), story)
    assert came == ["AAAA", "BBBB"] and "is here" in shown["good"] and "a replay" in shown["replay"]
    assert "type the path" in lines(capsys, 2, "plan", str(tmp_path / "none"), "--config", config)
    (tmp_path / "rubbish").write_bytes(b"\x00\xff")
    assert "line of base64" in lines(capsys, 2, "plan", str(tmp_path / "rubbish"), "--config", config)
    assert "systemctl start" in lines(capsys, 2, "plan", str(file), "--config", config), "nobody listens any more"


@pytest.mark.parametrize(("judged", "answer"), [
    (Token("01", 1, "Basic", 0, 1), {"status": "Accepted"}), (Refused("a replay"), {"error": "a replay"}),
])  # fmt: skip
def test_a_plan_token_is_answered_when_it_is_on_disk_or_refused(
    judged: Token | Refused, answer: Any, path: Path
) -> None:
    async def asked() -> Any:
        waits: list[Callable[[Token | Refused], None]] = []
        server = ControlServer(path, {"plan": plan_handler(lambda text, then: waits.append(then))})
        said = server.answer(b'{"command": "plan", "token": "AAAA"}\n')
        assert isinstance(said, Awaitable)
        waits[0](judged)
        waits[0](Refused("nobody waits any more"))
        return await said

    assert asyncio.run(asked()) == answer
    said = ControlServer(path, {"plan": plan_handler(lambda text, then: None)}).answer(b'{"command": "plan"}\n')
    assert isinstance(said, dict) and "token" in said["error"]
