"""Programs that strangers wrote for real modems read the simulated one, while our channel reads it on another port of
the same modem: they must agree on who it is and where it stands. Each has a bus and a folder of its own.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
import tarfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import pytest
from msgspec import structs

from agent.modem.apn import Access
from agent.modem.at import Answered
from agent.modem.bearer import Context, Described, Hands, Said
from agent.modem.bearers import modemmanager
from agent.modem.bearers.helped import Hear, Helped
from agent.modem.events import BearerFell, BearerRose, Cause
from agent.modem.kinds import Kind
from agent.modem.links import manager
from agent.modem.links.orders import Dhcp, Ppp
from agent.modem.modem import State
from agent.modem.told import Told
from agent.sim.modem.air import Card, Network, with_check_digit
from agent.sim.modem.modem import Modem
from agent.sim.modem.personalities import ALL
from agent.sim.modem.personality import Personality
from agent.sim.modem.shell import Shell
from tests.atport import AtPort
from tests.qemu import CACHE, made, run
from tests.test_modem_manager import Root, nobody

pytestmark = pytest.mark.long

T = TypeVar("T")
LIMIT_S, WAIT_S, STEP_S = 100.0, 0.2, 0.02
NETWORK = Network("26203", "o2 - de", "o2", area=0x1A2B, cell=0x0123456, rssi_dbm=-75, rsrp_dbm=-101, rsrq_db=-11.0)
ICCID, IMSI = with_check_digit("894922055500123456"), "262031234567891"
ICCID_OF = {"eg25": "AT+QCCID", "sim5320": "AT+CICCID", "lara": "AT+CCID", "le910": "AT#CCID", "mc7455": "AT!ICCID?"}
PLUGINS = [("eg25", "generic"), *((make.name, make.vendor) for make in ALL.values() if not make.is_cdma)]
BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:dir={folder}</listen><policy context="default">
<allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>"""


class Desk:
    """A modem whose port 0 is the judge's and whose port 1 is ours."""

    def __init__(self, make: Personality, folder: Path) -> None:
        self.folder = folder
        self.modem = Modem(structs.replace(make, boot_s=0.1, boot=(), search_s=0.5), Card(ICCID, IMSI), NETWORK)
        self.shell = Shell(self.modem)
        self.shell.pty(folder / "ours", number=1)
        self._loop = asyncio.get_running_loop()
        self._heard: list[object] = []
        self._port = AtPort(str(folder / "ours"), self._loop, self._heard.append, self._loop.time, locks=folder)
        self.address = ""
        self._children: list[Process] = []

    async def ask(self, command: str) -> Answered:
        await self.until(self._is_ready)
        self._heard.clear()
        self._port.send(command)
        return await self.until(lambda: next((each for each in self._heard if isinstance(each, Answered)), None))

    async def ours(self) -> dict[str, object]:
        """What the agent's channel and parsers make of it."""
        await self.until(lambda: self.modem.is_served)
        await self.ask("AT+CREG=2")
        place = await self.ask("AT+CREG?")
        rssi = (await self.ask("AT+CSQ")).get("rssi_dbm")
        assert isinstance(rssi, int)
        found = {
            "imei": (await self.ask("AT+CGSN")).get("imei"),
            "iccid": (await self.ask(ICCID_OF[self.modem.personality.name])).get("iccid"),
            "imsi": (await self.ask("AT+CIMI")).get("imsi"), "signal": (rssi + 113) / 62 * 100,
            "registered": place.get("stat") == 1, "area": place.get("lac"), "cell": place.get("ci"),
        }  # fmt: skip
        await self.ask("AT+COPS=3,2")
        found["mccmnc"] = (await self.ask("AT+COPS?")).get("mccmnc")
        await self.ask("AT+COPS=3,0")
        return found | {"operator": (await self.ask("AT+COPS?")).get("operator")}

    def _is_ready(self) -> bool:
        self._port.due(self._loop.time())
        return self._port.is_ready

    async def until(self, what: Callable[[], T | None]) -> T:
        while not (found := what()):
            self._port.due(self._loop.time())
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.Event().wait(), STEP_S)
        return found

    async def start(self, *command: str, **environment: str) -> Process:
        with (self.folder / f"{Path(command[0]).name}.log").open("ab") as log:
            child = await asyncio.create_subprocess_exec(
                *command, stdin=DEVNULL, stdout=log, stderr=log, env=self.environment | environment
            )
        self._children.append(child)
        return child

    async def run(self, *command: str) -> str | None:
        """Its output; None if it failed."""
        child = await asyncio.create_subprocess_exec(
            *command, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL, env=self.environment
        )
        said, _ = await child.communicate()
        return None if child.returncode else said.decode()

    async def again(self, *command: str) -> str:
        """Until it succeeds."""
        while (said := await self.run(*command)) is None:
            await pause()
        return said

    @property
    def environment(self) -> dict[str, str]:
        """Both buses are our own: nothing that is started here can ask or change the machine's."""
        path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
        bus = self.address or "unix:path=/nonexistent"
        buses = {"DBUS_SESSION_BUS_ADDRESS": bus, "DBUS_SYSTEM_BUS_ADDRESS": bus}
        return {"PATH": path, "HOME": str(self.folder), "LC_ALL": "C"} | buses

    async def bus(self) -> None:
        config = self.folder / "bus.conf"
        config.write_text(BUS.format(folder=self.folder))
        child = await asyncio.create_subprocess_exec(
            "dbus-daemon", f"--config-file={config}", "--nofork", "--nosyslog", "--print-address", stdout=PIPE,
            stderr=DEVNULL, env=self.environment,
        )  # fmt: skip
        self._children.append(child)
        assert child.stdout
        self.address = (await child.stdout.readline()).decode().strip()
        assert self.address

    async def call(self, service: str, path: str, method: str, *arguments: str) -> str | None:
        interface, _, name = method.rpartition(".")
        head = ("busctl", f"--address={self.address}", "--json=short", "call", service, path, interface, name)
        return await self.run(*head, *arguments)

    async def close(self) -> None:
        self._port.close()
        for child in reversed(self._children):
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()
        self.shell.close()


