"""The read path: one State for a question or a batch, as fresh as asked for, with snapshots from L1, L2 or the database.

Modes: bounded (default; no older than the realm's `staleness_s`), token (at least that revision), full (asks for the head
first; always for a critical permission). In a transaction that wrote, everything is read live in it and nothing is kept: it may
see rows that no other process will ever see. Source: consistency, sections 1, 4 and 5.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TypeVar

from django.db import DatabaseError, InterfaceError

from permissions import revisions, selectors
from permissions.cache import catch_up, database, filling, live, memory, transactions
from permissions.cache.catch_up import Busy
from permissions.cache.database import Away
from permissions.cache.pinned import Pinned, covers
from permissions.cache.reading import boot_ns, wall_us
from permissions.cache.realm import STATES, Kind, RealmCache
from permissions.cache.state import State
from permissions.engine import names
from permissions.engine.questions import needs_rows
from permissions.engine.reasons import InvalidRequestError, Unavailable
from permissions.engine.scopes import SubjectSnapshot
from permissions.engine.table import roles_in
from permissions.engine.types import Request, Source
from permissions.errors import NotFound
from permissions.revisions import Head, Token, TokenFromFuture
from resilience import telemetry

log = logging.getLogger("permissions.cache")
T = TypeVar("T")

# Realm's id, epoch, revision, stamp.
Position = tuple[int, str, int, int]

ATTEMPTS: Final = 3
# Seconds: the hard limit of waiting while another thread asks for the head.
ASK_WAIT_S: Final = 1.0
# Seconds: what all the reads of one question or batch may take together.
FILL_WAIT_S: Final = 1.0
_DEEPER: Final[dict[Source, int]] = {"l1": 0, "redis": 1, "db": 2, "live": 3}


def reset() -> None:
    """Forgets everything (restore, or a flushed test database)."""
    catch_up.reset()


def sample(state: State, subject: SubjectSnapshot) -> None:
    """One warm check in many: the realm is in use, and the subject may be hot."""
    state.cache.used_ns = boot_ns()
    if subject.known:
        state.cache.hot.sample(subject.ref, () if subject.realm_roles is None else roles_in(subject.realm_roles))


def warm(realm: str) -> State | None:
    """The State, if it may answer without asking the database."""
    state = STATES.get(realm)
    if state is None or boot_ns() - state.known_head_ns > state.max_age_ns:
        return None
    return state


def holding(realm: str, kind: str, object_id: str, position: Position) -> Position | None:
    """Where what was read at `position` is known to hold still: the newest position; None where the database must be asked.

    For what is remembered elsewhere under this cache's W (API keys). Never blocks.
    """
    state = warm(realm)
    if state is None:
        return None
    newest = state.position
    if position == newest:
        return newest  # the one object, so that the next look is a comparison of references
    realm_id, epoch, rev, stamp = position
    if (realm_id, epoch) != newest[:2]:
        return None
    with state.cache.lock:
        window = state.cache.window
        proven = window.floor <= rev <= state.rev and window.stamps.get(rev) == stamp
        return newest if proven and window.last(kind, object_id) <= rev else None


def head_of(realm: str) -> Head:
    """The head of the published State; asks the database only where there is none (inside a transaction)."""
    state = STATES.get(realm)
    return revisions.head(realm) if state is None else state.head


@contextmanager
def _refusals(realm: object) -> Iterator[None]:
    try:
        if not isinstance(realm, str) or realm not in STATES:
            names.check_text(realm, "realm", max_length=names.MAX_NAME)
        yield
    except names.BadNameError as error:
        raise InvalidRequestError(str(error)) from error
    except NotFound as error:
        raise InvalidRequestError(str(error)) from error
    except (TypeError, AttributeError, KeyError) as error:
        # A row that no service wrote, such as a list with a hole by foreign SQL: no decision rather than a guess, or a fault.
        telemetry.internal_error("permission_cache", "read", error)
        raise Unavailable("a stored row cannot be read", retry_after_s=60.0) from error
    except (DatabaseError, InterfaceError) as error:
        log.warning("the database did not answer: %s", type(error).__name__)
        raise Unavailable("the database does not answer", retry_after_s=1.0) from error


def pin(
    realm: str,
    requests: Sequence[Request],
    *,
    token: Token | None = None,
    full: bool = False,
    at_us: int | None = None,
    facts: bool = False,
) -> Pinned:
    """A State with all that `requests` need. Raises InvalidRequestError for an unknown realm, TokenFromFuture, Unavailable.

    `facts`: snapshots with what they were built from, for an explanation; memory holds none such.
    """
    with _refusals(realm):
        if transactions.is_live(STATES.get(realm), realm):
            return live.pin(realm, requests, token, at_us)
        try:
            return _pinned(realm, requests, token=token, full=full, at_us=at_us, facts=facts)
        except Busy:
            # A change of the model takes longer than the bound: no older table may serve, so the rows are asked themselves.
            return _live(realm, requests, token, at_us)


def _pinned(
    realm: str, requests: Sequence[Request], *, token: Token | None, full: bool, at_us: int | None, facts: bool
) -> Pinned:
    cache = catch_up.cache_of(realm)
    deadline_ns = 0
    source: Source = "l1"
    by_rows = at_us is not None or facts or any(map(needs_rows, requests))
    for _ in range(ATTEMPTS):
        state, is_stale = _current(cache, token, full)
        if not full and any(request.permission in state.critical for request in requests):
            full = True
            state, is_stale = _current(cache, token, full)
        if by_rows:
            pinned = _by_rows(cache, state, requests, token, at_us)
            if pinned is not None:
                return pinned
            catch_up.expire(realm)
            continue
        pinned, subjects, resources = memory.collect(state, requests)
        if not subjects and not resources:
            pinned.source = source
            pinned.is_stale = is_stale
            return pinned
        # From here: the first State of a realm in a process may take longer than all the reads of a batch together.
        deadline_ns = deadline_ns or boot_ns() + int(FILL_WAIT_S * 1e9)
        deepest = filling.fill(cache, state, subjects, resources, deadline_ns=deadline_ns)
        if source == "l1":
            filling.learn(cache, requests, subjects, resources)
        source = max(source, deepest, key=_DEEPER.__getitem__)
    # It lost the race against changes each time, or stands at the very boundary of a validity.
    return _live(realm, requests, token, at_us)


def _live(realm: str, requests: Sequence[Request], token: Token | None, at_us: int | None) -> Pinned:
    pinned = live.pin(realm, requests, token, at_us)
    cache = catch_up.find(realm)
    if cache is not None:
        cache.want(pinned.head.rev)  # the next answer of this process is not to be an older one
    return pinned


def _current(cache: RealmCache, token: Token | None, full: bool) -> tuple[State, bool]:
    """A State as fresh as asked for; and whether it is older than the bound, under static grace."""
    asked_ns = boot_ns()
    state = cache.state
    if state is not None and not full and _serves(state, token, asked_ns):
        return state, False
    if not cache.ask_lock.acquire(timeout=ASK_WAIT_S):
        return _graced(cache, token, full, Away("the database does not answer in time", retry_after_s=1.0))
    try:
        state = cache.state or catch_up.boot(cache)
        # Another thread may have asked while this one waited, or booted. For `full` its answer counts if it asked after we came.
        if not (state.known_head_ns >= asked_ns if full or _is_foreign(state, token) else _serves(state, token, boot_ns())):
            state = catch_up.catch_up(cache.name)
    except Away as away:
        return _graced(cache, token, full, away)
    finally:
        cache.ask_lock.release()
        if cache.state is None:
            catch_up.forget_empty(cache)
    cache.used_ns = asked_ns
    cache.is_graced = False
    if token is not None and not covers(state.head, token):
        raise TokenFromFuture("the token names a revision that this realm has not reached")
    return state, False


def _serves(state: State, token: Token | None, now_ns: int) -> bool:
    if now_ns - state.known_head_ns > state.max_age_ns:
        return False
    if token is None:
        return True
    # A token of another realm may be of the one that has the name by now: only who asks can tell.
    return token.realm_id == state.head.realm_id and not _is_foreign(state, token) and covers(state.head, token)


def _is_foreign(state: State, token: Token | None) -> bool:
    """A token of another epoch names another history: only the newest state is as fresh (mode full)."""
    return token is not None and token.realm_id == state.head.realm_id and token.epoch8 != state.head.epoch[:8]


def _graced(cache: RealmCache, token: Token | None, full: bool, away: Away) -> tuple[State, bool]:
    """While the database is away: a State that is still within the bound, or within the realm's static grace. Else raises."""
    state = cache.state
    if state is None or full or token is not None:
        raise away
    age_ns = boot_ns() - state.known_head_ns
    if age_ns > state.max_age_ns + state.grace_ns:
        raise away
    is_stale = age_ns > state.max_age_ns
    if is_stale and not cache.is_graced:
        cache.is_graced = True  # told once an outage
        log.warning("realm %s: the database is away; older answers go out under static grace, marked stale", cache.name)
        telemetry.emit("cache.stale", realm=cache.name, age_s=age_ns / 1e9)
    return state, is_stale


