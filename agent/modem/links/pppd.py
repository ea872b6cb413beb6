"""pppd(8), as this software uses it: its options, what its lines say, and what its end means. Pure.

Of Debian's /etc/ppp nothing is used: no scripts run, no secrets of its files count, and what its options file sets
otherwise is set back here. Address and resolvers are read from pppd's own lines; the route is ours to set.
"""

import re
from ipaddress import AddressValueError, IPv4Address

from msgspec import Struct, structs

from agent.modem.events import Cause

MTU = 1_358  # bytes: what crosses every operator's tunnels in one piece (3GPP TS 23.060, annex C)
ECHO_S, ECHOES = 10, 3  # the modem itself answers them, so they cost no data; a dead line is noticed in 30 to 40 s
TEXT_MAX = 128  # characters of a name or password; pppd takes 256
DNS_MAX = 2
ON_USB = re.compile(r"/dev/tty(?:USB|ACM)[0-9]+")  # lines whose carrier is the modem's own word


class Call(Struct, frozen=True):
    """What pppd gets: a line on which the modem has said CONNECT."""

    tty: str
    username: str = ""
    password: str = ""
    mtu: int = MTU


def refusal(call: Call) -> str:
    """Why this cannot be given to pppd, in a sentence; "": it can."""
    if not re.fullmatch(r"/dev/[A-Za-z0-9_/.-]{1,200}", call.tty) or ".." in call.tty:
        return f"{call.tty[:60]!r} is no serial line: correct the modem's port"
    for word, text in (("username", call.username), ("password", call.password)):
        if len(text) > TEXT_MAX or not text.isprintable():
            return f"the access point's {word} has more than {TEXT_MAX} characters, or control characters: correct it"
    if not 576 <= call.mtu <= 1_500:
        return f"an MTU of {call.mtu} bytes is none: 576 to 1500"
    return ""


def options(call: Call) -> list[str]:
    """Of the command line, where everybody may read them."""
    has_carrier = ON_USB.fullmatch(call.tty)
    out = [call.tty, "nodetach", "nolock", "modem" if has_carrier else "local", "nocrtscts"]
    out += ["noauth", "noproxyarp", "nomultilink", "noccp", "novj", "noipv6", "noipdefault", "nodefaultroute"]
    out += ["ipcp-accept-local", "ipcp-accept-remote", "usepeerdns", "nopersist", "maxfail", "1"]
    out += ["mru", "1500", "mtu", str(call.mtu)]
    out += ["lcp-echo-interval", str(ECHO_S), "lcp-echo-failure", str(ECHOES), "lcp-echo-adaptive"]
    out += ["lcp-max-configure", "10", "ipcp-max-configure", "20", "lcp-max-terminate", "2"]
    out += ["refuse-eap", "refuse-mschap", "refuse-mschap-v2"]
    if not call.username:
        out += ["refuse-pap", "refuse-chap"]
    return [*out, "ip-up-script", "", "ip-down-script", ""]


def secrets(call: Call) -> str:
    """The options file with what nobody else may read; "": there is nothing."""
    if not call.username:
        return ""
    return f"user {quoted(call.username)}\npassword {quoted(call.password)}\nhide-password\n"


def quoted(text: str) -> str:
    """A word of an options file."""
    inner = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{inner}"'


# -- what it says -----------------------------------------------------------------------------------------------------


class Link(Struct, frozen=True):
    """What pppd has said so far. It is up once there is an address."""

    interface: str = ""
    address: str = ""
    dns: tuple[str, ...] = ()
    is_connected: bool = False  # LCP is being negotiated
    refused: str = ""  # by the peer, in pppd's words
    is_deaf: bool = False  # nobody has answered LCP
    is_dead: bool = False  # nobody answers echoes any more

    @property
    def is_up(self) -> bool:
        return bool(self.interface and self.address)


INTERFACE = re.compile(r"Using interface (ppp[0-9]{1,5})")
LOCAL = re.compile(r"local +IP address (\S+)")
RESOLVER = re.compile(r"(?:primary|secondary) +DNS address (\S+)")
AUTH = re.compile(r"(?:PAP|CHAP) authentication failed|Failed to authenticate ourselves|No auth is possible")
DEAD = re.compile(r"No response to \d+ echo-requests")
NO_ADDRESS = re.compile(r"Could not determine local IP address|Peer refused to agree to our IP address")


