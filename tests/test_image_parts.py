"""What the station's image is made of, without making it: tests/test_image.py boots it."""

import os
import re
import subprocess
import tomllib
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import pytest

from agent.board import LineFacts, load
from board.image import debian, disk, make, virt
from board.image.disk import BLOCK_B, DATA, MB, PARTITIONS, ROOT, SIZE_MB, ImageError

HERE = Path(make.__file__).parent
OURS = [*make.UNITS.iterdir(), *(make.OVERLAY / make.ETC_UNITS).iterdir()]
UNITS = {each.name: each.read_text() for each in OURS if each.suffix in (".service", ".socket", ".path")}
DEBIANS_GROUPS = {"dialout", "video"}  # of base-passwd
SYSTEMDS = {"systemd-networkd.service", "systemd-resolved.service"}
EXPOSED_MAX = 2.0  # of 10, by systemd-analyze security


def values(text: str, key: str) -> list[str]:
    return [word for line in re.findall(rf"^{key}=(.*)$", text, re.MULTILINE) for word in line.split()]


# -- users and units --------------------------------------------------------------------------------------------------


def test_every_user_and_group_of_a_unit_is_made_with_a_number_that_the_next_image_keeps() -> None:
    made = (make.OVERLAY / "usr/lib/sysusers.d/station.conf").read_text()
    numbers = dict(re.findall(r"^[ug] (\S+)\s+(\d+)", made, re.MULTILINE))
    assert len(set(numbers.values())) == len(numbers)
    keys = ("User", "Group", "SupplementaryGroups")
    texts = [*UNITS.values(), (make.UNITS / "devices.conf").read_text()]
    wanted = {name for text in texts for key in keys for name in values(text, key)}
    assert wanted and wanted <= numbers.keys() | DEBIANS_GROUPS


@pytest.mark.parametrize("drop_in", [False, True])
def test_the_agent_says_what_the_cloud_has_ordered_where_the_updater_listens(drop_in: bool) -> None:
    virts = make.OVERLAY / make.ETC_UNITS / "station-update.service.d" / "virt.conf"
    unit = virts.read_text() if drop_in else UNITS["station-update.service"]
    assert re.findall(r"--orders (\S+)", unit) == [tomllib.loads(make.PATHS)["paths"]["updater"]]
    assert values(UNITS["station-update.service"], "RuntimeDirectory") == ["station-update"]


def test_what_provisioning_writes_belongs_to_who_provisions() -> None:
    """`z` of tmpfiles.d(5): at each start, whoever made the data partition."""
    (line,) = re.findall(r"^z .*$", (make.OVERLAY / "usr/lib/tmpfiles.d/station.conf").read_text(), re.MULTILINE)
    (user,) = values(UNITS["station-update.service"], "User")
    assert line.split() == ["z", f"/var/lib/{make.CONFIG}", "0755", user, user]
    assert "-/etc/station-agent" in values(UNITS["station-update.service"], "ReadWritePaths")


def test_every_unit_that_the_image_starts_is_in_it() -> None:
    assert set(make.ENABLED) <= UNITS.keys() | SYSTEMDS
    assert all("[Install]" in UNITS[name] for name in set(make.ENABLED) - SYSTEMDS)


def test_what_is_written_outlasts_a_boot_only_in_the_data_partition() -> None:
    mounts = [line.split() for line in (make.OVERLAY / "etc/fstab").read_text().splitlines() if line[0] != "#"]
    options = {where: set(how.split(",")) for _, where, _, how, *_ in mounts}
    assert "ro" in options["/"] and {"nodev", "nosuid"} <= options["/var/lib"]
    partitions = [what for what, *_ in mounts if what.startswith("PARTLABEL=")]
    assert partitions == [f"PARTLABEL={each.name}" for each in PARTITIONS]
    assert [what for what, where, *_ in mounts if where == "/etc/station-agent"] == [f"/var/lib/{make.CONFIG}"]
    # systemd's folders for a unit that is not root: state in /var/lib, the rest in /run or, without a word, nowhere
    assert not [name for name, text in UNITS.items() if values(text, "LogsDirectory") or values(text, "CacheDirectory")]


