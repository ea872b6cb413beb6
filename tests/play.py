"""A station in the hand: events in, records and wishes out, the allowlist a dict. Time moves when the story says so."""

from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent import zones
from agent.clock import Clock, ClockSource
from agent.core import born, handle, next_deadline
from agent.effects import (
    Announce,
    AskList,
    AskOnline,
    Commission,
    Effect,
    FindPlace,
    HangUp,
    Live,
    LoadZone,
    Lookup,
    PortCommand,
    Record,
    Remember,
    Restart,
    Save,
    UpdaterWish,
    Wipe,
    Wish,
)
from agent.events import (
    CardTapped,
    ClockTold,
    ControllerFound,
    Cp,
    Deadline,
    Entry,
    Event,
    LookedUp,
    Machine,
    PlaceFound,
    PortReported,
    Report,
    ZoneLoaded,
)
from agent.policy.reasons import Reason
from agent.port import Port
from agent.settings import Settings
from agent.station import Boot, BootReason, boot_reason
from agent.uplink.codec import to_cbor
from agent.uplink.commands import Command, Refusal, to_event
from agent.uplink.cwt import TAG_61
from agent.uplink.messages import COMMANDS, from_wire
from agent.uplink.operator import key_id
from agent.uplink.signed import sign
from agent.wizard.places import Place
from tests import referee

Json = dict[str, Any]

OPERATOR = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEYS = {key_id(OPERATOR.public_key()): OPERATOR.public_key()}

WALL_S = 1_790_000_000.0
ANN, BOB, EVE = "04A1A1A1", "04B2B2B2", "04E5E5E5"


def cwt(claims: Any, key: Ed25519PrivateKey = OPERATOR) -> str:
    """A plan token as the operator sends it."""
    return b64encode(TAG_61 + sign(to_cbor(claims), key_id(key.public_key()), key)).decode()


