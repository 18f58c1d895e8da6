"""The doors of search, part of `pdp`: three directions a page at a time, who_can and what_can as lists, each with its twin.

A result is in a list exactly if `check` of the same question with that entity put in says yes (semantics, "Search equals check").
"""

from __future__ import annotations

import asyncio
import contextvars
import datetime as dt
import os
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from threading import BoundedSemaphore
from typing import Any, Final, ParamSpec, TypeVar

from django.db import connection

from permissions import asking
from permissions.cache.transactions import waits_with_writes
from permissions.engine import names
from permissions.engine.questions import question
from permissions.engine.reasons import InvalidRequestError, Unavailable
from permissions.engine.types import Attributes, Request
from permissions.lookup import actions, pairs, resources, subjects
from permissions.lookup.paging import Page, limit_of
from permissions.lookup.pairs import Access, AccessPage, Wanted
from permissions.revisions import Token

P = ParamSpec("P")
R = TypeVar("R")

# Searches that asynchronous callers may have under way and waiting; three run at once (`cache/database.py`), and a page takes a
# few seconds at most, so whoever comes when so many wait is told to come again rather than held.
MOST_UNDER_WAY: Final = 32
# Seconds that one may wait for its turn.
TURN_S: Final = 10.0


def search_subjects(
    request: Request,
    kind: str,
    *,
    limit: int | None = None,
    after: str | None = None,
    realm: str = "default",
    at: dt.datetime | None = None,
    token: str | Token | None = None,
    full: bool = False,
    superuser: bool = False,
) -> Page:
    """Refs of the type `kind`, teams included, for whom the question is answered yes; `request.subject` is ignored."""
    _check_kind(kind)
    asking.refuse_in_maintenance([request.permission])
    wanted, full = asking.token_of(token, full)
    return subjects.search(
        request,
        realm=realm,
        kind=kind,
        limit=limit_of(limit),
        after=_after(after, names.check_ref),
        token=wanted,
        full=full,
        at_us=asking.instant(at),
        superuser=superuser,
    )


def search_resources(
    request: Request,
    kind: str,
    *,
    limit: int | None = None,
    after: str | None = None,
    realm: str = "default",
    at: dt.datetime | None = None,
    token: str | Token | None = None,
    full: bool = False,
    superuser: bool = False,
) -> Page:
    """Refs of the stored resources of the type `kind` on which the question is answered yes; `request.resource` is ignored."""
    _check_kind(kind)
    asking.refuse_in_maintenance([request.permission])
    wanted, full = asking.token_of(token, full)
    return resources.search(
        request,
        realm=realm,
        kind=kind,
        limit=limit_of(limit),
        after=_after(after, names.check_ref),
        token=wanted,
        full=full,
        at_us=asking.instant(at),
        superuser=superuser,
    )


def search_actions(
    request: Request,
    *,
    limit: int | None = None,
    after: str | None = None,
    realm: str = "default",
    at: dt.datetime | None = None,
    token: str | Token | None = None,
    full: bool = False,
    superuser: bool = False,
) -> Page:
    """Names of the registered actions of the resource's type that are allowed on it; `request.permission` is ignored."""
    if request.resource is None:
        raise InvalidRequestError("a search for actions needs a resource")
    kind = names.split_ref(request.resource)[0]
    asking.refuse_in_maintenance([f"{kind}:any"])
    wanted, full = asking.token_of(token, full)
    page = actions.search(
        request,
        realm=realm,
        limit=limit_of(limit),
        after=_after(after, lambda name, what: names.check_text(name, what, max_length=names.MAX_CODE)),
        token=wanted,
        full=full,
        at_us=asking.instant(at),
        superuser=superuser,
    )
    # A maintenance of some permissions only: a check of one of these gives no decision, so neither does a list that names it.
    asking.refuse_in_maintenance(f"{kind}:{name}" for name in page.results)
    return page


def who_can(
    permission: str,
    resource: str | None = None,
    *,
    context: Attributes | None = None,
    type: str = "",
    realm: str = "default",
    at: dt.datetime | None = None,
    token: str | None = None,
    full: bool = False,
) -> list[str]:
    """Refs of the subjects for whom `check` says yes, in order; of one type if named (teams only then)."""
    request = question("user:nobody", permission, resource, context=context)
    asking.refuse_in_maintenance([permission])
    wanted, full = asking.token_of(token, full)
    return subjects.who_can(request, realm=realm, kind=type, token=wanted, full=full, at_us=asking.instant(at))


