"""Debian's mobile-broadband-provider-info: access points of the world's operators, as a table by network.

Its XML (serviceproviders.dtd 2.0) has countries, providers, and of each GSM provider its network ids and access points.
Those for the internet are taken. A file that is not there, or is no such XML, gives an empty table.
"""

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from agent.modem.apn import Access, Table

PROVIDERS = Path("/usr/share/mobile-broadband-provider-info/serviceproviders.xml")
APN_MAX = 100  # characters: 23.003 9.1


def providers(path: Path = PROVIDERS) -> Table:
    """Takes a tenth of a second on small boards: ask once, not on the loop. The whole file as a tree would stay in the
    process for good, with 5 MB: each country is forgotten when it has been read.
    """
    table: dict[str, tuple[Access, ...]] = {}
    try:
        for _, element in ElementTree.iterparse(path):
            if element.tag == "gsm":
                found = [access for apn in element.findall("apn") if (access := access_of(apn))]
                for key in networks_of(element):
                    table[key] = tuple(dict.fromkeys((*table.get(key, ()), *found)))
            if element.tag in ("gsm", "country"):
                element.clear()
    except (OSError, ElementTree.ParseError, UnicodeDecodeError, ValueError):
        return {}
    return {key: found for key, found in table.items() if found}


def networks_of(gsm: ElementTree.Element) -> Iterator[str]:
    """MCC and MNC of each network of a provider."""
    for network in gsm.findall("network-id"):
        key = network.get("mcc", "") + network.get("mnc", "")
        if key.isdigit() and len(key) in (5, 6):
            yield key


def access_of(apn: ElementTree.Element) -> Access | None:
    """None: it is for messages or telephones' own portals, or can be none."""
    usages = {usage.get("type") for usage in apn.findall("usage")}
    value = apn.get("value", "")
    if (usages and "internet" not in usages) or not 0 < len(value) <= APN_MAX or not value.isascii():
        return None
    return Access(value, (apn.findtext("username") or "").strip(), (apn.findtext("password") or "").strip())
