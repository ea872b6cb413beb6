"""A virtual arm64 machine with a Debian kernel, and our own code in it: QEMU `virt`, whose PL061 is a real GPIO chip.

The parts are made once and kept in the user's cache: a Debian tree with kernel and Python (mmdebstrap, some 100 MB of
download) with its byte code, and the wheels for aarch64. Each run adds the agent of this tree. The machine talks on its
serial line: `RIG {…}` tells a fact, `RIG ask WORD` asks the host, which answers with a line. The host reads the
chip's registers from outside, through QEMU: what the kernel of the guest says of a pin proves nothing.
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
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from typing import Any
from zipfile import ZipFile

TREE = Path(__file__).parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "station-agent" / "arm64"
PACKAGES = "python3,busybox-static,linux-image-arm64"
WHEELS = ("cbor2", "msgspec", "gpiod")
UNUSED = re.compile(  # of what the packages bring; a kernel alone has 400 MB of modules
    r"\./(boot|etc|var|s?bin/(?!busybox)[^/]*|usr/share|usr/sbin|usr/bin/(?!python)[^/]*|lib/(modules|systemd|udev)"
    r"|usr/lib/(apt|dpkg|firmware|initramfs-tools|klibc|linux-image[^/]*|systemd|udev|[^/]*/(gconv|perl[^/]*))"
    r"|usr/lib/python3[^/]*/(test|idlelib|lib2to3|pydoc_data|ensurepip|unittest|distutils))(/|$)"
)
MACHINE = ["-M", "virt", "-cpu", "cortex-a57", "-m", "512", "-display", "none", "-no-reboot", "-nodefaults"]
DEVICES = ["-global", "virtio-mmio.force-legacy=false", "-device", "virtio-keyboard-device"]
PL061_DATA, PL061_DIR = 0x0903_03FC, 0x0903_0400  # the addresses mask the data register: 0x3fc shows all eight lines

Ask = Callable[["Machine", str], Awaitable[Any]]


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


def debian() -> Path:
    options = ["--variant=extract", "--architectures=arm64", f"--include={PACKAGES}"]
    return made(CACHE / "debian.tar", lambda tar: run("mmdebstrap", *options, "bookworm", tar))


def wheels() -> Path:
    """Of the versions of tools/constraints.txt, in a folder that bears them."""
    pinned = dict(re.findall(r"^(\S+)==(\S+)$", (TREE / "tools/constraints.txt").read_text(), re.MULTILINE))
    wanted = [f"{name}=={pinned[name]}" for name in WHEELS]
    options = ["--quiet", "--no-deps", "--only-binary=:all:", "--python-version=3.11"]
    platforms = [f"--platform=manylinux{each}_aarch64" for each in ("_2_28", "2014")]
    pip = [sys.executable, "-m", "pip", "download"]
    return made(CACHE / "+".join(wanted), lambda to: run(*pip, *options, *platforms, "--dest", to, *wanted))


# -- an initramfs -----------------------------------------------------------------------------------------------------


class Cpio:
    """The "newc" format of cpio(5), as the kernel unpacks it; made here, for then it takes no root to hold /dev."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._number = 0
        self._folders = {"."}

    def add(self, name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        name = name.removeprefix("./")
        parent = os.path.dirname(name)
        if parent and parent not in self._folders:
            self.add(parent, stat.S_IFDIR | 0o755)
        if stat.S_ISDIR(mode):
            if name in self._folders:
                return
            self._folders.add(name)
        self._number += 1
        fields = (self._number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0)
        self._file.write(b"070701" + b"".join(b"%08x" % field for field in fields))
        self._padded(name.encode() + b"\0", before=110)
        self._padded(data)

    def close(self) -> None:
        self.add("TRAILER!!!", 0)
        self._file.close()

    def _padded(self, data: bytes, before: int = 0) -> None:
        self._file.write(data + b"\0" * (-(before + len(data)) % 4))


def base(modules: Collection[str]) -> Path:
    """A folder with the kernel and an initramfs that holds Python, BusyBox and these kernel modules in /modules."""
    name = "base-" + sha256(" ".join([*sorted(modules), *WHEELS]).encode()).hexdigest()[:8]
    return made(CACHE / name, lambda folder: unpack(folder, modules))


def unpack(folder: Path, modules: Collection[str]) -> None:
    folder.mkdir(exist_ok=True)
    cpio = Cpio(folder / "initrd")
    cpio.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    for name in ("lib", "bin", "proc", "sys", "tmp"):
        cpio.add(name, stat.S_IFDIR | 0o755)
    with tarfile.open(debian()) as tar:
        for each in tar:
            file = tar.extractfile(each) if each.isfile() or each.islnk() else None
            module = Path(each.name).stem if each.name.endswith(".ko") else ""
            if file and each.name.startswith("./boot/vmlinuz"):
                (folder / "vmlinuz").write_bytes(file.read())
            elif file and module in modules:
                cpio.add(f"modules/{module}.ko", stat.S_IFREG | 0o644, file.read())
            elif file and not UNUSED.match(each.name):
                add_python(cpio, each.name, file.read(), each.mode)
            elif each.issym() and not UNUSED.match(each.name):
                cpio.add(each.name, stat.S_IFLNK | 0o777, each.linkname.encode())
    for name, data in wheel_files():
        add_python(cpio, f"app/{name}", data)
    cpio.close()


def add_python(cpio: Cpio, name: str, data: bytes, mode: int = 0o644) -> None:
    """A file; Python with its byte code (PEP 552, unchecked), for the virtual machine is slow to make that."""
    cpio.add(name, stat.S_IFREG | mode, data)
    if name.endswith(".py") and sys.version_info[:2] == (3, 11):  # the machine's
        folder, stem = os.path.split(name.removesuffix(".py"))
        with suppress(SyntaxError):
            code = compile(data, f"/{name.removeprefix('./')}", "exec", dont_inherit=True)
            pyc = MAGIC_NUMBER + (1).to_bytes(4, "little") + bytes(8) + marshal.dumps(code)
            cpio.add(f"{folder}/__pycache__/{stem}.cpython-311.pyc", stat.S_IFREG | 0o644, pyc)


def initramfs(path: Path, init: str, modules: Collection[str]) -> Path:
    """The base, and after it the agent of this tree and `init`: the kernel unpacks one archive over the other."""
    cpio = Cpio(path)
    for folder in ("agent", "board", "tests"):
        for each in sorted([*(TREE / folder).rglob("*.py"), *(TREE / folder).rglob("*.csv")]):
            add_python(cpio, f"app/{each.relative_to(TREE)}", each.read_bytes())
    cpio.add("init", stat.S_IFREG | 0o755, init.encode())
    cpio.close()
    both = path.with_suffix(".both")
    both.write_bytes((base(modules) / "initrd").read_bytes() + path.read_bytes())
    return both


def wheel_files() -> Iterator[tuple[str, bytes]]:
    for wheel in sorted(wheels().glob("*.whl")):
        with ZipFile(wheel) as archive:
            for name in archive.namelist():
                if not name.endswith("/"):
                    yield name, archive.read(name)


def devicetree(path: Path, more: str) -> Path:
    """QEMU's own for this machine, and `more` in the words of dtc(1)."""
    own, source = path.with_suffix(".own"), path.with_suffix(".dts")
    run("qemu-system-aarch64", *MACHINE[:1], f"virt,dumpdtb={own}", *MACHINE[2:], *DEVICES)
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

    async def lines(self) -> int:
        """The levels of the GPIO chip's lines, bit by bit, as a voltmeter would show them."""
        return await self.register(PL061_DATA)

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
async def machine(folder: Path, kernel: Path, initrd: Path, dtb: Path) -> AsyncIterator[Machine]:
    socket = folder / "qmp"
    parts = ["-kernel", str(kernel), "-initrd", str(initrd), "-dtb", str(dtb)]
    options = [*parts, "-append", "console=ttyAMA0 quiet panic=-1"]
    talk = ["-serial", "stdio", "-qmp", f"unix:{socket},server=on,wait=on"]
    process = await asyncio.create_subprocess_exec(
        "qemu-system-aarch64", *MACHINE, *DEVICES, *options, *talk,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout
    try:
        await process.stdout.readline()  # "waiting for connection on …": the socket is there
        monitor, to = await asyncio.open_unix_connection(socket)
        await monitor.readline()  # its greeting
        running = Machine(process, monitor, to)
        await running.qmp("qmp_capabilities")
        yield running
        to.close()
    except BaseException:
        process.kill()
        raise
    finally:
        await process.wait()  # whoever stays to the end of `listen` has seen it switch itself off
