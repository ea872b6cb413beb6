"""What people read is said in their language, whole; and nothing that is put into a sentence can spoil it."""

import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from pathlib import Path
from typing import get_args, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.events import Machine, PhoneTold
from agent.faults import Fault
from agent.navigation import HELP_PARTS, KEYS
from agent.panel import DoorProblem, Page, Panel, Part
from agent.policy.reasons import Reason
from agent.settings import Settings
from agent.station import Notice, Station
from agent.ui import shown, view
from agent.ui.catalogues import FOLDER, load_says, read
from agent.ui.fonts import pieces
from agent.ui.led import Light
from agent.ui.model import ScreenModel
from agent.ui.view import screen
from agent.ui.words import (
    END_ISOLATE,
    ENGLISH,
    ISOLATE,
    LANGUAGES,
    ONLY_ENGLISH,
    Say,
    holes,
    language_of,
)
from agent.wizard import inputs
from agent.wizard.facts import Draft, Editing, Mark, Method, Pinpoint, Refused, Sentence, Step, Wizard
from agent.wizard.places import Place
from tests.sentences import KEYS_OF_WIZARD, TABLES, Found, is_the_same_everywhere, said_in_code, sentences, written
from tests.test_view import FREE, NOW, PLUGGED, SITUATIONS, instants, station, stations

OTHERS = [code for code in LANGUAGES if code != "en"]
KEYS_OF_ALL = sentences()
TEXTS: dict[str, dict[str, str]] = {code: json.loads((FOLDER / f"{code}.json").read_text()) for code in OTHERS}
PAIRS = [(code, key, text) for code, texts in TEXTS.items() for key, text in texts.items()]
TITLES = {*(row.title for row in shown.SHOWN.values()), *view.TITLES.values(), "Card read", "Card accepted"}
LABELS = {*view.LABELS.values(), "Normal text", *KEYS_OF_WIZARD}
TITLE_MAX, LABEL_MAX = 22, 12  # characters that the smallest panel holds in a line, and on a soft key
NBSP = "\u00a0"


def wrong(rule: re.Pattern[str], *codes: str) -> list[str]:
    """The texts of these languages in which this is found."""
    return [f"{code}: {text}" for code, _, text in PAIRS if code in codes and rule.search(text)]


# -- the catalogues ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", OTHERS)
def test_every_sentence_is_in_every_catalogue_and_no_other(code: str) -> None:
    missing = dict.fromkeys(sorted(KEYS_OF_ALL - TEXTS[code].keys()), "")
    assert not missing, f"translate these in agent/ui/i18n/{code}.json:\n{json.dumps(missing, indent=1)}"
    left_over = sorted(TEXTS[code].keys() - KEYS_OF_ALL)
    assert not left_over, f"nobody says these any more; take them out of {code}.json:\n" + "\n".join(left_over)


def test_no_table_of_sentences_is_forgotten() -> None:
    used = said_in_code().tables
    assert not used - TABLES.keys(), "tests/sentences.py has to know which sentences these can be"
    assert not TABLES.keys() - used, "nobody says these any more"


def test_the_sentences_are_found_where_they_are_said() -> None:
    source = """
def f(say, is_free):
    how = "Plug in." if is_free else "Tap."
    for n, text in ((1, "One."), (2, "Two.")):
        say(text, n=n)
    for row in ROWS:
        say(row)
    return say(how), say("Wait."), say("A" if is_free else "B"), say(other(is_free)), say(TABLE[0].text), say(again())
def other(is_free):
    if is_free:
        return "Other."
    return "More."
def again():
    return TABLE[1]
"""
    written(source, found := Found())
    assert found.texts == {"Plug in.", "Tap.", "One.", "Two.", "Wait.", "A", "B", "Other.", "More."}
    assert found.tables == {"row of ROWS", "TABLE[0].text", "again()"}
    assert len(KEYS_OF_ALL) > 280 and {"{n} d", "Port {n}", "Tap your card to start."} <= KEYS_OF_ALL


