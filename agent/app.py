"""The composition root: the only file that knows every part of the device, and `station-agent run`.

    config, board  ->  store, lists, uplink, broker, controller, reader, panel  ->  one Shell on one Loop
"""

from __future__ import annotations

import asyncio
import hmac
import os
import random
import secrets
import signal
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import replace
from math import isfinite
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from msgspec import structs

from agent import __version__, clockset
from agent.authcache.listfile import read_key
from agent.authcache.lists import Lists
from agent.board import Board, Chosen, LineFacts, load, load_config
from agent.clock import BUILD_S, Clock, ClockSource, earliest
from agent.control import ControlServer, control_handlers, dead_letters_handler, plan_handler
from agent.core import born
from agent.effects import Save
from agent.est import EstServer
from agent.eventlog.entries import Beginning, Header, known_facts
from agent.eventlog.recorder import Recorder
from agent.eventlog.segments import Segments
from agent.events import ClockTold, Link, ListChanged, Machine, of_driver
from agent.gateway.leaves import status as gateway_status
from agent.hal.controller import Amend, ControllerLink
from agent.hal.gnss import GnssFacts
from agent.hal.modbus import Bus, Meters, ModbusFacts, begun, possible
from agent.hal.supervision import Supervision
from agent.hal.tty import SerialController, checked_tty
from agent.hardware import Hardware
from agent.identity import Aside, Folder, Held, Identity, folder_of, open_identity
from agent.lock import exclusive
from agent.loop import Inbox, Loop, monotonic, notify_systemd, settle_memory, system_wall
from agent.machine import machine_of
from agent.measuring import measured
from agent.modem.budget import Cause
from agent.modem.meter import DataMeter, leaves_told
from agent.outbox import Connect, StoreError, connect
from agent.panel import Page
from agent.pintable import pins_hash, port_board
from agent.policy.plan_token import Refused, Token
from agent.settings import Config, ConfigError, Layer, Merged, Settings, merge
from agent.shell import KEEPALIVE, Shell
from agent.station import Boot, BootReason, Station, boot_reason
from agent.store import Crashed, Opened, Store, sync_folder
from agent.ui import site
from agent.ui.catalogues import load_says
from agent.ui.kiosk import Kiosk, Renderer, Units, ladder_of
from agent.ui.model import Beat, ScreenModel
from agent.ui.qr import drawn
from agent.ui.view import screen
from agent.updater import UpdaterLine, socket_of
from agent.uplink.codec import Will
from agent.uplink.commands import SeenCommands
from agent.uplink.dial import Dial, dial
from agent.uplink.keepalive import START_S
from agent.uplink.mqtt import Connected, Disconnected, Mqtt, MqttConfig, MqttError, PubAcked, Received
from agent.uplink.operator import OperatorKeys
from agent.uplink.protocol import Uplink
from agent.uploader import Uploader
from agent.vitals import Vitals
from agent.wizard import antenna
from agent.wizard.layer import limits as controller_limits

if TYPE_CHECKING:
    from agent.modem.host import Host

KERNEL_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
RTC = Path("/sys/class/rtc/rtc0")
EVENTS_WAIT_S = 10.0  # for a report: the newest events are on the disk by then
RESTART = 75  # exit code, EX_TEMPFAIL: come again


class NoBroker:
    """A station without identity talks to nobody (I8)."""

    will = Will(b"", b"")

    def publish(self, connection: int, packet_id: int, topic: str, payload: bytes, qos: int) -> None:
        raise AssertionError("nobody is connected")

    def drop(self, connection: int, why: str) -> None:
        pass

    learned_keepalive_s = START_S

    def use(self, cert: Path, pair: str) -> None:
        """After the next start."""

    def go(self, address: tuple[str, int] | None, *, is_trial: bool = False) -> None:
        """Nowhere."""

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass


