"""Hot list: which subjects and sets of roles were asked about in the last 24 hours, so that a cold start loads them first.

One check in 64 is sampled; every process adds what it met into hourly sorted sets in Redis, or, where there is none, into rows.
A hint for the order of loading: nothing of it is ever an answer, so a forged or doubled count costs a rank. Source: consistency,
section 9.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import Counter, deque
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal

from django.db import DatabaseError, InterfaceError, connection

from permissions.cache import hot_redis
from permissions.cache.sketch import SpaceSaving
from permissions.engine import names
from permissions.models import HotItem
from permissions.models.hot import ROWS_AN_HOUR, Met
from resilience.clock import SYSTEM, Clock

log = logging.getLogger("permissions.cache")

# Of a process and realm: about a megabyte when full of ordinary ids.
SUBJECTS: Final = 4_096
ROLE_SETS: Final = 512
# Samples are counted in batches: counting each as it comes took three times as long.
BATCH: Final = 256
PENDING: Final = 4_096
# Longer lists of roles are not kept: they would bound neither memory nor a row, and the first check that meets one compiles it.
MAX_ROLES: Final = 64
MAX_ITEM: Final = 4_096

HOURS: Final = 24
# Weight of an hour that lies `age` back: it halves every six hours. So the last quarter of a day decides, and yesterday's peak
# still beats this night's chance visitors. Chosen.
HALF_LIFE_H: Final = 6
# Told at most this many items of a kind at a time; what is left out is the tail.
TOLD: Final = 1_000
# Redis is left alone for a while after a fault; after as long without having told it, rows are written.
RETRY_S: Final = 30.0
ROWS_EVERY_S: Final = 60.0
PRELOAD_SUBJECTS: Final = 2_000
PRELOAD_ROLE_SETS: Final = 500


@dataclass(frozen=True, slots=True)
class Increments:
    """What was met since the last time, all put down to the hour of draining."""

    hour: int
    subjects: dict[str, int]
    role_sets: dict[tuple[str, ...], int]


class HotList:
    """What one process meets of one realm. `sample` is for every 64th check, of subjects that some row names."""

    def __init__(self, *, subjects: int = SUBJECTS, role_sets: int = ROLE_SETS, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        # Bounded: while one thread counts, others may sample faster than it; then the oldest samples are lost.
        self._pending: deque[tuple[str, tuple[str, ...]]] = deque(maxlen=PENDING)
        self._subjects: SpaceSaving[str] = SpaceSaving(subjects)
        self._role_sets: SpaceSaving[tuple[str, ...]] = SpaceSaving(role_sets)
        self._hour = _hour(clock)
        self.told_s = clock.monotonic()
        self.retry_s = self.told_s
        self.forgotten_hour = 0

    def sample(self, subject: str, roles: tuple[str, ...]) -> None:
        """`roles`: names of those the subject holds on the whole realm, as its RoleSet has them."""
        self._pending.append((subject, roles))
        # One thread counts for all; the others have left their sample and go on.
        if len(self._pending) >= BATCH and self._lock.acquire(blocking=False):
            try:
                self._count()
            finally:
                self._lock.release()

    def _count(self) -> None:
        """The caller holds the lock."""
        pending = self._pending
        batch = [pending.popleft() for _ in range(len(pending))]
        for subject, times in Counter([subject for subject, _ in batch]).items():
            self._subjects.offer(subject, times)
        for roles, times in Counter([roles for _, roles in batch]).items():
            if 0 < len(roles) <= MAX_ROLES:
                self._role_sets.offer(roles, times)

    def top(self, n: int) -> list[tuple[str, int]]:
        """The `n` subjects met most by this process, lately: counts halve every hour."""
        with self._lock:
            self._count()
            return self._subjects.top(n)

    def drain(self) -> Increments:
        with self._lock:
            self._count()
            hour = _hour(self._clock)
            drained = Increments(hour, self._subjects.drain(), self._role_sets.drain())
            if hour != self._hour:
                self._hour = hour
                self._subjects.age()
                self._role_sets.age()
            return drained

    def give_back(self, drained: Increments) -> None:
        """What nobody could be told."""
        with self._lock:
            self._subjects.give_back(drained.subjects)
            self._role_sets.give_back(drained.role_sets)


@dataclass(frozen=True, slots=True)
class Flushed:
    """Where the increments went, and how many items they were. `kept`: nowhere yet."""

    where: Literal["redis", "rows", "kept", "nothing"]
    items: int


@dataclass(frozen=True, slots=True)
class Preload:
    """The hottest first. `role_sets`: names in ascending order, as `engine.table.role_set` takes them."""

    subjects: list[str]
    role_sets: list[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Collected:
    """Totals of whole hours as the sorted sets have them."""

    hours: dict[int, list[Met]]


def flush(realm_id: int, hot: HotList, *, clock: Clock = SYSTEM) -> Flushed:
    """Tells what this process met: to be called every 10 s, by a thread that may wait 0.2 s. Raises nothing of Redis or database.

    Without Redis the increments gather for a minute and go into rows, by statements of their own that make no revision.
    """
    drained = hot.drain()
    met = _met(drained)
    if not met:
        return Flushed("nothing", 0)
    now = clock.monotonic()
    client = hot_redis.client()
    if client is not None and now >= hot.retry_s:
        try:
            hot_redis.tell(client, realm_id, drained.hour, met)
        except hot_redis.ERRORS as error:
            log.info("the hot list is not told to Redis: %s", type(error).__name__)
            hot.retry_s = now + RETRY_S
        else:
            hot.told_s = now
            return Flushed("redis", len(met))
    # Inside a caller's transaction rows would stay locked until its end.
    if now - hot.told_s >= ROWS_EVERY_S and not connection.in_atomic_block:
        try:
            HotItem.objects.meet(realm_id, drained.hour, "direct", met)
            if hot.forgotten_hour != drained.hour:
                forget(5_000, clock=clock)
                hot.forgotten_hour = drained.hour
        except (DatabaseError, InterfaceError) as error:
            log.info("the hot list is not written to rows: %s", type(error).__name__)
        else:
            hot.told_s = now
            return Flushed("rows", len(met))
    hot.give_back(drained)
    return Flushed("kept", len(met))


def collect(realm_id: int, *, clock: Clock = SYSTEM) -> Collected | None:
    """What `roll_up` is to write: the current hour, and one of those before it in turn, so that in 23 minutes all come by.

    Reads Redis for at most a time-out; None where there is nothing.
    """
    client = hot_redis.client()
    if client is None:
        return None
    now = _hour(clock)
    before = now - 1 - clock.now_us() // 60_000_000 % (HOURS - 1)
    try:
        told = hot_redis.read(client, realm_id, [before, now], ROWS_AN_HOUR)
    except hot_redis.ERRORS as error:
        log.info("the hot list is not read from Redis: %s", type(error).__name__)
        return None
    hours: dict[int, list[Met]] = {}
    for (kind, hour), items in told.items():
        rows = [Met(kind, item, times) for item, times in items if _is_item(kind, item)]
        if rows:
            hours.setdefault(hour, []).extend(rows)
    return Collected(hours) if hours else None


def roll_up(realm_id: int, collected: Collected) -> int:
    """Copies totals into rows, inside the caller's transaction; a repeat adds nothing. How many rows were written."""
    # In ascending order, as `flush` writes within its hour: two orders would deadlock.
    return sum(HotItem.objects.meet(realm_id, hour, "shared", met) for hour, met in sorted(collected.hours.items()))


