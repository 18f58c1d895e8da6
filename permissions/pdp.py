"""The only door to a decision: check, check_many, explain, who_can, what_can, each with an async twin.

    from permissions import pdp
    pdp.check("user:alice", "post:edit", "channel:9", context={"mfa": True})

All take `realm="default"`, `at=` (an aware datetime; a past one only for checks and explanations), `token=` and `full=`. They
raise InvalidRequestError (a question that cannot be decided), Unavailable (ask again after `retry_after_s`; UnderMaintenance is
one) and TokenFromFuture (a token this realm has not reached). Answers are those of the law in `docs/subsystems/decision.md`.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from functools import wraps
from time import clock_gettime_ns
from typing import Any, Final, TypedDict, Unpack
from weakref import WeakKeyDictionary

from permissions import asking, conf, decision_log, metrics, revisions, timeline
from permissions import explain as explaining
from permissions.asking import in_thread
from permissions.cache import figures, reader
from permissions.cache.pinned import Pinned
from permissions.cache.reader import Position
from permissions.cache.reading import CLOCK
from permissions.cache.realm import STATES
from permissions.cache.transactions import waits_with_writes
from permissions.engine.evaluate import evaluate
from permissions.engine.explain import Explanation
from permissions.engine.questions import Question, question, question_of
from permissions.engine.reasons import InvalidRequestError, Unavailable, UnderMaintenance
from permissions.engine.types import Asserted, Attributes, Decision, Request
from permissions.lookup import held as held_lookup
from permissions.lookup import queryset as queryset_lookup
from permissions.lookup.paging import Page
from permissions.lookup.pairs import Access, AccessPage
from permissions.revisions import Token, TokenFromFuture
from permissions.searches import (
    asearch_actions,
    asearch_resources,
    asearch_subjects,
    awhat_can,
    awho_can,
    search_actions,
    search_resources,
    search_subjects,
    what_can,
    what_can_page,
    who_can,
    who_can_page,
)
from permissions.warm import (
    HERE,
    WATCH,
    is_in_transaction,
    keeps_nothing_out,
    met,
    plain,
    plain_one,
    walked,
    warm,
    warm_many,
    watched,
)
from permissions.warm_batch import plain_batch, plain_many
from resilience.maintenance import SWITCH

__all__ = [
    "Access",
    "AccessPage",
    "Decision",
    "Explanation",
    "InvalidRequestError",
    "Page",
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
    "asearch_actions",
    "asearch_resources",
    "asearch_subjects",
    "atoken_at",
    "awhat_can",
    "awho_can",
    "check",
    "check_many",
    "decide",
    "decide_many",
    "explain",
    "explain_request",
    "held",
    "held_apart",
    "in_thread",
    "key_holding",
    "permitted",
    "plain_batch",
    "plain_one",
    "question",
    "reset",
    "search_actions",
    "search_resources",
    "search_subjects",
    "stats",
    "token_at",
    "warm",
    "warm_many",
    "what_can",
    "what_can_page",
    "who_can",
    "who_can_page",
    "wire_superuser",
]

MAX_BATCH: Final = 1_000


def stats() -> dict[str, Any]:
    """Decisions of this process since its start, by the deepest layer reached and by outcome; and what the cache holds."""
    return {**metrics.totals(), **figures.stats()}


def reset() -> None:
    """Forgets what is kept in memory; the next check reads the database."""
    reader.reset()


def key_holding(realm: str, prefix: str, position: Position) -> Position | None:
    """Where an API key that was read at `position` is known to hold still; None: read it again. Never blocks.

    A revoked key is a revision that names it.
    """
    return reader.holding(realm, "k", prefix, position)


def refresh(realm: str) -> None:
    """Asks for the newest revision where memory is too old to answer. Raises what a check raises."""
    reader.pin(realm, [])


_refresh_in_thread = in_thread(refresh)


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
    past_us = asking.past_instant(at)
    if past_us is None:
        pinned = reader.pin(realm, requests, token=wanted, full=full, at_us=asking.instant(at))
    else:
        pinned = timeline.pin(realm, requests, at_us=past_us, token=wanted)
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
    if WATCH.is_on:
        for request, decision in zip(requests, decisions, strict=True):
            _note(realm, pinned, request, superuser, decision)
    return decisions


def _note(realm: str, pinned: Pinned, request: Request, superuser: bool, decision: Decision) -> None:
    decision_log.note(
        realm,
        pinned.head.epoch,
        request.subject,
        request.permission,
        request.resource,
        decision,
        pinned.now_us,
        pinned.slack_us,
        request,
        superuser,
        pinned.source == "live" and is_in_transaction(),
    )


def _count(decisions: Sequence[Decision], pinned: Pinned) -> None:
    me = HERE.me
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
    if token is None and not full and at is None and not is_in_transaction():
        decision = warm(request, realm, superuser=superuser)
        if decision is not None:
            return decision
    return decide_many([request], realm=realm, token=token, full=full, superuser=superuser, at=at)[0]


class Options(TypedDict, total=False):
    """What a check may be asked with, beside the realm. `asserted` (default: fill) says how properties meet stored attributes."""

    context: Attributes | None
    at: dt.datetime | None
    token: str | None
    full: bool
    subject_properties: Attributes | None
    resource_properties: Attributes | None
    action_properties: Attributes | None
    asserted: Asserted


def check(
    subject: str, permission: str, resource: str | None = None, *, realm: str = "default", **options: Unpack[Options]
) -> Decision:
    """May `subject` do `permission` to `resource` (to the realm itself when None)?"""
    # Options come as a dict: eight defaults of their own would cost every call that has none of them 60 ns.
    if not options:
        # What follows is `plain`, line by line: it is the way of nearly every check, and a call would add a tenth to it.
        decision = None
        try:
            state = STATES[realm]
            mask = state.fast[subject]
            byte, bit = state.quick[permission]
            is_open = resource is None or keeps_nothing_out(state, resource)
        except (KeyError, TypeError):
            decision = met(subject, permission, resource, realm)
        else:
            if is_open and clock_gettime_ns(CLOCK) - state.known_head_ns <= state.max_age_ns and SWITCH.on is None:
                me = HERE.me
                if me.connection.autocommit or not is_in_transaction():
                    me.l1 += 1
                    if mask[byte] & bit:
                        me.allowed += 1
                        decision = state.granted
                    else:
                        decision = state.denied
                    if not me.l1 & WATCH.mask:
                        watched(state, subject, permission, resource, decision)
                    return decision
        if decision is not None:
            return decision
        request = question(subject, permission, resource)
        decision = None if is_in_transaction() else walked(request, realm)
        return decide_many([request], realm=realm)[0] if decision is None else decision
    return _ask(subject, permission, resource, realm, **options)


def _ask(
    subject: str,
    permission: str,
    resource: str | None,
    realm: str,
    *,
    at: dt.datetime | None = None,
    token: str | None = None,
    full: bool = False,
    **described: Any,
) -> Decision:
    return decide(question(subject, permission, resource, **described), realm=realm, token=token, full=full, at=at)


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
    if token is None and at is None and not full:
        answers = plain_many(items, realm)
        if answers is not None:
            return answers
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
    past_us = asking.past_instant(at)
    return explaining.explain(
        request,
        realm=realm,
        token=wanted,
        full=full,
        at_us=asking.instant(at) if past_us is None else past_us,
        is_past=past_us is not None,
        superuser=superuser,
    )


def held(
    request: Request, *, realm: str = "default", kind: str = "", token: str | Token | None = None, full: bool = False
) -> set[str]:
    """Codes, of one type if named, for which a check at `request.resource` says yes without an obligation."""
    wanted, full = asking.token_of(token, full)
    found = held_lookup.held(request, realm=realm, kind=kind, token=wanted, full=full, duties=False)
    return {code for code in found if asking.is_open(code)}


def held_apart(
    request: Request, *, realm: str = "default", token: str | Token | None = None, full: bool = False
) -> held_lookup.Apart:
    """As `held`, those that bindings of the subject itself give, and those that come through teams and everyone."""
    wanted, full = asking.token_of(token, full)
    own, others = held_lookup.apart(request, realm=realm, token=wanted, full=full, duties=False)
    return held_lookup.Apart({code for code in own if asking.is_open(code)}, {code for code in others if asking.is_open(code)})


def permitted(
    request: Request,
    kind: str,
    *,
    realm: str = "default",
    token: str | Token | None = None,
    full: bool = False,
    superuser: bool = False,
) -> queryset_lookup.Rule:
    """Where resources of `kind` are for which a check says yes, for the queryset filter (`permissions.pep.queryset`)."""
    asking.refuse_in_maintenance([request.permission])
    wanted, full = asking.token_of(token, full)
    return queryset_lookup.rule(request, kind, realm=realm, token=wanted, full=full, superuser=superuser)


_check_in_thread = in_thread(check)
_check_many_in_thread = in_thread(check_many)
_decide_in_thread = in_thread(decide)
_decide_many_in_thread = in_thread(decide_many)


# Of each event loop, the realms whose head a thread is asking for.
_refreshing: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, asyncio.Task[None]]] = WeakKeyDictionary()


def is_stale(realm: str) -> bool:
    """Whether nothing but the age of what memory holds keeps it from answering."""
    try:
        state = STATES.get(realm)
    except TypeError:  # no text: the slow way says so
        return False
    return state is not None and SWITCH.on is None and clock_gettime_ns(CLOCK) - state.known_head_ns > state.max_age_ns


async def afresh(realm: str) -> None:
    """Has the head asked for, once for all who wait. Raises what a check raises.

    On a host so busy that the follower comes late, every check of that moment would take a thread of its own to ask: 150 a
    second where there had been 8,000 (measured).
    """
    running = _refreshing.setdefault(asyncio.get_running_loop(), {})
    task = running.get(realm)
    if task is None:
        task = running[realm] = asyncio.ensure_future(_refresh_in_thread(realm))
        task.add_done_callback(lambda done: running.pop(realm, None) if running.get(realm) is done else None)
    await asyncio.wait([task])  # whoever waits may leave, and takes nobody else's answer along
    task.result()


@wraps(check)
async def acheck(
    subject: str, permission: str, resource: str | None = None, *, realm: str = "default", **options: Unpack[Options]
) -> Decision:
    """`check` for asynchronous callers: a plain question is answered where it is asked, any other in a thread."""
    if not options and not waits_with_writes():
        decision = plain(subject, permission, resource, realm)
        if decision is None and is_stale(realm):
            await afresh(realm)
            decision = plain(subject, permission, resource, realm)
        if decision is not None:
            return decision
    return await _check_in_thread(subject, permission, resource, realm=realm, **options)


@wraps(check_many)
async def acheck_many(items: Sequence[Question], **options: Any) -> list[Decision]:
    if len(items) <= MAX_BATCH and not options.keys() - {"realm"} and not waits_with_writes():
        decisions = plain_many(items, options.get("realm", "default"))
        if decisions is not None:
            return decisions
    return await _check_many_in_thread(items, **options)


@wraps(decide)
async def adecide(
    request: Request, *, realm: str = "default", token: str | Token | None = None, superuser: bool = False, **options: Any
) -> Decision:
    if token is None and not options and is_stale(realm) and not waits_with_writes():
        await afresh(realm)
        decision = warm(request, realm, superuser=superuser)
        if decision is not None:
            return decision
    return await _decide_in_thread(request, realm=realm, token=token, superuser=superuser, **options)


@wraps(decide_many)
async def adecide_many(
    requests: Sequence[Request],
    *,
    realm: str = "default",
    token: str | Token | None = None,
    superuser: bool = False,
    **options: Any,
) -> list[Decision]:
    if token is None and not options and is_stale(realm) and not waits_with_writes():
        await afresh(realm)
        decisions = warm_many(requests, realm, superuser=superuser)
        if decisions is not None:
            return decisions
    return await _decide_many_in_thread(requests, realm=realm, token=token, superuser=superuser, **options)


aexplain = in_thread(explain)
aexplain_request = in_thread(explain_request)
atoken_at = in_thread(token_at)


def wire_superuser() -> bool:
    """Whether step 6 of the order holds on the wire (setting SUPERUSER_ON_WIRE, off by default)."""
    return conf.superuser_on_wire()
