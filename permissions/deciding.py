"""Checks, batches and explanations, for callers that may wait: warm answers first, then the read path."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from time import clock_gettime_ns
from typing import Any, Final, TypedDict, Unpack

from permissions import asking, decision_log, revisions, timeline
from permissions import explain as explaining
from permissions.cache import reader
from permissions.cache.pinned import Pinned
from permissions.cache.reading import CLOCK
from permissions.cache.realm import STATES
from permissions.engine.evaluate import evaluate
from permissions.engine.explain import Explanation
from permissions.engine.questions import Question, question, question_of
from permissions.engine.reasons import FAULTS, MAINTENANCE, UNAVAILABLE, InvalidRequestError, Unavailable, UnderMaintenance
from permissions.engine.types import Asserted, Attributes, Decision, Request
from permissions.revisions import Token
from permissions.warm import (
    HERE,
    WATCH,
    is_in_transaction,
    keeps_nothing_out,
    met,
    walked,
    warm,
    watched,
)
from permissions.warm_batch import plain_many
from resilience import telemetry
from resilience.maintenance import SWITCH

MAX_BATCH: Final = 1_000


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
    try:
        return _decided(requests, realm, token, full, superuser, at)
    except Unavailable as error:
        reason = MAINTENANCE if isinstance(error, UnderMaintenance) else UNAVAILABLE
        telemetry.count("permission_check_errors_total", reason, by=len(requests))
        first = requests[0]
        decision_log.fail(realm, first.subject, first.permission, first.resource, reason)
        raise


def _decided(  # noqa: PLR0917 - by place, since it is called once, above
    requests: Sequence[Request],
    realm: str,
    token: str | Token | None,
    full: bool,
    superuser: bool,
    at: dt.datetime | None,
) -> list[Decision]:
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
    faults = sum(decision.reason in FAULTS for decision in decisions)
    if faults:
        telemetry.count("permission_condition_errors_total", by=faults)


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
