"""Runs inside the machine of tests/test_rig_gpio.py: our drivers on a real kernel. Tells facts, judges nothing."""

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.hal.gpio import Gpio, Gpiod, InputFacts, OutputFacts, make_safe
from agent.hal.keys import Keys, KeysFacts
from agent.hal.leds import LedFacts, Leds
from agent.hal.rtc import Rtc, RtcFacts
from agent.loop import monotonic
from agent.ui.led import PATTERNS, Light
from tests.guest import Talk, tell

CHIP = "9030000.pl061"  # its label: the number is the kernel's to choose
OUTPUTS = [
    OutputFacts("fan", "fan", CHIP, 0),
    OutputFacts("lock", "enclosure_lock", CHIP, 1, active_low=True),
    OutputFacts("light", "light", CHIP, 2, safe=True),
]
BUTTON = InputFacts("button1", "button", CHIP, 3, debounce_ms=5, evse_id=1)
TAKEN = OutputFacts("taken", "auxiliary", CHIP, 4)  # the kernel's own LED has it
FAR = OutputFacts("far", "auxiliary", CHIP, 63)  # the chip has eight
NOWHERE = OutputFacts("nowhere", "auxiliary", "/dev/gpiochip9", 0)
LED = LedFacts("port1", red="port1:red", green="port1:green")
KEYS = KeysFacts("/dev/input/event0", (2, 3), grab=True)


class Story:
    """The loop of the device, and a host that is asked."""

    def __init__(self) -> None:
        self.posted: list[Any] = []
        self.loop = asyncio.get_running_loop()
        self.talk = Talk()

    async def ask(self, word: str, *drivers: Any) -> None:
        """Asks the host; the drivers have their turns meanwhile."""
        self.talk.put(word)
        while self.talk.answers.empty():
            await self.turn(*drivers)
        self.talk.answers.get_nowait()

    async def until(self, is_so: Callable[[], bool], *drivers: Any) -> bool:
        for _ in range(100):
            if is_so():
                return True
            await self.turn(*drivers)
        return False

    async def turn(self, *drivers: Any) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                await asyncio.Event().wait()
        for each in drivers:
            each.due(monotonic())

    def aside(self, job: Callable[[], Any], then: Callable[[Any], None]) -> None:
        threading.Thread(target=lambda: self.loop.call_soon_threadsafe(then, job()), daemon=True).start()

    def said(self) -> list[str]:
        taken = [str(each) for each in self.posted]
        self.posted.clear()  # the drivers hold on to this list
        return taken


async def outputs_and_button(story: Story) -> None:
    gpio = Gpio(OUTPUTS, [BUTTON], Gpiod(), story.loop, story.posted.append, monotonic)
    gpio.due(monotonic())
    await story.ask("look start", gpio)
    tell(took=[gpio.set(each.name, not each.safe, monotonic()) for each in OUTPUTS])
    await story.ask("look set", gpio)
    tell(before_press=story.said())
    for presses in (1, 2, 3):
        await story.ask("press", gpio)
        await story.until(lambda presses=presses: len(story.posted) == presses, gpio)  # type: ignore[misc]
        for _ in range(6):  # it is held for 100 ms
            await story.turn(gpio)
    tell(presses=story.said())
    gpio.close()
    await story.ask("look closed")


async def refusals(story: Story) -> None:
    gpio = Gpio([TAKEN, FAR, NOWHERE], [], Gpiod(), story.loop, story.posted.append, monotonic)
    await story.until(lambda: len(story.posted) >= 3, gpio)
    gpio.close()
    tell(refused=story.said())
    os.mknod("/dev/gpiochip8", 0o600 | 0o020000, os.stat("/dev/gpiochip0").st_rdev)
    os.setegid(65534)
    os.seteuid(65534)
    other = OutputFacts("fan", "fan", "/dev/gpiochip8", 0)
    denied = Gpio([other], [], Gpiod(), story.loop, story.posted.append, monotonic)
    denied.due(monotonic())
    os.seteuid(0)
    os.setegid(0)
    tell(denied=story.said())
    await story.until(lambda: not denied.outputs["fan"].presence.why, denied)
    denied.close()
    tell(allowed=not denied.outputs["fan"].presence.why)


async def killed(story: Story) -> None:
    """A child takes the lines and sets the lights, and is killed with everything on."""
    child = os.fork()
    if not child:
        chips = Gpiod()
        lines = [chips.output(each) for each in OUTPUTS]
        for line, facts in zip(lines, OUTPUTS, strict=True):
            line.set(not facts.safe)
        leds = Leds([LED], print, lambda job, then: then(job()), monotonic)
        leds.show({"port1": PATTERNS[Light.ASK]}, monotonic())
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    await story.ask("look killed")
    await story.ask("watch killed")
    tell(make_safe=make_safe(OUTPUTS, Gpiod()))
    await story.ask("look made_safe")


async def lights(story: Story) -> None:
    leds = Leds([LED], story.posted.append, story.aside, monotonic)
    for light in (Light.FAULT, Light.AVAILABLE, Light.CHARGING):
        leds.show({"port1": PATTERNS[light]}, monotonic())
        await story.until(lambda: not leds._errand.is_out, leds)
        await story.ask(f"look {light.name}", leds)
    driver = Path("/sys/bus/platform/drivers/leds-gpio")
    (driver / "unbind").write_text("leds")
    leds.show({"port1": PATTERNS[Light.ASK]}, monotonic())
    await story.until(lambda: bool(story.posted), leds)
    tell(unbound=story.said())
    (driver / "bind").write_text("leds")
    await story.until(lambda: not leds.presences["port1"].why, leds)
    await story.ask("watch back", leds)


async def keys(story: Story) -> None:
    keys = Keys(KEYS, story.loop, story.posted.append, monotonic)
    keys.due(monotonic())
    tell(key_device=keys.presence.why)
    for key in ("2", "1"):
        before = len(story.posted)
        await story.ask(f"key {key}", keys)
        await story.until(lambda before=before: len(story.posted) > before, keys)  # type: ignore[misc]
    keys.close()
    tell(keys=story.said())


async def clock(story: Story) -> None:
    rtc = Rtc(RtcFacts("rtc0"), story.posted.append, story.aside, monotonic)
    rtc.due(monotonic())
    await story.until(lambda: bool(story.posted), rtc)
    tell(rtc=[each.wall_s if hasattr(each, "wall_s") else each.why for each in story.posted])
    story.posted.clear()


async def main() -> None:
    story = Story()
    for each in (outputs_and_button, refusals, killed, lights, keys, clock):
        await each(story)
    tell(done=True)


if __name__ == "__main__":
    asyncio.run(main())