def who_can_page(
    permission: str,
    resource: str | None = None,
    *,
    context: Attributes | None = None,
    type: str = "",
    limit: int | None = None,
    after: str | None = None,
    realm: str = "default",
    at: dt.datetime | None = None,
    token: str | None = None,
    full: bool = False,
) -> Page:
    """A page of `who_can`."""
    request = question("user:nobody", permission, resource, context=context)
    asking.refuse_in_maintenance([permission])
    wanted, full = asking.token_of(token, full)
    return subjects.search(
        request,
        realm=realm,
        kind=type,
        limit=limit_of(limit),
        after=_after(after, names.check_ref),
        token=wanted,
        full=full,
        at_us=asking.instant(at),
    )


def what_can(
    subject: str,
    permission: str | None = None,
    *,
    resource: str | None = None,
    context: Attributes | None = None,
    type: str = "",
    realm: str = "default",
    at: dt.datetime | None = None,
    token: str | None = None,
    full: bool = False,
) -> list[Access]:
    """Pairs (permission, resource) for which `check` says yes; see `lookup/pairs.py` for which pairs are asked."""
    request = question(subject, permission or "any:any", resource, context=context)
    asking.refuse_in_maintenance([request.permission])
    wanted, full = asking.token_of(token, full)
    return pairs.what_can(request, Wanted(permission, type), realm=realm, token=wanted, full=full, at_us=asking.instant(at))


def what_can_page(
    subject: str,
    permission: str | None = None,
    *,
    resource: str | None = None,
    context: Attributes | None = None,
    type: str = "",
    limit: int | None = None,
    after: Access | None = None,
    realm: str = "default",
    at: dt.datetime | None = None,
    token: str | None = None,
    full: bool = False,
) -> AccessPage:
    """A page of `what_can`, behind the pair `after`."""
    request = question(subject, permission or "any:any", resource, context=context)
    asking.refuse_in_maintenance([request.permission])
    if after is not None:
        # A page that looked in vain ends at a resource before all its codes.
        _after(after.permission or None, names.check_code)
        _after(after.resource, names.check_ref)
    wanted, full = asking.token_of(token, full)
    return pairs.search(
        request,
        Wanted(permission, type),
        realm=realm,
        limit=limit_of(limit),
        after=after,
        token=wanted,
        full=full,
        at_us=asking.instant(at),
    )


def _check_kind(kind: object) -> None:
    try:
        names.check_type(kind, "type")
    except names.BadNameError as error:
        raise InvalidRequestError(str(error)) from error


def _after(after: str | None, check: Callable[[object, str], str]) -> str:
    try:
        return "" if after is None else check(after, "after")
    except names.BadNameError as error:
        raise InvalidRequestError(str(error)) from error


def _made() -> tuple[ThreadPoolExecutor, BoundedSemaphore]:
    return ThreadPoolExecutor(MOST_UNDER_WAY, thread_name_prefix="permissions-asearch"), BoundedSemaphore(MOST_UNDER_WAY)


_threads, _room = _made()


def _after_fork() -> None:
    """The parent's threads are not here, and what they held stays held."""
    global _threads, _room
    _threads, _room = _made()


os.register_at_fork(after_in_child=_after_fork)


def on_own_thread(function: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]:
    """The asynchronous twin. Not on the one thread that cold checks are asked from: a long search would hold up all of them."""
    in_thread = asking.in_thread(function)

    @wraps(function)
    async def twin(*args: P.args, **kwargs: P.kwargs) -> R:
        if waits_with_writes():
            # The transaction that waits for the answer has its own thread, and its rows are seen nowhere else.
            return await in_thread(*args, **kwargs)
        room, asked_s = _room, time.monotonic()
        if not room.acquire(blocking=False):
            raise Unavailable("too many searches are going on", retry_after_s=1.0)

        def run() -> R:
            try:
                if time.monotonic() - asked_s > TURN_S:
                    raise Unavailable("too many searches are going on", retry_after_s=1.0)
                return function(*args, **kwargs)
            finally:
                # Of a thread that lives on: a connection kept here would be one of the pool's ten. A file is dear to open again.
                if connection.vendor != "sqlite":
                    connection.close()

        context = contextvars.copy_context()
        task = _threads.submit(context.run, run)
        # However it ends: a caller that leaves may cancel it before a thread has taken it up, and then nothing of it runs.
        task.add_done_callback(lambda _: room.release())
        return await asyncio.wrap_future(task)

    return twin


asearch_subjects = on_own_thread(search_subjects)
asearch_resources = on_own_thread(search_resources)
asearch_actions = on_own_thread(search_actions)
awho_can = on_own_thread(who_can)
awhat_can = on_own_thread(what_can)
