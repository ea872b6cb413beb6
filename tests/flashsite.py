"""A station's update service as it runs: the real loop on a thread, a real engine on a real folder, a socket."""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from agent.update import facts, launcher
from agent.update.engine import KEYRING, ROOT_KEY, Engine
from agent.update.hands import Hands
from agent.update.provision import Provisioner
from agent.update.service import Service, listening
from tests.flashstation import ring, root_key
from tools.flashing import driver, steps
from tools.flashing.buildfile import BuildFile
from tools.flashing.lines import Address
from tools.flashing.steps import Flashed, Wish

BOARD = 'name = "duo_sim"\n[controller]\nlink = "sim"\n'
WAIT_S = 60.0


class Quick(Hands):
    """The agent is started as soon as that is asked for, and judged at once: `ill` says what is wrong with it."""

    site: "Site"
    ill = ""

    def watch(self, now: float) -> None:
        if self.engine.state.trial is None:
            super().watch(now)
        elif self.ill:
            self.engine.roll_back(self.ill)
            self.site.start_agent()
        else:
            self.engine.confirm()


class Site:
    """One station's update service, on a thread, and a person beside it."""

    def __init__(self, folder: Path, serial: str = "SA-0001", hands: type[Hands] = Hands) -> None:
        self.folder, self.root = folder, folder / "root"
        self.socket = folder / "s"  # short: a socket's path has at most 108 bytes
        self.choice = folder / "slot"
        self.where = facts.Where(folder / "board.toml", folder / "config.toml", folder / "vitals", self.root)
        if not self.root.exists():
            self.root.mkdir()
            (self.root / ROOT_KEY).write_bytes(root_key().public)
            (self.root / KEYRING).write_bytes(ring())
            self.where.board.write_text(BOARD)
            self.where.config.write_text(f'[station]\nstation_id = "{serial}"\n')
        self.restarts: list[tuple[str, str]] = []
        self.is_restarted = threading.Event()
        self.engine = Engine(
            self.root, facts.station(self.where), choice=self.choice, boot_id=facts.boot_id(), probe=lambda tree: ""
        )
        provisioner = Provisioner(
            self.where.config, self.root, self.engine.trust, done=lambda: self._restart("idle", "provisioned")
        )
        self.hands = hands(self.engine, self.where, restart=self._restart, provision=provisioner.perform)
        if isinstance(self.hands, Quick):
            self.hands.site = self
        self.service = Service(self.hands, listener=listening(self.socket))
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _restart(self, how: str, why: str) -> None:
        self.restarts.append((how, why))
        if isinstance(self.hands, Quick):
            self.start_agent()
        self.is_restarted.set()

    def _run(self) -> None:
        try:
            self.service.run()
        except BaseException as error:
            self._error = error

    def close(self) -> None:
        self.service.is_ending = True
        self.service.wake()
        self._thread.join(WAIT_S)
        self.engine.close()
        assert self._error is None, self._error

    def start_agent(self) -> None:
        """systemd starts the agent."""
        chosen = launcher.pick(self.root, facts.boot_id(), facts.uptime_s())
        self.choice.write_text(f"{chosen.slot} {chosen.kind} {chosen.version}\n")

    @property
    def address(self) -> Address:
        return Address("unix", str(self.socket))

    def talk(self, conversation: Callable[[Any, steps.Tell], Any]) -> tuple[Any, list[tuple[str, Mapping[str, Any]]]]:
        told: list[tuple[str, Mapping[str, Any]]] = []
        result = driver.converse(self.address, lambda talk: conversation(talk, lambda *what: told.append(what)))
        return result, told

    def flash(self, file: BuildFile, **how: Any) -> Flashed:
        result, _ = self.talk(lambda talk, tell: steps.flashed(talk, Wish(file, waits=False, **how), tell))
        assert isinstance(result, Flashed)
        return result
