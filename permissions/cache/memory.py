"""What memory holds at a State: the snapshots of a question, and those that an id no row names has without a look."""

from __future__ import annotations

from collections.abc import Sequence

from permissions.cache.pinned import Pinned
from permissions.cache.reading import boot_ns
from permissions.cache.state import State
from permissions.engine.scopes import ResourceSnapshot, SubjectSnapshot, build_resource, build_subject
from permissions.engine.types import Request, ResourceFacts, ResourceNodeFact, SubjectFacts


def now_us(state: State) -> int:
    """The database's clock."""
    return boot_ns() // 1_000 + state.offset_us


def recall(state: State, request: Request, at_us: int) -> tuple[SubjectSnapshot, ResourceSnapshot | None, bool] | None:
    """The snapshots of one question, and whether a filter gave one; None where one is missing."""
    subject, is_filtered = _subject(state, request.subject, at_us)
    if subject is None:
        return None
    if request.resource is None:
        return subject, None, is_filtered
    resource, by_filter = _resource(state, request.resource)
    return None if resource is None else (subject, resource, is_filtered or by_filter)


def collect(state: State, requests: Sequence[Request]) -> tuple[Pinned, list[str], list[str]]:
    """The snapshots of many questions, and the refs of the subjects and resources that are missing."""
    at_us = now_us(state)
    pinned = Pinned(state.head, state.table, at_us, "l1", slack_us=state.slack_us)
    subjects: dict[str, None] = {}
    resources: dict[str, None] = {}
    for request in requests:
        ref, place = request.subject, request.resource
        if ref not in pinned.subjects and ref not in subjects:
            subject, is_filtered = _subject(state, ref, at_us)
            pinned.is_filtered |= is_filtered
            if subject is None:
                subjects[ref] = None
            else:
                pinned.subjects[ref] = subject
        if place is not None and place not in pinned.resources and place not in resources:
            resource, is_filtered = _resource(state, place)
            pinned.is_filtered |= is_filtered
            if resource is None:
                resources[place] = None
            else:
                pinned.resources[place] = resource
    return pinned, list(subjects), list(resources)


def _subject(state: State, ref: str, at_us: int) -> tuple[SubjectSnapshot | None, bool]:
    """As memory has it, and whether a filter knows that no row names it."""
    found = state.cache.subject(state, ref, at_us)
    if found is not None or not state.cache.is_unknown("s", state, ref):
        return found, False
    return build_subject(SubjectFacts(ref, known=False), at_us, keep_facts=False), True


def _resource(state: State, ref: str) -> tuple[ResourceSnapshot | None, bool]:
    found = state.cache.resource(state, ref)
    if found is not None or not state.cache.is_unknown("r", state, ref):
        return found, False
    return build_resource(ResourceFacts(ref, known=False, chain=(ResourceNodeFact(ref),))), True
