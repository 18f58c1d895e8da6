"""What boards say, and what actions do, on a real server, while it is killed, and when two people act at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from controlplane.services import boards, breakers
from permissions.models import AuditEvent
from permissions.writing import SYSTEM
from permsite.launcher import Launcher, Server
from resilience import registry
from resilience.lock import LockFactory
from resilience.storage import close_default, use_default
from resilience.storage.failover import FailoverStore
from resilience.storage.memory import MemoryStore
from resilience.storage.redis import RedisStore
from tests.permissions.api.world import Cast, refused

BREAKERS, BULKHEADS, LOCKS, LIMITS = "system/breakers", "system/bulkheads", "system/locks", "system/limits"
ACTIONS = (
    (f"{BREAKERS}/billing/force-open", {"reason": "x"}),
    (f"{BREAKERS}/billing/auto", {"reason": "x"}),
    (f"{BULKHEADS}/reports/drain", {"reason": "x"}),
    (f"{LOCKS}/nightly/break", {"reason": "x"}),
    (f"{LIMITS}/guess/reset", {"reason": "x", "key": "k"}),
)


def line(answer: Any, name: str) -> Any:
    return next(one for one in answer.json["results"] if one["name"] == name)


@pytest.fixture
def server() -> Iterator[Server]:
    with Launcher() as launcher:
        yield launcher.redis()


@pytest.fixture
def store(server: Server) -> Iterator[FailoverStore]:
    made = FailoverStore(RedisStore(server.url, timeout_s=5.0), MemoryStore(), probe_s=0.05)
    use_default(made)
    yield made
    close_default()


@pytest.mark.chaos
@pytest.mark.timeout(120)
def test_a_killed_server_is_said_and_nothing_is_done_for_all(cast: Cast, server: Server, store: FailoverStore) -> None:
    registry.breaker("billing")
    reports = registry.bulkhead("reports", max_concurrent=3)
    registry.limiter("guess", limit=2, period_s=60.0).acquire("k")
    lock = LockFactory().create("nightly", ttl_s=60.0)
    assert lock.acquire()
    assert cast.bob.post(*ACTIONS[0]).status == 200
    with reports:
        boards.forget()
        assert line(cast.bob.get(BREAKERS), "billing")["of"] == "all"
        assert line(cast.bob.get(BREAKERS), "billing")["shared"] is True
        assert line(cast.bob.get(BULKHEADS), "reports")["source"] == "redis"
        assert cast.bob.get(LOCKS).json["store"]["shared"] is True
        (process,) = server.processes
        process.kill()
        process.wait()
        boards.forget()
        audited = AuditEvent.objects.filter(action__startswith="control_").count()
        billing = line(cast.bob.get(BREAKERS), "billing")
        assert (billing["shared"], billing["source"], billing["state"]) == (False, "view", "forced_open"), "as last heard"
        assert line(cast.bob.get(BULKHEADS), "reports")["source"] == "local"
        answer = cast.bob.get(LOCKS)
        assert answer.json["store"]["shared"] is False
        assert (line(answer, "nightly")["shared"], line(answer, "nightly")["held"]) == (False, True)
        assert cast.bob.get(LIMITS).json["store"]["ok"] is False
        for path, body in ACTIONS:
            refused(cast.bob.post(path, body), 503, "unavailable")
            assert cast.bob.post(path, body).headers["Retry-After"] == "1"
        assert billing["force"]["author"] == "user:bob"
        said = AuditEvent.objects.filter(action__startswith="control_").order_by("-seq").first()
        assert said is not None and said.after is not None and said.after["outcome"].startswith("failed: Storage"), (
            "that it failed is recorded too"
        )
        assert AuditEvent.objects.filter(action__startswith="control_").count() > audited
        page = cast.root.client.get("/admin/control/resilience/").content.decode()
        assert "The shared store does not answer since" in page
        assert "as this process last heard" in page


def test_two_people_who_force_at_once_leave_one_force_and_two_records(cast: Cast, valkey_url: str) -> None:
    use_default(RedisStore(valkey_url, timeout_s=5.0, prefix="boards:"))
    try:
        billing = registry.breaker("billing")
        start, told = threading.Barrier(8), []

        def force(number: int) -> None:
            start.wait()
            act = registry.control.force_open if number % 2 else registry.control.force_closed
            told.append(act("billing", actor=f"user:{number}", reason=f"reason {number}"))

        registry.control.set_audit(lambda **more: None)
        threads = [threading.Thread(target=force, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(told) == 8
        seen = billing.snapshot()
        number = int(seen.force_reason.removeprefix("reason "))
        assert (seen.force, seen.force_author) == ("open" if number % 2 else "closed", f"user:{number}"), "of one hand"
        billing.auto()
    finally:
        from controlplane.services.control import action_record

        registry.control.set_audit(action_record)
        close_default()


def test_another_process_of_the_store_sees_the_force(cast: Cast, valkey_url: str) -> None:
    use_default(RedisStore(valkey_url, timeout_s=5.0, prefix="boards:"))
    other = RedisStore(valkey_url, timeout_s=5.0, prefix="boards:")
    try:
        from resilience.circuit_breaker.breaker import CircuitBreaker

        registry.breaker("billing")
        there = CircuitBreaker("billing", store=other)
        assert there.state == "closed"
        breakers.breaker_force("billing", actor=SYSTEM, to="open", reason="they move", for_s=60)
        there.refresh()
        assert (there.state, there.snapshot().force_reason) == ("forced_open", "they move")
        registry.breaker("billing").auto()
    finally:
        other.close()
        close_default()
