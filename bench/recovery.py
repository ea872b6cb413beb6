"""How soon a station can send again after its modem was in trouble: kept by our own keeper, and by ModemManager in its
place. The same host, the same simulated modem, the same troubles, in real time: half an hour.

It can send while its bearer is up and the modem attached. Neither side has a real pppd: ours takes 3 s for a dial
instead, as a pppd does, ModemManager's is up as soon as it says so. A modem that goes from its USB port cannot be
compared: ModemManager hears of the next one from udev, which a test must not touch.
"""

import asyncio
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from msgspec import structs

from agent.modem import tty
from agent.modem.apn import Access
from agent.modem.bearers import modemmanager
from agent.modem.bearers.helped import Hear, Helped
from agent.modem.host import Around, Host, Line
from agent.modem.keeper import Wishes
from agent.modem.levers import Levers
from agent.modem.recovery import Action
from agent.sim.cell import SimBearer
from agent.sim.modem.air import Card
from agent.sim.modem.modem import Modem
from agent.sim.modem.personalities import ALL
from agent.sim.modem.scenarios import SCENARIOS
from bench.figure import Figure, Figures, figure, missing
from tests.test_modem_judges import NETWORK, Desk, pause, started
from tests.test_modem_manager import Root

MAKE = ALL["eg25"]
FIRST_S, AGAIN_S = 60.0, 200.0  # by then it is online at first, and again; else it is not counted as recovered
GAP_S = 40.0
TURN_S = 0.05
OTHER = Card("8949020000076543215", "262017654321098")
Change = Callable[[Modem, float], None]


@dataclass(frozen=True, slots=True)
class Trouble:
    """`ends`: what ends it after GAP_S; None: nothing does but the station."""

    begins: Change
    ends: Change | None = None


TROUBLES = {
    "coverage": Trouble(lambda modem, now: modem.cover(None, now), lambda modem, now: modem.cover(NETWORK, now)),
    "denied": Trouble(
        lambda modem, now: modem.cover(structs.replace(NETWORK, refuses=11), now),
        lambda modem, now: modem.cover(NETWORK, now),
    ),
    "sim_out": Trouble(lambda modem, now: modem.pull(now), lambda modem, now: modem.insert(OTHER, now)),
    "deregistered": Trouble(SCENARIOS["deregistered"]),  # by a command of somebody else's
    "radio_off": Trouble(SCENARIOS["radio-off"]),
}


def recovery() -> Figures:
    figures: Figures = {}
    for name, trouble in TROUBLES.items():
        for side, make in (("ours", by_keeper), ("modemmanager", by_modem_manager)):
            figures[f"recovery_{name}_{side}_s"] = measured(make, trouble)
    return figures


def measured(make: Callable[["Pole"], None], trouble: Trouble) -> Figure:
    if make is by_modem_manager and not shutil.which("ModemManager", path="/usr/sbin:/usr/bin"):
        return missing("s", None, "type apt-get install modemmanager dbus-daemon")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, kept_environment():
        found = asyncio.run(story(make, trouble, Path(folder)))
    if isinstance(found, str):
        return missing("s", None, found)
    ends = f"after {GAP_S:.0f} s of it" if trouble.ends else "nobody but the station ends it"
    return figure([found], "s", None, f"until it can send again; {ends}")


async def story(make: Callable[["Pole"], None], trouble: Trouble, folder: Path) -> float | str:
    pole = Pole(Desk(MAKE, folder))
    try:
        if make is by_modem_manager:
            await pole.desk.bus()
            os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = pole.desk.address.partition(",")[0]
            await started(pole.desk, "quectel")
        make(pole)
        if await pole.online(FIRST_S) is None:
            return f"was not online after {FIRST_S:.0f} s"
        await pole.passed(5.0)
        pole.changed(trouble.begins)
        if trouble.ends:
            await pole.passed(GAP_S)
            pole.changed(trouble.ends)
        else:
            await pole.passed(1.0)
        found = await pole.online(AGAIN_S)
        return f"not within {AGAIN_S:.0f} s" if found is None else found
    finally:
        pole.close()
        await pole.desk.close()


class Pole:
    """One station's host over one simulated modem, and a broker that answers whenever it is reached."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.modem = desk, desk.modem
        self.loop = asyncio.get_running_loop()
        self.host: Host | None = None
        self._turning: asyncio.Task[None] | None = None

    def begin(self, host: Callable[[Around], Host]) -> None:
        now = self.loop.time
        self.host = host(Around(
            at=lambda then: self.loop.call_soon(lambda: then(now())), now=now,  # type: ignore[arg-type]
            uniform=random.Random(1).uniform, tell=lambda event: None, save=lambda kept: None,
            save_last=lambda kept: None, probe=self._probed, aside=lambda job, then: then(job()), log=lambda text: None,
        ))  # fmt: skip
        self._turning = self.loop.create_task(self._turn())

    @property
    def is_online(self) -> bool:
        return self.host is not None and self.host.rose is not None and self.modem.is_attached

    async def online(self, limit_s: float) -> float | None:
        """Seconds until it can send, and could for a second on end."""
        began = since = self.loop.time()
        while self.loop.time() < since + 1.0:
            if not self.is_online:
                since = self.loop.time()
            if since > began + limit_s:
                return None
            await pause()
        return since - began

    async def passed(self, seconds: float) -> None:
        until = self.loop.time() + seconds
        while self.loop.time() < until:
            await pause()

    def changed(self, change: Change) -> None:
        change(self.modem, self.desk.shell.now)
        self.desk.shell.step()

    def close(self) -> None:
        if self._turning:
            self._turning.cancel()
        if self.host:
            self.host.close()

    async def _turn(self) -> None:
        assert self.host
        while True:
            now = self.loop.time()
            if self.is_online:
                self.host.acknowledged("", now)
            else:
                self.host.silent(now)
            self.host.due(now)
            await asyncio.sleep(TURN_S)

    def _probed(self, interface: str, dns: tuple[str, ...], then: Callable[[bool], None]) -> None:
        self.loop.call_later(0.3, lambda: then(self.is_online))


def by_keeper(pole: Pole) -> None:
    folder = pole.desk.folder
    pole.desk.shell.pty(folder / "modem")
    pole.begin(lambda around: Host(
        Wishes(access=Access("internet")), Line(), around,
        port=lambda said: tty.Port(str(folder / "modem"), pole.loop, said, pole.loop.time, locks=folder),
        bearer=lambda hands: SimBearer(pole.modem, hands, lambda: None), levers=levers,
    ))  # fmt: skip


def by_modem_manager(pole: Pole) -> None:
    root = Root()

    def helped(hear: Hear) -> Helped:
        return root(hear)  # type: ignore[return-value]

    pole.begin(lambda around: Host(
        Wishes(access=Access("internet")), Line(), around, port=None,
        bearer=lambda hands: modemmanager.Bearer(hands, helped=helped), levers=levers,
    ))  # fmt: skip


def levers(ended: Callable[[Action, float], None]) -> Levers:
    return Levers(None, None, "", lambda: "", ended, lambda job, then: then(job()), lambda text: None)


@contextmanager
def kept_environment() -> Iterator[None]:
    before = os.environ.get("DBUS_SYSTEM_BUS_ADDRESS")
    try:
        yield
    finally:
        os.environ.pop("DBUS_SYSTEM_BUS_ADDRESS", None)
        if before is not None:
            os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = before
