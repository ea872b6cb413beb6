"""ModemManager's modem, over D-Bus: it owns the modem whole, and its port is never opened by us.

It is asked for all of its objects whenever it says that something has changed, at most once a second, so nothing here
follows single changes. Connecting is its Simple.Connect, which switches the radio on, waits for a network, and dials;
setting up the interface is left to us by its own rules, and done by the service (agent/modem/linkservice.py).
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from msgspec import structs

from agent.hal.device import bring
from agent.modem import apn
from agent.modem.apn import Access
from agent.modem.bearer import Context, Described, Hands, Traits
from agent.modem.bearers.helped import Hear, Helped, Helping, Refused
from agent.modem.events import Cause
from agent.modem.kinds import Kind
from agent.modem.links import manager
from agent.modem.links.manager import Config
from agent.modem.links.orders import Dhcp, Fell, Order, Ppp, Static
from agent.modem.modem import State

TRAITS = Traits("modemmanager", owns_modem=True)
REFRESH_S = 1.0  # between two looks at everything; a look costs 1 ms
LOOK_S = 30.0  # and without any news
CONNECT_S = 210.0  # ModemManager's own 180 s, and the bus's
CALL_S = 15.0  # for everything else
RETRY_S = 5.0  # until a bus or a ModemManager that is not there is asked again
SIGNAL_S = 30  # how often it measures
ABROAD = "only a foreign network is here: set [modem] may_roam = true if the contract has it"
IP4 = 1 << 0  # MMBearerIpFamily


class Failed(Exception):
    """A D-Bus error, or none to speak to."""

    def __init__(self, name: str, message: str = "") -> None:
        super().__init__(message or name)
        self.cause, self.why = manager.failed(name, message)


class Bus:
    """One connection to the system's bus. Everything raises Failed."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._stack: Any = None
        self._router: Any = None
        self._listening: asyncio.Task[None] | None = None

    async def open(self) -> None:
        try:
            from jeepney import MatchRule, message_bus
            from jeepney.io.asyncio import Proxy, open_dbus_router
        except ImportError:
            raise Failed(manager.NO_LIBRARY, bring("modemmanager")) from None
        try:
            self._stack = open_dbus_router("SYSTEM")
            self._router = await self._stack.__aenter__()
            for rule in (
                MatchRule(type="signal", sender=manager.SERVICE),
                MatchRule(type="signal", member="NameOwnerChanged", interface="org.freedesktop.DBus"),
            ):
                await Proxy(message_bus, self._router).AddMatch(rule)
        except Exception as error:  # what a bus that is not there, or hangs up, raises is many things
            await self.close()
            raise Failed("org.freedesktop.DBus.Error.NoServer", str(error)) from None
        self._listening = asyncio.get_running_loop().create_task(self._listen(MatchRule(type="signal")))

    async def _listen(self, rule: Any) -> None:
        with self._router.filter(rule, bufsize=1) as queue:  # more than one says no more than one
            while True:
                await queue.get()
                self._changed()

    async def call(
        self, path: str, interface: str, method: str, signature: str = "", *body: Any, wait_s: float = CALL_S
    ) -> Any:
        """The first value of the answer."""
        from jeepney import DBusAddress, MessageType, new_method_call

        address = DBusAddress(path, bus_name=manager.SERVICE, interface=interface)
        message = new_method_call(address, method, signature or None, body)
        try:
            async with asyncio.timeout(wait_s):
                answer = await self._router.send_and_get_reply(message)
        except Exception as error:  # the same, and TimeoutError
            raise Failed("org.freedesktop.DBus.Error.NoReply", str(error) or type(error).__name__) from None
        if answer.header.message_type is MessageType.error:
            name = next((str(value) for key, value in answer.header.fields.items() if key.name == "error_name"), "")
            raise Failed(name, str(answer.body[0]) if answer.body else "")
        return answer.body[0] if answer.body else None

    async def close(self) -> None:
        if self._listening:
            self._listening.cancel()
        stack, self._stack, self._router = self._stack, None, None
        if stack is None:
            return
        if stack.req_ctx is not None:
            with suppress(Exception):  # of its reader, which may have ended
                await stack.req_ctx.__aexit__(None, None, None)
        if stack.conn is not None:
            with suppress(Exception):
                await stack.conn.close()