class App:
    """One run of the agent. Everything in it lives on the loop's thread; what does not, answers through the inbox."""

    def __init__(
        self, board: Board, config: Config, inbox: Inbox,
        *, connect: Connect = connect, dial: Dial = dial,
    ) -> None:  # fmt: skip
        """`connect` opens the database, `dial` the way to the broker. ConfigError, StoreError: then nothing is open."""
        self.on_restart: Callable[[], None] = lambda: None  # the core wants this run to end, and another to begin
        with ExitStack() as undo:
            self._build(board, config, inbox, connect, dial, undo)
            self._undo = undo.pop_all()
        self._set_clock_then(self.broker.start)

    def _build(
        self, board: Board, config: Config, inbox: Inbox, connect: Connect, dial: Dial, undo: ExitStack
    ) -> None:
        """The parts, in order; `undo` takes what ends each of them."""
        self.board, self._config = board, config
        state, now = state_folder(config), monotonic()
        self.says = load_says()
        folder = folder_of(state)
        held = open_identity(folder, config.broker)
        merged = merged_of(board, config, held)
        settings = merged.settings
        boot_id = secrets.token_bytes(8)
        self._inbox = inbox
        may_destroy = not os.environ.get("STATION_TRIAL")  # agent/update/launcher.py: others may have to follow
        path = state / "station.db"
        self.store = Store(path, boot_id, inbox.post, monotonic, connect=connect, may_destroy=may_destroy)
        opened = self.store.open()
        undo.callback(self._close_store)
        self._work = ThreadPoolExecutor(1, "work")
        undo.callback(self._work.shutdown)
        self.dead_letters = opened.dead_letters  # when we came
        facts, ports = opened.facts, len(board.port)
        boot = boot_of(boot_id, facts, now)
        clock = Clock(max(BUILD_S, facts.get("station", {}).get("floor_s", 0.0)), now)
        jitter = [secrets.randbelow(1000) / 1000 for _ in range(ports)]
        self.identity = identity_of(config, folder, held, self._aside)
        expiry_s = held.in_use.not_after_s if held.in_use else None
        orders = socket_of(config.paths.updater, os.environ)
        machine = replace(
            with_modem(machine_of(board), config), certificate_expiry_s=expiry_s, can_renew=self.identity is not None,
            streets=site.is_there(state), can_update=orders is not None,
        )  # fmt: skip
        limited = merge({Layer.BOARD: board.layer()}).settings
        station, first = born(settings, boot, clock, ports, facts, jitter, now, machine, limited)
        self.events = events_of(state, settings, log)
        began = Beginning(settings, boot, clock, ports, known_facts(facts), tuple(jitter), machine, limited)
        self.events.began(began, first, now)
        undo.enter_context(exclusive(state, "station-agent board try has the hardware: end it first"))
        limits = controller_limits(station.ceiling or settings, ports)
        amend = self._amend_of(board, settings.port_limit_ma, station, now, undo)
        link = ControllerLink(ports, *limits, pins_hash(board), amend)
        self.controller = SerialController(link, checked_tty(board.controller.tty), inbox.post, monotonic)
        undo.callback(self.controller.close)
        will, keepalive_s = Will(opened.epoch, boot_id), learned_s(facts.get(KEEPALIVE))
        self.broker = broker_of(config, folder, held, will, inbox.post, dial, keepalive_s)
        undo.callback(self.broker.stop)
        self.updater = UpdaterLine(orders, inbox.post, log) if orders else None
        gather = lambda file: self._report(file, config, merged)
        self.data = DataMeter(station.data.kept, kernel_boot_id(), inbox.post, now, named=self._bearer)
        sent = lambda size_b: inbox.post(lambda _: self.data.spent(Cause.LOGS, size_b))
        self.uploads = Uploader(state, gather, lambda: trusted(config), inbox.post, sent)
        undo.callback(self.uploads.stop)
        self.lists = Lists(state / "lists", facts, read_key(state / "list.key"), now)
        self.shell = Shell(
            station, (*first, Save("kernel", kernel_boot_id())),
            store=self.store, broker=self.broker, controller=self.controller,
            uplink=Uplink(settings.station_id, boot_id, opened.epoch, opened.marks, {}),
            lists=self.lists, seen=SeenCommands(facts), keys=OperatorKeys(operator_keys(config), facts),
            work=self._elsewhere, build=self._aside, now=now, log=log, restart=self._restart, identity=self.identity,
            updater=self.updater, events=self.events, upload=self.uploads.wish,
            measure=lambda: measured(state, link.counters), spent=self.data.spent,
        )  # fmt: skip
        self.events.start()
        undo.callback(self.events.stop)
        watch = asyncio.get_running_loop()
        self.hardware = Hardware(board, inbox.post, self._aside, watch, monotonic, light=self.controller.show)
        undo.callback(self.hardware.close)
        self.modem = modem_of(board, config, self, is_cold=not boot.same_kernel, now=now)
        self.desk, self.spotter = desk_of(self.modem, self)
        if self.modem:
            undo.callback(self.modem.close)
        if self.spotter:
            undo.callback(self.spotter.close)
        self._local = ""  # our address of the connection to the broker
        self.kiosk = kiosk_of(board, config, inbox.post, self._aside, now)
        self.vitals = Vitals(control_path(config).parent, opened.schema, lambda: link.contract, log, now)
        for problem in problems(config, held, merged, opened, self.lists):
            log(problem)
        inbox.post(ListChanged(self.lists.state))
        if RTC.exists() and not board.rtc:
            inbox.post(ClockTold(system_wall(), ClockSource.RTC))

    def _amend_of(self, board: Board, port_limit_ma: int, station: Station, now: float, undo: ExitStack) -> Amend:
        """A meter on Linux' side: its readings, and what is wrong by them, go into the reports before anybody sees
        them."""
        facts = board.meter.facts
        if not isinstance(facts, ModbusFacts):
            return lambda index, report, now: report
        post = self._inbox.post
        stored_wh = (port.transaction.last.energy_wh if port.transaction else None for port in station.ports)
        limits = possible(facts, port_limit_ma)
        meters = Meters(
            limits, [begun(wh, now, limits, station.settings) for wh in stored_wh],
            [Supervision(port_board(board, port), facts.refresh_s) for port in board.port],
            is_free=lambda evse_id: self.shell.station.ports[evse_id - 1].transaction is None,
            tell=lambda evse_id, why: post(of_driver(f"Meter.{evse_id}", why, "meter")),
        )  # fmt: skip
        bus = Bus(facts, lambda i, reading, at: post(lambda _: meters.heard(i, reading, at)), monotonic)
        undo.callback(bus.close)
        return meters.amend

    # -- a turn (agent/loop.py) ---------------------------------------------------------------------------------------

    def happened(self, happening: object, now: float) -> None:
        if callable(happening):
            happening(now)
        else:
            self.shell.happened(happening, now)  # type: ignore[arg-type]  # whoever posts, posts Happenings
            self._tell_modem(happening, now)
        self.hardware.show(self.shell.station, now)

    def _tell_modem(self, happening: object, now: float) -> None:
        """What the broker has said, and what its connection goes over."""
        if self.modem is None:
            return
        match happening:
            case Connected(local=local):
                self._local = local
                self.modem.acknowledged(local, now)
            case PubAcked() | Received():
                self.modem.acknowledged(self._local, now)
            case Disconnected():
                self.modem.silent(now)

    def due(self, now: float) -> None:
        self.controller.due(now)
        self.shell.due(now)
        if self.modem:
            self.modem.charging(any(port.transaction for port in self.shell.station.ports), now)
            self.modem.due(now)
        if self.spotter:
            self.spotter.due(antenna.is_watched(self.shell.station, now), now)
        self.hardware.due(now)
        self.hardware.show(self.shell.station, now)
        self.kiosk.due(self.shell.station, now)
        self.vitals.due(self.shell.station, now)
        self.data.due(now)

    def next_deadline(self) -> float:
        parts = (self.controller, self.shell, self.hardware, self.kiosk, self.vitals, self.data)
        modem = [part.next_deadline() for part in (self.modem, self.spotter) if part]
        return min(*modem, *(part.next_deadline() for part in parts))

    # -- what others ask of it ----------------------------------------------------------------------------------------

    def screen(self) -> ScreenModel:
        """For the panel's thread: one immutable value, read once."""
        return drawn(screen(self.shell.station, monotonic(), self.says))

    def phone_screen(self, language: str) -> ScreenModel:
        """For the phone's thread: the wizard as the installer reads it there, whatever the display shows."""
        station = self.shell.station
        panel = replace(station.panel, page=Page.WIZARD, language=language, large=False)
        return drawn(screen(replace(station, panel=panel), monotonic(), self.says))

    def post(self, event: object) -> None:
        """Something happened elsewhere; from any thread."""
        self._inbox.post(event)

    def aside(self, job: Callable[[], Any], then: Callable[[Any], None]) -> None:
        self._aside(job, then)

    def bring(self, token: str, then: Callable[[Token | Refused], None]) -> None:
        """The installer's phone has a plan token. From its thread; `then` is called in ours."""
        self._inbox.post(lambda now: self.shell.plan_token(token, then, now))

    def beat(self, beat: Beat, newest: int) -> None:
        """What the display says of itself; `newest` is what it could have drawn by now. From the panel's thread."""
        self._inbox.post(lambda now: self.kiosk.beat(beat, newest, now))

    def lookup(self, id_token: str) -> tuple[Any, Any]:
        now = monotonic()
        return self.shell.looked_up(id_token, now)

    def _bearer(self) -> str:
        """The modem's interface, while it is up and known."""
        return self.modem.rose.interface if self.modem and self.modem.rose else ""

    def gateway(self) -> dict[str, Any]:
        """Who hangs off this station, or off whom it hangs."""
        station = self.shell.station
        modem = self._config.modem
        named = modem.gateway if modem else ""
        return gateway_status(leaves_told(), self._config.gateway is not None, named, station.data.leaves)

    def close(self) -> None:
        """An orderly end: sessions stay open on disk, and the controller keeps charging for its grace."""
        self.data.look()
        if (word := self.data.word()) is not None:
            self.shell.happened(word, monotonic())
        self._undo.close()

    def _report(self, file: Path, config: Config, merged: Merged) -> None:
        """In the uploader's thread; OSError."""
        from agent import report
        from agent.control import status_of
        from agent.doctor import CHECKS, Patient, as_text

        station, now = self.shell.station, monotonic()
        status = {**status_of(station, now), "controller_link": self.controller.link.counters()}
        patient = Patient(self.board, config, {}, status, system_wall())
        findings = [finding for check in CHECKS if (finding := check(patient)) is not None]
        self.events.settle(EVENTS_WAIT_S)
        events, pseudonyms = Path(config.paths.state) / "events", self.events.pseudonyms
        report.written(file, station, now, merged, status, as_text(findings), events, pseudonyms)

    def _restart(self) -> None:
        self.on_restart()

    def _close_store(self) -> None:
        if lost := self.store.close():
            log(f"{lost} batches never reached the disk")

    def _elsewhere(self, job: Callable[[], Any], then: Callable[[Any], None]) -> None:
        self._work.submit(self._run, job, then)

    def _aside(self, job: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """For what hangs in the network, or builds a list: it keeps no work waiting, and at the end nobody waits for
        it."""
        Thread(target=self._run, args=(job, then), name="aside", daemon=True).start()

    def _run(self, job: Callable[[], Any], then: Callable[[Any], None]) -> None:
        try:
            result = job()
        except BaseException as error:  # a bug: seen where it cannot be overlooked
            self._inbox.post(Crashed(error))
        else:
            self._inbox.post(lambda _: then(result))

    def _set_clock_then(self, start: Callable[[], None]) -> None:
        """No certificate is valid in 1970: a system clock below our floor is raised to it before the first TLS."""
        floor_s = earliest(self.shell.station.clock, monotonic())
        if isinstance(self.broker, NoBroker) or system_wall() >= floor_s:
            return start()

        def told(answer: str) -> None:
            log(f"the system clock is below the floor, asked to raise it: {answer}")
            self.shell.security_event("SettingSystemTime", f"to the floor, at start: {answer}", monotonic())
            start()

        return self._aside(lambda: clockset.ask(floor_s), told)


def run(
    board_path: Path, config_path: Path, *, controller_tty: str = "", reader_tty: str = "", gnss_tty: str = ""
) -> int:
    """`station-agent run`. The ttys, if given, replace the board's: a simulated board has none of its own."""
    board, config = load(board_path), load_config(config_path)
    if board.controller.link == "sim" and not controller_tty:
        raise ConfigError(f"{board_path} has a simulated controller: type station-agent demo, or name another board")
    try:
        return asyncio.run(main(with_ttys(board, controller_tty, reader_tty, gnss_tty), config))
    except StoreError as error:
        raise ConfigError(str(error)) from None


async def main(board: Board, config: Config) -> int:
    """The exit code: RESTART if a reset has ended this run."""
    exit_code = 0
    inbox = Inbox()
    app = App(board, config, inbox)
    loop = Loop(app, inbox, alive=lambda: notify_systemd("WATCHDOG=1"))

    def restart() -> None:
        nonlocal exit_code
        exit_code = RESTART
        log("reset: this run ends, systemd starts the next one")
        loop.stop()

    app.on_restart = restart
    for stop in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(stop, loop.stop)
    try:
        async with AsyncExitStack() as undo:
            await open_doors(app, config, undo)
            settle_memory()
            notify_systemd("READY=1")
            log(f"station-agent {__version__} runs as {app.shell.station.settings.station_id}")
            await loop.run()
            notify_systemd("STOPPING=1")
    finally:
        app.close()
    return exit_code


async def open_doors(app: App, config: Config, undo: AsyncExitStack) -> None:
    """Who may ask the running agent: the command line and the station's own screen. ConfigError."""
    path = control_path(config)
    panel = panel_of(app, config, path.parent)
    if panel:
        undo.callback(panel.stop)
    server = ControlServer(path, handlers(app, panel.entrance if panel else ""))
    await server.start()
    undo.push_async_callback(server.close)
    if app.updater:
        talk = asyncio.create_task(app.updater.run())
        undo.push_async_callback(ended, talk)
        undo.callback(app.updater.stop)
    if phone := phone_of(app, config):
        undo.callback(phone.stop)
    app.shell.on_change = lambda: changed(app.shell.station, panel, phone)


async def ended(talk: asyncio.Task[None]) -> None:
    await talk


def changed(station: Station, panel: Any, phone: Any) -> None:
    """The station is another value now: whoever shows it wants to know."""
    if panel:
        panel.changed()
    if phone:
        phone.follow(station)


# -- the parts, each from what the operator wrote ---------------------------------------------------------------------


def with_ttys(board: Board, controller_tty: str, reader_tty: str, gnss_tty: str = "") -> Board:
    if controller_tty:
        controller = structs.replace(board.controller, link="serial", tty=controller_tty, chip="unix")
        board = structs.replace(board, controller=controller)
    if reader_tty:
        board = structs.replace(board, reader=Chosen("line", LineFacts(reader_tty)))
    if gnss_tty:
        board = structs.replace(board, gnss=GnssFacts(gnss_tty))
    return board


def settings_of(board: Board, config: Config) -> Settings:
    return merged_of(board, config, folder_of(Path(config.paths.state)).load()).settings


def merged_of(board: Board, config: Config, held: Held) -> Merged:
    """Without an identity nobody is charged (I8); nor before somebody has activated the station (I12), unless its
    config file says that nobody need."""
    has_identity = config.broker and (config.broker.cert or held.in_use)
    layer = {"activated": False} | config.layer() | ({} if has_identity else {"activated": False})
    return merge({Layer.BOARD: board.layer(), Layer.CONFIG: layer})


def problems(config: Config, held: Held, merged: Merged, opened: Opened, lists: Lists) -> Iterator[str]:
    """What the operator should know of this start; none of it keeps a station from starting."""
    if opened.damaged:
        what = f"{opened.salvaged} records of money and the facts that could be read are in the new one"
        yield f"the database was damaged and is kept as {opened.damaged}; {what}"
    if config.broker is None:
        yield "this station has no identity and charges nobody: add [station] and [broker] to the config file"
    elif held.in_use is None:
        yield "this station has no certificate and charges nobody: have the output of station-agent csr signed"
    yield from held.problems
    yield from merged.ignored
    if lists.problem:
        yield lists.problem


def state_folder(config: Config) -> Path:
    folder = folder_of_ours(Path(config.paths.state), "state to a folder of ours")
    with suppress(PermissionError):  # a parent that we may not read is none that we made this in
        sync_folder(folder)  # its own name, or a cut takes everything with it
    return folder


def control_path(config: Config) -> Path:
    path = Path(config.paths.control)
    folder_of_ours(path.parent, "control to a file in a folder of ours")
    return path


def folder_of_ours(folder: Path, advice: str) -> Path:
    """Made where it is missing, for us alone."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made ({error.strerror}): set [paths] {advice}") from None
    return folder


def identity_of(config: Config, folder: Folder, held: Held, aside: Aside) -> Identity | None:
    """Who keeps the certificate fresh; None where nobody knows whose it would be."""
    broker, station_id = config.broker, config.station_id
    if broker is None or station_id is None:
        return None
    ca = Path(broker.ca)
    est = EstServer(broker.enrol, ca) if broker.enrol else None
    return Identity(folder, held, station_id, ca, est, aside, random.SystemRandom())


def events_of(state: Path, settings: Settings, log: Callable[[str], None]) -> Recorder:
    """Card ids stand in it as what the list's key makes of them."""
    key = hmac.digest(read_key(state / "list.key"), b"event log", "sha256")
    return Recorder(Segments(state / "events"), key, Header(settings.station_id, __version__), monotonic, log)


def trusted(config: Config) -> ssl.SSLContext:
    """For servers that get a report: the system's roots, and the operator's own."""
    from agent.update.download import trusting

    return trusting(Path(config.broker.ca) if config.broker else None)


def broker_of(
    config: Config, folder: Folder, held: Held, will: Will, post: Callable[[object], None], dial: Dial,
    keepalive_s: float,
) -> Mqtt | NoBroker:  # fmt: skip
    broker, station_id, pair = config.broker, config.station_id, held.in_use
    if broker is None or station_id is None or pair is None:
        return NoBroker()
    file = folder.trial if held.trial else folder.current
    try:
        where = MqttConfig(broker.host, broker.port, station_id, Path(broker.ca), file, None, pair.name)
        return Mqtt(where, will, post, random.SystemRandom(), monotonic, dial, keepalive_s)
    except MqttError as error:
        raise ConfigError(f"[broker] {error}") from None


def learned_s(fact: Any) -> float:
    """What the run before has learned of the network; whatever else is on the disk is nothing."""
    return float(fact) if isinstance(fact, float) and isfinite(fact) else START_S


def operator_keys(config: Config) -> Sequence[Ed25519PublicKey]:
    """The names in the config are for people."""
    return [operator_key(Path(path)) for path in config.operator.values()]


def operator_key(path: Path) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path} is no public key ({error}): write the operator's Ed25519 key there as PEM") from None
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"{path} is no Ed25519 key: ask the operator for the one that signs its commands")
    return key


