"""Random timed sequences of operations, and the laws on a bare keyspace that say what each of them must answer."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from resilience.laws.keyspace import Reply
from resilience.operations import OPERATIONS
from tests.contract import operations

START_US = 1_700_000_000_000_000
TAGS = ("a", "b")
# Nothing at all, next to nothing, around a second, and longer than most state lives.
STEPS_US = st.one_of(st.sampled_from([0, 0, 1, 999, 1_000_000, 7_200_000_000]), st.integers(0, 2_000_000))


@dataclass(frozen=True)
class Past:
    """A call of the same sequence, and what the law answered."""

    op: str
    tag: str
    args: tuple[int | str, ...]
    now: int
    reply: Reply


@dataclass(frozen=True)
class Step:
    """A call to come: `after_us` later than the one before (negative: the clock was set back)."""

    op: str
    tag: str
    args: tuple[Any, ...]
    after_us: int

    def args_after(self, history: Sequence[Past]) -> tuple[int | str, ...]:
        return tuple(arg(history) if callable(arg) else arg for arg in self.args)


@dataclass(frozen=True)
class Mechanism:
    """The operations of one file of vectors, which share keys."""

    name: str
    args: dict[str, st.SearchStrategy[tuple[Any, ...]]]
    steps: st.SearchStrategy[int]
    admits: dict[str, Callable[[Reply], bool]]
    tells_presence: frozenset[str]  # operations that answer whether something was there

    def sequences(self, *, max_size: int, back: bool) -> st.SearchStrategy[list[Step]]:
        after = self.steps if not back else st.one_of(self.steps, self.steps, self.steps, self.steps.map(lambda us: -us))
        calls = st.one_of([st.tuples(st.just(op), args) for op, args in self.args.items()])
        step = st.builds(lambda call, tag, us: Step(call[0], tag, call[1], us), calls, st.sampled_from(TAGS), after)
        return st.lists(step, min_size=1, max_size=max_size)


def mechanisms() -> dict[str, Mechanism]:
    """Every file of vectors."""
    found = {}
    for _, name, _ in pkgutil.iter_modules(operations.__path__):
        module = importlib.import_module(f"{operations.__name__}.{name}")
        found[name] = Mechanism(
            name,
            module.ARGS,
            getattr(module, "STEPS", STEPS_US),
            getattr(module, "ADMITS", {}),
            frozenset(getattr(module, "TELLS_PRESENCE", ())),
        )
    return found


@dataclass
class Model:
    """The laws on a keyspace that forgets nothing by itself, and knows when each key's time is over."""

    now: int = START_US
    values: dict[str, Any] = field(default_factory=dict)
    ttl_us: dict[str, int] = field(default_factory=dict)
    written_at: dict[str, int] = field(default_factory=dict)
    told: list[tuple[str, str]] = field(default_factory=list)

    def get(self, key: str) -> Any:
        return self.values.get(key)

    def set(self, key: str, value: Any, ttl_us: int) -> None:
        assert isinstance(ttl_us, int), f"{key} is written with a time to live of {ttl_us!r}"
        self.values[key] = value
        self.ttl_us[key] = ttl_us
        self.written_at[key] = self.now

    def delete(self, key: str) -> None:
        for part in (self.values, self.ttl_us, self.written_at):
            part.pop(key, None)

    def publish(self, channel: str, message: str) -> None:
        self.told.append((channel, message))

    def run(self, op: str, tag: str, args: Sequence[int | str], now: int) -> Reply:
        self.now = now
        operation = OPERATIONS[op]
        return operation.law(self, operation.keys("", tag, args), args, now)

    def over(self, now: int) -> list[str]:
        """Keys that no longer mean anything."""
        return [key for key, at in self.written_at.items() if at + self.ttl_us[key] <= now]
