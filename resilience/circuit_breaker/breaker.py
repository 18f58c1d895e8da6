"""A circuit breaker: stops calling what fails too often, and lets a few probes find out when it works again."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import wraps
from types import TracebackType
from typing import Any, TypeVar, cast

from resilience import telemetry
from resilience.circuit_breaker import metering
from resilience.circuit_breaker.control import Control
from resilience.circuit_breaker.core import Leave
from resilience.circuit_breaker.driving import adrive, drive
from resilience.circuit_breaker.options import checked
from resilience.circuit_breaker.permit import CallPermit
from resilience.circuit_breaker.view import BreakerSnapshot
from resilience.clock import SYSTEM, Clock
from resilience.errors import CircuitOpen
from resilience.guarding import guard
from resilience.storage.base import Storage

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

# Permits of the `with` blocks that this thread or task is in: one breaker serves many at a time.
_entered: ContextVar[tuple[tuple[int, CallPermit], ...]] = ContextVar("resilience_breakers_entered", default=())


class CircuitBreaker(Control):
    """Calls through it are counted; too many failures in the window open it, and an open one refuses with CircuitOpen.

    After `open_s` one probe decides: a success closes, a failure opens. State and counts are shared by all processes of the
    store; while it cannot be reached, each process decides alone. The call's own exception always leaves as the same object.
    """

    def __init__(  # noqa: PLR0917 - the published order
        self,
        name: str,
        failure_ratio: float = 0.5,
        minimum_calls: int = 10,
        window_s: float = 10.0,
        slow_call_s: float | None = None,
        open_s: float = 30.0,
        half_open_permits: int = 1,
        ignore: type[BaseException] | tuple[type[BaseException], ...] = (),
        store: Storage | None = None,
        clock: Clock | None = None,
        *,
        half_open_failures: int = 1,
        slow_ratio: float | None = None,
        consecutive: int | None = None,
        failure_if: Callable[[Any], object] | None = None,
        open_max_s: float | None = None,
        open_backoff: float = 1.0,
        probe_lease_s: float = 30.0,
        quorum: int = 2,
        flush_s: float = 0.1,
        shadow: bool = False,
    ) -> None:
        options = checked(
            {
                "failure_ratio": failure_ratio,
                "minimum_calls": minimum_calls,
                "window_s": window_s,
                "slow_call_s": slow_call_s,
                "open_s": open_s,
                "half_open_permits": half_open_permits,
                "ignore": ignore,
                "half_open_failures": half_open_failures,
                "slow_ratio": slow_ratio,
                "consecutive": consecutive,
                "failure_if": failure_if,
                "open_max_s": open_max_s,
                "open_backoff": open_backoff,
                "probe_lease_s": probe_lease_s,
                "quorum": quorum,
                "flush_s": flush_s,
                "shadow": shadow,
            }
        )
        super().__init__(name, options, store, SYSTEM if clock is None else clock)

    # Calls

    def call(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """What `fn` returns or raises; CircuitOpen, and `fn` is not called, while the breaker is open."""
        core = self._core or self._resolve()
        gate, rules = core.gate, self._rules
        if not (gate.admits and rules.plain):
            permit = self.acquire()
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:
                permit.failure(error)
                raise
            permit.success(result)
            return result
        # Both layers are closed as far as is known here: nobody is asked, and a good call costs one count.
        try:
            result = fn(*args, **kwargs)
        except BaseException as error:
            self._permit(self._leave_of(gate)).failure(error)
            raise
        try:
            core.finished(gate, rules.options.flush_s)
        except Exception as own:  # noqa: BLE001 - recording must not replace the result
            telemetry.internal_error("circuit_breaker", "record", own)
        return result

    async def acall(self, fn: Callable[..., Awaitable[T]], /, *args: Any, **kwargs: Any) -> T:
        """`call` for a coroutine function. Cancelled, the call counts as neither good nor bad."""
        core = self._core or self._resolve()
        gate, rules = core.gate, self._rules
        if not (gate.admits and rules.plain):
            permit = await self.aacquire()
            try:
                result = await fn(*args, **kwargs)
            except BaseException as error:
                await permit.afailure(error)
                raise
            await permit.asuccess(result)
            return result
        try:
            result = await fn(*args, **kwargs)
        except BaseException as error:
            await self._permit(self._leave_of(gate)).afailure(error)
            raise
        try:
            core.finished(gate, rules.options.flush_s)
        except Exception as own:  # noqa: BLE001 - as above
            telemetry.internal_error("circuit_breaker", "record", own)
        return result

    def acquire(self) -> CallPermit:
        """Leave to make one call; say afterwards what became of it. Raises CircuitOpen."""
        core = self._core or self._resolve()
        gate = core.gate
        if gate.admits and not self._rules.direct:
            return self._permit(self._leave_of(gate))
        try:
            begun = drive(core.beginning(self._rules), self.store, self.name, core.clock.stamp_us)
            core.outbox.follow()
        except Exception as own:  # noqa: BLE001 - a fault of ours must not stop the calls it guards
            telemetry.internal_error("circuit_breaker", "ask", own)
            begun = None
        return self._permit(begun)

    async def aacquire(self) -> CallPermit:
        core = self._core or self._resolve()
        gate = core.gate
        if gate.admits and not self._rules.direct:
            return self._permit(self._leave_of(gate))
        try:
            begun = await adrive(core.beginning(self._rules), self.store, self.name, core.clock.stamp_us)
            core.outbox.follow()
        except Exception as own:  # noqa: BLE001 - as above; a cancellation goes on
            telemetry.internal_error("circuit_breaker", "ask", own)
            begun = None
        return self._permit(begun)

    def unasked(self) -> CallPermit:
        """For an outcome of a call that nobody asked leave for: it counts while the breaker is closed."""
        core = self._core or self._resolve()
        if core.solo is None or not core.view.state:
            self.refresh()
        # What is not there yet is closed; asking creates it.
        return self._permit(self._leave_of(core.gate)) if core.view.state else self.acquire()

    def _permit(self, begun: Leave | CircuitOpen | None) -> CallPermit:
        core = self._core or self._resolve()
        if isinstance(begun, CircuitOpen):
            shadow = self._rules.options.shadow
            metering.turned_away(self.name, shadow=shadow)
            if not shadow:
                raise begun
            begun = None
        return CallPermit(core, self.store, self._rules, begun)

    # As a decorator and around blocks

    def __call__(self, fn: F) -> F:
        """Functions, coroutines, generators and asynchronous generators. A generator counts once, from first step to last."""
        if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
            return guard(fn, lambda: self.acquire().untimed(), self._auntimed)
        if inspect.iscoroutinefunction(fn):

            @wraps(fn)
            async def acalled(*args: Any, **kwargs: Any) -> Any:
                return await self.acall(fn, *args, **kwargs)

            return cast("F", acalled)

        @wraps(fn)
        def called(*args: Any, **kwargs: Any) -> Any:
            return self.call(fn, *args, **kwargs)

        return cast("F", called)

    async def _auntimed(self) -> CallPermit:
        return (await self.aacquire()).untimed()

    def __enter__(self) -> CallPermit:
        permit = self.acquire()
        _entered.set((*_entered.get(), (id(self), permit)))
        return permit

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        permit = self._left()
        if permit is not None:
            permit.__exit__(kind, error, trace)

    async def __aenter__(self) -> CallPermit:
        permit = await self.aacquire()
        _entered.set((*_entered.get(), (id(self), permit)))
        return permit

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        permit = self._left()
        if permit is not None:
            await permit.__aexit__(kind, error, trace)

    def _left(self) -> CallPermit | None:
        """The permit of the innermost block of this breaker that this thread or task is in."""
        entered = _entered.get()
        for position in range(len(entered) - 1, -1, -1):
            if entered[position][0] == id(self):
                _entered.set(entered[:position] + entered[position + 1 :])
                return entered[position][1]
        return None


__all__ = ["BreakerSnapshot", "CallPermit", "CircuitBreaker"]
