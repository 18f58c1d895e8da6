"""A server that stops answering, and one that is killed: verdicts within the time-out, at most one count, and the way back."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from permsite.launcher import Launcher, Server
from resilience import telemetry
from resilience.errors import StorageError, StorageTimeout, StorageUnavailable
from resilience.storage import MemoryStore
from resilience.storage.failover import FailoverStore
from resilience.storage.redis import RedisStore
from tests.chaos.store_tools import frozen, peek, take

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]

TIMEOUT_S = 0.1  # the most that a decision is given


@pytest.fixture
def server() -> Iterator[Server]:
    with Launcher() as launcher:
        yield launcher.redis()


@pytest.fixture
def up() -> Iterator[threading.Event]:
    event = threading.Event()
    unsubscribe = telemetry.subscribe(lambda _: event.set(), "storage.up")
    yield event
    unsubscribe()


def failing(store: FailoverStore) -> list[type[StorageError]]:
    """The errors of the primary, call by call, until the store is given up."""
    errors: list[type[StorageError]] = []
    while not store.is_down:
        try:
            store.attempt("gcra", "a", take(1000))
        except StorageError as error:
            errors.append(type(error))
        assert len(errors) < 10
    return errors


def test_a_frozen_server_costs_two_timeouts_and_then_memory_answers(
    server: Server, up: threading.Event, record_property: Callable[[str, object], None]
) -> None:
    """Ten seconds frozen, as a machine that swaps."""
    primary = RedisStore(server.url, timeout_s=TIMEOUT_S)
    store = FailoverStore(primary, MemoryStore())
    assert store.run("gcra", "a", take(1000))[1] == 999
    asked: list[float] = []
    health = primary.health

    def counted() -> object:
        asked.append(time.monotonic())
        return health()

    primary.health = counted  # type: ignore[method-assign, assignment]
    with frozen(server.processes[0]):
        started = time.monotonic()
        errors = failing(store)
        took_s = time.monotonic() - started
        assert errors[0] is StorageTimeout
        assert len(errors) <= 2
        for left in range(999, 899, -1):
            assert store.run("gcra", "a", take(1000))[1] == left, "memory answers, from a state of its own"
        while time.monotonic() - started < 10:
            assert store.run("gcra", "b", take(1000))[0] in {0, 1}
            assert not up.wait(0.1), "nothing came back while it was frozen"
    thawed = time.monotonic()
    assert up.wait(30)
    back_s = time.monotonic() - thawed
    later = [at for at in asked if at > thawed]
    record_property("measured", f"given up after {took_s:.3f} s, {len(errors)} errors; back {back_s:.3f} s after SIGCONT")
    # Not the seconds, which a loaded machine stretches, but what they are made of: two time-outs at most, one or two checks.
    assert len(later) <= 2
    assert store.run("gcra", "a", take(1000))[1] in {998, 997, 996}, "the frozen calls counted once each, or not at all"
    store.close()


def test_a_short_pause_is_seen_by_few_and_repeated_by_nobody(server: Server, up: threading.Event) -> None:
    """0.3 s frozen: the driver's default retries made 6 s of it, and counted one call twice."""
    store = FailoverStore(RedisStore(server.url, timeout_s=TIMEOUT_S), MemoryStore(), probe_s=0.2)
    direct = RedisStore(server.url, timeout_s=10)
    assert store.run("gcra", "a", take(1000))[1] == 999
    sent = 1
    with frozen(server.processes[0]):
        thawing = threading.Timer(0.3, lambda: None)
        thawing.start()
        while thawing.is_alive():
            was_down = store.is_down
            store.run("gcra", "a", take(1000))
            sent += not was_down
    assert up.wait(30)
    counted = 1000 - int(direct.run("gcra", "a", peek(1000))[1])
    assert 1 <= counted <= sent
    assert store.run("gcra", "a", take(1000))[1] == 1000 - counted - 1
    store.close()
    direct.close()


