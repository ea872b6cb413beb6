"""What the station's image is made of, without making it: tests/test_image.py boots it."""

import os
import re
import subprocess
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
DEBIANS_GROUPS = {"dialout", "input", "video", "render"}  # of base-passwd and udev
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
    wanted = {name for text in UNITS.values() for key in keys for name in values(text, key)}
    assert wanted and wanted <= numbers.keys() | DEBIANS_GROUPS


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
@pytest.mark.parametrize("name", ["station-agent.service", "station-update.service", "station-ssh@.service"])
def test_a_unit_that_hears_strangers_is_hardly_exposed(name: str) -> None:
    (file,) = (each for each in OURS if each.name == name)
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={EXPOSED_MAX * 10:g}"]
    done = subprocess.run([*command, str(file)], capture_output=True, text=True, check=False)
    exposed = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    assert exposed and float(exposed[1]) <= EXPOSED_MAX and done.returncode == 0, done.stdout + done.stderr


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
def test_images_of_which_one_file_differs_differ_in_few_blocks(tmp_path: Path) -> None:
    """Whoever updates root partitions by blocks sends little. With other UUIDs each block of inodes would be another."""
    folder = tree(tmp_path / "tree")
    one = made(folder, tmp_path / "one")
    file = folder / "f3" / "file3"
    file.write_text("?")
    two = made(folder, tmp_path / "two")
    assert sum(a != b for a, b in zip(one, two, strict=True)) < 20


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
    udev = "Package: udev\nStatus: install ok\nDescription: a\n : b\nVersion: 252.39-1\n"
    status = f"{udev}\nPackage: base\nVersion: 12.4+deb12u12\n"
    assert make.packages(status) == "base 12.4+deb12u12\nudev 252.39-1\n"


def test_of_the_debian_packages_only_documentation_and_drivers_are_left_out_and_every_licence_stays() -> None:
    left_out = [each.partition("=")[2].partition("=")[2] for each in debian.options() if "path-exclude" in each]
    assert all(each.startswith(("/usr/share/", "/lib/modules/*/kernel/")) for each in left_out)
    assert debian.options()[-2] == "--dpkgopt=path-include=/usr/share/doc/*/copyright"


def test_who_may_not_switch_emulation_on_is_told_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(debian, "is_on", lambda: False)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(ImageError, match=r"type sudo apt-get install qemu-user-static"), debian.emulation(print):
        raise AssertionError("nothing runs without it")


# -- the machine ------------------------------------------------------------------------------------------------------


def test_the_board_finds_its_serial_lines_by_the_names_of_the_machines_adapters(tmp_path: Path) -> None:
    board = load(make.BOARD)
    assert isinstance(board.reader.facts, LineFacts)
    command = " ".join(virt.command(tmp_path, {"controller": "pty"}))
    for name, tty in (("controller", board.controller.tty), ("reader", board.reader.facts.tty)):
        assert tty == f"/dev/serial/by-id/usb-QEMU_QEMU_USB_SERIAL_{name}-if00-port0"
        assert f"chardev={name},serial={name}" in command
    assert "pty,id=controller" in command and "null,id=reader" in command


def test_the_kernel_finds_its_root_by_the_number_that_the_partition_has() -> None:
    assert f"root=PARTUUID={ROOT.id} " in virt.KERNEL and " ro " in virt.KERNEL and f"uuid={ROOT.id}," in disk.table()
