"""What the image's disk looks like: two partitions on a GPT, each an ext4 that mke2fs fills from a folder.

Blocks, UUIDs, dates and the seed of the directories' hashes are fixed: the same files give the same image, and two
images differ only where their files do. Nothing is mounted and nothing needs root. The same facts serve who boots it
(virt.py).
"""

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MB = 1 << 20
SECTOR_B, BLOCK_B = 512, 4096
DISK_ID = "5d0f1a0e-0f3c-4f0e-9c52-6b1d0a1f7a00"
HASH_SEED = "5d0f1a0e-0f3c-4f0e-9c52-6b1d0a1f7a01"
DATE_S = 1_686_355_200  # of each file and partition: 10 June 2023, when Debian 12 came out
DATES = ("atime", "ctime", "mtime")
ROOT_INODE, FIRST_INODE = 2, 11  # of ext4; between them is what has no name


class ImageError(Exception):
    """One sentence for who makes the image."""


@dataclass(frozen=True, slots=True)
class Partition:
    name: str  # its label in the GPT, and that of its file system
    type: str  # of the GPT
    id: str  # its own UUID in the GPT, and that of its file system
    start_mb: int
    size_mb: int
    features: str  # of ext4, as mke2fs -O takes them

    @property
    def end_mb(self) -> int:
        return self.start_mb + self.size_mb


ROOT = Partition(  # read only: a journal would never be used
    "station-root", "B921B045-1DF0-41C3-AF44-4C6F280D3FAE", "5d0f1a0e-0f3c-4f0e-9c52-6b1d0a1f7a02", 1, 512,
    "^has_journal",
)  # fmt: skip
DATA = Partition(
    "station-data", "0FC63DAF-8483-4772-8E79-3D69D8477DE4", "5d0f1a0e-0f3c-4f0e-9c52-6b1d0a1f7a03", ROOT.end_mb, 768,
    "has_journal",
)  # fmt: skip
PARTITIONS = (ROOT, DATA)
SIZE_MB = DATA.end_mb + 1  # the GPT's second copy stands at the end


def table() -> str:
    """For sfdisk(8)."""
    sectors = MB // SECTOR_B
    rows = (
        f"start={each.start_mb * sectors}, size={each.size_mb * sectors}, type={each.type}, uuid={each.id},"
        f' name="{each.name}"\n'
        for each in PARTITIONS
    )
    return f"label: gpt\nlabel-id: {DISK_ID}\n" + "".join(rows)


def mke2fs(disk: Path, each: Partition, folder: Path) -> list[str | Path]:
    """The command that makes this partition in the disk's file, with the folder's files, all of them root's unless this
    process sees another owner."""
    extended = f"offset={each.start_mb * MB},hash_seed={HASH_SEED},root_owner=0:0"
    kind = ["-q", "-F", "-t", "ext4", "-b", str(BLOCK_B), "-m", "0", "-O", each.features]
    return ["mke2fs", *kind, "-L", each.name, "-U", each.id, "-E", extended, "-d", folder, disk, f"{each.size_mb}M"]


def needed_mb(folder: Path) -> int:
    """What its files take, by the block, with a twentieth for the file system's own tables."""
    files = [Path(path, name) for path, folders, names in os.walk(folder) for name in (*names, *folders)]
    blocks = sum(-(-file.lstat().st_size // BLOCK_B) if not file.is_dir() else 1 for file in files)
    return -(-blocks * BLOCK_B * 21 // 20 // MB)


def partition(disk: Path) -> None:
    """An empty disk."""
    disk.unlink(missing_ok=True)
    with disk.open("wb") as file:
        file.truncate(SIZE_MB * MB)
    run(["sfdisk", "--quiet", disk], table())


def fill(disk: Path, each: Partition, folder: Path) -> None:
    """Makes the partition anew; what was on it is gone."""
    if (needed := needed_mb(folder)) > each.size_mb:
        raise ImageError(f"{each.name} would take {needed} MB of {each.size_mb}: raise its size in board/image/disk.py")
    run(mke2fs(disk, each, folder))
    date(f"{disk}?offset={each.start_mb * MB}")


def date(device: str) -> None:
    """mke2fs takes the dates of the files over, and nobody can choose when an inode was last changed."""
    facts = dict(re.findall(r"^(.*? count|Free inodes): +(\d+)$", run(["dumpe2fs", "-h", device]), re.MULTILINE))
    used = int(facts["Inode count"]) - int(facts["Free inodes"])  # given away in a row, from the first
    inodes = (ROOT_INODE, *range(FIRST_INODE, used + 1))
    orders = (f"set_inode_field <{each}> {name} @{DATE_S}\n" for each in inodes for name in DATES)
    run(["debugfs", "-w", "-f", "-", device], "".join(orders))


def run(command: Sequence[str | Path], text: str = "") -> str:
    """Its output. ImageError with the last that it said."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"  # Debian keeps sbin out of a user's PATH
    same = {"LC_ALL": "C.UTF-8", "SOURCE_DATE_EPOCH": str(DATE_S), "E2FSPROGS_FAKE_TIME": str(DATE_S)}
    env = {**os.environ, **same, "PATH": path}
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, env=env)
    except FileNotFoundError:
        raise ImageError(f"{command[0]} is missing: type tools/setup.sh --rigs") from None
    if done.returncode:
        raise ImageError(f"{command[0]} says: {done.stderr.strip()[-1500:]}")
    return done.stdout
