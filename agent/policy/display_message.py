"""What the owner has the display say (OCPP 2.1 block O): plain text, in the languages that it comes in. Pure.

A message is shown from its start to its end, in the state and during the transaction that it names; one for the display
of a port there and nowhere else. AlwaysFront keeps all others away; InFront those of the NormalCycle; of several the
display shows one after the other.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from agent.clock import Clock, is_expired, read_time, wall
from agent.settings import PLAIN

MESSAGES_MAX = 16
SAID_MAX_B = 9_000  # of one as JSON, for it is kept as it was said: five languages, and room
CHARS_MAX = 250  # what can be read in passing; OCPP allows 1,024
CYCLE_S = 10.0
PRIORITIES = ("AlwaysFront", "InFront", "NormalCycle")  # MessagePriorityEnumType, the first one wins
STATES = ("Charging", "Faulted", "Idle", "Unavailable", "Suspended")  # MessageStateEnumType; no car feeds in here
FORMATS = ("ASCII", "UTF8")
DISPLAY = "Display"  # component: with an EVSE that port's part of the display, without one all of it

PlainText = Annotated[str, Meta(min_length=1, max_length=CHARS_MAX, pattern=PLAIN)]


class Text(Struct, frozen=True):
    content: str
    language: str  # one of ours; "": for whoever reads another one


class Message(Struct, frozen=True):
    number: int
    priority: str
    texts: tuple[Text, ...]
    state: str | None = None
    begins_s: float | None = None  # wall
    ends_s: float | None = None
    transaction_id: str | None = None
    evse_id: int | None = None  # of this port's display only
    said: dict[str, Any] = {}  # MessageInfo as it came, for GetDisplayMessages


Messages = tuple[Message, ...]


class Rejected(Exception):
    """(status, reason code, sentence)"""

    @property
    def status(self) -> str:
        return str(self.args[0])

    @property
    def code(self) -> str:
        return str(self.args[1])

    @property
    def why(self) -> str:
        return str(self.args[2])


def read(info: Mapping[str, Any], languages: Collection[str], running: Mapping[str, int], ports: int) -> Message:
    """A MessageInfo that has passed its schema. `running`: the port of each transaction; `ports`: how many there are.
    Rejected."""
    if (size_b := len(msgspec.json.encode(info))) > SAID_MAX_B:
        raise Rejected("Rejected", "TooLargeElement", f"the message has {size_b} bytes: send at most {SAID_MAX_B}")
    state, transaction_id, evse_id = info.get("state"), info.get("transactionId"), display_of(info, ports)
    if state is not None and state not in STATES:
        raise Rejected("NotSupportedState", "UnsupportedParam", f"states here are {', '.join(STATES)}")
    if transaction_id is not None and transaction_id not in running:
        raise Rejected("UnknownTransaction", "TxNotFound", "that transaction does not run here")
    if transaction_id is not None and evse_id not in (None, running[transaction_id]):
        why = f"that transaction runs at EVSE {running[transaction_id]}: name its display, or none"
        raise Rejected("Rejected", "InvalidValue", why)
    times = {key: read_time(info[key]) for key in ("startDateTime", "endDateTime") if key in info}
    if None in times.values():
        raise Rejected("Rejected", "InvalidValue", "startDateTime or endDateTime is no time")
    begins_s, ends_s = times.get("startDateTime"), times.get("endDateTime")
    if begins_s is not None and ends_s is not None and ends_s <= begins_s:
        raise Rejected("Rejected", "InvalidValue", "endDateTime is not after startDateTime")
    texts = tuple(text_of(content, languages) for content in (info["message"], *info.get("messageExtra", ())))
    if len({text.language for text in texts}) < len(texts):
        raise Rejected("Rejected", "InvalidValue", "two texts are in one language, or in none")
    return Message(
        info["id"], str(info["priority"]), texts, state, begins_s, ends_s, transaction_id, evse_id,
        msgspec.to_builtins(info),
    )  # fmt: skip


def display_of(info: Mapping[str, Any], ports: int) -> int | None:
    """Which port's; None: the whole display's. OCPP has no word for a display that is not there: Rejected."""
    display = info.get("display")
    if display is None:
        return None
    evse = display.get("evse") or {}
    instance = display.get("instance")
    evse_id: int | None = evse.get("id")
    is_whole = evse_id is None or (evse_id == 0 and "connectorId" not in evse)
    is_port = evse_id in range(1, ports + 1) and evse.get("connectorId", 1) == 1
    if display["name"].lower() != DISPLAY.lower() or instance or not (is_whole or is_port):
        why = f"displays here are the component {DISPLAY}, alone or with an EVSE from 1 to {ports}, without an instance"
        raise Rejected("Rejected", "NotFound", why)
    return evse_id if is_port else None


def text_of(content: Mapping[str, Any], languages: Collection[str]) -> Text:
    """`languages`: codes of those that the station speaks."""
    if content["format"] not in FORMATS:
        raise Rejected("NotSupportedMessageFormat", "UnsupportedParam", f"formats here are {', '.join(FORMATS)}")
    try:
        text = msgspec.convert(content["content"], PlainText)
    except msgspec.ValidationError:
        why = f"a text is one line without control characters, 1 to {CHARS_MAX} characters long"
        raise Rejected("Rejected", "InvalidValue", why) from None
    if content["format"] == "ASCII" and not text.isascii():
        raise Rejected("Rejected", "InvalidValue", "this text is not ASCII: its format is UTF8")
    tag = content.get("language") or ""
    code = tag.lower().partition("-")[0]
    if tag and code not in languages:
        raise Rejected("LanguageNotSupported", "UnsupportedParam", f"languages here are {', '.join(sorted(languages))}")
    return Text(text, code)


def with_message(held: Messages, new: Message, clock: Clock, now: float) -> Messages:
    """The same id again replaces what it named; a new AlwaysFront the one before on its display. Rejected."""
    if new.ends_s is not None and is_expired(clock, new.ends_s, now):
        raise Rejected("Rejected", "InvalidValue", "endDateTime has passed")
    kept = without(held, new.number)
    if new.priority == PRIORITIES[0]:
        kept = tuple(each for each in kept if (each.priority, each.evse_id) != (new.priority, new.evse_id))
    if len(kept) >= MESSAGES_MAX:
        raise Rejected("Rejected", "TooManyElements", f"{MESSAGES_MAX} messages are here: clear one first")
    return (*kept, new)


def without(held: Messages, number: int) -> Messages:
    return tuple(each for each in held if each.number != number)


def lasting(held: Messages, running: Collection[str], clock: Clock, now: float) -> Messages:
    """Without those whose end, or whose transaction's, has come. The same object if all of them last."""
    kept = tuple(
        each for each in held
        if not is_expired(clock, each.ends_s, now) and (each.transaction_id is None or each.transaction_id in running)
    )  # fmt: skip
    return kept if len(kept) < len(held) else held


