"""PPP: what pppd is given, what its words and its end mean, and a call from the first AT to nothing left of it."""

import asyncio
import json
import os
import pty
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from agent.modem import linkservice as service
from agent.modem.apn import Access
from agent.modem.at import Answered
from agent.modem.bearer import Context, Hands, Said
from agent.modem.bearers import helped, ppp
from agent.modem.events import BearerFell, BearerRose, Cause
from agent.modem.links import changes, dialling, orders, pppd
from agent.modem.links.pppd import EXITS, Call, Link
from agent.sim.modem.air import Card, Network
from agent.sim.modem.modem import Modem
from agent.sim.modem.personalities import EG25
from agent.sim.modem.shell import Shell
from tests.conftest import LONG
from tests.modemhost import Host

QUICK = structs.replace(EG25, boot_s=0.05, boot=(), delay_s=0.001, search_s=0.05)
FAKE = Path(__file__).with_name("fake_pppd.py")
ROOT = Path(__file__).parent.parent
LIMIT_S = 110.0
FEW = settings() if LONG else settings(max_examples=30)
INTERNET = Access("internet")
SECRET = Access("internet", 'na"me', "p\\ss wörd")
T = TypeVar("T")


# -- what pppd is given ------------------------------------------------------------------------------------------------


def test_a_password_never_stands_on_a_command_line() -> None:
    call = Call("/dev/ttyUSB3", "user-x", "secret-x")
    assert "secret-x" not in " ".join(pppd.options(call)) and "user-x" not in " ".join(pppd.options(call))
    assert pppd.secrets(call) == 'user "user-x"\npassword "secret-x"\nhide-password\n'


def test_without_a_name_nothing_of_this_machines_secrets_is_told_to_anybody() -> None:
    assert {"refuse-pap", "refuse-chap"} <= set(pppd.options(Call("/dev/ttyUSB3")))
    assert not {"refuse-pap", "refuse-chap"} & set(pppd.options(Call("/dev/ttyUSB3", "name")))
    assert pppd.secrets(Call("/dev/ttyUSB3")) == ""


def test_a_line_on_usb_tells_of_a_hang_up_and_a_bare_one_is_not_waited_for() -> None:
    assert "modem" in pppd.options(Call("/dev/ttyUSB3")) and "local" not in pppd.options(Call("/dev/ttyUSB3"))
    assert "local" in pppd.options(Call("/dev/ttyS1")) and "modem" not in pppd.options(Call("/dev/ttyS1"))


@pytest.mark.needs("pppd", "ppp")
def test_debians_pppd_knows_every_option() -> None:
    """It reads them before it asks the kernel, and ends with 2 at one that it does not know."""
    program = shutil.which("pppd", path="/usr/sbin:/sbin:" + os.environ["PATH"]) or "pppd"
    ours, theirs = pty.openpty()
    words = pppd.options(Call(os.ttyname(theirs), "name"))
    assert not pppd.refusal(Call(os.ttyname(theirs)))
    commands = ([program, "dryrun", *words, *more] for more in ([], ["no-such-option"]))
    no = subprocess.DEVNULL
    ended = [subprocess.run(each, check=False, stdin=no, stdout=no, stderr=no).returncode for each in commands]
    os.close(ours)
    os.close(theirs)
    if ended == [126, 126] or ended[0] == 3:
        pytest.skip("pppd is not ours to run")
    assert ended[0] in (0, 4) and ended[1] == 2


@pytest.mark.promise("S9")
@pytest.mark.parametrize("call", [
    Call("/etc/passwd\n"), Call("connect"), Call("/dev/../etc/shadow"), Call("/dev/ttyUSB3", "a\nconnect /bin/sh"),
    Call("/dev/ttyUSB3", "a", "b\x00"), Call("/dev/ttyUSB3", "a" * 200), Call("/dev/ttyUSB3", mtu=40), Call("-x"),
])  # fmt: skip
def test_what_is_no_call_is_refused_in_a_sentence(call: Call) -> None:
    assert pppd.refusal(call)


WORDS = st.text(st.sampled_from("aü\"\\ #'$\n\0"), max_size=9) | st.text(max_size=140)


@FEW
@given(WORDS, WORDS)
def test_no_name_or_password_becomes_an_option(name: str, password: str) -> None:
    call = Call("/dev/ttyUSB3", name, password)
    if not pppd.refusal(call) and name:
        lines = pppd.secrets(call).splitlines()
        assert len(lines) == 3 and unquoted(lines[0], "user ") == name and unquoted(lines[1], "password ") == password