@pytest.mark.needs("systemd-analyze", "systemd")
@pytest.mark.parametrize(
    "name", [f"station-{each}" for each in ("agent", "update", "restart", "reboot", "gateway", "clock", "ssh@")]
)
def test_a_unit_as_the_image_has_it_with_its_drop_ins_may_do_little_more_than_it_needs(
    name: str, tmp_path: Path
) -> None:
    make.place_ours(tmp_path)
    done = security(tmp_path, name)
    exposed = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    assert exposed and float(exposed[1]) <= EXPOSED_MAX and done.returncode == 0, done.stdout + done.stderr


@pytest.mark.needs("systemd-analyze", "systemd")
def test_a_drop_in_that_opens_a_unit_is_seen(tmp_path: Path) -> None:
    make.place_ours(tmp_path)
    folder = tmp_path / make.ETC_UNITS / "station-agent.service.d"
    assert {each.name for each in folder.iterdir()} == {"devices.conf", "virt.conf"}
    (folder / "zz.conf").write_text("[Service]\nProtectSystem=no\nCapabilityBoundingSet=CAP_SYS_ADMIN\n")
    assert security(tmp_path, "station-agent").returncode != 0


def security(root: Path, name: str) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={EXPOSED_MAX * 10:g}"]
    return subprocess.run(
        [*command, f"--root={root}", f"{name}.service"], capture_output=True, text=True, check=False
    )


def test_nobody_logs_in_and_a_shell_is_there_only_for_who_writes_the_kernels_command_line() -> None:
    assert {"getty@.service", "serial-getty@.service"} <= set(make.MASKED)
    assert f"ConditionKernelCommandLine={virt.SHELL}" in UNITS["station-console.service"]
    assert virt.SHELL not in virt.KERNEL
    assert "authorized_keys" in values(UNITS["station-ssh.socket"], "ConditionPathExists")[0]


# -- the disk ---------------------------------------------------------------------------------------------------------


def test_the_partitions_stand_beside_each_other_with_room_for_both_copies_of_the_table() -> None:
    assert PARTITIONS[0].start_mb >= 1 and PARTITIONS[-1].end_mb < SIZE_MB
    assert all(before.end_mb <= after.start_mb for before, after in pairwise(PARTITIONS))
    rows = [line for line in disk.table().splitlines() if line.startswith("start=")]
    assert [f'name="{each.name}"' in row for each, row in zip(PARTITIONS, rows, strict=True)] == [True, True]


def made(folder: Path, to: Path, size_mb: int = 24) -> list[bytes]:
    """The hashes of the blocks of a small file system."""
    each = replace(DATA, start_mb=0, size_mb=size_mb)
    disk.fill(to, each, folder)
    data = to.read_bytes()
    return [sha256(data[at : at + BLOCK_B]).digest() for at in range(0, len(data), BLOCK_B)]


def tree(folder: Path) -> Path:
    for n in range(900):
        path = folder / f"f{n % 7}" / f"file{n}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{n}")
    return folder


@pytest.mark.needs("mke2fs", "e2fsprogs")
def test_the_same_files_give_the_same_image_and_one_that_differs_makes_its_own_block_differ(tmp_path: Path) -> None:
    """Whoever updates root partitions by blocks sends little. With dates or new UUIDs each block of inodes would be
    another."""
    one = made(tree(tmp_path / "tree"), tmp_path / "one")
    again = tree(tmp_path / "again")
    os.utime(again / "f3", (0, 0))
    assert made(again, tmp_path / "two") == one
    (again / "f3" / "file3").write_text("?")
    changed = made(again, tmp_path / "three")
    assert sum(a != b for a, b in zip(one, changed, strict=True)) == 1
    disk.run(["e2fsck", "-f", "-n", tmp_path / "three"])


@pytest.mark.needs("mke2fs", "e2fsprogs")
def test_the_files_of_the_data_partition_are_roots_whoever_made_it(tmp_path: Path) -> None:
    folder = tree(tmp_path / "tree")
    made(folder, tmp_path / "disk")
    said = disk.run(["debugfs", "-R", "stat /", tmp_path / "disk"])
    assert re.search(r"User:\s+0\s+Group:\s+0", said)


def test_a_tree_that_is_too_big_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "tree"
    folder.mkdir()
    with (folder / "big").open("wb") as file:
        file.truncate((ROOT.size_mb + 1) * MB)
    with pytest.raises(ImageError, match=r"station-root would take \d+ MB"):
        disk.fill(tmp_path / "disk", ROOT, folder)
    assert not (tmp_path / "disk").exists()