def boot_of(boot_id: bytes, facts: Mapping[str, Any], now: float) -> Boot:
    """Whether Linux ran through tells a restart of the agent from a power cut."""
    seen = facts.get("station", {})
    same_kernel = facts.get("kernel") == kernel_boot_id()
    reason = boot_reason(facts, BootReason.APPLICATION_RESET if same_kernel else BootReason.POWER_UP)
    return Boot(boot_id.hex(), now, reason, same_kernel, seen.get("seen_s"), seen.get("starts", 0) + 1)


def kernel_boot_id() -> str:
    return KERNEL_BOOT_ID.read_text().strip()


def handlers(app: App, entrance: str = "") -> dict[str, Any]:
    def more() -> dict[str, Any]:
        link, marks = app.controller.link, [lane.marks() for lane in app.shell.uplink.lanes.values()]
        return {
            "outbox_records": sum(next_seq - oldest for oldest, next_seq in marks),  # or fewer: there may be holes
            "dead_letters": app.dead_letters + app.shell.buried,
            "list_problem": app.lists.problem,
            "report": app.uploads.progress or None,
            "controller_link": link.counters(),
            "operator_keys": [kid.hex() for kid in app.shell.operator_keys.keys],
        }

    asked = control_handlers(lambda: app.shell.station, app.lookup, monotonic, more)
    asked["list"] = lambda _: app.lists.facts()
    asked["panel"] = lambda _: {"url": entrance}
    asked["gateway"] = lambda _: app.gateway()
    asked["plan"] = plan_handler(lambda text, then: app.shell.plan_token(text, then, monotonic()))
    asked["deadletters"] = dead_letters_handler(app.store.dead_letters)
    asked["modem"] = app.desk.answer if app.desk else no_modem
    return asked if app.identity is None else {**asked, **app.identity.handlers(monotonic)}


