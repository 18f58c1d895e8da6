"""Faults planted into the laws must be caught by the tests of the laws; else those prove nothing."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable

import pytest

from resilience import operations
from resilience.laws import breaker_allow, breaker_report, circuit_breaker_prelude
from tests.resilience.circuit_breaker import test_law, test_model

FAULTS = {
    "an ignored epoch": (breaker_report, 'epoch != stored.state["e"] or ', ""),
    "a probe without lease": (breaker_allow, "stored.now + lease)", "stored.now + 10**15)"),
    "a success that opens": (breaker_report, "if bad + slow == 0:", "if False:"),
    "an ignored quorum": (breaker_report, "if len(failing) < quorum and", "if False and"),
    "a failure that closes": (breaker_report, "if bad + slow > 0:", "if False:"),
    "one probe too many": (breaker_allow, '+ state["done"] >= permits:', '+ state["done"] > permits:'),
    "a window without end": (circuit_breaker_prelude, "if index - 10 < bucket[0] <= index", "if True"),
    "an epoch that stays": (circuit_breaker_prelude, 'e=max(self.state["e"] + 1, self.now)', 'e=self.state["e"]'),
    "an idle state that stays": (circuit_breaker_prelude, 'if state and now < state["x"]', "if state"),
    "a probe that counts twice": (circuit_breaker_prelude, "self.keep(1, probes)\n        return True", "return True"),
}


def caught(test: Callable[[], None]) -> bool:
    try:
        test()
    except Exception:  # noqa: BLE001 - several failures at once come as a group
        return True
    return False


def truth_tables() -> list[Callable[[], None]]:
    """Every test of the law's truth tables, each with its own cases, then the model."""
    calls: list[Callable[[], None]] = []
    for name, test in vars(test_law).items():
        if not name.startswith("test_"):
            continue
        marks = getattr(test, "pytestmark", [])
        if not marks:
            calls.append(test)
            continue
        [mark] = marks
        names = [mark.args[0]] if isinstance(mark.args[0], str) else list(mark.args[0])
        for case in mark.args[1]:
            values = case if len(names) > 1 else (case,)
            calls.append(functools.partial(test, **dict(zip(names, values, strict=True))))
    # The slowest last: it finds what the tables do not.
    return [*calls, test_model.test_it_answers_as_the_reference]


def replant(monkeypatch: pytest.MonkeyPatch, module: types.ModuleType, sound: str, faulty: str) -> None:
    """The laws as they are, with one text replaced in one of their files."""
    source = inspect.getsource(module)
    assert source.count(sound) == 1, f"{module.__name__} no longer has this text, or has it twice"
    changed = types.ModuleType(module.__name__)
    exec(compile(source.replace(sound, faulty), module.__name__, "exec"), changed.__dict__)
    laws = {"breaker_allow": breaker_allow, "breaker_report": breaker_report}
    if module is circuit_breaker_prelude:
        for name, other in laws.items():
            again = types.ModuleType(other.__name__)
            exec(inspect.getsource(other), again.__dict__)
            again.__dict__["Stored"] = changed.Stored
            laws[name] = again
    else:
        laws[module.__name__.rpartition(".")[2]] = changed
    real = operations._law
    monkeypatch.setattr(operations, "_law", lambda name: laws[name].law if name in laws else real(name))


def test_the_laws_as_they_are_pass() -> None:
    assert not any(caught(test) for test in truth_tables())


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_caught(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    replant(monkeypatch, *FAULTS[fault])
    assert any(caught(test) for test in truth_tables())
