"""What must be so of a life by the owner's books (tests/ownerbook.py): each tap, start and answer, and what was read.

Where two things happen within a second or two of each other, either order will do.
"""

import re
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from agent.policy.plan_token import EXP, NBF
from agent.sim.world import STATION_ID
from tests import clerk
from tests.ownerbook import OPEN, Book, Reserved, Sent, Session, Told
from tests.ownerwords import Json
from tests.policydays import Asked, Expected, Life, Seen

NEAR_S = 2.0  # two things at once
LATE_S = 30.0  # a station may be so late to see what has ended, and its controller to say so
DAY_S = 86_400.0
NEW, ENDED, KEPT, ONLY = "station not activated", "plan ended", "reserved", "needs a reservation"
NUMBERS = re.compile(r"(?:Port (\d+): )?(Message \d+\.)")


class BookJudge:
    def __init__(self, life: Life) -> None:
        self.life, self.site, self.told = life, life.site, life.site.told()
        self.book = Book(self.site.ports, self.site.machine.connectors, self.site.begins_s)
        self.book.is_free_after.values[0], self.book.is_reservable.values[0] = life.is_free_after, life.is_reservable
        file, flags = self.site.settings, {True: "true", False: "false"}
        of_file = {
            "AuthCtrlr.Enabled": flags[not file.free], "TxCtrlr.ConcurrentTx": flags[file.concurrent_tx],
            "AuthCtrlr.OfflineTxForUnknownIdEnabled": flags[file.offline_tx_for_unknown_id],
        }  # fmt: skip
        for name, value in of_file.items():
            self.book.settings[name].values[0] = value
        self.sent = {named: self.read(named, sent) for named, sent in self.site.sent.items()}
        self.book.write(self.told, self.sent)
        self.answers = {each.payload["commandId"]: each for each in self.told if each.action == "CommandResult"}

    def read(self, named: str, sent: Sent) -> Sent:
        """A plan token by its claims: its signature is not the engineer's business."""
        claims = self.life.plans.get(named)
        if claims is None:
            return sent
        plan = {"begins_s": claims[NBF], "ends_s": claims[EXP], "issue": claims["issue"]}
        return replace(sent, said=plan if sent.action == "PlanToken" else {**sent.said, "claims": plan})

    def judge(self) -> tuple[int, int, int]:
        """How many answers it has judged, panels with a message it has read, and changes of ownership it has seen."""
        assert not self.book.refused, self.book.refused
        self.reservations_end_for_a_reason()
        self.nobody_pays_for_what_was_not_kept()
        for each in self.told:
            if each.action == "TransactionEvent" and each.payload["eventType"] == "Started":
                session = self.book.sessions[each.payload["transactionInfo"]["transactionId"]]
                self.began_rightly(session, each)
        for tap in self.life.tapped:
            self.tap_came_to(tap)
        answered = sum(map(self.was_answered, self.life.asked))
        for named, answer in self.answers.items():
            if (sent := self.sent.get(named)) is not None and "response" in answer.payload:
                self.answer_is_right(answer, sent)
        self.cards_charge_once()
        read = sum(map(self.reads, self.site.seen))
        self.messages_are_told()
        return answered, read, len(self.book.is_owned.times) - 1

    # -- reservations

    def reservations_end_for_a_reason(self) -> None:
        station = self.site.shell.station if self.site.shell else None
        left = {each.number for each in self.book.reserved if each.until == OPEN}
        assert station is None or {each.reservation_id for each in station.owner.reservations} == left, left
        for each in self.book.reserved:
            if each.end.startswith("used by "):
                mine = self.book.sessions[each.end.removeprefix("used by ")]
                assert self.holds(each, mine), f"{each} of {mine}"
                assert each.evse_id in (None, mine.evse_id), f"{each} at {mine}"
            elif each.end == "Expired":
                assert each.until >= each.expires_s - 0.1, f"{each} has ended before its time"
            elif each.end == "Removed":
                assert self.is_hindered(each), f"{each}: its port was in service"

    def used_since_s(self, transaction_id: str) -> float:
        """When the reservation that this session has used was made, by the station's clock."""
        (mine,) = [each for each in self.book.reserved if each.end == f"used by {transaction_id}"]
        return self.made_s(mine) or 0.0

    def made_s(self, reserved: Reserved) -> float | None:
        return next(each.wall_s for each in self.answers.values() if each.at == reserved.since)

    def holds(self, reserved: Reserved, mine: Session) -> bool:
        return reserved.is_his(mine.card, self.groups_of(mine.transaction_id))

    def is_hindered(self, reserved: Reserved) -> bool:
        at = reserved.until
        every = range(1, self.site.ports + 1)
        of = every if reserved.evse_id is None else [reserved.evse_id]
        if any(abs(at - each) < NEAR_S for each in self.life.disturbed):  # a controller that was reset is a fault
            return True
        is_out = any(all(out & {0, each} for each in of) for out in self.book.out.around(at, 1.0, 0.1))
        return is_out or bool(self.book.lives(at) & {"new", "deactivated"})

    def nobody_pays_for_what_was_not_kept(self) -> None:
        """Of each that nobody has used the ledger has a row, and its cost is the record's, and the clerk's."""
        rows = {(row.reservation_id, row.end, row.cost) for row in self.site.ledger.no_shows(STATION_ID)}
        for each in self.site.cloud.log:
            if each.action != "ReservationStatusUpdate" or each.payload["reservationUpdateStatus"] == "Removed":
                continue
            number, end, custom = each.payload["reservationId"], each.payload["reservationUpdateStatus"], None
            if "customData" in each.payload:
                custom = each.payload["customData"]
            shown = f"{Decimal(custom['totalCost']):f} {custom['currency']}" if custom else None
            found = [row for row in rows if row[:2] == (number, end)]
            assert any(same(row[2], shown) for row in found), f"{each.payload}: the ledger {found}"
            if each.clock_source:
                self.clerk_agrees(each, custom)

    def clerk_agrees(self, record: Any, custom: Json | None) -> None:
        """That somebody had reserved, and by which tariff; that it costs nothing, too."""
        at = self.site.kernels[record.boot_id] + record.mono_ms / 1000
        number, ends_s = record.payload["reservationId"], record.wall_ms / 1000
        (mine,) = [each for each in self.book.reserved if each.number == number and each.until == at]
        if (since_s := self.made_s(mine)) is None:
            return
        named, is_known = self.tariffs_of(mine, at), record.payload["reservationUpdateStatus"] == "Expired"
        is_known &= named == self.tariffs_of(mine, at - NEAR_S) and len(self.book.lives(at)) == 1
        what = f"{record.payload}, at {at:.1f}: by hand {named}"
        if custom is not None:
            assert not is_known or custom["tariffId"] in named, what
            named = [custom["tariffId"]]
        elif not is_known or None in named or self.is_free(at):
            return
        forms = [self.life.tariffs[each] for each in named if each is not None]
        if not all(map(clerk.is_simple, forms)):
            return
        owed = min(self.owed(form, since_s, ends_s) for form in forms)
        doubt = max(clerk.dearest(form, part) for form in forms for part in ("reservationTime", "reservationFixed"))
        total = Decimal(custom["totalCost"] if custom else 0)
        assert clerk.agrees(total, (owed, doubt * 1e-3), forms[0]["currency"], 2), f"{what} {owed}, {forms}"

    def owed(self, form: Json, since_s: float, ends_s: float) -> float:
        return min(clerk.reservation(form, since_s, ends_s, self.life.zone), clerk.most(form))

    def tariffs_of(self, mine: Reserved, at: float) -> list[str | None]:
        """Of the group that the ReserveNow has named, else the default of its port; of one for any port, of each."""
        rules = self.life.group_tariffs[self.book.groups.at(at)]
        named = next((each["tariff"]["tariffId"] for each in rules if mine.group in each["groups"]), None)
        ports = range(1, self.site.ports + 1) if mine.evse_id is None else [mine.evse_id]
        return [named or self.book.default(at, each) for each in ports]

    # -- taps

    def tap_came_to(self, tap: Expected) -> None:
        """Each refusal for one of the owner's reasons has it, and nobody is let in against one."""
        at, said, book = tap.at, tap.outcome, self.book
        if said in ("stop", "ask", "") or not tap.has_time:
            return
        what = f"{at:.1f}: {tap.card} at port {tap.evse_id}: {said}; {sorted(tap.groups)}"
        lives = book.lives(at)
        if said == NEW:
            assert "new" in lives, f"{what}, and the station is {lives}"
        if said == ENDED:
            assert "deactivated" in lives, f"{what}, and the station is {lives}"
        if said == "start":
            assert lives - {"new", "deactivated"}, f"{what}, and the station is {lives}"
        freely = [self.is_free(at + off_s) for off_s in (-NEAR_S, 0.0, NEAR_S)]
        groups = frozenset() if all(freely) else tap.groups
        if any(freely) and not all(freely):
            return
        reservable = self.only_with_one(at)
        has_one = {book.has_one(at + off_s, tap.evse_id, tap.card, groups) for off_s in (-NEAR_S, 0.0, NEAR_S)}
        if said == ONLY:
            assert True in reservable and False in has_one, what
        kept = self.kept(at, tap.evse_id, tap.card, groups, tap.taken)
        if said == KEPT:
            assert True in kept, f"{what}, and it is kept for nobody else: {book.kept(at)}, taken {sorted(tap.taken)}"
        if said == "start":
            assert True in has_one or False in reservable, f"{what}, and he has no reservation"
            assert False in kept, f"{what}, and it is kept: {book.kept(at)}, taken {sorted(tap.taken)}"
            self.was_let_in(tap, what, groups, all(freely))

    def was_let_in(self, tap: Expected, what: str, groups: Collection[str], is_free: bool) -> None:
        settings = self.book.settings
        masters = settings["AuthCtrlr.MasterPassGroupId"].around(tap.at, NEAR_S, NEAR_S)
        assert is_free or not all(each and each in groups for each in masters), f"{what}, a master pass"
        rule = tap.said.rule if tap.said.decision == "start" else ""
        if rule == "unknown card, offline":
            allowed = settings["AuthCtrlr.OfflineTxForUnknownIdEnabled"].around(tap.at, NEAR_S, NEAR_S)
            assert "true" in allowed, what
        if rule:
            assert (rule == "free station") == is_free, f"{what} by {rule}, and the station is free: {is_free}"

    def is_free(self, at: float) -> bool:
        is_off = self.book.settings["AuthCtrlr.Enabled"].at(at) != "true"
        return is_off or self.book.life(at) == "deactivated, free"

    def only_with_one(self, at: float) -> set[bool]:
        return {
            self.book.is_reservable.at(at + off_s) and self.book.life(at + off_s) != "deactivated, free"
            for off_s in (-NEAR_S, 0.0, NEAR_S)
        }

    def kept(
        self, at: float, evse_id: int, card: str, groups: Collection[str], *taken: Collection[int]
    ) -> set[bool]:
        """Whether this port is kept for others, as far as one can tell: what comes and goes just now, may be or not."""
        found = set()
        for each in taken:
            for off_s in (-NEAR_S, 0.0, NEAR_S):
                free = self.free(at + off_s, each) | {evse_id}
                found.add(self.book.is_kept_for_others(at + off_s, evse_id, card, groups, free))
        return found

    def free(self, at: float, taken: Collection[int]) -> frozenset[int]:
        out = self.book.out.at(at)
        every = range(1, self.site.ports + 1)
        return frozenset(each for each in every if each not in taken and not out & {0, each})

    def groups_of(self, transaction_id: str) -> frozenset[str]:
        if (tapped := self.site.explained.get(transaction_id)) is not None:
            return tapped.groups
        began = self.book.began[transaction_id]
        return self.life.remotes.get(began["transactionInfo"].get("remoteStartId", 0), frozenset())

    # -- sessions

    def began_rightly(self, session: Session, began: Told) -> None:
        """By what was in force when its driver came, or when it began."""
        at, book, custom = began.at, self.book, began.payload["customData"]
        came = self.site.explained.get(session.transaction_id)
        early_s = max(NEAR_S, at - came.at + 1.0) if came else NEAR_S
        what = f"{at:.1f}: {began.payload}"
        if began.wall_s is None:
            return
        lives = book.lives(at)
        assert lives & {"active", "plan expired", "deactivated, free"}, f"{what}, and the station is {lives}"
        if custom["rule"] == "free station":
            assert self.was_free(session), what
        if "deactivated, free" in lives:
            is_for_nothing = custom["rule"] == "free station" and "tariffId" not in began.payload["transactionInfo"]
            assert is_for_nothing or len(lives) > 1, what
            return
        policies = book.access.around(at, early_s, NEAR_S)
        if came or None in policies:
            assert custom.get("accessPolicy") in policies, f"{what}, by hand {policies}"
        self.has_the_tariff_in_force(session, began, what)

    def has_the_tariff_in_force(self, session: Session, began: Told, what: str) -> None:
        """Of the cloud's answer, of his groups, else the default of the port."""
        at, custom = began.at, began.payload["customData"]
        if custom.get("tariffRule") == "tariff of the cloud's answer":
            return
        groups = self.groups_of(session.transaction_id)
        groups = frozenset() if custom["rule"] in ("free station", "unknown card, offline") else groups
        found = []
        for off_s in (-NEAR_S, 0.0, NEAR_S):
            rules = self.life.group_tariffs[self.book.groups.at(at + off_s)]
            named = next((each["tariff"]["tariffId"] for each in rules if groups & set(each["groups"])), None)
            found.append(named or self.book.default(at + off_s, session.evse_id))
        assert began.payload["transactionInfo"].get("tariffId") in found, f"{what}, by hand {found}, {sorted(groups)}"

    # -- answers

    def was_answered(self, asked: Asked) -> bool:
        """A ReserveNow, or a start from the cloud, by the ports as they were then."""
        answer, sent = self.answers.get(asked.command_id), self.sent[asked.command_id]
        if answer is None or answer.wall_s is None or asked.taken[0] != asked.taken[1]:
            return False
        if not asked.at <= answer.at <= asked.until:
            return False
        at, said, taken = answer.at - 0.001, answer.payload.get("response", {}).get("status"), asked.taken[0]
        lives = self.book.lives(at)
        if sent.action == "RequestStartTransaction":
            if said == "Accepted":
                card, groups = sent.said["idToken"]["idToken"], self.life.remotes[sent.said["remoteStartId"]]
                kept = self.kept(at, sent.said["evseId"], card, groups, taken)
                assert False in kept, f"{at:.1f}: {sent.said} is Accepted, kept {self.book.kept(at)}, taken {taken}"
                assert lives & {"active", "plan expired"}, f"{at:.1f}: {sent.said} is Accepted, and it is {lives}"
            return bool(said == "Accepted")
        if len(lives) > 1 or len(self.book.out.around(at)) > 1 or self.resets(at):
            return False
        is_shut, every = lives <= {"new", "deactivated"}, frozenset(range(1, self.site.ports + 1))
        out = every if is_shut else every - self.free(at, ())
        free = frozenset() if is_shut else self.free(at, taken)
        found, held = self.book.answer(at, sent.said, free, out), self.book.kept(at)
        assert said == found, f"{at:.1f}: {sent.said} is {said}, by hand {found}: taken {sorted(taken)}, kept {held}"
        return True

    def resets(self, at: float) -> bool:
        """A Reset waits for the last session: until then the ports that are free are out of service."""
        asked = (sent.at for sent in self.sent.values() if sent.action == "Reset" and sent.at <= at)
        return any(not self.was_off(each, at) for each in asked)

    def answer_is_right(self, answer: Told, sent: Sent) -> None:
        at, said = answer.at - 0.001, answer.payload["response"]
        what = f"{at:.1f}: {sent.action} {sent.said} is {said}"
        owned = self.book.is_owned.at(at)
        match sent.action:
            case "FactoryReset":
                runs = [each for each in self.book.sessions.values() if each.since <= at < each.until]
                assert said["status"] == ("Rejected" if runs else "Accepted"), f"{what}, {runs}"
            case "Transfer":
                assert said["status"] == "Accepted", what
                if owned != "taken":
                    self.sessions_ended(answer.at)
            case "Activation":
                may_refuse = owned != "on" or self.is_old(said) or self.is_first_and_early(at, said)
                assert said["status"] == "Accepted" or may_refuse, f"{what}, it was {owned}"
            case "GetVariables" if "getVariableResult" in said and answer.wall_s and len(self.book.lives(at)) == 1:
                self.variables_are_right(answer.at, said["getVariableResult"])
            case "SetVariables" if "setVariableResult" in said:
                self.settings_are_right(sent.said["setVariableData"], said["setVariableResult"], owned, what)
            case "SetDisplayMessage":
                self.message_is_right(answer.at, sent.said["message"], said, what)
            case "SendLocalList" if owned == "taken" and said["status"] == "Accepted":
                raise AssertionError(f"{what}, and the station is {owned}")

    def is_first_and_early(self, at: float, said: Json) -> bool:
        """Active by its config file alone, and something of it is not ready."""
        return self.is_early(said) and not any(
            self.sent[named].action == "Activation" and answer.payload["response"].get("status") == "Accepted"
            for named, answer in self.answers.items()
            if named in self.sent and answer.at < at and "response" in answer.payload
        )

    def is_early(self, said: Json) -> bool:
        return bool(said.get("statusInfo", {}).get("reasonCode") == "NotReady")

    def is_old(self, said: Json) -> bool:
        """An access policy or plan token came late, and so did all that was with it."""
        why = said.get("statusInfo", {}).get("additionalInfo", "")
        return "is in force" in why or "newest" in why

    def sessions_ended(self, at: float) -> None:
        for each in self.book.sessions.values():
            if each.since < at - NEAR_S and each.until > at + LATE_S:
                assert self.was_off(at, at + LATE_S), f"{each} goes on, and the station was taken at {at:.1f}"

    def was_off(self, from_s: float, to_s: float) -> bool:
        """Somebody has cut its power, or it was restarted."""
        return any(from_s <= each <= to_s for each in self.site.gone_at)

    def variables_are_right(self, at: float, results: list[Json]) -> None:
        book, before = self.book, at - 0.001
        found = {f"{each['component']['name']}.{each['variable']['name']}": each["attributeValue"] for each in results}
        is_on = book.is_owned.at(before) == "on"
        what = f"{at:.1f}: {found}; {book.is_owned.at(before)}, {book.standing(before)}"
        assert found["ChargingStation.Activated"] == ("true" if is_on else "false"), what
        assert found["ChargingStation.Visibility"] == book.seen_by(before), what
        life = found["ChargingStation.LifeCycle"]
        owned = book.is_owned.at(before)
        news = {"off": {"ready", "installed"}, "taken": {"transferred"}, "reset": {"provisioned", "ready", "installed"}}
        assert life in news.get(owned, {book.life(before)}), what
        for name, line in book.settings.items():
            assert not is_on or found[name] == line.at(before), f"{name}: {what}, by hand {line.at(before)}"

    def settings_are_right(self, items: list[Json], results: list[Json], owned: str, what: str) -> None:
        for item, verdict in zip(items, results, strict=True):
            name = f"{item['component']['name']}.{item['variable']['name']}"
            value, is_taken = item["attributeValue"], verdict["attributeStatus"] == "Accepted"
            if name == "ChargingStation.Activated":
                assert is_taken == (value == "false" or owned in ("on", "off")), f"{what}, it was {owned}"
            elif name == "TxCtrlr.EVConnectionTimeOut":
                assert is_taken == (10 <= int(value) <= 600), what
            elif name == "AuthCtrlr.MasterPassGroupId":
                assert is_taken == (len(value) <= 255), what
            else:
                assert is_taken == (value in ("true", "false")), what

    # -- cards

    def cards_charge_once(self) -> None:
        """At one port at a time, unless the owner allows more."""
        runs = sorted(self.book.sessions.values(), key=lambda each: each.since)
        for number, later in enumerate(runs):
            for each in runs[:number]:
                if later.card and each.card == later.card and each.until > later.since + NEAR_S:
                    came = self.site.explained.get(later.transaction_id)
                    early_s = later.since - came.at if came else NEAR_S
                    allowed = self.book.settings["TxCtrlr.ConcurrentTx"].around(later.since, early_s + NEAR_S, NEAR_S)
                    assert "true" in allowed or self.was_free(later), f"{later} and {each}"

    def was_free(self, session: Session) -> bool:
        return any(self.is_free(session.since - early_s) for early_s in (0.0, 60.0, 600.0))

    # -- the panel

    def reads(self, seen: Seen) -> bool:
        at, book = seen.at, self.book
        titles, owned = book.title.around(at, NEAR_S, NEAR_S), book.is_owned.around(at, NEAR_S, NEAR_S)
        if set(owned) <= {"on", "off"}:  # "": its owner has not said yet how it is called
            assert any(seen.title.startswith(each) for each in titles), f"{at:.1f}: reads {seen.title!r}, not {titles}"
        if not seen.has_time or not set(owned) <= {"on", "off"}:
            return False
        is_read = bool(seen.note)
        for evse_id, port in enumerate(seen.ports, 1):
            mine = book.sessions.get(port.transaction_id or "")
            if mine and mine.until <= at:  # it ran on, and ended with the station's power: its end was set back
                continue
            texts = [set(self.due(at + off_s, evse_id, port.transaction_id, [port.state])) for off_s in (-NEAR_S, 0.0)]
            read = {text for _, text in NUMBERS.findall(port.note)}
            what = f"{at:.1f}: at port {evse_id} ({port.state}) it reads {port.note!r}, not one of {texts}"
            assert any(read <= each and bool(read) == bool(each) for each in texts), what
            is_read |= bool(read)
        read = {text for number, text in NUMBERS.findall(seen.note) if not number}
        states = [port.state for port in seen.ports]
        due = [set(self.due(at + off_s, None, None, states)) for off_s in (-NEAR_S, 0.0)]
        what = f"{at:.1f}: the start page reads {seen.note!r}, not one of {due}, {states}"
        assert any(read <= each and bool(read) == bool(each) for each in due), what
        return is_read

    def due(self, at: float, evse_id: int | None, transaction_id: str | None, states: Collection[str]) -> list[str]:
        return self.book.on_display(at, evse_id, transaction_id, states)

    def message_is_right(self, at: float, message: Json, said: Json, what: str) -> None:
        content, expected = message["message"], "Accepted"
        runs = {each.transaction_id: each for each in self.book.sessions.values() if each.since <= at < each.until}
        evse_id, named = message.get("display", {}).get("evse", {}).get("id"), message.get("transactionId")
        ends = datetime.fromisoformat(message["endDateTime"]).timestamp() if "endDateTime" in message else OPEN
        begins = datetime.fromisoformat(message["startDateTime"]).timestamp() if "startDateTime" in message else -OPEN
        ports = {runs[named].evse_id} if named in runs else set(range(1, self.site.ports + 1))
        is_elsewhere = evse_id is not None and evse_id not in ports
        if named and named not in runs:
            expected = "UnknownTransaction"
        elif message.get("state") == "Discharging":
            expected = "NotSupportedState"
        elif content["format"] == "HTML":
            expected = "NotSupportedMessageFormat"
        elif content.get("language") == "tlh":
            expected = "LanguageNotSupported"
        elif is_elsewhere or "\n" in content["content"] or ends <= begins or ends - self.site.begins_s <= at:
            expected = "Rejected"
        held = [each for each in self.book.held(at - 0.001) if each.number != message["id"]]
        is_near = any(abs(each.until - at) < NEAR_S for each in self.book.messages)
        is_near |= any(abs(each.until - at) < NEAR_S for each in self.book.sessions.values())
        if self.book.is_owned.at(at - 0.001) in ("taken", "reset") and self.is_early(said):
            return
        if expected != said["status"] and not is_near and len(held) < 16:
            raise AssertionError(f"{what}, not {expected}")

    def messages_are_told(self) -> None:
        """What GetDisplayMessages brings is what is there."""
        for named, sent in self.sent.items():
            answer = self.answers.get(named)
            if sent.action != "GetDisplayMessages" or answer is None or self.book.is_owned.at(answer.at) != "on":
                continue
            told = [
                info for each in self.told
                if each.action == "NotifyDisplayMessages" and each.payload["requestId"] == sent.said["requestId"]
                for info in each.payload["messageInfo"]
            ]  # fmt: skip
            wanted = ("priority", "state")
            found = [
                {each.number for each in self.book.held(answer.at + off_s)
                 if all(sent.said.get(name) in (None, each.said.get(name)) for name in wanted)}
                for off_s in (-NEAR_S, 0.0, NEAR_S)
            ]  # fmt: skip
            unsure, ids = self.may_be_there(answer.at), {each["id"] for each in told}
            is_right = any(ids - unsure == each - unsure for each in found)
            assert is_right, f"{answer.at:.1f}: {sent.said}: {told}, by hand {found}"

    def may_be_there(self, at: float) -> set[int]:
        """Messages of sessions that had ended, if the station died later: perhaps they ended by that, and their end was
        set back to the last that was known of them."""
        return {
            each.number for each in self.book.messages
            if "transactionId" in each.said and each.since <= at
            and any(each.until <= at <= gone_at for gone_at in self.site.gone_at)
        }  # fmt: skip


def same(one: str | None, other: str | None) -> bool:
    """Amounts with their currency, however many zeros they have."""
    if one is None or other is None:
        return one is other
    (amount, unit), (another, of) = one.split(), other.split()
    return unit == of and Decimal(amount) == Decimal(another)
