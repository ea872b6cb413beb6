"""The borders that import-linter cannot watch: the standard library, the open doors of Python, the MicroPython subset.

The core is the last layer of the contract `rooms` in pyproject.toml; that list is the only one.
"""

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Pure: the same arguments give the same answer, on any machine, at any time. (random with a seed is the simulator's.)
PURE = set(
    "__future__ abc base64 binascii bisect calendar collections collections.abc contextlib copy csv dataclasses "
    "datetime decimal difflib enum fractions functools hashlib heapq hmac io ipaddress itertools json math operator re "
    "statistics string struct textwrap tomllib types typing unicodedata urllib.parse zlib".split()
)
CURVES = {f"cryptography.hazmat.primitives.{name}" for name in ("asymmetric.ec", "asymmetric.ed25519", "hashes")}
ALSO = {
    "agent.uplink.codec": {"cbor2", "pathlib"},  # pathlib: for the key table beside it, no other file
    "agent.update.line": {"cbor2", "board.controller.slip"},
    "agent.update.strict": {"cbor2"},
    "agent.update.suit": {"uuid"},  # uuid5 alone, which is a hash
    "agent.update.cose": {"cryptography.exceptions", "cryptography.hazmat.primitives.asymmetric.utils", *CURVES},
}
FOR_ALL = {"agent", "msgspec", "board.controller.contract"}
DOORS = {"open", "print", "input", "exec", "eval", "__import__", "breakpoint"}

# What CPython and MicroPython (with micropython-lib) both have.
BOTH_ENDS = {"binascii", "cbor2", "hashlib", "struct", "board.controller.contract", "board.controller.link"}


def core() -> list[str]:
    """Names of the core's modules and packages, from pyproject.toml; some may not be there yet."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    rooms = next(contract for contract in contracts if contract["id"] == "rooms")
    return [name.strip("() \n") for name in rooms["layers"][-1].split(":")]


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def is_within(name: str, packages: list[str]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def files(names: list[str]) -> list[Path]:
    return [path for path in sorted((ROOT / "agent").rglob("*.py")) if is_within(module(path), names)]


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), path)


def imports(tree: ast.AST) -> Iterator[str]:
    """Every imported module. `from a import b` counts as a.b where that is a module of ours, as a elsewhere."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(source), names=names):
                for alias in names:
                    ours = ROOT.joinpath(*source.split("."), alias.name)
                    yield f"{source}.{alias.name}" if ours.is_dir() or ours.with_suffix(".py").exists() else source


def called(tree: ast.AST) -> set[str]:
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {call.func.id for call in calls if isinstance(call.func, ast.Name)}


@pytest.mark.parametrize("path", files(core()), ids=module)
def test_the_core_imports_only_the_core_and_what_is_pure(path: Path) -> None:
    allowed = PURE | FOR_ALL | ALSO.get(module(path), set())
    foreign = {name for name in imports(parse(path)) if name not in allowed and not is_within(name, core())}
    assert not foreign, f"{module(path)} is core; move it to the shell, or what it imports into the core"


@pytest.mark.parametrize("path", files(core()), ids=module)
def test_the_core_opens_no_file_and_prints_nothing(path: Path) -> None:
    assert not called(parse(path)) & DOORS


def test_a_package_that_holds_core_imports_nothing_by_itself() -> None:
    """Importing agent.uplink.codec runs agent/uplink/__init__.py: a driver imported there would come along unseen."""
    above = {parent for name in core() for parent in (ROOT / name.replace(".", "/")).parents if parent != ROOT}
    inits = [path for folder in above if ROOT in folder.parents and (path := folder / "__init__.py").exists()]
    assert inits
    assert {module(path): list(imports(parse(path))) for path in inits} == {module(path): [] for path in inits}


@pytest.mark.parametrize("name", ["contract", "link"])
def test_what_both_ends_of_the_link_run_is_in_the_micropython_subset(name: str) -> None:
    path = ROOT / "board/controller" / f"{name}.py"
    tree = parse(path)
    tree.body = [node for node in tree.body if not ast.unparse(node).startswith("if TYPE_CHECKING:")]
    assert set(imports(tree)) <= BOTH_ENDS
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Match)]


BEFORE_THE_AGENT = ("agent.files", "agent.update.bootstate", "agent.update.statefile", "agent.update.slots",
                    "agent.update.launcher")  # fmt: skip


@pytest.mark.promise("S8")
@pytest.mark.parametrize("name", BEFORE_THE_AGENT)
def test_the_launcher_takes_nothing_but_pythons_own_library_and_stays_small(name: str) -> None:
    path = ROOT.joinpath(*name.split(".")).with_suffix(".py")
    foreign = {each.split(".")[0] for each in imports(parse(path)) if each not in BEFORE_THE_AGENT}
    assert foreign <= sys.stdlib_module_names
    assert len(path.read_text().splitlines()) < 300
