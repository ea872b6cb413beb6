"""An update that the cloud has ordered (OCPP L01): when it may download and install, and what the cloud hears of it.

The updater, a process of its own, brings the build, checks it, writes it and says how far it is. Here is decided what
it may do now, in the site's own time; nobody is in a session when it installs, unless the order says why; and of its
progress the cloud hears each status once, in OCPP's order, and only what is so.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import inf
from typing import Any, get_type_hints

import msgspec

from agent import life, reporting
from agent.clock import earliest, wall
from agent.commands import station as commands
from agent.effects import Effect, Ordered, Record, UpdaterWish
from agent.events import Progress, UpdaterLost, UpdaterTold
from agent.policy.reasons import Reason
from agent.port import Bar, Level
from agent.station import BootReason, FirmwareStatus, ResetType, Station, Update, is_low_data
from agent.taps import Step, with_port

S = FirmwareStatus
DAY_S = 86_400.0
SOON_S = 60.0  # a cloud that says "now" by a clock of its own need not hear that it is scheduled
GIVE_UP_S = 30 * DAY_S  # after an order came, may begin, or install: by then somebody should look
INSTALL_S = 600.0  # for the updater to say that the next start is the new build's
LATE_S = 0.001  # after an instant, so that it has surely come: floats are not exact

FINAL = frozenset(
    {S.INSTALLED, S.DOWNLOAD_FAILED, S.INVALID_SIGNATURE, S.INSTALL_VERIFICATION_FAILED, S.INSTALLATION_FAILED}
)
WAY = (S.DOWNLOADING, S.DOWNLOADED, S.SIGNATURE_VERIFIED, S.INSTALLING, S.INSTALL_REBOOTING)  # nobody gets past these
RANK: dict[FirmwareStatus | None, int] = {
    None: 0, S.DOWNLOAD_SCHEDULED: 1, S.DOWNLOADING: 2, S.DOWNLOAD_PAUSED: 2, S.DOWNLOADED: 3, S.SIGNATURE_VERIFIED: 4,
    S.INSTALL_SCHEDULED: 5, S.INSTALLING: 6, S.INSTALL_REBOOTING: 7, **dict.fromkeys(FINAL, 8),
}  # fmt: skip
assert RANK.keys() == {None, *S} - {S.IDLE}


# -- what follows from the facts --------------------------------------------------------------------------------------


def is_over(update: Update) -> bool:
    return update.told in FINAL


def open_update(station: Station) -> Update | None:
    """The one that has not come to an end."""
    return station.update if station.update and not is_over(station.update) else None


def progress(station: Station, update: Update) -> Progress | None:
    """None: the updater has not said a word about this order."""
    told = station.updater
    return told.progress if told and told.order == update.order else None


def is_installing(station: Station) -> bool:
    """Too far to be called off."""
    update = open_update(station)
    if update is None:
        return False
    return update.ready_at is not None or progress(station, update) in (Progress.ACTIVATED, Progress.TRIAL)


def has_come(station: Station, at_s: float, now: float) -> bool:
    """Surely; while the time is unknown, by the floor."""
    return earliest(station.clock, now) >= at_s


def may_download(station: Station, update: Update, now: float) -> bool:
    is_due = has_come(station, update.retrieve_s - SOON_S, now) and is_in_window(station, update, now)
    is_paid = update.budget_b is not None or not is_low_data(station)  # who names a budget has thought of the cost
    return is_due and is_paid and life.row(station).download


def may_install(station: Station, update: Update, now: float) -> bool:
    return (update.install_s is None or has_come(station, update.install_s, now)) and life.row(station).install


def is_in_window(station: Station, update: Update, now: float) -> bool:
    """By the site's clock; while the time is unknown a window is shut. A fleet that has waited for it does not come all
    at once: it opens for each station at its own place."""
    now_s = wall(station.clock, now)
    if update.window is None:
        return True
    if now_s is None:
        return False
    local, (first, _) = datetime.fromtimestamp(now_s, station.zone), update.window
    since_s = (local.hour * 3_600 + local.minute * 60 + local.second - first * 60) % DAY_S
    return late_s(update, update.window) <= since_s < length_s(update.window)


def length_s(window: tuple[int, int]) -> float:
    return (window[1] - window[0]) * 60 % DAY_S


def late_s(update: Update, window: tuple[int, int]) -> float:
    """After its first minute, in whole seconds; half of the window is left to everybody."""
    return update.place_s // 1 % (length_s(window) / 2)


def is_free(station: Station) -> bool:
    """Nobody charges, or is about to."""
    return not any(port.transaction or port.grant for port in station.ports)


# -- one step ---------------------------------------------------------------------------------------------------------


def heard(station: Station, event: UpdaterTold | UpdaterLost) -> Station:
    """An updater that was away is told everything anew."""
    if isinstance(event, UpdaterLost):
        return replace(station, updater=None, told_updater=None)
    return replace(station, updater=event)


def followed(station: Station, now: float) -> Step:
    """What has become due, and what the updater's word means."""
    if not station.machine.can_update:
        return station, ()
    station = ports_followed(dated(station, now), now)
    station, records = told(station, now)
    station, restarted = restarting(station, now)
    station = with_due(station, now)
    wish = wish_of(station, now)
    effects: tuple[Effect, ...] = (*records, *restarted)
    if station.updater is None or wish == station.told_updater:
        return station, effects
    return replace(station, told_updater=wish), (*effects, wish)


