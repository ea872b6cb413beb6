"""Which build a station takes: pure, the same on the laptop (before it touches the station) and on the station."""

from collections.abc import Collection
from dataclasses import dataclass

from agent.update.build import Head
from agent.update.refusal import Refused

Contract = tuple[int, int, int]  # major, minor_first, minor_last (board/controller/contract.py)


@dataclass(frozen=True, slots=True)
class Station:
    """What a build is held against."""

    platform: str  # x86_64 | aarch64
    board: str  # the board file's name
    is_production: bool
    security_floor: int  # the highest security sequence that was ever confirmed
    contract: Contract | None = None  # of the firmware that the controller runs; None: it is not heard, or has none
    app_contract: Contract | None = None  # of the app that runs; None: unknown
    has_session: bool = False  # a car charges, or may at any moment
    is_busy: bool = False  # another flasher is at work
    interlock: str = ""  # why nothing may be written now, in a sentence; "" = nothing against it


def refusal(head: Head, station: Station, waived: Collection[str] = ()) -> Refused | None:
    """Why this station must not get this build, the lasting reasons first. `waived`: codes that an operator overrides,
    with a reason that is logged; only "session" and "interlock" can be."""
    raise NotImplementedError
