"""T1, asyncio: the same among the tasks of a loop; a task cancelled at any point leaves nothing wrong."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from resilience import FakeClock, RateLimiter, RedisStore
from resilience.errors import StorageTimeout, StorageUnavailable
from resilience.rate_limiter.verdict import Verdict
from tests.resilience.rate_limiter_tiers.stores import Gated, Watched


def limiter(store: Any, limit: int = 100, **options: Any) -> RateLimiter:
    return RateLimiter(
        "login", **{"limit": limit, "period_s": 3600.0, "store": store, "clock": FakeClock(), "coalesce": True, **options}
    )


async def settle() -> None:
    """Lets every task go as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def crowd(rule: RateLimiter, *costs: int) -> list[asyncio.Task[Verdict]]:
    """Tasks that ask in this order; the first is under way, the others wait for it."""
    tasks = []
    for cost in costs:
        tasks.append(asyncio.create_task(rule.aacquire("alice", cost)))
        await settle()
    return tasks


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def within() -> None:
        async with asyncio.timeout(30):
            await test()
            await settle()

    asyncio.run(within())


def flights(rule: RateLimiter) -> int:
    tiers: Any = rule._tiers
    return sum(len(loop._queues) + len(loop._flying) for loop in tiers._loops.values())


def test_a_lone_task_never_waits_and_asks_for_itself_alone() -> None:
    store = Watched()
    rule = limiter(store)

    async def test() -> None:
        for _ in range(3):
            assert await rule.aacquire("alice")

    run(test)
    assert store.takes() == [(1, 1)] * 3


def test_tasks_that_come_meanwhile_ask_together_and_are_served_in_the_order_of_arrival() -> None:
    store = Gated()
    rule = limiter(store, limit=5)

    async def test() -> None:
        tasks = await crowd(rule, *[1] * 10)
        assert store.arrived == 1
        store.open(2)
        assert [verdict.allowed for verdict in await asyncio.gather(*tasks)] == [True] * 5 + [False] * 5

    run(test)
    assert store.takes() == [(1, 1), (9, 1)]


def test_a_task_cancelled_in_the_queue_is_not_counted_and_its_place_is_the_next_ones() -> None:
    store = Gated()
    rule = limiter(store, limit=4)

    async def test() -> None:
        tasks = await crowd(rule, *[1] * 6)
        tasks[1].cancel()
        tasks[3].cancel()
        store.open(2)
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(answer) for answer in answers].count(asyncio.CancelledError) == 2
        assert all(answers[place].allowed for place in (0, 2, 4, 5))  # type: ignore[union-attr]  # verdicts
        await settle()
        assert flights(rule) == 0

    run(test)
    assert store.takes() == [(1, 1), (3, 1)]


def test_a_task_cancelled_while_the_shared_question_is_under_way_gives_its_token_back() -> None:
    store = Gated()
    rule = limiter(store, limit=10)

    async def test() -> None:
        tasks = await crowd(rule, *[1] * 4)
        store.open()
        await settle()
        assert store.arrived == 2
        tasks[2].cancel()
        await settle()
        store.open(2)
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(answers[2], asyncio.CancelledError)
        assert all(answers[place].allowed for place in (0, 1, 3))  # type: ignore[union-attr]  # verdicts
        await settle()
        store.open()
        assert (await rule.apeek("alice")).remaining == 10 - 3
        assert flights(rule) == 0

    run(test)
    assert store.gives() == [1]


def test_a_task_cancelled_between_its_answer_and_its_turn_gives_its_token_back() -> None:
    store = Gated()
    rule = limiter(store, limit=10)

    async def test() -> None:
        tasks = await crowd(rule, *[1] * 4)
        store.store = Cancels(store.store, tasks[2].cancel)
        store.open(10)
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        await settle()
        assert isinstance(answers[2], asyncio.CancelledError)
        assert all(answers[place].allowed for place in (0, 1, 3))  # type: ignore[union-attr]  # verdicts
        assert (await rule.apeek("alice")).remaining == 10 - 3

    run(test)


class Cancels:
    """Breaks a task off at the very moment at which the shared answer arrives, after it has been handed to each waiter."""

    def __init__(self, store: Any, cancel: Callable[[], object]) -> None:
        self.store = store
        self.cancel = cancel

    @property
    def local(self) -> Any:
        return self.store.local

    def attempt(self, op: str, tag: str, args: Any = (), now: int = 0) -> Any:
        if args[0] == "take" and int(args[1]) > 1:
            asyncio.get_running_loop().call_soon(self.cancel)
        return self.store.attempt(op, tag, args, now)


