"""The firmware's pure files on MicroPython's official WebAssembly build: a 32-bit interpreter that is not the one that
the other tests use. Its small integers end where those of an RP2040 do."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from board import firmware
from board.controller.contract import pack
from board.controller.link import frame
from tests.chip import HELLO, LINE_MAX, SOCKETED, TETHERED, Life, Twin, pins_hash
from tests.conftest import LONG

MODULE = Path(sys.prefix, "wasm/node_modules/@micropython/micropython-webassembly-pyscript/micropython.mjs")
HEAP_BYTES = 1 << 20  # this build lets its heap grow: the limit of 64 kB is tests/test_firmware.py's to prove
STEPS = 600

REPLAY = """
import json
from array import array
from board.controller.app.firmware import Firmware
from board.controller.app.port import PortBoard

def replay():
    with open("/firmware/steps.json") as file:
        life = json.load(file)
    files = {}
    boards = tuple([PortBoard(**port) for port in life["ports"]])
    chip = Firmware(
        boards, 63_000, 7, 0, life["steps"][0][0], lambda name: files.get(name, b""), files.__setitem__,
        life["pins_hash"],
    )
    for clock_ms, inputs, line in life["steps"]:
        if line:
            chip.receive(bytes(line), clock_ms)
        chip.inputs = array("i", inputs)
        chip.step(clock_ms)
        said = chip.unsent(clock_ms)
        chip.sent(len(said))
        chip.keep(clock_ms)
        print(list(chip.outputs), list(said))

replay()
"""


def run(code: str, **files: str) -> list[str]:
    """What the interpreter prints. `files` lie beside the firmware's own, as source."""
    if not MODULE.exists():
        message = "needs npm's MicroPython: apt-get install nodejs npm, then make setup"
        pytest.fail(message, pytrace=False) if LONG else pytest.skip(message)
    root = firmware.ROOT.parent
    sources = [path for path in firmware.CONTROLLER.rglob("*.py") if path.name not in firmware.OF_A_CHIP]
    sources.append(firmware.ROOT / "__init__.py")
    tree = {f"/firmware/{path.relative_to(root)}": path.read_text() for path in sources}
    tree |= {f"/firmware/{path.name}": path.read_text() for path in sources if path.parent.name == "compat"}
    tree |= {f"/firmware/{name.replace('__', '.')}": text for name, text in files.items()}
    job = json.dumps({"files": tree, "code": 'import sys\nsys.path.append("/firmware")\n' + code})
    command = ["node", str(Path(__file__).parent / "wasm.mjs"), str(MODULE), str(HEAP_BYTES)]
    done = subprocess.run(command, input=job, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr + done.stdout[-1_000:]
    return done.stdout.splitlines()


@pytest.mark.needs("node", "nodejs")
@pytest.mark.promise("S1", "S11")
@pytest.mark.parametrize("seed", range(3))
def test_the_official_interpreter_does_the_same_as_cpython_to_the_bit(seed: int) -> None:
    ports = (TETHERED, SOCKETED)
    life, twin = Life(seed, len(ports)), Twin(ports)
    twin.image = None  # nobody tells it
    twin.start(7, life.clock_ms)
    steps, expected = [], []
    for number in range(STEPS):
        inputs, line = life.inputs(), life.line() if number else frame(0, pack(*HELLO))
        outputs = twin.step(life.clock_ms, inputs, line)
        expected.append(f"{list(outputs)} {list(twin.said(life.clock_ms))}")
        assert len(line) <= LINE_MAX
        steps.append([life.clock_ms, inputs, list(line)])
        life.pause()
    story = {"ports": ports, "steps": steps, "pins_hash": pins_hash(*ports)}
    assert run(REPLAY, steps__json=json.dumps(story)) == expected


@pytest.mark.needs("node", "nodejs")
def test_on_32_bits_a_step_in_which_nothing_is_said_allocates_nothing_either() -> None:
    """There an integer above 1 << 30 is an allocation: a clock, a current or a register may not come near it."""
    table = firmware.pin_table("test", 63_000, [{"board": dict(SOCKETED)}] * 4)
    probe = (Path(__file__).parent / "on_chip" / "heap.py").read_text()
    found = dict(line.split(" = ") for line in run(probe, pins__py=table))
    assert int(found["coils"]) == 4 and int(found["locked steps"]) == 1_000
