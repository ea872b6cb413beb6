"""tools/flash.py on the laptop: builds that are the same for the same commit, keys, signatures, and what it says."""

import io
import json
import marshal
import os
import re
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import jsonschema
import pycddl
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msgspec.structs import replace

from agent import __version__
from agent.update import build, cose, index, keyring, strict, suit
from agent.update.refusal import EXITS, Refused
from tests import builds
from tools.flashing import cli, files, keyfiles, make, packing, schema, tree, wheels

ROOT = Path(__file__).parent.parent
CDDL = (ROOT / "docs" / "builds.cddl").read_text()

Flash = Callable[..., tuple[int, list[dict[str, Any]], str]]


@pytest.fixture
def flash(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Flash:
    """Types a command in an empty folder: exit code, events, what was said on stderr."""
    monkeypatch.chdir(tmp_path)
    for name in ("STATION_ROOT", "STATION_KEY_PASSWORD"):
        monkeypatch.delenv(name, raising=False)

    def typed(line: str) -> tuple[int, list[dict[str, Any]], str]:
        try:
            code = cli.main(["--json", *line.split()])
        except SystemExit as ended:
            code = int(str(ended.code))
        said = capsys.readouterr()
        events = [json.loads(each) for each in said.out.splitlines()]
        for event in events:
            jsonschema.validate(event, schema.of(event["event"]))
        return code, events, said.err

    return typed


@pytest.fixture
def keys(flash: Flash) -> Flash:
    """With a root, a prod and a dev key, and their keyring."""
    for line in (
        "keys new --root",
        "keys new --role prod",
        "keys new --role dev --alg eddsa",
        "keys ring --root keys/root.key.pem --prod keys/prod.pub.pem --dev keys/dev.pub.pem",
    ):
        assert flash(line)[0] == 0
    return flash


def written(path: str = "a.build", **more: Any) -> Path:
    """A small build that waits for its signature."""
    Path(path).write_bytes(builds.build_file(signer=packing.Nobody(), keys=b"", **more))
    return Path(path)


# -- keys --------------------------------------------------------------------------------------------------------------


def test_private_keys_are_for_their_owner_alone(keys: Flash) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in Path("keys").glob("*.pem")}
    assert {mode for name, mode in modes.items() if ".key." in name} == {0o600}
    assert len(modes) == 6


def test_a_key_that_is_there_is_never_overwritten(keys: Flash) -> None:
    before = Path("keys/prod.key.pem").read_bytes()
    code, _, said = keys("keys new --role prod")
    assert (code, before) == (2, Path("keys/prod.key.pem").read_bytes())
    assert "is there already and stays" in said


