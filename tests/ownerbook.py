"""The books that an owner's engineer keeps of a station: what it was told and has taken, and what therefore holds.

He knows nothing of the station's code: he has docs/policy.md, what was sent, and the cloud's records. Whoever asks him
names an instant, in seconds of the world.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Json = dict[str, Any]

OPEN = float("inf")
PLAN_DAYS = 90 * 86_400.0  # it works on for so long
FRONT = ("AlwaysFront", "InFront", "NormalCycle")
LEAVES = ("Transfer", "FactoryReset")
SWITCHES = {  # variables that an owner sets here, and what holds until he does, if the config file says nothing else
    "ReservationCtrlr.Enabled": "true", "AuthCtrlr.Enabled": "true", "AuthCtrlr.OfflineTxForUnknownIdEnabled": "false",
    "TxCtrlr.ConcurrentTx": "false", "TxCtrlr.EVConnectionTimeOut": "60", "AuthCtrlr.MasterPassGroupId": "",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sent:
    """A command of the cloud."""

    at: float
    action: str  # of a DataTransfer its messageId
    said: Any


@dataclass(frozen=True, slots=True)
class Told:
    """A record of the station, at the instant at which it was made."""

    at: float
    action: str
    payload: Json
    wall_s: float | None = None  # by the station; None: it did not know what time it was


@dataclass(slots=True)
class Timeline:
    """What has held since when."""

    times: list[float]
    values: list[Any]

    def put(self, at: float, value: Any) -> None:
        self.times.append(at)
        self.values.append(value)

    def at(self, at: float) -> Any:
        return self.values[bisect_right(self.times, at) - 1]

    def around(self, at: float, early_s: float = 1.0, late_s: float = 1.0) -> list[Any]:
        """All that has held between `early_s` before and `late_s` after."""
        first, last = bisect_right(self.times, at - early_s) - 1, bisect_right(self.times, at + late_s)
        return self.values[first:last]

    @classmethod
    def of(cls, value: Any) -> "Timeline":
        return cls([-OPEN], [value])


@dataclass(slots=True)
class Reserved:
    number: int
    card: str
    group: str | None
    evse_id: int | None  # None: any port
    expires_s: float
    since: float
    until: float = OPEN
    end: str = ""

    def is_his(self, card: str, groups: Collection[str]) -> bool:
        return self.card == card or self.group in groups


@dataclass(slots=True)
class Shown:
    """A message of the owner."""

    number: int
    said: Json
    since: float
    until: float = OPEN
    order: int = 0

    @property
    def evse_id(self) -> int | None:
        evse_id: int | None = self.said.get("display", {}).get("evse", {}).get("id")
        return evse_id


@dataclass(slots=True)
class Default:
    tariff_id: str
    begins_s: float


@dataclass(slots=True)
class Session:
    transaction_id: str
    evse_id: int
    card: str
    since: float
    until: float = OPEN
    stopped: str = ""


@dataclass(slots=True)
class Book:
    """`zero_s`: the true time at the world's beginning; `connectors`: of each port, by evse_id."""

    ports: int
    connectors: Sequence[str]
    zero_s: float
    is_owned: Timeline = field(default_factory=lambda: Timeline.of("on"))  # on | off | taken | reset
    is_reservable: Timeline = field(default_factory=lambda: Timeline.of(False))
    is_free_after: Timeline = field(default_factory=lambda: Timeline.of(False))
    title: Timeline = field(default_factory=lambda: Timeline.of(""))
    access: Timeline = field(default_factory=lambda: Timeline.of(None))
    groups: Timeline = field(default_factory=lambda: Timeline.of(""))
    visible: Timeline = field(default_factory=lambda: Timeline.of((None, None)))  # policy's word, activation's
    defaults: Timeline = field(default_factory=lambda: Timeline.of({}))  # evse_id -> its defaults
    plans: Timeline = field(default_factory=lambda: Timeline.of(()))
    out: Timeline = field(default_factory=lambda: Timeline.of(frozenset()))  # evse_ids out of service; 0: all of it
    settings: dict[str, Timeline] = field(
        default_factory=lambda: {name: Timeline.of(value) for name, value in SWITCHES.items()}
    )
    reserved: list[Reserved] = field(default_factory=list)
    messages: list[Shown] = field(default_factory=list)
    sessions: dict[str, Session] = field(default_factory=dict)
    began: dict[str, Json] = field(default_factory=dict)  # transactionId -> Started
    activated: Any = None  # the last activation in force
    refused: list[str] = field(default_factory=list)  # what the station has told and cannot be

    # -- writing

    def write(self, told: Iterable[Told], sent: Mapping[str, Sent]) -> "Book":
        """All that was ever said, the oldest first."""
        for each in told:
            match each.action:
                case "CommandResult":
                    self.answered(each.at, sent.get(each.payload["commandId"]), each.payload.get("response", {}))
                case "ReservationStatusUpdate":
                    self.over(each.at, each.payload["reservationId"], each.payload["reservationUpdateStatus"])
                case "TransactionEvent":
                    self.charged(each.at, each.payload)
        return self

    def answered(self, at: float, sent: Sent | None, response: Json) -> None:
        if sent is None or not response or response.get("status") == "Rejected":  # {}: it came too late
            return
        if sent.action == "SetVariables":
            for item, verdict in zip(sent.said["setVariableData"], response["setVariableResult"], strict=True):
                if verdict["attributeStatus"] == "Accepted":
                    name = f"{item['component']['name']}.{item['variable']['name']}"
                    self.switched(at, name, item["attributeValue"])
        elif sent.action == "ChangeAvailability":
            evse_id = sent.said.get("evse", {}).get("id", 0)
            was: frozenset[int] = self.out.at(at)
            self.out.put(at, was - {evse_id} if sent.said["operationalStatus"] == "Operative" else was | {evse_id})
        elif sent.action == "ClearTariffs":
            self.defaults.put(at, {})
        elif response.get("status") == "Accepted":
            self.accepted(at, sent.action, sent.said)

    def accepted(self, at: float, action: str, said: Any) -> None:
        match action:
            case "ReserveNow":
                self.over(at, said["id"], "replaced", is_told=False)
                self.reserved.append(self.reservation(at, said))
            case "CancelReservation":
                self.over(at, said["reservationId"], "cancelled")
            case "AccessPolicy":
                self.has_policy(at, said)
            case "GroupTariffs":
                self.groups.put(at, said["version"] if said else "")
            case "SetDefaultTariff":
                self.has_default(at, said["evseId"], said["tariff"])
            case "PlanToken":
                self.plans.put(at, (*self.plans.at(at), said))
            case "SetDisplayMessage":
                self.has_message(at, said["message"])
            case "ClearDisplayMessage":
                self.gone(at, [each for each in self.held(at) if each.number == said["id"]])
            case "Activation":
                self.is_activated(at, said)
            case _ if action in LEAVES:
                self.left(at, action)

    def switched(self, at: float, name: str, value: str) -> None:
        if name == "ChargingStation.Activated":
            if (was := self.is_owned.at(at)) in ("taken", "reset") and value == "true":
                self.refused.append(f"{at:.1f}: it is switched on, and was {was}: only an activation gives it an owner")
            self.is_owned.put(at, "on" if value == "true" else was if was in ("taken", "reset") else "off")
            if value != "true":
                self.none_kept(at)
        elif name in self.settings:
            self.settings[name].put(at, value)

    def reservation(self, at: float, said: Json) -> Reserved:
        evse_id, kind = said.get("evseId"), said.get("connectorType")
        fitting = [number for number, each in enumerate(self.connectors, 1) if each == kind]
        if kind is not None and evse_id is None and len(fitting) < self.ports:
            evse_id = fitting[0] if fitting else 0
        return Reserved(
            said["id"], said["idToken"]["idToken"], said.get("groupIdToken", {}).get("idToken"), evse_id,
            datetime.fromisoformat(said["expiryDateTime"]).timestamp() - self.zero_s, at,
        )  # fmt: skip

    def over(self, at: float, number: int, why: str, *, is_told: bool = True) -> None:
        mine = [each for each in self.reserved if each.number == number and each.until >= at]
        if not mine:
            if is_told:
                self.refused.append(f"{at:.1f}: reservation {number} is {why}, and there is none")
            return
        (last,) = mine
        if last.until == OPEN:
            last.until, last.end = at, why
        elif last.end != "nobody may charge":
            self.refused.append(f"{at:.1f}: reservation {number} is {why}, and was {last.end} at once before")

    def none_kept(self, at: float) -> None:
        """A station that nobody may use keeps no reservation."""
        for each in self.reserved:
            if each.until == OPEN:
                each.until, each.end = at, "nobody may charge"

    def charged(self, at: float, event: Json) -> None:
        transaction_id = event["transactionInfo"]["transactionId"]
        if event["eventType"] == "Started":
            self.began[transaction_id], token = event, event["idToken"]["idToken"]
            self.sessions[transaction_id] = Session(transaction_id, event["evse"]["id"], token, at)
            if "reservationId" in event:
                self.over(at, event["reservationId"], f"used by {transaction_id}")
        elif event["eventType"] == "Ended":
            mine = self.sessions[transaction_id]
            mine.until, mine.stopped = at, event["transactionInfo"]["stoppedReason"]
            self.gone(at, [each for each in self.held(at) if each.said.get("transactionId") == transaction_id])

    def has_policy(self, at: float, policy: Json | None) -> None:
        self.access.put(at, f"{policy['policyId']}@{policy['version']}" if policy else None)
        self.visible.put(at, (policy.get("visible") if policy else None, self.visible.at(at)[1]))

    def has_default(self, at: float, evse_id: int, form: Json) -> None:
        """It takes the place of the one that begins when it does; one that begins at once, of the one in force."""
        begins_s = datetime.fromisoformat(form["validFrom"]).timestamp() - self.zero_s if "validFrom" in form else at
        new = Default(form["tariffId"], max(at, begins_s))
        kept = dict(self.defaults.at(at))
        for each in [evse_id] if evse_id else range(1, self.ports + 1):
            others = [one for one in kept.get(each, ()) if one.tariff_id != new.tariff_id]
            kept[each] = (*(one for one in others if one.begins_s != new.begins_s), new)
        self.defaults.put(at, kept)

    def has_message(self, at: float, said: Json) -> None:
        new = Shown(said["id"], said, at, order=len(self.messages))
        if "endDateTime" in said:
            new.until = datetime.fromisoformat(said["endDateTime"]).timestamp() - self.zero_s
        held = self.held(at)
        self.gone(at, [each for each in held if each.number == new.number])
        if said["priority"] == FRONT[0]:
            self.gone(at, [each for each in held if each.said["priority"] == FRONT[0] and each.evse_id == new.evse_id])
        self.messages.append(new)

    def held(self, at: float) -> list[Shown]:
        return [each for each in self.messages if each.since <= at < each.until]

    def gone(self, at: float, messages: Iterable[Shown]) -> None:
        for each in messages:
            each.until = min(each.until, at)

    def is_activated(self, at: float, said: Json) -> None:
        """The same again changes nothing, unless it switches on a station that was switched off."""
        sent = {name: value for name, value in said.items() if name != "claims"}
        if self.is_owned.at(at) == "on" and sent == self.activated:
            return
        self.activated = sent
        self.is_owned.put(at, "on")
        self.title.put(at, f"{said['name']} · {said['owner']}")
        self.is_reservable.put(at, said.get("reservable", False))
        self.is_free_after.put(at, said.get("afterPlan") == "free")
        seen = said.get("visibility")
        self.visible.put(at, (None if seen else self.visible.at(at)[0], seen))
        if "accessPolicy" in said:
            self.has_policy(at, said["accessPolicy"])
        if "groupTariffs" in said:
            self.groups.put(at, said["groupTariffs"]["version"])
        if "defaultTariff" in said:
            self.has_default(at, 0, said["defaultTariff"])
        if "claims" in said:
            self.plans.put(at, (*self.plans.at(at), said["claims"]))

    def left(self, at: float, action: str) -> None:
        """Of the owner nothing is left, the plan tokens stay. Between the order and the wiping nobody starts."""
        is_new = self.is_owned.at(at) != "taken" or action == "FactoryReset"
        if not is_new:
            return
        self.is_owned.put(at, "taken" if action == "Transfer" else "reset")
        self.none_kept(at)
        self.gone(at, self.held(at))
        self.activated = None
        blank: list[tuple[Timeline, Any]] = [
            (self.is_reservable, False), (self.is_free_after, False), (self.title, ""), (self.access, None),
            (self.groups, ""), (self.visible, (None, None)), (self.defaults, {}),
        ]  # fmt: skip
        for line, value in (*blank, *((line, line.values[0]) for line in self.settings.values())):
            line.put(at, value)

    # -- reading

    def kept(self, at: float) -> list[Reserved]:
        return [each for each in self.reserved if each.since <= at < each.until]

    def is_kept_for_others(
        self, at: float, evse_id: int, card: str, groups: Collection[str], free: Collection[int]
    ) -> bool:
        """Of this port, for whoever stands there with this card. `free`: the other ports that somebody could take."""
        held = self.kept(at)
        named = {each.evse_id for each in held if each.evse_id is not None}
        mine = [each for each in held if each.is_his(card, groups)]
        if evse_id in named:
            return all(each.evse_id != evse_id for each in mine)
        if any(each.evse_id is None for each in mine):
            return False
        any_port = sum(each.evse_id is None for each in held)
        return any_port > len(set(free) - named - {evse_id})

    def has_one(self, at: float, evse_id: int, card: str, groups: Collection[str]) -> bool:
        """A reservation that lets him in here."""
        return any(each.is_his(card, groups) and each.evse_id in (None, evse_id) for each in self.kept(at))

    def answer(self, at: float, said: Json, free: Collection[int], out: Collection[int]) -> str:
        """What ReserveNow comes to. `free`: ports without car, session and grant, in service; `out`: out of service."""
        if self.settings["ReservationCtrlr.Enabled"].at(at) != "true":
            return "Rejected"
        kind, evse_id = said.get("connectorType"), said.get("evseId")
        fitting = [number for number, each in enumerate(self.connectors, 1) if kind in (None, each)]
        every = range(1, self.ports + 1)
        if kind is not None and (not fitting or (evse_id is not None and evse_id not in fitting)):
            return "Rejected"
        if kind is not None and evse_id is None and 1 < len(fitting) < self.ports:
            return "Rejected"
        new = self.reservation(at, said)
        if new.expires_s <= at or (new.evse_id is not None and new.evse_id not in every):
            return "Rejected"
        if new.evse_id in out or (new.evse_id is None and set(out) >= set(every)):
            return "Unavailable"
        others = [each for each in self.kept(at) if each.number != new.number]
        named = {each.evse_id for each in others if each.evse_id is not None}
        if new.evse_id is not None and (new.evse_id not in free or new.evse_id in named):
            return "Occupied"
        all_ = [*others, new]
        left = set(free) - {each.evse_id for each in all_ if each.evse_id is not None}
        return "Accepted" if len(left) >= sum(each.evse_id is None for each in all_) else "Occupied"

    def standing(self, at: float) -> str:
        """Of the plan: the one issued last, of those that have begun."""
        begun = [each for each in self.plans.at(at) if each["begins_s"] - self.zero_s <= at]
        if not begun:
            return "active"
        ends_s = max(begun, key=lambda each: int(each["issue"]))["ends_s"] - self.zero_s
        return "active" if at < ends_s else "plan expired" if at < ends_s + PLAN_DAYS else "deactivated"

    def life(self, at: float) -> str:
        """By the table of docs/policy.md; "new": one that nobody may use until somebody activates it."""
        if self.is_owned.at(at) != "on":
            return "new"
        standing = self.standing(at)
        return "deactivated, free" if standing == "deactivated" and self.is_free_after.at(at) else standing

    def lives(self, at: float, around_s: float = 1.5) -> set[str]:
        return {self.life(at - around_s), self.life(at), self.life(at + around_s)}

    def seen_by(self, at: float) -> str:
        """On the map."""
        word, other = self.visible.at(at)
        return str(word or other or "everyone") if self.life(at) in ("active", "plan expired") else "nobody"

    def default(self, at: float, evse_id: int) -> str | None:
        """The id of the default tariff in force there."""
        begun = [each for each in self.defaults.at(at).get(evse_id, ()) if each.begins_s <= at]
        return max(begun, key=lambda each: each.begins_s).tariff_id if begun else None

    def on_display(
        self, at: float, evse_id: int | None, transaction_id: str | None, states: Collection[str]
    ) -> list[str]:
        """The texts of which one is shown, on a port's display or, with None, on the start page."""
        due = [
            each for each in self.held(at)
            if each.evse_id in (None, evse_id) and each.said.get("transactionId") in (None, transaction_id)
            and ("state" not in each.said or each.said["state"] in states) and self.has_begun(each, at)
        ]  # fmt: skip
        for priority in FRONT:
            if of := [each.said["message"]["content"] for each in due if each.said["priority"] == priority]:
                return of[-1:] if priority == FRONT[0] else of
        return []

    def has_begun(self, message: Shown, at: float) -> bool:
        begins = message.said.get("startDateTime")
        return begins is None or datetime.fromisoformat(begins).timestamp() - self.zero_s <= at
