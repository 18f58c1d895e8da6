"""All that the cache asks of the database, past a breaker: heads with their tails, snapshots with both, a realm's whole model.

Every answer is of one database snapshot. Raises Away where the database does not answer, NotFound for a realm it does not have.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeVar

from django.db import DatabaseError, InterfaceError, OperationalError, connection

from permissions import revisions, selectors
from permissions.cache import l2, postgresql, sqlite
from permissions.cache.reading import MOST_ROWS, Asked, Reading, RefusedRead, boot_ns, head_reading, wall_us
from permissions.cache.rebuild_lock import rebuild_lock
from permissions.cache.state import MAX_REVISIONS, Change
from permissions.engine.reasons import Unavailable
from permissions.engine.types import ModelFacts
from permissions.errors import NotFound
from permissions.models import Realm
from permissions.writing import new_epoch
from resilience import registry
from resilience.circuit_breaker.breaker import CircuitBreaker
from resilience.errors import CircuitOpen
from resilience.storage.base import local_store

log = logging.getLogger("permissions.cache")
T = TypeVar("T")

# Nanoseconds. After so long without a fault the breaker is not asked: its own look takes a third of what the head's does.
QUIET_NS: Final = 10_000_000_000
# Seconds that a read over Django's connection may take: a look at some rows, or at what changed of a model; a whole model, as the
# first check of a realm in a process needs it (250,000 grants take one); a search over a million subjects.
ROWS_LIMIT_S: Final = 1.5
MODEL_LIMIT_S: Final = 5.0
SEARCH_LIMIT_S: Final = 15.0
# Threads, of the ten connections that Django's pool gives. Searches have their own: a few long ones would hold up what checks,
# keys and changes of the model wait for, and so stop every decision.
READERS: Final = 4
SEARCHERS: Final = 3
HOUR_SQL: Final = {
    "postgresql": "at > now() - interval '1 hour'",
    "sqlite": "at > strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', '-1 hour')",
}

_failed_ns = -(1 << 62)


def _made_readers() -> tuple[ThreadPoolExecutor, ThreadPoolExecutor]:
    return (
        ThreadPoolExecutor(READERS, thread_name_prefix="permissions-read"),
        ThreadPoolExecutor(SEARCHERS, thread_name_prefix="permissions-search"),
    )


_readers, _searchers = _made_readers()


class Away(Unavailable):
    """The database does not answer, or has not for so many calls that it is not asked for a moment."""


@dataclass(slots=True)
class Model:
    """A realm's model at the head of `reading`."""

    reading: Reading
    facts: ModelFacts


def breaker() -> CircuitBreaker:
    """In front of what cold checks ask. Its configured name is `database`.

    A database that hangs would hold every caller for its time-out, and all threads with them: after a few, callers are told at
    once. Kept in this process alone: the path of a check must not depend on Redis.
    """
    return registry.breaker(
        "database",
        minimum_calls=5,
        slow_call_s=0.9,  # a read is given up after a second; a healthy one takes under a millisecond
        open_s=1.0,  # chosen: the end of a failover is noticed within a second
        ignore=(NotFound, RefusedRead),
        store=local_store(),
    )


def guarded(work: Callable[[], T]) -> T:
    """`work`, unless the database has been failing. Raises Away, and what `work` raises of its own."""
    global _failed_ns  # noqa: PLW0603 - one integer, and a lost update costs a look at the breaker
    asked_ns = boot_ns()
    try:
        if asked_ns - _failed_ns > QUIET_NS:
            try:
                return work()
            except (DatabaseError, InterfaceError, Away) as error:
                _failed_ns = boot_ns()
                breaker().call(_raise, error)
                raise
        return breaker().call(work)
    except CircuitOpen as error:
        raise Away("the database does not answer", retry_after_s=error.retry_after_s or 1.0) from error
    except (DatabaseError, InterfaceError) as error:
        _failed_ns = boot_ns()
        log.warning("the database did not answer the cache: %s", type(error).__name__)
        raise Away("the database does not answer", retry_after_s=1.0) from error


