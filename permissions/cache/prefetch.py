"""Prefetch: what was asked after an id before is loaded when the id is missed again: record, predict, prefetch.

It fills the first layer through a callable of its owner and extends the validity of nothing. It counts how much of what it loaded
was used; where too little is, it stops loading, and only imagines what it would have loaded until that would pay again. Source:
consistency, section 9.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from permissions.cache.follows import Follows
from permissions.engine.reasons import Unavailable
from resilience import telemetry
from resilience.clock import SYSTEM, Clock

log = logging.getLogger("permissions.cache")

MAX_IDS_S: Final = 64
# A prefetched id that nobody asked for within this time was loaded for nothing. Chosen: a person is on the next page by then.
WINDOW_S: Final = 60.0
# The last results that decide; fewer than the second say nothing yet.
RESULTS: Final = 256
MIN_RESULTS: Final = 64
MIN_RATIO: Final = 0.3
# Higher than MIN_RATIO, so that it does not go on and off.
ON_AGAIN_RATIO: Final = 0.4
# A batch that took longer says that the database has other work; so does one that failed.
SLOW_FILL_S: Final = 0.25
REST_S: Final = 5.0
MAX_WAITING: Final = 256

Why = Literal["", "useless", "resting", "busy"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`is_on`: whether it loads at all now; `why_off`: else, why not. `ratio`: of the last results, None before there are enough.

    `useful`, `wasted`: since the start. `outstanding`: loaded, neither used nor given up. `pairs`: of (id, what follows it).
    """

    is_on: bool
    why_off: Why
    ratio: float | None
    useful: int
    wasted: int
    outstanding: int
    waiting: int
    pairs: int


