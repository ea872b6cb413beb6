"""What a start costs before the agent: the launcher hashes a whole slot, out of memory and from the disk."""

import os
import random
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

from agent.update import bootstate, slots, statefile
from agent.update.bootstate import State
from bench.figure import Figures, figure, wall_s

SLOT_B, FILES = 56_000_000, 1_500  # what an agent with its packages has, about
RUNS = 5
LAUNCHER = Path(slots.__file__).with_name("launcher.py")


def make_slot(root: Path) -> None:
    """Few large files and many small ones, as Python packages are."""
    rng, writer = random.Random(1), slots.Writer(root / "a")
    weights = [rng.paretovariate(1.1) for _ in range(FILES)]
    sizes = {f"tree/p{n % 40}/f{n}": int(SLOT_B * weight / sum(weights)) for n, weight in enumerate(weights)}
    writer.begin(b"", {path: (size_b, False) for path, size_b in sizes.items()})
    listed = {}
    for path, size_b in sizes.items():
        data = rng.randbytes(size_b)
        writer.write(path, 0, data)
        listed[path] = slots.Listed(sha256(data).hexdigest(), is_executable=False)
    writer.sync()
    state = bootstate.staged(State(), "a", writer.end("1.0.0", listed))
    statefile.save(root, bootstate.confirmed(bootstate.activated(state, "a", was_online=False), 0))


def children_s() -> float:
    """CPU time of all that have ended."""
    spent = os.times()
    return spent.children_user + spent.children_system


def launcher() -> Figures:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        root = Path(name)
        make_slot(root)
        program = [sys.executable, "-I", str(LAUNCHER), name, f"{name}/choice", "pick"]

        def pick() -> None:
            said = subprocess.run(program, check=True, capture_output=True, text=True).stdout
            assert said == "slot a: 1.0.0\n", said

        def forget() -> None:
            for path in slots.found(root / "a"):
                slots.Writer(root / "a").forget(path)

        warm, cold, cpu = [], [], []
        for _ in range(RUNS):
            warm.append(wall_s(pick) * 1000)
            forget()
            before_s = children_s()
            cold.append(wall_s(pick) * 1000)
            cpu.append((children_s() - before_s) * 1000)
    what = f"a slot of {SLOT_B // 1_000_000} MB in {FILES} files, with Python's own start"
    return {
        "launcher_pick_ms": figure(warm, "ms", 1_000, note=f"{what}; its files in memory"),
        "launcher_pick_cold_ms": figure(cold, "ms", 2_000, note=f"{what}; its files on the disk, as after power-on"),
        "launcher_pick_cpu_ms": figure(cpu, "ms", note="CPU of the latter, user and system"),
    }
