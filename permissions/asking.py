"""How a question comes in: token, instant, the maintenance switch, and the threads that asynchronous callers ask from."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import close_old_connections, connection

from permissions import revisions
from permissions.cache.reading import wall_us
from permissions.cache.transactions import waits_with_writes
from permissions.engine.reasons import InvalidRequestError, UnderMaintenance
from permissions.revisions import Token
from permissions.selectors import is_in_transaction, to_us
from resilience import maintenance
from resilience.maintenance import SWITCH

P = ParamSpec("P")
R = TypeVar("R")

# Microseconds: clocks may differ by so much before an instant counts as past.
CLOCKS_DIFFER_US: Final = 5_000_000


def token_of(token: str | Token | None, full: bool) -> tuple[Token | None, bool]:
    """The token read, and whether the newest state is asked for. Raises Invalid for a text that no key of ours signed."""
    if token is None or isinstance(token, Token):
        return token, full
    if not isinstance(token, str):
        raise InvalidRequestError(f"a token is a text, not {type(token).__name__}")
    return (None, True) if token == revisions.FULL else (revisions.parse(token), full)


def instant(at: dt.datetime | None) -> int | None:
    """`at` in microseconds, for what answers for now or later. Raises InvalidRequestError for a naive or a past one."""
    if past_instant(at) is not None:
        # Today's rows would give an answer that was never true.
        raise InvalidRequestError("at lies in the past; searches answer for now or a later time")
    return to_us(at)


def past_instant(at: dt.datetime | None) -> int | None:
    """`at` in microseconds where it is past, so that the rows then in force decide; None: now or later."""
    if at is None:
        return None
    if getattr(at, "tzinfo", None) is None:  # a text has none either
        raise InvalidRequestError("at must be an aware datetime, such as 2026-01-01T00:00:00Z")
    at_us = to_us(at)
    return at_us if at_us is not None and at_us < wall_us() - CLOCKS_DIFFER_US else None


def refuse_in_maintenance(permissions: Iterable[str]) -> None:
    """Step 2 of the order of a decision: one gate for all doors, by permission; the site's own door judges paths."""
    if SWITCH.on is None:
        return
    for permission in permissions:
        refused = maintenance.active(permission=permission)
        if refused is not None:
            raise UnderMaintenance(maintenance.message(refused), retry_after_s=maintenance.retry_after(refused)) from refused


def is_open(permission: str) -> bool:
    """Whether maintenance, if there is any, lets the permission be asked about."""
    return SWITCH.on is None or maintenance.active(permission=permission) is None


# Threads that asynchronous callers of a process ask from, all of them: enough for the fills of many to be one statement.
THREADS: Final = 16


def _made() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix="permissions-ask")


_threads: Final = [_made()]


def _after_fork() -> None:
    """The parent's threads are not here."""
    _threads[:] = [_made()]


os.register_at_fork(after_in_child=_after_fork)


def in_thread(function: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]:
    """The asynchronous twin of a function that may ask the database.

    Not on asgiref's one thread for all: a thousand callers whose subjects are not in memory would wait one for another, each for
    a statement of its own.
    """

    def beside(*args: P.args, **kwargs: P.kwargs) -> R:
        # No Django request surrounds this thread, so nobody else drops a connection that the server has closed. No server closes
        # a file, and opening SQLite's again took 4.4 ms, against 0.12 ms for asking it for the head (measured).
        if connection.vendor != "sqlite" and not is_in_transaction():
            close_old_connections()
        return function(*args, **kwargs)

    def apart(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        finally:
            # Of a thread that lives on: a connection kept here would be one of the pool's ten. A file is dear to open again.
            if connection.vendor != "sqlite":
                connection.close()

    @wraps(function)
    async def twin(*args: P.args, **kwargs: P.kwargs) -> R:
        if waits_with_writes():
            # The transaction that waits for the answer has its own thread, and its rows are seen nowhere else.
            return await sync_to_async(beside)(*args, **kwargs)
        return await sync_to_async(apart, thread_sensitive=False, executor=_threads[0])(*args, **kwargs)

    return twin
