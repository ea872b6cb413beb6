"""Runs inside a network namespace of its own (tests/test_modem_ecm.py): a cable with a DHCP server in another one at
its far end, and the service at its near end. Tells facts, judges nothing."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from agent.modem import linkservice as service
from agent.modem.bearers.helped import Helped
from agent.modem.links.orders import Dhcp, Note, Up, Word

SERVER = """interface modem0
start 10.9.0.10
end 10.9.0.20
lease_file {folder}/leases
pidfile {folder}/pid
option subnet 255.255.255.0
option router 10.9.0.1
option dns 10.9.0.1 9.9.9.9
option lease 60
option mtu 1400
"""
FAR = """
read go
ip link set lo up
ip address add 10.9.0.1/24 dev modem0
ip link set modem0 up
exec busybox udhcpd -f "$1"
"""


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout


def network() -> dict[str, object]:
    return {
        "addresses": [each["local"] for link in json.loads(ip("-j", "-4", "address", "show", "dev", "wwan0"))
                      for each in link["addr_info"]],
        "routes": [each for each in json.loads(ip("-j", "-4", "route")) if each["dst"] == "default"],
        "mtu": json.loads(ip("-j", "link", "show", "wwan0"))[0]["mtu"],
        "flags": json.loads(ip("-j", "link", "show", "wwan0"))[0]["flags"],
    }  # fmt: skip


async def until(what: Callable[[], object], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not what():
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.Event().wait(), 0.05)


async def story(folder: Path) -> dict[str, object]:
    for line in (
        "link set lo up", "link add wwan0 type veth peer name modem0", "link add other type veth peer name far",
        "link set far up", "address add 192.0.2.2/24 dev other", "link set other up",
        "route add default via 192.0.2.1 dev other metric 100",
    ):  # fmt: skip
        ip(*line.split())
    (folder / "udhcpd.conf").write_text(SERVER.format(folder=folder))
    (folder / "leases").touch()
    own = ["unshare", "-n", "sh", "-c", FAR, "sh", str(folder / "udhcpd.conf")]
    far = subprocess.Popen(own, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert far.stdin
    while Path(f"/proc/{far.pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink():
        await until(lambda: True)
    ip("link", "set", "modem0", "netns", str(far.pid))
    far.stdin.write(b"\n")
    far.stdin.close()
    facts: dict[str, object] = {"before": network()}
    listener = await asyncio.start_unix_server(service.Service(folder / "run").connected, folder / "sock")
    clock = asyncio.get_running_loop().time
    try:
        for name in ("up", "again", "cut"):
            heard: list[Word] = []
            began = clock()
            held = Helped(heard.append, path=folder / "sock")
            bearing = asyncio.ensure_future(held.order(Dhcp("wwan0", 700)))
            await until(lambda: bearing.done() or any(isinstance(each, Up) for each in heard))  # noqa: B023
            if bearing.done():
                facts[f"{name}_why"] = bearing.result().why
            facts[f"{name}_s"] = round(clock() - began, 2)
            facts[name] = network() | {"said": [each.dns for each in heard if isinstance(each, Up)]}
            facts[f"{name}_notes"] = [each.text for each in heard if isinstance(each, Note)]
            if name == "cut":
                there = ["nsenter", f"--net=/proc/{far.pid}/ns/net"]
                subprocess.run([*there, "ip", "link", "set", "modem0", "down"], check=True)
                facts["ended"] = (await bearing).cause.name
            else:
                bearing.cancel()
                await asyncio.gather(bearing, return_exceptions=True)
            facts[f"after_{name}"] = network()
        facts["kept"] = json.loads((folder / "run" / "kept.json").read_text())
    finally:
        listener.close()
        far.kill()
        far.wait()
    return facts


if __name__ == "__main__":
    print(json.dumps(asyncio.run(story(Path(sys.argv[1])))))
