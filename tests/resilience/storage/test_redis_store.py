"""The store on one server: connections of threads and loops, what is idle, cancelled, forked or closed."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any

import pytest
import redis
import redis.asyncio

from resilience import telemetry
from resilience.errors import StorageProtocolError, StorageUnavailable
from resilience.storage import aio
from resilience.storage.redis import RedisStore

HOUR_US = 3_600_000_000


def take(limit: int = 1000) -> tuple[int | str, ...]:
    """One token of so many an hour."""
    return ("take", 1, 1, HOUR_US // limit, 1, limit)


def names(raw: redis.Redis) -> list[str]:
    """The connections of others, by their last command."""
    found: list[dict[str, str]] = raw.client_list()
    return [one["cmd"] for one in found if one["cmd"] in {"eval", "evalsha", "ping"}]


def kill_others(raw: redis.Redis) -> None:
    raw.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


@pytest.mark.parametrize("timeout_s", [True, 0, -1, float("nan"), float("inf"), 61, "1", None])
def test_a_timeout_that_cannot_be_is_refused_by_name(timeout_s: Any) -> None:
    with pytest.raises(ValueError, match="timeout_s"):
        RedisStore("redis://127.0.0.1", timeout_s=timeout_s)


@pytest.mark.parametrize("prefix", ["{a}", "a b", "é", "a" * 101, None, 7, b"a", "a\n"])
def test_a_prefix_that_would_change_the_slot_is_refused_by_name(prefix: Any) -> None:
    with pytest.raises(ValueError, match="prefix"):
        RedisStore("redis://127.0.0.1", prefix=prefix)


def test_a_store_takes_a_url_or_a_client_and_both_clients_lead_to_one_server() -> None:
    with pytest.raises(ValueError, match="not both"):
        RedisStore("redis://127.0.0.1", client=redis.Redis())
    with pytest.raises(ValueError, match="one server"):
        RedisStore(client=redis.Redis(), async_client=redis.asyncio.Redis(port=6380))
    with pytest.raises(ValueError, match="redis-py"):
        RedisStore(client=object())


@pytest.mark.parametrize("args", [(None,), (1.5, None), (["a"],), ("\ud800",), (True,)])
def test_an_argument_that_is_neither_integer_nor_text_is_refused_before_anything_is_sent(
    store: RedisStore, args: tuple[Any, ...]
) -> None:
    with pytest.raises(ValueError, match="gcra: arguments are integers and texts"):
        store.run("gcra", "a", args)
    with pytest.raises(ValueError, match="gcra"):
        store.run_many([("gcra", "a", take()), ("gcra", "a", args)])
    assert store.run("gcra", "a", take(3))[1] == 2, "nothing of the refused pipeline was counted"


def test_a_client_given_instead_of_a_url_is_followed_to_its_server(valkey_url: str, key_prefix: str, loop: Any) -> None:
    path = valkey_url.removeprefix("unix://")
    store = RedisStore(
        client=redis.Redis(unix_socket_path=path),
        async_client=redis.asyncio.Redis(unix_socket_path=path),
        prefix=key_prefix,
        timeout_s=10,
    )
    assert store.run("gcra", "a", take(5))[1] == 4
    assert loop(store.arun("gcra", "a", take(5)))[1] == 3
    loop(store.aclose())


def test_each_thread_has_one_connection_and_it_goes_with_the_thread(store: RedisStore, raw: redis.Redis) -> None:
    done, checked = threading.Barrier(4), threading.Barrier(4)

    def work() -> None:
        for _ in range(5):
            store.run("gcra", "a", take())
        done.wait(20)
        checked.wait(20)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    done.wait(20)
    assert len(names(raw)) == 3
    checked.wait(20)
    for thread in threads:
        thread.join()
    # The server notices the ends a moment later.
    for _ in range(1000):
        if not names(raw):
            break
    assert names(raw) == []


def test_a_connection_that_the_server_closed_while_idle_costs_no_call(store: RedisStore, raw: redis.Redis, loop: Any) -> None:
    assert store.run("gcra", "a", take(9))[1] == 8
    assert loop(store.arun("gcra", "a", take(9)))[1] == 7
    for left in (6, 4, 2):
        kill_others(raw)
        assert store.run("gcra", "a", take(9))[1] == left
        assert loop(store.arun("gcra", "a", take(9)))[1] == left - 1
    kill_others(raw)
    assert [reply[1] for reply in store.run_many([("gcra", "b", take(9))] * 2)] == [8, 7]  # type: ignore[index]
    kill_others(raw)
    assert [reply[1] for reply in loop(store.arun_many([("gcra", "b", take(9))] * 2))] == [6, 5]
    loop(store.aclose())


def test_a_pipeline_repairs_a_forgotten_script_for_its_items_alone(store: RedisStore, raw: redis.Redis, loop: Any) -> None:
    store.run("gcra", "warm", take())
    raw.script_flush()
    calls = [("gcra", "a", take(9)), ("lock_acquire", "a", ("t", 1_000_000)), ("gcra", "a", take(9))]
    replies = store.run_many(calls)
    assert [replies[0][1], replies[2][1]] == [8, 7]  # type: ignore[index]
    raw.script_flush()
    replies = loop(store.arun_many(calls))
    assert [replies[0][1], replies[2][1]] == [6, 5]
    loop(store.aclose())


def test_each_call_of_a_pipeline_has_its_own_error(store: RedisStore, raw: redis.Redis, loop: Any, key_prefix: str) -> None:
    raw.rpush(f"{key_prefix}rate_limiter:{{bad}}:gcra", "a list")
    calls = [("gcra", "good", take(9)), ("gcra", "bad", take(9)), ("gcra", "good", take(9))]
    first, wrong, last = store.run_many(calls)
    assert (first[1], last[1]) == (8, 7)  # type: ignore[index]
    assert isinstance(wrong, StorageProtocolError)
    first, wrong, last = loop(store.arun_many(calls))
    assert (first[1], last[1]) == (6, 5)
    assert isinstance(wrong, StorageProtocolError)
    assert store.run_many([]) == loop(store.arun_many([])) == []
    loop(store.aclose())


def test_replies_find_their_callers_when_others_are_cancelled(store: RedisStore, loop: Any) -> None:
    """A lock's reply says whose token holds it, so a reply given to the wrong caller shows."""

    async def main() -> None:
        await store.arun("lock_inspect", "warm", ())
        for round_ in range(30):
            tasks = [asyncio.ensure_future(store.arun("gcra", f"c{n}", ("peek", 1, 1, 1, 1, n + 1))) for n in range(20)]
            await asyncio.sleep(0)
            for task in tasks[round_ % 3 :: 3]:
                task.cancel()
            replies = await asyncio.gather(*tasks, return_exceptions=True)
            for n, reply in enumerate(replies):
                assert isinstance(reply, asyncio.CancelledError) or reply[1] == n + 1, (n, reply)  # type: ignore[index]
        await store.aclose()

    loop(main())


