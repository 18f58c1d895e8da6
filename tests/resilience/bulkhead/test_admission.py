"""Who is let in, who is refused, and when the next one may come."""

from __future__ import annotations

import asyncio
import threading

import pytest

from resilience import telemetry
from resilience.bulkhead import Bulkhead
from resilience.clock import FakeClock
from resilience.errors import BulkheadFull
from resilience.storage.base import Storage


def full(bulkhead: Bulkhead) -> BulkheadFull:
    with pytest.raises(BulkheadFull) as refused:
        bulkhead.acquire()
    return refused.value


def test_it_admits_as_many_as_its_limit_and_refuses_the_next(store: Storage, clock: FakeClock) -> None:
    bulkhead = Bulkhead("b", 3, store=store, clock=clock)
    permits = [bulkhead.acquire() for _ in range(3)]
    assert bulkhead.in_flight == 3
    refused = full(bulkhead)
    assert (refused.name, refused.limit, refused.source) == ("b", 3, store.name)
    assert bulkhead.in_flight == 3
    assert permits.pop().release()
    assert bulkhead.in_flight == 2
    assert bulkhead.acquire().source == store.name


def test_a_refused_caller_is_told_the_truth_to_the_microsecond(store: Storage, clock: FakeClock) -> None:
    bulkhead = Bulkhead("b", 1, lease_s=30, store=store, clock=clock)
    bulkhead.acquire()  # by nobody any more: it is not renewed
    clock.advance(7)
    assert full(bulkhead).retry_after_s == 23
    clock.advance_us(22_999_999)
    assert full(bulkhead).retry_after_s == 0.000001
    clock.advance_us(1)
    bulkhead.acquire()


def test_a_lowered_limit_lets_the_holders_finish(store: Storage, clock: FakeClock) -> None:
    bulkhead = Bulkhead("b", 4, store=store, clock=clock)
    permits = [bulkhead.acquire() for _ in range(4)]
    bulkhead.configure(max_concurrent=2)
    assert bulkhead.limit == 2
    for left in (3, 2):
        full(bulkhead)
        assert permits.pop().release()
        assert bulkhead.in_flight == left
    full(bulkhead)
    assert not any(permit.lost for permit in permits)
    permits.pop().release()
    permits.append(bulkhead.acquire())
    full(bulkhead)


def test_a_raised_limit_acts_on_the_next_call_in_every_process(store: Storage, clock: FakeClock) -> None:
    one, other = Bulkhead("b", 1, store=store, clock=clock), Bulkhead("b", 1, store=store, clock=clock)
    permits = [one.acquire()]
    full(other)
    other.configure(max_concurrent=2)
    permits.append(other.acquire())
    assert one.in_flight == 2


def test_bulkheads_of_different_names_do_not_meet(store: Storage, clock: FakeClock) -> None:
    with Bulkhead("a", 1, store=store, clock=clock), Bulkhead("b", 1, store=store, clock=clock):
        pass


def test_a_permit_is_given_back_once(store: Storage, clock: FakeClock) -> None:
    bulkhead = Bulkhead("b", 2, store=store, clock=clock)
    permit, other = bulkhead.acquire(), bulkhead.acquire()
    assert permit.release()
    assert not permit.release()
    assert bulkhead.in_flight == 1
    assert other.release()


def test_a_waiting_call_gets_the_place_that_becomes_free(store: Storage) -> None:
    bulkhead = Bulkhead("b", 1, max_wait_s=30, store=store)
    first = bulkhead.acquire()
    entered = threading.Event()

    def wait() -> None:
        with bulkhead.acquire():
            entered.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert not entered.wait(0.05)
    first.release()
    assert entered.wait(20)
    thread.join()


