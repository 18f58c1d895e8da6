"""API keys: who is calling, found by the key's prefix, proved by its digest, remembered while the realm stands still.

A key is read again as soon as a revision names it, or nobody knows how new what is known is; revoking a key is such a revision.
So a revoked key stops at once in the process that revoked it, and elsewhere within the realm's bound (0.5 s), mostly sooner.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hmac
import logging
from dataclasses import dataclass, replace
from hashlib import blake2b
from time import clock_gettime_ns
from typing import Final, Literal, cast
from weakref import WeakKeyDictionary

from django.db import DatabaseError, InterfaceError
from django.db.models.functions import Now

from permissions import pdp, revisions
from permissions.cache import database
from permissions.cache.reading import CLOCK, boot_ns
from permissions.cache.realm import STATES
from permissions.engine import keys
from permissions.engine.reasons import InvalidRequestError, Unavailable
from permissions.engine.types import Asserted
from permissions.identity.uses import met
from permissions.models import ApiKey
from permissions.selectors import is_in_transaction, to_us

log = logging.getLogger("permissions.identity")

# Chosen: some 10 MB. Past it the memory starts anew, which costs one statement a key.
MAX_REMEMBERED: Final = 10_000


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `subject`: whom it acts as when it manages; without one, and not `is_admin`, it may only ask."""

    kind: Literal["key"]
    key_id: int
    name: str
    realm: str
    asserted: Asserted
    subject: str | None = None
    is_admin: bool = False


@dataclass(frozen=True, slots=True)
class _Remembered:
    """`position`: the newest revision at which the row is known to hold. `until_us`: end of the key's validity, by the
    boot-time clock."""

    caller: Caller
    prefix: str
    position: tuple[int, str, int, int]
    until_us: int | None


# By the hash of the header, never by the key itself: what is remembered must be worth nothing to whoever reads the memory of this
# process. Hashing the header as it came spares reading the key out of it, a third of what a caller in memory costs. BLAKE2b takes
# half of what SHA-256 does on a text this short; what is stored stays SHA-256.
_remembered: dict[bytes, _Remembered] = {}
_running: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[bytes, asyncio.Task[Caller | None]]] = WeakKeyDictionary()


def _mark_of(header: str) -> bytes:
    return blake2b(header.encode("utf-8", "surrogatepass")).digest()


def warm(header: str) -> Caller | None:
    """The caller as remembered, without I/O. None says only that `resolve` must be asked."""
    mark = blake2b(header.encode("utf-8", "surrogatepass")).digest()
    found = _remembered.get(mark)
    if found is None:
        return None
    state = STATES.get(found.caller.realm)
    # Proved at the very revision that the realm stands at, and for good: nothing is left to ask. Written out, since this is the
    # way of nearly every request.
    if (
        state is not None
        and found.position is state.position
        and found.until_us is None
        and clock_gettime_ns(CLOCK) - state.known_head_ns <= state.max_age_ns
    ):
        met.add(found.caller.key_id)
        return found.caller
    return _recall(mark)


def seen(header: str) -> Caller | None:
    """Whom this header once proved to be, however long ago: to count calls by, never to trust."""
    found = _remembered.get(_mark_of(header))
    return None if found is None else found.caller


def resolve(header: str) -> Caller | None:
    """The caller behind an Authorization header; None for no key, and for one that is unknown, revoked or expired.

    Raises Unavailable where the database does not answer.
    """
    presented = keys.parse(header)
    if presented is None:
        return None
    mark = _mark_of(header)
    # An open transaction may see a revoke that no other does; what it reads is neither taken from the memory nor kept in it.
    alone = is_in_transaction()
    caller = None if alone else _recall_fresh(mark)
    if caller is not None:
        return caller
    try:
        digest = keys.digest_of(presented.plain)
        found = database.bounded(lambda: _read(presented.prefix, digest), limit_s=database.ROWS_LIMIT_S)
    except (DatabaseError, InterfaceError) as error:
        log.warning("the database did not answer a look-up of a key: %s", type(error).__name__)
        raise Unavailable("the database does not answer", retry_after_s=1.0) from error
    if found is None:
        return None
    if not alone:
        if len(_remembered) >= MAX_REMEMBERED:
            _remembered.clear()
        _remembered[mark] = found
    met.add(found.caller.key_id)
    return found.caller


async def aresolve(header: str) -> Caller | None:
    """One look-up at a time for each key: whoever finds it running waits for it, and takes what it left in memory.

    The memory of all callers ages at the same moment; without this a thousand of them would queue for threads at once.
    """
    if keys.parse(header) is None:
        return None
    running = _running.setdefault(asyncio.get_running_loop(), {})
    mark = _mark_of(header)
    other = running.get(mark)
    if other is not None:
        await asyncio.wait([other])  # its fault is not ours, and our cancellation not its
        caller = _recall(mark)
        if caller is not None:
            return caller
    task = asyncio.ensure_future(pdp.in_thread(resolve)(header))
    running[mark] = task
    try:
        return await task
    finally:
        if running.get(mark) is task:
            del running[mark]


def reset() -> None:
    """Forgets every caller (a flushed or restored database)."""
    _remembered.clear()


def _recall(mark: bytes) -> Caller | None:
    found = _remembered.get(mark)
    if found is None:
        return None
    position = pdp.key_holding(found.caller.realm, found.prefix, found.position)
    if position is None:
        return None
    if found.until_us is not None and boot_ns() // 1_000 >= found.until_us:
        return None
    if position is not found.position:
        _remembered[mark] = replace(found, position=position)
    met.add(found.caller.key_id)
    return found.caller


def _recall_fresh(mark: bytes) -> Caller | None:
    """As remembered, once it is known where the realm stands: asking for its head costs less than reading the key again."""
    found = _remembered.get(mark)
    if found is None:
        return None
    try:
        pdp.refresh(found.caller.realm)
    except InvalidRequestError:  # the realm is gone, and its keys with it
        return None
    return _recall(mark)


def _read(prefix: str, digest: str) -> _Remembered | None:
    """Key and head of its realm in one statement: both belong to one database snapshot."""
    asked_us = boot_ns() // 1_000
    key = (
        ApiKey.objects.select_related("realm", "subject")
        .annotate(database_now=Now())
        .filter(prefix=prefix, revoked_at__isnull=True)
        .first()
    )
    # The prefix is public; the digest decides, compared in constant time.
    if key is None or not hmac.compare_digest(key.digest, digest):
        return None
    now: dt.datetime = key.database_now
    if key.valid_until is not None and now >= key.valid_until:
        return None
    until_us = to_us(key.valid_until)
    if until_us is not None:
        # From before the question, by a clock that nobody sets: a slow answer must not lengthen a key's life.
        until_us += asked_us - (to_us(now) or 0)
    caller = Caller(
        "key",
        key.pk,
        key.name,
        key.realm.name,
        cast(Asserted, key.asserted),
        None if key.subject is None else key.subject.ref,
        key.is_admin,
    )
    return _Remembered(caller, prefix, revisions.head_of(key.realm).key, until_us)
