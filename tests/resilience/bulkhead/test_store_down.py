"""Without the shared store each process gives out its share; what may have been taken unseen is given back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from resilience import telemetry
from resilience.bulkhead import Bulkhead, Permit
from resilience.clock import FakeClock
from resilience.errors import BulkheadFull, StorageAuthError, StorageFull, StorageProtocolError
from resilience.storage import base
from tests.resilience.lock.faults import FaultyStore, until


@pytest.mark.usefixtures("four_processes")
@pytest.mark.parametrize(("limit", "share"), [(10, 2), (4, 1), (3, 1), (1, 1)])
def test_a_process_alone_gives_out_its_share_and_at_least_one(
    faulty: FaultyStore, clock: FakeClock, limit: int, share: int
) -> None:
    bulkhead = Bulkhead("b", limit, store=faulty, clock=clock)
    faulty.is_down = True
    permits = [bulkhead.acquire() for _ in range(share)]
    assert {permit.source for permit in permits} == {"local"}
    with pytest.raises(BulkheadFull) as refused:
        bulkhead.acquire()
    assert refused.value.source == "local"
    state = bulkhead.snapshot()
    assert (state.in_flight, state.source) == (share, "local")
    clock.advance(100)  # renewed where they were taken
    assert not any(permit.lost for permit in permits)
    assert all(permit.release() for permit in permits)
    bulkhead.acquire()


def test_the_shared_count_is_used_again_as_soon_as_the_store_answers(faulty: FaultyStore, clock: FakeClock) -> None:
    bulkhead = Bulkhead("b", 2, store=faulty, clock=clock)
    permits = [bulkhead.acquire()]
    faulty.is_down = True
    permits.append(bulkhead.acquire())
    faulty.is_down = False
    permits.append(bulkhead.acquire())
    assert [permit.source for permit in permits] == ["redis", "local", "redis"]
    with pytest.raises(BulkheadFull):
        bulkhead.acquire()
    assert all(permit.release() for permit in permits)
    assert faulty.fallback.run("bulkhead_inspect", "b", (1,))[0] == 0
    assert bulkhead.in_flight == 0


@pytest.mark.parametrize("error", [StorageFull("acquire", "OOM"), StorageAuthError("acquire", "NOPERM")], ids=str)
def test_a_store_that_refuses_is_an_outage(faulty: FaultyStore, clock: FakeClock, error: Exception) -> None:
    faulty.fail["bulkhead_acquire"] = [error]
    assert Bulkhead("b", 1, store=faulty, clock=clock).acquire().source == "local"


def test_our_own_bug_is_a_verdict_by_policy_and_an_error_in_the_log(faulty: FaultyStore, clock: FakeClock) -> None:
    faulty.fail["bulkhead_acquire"] = [StorageProtocolError("bulkhead_acquire", "WRONGTYPE")]
    key = ("bulkhead", "acquire")
    before = telemetry.collect()["resilience_internal_errors_total"].get(key, 0)
    assert Bulkhead("b", 1, store=faulty, clock=clock).acquire().source == "local"
    assert telemetry.collect()["resilience_internal_errors_total"][key] == before + 1


def test_a_permit_whose_reply_was_lost_is_given_back_by_its_id(faulty: FaultyStore, clock: FakeClock) -> None:
    bulkhead = Bulkhead("b", 1, store=faulty, clock=clock)
    faulty.fail["bulkhead_acquire"] = ["unheard"]
    faulty.fail["bulkhead_release"] = ["unsent"]
    permit = bulkhead.acquire()
    assert permit.source == "local"
    assert bulkhead.in_flight == 1  # the store was not to be heard, twice
    clock.advance(1)
    assert bulkhead.in_flight == 0
    assert permit.release()


def test_a_release_that_was_not_heard_is_asked_again(faulty: FaultyStore, clock: FakeClock) -> None:
    bulkhead = Bulkhead("b", 1, store=faulty, clock=clock)
    permit = bulkhead.acquire()
    faulty.fail["bulkhead_release"] = ["unsent", "unsent"]
    assert permit.release()
    clock.advance(1)
    assert bulkhead.in_flight == 0


def test_the_async_twin_does_the_same(faulty: FaultyStore) -> None:
    async def main() -> None:
        bulkhead = Bulkhead("b", 1, store=faulty)
        faulty.fail["bulkhead_acquire"] = ["unheard"]
        async with await bulkhead.aacquire() as permit:
            assert permit.source == "local"
            await until(lambda: faulty.inner.run("bulkhead_inspect", "b", (1,))[0] == 0)
            faulty.is_down = True
            with pytest.raises(BulkheadFull) as refused:
                await bulkhead.aacquire()
            assert refused.value.source == "local"
            assert (await bulkhead.asnapshot()).source == "local"

    asyncio.run(main())


RELEASES: list[Callable[[Permit], Any]] = [lambda permit: permit.release(), lambda permit: asyncio.run(permit.arelease())]


@pytest.mark.parametrize("release", RELEASES, ids=["release", "arelease"])
@pytest.mark.parametrize("fault", ["down", "unheard", RuntimeError("bug in the store")], ids=str)
def test_a_release_never_raises(faulty: FaultyStore, clock: FakeClock, release: Any, fault: Any) -> None:
    permit = Bulkhead("b", 1, store=faulty, clock=clock).acquire()
    faulty.fail["bulkhead_release"] = [fault]
    assert release(permit)


def test_the_fixture_gives_the_number_back() -> None:
    assert base.live_processes() == 1
