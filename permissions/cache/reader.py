"""The read path: one State for a question or a batch, at one revision, as fresh as asked for.

Modes: bounded (default; no older than the realm's `staleness_s`), token (at least that revision), full (asks for the head
first; always for a critical permission). Inside an open transaction everything is read live in it and nothing is kept: it may
see rows that no other process will ever see. Source: consistency, sections 1, 4 and 5.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from django.db import DatabaseError, InterfaceError, connection

from permissions import revisions, selectors
from permissions.cache.state import State
from permissions.conditions import cel
from permissions.engine.compile import compile_table
from permissions.engine.questions import asserted_parent, asserted_teams, needs_rows
from permissions.engine.reasons import InvalidRequestError, Unavailable
from permissions.engine.scopes import ResourceSnapshot, SubjectSnapshot, build_resource, build_subject
from permissions.engine.table import RoleTable
from permissions.engine.types import Request, ResourceFacts, ResourceNodeFact, Source
from permissions.errors import NotFound
from permissions.models import Realm
from permissions.revisions import Head, Token, TokenFromFuture
from permissions.writing import Write, on_written
from resilience import registry
from resilience.circuit_breaker.breaker import CircuitBreaker
from resilience.errors import CircuitOpen
from resilience.storage.base import local_store

log = logging.getLogger("permissions.cache")

# The head is asked for again at 0.4 of the bound, so that an answer is younger than the bound when it leaves.
REFRESH_SHARE: Final = 0.4
ATTEMPTS: Final = 3
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

_states: dict[str, State] = {}
_locks: dict[str, threading.Lock] = {}
_guard = threading.Lock()


@dataclass(slots=True)
class Pinned:
    """One State with the snapshots that the questions need. All hold at `head`; `now_us` is the database's clock.

    `extra`: by place of the question, the snapshots of a caller that asserts teams or a parent.
    """

    head: Head
    table: RoleTable
    now_us: int
    source: Source
    subjects: dict[str, SubjectSnapshot] = field(default_factory=dict)
    resources: dict[str, ResourceSnapshot] = field(default_factory=dict)
    extra: dict[int, tuple[SubjectSnapshot, ResourceSnapshot | None]] = field(default_factory=dict)

    def of(self, place: int, request: Request) -> tuple[SubjectSnapshot, ResourceSnapshot | None]:
        if place in self.extra:
            return self.extra[place]
        return self.subjects[request.subject], None if request.resource is None else self.resources[request.resource]


def boot_ns() -> int:
    """A clock that counts suspended time, so that a frozen process sees how old its State is."""
    return time.clock_gettime_ns(_CLOCK)


def clock_us() -> int:
    return time.time_ns() // 1_000


def reset() -> None:
    """Forgets every State (after fork, restore or a flushed test database)."""
    with _guard:
        _states.clear()
        _locks.clear()


def _forget_head(write: Write) -> None:
    """The writer's process must see its own write at once: the next check asks for the head."""
    state = _states.get(write.realm.name)
    if state is not None:
        state.known_head_ns = -(1 << 62)


on_written(_forget_head)


def warm(realm: str) -> State | None:
    """The State, if it may answer without asking the database."""
    state = _states.get(realm)
    if state is None or time.clock_gettime_ns(_CLOCK) - state.known_head_ns > state.max_age_ns * REFRESH_SHARE:
        return None
    return state


def head_of(realm: str) -> Head:
    """The head of the published State; asks the database only where there is none (inside a transaction)."""
    state = _states.get(realm)
    return revisions.head(realm) if state is None else state.head


def pin(
    realm: str, requests: Sequence[Request], *, token: Token | None = None, full: bool = False, at_us: int | None = None
) -> Pinned:
    """A State with all that `requests` need. Raises InvalidRequestError for an unknown realm, TokenFromFuture, Unavailable."""
    try:
        if connection.in_atomic_block:
            return _live(realm, requests, token, at_us)
        for _ in range(ATTEMPTS):
            state = _current(realm, token, full)
            if not full and any(r.permission in state.critical for r in requests):
                full = True
                continue
            pinned = _fill(state, requests, at_us)
            if pinned is not None:
                return pinned
            _expire(state)
        with selectors.one_snapshot():
            return _live(realm, requests, token, at_us)
    except NotFound as error:
        raise InvalidRequestError(str(error)) from error
    except CircuitOpen as error:
        raise Unavailable("the database does not answer", retry_after_s=error.retry_after_s or 1.0) from error
    except (DatabaseError, InterfaceError) as error:
        log.warning("the database did not answer a check: %s", type(error).__name__)
        raise Unavailable("the database does not answer", retry_after_s=1.0) from error


