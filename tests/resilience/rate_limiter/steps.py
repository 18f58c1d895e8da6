"""Random timed questions to one limiter operation, with changing rules, and stores of one key to put them to."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd
from typing import Any

from resilience.laws.keyspace import Reply
from tests.resilience.rate_limiter.reference import Rule

START = 1_700_000_000_000_000


class Cupboard:
    """A keyspace for one law: a dictionary. `expire` deletes what has run out, as a server may or may not have done."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.ends: dict[str, int] = {}
        self.now = 0

    def get(self, key: str) -> Any:
        return self.values.get(key)

    def set(self, key: str, value: Any, ttl_us: int) -> None:
        assert ttl_us > 0
        self.values[key] = value
        self.ends[key] = self.now + ttl_us

    def delete(self, key: str) -> None:
        self.values.pop(key, None)

    def publish(self, channel: str, message: str) -> None:
        raise AssertionError("a limiter tells nobody")

    def expire(self) -> None:
        for key in [key for key, ends in self.ends.items() if ends <= self.now]:
            self.values.pop(key, None)


def rules(algorithm: str) -> list[Rule]:
    """Rates that divide and that do not, tiny and as large as they may be."""
    figures = [(3, 1_000_000, 3), (7, 1_000_003, 11), (100, 60_000_000, 20), (1, 10, 1), (4, 4, 9), (1000, 999, 1000)]
    if algorithm != "sliding_log":
        figures += [(100_000, 86_400_000_000, 100_000), (99_991, 86_400_000_000, 99_991), (5, 31_622_400_000_000, 2)]
    if algorithm in ("gcra", "token_bucket"):
        figures += [(90_000_000, 1_000_000, 90_000_000), (89_999_999, 1_000_000, 89_999_999)]
    made = [Rule(limit, period, burst if algorithm in ("gcra", "token_bucket") else limit) for limit, period, burst in figures]
    if algorithm == "fixed_window":
        made += [Rule(rule.limit, rule.period, rule.burst, aligned=True) for rule in made]
    return made


def arguments(algorithm: str, verb: str, n: int, rule: Rule, marks: list[int]) -> list[int | str]:
    divisor = gcd(rule.period, rule.limit)
    units = [rule.period // divisor, rule.limit // divisor, rule.burst]
    own = {
        "gcra": [n, n, *units],
        "token_bucket": [n, *units],
        "fixed_window": [n, rule.limit, rule.period, int(rule.aligned)],
    }.get(algorithm, [n, rule.limit, rule.period])
    return [verb, *own, *marks]


@dataclass
class Step:
    verb: str
    n: int
    rule: Rule
    now: int
    marks: list[int]


class Walk:
    """Questions one after the other; tell it each reply, so that it can step to exactly when a refused call is due."""

    def __init__(self, algorithm: str, seed: int, *, changing: float = 0.05, verbs: str = "take", back: bool = True) -> None:
        self.algorithm = algorithm
        self.random = random.Random(f"{algorithm} {seed}")
        self.rules = rules(algorithm)
        self.rule = self.random.choice(self.rules)
        self.changing = changing
        self.verbs = verbs.split()
        self.back = back  # whether the clock is set back now and then
        self.now = START + self.random.randrange(10**9)
        self.wait = 0
        self.grants: list[tuple[int, Rule, list[int]]] = []

    def steps(self, number: int) -> Iterator[Step]:
        for _ in range(number):
            self._move()
            yield self._step()

    def told(self, step: Step, reply: Reply) -> None:
        self.wait = int(reply[2])
        if step.verb == "take" and reply[0]:
            marks = [int(mark) for mark in reply[4:]]
            if self.algorithm in ("sliding_log", "sliding_window"):
                marks.append(step.rule.period)
            self.grants.append((step.n, step.rule, marks))
            del self.grants[:-20]

    def _move(self) -> None:
        chance, period = self.random, self.rule.period
        kind = chance.randrange(12)
        if kind < 3:
            step = 0
        elif kind < 5:
            step = max(0, self.wait - chance.randrange(2))
        elif kind < 6:
            step = chance.randrange(1, 4)
        elif kind < 8:
            step = chance.randrange(1, max(2, 2 * period // self.rule.limit))
        elif kind < 10:
            step = chance.randrange(1, 2 * period)
        elif kind < 11:
            step = chance.choice((period, 2 * period, 3 * period, period - 1, period + 1))
        else:
            step = -chance.randrange(1, 2 * period) if self.back else 0
        self.now = max(1, self.now + step)

    def _step(self) -> Step:
        chance = self.random
        if chance.random() < self.changing:
            self.rule = chance.choice(self.rules)
        verb = chance.choice(self.verbs)
        if verb == "give":
            if self.grants:
                n, _, marks = self.grants.pop(chance.randrange(len(self.grants)))
                return Step("give", n, self.rule, self.now, marks)
            verb = "take"
        most = self.rule.burst
        n = chance.choice((1, 1, 1, 2, most, most // 2, chance.randint(1, most)))
        return Step(verb, max(1, min(n, most)), self.rule, self.now, [])
