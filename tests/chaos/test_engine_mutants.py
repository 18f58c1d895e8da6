"""The properties are worth something only if they see a wrong engine: each fault seeded here must be caught by them.

A fault is one replacement in a copy of the engine's source. Records, reasons and texts stay the real ones, so worlds fit both.
"""

from __future__ import annotations

import importlib
import random
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest

import permissions.engine
from tests.properties import holding, worlds

SOURCE = Path(permissions.engine.__file__).parent
SHARED = "types|reasons|platform|names"
MOST_WORLDS = 6_000


class Mutant(NamedTuple):
    module: str
    right: str
    wrong: str


MUTANTS = {
    "a last star matches nothing, too": Mutant("patterns", "if len(code) < count:", "if len(code) < count - 1:"),
    "a star reaches the platform's codes": Mutant(
        "patterns", "for n, code in enumerate(self.codes) if not code.startswith(PREFIX)", "for n, _ in enumerate(self.codes)"
    ),
    "an exclusion does not count": Mutant("compile", "mask & ~excluded", "mask"),
    "an exclusion spares lines under a condition": Mutant(
        "compile", "mask & ~excluded", "mask & ~excluded if key.is_certain else mask"
    ),
    "an inherited role outlives its window": Mutant(
        "compile", "_add(denied, _within(key, fact), mask)", "_add(denied, key, mask)"
    ),
    "requirements are not followed to the end": Mutant("compile", "todo.extend(direct.get(needed, ()))", "pass"),
    "a deny is not inherited": Mutant("compile", "_add(deny, PLAIN, parent.deny)", "pass"),
    "a deny whose condition errs does not apply": Mutant("walk", "denied = Deny.BY_ERROR", "pass"),
    "an end includes its instant": Mutant("table", "now_us >= until_us", "now_us > until_us"),
    "an ended membership still counts": Mutant("scopes", "if standing <= worst and", "if"),
    "a boundary of a membership is forgotten": Mutant(
        "scopes", "for row in memberships]\n    windows +=", "for row in ()]\n    windows +="
    ),
    "a binding always propagates": Mutant("walk", "return held.binding.propagate or", "return True or"),
    "a private node lets allows through": Mutant("scopes", "if not node.inherit), default=0)", "if False), default=0)"),
    "in a tier a deny beats an allow": Mutant(
        "walk", "                denied = Deny.NONE\n                denying.clear()\n", ""
    ),
    "own lists stand in the tier of teams": Mutant("walk", "if held.own and held.binding.role is None)", "if False)"),
    "bindings of everyone reach every type": Mutant(
        "walk",
        "return self.table.everyone.get(self.subject.type), self.subject",
        "return next(iter(self.table.everyone.values()), None), self.subject",
    ),
    "a superuser passes denies": Mutant(
        "walk", "denied = Deny.NONE if self.is_overlay else self._denied_anywhere([])", "denied = Deny.NONE"
    ),
    "an inactive subject may": Mutant("scopes", "facts.active and not facts.locked", "facts.active or not facts.locked"),
    "the caller's attributes win by default": Mutant(
        "attributes", 'if asserted == "override" else', 'if asserted != "ignore" else'
    ),
    "the quick way overlooks denies": Mutant(
        "table",
        'self.special = (special | deny).to_bytes(size_bytes, "little")',
        'self.special = special.to_bytes(size_bytes, "little")',
    ),
    "of two conditions the last one counts": Mutant("walk", "joined = min(joined, outcome)", "joined = outcome"),
    "the list of allowed codes forgets conditional lines": Mutant(
        "walk", "                for line in role.allow_lines:\n                    mask |= line.mask\n", ""
    ),
    "a role's obligations are lost": Mutant("compile", "if fact.obligations else key.obliging", "if False else key.obliging"),
}


def mutated(mutant: Mutant, folder: Path, name: str) -> SimpleNamespace:
    package = folder / name
    package.mkdir()
    for path in SOURCE.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        if path.stem == mutant.module:
            assert text.count(mutant.right) == 1, f"{mutant.right!r} is no longer once in {path.name}: seed the fault anew"
            text = text.replace(mutant.right, mutant.wrong)
        text = re.sub(rf"permissions\.engine\.(?!(?:{SHARED})\b)", f"{name}.", text)
        text = re.sub(r"from permissions\.engine import (?!reasons|platform)", f"from {name} import ", text)
        (package / path.name).write_text(text, encoding="utf-8")
    modules = {stem: importlib.import_module(f"{name}.{stem}") for stem in ("compile", "scopes", "evaluate", "explain")}
    return SimpleNamespace(**modules)


def is_caught(engine: SimpleNamespace) -> bool:
    for number in range(MOST_WORLDS):
        seed = f"mutant/{number}"
        if holding.fault(engine, worlds.world(random.Random(seed)), random.Random(seed)):
            return True
    return False


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("mutant_")]:
        del sys.modules[name]


@pytest.mark.chaos
@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", MUTANTS)
def test_the_properties_catch(fault, folder):
    name = f"mutant_{sorted(MUTANTS).index(fault)}"
    assert is_caught(mutated(MUTANTS[fault], folder, name)), f"{MOST_WORLDS} worlds did not see that {fault}"


@pytest.mark.chaos
def test_an_engine_without_a_fault_is_not_blamed(folder):
    same = Mutant("walk", "class Walk:", "class Walk:")
    engine = mutated(same, folder, "mutant_none")
    assert engine.compile.__name__ == "mutant_none.compile"
    for number in range(300):
        seed = f"mutant/{number}"
        assert holding.fault(engine, worlds.world(random.Random(seed)), random.Random(seed)) == ""
