"""Over a line of a given rate: a controller's image into a real MicroPython with 64 kB of heap, ours and mpremote's
`fs cp` in the same run; and a build into a station's update service, with its engine, on a disk.

Counted is what of the line's bytes in that time was no byte of the image, from the first that is acknowledged to the
last. The line is bench/nullmodem.py; the flash is a file, so what a chip's own takes to be written is not in it (about
1.4 s for an image, of which 0.4 s are erasing before the first byte comes).
"""

import os
import platform
import random
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from agent.sim.interpreter import bus_frame, missing
from agent.update.build import unpack
from agent.update.chip import Flash, Image, Progress, image_of
from agent.update.chipline import converse
from agent.update.index import Piece, dump
from agent.update.refusal import Refused
from bench import figure
from bench.figure import Figures
from bench.nullmodem import NullModem
from board import chip, firmware
from board.controller import slots
from board.controller.app.firmware import INPUTS_PER_PORT
from board.controller.receive import DATA, WINDOW
from board.controller.slip import BODY_MAX, Deframer
from tests.flashsite import Site
from tests.flashstation import made
from tools.flashing import driver, steps
from tools.flashing.buildfile import BuildFile
from tools.flashing.lines import Address, SerialLine, address
from tools.flashing.steps import Wish

BAUDS = (115_200, 921_600, 3_000_000)
LATENCY_S = 0.001
ERRORS = 1e-5
RUNS = 3
RANDOM_B = 80_000  # of an image that cannot be compressed: nearly a slot
MPREMOTE_B = 16_000
STATION_FILES = {115_200: 9, 921_600: 60, 3_000_000: 150}  # of 8 kB each: a transfer of some seconds
LOST, NOISE_LOST = 5.0, 10.0  # targets, percent
BOARD = "bench"
TABLE = firmware.pin_table(BOARD, 32_000, [{"board": {}, "pins": {}}])


