"""ModemManager's modem: what it says in our words, its connections as our bearer, its errors as our causes."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.modem.apn import Access
from agent.modem.at import Answered
from agent.modem.bearer import Context, Described, Hands, Said
from agent.modem.bearers import modemmanager
from agent.modem.bearers.helped import Hear, Helped
from agent.modem.bearers.modemmanager import Bearer, Bus, Failed, order_of
from agent.modem.events import BearerFell, BearerRose, Cause
from agent.modem.kinds import Kind
from agent.modem.links import manager
from agent.modem.links.leases import Lease
from agent.modem.links.manager import DHCP, PPP, STATIC, Config
from agent.modem.links.orders import Dhcp, Fell, Order, Ppp, Static, Up
from agent.modem.modem import Sim, State
from agent.modem.told import Told, Warn
from tests.conftest import LONG

LIMIT_S = 110.0
FEW = settings() if LONG else settings(max_examples=30)
PATH, CARD = f"{manager.ROOT}/Modem/3", f"{manager.ROOT}/SIM/1"
NO_METHOD, REFUSED = "org.freedesktop.DBus.Error.UnknownMethod", f"{manager.SERVICE}.Error.Core.Failed"
T = TypeVar("T")


class Daemon:
    """ModemManager with one modem, as far as a client sees it. `error`: what Connect fails with."""

    def __init__(self) -> None:
        self.modem: dict[str, Any] = {
            "State": 8, "Manufacturer": "Quectel", "Model": "EG25", "Revision": "R06", "AccessTechnologies": 1 << 14,
            "CurrentCapabilities": 12, "SignalQuality": (54, True), "Sim": CARD, "PowerState": 3, "UnlockRequired": 1,
            "EquipmentIdentifier": "490154203237518",
        }  # fmt: skip
        self.gpp: dict[str, Any] = {
            "Imei": "490154203237518", "OperatorCode": "26203", "OperatorName": "o2 - de", "RegistrationState": 1,
        }  # fmt: skip
        self.card = {"SimIdentifier": "89490200001234567890", "Imsi": "262031234567890"}
        self.config: dict[str, Any] = {"method": DHCP}
        self.bearers: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.error = ""
        self.is_running = True
        self.changed: Callable[[], None] = lambda: None

    def __call__(self, changed: Callable[[], None]) -> "Daemon":
        """As Bus is made."""
        self.changed = changed
        return self

    async def open(self) -> None:
        if not self.is_running:
            raise Failed("org.freedesktop.DBus.Error.ServiceUnknown", "no such name")

    async def close(self) -> None:
        pass

    async def call(
        self, path: str, interface: str, method: str, signature: str = "", *body: Any, wait_s: float = 0
    ) -> Any:
        await self.open()
        self.calls.append((method, body))
        match method:
            case "GetManagedObjects":
                return {PATH: {manager.MODEM: variants(self.modem), manager.GPP: variants(self.gpp)}}
            case "GetAll" if path == CARD:
                return variants(self.card)
            case "GetAll" if path in self.bearers:
                return variants(self.bearers[path])
            case "Disconnect":
                return self.bearers.clear()
            case "Connect":
                if self.error:
                    raise Failed(self.error, "as it says")
                made = f"{manager.ROOT}/Bearer/{len(self.calls)}"
                four = ("a{sv}", variants(self.config))
                self.bearers[made] = {"Connected": True, "Interface": "wwan0"}
                self.bearers[made] |= {"Ip4Config": four}
                self.modem["State"] = 11
                return made
        raise Failed(NO_METHOD)


def variants(properties: dict[str, Any]) -> dict[str, Any]:
    """As they come over the bus."""
    def mark(value: Any) -> Any:
        match value:
            case (str(), _):
                return value
            case (int(), bool()):
                return "(ub)", value
            case bool():
                return "b", value
            case int():
                return "i", value
        return "s", value

    return {name: mark(value) for name, value in properties.items()}


class Root:
    """Stands for the service: it is up until it is cancelled."""

    def __init__(self) -> None:
        self.orders: list[Order] = []
        self.is_up = False

    def __call__(self, hear: Hear) -> "Root":
        self._hear = hear
        return self

    async def order(self, order: Order) -> Fell:
        self.orders.append(order)
        self._hear(Up("wwan0", "10.9.0.17", ("10.9.0.1",)))
        self.is_up = True
        try:
            await asyncio.Event().wait()
            return Fell(Cause.ENDED)
        finally:
            self.is_up = False

    def close(self) -> None:
        self.is_up = False


class Desk:
    def __init__(self, daemon: Daemon) -> None:
        self.daemon, self.root, self.said = daemon, Root(), list[Said]()
        clock = asyncio.get_running_loop().time
        hands = Hands(self.said.append, nobody, lambda job, then: None, clock, lambda text: None)
        bus: Callable[[Callable[[], None]], Bus] = daemon  # type: ignore[assignment]
        helped: Callable[[Hear], Helped] = self.root  # type: ignore[assignment]
        self.bearer = Bearer(hands, bus, helped)

    async def says(self, kind: type[T]) -> T:
        return await self.until(lambda: next((each for each in self.said if isinstance(each, kind)), None))

    async def until(self, what: Callable[[], T | None]) -> T:
        while not (found := what()):
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.Event().wait(), 0.002)
        return found

    @property
    def told(self) -> Told:
        return [each.told for each in self.said if isinstance(each, Described)][-1]


async def nobody(command: str) -> Answered:
    raise AssertionError(command)


def at_desk(story: Callable[[Desk], Coroutine[None, None, None]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modemmanager, "REFRESH_S", 0.005)
    monkeypatch.setattr(modemmanager, "RETRY_S", 0.01)

    async def run() -> None:
        desk = Desk(Daemon())
        try:
            async with asyncio.timeout(LIMIT_S):
                await story(desk)
        finally:
            desk.bearer.close()

    asyncio.run(run())


# -- what it says ------------------------------------------------------------------------------------------------------


def told_of(daemon: Daemon) -> Told:
    found = manager.objects({PATH: {manager.MODEM: variants(daemon.modem), manager.GPP: variants(daemon.gpp)}})
    found[CARD] = {manager.SIM: dict(daemon.card)}
    return manager.told(found, 0.0, None, True, None, 0.0)


def test_what_modem_manager_says_is_told_in_our_words() -> None:
    told = told_of(Daemon())
    assert (told.imei, told.iccid, told.imsi) == ("490154203237518", "89490200001234567890", "262031234567890")
    assert (told.operator, told.mccmnc, told.act, told.generation) == ("o2 - de", "26203", 7, "4g")
    assert (told.kind, told.sunset, told.sim, told.state) == (Kind.LTE, None, Sim.READY, State.ATTACHED)
    assert told.signal.rssi_dbm == -79 and told.registrations["+CEREG"].stat == 1 and not told.is_roaming


@pytest.mark.parametrize(("modem", "gpp", "state", "warning"), [
    ({"State": -1, "StateFailedReason": 2}, {}, State.SIM_MISSING, None),
    ({"State": -1, "StateFailedReason": 3}, {}, State.SIM_FAILED, None),
    ({"State": 2, "UnlockRequired": 2}, {}, State.SIM_LOCKED, Warn.PIN_MISSING),
    ({"State": 2, "UnlockRequired": 4}, {}, State.SIM_LOCKED, Warn.PUK),
    ({"State": 2, "UnlockRequired": 9}, {}, State.SIM_LOCKED, Warn.LOCKED_TO),
    ({"State": 3}, {}, State.RADIO_OFF, None),
    ({"State": 1}, {}, State.PROBING, None),
    ({"State": 6}, {"RegistrationState": 2}, State.SEARCHING, None),
    ({"State": 7}, {"RegistrationState": 3}, State.DENIED, Warn.DENIED),
    ({"State": 8}, {"PacketServiceState": 1}, State.REGISTERED, None),
    ({"State": 11}, {}, State.BEARER_UP, None),
])  # fmt: skip
def test_each_state_of_modem_manager_is_one_of_ours(
    modem: dict[str, Any], gpp: dict[str, Any], state: State, warning: Warn | None
) -> None:
    daemon = Daemon()
    daemon.modem |= modem
    daemon.gpp |= gpp
    assert told_of(daemon).state is state and (warning is None or warning in told_of(daemon).warnings)


def test_a_modem_for_3g_is_said_to_be_one_and_one_that_was_seen_on_lte_never_again() -> None:
    daemon = Daemon()
    daemon.modem |= {"Model": "SIM5320A", "CurrentCapabilities": 4, "AccessTechnologies": 1 << 5}
    assert told_of(daemon).kind is Kind.GSM and Warn.UPGRADE in told_of(daemon).warnings
    found = {PATH: {manager.MODEM: daemon.modem}}
    assert manager.told(found, 0.0, "ModemManager", True, None, 0.0).kind is Kind.LTE
    daemon.modem |= {"CurrentCapabilities": 2}
    assert told_of(daemon).kind is Kind.CDMA


def test_levels_of_lte_count_before_a_percentage() -> None:
    levels = {"Lte": {"rssi": -75.0, "rsrp": -101.0, "rsrq": -13.0, "snr": 4.0}}
    signal = manager.signal({"SignalQuality": (54, True)}, levels, 5.0)
    assert (signal.rssi_dbm, signal.rsrp_dbm, signal.rsrq_db, signal.is_good) == (-75.0, -101.0, -13.0, False)


ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
NAMES = st.sampled_from([*Daemon().modem, "RegistrationState", "SupportedCapabilities", "Lte", "StateFailedReason"])
MARKED = st.tuples(st.sampled_from(["s", "i", "u", "a{sv}", "v", "(ub)", "ao", "aa{sv}"]), ANY)


INTERFACES = st.sampled_from([manager.MODEM, manager.GPP, manager.SIGNAL, "x"])


@pytest.mark.promise("S9")
@FEW
@given(st.dictionaries(INTERFACES, st.dictionaries(NAMES, MARKED, max_size=6), max_size=4), ANY)
def test_nothing_that_comes_over_the_bus_raises(interfaces: dict[str, Any], other: Any) -> None:
    found = manager.objects({PATH: interfaces, CARD: other})
    assert isinstance(manager.told(found, 0.0, None, True, None, 0.0), Told) and manager.objects(other) is not None
    manager.config({"Connected": True, "Interface": "x", "Ip4Config": other})


# -- its connections ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("config", "order"), [
    (Config("ttyUSB3", PPP), Ppp("/dev/ttyUSB3", "n", "p", metric=700)),
    (Config("wwan0", STATIC, Lease("10.1.2.3", 30, "10.1.2.4", ("9.9.9.9",), 1_430)),
     Static("wwan0", "10.1.2.3", 30, "10.1.2.4", ("9.9.9.9",), 1_430, 700)),
    (Config("wwan0", DHCP), Dhcp("wwan0", 700)), (Config("wwan0", 0), None), (Config("wwan0", STATIC), None),
])  # fmt: skip
def test_its_interface_is_set_up_as_it_says(config: Config, order: Order | None) -> None:
    assert order_of(config, Context(Access("apn", "n", "p"))) == order


def test_it_connects_and_everything_is_taken_down_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(desk: Desk) -> None:
        desk.bearer.rise(Context(Access("internet", "n", "p")))
        assert await desk.says(BearerRose) == BearerRose("10.9.0.17", "wwan0", ("10.9.0.1",))
        connected = next(body[0] for method, body in desk.daemon.calls if method == "Connect")
        assert connected["apn"] == ("s", "internet") and connected["password"] == ("s", "p")
        assert desk.root.orders == [Dhcp("wwan0", 700)]
        await desk.until(lambda: desk.told.state is State.BEARER_UP and desk.told.apn == "internet")
        desk.bearer.fall()
        assert await desk.says(BearerFell) == BearerFell(Cause.ASKED)
        assert not desk.daemon.bearers and not desk.root.is_up

    at_desk(story, monkeypatch)


def test_a_connection_that_it_loses_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(desk: Desk) -> None:
        desk.bearer.rise(Context())
        await desk.says(BearerRose)
        next(iter(desk.daemon.bearers.values()))["Connected"] = False
        desk.daemon.changed()
        assert await desk.says(BearerFell) == BearerFell(Cause.ENDED) and not desk.root.is_up
        assert "ended" in desk.bearer.why

    at_desk(story, monkeypatch)


@pytest.mark.parametrize(("error", "cause"), [
    ("MobileEquipment.GprsMissingOrUnknownApn", Cause.APN),
    ("MobileEquipment.GprsServiceOptionNotSubscribed", Cause.APN),
    ("MobileEquipment.GprsUserAuthenticationFailed", Cause.AUTH), ("Connection.NoCarrier", Cause.FAILED),
    ("Core.Unauthorized", Cause.SYSTEM), ("Core.Unsupported", Cause.SYSTEM), ("Core.Retry", Cause.FAILED),
])  # fmt: skip
def test_its_errors_are_our_causes(monkeypatch: pytest.MonkeyPatch, error: str, cause: Cause) -> None:
    async def story(desk: Desk) -> None:
        desk.daemon.error = f"{manager.SERVICE}.Error.{error}"
        desk.bearer.rise(Context())
        assert await desk.says(BearerFell) == BearerFell(cause) and desk.bearer.why and not desk.root.orders

    at_desk(story, monkeypatch)


@pytest.mark.parametrize("may_roam", [True, False])
def test_it_is_told_whether_it_may_connect_abroad(may_roam: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(desk: Desk) -> None:
        desk.daemon.gpp["RegistrationState"] = 5
        desk.daemon.error = "" if may_roam else f"{manager.SERVICE}.Error.Core.Unauthorized"
        desk.bearer.rise(Context(may_roam=may_roam))
        fell = await desk.says(BearerRose if may_roam else BearerFell)
        assert may_roam or (fell == BearerFell(Cause.FAILED) and "may_roam = true" in desk.bearer.why)
        said = next(body[0] for method, body in desk.daemon.calls if method == "Connect")
        assert said["allow-roaming"] == ("b", may_roam)

    at_desk(story, monkeypatch)


def test_an_access_point_that_was_refused_gives_way_to_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(desk: Desk) -> None:
        desk.daemon.card["SimIdentifier"] = "89882280000012345678"  # one that KNOWN has
        desk.daemon.error = f"{manager.SERVICE}.Error.MobileEquipment.GprsMissingOrUnknownApn"
        for _ in range(2):
            desk.said.clear()
            desk.bearer.rise(Context())
            await desk.says(BearerFell)
        tried = [body[0]["apn"][1] for method, body in desk.daemon.calls if method == "Connect"]
        assert tried == ["iot.1nce.net", ""]

    at_desk(story, monkeypatch)


def test_without_its_library_the_sentence_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jeepney", None)
    with pytest.raises(Failed) as failed:
        asyncio.run(Bus(lambda: None).open())
    assert failed.value.cause is Cause.SYSTEM and "pip install 'station-agent[modemmanager]'" in failed.value.why


def test_a_daemon_that_goes_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(desk: Desk) -> None:
        await desk.says(Described)
        assert desk.told.model == "EG25"
        desk.daemon.is_running = False
        desk.daemon.changed()
        await desk.until(lambda: desk.told.state is State.ABSENT)
        assert "systemctl enable --now ModemManager" in desk.bearer.why
        desk.bearer.rise(Context())
        assert await desk.says(BearerFell) == BearerFell(Cause.FAILED)
        desk.daemon.is_running = True
        await desk.until(lambda: desk.told.model == "EG25")

    at_desk(story, monkeypatch)


def test_a_sim_that_is_swapped_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(desk: Desk) -> None:
        await desk.says(Described)
        desk.daemon.card["SimIdentifier"] = "89490200009999999999"
        desk.daemon.changed()
        await desk.until(lambda: desk.told.iccid == "89490200009999999999")

    at_desk(story, monkeypatch)