def dated(station: Station, now: float) -> Station:
    """As soon as somebody knows the time: the order's own dates may be years ago, and the floor's months."""
    update, now_s = open_update(station), wall(station.clock, now)
    if update is None or update.ordered_s is not None or now_s is None:
        return station
    return replace(station, update=replace(update, ordered_s=now_s))


def wish_of(station: Station, now: float) -> UpdaterWish:
    update = open_update(station)
    if update is None:
        return UpdaterWish(restarted=station.restarted)
    may = may_download(station, update, now), update.ready_at is not None
    return UpdaterWish(ordered(update), *may, station.restarted)


def ordered(update: Update) -> Ordered:
    return Ordered(update.order, update.url, update.retries, update.retry_interval_s, update.budget_b)


def ports_followed(station: Station, now: float) -> Station:
    """L01: while an update waits for the last session, ports that are free are Unavailable, unless the cloud has set
    AllowNewSessionsPendingFirmwareUpdate."""
    update = open_update(station)
    far = progress(station, update) if update else None
    is_wanted = far is Progress.ACTIVATED or (
        far is Progress.STAGED and update is not None and may_install(station, update, now)
    )
    if update is None or not is_wanted:
        return reopened(station)
    if update.shut_at is None and (is_free(station) or update.override or not station.settings.sessions_before_update):
        station = shut(station, update, now)
        update = station.update
    assert update
    if update.shut_at is None or update.ready_at is not None:
        return station
    is_ready = is_free(station) or (update.override and now >= update.shut_at + commands.RESET_WAIT_S)
    return replace(station, update=replace(update, ready_at=now)) if is_ready else station


def shut(station: Station, update: Update, now: float) -> Station:
    station = commands.shut(station, Level.UPDATE)
    if update.override:
        station = commands.all_ending(station, now)
    return replace(station, update=replace(update, shut_at=now), bar=station.bar or Bar(Reason.UPDATING))


def reopened(station: Station) -> Station:
    """It does not install after all: the cloud has called it off, or the updater is gone."""
    update = station.update
    if update is None or update.shut_at is None:
        return station
    for port in station.ports:
        port = replace(port, off=port.off - {Level.UPDATE}, off_next=port.off_next - {Level.UPDATE})
        station = with_port(station, port)
    bar = None if station.bar and station.bar.reason is Reason.UPDATING else station.bar
    return replace(station, update=replace(update, shut_at=None, ready_at=None), bar=bar)


