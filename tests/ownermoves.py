"""What an owner does besides: the rest of his decisions, drawn from the same seed, in lives of their own.

Reservations that replace another, for a type of connector, for any port; messages on the display; settings; the station
switched off and on, activated anew, given to another owner, put into the factory's state and installed again.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from agent.clock import iso8601
from agent.effects import Save
from agent.policy.plan_token import CTI, EXP, NBF, SUB
from agent.sim.world import STATION_ID
from agent.wizard.facts import Step
from tests import ownerwords
from tests.ownerbook import FRONT, SWITCHES
from tests.ownerwords import GROUPS, Json
from tests.play import cwt
from tests.policydays import CARDS, CERTIFIED, DAY_S, HOUR_S, Life
from tests.test_life import WIZARD

TYPES = ("cType2", "cType1", "s309-1P-16A")
VALUES = {  # of each setting, the bad ones last
    "ReservationCtrlr.Enabled": ("true", "true", "true", "false", "sometimes"),
    "AuthCtrlr.Enabled": ("true", "true", "true", "false", "1"),
    "AuthCtrlr.OfflineTxForUnknownIdEnabled": ("true", "false", ""),
    "TxCtrlr.ConcurrentTx": ("true", "false", "yes"),
    "TxCtrlr.EVConnectionTimeOut": ("10", "45", "120", "600", "9", "601"),
    "AuthCtrlr.MasterPassGroupId": ("", "", "vips", "x" * 256),
}
assert VALUES.keys() == SWITCHES.keys()
ASKED = ("LifeCycle", "Visibility", "Activated", "Owner")  # of the component ChargingStation


class WideLife(Life):
    looks = True

    def __init__(self, seed: int, days: float) -> None:
        super().__init__(seed, days)
        self.more = random.Random(f"{seed}, and more")
        kinds = (self.more.choice(TYPES), self.more.choice(TYPES))
        self.connectors = kinds[: self.site.ports]
        self.site.machine = replace(CERTIFIED, connectors=self.connectors)
        self.site.waits_s = 605.0  # EVConnectionTimeOut may be 600 s
        self.activation: Json = {}  # the last that was sent
        self.happenings = 0

    def _happen(self) -> None:
        self._owned_again()
        self.happenings += 1
        if self.happenings % 5 == 0:
            self._ask()
        if self.more.random() < 0.5:
            super()._happen()
            return
        chances: dict[Callable[[], None], int] = {
            self._reserve_again: 4, self._reserve_typed: 3, self._reserve_any: 4, self._messages: 5, self._ask: 2,
            self._set: 5, self._activate: 2, self._switch: 1, self._give_away: 1, self._factory: 1,
        }  # fmt: skip
        (what,) = self.more.choices(list(chances), list(chances.values()))
        what()

    # -- reservations

    def _request(self, **more: Any) -> Json:
        rng = self.more
        for evse_id in range(1, self.site.ports + 1):
            if rng.random() < 0.6 and self.site.controller.bays[evse_id - 1].car is not None:
                self._leave(evse_id)
        if rng.random() < 0.3:
            more["groupIdToken"] = {"idToken": rng.choice(GROUPS), "type": "Central"}
        later_s = rng.choice((300, 1_800, 2 * HOUR_S, 6 * HOUR_S, 12 * HOUR_S)) if rng.random() < 0.95 else -60
        return {
            "id": self.number(), "idToken": {"idToken": rng.choice(CARDS), "type": "ISO14443"},
            "expiryDateTime": iso8601(self.site.true_wall_s() + later_s), **more,
        }  # fmt: skip

    def _reserve_again(self) -> None:
        """The same number, mostly another port or driver or time."""
        rng = self.more
        if not self.reservations or rng.random() < 0.5:
            self._reserve_any()
        before = rng.choice(list(self.reservations.values())[-3:])
        changed = self._request(**({"evseId": rng.randint(1, self.site.ports)} if rng.random() < 0.6 else {}))
        self._reserved({**(changed if rng.random() < 0.8 else before), "id": before["id"]})
        self._he_comes(changed["idToken"]["idToken"])

    def _reserve_typed(self) -> None:
        more: Json = {"connectorType": self.more.choice((*self.connectors, *TYPES))}
        if self.more.random() < 0.3:
            more["evseId"] = self.more.randint(1, self.site.ports)
        self._reserved(request := self._request(**more))
        self._he_comes(request["idToken"]["idToken"])

    def _reserve_any(self) -> None:
        for _ in range(self.more.choice((1, 1, 2))):
            self._reserved(request := self._request(**({"evseId": 9} if self.more.random() < 0.05 else {})))
        self._he_comes(request["idToken"]["idToken"])

    def _he_comes(self, card: str) -> None:
        """Somebody does, sooner or later: mostly who has reserved."""
        rng, site = self.more, self.site
        site.run(rng.choice((5.0, rng.uniform(60, 3_000))))
        evse_id = rng.randint(1, site.ports)
        if rng.random() < 0.3:
            self._tap(rng.choice((card, *CARDS)), evse_id)  # and nobody plugs in, or somebody later
        elif site.controller.bays[evse_id - 1].car is None:
            self._come(evse_id) if rng.random() < 0.4 else self._drive_in(card, evse_id)

    def _drive_in(self, card: str, evse_id: int) -> None:
        self.site.plug(evse_id, self._car()).run(5.0)
        self._tap(card, evse_id)

    # -- the display

    def _messages(self) -> None:
        for _ in range(self.more.choice((1, 2, 3))):
            self._message()

    def _message(self) -> None:
        rng, site = self.more, self.site
        ids = [sent.said["message"]["id"] for sent in site.sent.values() if sent.action == "SetDisplayMessage"][-6:]
        if ids and rng.random() < 0.25:
            site.command("ClearDisplayMessage", id=rng.choice(ids)).run(2.0)
            return
        number, wall_s = self.number(), site.true_wall_s()
        said: Json = {
            "id": rng.choice(ids) if ids and rng.random() < 0.3 else number, "priority": rng.choice(FRONT),
            "message": {"format": rng.choice(("ASCII", "UTF8")), "content": f"Message {number}."},
        }  # fmt: skip
        if rng.random() < 0.3:
            said["state"] = rng.choice(("Idle", "Charging", "Suspended", "Unavailable", "Faulted"))
        if rng.random() < 0.3:
            said["startDateTime"] = iso8601(wall_s + rng.choice((-60, HOUR_S, 6 * HOUR_S)))
        if rng.random() < 0.4:
            said["endDateTime"] = iso8601(wall_s + rng.choice((7 * HOUR_S, DAY_S, 2 * DAY_S)))
        if rng.random() < 0.4:
            said["display"] = {"name": "Display", "evse": {"id": rng.randint(1, site.ports)}}
        running = [port.transaction for port in site.shell.station.ports if port.transaction] if site.shell else []
        if running and rng.random() < 0.3:
            said["transactionId"] = rng.choice(running).transaction_id
        site.command("SetDisplayMessage", message=said | (self._wrong() if rng.random() < 0.1 else {})).run(2.0)

    def _wrong(self) -> Json:
        """What no display here can say."""
        content = {"format": "UTF8", "content": "Nobody reads this."}
        return self.more.choice((
            {"state": "Discharging"}, {"message": content | {"language": "tlh"}}, {"transactionId": "of nobody here"},
            {"message": content | {"format": "HTML"}}, {"display": {"name": "Display", "evse": {"id": 9}}},
            {"endDateTime": iso8601(self.site.true_wall_s() - HOUR_S)}, {"message": content | {"content": "a\nb"}},
        ))  # fmt: skip

    # -- settings, and what the cloud can read

    def _set(self) -> None:
        rng, data = self.more, []
        for name in rng.sample(list(VALUES), rng.choice((1, 1, 2))):
            component, variable = name.split(".")
            value = rng.choice(VALUES[name])
            data.append({"component": {"name": component}, "variable": {"name": variable}, "attributeValue": value})
        self.site.command("SetVariables", setVariableData=data).run(2.0)

    def _ask(self) -> None:
        asked = [{"component": {"name": "ChargingStation"}, "variable": {"name": name}} for name in ASKED]
        for name in SWITCHES:
            component, variable = name.split(".")
            asked.append({"component": {"name": component}, "variable": {"name": variable}})
        self.site.command("GetVariables", getVariableData=asked).run(2.0)
        narrow = self.more.choice(({}, {"priority": self.more.choice(FRONT)}, {"state": "Idle"}))
        self.site.command("GetDisplayMessages", requestId=self.number(), **narrow).run(2.0)

    # -- whose it is

    def _switched(self, value: str) -> None:
        named = {"component": {"name": "ChargingStation"}, "variable": {"name": "Activated"}, "attributeValue": value}
        self.site.command("SetVariables", setVariableData=[named]).run(2.0)

    def _switch(self) -> None:
        """Off, and soon on again; or by an activation."""
        self._switched("false")
        self.site.run(self.more.uniform(60, 2 * HOUR_S))
        self._somebody()
        if self.more.random() < 0.8:
            self._switched("true")

    def _activate(self) -> None:
        """To change something, or the same again."""
        rng, site = self.more, self.site
        if self.activation and rng.random() < 0.2:
            self._ours("Activation", self.activation)
            site.run(2.0)
            return
        said: Json = {"name": f"Yard {self.number()}", "owner": rng.choice(("Acme", "Bolt & Sons", "Ćevap d.o.o."))}
        for name, values in (("afterPlan", ("free", "closed")), ("visibility", ("everyone", "usable", "nobody")),
                             ("contact", ("yard@acme.example",))):  # fmt: skip
            if rng.random() < 0.5:
                said[name] = rng.choice(values)
        if rng.random() < 0.1:
            said["reservable"] = True
        if rng.random() < 0.3:
            said["accessPolicy"] = ownerwords.access_policy(self.rng, self.number(), self.days)
            said["accessPolicy"].pop("visible") if "visibility" in said or rng.random() < 0.5 else None
            policy = said["accessPolicy"]
            self.policies[f"{policy['policyId']}@{policy['version']}"] = policy
        if rng.random() < 0.3:
            said["defaultTariff"] = self._tariff()
        if rng.random() < 0.2:
            version, group = str(self.number()), rng.choice(GROUPS)
            rules = [{"groups": [group], "tariff": self._tariff()}]
            self.group_tariffs[version] = rules
            said["groupTariffs"] = {"version": version, "rules": rules}
        claims: dict[Any, Any] = {}
        if rng.random() < 0.3:
            number, now_s = self.number(), int(site.true_wall_s())
            claims = {SUB: STATION_ID, CTI: bytes([2, number % 256]), NBF: now_s - 60,
                      EXP: now_s + round(300 * DAY_S), "issue": number, "plan": "Basic"}  # fmt: skip
            said["planToken"] = cwt(claims, site._key)
        self.activation = said
        named = self._ours("Activation", said)
        if claims:
            self.plans[named] = claims
        site.run(5.0)

    def _give_away(self) -> None:
        """Whatever happens meanwhile: it is taken, and wiped when what it owes is delivered, or after its wait."""
        rng, site = self.more, self.site
        is_far = rng.random() < 0.3
        self.transfers.add(self._ours("Transfer", {"waitS": rng.choice((0, 600, round(DAY_S)))}))
        site.run(rng.choice((0.5, 20.0)))
        if is_far:
            site.net.cut()
        if rng.random() < 0.3:
            self._power()
        if rng.random() < 0.3:
            self._switched("true")
        site.run(rng.uniform(10, 2 * HOUR_S))
        self._somebody()
        if is_far:
            site.net.mend()
            site.run(60.0)
        if rng.random() < 0.2:
            self._ours("Transfer", {"waitS": 0})
        if rng.random() < 0.2:
            self._ours("FactoryReset", {})
            site.run(5.0)
            self._switched("true")

    def _factory(self) -> None:
        self._ours("FactoryReset", {})
        self.site.run(10.0)
        self._switched("true" if self.more.random() < 0.5 else "false")
        self._somebody()

    def _owned_again(self) -> None:
        """An installer has been there, if he has to; then somebody activates it, and sends what is his."""
        rng, site = self.more, self.site
        if site.shell is None or rng.random() < 0.3:
            return
        if Step.HAND_OVER not in site.shell.station.wizard.done:
            self._activate()  # refused
            site.cut_power().run(60.0)
            site.disk.mount(bytes(8)).commit([Save("wizard", self._wizard())])
            site.power_on().run(60.0)
        if self._is_nobodys():
            self._activate()
            if rng.random() < 0.9:
                self._send_list()
                self._access()
                self._default()

    def _is_nobodys(self) -> bool:
        shell = self.site.shell
        return shell is not None and not shell.station.settings.activated and not shell.station.owner.leaving

    def _wizard(self) -> Json:
        return {**WIZARD, "settings": {"circuit_limit_ma": self.site.settings.circuit_limit_ma}, "breaker_ma": 80_000}
