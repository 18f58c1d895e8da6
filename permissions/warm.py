"""The warm path: decisions that memory alone may give. No query, no Redis command, no lock.

A plain question is answered in one piece (`plain`): a subject with nothing but roles at the realm, a code without denies,
conditions, requirements or flags, a resource that keeps nothing out. Every other one walks (`from_memory`).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from time import clock_gettime_ns
from typing import Final, TypeVar

from django.db import DEFAULT_DB_ALIAS, connections

from permissions import decision_log, metrics
from permissions.cache import memory, reader
from permissions.cache.reading import CLOCK
from permissions.cache.realm import STATES, is_void
from permissions.cache.state import State
from permissions.engine import names
from permissions.engine.evaluate import evaluate
from permissions.engine.questions import needs_rows
from permissions.engine.reasons import FAULTS
from permissions.engine.scopes import SubjectSnapshot
from permissions.engine.types import Decision, Request
from resilience import telemetry
from resilience.maintenance import SWITCH

T = TypeVar("T")

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


HERE: Final = _Here()


def is_in_transaction() -> bool:
    """Whether the caller stands in one: its own rows may tell what memory does not know."""
    on = HERE.me.connection
    # A connection that was never opened has no autocommit either.
    return not on.autocommit and (on.in_atomic_block or on.connection is not None)


# Which checks of a thread are looked at once more: those whose number has none of the bits of `WATCH.mask`; all of them while the
# decision log is on.
WATCH: Final = decision_log.ON


def plain(subject: str, permission: str, resource: str | None, realm: str) -> Decision | None:
    """The answer to a plain question from a fresh State; None: this way cannot tell, or it is no plain one.

    Each text is one that memory knows, so it was looked at when it came in. Written out in one piece, and once more in
    `pdp.check`: each call in it would cost a tenth of the whole (measured). The answers of a revision are the same two objects
    for every caller.
    """
    try:
        state = STATES[realm]
        mask = state.fast[subject]
        byte, bit = state.quick[permission]
        is_open = resource is None or keeps_nothing_out(state, resource)
    except (KeyError, TypeError):  # not known, or something that is no text: the other ways say so
        return met(subject, permission, resource, realm)
    if not is_open or clock_gettime_ns(CLOCK) - state.known_head_ns > state.max_age_ns or SWITCH.on is not None:
        return None
    me = HERE.me
    if not me.connection.autocommit and is_in_transaction():
        return None
    me.l1 += 1
    if mask[byte] & bit:
        me.allowed += 1
        answer = state.granted
    else:
        answer = state.denied
    if not me.l1 & WATCH.mask:
        watched(state, subject, permission, resource, answer)
    return answer


def met(subject: str, permission: str, resource: str | None, realm: str) -> Decision | None:
    """`plain` for a subject that this State has not met, or one with more than roles at the realm."""
    try:
        state = STATES.get(realm)
        if state is None or clock_gettime_ns(CLOCK) - state.known_head_ns > state.max_age_ns or SWITCH.on is not None:
            return None
        held = state.subjects.young.get(subject)
        place = state.quick.get(permission)
        if held is None or place is None or is_void(held, state):
            return None
        if resource is not None and (held.scopes or not keeps_nothing_out(state, resource)):
            return None
    except TypeError:
        return None
    mask = plain_mask(state, held)
    if mask is None:
        if held.quick is None:
            return None
        masks = state.table.masks(held.quick)
        if masks.special[place[0]] & place[1]:
            return None
        mask = masks.allow  # of this code, no more: another one of the set takes a walk
    elif not held.scopes:
        state.keep_fast(subject, mask)
    me = HERE.me
    if is_in_transaction():
        return None
    me.l1 += 1
    allowed = bool(mask[place[0]] & place[1])
    me.allowed += allowed
    answer = state.granted if allowed else state.denied
    if not me.l1 & WATCH.mask:
        watched(state, subject, permission, resource, answer)
    return answer


def watched(state: State, subject: str, permission: str, resource: str | None, answer: Decision) -> None:
    """The decision log, where it is on; and of one warm check in many, that the realm is in use and the subject may be hot."""
    if WATCH.is_on:
        decision_log.note(state.cache.name, state.head.epoch, subject, permission, resource, answer)
    if not HERE.me.l1 & SAMPLE:
        sampled(state, subject)


def sampled(state: State, subject: str) -> None:
    """To look it up keeps it among the last used."""
    held = state.subjects.get(subject)
    if held is not None:
        reader.sample(state, held)


def keeps_nothing_out(state: State, resource: str) -> bool:
    """Whether what is held at the realm alone decides on the resource, for a subject that holds nothing anywhere else."""
    is_unknown = state.open.get(resource)
    if is_unknown is not None:
        if is_unknown:
            HERE.me.filtered += 1
        return True
    if not state.is_uniform:
        return False
    node = state.resources.young.get(resource)
    if (
        node is None
        or node.open_from
        or node.built_rev > state.rev
        or (node.closure is not None and node.closure.changed_rev > node.built_rev)
    ):
        return False
    state.keep_open(resource, is_unknown=False)
    return True


def opened(state: State, resource: str) -> bool:
    """`keeps_nothing_out` for a text that nobody has looked at yet, and for ids that no row names."""
    if keeps_nothing_out(state, resource):
        return True
    if not state.is_uniform or not state.cache.is_unknown("r", state, resource):
        return False
    try:
        names.check_ref(resource, "resource")
    except names.BadNameError:
        return False
    state.keep_open(resource, is_unknown=True)
    return True


def plain_mask(state: State, held: SubjectSnapshot) -> bytes | None:
    """What the subject's roles at the realm allow, where that alone decides on every code."""
    roles = held.quick
    if roles is None:
        return None
    mask = state.plain.get(roles)
    return (state.plain_mask(roles) if mask is None else mask) or None


