"""The names a condition sees: stored attributes merged with those the caller brings, built only when a condition asks for them.

Source: semantics, "Conditions". Merged by top-level key: a nested value is taken whole from one side.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final

from permissions.engine.names import split_ref
from permissions.engine.types import Asserted, Attributes, ConditionError, Request

# Chosen: far deeper than any real document, and far from where converting a value recursively could exhaust a stack. Stored
# attributes come here without having passed `questions.py`, and stand one level deeper than there.
MAX_DEPTH: Final = 40

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def merged(stored: Attributes, brought: Attributes, asserted: Asserted) -> Attributes:
    if asserted == "ignore" or not brought:
        return stored
    if not stored:
        return brought
    return {**stored, **brought} if asserted == "override" else {**brought, **stored}


def names_of(
    request: Request,
    code: str,
    now_us: int,
    *,
    realm: str,
    subject_attributes: Attributes,
    resource_attributes: Attributes,
) -> dict[str, Any]:
    """The names of one evaluation of `code`: that asked for, or one that it requires. Raises ConditionError."""
    asserted = request.asserted
    resource = request.resource if request.resource is not None else f"realm:{realm}"
    names = {
        "subject": _entity(request.subject, merged(subject_attributes, request.subject_properties, asserted)),
        "resource": _entity(resource, merged(resource_attributes, request.resource_properties, asserted)),
        "permission": code,
        # A caller that may assert nothing about subject and resource may say nothing about the action either.
        "action": {"name": split_ref(code)[1], "attributes": {} if asserted == "ignore" else request.action_properties},
        "context": request.context,
        "now": _EPOCH + dt.timedelta(microseconds=now_us),
    }
    _check_exact(names)
    return names


def _entity(ref: str, attributes: Attributes) -> dict[str, Any]:
    kind, ident = split_ref(ref)
    return {"type": kind, "id": ident, "ref": ref, "attributes": attributes}


def _check_exact(value: Any) -> None:
    """Raises ConditionError for what a condition could not compare exactly: CEL would turn a whole number beyond 64 bits into the
    nearest double, and two different ones could then be equal."""
    todo = [(value, 0)]
    while todo:
        item, depth = todo.pop()
        if isinstance(item, int):
            if not -(2**63) <= item < 2**63:
                raise ConditionError("an attribute is a whole number beyond 64 bits")
        elif isinstance(item, Mapping | list | tuple):
            if depth == MAX_DEPTH:
                raise ConditionError(f"an attribute is nested deeper than {MAX_DEPTH} levels")
            parts = item.values() if isinstance(item, Mapping) else item
            todo.extend((part, depth + 1) for part in parts)
