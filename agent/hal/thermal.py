"""Temperatures of the board from /sys/class/thermal and /sys/class/hwmon, found by their names: the numbers change.

The ports' own sensors are the controller's. A sensor on I2C may hang its reader, so all reading is an errand.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from agent.hal.device import SYSFS_PERMIT, Aside, Errand, Name, Post, Presence, Sysfs, sentence

FOLDER = Path("/sys/class")
PERIOD_S = 10.0
FOLDERS_MAX = 64  # looked through for a name
LOWEST_DC, HIGHEST_DC = -550, 1_500  # what a chip on a board can have; beyond it the sensor is broken


class SensorFacts(Struct, frozen=True):
    """[[sensor]]: `chip` is the `type` of a thermal zone ("cpu-thermal") or the `name` of a hwmon chip ("lm75")."""

    name: Name
    kind: Literal["thermal", "hwmon"]
    chip: Annotated[str, Meta(min_length=1, max_length=32)]
    input: Annotated[int, Meta(ge=1, le=16)] = 1  # hwmon: temp1_input …


@dataclass(frozen=True, slots=True)
class TemperatureRead:
    name: str
    temperature_dc: int  # tenths of a degree Celsius, as everywhere


def file_of(facts: SensorFacts, folder: Path, sysfs: Sysfs) -> Path:
    """Where this sensor is read now. OSError."""
    says, reads = ("type", "temp") if facts.kind == "thermal" else ("name", f"temp{facts.input}_input")
    for each in sorted((folder / facts.kind).iterdir())[:FOLDERS_MAX]:
        try:
            if sysfs.read(each / says) == facts.chip:
                return each / reads
        except OSError:  # a cooling device has no such file, or the chip has gone in between
            continue
    raise FileNotFoundError(2, "no such chip")


def temperature_dc(millidegrees: str) -> int | None:
    """Of what the kernel says; None if that is no temperature."""
    if not millidegrees.removeprefix("-").isdecimal() or len(millidegrees) > 8:
        return None
    reading_dc = round(int(millidegrees) / 100)
    return reading_dc if LOWEST_DC <= reading_dc <= HIGHEST_DC else None


def read(facts: SensorFacts, folder: Path, sysfs: Sysfs) -> int | str:
    """Tenths of a degree, or a sentence about what is wrong."""
    chip = f"the {facts.kind} sensor {facts.chip}"
    try:
        said = sysfs.read(file_of(facts, folder, sysfs))
    except OSError as error:
        return sentence(error, chip, SYSFS_PERMIT)
    reading_dc = temperature_dc(said)
    return reading_dc if reading_dc is not None else f"{chip} says {said[:20]!r}, which is no temperature: replace it"


class Thermal:
    """Reads each sensor every PERIOD_S and posts what it says."""

    def __init__(
        self, facts: Iterable[SensorFacts], post: Post, aside: Aside, now: Callable[[], float],
        *, folder: Path = FOLDER, sysfs: Sysfs | None = None,
    ) -> None:  # fmt: skip
        self.facts = tuple(facts)
        self.presences = {each.name: Presence(f"temperature {each.name}", post) for each in self.facts}
        self._post, self._now, self._folder, self._sysfs = post, now, folder, sysfs or Sysfs()
        self._errand = Errand(aside)
        self._read_at = -inf if self.facts else inf

    def due(self, now: float) -> None:
        if self._errand.is_out:
            if self._errand.hangs(now):
                for presence in self.presences.values():
                    presence.failed(f"the {presence.device} does not answer: look at its bus", now)
        elif now >= self._read_at:
            self._read_at = now + PERIOD_S
            self._errand.go(self._read, self._done, now)

    def next_deadline(self) -> float:
        if not self._errand.is_out:
            return self._read_at
        return inf if self._errand.hangs(self._now()) else self._errand.next_deadline()

    def close(self) -> None:
        """Nothing is held."""

    def _read(self) -> dict[str, int | str]:
        return {each.name: read(each, self._folder, self._sysfs) for each in self.facts}

    def _done(self, readings: Mapping[str, int | str]) -> None:
        now = self._now()
        for name, reading in readings.items():
            if isinstance(reading, str):
                self.presences[name].failed(reading, now)
            else:
                self.presences[name].worked(now)
                self._post(TemperatureRead(name, reading))