async def pause() -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), WAIT_S)


@asynccontextmanager
async def desk(make: Personality, folder: Path) -> AsyncIterator[Desk]:
    made = Desk(make, folder)
    try:
        async with asyncio.timeout(LIMIT_S):
            yield made
    finally:
        await made.close()


def judged(make: str, folder: Path, judge: Callable[[Desk], Coroutine[None, None, dict[str, object]]]) -> None:
    """What the judge reads is what we read, as far as it tells; of a level, within ten points of a hundred."""

    async def story() -> None:
        async with desk(ALL[make], folder) as table:
            theirs = await judge(table)
            ours = await table.ours()
        signal, own = theirs.pop("signal"), ours.pop("signal")
        assert isinstance(signal, float | int) and isinstance(own, float) and abs(signal - own) <= 10
        assert theirs == {name: ours[name] for name in theirs}
        assert ours["imei"] == ALL[make].imei and ours["iccid"] == ICCID and ours["registered"]

    asyncio.run(story())


async def started(table: Desk, plugin: str) -> None:
    """ModemManager, with the modem as its only one."""
    await table.shell.abstract(name := f"judge-{os.getpid()}")
    await table.start(
        "ModemManager", "--test-session", "--no-auto-scan", "--test-enable", "--test-no-udev",
        "--test-no-suspend-resume", "--test-no-qrtr", "--debug",
    )  # fmt: skip
    await table.again("busctl", f"--address={table.address}", "introspect", manager.SERVICE, manager.ROOT)
    profile = ("ssas", "t1", plugin, "1", f"abstract:{name}")
    made = await table.call(manager.SERVICE, manager.ROOT, f"{manager.SERVICE}.Test.SetProfile", *profile)
    assert made is not None


async def modem_manager(table: Desk, plugin: str) -> dict[str, object]:
    await table.bus()
    await started(table, plugin)
    while not (listed := json.loads(await table.run("mmcli", "-L", "-J") or "{}").get("modem-list")):
        await pause()
    await table.again("mmcli", "-m", listed[0], "-e")
    while True:
        modem = json.loads(await table.again("mmcli", "-m", listed[0], "-J"))["modem"]
        if modem["generic"]["state"] == "registered" and modem["generic"]["signal-quality"]["value"] != "0":
            break
        await pause()
    sim = json.loads(await table.again("mmcli", "-i", modem["generic"]["sim"], "-J"))["sim"]["properties"]
    return {
        "imei": modem["3gpp"]["imei"], "operator": modem["3gpp"]["operator-name"],
        "mccmnc": modem["3gpp"]["operator-code"],
        "registered": modem["3gpp"]["registration-state"] == "home", "iccid": sim["iccid"], "imsi": sim["imsi"],
        "signal": int(modem["generic"]["signal-quality"]["value"]),
    }  # fmt: skip


