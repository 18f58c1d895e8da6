"""Retry: another attempt after a transient failure, with full jitter, within the deadline and a shared budget."""

from __future__ import annotations

import random
import threading
from collections.abc import Awaitable, Callable, Mapping
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple, ParamSpec, Protocol, TypeVar

from resilience.clock import SYSTEM, Clock
from resilience.deadline import check_seconds, ensure_time_left, remaining_s
from resilience.errors import ExecutionRejected
from resilience.telemetry import count, internal_error
from resilience.waiting import apause, pause

P = ParamSpec("P")
R = TypeVar("R")

# What a network does to a call that was right. More than this only the caller can know: a retried write may happen twice.
TRANSIENT: Final = (ConnectionError, TimeoutError)


class Randomness(Protocol):
    def uniform(self, a: float, b: float, /) -> float: ...


class RetryBudget:
    """A token bucket over all calls that share it: while most calls fail, retries stop instead of multiplying the load.

    A retry takes `retry_cost`, one after a time-out `timeout_cost` (the other side may still be at work). A retry that
    succeeds gives back what it took; a call that succeeds at once gives back `success_gain`. Thread-safe.
    """

    _shared: Final[dict[str, RetryBudget]] = {}
    _sharing: Final = threading.Lock()

    def __init__(self, capacity: int = 500, *, retry_cost: int = 5, timeout_cost: int = 10, success_gain: int = 1) -> None:
        self._options = _budget_options(capacity, retry_cost, timeout_cost, success_gain)
        self._tokens = self._options["capacity"]
        self._lock = threading.Lock()

    @classmethod
    def shared(cls, name: str) -> RetryBudget:
        """The budget of that name in this process, made at the first call."""
        with cls._sharing:
            return cls._shared.setdefault(name, cls())

    @property
    def tokens(self) -> int:
        return self._tokens

    @property
    def options(self) -> Mapping[str, Any]:
        return MappingProxyType(self._options)

    def configure(self, **changes: Any) -> None:
        """A lowered capacity cuts what is there; a raised one fills up by successes."""
        unknown = sorted(set(changes) - set(self._options))
        if unknown:
            raise ValueError(f"a retry budget has no option {', '.join(unknown)}: known are {', '.join(self._options)}")
        with self._lock:
            self._options = _budget_options(**{**self._options, **changes})
            self._tokens = min(self._tokens, self._options["capacity"])

    def take(self, error: BaseException) -> int:
        """What a retry after `error` costs, taken; 0 when there is not enough."""
        cost = self._options["timeout_cost" if isinstance(error, TimeoutError) else "retry_cost"]
        with self._lock:
            if self._tokens < cost:
                return 0
            self._tokens -= cost
            return cost

    def give_back(self, tokens: int) -> None:
        # Full is the rule while all is well: no lock then. A thread that reads an old level here loses one token at most.
        if self._tokens >= self._options["capacity"]:
            return
        with self._lock:
            self._tokens = min(self._options["capacity"], self._tokens + tokens)

    def succeeded(self, taken: int) -> None:
        """`taken`: what the retry that succeeded had cost, 0 for a first attempt."""
        self.give_back(taken or self._options["success_gain"])


def _budget_options(capacity: Any, retry_cost: Any, timeout_cost: Any, success_gain: Any) -> dict[str, int]:
    options = {"capacity": capacity, "retry_cost": retry_cost, "timeout_cost": timeout_cost, "success_gain": success_gain}
    for name, value in options.items():
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1_000_000:
            raise ValueError(f"{name} must be a whole number from 1 to 1000000, not {value!r:.60}")
    return options


class _Options(NamedTuple):
    attempts: int
    base_s: float
    max_s: float
    retry_after_max_s: float
    on: tuple[type[Exception], ...]


def checked(**given: Any) -> _Options:
    """The one check of all options; ValueError names the option."""
    if unknown := sorted(set(given) - set(_Options._fields)):
        raise ValueError(f"retry has no option {', '.join(unknown)}: known are {', '.join(_Options._fields)}")
    attempts, on = given["attempts"], given["on"]
    if isinstance(attempts, bool) or not isinstance(attempts, int) or not 1 <= attempts <= 100:
        raise ValueError(f"attempts must be a whole number from 1 (no retry) to 100, not {attempts!r:.60}")
    base_s, max_s = check_seconds("base_s", given["base_s"], zero=True), check_seconds("max_s", given["max_s"], zero=True)
    if base_s > max_s:
        raise ValueError(f"base_s must not be more than max_s ({base_s:g} > {max_s:g})")
    classes = tuple(on) if isinstance(on, tuple | list | set | frozenset) else (on,)
    if not classes:
        raise ValueError("on names no class: without one nothing is ever retried")
    for kind in classes:
        if not isinstance(kind, type) or not issubclass(kind, Exception):
            raise ValueError(f"on must hold classes of exceptions, not {kind!r:.60}")
        if issubclass(kind, ExecutionRejected):
            raise ValueError(f"on must not hold {kind.__name__}: what was refused here is not retried here")
    return _Options(attempts, base_s, max_s, check_seconds("retry_after_max_s", given["retry_after_max_s"], zero=True), classes)