@pytest.mark.parametrize("code", OTHERS)
def test_a_catalogue_is_in_the_order_of_its_keys_so_that_two_can_be_compared(code: str) -> None:
    text = (FOLDER / f"{code}.json").read_text()
    assert text == json.dumps(dict(sorted(TEXTS[code].items())), ensure_ascii=False, indent=1) + "\n"


def test_every_translation_has_the_same_facts() -> None:
    assert not [(code, key) for code, key, text in PAIRS if holes(text) != holes(key)]
    assert not [(code, key) for code, key, text in PAIRS if re.search(r"[{}]", re.sub(r"\{[a-z_]+\}", "", text))]


def test_every_translation_is_plain_text() -> None:
    """No markup, no line breaks, no control characters. What in an Arabic text itself reads from left to right (a pair
    of coordinates) is between U+2066 and U+2069; facts are isolated by `Say`.
    """
    assert not [(code, key) for code, key, text in PAIRS if text != text.strip() or not text]
    assert not wrong(re.compile(r"[<>&\\`\"]|  "), *OTHERS)
    texts = [bare(text) if code == "ar" else text for code, _, text in PAIRS]
    odd = {char for text in texts for char in text if unicodedata.category(char) in ("Cc", "Cf", "Co", "Cs", "Zl")}
    assert not odd and all(unicodedata.is_normalized("NFC", text) for text in texts)


def bare(text: str) -> str:
    """Without what is isolated in it."""
    return re.sub("\u2066[^\u2066\u2069]+\u2069", "", text)


def test_a_translation_is_about_as_long_as_its_sentence() -> None:
    assert not [pair for pair in PAIRS if len(pair[2]) > max(1.6 * len(pair[1]), len(pair[1]) + 12)]
    assert not [pair for pair in PAIRS if pair[1] in TITLES and len(pair[2]) > max(TITLE_MAX, len(pair[1]))]
    assert not [pair for pair in PAIRS if pair[1] in LABELS and len(pair[2]) > LABEL_MAX]


def end(text: str) -> str:
    last = text[-1]
    return {"。": ".", "？": "?", "؟": "?", "：": ":"}.get(last, last if last in ".?!:…" else "")


def test_a_translation_ends_as_its_sentence_does() -> None:
    assert not [pair for pair in PAIRS if end(pair[2]) != end(pair[1])]


def words_of(text: str) -> str:
    return re.sub(r"\{[a-z_]+\}", "", text)


def test_no_sentence_is_left_in_english() -> None:
    same = [f"{code}: {text}" for code, key, text in PAIRS if text == key and len(words_of(key).split()) > 2]
    assert not same


def test_french_has_a_space_that_does_not_break_before_what_asks_for_one() -> None:
    assert not wrong(re.compile(r"[^\u00a0\d:][:;!?](?= |$)|[^\u00a0]»|«[^\u00a0]| [:;!?»]"), "fr")
    assert not wrong(re.compile(r"[\u00a0 ][:;!?]"), "es", "de", "zh", "ar")


def test_spanish_opens_its_questions() -> None:
    assert not [t for t in TEXTS["es"].values() if ("?" in t, "!" in t) != ("¿" in t, "¡" in t)]


def test_chinese_is_in_chinese_characters_and_its_own_marks() -> None:
    assert not [text for _, key, text in PAIRS_OF("zh") if not re.search("[\u4e00-\u9fff]", text)]
    assert not wrong(re.compile(r"[\u3000-\u9fff\uff00-\uffef] +[\u3000-\u9fff\uff00-\uffef]"), "zh")
    assert not wrong(re.compile(r"[\u4e00-\u9fff][,.;!?]|[\u4e00-\u9fff]:(?! )(?![\u4e00-\u9fff])"), "zh")


def test_arabic_is_in_arabic_letters_and_its_own_marks() -> None:
    assert not [text for _, key, text in PAIRS_OF("ar") if not re.search("[\u0621-\u064a]", text)]
    its_own = [bare(text) for code, _, text in PAIRS if code == "ar"]
    assert not [text for text in its_own if re.search(r"[,;?٪]|[\u0660-\u0669]", text)]  # Western digits, as displayed


