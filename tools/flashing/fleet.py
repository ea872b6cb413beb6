"""Many stations: which may begin now, and when to stop. Pure; the file that names them; the table at the end."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agent.update.refusal import OK, SOME_FAILED, Refused
from tools.flashing.lines import BAUD, Address, address
from tools.flashing.progress import duration, size

STATIONS_MAX = 1_000
FILE_MAX_B = 1 << 20


@dataclass(frozen=True, slots=True)
class Target:
    name: str  # as shown: the file's own name for it, else its address
    address: Address
    serial: str = ""  # that must be there; "" = whichever is


@dataclass(frozen=True, slots=True)
class Row:
    """How it ended at one station."""

    target: Target
    result: str  # tools/flashing/schema.py RESULTS
    serial: str = ""
    version: str = ""
    slot: str = ""
    sent_b: int = 0
    again_b: int = 0
    seconds: float = 0.0
    code: str = ""  # "" = well
    sentence: str = ""
    exit: int = OK

    @property
    def is_well(self) -> bool:
        return not self.code


@dataclass(slots=True)
class Rollout:
    """Canaries first, all at once; the others when each canary is well, `jobs` at a time; nobody new once more than
    `failures_max` have failed, or one canary."""

    targets: Sequence[Target]
    canaries: int = 1
    jobs: int = 10
    failures_max: int = 0
    rows: list[Row] = field(default_factory=list)
    _begun: int = 0
    _is_stopped: bool = False

    @property
    def running(self) -> int:
        return self._begun - len(self.rows)

    @property
    def failed(self) -> int:
        return sum(not row.is_well for row in self.rows)

    def begin(self) -> list[Target]:
        """Those that may begin now."""
        if self.is_stopped:
            return []
        first = min(self.canaries, len(self.targets))
        upto = first if len(self.rows) < first else len(self.targets)
        count = max(0, min(upto - self._begun, self.jobs - self.running))
        begun = list(self.targets[self._begun : self._begun + count])
        self._begun += count
        return begun

    def ended(self, row: Row) -> None:
        self.rows.append(row)

    def stop(self) -> None:
        """Nobody new."""
        self._is_stopped = True

    @property
    def is_stopped(self) -> bool:
        canaries = {target.name for target in self.targets[: self.canaries]}
        is_canary_ill = any(not row.is_well and row.target.name in canaries for row in self.rows)
        return self._is_stopped or is_canary_ill or self.failed > self.failures_max

    @property
    def is_over(self) -> bool:
        return not self.running and (self.is_stopped or self._begun == len(self.targets))

    @property
    def not_begun(self) -> Sequence[Target]:
        return self.targets[self._begun :]

    @property
    def exit(self) -> int:
        """One failure that is the only station's is its own code."""
        if self.failed == 0 and not self.not_begun:
            return OK
        return self.rows[0].exit if len(self.targets) == 1 and self.rows else SOME_FAILED


def read(path: Path, baud: int = BAUD) -> list[Target]:
    """One station a line: its address, then if you like its serial number and a name; # begins a comment. Refused."""
    try:
        with path.open("rb") as file:
            text = file.read(FILE_MAX_B + 1).decode()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "no text"
        raise Refused("usage", f"{path} cannot be read ({why}): name a file with an address a line") from None
    targets = []
    for number, line in enumerate(text[:FILE_MAX_B].splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            to = address(words[0], baud)
        except Refused as refused:
            raise Refused("usage", f"{path}, line {number}: {refused.sentence}") from None
        if len(words) > 3:
            raise Refused("usage", f"{path}, line {number}: write an address, a serial number and a name, no more")
        serial = words[1] if len(words) > 1 and words[1] != "-" else ""
        targets.append(Target(words[2] if len(words) > 2 else serial or str(to), to, serial))
    return _checked(path, targets)


def _checked(path: Path, targets: list[Target]) -> list[Target]:
    if not targets:
        raise Refused("usage", f"{path} names no station: write one address a line")
    if len(targets) > STATIONS_MAX:
        raise Refused("usage", f"{path} names {len(targets)} stations, at most {STATIONS_MAX} are flashed at once")
    for what in ("name", "address"):
        known = [str(getattr(target, what)) for target in targets]
        if twice := sorted({each for each in known if known.count(each) > 1}):
            raise Refused("usage", f"{path} names {twice[0]} twice: leave one of them out")
    return targets


def table(rows: Iterable[Row], not_begun: Iterable[Target]) -> list[str]:
    """Aligned, the failed ones last."""
    head = ("station", "serial", "result", "version", "sent", "time", "")
    lines = [head]
    for row in sorted(rows, key=lambda each: (not each.is_well, each.target.name)):
        took = duration(row.seconds)
        lines.append((row.target.name, row.serial, row.result, row.version, size(row.sent_b), took, row.sentence))
    lines += [(target.name, target.serial, "not begun", "", "", "", "") for target in not_begun]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head) - 1)]
    return ["  ".join((*(text.ljust(width) for text, width in zip(line, widths, strict=False)), line[-1])).rstrip()
            for line in lines]  # fmt: skip
