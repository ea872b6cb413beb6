"""ECM: the modem as a network card, found on USB, connected by AT, its address by DHCP, and nothing left of it."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.modem import bearers
from agent.modem.apn import Access
from agent.modem.at import Answered
from agent.modem.bearer import Context, Hands, Said
from agent.modem.bearers import ecm
from agent.modem.bearers.helped import Hear, Helped
from agent.modem.events import BearerFell, BearerRose, Cause
from agent.modem.links import changes, choice, dialects, leases, pppd
from agent.modem.links.choice import Facts
from agent.modem.links.leases import Lease, Lost
from agent.modem.links.orders import Dhcp, Fell, Order, Up
from agent.sim.modem.air import Card, Network
from agent.sim.modem.personalities import EG25, LE910
from tests.conftest import LONG
from tests.modemhost import Host

ROOT = Path(__file__).parent.parent
LIMIT_S = 110.0
FEW = settings() if LONG else settings(max_examples=30)
BOUND = "lease event=bound ip=10.9.0.17, mask=24, router=10.9.0.1, dns=10.9.0.1 9.9.9.9, mtu=1400, lease=60,"


# -- leases ------------------------------------------------------------------------------------------------------------


def test_a_lease_is_read_as_udhcpc_tells_it() -> None:
    assert leases.heard(BOUND) == Lease("10.9.0.17", 24, "10.9.0.1", ("10.9.0.1", "9.9.9.9"), 1_400)
    bare = leases.heard("lease event=renew ip=10.0.0.2, mask=30, router=, dns=, mtu=, lease=60,")
    assert bare == Lease("10.0.0.2", 30)
    assert leases.heard("lease event=nak ip=, mask=, router=, dns=, mtu=, lease=,") == Lost()
    assert leases.heard("udhcpc: sending discover") is None


def test_the_script_says_a_line_for_each_event(tmp_path: Path) -> None:
    script = tmp_path / "lease"
    script.write_text(leases.SCRIPT)
    script.chmod(0o700)
    said = {"ip": "10.9.0.17", "mask": "24", "router": "10.9.0.1", "mtu": "1400", "lease": "60"}
    said["dns"] = "10.9.0.1 9.9.9.9"
    ran = subprocess.run([script, "bound"], env=said, capture_output=True, text=True, check=True)
    assert ran.stdout == f"{BOUND}\n" and ran.stderr == ""


ODD = (
    r"lease event=bound ip=(|0\.0\.0\.0|300\.1\.1\.1|10\.0\.0\.[0-9]|x), mask=(24|0|33|x|), router=.{0,9}, dns=.{0,20},"
)


@pytest.mark.promise("S9")
@FEW
@given(st.text() | st.text().map(lambda text: f"lease event=bound {text}") | st.from_regex(ODD))
def test_no_line_of_a_server_raises_or_becomes_an_address_that_is_none(line: str) -> None:
    heard = leases.heard(line)
    if isinstance(heard, Lease):
        assert pppd.ipv4(heard.address) == heard.address != "" and 0 < heard.prefix <= 32
        made = changes.of_lease("wwan0", 700, heard, True, 1_500)
        assert all(part.isascii() and part.isprintable() and " " not in part for each in made for part in each.do)


def test_a_lease_is_set_up_and_taken_back_exactly() -> None:
    lease = leases.heard(BOUND)
    assert isinstance(lease, Lease)
    made = changes.of_lease("wwan0", 700, lease, has_resolved=True, mtu_before=1_500)
    assert [each.do[:4] for each in made] == [
        ("ip", "-4", "address", "replace"), ("ip", "link", "set", "dev"), ("ip", "-4", "route", "replace"),
        ("resolvectl", "dns", "wwan0", "10.9.0.1"),
    ]  # fmt: skip
    assert [each[1] for each in changes.undoing(made)] == ["revert", "-4", "link", "-4"]
    assert "onlink" in made[2].do and made[1].undo[-1] == "1500"


# -- which interface ---------------------------------------------------------------------------------------------------


def usb(sys_: Path, net: dict[str, str]) -> Path:
    """A modem on USB with an AT line on interface 2, and network cards by interface; another device beside it."""
    for device, lines in (("1-1", {"1-1:1.2": "ttyUSB2"}), ("1-2", {"1-2:1.0": "ttyUSB9"})):
        (sys_ / "devices" / device).mkdir(parents=True)
        (sys_ / "devices" / device / "idVendor").write_text("2c7c\n")
        for place, line in lines.items():
            tty = sys_ / "devices" / device / place / line
            tty.mkdir(parents=True)
            (sys_ / "class" / "tty" / line).mkdir(parents=True)
            (sys_ / "class" / "tty" / line / "device").symlink_to(tty)
            (sys_ / line).touch()
    for place, name in net.items():
        (sys_ / "devices" / place.partition(":")[0] / place / "net" / name).mkdir(parents=True)
    return sys_


def test_the_interface_is_the_sibling_of_the_at_port_whatever_its_name(tmp_path: Path) -> None:
    made = usb(tmp_path, {"1-1:1.4": "eth7", "1-2:1.1": "usb0"})
    assert ecm.siblings(str(tmp_path / "ttyUSB2"), made) == ["eth7"]
    assert ecm.siblings(str(tmp_path / "ttyUSB9"), made) == ["usb0"] and ecm.siblings("/dev/null", made) == []


# -- a connection ------------------------------------------------------------------------------------------------------


class Root:
    """Stands for the service: says Up, and stays until it is taken down."""

    orders: list[Order]

    def __init__(self, ends: asyncio.Event) -> None:
        self.orders, self._ends, self.is_up = [], ends, False

    def __call__(self, hear: Hear) -> "Root":
        self._hear = hear
        return self

    async def order(self, order: Order) -> Fell:
        self.orders.append(order)
        self._hear(Up("eth7", "10.9.0.17", ("10.9.0.1",)))
        self.is_up = True
        try:
            await self._ends.wait()
        finally:
            self.is_up = False
        return Fell(Cause.ENDED, "gone")

    def close(self) -> None:
        self.is_up = False


def carried(
    host: Host, tmp_path: Path, access: Access, *, net: dict[str, str] | None = None, ends: bool = False
) -> tuple[list[Said], list[str], Root, str]:
    """It rises, then is taken down (or ends by itself): what was said, the commands, what root was asked, why."""
    said: list[Said] = []
    sent: list[str] = []

    async def ask(command: str) -> Answered:
        sent.append(command)
        return host.ask(command)

    async def story() -> tuple[Root, str]:
        over = asyncio.Event()
        root = Root(over)
        hands = Hands(said.append, ask, lambda job, then: None, lambda: 0.0, lambda text: None)
        helped: Callable[[Hear], Helped] = root  # type: ignore[assignment]
        bearer = ecm.Bearer(hands, helped, usb(tmp_path, {"1-1:1.4": "eth7"} if net is None else net))
        async with asyncio.timeout(LIMIT_S):
            bearer.rise(Context(access, 1, at_port=str(tmp_path / "ttyUSB2")))
            while not said:
                await pause()
            why = bearer.why
            if isinstance(said[-1], BearerRose):
                over.set() if ends else bearer.fall()
            while not isinstance(said[-1], BearerFell):
                await pause()
        return root, bearer.why or why

    root, why = asyncio.run(story())
    return said, sent, root, why


async def pause() -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), 0.001)


def host_of(make: object = LE910, network: Network | None = None) -> Host:
    host = Host(make, Card(), network or Network())  # type: ignore[arg-type]
    host.until(lambda: host.modem.is_served)
    host.ask('AT+CGDCONT=1,"IP","internet"')
    return host


def test_a_modem_is_connected_by_its_makers_command_and_disconnected_by_it(tmp_path: Path) -> None:
    said, sent, root, _ = carried(host_of(LE910), tmp_path, Access("internet"))
    assert said == [BearerRose("10.9.0.17", "eth7", ("10.9.0.1",)), BearerFell(Cause.ASKED)]
    assert sent == ["AT+CGMI", "AT#ECM?", "AT#ECM=1,0", "AT#ECMD=0"]
    assert root.orders == [Dhcp("eth7", 700)] and not root.is_up


def test_a_modem_that_does_not_know_its_makers_command_is_asked_with_everybodys(tmp_path: Path) -> None:
    said, sent, _, _ = carried(host_of(EG25), tmp_path, Access("internet"), ends=True)
    assert said[-1] == BearerFell(Cause.ENDED)
    assert sent == ["AT+CGMI", "AT+QNETDEVCTL=?", "AT+CGACT?", "AT+CGACT=1,1", "AT+CGACT=0,1"]


def test_a_modem_without_an_interface_says_what_to_type_and_is_not_touched(tmp_path: Path) -> None:
    said, sent, root, why = carried(host_of(EG25), tmp_path, Access("internet"), net={})
    assert said == [BearerFell(Cause.SYSTEM)] and sent == ["AT+CGMI"] and not root.orders
    assert """station-agent modem at 'AT+QCFG="usbnet",1'""" in why and 'bearer = "ppp"' in why


def test_a_network_that_does_not_take_us_is_told_and_root_is_not_asked(tmp_path: Path) -> None:
    host = host_of(LE910)
    host.modem.cover(None, host.now)
    host.run(60.0)
    said, sent, root, why = carried(host, tmp_path, Access("internet"))
    assert said == [BearerFell(Cause.FAILED)] and not root.orders and why
    assert sent[-2:] == ["AT#ECM=1,0", "AT#ECMD=0"]


@pytest.mark.promise("S9")
@pytest.mark.parametrize("access", [Access('a"b'), Access("a", 'x"\r'), Access("a", "b", "ü"), Access("a" * 101)])
def test_no_name_of_a_config_file_becomes_a_command(tmp_path: Path, access: Access) -> None:
    said, sent, _, why = carried(host_of(), tmp_path, access)
    assert said == [BearerFell(Cause.APN)] and sent == [] and "correct it" in why


def test_every_dialect_has_its_commands_and_only_plain_ones() -> None:
    for dialect in dialects.DIALECTS:
        lines = dialects.commands(dialect, Access("apn", "name", "word"), 3)
        lines += [dialect.probe, dialect.disconnect.format(cid=3)]
        assert all(line.startswith("AT") and "{" not in line and line.isascii() for line in lines) and len(lines) == 4
    assert dialects.candidates(None) == (dialects.PLAIN,)
    assert dialects.candidates("Quectel")[0] is dialects.QUECTEL and dialects.candidates("Telit")[0] is dialects.TELIT


# -- which bearer ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("facts", "name"), [
    (Facts(is_managed=True, has_port=True, has_interface=True, has_dhcp=True, has_ppp=True), "modemmanager"),
    (Facts(has_port=True, has_interface=True, has_dhcp=True, has_ppp=True), "ecm"),
    (Facts(has_port=True, has_interface=True, has_ppp=True), "ppp"),
    (Facts(has_port=True, has_ppp=True), "ppp"),
    (Facts(has_port=True, has_interface=True), "ecm"),
    (Facts(has_port=True), "given"), (Facts(), "given"),
])  # fmt: skip
def test_auto_chooses_by_one_table(facts: Facts, name: str) -> None:
    assert choice.chosen(facts)[0] == name


def test_auto_looks_at_the_port_and_opens_nothing(tmp_path: Path) -> None:
    made = usb(tmp_path, {"1-1:1.4": "eth7"})
    seen = bearers.seen(str(tmp_path / "ttyUSB2"), made, tmp_path / "ppp")
    assert seen.has_port and seen.has_interface and not seen.has_ppp and not seen.is_managed
    assert not bearers.seen(str(tmp_path / "ttyUSB9"), made).has_interface and not bearers.seen("", made).has_port
    for name in bearers.NAMES:
        assert bearers.maker(name, "") is not None


# -- a real network ----------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.needs("busybox", "busybox-static")
@pytest.mark.needs("unshare", "util-linux")
def test_a_real_dhcp_client_brings_an_address_and_leaves_nothing(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    own = ["unshare", "-rnm", "sh", "-c", 'mount -t sysfs sys /sys && exec "$@"', "sh"]
    command = [*own, sys.executable, "-m", "tests.netns_lease", str(tmp_path)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    facts = json.loads(ran.stdout)
    for name in ("up", "again", "cut"):
        up = facts[name]
        assert len(up["addresses"]) == 1 and up["mtu"] == 1_400 and up["said"] == [["10.9.0.1", "9.9.9.9"]], facts
        other, ours = up["routes"]
        assert (other["dev"], ours["dev"], ours["metric"], ours["protocol"]) == ("other", "wwan0", 700, changes.PROTO)
        assert facts[f"after_{name}"] == facts["before"], name
    assert facts["ended"] == "ENDED" and facts["kept"] == {"changes": [], "child": None}
    record_property("fact", f"an address by DHCP on a network card, with its helper: {facts['again_s']} s")