def unquoted(line: str, word: str) -> str:
    """A word in quotes, as pppd's getword() reads it."""
    assert line.startswith(f'{word}"') and line.endswith('"')
    out, escaped = "", False
    for sign in line[len(word) + 1 : -1]:
        assert escaped or sign != '"'
        out, escaped = (out, True) if sign == "\\" and not escaped else (out + sign, False)
    assert not escaped
    return out


# -- what it says, and how it ends -------------------------------------------------------------------------------------

SAID = """Using interface ppp0
Connect: ppp0 <--> /dev/ttyUSB3
local  IP address 10.64.12.7
remote IP address 10.64.64.64
primary   DNS address 8.8.8.8
secondary DNS address 8.8.4.4"""


def link_of(said: str) -> Link:
    link = Link()
    for line in said.splitlines():
        link = pppd.heard(link, line)
    return link


def test_a_link_is_up_when_pppd_has_said_its_address() -> None:
    assert not link_of("\n".join(SAID.splitlines()[:2])).is_up
    assert link_of(SAID) == Link("ppp0", "10.64.12.7", ("8.8.8.8", "8.8.4.4"), True)
    assert not link_of(SAID.replace("10.64.12.7", "0.0.0.0")).is_up


ODD = r"(local  IP|primary   DNS) address .{0,40}"


@pytest.mark.promise("S9")
@FEW
@given(st.lists(st.text() | st.sampled_from(SAID.splitlines()) | st.from_regex(ODD), max_size=12))
def test_no_line_of_pppd_raises_or_makes_an_address_of_nothing(lines: list[str]) -> None:
    link = Link()
    for line in lines:
        link = pppd.heard(link, line)
    assert all(part == pppd.ipv4(part) != "" for part in (link.address, *link.dns) if part) and len(link.dns) <= 2


def test_every_exit_code_of_pppd_has_a_cause_and_a_sentence() -> None:
    assert set(range(20)) <= set(EXITS)
    causes = {code: pppd.ended(code, Link(), is_asked=False)[0] for code in range(20)}
    assert {code for code, cause in causes.items() if cause is Cause.SYSTEM} == {2, 3, 4, 9, 18}
    assert {code for code, cause in causes.items() if cause is Cause.AUTH} == {11, 19}
    assert {code for code, cause in causes.items() if cause is Cause.APN} == {10}
    assert {code for code, cause in causes.items() if cause is Cause.ENDED} == {0, 5, 12, 13, 15, 16}
    assert all(why for _, why in EXITS.values())
    assert pppd.ended(5, Link(), is_asked=True) == (Cause.ASKED, "")


@FEW
@given(st.integers(-300, 300), st.booleans())
def test_every_end_has_a_cause(code: int, is_asked: bool) -> None:
    cause, why = pppd.ended(code, Link(), is_asked)
    assert bool(why) is not is_asked and (cause is Cause.ASKED) is is_asked


def test_a_modem_that_does_not_speak_ppp_says_nothing_of_the_access_point() -> None:
    assert pppd.ended(10, link_of("LCP: timeout sending Config-Requests"), is_asked=False)[0] is Cause.FAILED
    assert pppd.ended(10, link_of("PAP authentication failed"), is_asked=False)[0] is Cause.AUTH
    assert pppd.ended(16, link_of("No response to 3 echo-requests"), is_asked=False) == EXITS[15]


@pytest.mark.parametrize(("network", "scenario", "cause"), [
    (Network(apns=("other",)), None, Cause.FAILED), (Network(), "late", Cause.FAILED),
])  # fmt: skip
def test_a_refused_call_has_a_cause(network: Network, scenario: None, cause: Cause) -> None:
    host = Host(QUICK, Card(), network)
    host.until(lambda: host.modem.is_served)
    host.ask('AT+CGDCONT=1,"IP","internet"')
    answer = host.ask("ATD*99***9#")
    assert not dialling.is_connected(answer) and dialling.refused(answer)[0] is cause


# -- what is changed, and taken back -----------------------------------------------------------------------------------


