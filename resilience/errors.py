"""One tree of errors: rejections that say when to come again, and what a store did wrong."""

from __future__ import annotations

from typing import Any, Protocol


class Refusal(Protocol):
    """What RateLimited needs of a Verdict, which is declared further up."""

    @property
    def retry_after_s(self) -> float: ...
    @property
    def source(self) -> str: ...


class ResilienceError(Exception):
    """Everything this package raises. A process pool can send each home as it is."""

    def __reduce__(self) -> tuple[Any, ...]:
        # By default an exception is made again from its message alone, which most of ours cannot be: it would break the pool.
        return _received, (type(self), self.args), self.__dict__


def _received(kind: type[ResilienceError], args: tuple[Any, ...]) -> ResilienceError:
    error = kind.__new__(kind, *args)
    error.args = args  # an OSError, as DeadlineExceeded is one, leaves them to __init__
    return error


class ExecutionRejected(ResilienceError):
    """The call was not made. `retry_after_s`: seconds until it may be, None when nobody knows; `source`: who refused it."""

    def __init__(
        self, name: str, *, retry_after_s: float | None = None, source: str = "local", message: str | None = None
    ) -> None:
        super().__init__(message or f"{name} refused the call")
        self.name = name
        self.retry_after_s = retry_after_s
        self.source = source


class CircuitOpen(ExecutionRejected):
    """The breaker is open. `forced`: a person opened it, for `reason`."""

    def __init__(
        self,
        name: str,
        *,
        retry_after_s: float | None = None,
        source: str = "local",
        forced: bool = False,
        reason: str = "",
    ) -> None:
        why = f"forced open: {reason}" if forced else "open"
        super().__init__(name, retry_after_s=retry_after_s, source=source, message=f"circuit breaker {name} is {why}")
        self.forced = forced
        self.reason = reason


class RateLimited(ExecutionRejected):
    """The limit is used up. `verdict`: the limiter's whole answer."""

    def __init__(self, name: str, verdict: Refusal) -> None:
        super().__init__(
            name,
            retry_after_s=verdict.retry_after_s,
            source=verdict.source,
            message=f"rate limit {name} is used up; try again in {verdict.retry_after_s:.3f} s",
        )
        self.verdict = verdict


class BulkheadFull(ExecutionRejected):
    """As many calls as `limit` allows are running."""

    def __init__(self, name: str, limit: int, *, retry_after_s: float | None = None, source: str = "local") -> None:
        super().__init__(
            name, retry_after_s=retry_after_s, source=source, message=f"bulkhead {name} is full: {limit} calls are running"
        )
        self.limit = limit


class MaintenanceMode(ExecutionRejected):
    """The system is under maintenance. `until`: seconds since 1970, None for an open end."""

    def __init__(self, reason: str, until: float | None = None, *, retry_after_s: float | None = None) -> None:
        super().__init__("maintenance", retry_after_s=retry_after_s, source="maintenance", message=f"under maintenance: {reason}")
        self.reason = reason
        self.until = until


class LockNotAcquired(ExecutionRejected):
    """Somebody else holds the lock."""

    def __init__(self, name: str, *, retry_after_s: float | None = None, source: str = "local") -> None:
        super().__init__(name, retry_after_s=retry_after_s, source=source, message=f"lock {name} is held by another")


class QuotaExceeded(ExecutionRejected):
    """The quota does not cover the amount. `usage`: the account's figures."""

    def __init__(self, name: str, usage: Any, *, retry_after_s: float | None = None) -> None:
        super().__init__(name, retry_after_s=retry_after_s, source="quota", message=f"quota {name} is used up")
        self.usage = usage


class DeadlineExceeded(ResilienceError, TimeoutError):
    """The time allowed for the whole call is over."""

    def __init__(self, name: str = "", timeout_s: float | None = None) -> None:
        within = "" if timeout_s is None else f" within {timeout_s:g} s"
        super().__init__(f"{name or 'the call'} did not end{within}")
        self.name = name
        self.timeout_s = timeout_s


class LockLost(ResilienceError):
    """The lock ran out or was taken while it was believed held: undo, or let the fence refuse the write."""

    def __init__(self, name: str, why: str = "") -> None:
        super().__init__(f"lock {name} was lost" + (f": {why}" if why else ""))
        self.name = name


class ConfigError(ResilienceError):
    """A live configuration that cannot be applied."""


class ConfigInvalid(ConfigError):
    """`path`: where in the configuration, as `limiters.login.limit`; `problem`: what is wrong, and what would be right."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


class ConfigConflict(ConfigError):
    """Somebody changed the configuration in between: read it again, then decide."""

    def __init__(self, expected: int, actual: int) -> None:
        super().__init__(f"the configuration is at version {actual}, not {expected}: read it again")
        self.expected = expected
        self.actual = actual


class StorageError(ResilienceError):
    """A store did not do `operation`. The message never holds a password or a whole address."""

    def __init__(self, operation: str, message: str) -> None:
        super().__init__(f"{operation}: {message}")
        self.operation = operation


class StorageUnavailable(StorageError):
    """Not executed: refused, loading, a cluster without its master, a replica that may not write."""

    is_whole_store = True  # False: only the keys of this call cannot be reached, the store serves others


class StorageTimeout(StorageError):
    """May have been executed: the reply was never seen. Never repeat it; release by id what it may have taken."""


class StorageFull(StorageError):
    """The server has no memory left for a write."""


class StorageAuthError(StorageError):
    """The server wants another user or password, or forbids the command: misconfigured."""


class StorageProtocolError(StorageError):
    """Our own bug: a script failed, a key holds another type, keys lie in different slots. No fallback hides it."""
