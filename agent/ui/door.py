"""What the installer's phone must show to come in, and what the station shows it: the secrets of one opening, the tries
that are left, the certificate, and whether the address is one to listen at. The listener is agent/ui/phone.py.
"""

import hmac
import os
import secrets
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

from agent.certificates import CertificateError, Pair, is_for, read_pair, self_made
from agent.machine import DEVICES, ROUTES, interface_of, is_mobile, leads_out
from agent.panel import DoorProblem
from agent.settings import Phone

TRIES = 5  # wrong ones, then the door is closed: one in 20 million guesses the code
CODE_DIGITS = 8
TOKEN_B = 16
CERTIFICATE = "phone.pem"  # in the state folder
VALID_S = 800 * 86_400.0  # browsers refuse server certificates that are valid for more than 825 days
AHEAD_S = 86_400.0  # a phone's clock may be so far behind ours
LEFT_S = 30 * 86_400.0  # it is made anew in its last month
FINGERPRINT_B = 8  # of 32: 2^64 certificates to make one that begins alike
PASSPHRASE_MAX = 63  # WPA2


class Entry(StrEnum):
    IN = "in"
    WRONG = "wrong"
    CLOSED = "closed"  # nobody comes in here any more


class Door:
    """One opening: whoever first shows the token, or the code, is in, and both are worth nothing from then on."""

    def __init__(self, token: str, code: str, session: str) -> None:
        """Random, all three: 128 bits for a QR code, eight digits for who types, and what a cookie says then."""
        self.token, self.code, self.session = token, code, session
        self.tries = TRIES
        self.is_entered = False

    def enter(self, said: str) -> Entry:
        """Every comparison takes the same time, and both are made."""
        matches = [is_same(said, secret) for secret in (self.token, self.code)]
        if self.is_entered or not self.tries:
            return Entry.CLOSED
        if any(matches):
            self.is_entered = True
            return Entry.IN
        self.tries -= 1
        return Entry.WRONG if self.tries else Entry.CLOSED

    def knows(self, session: str) -> bool:
        return is_same(session, self.session) and self.is_entered


def new_door() -> Door:
    code = f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}}"
    return Door(secrets.token_hex(TOKEN_B), code, secrets.token_hex(2 * TOKEN_B))


def is_same(said: str, known: str) -> bool:
    """In constant time."""
    return hmac.compare_digest(said.encode(errors="replace"), known.encode())


# -- where ------------------------------------------------------------------------------------------------------------


def problem_at(address: str, devices: Path = DEVICES, routes: Path = ROUTES) -> DoorProblem:
    """Why nobody may listen at this address now, or NONE: only on a link that ends here."""
    interface = interface_of(address)
    if not interface:
        return DoorProblem.NO_ADDRESS
    if is_mobile(interface, devices):
        return DoorProblem.MOBILE
    return DoorProblem.ROUTED if leads_out(interface, routes) else DoorProblem.NONE


def wifi(phone: Phone) -> str:
    """How to join the access point, as QR codes say it; "" where the image has written no passphrase."""
    if not phone.ssid:
        return ""
    from segno import helpers

    try:
        passphrase = Path(phone.passphrase_file).read_text()[: PASSPHRASE_MAX + 2].strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return str(helpers.make_wifi_data(phone.ssid, passphrase, "WPA")) if passphrase else ""


# -- the certificate --------------------------------------------------------------------------------------------------


def certificate(folder: Path, common_name: str, address: str, wall_s: float) -> Pair:
    """The station's own, the same at each opening as long as it is good, so that a phone knows it again. OSError."""
    path = folder / CERTIFICATE
    with suppress(OSError, CertificateError):
        pair = read_pair(path.read_bytes())
        if is_for(pair, address) and pair.not_before_s <= wall_s <= pair.not_after_s - LEFT_S:
            path.chmod(0o600)
            return pair
    pair = self_made(common_name, address, max(0.0, wall_s - AHEAD_S), wall_s - AHEAD_S + VALID_S)
    new = path.with_suffix(".new")
    with suppress(FileNotFoundError):
        new.unlink()
    with open(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600), "wb") as file:
        file.write(pair.pem)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)
    return pair


def fingerprint(pair: Pair) -> str:
    """How its SHA-256 begins, as browsers write it."""
    return ":".join(pair.name[i : i + 2].upper() for i in range(0, 2 * FINGERPRINT_B, 2))
