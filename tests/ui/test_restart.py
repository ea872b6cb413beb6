"""A real agent process dies under an open page: the display says so, and goes on by itself when the agent is back."""

import signal
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from agent.panel import Page
from agent.sim.car import Car
from agent.sim.mosquitto import free_port
from tests.process import ANN, Agent, started_box, until, write_files, write_list, write_pki

pytestmark = pytest.mark.long
PATIENCE_MS = 30_000


@pytest.mark.promise("S3")
def test_kill_9_of_the_agent_is_seen_on_the_display_and_heals(browser: Browser, tmp_path: Path) -> None:
    box, _ = started_box(tmp_path)
    board, config = write_files(tmp_path, box, pki=write_pki(tmp_path / "pki"))
    with config.open("a") as file:
        file.write(f"[panel]\nport = {free_port()}\n")
    write_list(tmp_path / "state", ANN)
    agent = Agent(tmp_path, board, config)
    context = browser.new_context(viewport={"width": 800, "height": 480}, reduced_motion="reduce")
    try:
        until((tmp_path / "panel.url").exists)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto((tmp_path / "panel.url").read_text().strip())
        until(agent.is_free)
        box.plug(1, Car(need_wh=20_000, reaction_ms=500))
        until(lambda: agent.port(1).get("status") == "Occupied")
        box.tap(ANN)
        charging = page.locator('article.card[data-tone="charging"]')
        charging.wait_for(state="visible")

        agent.end(signal.SIGKILL)
        cover = page.locator(".cover")
        cover.wait_for(state="visible")
        assert "restarting" in cover.inner_text()

        agent = Agent(tmp_path, board, config)
        cover.wait_for(state="detached")
        charging.wait_for(state="visible")  # the session went on meanwhile
        page.keyboard.press("1")
        page.locator(f'[data-page="{Page.HELP}"]').wait_for(state="visible")
    finally:
        context.close()
        agent.end()
        box.close()
