"""What a screen shows, whatever draws it: the contract between `view.screen` and its renderers (the panel's page, the
framebuffer, the installer's phone). Every word is in its language already and every number is formatted: a renderer
lays out, it decides nothing.
"""

from enum import StrEnum
from typing import Annotated, Literal

from msgspec import Meta, Struct

from agent.events import Link
from agent.faults import Fault
from agent.panel import Page
from agent.port import Status
from agent.selftest import PartResult, Result
from agent.transaction import ChargingState
from agent.ui.led import Light


class Tone(StrEnum):
    """How a thing is drawn: each has its own colour, glyph and border, so that none depends on colour alone."""

    FREE, CHARGING, WAIT, FAULT = "free", "charging", "wait", "fault"


class NoticeModel(Struct, frozen=True):
    """What is said to the driver who has just tapped a card."""

    tone: Tone
    led: Light
    title: str
    text: str
    action: str
    code: str = ""  # log code, the same in the log and on the wire; "" where there is nothing to look up
    stands_s: float = 0.0  # in all; 0: as long as it is so


class FaultModel(Struct, frozen=True):
    fault: Fault
    text: str  # for the driver
    fix: str  # for the installer or the owner
    mrec: str | None  # ChargeX MREC
    code: str  # the MREC, or its name where it has none


class TotalModel(Struct, frozen=True):
    """The last session that ended at a port, as it was recorded."""

    energy_wh: int
    elapsed_s: int | None
    text: str  # why it ended
    cost: str = ""  # 12.30 EUR, as recorded; "" where no price is known


class Figure(Struct, frozen=True):
    """A number that is read from afar."""

    name: str  # energy, power, time, cost
    value: str
    unit: str


class PortModel(Struct, frozen=True):
    evse_id: int
    name: str  # "Port 1"
    situation: str  # agent/ui/situation.py
    status: Status
    charging_state: ChargingState
    tone: Tone
    led: Light
    title: str
    text: str
    also: str  # of the text what stays where there is no room for all of it: what comes, the owner's message
    action: str
    code: str  # of what is the matter, the same in the log and at the cloud; "" where nothing is
    ready: bool  # the installer's green check mark
    self_test: Result  # of the worst of its parts
    check: str  # both in a word, with the mark
    faults: tuple[FaultModel, ...]
    retry_in_s: int  # until the ground-fault retry; 0 = none
    power_w: int
    offer_a: float  # in force
    energy_wh: int | None  # of the running session; None without one
    elapsed_s: int | None  # of the running session; None without one, or while nobody can tell
    figures: tuple[Figure, ...]  # of the running session, or of the one that has just ended here; else none
    price: str  # of who charges here or may start, else of whoever comes, by public and groups; "" where none is known
    offers: bool  # somebody may start here: its price stands wherever the port does (23 CFR 680.116)
    last: TotalModel | None
    last_text: str  # of the session before, when the port is free again
    notice: NoticeModel | None


class Message(Struct, frozen=True):
    """Something that somebody must mend: the installer's readiness needs none of them (I3)."""

    where: str  # a part, "Port 2"
    text: str
    fix: str
    code: str


class Row(Struct, frozen=True):
    label: str
    value: str
    mark: str = ""  # "", passed, failed, running, open


class Rows(Struct, frozen=True, tag="rows"):
    rows: tuple[Row, ...]


class Prose(Struct, frozen=True, tag="prose"):
    text: str
    style: str = ""  # "", lead, small, warning


class Steps(Struct, frozen=True, tag="steps"):
    """Numbered, each with a drawing of that name."""

    steps: tuple[tuple[str, str], ...]  # drawing, text


class Lights(Struct, frozen=True, tag="lights"):
    """What each rhythm of the light means."""

    rows: tuple[tuple[Light, str, str, tuple[float, ...]], ...]  # light, meaning, colour, rhythm in seconds


class Option(Struct, frozen=True):
    value: str
    label: str