async def managed(table: Desk, plugin: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Told, Root, list[float]]:
    """Our bearer on the daemon: what it tells when it is up, what root was asked, and how long it took to be seen, to
    rise, to fall."""
    await table.bus()
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", table.address.partition(",")[0])
    said, root, clock = list[Said](), Root(), asyncio.get_running_loop().time
    hands = Hands(said.append, nobody, lambda job, then: None, clock, lambda text: None)
    helped: Callable[[Hear], Helped] = root  # type: ignore[assignment]
    bearer = modemmanager.Bearer(hands, helped=helped)
    try:
        await until(lambda: "systemctl enable --now ModemManager" in bearer.why)
        await started(table, plugin)
        times = [clock()]
        await until(lambda: told(said).imei)
        times.append(clock())
        bearer.rise(Context(Access("internet")))
        assert isinstance(await until(lambda: said[-1] if not isinstance(said[-1], Described) else None), BearerRose)
        times.append(clock())
        await until(lambda: told(said).state is State.BEARER_UP and told(said).signal.rsrp_dbm is not None)
        last = told(said)
        bearer.fall()
        times.append(clock())
        await until(lambda: BearerFell(Cause.ASKED) in said)
        return last, root, [b - a for a, b in pairwise([*times, clock()])]
    finally:
        bearer.close()
        await pause()


def told(said: list[Said]) -> Told:
    return [each.told for each in said if isinstance(each, Described)][-1]


async def until(what: Callable[[], T | None]) -> T:
    while not (found := what()):
        await pause()
    return found


@pytest.mark.needs("ModemManager", "modemmanager")
@pytest.mark.needs("dbus-daemon")
def test_our_bearer_connects_the_real_modem_manager(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    async def story() -> None:
        async with desk(ALL["eg25"], tmp_path) as table:
            mm, root, times = await managed(table, "quectel", monkeypatch)
            ours = await table.ours()
            assert table.modem.ports[0].peer is None, "the call is still there"
        mine = {"imei": mm.imei, "iccid": mm.iccid, "imsi": mm.imsi, "mccmnc": mm.mccmnc, "operator": mm.operator}
        assert mine == {name: ours[name] for name in mine} and mm.apn == "internet" and mm.kind is Kind.LTE
        assert mm.signal.rsrp_dbm == NETWORK.rsrp_dbm and mm.signal.rsrq_db == NETWORK.rsrq_db
        assert [type(order) for order in root.orders] == [Ppp] and not root.is_up
        seen, rose, _, fell = times
        said = f"seen in {seen:.1f} s, up in {rose:.1f} s, down in {fell:.1f} s"
        record_property("fact", f"ModemManager's bearer on a simulated EG25: {said}")

    asyncio.run(story())


@pytest.mark.needs("ModemManager", "modemmanager")
@pytest.mark.needs("dbus-daemon")
@pytest.mark.parametrize(("make", "plugin"), PLUGINS)
def test_modem_manager_reads_the_same_modem(make: str, plugin: str, tmp_path: Path) -> None:
    judged(make, tmp_path, lambda table: modem_manager(table, plugin))


async def gammu(table: Desk) -> dict[str, object]:
    table.shell.pty(table.folder / "gammu")
    config = table.folder / "gammurc"
    config.write_text(f"[gammu]\nport = {table.folder / 'gammu'}\nconnection = at115200\nuse_locking = no\n")
    await table.until(lambda: table.modem.is_served)
    said = await table.again("gammu", "-c", str(config), "identify")
    said += await table.again("gammu", "-c", str(config), "monitor", "1")
    told = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in said.splitlines())}
    place = re.match(r"([0-9]{3}) ([0-9]{2,3}).*LAC ([0-9A-F]+), CID ([0-9A-F]+)", told["Network"])
    assert place
    return {
        "imei": told["IMEI"], "imsi": told["SIM IMSI"], "mccmnc": place[1] + place[2],
        "operator": told["Name in phone"].strip('"'), "registered": told["Network state"] == "home network",
        "area": int(place[3], 16), "cell": int(place[4], 16), "signal": int(told["Network level"].split()[0]),
    }  # fmt: skip


@pytest.mark.needs("gammu")
@pytest.mark.parametrize("make", ["eg25", "sim5320"])
def test_gammu_reads_the_same_modem(make: str, tmp_path: Path) -> None:
    judged(make, tmp_path, gammu)


# -- dbusmock's ModemManager -------------------------------------------------------------------------------------------

