"""Every answer to a tap that is not a start, in one table: one reason, one text, one LED pattern, one log code (S7).

"We could not ask" is not "you may not": COULD_NOT_ASK maps to Unknown on the wire, but its text and code are its own.
The support number, where one is set, stands beside every text; hours and dates are filled in by the view.
"""

from dataclasses import dataclass
from enum import StrEnum

from agent.events import AuthorizationStatus as Status

NOTICE_LEAST_S = 8.0
NOTICE_HEAD_S = 4.0  # to look up, and for title and code
READ_CHARS_S = 10.0  # read in a foreign language, in the sun


class Reason(StrEnum):
    NOT_CONNECTED = "not connected"
    APPROVAL_PENDING = "approval pending"
    CONNECTION_REMOVED = "connection removed"
    CARD_NOT_ACTIVATED = "card not activated"
    CARD_BLOCKED = "card blocked"
    CARD_EXPIRED = "card expired"
    NO_CREDIT = "no credit"
    NOT_HERE = "not at this station"
    CLOSED = "closed"
    NEEDS_RESERVATION = "needs a reservation"
    RESERVED = "reserved"
    STATION_NOT_ACTIVATED = "station not activated"
    PLAN_ENDED = "plan ended"
    OUT_OF_SERVICE = "out of service"
    UNAVAILABLE = "unavailable"
    CANNOT_RECORD = "cannot record"
    UPDATING = "updating"
    COULD_NOT_ASK = "could not ask"
    LIST_TOO_OLD = "list too old"
    CONCURRENT = "already charging"
    STOP_ONLY = "stop card"
    RANDOM_UID = "changing id"
    UNREADABLE = "unreadable card"
    PORT_TAKEN = "port taken"
    CHOOSE_PORT = "choose a port"
    PLUG_IN_FIRST = "plug in first"
    TIMED_OUT = "timed out"


class Led(StrEnum):
    """What the port's light does; `agent/ui/led.py` gives each its pattern."""

    REFUSED = "refused"
    ASK = "ask"  # something is left for the driver to do
    COULD_NOT_ASK = "could not ask"
    OUT_OF_SERVICE = "out of service"
    NOT_ACTIVATED = "not activated"
    UPDATING = "updating"


@dataclass(frozen=True, slots=True)
class Words:
    status: Status  # OCPP 2.1 AuthorizationStatusEnumType
    code: str  # log code: A = the driver can act, F = the station has a fault
    led: Led
    text: str  # what happened
    action: str  # what to do
    owner: str = ""  # what the owner can do, if he can


