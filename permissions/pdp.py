"""The only door to a decision: check, check_many, explain, who_can, what_can, each with an async twin.

    from permissions import pdp
    pdp.check("user:alice", "post:edit", "channel:9", context={"mfa": True})

All take `realm="default"`, `at=` (an aware datetime, now or later), `token=` and `full=`. They raise InvalidRequestError (a
question that cannot be decided), Unavailable (ask again after `retry_after_s`; UnderMaintenance is one) and TokenFromFuture (a
token this realm has not reached). Answers are those of the law in `docs/subsystems/decision.md`.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import DEFAULT_DB_ALIAS, close_old_connections, connection, connections

from permissions import conf, revisions
from permissions import explain as explaining
from permissions.cache import reader
from permissions.cache.state import State
from permissions.engine.evaluate import evaluate
from permissions.engine.explain import Explanation
from permissions.engine.questions import Question, needs_rows, question, question_of
from permissions.engine.reasons import InvalidRequestError, Unavailable, UnderMaintenance
from permissions.engine.types import NO_ATTRIBUTES, Asserted, Attributes, Decision, Request
from permissions.lookup import resources as resource_lookup
from permissions.lookup import subjects as subject_lookup
from permissions.lookup.resources import Access
from permissions.revisions import Token, TokenFromFuture
from permissions.selectors import to_us
from resilience import maintenance
from resilience.maintenance import SWITCH

__all__ = [
    "Access",
    "Decision",
    "Explanation",
    "InvalidRequestError",
    "Request",
    "TokenFromFuture",
    "Unavailable",
    "UnderMaintenance",
    "acheck",
    "acheck_many",
    "adecide",
    "adecide_many",
    "aexplain",
    "aexplain_request",
    "atoken_at",
    "awhat_can",
    "awho_can",
    "check",
    "check_many",
    "decide",
    "decide_many",
    "explain",
    "explain_request",
    "position",
    "question",
    "reset",
    "stats",
    "token_at",
    "warm",
    "warm_many",
    "what_can",
    "who_can",
    "wire_superuser",
]

MAX_BATCH = 1_000


P = ParamSpec("P")
R = TypeVar("R")


class _Counts(threading.local):
    """Plain integers a thread: a labelled counter would cost more than a warm check (consistency, section 5)."""

    def __init__(self) -> None:
        self.by: dict[str, int] = {"l1": 0, "redis": 0, "db": 0, "live": 0, "allowed": 0, "denied": 0}
        with _counts_lock:
            _all_counts.append(self.by)


class _Here(threading.local):
    """This thread's connection: a database connection belongs to one thread, and looking it up by Django's proxy takes 2 µs."""

    def __init__(self) -> None:
        self.connection = connections[DEFAULT_DB_ALIAS]


_here = _Here()
_counts_lock = threading.Lock()
_all_counts: list[dict[str, int]] = []
_counts = _Counts()


def stats() -> dict[str, int]:
    """Decisions of this process since its start, by the deepest layer reached and by outcome."""
    with _counts_lock:
        total: dict[str, int] = {}
        for counts in _all_counts:
            for name, number in counts.items():
                total[name] = total.get(name, 0) + number
    return total


def reset() -> None:
    """Forgets what is kept in memory; the next check reads the database."""
    reader.reset()


def _token_of(token: str | Token | None, full: bool) -> tuple[Token | None, bool]:
    if token is None or isinstance(token, Token):
        return token, full
    return (None, True) if token == revisions.FULL else (revisions.parse(token), full)


def _instant(at: dt.datetime | None) -> int | None:
    if at is None:
        return None
    if at.tzinfo is None:
        raise InvalidRequestError("at must be an aware datetime, such as 2026-01-01T00:00:00Z")
    at_us = to_us(at)
    # A past instant is decided by the rows then in force, which only the row history of a later part keeps: today's rows
    # would give an answer that was never true. Five seconds are allowed for clocks that differ.
    if at_us is not None and at_us < reader.clock_us() - 5_000_000:
        raise InvalidRequestError("at lies in the past; decisions as of a past time are not offered yet")
    return at_us


def warm(request: Request, realm: str, *, superuser: bool = False) -> Decision | None:
    """The decision, if memory alone may give it (no token, fresh State, snapshots present); None: ask in a thread.

    Never blocks. Compare with `is None`: a denial is falsy too.
    """
    if SWITCH.on is not None:
        return None
    state = reader.warm(realm)
    decision = None if state is None else _from_memory(state, request, superuser)
    if decision is not None:
        _count(decision)
    return decision


def warm_many(requests: Sequence[Request], realm: str, *, superuser: bool = False) -> list[Decision] | None:
    """`warm` for a batch: all of one State, or None."""
    state = None if SWITCH.on is not None else reader.warm(realm)
    if state is None:
        return None
    decisions = []
    for request in requests:
        decision = _from_memory(state, request, superuser)
        if decision is None:
            return None
        decisions.append(decision)
    for decision in decisions:
        _count(decision)
    return decisions


def _from_memory(state: State, request: Request, superuser: bool) -> Decision | None:
    if request.permission in state.critical or needs_rows(request):
        return None
    subject = state.subjects.get(request.subject)
    if subject is None:
        return None
    now_us = reader.clock_us() + state.offset_us
    if subject.until_us is not None and now_us >= subject.until_us:
        return None
    resource = None
    if request.resource is not None:
        resource = state.resources.get(request.resource)
        if resource is None:
            return None
    decision = evaluate(state.table, subject, resource, request, now_us, superuser_allowed=superuser)
    decision.revision = state.head.rev
    decision.source = "l1"
    return decision


def position(realm: str) -> tuple[int, str, int, int] | None:
    """Key of the newest revision known, while memory alone may answer for it; None: ask the database. Never blocks.

    What was read at this key still holds: a revoked API key, too, is a revision.
    """
    state = reader.warm(realm)
    return None if state is None else state.head.key


def refresh(realm: str) -> None:
    """Asks for the newest revision where memory may not answer for it; `position` knows it then. Raises what a check raises."""
    reader.pin(realm, [])


def token_at(realm: str, revision: int) -> str:
    """The token of the revision that a decision was evaluated at."""
    return revisions.mint(replace(reader.head_of(realm), rev=revision))


def _count(decision: Decision) -> None:
    by = _counts.by
    by[decision.source] += 1
    by["allowed" if decision.allowed else "denied"] += 1


def _refuse_in_maintenance(permissions: Iterable[str]) -> None:
    """Step 2 of the order of a decision: one gate for all doors, by permission; the site's own door judges paths."""
    if SWITCH.on is None:
        return
    for permission in permissions:
        refused = maintenance.active(permission=permission)
        if refused is not None:
            raise UnderMaintenance(maintenance.message(refused), retry_after_s=maintenance.retry_after(refused)) from refused


