"""The mutation check, `make mutation`: breaks the durable code in every way that matters, one at a time, and demands
that the judge of recorded operations (tests/durability.py) notices.

Every call that syncs something is found in the source, so a new one is a new mutant. A mutant that lives, or that no
story reaches, ends this with exit code 1, unless EQUIVALENT says in one line why nothing can be lost by it.
"""

import ast
import importlib.util
import json
import re
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
MODULES = (
    "agent.files", "agent.outbox", "agent.store", "agent.app", "agent.authcache.listfile", "agent.authcache.lists",
    "agent.authcache.parts", "agent.authcache.builder", "agent.authcache.overlay", "agent.update.slots",
    "agent.update.statefile", "agent.update.engine", "agent.update.provision", "agent.update.courier",
    "agent.shell",
)  # fmt: skip
SYNCS = re.compile(r"f?(data)?sync(_\w+)?")
TOGETHER = {  # what makes a commit whole
    "agent.authcache.lists": re.compile(r"clear|list_changed|_forgotten|saves"),
    "agent.update.statefile": re.compile(r"put"), "agent.update.engine": re.compile(r"_change|_mark"),
    "agent.update.courier": re.compile(r"_write"), "agent.shell": re.compile(r"wiped"),
}  # fmt: skip
SWAPPED = (  # module, function, what is done one step too late there
    ("agent.files", "put", "files.sync(new)"), ("agent.files", "put", "files.rename("),
    ("agent.update.engine", "_prepare", "self._change("),
)  # fmt: skip
LIVES = 2  # of each story
FIRED = "the mutant has changed something"


@dataclass(frozen=True, slots=True)
class Mutant:
    """What is done to the writer's process: a call of `module` is left out, or SQL is another one."""

    name: str
    story: str  # that should kill it; if it does not, the others are tried
    module: str = ""
    line: int = 0
    column: int = 0
    old: str = ""  # a pattern in SQL
    new: str = ""
    delay: str = ""  # SQL that begins so is executed after COMMIT; a COMMIT, when the next statement comes
    is_swapped: bool = False  # the statement there is done after the next one, not left out


# As agent/outbox.py's text stands, if it stands there at all: a mutant that changes nothing fails the check.
SQL = (
    Mutant("synchronous = NORMAL", "store", old=r"(PRAGMA synchronous\s*=\s*)\w+", new=r"\1NORMAL"),
    Mutant("synchronous = OFF", "store", old=r"(PRAGMA synchronous\s*=\s*)\w+", new=r"\1OFF"),
    Mutant("journal_mode = MEMORY", "store", old=r"(PRAGMA journal_mode\s*=\s*)\w+", new=r"\1MEMORY"),
    Mutant("journal_mode = OFF", "store", old=r"(PRAGMA journal_mode\s*=\s*)\w+", new=r"\1OFF"),
    Mutant("no transactions: each row by itself", "store", old=r"\b(BEGIN IMMEDIATE|COMMIT)\b", new="SELECT 1"),
    Mutant("the migration is no transaction", "store", old=r"(?s)BEGIN IMMEDIATE;(.*); COMMIT", new=r"\1"),
    Mutant("promised before COMMIT", "store", delay="COMMIT"),
    Mutant("the marks are written after COMMIT", "store", delay="UPDATE stream"),
    Mutant("the epoch is written after COMMIT", "store", delay="INSERT OR REPLACE INTO epoch"),
    Mutant("the list's row is promised before COMMIT", "lists", delay="COMMIT"),
    Mutant("each of a list's facts by itself", "changes", old=r"\b(BEGIN IMMEDIATE|COMMIT)\b", new="SELECT 1"),
    Mutant("each of an owner's facts by itself", "farewell", old=r"\b(BEGIN IMMEDIATE|COMMIT)\b", new="SELECT 1"),
)
# What no line names belongs to the lists.
STORY_OF = {
    "agent.update.slots": "slots", "agent.update.statefile": "slots", "agent.update.engine": "slots",
    "agent.update.provision": "provision", "agent.update.courier": "air",
    "agent.store": "store", "set_aside": "damaged", "sync_folder": "damaged", "rebuilt": "rebuilt",
    "agent.shell": "farewell", "wiped": "farewell", "forget_drafts": "farewell",
    "_change": "changes", "_stage": "changes", "_forgotten": "changes", "agent.authcache.parts": "parts",
}  # fmt: skip
STORIES_ORDER = (
    "store", "damaged", "rebuilt", "lists", "parts", "changes", "mends", "slots", "provision", "air", "farewell",
    "long list",
)  # fmt: skip
EQUIVALENT = {  # name -> why nothing can be lost
    "agent/update/engine.py: sync() without staging.writer.sync_written()":
        "nothing is promised of a piece: what is not there after a cut is asked for again",
    "agent/update/engine.py: put() without self.sync()": "as above: it is that sync",
    "agent/update/courier.py: put() without self._write(replace(self.task, spent_b=spent_b))":
        "it says what was spent in the midst of an attempt: at most that much is spent once more",
    "agent/store.py: open_database() without sync_folder(path)":
        "SQLite syncs the folder itself with each connection's first sync of the WAL, before the first promise",
    "agent/store.py: rebuilt() without sync_folder(path)":
        "SQLite has synced the draft's name already, with its WAL's",
    "agent/store.py: rebuilt() without sync_folder(path), number 2":
        "until the sync in open_database() the next start finds the draft and goes on from there",
}  # fmt: skip