def no_modem(request: dict[str, Any]) -> dict[str, Any]:
    raise ConfigError("this station has no modem: add [modem] to the config file, or look at its gateway station")


def desk_of(host: Host | None, app: App) -> tuple[Any, Any]:
    """Who answers for the modem, and who reads its signal while somebody installs; imported only where there is one."""
    if host is None:
        return None, None
    from agent.modem.desk import Desk
    from agent.modem.keeper import Keeper, Wishes
    from agent.modem.spotter import Spotter
    from agent.modem.status import Extra

    def extra() -> Extra:
        wishes = host.keeper.wishes if isinstance(host.keeper, Keeper) else Wishes()
        return Extra(
            is_acknowledged=app.shell.station.link is not Link.DOWN,
            access=wishes.access.apn if wishes.access else None, known=wishes.known, providers=wishes.providers,
            interface=host.rose.interface if host.rose else "",
            used={str(cause): size_b for cause, size_b in app.shell.station.data.month.causes.items()},
            session_b=app.shell.station.data.session_b if host.rose else 0,
        )  # fmt: skip

    return Desk(host, monotonic, extra), Spotter(host, app.post, monotonic)


def with_modem(machine: Machine, config: Config) -> Machine:
    """Its own, or whose."""
    if config.modem is None:
        return machine
    return replace(machine, has_modem=not config.modem.gateway, gateway=config.modem.gateway or machine.gateway)