DBUSMOCK = "python-dbusmock==0.38.1"  # Debian's is older than its template; its own dependencies are Debian's
MOCK = f"{manager.SERVICE.replace('ModemManager1', 'DBus')}.Mock"
SYSTEM_PYTHON = "/usr/bin/python3"
CONNECT = f"""
self.AddObject("{manager.ROOT}/Bearer/7", "{manager.BEARER}", {{"Connected": True, "Interface": "wwan0",
               "Ip4Config": dbus.Dictionary({{"method": dbus.UInt32(3)}}, signature="sv")}}, [])
ret = dbus.ObjectPath("{manager.ROOT}/Bearer/7")
"""


def dbusmock() -> Path:
    """Its source."""
    def unpack(folder: Path) -> None:
        run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, DBUSMOCK)
        (source,) = folder.glob("*.tar.gz")
        with tarfile.open(source) as tar:
            tar.extractall(folder, filter="data")

    (found,) = made(CACHE / DBUSMOCK, unpack).glob("python_dbusmock-*/")
    return found


@pytest.mark.needs("dbus-daemon")
@pytest.mark.needs("busctl", "systemd")
def test_our_bearer_reads_dbusmocks_modem_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if subprocess.run([SYSTEM_PYTHON, "-c", "import dbus, gi"], check=False, stderr=DEVNULL).returncode:
        pytest.fail("type apt-get install python3-dbus python3-gi")

    async def story() -> None:
        async with desk(ALL["eg25"], tmp_path) as table:
            await table.bus()
            monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", table.address.partition(",")[0])
            source = str(dbusmock())
            await table.start(
                SYSTEM_PYTHON, "-m", "dbusmock", "--system", "--template", "modemmanager", PYTHONPATH=source
            )
            head = ("busctl", f"--address={table.address}", "--json=short", "call", manager.SERVICE)
            modem = json.loads(await table.again(*head, manager.ROOT, MOCK, "AddSimpleModem"))["data"][0]
            for name, takes, gives, code in (("Connect", "a{sv}", "o", CONNECT), ("Disconnect", "o", "", "")):
                method = (manager.SIMPLE, name, takes, gives, code)
                assert await table.call(manager.SERVICE, modem, f"{MOCK}.AddMethod", "sssss", *method) is not None
            said, root = list[Said](), Root()
            clock = asyncio.get_running_loop().time
            hands = Hands(said.append, nobody, lambda job, then: None, clock, lambda text: None)
            helped: Callable[[Hear], Helped] = root  # type: ignore[assignment]
            bearer = modemmanager.Bearer(hands, helped=helped)
            try:
                await until(lambda: said and told(said).model == "E1750")
                facts = told(said)
                assert (facts.operator, facts.mccmnc, facts.act) == ("TheOperator", "00101", 7)
                assert facts.state is State.SEARCHING
                began = clock()
                change = (manager.MODEM, "1", "State", "i", "8")
                await table.call(manager.SERVICE, modem, f"{MOCK}.UpdateProperties", "sa{sv}", *change)
                await until(lambda: told(said).state is State.ATTACHED)
                assert clock() - began < modemmanager.LOOK_S / 3, "it was looked at by the clock, not by the signal"
                bearer.rise(Context(Access("internet")))
                await until(lambda: any(isinstance(each, BearerRose) for each in said))
                assert root.orders == [Dhcp("wwan0", 700)]
            finally:
                bearer.close()
                await pause()

    asyncio.run(story())


# -- python-gsmmodem-new -----------------------------------------------------------------------------------------------

GSMMODEM = """
import json, sys, warnings
warnings.simplefilter("ignore")
from gsmmodem.modem import GsmModem
modem = GsmModem(sys.argv[1], 115200)
modem.connect()
print(json.dumps([modem.imei, modem.imsi, modem.networkName, modem.signalStrength]))
modem.close()
"""


async def gsmmodem(table: Desk) -> dict[str, object]:
    table.shell.pty(table.folder / "gsmmodem")
    await table.until(lambda: table.modem.is_served)
    said = await table.again(sys.executable, "-c", GSMMODEM, str(table.folder / "gsmmodem"))
    imei, imsi, operator, strength = json.loads(said)
    return {"imei": imei, "imsi": imsi, "operator": operator, "signal": strength / 31 * 100}


@pytest.mark.parametrize("make", ["eg25", "sim5320", "lara", "le910", "mc7455"])
def test_python_gsmmodem_reads_the_same_modem(make: str, tmp_path: Path) -> None:
    judged(make, tmp_path, gsmmodem)
