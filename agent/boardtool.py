"""`station-agent board check | describe | pins | new | try`: from a first line to proven hardware.

Where `doctor` asks whether a station is fit to work, this asks whether a board file is true: first on paper, then on
this machine, then (agent/trial.py) by hand.
"""

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.board import BOARDS, Board, load, text_of
from agent.doctor import FAIL, OK, WARN, Finding
from agent.hal.device import Sysfs, bring
from agent.hal.gpio import InputFacts, OutputFacts
from agent.hal.modbus import ModbusFacts
from agent.hal.thermal import SensorFacts, file_of
from agent.pintable import pins_hash, signals
from agent.settings import ConfigError

ROOT = Path("/")
EXTRAS = {"pcsc": ("smartcard", "pcsc"), "modbus": ("pymodbus", "modbus")}  # kind: library, extra


@dataclass(frozen=True, slots=True)
class Machine:
    """What a check may look at: the files of a machine, and which libraries it has."""

    root: Path
    has_library: Callable[[str], bool]
    may: Callable[[Path, int], bool] = os.access

    def path(self, path: str) -> Path:
        return self.root / path.lstrip("/")


def this_machine() -> Machine:
    from importlib.util import find_spec

    return Machine(ROOT, lambda name: find_spec(name) is not None)


# -- check -----------------------------------------------------------------------------------------------------------


def check(path: Path, machine: Machine) -> list[Finding]:
    """The file, then each device that it names, as this machine has it. Raises nothing."""
    try:
        board = load(path)
    except ConfigError as error:
        return [Finding("board", FAIL, str(error))]
    said = f"{board.name}: {board.description}; {len(board.port)} port(s), circuit {board.circuit_limit_ma / 1000:g} A"
    return [Finding("board", OK, said), *devices(board, machine)]


def devices(board: Board, machine: Machine) -> Iterator[Finding]:
    """What the board file names of Linux, in the order of docs/boards.md."""
    if board.controller.link == "sim":
        yield Finding("controller", OK, "simulated: for station-agent demo alone, run refuses this board")
    else:
        yield tty_finding("controller", board.controller.tty, machine)
    for name, each in (("reader", board.reader), ("meter", board.meter)):
        if each.tty:
            yield tty_finding(name, each.tty, machine)
        if each.kind in EXTRAS and not machine.has_library(EXTRAS[each.kind][0]):
            library, extra = EXTRAS[each.kind]
            yield Finding(name, FAIL, f"{library} is not installed", f"type: {bring(extra)}")
    yield from gpio_findings(board, machine)
    for led in board.led:
        for folder in (*led.single.values(), led.multicolour):
            if folder:
                yield sys_finding(f"led {led.name}", f"sys/class/leds/{folder}", "brightness", machine)
    for i, keys in enumerate(board.keys, 1):
        yield node_finding(f"keys {i}", keys.path, machine, "input", is_read_only=True, table="[[keys]]")
    for sensor in board.sensor:
        yield sensor_finding(sensor, machine)
    if display := board.display:
        if display.backlight:
            yield sys_finding("backlight", f"sys/class/backlight/{display.backlight}", "brightness", machine)
        if display.framebuffer:
            yield sys_finding("screen", f"sys/class/graphics/{display.framebuffer}", "virtual_size", machine)
    if board.rtc:
        yield sys_finding("clock chip", f"sys/class/rtc/{board.rtc.device}", "since_epoch", machine)
    if board.gnss:
        yield tty_finding("gnss", board.gnss.device, machine)


def tty_finding(name: str, path: str, machine: Machine) -> Finding:
    return node_finding(name, path, machine, "dialout")


def node_finding(
    name: str, path: str, machine: Machine, group: str, *, is_read_only: bool = False, table: str = ""
) -> Finding:
    """A character device. It is only looked at: to open one would talk to it."""
    table = table or f"[{name}]"
    at = machine.path(path)
    try:
        is_device = stat.S_ISCHR(at.stat().st_mode)
    except OSError as error:
        fix = f"check its cable, or correct {table} in the board file"
        return Finding(name, FAIL, f"{path}: {error.strerror}", fix)
    if not is_device:
        return Finding(name, FAIL, f"{path} is no device", f"correct {table} in the board file")
    if not machine.may(at, os.R_OK if is_read_only else os.R_OK | os.W_OK):
        return Finding(name, FAIL, f"{path} is not ours to open", f"type: usermod -aG {group} $USER, or sudo before it")
    return Finding(name, OK, f"{path} is there")


