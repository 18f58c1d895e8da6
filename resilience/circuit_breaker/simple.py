"""The simplified interface: ask, call, say how it went. Opens after so many failures in a row."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final, TypeVar

from resilience.circuit_breaker.breaker import CallPermit, CircuitBreaker
from resilience.circuit_breaker.view import BreakerSnapshot
from resilience.errors import CircuitOpen

T = TypeVar("T")
NEVER: Final = 1_000_000_000  # calls in a window before a ratio counts: here only failures in a row do

# What `allow` gave and nobody has ended yet, by thread or task.
_allowed: ContextVar[tuple[tuple[int, CallPermit], ...]] = ContextVar("resilience_simple_allowed", default=())


class SimpleBreaker:
    """A CircuitBreaker, `breaker`, that counts failures in a row; it takes the other options of one.

    `success` and `failure` end the last `allow` of the same thread or task; from another, a probe that is out.
    """

    def __init__(self, name: str, failures: int = 5, open_s: float = 30.0, **options: Any) -> None:
        if type(failures) is not int or failures < 1:
            raise ValueError(f"failures is {failures!r}; it takes an integer of at least 1")
        taken = {"consecutive", "failure_ratio", "minimum_calls", "slow_ratio"} & options.keys()
        if taken:
            raise ValueError(f"{', '.join(sorted(taken))}: a simple breaker goes by failures in a row alone")
        self.breaker = CircuitBreaker(name, consecutive=failures, minimum_calls=NEVER, open_s=open_s, **options)
        self.name = name
        self._probes: list[CallPermit] = []
        self._lock = threading.Lock()

    def allow(self) -> bool:
        try:
            permit = self.breaker.acquire()
        except CircuitOpen:
            return False
        if permit.is_probe:
            with self._lock:
                self._probes = [probe for probe in self._probes if probe.is_probe]
                self._probes.append(permit)
        # One a breaker: who asks twice without an answer has let the first go.
        _allowed.set((*(held for held in _allowed.get() if held[0] != id(self)), (id(self), permit)))
        return True

    def success(self) -> None:
        self._take().success()

    def failure(self) -> None:
        self._take().failure()

    def _take(self) -> CallPermit:
        allowed = _allowed.get()
        for entry in allowed:
            if entry[0] == id(self):
                _allowed.set(tuple(other for other in allowed if other is not entry))
                return entry[1]
        with self._lock:
            while self._probes:
                permit = self._probes.pop()
                if permit.is_probe:
                    return permit
        return self.breaker.unasked()

    def call(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """As of a CircuitBreaker: raises CircuitOpen while open, and what `fn` raises as the same object."""
        return self.breaker.call(fn, *args, **kwargs)

    async def acall(self, fn: Callable[..., Awaitable[T]], /, *args: Any, **kwargs: Any) -> T:
        return await self.breaker.acall(fn, *args, **kwargs)

    @property
    def state(self) -> str:
        return self.breaker.state

    @property
    def options(self) -> Mapping[str, Any]:
        return self.breaker.options

    def reset(self) -> None:
        """Closed, nothing counted."""
        self.breaker.reset()

    def snapshot(self) -> BreakerSnapshot:
        return self.breaker.snapshot()


__all__ = ["CallPermit", "SimpleBreaker"]