def PAIRS_OF(code: str) -> Iterator[tuple[str, str, str]]:  # noqa: N802 - of the table of that name
    """Without those that have only units, which may be international."""
    units = {"A", "kW", "kWh", "m", "km", ""}
    return (pair for pair in PAIRS if pair[0] == code and {*re.split(r"[^A-Za-z]+", words_of(pair[1]))} - units)


def test_the_settings_know_the_languages_that_are_spoken() -> None:
    assert get_args(get_type_hints(Settings)["language"]) == tuple(LANGUAGES)
    assert load_says().keys() == LANGUAGES.keys()


# -- the screen -------------------------------------------------------------------------------------------------------


class Heard(Say):
    """Remembers what was asked for and is in no catalogue."""

    __slots__ = ("unsaid",)

    def __init__(self, language: str, texts: dict[str, str]) -> None:
        super().__init__(language, texts)
        self.unsaid = set[str]()

    def __call__(self, text: str, /, **facts: object) -> str:
        if text not in self.texts and not is_the_same_everywhere(text):
            self.unsaid.add(text)
        return super().__call__(text, **facts)


def heard(station: Station, now: float, code: str) -> tuple[ScreenModel, set[str]]:
    say = Heard(code, TEXTS.get(code, {}))
    model = screen(replace(station, panel=replace(station.panel, language=code)), now, {code: say})
    return model, say.unsaid


def leaves(value: object) -> Iterator[object]:
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from leaves(getattr(value, name))
    elif is_dataclass(value):
        for field in fields(value):
            yield from leaves(getattr(value, field.name))
    elif isinstance(value, tuple):
        yield len(value)
        for each in value:
            yield from leaves(each)
    elif isinstance(value, dict):
        yield from leaves(tuple(sorted(value)))
        yield from leaves(tuple(value[key] for key in sorted(value)))
    else:
        yield value


def facts(model: ScreenModel) -> list[object]:
    """All that no language changes."""
    return [leaf for leaf in leaves(model) if isinstance(leaf, Enum) or not isinstance(leaf, str)]


def unfilled(model: ScreenModel) -> set[str]:
    """Facts that nobody put in. One of the stations has an owner called {owner}."""
    return {hole for leaf in leaves(model) if isinstance(leaf, str) for hole in holes(leaf)} - {"owner"}


@settings(max_examples=25)
@given(stations, instants)
def test_any_station_is_shown_whole_in_every_language(station: Station, now: float) -> None:
    english = screen(replace(station, panel=replace(station.panel, language="en")), now)
    assert not unfilled(english)
    for code in OTHERS:
        model, unsaid = heard(station, now, code)
        assert not unsaid and not unfilled(model)
        assert facts(model) == facts(english)


wizards = st.builds(
    Wizard,
    settings=st.just({}) | st.just({"circuit_limit_ma": 16_000, "time_zone": "Europe/Berlin"}),
    installer=st.sampled_from(["", "Al"]),
    company=st.just("A1"),
    breaker_ma=st.sampled_from([0, 20_000]),
    pinpoint=st.none() | st.just(Pinpoint(52.5, 13.4, 12.0, Method.TYPED, 1.8e9, "Al")),
    charged=st.booleans(),
    done=st.just({}) | st.just({Step.HAND_OVER: Mark(1.8e9, is_open=False)}),
    step=st.sampled_from(Step),
    is_heard=st.booleans(),
    told=st.just("0a"),
    draft=st.none() | st.builds(Draft, st.just({"circuit_limit_ma": 32_000, "phases": 3}), st.booleans()),
    cursor=st.integers(0, 5),
    editing=st.none() | st.builds(Editing, st.sampled_from([each.name for each in inputs.TABLE]), st.just("12")),
    refused=st.none() | st.just(Refused("pinpoint", Sentence("Choose one of the list."))),
    confirms=st.booleans(),
    place=st.none() | st.just(Place("Germany", "Berlin", "Europe/Berlin")),
)
modems, certificates = st.sampled_from(["", "LTE", "GSM"]), st.none() | st.just(2e9)
machines = st.builds(Machine, modem_type=modems, certificate_expiry_s=certificates)


