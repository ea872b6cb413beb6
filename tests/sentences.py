"""Every English sentence that the station says to people: the keys that each catalogue (`agent/ui/i18n/`) has to have.

They are found where `say(…)` is called: its first argument as it is written there, also where that is a local name, a
choice between two, or what a function of the same module returns. What comes out of a table is named in TABLES, by the
expression that is said: `tests/test_words.py` fails for one that is not there, so that no table is forgotten.
"""

import ast
import inspect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from agent import selftest, service
from agent.cellular import TROUBLES
from agent.clock import Clock
from agent.events import Link
from agent.faults import FAULTS
from agent.modem.signal_verdict import ADVICE
from agent.panel import ANIMATED
from agent.policy.freshness import NAMES
from agent.policy.plan_token import Why
from agent.policy.reasons import WORDS, Reason
from agent.settings import Settings
from agent.station import Boot, BootReason, Station
from agent.ui import kiosk, pages, phone, price, servicepage, shown, view, wizard_page
from agent.ui.words import HOLE
from agent.wizard import flow, inputs, steps
from agent.wizard.coordinates import Unread

ROOT = Path(__file__).parent.parent
FOLDERS = ("agent/ui", "agent/wizard")  # where there is a `say`


def in_function(function: object) -> list[str]:
    """Every text that is written in it with a capital; not its docstring."""
    (node,) = ast.parse(inspect.getsource(function)).body  # type: ignore[arg-type]
    assert isinstance(node, ast.FunctionDef)
    texts = [each.value for part in node.body[1:] for each in ast.walk(part) if isinstance(each, ast.Constant)]
    return [text for text in texts if isinstance(text, str) and text[:1].isupper()]


NOT_STORING = Station(Settings(), Boot("", 0.0, BootReason.POWER_UP), Clock(), (), None, Link.DOWN, store_ok=False)

TITLES = [row.title for row in shown.SHOWN.values()]
TEXTS = [text for row in shown.SHOWN.values() for text in (row.text, row.action)]
REASONS = [row.text for row in WORDS.values()]
INSTRUCTIONS = [shown.instruction(reason) for reason in Reason]
FAULT_TEXTS, FAULT_FIXES = [row.text for row in FAULTS.values()], [row.fix for row in FAULTS.values()]
FAILED = list(selftest.of_station(NOT_STORING))
STEP_TITLES = [row.title for row in steps.TABLE]
KEYS_OF_WIZARD = in_function(flow.label)

TABLES: dict[str, Iterable[str]] = {
    "shown.title": TITLES,
    "shown.text": TEXTS,
    "shown.action": TEXTS,
    "SHOWN[Situation.CLOSED].text": TEXTS,
    "WORDS[Reason.NEEDS_RESERVATION].text": REASONS,
    "FAULTS[f].text": FAULT_TEXTS,
    "FAULTS[f].fix": FAULT_FIXES,
    "FAULTS[found[0]].text": FAULT_TEXTS,
    "TROUBLES[code].shown": [row.shown for row in TROUBLES.values() if row.shown],
    "WORDS[Reason(tx.refused)].text": REASONS,
    "WORDS[Reason.CANNOT_RECORD].text": REASONS,
    "WORDS[reason].text": REASONS,
    "WORDS[bar.reason].text": REASONS,
    "said.text": REASONS,
    "choose.text": REASONS,
    "choose.action": INSTRUCTIONS,
    "instruction(reason)": INSTRUCTIONS,
    "refusal(tx, say)[1]": INSTRUCTIONS,
    "ENDINGS[tx.ending.reason]": shown.ENDINGS.values(),
    "WEEKDAYS[at.weekday()]": shown.WEEKDAYS,
    "PER[line.dimension]": price.PER.values(),
    "TITLES[said.led]": view.TITLES.values(),
    "CHECKS[self_test]": view.CHECKS.values(),
    "LABELS[action]": view.LABELS.values(),
    "LINKS[station.link]": [*view.LINKS.values(), *servicepage.LINKS.values()],
    "UPLOADS.get(log.status, NOT_SENT)": [*servicepage.UPLOADS.values(), servicepage.NOT_SENT],
    "FOLLOWS[fresh]": view.FOLLOWS.values(),
    "NAMES[fresh]": NAMES.values(),
    "PARTS.get(part.part, part.part)": shown.PARTS.values(),
    "part.text": [*FAULT_TEXTS, *(part.text for part in FAILED), kiosk.NO_KIOSK],  # or a driver's, as it is
    "part.fix": [*FAULT_FIXES, *(part.fix for part in FAILED), kiosk.FIX],
    "text of RENDERERS_OWN.items()": view.RENDERERS_OWN.values(),
    "text of LIGHTS.items()": pages.LIGHTS.values(),
    "LIGHTS[light]": pages.LIGHTS.values(),
    "PROBLEMS[problem]": servicepage.PROBLEMS.values(),
    "text of STREAMS.items()": servicepage.STREAMS.values(),
    "title": [title for title, _ in servicepage.FACTS],
    "what.label": [item.label for item in service.ITEMS.values()],
    "ROWS[wizard.step].title": STEP_TITLES,
    "row.title": STEP_TITLES,
    "each.label": [each.label for each in inputs.TABLE],
    "each.hint": [each.hint for each in inputs.TABLE],
    "coordinates.parse(given.value)": list(Unread),
    "flow.label(station, action)": KEYS_OF_WIZARD,
    "p.result": list(selftest.Result),
    "part.text or part.part": [*FAULT_TEXTS, *(part.text for part in FAILED)],
    "ANIMATED": [ANIMATED],
    "panel.problem": [kiosk.UNSEEN, ANIMATED, kiosk.STALLED, kiosk.STANDS_IN],
    "METHODS[point.method]": wizard_page.METHODS.values(),
    "judged.advice": ADVICE.values(),
    "SOURCES[station.clock.source]": wizard_page.SOURCES.values(),
    "NAMES[key]": [*NAMES.values(), *wizard_page.NAMES.values()],
    "text of WORDS.items()": phone.WORDS.values(),
    "what.why": list(Why),
    "sentence.text": [],  # written where its `Sentence` is made
    "title.text": [],
}