def _database() -> CircuitBreaker:
    """In front of the one statement that every cold check begins with.

    A database that hangs would hold every caller for its time-out, and all threads with them: after a few, callers are told at
    once. Kept in this process alone: the path of a check must not depend on Redis. Its configured name is `database`.
    """
    return registry.breaker(
        "database",
        minimum_calls=5,
        slow_call_s=2.0,  # a head takes under a millisecond; a pool that gives no connection waits five seconds
        open_s=1.0,  # chosen: a failover is noticed within a second of its end
        ignore=(NotFound,),
        store=local_store(),
    )


def _expire(state: State) -> None:
    state.known_head_ns = -(1 << 62)


def _current(realm: str, token: Token | None, full: bool) -> State:
    asked_ns = boot_ns()
    state = _states.get(realm)
    if state is not None and not full and asked_ns - state.known_head_ns <= state.max_age_ns * REFRESH_SHARE:  # noqa: SIM102
        if token is None or _covers(state.head, token):
            return state
    with _lock_of(realm):
        state = _states.get(realm)
        # Another thread may have asked while this one waited; its answer counts if it asked after we came.
        if state is None or state.known_head_ns < asked_ns:
            old_serves = state is not None and not full and (token is None or _covers(state.head, token))
            state = _refresh(realm, state, old_serves=old_serves)
    if token is not None and not _covers(state.head, token):
        raise TokenFromFuture("the token names a revision that this realm has not reached")
    return state


def _covers(head: Head, token: Token) -> bool:
    if token.realm_id != head.realm_id:
        raise InvalidRequestError("the token belongs to another realm")
    # A token of another epoch names another history: what is known to be newest is at least as fresh (mode full).
    return token.epoch8 != head.epoch[:8] or token.rev <= head.rev


def _lock_of(realm: str) -> threading.Lock:
    with _guard:
        return _locks.setdefault(realm, threading.Lock())


def _refresh(realm: str, old: State | None, *, old_serves: bool) -> State:
    """Caller holds the realm's lock. Asks for the head; keeps, renews or rebuilds the State.

    `old_serves`: the question is content with the old State while the database is away, until that is older than the bound.
    """
    asked_ns = boot_ns()
    try:
        head = _database().call(revisions.head, realm)
        if old is not None and head.key == old.head.key:
            old.known_head_ns = asked_ns
            return old
        table = None
        if old is not None and head.realm_id == old.head.realm_id and head.epoch == old.head.epoch:
            kinds = selectors.changed_kinds(head.realm_id, old.head.rev, old.head.stamp, head.rev)
            if kinds is not None and not kinds & {"m", "*"}:
                table = old
        new = _build(realm, table, old)
    except NotFound:
        _states.pop(realm, None)
        raise
    except (DatabaseError, InterfaceError, CircuitOpen):
        if old is not None and old_serves and boot_ns() - old.known_head_ns <= old.max_age_ns:
            return old
        raise
    _states[realm] = new
    return new


def _build(realm: str, kept: State | None, old: State | None) -> State:
    """A State at the head of one database snapshot.

    `kept` lends its table where the model did not change since; `old` lends what a changed model left alone.
    """
    asked_ns = boot_ns()
    with selectors.one_snapshot():
        head = revisions.head(realm)
        row = Realm.objects.get(pk=head.realm_id)
        if kept is not None:
            # Between the first look and this snapshot the model may have changed after all.
            kinds = selectors.changed_kinds(head.realm_id, kept.head.rev, kept.head.stamp, head.rev)
            if kinds is None or kinds & {"m", "*"}:
                kept = None
        facts = None if kept is not None else selectors.model_facts(row)
        database_us = selectors.database_now_us()
    offset_us = 0 if database_us is None else database_us - clock_us()
    max_age_ns = int(row.staleness_s * 1e9)
    if facts is None and kept is not None:
        return State(head, kept.table, kept.critical, max_age_ns, asked_ns, offset_us)
    assert facts is not None  # noqa: S101 - it was read above unless `kept` serves
    critical = frozenset(p.code for p in facts.permissions if p.critical)
    table = compile_table(facts, cel.language(), None if old is None else old.table)
    return State(head, table, critical, max_age_ns, asked_ns, offset_us)