@settings(max_examples=50)
@given(stations, wizards, machines, st.sampled_from(OTHERS))
def test_any_page_of_the_wizard_is_shown_whole_in_every_language(
    station: Station, wizard: Wizard, machine: Machine, code: str
) -> None:
    panel = Panel(Page.WIZARD, language=code, service_until=2 * NOW)
    model, unsaid = heard(replace(station, wizard=wizard, machine=machine, panel=panel), NOW, code)
    assert model.content and not unsaid and not unfilled(model)


ALL_PAGES = [(page, at) for page in KEYS for at in range(HELP_PARTS)]
DOORS = [
    *(PhoneTold(1.0, problem=problem) for problem in DoorProblem),
    PhoneTold(1.0, "https://192.168.4.1:8443", "https://192.168.4.1:8443/#x", "12345678", "AB CD", "WIFI:S:x;;"),
    PhoneTold(1.0, "https://192.168.4.1:8443", guest="192.168.4.17"),
]
SERVICE = [
    station(FREE, FREE, phone=door, panel=Panel(
        Page.SERVICE, at, part=part, service_until=NOW + 9, phone_at=1.0, phone_until=NOW + 9, lights_at=NOW - at * 3))
    for part in Part for at in range(len(Light)) for door in [None, *DOORS]
]  # fmt: skip
SEEN: dict[str, Station] = {
    **{f"service {i}": one for i, one in enumerate(SERVICE)},
    **{f"{at}": one for at, one in SITUATIONS.items()},
    **{f"{fault}": station(replace(PLUGGED, latched=frozenset({fault})), FREE) for fault in Fault},
    **{f"{reason}": station(FREE, FREE, notices=(Notice(0, reason, NOW + 8),)) for reason in Reason},
    **{f"{page} {at}": station(FREE, FREE, panel=Panel(page, at, service_until=NOW + 9)) for page, at in ALL_PAGES},
}


@pytest.mark.parametrize("code", OTHERS)
def test_every_situation_fault_refusal_and_page_is_in_every_language(code: str) -> None:
    unsaid = {text: name for name, one in SEEN.items() for text in heard(one, NOW, code)[1]}
    assert not unsaid


def test_help_in_a_foreign_language_is_at_hand_in_it() -> None:
    one = station(FREE, panel=Panel(Page.HELP, language="ar"))
    model = screen(one, NOW, load_says())
    assert (model.direction, model.language) == ("rtl", "ar") and model.content and "تبدأ" in model.content.title
    assert screen(one, NOW, ONLY_ENGLISH).direction == "ltr"  # without its catalogue, English stands in


# -- a sentence and its facts -----------------------------------------------------------------------------------------

texts = st.text(st.sampled_from("ab{}!:.0_ []\u202e\u2068\u2069ابhello"), max_size=20)


@given(texts, texts, st.sampled_from(OTHERS))
def test_no_text_and_no_fact_can_break_a_sentence(text: str, fact: str, code: str) -> None:
    said = Say(code, {"Port {n}": text} if text else {})("Port {n}", n=fact)
    assert isinstance(said, str)
    assert ENGLISH("It is {n}.", n=fact) == f"It is {fact}."  # never read for holes
    assert ENGLISH(text) == text  # a driver's words may hold anything


def test_a_fact_that_is_missing_shows_as_a_hole_and_does_not_raise() -> None:
    assert ENGLISH("Port {n} is {state}", n=2) == "Port 2 is {state}"
    assert ENGLISH("{n.__class__} {0} {}", n=2) == "{n.__class__} {0} {}"
    assert ENGLISH("") == Say("ar")("") == ""


