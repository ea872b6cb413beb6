"""The Python packages of a build: which wheels, by hash, and where they are kept on this laptop.

`wheels.txt` is written by `flash.py build --lock` from pyproject.toml and tools/constraints.txt, and is committed. It
is a requirements file of pip's; each line has the hashes of its wheels for all platforms.
"""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from agent.update.build import PLATFORMS
from agent.update.refusal import Refused

ROOT = Path(__file__).parent.parent.parent
LOCK = Path(__file__).with_name("wheels.txt")
CONSTRAINTS = ROOT / "tools" / "constraints.txt"
CACHE = Path.home() / ".cache" / "station-agent" / "wheels"
EXTRAS = ("device", "framebuffer", "modbus", "modemmanager")  # pcsc has no wheels: Debian's python3-pyscard is it
PYTHON = "3.11"
GLIBC_MINORS = range(36, 16, -1)  # Debian 12 has 2.36; no wheel of ours is older than 2.17
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
NAMED = re.compile(r"([A-Za-z0-9._-]+)==(\S+)")
HEAD = "# Written by tools/flash.py build --lock: the wheels of a build, by hash.\n"


@dataclass(frozen=True, slots=True)
class Wheel:
    name: str  # as on PyPI
    version: str
    hashes: frozenset[str]  # SHA-256 in hex, one for each platform, or one for all

    def fits(self, path: Path, platform: str) -> bool:
        """Whether this file's name is that of this wheel for this platform."""
        package, version, *_, tags = path.stem.split("-")
        return (
            _plain(package) == _plain(self.name) and version == self.version
            and (tags == "any" or tags.endswith(f"_{platform}"))
        )  # fmt: skip


def locked(text: str) -> list[Wheel]:
    """The lines of wheels.txt."""
    found = []
    for line in text.replace("\\\n", "").splitlines():
        if line.strip() and not line.startswith("#"):
            named, hashes = NAMED.match(line), frozenset(HASH.findall(line))
            if named is None or not hashes:
                raise Refused("usage", f"{LOCK.name} has a line without version or hash: write it with build --lock")
            found.append(Wheel(named[1], named[2], hashes))
    return found


def fetched(platform: str, cache: Path = CACHE) -> list[tuple[Wheel, Path]]:
    """Every wheel of wheels.txt for this platform, its hash checked; asks PyPI for those that are not here yet."""
    wheels = locked(LOCK.read_text())
    if any(find(wheel, platform, cache) is None for wheel in wheels):
        _download(platform, cache, "--no-deps", "--require-hashes", "-r", str(LOCK))
    found = [(wheel, find(wheel, platform, cache)) for wheel in wheels]
    if missing := [wheel.name for wheel, path in found if path is None]:
        raise Refused("usage", f"PyPI has no wheel for {platform} of {', '.join(missing)}: run build --lock again")
    return [(wheel, path) for wheel, path in found if path is not None]


def find(wheel: Wheel, platform: str, cache: Path) -> Path | None:
    for path in sorted(cache.glob("*.whl")):
        if wheel.fits(path, platform) and sha256(path.read_bytes()).hexdigest() in wheel.hashes:
            return path
    return None


def lock(cache: Path = CACHE) -> int:
    """Writes wheels.txt; the number of its wheels. Needs the network."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(line for extra in EXTRAS for line in project["optional-dependencies"][extra])]
    hashes: dict[tuple[str, str], set[str]] = {}
    for platform in PLATFORMS:
        folder = cache / f"lock-{platform}"
        _download(platform, folder, "-c", str(CONSTRAINTS), *wanted)
        for path in sorted(folder.glob("*.whl")):
            name, version = path.stem.split("-")[:2]
            hashes.setdefault((_plain(name), version), set()).add(sha256(path.read_bytes()).hexdigest())
            path.replace(cache / path.name)
        folder.rmdir()
    LOCK.write_text(HEAD + "".join(_lines(hashes)))
    return len(hashes)


def _lines(hashes: dict[tuple[str, str], set[str]]) -> Iterator[str]:
    for (name, version), each in sorted(hashes.items()):
        yield f"{name}=={version}" + "".join(f" \\\n    --hash=sha256:{one}" for one in sorted(each)) + "\n"


def _download(platform: str, folder: Path, *what: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tags = [f"--platform=manylinux_2_{minor}_{platform}" for minor in GLIBC_MINORS]
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--only-binary=:all:",
        f"--python-version={PYTHON}", "--implementation=cp", *tags, f"--platform=manylinux2014_{platform}",
        "-d", str(folder), *what,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = _last(done.stderr.splitlines())
        raise Refused("usage", f"pip cannot fetch the wheels for {platform} ({said}): connect to PyPI and try again")


def _last(lines: Iterable[str]) -> str:
    return next((line.strip() for line in reversed(list(lines)) if line.strip()), "it says nothing")


def _plain(name: str) -> str:
    """PEP 503"""
    return re.sub(r"[-_.]+", "-", name).lower()
