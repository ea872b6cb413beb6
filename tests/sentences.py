"""Every English sentence that the station says to people: the keys that each catalogue (`agent/ui/i18n/`) has to have.

Found where `say(…)` is called (its first argument, also where that is a local name, a choice between two, or what a
function of the same module returns), and in the tables beside it. `tests/test_words.py` shows that nothing else is
ever asked for.
"""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from agent import selftest
from agent.clock import Clock
from agent.events import Link
from agent.faults import FAULTS
from agent.policy.freshness import NAMES
from agent.policy.reasons import WORDS, Reason
from agent.settings import Settings
from agent.station import Boot, BootReason, Station
from agent.ui import pages, shown, view
from agent.ui.words import HOLE

ROOT = Path(__file__).parent.parent
FOLDERS = ("agent/ui", "agent/wizard")  # where there is a `say`
NOT_STORING = Station(Settings(), Boot("", 0.0, BootReason.POWER_UP), Clock(), (), None, Link.DOWN, store_ok=False)
TITLES = {*(row.title for row in shown.SHOWN.values()), *view.TITLES.values(), "Card read", "Card accepted"}
LABELS = {*view.LABELS.values(), "Normal text"}
TABLES: tuple[Iterable[str], ...] = (
    TITLES,
    LABELS,
    (text for row in shown.SHOWN.values() for text in (row.text, row.action)),
    (text for row in FAULTS.values() for text in (row.text, row.fix)),
    (row.text for row in WORDS.values()),
    (shown.instruction(reason) for reason in Reason),
    shown.ENDINGS.values(),
    shown.WEEKDAYS,
    pages.LIGHTS.values(),
    view.LINKS.values(),
    view.CHECKS.values(),
    view.FOLLOWS.values(),
    view.RENDERERS_OWN.values(),
    NAMES.values(),
    (text for part in selftest.of_station(NOT_STORING) for text in (part.text, part.fix)),
)


def sentences() -> frozenset[str]:
    tables = {text for table in TABLES for text in table}
    paths = (path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")))
    found = tables.union(*(written(path.read_text()) for path in paths))
    return frozenset(text for text in found if not is_the_same_everywhere(text))


def is_the_same_everywhere(text: str) -> bool:
    """A fact alone, or a sign."""
    return bool(HOLE.fullmatch(text)) or text in ("", "+", "−")


def written(source: str) -> set[str]:
    """What this module's calls of `say` are given as it stands there."""
    tree = ast.parse(source)
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    found = set[str]()
    for function in functions.values():
        for call in ast.walk(function):
            if isinstance(call, ast.Call) and is_say(call.func) and call.args:
                found |= texts(call.args[0], function, functions)
    return found


def is_say(func: ast.expr) -> bool:
    """`say` itself, or `self` in its own methods."""
    return isinstance(func, ast.Name) and func.id in ("say", "self")


def texts(node: ast.expr, inside: ast.FunctionDef, functions: dict[str, ast.FunctionDef]) -> set[str]:
    match node:
        case ast.Constant(value=str(text)):
            return {text}
        case ast.IfExp(body=one, orelse=other):
            return texts(one, inside, functions) | texts(other, inside, functions)
        case ast.Name(id=name):
            return set().union(*(texts(value, inside, functions) for value in assigned(name, inside)))
        case ast.Call(func=ast.Name(id=name)) if name in functions:
            function = functions[name]
            answers = [n.value for n in ast.walk(function) if isinstance(n, ast.Return) and n.value]
            return set().union(*(texts(answer, function, functions) for answer in answers))
    return set()  # of a table, or from elsewhere


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