def mutants() -> list[Mutant]:
    return [*SQL, *(mutant for module in MODULES for mutant in dropped_syncs(module)), *map(swapped, SWAPPED)]


def dropped_syncs(module: str) -> Iterator[Mutant]:
    path = Path(*module.split(".")).with_suffix(".py")
    tree = ast.parse((ROOT / path).read_text())
    seen: Counter[str] = Counter()
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        for call in (node for node in ast.walk(function) if isinstance(node, ast.Call) and is_durable(node, module)):
            name = f"{path}: {function.name}() without {ast.unparse(call)}"
            seen[name] += 1
            name += f", number {seen[name]}" if seen[name] > 1 else ""
            story = STORY_OF.get(function.name) or STORY_OF.get(module) or "lists"
            yield Mutant(name, story, module, call.lineno, call.col_offset)


def swapped(where: tuple[str, str, str]) -> Mutant:
    module, name, text = where
    path = Path(*module.split(".")).with_suffix(".py")
    functions = (node for node in ast.walk(ast.parse((ROOT / path).read_text())) if isinstance(node, ast.FunctionDef))
    body = next(function.body for function in functions if function.name == name)
    (late,) = [statement for statement in body if ast.unparse(statement).startswith(text)]
    name, place = f"{path}: {name}() with {ast.unparse(late)} too late", (late.lineno, late.col_offset)
    return Mutant(name, STORY_OF.get(module, "lists"), module, *place, is_swapped=True)


def is_durable(call: ast.Call, module: str) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    return any(pattern.fullmatch(name) for pattern in (SYNCS, TOGETHER.get(module, SYNCS)))


# -- in the writer's process ------------------------------------------------------------------------------------------


def fired() -> tuple[()]:
    """Told on stderr; standard output is for promises. Of what was to be saved, nothing is."""
    print(FIRED, file=sys.stderr)
    return ()


def apply(mutant: Mutant) -> None:
    """Before anything of `agent` is imported."""
    assert not any(name.split(".")[0] == "agent" for name in sys.modules)
    if mutant.module:
        load_without(mutant)
    else:
        original = sqlite3.connect
        vars(sqlite3)["connect"] = partial(original, factory=partial(connection, mutant))


def load_without(mutant: Mutant) -> None:
    spec = importlib.util.find_spec(mutant.module)
    assert spec and spec.origin
    tree = Without(mutant).visit(ast.parse(Path(spec.origin).read_text()))
    module = importlib.util.module_from_spec(spec)
    module.__dict__["fired"] = fired
    sys.modules[mutant.module] = module
    exec(compile(ast.fix_missing_locations(tree), spec.origin, "exec"), module.__dict__)
    parent, _, name = mutant.module.rpartition(".")
    setattr(sys.modules[parent], name, module)