def test_a_program_that_is_missing_is_told_in_a_sentence_that_says_what_to_type() -> None:
    with pytest.raises(ImageError, match=r"^no-such-program is missing: type tools/setup.sh --rigs$"):
        disk.run(["no-such-program"])


# -- Debian -----------------------------------------------------------------------------------------------------------


def test_an_image_says_which_packages_it_was_made_of() -> None:
    listed = "lock\npartial\nudev_252.39-1_arm64.deb\nnetbase_1%3a6.4_all.deb\n"
    assert debian.packages(listed) == "netbase 1:6.4\nudev 252.39-1\n"


def test_of_the_debian_packages_only_documentation_and_drivers_are_left_out_and_every_licence_stays() -> None:
    left_out = [each.removeprefix("--dpkgopt=path-exclude=") for each in debian.options() if "path-exclude" in each]
    assert all(each.startswith(("/usr/share/", "/lib/modules/*/kernel/")) for each in left_out)
    assert debian.options().index("--dpkgopt=path-include=/usr/share/doc/*/copyright") > len(left_out)


def modules(folder: Path, text: str) -> Path:
    (folder / "modules.dep").write_text(text)
    return folder


def test_a_module_is_loaded_after_those_that_it_needs_and_only_once(tmp_path: Path) -> None:
    ext4 = "k/ext4.ko: k/jbd2.ko k/crc16.ko\nk/jbd2.ko: k/crc16.ko\nk/crc16.ko:\nk/far.ko: k/ext4.ko\n"
    found = debian.ordered(modules(tmp_path, f"{ext4}k/virtio_blk.ko:\n"), ("virtio_blk", "ext4", "built_in"))
    assert [each.name for each in found] == ["virtio_blk.ko", "crc16.ko", "jbd2.ko", "ext4.ko"]


def test_the_initramfs_holds_what_it_takes_to_mount_the_root_and_no_more(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name in ("usr/bin/busybox", "lib/modules/6.1/kernel/virtio_blk.ko"):
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text(name)
    modules(root / "lib/modules/6.1", "kernel/virtio_blk.ko:\n")
    debian.initramfs(root, tmp_path / "initrd", "/dev/vda1")
    archive = unpacked((tmp_path / "initrd").read_bytes())
    files = {name: data for name, data in archive.items() if data}
    assert files.keys() == {"bin/busybox", "modules/virtio_blk.ko", "init"}
    assert files["bin/busybox"] == b"usr/bin/busybox" and b" virtio_blk.ko;" in files["init"]


def unpacked(data: bytes) -> dict[str, bytes]:
    """newc of cpio(5): header in hex, name and content, each padded to four bytes."""
    found, at = dict[str, bytes](), 0
    while True:
        assert data[at : at + 6] == b"070701"
        size, name_size = (int(data[at + 6 + 8 * field :][:8], 16) for field in (6, 11))
        name = data[at + 110 : at + 110 + name_size - 1].decode()
        begins = at + (110 + name_size + 3) // 4 * 4
        if name == "TRAILER!!!":
            return found
        found[name] = data[begins : begins + size]
        at = begins + (size + 3) // 4 * 4


# -- the machine ------------------------------------------------------------------------------------------------------


def test_who_opens_a_serial_line_finds_it_by_the_name_of_the_machines_adapter(tmp_path: Path) -> None:
    board = load(make.BOARD)
    assert isinstance(board.reader.facts, LineFacts)
    updater = (make.OVERLAY / make.ETC_UNITS / "station-update.service.d/virt.conf").read_text()
    (service,) = re.findall(r"--serial (\S+)", updater)
    lines = {"controller": board.controller.tty, "reader": board.reader.facts.tty, "service": service}
    assert lines.keys() == set(virt.LINES)
    command = " ".join(virt.command(tmp_path, {"controller": "pty"}))
    for name, tty in lines.items():
        assert tty == f"/dev/serial/by-id/usb-QEMU_QEMU_USB_SERIAL_{name}-if00-port0"
        assert f"chardev={name},serial={name}" in command
    assert "pty,id=controller" in command and "null,id=reader" in command


def test_the_root_is_the_disks_first_partition_and_mounted_read_only() -> None:
    assert PARTITIONS[0] is ROOT and f"root={virt.ROOT_DEVICE} ro " in virt.KERNEL and virt.ROOT_DEVICE.endswith("vda1")
