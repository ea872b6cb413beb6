"""QEMU's arm64 machine `virt` as the station: `python -m board.image.virt FOLDER [--line NAME=CHARDEV …]`.

Its hardware is what board/solo_virt.toml says: a GPIO chip with two lights on it, and three USB serial adapters, found
by name: `controller`, `reader` (of cards) and `service` (the updater's). Each adapter is plugged in from the start; a
line that is not given has nobody at its other end.

QEMU computes the processor (TCG), also where KVM would lend one: so it is the same machine everywhere.
"""

import argparse
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from board.image.disk import run

MACHINE = ("qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a57", "-smp", "2", "-m", "512")
BARE = ("-accel", "tcg,thread=multi", "-nodefaults", "-display", "none")
LINES = ("controller", "reader", "service")
ROOT_DEVICE = "/dev/vda1"  # the only disk's first partition
KERNEL = (
    f"root={ROOT_DEVICE} ro console=ttyAMA0 quiet loglevel=3 panic=5 fsck.repair=yes systemd.show_status=no"
    " systemd.default_device_timeout_sec=300"  # a busy machine emulates slowly
)
SHELL = "station.shell"  # on the kernel's command line: a root shell on the first serial line
LIGHTS = """
/ { leds { compatible = "gpio-leds";
    red { label = "port1:red"; gpios = <&{/pl061@9030000} 4 0>; };
    green { label = "port1:green"; gpios = <&{/pl061@9030000} 5 0>; }; }; };
"""


def command(
    folder: Path, lines: Mapping[str, str], *, console: str = "stdio", more: Sequence[str] = (), kernel: str = ""
) -> list[str]:
    """`folder` has what make.py left in it; `lines`: QEMU's words for the other end of a serial line, by name;
    `more`: more options; `kernel`: more words for its command line."""
    options = ["-kernel", f"{folder}/vmlinuz", "-initrd", f"{folder}/initrd", "-dtb", f"{folder}/virt.dtb"]
    options += ["-append", f"{KERNEL} {kernel}".strip(), "-serial", console]
    options += ["-drive", f"file={folder}/station.img,format=raw,if=none,id=disk"]
    options += ["-device", "virtio-blk-pci,drive=disk"]
    options += ["-device", "virtio-rng-pci", "-device", "virtio-keyboard-pci"]
    options += ["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile="]
    options += ["-device", "qemu-xhci,id=usb"]
    for number, name in enumerate(LINES, 1):
        options += ["-chardev", f"{lines.get(name, 'null')},id={name}"]
        adapter = f"usb-serial,always-plugged=on,bus=usb.0,port={number}"  # else only while a pty's other end is open
        options += ["-device", f"{adapter},chardev={name},serial={name}"]
    return [*MACHINE, *BARE, *options, *more]


def devicetree(folder: Path) -> Path:
    """`virt.dtb`: what QEMU tells the kernel of this machine, and the lights."""
    own, made = folder / "own.dtb", folder / "virt.dtb"
    run([*MACHINE, *BARE, "-machine", f"dumpdtb={own},dtb-randomness=off"])  # a seed in a file would be no secret
    source = run(["dtc", "-q", "-I", "dtb", "-O", "dts", own])
    run(["dtc", "-q", "-I", "dts", "-O", "dtb", "-o", made, "-"], source + LIGHTS)
    own.unlink()
    return made


def main(argv: Sequence[str] | None = None) -> int:
    made = argparse.ArgumentParser(description="Boots the image, its console in this terminal. Ctrl-A X ends it.")
    made.add_argument("folder", type=Path, help="where make image has put it: build/image")
    made.add_argument("--line", action="append", default=[], metavar="NAME=CHARDEV", help="service=pty, for instance")
    made.add_argument("--print", action="store_true", help="only print the command")
    args = made.parse_args(argv)
    lines = dict(each.split("=", 1) for each in args.line)
    if unknown := set(lines) - set(LINES):
        made.error(f"{min(unknown)} is no line: one of {', '.join(LINES)}")
    words = command(args.folder, lines, console="mon:stdio", kernel=SHELL)
    if not args.print:
        os.execvp(words[0], words)
    print(shlex.join(words))
    return 0


if __name__ == "__main__":
    sys.exit(main())
