"""The keys that rules refuse most, gathered from all processes."""

from __future__ import annotations

from collections import Counter
from typing import Final, NamedTuple

from resilience.storage.base import Storage
from resilience.storage.keys import caller_key
from resilience.telemetry import Queue

KEEP: Final = 100  # of a rule; the most refused are few, and a list of all would grow with an attack
HALF_LIFE_S: Final = 60.0  # counts halve, so that the list shows what goes on, not what once was (chosen)


class Refused(NamedTuple):
    """`refusals`: of about the last minutes, halved each minute."""

    key: str
    refusals: int


class Refusals:
    """Collects this process's refusals, as its limiters tell them each second, and adds them to those of all."""

    def __init__(self, store: Storage) -> None:
        self._store = store
        self._told: Queue | None = None

    def listen(self) -> None:
        if self._told is None:
            self._told = Queue(prefix="rate_limiter.refused")

    def close(self) -> None:
        told, self._told = self._told, None
        if told is not None:
            told.close()

    def flush(self) -> None:
        """Raises StorageError; what was on the way is then lost, which a list of the most refused can bear."""
        sums: dict[str, Counter[str]] = {}
        for event in self._told.drain() if self._told is not None else ():
            counts = sums.setdefault(event.attributes["rule"], Counter())
            for key, refusals in event.attributes["top"]:
                counts[_sendable(key)] += refusals
        for rule, counts in sums.items():
            self._run(rule, 0, counts.most_common(KEEP))

    def top(self, rule: str, most: int) -> list[Refused]:
        reply = self._run(rule, most, [])
        return [Refused(str(key), int(number)) for key, number in zip(reply[::2], reply[1::2], strict=True)]

    def _run(self, rule: str, want: int, counts: list[tuple[str, int]]) -> list[int | str]:
        pairs = [part for pair in counts for part in pair]
        args = (want, KEEP, round(HALF_LIFE_S * 1_000_000), len(counts), *pairs)
        return self._store.run("hot_refused", f"hot:{rule}", args)


def _sendable(key: str) -> str:
    """Half a surrogate pair has no bytes."""
    try:
        key.encode()
    except UnicodeEncodeError:
        return caller_key(key)
    return key