def heard(link: Link, line: str) -> Link:
    """One line of pppd's log. What is not known changes nothing."""
    if found := INTERFACE.search(line):
        return structs.replace(link, interface=found[1])
    if line.startswith("Connect: "):
        return structs.replace(link, is_connected=True)
    if found := LOCAL.search(line):
        return structs.replace(link, address=ipv4(found[1]), dns=())
    if (found := RESOLVER.search(line)) and (address := ipv4(found[1])) and address not in link.dns:
        return structs.replace(link, dns=(*link.dns, address)[:DNS_MAX])
    if "LCP: timeout sending" in line:
        return structs.replace(link, is_deaf=True)
    if DEAD.search(line):
        return structs.replace(link, is_dead=True)
    if AUTH.search(line) or NO_ADDRESS.search(line):
        return structs.replace(link, refused=line.strip()[:TEXT_MAX])
    return link


def ipv4(text: str) -> str:
    """In its usual spelling; "" for none, and for the one that stands for none."""
    try:
        address = IPv4Address(text)
    except AddressValueError:
        return ""
    return "" if address.is_unspecified or address.is_loopback or address.is_multicast else str(address)


# -- how it ends ------------------------------------------------------------------------------------------------------

MISSING = 127  # a shell's and setpriv's exit code: there is no such program
EXITS: dict[int, tuple[Cause, str]] = {
    0: (Cause.ENDED, "the modem or the network has ended the call"),
    1: (Cause.FAILED, "pppd could not go on; journalctl -t pppd may say more"),
    2: (Cause.SYSTEM, "this pppd does not know our options: install Debian's package ppp, 2.4.9 or later"),
    3: (Cause.SYSTEM, "pppd was not run as root: start station-bearer.socket"),
    4: (Cause.SYSTEM, "this kernel has no PPP: install one with CONFIG_PPP_ASYNC, or set bearer = \"ecm\""),
    5: (Cause.ENDED, "somebody has ended pppd"),
    6: (Cause.FAILED, "the modem's data port is locked by another program: end that one"),
    7: (Cause.FAILED, "the modem's data port could not be opened: it has gone, or is not there yet"),
    8: (Cause.FAILED, "the call did not come about"),
    9: (Cause.SYSTEM, "pppd was given a program to run, which we never do"),
    10: (Cause.APN, "the call came about, but no address: check apn"),
    11: (Cause.AUTH, "the network did not say who it is, which we never ask: check username and password"),
    12: (Cause.ENDED, "nothing was sent for too long: an options file of /etc/ppp sets idle; take it out"),
    13: (Cause.ENDED, "the call was too long: an options file of /etc/ppp sets maxconnect; take it out"),
    14: (Cause.FAILED, "the network wants to call back, which it cannot"),
    15: (Cause.ENDED, "the line is dead: the modem has answered no echo for half a minute"),
    16: (Cause.ENDED, "the modem has hung up"),
    17: (Cause.FAILED, "the modem is not in a call: it echoes what it hears"),
    18: (Cause.SYSTEM, "pppd was given a program to run, which we never do"),
    19: (Cause.AUTH, "name or password was not accepted: check username and password"),
    126: (Cause.SYSTEM, "pppd may not be run: start station-bearer.socket"),
    MISSING: (Cause.SYSTEM, "there is no pppd: type apt-get install ppp, or set bearer = \"ecm\""),
}  # fmt: skip


def ended(code: int, link: Link, is_asked: bool) -> tuple[Cause, str]:
    """`code`: as of subprocess, negative for a signal. `is_asked`: we have ended it."""
    if is_asked:
        return Cause.ASKED, ""
    if code < 0:
        return Cause.ENDED, f"pppd was killed by signal {-code}"
    if code in (10, 17) and link.is_deaf:
        return Cause.FAILED, "the modem has said CONNECT, but does not speak PPP: it is still in another call"
    if code == 16 and link.is_dead:
        return EXITS[15]  # pppd 2.4.9 says so itself, and then ends as after any hang-up
    if code == 10 and AUTH.search(link.refused):
        return EXITS[19]
    return EXITS.get(code, (Cause.FAILED, f"pppd has ended with the unknown code {code}"))