WORDS: dict[Reason, Words] = {
    Reason.NOT_CONNECTED: Words(
        Status.UNKNOWN, "A010", Led.REFUSED, "This card is not connected to this station.",
        "Ask the owner for a connection code. If you were approved today, it may still be on its way.",
        "Approve the card in the app; it is in force here within 24 hours.",
    ),
    Reason.APPROVAL_PENDING: Words(
        Status.UNKNOWN, "A011", Led.REFUSED, "This card's connection is on its way: it waits for the owner's approval.",
        "Ask the owner to approve it; from then on it is in force here within 24 hours.",
        "Approve or decline the request in the app.",
    ),
    Reason.CONNECTION_REMOVED: Words(
        Status.INVALID, "A012", Led.REFUSED, "This card was taken off the list: the owner has removed its connection.",
        "Ask the owner.", "To let it in again, approve the card anew in the app; that takes up to 24 hours.",
    ),
    Reason.CARD_NOT_ACTIVATED: Words(
        Status.INVALID, "A013", Led.REFUSED, "This card is not activated.", "Activate it in the app or by phone.",
        "The driver activates it; nothing is to be done here.",
    ),
    Reason.CARD_BLOCKED: Words(
        Status.BLOCKED, "A014", Led.REFUSED, "This card is blocked.", "Call the support number.",
        "Support says who has blocked it, and why.",
    ),
    Reason.CARD_EXPIRED: Words(
        Status.EXPIRED, "A015", Led.REFUSED, "This card has expired.", "Order a new card in the app.",
        "Give the card a later end in the app.",
    ),
    Reason.NO_CREDIT: Words(
        Status.NO_CREDIT, "A016", Led.REFUSED, "There is no credit on this account.", "Add credit in the app.",
    ),
    Reason.NOT_HERE: Words(
        Status.NOT_AT_THIS_LOCATION, "A017", Led.REFUSED, "This card is not valid at this station.",
        "Ask the owner, or look for another station in the app.",
    ),
    Reason.CLOSED: Words(
        Status.NOT_AT_THIS_TIME, "A018", Led.REFUSED, "Closed for this card at this time.",
        "Ask the owner when you may charge.",
    ),
    Reason.NEEDS_RESERVATION: Words(
        Status.NOT_AT_THIS_TIME, "A019", Led.REFUSED, "This station is used by reservation only.",
        "Reserve in the app.",
    ),
    Reason.RESERVED: Words(
        Status.NOT_AT_THIS_TIME, "A020", Led.REFUSED, "Reserved for another driver.",
        "Please use another port, or come later.",
    ),
    Reason.STATION_NOT_ACTIVATED: Words(
        Status.NOT_AT_THIS_LOCATION, "F030", Led.NOT_ACTIVATED, "This station is not activated yet.",
        "The owner activates it by calling the support number.",
    ),
    Reason.PLAN_ENDED: Words(
        Status.NOT_AT_THIS_LOCATION, "F031", Led.OUT_OF_SERVICE, "This station's plan has ended.", "Ask the owner.",
    ),
    Reason.OUT_OF_SERVICE: Words(
        Status.NOT_AT_THIS_LOCATION, "F032", Led.OUT_OF_SERVICE, "This port has a fault.", "Please use another port.",
    ),
    Reason.UNAVAILABLE: Words(
        Status.NOT_AT_THIS_LOCATION, "F033", Led.OUT_OF_SERVICE, "This port is out of service.",
        "Please use another port.",
    ),
    Reason.CANNOT_RECORD: Words(
        Status.NOT_AT_THIS_LOCATION, "F034", Led.OUT_OF_SERVICE, "This station cannot record sessions now.",
        "Please use another station; support has been told.",
    ),
    Reason.UPDATING: Words(
        Status.NOT_AT_THIS_TIME, "F035", Led.UPDATING, "This station is being updated.",
        "Try again in five minutes.",
    ),
    Reason.COULD_NOT_ASK: Words(
        Status.UNKNOWN, "A040", Led.COULD_NOT_ASK,
        "This card is not on the station's list, and the network does not answer.",
        "Try again in a minute, or start from the app.",
        "Approved drivers start without the network; look after the station's connection for the others.",
    ),
    Reason.LIST_TOO_OLD: Words(
        Status.UNKNOWN, "A046", Led.COULD_NOT_ASK,
        "The station's list of cards is too old, and the network does not answer.",
        "Try again later, or use another station.",
        "Look after the station's connection, or let drivers in for longer: LocalAuthListCtrlr.GraceDays.",
    ),
    Reason.CONCURRENT: Words(
        Status.CONCURRENT_TX, "A041", Led.REFUSED, "This card is already charging at another port.",
        "Stop there first, or use another card.",
    ),
    Reason.STOP_ONLY: Words(
        Status.NOT_ALLOWED_TYPE_EVSE, "A042", Led.REFUSED, "This card can only stop sessions.",
        "Use a driver card to start.",
    ),
    Reason.RANDOM_UID: Words(
        Status.INVALID, "A043", Led.REFUSED, "This phone or card cannot be recognised: its number changes.",
        "Start from the app, or use a driver card.",
    ),
    Reason.UNREADABLE: Words(
        Status.INVALID, "A044", Led.ASK, "The card could not be read.",
        "Hold it still against the reader and try again.",
    ),
    Reason.PORT_TAKEN: Words(
        Status.CONCURRENT_TX, "A045", Led.REFUSED, "Another driver has this port.", "Please use another port.",
    ),
    Reason.CHOOSE_PORT: Words(
        Status.ACCEPTED, "A050", Led.ASK, "Which port is yours?", "Press its number.",
    ),
    Reason.PLUG_IN_FIRST: Words(
        Status.ACCEPTED, "A051", Led.ASK, "Another driver is about to plug in.", "Plug in your car first, then tap.",
    ),
    Reason.TIMED_OUT: Words(
        Status.ACCEPTED, "A000", Led.ASK, "No car was plugged in.", "Tap again, then plug in within a minute.",
    ),
}  # fmt: skip

assert WORDS.keys() == set(Reason)
assert len({words.code for words in WORDS.values()}) == len(WORDS)


def stands_s(reason: Reason | None) -> float:
    """So long an answer to a tap stands, in seconds (None: accepted). By its English: to read a sentence takes about as
    long in each language.
    """
    words = WORDS.get(reason) if reason else None
    return max(NOTICE_LEAST_S, NOTICE_HEAD_S + len(words.text + words.action) / READ_CHARS_S if words else 0.0)
