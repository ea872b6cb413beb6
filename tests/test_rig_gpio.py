"""Our drivers on a real kernel: GPIO chip with interrupts, lights, keys and clock chip of a virtual arm64 machine.

The levels are read from outside the machine, from the registers of its GPIO chip.
"""

import asyncio
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pytest

from agent.clock import BUILD_S
from tests.qemu import Kind, Machine, devicetree, initramfs, machine

ARM64 = Kind(
    debian="arm64",
    wheel="aarch64",
    qemu=("qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a57"),  # its PL061 is a real GPIO chip
    devices=("-global", "virtio-mmio.force-legacy=false", "-device", "virtio-keyboard-device"),
    console="ttyAMA0",
    packages=("linux-image-arm64",),
    wheels=("cbor2", "msgspec", "gpiod"),
    modules=("leds-gpio", "ledtrig-pattern", "ledtrig-timer", "virtio_mmio", "virtio_input", "evdev"),
)
PL061_DATA = 0x0903_03FC  # the address masks the data register: 0x3fc shows all eight lines
FAN, LOCK, LIGHT, RED, GREEN = (1 << line for line in (0, 1, 2, 4, 5))
LEDS = """
/ { leds { compatible = "gpio-leds";
    red { label = "port1:red"; gpios = <&{/pl061@9030000} 4 0>; };
    green { label = "port1:green"; gpios = <&{/pl061@9030000} 5 0>; }; }; };
"""
WATCH_S = 4.5


class Host:
    """Answers the machine's questions."""

    def __init__(self) -> None:
        self.looked: dict[str, int] = {}
        self.watched: dict[str, list[tuple[float, int]]] = {}

    async def ask(self, of: Machine, word: str) -> Any:
        match word.split():
            case ["look", name]:
                self.looked[name] = await of.register(PL061_DATA)
            case ["watch", name]:
                self.watched[name] = await self.watch(of)
            case ["press"]:
                await of.qmp("system_powerdown")  # wired to line 3: high for 100 ms
            case ["key", name]:
                await of.qmp("send-key", keys=[{"type": "qcode", "data": name}])
            case _:
                raise AssertionError(word)
        return word

    async def watch(self, of: Machine) -> list[tuple[float, int]]:
        """Each change of the lines, with the time."""
        clock = asyncio.get_running_loop().time
        began, seen = clock(), list[tuple[float, int]]()
        while (at := clock() - began) < WATCH_S:
            levels = await of.register(PL061_DATA)
            if not seen or seen[-1][1] != levels:
                seen.append((at, levels))
        return seen


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.needs("qemu-system-aarch64", "qemu-system-arm")
@pytest.mark.needs("dtc", "device-tree-compiler")
@pytest.mark.needs("mmdebstrap")
def test_our_drivers_do_on_a_real_kernel_what_they_do_in_memory(tmp_path: Path) -> None:
    initrd = initramfs(ARM64, tmp_path / "initrd", "tests.guest_gpio")
    dtb, host = devicetree(ARM64, tmp_path / "dtb", LEDS), Host()

    async def story() -> Machine:
        async with asyncio.timeout(240), machine(ARM64, tmp_path, initrd, "-dtb", str(dtb)) as running:
            await running.listen(host.ask)
            return running

    ran = asyncio.run(story())
    facts, looked = ran.facts, host.looked
    assert facts.get("done"), "\n".join(ran.log[-60:])

    # Outputs: safe values at the start and at the end, active low and all, and a killed process leaves what it set.
    outputs = {when: levels & (FAN | LOCK | LIGHT) for when, levels in looked.items()}
    safe, unsafe = LOCK | LIGHT, FAN  # the lock is active low
    assert facts["took"] == [True] * 3
    assert (outputs["start"], outputs["set"], outputs["closed"]) == (safe, unsafe, safe)
    assert (outputs["killed"], facts["make_safe"], outputs["made_safe"]) == (unsafe, [], safe)
    # Inputs: one press, one event.
    assert (facts["before_press"], facts["presses"]) == ([], ["PortChosen(evse_id=1)"] * 3)
    # A line that is taken, that there is not, on a chip that there is not, that is not ours: a sentence each.
    words = ["in use", "no such line", "is not there"]
    assert [word in said for said, word in zip(facts["refused"], words, strict=True)] == [True] * 3, facts["refused"]
    assert len(facts["denied"]) == 1 and "usermod -aG gpio" in facts["denied"][0] and facts["allowed"]
    # Lights: steady red; blue, which there is not, as what there is; and a pattern that outlives who set it.
    assert looked["FAULT"] & (RED | GREEN) == RED
    assert blinks_twice(host.watched["killed"]), host.watched["killed"]
    assert blinks_twice(host.watched["back"]), host.watched["back"]
    assert len(facts["unbound"]) == 1 and "is not there" in facts["unbound"][0]
    # Keys and clock.
    assert facts["key_device"] == "" and facts["rtc"][0] > BUILD_S
    assert [said for said in facts["keys"] if "Port" in said] == ["PortChosen(evse_id=2)", "PortChosen(evse_id=1)"]


def blinks_twice(seen: list[tuple[float, int]]) -> bool:
    """Light.ASK: yellow twice, then dark for long, again and again; how long exactly, a busy machine decides."""
    yellow = [(at, levels & (RED | GREEN) == RED | GREEN) for at, levels in seen]
    edges = [(next(group)[0], on) for on, group in groupby(yellow, key=lambda each: each[1])]
    darks = [after - at for (at, on), (after, _) in pairwise(edges) if not on][1:]
    return len(darks) >= 3 and min(darks) < 0.75 < max(darks)
