"""Random lives of the two slots: flashes, halves of flashes, trials, starts, rollbacks, damage; against a model of what
a person would say who has written down which build lies where.
"""

from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent.update.bootstate import RESCUE, SLOTS, TRIES, other
from agent.update.launcher import Choice
from agent.update.refusal import Refused
from tests import durable_slots
from tests.conftest import LONG
from tests.durability import plant
from tests.durable_slots import built, differs, opened, pick

SHM = "/dev/shm" if Path("/dev/shm").is_dir() else None


class Life(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(mkdtemp(dir=SHM))
        self.root, self.choice = self.folder / "root", self.folder / "slot"
        self.root.mkdir()
        plant(self.root, durable_slots.BEFORE)
        self.engine = opened(self.root, self.choice)
        self.holds: dict[str, int] = {}  # whole, by the boot state: slot -> build
        self.confirmed: set[int] = set()  # builds that were found healthy, in the slots that still hold them
        self.damaged: set[str] = set()
        self.default, self.trial, self.running = RESCUE, "", RESCUE
        self.tries, self.floor, self.boots, self.newest = 0, 0, 0, 0
        self.on_its_way = 0

    def teardown(self) -> None:
        self.engine.close()
        rmtree(self.folder)

    @initialize(count=st.integers(0, 2))
    def some_builds_were_there_before(self, count: int) -> None:
        for _ in range(count):
            self.install(is_confirmed=True)

    @rule(is_confirmed=st.booleans())
    def install(self, is_confirmed: bool) -> None:
        """As one does it: most of what may go wrong begins after it."""
        self.flash(1.0, is_resumed=False)
        self.activate()
        self.start(is_boot=False)
        if self.trial and is_confirmed:
            self.confirm()

    # -- the launcher

    @rule(is_boot=st.booleans())
    def start(self, is_boot: bool) -> None:
        self.boots += is_boot
        made = pick(self.root, f"boot {self.boots}")
        self.choice.write_text(f"{made.slot} {made.kind} {made.version}\n")
        assert made == self.picked()
        self.running = made.slot
        if made.slot in SLOTS:
            assert differs(self.root / made.slot, self.holds[made.slot]) == ""

    def picked(self) -> Choice:
        if self.trial and self.tries == 0:
            self.trial = ""
        self.tries -= bool(self.trial)
        if self.trial and self.trial not in self.damaged:
            return Choice(self.trial, True, str(self.holds[self.trial]))
        self.trial = ""
        after = [] if self.default == RESCUE else [self.default, other(self.default)]
        known = [slot for slot in SLOTS if self.holds.get(slot) in self.confirmed]
        for slot in (*after, *known):
            if slot in self.holds and slot not in self.damaged:
                return Choice(slot, False, str(self.holds[slot]), self.holds[slot] not in self.confirmed)
        return Choice(RESCUE)

    # -- somebody flashes

    @rule(share=st.sampled_from([1.0, 0.5, 0.0]), is_resumed=st.booleans())
    def flash(self, share: float, is_resumed: bool) -> None:
        """Half of it, or all of it; the one that is on its way, or a newer one."""
        number = self.on_its_way if is_resumed and self.on_its_way else self.newest + 1
        if number // 3 < self.floor:
            return
        self.newest = max(self.newest, number)
        makeshift = self.running != self.default and RESCUE not in (self.running, self.default)
        if self.trial or (makeshift and self.default not in self.damaged):
            with pytest.raises(Refused, match=r"trial|started anew"):
                self.engine.begin(built(number)[0])
            return
        slot = self.target(makeshift)
        plan = self.engine.begin(built(number)[0])
        assert (plan.slot, plan.held) == (slot, "")
        if self.default == slot:
            self.default = self.running if self.holds[self.running] in self.confirmed else RESCUE
        self.confirmed.discard(self.holds.pop(slot, 0))
        self.damaged.discard(slot)
        self.on_its_way = number
        for piece in plan.wanted[: round(share * len(plan.wanted))]:
            self.engine.put(piece.digest, built(number)[1][piece.digest])
        if share == 1.0:
            assert self.engine.finish() == slot
            self.holds[slot], self.on_its_way = number, 0

    def target(self, makeshift: bool) -> str:
        if makeshift:
            return self.default
        free = [slot for slot in SLOTS if slot not in (self.running, self.default)]
        return min(free, key=lambda slot: self.holds.get(slot, 0) in self.confirmed)

    @rule()
    def the_updater_dies(self) -> None:
        self.engine.close()
        self.engine = opened(self.root, self.choice)

    @rule()
    def abandon(self) -> None:
        self.engine.abandon()
        for slot in SLOTS if not self.trial else ():
            if slot != self.running and self.holds.get(slot, 0) not in (self.confirmed | {0}):
                del self.holds[slot]

    # -- a trial

    @rule()
    def activate(self) -> None:
        able = [slot for slot in SLOTS if slot in self.holds and slot != self.default]
        able.sort(key=lambda slot: (self.holds[slot] in self.confirmed, slot == self.running))
        if self.trial or not able or self.holds[able[0]] // 3 < self.floor:
            with pytest.raises(Refused):
                self.engine.activate()
            return
        assert self.engine.activate() == able[0]
        self.trial, self.tries = able[0], TRIES

    @precondition(lambda self: self.trial)
    @rule()
    def confirm(self) -> None:
        self.engine.confirm()
        self.default, self.trial = self.trial, ""
        self.confirmed.add(self.holds[self.default])
        self.floor = max(self.floor, self.holds[self.default] // 3)

    @rule()
    def roll_back(self) -> None:
        slot = other(self.default) if self.default != RESCUE else ""
        number = self.holds.get(slot, 0)
        if self.trial:
            assert self.engine.roll_back("no good") == self.default
            self.trial = ""
        elif number in self.confirmed and number // 3 >= self.floor:
            assert self.engine.roll_back("no good") == slot
            self.default = slot
        else:
            with pytest.raises(Refused):
                self.engine.roll_back("no good")

    # -- the disk goes bad

    @rule(slot=st.sampled_from(SLOTS), name=st.sampled_from(["same", "a/new", "more"]))
    def damage(self, slot: str, name: str) -> None:
        if slot in self.holds:
            (self.root / slot / "tree" / name).write_bytes(b"noise")
            self.damaged.add(slot)

    @rule(turn=st.sampled_from([0, 1]))
    def a_copy_of_the_state_is_torn(self, turn: int) -> None:
        """The older one; the newer one would take its last change with it."""
        if self.engine.state.number % 2 != turn:
            (self.root / f"state.{turn}").write_bytes(b"noise")

    # -- what holds at any time

    @invariant()
    def it_is_as_written_down(self) -> None:
        status = self.engine.status()
        state = status.state
        there = {name: held for name, held in status.slots.items() if held and held.is_whole}
        assert {name: int(held.version) for name, held in there.items()} == self.holds
        known = {int(held.version) for held in there.values() if held.is_confirmed}
        assert known == self.confirmed & {*self.holds.values()}
        assert (state.default, state.security_floor) == (self.default, self.floor)
        tried = (state.trial.slot, state.trial.tries) if state.trial else None
        assert tried == ((self.trial, self.tries) if self.trial else None)


Life.TestCase.settings = settings(max_examples=300 if LONG else 40, stateful_step_count=60 if LONG else 25)
TestLife = pytest.mark.promise("S8")(Life.TestCase)
