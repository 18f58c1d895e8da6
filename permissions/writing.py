"""permission_write: the one door for every write. Realm row locked first, audited, one revision, token, dry run.

Source: consistency, section 3, rules 1 and 5; architecture, "The walk of one change".
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Final, Literal, TypeVar

from django.db import OperationalError, connection, transaction

from permissions import audit, points, revisions
from permissions.errors import NotFound
from permissions.models import Changelog, Realm
from resilience import telemetry

T = TypeVar("T")

RETRIES: Final = 3
# Objects that a write names to its listeners. More are "much": whoever follows reads the changelog faster than a long message.
MAX_OBJECTS: Final = 256
# Deadlock and serialization failure: the database chose us as the victim and undid everything; doing it again is safe.
_RETRY_STATES: Final = frozenset({"40P01", "40001"})


@dataclass(frozen=True, slots=True)
class Actor:
    """Who writes. `subject` is the ref whose permissions the guards ask; only an administrator may have none.

    `administrator`: commands, `--admin` keys and a superuser's break-glass pass the guards on holding, and are audited as such.
    """

    kind: Literal["user", "key", "command", "system"]
    name: str
    subject: str | None = None
    administrator: bool = False


SYSTEM: Final = Actor("system", "system", administrator=True)


@dataclass(slots=True)
class Write:
    """An open write. `revision`, `token`, `changed`, `head_after` and `objects` hold once the block has ended without an error.

    `objects`: (kind, id) of all that its revision touched, as the changelog has it. None: nothing, more than MAX_OBJECTS, or a
    caller's transaction is open around it.
    """

    realm: Realm
    actor: Actor
    reason: str = ""
    request_id: str = ""
    dry_run: bool = False
    made: bool = False  # the realm itself came into being in this block
    changed: bool = False
    revision: int = 0
    token: str = ""
    head_before: revisions.Head | None = None
    head_after: revisions.Head | None = None
    objects: tuple[tuple[str, str], ...] | None = None
    entries: list[audit.Entry] = field(default_factory=list)
    _after: list[Callable[[Write], None]] = field(default_factory=list)

    def after(self, work: Callable[[Write], None]) -> None:
        """Runs once the write is committed; never after a rollback or a dry run."""
        self._after.append(work)

    def record(
        self, action: str, object_type: str, object_id: str, before: dict[str, object] | None, after: dict[str, object] | None
    ) -> None:
        """Keeps one audit entry; all of them are written, chained, at the end of the block, in this order."""
        self.entries.append(audit.Entry(action, object_type, object_id, before, after))


class _DryRun(Exception):
    """Rolls a dry run back after the same code has run to its end."""


_open: ContextVar[Write | None] = ContextVar("permission_write", default=None)
_listeners: list[Callable[[Write], None]] = []
_record_listeners: list[Callable[[Write], None]] = []
_listeners_lock = threading.Lock()


def on_written(listener: Callable[[Write], None]) -> None:
    """Calls `listener` after each committed write that changed something, in the writer's thread (the cache's door)."""
    with _listeners_lock:
        if listener not in _listeners:
            _listeners.append(listener)


def on_recorded(listener: Callable[[Write], None]) -> None:
    """Calls `listener` after each committed write that left entries in the audit, in the writer's thread."""
    with _listeners_lock:
        if listener not in _record_listeners:
            _record_listeners.append(listener)


def current_write() -> Write | None:
    return _open.get()


@contextmanager
def permission_write(
    realm: Realm | str,
    actor: Actor,
    reason: str = "",
    *,
    dry_run: bool = False,
    request_id: str = "",
    create: bool = False,
) -> Iterator[Write]:
    """One transaction that holds the realm's lock from its first statement. An inner call for the same realm joins the outer.

    `create` makes the realm, inside the transaction, where there is none (the caller has judged its name); else that is NotFound.
    Raises RuntimeError where an outer block holds another realm.
    """
    name = realm if isinstance(realm, str) else realm.name
    outer = _open.get()
    if outer is not None:
        if outer.realm.name != name:
            raise RuntimeError(f"a write of realm {outer.realm.name!r} is open; it cannot hold {name!r} as well")
        # A refusal that the outer block catches (one row of a bulk action) must leave nothing of the inner one behind.
        recorded, following = len(outer.entries), len(outer._after)
        try:
            with transaction.atomic():
                yield outer
        except BaseException:
            del outer.entries[recorded:]
            del outer._after[following:]
            raise
        return
    write: Write | None = None
    # Inside a caller's transaction the same revision may yet grow: what it holds at the end of this block is not all of it.
    is_whole = not connection.in_atomic_block and connection.get_autocommit()
    try:
        with transaction.atomic():
            locked, made = _lock(name, create=create)
            write = Write(locked, actor, reason, request_id, dry_run, made)
            before = revisions.head_of(locked)
            if made:  # its birth is the change, even if nothing more is written
                before = replace(before, rev=0)
            points.reached("write.locked")
            reset = _open.set(write)
            try:
                yield write
            finally:
                _open.reset(reset)
            _finish(write, before)
            if write.changed and is_whole:
                write.objects = _objects(before.realm_id, write.revision)
            if dry_run:
                raise _DryRun
            transaction.on_commit(lambda: _publish(write))
    except _DryRun:
        pass