def sys_finding(name: str, folder: str, file: str, machine: Machine) -> Finding:
    at = machine.root / folder
    if not at.exists():
        others = sorted(each.name for each in at.parent.iterdir()) if at.parent.is_dir() else []
        there = f"there is {', '.join(others[:8])}" if others else "there is none at all: is its driver loaded?"
        return Finding(name, FAIL, f"/{folder} is not there; {there}", "correct its name in the board file")
    if not machine.may(at / file, os.W_OK if file == "brightness" else os.R_OK):
        fix = "install board/systemd/60-station-agent.rules, and type udevadm trigger; or type sudo before it"
        return Finding(name, FAIL, f"/{folder}/{file} is not ours to use", fix)
    return Finding(name, OK, f"/{folder} is there")


def sensor_finding(sensor: SensorFacts, machine: Machine) -> Finding:
    name, chip = f"sensor {sensor.name}", f"{sensor.kind} sensor {sensor.chip}"
    try:
        file_of(sensor, machine.root / "sys/class", Sysfs())
    except OSError:
        return Finding(name, FAIL, f"there is no {chip}", "type head /sys/class/thermal/*/type")
    return Finding(name, OK, f"the {chip} is there")


def gpio_findings(board: Board, machine: Machine) -> Iterator[Finding]:
    lines: list[OutputFacts | InputFacts] = [*board.output, *board.input]
    if lines and not machine.has_library("gpiod"):
        yield Finding("gpio", FAIL, "gpiod is not installed", f"type: {bring('device')}")
    for chip in dict.fromkeys(each.chip for each in lines):
        users = ", ".join(each.name for each in lines if each.chip == chip)
        if chip.startswith("/"):
            yield node_finding(f"gpio {chip}", chip, machine, "gpio", table="[[output]] and [[input]] chip")
        elif machine.root == ROOT and machine.has_library("gpiod"):
            yield labelled(chip, users)
        else:
            yield Finding(f"gpio {chip}", WARN, f"cannot be looked up here ({users})", "check it on the board itself")


def labelled(chip: str, users: str) -> Finding:
    """A chip by its label: the kernel is asked, which wants a right to open the chips."""
    import gpiod

    labels = []
    for path in sorted(Path("/dev").glob("gpiochip*")):
        try:
            with gpiod.Chip(str(path)) as found:
                labels.append(found.get_info().label)
        except OSError as error:
            labels.append(f"{path.name} ({error.strerror})")
    if chip in labels:
        return Finding(f"gpio {chip}", OK, f"is there ({users})")
    there = ", ".join(labels) or "none at all"
    return Finding(f"gpio {chip}", FAIL, f"no GPIO chip has this label; there is {there}", "type gpiodetect")


# -- describe --------------------------------------------------------------------------------------------------------

Row = tuple[str, str, str, str]  # part, what it is, where it is wired, how