def test_what_is_set_is_undone_in_the_other_order_and_nothing_else_is() -> None:
    made = changes.of_ppp("ppp0", 700, ("8.8.8.8",), has_resolved=True)
    assert changes.undoing(made) == [
        ("resolvectl", "revert", "ppp0"),
        ("ip", "-4", "route", "delete", "default", "dev", "ppp0", "metric", "700", "proto", changes.PROTO),
    ]


@pytest.mark.promise("S9")
@FEW
@given(st.binary(max_size=300))
def test_no_order_and_no_kept_file_raises(data: bytes) -> None:
    assert isinstance(orders.order(data), str | orders.Order)
    assert orders.word(data) is None or changes.kept(data) == changes.Kept()


@pytest.mark.promise("S9")
@pytest.mark.parametrize("line", [
    b'{"do":"dhcp","interface":"../x"}', b'{"do":"dhcp","interface":"wwan0","metric":0}',
    b'{"do":"dhcp","interface":".."}', b'{"do":"static","interface":"wwan0","address":"x","prefix":24}',
    b'{"do":"ppp","tty":"/dev/ttyUSB3","connect":"/bin/sh"}', b'{"do":"reboot"}', b"[]", b"",
])  # fmt: skip
def test_an_order_that_the_agent_never_gives_is_refused(line: bytes) -> None:
    assert isinstance(orders.order(line), str)


# -- a call ------------------------------------------------------------------------------------------------------------


class Desk:
    """A modem on a pty, our bearer at it, and the service that runs pppd; ip and resolvectl are only written down."""

    def __init__(self, folder: Path, network: Network) -> None:
        self.folder, self.said, self.log = folder, list[Said](), list[str]()
        self.loop = asyncio.get_running_loop()
        self.modem = Modem(QUICK, Card(), network)
        self.shell = Shell(self.modem)
        self.shell.pty(folder / "data")
        self.commands: list[tuple[str, ...]] = []
        self.fails = ""  # a command with these words
        self.hands = Hands(self.said.append, nobody, lambda job, then: None, self.loop.time, self.log.append)
        self.helped: list[helped.Helped] = []
        self.bearer = ppp.Bearer(self.hands, self.help, locks=folder)
        self.server: asyncio.Server | None = None
        self.service: service.Service | None = None

    def help(self, hear: Callable[[orders.Word], None]) -> helped.Helped:
        self.helped.append(helped.Helped(hear, path=self.folder / "sock"))
        return self.helped[-1]

    async def serve(self) -> None:
        self.service = service.Service(self.folder / "run")
        self.server = await asyncio.start_unix_server(self.service.connected, self.folder / "sock")

    def rise(self, access: Access = INTERNET, cid: int = 1) -> None:
        self.bearer.rise(Context(access, cid, data_port=str(self.folder / "data")))

    async def rises(self, access: Access = INTERNET) -> BearerRose:
        """A call that does not come about on a busy machine is made again, as the keeper makes it."""
        while True:
            self.said.clear()
            self.rise(access)
            ends = (BearerRose, BearerFell)
            told = await self.until(lambda: next((each for each in self.said if isinstance(each, ends)), None))  # noqa: B023
            if isinstance(told, BearerRose):
                return told

    async def falls(self) -> BearerFell:
        """The same, until pppd itself has been run."""
        while True:
            self.said.clear()
            self.rise()
            fell = await self.says(BearerFell)
            if (self.folder / "told").exists():
                return fell

    async def until(self, what: Callable[[], T | None]) -> T:
        while not (found := what()):
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.Event().wait(), 0.01)
        return found

    async def says(self, kind: type[T]) -> T:
        return await self.until(lambda: next((each for each in self.said if isinstance(each, kind)), None))

    def told(self) -> dict[str, object]:
        found: dict[str, object] = json.loads((self.folder / "told").read_text())
        return found

    def close(self) -> None:
        self.bearer.close()
        if self.server:
            self.server.close()
        self.shell.close()


async def nobody(command: str) -> Answered:
    raise AssertionError(command)


