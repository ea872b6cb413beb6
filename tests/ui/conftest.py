"""One browser for each file of tests, and in it one display of each size."""

import os
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser

from agent.ui import web
from tests.ui.harness import SIZES, Display, chromium

os.environ.setdefault("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.needs("chromium"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def display(browser: Browser) -> Iterator[Callable[[str], Display]]:
    """The display of this size; tests go through its screens faster than people do."""
    made: dict[str, Display] = {}

    def of(size: str) -> Display:
        if size in made and made[size].problems:  # whoever has met them has failed; the next one begins anew
            made.pop(size).close()
        if size not in made:
            made[size] = Display(browser, SIZES[size])
        return made[size]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(web, "COALESCE_S", 0.002)
        yield of
        for each in made.values():
            each.close()