def _fill(state: State, requests: Sequence[Request], at_us: int | None) -> Pinned | None:
    """The questions' snapshots at the State's revision; None when the database has moved on meanwhile."""
    now_us = clock_us() + state.offset_us
    pinned = Pinned(state.head, state.table, now_us if at_us is None else at_us, "l1")
    subjects, resources = set(), set()
    for request in requests:
        # A snapshot holds windows resolved at its own instant: another instant needs another snapshot.
        subject = state.subjects.get(request.subject) if at_us is None else None
        if subject is not None and (subject.until_us is None or now_us < subject.until_us):
            pinned.subjects[request.subject] = subject
        else:
            subjects.add(request.subject)
        if request.resource is not None:
            resource = state.resources.get(request.resource)
            if resource is not None:
                pinned.resources[request.resource] = resource
            else:
                resources.add(request.resource)
    special = [(i, r) for i, r in enumerate(requests) if needs_rows(r)]
    if not subjects and not resources and not special:
        return pinned
    with selectors.one_snapshot():
        if revisions.head(state.head.name).key != state.head.key:
            return None
        _load(pinned, subjects, resources, special)
    if at_us is None:
        state.keep({r: pinned.subjects[r] for r in subjects}, {r: pinned.resources[r] for r in resources})
    pinned.source = "db"
    return pinned


def _load(pinned: Pinned, subjects: Collection[str], resources: Collection[str], special: list[tuple[int, Request]]) -> None:
    realm_id = pinned.head.realm_id
    if subjects:
        for ref, facts in selectors.subject_facts(realm_id, subjects).items():
            pinned.subjects[ref] = build_subject(facts, pinned.now_us)
    if resources:
        for ref, node in selectors.resource_facts(realm_id, resources).items():
            pinned.resources[ref] = build_resource(node)
    for place, request in special:
        subject = pinned.subjects[request.subject]
        resource = None if request.resource is None else pinned.resources[request.resource]
        teams = asserted_teams(request)
        if teams:
            own = selectors.subject_facts(realm_id, [request.subject], teams)
            subject = build_subject(own[request.subject], pinned.now_us)
        parent = asserted_parent(request)
        if parent is not None and resource is not None and not resource.known:
            resource = _below(realm_id, parent, resource.ref)
        pinned.extra[place] = (subject, resource)


def _below(realm_id: int, parent: str, ref: str) -> ResourceSnapshot:
    above = selectors.resource_facts(realm_id, [parent])[parent]
    chain = (*(n for n in above.chain if n.ref != ref), ResourceNodeFact(ref))
    return build_resource(ResourceFacts(ref, known=False, chain=chain))


def _live(realm: str, requests: Sequence[Request], token: Token | None, at_us: int | None) -> Pinned:
    pinned = _open_live(realm, token, at_us)
    _load(
        pinned,
        {r.subject for r in requests},
        {r.resource for r in requests if r.resource is not None},
        [(i, r) for i, r in enumerate(requests) if needs_rows(r)],
    )
    return pinned


def _open_live(realm: str, token: Token | None, at_us: int | None) -> Pinned:
    """From the current transaction; nothing is kept. The published table serves if its revision is the head here."""
    head = revisions.head(realm)
    if token is not None and not _covers(head, token):
        raise TokenFromFuture("the token names a revision that this realm has not reached")
    state = _states.get(realm)
    if state is not None and state.head.key == head.key:
        table = state.table
    else:
        table = compile_table(selectors.model_facts(Realm.objects.get(pk=head.realm_id)), cel.language())
    now_us = (selectors.database_now_us() or clock_us()) if at_us is None else at_us
    return Pinned(head, table, now_us, "live")


def survey(
    realm: str,
    *,
    subjects: Callable[[int], Collection[str]],
    resources: Callable[[int], Collection[str]],
    token: Token | None = None,
    full: bool = False,
    at_us: int | None = None,
) -> Pinned:
    """For a search: all the subjects and resources that the callables list (given the realm's id), from one database snapshot.

    Nothing is kept, so that a search over everything evicts nothing that checks need.
    """
    try:
        if not connection.in_atomic_block:
            _current(realm, token, full)
        with selectors.one_snapshot():
            pinned = _open_live(realm, token, at_us)
            _load(pinned, subjects(pinned.head.realm_id), resources(pinned.head.realm_id), [])
    except NotFound as error:
        raise InvalidRequestError(str(error)) from error
    except (DatabaseError, InterfaceError) as error:
        log.warning("the database did not answer a search: %s", type(error).__name__)
        raise Unavailable("the database does not answer", retry_after_s=1.0) from error
    if not connection.in_atomic_block:
        pinned.source = "db"
    return pinned
