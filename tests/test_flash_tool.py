"""tools/flash.py as an engineer types it, against real update services: one station, ten at once, what goes wrong."""

import fcntl
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from agent.update import refusal
from agent.update.refusal import Refused
from tests.flashsite import WAIT_S, Quick, Site
from tests.flashstation import made
from tools.flashing import cli, driver, flash, schema, show, steps
from tools.flashing.cli import Interrupted
from tools.flashing.fleet import Rollout, Row, Target, read, table
from tools.flashing.lines import Address, address
from tools.flashing.progress import Progress, duration, size
from tools.flashing.talk import Steps, Talk

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("builds"), files=6, size_b=3_000)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with closing(Site(tmp_path, hands=Quick)) as site:
        yield site


@pytest.fixture(autouse=True)
def _at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("STATION_PORT", raising=False)


class Typed:
    def __init__(self, capsys: pytest.CaptureFixture[str], *argv: str | Path | Address) -> None:
        self.exit = cli.main([*map(str, argv)])
        self.out, self.err = capsys.readouterr()

    @property
    def events(self) -> list[Mapping[str, Any]]:
        """Each is held against its schema."""
        events = [json.loads(line) for line in self.out.splitlines()]
        for event in events:
            jsonschema.validate(event, schema.of(event["event"]))
        return events

    def named(self, name: str) -> list[Mapping[str, Any]]:
        return [event for event in self.events if event["event"] == name]


# -- one station -------------------------------------------------------------------------------------------------------


