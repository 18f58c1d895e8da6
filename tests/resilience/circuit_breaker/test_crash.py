"""A process that dies or is forked: its probe is given out again, and what was the parent's is not the child's."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from resilience import CircuitBreaker, FakeClock, RedisStore
from resilience.clock import SYSTEM
from tests.resilience.circuit_breaker.calling import admitted, fail, until, works

FORK = multiprocessing.get_context("fork")


def in_a_fork(work: Callable[[Any], None]) -> tuple[Any, Any]:
    """A forked process and our end of the pipe to it."""
    ours, theirs = FORK.Pipe()

    def run() -> None:
        try:
            work(theirs)
        except BaseException as error:
            theirs.send(repr(error))
            raise

    process = FORK.Process(target=run, daemon=True)
    process.start()
    return process, ours


def received(pipe: Any) -> Any:
    assert pipe.poll(60)
    return pipe.recv()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_the_probe_of_a_killed_process_is_given_out_again_after_its_lease(valkey_url: str, key_prefix: str) -> None:
    def made() -> CircuitBreaker:
        store = RedisStore(valkey_url, prefix=key_prefix, timeout_s=20.0)
        return CircuitBreaker("billing", store=store, open_s=0.01, probe_lease_s=2.0, minimum_calls=4)

    breaker = made()
    fail(breaker, 4)
    breaker.flush()
    until(lambda: breaker.state == "half_open")

    def hold(pipe: Any) -> None:
        pipe.send(made().acquire().is_probe)
        signal.pause()

    process, pipe = in_a_fork(hold)
    assert received(pipe) is True
    os.kill(process.pid, signal.SIGKILL)
    process.join(60)
    assert not admitted(breaker), "its lease runs"
    took_s = until(lambda: admitted(breaker))
    assert took_s < 20
    assert breaker.call(works) == 7
    assert breaker.state == "closed"
    breaker.store.close()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_reports_as_itself_and_ends_no_probe_of_its_parent(valkey_url: str, key_prefix: str) -> None:
    store = RedisStore(valkey_url, prefix=key_prefix, timeout_s=20.0)
    breaker = CircuitBreaker("billing", store=store, open_s=0.01, minimum_calls=4, clock=SYSTEM)
    breaker.call(works)
    breaker.flush()
    until(lambda: breaker.snapshot().calls == 1)  # its own thread may have been telling it when flush() looked
    for _ in range(50):
        breaker.call(works)  # gathered, and not the child's to tell
    assert breaker._core is not None
    parent = breaker._core.who

    def child(pipe: Any) -> None:
        core = breaker._core
        assert core is not None
        breaker.call(works)
        breaker.flush()
        until(lambda: breaker.snapshot().calls > 1)  # here too its own thread may be the one that tells
        snapshot = breaker.snapshot()
        pipe.send((core.who != parent, snapshot.calls, snapshot.reporters_seen))
        until(lambda: core.view.force == "open")
        pipe.send("heard")

    with breaker._core.lock:  # as if another thread held it while we fork
        process, pipe = in_a_fork(child)
    other, calls, seen = received(pipe)
    assert other
    assert 2 <= calls <= 52, "the parent's gathered calls are told once, by the parent, if not yet all of them"
    assert seen == 2
    breaker.flush()
    until(lambda: breaker.snapshot().calls >= 52)
    assert breaker.snapshot().calls == 52
    breaker.force_open("a drill")
    assert received(pipe) == "heard", "the child listens for itself"
    process.join(60)
    assert process.exitcode == 0
    store.close()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_probe_of_the_parent_is_not_the_childs_to_end(fleet: Callable[..., list[CircuitBreaker]], clock: FakeClock) -> None:
    [breaker] = fleet(1)
    fail(breaker, 4)
    clock.advance(30)
    probe = breaker.acquire()
    assert probe.is_probe

    def child(pipe: Any) -> None:
        probe.success()
        pipe.send(breaker.measured_state)

    process, pipe = in_a_fork(child)
    assert received(pipe) == "half_open"
    process.join(60)
    probe.success()
    assert breaker.state == "closed"