def mask_of(state: State, subject: str) -> bytes | None:
    """What a subject that holds nothing but roles at the realm is allowed; None for every other one."""
    mask = state.fast.get(subject)
    if mask is None:
        held = state.subjects.get(subject)
        if held is None or held.scopes or is_void(held, state):
            return None
        mask = plain_mask(state, held)
        if mask is not None:
            state.keep_fast(subject, mask)
    return mask


def plain_one(subject: str, permission: str, resource: str, realm: str) -> Decision | None:
    """`plain` for texts that nobody has looked at yet, as the wire has them; line by line its twin, for the same reason."""
    try:
        state = STATES[realm]
        mask = state.fast[subject]
        byte, bit = state.quick[permission]
        is_unknown = state.open[resource]
    except KeyError:
        return _met_one(subject, permission, resource, realm)
    if clock_gettime_ns(CLOCK) - state.known_head_ns > state.max_age_ns or SWITCH.on is not None:
        return None
    me = HERE.me
    on = me.connection
    # The event loop's connection is never opened, and one that never was has no autocommit either.
    if not on.autocommit and (on.in_atomic_block or on.connection is not None):
        return None
    me.l1 += 1
    me.filtered += is_unknown
    if mask[byte] & bit:
        me.allowed += 1
        answer = state.granted
    else:
        answer = state.denied
    if not me.l1 & WATCH.mask:
        watched(state, subject, permission, resource, answer)
    return answer


def _met_one(subject: str, permission: str, resource: str, realm: str) -> Decision | None:
    state = STATES.get(realm)
    if state is None or permission not in state.quick or not opened(state, resource):
        return None
    if mask_of(state, subject) is not None:
        return plain(subject, permission, resource, realm)
    return _stranger(state, subject, permission, resource, realm) if state.cache.is_unknown("s", state, subject) else None


def _stranger(state: State, subject: str, permission: str, resource: str, realm: str) -> Decision | None:
    """For an id that no row names. The walk tells the reason; where everyone holds anything no code is quick."""
    try:
        names.check_ref(subject, "subject")
    except names.BadNameError:
        return None
    return walked(Request(subject, permission, resource), realm)


def warm(request: Request, realm: str, *, superuser: bool = False) -> Decision | None:
    """The decision, if memory alone may give it (no token, fresh State, snapshots present); None: ask in a thread.

    Never blocks. Compare with `is None`: a denial is falsy too.
    """
    # The log is told all that the caller brought, which a plain answer does not look at.
    is_told = WATCH.is_on and any(
        (request.context, request.subject_properties, request.resource_properties, request.action_properties)
    )
    if not superuser and not is_told and not needs_rows(request):
        decision = plain(request.subject, request.permission, request.resource, realm)
        if decision is not None:
            return decision
    return walked(request, realm, superuser=superuser)


def walked(request: Request, realm: str, *, superuser: bool = False) -> Decision | None:
    """`warm` for what is no plain question."""
    state = None if SWITCH.on is not None else reader.warm(realm)
    if state is None:
        return None
    now_us = memory.now_us(state)
    decision = _from_memory(state, request, superuser, now_us)
    if WATCH.is_on and decision is not None:
        _note(state, request, superuser, now_us, decision)
    return decision


def warm_many(requests: Sequence[Request], realm: str, *, superuser: bool = False) -> list[Decision] | None:
    """`warm` for a batch: all of one State, or None."""
    state = None if SWITCH.on is not None else reader.warm(realm)
    if state is None:
        return None
    now_us = memory.now_us(state)
    decisions = []
    for request in requests:
        decision = None if superuser or needs_rows(request) else _plainly(state, request)
        if decision is None:
            decision = _from_memory(state, request, superuser, now_us)
        if decision is None:
            return None
        decisions.append(decision)
    if WATCH.is_on:
        for request, decision in zip(requests, decisions, strict=True):
            _note(state, request, superuser, now_us, decision)
    return decisions


def _plainly(state: State, request: Request) -> Decision | None:
    """What properties and context say changes no answer of a plain code."""
    place = state.quick.get(request.permission)
    mask = None if place is None else mask_of(state, request.subject)
    if place is None or mask is None or (request.resource is not None and not keeps_nothing_out(state, request.resource)):
        return None
    me = HERE.me
    me.l1 += 1
    if not mask[place[0]] & place[1]:
        return state.denied
    me.allowed += 1
    return state.granted


def _note(state: State, request: Request, superuser: bool, now_us: int, decision: Decision) -> None:
    decision_log.note(
        state.cache.name,
        state.head.epoch,
        request.subject,
        request.permission,
        request.resource,
        decision,
        now_us,
        state.slack_us,
        request,
        superuser,
    )


def _from_memory(state: State, request: Request, superuser: bool, now_us: int) -> Decision | None:
    if request.permission in state.critical or needs_rows(request):
        return None
    recalled = memory.recall(state, request, now_us)
    if recalled is None:
        return None
    subject, resource, is_filtered = recalled
    decision = evaluate(state.table, subject, resource, request, now_us, superuser_allowed=superuser, slack_us=state.slack_us)
    me = HERE.me
    me.l1 += 1
    me.allowed += decision.allowed
    me.filtered += is_filtered
    if decision.reason in FAULTS:
        telemetry.count("permission_condition_errors_total")
    if not me.l1 & SAMPLE:
        reader.sample(state, subject)
    return Decision(decision.allowed, decision.reason, state.rev, "l1", decision.obligations)
