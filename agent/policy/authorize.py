"""May this card start here, now? One function, one decision, one reason, the same offline as online.

RULES is read from the top; the first rule with an opinion decides. `station-agent explain` prints the same walk.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, tzinfo

from agent.clock import Clock, is_expired, wall
from agent.events import AuthorizationStatus as Status
from agent.events import Entry, Link, Source
from agent.policy.access import Allowed, Closed, Rules, access
from agent.policy.freshness import Freshness, freshness
from agent.policy.id_token import is_random
from agent.policy.lifecycle import SELLS, Row, Starts
from agent.policy.reasons import Reason
from agent.policy.reservation import Reservations, kept_for_others, kept_until_s, own
from agent.settings import Settings
from agent.transaction import LIST_RULE

ONLINE_TIMEOUT_S = {Link.UP: 8.0, Link.DOUBT: 1.5, Link.DOWN: 0.0}  # S6


@dataclass(frozen=True, slots=True)
class Terms:
    """What the owner has decided, as far as it concerns one port, or, with evse_id None, whichever comes next."""

    access: Rules | None = None  # None: whoever the other rules accept
    reservations: Reservations = ()
    is_reservable: bool = False  # only with a reservation
    evse_id: int | None = None
    free: frozenset[int] = frozenset()  # ports that somebody could take now, this one among them
    zone: tzinfo = UTC
    life: Row = SELLS  # what the station may do now


@dataclass(frozen=True, slots=True)
class Question:
    """Everything the decision may depend on. `port_reason` is why the port itself could not start, if so."""

    id_token: str
    settings: Settings
    clock: Clock
    link: Link
    port_reason: Reason | None = None
    in_use: bool = False  # this card has a transaction at another port
    may_stop: bool = False  # nothing is known here about the card, and a session runs that the cloud may let it stop
    listed: Entry | None = None
    list_age_s: float | None = None  # since the cloud last called the list current; None: nobody knows
    cached: Entry | None = None
    online: Entry | None = None  # the cloud's answer to this very tap
    asked: bool = False  # we asked, and waited long enough
    card: bool = True  # False: started from the cloud, which has decided about the token already
    terms: Terms = Terms()


@dataclass(frozen=True, slots=True)
class Accept:
    rule: str
    source: Source | None
    groups: frozenset[str] = frozenset()
    access: Allowed | None = None  # the owner's rule, where there is a policy


@dataclass(frozen=True, slots=True)
class Refuse:
    rule: str
    reason: Reason
    until_s: float | None = None  # wall: it is another answer then, as far as anybody knows


@dataclass(frozen=True, slots=True)
class Ask:
    """The cloud must be asked, and can be, for so long."""

    rule: str
    timeout_s: float


Decision = Accept | Refuse | Ask
Opinion = Decision | None
Rule = Callable[[Question, float], Opinion]

NEGATIVE: dict[Status, Reason] = {
    Status.BLOCKED: Reason.CARD_BLOCKED,
    Status.CONCURRENT_TX: Reason.CONCURRENT,
    Status.EXPIRED: Reason.CARD_EXPIRED,
    Status.INVALID: Reason.CARD_NOT_ACTIVATED,
    Status.NO_CREDIT: Reason.NO_CREDIT,
    Status.NOT_ALLOWED_TYPE_EVSE: Reason.NOT_HERE,
    Status.NOT_AT_THIS_LOCATION: Reason.NOT_HERE,
    Status.NOT_AT_THIS_TIME: Reason.CLOSED,
    Status.UNKNOWN: Reason.NOT_CONNECTED,
}
assert NEGATIVE.keys() == set(Status) - {Status.ACCEPTED}


def station_ready(q: Question, now: float) -> Opinion:
    """A new, transferred or deactivated one may not: agent/policy/lifecycle.py."""
    life = q.terms.life
    if (life.local if q.card else life.remote) is not Starts.NOBODY:
        return None
    assert life.refusal, life
    return Refuse("station", life.refusal)


def port_ready(q: Question, now: float) -> Opinion:
    """Of a taken port the cloud may know more: whether this card may stop what runs there."""
    if q.port_reason is Reason.PORT_TAKEN and q.may_stop and not q.asked and ONLINE_TIMEOUT_S[q.link]:
        return None
    return Refuse("port", q.port_reason) if q.port_reason else None


def started_remotely(q: Question, now: float) -> Opinion:
    """RequestStartTransaction: the cloud vouches for the token, but a master pass starts nothing."""
    if q.card:
        return None
    return permitted(judged("remote start", Source.CLOUD, q.online or Entry(), q, now), q, now)


def free_for_all(q: Question, now: float) -> Opinion:
    is_free = q.settings.free or q.terms.life.local is Starts.FREELY
    if not is_free or q.port_reason is not None:
        return None
    return permitted(Accept("free station", None), q, now)


def one_id_per_card(q: Question, now: float) -> Opinion:
    return Refuse("random UID", Reason.RANDOM_UID) if is_random(q.id_token) else None


def one_port_per_card(q: Question, now: float) -> Opinion:
    return Refuse("one port per card", Reason.CONCURRENT) if q.in_use and not q.settings.concurrent_tx else None


def allowlist(q: Question, now: float) -> Opinion:
    """The list is final, for and against: it was signed by the operator. One that is too old lets nobody in."""
    if q.listed is None:
        return None
    opinion = judged(LIST_RULE, Source.LIST, q.listed, q, now)
    lapsed = freshness(q.list_age_s, q.settings.list_grace_days) is Freshness.LAPSED
    return None if lapsed and isinstance(opinion, Accept) else permitted(opinion, q, now)


def cloud_answer(q: Question, now: float) -> Opinion:
    """Its expiry says for how long the answer may be cached; the answer itself is of this moment."""
    if q.online is None:
        return None
    return permitted(judged("cloud", Source.CLOUD, replace(q.online, expiry_s=None), q, now), q, now)


def cache(q: Question, now: float) -> Opinion:
    """An Accepted from the cache starts at once. A refusal from it is asked about again while anybody can be asked.

    An entry past its expiry is no entry: it says nothing against the card.
    """
    if q.cached is None or is_expired(q.clock, q.cached.expiry_s, now):
        return None
    opinion = permitted(judged("cache", Source.CACHE, q.cached, q, now), q, now)
    can_ask = ONLINE_TIMEOUT_S[q.link] > 0.0 and not q.asked
    return None if isinstance(opinion, Refuse) and can_ask else opinion


def ask_online(q: Question, now: float) -> Opinion:
    timeout_s = ONLINE_TIMEOUT_S[q.link]
    return Ask("ask the cloud", timeout_s) if timeout_s and not q.asked else None


def unknown_card(q: Question, now: float) -> Opinion:
    """Also one whose list is too old to let it in."""
    if q.settings.offline_tx_for_unknown_id:
        return permitted(Accept("unknown card, offline", None), q, now)
    return Refuse("unknown card, offline", Reason.LIST_TOO_OLD if q.listed else Reason.COULD_NOT_ASK)


RULES: tuple[tuple[str, Rule], ...] = (
    ("the station may sell", station_ready),
    ("the port can start", port_ready),
    ("started from the cloud", started_remotely),
    ("the station is free for all", free_for_all),
    ("the card keeps its id", one_id_per_card),
    ("one port per card", one_port_per_card),
    (LIST_RULE, allowlist),
    ("the cloud's answer", cloud_answer),
    ("authorization cache", cache),
    ("ask the cloud", ask_online),
    ("unknown card, offline", unknown_card),
)


def judged(rule: str, source: Source, entry: Entry, q: Question, now: float) -> Accept | Refuse:
    """What one entry means: status, then expiry, then what its groups allow."""
    master = q.settings.master_pass_group_id
    if (reason := why_bad(entry, q.clock, now)) is not None:
        return Refuse(rule, reason)
    if master and (master in entry.groups or master == entry.group_id):
        return Refuse(rule, Reason.STOP_ONLY)
    return Accept(rule, source, entry.groups)


def permitted(opinion: Accept | Refuse, q: Question, now: float) -> Accept | Refuse:
    """A card that is good, at a station whose owner has more to say: reservations, then the hours of its groups."""
    if isinstance(opinion, Refuse):
        return opinion
    terms, groups = q.terms, opinion.groups
    mine = own(terms.reservations, terms.evse_id, q.id_token, groups)
    if terms.is_reservable and mine is None:
        return Refuse("reservations only", Reason.NEEDS_RESERVATION)
    if terms.evse_id and kept_for_others(terms.reservations, terms.evse_id, q.id_token, groups, terms.free):
        return Refuse("reservation", Reason.RESERVED, kept_until_s(terms.reservations, terms.evse_id))
    if terms.access is None:
        return opinion
    is_connected = bool(groups) or opinion.source is Source.LIST or not q.card
    at_s = wall(q.clock, now)
    match access(terms.access, groups, at_s, terms.zone, is_connected=is_connected):
        case Allowed() as allowed:
            return replace(opinion, access=allowed)
        case Closed(rule=rule, opens_s=opens_s):
            return Refuse(f"access: {rule}", Reason.CLOSED, opens_s)
    return Refuse("access: no rule", Reason.NOT_HERE if is_connected else Reason.NOT_CONNECTED)


def why_bad(entry: Entry, clock: Clock, now: float) -> Reason | None:
    """Why the entry stands for nobody; None: it is accepted, neither pending nor removed nor expired. A master pass is
    good, to stop."""
    if entry.pending:
        return Reason.APPROVAL_PENDING
    if entry.removed:
        return Reason.CONNECTION_REMOVED
    if entry.status is not Status.ACCEPTED:
        return NEGATIVE[entry.status]
    return Reason.CARD_EXPIRED if is_expired(clock, entry.expiry_s, now) else None


def walk(q: Question, now: float) -> Iterator[tuple[str, Opinion]]:
    """Each rule that was asked, with its opinion; the last one decided."""
    for name, rule in RULES:
        opinion = rule(q, now)
        yield name, opinion
        if opinion is not None:
            return


def decide(q: Question, now: float) -> Decision:
    for _, opinion in walk(q, now):
        if opinion is not None:
            return opinion
    raise AssertionError("the last rule always decides")