def forget(limit: int, *, clock: Clock = SYSTEM) -> int:
    """Deletes at most `limit` rows of any realm: those of 25 hours ago and older, and the tail of the hour that has ended."""
    now = _hour(clock)
    return HotItem.objects.forget(until=now - HOURS - 1, ended=now - 1, limit=limit)


def preload(
    realm_id: int, *, subjects: int = PRELOAD_SUBJECTS, role_sets: int = PRELOAD_ROLE_SETS, clock: Clock = SYSTEM
) -> Preload:
    """The weighted union of the last 24 hours. Raises what the database raises; without Redis the rows alone tell."""
    now = _hour(clock)
    hours = range(now - HOURS + 1, now + 1)
    told: hot_redis.Told = {}
    client = hot_redis.client()
    if client is not None:
        try:
            told = hot_redis.read(client, realm_id, hours, max(subjects, role_sets))
        except hot_redis.ERRORS as error:
            log.info("the hot list is not read from Redis: %s", type(error).__name__)
    refs = _hottest(realm_id, "s", hours, told, subjects)
    lists = _hottest(realm_id, "r", hours, told, role_sets)
    return Preload(refs, [tuple(json.loads(text)) for text in lists])


def weight(age_h: int) -> float:
    """Of an hour that lies `age_h` back; 1 for the current one."""
    return float(0.5 ** (age_h / HALF_LIFE_H))


def _hottest(realm_id: int, kind: str, hours: range, told: hot_redis.Told, limit: int) -> list[str]:
    shared: dict[tuple[int, str], int] = {}
    direct: dict[tuple[int, str], int] = {}
    for hour, item, of_all, of_some in HotItem.objects.hottest(
        realm_id, kind, after=hours.start - 1, until=hours.stop - 1, per_hour=limit
    ):
        shared[hour, item], direct[hour, item] = of_all, of_some
    for hour in hours:
        for item, times in told.get((kind, hour), ()):
            # The row is an older copy of the same count, or the last one before Redis lost it.
            shared[hour, item] = max(times, shared.get((hour, item), 0))
    scores: dict[str, float] = {}
    for counts in (shared, direct):
        for (hour, item), times in counts.items():
            scores[item] = scores.get(item, 0.0) + times * weight(hours.stop - 1 - hour)
    ranked = sorted(scores, key=lambda item: (-scores[item], item))
    chosen: list[str] = []
    for item in ranked:
        if len(chosen) >= limit:
            break
        if _is_item(kind, item):
            chosen.append(item)
    return chosen


def _hour(clock: Clock) -> int:
    return clock.now_us() // 3_600_000_000


def _met(drained: Increments) -> list[Met]:
    """The increments as they are told: the most met of each kind, and only what a row and a key may hold."""
    subjects = [Met("s", ref, times) for ref, times in _most(drained.subjects) if _is_item("s", ref)]
    texts = [(json.dumps(roles, ensure_ascii=False, separators=(",", ":")), times) for roles, times in _most(drained.role_sets)]
    return subjects + [Met("r", text, times) for text, times in texts if _is_item("r", text)]


def _most(counts: dict[Any, int]) -> list[tuple[Any, int]]:
    if len(counts) <= TOLD:
        return list(counts.items())
    return Counter(counts).most_common(TOLD)


def _is_item(kind: str, item: str) -> bool:
    """Redis is nobody's witness: whatever is read there, or was handed to `sample`, is looked at as if it came over the wire."""
    try:
        if kind == "s":
            names.check_ref(item, "subject")
            return True
        if len(item) > MAX_ITEM:
            return False
        roles = json.loads(item)
        if not isinstance(roles, list) or not 0 < len(roles) <= MAX_ROLES:
            return False
        for role in roles:
            names.check_text(role, "role", max_length=names.MAX_NAME)
        return all(a < b for a, b in pairwise(roles))
    except (names.BadNameError, ValueError, RecursionError):
        return False
