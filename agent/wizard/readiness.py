"""Whether the station is ready to be activated (I3), item by item, each with its evidence and its fix. Pure.

The wizard shows it, the activation asks for it (I12). An item that may wait keeps nobody from handing over: it is
listed as open, and the station is not ready until it is met.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from agent import life, selftest
from agent.clock import wall
from agent.events import Link
from agent.panel import ANIMATED
from agent.policy.lifecycle import State
from agent.selftest import Result
from agent.station import Station
from agent.ui.situation import is_fit
from agent.wizard.facts import Sentence
from agent.wizard.layer import commissioned, held_ma

ACCURACY_MAX_M = 200.0  # the right car park: more than three decimals
NOTHING = Sentence("")


@dataclass(frozen=True, slots=True)
class Item:
    name: str  # a plain word for the record; of a port with its number behind it
    title: Sentence
    is_met: bool
    evidence: Sentence
    fix: Sentence = NOTHING  # what to do, while it is not met
    may_wait: bool = False


def is_ready(station: Station) -> bool:
    """Whether the station may be activated."""
    return all(item.is_met for item in items(station, station.boot.at))


def why_not(station: Station, now: float) -> str:
    """What is still open, and what to do; "" if the station may be activated (I3)."""
    open_ = [item for item in items(station, now) if not item.is_met]
    if not open_:
        return ""
    first, names = open_[0], ", ".join(item.name for item in open_)
    evidence, fix = (sentence.text.format(**sentence.facts) for sentence in (first.evidence, first.fix))
    return f"not ready ({names}): {evidence} {fix}".strip()


def state(station: Station) -> State:
    """Where the station is in its life."""
    found = life.state_of(station)
    return State.READY if found is State.INSTALLED and is_ready(station) else found


def items(station: Station, now: float) -> Iterator[Item]:
    yield identity(station)
    yield video(station, now)
    yield from ports(station)
    yield from messages(station, now)
    yield circuit(station)
    yield pinpoint(station)
    yield cloud(station)


def identity(station: Station) -> Item:
    title = Sentence("Identity")
    if life.is_provisioned(station):
        return Item("identity", title, True, Sentence("{serial}", {"serial": station.settings.station_id}))
    fix = Sentence("Give the station its identity: tools/flash.py provision, then start it again.")
    return Item("identity", title, False, Sentence("The station has no certificate yet."), fix)


def video(station: Station, now: float) -> Item:
    """Not that it should play, but that the display has counted its frames. A board without a browser plays none: what
    counts there is that the process that draws has had all its steps on the start page."""
    panel, title = station.panel, Sentence("Charging video")
    if panel.problem:
        fix = Sentence("Switch the breaker off for two minutes. If it stays so, replace the video or the display.")
        return Item("video", title, False, Sentence(panel.problem), fix)
    if panel.video:
        return Item("video", title, True, Sentence("Its frames are being drawn now."))
    if panel.video_at is not None:
        ago = {"n": int(max(0.0, now - panel.video_at) // 60)}
        return Item("video", title, True, Sentence("Its frames were drawn {n} min ago.", ago))
    if panel.has_steps:
        return Item("video", title, True, Sentence(ANIMATED))
    if panel.drawn is None:
        fix = Sentence("Check the display's cable and power.")
        return Item("video", title, False, Sentence("No display has answered yet."), fix)
    fix = Sentence("Press Show and look at the start page until the video plays.")
    return Item("video", title, False, Sentence("The video has not been seen playing yet."), fix)


def ports(station: Station) -> Iterator[Item]:
    for port in station.ports:
        name, title = f"port {port.evse_id}", Sentence("Port {n}", {"n": port.evse_id})
        if is_fit(port):
            yield Item(name, title, True, Sentence("Self-test passed, no fault, in service."))
        else:
            fix = Sentence("The self-test names the part and its fix.")
            yield Item(name, title, False, Sentence("No green check mark."), fix)


def messages(station: Station, now: float) -> Iterator[Item]:
    """No message, and so no error light: both follow from the same."""
    failed = [part for part in selftest.results(station, now) if part.result is Result.FAILED]
    if not failed:
        yield Item("messages", Sentence("Messages"), True, Sentence("None."))
        yield Item("error LED", Sentence("Error light"), True, Sentence("Off."))
        return
    part = failed[0]
    text, fix = Sentence(part.text or part.part), Sentence(part.fix)
    yield Item("messages", Sentence("Messages"), False, text, fix)
    yield Item("error LED", Sentence("Error light"), False, Sentence("On."), Sentence("It goes out with the messages."))


def circuit(station: Station) -> Item:
    title, limit_ma = Sentence("Circuit"), commissioned(station, "circuit_limit_ma")
    confirm = Sentence("Confirm the circuit at the station's display.")
    if "circuit_limit_ma" not in station.wizard.settings or not station.wizard.breaker_ma:
        return Item("circuit", title, False, Sentence("Nobody has confirmed breaker and limit yet."), confirm)
    if station.controller is None:
        fix = Sentence("Wait until the port controller answers.")
        return Item("circuit", title, False, Sentence("The port controller has not answered."), fix)
    amperes = {"limit": limit_ma // 1000, "held": held_ma(station) // 1000}
    if held_ma(station) != limit_ma and station.wizard.owed:
        text = Sentence("{limit} A are confirmed, but the port controller still holds {held} A.", amperes)
        fix = Sentence("Unplug every car: the port controller is told as soon as it answers.")
        return Item("circuit", title, False, text, fix)
    if held_ma(station) != limit_ma:
        text = Sentence("The port controller holds {held} A, not {limit} A.", amperes)
        return Item("circuit", title, False, text, confirm)
    return Item("circuit", title, True, Sentence("{limit} A, stored in the port controller.", amperes))


def pinpoint(station: Station) -> Item:
    title, point = Sentence("Pinpoint"), station.wizard.pinpoint
    if point is None:
        fix = Sentence("Enter the coordinates: a station without them cannot be activated.")
        return Item("pinpoint", title, False, Sentence("The place is not known."), fix, may_wait=True)
    if point.accuracy_m is not None and point.accuracy_m > ACCURACY_MAX_M:
        facts = {"n": round(point.accuracy_m)}
        text, fix = Sentence("Known to {n} m only.", facts), Sentence("Enter the coordinates with five decimals.")
        return Item("pinpoint", title, False, text, fix, may_wait=True)
    at = {"latitude": f"{point.latitude:.6f}", "longitude": f"{point.longitude:.6f}"}
    return Item("pinpoint", title, True, Sentence("{latitude}, {longitude}", at), may_wait=True)


def cloud(station: Station) -> Item:
    """A record, acknowledged end to end: not that some broker was reached."""
    title = Sentence("Cloud")
    if station.wizard.told and station.wizard.is_heard:
        return Item("cloud", title, True, Sentence("It has received serial, ports and pinpoint."), may_wait=True)
    text = {
        Link.UP: "Connected. It has not acknowledged this station's report yet.",
        Link.DOUBT: "Connected, but answers are missing.",
        Link.DOWN: "Not connected.",
    }[station.link]
    fix = Sentence("Check antenna, SIM or network cable. The report is kept and sent later.")
    return Item("cloud", title, False, Sentence(text), fix, may_wait=True)


def is_clock_known(station: Station, now: float) -> bool:
    return wall(station.clock, now) is not None
