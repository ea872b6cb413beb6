"""The wizard in an installer's hand: Debian's Chromium as a phone, at the real door of a station with the real core."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from agent import panel
from agent.events import FieldEntered, KeyPressed, PhoneTold, ServiceOpened
from agent.policy.plan_token import Why
from agent.settings import Phone
from agent.ui.catalogues import load_says
from agent.ui.model import ScreenModel
from agent.ui.qr import drawn
from agent.ui.view import screen
from tests.installing import Installer
from tests.phone import Site
from tests.play import cwt
from tests.test_owner import token

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
RULES = "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa', 'best-practice']})"
MARKUP = '<img src=x onerror="document.title=1"><b>Lee</b>'
STEPS = "language installer identity self-test circuit network pinpoint clock readiness hand-over".split()

pytestmark = [pytest.mark.long, pytest.mark.needs("chromium", "chromium"), pytest.mark.timeout(300)]


class Installing(Site):
    """The station that is being installed, behind the door."""

    def __init__(self, folder: Path) -> None:
        self.me, self.says = Installer(), load_says()
        super().__init__(folder)
        self.play, self.phone.says = self.me.play, self.says
        self.do(ServiceOpened("button"))
        self.do(FieldEntered("service", "phone"))

    def view(self, language: str) -> ScreenModel:
        station = self.me.play.station
        shown = replace(station.panel, page=panel.Page.WIZARD, language=language, large=False)
        return drawn(screen(replace(station, panel=shown), self.me.play.now, self.says))

    def at(self, step: str) -> None:
        self.do(FieldEntered("step", step, by_phone=True))


class Handset:
    """What it asks elsewhere and complains of is kept."""

    def __init__(self, browser: Browser, told: PhoneTold) -> None:
        self.problems: list[str] = []
        self.context = browser.new_context(
            viewport={"width": 390, "height": 780}, ignore_https_errors=True, is_mobile=True, has_touch=True,
            locale="en-US", reduced_motion="reduce",
        )  # fmt: skip
        self.page: Page = self.context.new_page()
        ours = (f"{told.address}/", "data:", "blob:")

        def asked(request: Any) -> None:
            if not request.url.startswith(ours):
                self.problems.append(f"asks {request.url}")

        def complained(said: Any) -> None:
            if said.type == "error" and "403" not in said.text:  # a wrong code
                self.problems.append(said.text)

        self.page.on("request", asked)
        self.page.on("console", complained)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        args = ["--no-sandbox", "--font-render-hinting=none", "--force-color-profile=srgb"]
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=args)
        yield browser
        browser.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Installing]:
    made = Installing(tmp_path)
    yield made
    made.close()


@pytest.fixture
def handset(browser: Browser, site: Installing) -> Iterator[Handset]:
    made = Handset(browser, site.told())
    yield made
    made.context.close()
    assert not made.problems


def title(handset: Handset, text: str) -> None:
    expect(handset.page.locator("h1")).to_have_text(text)


def audited(handset: Handset) -> None:
    """WCAG 2.2 AA. A script of ours would not be let in by the page's policy: the debugger's is."""
    handset.page.evaluate(AXE.read_text())
    found = handset.page.evaluate(RULES)["violations"]
    assert not found, json.dumps([(each["id"], [node["html"][:100] for node in each["nodes"]]) for each in found])
    wide = handset.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide[0] <= wide[1], "nothing is wider than the phone"


def scan(site: Installing, handset: Handset) -> None:
    told = site.play.station.phone
    assert told
    handset.page.goto(told.link)
    title(handset, "Language")
    assert site.told().guest


def test_scanned_it_is_in_and_the_token_is_out_of_the_address(site: Installing, handset: Handset) -> None:
    scan(site, handset)
    assert "#" not in handset.page.url and handset.page.evaluate("isSecureContext")
    assert handset.page.evaluate("document.cookie") == ""
    handset.page.reload()
    title(handset, "Language")


def test_the_code_can_be_typed_and_a_wrong_one_says_so(site: Installing, handset: Handset) -> None:
    told, page = site.play.station.phone, handset.page
    assert told
    page.goto(told.address)
    page.fill("input[name=code]", "0000 0000")
    page.click("form button")
    expect(page.locator(".wrong")).to_have_text("That is not the code that the station shows now.")
    audited(handset)
    page.fill("input[name=code]", f"{told.code[:4]} {told.code[4:]}")
    page.click("form button")
    title(handset, "Language")


def test_every_step_is_there_as_on_the_panel_and_can_be_read_by_everybody(site: Installing, handset: Handset) -> None:
    scan(site, handset)
    for step in STEPS:
        site.at(step)
        shown = site.view("en").content
        assert shown
        title(handset, shown.title)
        expect(handset.page.locator(".block")).to_have_count(len(shown.blocks))
        audited(handset)
    for language in ("ar", "zh", "de"):
        handset.page.select_option("select", language)
        expect(handset.page.locator("html")).to_have_attribute("lang", language)
        audited(handset)


def test_xss_what_is_typed_stays_text_on_the_phone(site: Installing, handset: Handset) -> None:
    scan(site, handset)
    site.at("installer")
    title(handset, "Installer")
    handset.page.locator(".field .value").first.click()
    handset.page.fill(".typing input", MARKUP)
    for _ in range(3):
        site.do(FieldEntered("company", "Example", by_phone=True))  # the page is drawn anew: what is typed stays
    expect(handset.page.locator(".typing input")).to_have_value(MARKUP)
    handset.page.click(".typing .onward")
    assert site.hear() == FieldEntered("installer", MARKUP, by_phone=True)
    site.phone.follow(site.play.station)
    expect(handset.page.locator(".field .value").first).to_contain_text("<b>Lee</b>")
    assert handset.page.locator("main img").count() == 0 and handset.page.title() != "1"


def test_the_keys_lead_on_and_back(site: Installing, handset: Handset) -> None:
    scan(site, handset)
    handset.page.click(".ways .onward")
    assert site.hear() == FieldEntered("step", "next", by_phone=True)
    title(handset, "Installer")
    handset.page.get_by_text("Back").click()
    assert site.hear() == FieldEntered("step", "back", by_phone=True)
    title(handset, "Language")


def test_the_phones_own_position_is_the_stations_pinpoint(site: Installing, handset: Handset) -> None:
    handset.context.grant_permissions(["geolocation"])
    handset.context.set_geolocation({"latitude": 52.520008, "longitude": 13.404954, "accuracy": 4.2})
    scan(site, handset)
    site.at("pinpoint")
    handset.page.get_by_text("Use this phone's position").click()
    assert site.hear() == FieldEntered("pinpoint", "geo:52.520008,13.404954;u=5", by_phone=True)
    point = site.play.station.wizard.pinpoint
    assert point and (point.latitude, point.longitude, point.accuracy_m) == (52.520008, 13.404954, 5)


def test_a_limit_is_confirmed_elsewhere_and_the_phone_says_where(site: Installing, handset: Handset) -> None:
    scan(site, handset)
    site.do(FieldEntered("circuit_limit_a", "13", by_phone=True))
    expect(handset.page.locator(".ways")).to_contain_text("Confirm at the station's own display.")
    expect(handset.page.locator(".onward")).to_have_count(0)


def test_a_plan_token_is_pasted_or_chosen_as_a_file_and_the_phone_says_until_when(
    site: Installing, handset: Handset, tmp_path: Path
) -> None:
    scan(site, handset)
    page, serial = handset.page, site.play.station.settings.station_id
    page.get_by_text("Plan token").click()
    said, text = page.locator(".plan [role=status]"), page.locator(".plan textarea")
    text.fill("hello")
    page.click(".plan button")
    expect(said).to_have_text(Why.UNREADABLE)
    text.fill(cwt(token(1, -10, 10, "SA-9999")))
    page.click(".plan button")
    expect(said).to_have_text(Why.STATION)
    expect(text).to_have_value(cwt(token(1, -10, 10, "SA-9999")))  # drawn anew each second: what is pasted stays
    files = {"long": "A" * 5_000, "token": cwt(token(1, -10, 10, serial)) + "\n"}
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    page.set_input_files(".plan input[type=file]", tmp_path / "long")
    expect(said).to_have_text(Why.UNREADABLE)
    page.set_input_files(".plan input[type=file]", tmp_path / "token")
    expect(said).to_contain_text("The plan token is taken. The plan ends on 2026-")
    assert [each.issue for each in site.play.station.owner.tokens] == [1]
    audited(handset)
    handset.problems[:] = [each for each in handset.problems if "429" not in each]  # one in a second: it asks again


def test_when_the_visit_is_ended_the_phone_says_so_and_the_next_one_needs_the_new_code(
    site: Installing, handset: Handset
) -> None:
    scan(site, handset)
    told, page = site.play.station.phone, handset.page
    assert told
    site.phone.facts = Phone("127.0.0.1", int(told.address.rpartition(":")[2]))  # as on a station: always the same
    site.do(KeyPressed(4, "end"))
    expect(page.locator(".cover")).to_be_visible(timeout=15_000)
    site.do(ServiceOpened("button"))
    site.play.after(1)
    site.do(FieldEntered("service", "phone"))
    told = site.told()
    expect(page.locator("input[name=code]")).to_be_visible(timeout=15_000)
    page.fill("input[name=code]", told.code)
    page.click("form button")
    title(handset, "Language")
    handset.problems.clear()  # that nobody answered for a while
