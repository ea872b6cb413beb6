"""Debian's pppd, as our helper runs it: a virtual x86 machine with a kernel that has PPP, and a simulated modem in it.

Programs and libraries are this machine's own, put beside those of the virtual one.
"""

import asyncio
import re
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.modem.links.changes import PROTO
from agent.modem.links.pppd import ECHO_S, ECHOES, MTU
from board.image.cpio import Cpio
from tests.qemu import Kind, Machine, initramfs, machine

X86 = Kind(
    debian="amd64",
    wheel="x86_64",
    qemu=("qemu-system-x86_64", "-M", "pc", "-cpu", "qemu64"),
    devices=("-icount", "shift=1"),  # its time is that of its instructions: a busy machine makes it slow, never late
    console="ttyS0",
    packages=("linux-image-amd64", "udev"),  # those of the other machine, whose tree it is
    wheels=("cbor2", "msgspec", "pyserial"),
    modules=("slhc", "ppp_generic", "ppp_async"),
    first="mkdir -p /dev/pts /run/lock /etc/ppp; mount -t devpts devpts /dev/pts; /usr/sbin/ip link set lo up",
)
PROGRAMS = ("pppd", "ip", "setpriv")
WRAPPER = '#!/bin/sh\nexec /host/{loader} --library-path /host /host/{name} "$@"\n'

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(2400),
    pytest.mark.needs("qemu-system-x86_64", "qemu-system-x86"),
    pytest.mark.needs("mmdebstrap"),
    pytest.mark.needs("pppd", "ppp"),
]


def programs(path: Path) -> bytes:
    """A cpio with this machine's programs and their libraries in /host, and a word for each in /usr/sbin."""
    cpio = Cpio(path)
    for folder in ("host", "usr/sbin", "etc"):
        cpio.add(folder, stat.S_IFDIR | 0o755)
    files: dict[str, Path] = {}
    loader = ""
    for name in PROGRAMS:
        found = Path(shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin") or name).resolve()
        files[name] = found
        said = subprocess.run(["ldd", found], capture_output=True, text=True, check=True).stdout
        for library in re.findall(r"(/\S+\.so\S*)", said):
            files[Path(library).name] = Path(library)
            loader = Path(library).name if "ld-linux" in library else loader
    for name, file in files.items():
        cpio.add(f"host/{name}", stat.S_IFREG | 0o755, file.read_bytes())
    for name in PROGRAMS:
        cpio.add(f"usr/sbin/{name}", stat.S_IFREG | 0o755, WRAPPER.format(loader=loader, name=name).encode())
    cpio.close()
    return path.read_bytes()


async def nobody(of: Machine, word: str) -> Any:
    raise AssertionError(word)


def test_debians_pppd_carries_a_call_and_nothing_is_left_of_it(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    both = initramfs(X86, tmp_path / "initrd", "tests.guest_ppp")
    both.write_bytes(both.read_bytes() + programs(tmp_path / "programs"))

    async def story() -> Machine:
        async with machine(X86, tmp_path, both) as running:
            await running.listen(nobody)
            return running

    ran = asyncio.run(story())
    facts, log = ran.facts, "\n".join(ran.log[-80:])
    assert "Traceback" not in log and "at_last" in facts, log
    up = facts["up"]
    (route,) = up["routes"]
    assert facts["rise"]["is_up"] and up["addresses"] == ["10.64.12.7"] and up["mtu"] == MTU, facts
    assert (route["dev"], route["metric"], str(route["protocol"])) == ("ppp0", 700, PROTO)
    assert "10.74.210.210" in facts["rise"]["said"] and not facts["is_secret_seen"]
    # Taken down; the helper killed; the modem dead in its call: each time nothing is left.
    assert (facts["asked"], facts["killed"], facts["dead"]) == ("ASKED", "FAILED", "ENDED")
    assert facts["down"] == facts["after_kill"] == facts["at_last"] == facts["before"] and not facts["has_peer"]
    assert facts["again"]["is_up"] and facts["third"]["is_up"] and "no echo" in facts["why"]
    assert ECHO_S * (ECHOES - 1) <= facts["dead_s"] <= 90  # by an emulator's clock, with LCP's goodbye
    took = f"up in {facts['rise']['s']} s, a dead line noticed in {facts['dead_s']} s"
    record_property("fact", f"Debian's pppd in QEMU: {took}")
