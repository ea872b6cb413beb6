"""Virtual machines with a Debian kernel, and our own code in them.

The parts are made once and kept in the user's cache: a Debian tree with kernel and Python (mmdebstrap, some 100 MB of
download) with its byte code, and the wheels for its processor. Each run adds the agent of this tree. The machine talks
on its serial line: `RIG {…}` tells a fact, `RIG ask WORD` asks the host, which answers with a line of JSON. What the
host sees of the hardware it sees from outside: what the kernel of the guest says of a pin proves nothing.

QEMU computes the processor (TCG), also where KVM would lend one: so it is the same machine everywhere, and some KVMs,
those inside virtual machines above all, can be opened and then hang.
"""

import asyncio
import json
import marshal
import os
import re
import stat
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from board.image.cpio import Cpio

TREE = Path(__file__).parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "station-agent"
UNUSED = re.compile(  # of what the packages bring; a kernel alone has 400 MB of modules
    r"(boot|etc|var|s?bin/(?!busybox)[^/]*|usr/share|usr/sbin|usr/bin/(?!python)[^/]*|lib/(modules|systemd|udev)"
    r"|usr/lib/(apt|dpkg|firmware|initramfs-tools|klibc|linux-image[^/]*|systemd|udev|[^/]*/(gconv|perl[^/]*))"
    r"|usr/lib/python3[^/]*/(test|idlelib|lib2to3|pydoc_data|ensurepip|unittest|distutils))(/|$)"
)
INIT = """#!/bin/busybox sh
export PATH=/bin:/usr/bin PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for module in {modules}; do insmod /modules/$module.ko || echo "no $module"; done
stty -echo
{first}
python3 -m {story} || echo "the story has failed"
poweroff -f
"""
OPTIONS = ("-accel", "tcg", "-m", "512", "-display", "none", "-no-reboot", "-nodefaults")