def _by_rows(
    cache: RealmCache, state: State, requests: Sequence[Request], token: Token | None, at_us: int | None
) -> Pinned | None:
    """Questions that memory cannot answer, from rows at the State's revision; None when the database has moved on."""
    if selectors.is_in_transaction():
        return live.pin(cache.name, requests, token, at_us)  # which may see an older head than the State's

    def read() -> Pinned | None:
        with selectors.one_snapshot():
            if revisions.head(cache.name).key != state.head.key:
                return None
            instant_us = (selectors.database_now_us() or wall_us()) if at_us is None else at_us
            pinned = Pinned(state.head, state.table, instant_us, "db")
            live.load_for(pinned, requests)
        return pinned

    return database.bounded(read, limit_s=database.ROWS_LIMIT_S)


def prefill(realm: str, kind: Kind, refs: Collection[str]) -> int:
    """Makes snapshots resident, through the second layer and the database; how many were missing. Raises what a check raises."""
    with _refusals(realm):
        return filling.prefill(catch_up.cache_of(realm), kind, refs)


def browse(
    realm: str,
    work: Callable[[Pinned], T],
    *,
    token: Token | None = None,
    full: bool = False,
    at_us: int | None = None,
) -> T:
    """For a search: `work` with one revision, reading what it needs from one database snapshot, on a thread of the searches.

    Nothing is kept, so that a search over everything evicts nothing that checks need.
    """
    with _refusals(realm):
        is_live = transactions.is_live(STATES.get(realm), realm)
        if not is_live:
            try:
                _current(catch_up.cache_of(realm), token, full)
            except Busy:
                log.info("a search of realm %s reads its model itself: a change of it is being applied", realm)
        return live.browse(realm, token, at_us, work)