def restarting(station: Station, now: float) -> Step:
    """The new build begins with the next run; and the updater may ask for one by itself: an engineer has flashed, or a
    trial has failed."""
    update, said = open_update(station), station.updater
    if update and update.ready_at is not None and progress(station, update) is Progress.ACTIVATED:
        over = f", over sessions: {update.override}" if update.override else ""
        return resetting(station, ResetType.RESUME, f"update {update.request_id}{over}", now), ()
    if said is None or not said.restart_id or said.restart_id == station.restarted:
        return station, ()
    kind = RESTARTS.get(said.restart, ResetType.ON_IDLE)
    return replace(resetting(station, kind, f"the updater: {said.restart_why}", now), restarted=said.restart_id), ()


RESTARTS = {"idle": ResetType.ON_IDLE, "now": ResetType.IMMEDIATE, "resume": ResetType.RESUME}


def resetting(station: Station, kind: ResetType, by: str, now: float) -> Station:
    station = commands.resetting(station, kind, now, by)
    assert station.reset
    reset = station.reset if station.reset.going else replace(station.reset, boot_reason=BootReason.FIRMWARE_UPDATE)
    return replace(station, reset=reset, bar=station.bar or Bar(Reason.UPDATING))


# -- what the cloud is told -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Standing:
    status: FirmwareStatus | None  # None: nothing to say
    code: str = ""
    why: str = ""


def standing(station: Station, update: Update, now: float) -> Standing:
    """OCPP's word for how it is now."""
    match progress(station, update):
        case Progress.CONFIRMED:
            return Standing(S.INSTALLED)
        case Progress.ACTIVATED | Progress.TRIAL:
            return Standing(S.INSTALL_REBOOTING)
        case Progress.FAILED | Progress.ROLLED_BACK as end:
            assert station.updater
            code = station.updater.code
            return Standing(failure(update, end, code), code, station.updater.why)
        case Progress.STAGED if update.ready_at is not None and now >= update.ready_at + INSTALL_S:
            return Standing(S.INSTALLATION_FAILED, "internal", f"the updater has not switched within {INSTALL_S:g} s")
        case far if update.ordered_s is not None and has_come(station, given_up_s(update), now):
            is_here = far is Progress.STAGED or RANK[update.told] >= RANK[S.DOWNLOADED]
            status = S.INSTALLATION_FAILED if is_here else S.DOWNLOAD_FAILED
            return Standing(status, "interrupted", f"not done within {GIVE_UP_S / DAY_S:g} days: order it again")
        case Progress.STAGED:
            return Standing(S.INSTALLING if update.ready_at is not None else S.INSTALL_SCHEDULED)
        case Progress.DOWNLOADING:
            return Standing(S.DOWNLOADING if may_download(station, update, now) else S.DOWNLOAD_PAUSED)
    return Standing(None if may_download(station, update, now) else S.DOWNLOAD_SCHEDULED)


def given_up_s(update: Update) -> float:
    return max(update.ordered_s or 0.0, update.retrieve_s, update.install_s or 0.0) + GIVE_UP_S


UNSIGNED = ("signature", "key", "role")
UNFIT = ("format", "platform", "board", "wrong-device", "contract", "downgrade", "verify")


def failure(update: Update, end: Progress, code: str) -> FirmwareStatus:
    """A build that was never begun, for what it is or for how it reads back, has failed its verification; one that ran
    and was taken back, its installation."""
    if end is Progress.ROLLED_BACK:
        return S.INSTALL_VERIFICATION_FAILED if code in ("hash", "verify") else S.INSTALLATION_FAILED
    if RANK[update.told] >= RANK[S.INSTALL_SCHEDULED]:
        return S.INSTALL_VERIFICATION_FAILED if code in ("hash", "verify") else S.INSTALLATION_FAILED
    if code in UNSIGNED:
        return S.INVALID_SIGNATURE
    return S.INSTALL_VERIFICATION_FAILED if code in UNFIT else S.DOWNLOAD_FAILED


