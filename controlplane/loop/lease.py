"""The lease: one row in the database says who leads, and every write of the loop proves it in its own transaction.

1. Times are the database's clock. A lease holds for `LEASE_S`; whoever finds it run out takes it and raises the fence.
2. `acting` locks the row as its first statement and compares holder, fence and time. Until it commits nobody can take the lease,
   so two leaders never act at once; a leader that was stopped and goes on finds the row another's before it writes anything.
3. A holder that is stopped while it has the row locked would keep it for ever: the server ends its session after `STALLED_S`.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from django.db import connection, transaction

from controlplane.models import LoopLease

LOOP: Final = "control"
# A lost leader is replaced within LEASE_S and one look of the others. Shorter, and a slow commit would lose the lease.
LEASE_S: Final = 10.0
# Seconds after which the server ends a statement, or a transaction that waits for its client, and after which a wait for a row is
# given up. With the slowest statement and a renewal's delay they stay below LEASE_S.
STALLED_S = 5.0
WAIT_S: Final = 2.0

# PostgreSQL: clock_timestamp(), since now() would be the transaction's start, before a wait for the row. SQLite: milliseconds;
# its file lock is taken before the statement reads the clock.
_NOW: Final = {
    "postgresql": "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
    "sqlite": "(CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000)",
}
_TABLE: Final = "controlplane_looplease"
_LEASE_US: Final = int(LEASE_S * 1_000_000)


class LostLease(Exception):
    """Another process leads, or the lease has run out: whoever gets this has written nothing and must stop leading."""


@dataclass(slots=True)
class Term:
    """One time of leading. `cursors` are as last read under the lease; nobody else writes them while it holds."""

    holder: str
    fence: int
    cursors: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Leadership:
    """What the row says, with the database's clock beside it."""

    holder: str
    fence: int
    since_us: int
    until_us: int
    now_us: int

    @property
    def is_led(self) -> bool:
        # An end beyond a whole lease means that the clock was set back: the holder may be long gone.
        return bool(self.holder) and self.now_us < self.until_us <= self.now_us + _LEASE_US

    @property
    def leader(self) -> str:
        """The holder without its host: for pages that strangers may read."""
        return self.holder.rpartition(":")[2]

    @property
    def led_for_s(self) -> float:
        return max(0, self.now_us - self.since_us) / 1_000_000


@dataclass(slots=True)
class Act:
    """One open transaction of the leader. `cursor`: how far the task has come, JSON; saved with the rest when it was changed."""

    now_us: int
    cursor: Any
    _news: list[Callable[[], object]] = field(default_factory=list)

    def told(self, call: Callable[[], object]) -> None:
        """Calls after the last write, just before the commit: news that leave only once nothing but the commit can fail."""
        self._news.append(call)


def new_holder() -> str:
    """Host and process for people, and random bits: a process that has another's number is not that other."""
    return f"{socket.gethostname()[:200]}:{os.getpid()}:{secrets.token_hex(4)}"


def _sql(text: str) -> str:
    return text.format(table=_TABLE, now=_NOW[connection.vendor])


@contextmanager
def _bounded() -> Iterator[None]:
    """A transaction of its own that neither waits nor stands still for long."""
    with transaction.atomic(durable=True):
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                stalled = str(int(STALLED_S * 1000))
                cursor.execute(
                    "SELECT set_config('lock_timeout', %s, true), set_config('statement_timeout', %s, true), "
                    "set_config('idle_in_transaction_session_timeout', %s, true)",
                    [str(int(WAIT_S * 1000)), stalled, stalled],
                )
        yield


def peek() -> Leadership | None:
    """Who leads. Takes no lock and writes nothing; None before anybody ever led."""
    with connection.cursor() as cursor:
        cursor.execute(_sql("SELECT holder, fence, since_us, until_us, {now} FROM {table} WHERE name = %s"), [LOOP])
        row = cursor.fetchone()
    return Leadership(*row) if row else None


def take(holder: str) -> Term | None:
    """The lease for `holder` if it is free, has run out, or is its own; None if another has it."""
    LoopLease.objects.bulk_create([LoopLease(name=LOOP)], ignore_conflicts=True)
    with _bounded():
        with connection.cursor() as cursor:
            cursor.execute(
                _sql(
                    "UPDATE {table} SET holder = %s, fence = fence + 1, since_us = {now}, until_us = {now} + %s WHERE name = %s "
                    "AND (holder = '' OR holder = %s OR until_us <= {now} OR until_us > {now} + %s)"
                ),
                [holder, _LEASE_US, LOOP, holder, _LEASE_US],
            )
            if cursor.rowcount == 0:
                return None
        fence, cursors = LoopLease.objects.values_list("fence", "cursors").get(name=LOOP)
    return Term(holder, fence, cursors)


def renew(term: Term) -> bool:
    """Whether the lease, which must not have run out yet, now holds for another LEASE_S."""
    with _bounded(), connection.cursor() as cursor:
        cursor.execute(
            _sql("UPDATE {table} SET until_us = {now} + %s WHERE name = %s AND holder = %s AND fence = %s AND until_us > {now}"),
            [_LEASE_US, LOOP, term.holder, term.fence],
        )
        return bool(cursor.rowcount)


def release(term: Term) -> None:
    """Lets another take over at once. Nothing happens where the lease is another's already."""
    with _bounded():
        LoopLease.objects.filter(name=LOOP, holder=term.holder, fence=term.fence).update(holder="", until_us=0)


@contextmanager
def acting(term: Term, task: str) -> Iterator[Act]:
    """A transaction in which this process leads from the first statement to the commit. Raises LostLease before anything else."""
    with _bounded():
        mine = LoopLease.objects.filter(name=LOOP, holder=term.holder, fence=term.fence)
        row = mine.select_for_update().values_list("until_us", "cursors").first()
        # Asked after the lock: a column of the statement above would carry the time from before its wait.
        with connection.cursor() as cursor:
            cursor.execute(_sql("SELECT {now}"))
            now_us = cursor.fetchone()[0]
        if row is None or now_us >= row[0]:
            raise LostLease(f"{term.holder} held the lease under fence {term.fence}, and does no longer")
        before = row[1].get(task)
        act = Act(now_us, before)
        yield act
        if act.cursor != before:
            LoopLease.objects.filter(name=LOOP).update(cursors=row[1] | {task: act.cursor})
        for call in act._news:
            call()
    term.cursors[task] = act.cursor
