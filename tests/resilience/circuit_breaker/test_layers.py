"""Two layers on a real server: what a process counts for itself, what it tells, and who opens whose breaker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from resilience import CircuitBreaker, CircuitOpen, FakeClock, MemoryStore, RedisStore, telemetry
from resilience.telemetry import Event
from tests.resilience.circuit_breaker.calling import Broken, admitted, fail, fails, on_a_loop, works

Fleet = Callable[..., list[CircuitBreaker]]


class Counting:
    """A store that counts the round trips through it."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def attempt(self, op: str, *rest: Any) -> Any:
        self.asked.append(op)
        return self._store.attempt(op, *rest)

    async def aattempt(self, op: str, *rest: Any) -> Any:
        self.asked.append(op)
        return await self._store.aattempt(op, *rest)


def meet(*breakers: CircuitBreaker) -> None:
    """Each makes a good call and tells of it, so that all are seen."""
    for breaker in breakers:
        breaker.call(works)
        breaker.flush()


def told(*breakers: CircuitBreaker) -> None:
    for breaker in breakers:
        breaker.flush()
    for breaker in breakers:
        breaker.refresh()


@pytest.fixture
def counting(valkey_url: str, key_prefix: str) -> Any:
    store = RedisStore(valkey_url, prefix=key_prefix, timeout_s=5.0)
    yield Counting(store)
    store.close()


def test_a_closed_breaker_asks_nobody(counting: Any, clock: FakeClock) -> None:
    breaker = CircuitBreaker("billing", store=counting, clock=clock)
    breaker.call(works)
    assert counting.asked == ["breaker_allow"], "the first call learns the state"
    for _ in range(1000):
        breaker.call(works)
    with breaker:
        pass
    with pytest.raises(Broken):
        breaker.call(fails)
    assert counting.asked == ["breaker_allow"]
    clock.advance(0.1)
    assert counting.asked == ["breaker_allow", "breaker_report"]
    assert breaker.snapshot().calls == 1003


def test_an_open_breaker_asks_nobody_until_its_time_is_over(counting: Any, clock: FakeClock) -> None:
    breaker = CircuitBreaker("billing", store=counting, clock=clock, minimum_calls=4)
    fail(breaker, 4)
    counting.asked.clear()
    for _ in range(100):
        assert not admitted(breaker)
    assert counting.asked == []
    clock.advance(30)
    assert admitted(breaker)
    assert counting.asked[-2:] == ["breaker_allow", "breaker_report"]


def test_with_flush_0_every_call_asks_and_reports(counting: Any, clock: FakeClock) -> None:
    breaker = CircuitBreaker("billing", store=counting, clock=clock, flush_s=0)
    for _ in range(3):
        breaker.call(works)
    assert counting.asked == ["breaker_allow", "breaker_report"] * 3
    assert breaker.snapshot().calls == 3


@on_a_loop
async def test_a_task_asks_as_a_thread_does(counting: Any, clock: FakeClock) -> None:
    breaker = CircuitBreaker("billing", store=counting, clock=clock, flush_s=0)

    async def call() -> int:
        return 7

    assert await breaker.acall(call) == 7
    assert counting.asked == ["breaker_allow", "breaker_report"]
    await counting.aclose()


def test_a_process_that_fails_opens_at_once_for_itself_and_tells_at_once(fleet: Fleet, clock: FakeClock) -> None:
    sick, other = fleet(2, minimum_calls=5)
    meet(sick, other)
    fail(sick, 4)
    with pytest.raises(CircuitOpen):
        sick.call(works)
    assert sick.snapshot().failures in (0, 4), "it was told before anybody asked for it"
    other.refresh()
    assert other.state == "open", "one of two is half of those seen"


def test_one_sick_process_of_eleven_opens_alone_and_a_second_opens_for_all(fleet: Fleet, events: list[Event]) -> None:
    breakers = fleet(11, consecutive=4, minimum_calls=1000)
    meet(*breakers)
    fail(breakers[0], 4)
    told(*breakers)
    assert [breaker.state for breaker in breakers] == ["open"] + ["closed"] * 10
    assert [event.name for event in events] == ["circuit_breaker.solo"]
    assert breakers[1].snapshot().reporters_failing == 1
    with pytest.raises(CircuitOpen) as refused:
        breakers[0].call(works)
    assert refused.value.source == "solo"
    fail(breakers[1], 4)
    told(*breakers)
    assert [breaker.state for breaker in breakers] == ["open"] * 11
    assert [event.name for event in events] == ["circuit_breaker.solo", "circuit_breaker.opened"]


def test_few_failures_in_each_of_many_processes_open_for_all(fleet: Fleet) -> None:
    breakers = fleet(4, minimum_calls=8)
    meet(*breakers)
    for breaker in breakers:
        fail(breaker, 2)
        assert breaker.state == "closed", "two failures of three calls open nobody's own layer"
    told(*breakers)
    assert {breaker.state for breaker in breakers} == {"open"}
    assert {breaker.snapshot().solo_state for breaker in breakers} == {"closed"}


def test_the_sum_of_all_makes_one_open_alone_where_only_it_fails(fleet: Fleet, clock: FakeClock) -> None:
    sick, *well = fleet(5, minimum_calls=12, consecutive=6)
    meet(sick, *well)
    # Its own window forgets in between, and the shared one does not see why it should trust one voice.
    fail(sick, 4)
    sick.flush()
    sick.configure(consecutive=3, minimum_calls=1000)
    sick._core.solo.clear()  # type: ignore[union-attr]
    fail(sick, 1)
    sick.flush()
    assert sick.snapshot().solo_state == "open"
    assert {breaker.state for breaker in well} == {"closed"}