def decide_many(
    requests: Sequence[Request],
    *,
    realm: str = "default",
    token: str | Token | None = None,
    full: bool = False,
    superuser: bool = False,
    at: dt.datetime | None = None,
) -> list[Decision]:
    """Decisions of one State, in order. The requests must come from `question` or have been checked the same way."""
    if not requests:
        return []
    _refuse_in_maintenance(request.permission for request in requests)
    wanted, full = _token_of(token, full)
    pinned = reader.pin(realm, requests, token=wanted, full=full, at_us=_instant(at))
    decisions = []
    for place, request in enumerate(requests):
        subject, resource = pinned.of(place, request)
        decision = evaluate(pinned.table, subject, resource, request, pinned.now_us, superuser_allowed=superuser)
        decision.revision = pinned.head.rev
        decision.source = pinned.source
        _count(decision)
        decisions.append(decision)
    return decisions


def decide(
    request: Request,
    *,
    realm: str = "default",
    token: str | Token | None = None,
    full: bool = False,
    superuser: bool = False,
    at: dt.datetime | None = None,
) -> Decision:
    if token is None and not full and at is None and not _here.connection.in_atomic_block:
        decision = warm(request, realm, superuser=superuser)
        if decision is not None:
            return decision
    return decide_many([request], realm=realm, token=token, full=full, superuser=superuser, at=at)[0]


def check(
    subject: str,
    permission: str,
    resource: str | None = None,
    *,
    context: Attributes | None = None,
    realm: str = "default",
    at: dt.datetime | None = None,
    token: str | None = None,
    full: bool = False,
    subject_properties: Attributes | None = None,
    resource_properties: Attributes | None = None,
    action_properties: Attributes | None = None,
    asserted: Asserted = "fill",
) -> Decision:
    """May `subject` do `permission` to `resource` (to the realm itself when None)?"""
    if token is None and not full and at is None and not (subject_properties or resource_properties or action_properties):
        decision = _quick(subject, permission, resource, context, realm)
        if decision is not None:
            return decision
    request = question(
        subject,
        permission,
        resource,
        context=context,
        subject_properties=subject_properties,
        resource_properties=resource_properties,
        action_properties=action_properties,
        asserted=asserted,
    )
    return decide(request, realm=realm, token=token, full=full, at=at)


