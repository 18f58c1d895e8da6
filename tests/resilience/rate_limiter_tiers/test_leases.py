"""T2: a hot key's tokens are fetched ahead, in the measure of its demand, and what is not spent goes back."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator
from typing import Any

import pytest

from resilience import FakeClock, Lease, RateLimiter
from resilience.errors import StorageTimeout
from resilience.rate_limiter import local
from resilience.rate_limiter.leases import Ask, Leases
from resilience.storage.base import set_live_processes
from tests.resilience.rate_limiter_tiers.stores import Gated, Watched, until

SOURCES = ("redis", "lease")


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    yield
    set_live_processes(1)


def limiter(store: Any, clock: FakeClock, limit: int = 1_000, **options: Any) -> RateLimiter:
    """1,000 a second: at most 100 tokens lie in leases."""
    return RateLimiter("hot", **{"limit": limit, "period_s": 1.0, "store": store, "clock": clock, "lease": Lease(), **options})


def call(rule: RateLimiter, clock: FakeClock, calls: int, every_us: int, key: str = "alice") -> Counter[tuple[bool, str]]:
    """So many calls, one each so many microseconds; how they were answered."""
    seen: Counter[tuple[bool, str]] = Counter()
    for _ in range(calls):
        clock.advance_us(every_us)
        verdict = rule.acquire(key)
        seen[verdict.allowed, verdict.source] += 1
    return seen


@pytest.mark.parametrize("name", ["eps", "ttl_s", "gap_s"])
@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), 11, True, "0.1", None, 10**400])
def test_a_lease_that_cannot_be_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"lease {name} is"):
        Lease(**{name: value})


@pytest.mark.parametrize("name", ["eps", "ttl_s"])
def test_a_lease_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"lease {name} is 0"):
        Lease(**{name: 0})
    assert Lease(gap_s=0).gap_s == 0


def test_a_key_asked_for_seldom_is_asked_for_each_time() -> None:
    store, clock = Watched(), FakeClock()
    seen = call(limiter(store, clock), clock, 20, every_us=200_000)
    assert seen == {(True, "redis"): 20}
    assert set(store.takes()) == {(1, 1)}


def test_a_hot_key_is_answered_from_half_a_lease_of_its_demand() -> None:
    store, clock = Watched(), FakeClock()
    rule = limiter(store, clock, limit=10_000)
    call(rule, clock, 1_000, every_us=2_000)
    store.calls.clear()
    # 500 a second for 0.1 s, halved: 25 ahead of the one that is due.
    seen = call(rule, clock, 1_000, every_us=2_000)
    wants = [want for want, _ in store.takes()]
    assert seen[True, "lease"] + seen[True, "redis"] == 1_000
    assert all(24 <= want <= 26 for want in wants)
    assert store.trips < 50


def test_an_answer_from_a_lease_is_one_ready_made_verdict() -> None:
    store, clock = Watched(), FakeClock()
    rule = limiter(store, clock, limit=10_000)
    call(rule, clock, 1_000, every_us=1_000)
    first = next(verdict for verdict in iter(lambda: rule.acquire("alice"), None) if verdict.source == "redis")
    second, third = rule.acquire("alice"), rule.acquire("alice")
    assert first.source == "redis"
    assert second is third
    assert (second.allowed, second.source, second.retry_after_s, second.limit) == (True, "lease", 0.0, 10_000)
    assert not rule.refund(second)


@pytest.mark.parametrize(("processes", "most"), [(1, 100), (4, 25), (30, 3), (200, 0)])
def test_a_process_never_holds_more_than_its_share_of_eps_times_the_rate(processes: int, most: int) -> None:
    set_live_processes(processes)
    store, clock = Watched(), FakeClock()
    call(limiter(store, clock, burst=10_000), clock, 3_000, every_us=300)
    ahead = [want - least for want, least in store.takes()]
    assert max(ahead) == most


def test_a_slow_limit_has_nothing_to_fetch_ahead_and_is_exact() -> None:
    store, clock = Watched(), FakeClock()
    rule = limiter(store, clock, limit=5)
    seen = call(rule, clock, 1_000, every_us=100)
    assert seen[True, "redis"] == 5
    assert set(store.takes()) == {(1, 1)}


def test_after_a_partial_grant_it_waits_a_while_of_its_own_and_then_takes_what_has_gathered() -> None:
    store, clock = Watched(), FakeClock()
    rule = limiter(store, clock, burst=50)
    call(rule, clock, 2_000, every_us=100)
    # At the limit now: what happens until the next question?
    while rule.acquire("alice").source != "lease" or rule.acquire("alice").allowed:
        clock.advance_us(100)
    refused = rule.acquire("alice")
    assert (refused.allowed, refused.source) == (False, "lease")
    assert refused is rule.acquire("alice")
    assert 0.01 <= refused.retry_after_s <= 0.03
    asked = store.trips
    clock.advance(refused.retry_after_s)
    assert rule.acquire("alice").allowed
    assert store.trips > asked


def test_processes_do_not_wait_equally_long() -> None:
    waits = set()
    for _ in range(8):
        store, clock = Watched(), FakeClock()
        rule = limiter(store, clock, burst=50)
        call(rule, clock, 2_000, every_us=100)
        for _ in range(100):
            clock.advance_us(100)
            waits.add(rule.acquire("alice").retry_after_s)
    waits.discard(0.0)
    assert len(waits) > 8


def test_at_saturation_all_of_the_limit_is_admitted_with_few_round_trips() -> None:
    store, clock = Watched(), FakeClock()
    rule = limiter(store, clock, burst=100)
    calls = 20_000
    call(rule, clock, 2_000, every_us=100)
    store.calls.clear()
    seen = call(rule, clock, calls, every_us=100)
    admitted = seen[True, "lease"] + seen[True, "redis"]
    assert 1_900 <= admitted <= 2_100
    assert store.trips <= 0.02 * calls


def test_tokens_of_a_lease_that_ended_unspent_are_given_back() -> None:
    store, clock = Watched(), FakeClock()
    rule = limiter(store, clock, limit=10_000, burst=100_000)
    call(rule, clock, 1_000, every_us=1_000)
    while rule.acquire("alice").source != "redis":
        pass
    spent = [rule.acquire("alice").source for _ in range(10)]
    assert spent == ["lease"] * 10
    ahead = store.takes()[-1][0] - 1
    clock.advance(0.1)
    rule.acquire("alice")
    assert store.gives() == [ahead - 10]


def test_a_key_that_nobody_asks_for_any_more_gives_back_at_the_trip_of_another() -> None:
    store, clock = Watched(), FakeClock()
    rule = limiter(store, clock, limit=10_000, burst=100_000)
    call(rule, clock, 1_000, every_us=1_000, key="alice")
    while rule.acquire("alice").source != "redis":
        pass
    clock.advance(0.1)
    call(rule, clock, 300, every_us=1_000, key="bob")
    gave = [tag for op, tag, args in store.calls if args[0] == "give"]
    assert "hot:alice" in gave


def test_a_cost_above_one_is_paid_from_the_lease_when_it_covers_it_and_asked_for_whole_when_not() -> None:
    store, clock = Watched(), FakeClock()
    rule = limiter(store, clock, limit=10_000, burst=100_000)
    call(rule, clock, 2_000, every_us=1_000)
    while rule.acquire("alice").source != "redis":
        pass
    ahead = store.takes()[-1][0] - 1
    assert rule.acquire("alice", ahead - 5).source == "lease"
    assert rule.acquire("alice", 6).source == "redis"
    # The five were not lost to the call that they did not cover.
    assert [rule.acquire("alice").source for _ in range(5)] == ["lease"] * 5


def test_a_round_trip_that_fails_is_answered_by_policy_and_fetches_ahead_again_afterwards() -> None:
    store, clock = Watched(), FakeClock()
    rule = limiter(store, clock, limit=10_000, on_store_down="deny")
    call(rule, clock, 1_000, every_us=1_000)
    store.fails = StorageTimeout("gcra", "no reply")
    clock.advance(0.1)
    assert rule.acquire("alice").source == "policy"
    store.fails = None
    call(rule, clock, 100, every_us=1_000)
    assert max(want for want, _ in store.takes()[-20:]) > 1


def test_only_one_thread_fetches_ahead_and_the_others_do_not_wait_for_it() -> None:
    store, clock = Gated(), FakeClock()
    rule = limiter(store, clock, limit=10_000)
    store.open(2_000)
    call(rule, clock, 1_000, every_us=1_000)
    clock.advance(0.1)
    while store.gate.acquire(blocking=False):
        pass
    entered = store.trips
    threads = [threading.Thread(target=rule.acquire, args=("alice",)) for _ in range(4)]
    before = len(store.takes())
    while store.entered.acquire(blocking=False):
        pass
    for thread in threads:
        thread.start()
    for _ in threads:
        assert store.entered.acquire(timeout=30)
    store.open(20)
    for thread in threads:
        thread.join(30)
    until(lambda: store.trips >= entered + 4)
    ahead = [want for want, _ in store.takes()[before:] if want > 1]
    assert len(ahead) <= 1


def test_threads_spend_each_token_once() -> None:
    store, clock = Watched(), FakeClock()
    rule = limiter(store, clock, limit=100_000, burst=1_000, period_s=10_000.0, lease=Lease(eps=1.0, ttl_s=10.0))
    # 10 a second: 10 tokens ahead at most; the clock stands still, so the burst is all there is.
    admitted = []

    def work() -> None:
        admitted.append(sum(rule.acquire("alice").allowed for _ in range(1_000)))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(admitted) == 1_000


def test_tasks_lease_as_threads_do() -> None:
    store, clock = Watched(), FakeClock()
    rule = limiter(store, clock, limit=10_000)

    async def work() -> Counter[str]:
        seen: Counter[str] = Counter()
        for _ in range(2_000):
            clock.advance_us(1_000)
            seen[(await rule.aacquire("alice")).source] += 1
        return seen

    seen = asyncio.run(work())
    assert seen["lease"] > 1_500
    assert store.trips < 500


def test_a_task_cancelled_while_it_fetches_ahead_keeps_nobody_from_fetching() -> None:
    store, clock = Gated(), FakeClock()
    rule = limiter(store, clock, limit=10_000)
    store.open(2_000)
    call(rule, clock, 1_000, every_us=1_000)
    clock.advance(0.1)
    while store.gate.acquire(blocking=False):
        pass

    async def work() -> None:
        task = asyncio.create_task(rule.aacquire("alice"))
        for _ in range(5):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(work())
    store.open(100)
    before = len(store.takes())
    call(rule, clock, 50, every_us=1_000)
    assert max(want for want, _ in store.takes()[before:]) > 1


def test_coalesced_callers_share_one_trip_that_also_fetches_ahead() -> None:
    store, clock = Watched(), FakeClock()
    rule = limiter(store, clock, limit=10_000, coalesce=True)
    seen = call(rule, clock, 2_000, every_us=1_000)
    assert seen[True, "lease"] > 1_500


def test_a_changed_limit_ends_the_leases_of_the_old_one() -> None:
    store, clock = Watched(), FakeClock()
    rule = limiter(store, clock, limit=10_000)
    call(rule, clock, 1_000, every_us=1_000)
    while rule.acquire("alice").source != "redis":
        pass
    rule.configure(limit=10)
    assert rule.acquire("alice").source == "redis"


def test_local_answers_are_counted() -> None:
    store, clock = Watched(), FakeClock()
    rule = limiter(store, clock, burst=50)
    seen = call(rule, clock, 3_000, every_us=100)
    tiers: Any = rule._tiers
    counted = {(result, source): number for result, source, number in tiers.samples()}
    assert counted == {
        ("refused", "deny_cache"): seen[False, "deny_cache"],
        ("refused", "lease"): seen[False, "lease"],
        ("allowed", "lease"): seen[True, "lease"],
    }
    assert dict(tiers.refused_keys()) == {"alice": seen[False, "lease"] + seen[False, "deny_cache"]}
    assert tiers.refused_keys() == []
    rule.configure(limit=900)
    assert {(result, source): number for result, source, number in tiers.samples()} == counted


def test_keys_given_up_for_others_give_their_tokens_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "MAX_KEYS", 2)
    store, clock = Watched(), FakeClock()
    rule = limiter(store, clock, limit=10_000, burst=100_000)
    call(rule, clock, 1_000, every_us=1_000, key="alice")
    while rule.acquire("alice").source != "redis":
        pass
    ahead = store.takes()[-1][0] - 1
    for key in ("bob", "carol", "dave"):
        rule.acquire(key)
    assert ahead in store.gives()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_none_of_its_parents_tokens() -> None:
    store, clock = Watched(), FakeClock()
    rule = limiter(store, clock, limit=10_000)
    call(rule, clock, 1_000, every_us=1_000)
    while rule.acquire("alice").source != "redis":
        pass
    child = os.fork()
    if child == 0:
        os._exit(0 if rule.acquire("alice").source == "redis" else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert rule.acquire("alice").source == "lease"


def test_of_two_trips_settled_together_no_more_is_kept_than_one_process_may_hold() -> None:
    """The first is slower than anyone waits; the second was made because nobody believed in the first any more."""
    clock = FakeClock()
    home: Any = OrderedDict()
    held: Leases[str] = Leases(
        Lease(),
        rate=1_000.0,
        capacity=10_000,
        home=home,
        monotonic=clock.monotonic,
        retry_us=lambda reset_us, cost: reset_us,
        make=lambda allowed, remaining, retry_us, reset_us: "granted" if allowed else "refused",
    )
    for _ in range(2):
        assert held.settle(Ask("alice", 2, 2, 100, clock.monotonic()), (102, 50, 0, 100)) == 2
    spendable = 0
    while home["alice"].take(1) == "granted":
        spendable += 1
    assert spendable == held.most() == 100
    assert held.unspent() == [("alice", 100)]


def hot(**options: Any) -> tuple[Watched, FakeClock, RateLimiter]:
    """A key with a lease in hand."""
    store, clock = Watched(), FakeClock()
    rule = limiter(store, clock, **{"limit": 10_000, "burst": 100_000, **options})
    call(rule, clock, 2_000, every_us=1_000)
    while rule.acquire("alice").source != "redis":
        pass
    return store, clock, rule


def test_a_call_of_a_larger_cost_is_one_decision() -> None:
    _, _, rule = hot()
    tiers: Any = rule._tiers

    def answered() -> int:
        return sum(number for result, _, number in tiers.samples() if result == "allowed")

    before = answered()
    assert [rule.acquire("alice", cost).source for cost in (5, 1, 7)] == ["lease"] * 3
    assert answered() == before + 3
    rule.configure(limit=9_000)
    assert answered() == before + 3


@pytest.mark.parametrize("cost", [0, -1, True, 1.0, "1", None])
def test_a_cost_that_is_none_is_refused_with_words_although_a_lease_is_in_hand(cost: Any) -> None:
    _, _, rule = hot()
    with pytest.raises(ValueError, match="cost is"):
        rule.acquire("alice", cost)


def test_a_reset_ends_a_gap_at_once() -> None:
    store, clock = Watched(), FakeClock()
    rule = limiter(store, clock, burst=50)
    call(rule, clock, 2_000, every_us=100)
    while rule.acquire("alice").allowed:
        pass
    assert rule.acquire("alice").source == "lease"
    rule.reset("alice")
    assert rule.acquire("alice").allowed


def test_it_never_asks_for_more_than_the_capacity() -> None:
    store, clock = Watched(), FakeClock()
    call(limiter(store, clock, limit=10_000, burst=20), clock, 2_000, every_us=200)
    assert max(want for want, _ in store.takes()) == 20