def test_tasks_on_a_loop_are_answered_too_and_the_loop_stays_free(server: Server, up: threading.Event) -> None:
    store = FailoverStore(RedisStore(server.url, timeout_s=TIMEOUT_S), MemoryStore(), probe_s=0.2)

    async def main() -> None:
        await store.arun("gcra", "a", take(1000))
        with frozen(server.processes[0]):
            ticks = 0

            async def tick() -> None:
                nonlocal ticks
                while True:
                    await asyncio.sleep(0.01)
                    ticks += 1

            ticking = asyncio.ensure_future(tick())
            for _ in range(3):
                replies = await asyncio.gather(*(store.arun("gcra", "a", take(1000)) for _ in range(50)))
                assert all(reply[0] == 1 for reply in replies)
            ticking.cancel()
            assert ticks >= 2, "nothing waited on the loop's own thread"
            assert store.is_down
        assert await asyncio.to_thread(up.wait, 30)
        assert (await store.arun("gcra", "a", take(1000)))[0] == 1
        await store.aclose()

    asyncio.run(main())


def test_one_late_task_does_not_take_the_others_replies(server: Server) -> None:
    """A call that timed out keeps its place in the queue; its reply, when it comes, is nobody's."""
    store = RedisStore(server.url, timeout_s=0.2)

    async def main() -> None:
        await store.arun("gcra", "a", ("peek", 1, 1, 1, 1, 7))
        with frozen(server.processes[0]):
            late = asyncio.ensure_future(store.arun("gcra", "a", ("peek", 1, 1, 1, 1, 7)))
            await asyncio.sleep(0.15)
            on_time = asyncio.ensure_future(store.arun("gcra", "a", ("peek", 1, 1, 1, 1, 8)))
            with pytest.raises(StorageTimeout):
                await late
        with contextlib.suppress(StorageTimeout):  # on a slow machine it was late as well
            assert (await on_time)[1] == 8
        for burst in range(1, 50):
            assert (await store.arun("gcra", "a", ("peek", 1, 1, 1, 1, burst)))[1] == burst
        await store.aclose()

    asyncio.run(main())


def test_a_kill_in_mid_call_is_a_timeout_and_counts_at_most_once(tmp_path: Path, up: threading.Event) -> None:
    with Launcher() as launcher:
        folder = tmp_path / "kv"
        server = launcher.redis(folder=folder, append_only=True)
        process = server.processes[0]
        store = RedisStore(server.url, timeout_s=20)
        over = FailoverStore(RedisStore(server.url, timeout_s=20), MemoryStore(), probe_s=0.1)
        assert store.run("gcra", "a", take(1000))[1] == 999
        assert over.run("gcra", "a", take(1000))[1] == 998
        caught: list[object] = []
        sending = threading.Event()

        def call() -> None:
            sending.set()
            try:
                caught.append(store.run("gcra", "a", take(1000)))
            except StorageError as error:
                caught.append(error)

        with frozen(process):
            thread = threading.Thread(target=call)
            thread.start()
            sending.wait(10)
            # Frozen, it has the call in its socket; a moment too early would be a refused connection, which is as good a test.
            thread.join(0.2)
            process.kill()
        process.wait(10)
        thread.join(10)
        assert isinstance(caught[0], StorageTimeout | StorageUnavailable), caught
        with pytest.raises(StorageUnavailable):
            store.run("gcra", "a", take(1000))
        assert over.run("gcra", "a", take(1000))[1] == 999, "a refused connection, so memory at once"
        assert over.is_down
        launcher.redis(folder=folder, append_only=True)
        assert up.wait(30)
        left = int(over.run("gcra", "a", peek(1000))[1])
        assert left in {999, 998, 997}, "appendfsync everysec may lose the last second; nothing is counted twice"
        assert store.run("gcra", "a", take(1000))[1] == left - 1, "the next call opens a new connection"
        over.close()
        store.close()