def test_the_cancellation_of_the_first_asker_is_not_everybodys() -> None:
    store = Gated()
    rule = limiter(store, limit=10)

    async def test() -> None:
        tasks = await crowd(rule, *[1] * 4)
        tasks[0].cancel()
        await settle()
        store.open(2)
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(answers[0], asyncio.CancelledError)
        assert all(answers[1:])
        await settle()
        assert flights(rule) == 0

    run(test)


def test_when_all_waiting_tasks_are_cancelled_nothing_is_asked() -> None:
    store = Gated()
    rule = limiter(store, limit=10)

    async def test() -> None:
        tasks = await crowd(rule, *[1] * 4)
        for task in tasks[1:]:
            task.cancel()
        store.open()
        assert (await tasks[0]).allowed
        await settle()
        assert flights(rule) == 0

    run(test)
    assert store.takes() == [(1, 1)]


@pytest.mark.parametrize("place", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("moment", range(0, 24, 2))
def test_wherever_a_task_is_cancelled_the_count_is_that_of_the_calls_admitted(place: int, moment: int) -> None:
    """Every step of the loop is a place to be cancelled at. The first may stay counted: its question was sent alone."""
    store = Gated()
    rule = limiter(store, limit=10)

    async def test() -> None:
        tasks = [asyncio.create_task(rule.aacquire("alice")) for _ in range(5)]
        store.open(20)
        for _ in range(moment):
            await asyncio.sleep(0)
        tasks[place].cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        await settle()
        granted = sum(isinstance(answer, Verdict) and answer.allowed for answer in answers)
        remaining = (await rule.apeek("alice")).remaining
        assert granted >= 4
        assert remaining == 10 - granted or (place == 0 and granted == 4 and remaining == 5)
        assert flights(rule) == 0

    run(test)


def test_a_lost_store_is_everybodys() -> None:
    store = Gated()
    rule = limiter(store, on_store_down="deny")

    async def test() -> None:
        tasks = await crowd(rule, *[1] * 4)
        store.fails = StorageUnavailable("gcra", "refused")
        store.open(2)
        assert {(verdict.allowed, verdict.source) for verdict in await asyncio.gather(*tasks)} == {(False, "policy")}

    run(test)


def test_each_task_raises_an_error_of_its_own() -> None:
    store = Gated()
    rule = limiter(store, on_store_down="raise")

    async def test() -> None:
        tasks = await crowd(rule, *[1] * 4)
        store.fails = StorageTimeout("gcra", "no reply within 80 ms")
        store.open(2)
        errors = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(error) for error in errors} == {StorageTimeout}
        assert len({id(error) for error in errors}) == 4

    run(test)


def test_a_sum_that_is_too_large_is_given_up_for_single_questions() -> None:
    store = Gated()
    rule = limiter(store, limit=10, deny_cache=False)

    async def test() -> None:
        tasks = await crowd(rule, 1, 5, 6, 3)
        store.open(10)
        answers = await asyncio.gather(*tasks)
        granted = sum(cost for cost, verdict in zip((1, 5, 6, 3), answers, strict=True) if verdict)
        assert granted in {9, 10}
        assert (await rule.apeek("alice")).remaining == 10 - granted

    run(test)


def test_a_loop_that_is_closed_in_the_middle_holds_up_no_other() -> None:
    store = Gated()
    rule = limiter(store, limit=10)

    async def abandoned() -> None:
        await crowd(rule, *[1] * 4)

    asyncio.run(abandoned())
    store.open(20)

    async def test() -> None:
        assert await rule.aacquire("alice")

    run(test)
    assert rule.acquire("alice")


def test_threads_do_not_wait_for_tasks_nor_tasks_for_threads() -> None:
    store = Gated()
    rule = limiter(store, limit=10)

    async def test() -> None:
        tasks = await crowd(rule, 1, 1)
        # A blocking call made on the loop itself: were it to join the tasks' queue, it would wait for this very loop.
        store.open(2)
        assert rule.acquire("alice")
        store.open(2)
        assert all(await asyncio.gather(*tasks))

    run(test)


def test_each_loop_of_its_own_thread_is_exact_with_the_others(valkey_url: str, key_prefix: str) -> None:
    store = RedisStore(valkey_url, prefix=key_prefix)
    rule = limiter(store, limit=100, clock=None, deny_cache=False)
    admitted = []

    async def ask() -> int:
        answers = await asyncio.gather(*(rule.aacquire("alice") for _ in range(100)))
        return sum(verdict.allowed for verdict in answers)

    threads = [threading.Thread(target=lambda: admitted.append(asyncio.run(ask()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.close()
    assert sum(admitted) == 100
