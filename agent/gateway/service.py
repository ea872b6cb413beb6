"""What station-gateway.service runs: the rules of a gateway, applied, counted, and taken back. docs/gateway.md.

The one part of the station with CAP_NET_ADMIN. Nobody can ask it for anything: it reads the config file once, and
writes what it has counted into a file in /run, which the agent reads. It undoes what it has set when it is stopped,
and what it has not set it leaves alone. After a kill the next run finds the table and that file, and goes on.
"""

import argparse
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from threading import Event

from msgspec import structs

from agent import files
from agent.gateway.leaves import FILE_MAX, Told, counted, listed, names_of, read, write
from agent.gateway.rules import REMOVED, TABLE, script
from agent.settings import ConfigError, Gateway, read_config

CONFIG, TOLD = Path("/etc/station-agent/config.toml"), Path("/run/station-gateway/told.json")
FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
NFT = "/usr/sbin/nft"
NFT_S = 10.0  # for nft to answer
LOOK_S = 15.0  # what a kill can lose of the counts, if the table is gone too
Nft = Callable[[Sequence[str], str], str]  # arguments, its input -> its output; NftError


class NftError(Exception):
    """One sentence."""


def nft(arguments: Sequence[str], input_: str = "") -> str:
    try:
        done = subprocess.run(
            [NFT, *arguments], input=input_, capture_output=True, text=True, timeout=NFT_S, check=False,
            env={"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin"},
        )  # fmt: skip
    except FileNotFoundError:
        raise NftError(f"{NFT} is not there: type apt-get install nftables") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NftError(f"nft: {error}") from None
    if done.returncode:
        raise NftError(f"nft: {(done.stderr.splitlines() or ['no reason told'])[0][:300]}")
    return done.stdout


class Service:
    """`told`: the file that the agent reads, and the next run."""

    def __init__(self, gateway: Gateway, told: Path = TOLD, run: Nft = nft, forward: Path = FORWARD) -> None:
        self._gateway, self._path, self._nft, self._forward = gateway, told, run, forward
        self._script = script(gateway)
        self._digest = sha256(self._script.encode()).hexdigest()
        self.told = self._restored()

    def look(self) -> None:
        """Whole and repeated: the rules, forwarding, the counts. What is not as it should be is set again."""
        before, problem = self.told, ""
        try:
            self._count_and_apply()
            self._forward_on()  # never without the rules
        except (NftError, OSError, ValueError) as error:
            problem = str(error)
        self.told = structs.replace(self.told, problem=problem)
        if self.told != before or not self._path.exists():
            with suppress(OSError):  # a full /run: the next look tries again
                files.put(self._path, write(self.told), mode=files.SHARED)
        if problem and problem != before.problem:
            print(problem, file=sys.stderr, flush=True)

    def end(self) -> None:
        """Nothing of ours is left. NftError, OSError: something is."""
        if self.told.forward and self._forward.read_text().strip() == "1":
            self._forward.write_text(self.told.forward)
        self._nft(["-f", "-"], REMOVED)
        self._path.unlink(missing_ok=True)

    def _restored(self) -> Told:
        """What a run before has left, in this life of Linux: /run is empty at a boot."""
        with suppress(OSError):
            if (told := read(self._path.read_bytes())) is not None:
                return told
        return Told(since=secrets.token_hex(8))

    def _count_and_apply(self) -> None:
        """Counted before it is replaced: what passes between the two is lost."""
        try:
            listing = self._nft(["-j", "list", "table", "inet", TABLE], "")
        except NftError as error:
            if "No such file" not in str(error):
                raise
            self.told = structs.replace(self.told, script="", seen={})  # somebody has removed it, or it never was
        else:
            self.told = counted(self.told, listed(listing), names_of(self._gateway, self._leases()))
        if self.told.script != self._digest:
            self._nft(["-f", "-"], self._script)
            self.told = structs.replace(self.told, script=self._digest, seen={})

    def _forward_on(self) -> None:
        was = self._forward.read_text().strip()
        if was != "1":
            self.told = structs.replace(self.told, forward=was)
            files.put(self._path, write(self.told), mode=files.SHARED)  # else a kill made it look like somebody else's
            self._forward.write_text("1")

    def _leases(self) -> str:
        if not self._gateway.leases:
            return ""
        try:
            with Path(self._gateway.leases).open(encoding="utf-8", errors="replace") as file:
                return file.read(FILE_MAX)
        except OSError:
            return ""  # nobody has a lease yet


def main(argv: Sequence[str] | None = None) -> int:
    top = argparse.ArgumentParser(prog="station-gateway", description="forwards for stations without a modem")
    top.add_argument("--config", type=Path, default=CONFIG, metavar="FILE")
    top.add_argument("--told", type=Path, default=TOLD, metavar="FILE")
    top.add_argument("--every", type=float, default=LOOK_S, metavar="S", help="seconds between two looks")
    options = top.parse_args(argv)
    try:
        config = read_config(options.config.read_text(), str(options.config))
    except (OSError, UnicodeDecodeError, ConfigError) as error:
        print(error, file=sys.stderr)
        return 2
    if config.gateway is None:
        print(f"{options.config} has no [gateway]: this station forwards for nobody")
        return 0
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    service = Service(config.gateway, options.told)
    service.look()
    while not stop.wait(options.every):
        service.look()
    try:
        service.end()
    except (NftError, OSError) as error:
        print(f"something of ours is left: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
