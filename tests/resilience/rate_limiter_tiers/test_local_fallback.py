"""T3: while the store is away, each process gives its share of the limit from memory; what earlier tiers held, holds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from permsite.launcher import Launcher
from resilience import FakeClock, Lease, MemoryStore, RateLimiter, RedisStore
from resilience.errors import StorageUnavailable
from resilience.storage.base import set_live_processes
from tests.resilience.rate_limiter_tiers.stores import Watched


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    yield
    set_live_processes(1)


def limiter(store: Any, clock: FakeClock, **options: Any) -> RateLimiter:
    return RateLimiter("login", **{"limit": 20, "period_s": 60.0, "store": store, "clock": clock, **options})


def admitted(rule: RateLimiter, calls: int = 50) -> int:
    return sum(rule.acquire("alice").allowed for _ in range(calls))


def lost() -> Watched:
    store = Watched()
    store.fails = StorageUnavailable("gcra", "refused")
    return store


class Outside:
    """A store whose primary is gone and whose local one answers, as each process has its own."""

    def __init__(self) -> None:
        self.store = lost()
        self.local = MemoryStore()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


@pytest.mark.parametrize(("processes", "share"), [(1, 20), (4, 5), (7, 2), (100, 1)])
def test_each_process_gives_its_share_and_at_least_one(processes: int, share: int) -> None:
    set_live_processes(processes)
    assert admitted(limiter(Outside(), FakeClock())) == share


def test_all_processes_together_give_the_limit_once_more_at_most() -> None:
    set_live_processes(4)
    clock = FakeClock()
    shared = Watched()
    rules = []
    stores = []
    for _ in range(4):
        store = Outside()
        store.store = Watched(shared.store)
        stores.append(store)
        rules.append(limiter(store, clock))
    before = sum(admitted(rule, 10) for rule in rules)
    for store in stores:
        store.store.fails = StorageUnavailable("gcra", "refused")
    clock.advance(1.0)
    during = sum(admitted(rule) for rule in rules)
    assert (before, during) == (20, 20)


def test_the_local_verdict_says_where_it_comes_from_and_is_repeated_by_no_cache() -> None:
    store, clock = Outside(), FakeClock()
    rule = limiter(store, clock, limit=1)
    assert [rule.acquire("alice").source for _ in range(3)] == ["local"] * 3
    store.store.fails = None
    assert rule.acquire("alice").source == "redis"


def test_a_burst_is_shared_too() -> None:
    set_live_processes(4)
    assert admitted(limiter(Outside(), FakeClock(), burst=8)) == 2


@pytest.mark.parametrize("options", [{}, {"coalesce": True}, {"lease": Lease()}, {"lease": Lease(), "coalesce": True}])
def test_tiers_above_change_nothing_of_it(options: dict[str, Any]) -> None:
    set_live_processes(4)
    assert admitted(limiter(Outside(), FakeClock(), **options)) == 5

    async def tasks() -> int:
        rule = limiter(Outside(), FakeClock(), **options)
        return sum([(await rule.aacquire("alice")).allowed for _ in range(50)])

    assert asyncio.run(tasks()) == 5


def test_a_lease_in_hand_is_spent_while_the_store_is_away_for_its_tokens_are_paid_for() -> None:
    store, clock = Watched(), FakeClock()
    rule = limiter(store, clock, limit=10_000, period_s=1.0, on_store_down="deny", lease=Lease())
    for _ in range(1_000):
        clock.advance_us(1_000)
        rule.acquire("alice")
    while rule.acquire("alice").source != "redis":
        pass
    store.fails = StorageUnavailable("gcra", "refused")
    held = store.takes()[-1][0] - 1
    answers = [rule.acquire("alice") for _ in range(held + 1)]
    assert [answer.source for answer in answers] == ["lease"] * held + ["policy"]
    assert [answer.allowed for answer in answers] == [True] * held + [False]


@pytest.mark.chaos
@pytest.mark.timeout(60)
@pytest.mark.parametrize("options", [{}, {"coalesce": True}, {"lease": Lease()}], ids=["plain", "coalesced", "leased"])
def test_a_server_killed_in_mid_use_leaves_each_process_its_share(options: dict[str, Any]) -> None:
    with Launcher() as launcher:
        server = launcher.redis()
        rule = RateLimiter("login", limit=20, period_s=3600.0, store=RedisStore(server.url), **options)
        rule.core.store.local.close()
        assert admitted(rule, 5) == 5
        for process in server.processes:
            process.kill()
            process.wait()
        set_live_processes(4)
        answers = [rule.acquire("alice") for _ in range(50)]
        assert sum(answer.allowed for answer in answers if answer.source == "local") == 5
        # Whatever the store had not answered itself came from a lease already paid for.
        assert {answer.source for answer in answers} <= {"local", "lease"}
