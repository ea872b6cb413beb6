"""Builds the station's image for QEMU's arm64 machine `virt`: `make image`, docs/image.md.

    python -m board.image.make [--out FOLDER] [--build FILE --root-pub FILE] [--more FOLDER] [--fresh]

In FOLDER it leaves `station.img` (the disk), `vmlinuz`, `initrd` and `virt.dtb`, which virt.py boots. Without --build
it makes one of this checkout, signed by keys of its own in FOLDER/keys: an image for development.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from board.image import debian, slot, virt
from board.image.disk import DATA, ROOT, ImageError, fill, partition, run

TREE = Path(__file__).parent.parent.parent
OVERLAY = Path(__file__).parent / "root"
UNITS, ETC_UNITS = TREE / "board" / "systemd", Path("etc/systemd/system")
BOARD = TREE / "board" / f"{slot.BOARD}.toml"
CONFIG = "station-config"  # in /var/lib: what provisioning writes, and the board's file
PATHS = """# What provisioning leaves as it is.
[paths]
updater = "/run/station-update/orders.sock"
"""
SOFTWARE = Path("usr/lib/station-agent")  # what no update touches: the rescue tree, with the launcher
LAUNCHER = Path("agent/update/launcher.py")
ENABLED = (  # of our units; the display's are for boards that have one
    "station-agent.service", "station-update.service", "station-restart.path", "station-clock.socket",
    "station-bearer.socket", "station-gateway.service", "station-reboot.path", "station-ssh.socket",
    "station-console.service", "systemd-networkd.service", "systemd-resolved.service",
)  # fmt: skip
MASKED = (  # nobody logs in; and what has nothing to write to
    "getty@.service", "serial-getty@.service", "console-getty.service", "systemd-networkd-wait-online.service",
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service",
    "fstrim.timer",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Build:
    """What goes into slot A, and whom the station believes."""

    file: Path
    root_pub: Path


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        if args.build and not args.root_pub:
            raise ImageError("a build comes with the root key that the station is to believe: add --root-pub FILE")
        make(args.out, Build(args.build, args.root_pub) if args.build else None, args.more, is_fresh=args.fresh)
    except ImageError as error:
        print(f"image: {error}", file=sys.stderr)
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="make image", description="Builds the station's image for QEMU's arm64 `virt`.")
    out: dict[str, Any] = {"type": Path, "metavar": "FOLDER"}
    file: dict[str, Any] = {"type": Path, "metavar": "FILE"}
    made.add_argument("--out", **out, default=TREE / "build" / "image", help="default: build/image")
    made.add_argument("--build", **file, help="a signed build for slot A; without: one of this checkout")
    made.add_argument("--root-pub", **file, help="the root key whose keyring signed it")
    made.add_argument("--more", **out, help="files for /var/lib: a station's own, from the factory")
    made.add_argument("--fresh", action="store_true", help="install Debian anew, with its newest packages")
    return made


def make(out: Path, build: Build | None, more: Path | None = None, *, is_fresh: bool = False) -> None:
    """ImageError."""
    out.mkdir(parents=True, exist_ok=True)
    tar = debian.tree(say, is_fresh=is_fresh)
    if os.geteuid():  # the owners of the files live in fakeroot's memory: nothing here needs to be root
        again = ["fakeroot", "--", sys.executable, "-m", "board.image.make", *sys.argv[1:]]
        raise SystemExit(subprocess.run(again, check=False).returncode)
    build = build or Build(*slot.development(out, TREE))
    with TemporaryDirectory(prefix="image-") as folder:
        root, data = Path(folder, "root"), Path(folder, "data")
        fill_data(data, build, more)
        unpack(tar, root, out)
        fill_root(root, slot.tree(data / slot.FOLDER))
        disk = out / "station.img"
        partition(disk)
        fill(disk, ROOT, root)
        fill(disk, DATA, data)
    virt.devicetree(out)
    say(f"{disk}: boot it with python -m board.image.virt {out}")


# -- the root ----------------------------------------------------------------------------------------------------------


def unpack(tar: Path, root: Path, out: Path) -> None:
    """Debian, without what only its installing needed; the kernel and its initramfs go to `out`."""
    root.mkdir()
    run(["tar", "-C", root, "--numeric-owner", "--exclude=./dev/*", "-xpf", tar])
    debian.configure(root)
    (kernel,) = (root / "boot").glob("vmlinuz-*")
    shutil.copyfile(kernel, out / "vmlinuz")
    debian.initramfs(root, out / "initrd", virt.ROOT_DEVICE)
    listed = root / debian.LISTED
    (root / SOFTWARE).mkdir(parents=True)
    (root / SOFTWARE / "packages").write_text(debian.packages(listed.read_text()))
    listed.unlink()
    for each in ("boot", "var/lib", "var/cache", "var/log"):
        shutil.rmtree(root / each)
        (root / each).mkdir()


def fill_root(root: Path, rescue: Path) -> None:
    """All that is ours."""
    place_ours(root)
    shutil.copytree(rescue, root / SOFTWARE / "rescue")
    place(TREE / LAUNCHER, root / SOFTWARE / "rescue" / LAUNCHER)  # as the units name it; the rest is compiled
    (root / "etc" / "station-agent").mkdir()  # the data partition's CONFIG is mounted there
    (root / "etc" / "machine-id").write_text("")  # systemd makes one for each boot: the root is never written
    resolv = root / "etc" / "resolv.conf"
    resolv.unlink(missing_ok=True)
    resolv.symlink_to("/run/systemd/resolve/resolv.conf")
    run(["systemd-sysusers", f"--root={root}"])
    run(["systemctl", f"--root={root}", "enable", *ENABLED])
    run(["systemctl", f"--root={root}", "mask", *MASKED])


def place_ours(root: Path) -> None:
    """The files that this image adds to Debian's, and our units with their drop-ins."""
    shutil.copytree(OVERLAY, root, dirs_exist_ok=True)
    for unit in sorted(UNITS.iterdir()):
        match unit.suffix:
            case ".service" | ".socket" | ".path":
                place(unit, root / ETC_UNITS / unit.name)
            case ".rules":
                place(unit, root / "etc" / "udev" / "rules.d" / unit.name)
    place(UNITS / "devices.conf", root / ETC_UNITS / "station-agent.service.d" / "devices.conf")


def place(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o644)


# -- the data ----------------------------------------------------------------------------------------------------------


def fill_data(data: Path, build: Build, more: Path | None) -> None:
    """/var/lib as a new station has it. systemd gives each folder to its unit's user at the first start."""
    data.mkdir()
    data.chmod(0o755)
    slot.put(data / slot.FOLDER, build.file, build.root_pub)
    place(BOARD, data / CONFIG / "board.toml")
    (data / CONFIG / "config.toml").write_text(PATHS)
    if more:
        shutil.copytree(more, data, dirs_exist_ok=True)


def say(text: str) -> None:
    print(f"image: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
