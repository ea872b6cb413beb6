"""Who may press: the token of this boot, and the file that tells it to the display's browser.

The file lies in the control socket's folder, which goes with the power: 0640, so that the kiosk's user, who is in our
group, may read it and no other process of the station. A restart of the agent keeps the token, so that the page on the
display goes on.
"""

import contextlib
import os
import re
import secrets
from pathlib import Path

NAME = "panel.url"
URL = re.compile(r"http://127\.0\.0\.1:[0-9]{1,5}/#([A-Za-z0-9_-]{22})\n?\Z")


def new_token() -> str:
    """128 bits."""
    return secrets.token_urlsafe(16)


def kept_token(folder: Path) -> str:
    """That of the run before in this boot; "" where there is none of ours."""
    try:
        handle = os.open(folder / NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(handle, encoding="ascii") as file:
            is_ours = os.fstat(file.fileno()).st_uid == os.geteuid()
            found = URL.match(file.read(200))
    except (OSError, ValueError):
        return ""
    return found[1] if found and is_ours else ""


def write(folder: Path, url: str) -> None:
    """In one piece. OSError."""
    path, new = folder / NAME, folder / f".{NAME}.new"
    with contextlib.suppress(FileNotFoundError):
        new.unlink()
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(handle, "w", encoding="ascii") as file:
        os.fchmod(handle, 0o640)
        file.write(f"{url}\n")
    new.rename(path)