def matching(held: Messages, numbers: Collection[int] | None, priority: str | None, state: str | None) -> Messages:
    """What GetDisplayMessages asks for: all that is named must hold."""
    return tuple(
        each for each in held
        if (not numbers or each.number in numbers) and priority in (None, each.priority) and state in (None, each.state)
    )  # fmt: skip


def for_port(held: Messages, evse_id: int, transaction_id: str | None) -> Messages:
    """Those for its display, but not those of another transaction than the one that runs here."""
    return tuple(
        each for each in held if each.evse_id in (None, evse_id) and each.transaction_id in (None, transaction_id)
    )


def for_station(held: Messages) -> Messages:
    """Those of no port and no transaction."""
    return tuple(each for each in held if each.evse_id is None and each.transaction_id is None)


def shown(held: Messages, states: Collection[str], clock: Clock, now: float) -> Message | None:
    """The one that the display shows now. `states`: of all its ports. One that begins at a time waits until it is known
    that the time has come."""
    now_s = wall(clock, now)
    due = [
        each for each in held
        if (each.state is None or each.state in states) and not is_expired(clock, each.ends_s, now)
        and (each.begins_s is None or (now_s is not None and now_s >= each.begins_s))
    ]  # fmt: skip
    first = min((PRIORITIES.index(each.priority) for each in due), default=0)
    front = [each for each in due if each.priority == PRIORITIES[first]]
    if not front:
        return None
    return front[-1] if first == 0 else front[int(now // CYCLE_S) % len(front)]  # of AlwaysFront the newest, alone


def in_language(message: Message, language: str) -> str:
    """Else the text without a language, else the first one."""
    by_language = {text.language: text.content for text in reversed(message.texts)}
    return by_language.get(language) or by_language.get("") or message.texts[0].content


def changes_s(held: Messages) -> Sequence[float]:
    """Wall times at which another one may be shown."""
    return [at_s for each in held for at_s in (each.begins_s, each.ends_s) if at_s is not None]


def saved(held: Messages) -> Any:
    return msgspec.to_builtins(held)


def restored(fact: Any) -> Messages:
    """Those that this software can read."""
    found = []
    for row in fact if isinstance(fact, list | tuple) else []:
        try:
            message = msgspec.convert(row, Message)
        except msgspec.ValidationError:
            continue
        if message.priority in PRIORITIES and message.texts:
            found.append(message)
    return tuple(found[:MESSAGES_MAX])
