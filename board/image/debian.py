"""The Debian tree of the image: mmdebstrap fetches and unpacks its packages, once, into the user's cache.

No program of the tree is run, for it is another processor's. What the packages' own scripts would do is done by
configure(), as far as this image needs it: a few files, users, the kernel's list of modules, byte code. So it takes a
minute, no root, and nothing of this machine is changed.
"""

import compileall
import os
import py_compile
import shutil
import stat
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from board.image.cpio import Cpio
from board.image.disk import run

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "station-agent" / "image"
SUITE, ARCHITECTURE = "bookworm", "arm64"
HOOKS = "/usr/share/mmdebstrap/hooks/merged-usr"  # /bin is a link to /usr/bin, as Debian has it
LISTED = "debs"  # in the tar: the names of the packages' files
# No apt and no dpkg: an image is replaced, never changed. Nor is anybody asked anything: no debconf.
PACKAGES = """
    base-files base-passwd bash coreutils dash diffutils findutils grep gzip hostname iproute2 kmod libc-bin mawk mount
    ncurses-bin netbase nftables procps sed tar util-linux
    systemd systemd-sysv systemd-resolved udev e2fsprogs
    linux-image-arm64 busybox-static
    python3
    dropbear-bin
    ppp mobile-broadband-provider-info
""".split()
# Of 320 MB of drivers, what no charging station has. Modems (drivers/net/usb, wwan) and USB serial lines stay.
NO_DRIVERS = """
    drivers/ata drivers/bluetooth drivers/gpu drivers/hwtracing drivers/iio drivers/infiniband drivers/isdn drivers/md
    drivers/media drivers/message drivers/mtd drivers/net/can drivers/net/dsa drivers/net/ethernet drivers/net/fddi
    drivers/net/wireless drivers/nvme drivers/scsi drivers/staging drivers/target drivers/video fs/btrfs fs/ceph
    fs/cifs fs/gfs2 fs/jfs fs/nfs fs/nfsd fs/ocfs2 fs/smb fs/ubifs fs/xfs net/batman-adv net/bluetooth net/ceph
    net/mac80211 net/openvswitch net/sctp net/tipc net/wireless samples sound
""".split()
NO_FILES = ("doc/*", "info/*", "lintian/*", "locale/*", "man/*", "bash-completion/*", "bug/*")  # of /usr/share
FOLDERS = "dev proc sys run root srv mnt tmp var/tmp var/lib var/cache var/log etc".split()
ROOT_MODULES = ("virtio_pci", "virtio_blk", "ext4")  # to mount the root; all else udev loads from there
INIT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
for module in {modules}; do /bin/busybox insmod /modules/$module; done
n=0
until [ -b {device} ] || [ $n = 50 ]; do /bin/busybox usleep 100000; n=$((n + 1)); done
/bin/busybox mount -t ext4 -o ro {device} /root
exec /bin/busybox switch_root /root /sbin/init
"""


def tree(say: Callable[[str], None], *, is_fresh: bool = False) -> Path:
    """The tar. ImageError."""
    name = sha256(" ".join(options()).encode()).hexdigest()[:8]
    path = CACHE / f"{SUITE}-{name}.tar"
    if is_fresh or not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_name(f"{os.getpid()}.{path.name}")
        say(f"Debian {SUITE} for {ARCHITECTURE} into {path}: some 120 MB of packages")
        try:
            run(["mmdebstrap", *options(), SUITE, half])
            half.rename(path)
        finally:
            half.unlink(missing_ok=True)
    return path


def options() -> list[str]:
    left_out = [f"/usr/share/{each}" for each in NO_FILES]
    left_out += [f"/lib/modules/*/kernel/{each}/*" for each in NO_DRIVERS]
    return [
        "--variant=extract",
        f"--architectures={ARCHITECTURE}",
        f"--include={','.join(PACKAGES)}",
        f"--hook-dir={HOOKS}",
        *(f"--dpkgopt=path-exclude={each}" for each in left_out),
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        f'--extract-hook=basename -a $MMDEBSTRAP_ESSENTIAL >"$1/{LISTED}"',
    ]


def packages(listed: str) -> str:
    """`name version`, a line each, from the names of the packages' files: what an image was made of."""
    rows = [name.removesuffix(".deb").split("_") for name in listed.split() if name.endswith(".deb")]
    return "".join(f"{name} {version.replace('%3a', ':')}\n" for name, version, _ in sorted(rows))


def configure(root: Path) -> None:
    """ImageError."""
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for folder in ("tmp", "var/tmp"):
        (root / folder).chmod(0o1777)
    for name in ("passwd", "group"):
        shutil.copyfile(root / f"usr/share/base-passwd/{name}.master", root / "etc" / name)
    shutil.copyfile(root / "usr/share/libc-bin/nsswitch.conf", root / "etc/nsswitch.conf")
    (root / "etc/mtab").symlink_to("../proc/self/mounts")
    run(["depmod", "-b", root, kernel(root)])
    compile_all(root / "usr/lib/python3.11", root)


def kernel(root: Path) -> str:
    """The version of the only one."""
    (found,) = (root / "lib" / "modules").iterdir()
    return found.name


def compile_all(folder: Path, root: Path) -> None:
    """Python's own modules: a read-only root cannot keep what they are compiled to. Another Python here makes nothing
    that the image's could read: then it only starts more slowly."""
    if sys.version_info[:2] == (3, 11):
        unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
        compileall.compile_dir(folder, quiet=2, stripdir=str(root), invalidation_mode=unchecked, workers=1)


def initramfs(root: Path, path: Path, device: str) -> None:
    """BusyBox, and the modules that it takes to mount `device`."""
    modules = ordered(root / "lib" / "modules" / kernel(root), ROOT_MODULES)
    cpio = Cpio(path)
    for name in ("dev", "root", "proc", "sys"):
        cpio.add(name, stat.S_IFDIR | 0o755)
    cpio.add("bin/busybox", stat.S_IFREG | 0o755, (root / "usr/bin/busybox").read_bytes())
    for module in modules:
        cpio.add(f"modules/{module.name}", stat.S_IFREG | 0o644, module.read_bytes())
    init = INIT.format(modules=" ".join(module.name for module in modules), device=device)
    cpio.add("init", stat.S_IFREG | 0o755, init.encode())
    cpio.close()


def ordered(folder: Path, wanted: tuple[str, ...]) -> list[Path]:
    """The files of these modules, each after those that it needs, by depmod's own list; some are built in."""
    needs = {}
    for line in (folder / "modules.dep").read_text().splitlines():
        path, _, others = line.partition(":")
        needs[Path(path).stem] = [folder / each for each in (path, *others.split())]
    softly = {"ext4": ("crc32c_generic",)}  # ext4 asks for it by name when it mounts, and there is no modprobe yet
    found: dict[Path, None] = {}
    for name in (each for one in wanted for each in (*softly.get(one, ()), one)):
        found.update(dict.fromkeys(reversed(needs.get(name, []))))
    return list(found)
