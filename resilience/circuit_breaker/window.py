"""What this process has seen since it last told the store: outcomes of one epoch, counted without a lock where they are good.

The window itself, ten buckets, lies in the law (`laws/breaker_report.py`): here is only what has not reached it yet.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple


class Batch(NamedTuple):
    """`slow`: of both kinds; `tail`: failed since the last that did not. All zero: a probe's permit only returns."""

    ok: int = 0
    bad: int = 0
    slow: int = 0
    tail: int = 0


class Unsent:
    """What one of the two layers has not been told. Used under the core's lock."""

    __slots__ = ("_bad", "_ok_at_failure", "_slow", "_tail", "_told_ok")

    def __init__(self) -> None:
        self._told_ok = self._ok_at_failure = self._bad = self._slow = self._tail = 0

    def add(self, oks: int, bad: int, slow: int) -> None:
        self._slow += slow
        if bad:
            self._tail = self._tail + bad if oks == self._ok_at_failure else bad
            self._ok_at_failure = oks
            self._bad += bad

    def skip(self, oks: int) -> None:
        """This layer hears of `oks` good ones another way, or not at all."""
        self._told_ok += oks

    def take(self, oks: int) -> Batch | None:
        ok = oks - self._told_ok
        if not (ok or self._bad):
            return None
        batch = Batch(ok, self._bad, self._slow, self._tail if oks == self._ok_at_failure else 0)
        self._told_ok = self._ok_at_failure = oks
        self._bad = self._slow = self._tail = 0
        return batch


class Counts:
    """Outcomes of one shared epoch.

    `ok()` is one step of the interpreter, so threads lose no count and need no lock (`+=` would be three steps).
    """

    __slots__ = ("_oks", "epoch", "ok", "shared", "solo")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self._oks = itertools.count()
        self.ok = self._oks.__next__
        self.shared = Unsent()
        self.solo = Unsent()

    @property
    def oks(self) -> int:
        # A count shows its position only in its repr; pickling, the other way, leaves itertools with Python 3.14.
        return int(repr(self._oks)[6:-1])
