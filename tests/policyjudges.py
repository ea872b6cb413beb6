"""What must be so of a life that tests/policydays.py has lived: its judges know nothing of the station's code.

One total on the panel, in the record and in the ledger, and, where he can do it, the clerk's (tests/clerk.py). Nobody
charged whom the owner had not let in. Each word about it names its rule. Nothing is lost or doubled.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from agent.sim.world import STATION_ID
from tests import clerk
from tests.bookjudges import BookJudge
from tests.ownerwords import Json
from tests.policydays import Life


@dataclass(slots=True)
class Verdict:
    sessions: int = 0
    priced: int = 0
    worked_out: int = 0
    walked: int = 0
    explained: int = 0
    refusals: int = 0
    answered: int = 0  # ReserveNow and starts from the cloud, by the ports as they were
    read: int = 0  # panels with a message of the owner
    owned: int = 0  # activations, and the station taken from its owner

    def __add__(self, other: "Verdict") -> "Verdict":
        return Verdict(*(getattr(self, name) + getattr(other, name) for name in Verdict.__slots__))


def judged(life: Life) -> Verdict:
    """All that must be so of these days. AssertionError with the seed."""
    try:
        return Judge(life).judge()
    except AssertionError as error:
        raise AssertionError(f"seed {life.seed}: {error}") from error


class Judge:
    def __init__(self, life: Life) -> None:
        self.life, self.site, self.cloud = life, life.site, life.site.cloud
        self.bills = {each.transaction_id: each for each in self.site.ledger.sessions(STATION_ID)}
        self.lines: dict[str, dict[int, Any]] = {}
        for record in self.cloud.log:
            if record.action == "TransactionEvent":
                of = self.lines.setdefault(record.payload["transactionInfo"]["transactionId"], {})
                of[record.payload["seqNo"]] = record
        results = [record for record in self.cloud.log if record.action == "CommandResult"]
        self.by_the_books = BookJudge(life)
        self.answers: dict[str, Any] = {record.payload["commandId"]: record for record in results}

    def judge(self) -> Verdict:
        verdict = Verdict(refusals=self.life.refusals)
        self.nothing_lost_or_doubled()
        for transaction_id, of in self.lines.items():
            records = [of[n] for n in sorted(of)]
            began, ended = records[0].payload, records[-1].payload
            assert began["eventType"] == "Started" and ended["eventType"] == "Ended", transaction_id
            verdict.sessions += 1
            verdict.priced += self.one_total(transaction_id, records)
            verdict.worked_out += self.clerk_agrees(transaction_id, records)
            verdict.walked += self.was_allowed(transaction_id, records)
            verdict.explained += self.was_explained(transaction_id, began)
            self.had_his_tariff(transaction_id, began)
        self.refusals_say_why()
        verdict.answered, verdict.read, verdict.owned = self.by_the_books.judge()
        return verdict

    def nothing_lost_or_doubled(self) -> None:
        assert self.cloud.violations == [], self.cloud.violations
        report = self.site.ledger.report().stations[STATION_ID]
        assert not report.violations, report.violations
        assert not self.site.unnamed, f"began under a policy, and do not say under which: {self.site.unnamed}"
        assert set(self.bills) == set(self.cloud.sessions) == set(self.lines) == set(self.site.totals)
        billed_wh = sum(each.energy_wh for each in self.cloud.sessions.values())
        flowed_wh = sum(self.site.register_wh(port) for port in range(1, self.site.ports + 1))
        assert billed_wh <= flowed_wh + len(self.bills), f"{billed_wh} Wh billed, {flowed_wh} Wh flowed"

    # -- panel = record = ledger

    def one_total(self, transaction_id: str, records: list[Any]) -> bool:
        ended, bill = records[-1].payload, self.bills[transaction_id]
        for record in records[:-1]:
            payload = record.payload
            if "costDetails" in payload:
                shown = self.site.running.get((transaction_id, payload["seqNo"]))
                told = payload["costDetails"]["totalCost"]
                assert shown is None or same(shown, told), f"{transaction_id} {payload['seqNo']}: {shown}, {told}"
        shown = self.site.totals[transaction_id]
        if "tariffId" not in records[0].payload["transactionInfo"]:
            assert "costDetails" not in ended and shown == "" and bill.cost is None, (transaction_id, shown, bill)
            return False
        told = ended["costDetails"]["totalCost"]
        assert same(shown, told), f"{transaction_id}: the panel {shown}, the record {told['total']}"
        assert bill.cost is not None and same(bill.cost, told), f"{transaction_id}: the ledger {bill.cost}, {told}"
        return True

    def clerk_agrees(self, transaction_id: str, records: list[Any]) -> bool:
        """Where he can do it by hand."""
        first, last = records[0], records[-1]
        if "tariffId" not in first.payload["transactionInfo"]:
            return False
        details = last.payload["costDetails"]
        if "timeUnknown" in details["customData"] or any(not each.clock_source for each in records):
            return False
        began_s, ended_s = first.wall_ms / 1000, last.wall_ms / 1000
        if any(began_s - 60 <= self.site.begins_s + at <= ended_s + 60 for at in self.life.disturbed):
            return False
        changes = [each.payload for each in records if each.payload["triggerReason"] == "TariffChanged"]
        named = [first.payload, *changes]
        forms = [self.life.tariffs[each["transactionInfo"]["tariffId"]] for each in named]
        if not all(map(clerk.is_simple, forms)):
            return False
        lines = [
            clerk.Line(
                each.boot_id, each.mono_ms / 1000, each.wall_ms / 1000,
                each.payload["meterValue"][0]["sampledValue"][0]["value"],
                each.payload["transactionInfo"].get("chargingState", ""), each.payload["triggerReason"],
            )
            for each in records
        ]  # fmt: skip
        turned = self.site.turned.get(transaction_id)
        since_s = self.reserved_since_s(first.payload.get("reservationId"), transaction_id)
        worked_out = clerk.bill(forms, lines, self.life.zone, since_s, billed_s(details["totalUsage"]), turned)
        total = Decimal(repr(details["totalCost"]["total"]["inclTax"]))
        said = f"{transaction_id}: {total}, by hand {worked_out}; {forms}; {lines}; reserved {since_s}"
        assert clerk.agrees(total, worked_out, forms[0]["currency"], len(lines)), said
        return True

    def reserved_since_s(self, reservation_id: int | None, transaction_id: str) -> float | None:
        if reservation_id is None:
            return None
        return self.by_the_books.used_since_s(transaction_id)

    # -- who, when, why

    def was_allowed(self, transaction_id: str, records: list[Any]) -> bool:
        """By the policy that it names: at its start, or at most a minute before, when its driver came; and if the owner
        has said so not beyond closing time."""
        first = records[0]
        custom = first.payload["customData"]
        assert custom["rule"] and "listVersion" in custom, custom
        if "accessPolicy" not in custom:
            return False
        policy = self.life.policies[custom["accessPolicy"]]
        assert custom["accessRule"] in [rule["name"] for rule in policy["rules"]]
        if not first.clock_source:
            return False
        began_s = first.wall_ms / 1000
        groups, is_connected = self.standing(transaction_id, first.payload)
        came = self.site.explained.get(transaction_id)
        found = [
            clerk.deciding_rule(policy, groups, began_s - early_s, self.life.zone, is_connected=is_connected)
            for early_s in (0.0, 2.0, 61.0, *([began_s - self.site.begins_s - came.at] if came else []))
        ]
        assert custom["accessRule"] in found, f"{transaction_id}: {custom}, by hand {found}, {groups}, {policy}"
        return True

    def standing(self, transaction_id: str, began: Json) -> tuple[frozenset[str], bool]:
        """(groups, whether approved) of who has begun a session. A free station asks nobody who he is, and whom an
        offline station does not know has no groups there."""
        if began["customData"]["rule"] in ("free station", "unknown card, offline"):
            return frozenset(), False
        if (tapped := self.site.explained.get(transaction_id)) is not None:
            return tapped.groups, tapped.is_connected
        remote = self.life.remotes.get(began["transactionInfo"].get("remoteStartId", 0))
        return (frozenset(), False) if remote is None else (remote, True)

    def had_his_tariff(self, transaction_id: str, began: Json) -> None:
        """Of his groups' the owner's first; one that the cloud has sent for him alone comes before it."""
        if transaction_id not in self.site.group_tariffs or began["customData"]["rule"] == "free station":
            return
        groups, _ = self.standing(transaction_id, began)
        rules = self.life.group_tariffs[self.site.group_tariffs[transaction_id]]
        named = next((each["tariff"]["tariffId"] for each in rules if groups & set(each["groups"])), None)
        said = began["customData"].get("tariffRule")
        found = began["transactionInfo"].get("tariffId")
        if said == "tariff of the cloud's answer":
            assert found in self.life.answered, (transaction_id, began)
        elif named:
            assert (said, found) == ("tariff of the group", named), f"{transaction_id}: {began}, by hand {named}"
        else:
            assert said in ("default tariff", None), (transaction_id, began)

    def was_explained(self, transaction_id: str, began: Json) -> bool:
        tapped = self.site.explained.get(transaction_id)
        if tapped is None or tapped.said.decision != "start":
            return False
        said = tapped.said
        custom = began["customData"]
        assert said.rule == custom["rule"], f"{transaction_id}: {said} and {custom}"
        assert said.access_policy == custom.get("accessPolicy", ""), f"{transaction_id}: {said} and {custom}"
        assert repr(custom["accessRule"]) in said.rules[-1][1] if "accessRule" in custom else True
        if self.has_changed_since(tapped.at, transaction_id):
            return True
        named = f"{began['transactionInfo'].get('tariffId')}, version {custom.get('tariffVersion')}"
        assert named in said.tariff if "tariffRule" in custom else said.tariff == "no tariff", (said, began)
        assert said.tariff.startswith(custom.get("tariffRule", "no tariff"))
        return True

    def has_changed_since(self, at: float, transaction_id: str) -> bool:
        """The tariffs, between the tap and the session."""
        mine = self.by_the_books.book.sessions[transaction_id]
        times = (*self.by_the_books.book.defaults.times, *self.by_the_books.book.groups.times)
        return any(at <= each <= mine.since + 1 for each in times)

    def refusals_say_why(self) -> None:
        for record in self.cloud.log:
            for event in record.payload.get("eventData", ()) if record.action == "NotifyEvent" else ():
                if event["component"]["name"] == "TokenReader" and event["actualValue"] in self.life.reasons:
                    assert event["customData"]["rule"] and "listVersion" in event["customData"], event


def same(text: str, cost: Json) -> bool:
    """12.30 EUR and the numbers of a record."""
    amount, _, currency = text.partition(" ")
    return currency == cost["currency"] and Decimal(amount) == Decimal(repr(cost["total"]["inclTax"]))


def billed_s(usage: Json) -> dict[str, float]:
    """What is billed as charging and as idle time, of OCPP's totals: all of it, and all of it without energy."""
    held_back_s = usage.get("customData", {}).get("suspendedTime", 0)
    return {"chargingTime": usage["chargingTime"] - usage["idleTime"], "idleTime": usage["idleTime"] - held_back_s}