def test_a_key_with_a_password_is_nothing_without_it(flash: Flash, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATION_KEY_PASSWORD", "correct horse")
    assert flash("keys new --role dev --password")[0] == 0
    assert flash("keys show keys/dev.key.pem")[1][0]["kid"]
    for wrong in ("wrong horse", "x"):
        monkeypatch.setenv("STATION_KEY_PASSWORD", wrong)
        assert flash("keys show keys/dev.key.pem")[0] == 2
    assert flash("keys new --role prod --password")[0] == 2, "one character is no password"


def test_each_new_keyring_has_a_higher_version(keys: Flash) -> None:
    again = "keys ring --root keys/root.key.pem --prod keys/prod.pub.pem"
    assert keys(again)[1] == [{"event": "keyring", "path": "keys/keyring", "version": 2, "keys": 1}]
    assert keys(again + " --version 40")[1][0]["version"] == 40
    data = Path("keys/keyring").read_bytes()
    root = keyfiles.load_public(Path("keys/root.pub.pem"))
    assert [key.role for key in keyring.load(data, root).keys] == ["prod"]


@pytest.mark.parametrize(
    "line",
    [
        "keys new",
        "keys new --root --role prod",
        "keys new --role prod --name ../prod",
        "keys ring --root keys/root.key.pem",
        "keys ring --root keys/root.pub.pem --prod keys/prod.pub.pem",
        "keys ring --root keys/root.key.pem --prod keys/prod.key.pem",
        "keys ring --root keys/root.key.pem --prod keys/prod.pub.pem --dev keys/prod.pub.pem",
        "keys ring --prod keys/prod.pub.pem",
        "keys ring --prod keys/prod.pub.pem --public keys/root.pub.pem",
        "keys show keys/none",
        "sign a.build",
        "sign a.build --key keys/none",
        "sign a.build --key keys/prod.pub.pem",
        "sign none --key keys/prod.key.pem",
        "verify a.build",
        "inspect keys",
        "build --board nobody",
        "build --sequence -1",
        "build --sequence 9007199254740993",
        "keys ring --root keys/root.key.pem --prod keys/prod.pub.pem --version -1",
        "keys ring --root keys/root.key.pem --prod keys/prod.pub.pem --version 9007199254740993",
        "frob",
        "",
    ],
)
def test_what_was_typed_wrongly_is_one_sentence_and_exit_code_2(keys: Flash, line: str) -> None:
    written()
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    code, _, said = keys(line)
    assert code == 2 and said
    assert before == {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}


# -- sign, verify, inspect ---------------------------------------------------------------------------------------------


def test_a_build_that_is_signed_is_verified(keys: Flash) -> None:
    written()
    assert keys("verify a.build --root keys/root.pub.pem")[0] == EXITS["key"]
    assert keys("sign a.build --key keys/dev.key.pem")[0] == 0
    code, events, _ = keys("verify a.build --root keys/root.pub.pem --platform aarch64 --board duo_cm4")
    assert (code, events[0]["role"]) == (0, "dev")
    code, events, said = keys("verify a.build --root keys/root.pub.pem --platform aarch64 --production")
    assert (code, events[-1]["code"]) == (5, "role")
    assert "have it signed with a prod key" in said


def test_signing_changes_nothing_but_the_signature(keys: Flash) -> None:
    before = builds.head_of(written().read_bytes(), None)
    assert keys("sign a.build --key keys/dev.key.pem -o b.build")[0] == 0
    after = builds.head_of(Path("b.build").read_bytes(), None)
    assert (before.digest, before.components) == (after.digest, after.components)
    assert Path("a.build").read_bytes()[len(before.raw) :] == Path("b.build").read_bytes()[len(after.raw) :]
    assert files.is_unsigned(before) and not files.is_unsigned(after)


def test_a_key_that_is_elsewhere_signs_in_two_steps(keys: Flash) -> None:
    """As OpenSSL and most hardware sign, DER, and as COSE wants it, 64 bytes."""
    written()
    assert keys("sign a.build --public keys/prod.pub.pem --request tbs")[0] == 0
    private = load_pem_private_key(Path("keys/prod.key.pem").read_bytes(), None)
    assert isinstance(private, EllipticCurvePrivateKey)
    der = private.sign(Path("tbs").read_bytes(), ECDSA(SHA256()))
    for signature in (der, keyfiles.flat(der)):
        Path("signature").write_bytes(signature)
        assert keys("sign a.build --public keys/prod.pub.pem --attach signature --keyring keys/keyring")[0] == 0
        assert keys("verify a.build --root keys/root.pub.pem --platform x86_64 --production")[0] == 0
    for wrong, code in ((der[:-1], 2), (bytes(64), 5), (b"", 2)):
        Path("signature").write_bytes(wrong)
        assert keys("sign a.build --public keys/prod.pub.pem --attach signature")[0] == code
    assert keys("sign a.build --public keys/dev.pub.pem --attach signature")[0] == 2


def test_the_root_key_may_be_elsewhere_too(keys: Flash) -> None:
    line = "keys ring --prod keys/prod.pub.pem --public keys/root.pub.pem"
    assert keys(f"{line} --request tbs")[0] == 0
    signer = keyfiles.load(Path("keys/root.key.pem"), files.ask_password)
    Path("signature").write_bytes(signer.sign(Path("tbs").read_bytes()))
    assert keys(f"{line} --attach signature")[1][0]["version"] == 2


def test_a_key_that_the_keyring_lacks_signs_nothing(keys: Flash) -> None:
    written()
    assert keys("keys new --role dev --name other")[0] == 0
    before = Path("a.build").read_bytes()
    assert keys("sign a.build --key keys/other.key.pem")[0] == EXITS["key"]
    assert Path("a.build").read_bytes() == before


def test_no_prod_key_signs_uncommitted_work(keys: Flash) -> None:
    data = packing.packed("1.0.0", "c0ffee" + files.CHANGED, 0, [builds.app()])
    Path("a.build").write_bytes(packing.sealed(data, b"", packing.Nobody()))
    code, _, said = keys("sign a.build --key keys/prod.key.pem")
    assert (code, "uncommitted work" in said) == (EXITS["role"], True)
    assert keys("sign a.build --key keys/dev.key.pem")[0] == 0


def test_a_damaged_build_is_found_out(keys: Flash) -> None:
    written()
    assert keys("sign a.build --key keys/prod.key.pem")[0] == 0
    whole = Path("a.build").read_bytes()
    head_b = len(builds.head_of(whole, None).raw)
    for damaged, code in (
        (whole[:-1], 5),
        (whole + b"\0", 5),
        (whole[:-9] + b"?" + whole[-8:], 9),
        (whole[: head_b + 5] + b"?" + whole[head_b + 6 :], 9),
        (whole[:40] + b"?" + whole[41:], 5),
        (b"", 5),
        (b"PK\3\4" + bytes(100), 5),
    ):
        Path("a.build").write_bytes(damaged)
        assert keys("verify a.build --root keys/root.pub.pem")[0] == code
    for line in ("inspect a.build", "sign a.build --key keys/prod.key.pem"):
        assert keys(line)[0] == 5, line


def test_inspect_says_what_is_in_a_build_for_machines_and_for_people(
    keys: Flash, capsys: pytest.CaptureFixture[str]
) -> None:
    written(sequence=3)
    code, (first, *components), _ = keys("inspect a.build --files")
    assert (code, first["version"], first["sequence"], first["kid"]) == (0, "1.0.0", 3, None)
    assert [each["component"] for each in components] == first["components"]
    assert components[0]["list"][0] == {"path": "__main__.pyc", "size_b": 1_600}
    cli.main(["sign", "a.build", "--key", "keys/prod.key.pem"])
    cli.main(["inspect", "a.build"])
    said = capsys.readouterr().out
    assert "(prod in its own keyring, version 1), not verified here" in said
    assert "2026-09-21 14:13:20 UTC" in said


def test_help_names_every_subcommand(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0 and all(f" {name} {line}" in said for name, _, line in cli.COMMANDS)
    for name, _, _ in cli.COMMANDS:
        with pytest.raises(SystemExit) as ended:
            cli.main([name, "--help"])
        assert ended.value.code == 0 and f"flash.py {name}" in capsys.readouterr().out


def test_the_tool_runs_from_a_checkout_without_being_installed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", str(ROOT / "tools" / "flash.py"), "inspect", "none"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "flash.py: none cannot be read (No such file or directory): type the path of a file\n"


# -- build -------------------------------------------------------------------------------------------------------------

SOURCES = {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in (ROOT / "agent" / "policy").glob("*.py")}


def test_the_same_sources_are_compiled_to_the_same_bytes() -> None:
    """In whatever order, in a process with whatever hash seed."""
    forth, back = sorted(SOURCES), sorted(SOURCES, reverse=True)
    once, again = (tree.compile_all([(name, SOURCES[name]) for name in names]) for names in (forth, back))
    assert once == again[::-1] and len(once) > 5


def test_what_a_compiled_file_says_is_where_it_lies_in_the_build() -> None:
    (code,) = tree.compile_all([("agent/x.py", b"def f():\n    assert {1, 2, 'a'} and 1 / 0\n")])
    found: dict[str, Any] = {}
    exec(marshal.loads(code[16:]), found)
    with pytest.raises(ZeroDivisionError) as caught:
        found["f"]()
    assert caught.traceback[-1].path == "agent/x.py"
    assert code[4:8] == b"\1\0\0\0", "never compared with a source"


def test_a_source_that_does_not_compile_is_one_sentence() -> None:
    with pytest.raises(Refused, match="a source cannot be compiled") as caught:
        tree.compile_all([("agent/x.py", b"def f(:\n")])
    assert caught.value.code == "usage"


def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds without PyPI's packages."""
    monkeypatch.setattr(wheels, "fetched", lambda platform: [])


def test_a_tree_has_no_source_no_cache_and_no_simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    bare(monkeypatch)
    wanted = ("agent/__init__.py", "agent/__main__.py", "agent/uplink/keys.csv", "board/duo_cm4.toml")
    others = ("agent/sim/world.py", "board/systemd/station-agent.service", "tools/flash.py", "tests/builds.py")
    sources: tree.Files = {name: ((ROOT / name).read_bytes(), False) for name in wanted + others}
    found = tree.tree(sources, "x86_64", "9.9+gabc")
    assert sorted(found) == [
        "__main__.pyc", "agent/__init__.pyc", "agent/__main__.pyc", "agent/uplink/keys.csv", "board/duo_cm4.toml",
    ]  # fmt: skip
    assert b"9.9+gabc" in found["agent/__init__.pyc"][0]


def test_a_tree_runs_as_it_is_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Isolated, from a foreign folder, by the system's own rules."""
    bare(monkeypatch)
    names = ("agent/__init__.py", "agent/settings.py")
    sources: tree.Files = {name: ((ROOT / name).read_bytes(), False) for name in names}
    sources["agent/__main__.py"] = b"import agent\nprint(agent.__version__, agent.__file__)", False
    for path, (data, _) in tree.tree(sources, "x86_64", "9.9").items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(data)
    before = sorted(tmp_path.rglob("*"))
    done = subprocess.run([sys.executable, "-I", str(tmp_path)], capture_output=True, text=True, check=False, cwd="/")
    assert (done.stdout, done.stderr) == (f"9.9 {tmp_path}/agent/__init__.pyc\n", "")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A git repository with one commit, of the three parts that a build is made of."""
    for name in ("agent/a.py", "board/b.toml", "tools/c.py", "pyproject.toml", "README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "-c", "user.name=x", "-c", "user.email=x@example.com", "commit", "-q", "-m", "x")
    return tmp_path


def git(folder: Path, *arguments: str) -> None:
    dates = {"GIT_AUTHOR_DATE": "1790000000 +0000", "GIT_COMMITTER_DATE": "1790000000 +0000"}
    subprocess.run(["git", "-C", folder, *arguments], check=True, env=os.environ | dates)


def test_a_build_is_made_of_the_commit(checkout: Path) -> None:
    source = make.found(with_changes=False, folder=checkout)
    assert source.made_at_s == 1_790_000_000 and len(source.commit) == 40
    assert source.version == f"{__version__}+g{source.commit[:10]}"
    assert source.files["agent/a.py"] == (b"agent/a.py", False)
    (checkout / "README.md").write_text("no build is made of it")
    assert make.found(with_changes=False, folder=checkout) == source


@pytest.mark.parametrize("name", ["agent/a.py", "agent/new.py", "board/b.toml", "tools/c.py", "pyproject.toml"])
def test_uncommitted_work_is_built_only_when_asked_for(checkout: Path, name: str) -> None:
    (checkout / name).write_text("changed")
    with pytest.raises(Refused, match="--with-changes") as caught:
        make.found(with_changes=False, folder=checkout)
    assert name in caught.value.sentence
    source = make.found(with_changes=True, folder=checkout)
    assert source.commit.endswith("+changes") and source.version.endswith(".changes")
    assert source.files[name][0] == b"changed"


def test_a_folder_that_is_no_checkout_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no checkout"):
        make.found(with_changes=False, folder=tmp_path)


def test_every_board_with_a_chip_has_its_firmware_in_a_build() -> None:
    boards = make.chosen(None)
    assert [board.name for board in boards] == ["duo_cm4", "solo_modbus", "solo_virt"]
    source = make.Source("c0ffee", 0, {})
    contents = list(make.firmwares(source, boards[:1], cli.Out(is_json=True, stream=io.StringIO())))
    facts = contents[0].facts
    assert facts["board"] == "duo_cm4" and facts["pins_hash"] and facts["contract"] == make.CONTRACT
    head = builds.head_of(builds.build_file(*contents, version=source.version))
    assert head.components["controller", "duo_cm4"].files[0].path == make.ROM


def test_a_firmware_is_named_by_its_content_so_that_the_same_is_not_flashed_again() -> None:
    board = make.chosen(["solo_modbus"])[0]
    name, rom = make.firmware(board)
    assert make.firmware(board) == (name, rom)
    assert make.firmware(replace(board, circuit_limit_ma=board.circuit_limit_ma + 1_000))[0] != name
    assert name.encode() in rom[:200] and name.startswith(__version__)


# -- wheels ------------------------------------------------------------------------------------------------------------


def test_every_package_of_a_build_is_locked_by_hash() -> None:
    locked = {wheel.name: wheel for wheel in wheels.locked(wheels.LOCK.read_text())}
    assert {"cryptography", "cbor2", "gpiod", "pillow", "pymodbus"} <= locked.keys()
    assert "pyscard" not in locked, "it has no wheels"
    assert len(locked["cryptography"].hashes) == len(build.PLATFORMS)
    assert all(len(wheel.hashes) in (1, 2) for wheel in locked.values())


def test_the_locked_versions_are_those_of_the_tests() -> None:
    """Else what is tested is not what is flashed: build --lock follows make constraints."""
    lines = wheels.CONSTRAINTS.read_text().splitlines()
    tested = {wheels._plain(name): version for name, _, version in (line.partition("==") for line in lines) if version}
    assert {wheel.name: tested.get(wheel.name) for wheel in wheels.locked(wheels.LOCK.read_text())} == {
        wheel.name: wheel.version for wheel in wheels.locked(wheels.LOCK.read_text())
    }


def test_a_wheel_with_another_content_is_not_taken(tmp_path: Path) -> None:
    wheel = wheels.Wheel("a-b", "1.0", frozenset({sha256(b"right").hexdigest()}))
    path = tmp_path / "a_b-1.0-cp311-cp311-manylinux_2_28_x86_64.whl"
    path.write_bytes(b"wrong")
    assert wheels.find(wheel, "x86_64", tmp_path) is None
    path.write_bytes(b"right")
    assert wheels.find(wheel, "x86_64", tmp_path) == path
    assert wheels.find(wheel, "aarch64", tmp_path) is None


@pytest.mark.parametrize("line", ["cbor2", "cbor2>=6", "cbor2==6.2.1", "cbor2==6.2.1 --hash=md5:00"])
def test_a_package_without_version_and_hash_is_refused(line: str) -> None:
    with pytest.raises(Refused, match="version or hash"):
        wheels.locked(line)


def test_of_a_wheel_only_what_runs_and_the_licence_are_taken() -> None:
    names = {
        "cbor2/__init__.py": True, "cbor2/_cbor2.abi3.so": True, "cbor2/py.typed": False, "cbor2/a.pyi": False,
        "cbor2-6.dist-info/METADATA": True, "cbor2-6.dist-info/RECORD": False, "cbor2-6.dist-info/WHEEL": False,
        "cbor2-6.dist-info/licenses/LICENSE.txt": True, "cbor2-6.data/scripts/cbor2": False, "cbor2/tests/a.py": False,
    }  # fmt: skip
    assert {name: tree._is_wanted(name) for name in names} == names


# -- the whole ---------------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.needs("git", package="git")
def test_two_clones_of_one_commit_make_the_same_build(tmp_path: Path, record_property: Callable[..., None]) -> None:
    """With PyPI's wheels if this machine has them already."""
    made = []
    for name in ("one", "a/much/longer/path"):
        clone = tmp_path / name
        subprocess.run(["git", "clone", "-q", "--shared", str(ROOT), str(clone)], check=True)
        done = subprocess.run(
            [sys.executable, "tools/flash.py", "build", "-o", str(tmp_path / "made.build")],
            capture_output=True, text=True, check=False, cwd=clone, env=os.environ | {"PYTHONHASHSEED": str(len(name))},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        made.append((tmp_path / "made.build").read_bytes())
        (tmp_path / "made.build").unlink()
    head = builds.head_of(made[0], None)
    record_property("fact", f"a build: {len(made[0]):,} bytes, its head {len(head.raw):,}")
    assert made[0] == made[1]


# -- docs/builds.cddl --------------------------------------------------------------------------------------------------


def fits(rule: str, data: bytes) -> None:
    pycddl.Schema(f"start = {rule}\n{CDDL}").validate_cbor(data)


def test_a_build_is_what_its_page_says() -> None:
    head = builds.head_of(builds.build_file())
    envelope = suit.read(head.raw)
    outer, wrapper = strict.loads(envelope.manifest, "it", 10_000), strict.loads(head.raw[2:], "it", 1 << 20)[2]
    fits("envelope", head.raw)
    fits("authentication", wrapper)
    fits("digest", strict.loads(wrapper, "it", 1_000)[0])
    fits("sign1", envelope.block.encoded)
    fits("header", envelope.block.protected)
    fits("manifest", envelope.manifest)
    fits("common", outer[suit.COMMON])
    fits("texts", outer[suit.TEXT])
    fits("keyring", head.keyring)
    fits("keys", cose.load(head.keyring, "it").payload or b"")
    for content in head.components.values():
        fits("index", index.dump(content))


def test_the_commands_for_one_component_are_what_their_page_says() -> None:
    """pycddl knows no repeated group of several items."""
    head = builds.head_of(builds.build_file(builds.app()))
    outer = strict.loads(suit.read(head.raw).manifest, "it", 10_000)
    common = strict.loads(outer[suit.COMMON], "it", 10_000)
    sequences = {"shared": common[suit.SHARED], "validate": outer[suit.VALIDATE], "install": outer[suit.INSTALL]}
    for rule, data in sequences.items():
        once = re.sub(r"\[1\*64 \((.*)\)\]", r"[\1]", CDDL)
        pycddl.Schema(f"start = {rule}\n{once}").validate_cbor(data)
        with pytest.raises(pycddl.ValidationError):
            pycddl.Schema(f"start = {rule}\n{once}").validate_cbor(strict.dumps([*strict.loads(data, "it", 999), 1]))


def test_what_is_no_build_does_not_fit_its_page() -> None:
    manifest = suit.read(builds.head_of(builds.build_file()).raw).manifest
    for rule, data in (("manifest", strict.dumps({1: 1})), ("index", b"\x80"), ("keyring", manifest)):
        with pytest.raises(pycddl.ValidationError):
            fits(rule, data)