def at_desk(
    folder: Path, monkeypatch: pytest.MonkeyPatch, story: Callable[[Desk], Coroutine[None, None, None]],
    network: Network | None = None, **environment: str,
) -> None:  # fmt: skip
    told = {"FAKE_PPPD_TOLD": str(folder / "told"), "PYTHONPATH": str(ROOT)}
    monkeypatch.setattr(service, "ENVIRONMENT", service.ENVIRONMENT | told | environment)
    monkeypatch.setattr(service, "program", lambda name: str(launcher(folder)))
    monkeypatch.setattr("agent.modem.at.QUIET_S", 0.02)
    monkeypatch.setattr("agent.modem.tty.DTR_S", 0.15)
    monkeypatch.setattr(service, "SETTLE_S", 0.05)

    async def run() -> None:
        desk = Desk(folder, network or Network())

        async def command(words: tuple[str, ...]) -> str:
            desk.commands.append(words)
            return "no" if desk.fails and desk.fails in " ".join(words) else ""

        monkeypatch.setattr(service, "command", command)
        try:
            async with asyncio.timeout(LIMIT_S):
                await desk.serve()
                await desk.until(lambda: desk.modem.is_served)
                await story(desk)
        finally:
            desk.close()
            await desk.until(lambda: desk.service is None or not desk.service.connections)

    asyncio.run(run())


def launcher(folder: Path) -> Path:
    path = folder / "pppd"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} {FAKE} "$@"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def is_running(pid: object) -> bool:
    return isinstance(pid, int) and Path(f"/proc/{pid}/comm").exists()


def test_a_call_comes_up_and_nothing_is_left_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(desk: Desk) -> None:
        rose = await desk.rises(SECRET)
        assert rose == BearerRose("10.64.12.7", "ppp0", ("10.74.210.210", "10.74.210.211"))
        assert changes.routed("ppp0", 700, "").do in desk.commands and list(tmp_path.glob("LCK..*"))
        told = desk.told()
        assert SECRET.password not in str(told["words"]) and SECRET.username not in str(told["words"])
        assert told["secret"] == pppd.secrets(Call("", SECRET.username, SECRET.password))
        desk.bearer.fall()
        assert await desk.says(BearerFell) == BearerFell(Cause.ASKED)
        assert not is_running(told["pid"]) and changes.routed("ppp0", 700, "").undo in desk.commands
        assert not list(tmp_path.glob("LCK..*")) and desk.modem.ports[0].peer is None
        assert (await desk.rises()).interface == "ppp0" and desk.told()["secret"] == ""

    at_desk(tmp_path, monkeypatch, story)


def test_a_call_that_the_network_ends_falls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(desk: Desk) -> None:
        await desk.rises()
        desk.modem.cover(None, desk.shell.now)
        desk.modem.faults.dies_in_call = True
        assert await desk.says(BearerFell) == BearerFell(Cause.ENDED) and "no echo" in desk.bearer.why
        assert desk.modem.ports[0].peer is None  # by DTR: it has heard no goodbye
        assert changes.routed("ppp0", 700, "").undo in desk.commands

    at_desk(tmp_path, monkeypatch, story, FAKE_PPPD_ECHO_S="0.2")


