"""The Debian tree of the image: mmdebstrap installs it for arm64, once, into the user's cache.

Its packages' own scripts run, on an emulated processor (qemu-user-static): some minutes. All that is ours comes later,
in seconds (make.py), so this is done again only when what is named here changes, or with --fresh.
"""

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from board.image.disk import ImageError, run

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "station-agent" / "image"
SUITE, ARCHITECTURE = "bookworm", "arm64"
BINFMT = Path("/proc/sys/fs/binfmt_misc")
EMULATOR = "qemu-aarch64"  # its name there

# Besides Debian's essential ones. No apt: an image is replaced, never changed.
PACKAGES = (
    "ca-certificates",      # HTTPS downloads of builds
    "dropbear-bin",         # flashing over SSH: 0.5 MB, where OpenSSH has 2
    "e2fsprogs",            # the data partition is checked at boot
    "iproute2",             # for who looks after the network by hand
    "kmod", "udev",
    "linux-image-arm64",
    "python3",
    "systemd", "systemd-sysv", "systemd-resolved",
)  # fmt: skip
# Of 320 MB of drivers, what no charging station has. Modems (drivers/net/usb, wwan) and USB serial lines stay.
NO_DRIVERS = """
    drivers/ata drivers/bluetooth drivers/gpu drivers/hwtracing drivers/iio drivers/infiniband drivers/isdn drivers/md
    drivers/media drivers/message drivers/mtd drivers/net/can drivers/net/dsa drivers/net/ethernet drivers/net/fddi
    drivers/net/wireless drivers/nvme drivers/scsi drivers/staging drivers/target drivers/video fs/btrfs fs/ceph
    fs/cifs fs/gfs2 fs/jfs fs/nfs fs/nfsd fs/ocfs2 fs/smb fs/ubifs fs/xfs net/batman-adv net/bluetooth net/ceph
    net/mac80211 net/openvswitch net/sctp net/tipc net/wireless samples sound
""".split()
NO_FILES = ("doc/*", "info/*", "lintian/*", "locale/*", "man/*", "bash-completion/*", "bug/*")  # of /usr/share


def options() -> list[str]:
    left_out = [f"/usr/share/{each}" for each in NO_FILES]
    left_out += [f"/lib/modules/*/kernel/{each}/*" for each in NO_DRIVERS]
    return [
        "--variant=essential",
        f"--architectures={ARCHITECTURE}",
        f"--include={','.join(PACKAGES)}",
        *(f"--dpkgopt=path-exclude={each}" for each in left_out),
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        f'--essential-hook=cp -r {HERE}/debian/. "$1"',  # before the kernel comes: what its initramfs holds
    ]


def tree(say: Callable[[str], None], *, is_fresh: bool = False) -> Path:
    """The tar. ImageError."""
    ours = [file.read_bytes() for file in sorted((HERE / "debian").rglob("*")) if file.is_file()]
    name = sha256(b"\0".join([*(each.encode() for each in options()), *ours])).hexdigest()[:8]
    path = CACHE / f"{SUITE}-{name}.tar"
    if is_fresh or not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_name(f"{os.getpid()}.{path.name}")
        say(f"Debian {SUITE} for {ARCHITECTURE} into {path}: some minutes")
        try:
            with emulation(say):
                run(["mmdebstrap", *options(), SUITE, half])
            half.rename(path)
        finally:
            half.unlink(missing_ok=True)
    return path


@contextmanager
def emulation(say: Callable[[str], None]) -> Iterator[None]:
    """Meanwhile this machine runs programs for arm64. What had to be switched on for that is switched off at the end.

    ImageError says what to type, where we may not.
    """
    if platform.machine() == "aarch64" or is_on():
        yield
        return
    if os.geteuid():
        raise ImageError(
            "this machine runs no programs for arm64 yet: type sudo apt-get install qemu-user-static binfmt-support,"
            f" then sudo update-binfmts --enable {EMULATOR}, or run make image as root, which does it and undoes it"
        )
    say("until Debian is installed, this machine runs programs for arm64, by qemu-user-static")
    is_ours = not (BINFMT / "status").exists()
    if is_ours:
        run(["mount", "-t", "binfmt_misc", "binfmt_misc", BINFMT])
    try:
        run(["update-binfmts", "--enable", EMULATOR])
        yield
    finally:
        run(["update-binfmts", "--disable", EMULATOR])
        if is_ours:
            run(["umount", BINFMT])


def is_on() -> bool:
    file = BINFMT / EMULATOR
    return file.exists() and file.read_text().startswith("enabled")
