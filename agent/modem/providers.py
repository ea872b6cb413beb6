"""Debian's mobile-broadband-provider-info: access points of the world's operators, as a table by network.

Its XML (serviceproviders.dtd 2.0) has countries, providers, and of each GSM provider its network ids and access points.
Those for the internet are taken. A file that is not there, or is no such XML, gives an empty table.
"""

from pathlib import Path
from xml.etree import ElementTree

from agent.modem.apn import Access, Table

PROVIDERS = Path("/usr/share/mobile-broadband-provider-info/serviceproviders.xml")
APN_MAX = 100  # characters: 23.003 9.1


def providers(path: Path = PROVIDERS) -> Table:
    """Takes a tenth of a second on small boards: ask once, not on the loop."""
    try:
        tree = ElementTree.parse(path)
    except (OSError, ElementTree.ParseError, UnicodeDecodeError, ValueError):
        return {}
    table: dict[str, list[Access]] = {}
    for gsm in tree.iter("gsm"):
        found = [access for apn in gsm.findall("apn") if (access := access_of(apn))]
        for network in gsm.findall("network-id"):
            key = network.get("mcc", "") + network.get("mnc", "")
            if key.isdigit() and len(key) in (5, 6):
                table.setdefault(key, []).extend(each for each in found if each not in table.get(key, []))
    return {key: tuple(found) for key, found in table.items() if found}


def access_of(apn: ElementTree.Element) -> Access | None:
    """None: it is for messages or telephones' own portals, or can be none."""
    usages = {usage.get("type") for usage in apn.findall("usage")}
    value = apn.get("value", "")
    if (usages and "internet" not in usages) or not 0 < len(value) <= APN_MAX or not value.isascii():
        return None
    return Access(value, (apn.findtext("username") or "").strip(), (apn.findtext("password") or "").strip())
