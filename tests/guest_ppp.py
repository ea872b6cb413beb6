"""Runs inside the machine of tests/test_rig_ppp.py, whose kernel has PPP: our bearer, Debian's pppd, and a simulated
modem on a pty. Tells facts, judges nothing."""

import asyncio
import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from msgspec import structs

from agent.modem.apn import Access
from agent.modem.at import Answered
from agent.modem.bearer import Context, Hands, Said
from agent.modem.bearers import ppp
from agent.modem.events import BearerFell, BearerRose
from agent.sim.modem.air import Card, Network
from agent.sim.modem.modem import Modem
from agent.sim.modem.personalities import EG25
from agent.sim.modem.shell import Shell
from tests.guest import tell

PATIENCE_S = 900.0
SECRET = Access("internet", "name-x", 'pass "x')
PORT = Path("/run/modem")
T = TypeVar("T")


class Desk:
    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.modem = Modem(structs.replace(EG25, boot_s=0.1, boot=(), search_s=0.5), Card(), Network())
        self.shell = Shell(self.modem)
        self.shell.pty(PORT)
        self.said: list[Said] = []
        self.log: list[str] = []
        hands = Hands(self.said.append, nobody, lambda job, then: None, self.loop.time, self.log.append)
        self.bearer = ppp.Bearer(hands)

    async def until(self, what: Callable[[], T | None]) -> T:
        async with asyncio.timeout(PATIENCE_S):
            while not (found := what()):
                with suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.Event().wait(), 0.1)
        return found

    async def rise(self) -> dict[str, Any]:
        self.said.clear()
        began = self.loop.time()
        self.bearer.rise(Context(SECRET, data_port=str(PORT)))
        said = await self.until(lambda: self.said[0] if self.said else None)
        return {"s": round(self.loop.time() - began, 1), "said": repr(said), "is_up": isinstance(said, BearerRose)}

    async def fell(self) -> str:
        found = await self.until(lambda: next((each for each in self.said if isinstance(each, BearerFell)), None))
        return found.cause.name


async def nobody(command: str) -> Answered:
    raise AssertionError(command)


def network() -> dict[str, Any]:
    links = {each["ifname"]: each for each in json.loads(run("ip", "-j", "-4", "address"))}
    ours = links.get("ppp0", {})
    return {
        "addresses": [each["local"] for each in ours.get("addr_info", [])], "mtu": ours.get("mtu"),
        "routes": [each for each in json.loads(run("ip", "-j", "-4", "route")) if each["dst"] == "default"],
        "pppds": len(pppds()),
    }  # fmt: skip


def run(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def pppds() -> list[int]:
    return [pid for pid, words in processes() if "pppd" in words[0] or any("/host/pppd" in each for each in words)]


def processes() -> list[tuple[int, list[str]]]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if words := (folder / "cmdline").read_text().split("\0"):
                found.append((int(folder.name), words))
    return found


async def story() -> None:
    desk = Desk()
    await desk.until(lambda: desk.modem.is_served)
    tell(before=network())
    tell(rise=await desk.rise(), up=network(), log=desk.log)
    said = [" ".join(words) for _, words in processes()]
    tell(is_secret_seen=any("pass" in each and "x" in each and "name-x" in each for each in said))
    peer = desk.modem.ports[0].peer
    assert peer
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.sendto(bytes(500), ("192.0.2.1", 9))
    await desk.until(lambda: peer.received_b >= 500)
    desk.bearer.fall()
    tell(asked=await desk.fell(), down=network(), has_peer=desk.modem.ports[0].peer is not None)

    tell(again=await desk.rise())
    helper = next(pid for pid, words in processes() if "agent.modem.linkservice" in words)
    began = desk.loop.time()
    os.kill(helper, signal.SIGKILL)
    tell(killed=await desk.fell())
    await desk.until(lambda: not pppds())
    tell(gone_s=round(desk.loop.time() - began, 1), after_kill=network())

    tell(third=await desk.rise())
    desk.modem.faults.dies_in_call = True
    began = desk.loop.time()
    tell(dead=await desk.fell(), dead_s=round(desk.loop.time() - began, 1), why=desk.bearer.why, at_last=network())
    desk.bearer.close()


if __name__ == "__main__":
    os.environ["PATH"] = f"/usr/sbin:{os.environ['PATH']}"  # ip(8), not BusyBox's
    asyncio.run(story())