class Without(ast.NodeTransformer):
    def __init__(self, mutant: Mutant) -> None:
        self.place, self.module, self.is_swapped = (mutant.line, mutant.column), mutant.module, mutant.is_swapped

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        places = [(statement.lineno, statement.col_offset) for statement in node.body]
        if self.is_swapped and self.place in places:
            at = places.index(self.place)
            told = ast.Expr(ast.Call(ast.Name("fired", ast.Load()), [], []))
            node.body[at : at + 2] = [told, node.body[at + 1], node.body[at]]
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if (node.lineno, node.col_offset) == self.place and is_durable(node, self.module) and not self.is_swapped:
            return ast.Call(ast.Name("fired", ast.Load()), [], [])
        return node


def connection(mutant: Mutant, database: str, *args: Any, **named: Any) -> sqlite3.Connection:
    """Of a file. What a list's image is made in, in memory, no cut can tear."""
    if database == ":memory:":
        return sqlite3.Connection(database, *args, **named)
    return Connection(mutant, database, *args, **named)


class Connection(sqlite3.Connection):
    def __init__(self, mutant: Mutant, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._mutant = mutant
        self._delayed: Callable[[], Any] | None = None

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        return self._mutated(super().execute, sql, *values)

    def executemany(self, sql: str, values: Any) -> sqlite3.Cursor:
        return self._mutated(super().executemany, sql, list(values))

    def executescript(self, script: str) -> sqlite3.Cursor:
        return self._mutated(super().executescript, script)

    def _mutated(self, run: Callable[..., sqlite3.Cursor], sql: str, *values: Any) -> sqlite3.Cursor:
        mutant = self._mutant
        if mutant.delay and sql.startswith(mutant.delay):
            fired()
            self._delayed = partial(run, sql, *values)
            return super().execute("SELECT 1")
        if mutant.delay == "COMMIT":
            self._perform_delayed()
        new = re.sub(mutant.old, mutant.new, sql) if mutant.old else sql
        if new != sql:
            fired()
        if sql == "ROLLBACK" and not self.in_transaction:  # it has been committed this moment
            return super().execute("SELECT 1")
        done = run(new, *values)
        if sql == "COMMIT":
            self._perform_delayed()
        return done

    def _perform_delayed(self) -> None:
        if self._delayed:
            delayed, self._delayed = self._delayed, None
            delayed()


# -- the check --------------------------------------------------------------------------------------------------------


def verdict(mutant: Mutant, lives: int = LIVES) -> str:
    """What a judge says of the first broken disk; empty if the mutant lives. A story whose writer never comes to the
    mutant has nothing to say of it."""
    from tests.durability import Recording, WriterDied, broken
    from tests.durable_stories import STORIES, recorded

    order = sorted(STORIES_ORDER, key=lambda name: name != mutant.story)
    run = [sys.executable, "-m", "tests.mutation", json.dumps(asdict(mutant))]
    try:
        recordings: dict[str, Recording] = {name: recorded(name, range(lives), run) for name in order[:1]}
    except WriterDied as error:
        assert FIRED in str(error), error
        return f"{mutant.story}, whose writer dies of it: {str(error).strip().splitlines()[-1]}"
    assert FIRED in recordings[mutant.story].errors, f"{mutant.name}: its story does not come there"
    for effort in (0,) if mutant.name in EQUIVALENT else (0, 1):
        for name in order:
            if name not in recordings:
                recordings[name] = recorded(name, range(lives), run)
            if FIRED not in recordings[name].errors:
                continue
            for said in broken(recordings[name], STORIES[name].judge(), effort):
                return f"{name}, {said}"
    return ""


def check() -> int:
    """Prints the table. 1 if a mutant lives, or one dies that should be harmless."""
    wrong = 0
    for mutant in mutants():
        said, why = verdict(mutant), EQUIVALENT.get(mutant.name)
        is_wrong = bool(said) == bool(why)
        wrong += is_wrong
        shown = f"killed by {said[:200]}" if said else f"equivalent: {why}" if why else "LIVES"
        print(f"{'WRONG: ' if is_wrong else ''}{mutant.name}\n    {shown}", flush=True)
    return int(wrong > 0)


def main(mutant: str | None = None, *story: str) -> int:
    """Without arguments the check; with them the writer's process."""
    if mutant is None:
        return check()
    apply(Mutant(**json.loads(mutant)))
    from tests.durable_stories import main as play

    play(*story)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