@dataclass(slots=True)
class Found:
    texts: set[str] = field(default_factory=set)
    tables: set[str] = field(default_factory=set)  # what is said and not written there


def sentences() -> frozenset[str]:
    tables = {text for table in TABLES.values() for text in table}
    return frozenset(text for text in said_in_code().texts | tables if not is_the_same_everywhere(text))


def is_the_same_everywhere(text: str) -> bool:
    """A fact alone, or a sign."""
    return bool(HOLE.fullmatch(text)) or text in ("", "+", "−")


def said_in_code() -> Found:
    found = Found()
    for path in (path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))):
        written(path.read_text(), found)
    return found


def written(source: str, found: Found) -> None:
    """What this module's calls of `say` are given."""
    tree = ast.parse(source)
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    for function in functions.values():
        for call in ast.walk(function):
            if isinstance(call, ast.Call) and is_say(call.func) and call.args:
                look(call.args[0], function, functions, found)


def is_say(func: ast.expr) -> bool:
    """`say` itself, or `self` in its own methods; or a `Sentence`, which is said later (agent/wizard/facts.py)."""
    return isinstance(func, ast.Name) and func.id in ("say", "self", "Sentence")


def look(said: ast.expr, inside: ast.FunctionDef, functions: dict[str, ast.FunctionDef], found: Found) -> None:
    match said:
        case ast.Constant(value=str(text)):
            found.texts.add(text)
        case ast.IfExp(body=one, orelse=other):
            look(one, inside, functions, found)
            look(other, inside, functions, found)
        case ast.Subscript(value=ast.Dict(values=values)):
            for value in values:
                look(value, inside, functions, found)
        case ast.Name(id=name) if values := list(assigned(name, inside)):
            for value in values:
                look(value, inside, functions, found)
        case ast.Call(func=ast.Name(id=name)) if name in functions and returned(functions[name]):
            for value in returned(functions[name]):
                look(value, functions[name], functions, found)
        case _:
            found.tables.add(f"{ast.unparse(said)}{of_what(said, inside)}")


def returned(function: ast.FunctionDef) -> list[ast.expr]:
    """What it answers, where that is written as text."""
    answers = [node.value for node in ast.walk(function) if isinstance(node, ast.Return) and node.value]
    return answers if all(isinstance(answer, ast.Constant | ast.IfExp) for answer in answers) else []


def assigned(name: str, inside: ast.FunctionDef) -> Iterator[ast.expr]:
    """What this local name is given; of a loop over rows that are written out, its place in each."""
    for node in ast.walk(inside):
        match node:
            case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                yield value
            case ast.For(target=ast.Tuple(elts=names), iter=ast.Tuple(elts=rows)):
                for i, each in enumerate(names):
                    if isinstance(each, ast.Name) and each.id == name:
                        yield from (row.elts[i] for row in rows if isinstance(row, ast.Tuple))


def of_what(said: ast.expr, inside: ast.FunctionDef) -> str:
    """Of a bare name in a loop or comprehension, what it is taken from."""
    if isinstance(said, ast.Name):
        for node in ast.walk(inside):
            if isinstance(node, ast.For | ast.comprehension):
                names = {each.id for each in ast.walk(node.target) if isinstance(each, ast.Name)}
                if said.id in names:
                    return f" of {ast.unparse(node.iter)}"
    return ""
