"""What a limiter can be told, and the one place that refuses what it cannot."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal, Never

from resilience.operations import LIMITERS
from resilience.rate_limiter.leases import Lease

OnStoreDown = Literal["local", "allow", "deny", "raise"]

POLICIES: Final = ("local", "allow", "deny", "raise")
WITH_BURST: Final = ("gcra", "token_bucket")
MAX_LIMIT: Final = 90_000_000  # its square is below 2^53: a debt is rescaled from one limit to another by such a product
MAX_LOG: Final = 1_000  # a log keeps a stamp for every call, and is read whole
MAX_PERIOD_S: Final = 31_622_400.0  # a leap year (chosen)
EXACT: Final = 2**53  # from here on a number of Lua skips integers


@dataclass(frozen=True, slots=True)
class Options:
    """A limiter's options. Made by `checked` and `changed`, so always valid."""

    limit: int
    period_s: float
    algorithm: str = "gcra"
    burst: int | None = None
    aligned: bool = False
    on_store_down: OnStoreDown = "local"
    deny_cache: bool = True
    coalesce: bool = False
    lease: Lease | None = None
    shadow: bool = False
    enforced_percent: int = 100

    @property
    def period_us(self) -> int:
        return round(self.period_s * 1_000_000)

    @property
    def capacity(self) -> int:
        """The most that can ever be admitted at once."""
        return self.limit if self.burst is None else self.burst

    def mapping(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


NAMES: Final = tuple(field.name for field in fields(Options))


def checked(options: Mapping[str, Any]) -> Options:
    """The options, all valid together. Raises ValueError naming the first that is not, NotImplementedError for the algorithm."""
    for name in options:
        if name not in NAMES:
            raise ValueError(f"{name} is no option of a rate limiter; there are {', '.join(NAMES)}")
    made = Options(**{"limit": None, "period_s": None, **options})
    if made.algorithm not in tuple(LIMITERS):  # a tuple, since what is given may have no hash
        raise NotImplementedError(f"there is no algorithm {made.algorithm!r}; known are {', '.join(sorted(LIMITERS))}")
    _whole("limit", made.limit, MAX_LOG if made.algorithm == "sliding_log" else MAX_LIMIT)
    _period(made.period_s)
    _burst(made)
    for name in ("aligned", "deny_cache", "coalesce", "shadow"):
        if not isinstance(getattr(made, name), bool):
            raise ValueError(f"{name} is {getattr(made, name)!r}; it takes True or False")
    if made.aligned and made.algorithm != "fixed_window":
        raise ValueError(f"aligned is for fixed_window; {made.algorithm} has no windows to align")
    if made.on_store_down not in POLICIES:
        raise ValueError(f"on_store_down is {made.on_store_down!r}; it takes one of {', '.join(POLICIES)}")
    if made.lease is not None and not isinstance(made.lease, Lease):
        raise ValueError(f"lease is {made.lease!r}; it takes a Lease or None")
    for name in ("coalesce", "lease"):
        # The other algorithms grant all or nothing, so a sum could be refused where a part would have been admitted.
        if getattr(made, name) and made.algorithm != "gcra":
            raise ValueError(f"{name} is for gcra, which can grant a part of what is asked; {made.algorithm} cannot")
    _whole("enforced_percent", made.enforced_percent, 100, at_least=0)
    _exact(made)
    return made


def changed(options: Options, changes: Mapping[str, Any]) -> Options:
    """The options with some of them changed, all valid together."""
    return checked({**options.mapping(), **changes})


def shared(options: Options, share: int, burst: int | None) -> Options:
    """The same rule for one process's share of it. `burst`: only where it has one."""
    return replace(options, limit=share, burst=burst)


def lowest_terms(options: Options) -> tuple[int, int]:
    """p and l: a token is p units, a microsecond l units; p / l = period / limit."""
    divisor = math.gcd(options.period_us, options.limit)
    return options.period_us // divisor, options.limit // divisor


def check_question(key: object, cost: object) -> None:
    """Raises ValueError for what is no key or no cost."""
    if not isinstance(key, str):
        refuse_key(key)
    # True is an int to Python; as a cost it is a slip.
    if not isinstance(cost, int) or isinstance(cost, bool) or cost < 1:
        raise ValueError(f"cost is {cost!r}; it takes an integer of at least 1")


def refuse_key(key: object) -> Never:
    raise ValueError(f"a key is a text, not {type(key).__name__}")


def _whole(name: str, value: object, most: int, *, at_least: int = 1) -> None:
    # True is an int to Python; as a limit it is a slip.
    if not isinstance(value, int) or isinstance(value, bool) or not at_least <= value <= most:
        raise ValueError(f"{name} is {value!r}; it takes an integer from {at_least} to {most}")


def _period(period_s: object) -> None:
    is_number = isinstance(period_s, int | float) and not isinstance(period_s, bool)
    # NaN is neither less nor more, so the comparison is written such that it fails.
    if not is_number or not 0.000001 <= period_s <= MAX_PERIOD_S:  # type: ignore[operator]  # a number by now
        raise ValueError(f"period_s is {period_s!r}; it takes seconds, from 0.000001 to {MAX_PERIOD_S:.0f}")


def _burst(options: Options) -> None:
    if options.burst is None:
        return
    if options.algorithm not in WITH_BURST:
        raise ValueError(f"burst is for {' and '.join(WITH_BURST)}; {options.algorithm} admits its limit at once")
    _whole("burst", options.burst, MAX_LIMIT)


def _exact(options: Options) -> None:
    """Every product a script makes stays below 2^53. Never a bar for limit and burst up to 100,000 over up to a day."""
    if options.algorithm in WITH_BURST and options.capacity * lowest_terms(options)[0] >= EXACT:
        name = "limit" if options.burst is None else "burst"
        raise ValueError(f"{name} is {options.capacity}, too many over {options.period_s:g} s to count exactly (2^53 units)")
    if options.algorithm == "sliding_window" and options.limit * options.period_us >= EXACT:
        raise ValueError(f"limit is {options.limit}, too many over {options.period_s:g} s to count exactly (2^53 units)")
