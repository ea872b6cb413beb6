"""When a station gets a new certificate, tries it, keeps it or goes back: facts and events in, facts and actions out.

    current   the pair that works
    request   a key without certificate; the cloud is asked for one (OCPP A02), or the EST server if we are shut out
    trial     the certified pair that no cloud has acknowledged yet; current is kept until one has

    current --2/3 of life--> request --CertificateSigned--> trial --first acknowledgement under it--> current
                                                            trial --refused 3 times--> current, as if nothing had been

What agent/identity.py holds in files survives a power cut; the rest of the facts may be forgotten at any time.
"""

from msgspec import Struct, structs

RENEW_AT = 2 / 3  # of a certificate's life
SIGN_WAIT_S, SIGN_WAIT_MAX_S = 60.0, 86_400.0  # OCPP CertSigningWaitMinimum; doubled, and never given up
REFUSALS_MAX = 3  # in a row
SWITCH_S = 60.0  # a connection that stands may stay so long, then the new pair is tried
AGAIN_S = 3_600.0  # between two renewals: after a pair that was refused, or one that comes from a CA already old
ENROL_S, ENROL_MAX_S = 60.0, 21_600.0  # between two tries at the EST server, doubled; the performer draws below it
RETRY_S = 60.0  # files that could not be written
NEVER = float("inf")


class Validity(Struct, frozen=True):
    """What matters of a pair: its name, and from when to when it is good."""

    name: str
    not_before_s: float
    not_after_s: float


class Facts(Struct, frozen=True):
    # on the disk
    current: Validity | None = None
    trial: Validity | None = None
    csr: str | None = None
    # of this run
    can_enrol: bool = False  # there is an EST server
    is_busy: bool = False  # an action that changes the files is being performed
    connection: int | None = None
    connected_with: str = ""  # the name of its pair
    is_up: bool = False  # the cloud itself has acknowledged on it
    refusals: int = 0  # in a row, of the pair in use
    switch_at: float = NEVER
    ask_at: float = 0.0
    asks: int = 0
    enrol_at: float = 0.0
    enrols: int = 0
    is_wanted: bool = False  # the cloud wants us to renew now
    retry_at: float = 0.0  # the files could not be written


# -- what happens ------------------------------------------------------------------------------------------------------


class Connected(Struct, frozen=True):
    connection: int
    pair: str


class Disconnected(Struct, frozen=True):
    """Or an attempt failed. `is_refusal`: the certificate may well be why."""

    pair: str
    is_refusal: bool = False


class Up(Struct, frozen=True):
    """The cloud has acknowledged."""


class FilesChanged(Struct, frozen=True):
    """What the folder holds now; `is_new`: there is another trial, or another current without one."""

    current: Validity | None
    trial: Validity | None
    csr: str | None
    is_new: bool = False


class FilesFailed(Struct, frozen=True):
    """The action that was being performed has changed nothing."""


class EnrolFailed(Struct, frozen=True):
    wait_s: float


class RenewalWanted(Struct, frozen=True):
    """OCPP TriggerMessage SignChargingStationCertificate."""


class Registered(Struct, frozen=True):
    """The cloud has accepted the station: before that, what was asked may not have gone out."""


class Tick(Struct, frozen=True):
    """Time has passed."""


Event = Connected | Disconnected | Up | FilesChanged | FilesFailed | EnrolFailed | RenewalWanted | Registered | Tick


# -- what to do --------------------------------------------------------------------------------------------------------


class MakeRequest(Struct, frozen=True):
    """Answered by FilesChanged."""


class Ask(Struct, frozen=True):
    """OCPP SignCertificate; CertificateSigned may follow, as FilesChanged."""

    csr: str


class Enrol(Struct, frozen=True):
    """Ask the EST server, with the current pair. Answered by FilesChanged or EnrolFailed."""

    csr: str
    tries: int  # before this one, in a row


class Use(Struct, frozen=True):
    """For connections to come."""

    is_trial: bool


class Reconnect(Struct, frozen=True):
    connection: int


class Promote(Struct, frozen=True):
    """The trial is the current pair, and the old one is gone. Answered by FilesChanged."""


class GoBack(Struct, frozen=True):
    """The trial is gone. Answered by FilesChanged."""


class Report(Struct, frozen=True):
    """OCPP SecurityEventNotification."""

    kind: str
    why: str


Action = MakeRequest | Ask | Enrol | Use | Reconnect | Promote | GoBack | Report


# -- decisions ---------------------------------------------------------------------------------------------------------


def renew_at_s(pair: Validity) -> float:
    """Wall time."""
    return pair.not_before_s + (pair.not_after_s - pair.not_before_s) * RENEW_AT


def is_due(facts: Facts, earliest_s: float) -> bool:
    """A new certificate is wanted, and none is being tried."""
    if facts.trial:
        return False
    return facts.current is None or facts.is_wanted or earliest_s >= renew_at_s(facts.current)


def is_shut_out(facts: Facts, earliest_s: float) -> bool:
    """The broker will not, or does not, take the current pair."""
    expired = facts.current is not None and earliest_s >= facts.current.not_after_s
    return not facts.is_up and facts.current is not None and (expired or facts.refusals >= REFUSALS_MAX)


def wants_request(facts: Facts, earliest_s: float) -> bool:
    return is_due(facts, earliest_s) or (facts.trial is None and facts.can_enrol and is_shut_out(facts, earliest_s))


