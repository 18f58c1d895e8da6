"""Timeout: a limit on how long a call may take, as a deadline that everything inside can read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType, TracebackType
from typing import Any, ParamSpec, TypeVar

from resilience.clock import SYSTEM, Clock
from resilience.deadline import Deadline, check_seconds, current, ensure_time_left, remaining_s

__all__ = ["Timeout", "ensure_time_left", "remaining_s"]

P = ParamSpec("P")
R = TypeVar("R")


class Timeout:
    """`with`, `async with`, `call`, `acall`; one object serves any number of calls at once.

    A coroutine is cancelled and DeadlineExceeded raised. A sync call cannot be stopped: DeadlineExceeded is raised when it had
    not begun, and by `ensure_time_left()` where the code asks; what comes late but whole is returned, for it has been paid for.
    """

    def __init__(self, timeout_s: float, *, name: str = "", clock: Clock | None = None) -> None:
        self._timeout_s = check_seconds("timeout_s", timeout_s)
        self.name = name
        self._clock = clock or SYSTEM

    @property
    def options(self) -> Mapping[str, Any]:
        return MappingProxyType({"timeout_s": self._timeout_s})

    def configure(self, **changes: Any) -> None:
        """Acts on the next call; a running one keeps its deadline."""
        if unknown := sorted(set(changes) - {"timeout_s"}):
            raise ValueError(f"a timeout has no option {', '.join(unknown)}: known is timeout_s")
        if changes:
            self._timeout_s = check_seconds("timeout_s", changes["timeout_s"])

    def call(self, fn: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        with self._deadline():
            return fn(*args, **kwargs)

    async def acall(self, fn: Callable[P, Awaitable[R]], *args: P.args, **kwargs: P.kwargs) -> R:
        async with self._deadline():
            return await fn(*args, **kwargs)

    def __enter__(self) -> Timeout:
        self._deadline().__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._innermost().__exit__(kind, error, trace)

    async def __aenter__(self) -> Timeout:
        await self._deadline().__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._innermost().__aexit__(kind, error, trace)

    def _deadline(self) -> Deadline:
        return Deadline(self._timeout_s, name=self.name, clock=self._clock, owner=self)

    def _innermost(self) -> Deadline:
        deadline = current()
        if deadline is None or deadline.owner is not self:
            # A generator that yields inside the block hands its context to whoever resumes it.
            raise RuntimeError("a Timeout is left in another context than it was entered in: do not yield inside its block")
        return deadline
