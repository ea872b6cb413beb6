"""The folder that a station runs, `python3 -I tree`: our packages and their dependencies, compiled, for one platform.

What of this checkout belongs to it is said once, in pyproject.toml: the packages of the wheel, less what it excludes.
It is read from the commit, not from the working folder, unless somebody asks for that.
"""

import io
import marshal
import os
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from agent import __version__
from agent.update.refusal import Refused
from tools.flashing import wheels

ROOT = wheels.ROOT
COMPILER = Path(__file__).with_name("pyc.py")
MAIN, START = "__main__.py", "agent/__main__.py"  # what `python3 tree` runs
NAMED = "agent/__init__.py"  # where the version stands
NOT_RUN = ("*.pyi", "*.pyx", "*.pxd", "*.h", "*.c", "*.cfg", "*/py.typed", "py.typed", "*/tests/*", "*/test/*")
UNUSED = {  # a fifth of a build: formats of pictures that no display of ours shows
    "pillow": (
        "PIL/_avif.*", "PIL/_webp.*", "PIL/_imagingcms.*",
        "*/libavif-*", "*/libwebp*", "*/libsharpyuv-*", "*/liblcms2-*",
    ),
}  # fmt: skip
KEPT_OF_INFO = ("*/METADATA", "*/licenses/*", "*/LICENSE*", "*/NOTICE*")  # what importlib.metadata reads; the law

Files = dict[str, tuple[bytes, bool]]  # by path: content, executable


def tree(sources: Files, platform: str, version: str) -> Files:
    """`sources`: our own files, of read_commit() or read_folder(); `version`: what the agent calls itself."""
    found = {path: file for path, file in sources.items() if _is_ours(path)}
    found[MAIN] = found[START]
    found[NAMED] = _named(found[NAMED][0], version), False
    for wheel, path in wheels.fetched(platform):
        for name, data in _unzipped(path, UNUSED.get(wheel.name, ())).items():
            if found.setdefault(name, (data, False))[0] is not data:
                raise Refused("internal", f"two packages bring {name}, the second is {wheel.name}: report this")
    return compiled(found)


def _named(source: bytes, version: str) -> bytes:
    before, after = f'__version__ = "{__version__}"', f'__version__ = "{version}"'
    assert before in source.decode()
    return source.decode().replace(before, after).encode()


def compiled(files: Files) -> Files:
    """Each .py as a .pyc in its place: no source, no __pycache__, nothing for a station to write."""
    names = sorted(path for path in files if path.endswith(".py"))
    codes = compile_all([(path, files[path][0]) for path in names])
    kept = {path: file for path, file in files.items() if not path.endswith(".py")}
    return kept | {f"{path}c": (code, False) for path, code in zip(names, codes, strict=True)}


def compile_all(sources: Iterable[tuple[str, bytes]]) -> list[bytes]:
    done = subprocess.run(
        [python(), "-I", "-S", str(COMPILER)], input=marshal.dumps(list(sources)), capture_output=True, check=False
    )
    if done.returncode:
        why = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise Refused("usage", f"a source cannot be compiled ({' '.join(why)}): mend it first")
    codes: list[bytes] = marshal.loads(done.stdout)
    return codes


def python() -> str:
    """The stations' Python; .pyc files of another version are nothing to it."""
    if f"{sys.version_info[0]}.{sys.version_info[1]}" != wheels.PYTHON:
        raise Refused("usage", f"a build is made with Python {wheels.PYTHON}: type python{wheels.PYTHON} before it")
    return sys.executable


# -- ours --------------------------------------------------------------------------------------------------------------


def read_commit(folder: Path = ROOT) -> Files:
    """Every file of the commit that is checked out, as committed: no line ends, no local changes."""
    return _untarred(git(folder, "archive", "--format=tar", "HEAD"))


def read_folder(folder: Path = ROOT) -> Files:
    """As they lie in the working folder, new files too."""
    listed = git(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard").decode().split("\0")
    paths = (folder / name for name in listed if name)
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), os.access(path, os.X_OK))
        for path in paths
        if path.is_file() and not path.is_symlink()
    }


def git(folder: Path, *arguments: str) -> bytes:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, check=False)
    except OSError:
        raise Refused("usage", "git is not installed, and a build is made of a commit: install git") from None
    if done.returncode:
        raise Refused("usage", f"{folder} is no checkout, and a build is made of a commit: type git clone first")
    return done.stdout


def _untarred(data: bytes) -> Files:
    found: Files = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            if member.isreg() and (file := tar.extractfile(member)) is not None:
                found[member.name] = file.read(), bool(member.mode & 0o100)
    return found


def _is_ours(path: str) -> bool:
    packages, excluded = _packages()
    return _is_below(path, packages) and not _is_below(path, excluded)


def _packages() -> tuple[list[str], list[str]]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel: Mapping[str, list[str]] = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    return wheel["packages"], wheel["exclude"]


def _is_below(path: str, folders: Iterable[str]) -> bool:
    return any(path.startswith(f"{folder}/") for folder in folders)


# -- theirs ------------------------------------------------------------------------------------------------------------


def _unzipped(wheel: Path, unused: tuple[str, ...]) -> dict[str, bytes]:
    with ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if _is_wanted(name)]
        return {name: archive.read(name) for name in names if not _is_like(name, unused)}


def _is_wanted(name: str) -> bool:
    top = name.partition("/")[0]
    if name.endswith("/") or top.endswith(".data"):
        return False
    if top.endswith(".dist-info"):
        return _is_like(name, KEPT_OF_INFO)
    return not _is_like(name, NOT_RUN)


def _is_like(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)
