"""What the antenna hears while somebody installs and turns it: the newest reading, and the best so far. Pure.

Whoever reads it (agent/modem/spotter.py) asks `is_watched` first: a modem is asked each second or two only while a
person may be looking.
"""

from dataclasses import replace

from agent.events import SignalTold
from agent.modem import signal_verdict
from agent.modem.signal_verdict import Levels
from agent.station import Station
from agent.wizard import flow
from agent.wizard.facts import Step

FRESH_S = 15.0  # an older reading is not what the antenna hears now
WATCHED_S = 900.0  # after the last key: whoever turns an antenna for longer presses one


def is_watched(station: Station, now: float) -> bool:
    """Whether the page with the signal is before somebody."""
    is_here = station.wizard.step is Step.NETWORK and flow.is_shown(station) and flow.is_let_in(station, now)
    return is_here and now < station.panel.touched_at + WATCHED_S


def heard(station: Station, event: SignalTold, now: float) -> Station:
    wizard = station.wizard
    levels = Levels(event.rssi_dbm, event.rsrp_dbm, event.rsrq_db, event.rscp_dbm, event.ecno_db)
    before = wizard.signal_best if now <= wizard.signal_at + WATCHED_S else None  # of another visit, or another antenna
    best = signal_verdict.best(before, levels)
    return replace(station, wizard=replace(wizard, signal=levels, signal_at=now, signal_best=best))


def reading(station: Station, now: float) -> Levels | None:
    """What it hears now; None: nobody has told."""
    return station.wizard.signal if now <= station.wizard.signal_at + FRESH_S else None
