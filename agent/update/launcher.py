"""Starts the agent out of the slot that is to run. It is of the image's read-only tree and takes nothing from a slot.

    pick          before each start of the agent: reads the boot state, counts a try if a trial is on, hashes every file
                  of the slot against the slot's list, falls back where something is wrong, writes down what it chose
    pick-updater  the same for the updater: never a build on trial, so that it can end what the trial has begun; one
                  that dies again and again gives way to the rescue tree's
    run           becomes a program out of the chosen tree

The build's signature was checked before its first byte was written; what came of it is in the boot state. Python's own
library only.
"""

import fcntl
import hashlib
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

if not __package__:  # run as a file and isolated: its own tree is the only one that it may take anything from
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from agent.files import DISK, Files, beginning
from agent.update import statefile
from agent.update.bootstate import RESCUE, SLOTS, Slot, State, Trial, order, rolled_back, started, untried
from agent.update.slots import checked, listed_in, read_mark

ROOT = Path("/var/lib/station-update")
CHOICE = Path("/run/station-agent/slot")
RESCUE_TREE = Path(__file__).resolve().parents[2]
BOOT_ID, UPTIME = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/uptime")
STARTS_MAX, STARTS_S = 3, 300.0  # so many starts of the updater, each so soon after the one before
PATIENCE_S = 20.0, 12.0  # for lock and first slot, for each one after it: in all less than the unit's TimeoutStartSec


@dataclass(frozen=True, slots=True)
class Choice:
    slot: str  # a, b or rescue
    is_trial: bool = False
    version: str = ""
    is_makeshift: bool = False  # it was never found healthy, and runs since nothing better is whole

    @property
    def kind(self) -> str:
        return "trial" if self.is_trial else "makeshift" if self.is_makeshift else "default"


# -- pick -------------------------------------------------------------------------------------------------------------


def pick(root: Path, boot_id: str, now_s: float, files: Files = DISK) -> Choice:
    """What is started now; there is always something. Writes during a trial only, or a state that was lost."""
    try:
        with statefile.locked(root):
            before = statefile.load(root)
            state = started(before or rebuilt(root), boot_id, now_s)
            if state != (before or State()):
                state = _kept(root, state, files)
            return _whole(root, state, files)
    except OSError as error:
        _say(f"the boot state cannot be locked, so nothing is tried: {_shown(error)}")
        return pick_updater(root)


def pick_updater(root: Path) -> Choice:
    """Changes nothing and waits for nobody; the agent's pick repairs."""
    try:
        state = statefile.load(root) or rebuilt(root)
    except OSError as error:
        return _rescue(f"the slots cannot be looked at: {_shown(error)}")
    return _whole(root, untried(state))


def _whole(root: Path, state: State, files: Files = DISK) -> Choice:
    for name in order(state)[:-1]:
        is_trial, slot = state.trial is not None and state.trial.slot == name, state.slot(name)
        try:
            return Choice(name, is_trial, checked(root / name, slot.digest), not (is_trial or slot.is_confirmed))
        except Exception as error:  # a broken disk has more ways than we know; whatever it is, the next one is tried
            _say(f"slot {name} is not run: {_shown(error)}")
            if is_trial:
                state = _kept(root, rolled_back(state, _shown(error)), files)
    return _rescue("no slot is whole")


def _kept(root: Path, state: State, files: Files) -> State:
    """On the disk. A try that cannot be counted is not made: it could be made for ever."""
    try:
        return statefile.save(root, state, files)
    except OSError as error:
        _say(f"the boot state cannot be written, so nothing is tried: {_shown(error)}")
        return replace(state, trial=None)


def _rescue(why: str) -> Choice:
    _say(f"the rescue tree is run: {why}")
    return Choice(RESCUE)


def _say(text: str) -> None:
    """Also where the journal is away."""
    with suppress(OSError):
        print(text, flush=True)


def _shown(error: Exception) -> str:
    """The name of a file on a broken disk need not be text."""
    return (str(error) or type(error).__name__).encode("ascii", "backslashreplace").decode()


def rebuilt(root: Path) -> State:
    """Neither copy of the state is whole: what the slots themselves say. The one that was confirmed last is the
    default; where none ever was, one that is whole is tried. TimeoutError: a slow disk is no broken one, and what
    would be written down for good is better not known."""
    state, newest = State(), -1
    for name in SLOTS:
        try:
            digest = hashlib.sha256(listed_in(root / name)).hexdigest()
            checked(root / name, digest)
        except TimeoutError:
            raise
        except Exception:  # as in _whole()
            continue
        number, floor = read_mark(root / name, digest)
        slot = Slot(digest, is_confirmed=number >= 0)
        state = replace(state, a=slot) if name == "a" else replace(state, b=slot)
        state = replace(state, number=max(state.number, number), security_floor=max(state.security_floor, floor))
        if number > newest:
            state, newest = replace(state, default=name), number
    usable = [name for name in SLOTS if state.slot(name).digest]
    return replace(state, trial=Trial(usable[0])) if usable and state.default == RESCUE else state