def test_an_own_layer_that_opened_closes_by_a_probe_of_its_own(fleet: Fleet, clock: FakeClock) -> None:
    breakers = fleet(11, consecutive=4, minimum_calls=1000)
    meet(*breakers)
    sick = breakers[0]
    fail(sick, 4)
    clock.advance(29.999999)
    assert not admitted(sick)
    clock.advance(0.000001)
    probe = sick.acquire()
    assert probe.is_probe
    assert not admitted(sick)
    probe.success()
    assert sick.state == "closed"


def test_a_new_shared_epoch_clears_the_counts_of_the_own_layer(fleet: Fleet) -> None:
    breakers = fleet(11, minimum_calls=5)
    meet(*breakers)
    fail(breakers[0], 3)
    breakers[1].reset()
    told(breakers[0])
    fail(breakers[0], 4)
    assert breakers[0].state == "closed"
    fail(breakers[0])
    assert breakers[0].state == "open"


def test_a_new_shared_epoch_clears_the_own_layer(fleet: Fleet, clock: FakeClock) -> None:
    breakers = fleet(11, consecutive=4, minimum_calls=1000)
    meet(*breakers)
    fail(breakers[0], 4)
    breakers[1].reset()
    told(breakers[0])
    assert breakers[0].snapshot().solo_state == "closed"
    assert admitted(breakers[0])


def test_a_late_report_of_an_old_epoch_neither_opens_nor_closes(fleet: Fleet, clock: FakeClock) -> None:
    slow, other = fleet(2, minimum_calls=5)
    meet(slow, other)
    begun = [slow.acquire() for _ in range(20)]
    fail(other, 4)
    slow.refresh()
    clock.advance(30)
    assert other.call(works) == 7
    slow.refresh()
    assert (slow.state, other.state) == ("closed", "closed")
    for permit in begun:
        permit.failure(Broken())
    told(slow, other)
    assert (slow.state, other.state) == ("closed", "closed")
    assert slow.snapshot().failures == 0


def test_a_late_success_closes_no_half_open_breaker(fleet: Fleet, clock: FakeClock) -> None:
    slow, other = fleet(2, minimum_calls=5)
    meet(slow, other)
    begun = slow.acquire()
    fail(other, 4)
    slow.refresh()
    clock.advance(30)
    probe = other.acquire()
    assert probe.is_probe
    begun.success()
    told(slow, other)
    assert other.measured_state == "half_open"
    probe.failure(Broken())
    assert other.state == "open"


def test_good_calls_that_wait_do_not_outweigh_failures_that_come(fleet: Fleet, clock: FakeClock) -> None:
    """An hour of good calls belongs to the hour, not to the moment of the first failure."""
    [breaker] = fleet(1)
    for _ in range(100):
        breaker.call(works)
    clock.advance(20)
    fail(breaker, 4)
    assert breaker.state == "open"


def test_threads_lose_no_count(fleet: Fleet) -> None:
    from concurrent.futures import ThreadPoolExecutor

    [breaker] = fleet(1, minimum_calls=1_000_000)
    breaker.call(works)

    def work(number: int) -> None:
        for _ in range(500):
            breaker.call(works)
        fail(breaker, 20)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    breaker.flush()
    snapshot = breaker.snapshot()
    assert (snapshot.calls, snapshot.failures) == (1 + 8 * 520, 8 * 20), snapshot
    assert telemetry.collect()["resilience_circuit_breaker_calls_total"] == {
        ("billing", "success"): 4001,
        ("billing", "failure"): 160,
    }


def test_a_lost_database_opens_nothing_and_the_next_failures_count(
    fleet: Fleet, clock: FakeClock, valkey_url: str, key_prefix: str
) -> None:
    from resilience.redis_client import redis_client

    [breaker] = fleet(1, minimum_calls=5)
    meet(breaker)
    fail(breaker, 3)
    breaker.flush()
    with redis_client(valkey_url) as raw:
        raw.delete(*[f"{key_prefix}circuit_breaker:{{billing}}:{part}" for part in ("state", "seen", "failing")])
    clock.advance(0.001)
    breaker.call(works)
    breaker.flush()
    assert breaker.snapshot().failures == 0, "measured in an epoch that is gone"
    fail(breaker, 4)
    breaker.flush()
    # The good call counts too, if this process had noticed the loss before it.
    if breaker.state == "closed":
        fail(breaker)
    assert breaker.state == "open"


def test_an_hour_of_idleness_closes_and_the_next_failures_count(fleet: Fleet, clock: FakeClock) -> None:
    [breaker] = fleet(1, open_s=7200)
    fail(breaker, 4)
    clock.advance(7200 + 3600)
    assert breaker.state == "closed"
    fail(breaker, 4)
    assert breaker.state == "open"


def test_one_core_serves_breakers_that_come_and_go(fleet: Fleet, store: MemoryStore) -> None:
    [first] = fleet(1)
    options = {"store": first.store, "clock": first._clock, "minimum_calls": 4}
    for _ in range(4):
        fail(CircuitBreaker("billing", **options))  # type: ignore[arg-type]
    assert first.state == "open"