def test_a_wait_ends_with_the_time_allowed_and_counts_as_one_refusal(store: Storage, clock: FakeClock) -> None:
    bulkhead = Bulkhead("b-waits", 1, max_wait_s=5, store=store, clock=clock)
    permit = bulkhead.acquire()
    before = telemetry.collect()["resilience_bulkhead_refused_total"].get(("b-waits",), 0)
    refusals: list[BulkheadFull] = []

    def wait() -> None:
        refusals.append(full(bulkhead))

    thread = threading.Thread(target=wait)
    thread.start()
    while thread.is_alive():
        clock.advance(0.05)
        thread.join(0.001)
    assert len(refusals) == 1
    assert clock.monotonic() >= 5
    assert telemetry.collect()["resilience_bulkhead_refused_total"]["b-waits",] == before + 1
    assert permit.release()


def test_acquire_may_wait_less_than_the_bulkhead_would(store: Storage, clock: FakeClock) -> None:
    bulkhead = Bulkhead("b", 1, max_wait_s=3600, store=store, clock=clock)
    with bulkhead.acquire(), pytest.raises(BulkheadFull):
        bulkhead.acquire(wait_s=0)


def test_a_drained_bulkhead_admits_nobody_until_the_time_given_and_its_holders_finish(store: Storage, clock: FakeClock) -> None:
    bulkhead, elsewhere = Bulkhead("b", 5, store=store, clock=clock), Bulkhead("b", 5, store=store, clock=clock)
    permit = bulkhead.acquire()
    assert bulkhead.drain(60) == 1
    assert full(elsewhere).retry_after_s == 60
    assert elsewhere.in_flight == 1
    assert elsewhere.snapshot().drained_s == 60
    clock.advance(59)
    assert full(elsewhere).retry_after_s == 1
    assert not permit.lost
    assert permit.release()
    assert elsewhere.in_flight == 0
    clock.advance(1)
    elsewhere.acquire()


def test_a_drain_is_ended_before_its_time(store: Storage, clock: FakeClock) -> None:
    bulkhead = Bulkhead("b", 1, store=store, clock=clock)
    assert bulkhead.drain() == 0
    full(bulkhead)
    bulkhead.resume()
    bulkhead.acquire()

    async def main() -> None:
        assert await bulkhead.adrain(5) == 1
        assert (await bulkhead.asnapshot()).drained_s == 5
        await bulkhead.aresume()
        assert (await bulkhead.asnapshot()).drained_s == 0

    asyncio.run(main())


def test_an_operator_sees_who_holds_the_permits(store: Storage, clock: FakeClock) -> None:
    bulkhead = Bulkhead("b", 5, lease_s=30, store=store, clock=clock)
    first = bulkhead.acquire()
    clock.advance(4)
    second = bulkhead.acquire()
    state = bulkhead.snapshot()
    assert (state.name, state.in_flight, state.limit, state.source) == ("b", 2, 5, store.name)
    assert state.holders == ((first.id, 26.0), (second.id, 30.0))


def test_a_crowd_is_told_of_once_a_second_and_counted_each(store: Storage, clock: FakeClock, told: list[telemetry.Event]) -> None:
    bulkhead = Bulkhead("crowded", 1, store=store, clock=clock)
    permit = bulkhead.acquire()
    before = telemetry.collect()["resilience_bulkhead_refused_total"].get(("crowded",), 0)
    for _ in range(50):
        full(bulkhead)
    clock.advance(1)
    full(bulkhead)
    events = [event.attributes for event in told if event.name == "bulkhead.full"]
    assert events == [{"name": "crowded", "limit": 1, "in_flight": 1, "source": store.name}] * 2
    assert telemetry.collect()["resilience_bulkhead_refused_total"]["crowded",] == before + 51
    permit.release()


def test_the_metric_shows_what_this_process_holds(store: Storage) -> None:
    def shown() -> float:
        return telemetry.collect()["resilience_bulkhead_in_flight"]["shown",]

    bulkhead = Bulkhead("shown", 5, store=store)
    assert shown() == 0
    permits = [bulkhead.acquire() for _ in range(3)]
    assert shown() == 3
    permits.pop().release()
    assert shown() == 2
    del permits
    assert shown() == 0