def sign_wait_s(asks: int) -> float:
    return float(min(SIGN_WAIT_S * 2.0 ** min(asks, 20), SIGN_WAIT_MAX_S))


def enrol_wait_max_s(tries: int) -> float:
    return float(min(ENROL_S * 2.0 ** min(tries, 20), ENROL_MAX_S))


def handle(facts: Facts, event: Event, now: float, earliest_s: float) -> tuple[Facts, tuple[Action, ...]]:
    """`now`: monotonic seconds; `earliest_s`: a wall time surely not after the true one."""
    absorbed, said = absorb(facts, event, now)
    settled, asked = settle(absorbed, now, earliest_s)
    return settled, (*said, *asked)


def absorb(facts: Facts, event: Event, now: float) -> tuple[Facts, tuple[Action, ...]]:
    match event:
        case Connected(connection=connection, pair=pair):
            is_old = facts.trial is not None and pair != facts.trial.name
            return structs.replace(
                facts, connection=connection, connected_with=pair,
                switch_at=now + SWITCH_S if is_old else NEVER,
            ), ()  # fmt: skip
        case Up():
            return structs.replace(facts, is_up=True, refusals=0), ()
        case Disconnected(pair=pair, is_refusal=is_refusal):
            in_use = facts.trial or facts.current
            is_ours = in_use is not None and pair == in_use.name  # not of a connection from before the pair was changed
            return structs.replace(
                facts, connection=None, connected_with="", is_up=False, switch_at=NEVER,
                refusals=facts.refusals + (is_ours and is_refusal),
            ), ()  # fmt: skip
        case FilesChanged(current=current, trial=trial, csr=csr, is_new=is_new):
            facts = structs.replace(facts, current=current, trial=trial, csr=csr, is_busy=False)
            if not is_new:
                return facts, ()
            switch_at = now + SWITCH_S if facts.connection is not None else NEVER
            facts = structs.replace(facts, refusals=0, switch_at=switch_at, enrols=0, is_wanted=False)
            return facts, (Use(is_trial=trial is not None),)
        case FilesFailed():
            return structs.replace(facts, is_busy=False, retry_at=now + RETRY_S), ()
        case EnrolFailed(wait_s=wait_s):
            return structs.replace(facts, is_busy=False, enrol_at=now + wait_s, enrols=facts.enrols + 1), ()
        case RenewalWanted():
            return structs.replace(facts, is_wanted=True, ask_at=now, asks=0), ()
        case Registered() if facts.csr is not None:
            return structs.replace(facts, ask_at=now), ()
    return facts, ()


def settle(facts: Facts, now: float, earliest_s: float) -> tuple[Facts, tuple[Action, ...]]:
    """The next thing to do, if there is one; one at a time where files are concerned."""
    if facts.is_busy or now < facts.retry_at:
        return facts, ()
    if facts.trial:
        return settle_trial(facts, facts.trial, now)
    if not wants_request(facts, earliest_s):
        return facts, ()
    if facts.csr is None:
        is_again = facts.current is not None and now < facts.ask_at
        return (facts, ()) if is_again else (structs.replace(facts, is_busy=True), (MakeRequest(),))
    if facts.is_up and now >= facts.ask_at:
        wait_s = sign_wait_s(facts.asks)
        return structs.replace(facts, ask_at=now + wait_s, asks=facts.asks + 1), (Ask(facts.csr),)
    if facts.can_enrol and is_shut_out(facts, earliest_s) and now >= facts.enrol_at:
        return structs.replace(facts, is_busy=True), (Enrol(facts.csr, facts.enrols),)
    return facts, ()


def settle_trial(facts: Facts, trial: Validity, now: float) -> tuple[Facts, tuple[Action, ...]]:
    if facts.is_up and facts.connected_with == trial.name:
        return structs.replace(facts, is_busy=True, asks=0, ask_at=now + AGAIN_S), (Promote(),)
    if facts.refusals >= REFUSALS_MAX and facts.current:
        why = f"the broker has refused the new certificate {REFUSALS_MAX} times: the old one is used again"
        gone = structs.replace(facts, is_busy=True, refusals=0, ask_at=now + max(AGAIN_S, sign_wait_s(facts.asks)))
        return gone, (GoBack(), Use(is_trial=False), Report("InvalidChargingStationCertificate", why))
    if facts.connection is not None and now >= facts.switch_at:
        return structs.replace(facts, switch_at=NEVER), (Reconnect(facts.connection),)
    return facts, ()


def next_deadline(facts: Facts, now: float, earliest_s: float) -> float:
    """When Tick may have something to do, as far as is known now."""
    if facts.is_busy:
        return NEVER
    if facts.trial:
        return max(facts.switch_at, facts.retry_at)
    due = [NEVER]
    if facts.current and earliest_s < renew_at_s(facts.current):
        due.append(now + renew_at_s(facts.current) - earliest_s)
    if facts.current and facts.can_enrol and earliest_s < facts.current.not_after_s:
        due.append(now + facts.current.not_after_s - earliest_s)
    if wants_request(facts, earliest_s):
        if facts.csr is None or facts.is_up:
            due.append(facts.ask_at)
        if facts.csr is not None and facts.can_enrol and is_shut_out(facts, earliest_s):
            due.append(facts.enrol_at)
    return max(now, min(due), facts.retry_at)
