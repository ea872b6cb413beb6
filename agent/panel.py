"""What somebody at the display has chosen to see: facts. What they lead to is in `agent/navigation.py`."""

from dataclasses import dataclass
from enum import StrEnum
from math import inf

LEAVE_S = 60.0  # without a press: back to the start, in the station's own language
WARN_S = 20.0  # of which so long is announced (WCAG 2.2.1); any press stays
SERVICE_S = 1_800.0  # after the physical act; a phone that has been let in stays no longer either
ENTER_S = 300.0  # so long a phone may come in
LOOK_S = 0.7  # so long what is to be confirmed has stood there as it is: nobody confirms what has just come or changed
ANIMATED = "The instructional video does not play: its drawn steps stand in."
WAKE_S = 0.5  # a press that wakes the display does nothing else, nor does its own echo from the browser


class Page(StrEnum):
    """What the screen is about. The ports' own states are `agent/ui/situation.py`."""

    HOME = "home"
    PORT = "port"  # one port, large
    HELP = "help"
    ABOUT = "about"
    SERVICE = "service"
    WIZARD = "wizard"
    PHONE = "phone"  # how the installer's phone gets in, from the wizard


class Action(StrEnum):
    """What a soft key does."""

    NONE = ""
    HELP = "help"
    ABOUT = "about"
    LANGUAGE = "language"
    LARGE = "large"
    PORTS = "ports"
    NEXT = "next"
    BACK = "back"
    SERVICE = "service"
    UP = "up"
    DOWN = "down"
    DO = "do"
    CHANGE = "change"
    LESS = "less"
    MORE = "more"
    SAVE = "save"
    CONTINUE = "continue"
    SKIP = "skip"
    END = "end"  # the visit of the installer's phone
    STOP = "stop"  # the test charge
    PHONE = "phone"  # let one in
    LEAVE = "leave"  # the wizard, for a minute


class Part(StrEnum):
    """What of Page.SERVICE is open."""

    MENU = ""
    PHONE = "phone"
    LIGHTS = "lights"
    FACTS = "facts"
    RESTART = "restart"
    FACTORY = "factory"


class DoorProblem(StrEnum):
    """Why the installer's phone finds no door. The sentences: agent/ui/servicepage.py."""

    NONE = ""
    NO_ADDRESS = "no address"  # no interface has the configured one
    MOBILE = "mobile"  # it is the modem's
    ROUTED = "routed"  # that interface leads to the Internet
    UNBOUND = "unbound"  # the kernel does not bind us to the interface
    TAKEN = "taken"  # somebody else listens there
    NO_CERTIFICATE = "no certificate"  # it cannot be made or read
    GUESSED = "guessed"  # too many wrong codes
    BROKEN = "broken"  # a bug of ours


@dataclass(frozen=True, slots=True)
class Panel:
    page: Page | None = None  # None: nobody has chosen, so the station shows what it has to (HOME, WIZARD)
    at: int = 0  # evse_id of PORT; else the part of a page, or where its cursor is
    screenfuls: int = 1  # of this page on the display, as measured there
    turned: int = 0  # of them
    looked_at: float = -inf  # since when what is to be read stands there as it is
    language: str = ""  # "": the station's own
    spoken: str = ""  # what a card set `language` to; another one there is somebody's choice
    large: bool = False
    touched_at: float = -inf
    service_until: float = -inf
    service_how: str = ""  # it was opened
    part: Part = Part.MENU
    lights_at: float = -inf  # the test of the lights began
    phone_at: float = -inf  # the newest time that a phone was let in
    phone_until: float = -inf
    lit: bool = True  # the backlight
    woken_at: float = -inf  # by the press before
    drawn: bool | None = None  # by the display's own heartbeat; None: not heard of yet
    video: bool = False
    video_at: float | None = None  # when it was last seen to go on, in this run
    has_steps: bool = False  # a display without a browser has drawn the steps in its place, in this run
    problem: str = ""

    def is_read(self, now: float) -> bool:
        """What stands there could have been read: a second press on the key before it confirms nothing."""
        return now >= self.looked_at + LOOK_S
