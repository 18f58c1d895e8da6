"""Faults planted into the laws must be caught by the tests of the laws; else those prove nothing."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from resilience import MemoryStore, RedisStore, operations
from resilience.laws import breaker_allow, breaker_report, circuit_breaker_prelude
from resilience.redis_client import redis_client
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


SCRIPT_FAULTS = {
    "an ignored epoch": ("breaker_report.lua", "tonumber(ARGV[6]) ~= state.e or ", ""),
    "a probe without lease": ("breaker_allow.lua", "int(now + tonumber(ARGV[3]))", "int(now + 1e15)"),
    "a success that opens": ("breaker_report.lua", "if bad + slow == 0 then", "if false then"),
    "an ignored quorum": ("breaker_report.lua", "failing < tonumber(ARGV[18]) and", "false and"),
    "fourteen digits": ("prelude.lua", "string.format('%.0f', x)", "x .. ''"),
    "a missing time to live": ("circuit_breaker_prelude.lua", "redis.call('PEXPIRE', KEYS[1], ttl_ms(ends - now))", ""),
}


def steps() -> Iterator[tuple[str, tuple[int | str, ...], int]]:
    """A short life in which every one of those faults shows: operation, arguments but for the epoch, microseconds on."""
    second = 1_000_000
    figures = (1, 1, 10 * second, 4, 500_000, 500_000, 0, 2, 30 * second, 1_000, 300 * second, 0)
    yield "breaker_allow", ("p", second, 1, "", "n"), 0
    for reporter in ("r1", "r2", "r3"):
        yield "breaker_report", ("", reporter, "", "n", "epoch", 1, 0, 0, 0, *figures), 1
    yield "breaker_report", ("", "r1", "", "n", "stale", 0, 9, 0, 9, *figures), 1
    yield "breaker_report", ("", "r1", "", "n", "epoch", 0, 9, 0, 9, *figures), 1
    yield "breaker_report", ("", "r2", "", "n", "epoch", 1, 0, 0, 0, *figures), 1
    yield "breaker_report", ("", "r2", "", "n", "epoch", 0, 9, 0, 9, *figures), 1
    yield "breaker_allow", ("p", second, 1, "", "n"), 30 * second
    yield "breaker_allow", ("q", second, 1, "", "n"), 2 * second
    yield "breaker_report", ("q", "r1", "", "n", "epoch", 1, 0, 0, 0, *figures), 1


def script_differs(store: RedisStore, url: str) -> bool:
    """Whether the scripts answer otherwise than the laws, or leave a key without an end."""
    memory, now, epoch = MemoryStore(), 1_700_000_000_123_457, 0
    with redis_client(url) as raw:
        for op, raw_args, later in steps():
            now += later
            args = tuple({"epoch": epoch, "stale": epoch - 1}.get(arg, arg) if isinstance(arg, str) else arg for arg in raw_args)
            due = memory.run(op, "n", args, now)
            if store.run(op, "n", args, now) != due:
                return True
            epoch = int(due[4])
            if -1 in {raw.pttl(key) for key in operations.OPERATIONS[op].keys(store.prefix, "n", args)}:
                return True
    return False


@pytest.mark.parametrize("fault", [None, *SCRIPT_FAULTS])
def test_a_fault_planted_into_a_script_is_caught(
    fault: str | None, valkey_url: str, key_prefix: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for script in operations.LUA.glob("*.lua"):
        text = script.read_text()
        if fault is not None and SCRIPT_FAULTS[fault][0] == script.name:
            _, sound, faulty = SCRIPT_FAULTS[fault]
            assert sound in text
            text = text.replace(sound, faulty)
        (tmp_path / script.name).write_text(text)
    monkeypatch.setattr(operations, "LUA", tmp_path)
    operations._script.cache_clear()
    store = RedisStore(valkey_url, prefix=key_prefix, timeout_s=5.0)
    try:
        assert script_differs(store, valkey_url) is (fault is not None)
    finally:
        operations._script.cache_clear()
        store.close()
