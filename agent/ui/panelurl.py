"""Who may press: the token of this boot, and the file that tells it to the display's browser.

The file lies in the control socket's folder, which goes with the power: 0640, so that the kiosk's user, who is in our
group, may read it and no other process of the station. A restart of the agent keeps the token, so that the page on the
display goes on.

The browser that `agent/ui/browser.py` starts is given the id of its page, too, behind the token: another one each time,
with a proof that only who knows the token can make. The display's heartbeat carries it, so that nobody else who looks
at the page, and may even press there, is taken for the display.
"""

import contextlib
import hashlib
import hmac
import os
import re
import secrets
from pathlib import Path

NAME = "panel.url"
URL = re.compile(r"http://127\.0\.0\.1:[0-9]{1,5}/#([A-Za-z0-9_-]{22})\n?\Z")


def new_token() -> str:
    """128 bits."""
    return secrets.token_urlsafe(16)


ID_CHARACTERS = 16  # of a page's id; the rest is its proof


def kiosk_url(url: str) -> str:
    """The page's address for one start of the display's own browser."""
    token = url.partition("#")[2]
    page = secrets.token_hex(ID_CHARACTERS // 2)
    return f"{url}.{page}{proof(token, page)}"


def is_kiosk(page: str, token: str) -> bool:
    """Whether browser.py has made this id."""
    said = page[ID_CHARACTERS:].encode(errors="replace")
    return hmac.compare_digest(said, proof(token, page[:ID_CHARACTERS]).encode())


def proof(token: str, page: str) -> str:
    return hmac.new(token.encode(), b"page " + page.encode(errors="replace"), hashlib.sha256).hexdigest()[:32]


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
