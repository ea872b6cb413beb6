"""A host and its parts, from what config file and board say: port, bearer, levers, the file of what is kept."""

import asyncio
import json
import os
import random
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from agent import files
from agent.hal.device import Aside
from agent.hal.power import ModemFacts
from agent.loop import monotonic
from agent.modem import bearers, probe, tty
from agent.modem.apn import Access
from agent.modem.host import Around, Host, Line
from agent.modem.keeper import Wishes
from agent.modem.levers import Levers, SetOutput
from agent.modem.providers import providers
from agent.settings import ConfigError, Modem

KEPT = "modem.json"  # in the folder of the state: it outlives updates, and is nothing that money hangs on
KEPT_MAX_B = 65_536
SECRET_MAX_B = 200
REBOOT = "reboot"  # a file in our folder in /run: board/systemd/station-reboot.path


def host_of(
    modem: Modem, state: Path, run: Path, lines: ModemFacts | None, set_output: SetOutput | None, *,
    post: Callable[[object], None], aside: Aside, log: Callable[[str], None], is_cold: bool, is_upgradable: bool,
) -> Host:  # fmt: skip
    """ConfigError."""
    make = bearers.maker(modem.bearer, modem.port)
    if make is None:
        raise ConfigError(f'[modem] bearer = "{modem.bearer}" is not in this build: type bearer = "auto"')
    watch = asyncio.get_running_loop()
    keep = Keep(state / KEPT, aside, log)
    second = second_of(modem.probe)

    def ask_around(interface: str, dns: tuple[str, ...], then: Callable[[bool], None]) -> None:
        aside(lambda: probe.carries(interface, dns, second), then)

    around = Around(
        at=post, now=monotonic, uniform=random.SystemRandom().uniform, tell=post, save=keep.put,
        save_last=keep.last, probe=ask_around, aside=aside, log=log,
    )  # fmt: skip
    wishes = Wishes(
        access=access_of(modem), pin=secret(modem.pin_file, "pin_file")[0] if modem.pin_file else "",
        pdp_type=modem.pdp_type, may_roam=modem.may_roam, upgradable=is_upgradable,
    )  # fmt: skip
    host = Host(
        wishes, Line(modem.pdp_type, modem.data_port, modem.interface, modem.metric), around,
        port=(lambda said: tty.Port(modem.port, watch, said, monotonic)) if modem.port else None,
        bearer=make,
        levers=lambda ended: Levers(lines, set_output, modem.port, lambda: asked_to_reboot(run), ended, aside, log),
        kept=keep.read(), is_cold=is_cold,
    )  # fmt: skip
    if modem.apn is None:
        aside(providers, host.learned)
    return host


def access_of(modem: Modem) -> Access | None:
    if modem.apn is None:
        return None
    if not modem.login_file:
        return Access(modem.apn)
    lines = secret(modem.login_file, "login_file")
    if len(lines) != 2:
        raise ConfigError(f"{modem.login_file}: write the name into the first line, the password into the second")
    return Access(modem.apn, *lines)


def secret(path: str, key: str) -> list[str]:
    """The lines of a file that is ours alone. ConfigError."""
    try:
        if os.stat(path).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigError(f"[modem] {key} can be read by others: type chmod 600 {path}")
        text = files.beginning(Path(path), SECRET_MAX_B).decode("ascii")
    except UnicodeDecodeError:
        raise ConfigError(f"[modem] {key}: {path} is no plain text: write it in letters, digits and signs") from None
    except OSError as error:
        raise ConfigError(f"[modem] {key}: {path} cannot be read ({error.strerror}): write it there") from None
    lines = text.splitlines()
    if not lines or not all(line.isprintable() and line for line in lines):
        raise ConfigError(f"[modem] {key}: {path} holds nothing that could be one: write it there, and nothing else")
    return lines


def second_of(text: str) -> probe.Host | None:
    host, colon, port = text.rpartition(":")
    return (host, int(port)) if colon else None


def asked_to_reboot(run: Path) -> str:
    """systemd does it, where the image has the unit for it."""
    path = run / REBOOT
    try:
        path.write_text("modem\n")
    except OSError as error:
        return f"{path} cannot be written ({error.strerror})"
    return ""


class Keep:
    """What outlives a restart, in a small file of its own, written by one thread at a time; the newest counts."""

    def __init__(self, path: Path, aside: Aside, log: Callable[[str], None]) -> None:
        self._path, self._aside, self._log = path, aside, log
        self._next: dict[str, Any] | None = None
        self._is_writing = False
        self._is_failed = False

    def read(self) -> object:
        try:
            return json.loads(files.beginning(self._path, KEPT_MAX_B))
        except (OSError, ValueError, RecursionError):
            return None  # none yet, or none that can be read: then it begins anew

    def put(self, kept: dict[str, Any]) -> None:
        self._next = kept
        if not self._is_writing:
            self._write()

    def last(self, kept: dict[str, Any]) -> None:
        """The station stops: at once, whatever a thread is at."""
        self._next = None
        with suppress(OSError):
            files.put(self._path, json.dumps(kept).encode(), self._path.with_name(f"{KEPT}.last"))

    def _write(self) -> None:
        kept, self._next, self._is_writing = self._next, None, True
        assert kept is not None
        self._aside(lambda: self._put(kept), self._done)

    def _put(self, kept: dict[str, Any]) -> str:
        try:
            files.put(self._path, json.dumps(kept).encode())
        except OSError as error:
            return f"{self._path} cannot be written ({error.strerror})"
        return ""

    def _done(self, problem: str) -> None:
        self._is_writing = False
        if problem and not self._is_failed:
            self._log(f"modem: {problem}")
        self._is_failed = bool(problem)
        if self._next is not None:
            self._write()
