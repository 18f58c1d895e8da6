"""Many plain questions at once: the warm path of `warm.py` for lists from Python and for batches of the wire."""

from __future__ import annotations

from collections.abc import Sequence
from time import clock_gettime_ns
from typing import Any, TypeVar

from permissions import decision_log
from permissions.cache.reading import CLOCK, boot_ns
from permissions.cache.realm import STATES, is_void
from permissions.cache.state import State
from permissions.engine.scopes import SubjectSnapshot
from permissions.engine.types import Decision
from permissions.warm import HERE, SAMPLE, WATCH, is_in_transaction, keeps_nothing_out, mask_of, opened, plain_mask, sampled
from resilience.maintenance import SWITCH

T = TypeVar("T")


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
            mask = None if held is None or is_void(held, state) else plain_mask(state, held)
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


def plain_batch(
    subjects: Sequence[str], permissions: Sequence[str], resources: Sequence[str], realm: str, answers: tuple[T, T]
) -> list[T] | None:
    """For each question, a column each, the first of `answers` for no, the second for yes, all of one State; None: this way
    cannot tell. Columns, because their look-ups run without a step of Python between them."""
    state = STATES.get(realm)
    if state is None or clock_gettime_ns(CLOCK) - state.known_head_ns > state.max_age_ns or SWITCH.on is not None:
        return None
    if is_in_transaction():
        return None
    found = _answered(state, subjects, permissions, resources, answers)
    if found is None:
        if not all(mask_of(state, subject) is not None for subject in set(subjects)):
            return None
        if not all(opened(state, resource) for resource in set(resources)):
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
    if WATCH.is_on:
        for place, answer in enumerate(given):
            decision = state.granted if answer is answers[1] else state.denied
            decision_log.note(realm, state.head.epoch, subjects[place], permissions[place], resources[place], decision)
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
