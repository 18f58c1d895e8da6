"""What a limiter answers without asking: the deny cache, which repeats a refusal for as long as it must still hold."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Generic, TypeVar

from resilience.clock import SYSTEM, Clock

V = TypeVar("V")

MAX_KEYS: Final = 10_000  # a few MB. The one learnt longest ago goes first; one under attack is learnt anew each second
MAX_AGE_S: Final = 1.0  # how late a reset, refund or raised limit made elsewhere is seen


def monotonic_of(clock: Clock) -> Callable[[], float]:
    """The clock's monotonic(), without a call in between for the system's: it is a third of what a local answer takes."""
    return time.monotonic if clock is SYSTEM else clock.monotonic


class Held(Generic[V]):
    """What this process holds of one key: a refusal.

    Invariants:
    1. Only time gives tokens back, so what was refused is refused until `retry_after_s` has passed, and so is any larger cost.
    2. It counts from the moment of sending, which lies before the store's decision: it ends too early, never too late.
    3. An answer takes no lock and makes no object: it reads one tuple, which is swapped as a whole.
    """

    __slots__ = ("_monotonic", "denied", "key", "refused")

    def __init__(self, key: str, monotonic: Callable[[], float]) -> None:
        self.key = key
        self.denied: tuple[float, int, V] | None = None  # until when, from which cost on, the answer
        self.refused = 0  # answers given since last asked; a count lost between two threads is not worth a lock
        self._monotonic = monotonic

    def take(self, cost: int) -> V | None:
        """The answer for `cost` tokens; None: ask the store."""
        denied = self.denied
        if denied is None or cost < denied[1] or self._monotonic() >= denied[0]:
            return None
        self.refused += 1
        return denied[2]

    def deny(self, cost: int, verdict: V, retry_after_s: float, sent_at: float) -> None:
        """`sent_at`: monotonic() before the question was sent; `verdict`: handed out again as it is."""
        self.denied = (sent_at + min(retry_after_s, MAX_AGE_S), cost, verdict)

    def relent(self) -> None:
        """Refuses no longer."""
        self.denied = None

    def drain(self) -> int:
        """Tokens to give back to the store, held no longer."""
        return 0


def keep(home: OrderedDict[str, Held[V]], held: Held[V]) -> list[Held[V]]:
    """Puts a key where take() is called, as the newest; returns those that had to go for it."""
    home[held.key] = held
    with suppress(KeyError):  # emptied by another thread
        home.move_to_end(held.key)
    gone = []
    while len(home) > MAX_KEYS:
        try:
            gone.append(home.popitem(last=False)[1])
        except KeyError:
            break  # emptied by another thread
    return gone