def flash() -> Figures:
    if why := missing():
        return {name: figure.missing("%", target, why) for name, target in targets().items()}
    plain = stored_raw(image_of(slots.sealed(BOARD, "1", random.Random(1).randbytes(RANDOM_B))))
    real = image_of(firmware.image(TABLE, "1"))
    figures: Figures = {}
    for baud in BAUDS:
        took = [seconds(baud, plain, seed=run) for run in range(RUNS)]
        note = f"{plain.index.size_b:,} B that cannot be compressed, {LATENCY_S * 1e3:g} ms one way"
        figures[f"flash_{baud}_lost"] = row(baud, plain.index.size_b, took, LOST, note)
        took = [seconds(baud, real, seed=run) for run in range(RUNS)]
        rate_b = real.index.size_b / sorted(took)[RUNS // 2]
        share = f"{1_000 * rate_b / baud:.0f} % of the line"
        note = f"the firmware, {real.index.size_b:,} B, deflated: {rate_b:,.0f} B/s, {share}"
        figures[f"flash_{baud}_deflated_s"] = figure.figure(took, "s", note=note)
        prompt = [prompt_seconds(baud, random.Random(run).randbytes(MPREMOTE_B)) for run in range(RUNS)]
        note = f"mpremote fs cp, raw paste, {MPREMOTE_B:,} B that cannot be compressed"
        figures[f"mpremote_{baud}_lost"] = row(baud, MPREMOTE_B, prompt, None, note)
        built = [station_lost(baud) for _ in range(RUNS)]
        figures[f"flash_station_{baud}_lost"] = figure.figure(
            built, "%", LOST, "a build that cannot be compressed, to a station's update service"
        )
    took = [seconds(BAUDS[0], plain, ERRORS, seed=run) for run in range(RUNS)]
    note = f"each byte wrong with a probability of {ERRORS:g}"
    figures[f"flash_{BAUDS[0]}_noise_lost"] = row(BAUDS[0], plain.index.size_b, took, NOISE_LOST, note)
    built = [station_lost(BAUDS[0], ERRORS, run) for run in range(RUNS)]
    figures[f"flash_station_{BAUDS[0]}_noise_lost"] = figure.figure(built, "%", NOISE_LOST, note)
    again = [resent_windows(BAUDS[1], plain, run) for run in range(RUNS)]
    note = f"of {WINDOW} kB, sent again after the flasher has vanished in the middle"
    figures["flash_resent_windows"] = figure.figure(again, "", 1, note)
    return figures


def targets() -> dict[str, float]:
    lost = {f"flash{to}_{baud}_lost": LOST for to in ("", "_station") for baud in BAUDS}
    noise = {f"flash{to}_{BAUDS[0]}_noise_lost": NOISE_LOST for to in ("", "_station")}
    return lost | noise | {"flash_resent_windows": 1}


def row(baud: int, size_b: int, took: list[float], target: float | None, note: str) -> figure.Figure:
    lost = [100 - 1_000 * size_b / (baud * each) for each in took]
    return figure.figure(lost, "%", target, note)


def stored_raw(image: Image) -> Image:
    """The same, its pieces as they are."""
    (file,) = image.index.files
    pieces = tuple(Piece(piece.digest, piece.size_b, piece.size_b) for piece in file.pieces)
    index = replace(image.index, files=(replace(file, pieces=pieces),))
    known = {piece.digest: piece for piece in file.pieces}
    return Image(index, dump(index), lambda piece: unpack(known[piece.digest], image.stored(known[piece.digest])))


# -- ours -------------------------------------------------------------------------------------------------------------


def seconds(baud: int, image: Image, errors: float = 0.0, seed: int = 0) -> float:
    """Of the transfer of its pieces."""
    times: list[tuple[float, int]] = []

    def tell(progress: Progress) -> None:
        if progress.step == "send":
            times.append((time.perf_counter(), progress.sent_b))

    with NullModem(baud, LATENCY_S, errors, seed) as line, receiving(line.far):
        talk = Flash(image, nonce=os.urandom(8), is_proven_here=False, tell=tell)
        with (
            _closing(SerialLine(address(line.near, baud))) as near,
            suppress(Refused),  # an image of noise does not boot
        ):
            converse(near, _until_checked(talk))
    (first_s, first_b), (last_s, last_b) = times[0], times[-1]
    assert last_b == sum(piece.stored_b for piece in image.pieces), "it did not arrive"
    return (last_s - first_s) * last_b / (last_b - first_b)


def resent_windows(baud: int, image: Image, seed: int) -> float:
    """How much goes onto the line twice, in windows of the chip, after a flasher that was killed in the middle."""
    total_b = sum(piece.stored_b for piece in image.pieces)
    with NullModem(baud, LATENCY_S) as line, receiving(line.far):
        sent_b = 0
        for until in (total_b * (seed + 1) // (RUNS + 1), total_b):
            talk = Flash(image, nonce=os.urandom(8), is_proven_here=False)
            with closing(Counted(address(line.near, baud))) as near:
                with suppress(Refused):
                    converse(near, _until(talk, until))
                sent_b += near.data_b
    return (sent_b - len(image.raw) - total_b) / (WINDOW * BODY_MAX)


class Counted(SerialLine):
    """How many bytes of an image, or of its index, have gone out."""

    def __init__(self, to: Address) -> None:
        super().__init__(to)
        self.data_b, self._ear = 0, Deframer()

    def write(self, data: bytes) -> int:
        count = super().write(data)
        self.data_b += sum(len(body) for kind, _, body in self._ear.feed(data[:count]) if kind == DATA)
        return count


def _until(talk: Flash, acked_b: int) -> Flash:
    """What comes after so many bytes is not seen: nobody says goodbye either."""
    told = talk._tell

    def tell(progress: Progress) -> None:
        told(progress)
        if progress.step == "check" or progress.sent_b >= acked_b:
            raise Refused("interrupted", "the flasher was killed")

    talk._tell = tell
    return talk


def _until_checked(talk: Flash) -> Flash:
    """What comes after the transfer is not measured."""
    told = talk._tell

    def tell(progress: Progress) -> None:
        told(progress)
        if progress.step == "check":
            raise Refused("interrupted", "that is enough")

    talk._tell = tell
    return talk


@contextmanager
def receiving(tty: str) -> Iterator[None]:
    """A chip without firmware at this end: it waits for a flasher."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, _opened(tty) as link:
        boot, flash = Path(name, "boot"), Path(name, "flash")
        boot.write_bytes(firmware.boot_rom(TABLE))
        flash.write_bytes(chip.flash_image())
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        command = chip.firmware(boot, link, theirs.fileno(), flash, 0)
        process = subprocess.Popen(command, pass_fds=(link, theirs.fileno()))
        theirs.close()
        ours.sendall(bus_frame([-1, 0, *[0] * INPUTS_PER_PORT]))
        try:
            yield
        finally:
            process.kill()
            process.wait()
            ours.close()


@contextmanager
def _opened(tty: str) -> Iterator[int]:
    fd = os.open(tty, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _closing(line: SerialLine) -> Iterator[SerialLine]:
    try:
        yield line
    finally:
        line.close()


# -- a station's ------------------------------------------------------------------------------------------------------


def station_lost(baud: int, errors: float = 0.0, seed: int = 0) -> float:
    """Percent of the line's bytes that were none of the build's, while its pieces came."""
    marks: dict[str, float] = {}

    def tell(name: str, facts: Mapping[str, Any]) -> None:
        if name == "stage":
            marks[str(facts["stage"])] = time.perf_counter()
        elif name == "planned":
            marks["wanted_b"] = facts["wanted_b"]

    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        path = made(Path(name), files=STATION_FILES[baud], platforms=(platform.machine(),), boards=())
        cable = NullModem(baud, LATENCY_S, errors, seed)
        with closing(BuildFile(path)) as file, closing(Site(Path(name))) as site, cable as line:
            site.service.serials = {line.far: baud}
            site.service.wake()
            wish = Wish(file, activates=False, waits=False)
            driver.converse(Address("serial", line.near, baud), lambda talk: steps.flashed(talk, wish, tell))
    return 100 - 1_000 * marks["wanted_b"] / (baud * (marks["verify"] - marks["send"]))


# -- mpremote's -------------------------------------------------------------------------------------------------------


def prompt_seconds(baud: int, data: bytes) -> float:
    """A file into a real MicroPython's own memory, over its prompt."""
    from mpremote.transport_serial import SerialTransport

    with NullModem(baud, LATENCY_S) as line, prompting(line.far):
        transport = SerialTransport(line.near, baudrate=baud)
        try:
            transport.enter_raw_repl(soft_reset=False)
            began = time.perf_counter()
            transport.fs_writefile("file", data)  # what `mpremote fs cp` calls
            took = time.perf_counter() - began
            assert transport.fs_hashfile("file", "sha256") == sha256(data).digest()
        finally:
            transport.close()
        return took


@contextmanager
def prompting(tty: str, code: str = "") -> Iterator[None]:
    """A MicroPython at its prompt at this end, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, _opened(tty) as link:
        os.set_blocking(link, True)
        rom = Path(name, "boot")
        rom.write_bytes(firmware.boot_rom(TABLE))
        command = chip.command(rom, "-i", code, heap_kb=256)
        process = subprocess.Popen(command, stdin=link, stdout=link, stderr=link, cwd=name)
        try:
            yield
        finally:
            process.kill()
            process.wait()
