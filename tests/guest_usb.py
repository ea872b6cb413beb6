"""Runs inside the machine of tests/test_rig_usb.py: our link to the port controller behind a USB adapter. Tells facts,
judges nothing."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from agent.effects import PortCommand, Stop
from agent.events import ControllerFound, ControllerLost, Cp, PortReported, Report
from agent.hal.controller import ControllerLink
from agent.hal.tty import SerialController, Tty, checked_tty
from agent.loop import Inbox, Loop, monotonic
from tests.guest import Talk, tell

PATIENCE_S = 30.0
OFF = PortCommand()
SHORT_MS = 2_900  # after 3 s the controller lowers the current
TRIPS, TRIP_B = 200, 64

T = TypeVar("T")


class Agent:
    """The link as agent/app.py has it: same parts, same loop. The core behind it wishes what it is told to."""

    def __init__(self, tty: str, pins_hash: str, circuit_ma: int, failsafe_ma: int, grace_s: int) -> None:
        inbox = Inbox()
        link = ControllerLink(2, circuit_ma, failsafe_ma, grace_s, pins_hash)
        self.commands = (OFF, OFF)
        self.happenings: list[object] = []
        self.controller = SerialController(link, checked_tty(tty), inbox.post, monotonic)
        self._loop = Loop(self, inbox)
        self._turned = asyncio.Event()
        self._running = asyncio.create_task(self._loop.run())

    def happened(self, happening: object, now: float) -> None:
        self.happenings.append(happening)
        self.controller.wish(self.commands, now)

    def due(self, now: float) -> None:
        self.controller.due(now)
        self._turned.set()

    def next_deadline(self) -> float:
        return self.controller.next_deadline()

    async def until(self, is_so: Callable[[], bool]) -> None:
        """The loop turns at least twice a second."""
        async with asyncio.timeout(PATIENCE_S):
            while not is_so():
                self._turned.clear()
                await self._turned.wait()
        if self._running.done():
            self._running.result()

    async def next(self, kind: type[T], is_it: Callable[[T], bool] = lambda _: True) -> T:
        """The next happening of this kind; what was before is forgotten."""
        found: list[T] = []

        def look() -> bool:
            while self.happenings and not found:
                happening = self.happenings.pop(0)
                if isinstance(happening, kind) and is_it(happening):
                    found.append(happening)
            return bool(found)

        await self.until(look)
        return found[0]

    async def report(self, is_it: Callable[[Report], bool]) -> Report:
        """Of the first port."""
        return (await self.next(PortReported, lambda it: it.evse_id == 1 and is_it(it.report))).report

    async def end(self) -> None:
        self._loop.stop()
        await self._running
        self.controller.close()


async def story() -> None:
    talk = Talk()
    facts = await talk.ask("facts")
    name, other = facts["name"], facts["other"]
    agent = Agent(name, "0" * 8, *facts["limits"])  # there is no adapter yet
    await talk.ask("plug_in")
    tell(other_board=(await agent.next(ControllerLost)).why)
    await agent.end()
    agent = Agent(name, facts["pins_hash"], *facts["limits"])
    found = await agent.next(ControllerFound)
    await agent.until(lambda: bool(names_of(name)))
    device, by_path = os.path.realpath(name), names_of(name)
    latency = Path(f"/sys/bus/usb-serial/devices/{Path(device).name}/latency_timer").read_text()
    tell(circuit_ma=found.circuit_limit_ma, device=device, latency_timer_ms=int(latency))

    await talk.ask("car")
    await agent.report(lambda report: report.cp is Cp.B)
    agent.commands = (PortCommand(facts["offer_ma"], Stop.NONE), OFF)
    charging = await agent.report(lambda report: report.contactor and report.power_w > 0)
    await talk.ask("charging")
    tell(charging=charging.cp.value)

    # For long; meanwhile another adapter takes the device's number.
    agent.happenings.clear()
    await talk.ask("pull")
    lost = await agent.next(ControllerLost)
    await talk.ask("other")
    await agent.until(Path(other).exists)
    await talk.ask("plug_in")
    again = await agent.next(ControllerFound)
    await agent.until(lambda: bool(names_of(name)))
    tell(lost=lost.why, same_boot=again.boot_id == found.boot_id)
    tell(devices=[os.path.realpath(each) for each in (name, other)], same_names=names_of(name) == by_path)
    await talk.ask("again")

    # And for a moment. Now and then a busy machine takes long for it, but not always.
    for _ in range(4):
        agent.happenings.clear()
        await talk.ask("flick")
        await agent.next(ControllerLost)
        await agent.next(ControllerFound)
        if await talk.ask("again") < SHORT_MS:
            break
    tell(trips_ms=await trips(other))
    await talk.ask("kill")


def names_of(name: str) -> list[str]:
    """By the socket that it is plugged into, what else leads to the same device."""
    device = os.path.realpath(name)
    return [str(each) for each in Path("/dev/serial/by-path").glob("*") if os.path.realpath(each) == device]


async def trips(path: str) -> list[float]:
    """To somebody who sends back what he hears, and back, in ms; the link beside it goes on."""
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    tty = Tty(path, 115_200, heard.put_nowait, lambda: None)
    took_ms = []
    async with asyncio.timeout(PATIENCE_S):
        for n in range(TRIPS):
            began, said, got = monotonic(), bytes([n]) * TRIP_B, b""
            tty.write(said)
            while len(got) < TRIP_B:
                got += await heard.get()
            assert got == said
            took_ms.append(round(1000 * (monotonic() - began), 3))
    tty.close()
    return sorted(took_ms)


if __name__ == "__main__":
    asyncio.run(story())
