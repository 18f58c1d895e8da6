"""The names a condition sees: stored attributes merged with those the caller brings, built only when a condition asks for them.

Source: semantics, "Conditions". Merged by top-level key: a nested value is taken whole from one side.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final

from permissions.engine.names import split_ref
from permissions.engine.reasons import InvalidRequestError
from permissions.engine.types import Asserted, Attributes, Request

# From semantics: an evaluation has no cost limit of its own, so what a macro can walk is bounded instead.
MAX_ENTRIES: Final = 1_000
# Chosen: far deeper than any real document, and far from where converting a value recursively could exhaust a stack.
MAX_DEPTH: Final = 32

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
    """The names of one evaluation of `code`: that asked for, or one that it requires."""
    asserted = request.asserted
    resource = request.resource if request.resource is not None else f"realm:{realm}"
    return {
        "subject": _entity(request.subject, merged(subject_attributes, request.subject_properties, asserted)),
        "resource": _entity(resource, merged(resource_attributes, request.resource_properties, asserted)),
        "permission": code,
        # A caller that may assert nothing about subject and resource may say nothing about the action either.
        "action": {"name": split_ref(code)[1], "attributes": {} if asserted == "ignore" else request.action_properties},
        "context": request.context,
        "now": _EPOCH + dt.timedelta(microseconds=now_us),
    }


def _entity(ref: str, attributes: Attributes) -> dict[str, Any]:
    kind, ident = split_ref(ref)
    return {"type": kind, "id": ident, "ref": ref, "attributes": attributes}


def check_brought(request: Request) -> None:
    """Refuse what a caller brings beyond the bounds: at most 1,000 entries in a list or map, at most 32 levels.

    Raises InvalidRequestError naming the place; the answer at a door is 400.
    """
    for where, value in (
        ("context", request.context),
        ("subject.properties", request.subject_properties),
        ("resource.properties", request.resource_properties),
        ("action.properties", request.action_properties),
    ):
        if value:
            _check_size(value, where)


def _check_size(value: Any, where: str) -> None:
    todo: list[tuple[Any, str, int]] = [(value, where, 1)]
    while todo:
        item, place, depth = todo.pop()
        if isinstance(item, Mapping):
            parts: list[tuple[str, Any]] = [(f"{place}.{key}", part) for key, part in item.items()]
        elif isinstance(item, list | tuple):
            parts = [(f"{place}[{n}]", part) for n, part in enumerate(item)]
        else:
            continue
        if len(parts) > MAX_ENTRIES:
            raise InvalidRequestError(f"{place[:200]} has {len(parts)} entries; at most {MAX_ENTRIES} are allowed")
        if depth > MAX_DEPTH:
            raise InvalidRequestError(f"{where} is nested deeper than {MAX_DEPTH} levels")
        todo.extend((part, name, depth + 1) for name, part in parts)
