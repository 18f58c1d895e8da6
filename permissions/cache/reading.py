"""What one read of the database says, as of one database snapshot: head, tail of the changelog, clock, and rows if asked for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.db import DatabaseError

from permissions.cache.state import Change
from permissions.engine.types import ResourceFacts, SubjectFacts
from permissions.revisions import Head, epoch_text

# Counts suspended time too, so that a frozen process sees how old its State is.
CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
# Rows of the changelog in one tail; a revision has 20,000 at most. More are as good as a hole: reading the realm anew is quicker,
# and no statement may grow with what a process has slept through.
MOST_ROWS: Final = 25_000
# No State yet: no tail is asked for.
NO_REVISION: Final = 1 << 60


def boot_ns() -> int:
    return time.clock_gettime_ns(CLOCK)


def wall_us() -> int:
    return time.time_ns() // 1_000


class RefusedRead(DatabaseError):
    """The database answered, and refused: a value that cannot be (such as an infinite date), not a database that is away."""


@dataclass(slots=True)
class Asked:
    """When the question was sent, and from which revision on the changes are wanted, by realm."""

    since: dict[str, int]
    at_ns: int = field(default_factory=boot_ns)


@dataclass(slots=True)
class Facts:
    subjects: dict[str, SubjectFacts]
    resources: dict[str, ResourceFacts]


@dataclass(slots=True)
class Reading:
    """`tail`: the changes of (since, head], None where they were not asked for or are too many. `since_stamp`: the stamp that
    revision `since` has in this database, None where the changelog does not reach back to it.

    `now_us`: the database's clock; `offset_us`: that minus our boot-time clock; `slack_us`: how far the offset may be off.
    """

    head: Head
    since: int
    since_stamp: int | None
    tail: Sequence[Change] | None
    asked_ns: int
    now_us: int
    offset_us: int
    slack_us: int
    staleness_s: float
    static_grace_s: float
    facts: Facts | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the tail holds every revision of (since, head]: a hole means that it was pruned."""
        if self.head.rev <= self.since:
            return self.head.rev == self.since
        if self.tail is None:
            return False
        return len({change.rev for change in self.tail}) == self.head.rev - self.since


def head_reading(name: str, row: Sequence[Any], asked: Asked) -> Reading:
    """`row`: id, epoch, rev, stamp, staleness_s, static_grace_s, the database's clock (us), stamp of `since`, tail."""
    answered_ns = boot_ns()
    realm_id, epoch, rev, stamp, staleness_s, grace_s, now_us, since_stamp, tail = row
    since = asked.since[name]
    middle_us = (asked.at_ns + answered_ns) // 2_000
    return Reading(
        head=Head(realm_id, name, epoch_text(epoch), rev, stamp),
        since=since,
        since_stamp=stamp if since == rev else since_stamp,
        tail=() if since == rev else None if tail is None or len(tail) > MOST_ROWS else [Change(*change) for change in tail],
        asked_ns=asked.at_ns,
        now_us=now_us,
        offset_us=now_us - middle_us,
        slack_us=(answered_ns - asked.at_ns) // 2_000 + 1,
        staleness_s=staleness_s,
        static_grace_s=grace_s,
    )