def _lock(name: str, *, create: bool = False) -> tuple[Realm, bool]:
    """The locked realm row, and whether it was made here.

    The lock is the transaction's first statement: taken later it deadlocks with row locks, and a statement that waited inside a
    trigger would work on the older snapshot and leave a revoked grant alive (consistency, traps one and two).
    """
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT id FROM permissions_realm WHERE name = %s FOR UPDATE", [name])
            row = cursor.fetchone()
            if row is None:
                return _made(name, create=create)
            cursor.execute(
                "SELECT set_config('ps.locked', %s, true), set_config('synchronous_commit', 'on', true)", [str(row[0])]
            )
        else:
            # BEGIN IMMEDIATE holds SQLite's file lock; the state tells the triggers that one revision is to cover the block.
            cursor.execute("UPDATE permissions_realm SET write_state = 1 WHERE name = %s", [name])
            if cursor.rowcount == 0:
                return _made(name, create=create)
    return Realm.objects.get(name=name), False


def _made(name: str, *, create: bool) -> tuple[Realm, bool]:
    if not create:
        raise NotFound(f"there is no realm {name!r}")
    realm = Realm.objects.create(name=name, write_state=0 if connection.vendor == "postgresql" else 1)
    if connection.vendor == "postgresql":
        return _lock(name)[0], True
    # Its birth was counted, and setting the state anew would count its first contents as another revision.
    return Realm.objects.get(pk=realm.pk), True


def _finish(write: Write, before: revisions.Head) -> None:
    with connection.cursor() as cursor:
        if connection.vendor != "postgresql":
            cursor.execute("UPDATE permissions_realm SET write_state = 0 WHERE id = %s", [write.realm.pk])
        cursor.execute("SELECT name, epoch, rev, stamp FROM permissions_realm WHERE id = %s", [write.realm.pk])
        row = cursor.fetchone()
    if row is None:  # the realm itself was deleted
        head = revisions.Head(before.realm_id, before.name, before.epoch, before.rev + 1, before.stamp)
    else:
        head = revisions.Head(before.realm_id, row[0], revisions.epoch_text(row[1]), row[2], row[3])
    write.changed = row is None or head.rev != before.rev
    write.head_before, write.head_after = before, head
    write.revision = head.rev
    write.token = revisions.mint(head)
    audit.write_entries(
        write.entries,
        realm_name=before.name,
        actor=write.actor.name,
        actor_kind="administrator" if write.actor.administrator else write.actor.kind,
        reason=write.reason,
        request_id=write.request_id,
        revision=head.rev if write.changed else None,
    )


def _objects(realm_id: int, rev: int) -> tuple[tuple[str, str], ...] | None:
    rows = Changelog.objects.filter(realm_id=realm_id, rev=rev).order_by("kind", "object_id")
    found = tuple(rows.values_list("kind", "object_id")[: MAX_OBJECTS + 1])
    return found if len(found) <= MAX_OBJECTS else None


def _publish(write: Write) -> None:
    points.reached("write.committed")
    told = [*(_listeners if write.changed else ()), *(_record_listeners if write.entries else ())]
    for listener in told:
        try:
            listener(write)
        except Exception as error:  # noqa: BLE001 - the write is committed: whoever asked for it must not be told that it failed
            telemetry.internal_error("writing", "listener", error)
    for work in write._after:
        work(write)


def new_epoch(head: revisions.Head, reason: str) -> None:
    """Begins another history of the realm, unless it has begun one since `head`: of several processes that ask, one draws.

    What named revisions of the old history must not be taken for those made since. No revision itself.
    """
    with permission_write(head.name, SYSTEM, reason) as write:
        if write.realm.pk != head.realm_id or revisions.epoch_text(write.realm.epoch) != head.epoch:
            return
        fresh = uuid.uuid4()
        Realm.objects.filter(pk=head.realm_id).update(epoch=fresh)
        write.record("change", "realm", head.name, {"epoch": head.epoch}, {"epoch": fresh.hex})


def run_write(
    realm: Realm | str,
    actor: Actor,
    reason: str,
    work: Callable[[Write], T],
    *,
    dry_run: bool = False,
    request_id: str = "",
    create: bool = False,
) -> tuple[T, Write]:
    """Runs `work` inside permission_write; repeats the whole block, up to three times, when the database gave it up."""
    attempt = 0
    while True:
        try:
            with permission_write(realm, actor, reason, dry_run=dry_run, request_id=request_id, create=create) as write:
                result = work(write)
        except OperationalError as error:
            attempt += 1
            state = getattr(error.__cause__, "sqlstate", None)
            # Inside a caller's transaction the block cannot be repeated: what was done before it is lost as well.
            if attempt >= RETRIES or state not in _RETRY_STATES or connection.in_atomic_block:
                raise
            time.sleep(0.01 * attempt)
        else:
            return result, write