class Field(Struct, frozen=True, tag="field"):
    """Something to be entered. By four keys a cursor goes from field to field (`chosen`); by touch anything is."""

    name: str
    kind: str  # choice, number, text, yes
    label: str
    value: str
    shown: str  # the value as a person reads it
    options: tuple[Option, ...] = ()  # of a choice
    unit: str = ""
    least: float | None = None  # of a number
    most: float | None = None
    step: float | None = None
    length_max: int = 0  # of a text
    hint: str = ""
    error: str = ""  # why the last value was refused
    chosen: bool = False
    editing: bool = False  # the keys change the value now


class Map(Struct, frozen=True, tag="map"):
    """Where the station is. Degrees, WGS 84."""

    latitude: float | None
    longitude: float | None
    accuracy_m: float | None
    text: str  # in words: country, nearest town
    streets: str = ""  # path of a site extract (PMTiles), "" where there is none
    step_m: float = 0.0  # what one press moves
    words: dict[str, str] = {}  # what its parts are called (agent/ui/maps.py)


class Qr(Struct, frozen=True, tag="qr"):
    data: str
    text: str  # what it holds, in full beneath it
    rows: tuple[str, ...] = ()  # its modules, "1" is dark, with the white border: agent/ui/qr.py fills them in


Block = Rows | Prose | Steps | Lights | Field | Map | Qr


class PageModel(Struct, frozen=True):
    """A page that is read, or filled in, rather than looked at."""

    title: str
    blocks: tuple[Block, ...]
    step: int = 0  # of `steps`; 0: there are none
    steps: int = 0
    footer: str = ""  # what is still missing


class SoftKey(Struct, frozen=True):
    """One of the four keys at the lower edge; touch presses the same. An empty label is no key."""

    action: str  # agent/panel.py Action, "" for none
    label: str


class ScreenModel(Struct, frozen=True):
    serial: str
    owner: str
    software: str
    support_number: str
    language: str  # BCP 47
    direction: str  # ltr, rtl
    large: bool  # the driver has asked for large text
    awake: bool  # False: the display is dark, and the next press only wakes it
    page: Page
    layout: str  # idle (the video), ports, port, page
    evse_id: int  # of Page.PORT
    focus: int  # evse_id of the port that needs somebody most: a small display shows it first
    turned: int  # of a page that is longer than the display, the screenful to show, from 0
    turns: bool  # nobody is there: the start page's follow by themselves
    screenfuls: int  # that the display has told of this page
    title: str  # whose station this is, and how its ports share
    headline: str
    who: str  # may charge now
    ways: tuple[str, ...]  # to start
    start_text: str  # the same as a sentence
    price: str
    note: str  # what the owner wants to be said; "" if nothing
    support: str  # number and word
    link: Link
    link_text: str
    bars: int | None  # of the modem's signal, 0 to 4; None: there is no modem, or it hears nothing
    list_version: int
    list_age_s: int | None  # since the cloud last said that the list is current; None while nobody can tell
    list_late: bool  # older than S5's warning
    list_text: str
    store_ok: bool
    store_text: str
    ready: bool  # nothing here keeps the installer
    error_led: bool
    self_test: tuple[PartResult, ...]  # of every part, at this power-on
    messages: tuple[Message, ...]
    ports: tuple[PortModel, ...]
    notice: NoticeModel | None  # for a driver whose port is not known
    how: Steps  # to start, drawn: where the video does not play
    content: PageModel | None  # of a page that is read
    installer: str  # that a phone of his is connected; beside whatever else is shown. "" without one
    leaving_s: int  # this page goes back to the start by itself in so many seconds; 0: not soon
    leaving_text: str
    keys: tuple[SoftKey, ...]  # four
    words: dict[str, str]  # the few that a renderer needs of its own: "restarting" …


class Beat(Struct, frozen=True):
    """What a display says of itself, about once a second."""

    drawn: int  # the newest snapshot on it, by its id
    frames: int  # of the instructional video that were drawn, since the page began
    video: Literal["playing", "animation", "none"]  # what is there to see: the video, its drawn stand-in, neither
    visible: bool  # the page is on the display, as far as the browser knows
    by: Literal["kiosk", "framebuffer"] = "kiosk"  # who draws
    page: Annotated[str, Meta(max_length=100)] = ""  # of the display's own browser (agent/ui/panelurl.py)
