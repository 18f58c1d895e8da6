"""The deadline of the running call: a context variable that every stage reads."""

from __future__ import annotations

import asyncio
import math
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final

from resilience import telemetry
from resilience.clock import SYSTEM, Clock, SystemClock, Timer
from resilience.errors import DeadlineExceeded

_CURRENT: Final[ContextVar[Deadline | None]] = ContextVar("resilience_deadline", default=None)


class Deadline:
    """One stretch of time around one call; entered once, by `with` or `async with`.

    Invariants: (1) it never reaches beyond a deadline it lies in; (2) a sync body is never interrupted, an async one is cancelled
    as by asyncio.timeout; (3) only the cancellation it caused itself becomes DeadlineExceeded: others leave as they are.
    """

    __slots__ = ("allowed_s", "at", "clock", "name", "outer", "owner", "scope", "timeout_s", "timer")

    def __init__(
        self, timeout_s: float, *, name: str = "", clock: Clock = SYSTEM, owner: object = None, allowed_s: float | None = None
    ) -> None:
        """`allowed_s`: what was allowed in all, for the message, where `timeout_s` is what is left of it."""
        self.timeout_s = timeout_s
        self.allowed_s = timeout_s if allowed_s is None else allowed_s
        self.name = name
        self.clock = clock
        self.owner = owner
        self.at = 0.0
        self.outer: Deadline | None = None
        self.scope: asyncio.Timeout | None = None
        self.timer: Timer | None = None

    def remaining_s(self) -> float:
        """Seconds left, of this one or of one around it; negative when it has passed."""
        left = self.at - self.clock.monotonic()
        return left if self.outer is None else min(left, self.outer.remaining_s())

    def exceeded(self) -> DeadlineExceeded | None:
        """The error that names the deadline that has passed, if one has."""
        if self.clock.monotonic() >= self.at:
            return DeadlineExceeded(self.name, self.allowed_s)
        return None if self.outer is None else self.outer.exceeded()

    def _begin(self) -> None:
        ensure_time_left()
        self.outer = _CURRENT.get()
        self.at = self.clock.monotonic() + self.timeout_s
        _CURRENT.set(self)

    def __enter__(self) -> Deadline:
        self._begin()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        _CURRENT.set(self.outer)

    async def __aenter__(self) -> Deadline:
        self._begin()
        system = isinstance(self.clock, SystemClock)
        self.scope = asyncio.timeout(self.timeout_s if system else None)
        try:
            await self.scope.__aenter__()
        except BaseException:
            _CURRENT.set(self.outer)
            raise
        if not system:
            loop = asyncio.get_running_loop()
            # Another clock runs its calls in any thread; the loop alone may touch the scope.
            self.timer = self.clock.call_later(self.timeout_s, lambda: loop.call_soon_threadsafe(self._expire, loop))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        _CURRENT.set(self.outer)
        scope, self.scope = self.scope, None
        if self.timer is not None:
            self.timer.cancel()
        if scope is None:
            return
        try:
            await scope.__aexit__(kind, error, trace)
        except TimeoutError:
            # Only the scope's own cancellation comes this way: a TimeoutError of the body is handed in, and not raised here.
            exceeded = DeadlineExceeded(self.name, self.allowed_s)
            _count(exceeded)
            raise exceeded from error

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        if self.scope is not None and not self.scope.expired():
            self.scope.reschedule(loop.time())


def current() -> Deadline | None:
    """The innermost deadline of this context."""
    return _CURRENT.get()


def remaining_s() -> float | None:
    """Seconds the running call has left, never below 0; None when nobody set a deadline. For work that can stop by itself."""
    deadline = _CURRENT.get()
    return None if deadline is None else max(0.0, deadline.remaining_s())


def ensure_time_left() -> None:
    """Raises DeadlineExceeded when the deadline has passed: what has not begun by then does not begin."""
    deadline = _CURRENT.get()
    if deadline is not None and (error := deadline.exceeded()) is not None:
        _count(error)
        raise error


def _count(error: DeadlineExceeded) -> None:
    telemetry.count("resilience_timeout_total", error.name or "unnamed")


def check_seconds(option: str, value: Any, *, zero: bool = False, max_s: float = 86_400.0) -> float:
    """`value` as seconds; ValueError that names the option and says what would be right."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{option} must be a number of seconds, not {value!r:.60}")
    # A whole number too large for a float would raise OverflowError in isfinite(): compared first, it is merely too large.
    if value > max_s or not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        raise ValueError(
            f"{option} must be {'at least' if zero else 'more than'} 0 and at most {max_s:g} seconds, not {value!r:.60}"
        )
    return float(value)
