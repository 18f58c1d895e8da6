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
from collections.abc import Sequence
from dataclasses import replace
from time import clock_gettime_ns
from typing import Any, Final

from django.db import DEFAULT_DB_ALIAS, connections

from permissions import asking, conf, metrics, revisions
from permissions import explain as explaining
from permissions.asking import in_thread
from permissions.cache import reader
from permissions.cache.pinned import Pinned
from permissions.cache.reader import Position
from permissions.cache.state import State
from permissions.engine.evaluate import evaluate
from permissions.engine.explain import Explanation
from permissions.engine.questions import Question, needs_rows, question, question_of
from permissions.engine.reasons import InvalidRequestError, Unavailable, UnderMaintenance
from permissions.engine.types import Asserted, Attributes, Decision, Request
from permissions.lookup import resources as resource_lookup
from permissions.lookup import subjects as subject_lookup
from permissions.lookup.resources import Access
from permissions.revisions import Token, TokenFromFuture
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
    "in_thread",
    "key_holding",
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
# One warm check in so many is told to the cache: which subjects are hot, and that the realm is in use. A power of two, less one.
SAMPLE: Final = 63


class _Thread(metrics.Tally):
    """What a thread counts, and its database connection, which belongs to it alone; to find it by Django's proxy takes 2 µs."""

    __slots__ = ("connection",)

    def __init__(self) -> None:
        super().__init__()
        self.connection = connections[DEFAULT_DB_ALIAS]


class _Here(threading.local):
    def __init__(self) -> None:
        self.me = _Thread()


_here = _Here()
_STATES: Final = reader.states()
_CLOCK: Final = reader.CLOCK


def stats() -> dict[str, Any]:
    """Decisions of this process since its start, by the deepest layer reached and by outcome; and what the cache holds."""
    return {**metrics.totals(), **reader.stats()}


def reset() -> None:
    """Forgets what is kept in memory; the next check reads the database."""
    reader.reset()


def _plain(subject: str, permission: str, resource: str | None, realm: str) -> Decision | None:
    """The answer to a plain question from a fresh State in memory; None: this way cannot tell. No I/O, no lock.

    Plain: a subject with nothing but roles at the realm, a code without denies, conditions, requirements or flags, a resource
    that keeps nothing out. Each texts is one that memory knows, so it was looked at when it came in. Written out in one piece:
    each call in it would cost a tenth of the whole (measured).
    """
    state = _STATES.get(realm)
    if state is None or clock_gettime_ns(_CLOCK) - state.known_head_ns > state.max_age_ns or SWITCH.on is not None:
        return None
    try:
        held = state.subjects.young.get(subject)
        place = state.quick.get(permission)
        if held is None or place is None:
            return None
        roles = held.quick
        if roles is None or held.built_rev > state.rev:
            return None
        if held.closure is not None and held.closure.changed_rev > held.built_rev:
            return None
        if resource is not None:
            node = state.resources.young.get(resource)
            if (
                node is None
                or node.open_from
                or held.scopes
                or not state.is_uniform
                or node.built_rev > state.rev
                or (node.closure is not None and node.closure.changed_rev > node.built_rev)
            ):
                return None
    except TypeError:  # a subject, code or resource that is no text: the slow way says so
        return None
    mask = state.plain.get(roles) or state.plain_mask(roles)
    if mask is None:
        return None
    me = _here.me
    if me.connection.in_atomic_block:
        return None
    me.l1 += 1
    if not me.l1 & SAMPLE:
        reader.sample(state, held)
    if mask[place[0]] & place[1]:
        me.allowed += 1
        return state.granted
    return state.denied


def warm(request: Request, realm: str, *, superuser: bool = False) -> Decision | None:
    """The decision, if memory alone may give it (no token, fresh State, snapshots present); None: ask in a thread.

    Never blocks. Compare with `is None`: a denial is falsy too.
    """
    if not superuser and not request.resource_properties and request.asserted != "override":
        decision = _plain(request.subject, request.permission, request.resource, realm)
        if decision is not None:
            return decision
    if SWITCH.on is not None:
        return None
    state = reader.warm(realm)
    return None if state is None else _from_memory(state, request, superuser)


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
    return decisions


def _from_memory(state: State, request: Request, superuser: bool) -> Decision | None:
    if request.permission in state.critical or needs_rows(request):
        return None
    now_us = reader.now_us(state)
    recalled = reader.recall(state, request, now_us)
    if recalled is None:
        return None
    subject, resource, is_filtered = recalled
    decision = evaluate(state.table, subject, resource, request, now_us, superuser_allowed=superuser, slack_us=state.slack_us)
    me = _here.me
    me.l1 += 1
    me.allowed += decision.allowed
    me.filtered += is_filtered
    if not me.l1 & SAMPLE:
        reader.sample(state, subject)
    return Decision(decision.allowed, decision.reason, state.rev, "l1", decision.obligations)


def key_holding(realm: str, prefix: str, position: Position) -> Position | None:
    """Where an API key that was read at `position` is known to hold still; None: read it again. Never blocks.

    A revoked key is a revision that names it.
    """
    return reader.holding(realm, "k", prefix, position)


def refresh(realm: str) -> None:
    """Asks for the newest revision where memory is too old to answer. Raises what a check raises."""
    reader.pin(realm, [])


def token_at(realm: str, revision: int) -> str:
    """The token of the revision that a decision was evaluated at."""
    return revisions.mint(replace(reader.head_of(realm), rev=revision))


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
    asking.refuse_in_maintenance(request.permission for request in requests)
    wanted, full = asking.token_of(token, full)
    pinned = reader.pin(realm, requests, token=wanted, full=full, at_us=asking.instant(at))
    decisions = []
    for place, request in enumerate(requests):
        subject, resource = pinned.of(place, request)
        found = evaluate(
            pinned.table,
            subject,
            resource,
            request,
            pinned.now_us,
            superuser_allowed=superuser,
            slack_us=pinned.slack_us,
        )
        decisions.append(
            Decision(found.allowed, found.reason, pinned.head.rev, pinned.source, found.obligations, pinned.is_stale)
        )
    _count(decisions, pinned)
    return decisions


def _count(decisions: Sequence[Decision], pinned: Pinned) -> None:
    me = _here.me
    number = len(decisions)
    setattr(me, pinned.source, getattr(me, pinned.source) + number)
    me.allowed += sum(decision.allowed for decision in decisions)
    me.filtered += number if pinned.is_filtered else 0
    me.stale += number if pinned.is_stale else 0


def decide(
    request: Request,
    *,
    realm: str = "default",
    token: str | Token | None = None,
    full: bool = False,
    superuser: bool = False,
    at: dt.datetime | None = None,
) -> Decision:
    if token is None and not full and at is None and not _here.me.connection.in_atomic_block:
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
    if token is None and at is None and not (full or context or subject_properties or resource_properties or action_properties):
        decision = _plain(subject, permission, resource, realm)
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
    asking.refuse_in_maintenance([request.permission])
    wanted, full = asking.token_of(token, full)
    return explaining.explain(request, realm=realm, token=wanted, full=full, at_us=asking.instant(at), superuser=superuser)


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
    return subject_lookup.who_can(request, realm=realm, kind=type, token=wanted, full=full, at_us=asking.instant(at))


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
    asking.refuse_in_maintenance([request.permission])
    wanted, full = asking.token_of(token, full)
    return resource_lookup.what_can(
        request, realm=realm, permission=permission, kind=type, token=wanted, full=full, at_us=asking.instant(at)
    )


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
