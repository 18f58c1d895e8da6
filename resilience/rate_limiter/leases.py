"""Leases: tokens of a hot key fetched ahead and spent without a round trip, within a published bound.

Bound: in any span W all processes together admit at most R * W + burst + processes * b tokens, where R = limit / period and
b = eps * R / processes is the most that one process ever holds unspent of one key.
Why: what the store grants in W is at most R * W + burst, plus whatever is refunded to it in W. A token admitted in W was granted
in W or held when W began, and a token refunded is not admitted: so a token held at the beginning counts once, spent or refunded.
"""

from __future__ import annotations

import math
import random
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, repeat
from operator import length_hint
from typing import Final, Generic, TypeVar

from resilience.rate_limiter.local import Held, keep
from resilience.storage.base import live_processes

V = TypeVar("V")
Unspent = list[tuple[str, int]]

# A round trip that has not come back after this long never will: its caller was broken off between two steps.
_LOST_TRIP_S: Final = 1.0
_NEVER: Final = float("-inf")


@dataclass(frozen=True, slots=True)
class Lease:
    """`eps`: how many seconds' worth of the rate may lie in leases, over all processes; `ttl_s`: how long one is spent from;
    `gap_s`: how long a process waits, on the average, after the store could not grant one in full."""

    eps: float = 0.1
    ttl_s: float = 0.1
    gap_s: float = 0.02

    def __post_init__(self) -> None:
        for name, most, may_be_0 in (("eps", 1.0, False), ("ttl_s", 10.0, False), ("gap_s", 1.0, True)):
            value = getattr(self, name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            # Written so that NaN, which is neither less nor more, fails.
            if not (is_number and (0 < value <= most or (may_be_0 and value == 0))):
                least = "0 to" if may_be_0 else "more than 0, at most"
                raise ValueError(f"lease {name} is {value!r}; it takes a number of seconds, {least} {most:g}")


class _Tokens(Generic[V]):
    """The tokens of one lease. Swapped as one reference, so that a reader never mixes two leases.

    `left` is an iterator of C: next() on it is whole under the GIL, so each token goes to one thread without a lock.
    """

    __slots__ = ("left", "until", "verdict")

    def __init__(self, number: int, until: float, verdict: V | None) -> None:
        self.left: Iterator[bool] = repeat(True, number)
        self.until = until
        self.verdict = verdict

    def drain(self) -> int:
        """Takes what is left; a token that another thread takes meanwhile is not counted."""
        return len(list(self.left))


class LeasedKey(Held[V]):
    """One key of a leasing limiter. Only take() runs without the lock of its Leases."""

    __slots__ = (
        "_admitted",
        "_basis",
        "_over",
        "asked_at",
        "counted",
        "demand",
        "filling_until",
        "gap",
        "paused",
        "spare",
        "tokens",
    )

    def __init__(self, key: str, monotonic: Callable[[], float]) -> None:
        super().__init__(key, monotonic)
        self.tokens: _Tokens[V] = _Tokens(0, _NEVER, None)
        self.gap: tuple[float, int, V] | None = None  # until when, from which cost on, the answer
        self.paused = 0  # answers given in gaps
        self.spare = 0  # tokens taken for a cost that they did not cover
        self.demand = 0.0  # tokens a second, an average that forgets within about a lease
        self.counted = 0  # tokens asked of this process since `asked_at`
        self.asked_at: float | None = None
        self.filling_until = _NEVER
        self._basis = 0  # tokens at the last account; what has gone since was spent, so a single token need not be counted
        self._over = 0  # tokens spent since then beyond one a call
        self._admitted = 0

    def take(self, cost: int) -> V | None:
        now = self._monotonic()
        tokens = self.tokens
        if now < tokens.until:
            if cost == 1:
                if next(tokens.left, None):
                    return tokens.verdict
            elif cost > 1 and length_hint(tokens.left) >= cost:
                taken = len(list(islice(tokens.left, cost)))
                if taken == cost:
                    self._over += cost - 1
                    return tokens.verdict
                # Another thread was quicker; they go back with the next round trip.
                self.spare += taken
                self._basis -= taken
        gap = self.gap
        if gap is not None and now < gap[0] and cost >= gap[1]:
            self.paused += 1
            self.counted += cost
            return gap[2]
        return super().take(cost)

    @property
    def admitted(self) -> int:
        """Calls answered from leases."""
        return self._admitted + self._basis - length_hint(self.tokens.left) - self._over

    def account(self) -> int:
        """The tokens that are left; what was spent of them since the last time is counted."""
        left = length_hint(self.tokens.left)
        self._account(left)
        self._basis = left
        return left

    def fill(self, tokens: _Tokens[V]) -> None:
        """The caller has drained the old ones."""
        self._basis = length_hint(tokens.left)
        self.tokens = tokens

    def relent(self) -> None:
        super().relent()
        self.gap = None

    def drain(self) -> int:
        left = self.tokens.drain()
        self._account(left)
        self._basis = 0
        spare, self.spare = self.spare, 0
        return spare + left

    def _account(self, left: int) -> None:
        spent, over, self._over = self._basis - left, self._over, 0
        self.counted += spent
        self._admitted += spent - over


@dataclass(frozen=True, slots=True)
class Ask:
    """A round trip: at least `least`, at best `want` for its callers and `extra` ahead. `sent_at`: monotonic() before sending."""

    key: str
    want: int
    least: int
    extra: int
    sent_at: float


class Leases(Generic[V]):
    """The leases of one limiter's keys in this process. Does no I/O: its caller makes the round trip between ask() and settle().

    `rate`: tokens a second; `capacity`: the most the store ever grants at once; `retry_us(reset_us, cost)`: time until a cost is
    granted, from the time until the debt is paid; `make(allowed, remaining, retry_us, reset_us)`: a verdict; `bury(held)`: told
    of each key given up. A changed rule gets Leases of its own.
    """

    def __init__(
        self,
        lease: Lease,
        *,
        rate: float,
        capacity: int,
        home: OrderedDict[str, Held[V]],
        monotonic: Callable[[], float],
        retry_us: Callable[[int, int], int],
        make: Callable[[bool, int, int, int], V],
        bury: Callable[[Held[V]], None] = lambda _: None,
        jitter: random.Random | None = None,
    ) -> None:
        self._lease = lease
        self._rate = rate
        self._capacity = capacity
        self._home = home
        self._monotonic = monotonic
        self._retry_us = retry_us
        self._make = make
        self._bury = bury
        self._jitter = jitter or _JITTER
        self._ends: deque[tuple[str, _Tokens[V]]] = deque()  # in the order of their ends, since all last equally long
        self._unspent: Unspent = []
        self._lock = threading.Lock()

    def most(self) -> int:
        """b: the most tokens of one key that this process may hold."""
        return int(self._lease.eps * self._rate / live_processes())

    def ask(self, key: str, want: int, least: int) -> Ask:
        """Begins a round trip for `want` tokens and `extra` ones. Call settle() or failed() with it, whatever happens."""
        now = self._monotonic()
        with self._lock:
            held = self._of(key)
            if now >= held.tokens.until:
                self._keep_unspent(key, held.drain())
            held.account()
            self._measure(held, want, now)
            return Ask(key, want, least, self._extra(held, want, now), now)

    def settle(self, ask: Ask, got: tuple[int, int, int, int]) -> int:
        """Keeps what was granted beyond `want`; returns what is left of it for the callers.

        `got`: granted, left, retry_us, reset_us.
        """
        granted, left, retry_us, reset_us = got
        if not ask.extra:
            return granted
        kept = max(0, granted - ask.want)
        now = self._monotonic()
        with self._lock:
            self._sweep(now)
            held = self._of(ask.key)
            held.filling_until = _NEVER
            if kept:
                # Another trip may have been settled meanwhile: never more than b in one hand.
                number = held.drain() + kept
                self._keep_unspent(ask.key, number - self.most())
                until = ask.sent_at + self._lease.ttl_s
                held.fill(_Tokens(min(number, self.most()), until, self._make(True, left, 0, reset_us)))
                self._ends.append((ask.key, held.tokens))
            if granted < ask.want + ask.extra:
                held.gap = self._gap(ask.least, retry_us or self._retry_us(reset_us, ask.least), reset_us, now)
        return granted - kept

    def failed(self, ask: Ask) -> None:
        """The round trip raised or was cancelled. What it may have taken is never spent; time gives it back."""
        if ask.extra:
            with self._lock:
                self._of(ask.key).filling_until = _NEVER

    def unspent(self) -> Unspent:
        """(key, tokens) to give back to the store now: leases that ended before they were spent."""
        if not self._unspent:
            return []
        with self._lock:
            unspent, self._unspent = self._unspent, []
        return unspent

    def end(self, held: Held[V]) -> None:
        """The key is given up; what is left of its lease goes back with the next round trip."""
        with self._lock:
            self._keep_unspent(held.key, held.drain())

    def _of(self, key: str) -> LeasedKey[V]:
        """The caller holds the lock."""
        held = self._home.get(key)
        if not isinstance(held, LeasedKey):
            held = LeasedKey(key, self._monotonic)
        for gone in keep(self._home, held):
            self._bury(gone)
            self._keep_unspent(gone.key, gone.drain())
        return held

    def _extra(self, held: LeasedKey[V], want: int, now: float) -> int:
        """How many tokens to ask for beyond `want`. One trip at a time fetches ahead; others ask for what they need."""
        if now < held.filling_until or (held.gap is not None and now < held.gap[0]):
            return 0
        wanted = int(held.demand * self._lease.ttl_s / 2)
        extra = min(wanted, self.most(), self._capacity - want) - length_hint(held.tokens.left)
        if extra < 1:
            return 0
        held.filling_until = now + _LOST_TRIP_S
        return extra

    def _gap(self, cost: int, retry_us: int, reset_us: int, now: float) -> tuple[float, int, V] | None:
        """The store is used up. Asking on would take a round trip for every token that falls due, and all processes would ask at
        the same time: so each refuses for a while of its own, and then takes what has gathered."""
        wait_s = self._lease.gap_s * (0.5 + self._jitter.random())
        if not wait_s:
            return None
        return (now + wait_s, cost, self._make(False, 0, max(retry_us, math.ceil(wait_s * 1e6)), reset_us))

    def _measure(self, held: LeasedKey[V], cost: int, now: float) -> None:
        """However irregular the questions: weighs what was asked since the last one by the time that has passed."""
        tokens, held.counted = held.counted + cost, 0
        if held.asked_at is not None:
            # Two questions within one step of the clock: no division by 0.
            passed = max(now - held.asked_at, 1e-6)
            held.demand += -math.expm1(-passed / self._lease.ttl_s) * (tokens / passed - held.demand)
        held.asked_at = now

    def _sweep(self, now: float) -> None:
        """Ends the leases of keys that nobody asks for any more, at the round trip of another key: no thread watches them."""
        while self._ends and now >= self._ends[0][1].until:
            key, tokens = self._ends.popleft()
            held = self._home.get(key)
            if isinstance(held, LeasedKey) and held.tokens is tokens:
                self._keep_unspent(key, held.drain())

    def _keep_unspent(self, key: str, tokens: int) -> None:
        """The caller holds the lock."""
        if tokens > 0:
            self._unspent.append((key, tokens))


# Only spreads questions in time; nobody gains by guessing it.
_JITTER: Final = random.Random()  # noqa: S311
