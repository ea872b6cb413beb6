"""`python -m agent.sim.modem eg25 --pty /tmp/modem`: a simulated modem for any program, until Ctrl-C."""

import argparse
import asyncio
from contextlib import suppress
from pathlib import Path

from agent.sim.modem.air import Card, Network
from agent.sim.modem.modem import Modem
from agent.sim.modem.personalities import ALL
from agent.sim.modem.scenarios import SCENARIOS
from agent.sim.modem.shell import Shell


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m agent.sim.modem", description="A simulated modem.")
    parser.add_argument("make", choices=sorted(ALL))
    parser.add_argument("--pty", type=Path, help="a link to its pty")
    parser.add_argument("--tcp", type=int, help="a port on 127.0.0.1, 0 for any")
    parser.add_argument("--abstract", help="the name of an abstract socket, as ModemManager's tests have")
    parser.add_argument("--pin", default="", help="of its SIM; without it is none")
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), default="well")
    parser.add_argument("--after", type=float, default=0.0, help="seconds until the scenario begins")
    return parser.parse_args()


async def run(chosen: argparse.Namespace) -> None:
    modem = Modem(ALL[chosen.make], Card(pin=chosen.pin), Network())
    modem.at(chosen.after, lambda now: SCENARIOS[chosen.scenario](modem, now))
    shell = Shell(modem)
    if chosen.pty:
        shell.pty(chosen.pty)
        print(f"{modem.personality.model}: {chosen.pty}", flush=True)
    if chosen.tcp is not None:
        print(f"{modem.personality.model}: 127.0.0.1:{await shell.tcp(port=chosen.tcp)}", flush=True)
    if chosen.abstract:
        await shell.abstract(chosen.abstract)
        print(f"{modem.personality.model}: abstract:{chosen.abstract}", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        shell.close()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(run(arguments()))
