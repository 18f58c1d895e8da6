"""Plain questions on the wire, read in one step: subject, action and resource named and nothing else said.

Nearly every message is one, and reading it as any other takes four times as long as deciding it. Whatever is not exactly so is
None here: `messages.py` and `batch.py` read it, and they alone refuse. So nothing here may take a message that they would refuse,
or read it otherwise; `tests/permissions/authzen/test_plain.py` holds both ways to each other.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from permissions.authzen.batch import MAX_ITEMS
from permissions.authzen.ports import DecisionPoint

YES: Final = b'{"decision":true}'
NO: Final = b'{"decision":false}'


class _Entity(msgspec.Struct, gc=False):
    type: str
    id: str


class _Action(msgspec.Struct, gc=False):
    name: str


class _Question(msgspec.Struct, gc=False):
    subject: _Entity
    action: _Action
    resource: _Entity


class _Item(msgspec.Struct, gc=False):
    subject: _Entity | UnsetType = UNSET
    action: _Action | UnsetType = UNSET
    resource: _Entity | UnsetType = UNSET


class _Batch(msgspec.Struct, gc=False):
    evaluations: list[_Item]
    subject: _Entity | UnsetType = UNSET
    action: _Action | UnsetType = UNSET
    resource: _Entity | UnsetType = UNSET


_question: Final = msgspec.json.Decoder(_Question).decode
_batch: Final = msgspec.json.Decoder(_Batch).decode
# Colons: each member costs one, its own and those of what it holds.
_ENTITY: Final = 3
_ACTION: Final = 2
_QUESTION: Final = _ENTITY + _ACTION + _ENTITY


def evaluation(body: bytes, realm: str, pdp: DecisionPoint) -> bytes | None:
    """The answer to a single question."""
    # All eight members are there, or it does not decode; so with eight colons and no escape there is no further member, none
    # stands twice, and none of the texts holds a colon.
    if body.count(b":") != _QUESTION or b"\\" in body:
        return None
    try:
        asked = _question(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    kind = asked.resource.type
    given = pdp.plain_one(
        f"{asked.subject.type}:{asked.subject.id}", f"{kind}:{asked.action.name}", f"{kind}:{asked.resource.id}", realm
    )
    return None if given is None else YES if given.allowed else NO


def evaluations(body: bytes, realm: str, pdp: DecisionPoint) -> bytes | None:
    """The answers to a batch whose items all bring the same of subject, action and resource, and take the rest from the top."""
    if b"\\" in body:
        return None
    try:
        asked = _batch(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    items = asked.evaluations
    count = len(items)
    if not 1 <= count <= MAX_ITEMS:
        return None
    try:
        columns = _columns(asked, items)
    except AttributeError:  # of UNSET: an item lacks what the first one brings, or nobody brings it
        return None
    # What the first item does not bring, no other does: it would be a colon too many. Nor is there any other member.
    if body.count(b":") != _members(asked, items[0], count):
        return None
    given = pdp.plain_batch(*columns, realm, (NO, YES))
    return None if given is None else b'{"evaluations":[' + b",".join(given) + b"]}"


def _members(asked: _Batch, first: _Item, count: int) -> int:
    of_each = _ENTITY * (first.subject is not UNSET) + _ACTION * (first.action is not UNSET)
    of_each += _ENTITY * (first.resource is not UNSET)
    at_the_top = _ENTITY * (asked.subject is not UNSET) + _ACTION * (asked.action is not UNSET)
    at_the_top += _ENTITY * (asked.resource is not UNSET)
    return 1 + at_the_top + of_each * count


def _columns(asked: Any, items: list[Any]) -> tuple[list[str], list[str], list[str]]:
    """Subjects, permissions and resources. Raises AttributeError where one of them is not to be had."""
    first, count = items[0], len(items)
    if first.subject is UNSET:
        subjects = [f"{asked.subject.type}:{asked.subject.id}"] * count
    else:
        subjects = [f"{item.subject.type}:{item.subject.id}" for item in items]
    if first.resource is UNSET:
        kind = asked.resource.type
        resources = [f"{kind}:{asked.resource.id}"] * count
        if first.action is UNSET:
            return subjects, [f"{kind}:{asked.action.name}"] * count, resources
        return subjects, [f"{kind}:{item.action.name}" for item in items], resources
    resources = [f"{item.resource.type}:{item.resource.id}" for item in items]
    if first.action is UNSET:
        name = asked.action.name
        return subjects, [f"{item.resource.type}:{name}" for item in items], resources
    return subjects, [f"{item.resource.type}:{item.action.name}" for item in items], resources