class Bearer(Helping):
    """`bus`, `helped`: who is asked; a test asks others."""

    def __init__(
        self, hands: Hands, bus: Callable[[Callable[[], None]], Bus] = Bus,
        helped: Callable[[Hear], Helped] = Helped, upgradable: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(hands, helped)
        self._upgradable = upgradable
        self._news = asyncio.Event()
        self._bus = bus(self._news.set)
        self._found: dict[str, dict[str, dict[str, Any]]] = {}
        self._seen = asyncio.Event()  # everything was looked at, once more
        self._since, self._state = hands.now(), State.ABSENT
        self._lte: str | None = None  # by what it was seen
        self._measured = ""  # the modem that measures its signal
        self._apn: str | None = None
        self._refused = 0  # access points that were not accepted, in a row
        self._path = ""  # of its bearer
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    @property
    def traits(self) -> Traits:
        return TRAITS

    def close(self) -> None:
        """ModemManager keeps its connection; the next run begins by ending it."""
        super().close()
        self._watching.cancel()

    # -- what it knows ------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """For ever: a bus that goes comes back."""
        try:
            await self._watched()
        finally:
            await self._bus.close()

    async def _watched(self) -> None:
        is_open = False
        while True:
            self._news.clear()
            wait_s = LOOK_S
            try:
                if not is_open:
                    await self._bus.open()
                    is_open = True
                await self._look()
                self.why = "" if self._found else "ModemManager sees no modem: mmcli -L says which there are"
            except Failed as failed:
                self.why, wait_s, is_open = failed.why, RETRY_S, False
                self._absorbed({})
                await self._bus.close()
            self._seen.set()
            await waited(None, REFRESH_S)
            await waited(self._news, wait_s)

    async def _look(self) -> None:
        body = await self._bus.call(manager.ROOT, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")
        found = manager.objects(body)
        if path := manager.modem_of(found):
            modem = found[path][manager.MODEM]
            sim = manager.text(modem, "Sim")
            if sim and sim != "/" and sim not in found:
                with suppress(Failed):
                    found[sim] = {manager.SIM: await self._properties(sim, manager.SIM)}
            if manager.SIGNAL in found[path] and path != self._measured:
                with suppress(Failed):  # not every modem can
                    await self._bus.call(path, manager.SIGNAL, "Setup", "u", SIGNAL_S)
                self._measured = path
        self._absorbed(found)

    async def _properties(self, path: str, interface: str) -> dict[str, Any]:
        found = await self._bus.call(path, "org.freedesktop.DBus.Properties", "GetAll", "s", interface)
        properties: dict[str, Any] = manager.plain("a{sv}", found)
        return properties

    def _absorbed(self, found: dict[str, dict[str, dict[str, Any]]]) -> None:
        self._found = found
        now = self.hands.now()
        told = manager.told(found, self._since, self._lte, self._upgradable, self._apn, now)
        if told.state is not self._state:
            self._state, self._since = told.state, now
        if told.kind is Kind.LTE and not self._lte:
            self._lte = "ModemManager"
        self.hands.post(Described(structs.replace(told, since=self._since)))

    # -- a connection -------------------------------------------------------------------------------------------------

    async def _carry(self, context: Context) -> Fell:
        try:
            await self._connect(context)
            fell = await self._carried(context)
        except Failed as failed:
            fell = Fell(failed.cause, failed.why)
            if not context.may_roam and manager.told(self._found, 0.0, None, True, None, 0.0).is_roaming:
                fell = Fell(Cause.FAILED, ABROAD)
        self._refused = self._refused + 1 if fell.cause in (Cause.APN, Cause.AUTH) else 0
        return fell

    async def _end(self) -> None:
        self._apn, path, self._path = None, self._path, ""
        if path:
            with suppress(Failed):
                await self._disconnect(path)

    async def _connect(self, context: Context) -> None:
        """Failed, Refused."""
        self._seen.clear()
        self._news.set()
        await waited(self._seen, CALL_S)
        path = manager.modem_of(self._found)
        if path is None:
            raise Refused(Cause.FAILED, self.why)
        await self._disconnect("/")  # what a run before us has left
        access = self._access(context)
        words = {"apn": ("s", access.apn), "ip-type": ("u", IP4), "allow-roaming": ("b", context.may_roam)}
        if access.username:
            words |= {"user": ("s", access.username), "password": ("s", access.password)}
        self._path = "/"  # whichever it will be, also if we do not stay to hear it
        self._path = str(await self._bus.call(path, manager.SIMPLE, "Connect", "a{sv}", words, wait_s=CONNECT_S))
        self._apn = access.apn
        self._news.set()

    def _access(self, context: Context) -> Access:
        """What was configured, or what the SIM's network is known for; another one when it was refused."""
        if context.access != Access():
            return context.access
        known = manager.told(self._found, 0.0, None, True, None, 0.0)
        choice = apn.candidates(None, apn.KNOWN, {}, known.iccid, known.imsi)
        return choice[self._refused % len(choice)]

    async def _carried(self, context: Context) -> Fell:
        """Until it is over. Failed, Refused."""
        config = manager.config(await self._properties(self._path, manager.BEARER))
        if config is None:
            raise Refused(Cause.FAILED, "ModemManager has connected, but shows no interface")
        order = order_of(config, context)
        if order is None:
            raise Refused(Cause.SYSTEM, 'ModemManager gives no IPv4 address: set pdp_type = "IP"')
        carrying = asyncio.ensure_future(self.help(order))
        lasting = asyncio.ensure_future(self._lasted(self._path))
        try:
            await asyncio.wait((carrying, lasting), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in (carrying, lasting):
                each.cancel()
            results = await asyncio.gather(carrying, lasting, return_exceptions=True)
        if isinstance(results[0], Fell):
            return results[0]
        return Fell(Cause.ENDED, "ModemManager's connection has ended")

    async def _lasted(self, path: str) -> None:
        """Until its bearer says that it is not connected any more, or is gone."""
        while True:
            self._seen.clear()
            await self._seen.wait()
            with suppress(Failed):
                if (await self._properties(path, manager.BEARER)).get("Connected") is True:
                    continue
            return

    async def _disconnect(self, bearer: str) -> None:
        """`/` is every bearer. Failed."""
        if path := manager.modem_of(self._found):
            await self._bus.call(path, manager.SIMPLE, "Disconnect", "o", bearer, wait_s=CONNECT_S)


def order_of(config: Config, context: Context) -> Order | None:
    """What the service has to do with the interface. None: there is nothing that it could."""
    lease, access = config.lease, context.access
    if config.method == manager.PPP:
        tty = config.interface if config.interface.startswith("/") else f"/dev/{config.interface}"
        return Ppp(tty, access.username, access.password, metric=context.metric)
    if config.method == manager.STATIC and lease:
        return Static(config.interface, lease.address, lease.prefix, lease.router, lease.dns, lease.mtu, context.metric)
    return Dhcp(config.interface, context.metric) if config.method == manager.DHCP else None


async def waited(event: asyncio.Event | None, seconds: float) -> None:
    """Whichever comes first."""
    with suppress(TimeoutError):
        await asyncio.wait_for((event or asyncio.Event()).wait(), seconds)


def bearer(hands: Hands) -> Bearer:
    return Bearer(hands)
