"""What all tests share: two hypothesis profiles, the markers `promise` and `needs`, and what is said at the end: the
promises, and each `record_property("fact", …)`: what was measured and is for nobody to judge.
"""

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from agent.outbox import Database

LONG = "STATION_LONG" in os.environ

# `make test` tries the same examples every time; `make test-long` looks for new ones and prints how to get them back.
settings.register_profile("ci", derandomize=True, deadline=None, database=None)
examples = int(os.environ.get("STATION_EXAMPLES", "500"))  # overnight: 20000
settings.register_profile("long", max_examples=examples, deadline=None, print_blob=True)
settings.load_profile("long" if LONG else "ci")


LONGEST = ("test_durability", "test_interpreter_run", "test_broker", "test_run", "test_kills", "test_together")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem not in LONGEST)  # begun last, all would wait for them
    for item in items:
        for marker in item.iter_markers("promise"):
            item.user_properties += [("promise", name) for name in marker.args]


@pytest.fixture(autouse=True)
def judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every message of OCPP in every story, of whatever world and seed, is the referee's to judge."""
    from agent.sim.net import SimCloud
    from tests import referee

    referee.COMMANDS.clear()
    monkeypatch.setattr(SimCloud, "judge", staticmethod(referee.heard))


@pytest.fixture
def database(tmp_path: Path) -> Iterator["Database"]:
    from agent.outbox import Database
    from tests.ledger import BOOT

    made = Database(tmp_path / "s.db", BOOT)
    yield made
    made.close()


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs"):
        require(*marker.args, **marker.kwargs)


def require(program: str, package: str | None = None) -> None:
    """A missing program skips a test; in `make test-long` it fails it, with the name of the package that brings it."""
    if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin"):  # Debian keeps sbin out of a user's PATH
        return
    message = f"needs {program}: apt-get install {package or program}"
    if LONG:
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Before pytest's own last line: what was measured, how many tests stood for each promise, which promises broke."""
    for fact in recorded(terminalreporter.stats.get("passed", []), "fact"):
        terminalreporter.write_line(str(fact))
    passed, failed = (promises(terminalreporter.stats.get(outcome, [])) for outcome in ("passed", "failed"))
    if names := sorted(passed | failed, key=lambda name: (len(name), name)):
        said = (f"{name} {passed[name]}" + (f" ({failed[name]} BROKEN)" if failed[name] else "") for name in names)
        terminalreporter.write_line("promises, tests passed: " + ", ".join(said))


def promises(reports: list[pytest.TestReport]) -> Counter[str]:
    return Counter(map(str, recorded(reports, "promise")))


def recorded(reports: list[pytest.TestReport], key: str) -> list[object]:
    marked = (mark for report in reports if report.when == "call" for mark in report.user_properties)
    return [value for each, value in marked if each == key]
