"""What a gateway lets through, as a script for nft(8). Pure.

One table of our own, made anew as one transaction: the kernel has the old rules or the new ones, never a part of them.
A leaf may open connections to the ports that a station needs, towards the uplink and nowhere else; nobody opens any to
a leaf. TLS passes as it is: an address is rewritten, a payload never.
"""

from collections.abc import Sequence
from ipaddress import IPv4Network

from agent.settings import Gateway

TABLE = "station_agent_gateway"
SENT, RECEIVED = "sent", "received"  # the sets that count, by a leaf's address
DNS, NTP = 53, 123
# Policy: the address of one leaf more than these is not let through, until another has been silent for FORGOTTEN.
LEAVES_MAX = 32
FORGOTTEN = "7d"  # silence after which the kernel forgets a leaf; what it was counted is kept elsewhere
CONNECTIONS_MAX = 64  # of one leaf at a time: a leaf gone mad fills nobody else's table of connections

REMOVED = f"table inet {TABLE}\ndelete table inet {TABLE}\n"  # also where there is none


def script(gateway: Gateway) -> str:
    """All of it, also over one that is there."""
    lan, net = quoted(gateway.leaves_on), str(IPv4Network(gateway.network))
    up = f"{{ {', '.join(map(quoted, covering(gateway.uplinks)))} }}"
    tcp = numbers({DNS, *gateway.tcp})
    udp = numbers({DNS, NTP, *gateway.udp})
    return f"""{REMOVED}table inet {TABLE} {{
    set {SENT} {{ type ipv4_addr; size {LEAVES_MAX}; flags dynamic,timeout; timeout {FORGOTTEN}; counter; }}
    set {RECEIVED} {{ type ipv4_addr; size {LEAVES_MAX}; flags dynamic,timeout; timeout {FORGOTTEN}; counter; }}
    set connections {{ type ipv4_addr; size {LEAVES_MAX}; flags dynamic; }}
    chain forward {{
        type filter hook forward priority filter; policy drop;
        tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu
        iifname {lan} oifname {up} ip saddr {net} jump out
        iifname {up} oifname {lan} ip daddr {net} ct state established,related update @{RECEIVED} {{ ip daddr }} accept
    }}
    chain out {{
        ct state invalid drop
        ct state new jump new
        update @{SENT} {{ ip saddr }} accept
    }}
    chain new {{
        add @connections {{ ip saddr ct count over {CONNECTIONS_MAX} }} drop
        tcp dport {tcp} return
        udp dport {udp} return
        drop
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        iifname {lan} oifname {up} ip saddr {net} masquerade
    }}
}}
"""


def covering(patterns: Sequence[str]) -> list[str]:
    """Without those that another one covers: nft takes no names that overlap."""
    stems = {pattern[:-1] for pattern in patterns if pattern.endswith("*")}
    least = {stem for stem in stems if not any(stem != other and stem.startswith(other) for other in stems)}
    names = {name for name in patterns if not name.endswith("*") and not name.startswith(tuple(least))}
    return sorted({*names, *(f"{stem}*" for stem in least)})


def quoted(name: str) -> str:
    return f'"{name}"'


def numbers(ports: set[int]) -> str:
    return f"{{ {', '.join(map(str, sorted(ports)))} }}"