# -- the programs -----------------------------------------------------------------------------------------------------


def main(argv: Sequence[str]) -> int:
    """launcher.py [ROOT CHOICE] pick | pick-updater | run MODULE ARGUMENTS…"""
    root, choice = ROOT, CHOICE
    if len(argv) > 2 and argv[0].startswith("/"):
        root, choice, argv = Path(argv[0]), Path(argv[1]), argv[2:]
    match list(argv):
        case ["pick" | "pick-updater" as program]:
            return main_pick(root, choice, is_updater=program == "pick-updater")
        case ["run", module, *arguments]:
            command, environment = command_of(root, choice, module, arguments)
            os.execve(command[0], command, environment)
    print(main.__doc__, file=sys.stderr)
    return 2


def main_pick(root: Path, choice: Path, *, is_updater: bool) -> int:
    """Whatever goes wrong, what is started next runs out of the rescue tree: an empty choice says so, too."""
    with suppress(FileNotFoundError):
        choice.unlink()  # never written through a link: the folder may belong to the agent's user
    out = os.open(choice, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    os.fchmod(out, 0o644)  # root writes it, the unit's user reads it: whatever the unit's umask
    with suppress(OSError):
        fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)  # until we end: is_picking()
    now_s = float(UPTIME.read_text().split()[0])
    lose_patience()
    if is_updater:
        made = _rescue("the updater dies") if is_looping(choice.with_name("starts"), now_s) else pick_updater(root)
    else:
        with suppress(OSError):
            become(root)
        made = pick(root, BOOT_ID.read_text().strip(), now_s)
    signal.setitimer(signal.ITIMER_REAL, 0.0)
    os.write(out, f"{made.slot} {made.kind} {made.version}\n".encode())
    os.close(out)
    _say(f"slot {made.slot}{', on trial' * made.is_trial}: {made.version or 'the version of the image'}")
    return 0


def lose_patience() -> None:
    """From now on nothing is waited for without end, neither a lock nor a disk: systemd would kill us, and again at
    the next start, for ever."""

    def ring(*_: object) -> NoReturn:
        raise TimeoutError("it takes too long")

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, *PATIENCE_S)


def become(root: Path) -> None:
    """Root gives up what it need not be: the state's files belong to the updater's user. OSError: no such folder."""
    if os.geteuid() == 0:
        owner = root.stat()
        os.setgroups([])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)


def is_looping(starts: Path, now_s: float) -> bool:
    """Counts a start, in a file that ends with this boot."""
    count, last_s = 0, now_s
    with suppress(OSError, ValueError):  # also of a start that was ended while it wrote
        counted, at_s = starts.read_text().split()
        count, last_s = int(counted), float(at_s)
    count = count + 1 if now_s - last_s < STARTS_S else 1
    starts.write_text(f"{count} {now_s}\n")
    return count > STARTS_MAX


def is_picking(choice: Path) -> bool:
    """A launcher looks at the slots just now, and has not chosen yet. Only for people: whoever may read the file could
    hold its lock."""
    try:
        fd = os.open(choice, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def read_choice(choice: Path) -> Choice:
    """Rescue, where nothing was picked."""
    with suppress(OSError, ValueError):
        slot, kind, *version = beginning(choice, 512).decode().rstrip("\n").split(" ", 2)
        if slot in SLOTS and kind in ("trial", "makeshift", "default"):
            return Choice(slot, kind == "trial", "".join(version), kind == "makeshift")
    return Choice(RESCUE)


def command_of(root: Path, choice: Path, module: str, arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Program and environment. The tree comes before everything else that Python looks at, for its children, too, and
    nothing of the user, the working folder or another installation comes with it. STATION_TRIAL: the build may have to
    give way to another one, so it must leave everything so that others can go on with it."""
    made = read_choice(choice)
    environment = {
        **os.environ,
        "PYTHONPATH": str(RESCUE_TREE if made.slot == RESCUE else root / made.slot / "tree"),
        "PYTHONSAFEPATH": "1", "PYTHONNOUSERSITE": "1", "PYTHONDONTWRITEBYTECODE": "1",
        "STATION_SLOT": made.slot, "STATION_TRIAL": "" if made.kind == "default" and made.slot in SLOTS else "1",
    }  # fmt: skip
    return [sys.executable, "-m", module, *arguments], environment


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