class Play:
    def __init__(
        self,
        settings: Settings | None = None,
        *,
        ports: int = 2,
        allow: Mapping[str, Entry] | None = None,
        cached: Mapping[str, Entry] | None = None,
        facts: Mapping[str, Any] | None = None,
        boot: Boot | None = None,
        wall_s: float | None = WALL_S,
        now: float = 0.0,
        plug: bool = True,
        machine: Machine | None = None,
        board: Settings | None = None,
        places: Callable[[float, float], Place] = lambda latitude, longitude: Place(),
    ) -> None:
        self.allow = {ANN: Entry(), BOB: Entry()} if allow is None else dict(allow)
        self.cached = dict(cached or {})
        self.now = now
        self.records: list[Record] = []
        self.asked: list[AskOnline] = []
        self.list_asked_at: list[float] = []
        self.remembered: list[Remember] = []
        self.announced: list[str] = []
        self.live: list[Live] = []
        self.restarts = self.hang_ups = self.wipes = 0
        self.commissioned: list[Commission] = []
        self.updater: UpdaterWish | None = None  # what it was told last
        self.wishes = 0  # how often it was told something
        self.places = places
        self.commands = 0
        self.facts: dict[str, Any] = dict(facts or {})
        self.wish: tuple[PortCommand, ...] = ()
        self.mute_list = False
        self.watch: Callable[[Play], None] = lambda _: None  # is called after each step
        self.epoch_s = (WALL_S if wall_s is None else wall_s) - now  # the true wall time at monotonic 0
        boot = boot or Boot("b0" * 8, now, BootReason.POWER_UP)
        floor_s = self.facts.get("station", {}).get("floor_s", WALL_S - 1e6)
        clock, settings = Clock(floor_s, now), settings or Settings()
        self.station, effects = born(settings, boot, clock, ports, self.facts, [0.5] * ports, now, machine, board)
        self._perform(effects)
        if wall_s is not None:
            self.on(ClockTold(wall_s, ClockSource.CLOUD))
        if plug:
            self.on(ControllerFound(7, 1.0, self.station.settings.circuit_limit_ma))
            for port in self.station.ports:
                self.on(PortReported(port.evse_id, Report(cp=Cp.A, energy_wh=1000 * port.evse_id)))

    # -- the story's verbs

    def on(self, event: Event) -> "Play":
        self.station, effects = handle(self.station, event, self.now)
        self._perform(effects)
        self.watch(self)
        return self

    def at(self, now: float) -> "Play":
        """Let time pass: every deadline on the way is kept."""
        assert now >= self.now
        while (due := next_deadline(self.station)) <= now:
            self.now = max(self.now, due)
            self.on(Deadline())
            assert next_deadline(self.station) > self.now, "a deadline that is due again at once would spin for ever"
        self.now = now
        return self

    def after(self, seconds: float) -> "Play":
        return self.at(self.now + seconds)

    def tap(self, uid: str) -> "Play":
        return self.on(CardTapped(uid))

    def command(self, action: str, **payload: Any) -> Json:
        """What the station answers in this step to a command of the cloud; {} if it takes its time."""
        self.commands += 1
        command_id = f"c{self.commands}"
        request = from_wire(COMMANDS[action], payload)
        event = to_event(Command(command_id, action, payload, request), KEYS)
        assert not isinstance(event, Refusal), event
        referee.expect(command_id, action)
        self.on(event)  # type: ignore[arg-type]  # those that the core carries out
        return self.answer_to(command_id)

    def answer_to(self, command_id: str) -> Json:
        """The response in a command's one result, or {}."""
        answers = [p["response"] for p in self.payloads("CommandResult") if p["commandId"] == command_id]
        assert len(answers) <= 1, answers
        return answers[0] if answers else {}

    def see(self, evse_id: int, **changes: Any) -> "Play":
        """The controller reports this port anew, with these fields changed."""
        old = self.port(evse_id).report or Report()
        return self.on(PortReported(evse_id, replace(old, **changes)))

    def plug(self, evse_id: int) -> "Play":
        return self.see(evse_id, cp=Cp.B)

    def unplug(self, evse_id: int) -> "Play":
        return self.see(evse_id, cp=Cp.A, contactor=False, power_w=0, offer_ma=0, pwm=False, unplugs=1)

    def charge(self, evse_id: int, wh: int = 0) -> "Play":
        """The controller does what it was wished: the car answers, the contactor closes, energy flows."""
        offer = self.wish[evse_id - 1].offer_ma
        assert offer, "nothing is offered"
        report = self.port(evse_id).report
        assert report
        return self.see(
            evse_id, cp=Cp.C, pwm=True, offer_ma=offer, contactor=True, power_w=offer * 230 // 1000,
            energy_wh=report.energy_wh + wh,
        )  # fmt: skip

    def open(self, evse_id: int, wh: int = 0) -> "Play":
        """The controller has opened the contactor as it was asked to."""
        report = self.port(evse_id).report
        assert report
        energy_wh = report.energy_wh + wh
        return self.see(evse_id, cp=Cp.B, pwm=False, offer_ma=0, contactor=False, power_w=0, energy_wh=energy_wh)

    def reboot(
        self, off_s: float, *, wall: bool = True, controller_too: bool = True, same_kernel: bool = False
    ) -> "Play":
        """Power away for `off_s`; the disk remembers what was saved."""
        seen = self.facts.get("station", {}).get("seen_s")
        count = self.facts.get("station", {}).get("starts", 0) + 1
        now = self.now + off_s if same_kernel else 1.0
        reason = boot_reason(self.facts, BootReason.APPLICATION_RESET if same_kernel else BootReason.POWER_UP)
        boot = Boot(f"{count:016x}", now, reason, same_kernel, seen, count)
        true_s = self.epoch_s + self.now + off_s
        again = Play(
            self.station.files, ports=len(self.station.ports), allow=self.allow, facts=self.facts, boot=boot,
            wall_s=true_s if wall else None, now=now, plug=False, machine=self.station.machine,
            board=self.station.board, places=self.places,
        )  # fmt: skip
        again.epoch_s = true_s - now
        again.records, again.commands = self.records + again.records, self.commands
        again.on(ControllerFound(8 if controller_too else 7, 1.0, self.station.settings.circuit_limit_ma))
        return again

    # -- what the story asks

    def port(self, evse_id: int) -> Port:
        return self.station.ports[evse_id - 1]

    def said(self, evse_id: int = 0) -> Reason | None:
        """The reason last said at this port (0: the station)."""
        return next((n.reason for n in self.station.notices if n.evse_id == evse_id), None)

    def transactions(self, evse_id: int | None = None) -> list[tuple[str, str]]:
        """(eventType, triggerReason or stoppedReason) of what was recorded."""
        return [
            (p["eventType"], p["transactionInfo"].get("stoppedReason") or p["triggerReason"])
            for p in self.payloads("TransactionEvent")
            if evse_id in (None, p["evse"]["id"])
        ]

    def payloads(self, action: str) -> list[dict[str, Any]]:
        return [r.payload for r in self.records if r.action == action]

    def energy_wh(self) -> list[int]:
        """The register each TransactionEvent carried."""
        return [p["meterValue"][0]["sampledValue"][0]["value"] for p in self.payloads("TransactionEvent")]

    def _perform(self, effects: tuple[Effect, ...]) -> None:
        for effect in effects:
            match effect:
                case Record():
                    referee.judge(effect.action, effect.payload)
                    self.records.append(effect)
                case Save(key=key, value=value):
                    self.facts[key] = value
                case Wish(commands=commands):
                    self.wish = commands
                case Lookup(ask_id=ask_id, id_token=token) if not self.mute_list:
                    self.on(LookedUp(ask_id, self.allow.get(token), self.cached.get(token)))
                case AskOnline():
                    self.asked.append(effect)
                case AskList():
                    self.list_asked_at.append(self.now)
                case Remember():
                    self.remembered.append(effect)
                case Announce(action=action):
                    self.announced.append(action)
                case Live():
                    self.live.append(effect)
                case Commission():
                    self.commissioned.append(effect)
                case LoadZone(name=name):
                    self.on(ZoneLoaded(name, zones.load(name)))
                case FindPlace(latitude=latitude, longitude=longitude):
                    self.on(PlaceFound(latitude, longitude, self.places(latitude, longitude)))
                case UpdaterWish():
                    self.updater, self.wishes = effect, self.wishes + 1
                case Wipe():
                    self.wipes += 1
                case HangUp():
                    self.hang_ups += 1
                case Restart():
                    self.restarts += 1