def _raise(error: Exception) -> NoReturn:
    raise error


def _after_fork() -> None:
    """The parent's threads are not here."""
    global _readers, _searchers
    _readers, _searchers = _made_readers()


os.register_at_fork(after_in_child=_after_fork)


def reset() -> None:
    global _failed_ns  # noqa: PLW0603
    _failed_ns = -(1 << 62)
    postgresql.close()


def _port() -> Any:
    return postgresql if connection.vendor == "postgresql" else sqlite


def _asked(work: Callable[[], T]) -> T:
    """On PostgreSQL the cache has connections of its own; a file is read on the thread's."""
    return work() if connection.vendor == "postgresql" else outside(work)


def read_heads(asked: Asked) -> dict[str, Reading]:
    """By realm; one that is not there is left out. One statement on PostgreSQL, whatever their number."""
    readings: dict[str, Reading] = guarded(lambda: _asked(lambda: _port().read_heads(asked)))
    return readings


def read_head(name: str, since: int) -> Reading:
    asked = Asked({name: since})
    found = read_heads(asked).get(name)
    if found is None:
        raise NotFound(f"there is no realm {name!r}")
    return found


def read_snapshots(name: str, since: int, subjects: Collection[str], resources: Collection[str]) -> Reading:
    """Head, tail and the facts of all that is named; one statement on PostgreSQL."""
    asked = Asked({name: since})
    found: Reading | None = guarded(lambda: _asked(lambda: _port().read_snapshots(name, asked, subjects, resources)))
    if found is None:
        raise NotFound(f"there is no realm {name!r}")
    return found


def read_model(name: str, since: int | None, previous: ModelFacts | None) -> Model:
    """The model at a head of its own. With `since` and `previous` (the model at that revision) only what changed is read again.

    Without `since`, the tail is the last hour's, so that snapshots of the second layer can be proven.
    """
    if since is not None:
        return guarded(lambda: _model_within(lambda: _read_model(name, since, previous), ROWS_LIMIT_S))

    def from_nothing() -> Model:
        # Of several processes that start together one reads and compiles, the others find it in the second layer; nobody waits
        # long for that, and nobody depends on it.
        with rebuild_lock(revisions.head(name).realm_id):
            return _read_model(name, None, None)

    return guarded(lambda: _model_within(from_nothing, MODEL_LIMIT_S))


def _model_within(work: Callable[[], Model], limit_s: float) -> Model:
    return outside(work) if selectors.is_in_transaction() else bounded(work, limit_s=limit_s)


def _read_model(name: str, since: int | None, previous: ModelFacts | None) -> Model:
    with selectors.one_snapshot():
        asked = Asked({name: 0})
        head = revisions.head(name)
        realm = Realm.objects.get(pk=head.realm_id)
        now_us = selectors.database_now_us()
        floor = _floor(head) if since is None else since
        tail = tail_of(head, floor)
        asked.since[name] = floor
        row = [head.realm_id, head.epoch, head.rev, head.stamp, realm.staleness_s, realm.static_grace_s]
        reading = head_reading(name, [*row, now_us if now_us is not None else wall_us(), stamp_at(head, floor), tail], asked)
        if previous is not None and reading.is_whole:
            changes = reading.tail or ()
            if not any(change.kind == "*" for change in changes):
                names = {change.object_id for change in changes if change.kind == "m"}
                return Model(reading, selectors.model_delta(head.realm_id, names, previous) if names else previous)
        return Model(reading, _whole_model(realm, reading))