def steps(told: FirmwareStatus | None, to: FirmwareStatus | None, *, has_run: bool) -> Iterator[FirmwareStatus]:
    """What the cloud hears from one status, not a final one, to another: what must have happened between, each once,
    never backwards.
    `has_run`: a failure after the new build ran."""
    if to is None or to is told or RANK[to] < RANK[told]:
        return
    reached = RANK[to] if to not in FINAL or to is S.INSTALLED or has_run else RANK[S.DOWNLOADED]
    if to is S.DOWNLOAD_FAILED or (to is S.INSTALLED and RANK[told] < RANK[S.DOWNLOADING]):  # it was there already
        reached = 0
    yield from (each for each in WAY if RANK[told] < RANK[each] < reached)
    yield to


def told(station: Station, now: float) -> tuple[Station, tuple[Record, ...]]:
    update = open_update(station)
    if update is None:
        return station, ()
    at = standing(station, update, now)
    has_run = progress(station, update) is Progress.ROLLED_BACK
    records: list[Record] = []
    for status in steps(update.told, at.status, has_run=has_run):
        update = replace(update, told=status)
        if status in FINAL:
            update = replace(update, code=at.code, why=at.why)
        station = replace(station, update=update)
        records.append(reporting.firmware_record(station, now))
        if event := SECURITY_EVENTS.get(status):
            said = at.why or f"update {update.request_id}: {station.updater.version if station.updater else ''}"
            records.append(reporting.security_event(station, event, said, now))
    return (reopened(station) if is_over(update) else station), tuple(records)


SECURITY_EVENTS = {S.INSTALLED: "FirmwareUpdated", S.INVALID_SIGNATURE: "InvalidFirmwareSignature"}  # OCPP 2.1


# -- time -------------------------------------------------------------------------------------------------------------


def with_due(station: Station, now: float) -> Station:
    update = open_update(station)
    due = min((at for at in instants(station, update, now) if at > now + LATE_S / 2), default=inf) if update else inf
    return station if due == station.update_due else replace(station, update_due=due)


def instants(station: Station, update: Update, now: float) -> Iterator[float]:
    """When time alone may change something, monotonic; what is past is harmless."""
    now_s = earliest(station.clock, now)
    yield now + update.retrieve_s - SOON_S - now_s + LATE_S
    yield now + given_up_s(update) - now_s + LATE_S
    if update.install_s is not None:
        yield now + update.install_s - now_s + LATE_S
    if update.window is not None and wall(station.clock, now) is not None:
        yield from (now + at_s - now_s + LATE_S for at_s in edges(station, update, update.window, now_s))
    if update.shut_at is not None:
        yield update.shut_at + commands.RESET_WAIT_S
    if update.ready_at is not None:
        yield update.ready_at + INSTALL_S


def edges(station: Station, update: Update, window: tuple[int, int], now_s: float) -> Iterator[float]:
    """When the window opens for this station, and shuts, around now. Where the clocks change, one may be an hour off:
    the window itself is looked at with every step, at least every ten minutes."""
    today = datetime.fromtimestamp(now_s, station.zone).replace(hour=0, minute=0, second=0, microsecond=0)
    for day in (-1, 0, 1):
        for minute, more_s in zip(window, (late_s(update, window), 0.0), strict=True):
            at = today.replace(hour=minute // 60, minute=minute % 60) + timedelta(days=day)
            yield at.timestamp() + more_s


# -- what survives ----------------------------------------------------------------------------------------------------

VOLATILE = {"shut_at", "ready_at"}


def saved(update: Update | None) -> dict[str, Any] | None:
    if update is None:
        return None
    return {name: getattr(update, name) for name in update.__slots__ if name not in VOLATILE}


def restored(fact: Any) -> Update | None:
    """As it was saved; members that this software does not know are left out, and one that cannot be read is none."""
    if not isinstance(fact, Mapping):
        return None
    known = {name: fact[name] for name in SAVED if name in fact}
    try:
        return Update(**{name: msgspec.convert(value, SAVED[name]) for name, value in known.items()})
    except (msgspec.ValidationError, TypeError):
        return None


SAVED = {name: form for name, form in get_type_hints(Update).items() if name not in VOLATILE}
