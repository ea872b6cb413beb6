"""What the cloud is told of an installation: what was commissioned, whenever it is another than before, and at the end
the hand-over. Records like all others: the edges between two snapshots, journaled, sent when there is a network (I11).

They travel over a link on which the station proves itself with its certificate. The hand-over is signed by the station,
too (docs/uplink.md): years later its owner can prove what the installer handed over, whatever stood between.
"""

import hashlib
import json
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from agent import __version__, cellular
from agent.clock import iso8601, wall
from agent.effects import Commission, Effect, FindPlace, LoadZone, Record, Stream
from agent.reporting import TECH_INFO_MAX, VENDOR_ID, notify_event
from agent.station import Station
from agent.ui.words import ENGLISH
from agent.uplink.codec import to_cbor
from agent.wizard import coordinates, layer, steps
from agent.wizard.coordinates import Point
from agent.wizard.facts import Pinpoint, Step

STATION = {"name": "ChargingStation"}
TELLS = (Step.NETWORK, Step.CLOCK, Step.READINESS, Step.HAND_OVER)  # on the way into these steps the cloud is told
SIGNED = "signed"  # beside what it is about: COSE_Sign1 in base64, or null
Json = dict[str, Any]


def commissioning(station: Station) -> Json:
    """What the cloud has to know of this place: serial, ports, pinpoint, breaker and sharing."""
    settings = station.ceiling or station.settings
    return {
        "serial": settings.station_id,
        "mac": list(station.machine.macs),
        "ports": [port.evse_id for port in station.ports],
        "portLimitMa": settings.port_limit_ma,
        "breakerMa": station.wizard.breaker_ma,
        "circuitLimitMa": settings.circuit_limit_ma,
        "controllerLimitMa": layer.held_ma(station),
        "phases": settings.phases,
        "timeZone": settings.time_zone,
        "pinpoint": placed(station.wizard.pinpoint),
        "installer": station.wizard.installer,
        "company": station.wizard.company,
    }


def placed(point: Pinpoint | None) -> Json | None:
    """Coordinates as text: seven digits are a centimetre, and a float would carry more bytes than truth."""
    if point is None:
        return None
    return {
        "latitude": f"{point.latitude:.7f}",
        "longitude": f"{point.longitude:.7f}",
        "accuracyM": None if point.accuracy_m is None else round(point.accuracy_m),
        "method": point.method,
        "at": None if point.at_s is None else iso8601(point.at_s),
        "who": point.who,
    }


def report(station: Station, now: float) -> Json:
    """All that the activation call asks for."""
    machine = station.machine
    return commissioning(station) | {
        "modemType": machine.modem_type,
        "imei": machine.imei,
        "iccid": machine.iccid,
        "signalDbm": cellular.signal_dbm(station.modem),
        "gateway": machine.gateway,
        "link": station.link,
        "software": machine.firmware_version or __version__,
        "openItems": [row.step for row in steps.open_items(station, now)],
        "doubts": [ENGLISH(doubt.text, **doubt.facts) for doubt in station.wizard.doubts],
        "testCharge": station.wizard.charged,
    }


def digest(station: Station) -> str:
    text = json.dumps(commissioning(station), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# -- edges ------------------------------------------------------------------------------------------------------------


def followed(before: Station, station: Station, now: float) -> tuple[Station, tuple[Effect, ...]]:
    """What a step of the core means for the cloud and the controller."""
    effects: list[Effect] = []
    old, new = before.wizard, station.wizard
    has_other_zone = station.settings.time_zone != before.settings.time_zone
    if has_other_zone:
        effects.append(LoadZone(station.settings.time_zone))
    has_other_site = station.settings.site_point != before.settings.site_point or new.sister != old.sister
    if new.pinpoint and (has_other_zone or has_other_site or new.pinpoint is not old.pinpoint):
        effects.append(place_of(station, new.pinpoint))
    is_confirmed = new.commissions != old.commissions
    if is_confirmed:
        effects.append(confirmation(before, station, now))
    if is_confirmed or (layer.is_owed(station) and not layer.is_owed(before)):
        effects.append(Commission(*layer.limits(station.ceiling or station.settings, len(station.ports))))
    if new is old:
        return station, tuple(effects)
    is_over = new.done.get(Step.HAND_OVER) is not old.done.get(Step.HAND_OVER)
    if (new.step is not old.step and new.step in TELLS) or is_over:
        station, told = commissioned(station, now)
        effects.extend(told)
    if is_over:
        effects.append(hand_over(station, now))
    return station, tuple(effects)


def place_of(station: Station, point: Pinpoint) -> FindPlace:
    zone = station.settings.time_zone
    site = coordinates.parse(station.settings.site_point)
    address = site if isinstance(site, Point) else None
    return FindPlace(
        point.latitude, point.longitude, zone if zone != "UTC" else "", station.wizard.sister, address
    )  # fmt: skip


def commissioned(station: Station, now: float) -> tuple[Station, tuple[Record, ...]]:
    """Told again when it has changed."""
    now_is = digest(station)
    if station.wizard.told == now_is:
        return station, ()
    station = replace(station, wizard=replace(station.wizard, told=now_is, is_heard=False))
    custom = {"vendorId": VENDOR_ID, **commissioning(station)}
    return station, (notify_event(station, Stream.STATUS, now, STATION, "Commissioning", now_is, customData=custom),)


def confirmation(before: Station, station: Station, now: float) -> Record:
    """Electrical limits, old and new, and who: confirmed with a key at the panel."""
    draft, wizard = before.wizard.draft, station.wizard
    changed = [f"{key} {old} -> {new}" for key, old, new in layer.changes(before)]
    who = ", ".join(filter(None, (wizard.installer, wizard.company))) or "nobody has given a name"
    how = "entered by phone, " if draft and draft.by_phone else ""
    told = f"{'; '.join(changed) or 'as before'}; {how}confirmed at the panel: {who}"[:TECH_INFO_MAX]
    limit = str((station.ceiling or station.settings).circuit_limit_ma)
    return notify_event(station, Stream.STATUS, now, STATION, "CircuitLimit", limit, techInfo=told)


def hand_over(station: Station, now: float) -> Record:
    at_s = wall(station.clock, now)
    told = {"handedOverAt": None if at_s is None else iso8601(at_s), **report(station, now)}
    items: Iterator[str] = (row.title for row in steps.open_items(station, now))
    open_ = ", ".join(items) or "none"
    record = notify_event(
        station, Stream.STATUS, now, STATION, "HandOver", "handed over", techInfo=f"open items: {open_}",
        customData={"vendorId": VENDOR_ID, **told, SIGNED: None},
    )  # fmt: skip
    return replace(record, seal=to_cbor(json.loads(json.dumps(told))))


def sealed(record: Record, envelope: bytes | None) -> Record:
    """With the station's signature; None: it has no key that can sign, and the record says so."""
    signed = None if envelope is None else b64encode(envelope).decode()
    (event,) = record.payload["eventData"]
    event = {**event, "customData": {**event["customData"], SIGNED: signed}}
    return replace(record, payload={**record.payload, "eventData": [event]}, seal=b"")