def _whole_model(realm: Realm, reading: Reading) -> ModelFacts:
    """From the second layer, where it proves itself by the changelog; else from its rows, and then it is put there."""
    layer = l2.second_layer()
    if not layer.is_up:
        return selectors.model_facts(realm)
    head, tail = reading.head, reading.tail or ()
    found = layer.get_model(head)
    if found is not None and reading.is_whole:
        built_rev, stamp, facts = found
        stamps = {reading.since: reading.since_stamp, head.rev: head.stamp, **{change.rev: change.stamp for change in tail}}
        changed = any(change.rev > built_rev and change.kind in {"m", "*"} for change in tail)
        if stamps.get(built_rev) == stamp and not changed:
            return facts
    facts = selectors.model_facts(realm)
    layer.put_model(head, head.rev, head.stamp, facts)
    return facts


def _floor(head: revisions.Head) -> int:
    """The oldest revision of the last hour, or the newest before MOST_ROWS changes: all after it are read."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT rev FROM permissions_changelog WHERE realm_id = %s AND rev <= %s ORDER BY rev DESC LIMIT 1 OFFSET %s",
            [head.realm_id, head.rev, MOST_ROWS - 1],
        )
        row = cursor.fetchone()
        least = 0 if row is None else int(row[0])
        cursor.execute(
            f"SELECT min(rev) FROM permissions_changelog WHERE realm_id = %s AND rev > %s AND {HOUR_SQL[connection.vendor]}",  # noqa: S608
            [head.realm_id, max(least, head.rev - MAX_REVISIONS)],
        )
        (oldest,) = cursor.fetchone()
    return head.rev if oldest is None else int(oldest)


def tail_of(head: revisions.Head, since: int) -> list[Change] | None:
    """The changes of (since, head]; None where they are too many."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT rev, stamp, kind, object_id FROM permissions_changelog WHERE realm_id = %s AND rev > %s AND rev <= %s "
            "ORDER BY rev LIMIT %s",
            [head.realm_id, since, head.rev, MOST_ROWS + 1],
        )
        rows = cursor.fetchall()
    return None if len(rows) > MOST_ROWS else [Change(*row) for row in rows]


def stamp_at(head: revisions.Head, rev: int) -> int | None:
    if rev == head.rev:
        return head.stamp
    with connection.cursor() as cursor:
        cursor.execute("SELECT stamp FROM permissions_changelog WHERE realm_id = %s AND rev = %s", [head.realm_id, rev])
        row = cursor.fetchone()
    return None if row is None else int(row[0])


def on_live_connection(work: Callable[[], T]) -> T:
    """`work`, once more on a new connection where the one in hand turns out dead. Only outside of a caller's transaction.

    Django drops a dead connection at the borders of a request, and no request surrounds a thread of our own.
    """
    try:
        return work()
    except (OperationalError, InterfaceError):
        if selectors.is_in_transaction():
            raise
        connection.close()
        return work()


def bounded(work: Callable[[], T], *, limit_s: float, is_search: bool = False) -> T:
    """`work` on a connection of its own thread, for at most `limit_s`; inside a caller's transaction on the caller's.

    A server that is frozen, or behind a network that swallows packets, closes nothing, and Django's connection waits for ever.
    Whoever was given up ends when its connection does. Raises Away.
    """
    if connection.vendor != "postgresql" or selectors.is_in_transaction():
        return on_live_connection(work)

    def run() -> T:
        try:
            return on_live_connection(work)
        finally:
            connection.close()  # back to the pool

    future = (_searchers if is_search else _readers).submit(run)
    try:
        return future.result(timeout=limit_s)
    except FutureTimeoutError as error:
        future.cancel()
        raise Away("the database does not answer in time", retry_after_s=1.0) from error


def outside(work: Callable[[], T]) -> T:
    """`work` on a connection in no transaction: in a caller's one sees an old head, or one's own uncommitted revision."""
    if not selectors.is_in_transaction():
        return on_live_connection(work)
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - it is raised in the caller's thread
            errors.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=run, name="permissions-outside")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def draw_epoch(head: revisions.Head) -> None:
    """A new epoch for a realm that has lost commits. Raises Away; a server that cannot write leaves its checks Unavailable."""
    guarded(lambda: outside(lambda: new_epoch(head, "commits of this realm were lost: what was known of them is void")))
