"""The published bound of leases: any span W admits at most R * W + burst + processes * b."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from operator import length_hint
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilience import FakeClock, Lease, MemoryStore, RateLimiter
from resilience.rate_limiter import leases
from resilience.storage.base import set_live_processes
from tests.resilience.rate_limiter_tiers.spans import Admit, worst
from tests.resilience.rate_limiter_tiers.stores import Watched

ROOT = Path(__file__).resolve().parents[3]
EPS = Lease().eps


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    yield
    set_live_processes(1)


@pytest.mark.timeout(120)
def test_four_processes_at_saturation_keep_it_in_every_span(valkey_url: str, key_prefix: str) -> None:
    limit, burst, processes = 600, 60, 4
    command = [sys.executable, str(Path(__file__).with_name("worker.py"))]
    arguments = [valkey_url, key_prefix, str(limit), str(burst), str(processes), "2"]
    workers = [
        subprocess.Popen(
            [*command, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for _ in range(processes)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    said = [json.loads(worker.communicate(timeout=60)[0]) for worker in workers]
    told = [admit for one in said for admit in one["admits"]]
    admits = [Admit(begun, ended) for begun, ended, _ in told]
    b = int(EPS * limit / processes)
    found = worst(admits, rate=limit, allowance=burst + processes * b)
    assert found.by <= 0, found
    # Not kept by admitting little: the store gave what it had, most of it was spent from leases, and it was rarely asked.
    assert any(source == "lease" for _, _, source in told)
    assert all(one["calls"] for one in said)


class Plan:
    """Processes that share a store and a clock, and call at random, in bursts and pauses: all of it drawn from one seed."""

    def __init__(self, seed: int, processes: int, limit: int, burst: int, ttl_s: float) -> None:
        self.random = Random(seed)
        self.clock = FakeClock()
        store: Any = Watched(MemoryStore())
        set_live_processes(processes)
        self.processes = [
            RateLimiter("hot", limit=limit, period_s=1.0, burst=burst, lease=Lease(ttl_s=ttl_s), store=store, clock=self.clock)
            for _ in range(processes)
        ]
        self.admits: list[Admit] = []

    def ask(self, rule: RateLimiter, after_us: int) -> None:
        self.clock.advance_us(after_us)
        if rule.acquire("alice"):
            now = self.clock.now_us()
            self.admits.append(Admit(now, now))

    def run(self, phases: int) -> None:
        """Some call at one pace, then there is a pause."""
        for _ in range(phases):
            every_us = self.random.choice((0, 20, 100, 1_000, 10_000))
            who = self.random.sample(self.processes, self.random.randint(1, len(self.processes)))
            for _ in range(self.random.randint(1, 200)):
                self.ask(self.random.choice(who), every_us)
            self.clock.advance_us(self.random.choice((0, 1_000, 50_000, 100_000, 150_000, 1_000_000)))

    def rotate(self, turns: int) -> None:
        """They call in turn and more than there is, so that each is cut off holding something, and comes back after its end."""
        for turn in range(turns):
            rule = self.processes[turn % len(self.processes)]
            for _ in range(self.random.randint(100, 200)):
                self.ask(rule, 500)


LIMIT, BURST, PROCESSES = 400, 100, 4


def excess(seed: int, *, rotating: bool, length: int = 12, ttl_s: float = 0.1) -> float:
    plan = Plan(seed, PROCESSES, LIMIT, BURST, ttl_s)
    (plan.rotate if rotating else plan.run)(length)
    b = int(EPS * LIMIT / PROCESSES)
    return worst(plan.admits, rate=LIMIT, allowance=BURST + PROCESSES * b).by


@given(seed=st.integers(0, 2**32), rotating=st.booleans(), ttl_s=st.sampled_from([0.05, 0.1, 1.0]))
@settings(max_examples=40)
def test_random_calls_of_several_processes_keep_it_in_every_span(seed: int, rotating: bool, ttl_s: float) -> None:
    assert excess(seed, rotating=rotating, ttl_s=ttl_s) <= 0


def unbounded(patch: pytest.MonkeyPatch) -> None:
    """b is not divided by the number of processes."""
    patch.setattr(leases, "live_processes", lambda: 1)


def kept_and_given_back(patch: pytest.MonkeyPatch) -> None:
    """What is given back when a lease ends is spent all the same, with the next one."""
    patch.setattr(leases._Tokens, "drain", lambda self: length_hint(self.left))


def never_debited(patch: pytest.MonkeyPatch) -> None:
    """As many tokens are kept as were asked for, not as were granted."""
    settle: Any = leases.Leases.settle

    def generous(self: Any, ask: leases.Ask, got: tuple[int, int, int, int]) -> int:
        granted, left, retry_us, reset_us = got
        return int(settle(self, ask, (ask.want + ask.extra if granted else 0, left, retry_us, reset_us)))

    patch.setattr(leases.Leases, "settle", generous)


@pytest.mark.parametrize(
    ("fault", "rotating", "ttl_s"), [(unbounded, False, 1.0), (kept_and_given_back, True, 0.1), (never_debited, True, 0.1)]
)
def test_a_planted_fault_breaks_it(
    fault: Callable[[pytest.MonkeyPatch], None], rotating: bool, ttl_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault(monkeypatch)
    assert any(excess(seed, rotating=rotating, ttl_s=ttl_s, length=30) > 0 for seed in range(20))


def test_the_checker_finds_the_one_span_that_is_over() -> None:
    admits = [Admit(at, at) for at in (0, 2_000_000, 4_000_000, 4_000_000, 4_000_000, 6_000_000)]
    assert worst(admits, rate=1.0, allowance=3).by == 0
    assert worst(admits, rate=1.0, allowance=2) == (4_000_000, 4_000_000, 3, 1.0)


def test_a_call_that_may_have_happened_outside_a_span_does_not_count_for_it() -> None:
    # All three may have ended at the same moment, but only the last two within 0.2 s.
    admits = [Admit(0, 1_000_000), Admit(800_000, 1_000_000), Admit(900_000, 1_000_000)]
    assert worst(admits, rate=10.0, allowance=0) == (800_000, 1_000_000, 2, 0.0)
    assert worst(admits, rate=1.0, allowance=0) == (0, 1_000_000, 3, 2.0)
