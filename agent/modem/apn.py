"""Which access point to ask for. Pure.

In this order, each tried until one is accepted: what the config file says; what is known for this SIM, by its ICCID or
its home network; what Debian's mobile-broadband-provider-info has for the home network; none, which leaves it to the
network. If the config file names one, nothing else is tried: it is the operator's own, and others may cost.
"""

import re
from collections.abc import Iterator, Mapping

from msgspec import Struct

CANDIDATES_MAX = 6
APN = re.compile(r"[A-Za-z0-9._-]{0,100}")  # 23.003 9.1; it stands between quotes in a command
GPRS_SUFFIX = re.compile(r"\.mnc[0-9]{3}\.mcc[0-9]{3}\.gprs\Z")  # 23.003 9.1: the network adds it


class Access(Struct, frozen=True):
    """An access point. "" is the network's own choice."""

    apn: str = ""
    username: str = ""
    password: str = ""


Table = Mapping[str, tuple[Access, ...]]  # by MCC and MNC, five or six digits

# By the beginning of the ICCID, or by MCC and MNC: SIMs for things, which a list for people's phones does not know.
KNOWN: dict[str, tuple[Access, ...]] = {
    "8988228": (Access("iot.1nce.net"),),
    "8988280": (Access("iot.1nce.net"),),
    "8988307": (Access("super"),),
    "90140": (Access("iot.1nce.net"),),
}


def homes(imsi: str | None) -> tuple[str, ...]:
    """MCC and MNC of the SIM's own network; both lengths, since the IMSI does not say which."""
    return (imsi[:6], imsi[:5]) if imsi and len(imsi) >= 6 else ()


def candidates(
    config: Access | None, known: Table, providers: Table, iccid: str | None, imsi: str | None
) -> tuple[Access, ...]:
    """Never empty, each once, at most CANDIDATES_MAX."""
    if config is not None:
        return (config,)
    found: list[Access] = []
    for access in (*by_sim(known, iccid, imsi), *by_network(providers, imsi)):
        if access not in found and APN.fullmatch(access.apn):
            found.append(access)
    return (*found[: CANDIDATES_MAX - 1], Access()) if Access() not in found else tuple(found[:CANDIDATES_MAX])


def by_sim(known: Table, iccid: str | None, imsi: str | None) -> Iterator[Access]:
    """The longest beginning of the ICCID first."""
    for key in sorted(known, key=len, reverse=True):
        if iccid and key.startswith("89") and iccid.startswith(key):
            yield from known[key]
    yield from by_network(known, imsi)


def by_network(table: Table, imsi: str | None) -> Iterator[Access]:
    for home in homes(imsi):
        if home in table:
            yield from table[home]
            return


def same(one: str | None, other: str | None) -> bool:
    """27.007 and the networks do not mind case, and add their own domain."""
    return GPRS_SUFFIX.sub("", (one or "").lower()) == GPRS_SUFFIX.sub("", (other or "").lower())
