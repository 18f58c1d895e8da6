"""The limiters' scripts and laws over long random walks: 18,000 steps, with rules, clocks and verbs that change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any, Protocol

import pytest
from redis.exceptions import ResponseError

from resilience.operations import LIMITERS, OPERATIONS
from resilience.redis_client import redis_client
from resilience.storage.redis import RedisStore
from tests.resilience.rate_limiter.steps import Cupboard, Walk, arguments

STEPS = 3_600  # for each of five algorithms


@pytest.fixture(params=["standalone", pytest.param("cluster", marks=pytest.mark.cluster)])
def store(request: pytest.FixtureRequest, key_prefix: str) -> Iterator[RedisStore]:
    url = request.getfixturevalue("valkey_url" if request.param == "standalone" else "cluster_url")
    # A loaded machine must not look like a broken store.
    store = RedisStore(url, prefix=key_prefix, timeout_s=10.0)
    yield store
    store.close()


class Runner(Protocol):
    def run(self, op: str, tag: str, args: Sequence[int | str], now: int) -> Any: ...


def first_difference(store: Runner, algorithm: str, steps: int) -> str | None:
    """Where a store and the law part, on walks of 300 steps with a key each."""
    law = import_module(f"resilience.laws.{algorithm}").law
    for seed in range(-(-steps // 300)):
        walk = Walk(algorithm, seed, changing=0.1, verbs="take take take peek give")
        tag, db = f"walk{seed}", Cupboard()
        keys = OPERATIONS[algorithm].keys("", tag, ())
        for number, step in enumerate(walk.steps(300)):
            args = arguments(algorithm, step.verb, step.n, step.rule, step.marks)
            db.now = step.now
            expected = law(db, keys, args, step.now)
            told = store.run(algorithm, tag, args, step.now)
            if told != expected:
                return f"{algorithm}, walk {seed}, step {number}: {told}, and the law says {expected}; {args} at {step.now}"
            walk.told(step, expected)
    return None


@pytest.mark.parametrize("algorithm", sorted(LIMITERS))
def test_script_and_law_give_one_answer_on_every_step(store, algorithm):
    assert first_difference(store, algorithm, STEPS) is None


class Changed:
    """A store whose scripts are changed before they are sent."""

    def __init__(self, url: str, prefix: str, old: str, new: str) -> None:
        self.client = redis_client(url)
        self.prefix, self.old, self.new = prefix, old, new

    def run(self, op: str, tag: str, args: Sequence[int | str], now: int) -> Any:
        operation = OPERATIONS[op]
        assert self.old in operation.script.text
        keys = operation.keys(self.prefix, tag, args)
        try:
            return self.client.eval(operation.script.text.replace(self.old, self.new), len(keys), *keys, now, *args)
        except ResponseError as error:
            return str(error)

    def eternal_keys(self) -> list[bytes]:
        return [key for key in self.client.scan_iter(match=f"{self.prefix}*", count=1000) if self.client.pttl(key) == -1]


def test_the_comparison_runs_a_script_that_was_not_changed(valkey_url, key_prefix):
    unchanged = Changed(valkey_url, key_prefix, "now", "now")
    assert first_difference(unchanged, "gcra", 300) is None
    assert unchanged.eternal_keys() == []


@pytest.mark.parametrize("algorithm", sorted(LIMITERS))
@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("string.format('%.0f', x)", "x .. ''", id="fourteen-digits"),
        pytest.param("now = math.max(now", "now = math.min(now, now or", id="a-clock-that-runs-back"),
    ],
)
def test_a_fault_in_a_script_is_found(valkey_url, key_prefix, algorithm, old, new):
    if algorithm == "token_bucket" and "max" in old:
        old, new = "now, fills = math.max(now, stamp)", "now, fills = now"
    assert first_difference(Changed(valkey_url, key_prefix, old, new), algorithm, 1_200) is not None


@pytest.mark.parametrize("algorithm", sorted(LIMITERS))
def test_a_write_without_a_time_to_live_is_found(valkey_url, key_prefix, algorithm):
    old, new = (
        ("redis.call('PEXPIRE'", "select('#'") if algorithm == "sliding_log" else ("'PX', ttl_ms(", "'KEEPTTL', select(2, ")
    )
    eternal = Changed(valkey_url, key_prefix, old, new)
    assert first_difference(eternal, algorithm, 300) is None
    assert eternal.eternal_keys()