def _quick(subject: str, permission: str, resource: str | None, context: Attributes | None, realm: str) -> Decision | None:
    """The decision of `check` for texts that memory knows, so that were looked at when they came into it; else None.

    Looking at three texts again, and asking Django whether a transaction is open, took five times as long as deciding (measured).
    """
    if context or type(subject) is not str or type(permission) is not str or (resource is not None and type(resource) is not str):
        return None
    state = None if SWITCH.on is not None else reader.warm(realm)
    if state is None or permission not in state.table.index.bits or _here.connection.in_atomic_block:
        return None
    decision = _from_memory(
        state, Request(subject, permission, resource, NO_ATTRIBUTES, NO_ATTRIBUTES, NO_ATTRIBUTES, NO_ATTRIBUTES), False
    )
    if decision is not None:
        _count(decision)
    return decision


def check_many(
    items: Sequence[Question],
    *,
    realm: str = "default",
    at: dt.datetime | None = None,
    token: str | None = None,
    full: bool = False,
    asserted: Asserted = "fill",
) -> list[Decision]:
    """One decision an item, in order, all at one revision. An item is (subject, permission, resource?) or a mapping."""
    if len(items) > MAX_BATCH:
        raise InvalidRequestError(f"{len(items)} checks in a batch; at most {MAX_BATCH} are allowed")
    requests = []
    for place, item in enumerate(items):
        try:
            requests.append(question_of(item, asserted))
        except InvalidRequestError as error:
            raise InvalidRequestError(f"item {place}: {error}") from error
    return decide_many(requests, realm=realm, token=token, full=full, at=at)


def explain(
    subject: str,
    permission: str,
    resource: str | None = None,
    *,
    context: Attributes | None = None,
    realm: str = "default",
    at: dt.datetime | None = None,
    token: str | None = None,
    full: bool = False,
    subject_properties: Attributes | None = None,
    resource_properties: Attributes | None = None,
    action_properties: Attributes | None = None,
    asserted: Asserted = "fill",
) -> Explanation:
    """The decision of `check` with the path that decided, or the nearest missing grants."""
    request = question(
        subject,
        permission,
        resource,
        context=context,
        subject_properties=subject_properties,
        resource_properties=resource_properties,
        action_properties=action_properties,
        asserted=asserted,
    )
    return explain_request(request, realm=realm, token=token, full=full, at=at)


def explain_request(
    request: Request,
    *,
    realm: str = "default",
    token: str | Token | None = None,
    full: bool = False,
    at: dt.datetime | None = None,
    superuser: bool = False,
) -> Explanation:
    _refuse_in_maintenance([request.permission])
    wanted, full = _token_of(token, full)
    return explaining.explain(request, realm=realm, token=wanted, full=full, at_us=_instant(at), superuser=superuser)


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
    _refuse_in_maintenance([permission])
    wanted, full = _token_of(token, full)
    return subject_lookup.who_can(request, realm=realm, kind=type, token=wanted, full=full, at_us=_instant(at))


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
    """Pairs (permission, resource) for which `check` says yes; see `lookup/resources.py` for which pairs are asked."""
    request = question(subject, permission or "any:any", resource, context=context)
    _refuse_in_maintenance([request.permission])
    wanted, full = _token_of(token, full)
    return resource_lookup.what_can(
        request, realm=realm, permission=permission, kind=type, token=wanted, full=full, at_us=_instant(at)
    )


def in_thread(function: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]:
    """The async twin of a function that may ask the database."""

    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        # No Django request surrounds this thread, so nobody else drops a connection that the server has closed. No server closes
        # a file, and opening SQLite's again took 4.4 ms, against 0.12 ms for asking it for the head (measured).
        if connection.vendor != "sqlite" and not connection.in_atomic_block:
            close_old_connections()
        return function(*args, **kwargs)

    @wraps(function)
    async def twin(*args: P.args, **kwargs: P.kwargs) -> R:
        return await sync_to_async(run)(*args, **kwargs)

    return twin


acheck = in_thread(check)
acheck_many = in_thread(check_many)
adecide = in_thread(decide)
adecide_many = in_thread(decide_many)
aexplain = in_thread(explain)
aexplain_request = in_thread(explain_request)
awho_can = in_thread(who_can)
awhat_can = in_thread(what_can)
atoken_at = in_thread(token_at)


def wire_superuser() -> bool:
    """Whether step 6 of the order holds on the wire (setting SUPERUSER_ON_WIRE, off by default)."""
    return conf.superuser_on_wire()
