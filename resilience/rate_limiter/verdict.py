"""What a limiter answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from resilience.laws.keyspace import Reply

if TYPE_CHECKING:
    from resilience.storage.base import Args, Storage

Source = Literal["redis", "memory", "deny_cache", "lease", "local", "policy"]


class Receipt(NamedTuple):
    """What gives a granted verdict back, exactly. `owner`: the limiter or set that granted it; `count`: of the calls granted."""

    owner: object
    key: str
    store: Storage
    op: str
    tag: str
    args: Args


class _Figures(NamedTuple):
    allowed: bool
    remaining: int
    retry_after_s: float
    reset_after_s: float
    limit: int
    source: str


class Verdict(_Figures):
    """One limiter's answer; true when the call is allowed.

    `remaining`: calls of cost 1 that would be admitted right after this one; `retry_after_s`: seconds after which the same call
    is admitted if nobody else asks, 0.0 when allowed, inf when never; `reset_after_s`: seconds until the key is as if never used;
    `source`: redis, memory, deny_cache, lease, local (a share of the limit while the store is down) or policy (nobody was asked).
    """

    receipt: Receipt | None = None  # of a granted one, until it is refunded
    is_shadow: bool = False  # allowed although the limit refuses: the rule is on trial, and sends no headers

    def __bool__(self) -> bool:
        return self.allowed

    def __getstate__(self) -> dict[str, Any] | None:
        """Of a copy and in another process, which refund nothing: a receipt is good once, where the limiter is."""
        return {"is_shadow": True} if self.is_shadow else None


class SetVerdict(NamedTuple):
    """The answer of several limits; true when all allow. `tightest`: the rule that matters most to the caller."""

    allowed: bool
    verdicts: Mapping[str, Verdict]
    tightest: str

    def __bool__(self) -> bool:
        return self.allowed


NEVER: Final = float("inf")


def verdict(allowed: bool, remaining: int, retry_us: float, reset_us: int, *, limit: int, source: str) -> Verdict:
    """From microseconds to seconds: a division by a million, so that rounding gives the microseconds back."""
    # Past NamedTuple's own __new__, which is written in Python: this is made on every round trip.
    figures: tuple[Any, ...] = (allowed, remaining, retry_us / 1_000_000, reset_us / 1_000_000, limit, source)
    return tuple.__new__(Verdict, figures)


def of_reply(reply: Reply, limit: int, source: str) -> Verdict:
    """From the four figures that every algorithm's operation returns first."""
    admitted, remaining, retry_us, reset_us = reply[:4]
    return verdict(bool(admitted), int(remaining), int(retry_us), int(reset_us), limit=limit, source=source)


def shadowed(verdict: Verdict) -> Verdict:
    """What a rule on trial answers instead of a refusal. The figures stay: they say what it would have done."""
    allowed = verdict._replace(allowed=True)
    allowed.is_shadow = True
    return allowed
