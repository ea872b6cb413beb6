"""A program that a line and this project's service take for pppd, where the kernel has no PPP: it negotiates LCP and
IPCP in earnest with whoever is at the other end, says what pppd 2.4.9 says, and ends with its exit codes. It makes no
interface. `FAKE_PPPD`: an exit code to end with at once; `FAKE_PPPD_TOLD`: a file that gets what it was given, as JSON;
`FAKE_PPPD_ECHO_S`: between two echoes.
"""

import json
import os
import select
import signal
import sys
import termios
import tty
from contextlib import suppress
from ipaddress import IPv4Address

from agent.sim.modem.ppp import ADDRESS, DNS1, DNS2, IPCP, LCP, Frames, framed, options, packed

REQUEST, ACK, NAK, REJECT, TERMINATE, TERMINATED, ECHO, ECHOED = 1, 2, 3, 4, 5, 6, 9, 10
TRIES, TRY_S, ECHOES = 60, 0.5, 3
ECHO_S = float(os.environ.get("FAKE_PPPD_ECHO_S", "10"))
DEAF, NO_ADDRESS, HANGUP, KILLED = 10, 10, 16, 5  # 2.4.9 ends a dead line with 16, too


class Over(Exception):
    def __init__(self, code: int, *words: str) -> None:
        super().__init__(*words)
        self.code = code


def say(text: str) -> None:
    """Who listens may be gone: that alone ends no pppd."""
    with suppress(OSError):
        os.write(1, f"{text}\n".encode())


class Pppd:
    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(self.fd, termios.TCSANOW)
        self.frames = Frames()
        self.wanted = {ADDRESS: bytes(4), DNS1: bytes(4), DNS2: bytes(4)}
        self.is_up = False
        self.unanswered = 0

    def run(self) -> None:
        say("Using interface ppp0")
        say(f"Connect: ppp0 <--> {os.ttyname(self.fd)}")
        self.negotiate(LCP, "LCP: timeout sending Config-Requests", DEAF)
        self.negotiate(IPCP, "IPCP: timeout sending Config-Requests", NO_ADDRESS)
        say(f"local  IP address {IPv4Address(self.wanted[ADDRESS])}")
        say("remote IP address 10.64.64.64")
        say(f"primary   DNS address {IPv4Address(self.wanted[DNS1])}")
        say(f"secondary DNS address {IPv4Address(self.wanted[DNS2])}")
        self.is_up = True
        while True:
            if self.unanswered >= ECHOES:
                say(f"No response to {ECHOES} echo-requests")
                say("Serial link appears to be disconnected.")
                raise Over(HANGUP)
            self.send(LCP, ECHO, 1, bytes(4))
            self.unanswered += 1
            self.listen(ECHO_S)

    def negotiate(self, protocol: int, why: str, code: int) -> None:
        for _ in range(TRIES):
            offered = list(self.wanted.items()) if protocol == IPCP else [(5, b"abcd")]
            self.send(protocol, REQUEST, 1, packed(offered))
            if self.listen(TRY_S, until=protocol):
                return
        say(why)
        raise Over(code)

    def listen(self, seconds: float, until: int = 0) -> bool:
        """Until so long nothing has come. Whether our request for the protocol `until` was accepted."""
        while select.select([self.fd], [], [], seconds)[0]:
            try:
                data = os.read(self.fd, 4_096)
            except OSError:
                data = b""
            if not data:
                say("Modem hangup")
                raise Over(HANGUP)
            for protocol, body in self.frames.feed(data):
                if self.packet(protocol, body[0], body[1], body[4:]) and protocol == until:
                    return True
        return False

    def packet(self, protocol: int, code: int, number: int, body: bytes) -> bool:
        match code:
            case 1:
                self.send(protocol, ACK, number, body)
            case 2:
                return True
            case 3 if protocol == IPCP:
                self.wanted |= dict(options(body) or [])
                self.send(IPCP, REQUEST, 2, packed(list(self.wanted.items())))
            case 5:
                say("LCP terminated by peer")
                self.send(protocol, TERMINATED, number, b"")
                raise Over(16 if self.is_up else 10)
            case 9:
                self.send(protocol, ECHOED, number, body)
            case 10:
                self.unanswered = 0
        return False

    def send(self, protocol: int, code: int, number: int, body: bytes) -> None:
        os.write(self.fd, framed(protocol, bytes([code, number]) + (len(body) + 4).to_bytes(2, "big") + body))

    def goodbye(self) -> None:
        self.send(LCP, TERMINATE, 9, b"User request")


def main() -> int:
    words = sys.argv[1:]
    secret = open(words[words.index("file") + 1]).read() if "file" in words else ""  # noqa: SIM115
    if told := os.environ.get("FAKE_PPPD_TOLD"):
        with open(told, "w") as file:
            json.dump({"pid": os.getpid(), "words": words, "secret": secret}, file)
    if "FAKE_PPPD" in os.environ:
        say("Peer refused to agree to our IP address")
        return int(os.environ["FAKE_PPPD"])

    def asked(number: int, frame: object) -> None:
        raise Over(KILLED)

    signal.signal(signal.SIGTERM, asked)
    fake = Pppd(words[0])
    try:
        fake.run()
    except Over as over:
        if over.code == KILLED:
            say("Terminating on signal 15")
            fake.goodbye()
        say("Connection terminated.")
        return over.code
    return 0


if __name__ == "__main__":
    sys.exit(main())
