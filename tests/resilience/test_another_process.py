"""What a process pool sends home: every error and every verdict, as they were."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from resilience import errors
from resilience.clock import FakeClock
from resilience.rate_limiter import RateLimiter, Verdict
from resilience.storage.memory import MemoryStore

REFUSED = Verdict(False, 0, 1.5, 60.0, 3, "redis")
EVERY_ERROR = [
    errors.ExecutionRejected("login", retry_after_s=1.0, source="redis"),
    errors.CircuitOpen("billing", retry_after_s=3.0, forced=True, reason="drill"),
    errors.RateLimited("login", REFUSED),
    errors.BulkheadFull("reports", 5, retry_after_s=0.5),
    errors.MaintenanceMode("moving", 1_800_000_000.0, retry_after_s=60.0),
    errors.LockNotAcquired("job", retry_after_s=2.0),
    errors.QuotaExceeded("calls", {"used": 7}),
    errors.DeadlineExceeded("report", 2.0),
    errors.LockLost("job", "its lease ended"),
    errors.ConfigInvalid("limiters.login.limit", "must be 1 or more"),
    errors.ConfigConflict(3, 4),
    errors.StorageUnavailable("gcra", "no connection"),
    errors.StorageTimeout("gcra", "no reply"),
    errors.StorageFull("gcra", "no memory"),
    errors.StorageAuthError("gcra", "wrong password"),
    errors.StorageProtocolError("gcra", "another type"),
]


def limiter() -> RateLimiter:
    return RateLimiter("login", limit=3, period_s=60.0, store=MemoryStore(), clock=FakeClock())


def refuse() -> None:
    limiter().require("alice", cost=4)


def admit() -> Verdict:
    return limiter().acquire("alice")


def test_every_class_of_error_is_here() -> None:
    classes = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.ResilienceError)}
    above = {errors.ResilienceError, errors.ConfigError, errors.StorageError}
    assert {type(error) for error in EVERY_ERROR} == classes - above


@pytest.mark.parametrize("error", EVERY_ERROR, ids=lambda error: type(error).__name__)
def test_an_error_arrives_as_it_was(error: errors.ResilienceError) -> None:
    error.add_note("seen in worker 3")
    for received in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(received) is type(error)
        assert (received.args, str(received), vars(received)) == (error.args, str(error), vars(error))


def test_a_pool_sends_home_the_error_and_the_verdict_of_a_worker() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        error = pool.submit(refuse).exception()
        verdict = pool.submit(admit).result()
    assert isinstance(error, errors.RateLimited)
    assert (error.name, error.verdict.source) == ("login", "policy")
    assert verdict == (True, 2, 0.0, 20.0, 3, "memory")


def test_a_verdict_that_was_sent_or_copied_keeps_its_figures_and_refunds_nothing() -> None:
    rule = limiter()
    verdict = rule.acquire("alice")
    for received in (pickle.loads(pickle.dumps(verdict)), copy.copy(verdict), copy.deepcopy(verdict)):
        assert received == verdict
        assert rule.refund(received) is False
    assert rule.refund(verdict) is True
    trial = RateLimiter("trial", limit=1, period_s=60.0, shadow=True, store=MemoryStore(), clock=FakeClock())
    trial.acquire("alice")
    shadow = trial.acquire("alice")
    assert shadow.is_shadow
    assert pickle.loads(pickle.dumps(shadow)).is_shadow
