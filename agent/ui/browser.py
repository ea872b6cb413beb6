"""Ends in the kiosk's browser, on the agent's page: `python -m agent.ui.browser [--panel FILE] -- BROWSER ARGUMENT …`.

The page's address holds the token that lets press (agent/ui/panelurl.py writes it to a file of ours). On a command line
every process of the machine could read it, so the browser is given a small page of its own, which leads there. Behind
the token stands the id of this start's page: the heartbeat of whoever does not have it is not the display's.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path
from re import compile as regex

from agent.ui.panelurl import kiosk_url

PANEL = Path("/run/station-agent/panel.url")
ADDRESS = regex(r"http://127\.0\.0\.1:[0-9]{1,5}/(#[A-Za-z0-9_-]{0,100})?")
OPERATOR = 2
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="0;url={address}">
<title>Charging station</title><style>html {{ background: #0b1420 }}</style></html>
"""


def address(panel: Path) -> str:
    """What the agent has written there; "" if it is none of its addresses. OSError."""
    text = panel.read_text(encoding="ascii", errors="replace")[:300].strip()
    return text if ADDRESS.fullmatch(text) else ""


def start_page(panel: Path, folder: Path) -> str:
    """Writes it for its own user alone, and says where. OSError."""
    path = folder / "start.html"
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w") as file:
        file.write(PAGE.format(address=escape(kiosk_url(address(panel)))))
    return path.as_uri()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m agent.ui.browser", description="the kiosk's browser, on our page")
    parser.add_argument("--panel", type=Path, default=PANEL, metavar="FILE", help=f"default: {PANEL}")
    parser.add_argument("command", nargs="+", metavar="BROWSER", help="after --, the browser and its arguments")
    args = parser.parse_args(arguments)
    try:
        if not address(args.panel):
            print(f"{args.panel} holds no address of the agent's page: name another with --panel", file=sys.stderr)
            return OPERATOR
        page = start_page(args.panel, Path(os.environ.get("XDG_RUNTIME_DIR", "/run/station-kiosk")))
        os.execv(args.command[0], [*args.command, page])
    except OSError as error:
        advice = "start the agent with a [panel] first, and install the browser"
        print(f"{error.filename or args.command[0]}: {error.strerror}: {advice}", file=sys.stderr)
    return OPERATOR


if __name__ == "__main__":
    sys.exit(main())
