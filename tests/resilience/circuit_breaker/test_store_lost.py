"""Redis killed, frozen, back again: each process decides alone meanwhile, and a time-out a second is all that is paid."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from permsite.launcher import Launcher, Server
from resilience import CircuitBreaker, CircuitOpen, FailoverStore, FakeClock, MemoryStore, RedisStore
from resilience.storage.base import Storage
from resilience.telemetry import Event
from tests.resilience.circuit_breaker.calling import admitted, afails, aworks, fail, on_a_loop, until, works

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]


@pytest.fixture
def launcher() -> Iterator[Launcher]:
    with Launcher() as launcher:
        yield launcher


@pytest.fixture
def server(launcher: Launcher, tmp_path: Path) -> Server:
    return launcher.redis(folder=tmp_path)


@pytest.fixture(params=["redis", "failover"])
def lost(request: pytest.FixtureRequest, server: Server) -> Iterator[Storage]:
    """A store on a server that a test may kill."""
    redis = RedisStore(server.url)
    store: Storage = redis if request.param == "redis" else FailoverStore(redis, MemoryStore(), probe_s=0.1)
    yield store
    store.close()


def kill(server: Server) -> None:
    process = server.processes[0]
    process.kill()
    process.wait(30)


def test_a_closed_breaker_goes_on_alone_and_opens_alone(lost: Storage, server: Server, events: list[Event]) -> None:
    breaker = CircuitBreaker("billing", store=lost, minimum_calls=4, open_s=0.2)
    assert breaker.call(works) == 7
    kill(server)
    assert breaker.call(works) == 7
    fail(breaker, 2)
    with pytest.raises(CircuitOpen) as refused:
        breaker.call(works)
    assert refused.value.source == "solo"
    assert breaker.state == "open"
    until(lambda: "circuit_breaker.solo" in [event.name for event in events])
    until(lambda: breaker.state == "half_open")
    assert breaker.call(works) == 7
    assert breaker.state == "closed"
    assert breaker.snapshot().source == "view"


def test_an_open_breaker_is_probed_by_one_at_a_time(lost: Storage, server: Server) -> None:
    breaker = CircuitBreaker("billing", store=lost, minimum_calls=4, open_s=0.2)
    fail(breaker, 4)
    breaker.flush()
    assert breaker.snapshot().solo_state == "closed", "the shared state is what is open"
    kill(server)
    until(lambda: breaker.state == "half_open")
    probe = breaker.acquire()
    assert probe.is_probe
    assert not any(admitted(breaker) for _ in range(20))
    probe.success()
    assert all(admitted(breaker) for _ in range(20))


def test_it_is_one_fleet_again_when_the_server_is_back(launcher: Launcher, tmp_path: Path, server: Server) -> None:
    stores = [RedisStore(server.url) for _ in range(2)]
    one, other = (CircuitBreaker("billing", store=store, minimum_calls=4, open_s=60) for store in stores)
    one.call(works)
    other.call(works)
    kill(server)
    one.call(works)
    one.flush()
    again = launcher.redis(folder=tmp_path)
    assert again.url == server.url

    def told() -> bool:
        one.call(works)
        return one.snapshot().source == "redis" and one.snapshot().calls > 0

    until(told)
    one.force_open("together again")
    until(lambda: other.state == "forced_open")
    for store in stores:
        store.close()


def test_a_frozen_server_is_asked_once_a_second(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    store = RedisStore(server.url, timeout_s=0.08)
    clock = FakeClock()
    breaker = CircuitBreaker("billing", store=store, minimum_calls=1000, flush_s=0, clock=clock)
    assert breaker.call(works) == 7
    asked: list[str] = []
    attempt = store.attempt

    def counted(op: str, *rest: Any) -> Any:
        asked.append(op)
        return attempt(op, *rest)

    monkeypatch.setattr(store, "attempt", counted)
    os.kill(server.processes[0].pid, signal.SIGSTOP)
    try:
        for _ in range(50):
            assert breaker.call(works) == 7
        assert asked == ["breaker_allow"]
        clock.advance(1)
        for _ in range(50):
            assert breaker.call(works) == 7
        assert len(asked) <= 3, "a call or a poll, and the probe that may have been given out in vain"
    finally:
        os.kill(server.processes[0].pid, signal.SIGCONT)
    clock.advance(1)
    assert breaker.call(works) == 7
    until(lambda: breaker.snapshot().source == "redis")
    store.close()


@on_a_loop
async def test_tasks_decide_alone_as_well(server: Server) -> None:
    store = RedisStore(server.url)
    breaker = CircuitBreaker("billing", store=store, minimum_calls=4, open_s=0.2, flush_s=0)
    assert await breaker.acall(aworks) == 7
    kill(server)
    for _ in range(3):
        with pytest.raises(Exception, match=r"^$"):
            await breaker.acall(afails)
    with pytest.raises(CircuitOpen):
        await breaker.acall(aworks)
    await store.aclose()
    store.close()


def test_a_start_without_a_server_works_too(tmp_path: Path) -> None:
    store = RedisStore(f"unix://{tmp_path}/nobody.sock")
    breaker = CircuitBreaker("billing", store=store, minimum_calls=4)
    assert breaker.call(works) == 7
    assert breaker.state == "closed"
    fail(breaker, 3)
    assert breaker.state == "open"
    assert not admitted(breaker)
    store.close()
