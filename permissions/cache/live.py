"""Evaluation past every cache: all rows from one database snapshot, or from the caller's own transaction. Nothing is kept."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from threading import BoundedSemaphore
from typing import Final, Protocol, TypeVar

from permissions import revisions, selectors
from permissions.cache import catch_up, database
from permissions.cache.pinned import Pinned, covers
from permissions.cache.reading import wall_us
from permissions.cache.state import State
from permissions.conditions import cel
from permissions.engine.compile import compile_table
from permissions.engine.questions import asserted_parent, asserted_teams, needs_rows
from permissions.engine.reasons import Unavailable
from permissions.engine.scopes import ResourceSnapshot, build_resource, build_subject
from permissions.engine.table import RoleTable
from permissions.engine.types import Request, ResourceFacts, ResourceNodeFact, SubjectFacts
from permissions.models import Realm
from permissions.revisions import Head, Token, TokenFromFuture

T = TypeVar("T")

# Each reads and may compile a model: more at once would starve the process while it is late already.
MOST_AT_ONCE: Final = 4
# Seconds.
PLACE_WAIT_S: Final = 0.5
_room = BoundedSemaphore(MOST_AT_ONCE)


@contextmanager
def _place() -> Iterator[None]:
    """One of few: for checks that memory should have answered. Raises Unavailable where none is free for a while."""
    room = _room
    if not room.acquire(timeout=PLACE_WAIT_S):
        raise Unavailable("too many checks are evaluated past the cache", retry_after_s=1.0)
    try:
        yield
    finally:
        room.release()


def _after_fork() -> None:
    """What the parent's threads held stays held for ever in a child."""
    global _room  # noqa: PLW0603
    _room = BoundedSemaphore(MOST_AT_ONCE)


os.register_at_fork(after_in_child=_after_fork)


def pin(realm: str, requests: Sequence[Request], token: Token | None, at_us: int | None) -> Pinned:
    """All that the questions need, at the head. Raises NotFound, TokenFromFuture, Unavailable."""

    def read() -> Pinned:
        with selectors.one_snapshot():
            pinned = opened(realm, token, at_us)
            load_for(pinned, requests)
        return pinned

    if selectors.is_in_transaction():
        return read()
    with _place():
        return database.bounded(read, limit_s=database.ROWS_LIMIT_S)


def browse(realm: str, token: Token | None, at_us: int | None, work: Callable[[Pinned], T]) -> T:
    """`work` with head, table and clock of one database snapshot, in which it may read what it likes, for a bounded time."""
    until_s = time.monotonic() + database.SEARCH_LIMIT_S

    def read() -> T:
        left_s = until_s - time.monotonic()
        if left_s <= 0:  # it was tried before, or waited for a thread all that time
            raise Unavailable("too many searches are going on", retry_after_s=1.0)
        with selectors.one_snapshot(limit_s=left_s):
            return work(opened(realm, token, at_us))

    return database.bounded(read, limit_s=database.SEARCH_LIMIT_S, is_search=True)


def opened(realm: str, token: Token | None, at_us: int | None) -> Pinned:
    """Head, table and clock of the current database snapshot. Raises NotFound, TokenFromFuture."""
    head = revisions.head(realm)
    if token is not None and not covers(head, token):
        raise TokenFromFuture("the token names a revision that this realm has not reached")
    cache = catch_up.find(realm)
    table = _table(head, None if cache is None else cache.state)
    now_us = (selectors.database_now_us() or wall_us()) if at_us is None else at_us
    return Pinned(head, table, now_us, "live")


def _table(head: Head, state: State | None) -> RoleTable:
    """The State's own where it is of this snapshot; else only what changed since is read and compiled."""
    if state is None:
        return compile_table(selectors.model_facts(Realm.objects.get(pk=head.realm_id)), cel.language())
    if state.head.key == head.key:
        return state.table
    names = _changed_model(head, state)
    if names is None:
        return compile_table(selectors.model_facts(Realm.objects.get(pk=head.realm_id)), cel.language())
    if not names:
        return state.table
    return compile_table(selectors.model_delta(head.realm_id, names, state.table.model), cel.language(), state.table)


def _changed_model(head: Head, state: State) -> set[str] | None:
    """Ids of the model that changed since the State; None where the changelog cannot say."""
    if (head.realm_id, head.epoch) != (state.head.realm_id, state.head.epoch) or head.rev < state.rev:
        return None
    tail = database.tail_of(head, state.rev)
    if tail is None:
        return None
    if database.stamp_at(head, state.rev) != state.head.stamp or len({c.rev for c in tail}) != head.rev - state.rev:
        return None
    if any(change.kind == "*" for change in tail):
        return None
    return {change.object_id for change in tail if change.kind == "m"}


class Source(Protocol):
    """Where rows are read: `selectors`, those of now; the timeline, those of a past revision."""

    def subject_facts(
        self, realm_id: int, refs: Collection[str], asserted_teams: Sequence[str] = ()
    ) -> dict[str, SubjectFacts]: ...
    def resource_facts(self, realm_id: int, refs: Collection[str]) -> dict[str, ResourceFacts]: ...


def load_for(pinned: Pinned, requests: Sequence[Request], source: Source = selectors) -> None:
    load(
        pinned,
        {r.subject for r in requests},
        {r.resource for r in requests if r.resource is not None},
        [(i, r) for i, r in enumerate(requests) if needs_rows(r)],
        source,
    )


def load(
    pinned: Pinned,
    subjects: Collection[str],
    resources: Collection[str],
    special: list[tuple[int, Request]],
    source: Source = selectors,
) -> None:
    """Into `pinned`, from the current database snapshot; `special`: by place, the questions that assert teams or a parent."""
    realm_id = pinned.head.realm_id
    if subjects:
        for ref, facts in source.subject_facts(realm_id, subjects).items():
            pinned.subjects[ref] = build_subject(facts, pinned.now_us)
    if resources:
        for ref, node in source.resource_facts(realm_id, resources).items():
            pinned.resources[ref] = build_resource(node)
    for place, request in special:
        subject = pinned.subjects[request.subject]
        resource = None if request.resource is None else pinned.resources[request.resource]
        teams = asserted_teams(request)
        if teams:
            own = source.subject_facts(realm_id, [request.subject], teams)
            subject = build_subject(own[request.subject], pinned.now_us)
        parent = asserted_parent(request)
        if parent is not None and resource is not None and not resource.known:
            resource = _below(realm_id, parent, resource.ref, source)
        pinned.extra[place] = (subject, resource)


def _below(realm_id: int, parent: str, ref: str, source: Source) -> ResourceSnapshot:
    above = source.resource_facts(realm_id, [parent])[parent]
    chain = (*(n for n in above.chain if n.ref != ref), ResourceNodeFact(ref))
    return build_resource(ResourceFacts(ref, known=False, chain=chain))