class Retry:
    """Calls again when `on` says so: after uniform(0, min(max_s, base_s * 2^n)) seconds, or what the answer's Retry-After asks.

    Never retried: a rejection of this package, what would begin after the deadline, what the budget does not cover, what asks for
    a longer wait than `retry_after_max_s`. The exception that then leaves is the last attempt's, the same object.
    """

    def __init__(
        self,
        attempts: int = 3,
        base_s: float = 0.05,
        max_s: float = 2.0,
        on: type[Exception] | tuple[type[Exception], ...] = TRANSIENT,
        budget: RetryBudget | None = None,
        *,
        name: str = "retry",
        retry_after_max_s: float = 30.0,
        clock: Clock | None = None,
        rng: Randomness | None = None,
    ) -> None:
        self.name = name
        self._options = checked(attempts=attempts, base_s=base_s, max_s=max_s, retry_after_max_s=retry_after_max_s, on=on)
        if budget is not None and not isinstance(budget, RetryBudget):
            raise ValueError(f"budget must be a RetryBudget, not {budget!r:.60}")
        self.budget = RetryBudget() if budget is None else budget
        self._clock = clock or SYSTEM
        self._rng: Randomness = rng or random.Random()  # noqa: S311 - spreads load; nothing is protected by it

    @property
    def options(self) -> Mapping[str, Any]:
        return MappingProxyType(self._options._asdict())

    def configure(self, **changes: Any) -> None:
        """Acts on the next failure, of running calls too."""
        self._options = checked(**{**self._options._asdict(), **changes})

    def call(self, fn: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        ensure_time_left()
        attempt, taken = 1, 0
        while True:
            try:
                result = fn(*args, **kwargs)
            except self._options.on as error:
                decided = self._decide(error, attempt)
                if decided is None:
                    raise
                pause_s, taken = decided
                try:
                    if pause_s > 0:
                        pause(self._clock, pause_s)
                except BaseException:
                    self.budget.give_back(taken)
                    raise
                if self._too_late(taken):
                    raise
            else:
                self._succeeded(attempt, taken)
                return result
            attempt += 1

    async def acall(self, fn: Callable[P, Awaitable[R]], *args: P.args, **kwargs: P.kwargs) -> R:
        ensure_time_left()
        attempt, taken = 1, 0
        while True:
            try:
                result = await fn(*args, **kwargs)
            except self._options.on as error:
                decided = self._decide(error, attempt)
                if decided is None:
                    raise
                pause_s, taken = decided
                try:
                    if pause_s > 0:
                        await apause(self._clock, pause_s)
                except BaseException:
                    # Cancelled while it waited: the retry it had paid for never happened.
                    self.budget.give_back(taken)
                    raise
                if self._too_late(taken):
                    raise
            else:
                self._succeeded(attempt, taken)
                return result
            attempt += 1

    def _decide(self, error: Exception, attempt: int) -> tuple[float, int] | None:
        """(seconds to wait, tokens taken), or None: the error leaves."""
        try:
            return self._weighed(error, attempt)
        except Exception as fault:  # noqa: BLE001 - an exception of a strange shape, or a fault of ours, must not replace the caller's
            internal_error("retry", "decide", fault)
            return None

    def _weighed(self, error: Exception, attempt: int) -> tuple[float, int] | None:
        if isinstance(error, ExecutionRejected):
            return None
        options = self._options
        if attempt >= options.attempts:
            self._give_up("exhausted")
            return None
        # 2**60 is beyond every max_s, 2.0**1024 is an OverflowError.
        pause_s = self._rng.uniform(0.0, min(options.max_s, options.base_s * 2 ** min(attempt - 1, 60)))
        asked_s = retry_after_s(error, self._clock)
        if asked_s is not None:
            if asked_s > options.retry_after_max_s:
                self._give_up("retry_after")
                return None
            # Never before it was asked for; the jitter on top keeps those who were told the same from coming at once.
            pause_s += asked_s
        left_s = remaining_s()
        if left_s is not None and pause_s >= left_s:
            self._give_up("deadline")
            return None
        taken = self.budget.take(error)
        if not taken:
            self._give_up("budget")
            return None
        count("resilience_retry_total", self.name, "retried")
        return pause_s, taken

    def _give_up(self, result: str) -> None:
        count("resilience_retry_total", self.name, result)

    def _too_late(self, taken: int) -> bool:
        """A wait may take longer than it should: on a loaded machine, or with a coarse clock."""
        left_s = remaining_s()
        if left_s is None or left_s > 0:
            return False
        self.budget.give_back(taken)
        self._give_up("deadline")
        return True

    def _succeeded(self, attempt: int, taken: int) -> None:
        try:
            self.budget.succeeded(taken)
            if attempt > 1:
                count("resilience_retry_total", self.name, "recovered")
        except Exception as fault:  # noqa: BLE001 - the call has succeeded: its result must reach the caller
            internal_error("retry", "success", fault)


def retry_after_s(error: BaseException, clock: Clock = SYSTEM) -> float | None:
    """What the other side asked for: `error.retry_after_s`, or the header of `error.response`, in seconds or as a date."""
    asked: Any = getattr(error, "retry_after_s", None)
    if asked is None:
        headers: Any = getattr(getattr(error, "response", None), "headers", None)
        asked = headers.get("Retry-After") if hasattr(headers, "get") else None
    if isinstance(asked, str):
        asked = _header_s(asked, clock)
    # What cannot be read asks for nothing (not a number compares false with everything).
    return float(asked) if isinstance(asked, int | float) and not isinstance(asked, bool) and asked >= 0 else None


def _header_s(text: str, clock: Clock) -> float | None:
    text = text.strip()
    if text.isascii() and text.isdigit() and len(text) < 16:
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - clock.now_us() / 1_000_000)
    except (TypeError, ValueError, OverflowError):
        return None
