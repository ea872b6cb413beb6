"""What makes one make of modem different from another, as data: `personalities` has the makes."""

from enum import Enum

from msgspec import Struct


class Need(Enum):
    """What must be there for a command to be answered; else +CME ERROR 10, 11 or 12, or 30."""

    NOTHING = "nothing"
    CARD = "a SIM, locked or not"
    OPEN = "a SIM that is not locked"
    SERVICE = "a network that has let it in"


class Row(Struct, frozen=True):
    """A command and what it answers, lines divided by LF, with facts in braces (`Modem.facts`). "" is OK alone.

    `text` holds while the modem is served, or always where `idle` is None; `text_3g` and `text_2g` where that is the
    service. `command` is what stands behind AT, in capitals; what a set command sets is kept nowhere.
    """

    command: str
    text: str = ""
    text_3g: str | None = None
    text_2g: str | None = None
    idle: str | None = None
    needs: Need = Need.NOTHING
    after_s: float = 0.0


class Setting(Struct, frozen=True):
    """A command that keeps what it is set to: `AT+X=v`, `AT+X?`, `AT+X=?`. `allowed` is a pattern of the values."""

    name: str
    value: str
    test: str
    allowed: str = "[0-9]"


class Personality(Struct, frozen=True):
    name: str
    maker: str
    model: str
    revision: str
    imei: str
    acts: tuple[int, ...]
    """Technologies of 27.007 7.3, the one it likes best first."""
    rows: tuple[Row, ...]
    settings: tuple[Setting, ...] = ()
    lacks: frozenset[str] = frozenset()
    """Of the commands that all have, those that this one does not know."""
    has: frozenset[str] = frozenset()
    """Of the vendors' commands that do something (`commands.VENDORS`), its own."""
    vendor: str = "generic"
    """How ModemManager names its plugin."""
    usb: tuple[int, int] | None = (0x2C7C, 0x0125)
    """Vendor and product; None: a real serial line, which stays when the modem restarts."""
    at_interface: int = 2
    boot_s: float = 8.0
    """Until the port is there again after a start, or answers, on a line that stays."""
    boot: tuple[tuple[float, str], ...] = ()
    """What it says by itself after that; lines with {lock} only where there is a SIM ({lock:.0} prints nothing)."""
    delay_s: float = 0.02
    """Until it answers what it knows by itself."""
    search_s: float = 6.0
    scan_s: float = 45.0
    is_echo: bool = True
    quotes_hex: bool = True
    """+CREG: 2,1,"8BE3","1A2B3C4",7 or without the quotes."""
    tells_act: bool = True
    """The technology stands in +CREG and +COPS."""
    unsupported: str = "ERROR"
    """What it says to a command that it does not know."""
    sim_in: tuple[str, ...] = ()
    sim_out: tuple[str, ...] = ("+CPIN: NOT READY",)
    goodbye: str = ""
    """Before it goes, where it was told to."""
    speed: str = "150000000"
    """Behind CONNECT."""
    is_cdma: bool = False
