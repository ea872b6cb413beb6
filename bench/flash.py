"""A controller's image over a line of a given rate into a real MicroPython with 64 kB of heap: ours, and mpremote in
the same run.

Counted is what of the line's bytes in that time was no byte of the image, from the first that is acknowledged to the
last. The line is bench/nullmodem.py; the flash is a file, so what a chip's own takes to be written is not in it (about
1.4 s for an image, of which 0.4 s are erasing before the first byte comes).
"""

import os
import random
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

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
from tools.flashing.lines import SerialLine, address

BAUDS = (115_200, 921_600, 3_000_000)
LATENCY_S = 0.001
ERRORS = 1e-5
RUNS = 3
RANDOM_B = 80_000  # of an image that cannot be compressed: nearly a slot
MPREMOTE_B = 32_000
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
        note = f"fs_writefile, {MPREMOTE_B:,} B that cannot be compressed, chunks of 4 kB"
        figures[f"mpremote_{baud}_lost"] = row(baud, MPREMOTE_B, prompt, None, note)
    took = [seconds(BAUDS[0], plain, ERRORS, seed=run) for run in range(RUNS)]
    note = f"each byte wrong with a probability of {ERRORS:g}"
    figures[f"flash_{BAUDS[0]}_noise_lost"] = row(BAUDS[0], plain.index.size_b, took, NOISE_LOST, note)
    return figures


def targets() -> dict[str, float]:
    return {f"flash_{baud}_lost": LOST for baud in BAUDS} | {f"flash_{BAUDS[0]}_noise_lost": NOISE_LOST}


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


# -- mpremote's -------------------------------------------------------------------------------------------------------


def prompt_seconds(baud: int, data: bytes) -> float:
    """A file into a real MicroPython's own memory, over its prompt."""
    from mpremote.transport_serial import SerialTransport

    with NullModem(baud, LATENCY_S) as line, prompting(line.far):
        transport = SerialTransport(line.near, baudrate=baud)
        try:
            transport.enter_raw_repl(soft_reset=False)
            began = time.perf_counter()
            transport.fs_writefile("file", data, chunk_size=4_096)
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
