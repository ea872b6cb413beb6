"""Time: +CCLK (27.007 8.15), +QLTS and +QNITZ (Quectel), ^NWTIME (Huawei), *PSUTTZ (SIMCom), #NITZ (Telit), +CTZV and
+CTZE (27.007 8.41).

`iso8601` carries the zone that was told, and none where none was: such a time is not known to be UTC. A modem that has
not heard the network's time tells its own beginning (1980, 1970, 2004): the date is told as it is.
"""

import re
from datetime import datetime, timedelta, timezone

from agent.modem.fields import Fields, at, number, plain, split

STAMP = re.compile(
    r" *+([0-9]{2}|[0-9]{4})[/-]([0-9]{1,2})[/-]([0-9]{1,2})(?: *+,| ++|T) *+"
    r"([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?:\.[0-9]++)? *+"
    r"(?:,? *+([+-] {0,2}[0-9]{1,3}))? *+(?:, *+([0-9]{1,2}))? *+"
)
QUARTER = timedelta(minutes=15)
QUARTERS_MAX = 14 * 4  # UTC+14:00 is the farthest there is
DST_MAX = 2  # hours, 27.007 8.41
CENTURY_FROM = 70  # of two digits: 70..99 are of the last century (GPS began in 1980), the others of this one


def zone(quarters: int | None) -> timezone | None:
    if quarters is None or abs(quarters) > QUARTERS_MAX:
        return None
    return timezone(quarters * QUARTER)


def stamp(parts: tuple[int, ...], quarters: int | None) -> str | None:
    """ISO 8601 of year (two or four digits), month, day, hour, minute, second; None if there is no such time."""
    year, month, day, hour, minute, second = parts
    if year < 100:
        year += 1900 if year >= CENTURY_FROM else 2000
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=zone(quarters)).isoformat()
    except ValueError:
        return None


def clock(body: str) -> Fields:
    """<yy/MM/dd,hh:mm:ss±zz>[,<dst>] with two or four digits of year; zz counts quarters of an hour."""
    found = STAMP.fullmatch(body.replace('"', ""))  # some quote the parts, or forget one
    if not found:
        return {"iso8601": None}
    quarters = int(found[7].replace(" ", "")) if found[7] else None
    told: Fields = {"iso8601": stamp(tuple(map(int, found.group(1, 2, 3, 4, 5, 6))), quarters)}
    return told | ({"dst": int(found[8])} if found[8] and int(found[8]) <= DST_MAX else {})


AS_UTC = re.compile(r"\+QLTS=1\b")


def network_time(body: str, command: str) -> Fields:
    """+QLTS. AT+QLTS=1 tells UTC and the zone beside it: then the zone says nothing of the hours."""
    told = clock(body)
    stamped = told["iso8601"]
    if not isinstance(stamped, str) or not AS_UTC.search(command.upper().replace(" ", "")):
        return told
    return told | {"iso8601": f"{stamped[:19]}+00:00"}


def psuttz(body: str) -> Fields:
    """*PSUTTZ: <year>,<month>,<day>,<hour>,<minute>,<second>,"<zone>",<dst>, or date and time as in +CCLK; in UTC."""
    fields = split(body)
    parts = [number(field) for field in fields[:6]]
    if len(parts) == 6 and None not in parts:
        told, zone_at = stamp(tuple(part or 0 for part in parts), 0), 6
    else:
        found = DATED.search(body)
        told, zone_at = dated(found[0], 0) if found else None, 2
    return {"iso8601": told, "zone_min": minutes(at(fields, zone_at))}


DATED = re.compile(r"[0-9]{2,4}/[0-9]{1,2}/[0-9]{1,2},[0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}")


def dated(said: str, quarters: int | None) -> str | None:
    """What DATED finds."""
    return stamp(tuple(int(part) for part in re.findall("[0-9]+", said)), quarters)


def minutes(field: str) -> int | None:
    quarters = number(plain(field).strip())
    return quarters * 15 if quarters is not None and abs(quarters) <= QUARTERS_MAX else None


def universal(body: str) -> Fields:
    """+CTZEU: <zone>,<dst>[,<time>], the time in UTC."""
    found = DATED.search(body)
    return {"iso8601": dated(found[0], 0) if found else None, "zone_min": minutes(split(body)[0])}


def zone_change(body: str) -> Fields:
    """+CTZV: <zone>[,<time>], +CTZE: <zone>,<dst>,<time>; some write them as +CCLK does."""
    told = clock(body)
    if isinstance(whole := told["iso8601"], str):
        offset = datetime.fromisoformat(whole).utcoffset()
        return told | {"zone_min": None if offset is None else int(offset.total_seconds() // 60)}
    fields = split(body)
    quarters = number(plain(fields[0]).strip()) if fields[0] else None
    found = DATED.search(body)
    return {"iso8601": dated(found[0], quarters) if found else None, "zone_min": minutes(fields[0])}
