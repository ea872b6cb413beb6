"""ECM, NCM, RNDIS: the modem is a network card. AT commands connect it, DHCP gives the address; the AT port stays free.

The interface is found as the sibling of the AT port on USB: never by its name, which is usb0, wwan0, eth1 or whatever.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from agent.modem import tty
from agent.modem.at import Answered
from agent.modem.bearer import Context, Hands, Traits
from agent.modem.bearers.helped import Hear, Helped, Helping, Refused
from agent.modem.events import Cause
from agent.modem.host import Refused as Unasked
from agent.modem.levers import usb_device
from agent.modem.links import dialects, dialling
from agent.modem.links.dialects import Dialect
from agent.modem.links.orders import Dhcp, Fell

TRAITS = Traits("ecm")
ASK_S = 200.0  # for a command, behind the keeper's own questions: +CGACT alone may take 150 s
END_S = 15.0  # for the one that disconnects: the port may be gone


def siblings(port: str, sys: Path = tty.SYS) -> list[str]:
    """The network interfaces of the USB device whose line `port` is. []: it is not on USB, or has none."""
    device = usb_device(port, sys)
    return sorted(each.name for each in device.glob("*/net/*")) if device else []


class Bearer(Helping):
    def __init__(self, hands: Hands, helped: Callable[[Hear], Helped] = Helped, sys: Path = tty.SYS) -> None:
        super().__init__(hands, helped)
        self._sys = sys
        self._disconnect = ""  # the command that ends what was connected by us

    @property
    def traits(self) -> Traits:
        return TRAITS

    async def _carry(self, context: Context) -> Fell:
        if why := dialects.refusal(context.access):
            raise Refused(Cause.APN, why)
        maker = await self._ask("AT+CGMI")
        manufacturer = str(maker.get("manufacturer") or "") if maker else ""
        found = [context.interface] if context.interface else siblings(context.at_port, self._sys)
        if not found:
            raise Refused(Cause.SYSTEM, dialects.no_interface(manufacturer))
        dialect = await self._dialect(manufacturer)
        for command in dialects.commands(dialect, context.access, context.cid):
            self._disconnect = dialect.disconnect.format(cid=context.cid)
            answer = await self._ask(command)
            if answer is None:
                raise Refused(Cause.FAILED, f"the modem has not answered {command.partition('=')[0]}")
            if not answer.is_ok:
                raise Refused(*dialling.refused(answer, "the connection"))
        return await self.help(Dhcp(found[0], context.metric))

    async def _dialect(self, manufacturer: str) -> Dialect:
        """The first that the modem knows. Refused."""
        for dialect in dialects.candidates(manufacturer):
            answer = await self._ask(dialect.probe)
            if answer and answer.is_ok:
                return dialect
        raise Refused(Cause.FAILED, "the modem does not answer on its AT port, or knows no command to connect")

    async def _ask(self, command: str, wait_s: float = ASK_S) -> Answered | None:
        """None: nobody has answered."""
        with suppress(TimeoutError, Unasked):
            async with asyncio.timeout(wait_s):
                answer = await self.hands.ask(command)
                return answer if answer.final is not None else None
        return None

    async def _end(self) -> None:
        """What was connected by us. An answer is not needed."""
        command, self._disconnect = self._disconnect, ""
        if command:
            await self._ask(command, END_S)


def bearer(hands: Hands) -> Bearer:
    return Bearer(hands)