def test_what_is_foreign_in_an_arabic_sentence_keeps_its_order() -> None:
    say = Say("ar", {"For {owner}.": "لدى {owner}."})
    assert say("For {owner}.", owner="Offices (North)") == f"لدى {ISOLATE}Offices (North){END_ISOLATE}."
    assert say("For {owner}.", owner="+49 800 1") == f"لدى {ISOLATE}+49 800 1{END_ISOLATE}."
    assert say("For {owner}.", owner="المالك") == "لدى المالك."
    assert say("For {owner}.", owner="") == "لدى ." and say("For {owner}.", owner=3) == "لدى 3."
    assert say("The reader is silent.") == f"{ISOLATE}The reader is silent.{END_ISOLATE}"  # not translated
    assert Say("de")("For {owner}.", owner="المالك") == "For المالك."


def test_the_owners_own_words_keep_their_order_on_an_arabic_screen() -> None:
    words = Settings(owner="Offices (North)", tariff_text="$0.32 per kWh, free at night")
    model, _ = heard(station(FREE, settings=words), NOW, "ar")
    assert model.title == f"{ISOLATE}Offices (North){END_ISOLATE}"
    assert model.price == f"{ISOLATE}$0.32 per kWh, free at night{END_ISOLATE}"


@settings(max_examples=25)
@given(stations, instants)
def test_every_isolate_on_an_arabic_screen_is_closed(station: Station, now: float) -> None:
    model, _ = heard(station, now, "ar")
    for leaf in leaves(model):
        if isinstance(leaf, str):
            assert leaf.count(ISOLATE) == leaf.count(END_ISOLATE)


def test_a_list_of_numbers_is_read_from_right_to_left_where_letters_are() -> None:
    """On the page by UAX #9, on the framebuffer by our own: what stands farthest to the right is the first."""
    say = load_says()["ar"]
    said = say("Ports {list} and {last} are free", list=say.listed(["1", "2", "3"]), last="4")
    drawn = "".join(piece.text for piece in pieces(said, lambda letter: "", rtl=True))
    assert re.findall(r"\d", drawn) == ["4", "3", "2", "1"]


def test_numbers_lists_and_ages_follow_the_language() -> None:
    assert [Say(code).number(1.25, 2) for code in LANGUAGES] == ["1.25", "1,25", "1,25", "1,25", "1.25", "1.25"]
    assert [Say(code).listed(["1", "2"]) for code in ("en", "zh")] == ["1, 2", "1、2"]
    assert [Say(code).joined("a。", "", "b。") for code in ("en", "zh")] == ["a。 b。", "a。b。"]
    assert [ENGLISH.age(s) for s in (0, 299, 3_600, 172_799, 172_800)] == ["0 min", "4 min", "1 h", "47 h", "2 d"]
    assert Say("fr", TEXTS["fr"]).age(172_800) == "2 j"
    assert ENGLISH.number(-0.04, 1) == "0.0"


def test_a_language_is_known_by_any_tag_for_it() -> None:
    tags = ["de", "de-AT", "DE", "zh-Hant", "es_MX", "ar-EG", None, "", "xx", "deu", "-", "e"]
    assert [language_of(tag) for tag in tags] == ["de", "de", "de", "zh", "es", "ar", "", "", "", "", "", ""]


@given(st.none() | st.text(max_size=12))
def test_no_tag_is_too_odd_to_be_asked(tag: str | None) -> None:
    assert language_of(tag) in ("", *LANGUAGES)


# -- the files --------------------------------------------------------------------------------------------------------


def test_a_damaged_catalogue_leaves_the_screen_in_english(tmp_path: Path) -> None:
    for content in (b"", b"{", b"[]", b'{"a": 1}', b"\xff\xfe", b'{"a": "\xff"}'):
        (tmp_path / "de.json").write_bytes(content)
        assert read(tmp_path / "de.json") == {} and load_says(tmp_path).keys() == {"en"}
    assert read(tmp_path / "fr.json") == {}


def test_a_text_with_other_facts_than_its_sentence_is_not_used(tmp_path: Path) -> None:
    texts = {"Port {n}": "Anschluss", "Ports {n}": "Anschlüsse {m}", "Help": " ", "Back": "Zurück", "{n} A": "{n} A"}
    (tmp_path / "de.json").write_text(json.dumps(texts))
    assert read(tmp_path / "de.json") == {"Back": "Zurück", "{n} A": "{n} A"}