def test_a_port_that_is_still_in_a_call_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent was killed in a call, and its modem minds DTR."""

    async def story(desk: Desk) -> None:
        port = desk.modem.ports[0]
        port.received(b"ATD*99***1#\r", desk.shell.now)
        desk.shell.step()
        await desk.until(lambda: port.peer)
        assert (await desk.rises()).interface == "ppp0"

    at_desk(tmp_path, monkeypatch, story)


@pytest.mark.parametrize(("code", "cause"), [(4, Cause.SYSTEM), (10, Cause.APN)])
def test_how_pppd_ends_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, cause: Cause) -> None:
    async def story(desk: Desk) -> None:
        assert await desk.falls() == BearerFell(cause)
        assert desk.bearer.why == EXITS[code][1] and desk.commands in ([], [FLUSHED])
        assert any("Peer refused" in line for line in desk.log)

    at_desk(tmp_path, monkeypatch, story, FAKE_PPPD=str(code))


def test_a_refused_call_never_starts_pppd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(desk: Desk) -> None:
        desk.rise(cid=9)
        assert await desk.says(BearerFell) == BearerFell(Cause.FAILED)
        assert not (tmp_path / "told").exists() and desk.bearer.why

    at_desk(tmp_path, monkeypatch, story)


def test_a_port_that_somebody_has_is_left_to_him(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(desk: Desk) -> None:
        name = (tmp_path / "data").resolve().name
        (tmp_path / f"LCK..{name}").write_text(f"{os.getppid():10d}\n")
        desk.rise()
        assert await desk.says(BearerFell) == BearerFell(Cause.FAILED) and f"({os.getppid()})" in desk.bearer.why

    at_desk(tmp_path, monkeypatch, story)


def test_without_its_helper_nothing_rises_and_the_sentence_says_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(desk: Desk) -> None:
        assert desk.server
        desk.server.close()
        (tmp_path / "sock").unlink(missing_ok=True)
        (tmp_path / "sock").touch()
        desk.rise()
        assert await desk.says(BearerFell) == BearerFell(Cause.SYSTEM)
        assert "systemctl enable --now station-bearer.socket" in desk.bearer.why

    at_desk(tmp_path, monkeypatch, story)


def test_a_route_that_cannot_be_set_is_no_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(desk: Desk) -> None:
        desk.fails = "route replace"
        desk.rise()
        assert await desk.says(BearerFell) == BearerFell(Cause.SYSTEM)
        assert "ip -4 route replace default dev ppp0" in desk.bearer.why and not is_running(desk.told()["pid"])
        assert changes.routed("ppp0", 700, "").undo in desk.commands

    at_desk(tmp_path, monkeypatch, story)


# -- whoever is killed -------------------------------------------------------------------------------------------------

FLUSHED = ("ip", "-4", "route", "flush", "proto", changes.PROTO)


def test_when_the_agent_is_killed_its_pppd_and_its_route_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(desk: Desk) -> None:
        await desk.rises()
        told = desk.told()
        desk.bearer.close()  # its end of the line goes, as when a process ends
        await desk.until(lambda: not is_running(told["pid"]) and changes.routed("ppp0", 700, "").undo in desk.commands)

    at_desk(tmp_path, monkeypatch, story)


def test_when_the_helper_is_killed_its_pppd_goes_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(desk: Desk) -> None:
        ours, theirs = socket.socketpair()
        words = [sys.executable, "-c", KILLED, str(theirs.fileno()), str(tmp_path / "run"), str(launcher(tmp_path))]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "FAKE_PPPD_TOLD": str(tmp_path / "told")}
        helper = subprocess.Popen(words, pass_fds=(theirs.fileno(),), env=environment)
        theirs.close()
        _, writer = await asyncio.open_unix_connection(sock=ours)
        desk.modem.ports[0].received(b"ATD*99***1#\r", desk.shell.now)
        desk.shell.step()
        writer.write(orders.line(orders.Ppp(str((tmp_path / "data").resolve()))))
        await desk.until(lambda: (tmp_path / "told").exists() and (tmp_path / "told").read_text())
        pid = desk.told()["pid"]
        assert is_running(pid)
        helper.kill()
        helper.wait()
        await desk.until(lambda: not is_running(pid))
        writer.close()

    at_desk(tmp_path, monkeypatch, story)


KILLED = """
import sys
from agent.modem import linkservice as service
async def command(words):
    return ""
service.program, service.command = lambda name: sys.argv[3], command
service.ENVIRONMENT = dict(service.os.environ)
service.main(["--child", *sys.argv[1:3]])
"""


def test_what_a_killed_helper_has_left_is_undone_once_and_only_its_own_child_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(desk: Desk) -> None:
        ours = subprocess.Popen(["sleep", "60"])
        others = subprocess.Popen(["sleep", "60"])
        began = changes.started(Path(f"/proc/{ours.pid}/stat").read_text())
        made = (changes.routed("wwan0", 700, "10.0.0.1"),)
        assert began
        try:
            for child, is_ended in (((others.pid, began - 1), False), ((ours.pid, began), True)):
                desk.commands.clear()
                left = changes.Kept(made, child)
                (tmp_path / "run").mkdir(exist_ok=True)
                (tmp_path / "run" / "kept.json").write_bytes(msgspec.json.encode(left))
                served = service.Service(tmp_path / "run")
                both = socket.socketpair()
                reader, writer = await asyncio.open_unix_connection(sock=both[0])
                clean = asyncio.ensure_future(served.connected(reader, writer))
                both[1].sendall(orders.line(orders.Down()))
                while not clean.done():
                    ours.poll()
                    await desk.until(lambda: True)
                    with suppress(TimeoutError):
                        await asyncio.wait_for(asyncio.shield(clean), 0.05)
                assert desk.commands == [made[0].undo, FLUSHED]
                assert (ours.poll() is not None) is is_ended and others.poll() is None
                both[1].close()
        finally:
            for each in (ours, others):
                each.kill()
                each.wait()

    at_desk(tmp_path, monkeypatch, story)
