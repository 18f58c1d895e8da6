"""Leave to make one call: the caller says once what became of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

from resilience import telemetry
from resilience.circuit_breaker.core import GOOD, NEUTRAL, Core, Leave
from resilience.circuit_breaker.driving import adrive, drive
from resilience.circuit_breaker.options import Rules
from resilience.circuit_breaker.window import Batch
from resilience.storage.base import Storage

_NO_RESULT: Final = object()


class CallPermit:
    """From `acquire()`. The first of success, failure and ignore counts, further ones do nothing; none of them ever raises.

    As a context manager it counts what leaves the block. One that is forgotten counts nothing, and a probe's returns when its
    lease ends.
    """

    __slots__ = ("_core", "_leave", "_monotonic", "_rules", "_started", "_store")

    def __init__(self, core: Core, store: Storage, rules: Rules, leave: Leave | None) -> None:
        """`leave`: None where nothing will be counted, as for a call that a shadowed breaker would have refused."""
        self._core = core
        self._store = store
        self._rules = rules
        self._leave = leave
        self._monotonic: Callable[[], float] = core.clock.monotonic
        self._started = 0.0 if rules.slow_call_s is None else self._monotonic()

    @property
    def is_probe(self) -> bool:
        """Whether what becomes of this call decides if the breaker closes."""
        return self._leave is not None and bool(self._leave.probe or self._leave.solo_probe)

    def untimed(self) -> Self:
        """Never slow: for a generator, whose time is also its consumer's."""
        self._started = math.inf
        return self

    def success(self, result: Any = _NO_RESULT) -> None:
        """`result` is shown to `failure_if`, where there is one."""
        self._end(None, result)

    def failure(self, error: BaseException | None = None) -> None:
        """What the options ignore, and what is no Exception, counts as neither."""
        self._end(error, _FAILED)

    def ignore(self) -> None:
        self._end(None, _IGNORED)

    async def asuccess(self, result: Any = _NO_RESULT) -> None:
        await self._aend(None, result)

    async def afailure(self, error: BaseException | None = None) -> None:
        await self._aend(error, _FAILED)

    async def aignore(self) -> None:
        await self._aend(None, _IGNORED)

    def _end(self, error: BaseException | None, result: object) -> None:
        leave, self._leave = self._leave, None
        if leave is None:
            return
        core = self._core
        try:
            batch = self._outcome(error, result)
            if batch is not GOOD or not core.counted(leave):
                drive(core.ending(leave, batch), self._store, core.name, core.clock.stamp_us)
        except Exception as own:  # noqa: BLE001 - recording must not replace what came of the call
            telemetry.internal_error("circuit_breaker", "record", own)

    async def _aend(self, error: BaseException | None, result: object) -> None:
        leave, self._leave = self._leave, None
        if leave is None:
            return
        core = self._core
        try:
            batch = self._outcome(error, result)
            if batch is not GOOD or not core.counted(leave):
                await adrive(core.ending(leave, batch), self._store, core.name, core.clock.stamp_us)
        except Exception as own:  # noqa: BLE001 - as above; a cancellation goes on
            telemetry.internal_error("circuit_breaker", "record", own)

    def _outcome(self, error: BaseException | None, result: object) -> Batch:
        options = self._rules.options
        if result is _IGNORED:
            return NEUTRAL
        if error is not None and (not isinstance(error, Exception) or isinstance(error, options.ignore)):
            return NEUTRAL
        slow_call_s = self._rules.slow_call_s
        slow = int(slow_call_s is not None and self._monotonic() - self._started > slow_call_s)
        if error is not None or result is _FAILED or self._failed(result):
            return Batch(0, 1, slow, 1)
        return Batch(1, 0, 1, 0) if slow else GOOD

    def _failed(self, result: object) -> bool:
        failure_if = self._rules.options.failure_if
        if failure_if is None or result is _NO_RESULT:
            return False
        try:
            return bool(failure_if(result))
        except Exception as own:  # noqa: BLE001 - a faulty judgement is no failure of the call
            telemetry.internal_error("circuit_breaker", "failure_if", own)
            return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.success()
        else:
            self.failure(error)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            await self.asuccess()
        else:
            await self.afailure(error)


_FAILED: Final = object()
_IGNORED: Final = object()