def modem_of(board: Board, config: Config, app: App, *, is_cold: bool, now: float) -> Host | None:
    """Imported only where there is a modem. ConfigError."""
    if config.modem is None or config.modem.gateway:
        return None
    from agent.modem.assembly import host_of

    return host_of(
        config.modem, Path(config.paths.state), control_path(config).parent, board.modem_lines, app.hardware.set_output,
        post=app.post, aside=app.aside, log=log, is_cold=is_cold, is_upgradable=board.upgradable,
    )  # fmt: skip


def kiosk_of(board: Board, config: Config, post: Callable[[object], None], aside: Aside, now: float) -> Kiosk:
    """Without a page there is nothing to draw."""
    panel, display = config.panel, board.display
    commands = {Renderer.KIOSK: panel.kiosk, Renderer.FRAMEBUFFER: panel.framebuffer} if panel else {}
    ladder = ladder_of(display.drawn_by if display and panel else "", now)
    return Kiosk(ladder, Units(Path(config.paths.control).parent, commands), post, aside, log)


def panel_of(app: App, config: Config, folder: Path) -> Any:
    """Imported only where there is a page: it costs start-up time and memory. `folder` is where the display's browser
    finds its address."""
    if config.panel is None:
        return None
    from agent.ui import panelurl, video
    from agent.ui.web import Panel

    token = panelurl.kept_token(folder)
    port, state = config.panel.port, Path(config.paths.state)
    film = video.chosen(state / "video", log)
    panel = Panel(
        app.screen, port, app.post, beat=lambda beat: app.beat(beat, panel.newest), token=token,
        display=app.board.display, video=film, site=state,
    )  # fmt: skip
    try:
        panel.start()
    except OSError as error:
        raise ConfigError(f"[panel] port {config.panel.port} is taken ({error.strerror}): choose another") from None
    try:
        panelurl.write(folder, panel.entrance)
    except OSError as error:
        log(f"the display may not press keys: {folder / panelurl.NAME} cannot be written ({error.strerror})")
    return panel


def phone_of(app: App, config: Config) -> Any:
    """Nobody listens before somebody inside the station has let a phone in."""
    if config.phone is None:
        return None
    from agent.ui.phone import Phone

    settings, state = app.shell.station.settings, Path(config.paths.state)
    return Phone(
        config.phone, state, settings.station_id, app.phone_screen, app.says, app.post, system_wall, log, app.bring
    )


def log(line: str) -> None:
    """To the journal, which adds the time."""
    print(line, flush=True)
