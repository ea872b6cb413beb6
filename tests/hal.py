"""What the tests of drivers share: simulated time, what was posted, errands that answer or hang, a kernel's folder."""

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

from agent.hal.device import Sysfs
from agent.sim.gpio import Driver


@dataclass
class Turns:
    """The loop, in simulated time."""

    time: float = 0.0
    posted: list[Any] = field(default_factory=list)
    hangs: bool = False  # whoever goes on an errand stays away
    away: list[Callable[[], None]] = field(default_factory=list)
    turns: int = 0

    def now(self) -> float:
        return self.time

    def post(self, event: Any) -> None:
        self.posted.append(event)

    def aside(self, job: Callable[[], Any], then: Callable[[Any], None]) -> None:
        if self.hangs:
            self.away.append(lambda: then(job()))
        else:
            then(job())

    def come_back(self) -> None:
        self.hangs = False
        for each in self.away:
            each()
        self.away.clear()

    def run(self, seconds: float, driver: Driver) -> list[Any]:
        """What was posted meanwhile. A driver that asks for the same instant twice spins."""
        before, until = len(self.posted), self.time + seconds
        while (at := max(self.time, driver.next_deadline())) <= until:
            self.time = at
            driver.due(at)
            self.turns += 1
            assert driver.next_deadline() > at, f"{driver} spins"
        self.time = until
        return self.posted[before:]


class Kernel(Sysfs):
    """A folder that is laid out like /sys, and what the kernel does when it is written to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.errors: dict[str, int] = {}  # by the name of a file or folder: errno
        self.written: list[tuple[str, str]] = []

    def make(self, path: str, **files: object) -> Path:
        at = self.folder / path
        at.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (at / name).write_text(f"{text}\n")
        return at

    def read(self, path: Path) -> str:
        self._judge(path)
        return super().read(path)

    def write(self, path: Path, text: str) -> None:
        self._judge(path)
        if path.name == "trigger":
            return self._trigger(path, text)
        super().write(path, text)
        path.write_text(f"{text}\n")  # a file of /sys has no rest of the longer text before
        self.written.append((f"{path.parent.name}/{path.name}", text))

    def _trigger(self, path: Path, text: str) -> None:
        """The trigger's own files come and go with it."""
        known = path.read_text(errors="replace").replace("[", "").replace("]", "").split()
        if text not in known:
            raise OSError(errno.EINVAL, "Invalid argument")
        path.write_text(" ".join(f"[{each}]" if each == text else each for each in known) + "\n")
        for name in ("pattern", "delay_on", "delay_off"):
            (path.parent / name).unlink(missing_ok=True)
        for name in {"pattern": ["pattern"], "timer": ["delay_on", "delay_off"]}.get(text, []):
            (path.parent / name).write_text("")
        self.written.append((f"{path.parent.name}/trigger", text))

    def _judge(self, path: Path) -> None:
        for part in path.parts:
            if part in self.errors:
                raise OSError(self.errors[part], "from the kernel")


def quiet(driver: Driver) -> bool:
    """It wants nothing until something happens."""
    return driver.next_deadline() == inf
