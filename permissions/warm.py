"""The warm path: decisions that memory alone may give. No query, no Redis command, no lock.

A plain question is answered in one piece (`plain`): a subject with nothing but roles at the realm, a code without denies,
conditions, requirements or flags, a resource that keeps nothing out. Every other one walks (`from_memory`).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from time import clock_gettime_ns
from typing import Any, Final, TypeVar

from django.db import DEFAULT_DB_ALIAS, connections

from permissions import decision_log, metrics
from permissions.cache import memory, reader
from permissions.cache.reading import CLOCK, boot_ns
from permissions.cache.realm import STATES, is_void
from permissions.cache.state import State
from permissions.engine import names
from permissions.engine.evaluate import evaluate
from permissions.engine.questions import needs_rows
from permissions.engine.scopes import SubjectSnapshot
from permissions.engine.types import Decision, Request
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
    mask = _plain_mask(state, held)
    if mask is None:
        return None
    if not held.scopes:
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


def _is_open(state: State, resource: str) -> bool:
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


def plain_many(questions: Sequence[Any], realm: str) -> list[Decision] | None:
    """The answers to plain questions, (subject, permission[, resource]) each, all of one State; None: this way cannot tell."""
    try:
        state = STATES.get(realm)
        if state is None or clock_gettime_ns(CLOCK) - state.known_head_ns > state.max_age_ns or SWITCH.on is not None:
            return None
        answers = _plain_answers(state, questions)
    except TypeError:  # as above
        return None
    me = HERE.me
    if not answers or is_in_transaction():
        return None
    if WATCH.is_on:
        for question, answer in zip(questions, answers, strict=True):
            decision_log.note(
                realm, state.head.epoch, question[0], question[1], question[2] if len(question) == 3 else None, answer
            )
    me.l1 += len(answers)
    me.allowed += sum(answer is state.granted for answer in answers)
    state.cache.used_ns = boot_ns()
    return answers


def _plain_answers(state: State, questions: Sequence[Any]) -> list[Decision] | None:
    """What one question found of subject and resource serves the next of the same."""
    subject: object = None
    resource: object = None
    held: SubjectSnapshot | None = None
    mask: bytes | None = None
    answers: list[Decision] = []
    for question in questions:
        if type(question) is not tuple or not 2 <= len(question) <= 3:
            return None
        if question[0] is not subject:
            subject = question[0]
            held = state.subjects.young.get(question[0])
            mask = None if held is None or is_void(held, state) else _plain_mask(state, held)
            resource = None
        place = state.quick.get(question[1])
        if mask is None or held is None or place is None:
            return None
        if len(question) == 3 and question[2] is not resource:
            resource = question[2]
            if resource is not None and (held.scopes or not keeps_nothing_out(state, question[2])):
                return None
        answers.append(state.granted if mask[place[0]] & place[1] else state.denied)
    return answers


def _plain_mask(state: State, held: SubjectSnapshot) -> bytes | None:
    return None if held.quick is None else state.plain.get(held.quick) or state.plain_mask(held.quick)


def _mask_of(state: State, subject: str) -> bytes | None:
    """What a subject that holds nothing but roles at the realm is allowed; None for every other one."""
    mask = state.fast.get(subject)
    if mask is None:
        held = state.subjects.get(subject)
        if held is None or held.scopes or is_void(held, state):
            return None
        mask = _plain_mask(state, held)
        if mask is not None:
            state.keep_fast(subject, mask)
    return mask


def plain_one(subject: str, permission: str, resource: str, realm: str) -> Decision | None:
    """`plain` for texts that nobody has looked at yet."""
    decision = plain(subject, permission, resource, realm)
    if decision is None:
        state = STATES.get(realm)
        if state is not None and resource not in state.open and _is_open(state, resource):
            decision = plain(subject, permission, resource, realm)
    return decision


def plain_batch(
    subjects: Sequence[str], permissions: Sequence[str], resources: Sequence[str], realm: str, answers: tuple[T, T]
) -> list[T] | None:
    """For each question, a column each, the first of `answers` for no, the second for yes, all of one State; None: this way
    cannot tell. Columns, because their look-ups run without a step of Python between them."""
    state = STATES.get(realm)
    if state is None or clock_gettime_ns(CLOCK) - state.known_head_ns > state.max_age_ns or SWITCH.on is not None:
        return None
    if WATCH.mask != SAMPLE or is_in_transaction():  # watched checks are told of one by one
        return None
    found = _answered(state, subjects, permissions, resources, answers)
    if found is None:
        if not all(_mask_of(state, subject) is not None for subject in set(subjects)):
            return None
        if not all(_is_open(state, resource) for resource in set(resources)):
            return None
        found = _answered(state, subjects, permissions, resources, answers)
        if found is None:
            return None
    given, filtered = found
    me = HERE.me
    before = me.l1
    me.l1 += len(given)
    me.allowed += given.count(answers[1])
    me.filtered += filtered
    if (before ^ me.l1) & ~SAMPLE:
        sampled(state, subjects[0])
    return given


def _answered(
    state: State, subjects: Sequence[str], permissions: Sequence[str], resources: Sequence[str], answers: tuple[T, T]
) -> tuple[list[T], int] | None:
    """From what is known to be plain already; and how many resources no row names."""
    no, yes = answers
    try:
        filtered = sum(map(state.open.__getitem__, resources))
        columns = zip(map(state.fast.__getitem__, subjects), map(state.quick.__getitem__, permissions), strict=True)
        return [yes if mask[place[0]] & place[1] else no for mask, place in columns], filtered
    except KeyError:
        return None


def warm(request: Request, realm: str, *, superuser: bool = False) -> Decision | None:
    """The decision, if memory alone may give it (no token, fresh State, snapshots present); None: ask in a thread.

    Never blocks. Compare with `is None`: a denial is falsy too.
    """
    if not superuser and not request.resource_properties and request.asserted != "override":
        decision = plain(request.subject, request.permission, request.resource, realm)
        if decision is not None:
            return decision
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
        decision = _from_memory(state, request, superuser, now_us)
        if decision is None:
            return None
        decisions.append(decision)
    if WATCH.is_on:
        for request, decision in zip(requests, decisions, strict=True):
            _note(state, request, superuser, now_us, decision)
    return decisions


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
    if not me.l1 & SAMPLE:
        reader.sample(state, subject)
    return Decision(decision.allowed, decision.reason, state.rev, "l1", decision.obligations)
