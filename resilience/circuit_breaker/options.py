"""What a breaker may be told: checked by one function, then turned into the integers of the law."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, Final

MONTH_S: Final = 2_592_000.0  # longer than any state here is worth keeping (chosen)
MILLION: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Options:
    """As they are given. `slow_ratio` None means failure_ratio, `open_max_s` None ten times open_s."""

    failure_ratio: float = 0.5
    minimum_calls: int = 10
    window_s: float = 10.0
    slow_call_s: float | None = None
    open_s: float = 30.0
    half_open_permits: int = 1
    ignore: tuple[type[BaseException], ...] = ()
    half_open_failures: int = 1
    slow_ratio: float | None = None
    consecutive: int | None = None
    failure_if: Callable[[Any], object] | None = None
    open_max_s: float | None = None
    open_backoff: float = 1.0
    probe_lease_s: float = 30.0
    quorum: int = 2
    flush_s: float = 0.1
    shadow: bool = False

    def shown(self) -> Mapping[str, Any]:
        return MappingProxyType({name: getattr(self, name) for name in NAMES})


NAMES: Final = tuple(field.name for field in fields(Options))

# Bounds: least, most. The law works in integers below 2^53, and a bucket is a tenth of the window.
_SECONDS: Final = {
    "window_s": (0.01, MONTH_S),
    "slow_call_s": (0.000_001, MONTH_S),
    "open_s": (0.001, MONTH_S),
    "open_max_s": (0.001, MONTH_S),
    "probe_lease_s": (0.001, MONTH_S),
    "flush_s": (0.0, 60.0),
}
_RATIOS: Final = {"failure_ratio": (0.000_001, 1.0), "slow_ratio": (0.000_001, 1.0), "open_backoff": (1.0, 100.0)}
_COUNTS: Final = ("minimum_calls", "half_open_permits", "half_open_failures", "consecutive", "quorum")
_MAX_COUNT: Final = 1_000_000_000
_NULLABLE: Final = {"slow_call_s", "slow_ratio", "consecutive", "failure_if", "open_max_s"}


def checked(changes: Mapping[str, Any], base: Options | None = None) -> Options:
    """`base` with the changes. Raises ValueError that names the option, its value and what it takes; nothing is changed then."""
    values = dict(changes)
    for name, value in changes.items():
        if name not in NAMES:
            raise ValueError(f"{name} is no option of a circuit breaker; it takes {', '.join(NAMES)}")
        if value is None and name in _NULLABLE:
            continue
        if name in _SECONDS or name in _RATIOS:
            values[name] = _number(name, value, *(_SECONDS.get(name) or _RATIOS[name]))
        elif name in _COUNTS:
            if type(value) is not int or not 1 <= value <= _MAX_COUNT:
                raise ValueError(f"{name} is {value!r}; it takes an integer from 1 to {_MAX_COUNT}")
        elif name == "shadow":
            if type(value) is not bool:
                raise ValueError(f"shadow is {value!r}; it takes True or False")
        elif name == "failure_if":
            if not callable(value):
                raise ValueError(f"failure_if is {value!r}; it takes a function of the result")
        else:
            values[name] = _classes(name, value)
    before = {} if base is None else dict(base.shown())
    options = Options(**{**before, **values})
    if options.open_max_s is not None and options.open_max_s < options.open_s:
        raise ValueError(f"open_max_s is {options.open_max_s!r}; it takes at least open_s, which is {options.open_s!r}")
    return options


def _number(name: str, value: object, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not least <= value <= most:
        raise ValueError(f"{name} is {value!r}; it takes a number from {least:f} to {most:f}".replace(".000000", ""))
    return float(value)


def _classes(name: str, value: object) -> tuple[type[BaseException], ...]:
    classes = value if isinstance(value, tuple | list) else (value,)
    for each in classes:
        if not (isinstance(each, type) and issubclass(each, BaseException)):
            raise ValueError(f"{name} is {value!r}; it takes a class of exceptions, or several")
    return tuple(classes)


class Rules:
    """The options as a call and the law take them, worked out once."""

    __slots__ = ("direct", "figures", "lease_us", "opening", "options", "plain", "slow_call_s", "window_us")

    def __init__(self, options: Options) -> None:
        longest_s = min(MONTH_S, 10 * options.open_s) if options.open_max_s is None else options.open_max_s
        slow_ratio = options.failure_ratio if options.slow_ratio is None else options.slow_ratio
        self.options = options
        self.window_us = _us(options.window_s)
        self.lease_us = _us(options.probe_lease_s)
        self.opening = (_us(options.open_s), round(options.open_backoff * 1_000), _us(longest_s))
        # As breaker_report takes them. A ratio is rounded down, so that two of three reach 2/3.
        self.figures: tuple[int, ...] = (
            options.half_open_permits,
            options.half_open_failures,
            self.window_us,
            options.minimum_calls,
            int(options.failure_ratio * MILLION),
            int(slow_ratio * MILLION),
            options.consecutive or 0,
            options.quorum,
            *self.opening,
        )
        self.slow_call_s = options.slow_call_s
        self.direct = options.flush_s <= 0
        # Whether a result says nothing beyond "it returned": such a call takes the short way.
        self.plain = not self.direct and options.slow_call_s is None and options.failure_if is None


def _us(seconds: float) -> int:
    return round(seconds * MILLION)