def rows(board: Board) -> Iterator[Row]:
    """Every part, input, output and pin, for the person with the screwdriver."""
    for signal, pin in signals(board):
        yield "controller", signal, pin, DIRECTIONS.get(signal.split()[0], "in")
    if board.controller.link != "sim":
        yield "Linux", "port controller", board.controller.tty, f"115,200 baud, chip {board.controller.chip}"
    for name, each in (("card reader", board.reader), ("meter", board.meter)):
        if each.kind not in ("none", "sim", "controller"):
            units = each.facts.units if isinstance(each.facts, ModbusFacts) else ()
            how = f"{each.kind}, unit {', '.join(map(str, units))}" if units else each.kind
            yield "Linux", name, each.tty or "USB", how
    for output in board.output:
        level = "low" if output.active_low else "high"
        safe = "on" if output.safe else "off"
        drop = f", dropped by {output.dropped_by}" if output.dropped_by else ""
        yield "Linux", f"{output.name} ({output.role})", wire(output), f"out, on = {level}, safe = {safe}{drop}"
    for entry in board.input:
        level = "low" if entry.active_low else "high"
        what = f"{entry.role} of port {entry.evse_id}" if entry.evse_id else entry.role
        what = f"soft key {entry.key}" if entry.key else what
        yield "Linux", f"{entry.name} ({what})", wire(entry), f"in, active = {level}, bias {entry.bias}"
    for led in board.led:
        for colour, folder in (*led.single.items(), ("multicolour", led.multicolour)):
            if folder:
                yield "Linux", f"light {led.name}", f"/sys/class/leds/{folder}", colour
    for keys in board.keys:
        codes = {"port keys": keys.port_keys, "soft keys": keys.soft_keys}
        how = ", ".join(f"{name} {' '.join(map(str, each))}" for name, each in codes.items() if each)
        yield "Linux", "keys, touch", keys.path, how or "touch"
    for sensor in board.sensor:
        yield "Linux", f"temperature {sensor.name}", sensor.chip, sensor.kind
    if board.display:
        yield "Linux", "display", board.display.framebuffer or "-", f"backlight {board.display.backlight or '-'}"
    if board.rtc:
        yield "Linux", "clock chip", board.rtc.device, ""
    if board.gnss:
        yield "Linux", "GNSS receiver", board.gnss.device, f"{board.gnss.baudrate:,} baud"
    if board.modem_lines:
        for name in ("power_key", "reset", "supply", "sim_slot"):
            if output_name := getattr(board.modem_lines, name):
                yield "Linux", f"modem {name}", f"output {output_name}", ""


DIRECTIONS = {
    "pilot_pwm": "out, PWM 1 kHz", "pilot": "in, analogue", "temperature": "in, analogue",
    "proximity": "in, analogue", "contactor": "out, high = closed", "lock": "out, high = locked",
    "gf_test": "out, high = test current", "tx": "out, to Linux RX", "rx": "in, from Linux TX", "mux": "out",
}  # fmt: skip


def wire(facts: OutputFacts | InputFacts) -> str:
    return f"{facts.chip} line {facts.line}"


def described(board: Board) -> str:
    ports = (
        f"port {i}: {port.connector}, {port.limit_ma / 1000:g} A, {board.phases} phase(s), light {port.led},"
        f" stops at {port.temperature_max_dc / 10:g} °C"
        for i, port in enumerate(board.port, 1)
    )
    head = [f"{board.name}: {board.description}", f"circuit: {board.circuit_limit_ma / 1000:g} A per phase", *ports]
    if hash_ := pins_hash(board):
        head.append(f"pin table {hash_}: the controller's firmware must be built from it")
    return "\n".join([*head, "", *columns([("AT", "WHAT", "WHERE", "HOW"), *rows(board)])])


def columns(table: Iterable[Row]) -> Iterator[str]:
    table = list(table)
    widths = [max(len(row[i]) for row in table) for i in range(4)]
    for row in table:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


# -- new -------------------------------------------------------------------------------------------------------------


def new(source: str, path: Path) -> Board:
    """A copy of one of our boards (or of a file) under the name of the new file. ConfigError; writes all or nothing."""
    names = sorted(each.stem for each in BOARDS.glob("*.toml"))
    origin = BOARDS / f"{source}.toml" if source in names else Path(source)
    text = text_of(origin, f"no board is named {source}: type --from and one of {', '.join(names)}, or a file")
    if path.suffix != ".toml" or not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", path.stem):
        raise ConfigError(f"{path} is no name for a board: type lower-case letters, digits and _, then .toml")
    old = load(origin)
    head = (
        f"# {path.stem}: begun as a copy of {old.name}. Correct every fact, then type:\n"
        f"#     station-agent board check {path.name}\n#     station-agent board try {path.name}\n"
    )
    copied = re.sub(r"^name\s*=.*$", f'name = "{path.stem}"', text, count=1, flags=re.MULTILINE)
    copied = re.sub(
        r"^description\s*=.*$", f'description = "A copy of {old.name}"', copied, count=1, flags=re.MULTILINE
    )
    board = written(head + copied, path)
    assert board.name == path.stem
    return board


def written(text: str, path: Path) -> Board:
    from agent.board import read_board

    board = read_board(text, str(path))
    try:
        with path.open("x", encoding="utf-8") as file:  # never over another one
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{path} is there already: name another file, or remove it first") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}: name another place") from None
    return board
