"""Raise the system clock to a floor: the one thing of the station that needs a privilege (CAP_SYS_TIME).

A board without a clock chip wakes in 1970, where no certificate is valid. The agent knows that it cannot be earlier
than its floor (agent/clock.py) and asks this helper, root's, over a Unix socket that systemd opens to the agent's user
alone (board/systemd/station-clock.socket). One line of digits, seconds since 1970; one word back. The clock is never
set back, and never further than the life of a station can reach.
"""

import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from agent.clock import BUILD_S

SOCKET = Path("/run/station-clock.sock")
LATEST_S = BUILD_S + 25 * 365.25 * 86_400
REQUEST_MAX_B = 32
ASK_S, IDLE_S = 2.0, 5.0  # for the helper to answer; for somebody to ask
FIRST_FD = 3  # sd_listen_fds(3)
SET, KEPT, REFUSED, FAILED = "set", "kept", "refused", "failed"


def decided(request: bytes, clock_s: float) -> float | str:
    """The time to set the clock to, or the word why not."""
    digits = request.removesuffix(b"\n")
    if len(request) > REQUEST_MAX_B or digits == request or not digits.isdigit():
        return REFUSED
    wanted_s = float(digits)
    if not BUILD_S <= wanted_s <= LATEST_S:
        return REFUSED
    return wanted_s if wanted_s > clock_s else KEPT


def answered(request: bytes, read_clock: Callable[[], float], set_clock: Callable[[float], None]) -> str:
    wanted = decided(request, read_clock())
    if isinstance(wanted, str):
        return wanted
    try:
        set_clock(wanted)
    except OSError:
        return FAILED
    return SET


def serve(listener: socket.socket, read_clock: Callable[[], float], set_clock: Callable[[float], None]) -> None:
    """One after the other, until nobody has come for IDLE_S: systemd starts us again. Nothing a client does raises."""
    listener.settimeout(IDLE_S)
    while True:
        try:
            talk, _ = listener.accept()
        except TimeoutError:
            return
        with talk:
            talk.settimeout(ASK_S)
            with suppress(OSError):
                talk.sendall(answered(talk.recv(REQUEST_MAX_B + 1), read_clock, set_clock).encode())


def ask(floor_s: float, path: Path = SOCKET) -> str:
    """The agent's side: one of the words, or a sentence about the helper. Waits up to ASK_S: not for the loop."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as talk:
        talk.settimeout(ASK_S)
        try:
            talk.connect(str(path))
            talk.sendall(b"%d\n" % floor_s)
            return talk.recv(REQUEST_MAX_B).decode("ascii", "replace") or "no answer"
        except OSError as error:
            why = error.strerror or error
            return f"the clock helper is not there ({why}): type systemctl enable --now {path.stem}.socket"


def main() -> int:
    """What station-clock.service runs."""
    if os.environ.get("LISTEN_FDS") != "1" or os.environ.get("LISTEN_PID") != str(os.getpid()):
        print("station-clock is started by systemd: type systemctl enable --now station-clock.socket", file=sys.stderr)
        return 2
    with socket.socket(fileno=FIRST_FD) as listener:
        serve(listener, system_clock, set_system_clock)
    return 0


def system_clock() -> float:
    return time.time()  # noqa: TID251 - the clock that is to be set


def set_system_clock(wall_s: float) -> None:
    time.clock_settime(time.CLOCK_REALTIME, wall_s)


if __name__ == "__main__":
    sys.exit(main())
