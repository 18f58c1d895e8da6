"""Whether the caller stands in a transaction that has written: then only its own rows tell what it would commit."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final

from django.db import connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from permissions import revisions
from permissions.cache.state import State
from permissions.selectors import is_in_transaction
from permissions.writing import current_write

# Statements that change no row. A function that writes, called by SELECT or callproc, and COPY past the cursor's execute() are
# not noticed: the poll finds what they did once it is committed.
READS: Final = re.compile(
    r"\s*(?:SELECT|SAVEPOINT|RELEASE|ROLLBACK|SET|SHOW|EXPLAIN|PRAGMA|BEGIN|COMMIT|DECLARE|FETCH|CLOSE)\b", re.IGNORECASE
)
_MARK: Final = "permissions_wrote"
# The connection that wrote, for whoever runs in a copy of its context: an event loop below `async_to_sync` has another thread,
# and so another connection, than the transaction that waits for it.
_writer: ContextVar[BaseDatabaseWrapper | None] = ContextVar("permissions_writer", default=None)


def _note(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    on = context["connection"]
    if on.autocommit and not on.in_atomic_block:
        if getattr(on, _MARK, False):
            setattr(on, _MARK, False)
    elif not isinstance(sql, str) or READS.match(sql) is None or ";" in sql.rstrip("; \n\t"):
        setattr(on, _MARK, True)
        _writer.set(on)
    return execute(sql, params, many, context)


def _watch(*, connection: BaseDatabaseWrapper, **_given: object) -> None:
    if _note not in connection.execute_wrappers:
        connection.execute_wrappers.append(_note)


def watch() -> None:
    """Notes the writes of every connection from now on. Once, at the app's start."""
    connection_created.connect(_watch, dispatch_uid="permissions.cache.transactions")
    for held in connections.all(initialized_only=True):
        _watch(connection=held)


def waits_with_writes() -> bool:
    """Whether a transaction that has written, or is about to, waits in another thread for the caller."""
    on = _writer.get()
    return current_write() is not None or (on is not None and (on.in_atomic_block or not on.autocommit))


def is_live(state: State | None, realm: str) -> bool:
    """Whether a check here must be evaluated in the open transaction: it has written permissions, or is about to."""
    if not is_in_transaction():
        return False
    if current_write() is not None:
        return True  # a guard judges the locked state, which no cache may know yet
    if not getattr(connection, _MARK, False):
        return False
    if state is None:
        return True
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT coalesce(current_setting(%s, true), '')", [f"ps.r{state.head.realm_id}"])
            return bool(cursor.fetchone()[0])
    return revisions.head(realm).key != state.head.key