def test_a_flash_tells_its_plan_its_progress_and_its_end(
    site: Site, build: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = Typed(capsys, "flash", build, "--port", site.address)
    assert typed.exit == 0, typed.err
    for text in ("SA-0001, duo_sim", "2.0.0 into slot a", "100 %", "staged", "confirmed: this build stays"):
        assert text in typed.out
    again = Typed(capsys, "flash", build, "--port", site.address)
    assert again.exit == 0 and "2.0.0 runs already" in again.out


def test_every_json_event_is_as_its_schema_says(site: Site, build: Path, capsys: pytest.CaptureFixture[str]) -> None:
    typed = Typed(capsys, "flash", build, "--port", site.address, "--json")
    names = [event["event"] for event in typed.events]
    assert names[:3] == ["began", "identified", "planned"] and names[-1] == "ended" and "progress" in names
    assert typed.events[0]["schema"] == 1 and typed.events[-1]["result"] == "confirmed"
    stages = [event["stage"] for event in typed.named("stage")]
    assert stages[:4] == ["send", "verify", "staged", "activated"] and stages[-1] == "confirmed"
    for command in ("status", "log"):
        assert Typed(capsys, command, "--port", site.address, "--json").events
    assert Typed(capsys, "--json", "devices", "--no-ask").named("began")


def test_a_dry_run_is_a_true_plan(site: Site, build: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planned = Typed(capsys, "flash", build, "--port", site.address, "--dry-run", "--json")
    assert planned.exit == 0 and planned.named("ended")[0]["result"] == "planned"
    plan = planned.named("planned")[0]
    done = Typed(capsys, "flash", build, "--port", site.address, "--json")
    head_b = planned.named("ended")[0]["sent_b"]
    assert done.named("ended")[0]["sent_b"] - head_b in (plan["wanted_b"], plan["wanted_b"] - head_b)


def test_a_build_that_is_ill_ends_in_exit_10(site: Site, build: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Quick.ill = "the controller is not heard"
    try:
        typed = Typed(capsys, "flash", build, "--port", site.address)
    finally:
        Quick.ill = ""
    assert typed.exit == refusal.ROLLED_BACK and "the controller is not heard" in typed.out
    status = Typed(capsys, "status", "--port", site.address)
    assert "was rolled back: the controller is not heard" in status.out


@pytest.mark.parametrize(
    ("argv", "exit_code"),
    [
        (["flash", "/nowhere.build", "--port", "unix:/nowhere"], refusal.USAGE),
        (["flash", "BUILD", "--port", "unix:/nowhere"], refusal.NO_DEVICE),
        (["flash", "BUILD", "--port", "/dev/null-and-void"], refusal.NO_DEVICE),
        (["flash", "BUILD", "--port", "here"], refusal.USAGE),
        (["flash", "BUILD", "--port", "SITE", "--serial", "SA-0002"], refusal.WRONG_DEVICE),
        (["flash", "BUILD", "--port", "SITE", "--when-idle", "--override", "x"], refusal.USAGE),
        (["flash", "DEV", "--port", "SITE"], refusal.UNTRUSTED),
        (["flash", "OTHER", "--port", "SITE"], refusal.WRONG_DEVICE),
        (["flash", "DAMAGED", "--port", "SITE"], refusal.UNTRUSTED),
        (["flash", "BUILD", "--stations", "/nowhere"], refusal.USAGE),
        (["flash", "BUILD", "--stations", "x", "--port", "y"], refusal.USAGE),
        (["resume", "BUILD", "--port", "SITE"], refusal.USAGE),
        (["resume"], refusal.USAGE),
        (["rollback", "--reason", "x", "--port", "SITE"], refusal.VERIFY),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)  # fmt: skip
def test_each_failure_has_its_exit_code_and_a_sentence_that_says_what_to_do(
    site: Site, build: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], argv: list[str], exit_code: int
) -> None:
    names: dict[str, Callable[[], Path | Address]] = {
        "BUILD": lambda: build, "SITE": lambda: site.address, "DEV": lambda: made(tmp_path, "2.0.1", role="dev"),
        "OTHER": lambda: made(tmp_path, "2.0.2", platforms=("aarch64",)),
        "DAMAGED": lambda: damaged(build, tmp_path / "damaged.build"),
    }  # fmt: skip
    typed = Typed(capsys, *(names[word]() if word in names else word for word in argv))
    said = (typed.err + typed.out).strip().splitlines()[-1]
    assert typed.exit == exit_code and ":" in said and len(said) < 400 and "Traceback" not in typed.err


def damaged(build: Path, to: Path) -> Path:
    data = bytearray(build.read_bytes())
    data[300] ^= 1
    to.write_bytes(data)
    return to


def test_a_trace_holds_every_frame_with_its_time(
    site: Site, build: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "trace"
    Typed(capsys, "flash", build, "--port", site.address, "--no-wait", "--trace", trace)
    lines = [line.split() for line in trace.read_text().splitlines()]
    names = [line[3] for line in lines]
    assert names[:2] == ["HELLO", "IDENTITY"] and {"DATA", "ACK", "WANT"} <= set(names) and names[-2] == "BYE"
    assert [float(line[0]) for line in lines] == sorted(float(line[0]) for line in lines)


def test_status_does_not_call_it_the_rescue_tree_that_runs_while_the_launcher_looks_at_the_slots(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.choice.write_text("")
    with site.choice.open() as picking:
        fcntl.flock(picking, fcntl.LOCK_EX)
        typed = Typed(capsys, "status", "--port", site.address)
    assert "starts: the slot that is to run is checked first" in typed.out and "rescue" not in typed.out
    assert "rescue tree" in Typed(capsys, "status", "--port", site.address).out


def test_ctrl_c_says_what_the_station_does_then() -> None:
    """Until the trial was begun nothing has changed; then the station goes on without anybody."""
    for stage in ("", "send", "verify", "staged"):
        assert "runs what it ran" in flash.goes_on(stage)
    for stage in ("waiting", "activated", "trial"):
        assert "by itself" in flash.goes_on(stage) and "runs what it ran" not in flash.goes_on(stage)


def test_a_link_that_is_lost_during_a_trial_begins_no_second_one(
    site: Site, build: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def flashed(talk: Talk, wish: steps.Wish, tell: steps.Tell) -> Steps:
        begun.append((wish.serial, wish.begun))
        if len(begun) == 1:
            yield from whole(talk, replace(wish, waits=False), tell)
            raise Refused("link", "the link was lost: check the cable")
        return (yield from whole(talk, wish, tell))

    begun: list[tuple[str, str]] = []
    whole = steps.flashed
    monkeypatch.setattr(steps, "flashed", flashed)
    monkeypatch.setattr(driver, "AGAIN_S", 0.0)
    typed = Typed(capsys, "flash", build, "--port", site.address)
    assert typed.exit == 0 and begun == [("", ""), ("SA-0001", "a")], typed.out
    assert "confirmed: this build stays" in typed.out


def test_ctrl_c_during_a_trial_does_not_say_that_the_old_build_runs(
    site: Site, build: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(talk: Any, head: Any, tell: Any) -> Iterator[None]:
        raise Interrupted
        yield

    monkeypatch.setattr(steps, "confirmed", interrupted)
    typed = Typed(capsys, "flash", build, "--port", site.address)
    assert typed.exit == refusal.INTERRUPTED
    assert "goes on with the trial by itself" in typed.out


def test_firmware_for_another_board_is_refused_before_the_station_gets_a_byte(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site.where.board.write_text('name = "duo_cm4"\n[controller]\nlink = "serial"\n')
    typed = Typed(capsys, "flash", made(tmp_path, files=2), "--port", site.address)
    assert typed.exit == refusal.WRONG_DEVICE and "duo_sim" in typed.out
    assert not (site.root / "coming.head").stat().st_size, "not even the head"


def test_resume_knows_what_was_flashed_last(site: Site, build: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Typed(capsys, "flash", build, "--port", site.address, "--stage")
    typed = Typed(capsys, "resume", "--no-wait")
    assert typed.exit == 0 and "activated" in typed.out


def test_ctrl_c_says_goodbye_and_the_next_flash_goes_on(site: Site, tmp_path: Path) -> None:
    """A real process, in the midst of it: the station's disk waits until the tool has ended. The station is free at
    once, and what had come is not sent again."""
    big = made(tmp_path, "3.0.0", files=60, size_b=30_000, platforms=("x86_64", "aarch64"))
    words = [sys.executable, "tools/flash.py", "flash", str(big), "--port", str(site.address), "--json", "--no-wait"]
    trace = tmp_path / "trace"
    slow = site.hands.engine.put
    began, is_over = threading.Event(), threading.Event()

    def put(digest: bytes, stored: bytes) -> None:
        began.set()
        assert is_over.wait(WAIT_S)
        slow(digest, stored)

    site.hands.engine.put = put  # type: ignore[method-assign]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # of tests in the background a child inherits none
    with subprocess.Popen(
        [*words, "--trace", str(trace)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            assert began.wait(WAIT_S)
            child.send_signal(signal.SIGINT)
            out, err = child.communicate(timeout=WAIT_S)
        finally:
            child.kill()
            is_over.set()
    assert child.returncode == refusal.INTERRUPTED and "Traceback" not in err
    said = [line.split()[2:4] for line in trace.read_text().splitlines()]
    # Over a serial line the station would wait for half a minute. What it had acknowledged meanwhile may cross.
    assert said[-1] == ["<", "4F"] and [">", "BYE"] in said[-4:-1]
    ended = json.loads(out.splitlines()[-1])
    assert ended["code"] == "interrupted" and "resume" in ended["sentence"]
    site.hands.engine.put = slow  # type: ignore[method-assign]
    done = subprocess.run([*words[:2], "resume", *words[3:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert next(each for each in events if each["event"] == "planned")["have_b"] > 0


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_who_reads_no_further_is_no_bug_of_the_tool(build: Path, more: list[str]) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    with open(writes, "wb") as nowhere:
        words = [sys.executable, "tools/flash.py", "inspect", str(build), *more]
        done = subprocess.run(words, cwd=ROOT, stdout=nowhere, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (refusal.INTERRUPTED, "")


# -- many --------------------------------------------------------------------------------------------------------------


@pytest.mark.promise("S8")
def test_ten_stations_are_flashed_at_once(build: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The canary alone, then four at a time. One is not whom the file names: it is left as it is, the others go on."""
    with ExitStack() as stack:
        sites = [site_of(stack, tmp_path / f"{i}", f"SA-{i:04}") for i in range(10)]
        stations = tmp_path / "stations.txt"
        rows = [f"{site.address} SA-{7 if i == 3 else i:04} bay-{i}" for i, site in enumerate(sites)]
        stations.write_text("# ten bays\n" + "\n".join(rows) + "\n")
        typed = Typed(
            capsys, "flash", build, "--stations", stations, "--json", "--canary", "1", "--jobs", "4",
            "--max-failures", "1",
        )  # fmt: skip
        assert typed.exit == refusal.SOME_FAILED, typed.out
        ended = {each["station"]: each for each in typed.named("ended")}
        assert next(iter(ended)) == "bay-0" and len(ended) == 10
        assert {name for name, each in ended.items() if each["result"] != "confirmed"} == {"bay-3"}
        assert ended["bay-3"]["exit"] == refusal.WRONG_DEVICE and "not SA-0007" in ended["bay-3"]["sentence"]
        assert typed.named("summary") == [
            {"event": "summary", "stations": 10, "done": 9, "failed": 1, "not_begun": 0, "exit": refusal.SOME_FAILED}
        ]
        at_work: set[str] = set()
        most, canary = 0, True
        for event in typed.events:
            if event["event"] == "identified":
                at_work.add(event["station"])
                assert canary is (event["station"] == "bay-0")  # the others begin when it is well
            elif event["event"] == "ended":
                at_work.remove(event["station"])
                canary = False
            most = max(most, len(at_work))
        assert 2 <= most <= 4
        assert [(site.root / "a").exists() for site in sites] == [i != 3 for i in range(10)]


def site_of(stack: ExitStack, folder: Path, serial: str) -> Site:
    folder.mkdir()
    return stack.enter_context(closing(Site(folder, serial, Quick)))


def test_a_canary_that_is_ill_saves_the_others(build: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ExitStack() as stack:
        sites = [site_of(stack, tmp_path / f"{i}", f"SA-{i:04}") for i in range(2)]
        sites[0].hands.ill = "a meter's readings cannot be"  # type: ignore[attr-defined]
        stations = tmp_path / "stations.txt"
        stations.write_text("".join(f"{site.address}\n" for site in sites) + "unix:/nowhere\n")
        typed = Typed(capsys, "flash", build, "--stations", stations)
    assert typed.exit == refusal.SOME_FAILED and not (sites[1].root / "a").exists()
    assert typed.out.count("not begun") == 2 and "a meter's readings cannot be" in typed.out


def row(target: Target, *, is_well: bool = True) -> Row:
    return Row(target, "confirmed" if is_well else "failed", code="" if is_well else "link", exit=0 if is_well else 8)


TARGETS = [Target(f"s{i}", Address("unix", f"/{i}")) for i in range(10)]


def test_nobody_new_is_begun_after_too_many_failures() -> None:
    rollout = Rollout(TARGETS, canaries=1, jobs=3, failures_max=1)
    assert rollout.begin() == TARGETS[:1] and rollout.begin() == []
    rollout.ended(row(TARGETS[0]))
    assert rollout.begin() == TARGETS[1:4]
    rollout.ended(row(TARGETS[1], is_well=False))
    assert rollout.begin() == TARGETS[4:5]  # one may fail
    rollout.ended(row(TARGETS[2], is_well=False))
    assert rollout.begin() == [] and not rollout.is_over
    rollout.ended(row(TARGETS[3]))
    rollout.ended(row(TARGETS[4]))
    assert rollout.is_over and list(rollout.not_begun) == TARGETS[5:] and rollout.exit == refusal.SOME_FAILED


def test_a_canary_may_not_fail_even_where_others_may() -> None:
    rollout = Rollout(TARGETS, canaries=2, jobs=10, failures_max=5)
    assert len(rollout.begin()) == 2
    rollout.ended(row(TARGETS[0], is_well=False))
    rollout.ended(row(TARGETS[1]))
    assert rollout.is_over and len(rollout.not_begun) == 8


def test_one_station_alone_gives_its_own_exit_code() -> None:
    rollout = Rollout(TARGETS[:1], canaries=0)
    rollout.begin()
    rollout.ended(row(TARGETS[0], is_well=False))
    assert rollout.is_over and rollout.exit == 8


def test_the_table_has_a_row_for_each_station() -> None:
    lines = table([row(TARGETS[1], is_well=False), row(TARGETS[0])], TARGETS[2:3])
    assert [line.split()[0] for line in lines] == ["station", "s0", "s1", "s2"] and "not begun" in lines[3]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "names no station"), ("# nothing\n\n", "names no station"), ("here\n", "line 1"),
        ("/dev/a\n/dev/a\n", "twice"), ("/dev/a - x\n/dev/b - x\n", "twice"), ("/dev/a b c d\n", "line 1"),
    ],
)  # fmt: skip
def test_a_stations_file_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "f").write_text(text)
    with pytest.raises(Refused, match=why):
        read(tmp_path / "f")


def test_a_stations_file_says_where_who_and_what_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("/dev/ttyUSB0@921600 SA-1 north # by the door\nssh://a@b:22 -\n\n unix:/s SA-3\n")
    assert read(tmp_path / "f") == [
        Target("north", Address("serial", "/dev/ttyUSB0", 921_600), "SA-1"),
        Target("ssh://a@b:22", Address("ssh", "a@b", 22)),
        Target("SA-3", Address("unix", "/s"), "SA-3"),
    ]


# -- small things ------------------------------------------------------------------------------------------------------


def test_an_address_is_read_as_it_is_shown() -> None:
    for text in ("/dev/ttyUSB0", "/dev/ttyUSB0@921600", "ssh://u@h", "ssh://u@h:2222", "unix:/run/x"):
        assert str(address(text)) == text
    for wrong in ("", "ssh://", "ssh://-oProxyCommand=x", "unix:x", "ttyUSB0", "/dev/x@fast", "/dev/x@1@2"):
        with pytest.raises(Refused):
            address(wrong)


def test_rate_and_time_left_are_of_the_last_seconds() -> None:
    progress = Progress(100_000)
    for second in range(6):
        progress.update(second * 1_000, 0, float(second))
    for second in range(6, 13):
        progress.update(5_000 + (second - 5) * 5_000, 0, float(second))
    assert progress.rate_bps == pytest.approx(5_000) and progress.left_s == pytest.approx(12.0)
    assert (size(512), size(12_345), size(3_500_000)) == ("512 B", "12.3 kB", "3.5 MB")
    assert (duration(12), duration(200), duration(3_900), duration(None)) == ("12 s", "3 min 20 s", "1 h 05 min", "?")


@pytest.mark.parametrize("name", [name for name, _, _ in cli.COMMANDS])
def test_each_command_has_a_page_of_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main([name, "--help"])
    text = capsys.readouterr().out
    assert end.value.code == 0 and len(text.splitlines()) > 8 and max(map(len, text.splitlines())) <= 120
    assert f"\n  flash.py {name}" in text, "a page has an example"


@pytest.mark.parametrize("columns", ["60", "80", "200"])
def test_a_page_of_help_fits_the_terminal(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """But for lines that are to be typed as they stand."""
    monkeypatch.setenv("COLUMNS", columns)
    with pytest.raises(SystemExit):
        cli.main(["flash", "--help"])
    lines = capsys.readouterr().out.splitlines()
    wide = [line for line in lines if len(line) > min(int(columns), cli.WIDTH_MAX) and "flash.py flash" not in line]
    assert not wide and "examples:" in lines


@pytest.mark.parametrize(
    ("line", "page"),
    [
        ("", "flash.py"), ("flsh", "flash.py"), ("flash", "flash.py flash"), ("flash x --canary y", "flash.py flash"),
        ("resume --dry-run", "flash.py resume"), ("keys", "flash.py keys"), ("keys new", "flash.py keys new"),
        ("rollback", "flash.py rollback"), ("log --after x", "flash.py log"), ("build --board", "flash.py build"),
    ],
)  # fmt: skip
def test_what_is_typed_wrongly_names_the_page_to_read(
    line: str, page: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(line.split())
    said = capsys.readouterr().err
    assert end.value.code == refusal.USAGE and said.endswith(f": type {page} --help\n") and said.count("\n") == 1


def test_every_command_takes_json_behind_it(build: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also those without a device; and before it, as the page of all says."""
    for argv in (["inspect", str(build), "--json"], ["--json", "inspect", str(build)]):
        assert cli.main(argv) == 0
        assert json.loads(capsys.readouterr().out.splitlines()[0])["event"] == "build"
    assert cli.main(["keys", "show", "/nowhere", "--json"]) == refusal.USAGE
    assert json.loads(capsys.readouterr().out)["event"] == "refused"


def test_a_bug_is_a_sentence_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    nothing: dict[str, int] = {}
    monkeypatch.setattr("tools.flashing.inspect.run", lambda args, out: nothing["nothing"])
    assert cli.main(["inspect", "x"]) == refusal.INTERNAL
    said = capsys.readouterr().err
    assert "KeyError('nothing') in test_flash_tool.py" in said and said.count("\n") == 1


def test_nobody_at_the_other_end_of_ssh_is_no_lost_link(
    build: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STATION_SSH", "sh -c 'echo Permission denied >&2; exit 255' ssh")
    typed = Typed(capsys, "flash", build, "--port", "ssh://flasher@sa-0001")
    assert typed.exit == refusal.NO_DEVICE and "Permission denied" in typed.out and "ssh alone" in typed.out


def test_a_log_is_read_by_people() -> None:
    line = json.dumps({"at_s": 1795344518.5, "event": "begin", "build": "3b0ac0648b24b9e409d9", "slot": "a", "x": []})
    assert show.logged(line) == "2026-11-22 10:48:38 UTC  begin  build 3b0ac0648b24b9e4, slot a"
    for other in ("no JSON", "[]", '{"event": "x"}', '{"at_s": null, "event": "x"}', '{"at_s": 1e99, "event": "x"}'):
        assert show.logged(other) == other


def test_notes_of_the_last_flash_are_no_ones_secret_and_no_ones_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nowhere")
    with pytest.raises(Refused, match="no flash was begun"):
        flash.remembered()
    assert os.path.sep in str(flash.notes())


PROGRESS = {"total_b": 100_000, "again_b": 0, "rate_bps": 10_000, "left_s": 5.0}


def test_bars_are_drawn_for_each_station_and_lines_above_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    stream = io.StringIO()
    drawn = show.Bars(cli.Out(False, stream))
    with closing(drawn):
        for done_b in (10_000, 50_000):
            for station in ("north", "south"):
                drawn.tell(station, "progress", {**PROGRESS, "done_b": done_b})
        assert list(drawn._rows) == ["north", "south"]
        drawn.tell("north", "stage", {"stage": "verify"})
        assert list(drawn._rows) == ["south"]
        drawn.tell("south", "lost", {"sentence": "the [link] was lost"})
    assert "north: the station reads it back" in stream.getvalue() and "[link]" in stream.getvalue()


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (120, 60), (60, 10), (40, 5)])
def test_fifty_stations_fit_a_terminal(columns: int, lines: int) -> None:
    """Each has a bar and its own name, or is in the line that sums up the rest."""
    rows = [(f"ssh://flasher@north-car-park-{i:02}", {**PROGRESS, "done_b": 2_000 * i}) for i in range(50)]
    drawn = show.bars(rows, columns, lines)
    assert len(drawn) <= lines - 2 and max(map(len, drawn)) < columns
    seen = [line.split()[0] for line in drawn if "%  " in line]
    assert len(set(seen)) == len(seen) == min(50, lines - 3) and seen[-1].endswith(f"{len(seen) - 1:02}")
    assert (f"and {50 - len(seen)} more stations" in drawn[-1]) == (len(seen) < 50)
    assert ("─" in drawn[1]) == (columns >= 60)
    assert drawn[1].endswith("10.0 kB/s, 5 s left")


def test_without_a_terminal_progress_is_a_line_every_few_seconds() -> None:
    stream, now = io.StringIO(), 0.0
    lines = show.Lines(cli.Out(False, stream), clock=lambda: now)
    for second in range(21):
        now = float(second)
        lines.tell("SA-1", "progress", {**PROGRESS, "done_b": 4_000 * second})
    lines.tell("SA-1", "progress", {**PROGRESS, "done_b": 100_000})
    said = stream.getvalue().splitlines()
    assert len(said) == 5 and said[0].startswith("SA-1:  20 %  20.0 kB of 100.0 kB, 10.0 kB/s, 5 s left")
