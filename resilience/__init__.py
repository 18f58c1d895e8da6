"""The kit that keeps calls honest under load and failure. Works alone, knows no word of the domain.

Importing it opens no connection, starts no thread and needs no settings: a class is imported when it is first asked for.
Decorators come from `resilience.decorators`, named instances from `resilience.registry`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from resilience.bulkhead import Bulkhead, BulkheadState, Permit
    from resilience.bus import LocalBus
    from resilience.circuit_breaker.breaker import CircuitBreaker
    from resilience.circuit_breaker.permit import CallPermit
    from resilience.circuit_breaker.simple import SimpleBreaker
    from resilience.circuit_breaker.view import BreakerSnapshot
    from resilience.clock import Clock, FakeClock, SystemClock
    from resilience.config import Snapshot
    from resilience.errors import (
        BulkheadFull,
        CircuitOpen,
        ConfigConflict,
        ConfigError,
        ConfigInvalid,
        DeadlineExceeded,
        ExecutionRejected,
        LockLost,
        LockNotAcquired,
        MaintenanceMode,
        QuotaExceeded,
        RateLimited,
        ResilienceError,
        StorageAuthError,
        StorageError,
        StorageFull,
        StorageProtocolError,
        StorageTimeout,
        StorageUnavailable,
    )
    from resilience.fallback import Fallback, degraded, degraded_scope
    from resilience.lock import AsyncDistributedLock, DistributedLock, LockFactory, LockState, fenced_update
    from resilience.pipeline import Limit, Pipeline
    from resilience.rate_limiter import Lease, RateLimiter, RateLimitSet, SetVerdict, Verdict, create_limiter
    from resilience.redis_bus import RedisBus
    from resilience.redis_report import ConnectionReport, check_connection, connection_info
    from resilience.retry import Retry, RetryBudget
    from resilience.storage.base import Storage, StorageHealth
    from resilience.storage.failover import FailoverStore
    from resilience.storage.memory import MemoryStore
    from resilience.storage.redis import RedisStore
    from resilience.telemetry import Event
    from resilience.timeout import Timeout, remaining_s

# Where each public name lives. A test holds it equal to __all__ and to the imports above, which only type checkers read.
_HOMES: Final = {
    "resilience.bulkhead": "Bulkhead BulkheadState Permit",
    "resilience.bus": "LocalBus",
    "resilience.circuit_breaker.breaker": "CircuitBreaker",
    "resilience.circuit_breaker.permit": "CallPermit",
    "resilience.circuit_breaker.simple": "SimpleBreaker",
    "resilience.circuit_breaker.view": "BreakerSnapshot",
    "resilience.clock": "Clock FakeClock SystemClock",
    "resilience.config": "Snapshot",
    "resilience.errors": (
        "BulkheadFull CircuitOpen ConfigConflict ConfigError ConfigInvalid DeadlineExceeded ExecutionRejected LockLost "
        "LockNotAcquired MaintenanceMode QuotaExceeded RateLimited ResilienceError StorageAuthError StorageError StorageFull "
        "StorageProtocolError StorageTimeout StorageUnavailable"
    ),
    "resilience.fallback": "Fallback degraded degraded_scope",
    "resilience.lock": "AsyncDistributedLock DistributedLock LockFactory LockState fenced_update",
    "resilience.pipeline": "Limit Pipeline",
    "resilience.rate_limiter": "Lease RateLimitSet RateLimiter SetVerdict Verdict create_limiter",
    "resilience.redis_bus": "RedisBus",
    "resilience.redis_report": "ConnectionReport check_connection connection_info",
    "resilience.retry": "Retry RetryBudget",
    "resilience.storage.base": "Storage StorageHealth",
    "resilience.storage.failover": "FailoverStore",
    "resilience.storage.memory": "MemoryStore",
    "resilience.storage.redis": "RedisStore",
    "resilience.telemetry": "Event",
    "resilience.timeout": "Timeout remaining_s",
}
_HOME_OF: Final = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "AsyncDistributedLock",
    "BreakerSnapshot",
    "Bulkhead",
    "BulkheadFull",
    "BulkheadState",
    "CallPermit",
    "CircuitBreaker",
    "CircuitOpen",
    "Clock",
    "ConfigConflict",
    "ConfigError",
    "ConfigInvalid",
    "ConnectionReport",
    "DeadlineExceeded",
    "DistributedLock",
    "Event",
    "ExecutionRejected",
    "FailoverStore",
    "FakeClock",
    "Fallback",
    "Lease",
    "Limit",
    "LocalBus",
    "LockFactory",
    "LockLost",
    "LockNotAcquired",
    "LockState",
    "MaintenanceMode",
    "MemoryStore",
    "Permit",
    "Pipeline",
    "QuotaExceeded",
    "RateLimitSet",
    "RateLimited",
    "RateLimiter",
    "RedisBus",
    "RedisStore",
    "ResilienceError",
    "Retry",
    "RetryBudget",
    "SetVerdict",
    "SimpleBreaker",
    "Snapshot",
    "Storage",
    "StorageAuthError",
    "StorageError",
    "StorageFull",
    "StorageHealth",
    "StorageProtocolError",
    "StorageTimeout",
    "StorageUnavailable",
    "SystemClock",
    "Timeout",
    "Verdict",
    "check_connection",
    "connection_info",
    "create_limiter",
    "degraded",
    "degraded_scope",
    "fenced_update",
    "remaining_s",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'resilience' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value  # the next access finds it without coming here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