class Prefetch:
    """Of one kind of ids of one realm and process.

    `record` for every id a session asks for; `missed` for every id that was not in the first layer; `run` by a background thread.
    `fill(ids)` loads them, and may return those that it really loaded. `is_resident(id)`: whether it is in the first layer: then
    there is nothing to load, and what has left it before it was asked for was loaded for nothing. `wake` is called when `run` has
    something to do. `is_busy`: checks need the database for themselves.
    """

    def __init__(
        self,
        fill: Callable[[list[str]], Collection[str] | None],
        *,
        is_resident: Callable[[str], bool] | None = None,
        wake: Callable[[], None] = lambda: None,
        is_busy: Callable[[], bool] = lambda: False,
        clock: Clock = SYSTEM,
    ) -> None:
        self._fill = fill
        self._is_resident = is_resident
        self._wake = wake
        self._is_busy = is_busy
        self._clock = clock
        self._lock = threading.Lock()
        self._follows = Follows()
        # Loaded, or imagined, and when it is given up; in the order of time. Read without the lock: a hit is rare.
        self._outstanding: dict[str, float] = {}
        self._imagined: dict[str, float] = {}
        self._waiting: dict[str, None] = {}
        self._results: deque[bool] = deque(maxlen=RESULTS)
        self._imagined_results: deque[bool] = deque(maxlen=RESULTS)
        self._useless = False
        self._rests_until_s = clock.monotonic()
        self._tokens = float(MAX_IDS_S)
        self._tokens_s = clock.monotonic()
        self._totals = {"useful": 0, "wasted": 0}

    def record(self, session: object, ref: str) -> None:
        """`session`: whatever stays the same for one caller; hashable."""
        with self._lock:
            self._follows.record(session, ref)
        if ref in self._outstanding or ref in self._imagined:
            self.used(ref, is_there=self._is_resident is None or self._is_resident(ref))

    def predict(self, ref: str) -> list[str]:
        """What mostly follows `ref`, the likeliest first; at most four."""
        with self._lock:
            return self._follows.after(ref)

    def habits(self, most: int) -> dict[str, dict[str, int]]:
        """What was learnt, for other processes; see `Follows.habits`."""
        with self._lock:
            return self._follows.habits(most)

    def take_up(self, habits: Mapping[str, Mapping[str, int]]) -> int:
        """What others learnt; how many pairs were new."""
        with self._lock:
            return self._follows.take_up(habits)

    def used(self, ref: str, *, is_there: bool = True) -> None:
        """A check asked for `ref`, and found it if it `is_there`. `record` says so too; twice counts once."""
        with self._lock:
            self._give_up()
            if self._outstanding.pop(ref, None) is not None:
                self._result(useful=is_there)
            if self._imagined.pop(ref, None) is not None:
                self._imagined_results.append(True)
                self._judge()

    def missed(self, ref: str) -> None:
        """`ref` had to be loaded: what mostly follows it is put in line."""
        predicted = self.predict(ref)
        if self._is_resident is not None:
            predicted = [following for following in predicted if not self._is_resident(following)]
        with self._lock:
            self._give_up()
            before = len(self._waiting)
            deadline = self._clock.monotonic() + WINDOW_S
            for following in predicted:
                if self._useless and len(self._imagined) < MAX_WAITING:
                    self._imagined.setdefault(following, deadline)
                elif not self._useless and len(self._waiting) < MAX_WAITING and following not in self._outstanding:
                    self._waiting[following] = None
            grown = len(self._waiting) > before
        if grown:
            self._wake()

    def run(self) -> int:
        """Loads one batch of what is in line, if there are tokens for it; how many ids. Raises what `fill` raises, but not
        Unavailable: a database that is away is left alone for a while."""
        is_busy = self._is_busy()
        with self._lock:
            self._give_up()
            batch = self._batch(is_busy=is_busy)
        if not batch:
            return 0
        started_s = self._clock.monotonic()
        try:
            filled = self._fill(batch)
        except Unavailable as error:
            log.info("nothing is prefetched for a while: %s", error)
            self._rest(batch)
            return 0
        except BaseException:
            self._rest(batch)
            raise
        with self._lock:
            if filled is not None:
                for ref in set(batch).difference(filled):
                    self._outstanding.pop(ref, None)
            if self._clock.monotonic() - started_s > SLOW_FILL_S:
                self._rests_until_s = self._clock.monotonic() + REST_S
        return len(batch)

    def snapshot(self) -> Snapshot:
        is_busy = self._is_busy()
        with self._lock:
            self._give_up()
            why = self._why_off(is_busy=is_busy)
            return Snapshot(
                is_on=not why,
                why_off=why,
                ratio=self._ratio(self._results),
                useful=self._totals["useful"],
                wasted=self._totals["wasted"],
                outstanding=len(self._outstanding),
                waiting=len(self._waiting),
                pairs=self._follows.pairs,
            )

    @property
    def ratio(self) -> float | None:
        """Of the last prefetched ids, the share that was used; None before there are enough to say."""
        with self._lock:
            return self._ratio(self._results)

    # The caller of each of these holds the lock.

    def _why_off(self, *, is_busy: bool) -> Why:
        if self._useless:
            return "useless"
        if self._clock.monotonic() < self._rests_until_s:
            return "resting"
        return "busy" if is_busy else ""

    def _batch(self, *, is_busy: bool) -> list[str]:
        """Taken out of the line, and outstanding from now on: a check may use one the moment it is loaded."""
        if not self._waiting:
            return []
        if self._why_off(is_busy=is_busy):
            # By the time the load is over, whoever would have needed them has asked already.
            self._waiting.clear()
            return []
        now = self._clock.monotonic()
        self._tokens = min(float(MAX_IDS_S), self._tokens + (now - self._tokens_s) * MAX_IDS_S)
        self._tokens_s = now
        batch = list(self._waiting)[: int(self._tokens)]
        self._tokens -= len(batch)
        for ref in batch:
            del self._waiting[ref]
            self._outstanding[ref] = now + WINDOW_S
        return batch

    def _give_up(self) -> None:
        """Counts as wasted what nobody asked for in time."""
        now = self._clock.monotonic()
        for ref in _overdue(self._outstanding, now):
            del self._outstanding[ref]
            self._result(useful=False)
        for ref in _overdue(self._imagined, now):
            del self._imagined[ref]
            self._imagined_results.append(False)
            self._judge()

    def _result(self, *, useful: bool) -> None:
        self._results.append(useful)
        name = "useful" if useful else "wasted"
        self._totals[name] += 1
        telemetry.count("permission_cache_prefetch_total", name)
        self._judge()

    def _judge(self) -> None:
        if not self._useless:
            ratio = self._ratio(self._results)
            if ratio is not None and ratio < MIN_RATIO:
                self._useless = True
                self._waiting.clear()
                self._imagined_results.clear()
        else:
            ratio = self._ratio(self._imagined_results)
            if ratio is not None and ratio >= ON_AGAIN_RATIO:
                self._useless = False
                self._results.clear()
                self._imagined.clear()

    @staticmethod
    def _ratio(results: deque[bool]) -> float | None:
        return sum(results) / len(results) if len(results) >= MIN_RESULTS else None

    def _rest(self, batch: list[str]) -> None:
        """After a batch that failed. The caller does not hold the lock."""
        with self._lock:
            for ref in batch:
                self._outstanding.pop(ref, None)
            self._rests_until_s = self._clock.monotonic() + REST_S


def _overdue(deadlines: dict[str, float], now: float) -> list[str]:
    found = []
    for ref, deadline in deadlines.items():
        if deadline > now:
            break
        found.append(ref)
    return found