Ask = Callable[["Machine", str], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of machine: its hardware, and what of Debian and PyPI is in it."""

    debian: str  # the architecture, as Debian spells it
    wheel: str  # and as PyPI does
    qemu: tuple[str, ...]  # program and machine
    devices: tuple[str, ...]
    console: str
    packages: tuple[str, ...]  # besides BusyBox and Python
    wheels: tuple[str, ...]
    modules: tuple[str, ...]  # of the kernel, in the order of loading
    used: tuple[str, ...] = ()  # files that UNUSED would leave out
    first: str = ""  # a line of shell before the story

    @property
    def cache(self) -> Path:
        return CACHE / self.debian


# -- parts, made once -------------------------------------------------------------------------------------------------


def run(*command: str | Path) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{command[0]}: {done.stderr[-2000:]}"


def made(path: Path, make: Callable[[Path], object]) -> Path:
    """The path, made under another name first: two runs at once, or one that was stopped, leave no half of it."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_name(f"{os.getpid()}.{path.name}")
        make(half)
        half.rename(path)
    return path


def debian(kind: Kind) -> Path:
    packages = ",".join(("python3", "busybox-static", *kind.packages))
    options = ["--variant=extract", f"--architectures={kind.debian}", f"--include={packages}"]
    return made(kind.cache / "debian.tar", lambda tar: run("mmdebstrap", *options, "bookworm", tar))


def wheels(kind: Kind) -> Path:
    """Of the versions of tools/constraints.txt, in a folder that bears them."""
    pinned = dict(re.findall(r"^(\S+)==(\S+)$", (TREE / "tools/constraints.txt").read_text(), re.MULTILINE))
    wanted = [f"{name}=={pinned[name]}" for name in kind.wheels]
    options = ["--quiet", "--no-deps", "--only-binary=:all:", "--python-version=3.11"]
    platforms = [f"--platform=manylinux{each}_{kind.wheel}" for each in ("_2_28", "2014")]
    pip = [sys.executable, "-m", "pip", "download"]
    return made(kind.cache / "+".join(wanted), lambda to: run(*pip, *options, *platforms, "--dest", to, *wanted))


# -- an initramfs -----------------------------------------------------------------------------------------------------


def base(kind: Kind) -> Path:
    """A folder with the kernel and an initramfs that holds Python, BusyBox and the kernel's modules in /modules."""
    holds = [*sorted(kind.modules), *kind.used, wheels(kind).name]
    name = "base-" + sha256(" ".join(holds).encode()).hexdigest()[:8]
    return made(kind.cache / name, lambda folder: unpack(kind, folder))


def unpack(kind: Kind, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    cpio = Cpio(folder / "initrd")
    cpio.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    for name in ("lib", "bin", "proc", "sys", "tmp", "run"):
        cpio.add(name, stat.S_IFDIR | 0o755)
    with tarfile.open(debian(kind)) as tar:
        for each in tar:
            name = each.name.removeprefix("./")
            file = tar.extractfile(each) if each.isfile() or each.islnk() else None
            module = Path(name).stem if name.endswith(".ko") else ""
            is_used = name in kind.used or not UNUSED.match(name)
            if file and name.startswith("boot/vmlinuz"):
                (folder / "vmlinuz").write_bytes(file.read())
            elif file and module in kind.modules:
                cpio.add(f"modules/{module}.ko", stat.S_IFREG | 0o644, file.read())
            elif file and is_used:
                add_python(cpio, name, file.read(), each.mode)
            elif each.issym() and is_used:
                cpio.add(name, stat.S_IFLNK | 0o777, each.linkname.encode())
    for name, data in wheel_files(kind):
        add_python(cpio, f"app/{name}", data)
    cpio.close()


def add_python(cpio: Cpio, name: str, data: bytes, mode: int = 0o644) -> None:
    """A file; Python with its byte code (PEP 552, unchecked), for the virtual machine is slow to make that."""
    cpio.add(name, stat.S_IFREG | mode, data)
    if name.endswith(".py") and sys.version_info[:2] == (3, 11):  # the machine's
        folder, stem = os.path.split(name.removesuffix(".py"))
        with suppress(SyntaxError):
            code = compile(data, f"/{name}", "exec", dont_inherit=True)
            pyc = MAGIC_NUMBER + (1).to_bytes(4, "little") + bytes(8) + marshal.dumps(code)
            cpio.add(f"{folder}/__pycache__/{stem}.cpython-311.pyc", stat.S_IFREG | 0o644, pyc)


def initramfs(kind: Kind, path: Path, story: str) -> Path:
    """The base, and after it the agent of this tree, which runs the module `story`: the kernel unpacks one archive over
    the other."""
    cpio = Cpio(path)
    for folder in ("agent", "board", "tests"):
        for each in sorted([*(TREE / folder).rglob("*.py"), *(TREE / folder).rglob("*.csv")]):
            add_python(cpio, f"app/{each.relative_to(TREE)}", each.read_bytes())
    init = INIT.format(modules=" ".join(kind.modules), first=kind.first, story=story)
    cpio.add("init", stat.S_IFREG | 0o755, init.encode())
    cpio.close()
    both = path.with_suffix(".both")
    both.write_bytes((base(kind) / "initrd").read_bytes() + path.read_bytes())
    return both


def wheel_files(kind: Kind) -> Iterator[tuple[str, bytes]]:
    for wheel in sorted(wheels(kind).glob("*.whl")):
        with ZipFile(wheel) as archive:
            for name in archive.namelist():
                if not name.endswith("/"):
                    yield name, archive.read(name)


def devicetree(kind: Kind, path: Path, more: str) -> Path:
    """QEMU's own for this machine, and `more` in the words of dtc(1)."""
    own, source = path.with_suffix(".own"), path.with_suffix(".dts")
    run(*kind.qemu, *OPTIONS, "-machine", f"dumpdtb={own}", *kind.devices)
    run("dtc", "-q", "-I", "dtb", "-O", "dts", "-o", source, own)
    source.write_text(source.read_text() + more)
    run("dtc", "-q", "-I", "dts", "-O", "dtb", "-o", path, source)
    return path


# -- a run ------------------------------------------------------------------------------------------------------------


class Machine:
    """`facts`: what the machine has told. `log`: all that it said, to read when a test fails."""

    def __init__(self, process: asyncio.subprocess.Process, monitor: asyncio.StreamReader, to: asyncio.StreamWriter):
        self.facts: dict[str, Any] = {}
        self.log: list[str] = []
        self._process, self._monitor, self._to_monitor = process, monitor, to

    async def qmp(self, command: str, **arguments: object) -> Any:
        """QEMU's monitor protocol: the answer to this command."""
        self._to_monitor.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while line := await self._monitor.readline():
            answer = json.loads(line)
            assert "error" not in answer, answer
            if "return" in answer:
                return answer["return"]
        raise AssertionError("QEMU has ended\n" + "\n".join(self.log[-40:]))

    async def register(self, address: int) -> int:
        said = await self.qmp("human-monitor-command", **{"command-line": f"xp /1wx {address:#x}"})
        return int(said.split(":")[1], 16)

    def kill(self) -> None:
        """As if its plug were pulled."""
        self._process.kill()

    async def listen(self, ask: Ask) -> None:
        """Until the machine is off."""
        assert self._process.stdout and self._process.stdin
        while data := await self._process.stdout.readline():
            line = data.decode(errors="replace").strip()
            self.log.append(line)
            said = line[line.find("RIG ") + 4 :] if "RIG " in line else ""
            if said.startswith("ask "):
                answer = await ask(self, said[4:])
                self._process.stdin.write(f"{json.dumps(answer)}\n".encode())
            elif said:
                with suppress(ValueError):  # the kernel has spoken into it
                    self.facts |= json.loads(said)


@asynccontextmanager
async def machine(kind: Kind, folder: Path, initrd: Path, *more: str) -> AsyncIterator[Machine]:
    """`more`: options of QEMU."""
    socket = folder / "qmp"
    parts = ["-kernel", str(base(kind) / "vmlinuz"), "-initrd", str(initrd)]
    options = [*parts, "-append", f"console={kind.console} quiet panic=-1", *more]
    talk = ["-serial", "stdio", "-qmp", f"unix:{socket},server=on,wait=on"]
    process = await asyncio.create_subprocess_exec(
        *kind.qemu, *OPTIONS, *kind.devices, *options, *talk,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout
    try:
        said = await process.stdout.readline()
        assert b"waiting for connection on" in said, said  # the socket is there
        monitor, to = await asyncio.open_unix_connection(socket)
        await monitor.readline()  # its greeting
        running = Machine(process, monitor, to)
        await running.qmp("qmp_capabilities")
        yield running
        to.close()
    except BaseException:
        with suppress(ProcessLookupError):
            process.kill()
        raise
    finally:
        await process.wait()  # whoever stays to the end of `listen` has seen it switch itself off