def test_cancelling_the_one_who_connects_leaves_the_connection_to_the_others(
    store: RedisStore, raw: redis.Redis, loop: Any
) -> None:
    async def main() -> None:
        tasks = [asyncio.ensure_future(store.arun("gcra", "a", take(50))) for _ in range(10)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        replies = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(replies[0], asyncio.CancelledError)
        assert sorted(reply[1] for reply in replies[1:]) == list(range(41, 50))  # type: ignore[index]
        assert len(names(raw)) == 1
        await store.aclose()

    loop(main())


def test_a_sync_store_goes_on_after_an_interrupt_between_question_and_answer(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without dropping the connection the next call would read this one's reply."""
    store.run("gcra", "a", take(9))
    link = store._threads._own.links[None]
    real = link._recv

    def interrupted(size: int) -> bytes:
        link._recv = real
        raise KeyboardInterrupt

    link._recv = interrupted
    with pytest.raises(KeyboardInterrupt):
        store.run("gcra", "a", ("peek", 1, 1, 1, 1, 77))
    assert store.run("gcra", "a", take(9))[1] == 7


def test_loops_one_after_the_other_each_get_their_connection(store: RedisStore) -> None:
    """Even when the ones before ended without aclose()."""

    async def work() -> int:
        reply = await store.arun("gcra", "a", take(9))
        return int(reply[1])

    assert [asyncio.run(work()) for _ in range(4)] == [8, 7, 6, 5]


def test_uvloop_is_served_too(store: RedisStore) -> None:
    import uvloop  # where the suite runs, the lock has it: what CI must run is not skipped

    async def work() -> list[int]:
        replies = await asyncio.gather(*(store.arun("gcra", "a", take(50)) for _ in range(20)))
        await store.aclose()
        return sorted(int(reply[1]) for reply in replies)

    assert uvloop.run(work()) == list(range(30, 50))


def test_large_arguments_and_replies_pass_whole(store: RedisStore, loop: Any) -> None:
    """Bigger than any socket's buffer, so that they are sent and read in parts."""
    token = "ключ" * 200_000
    assert store.run("lock_acquire", "big", (token, HOUR_US))
    told = store.run("lock_inspect", "big")
    assert token in told
    assert token in loop(store.arun("lock_inspect", "big"))
    assert loop(store.arun("lock_acquire", "big", (token, HOUR_US)))
    loop(store.aclose())


def test_after_close_the_next_call_connects_again(store: RedisStore, raw: redis.Redis, loop: Any) -> None:
    store.run("gcra", "a", take(9))
    loop(store.arun("gcra", "a", take(9)))
    store.close()
    for _ in range(1000):
        if not names(raw):
            break
    assert names(raw) == []
    assert store.run("gcra", "a", take(9))[1] == 6
    assert loop(store.arun("gcra", "a", take(9)))[1] == 5
    loop(store.aclose())


def test_a_forked_child_takes_its_own_connection_and_leaves_the_parents_alone(store: RedisStore, raw: redis.Redis) -> None:
    """On one shared socket each would read the other's replies."""

    def own(figure: int) -> bool:
        return all(store.run("gcra", "a", ("peek", 1, 1, 1, 1, figure))[1] == figure for _ in range(100))

    assert own(7)
    told, tells = os.pipe()
    waits, lets_go = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - coverage does not follow a fork that ends like this
        try:
            os.close(lets_go)  # so that the parent's end, however it comes, ends this one
            # Asked of the inside: sharing shows only where the two happen to meet.
            is_bare = not store._threads._own.links
            os.write(tells, b"ok" if is_bare and own(8) else b"no")
            os.read(waits, 1)
        finally:
            os._exit(0)
    try:
        is_own = own(9)
        assert os.read(told, 2) == b"ok"
        assert is_own
        assert len(names(raw)) == 2
    finally:
        for end in (told, tells, waits, lets_go):
            os.close(end)
        os.waitpid(child, 0)
    assert own(10), "the child's end left the parent's connection open"


def test_a_blocking_call_on_a_running_loop_is_counted(store: RedisStore) -> None:
    async def main() -> None:
        store.run("gcra", "a", take(9))

    before = telemetry.collect()["resilience_blocking_calls_total"].get((), 0)
    asyncio.run(main())
    assert telemetry.collect()["resilience_blocking_calls_total"][()] == before + 1


def test_health_writes_nothing_and_says_what_it_asked(store: RedisStore, raw: redis.Redis, loop: Any) -> None:
    keys = set(raw.scan_iter())
    for health in (store.health(), loop(store.ahealth())):
        assert (health.ok, health.mode, health.error, health.fallback_active) == (True, "standalone", "", False)
        assert health.latency_ms is not None
    assert set(raw.scan_iter()) == keys
    loop(store.aclose())


def test_a_link_bounds_how_many_may_wait(store: RedisStore, loop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aio, "MAX_WAITING", 3)

    async def main() -> None:
        await store.arun("gcra", "a", take())
        replies = await asyncio.gather(*(store.arun("gcra", "a", take()) for _ in range(5)), return_exceptions=True)
        assert [isinstance(reply, StorageUnavailable) for reply in replies] == [False] * 3 + [True] * 2
        await store.aclose()

    loop(main())
