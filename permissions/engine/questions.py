"""A question as it comes in, checked: step 1 of the order of a decision. Texts well formed, shapes right, sizes bounded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from permissions.engine import names
from permissions.engine.reasons import InvalidRequestError
from permissions.engine.types import Asserted, Attributes, Request

Question = Request | Mapping[str, Any] | tuple[Any, ...]
MAX_ENTRIES: Final = 1_000
MAX_DEPTH: Final = 32


def question(
    subject: str,
    permission: str,
    resource: str | None = None,
    *,
    context: Attributes | None = None,
    subject_properties: Attributes | None = None,
    resource_properties: Attributes | None = None,
    action_properties: Attributes | None = None,
    asserted: Asserted = "fill",
) -> Request:
    """A Request whose texts are well formed. Raises InvalidRequestError naming what is not (order of a decision, step 1)."""
    try:
        names.check_ref(subject, "subject")
        names.check_code(permission, "permission")
        if resource is not None:
            names.check_ref(resource, "resource")
    except names.BadNameError as error:
        raise InvalidRequestError(str(error)) from error
    given: dict[str, object] = {
        "context": context,
        "subject properties": subject_properties,
        "resource properties": resource_properties,
        "action properties": action_properties,
    }
    for what, value in given.items():
        if value is not None:
            bounded(value, what)
    return Request(
        subject,
        permission,
        resource,
        context or {},
        subject_properties or {},
        resource_properties or {},
        action_properties or {},
        asserted,
    )


def bounded(value: object, what: str) -> None:
    """Lists and maps a caller brings hold at most 1,000 entries: a condition's cost has no other bound."""
    if not isinstance(value, Mapping):
        raise InvalidRequestError(f"{what} must be an object, not {type(value).__name__}")
    pending: list[tuple[Any, int]] = [(value, 0)]
    while pending:
        item, depth = pending.pop()
        if not isinstance(item, Mapping | list | tuple):
            continue
        if len(item) > MAX_ENTRIES:
            raise InvalidRequestError(f"{what} holds a list or map of {len(item)} entries; at most {MAX_ENTRIES} are allowed")
        if depth > MAX_DEPTH:
            raise InvalidRequestError(f"{what} nests deeper than {MAX_DEPTH} levels")
        pending.extend((child, depth + 1) for child in (item.values() if isinstance(item, Mapping) else item))


def question_of(item: object, asserted: Asserted) -> Request:
    if isinstance(item, Request):
        return item
    if isinstance(item, Mapping):
        unknown = set(item) - {
            "subject",
            "permission",
            "resource",
            "context",
            "subject_properties",
            "resource_properties",
            "action_properties",
        }
        if unknown or "subject" not in item or "permission" not in item:
            raise InvalidRequestError(
                f"a check is {{subject, permission, resource?, context?}}; got the keys {', '.join(map(str, item)) or 'none'}"
            )
        return question(**item, asserted=asserted)
    if isinstance(item, tuple) and 2 <= len(item) <= 3:
        return question(*item, asserted=asserted)
    raise InvalidRequestError(f"a check is (subject, permission, resource?) or a mapping; got a {type(item).__name__}")


def needs_rows(request: Request) -> bool:
    """Whether the caller asserts teams or a parent, which only rows can resolve."""
    return request.asserted != "ignore" and (
        (request.asserted == "override" and "teams" in request.subject_properties) or "parent" in request.resource_properties
    )


def asserted_teams(request: Request) -> list[str]:
    """Refs of the teams an `override` key asserts; a bare name means `team:<name>`, as a token's group claim has it."""
    if request.asserted != "override" or "teams" not in request.subject_properties:
        return []
    teams = request.subject_properties["teams"]
    if not isinstance(teams, list) or not all(isinstance(t, str) for t in teams):
        raise InvalidRequestError("subject.properties.teams must be a list of team ids")
    return [t if ":" in t else f"team:{t}" for t in teams]


def asserted_parent(request: Request) -> str | None:
    if request.asserted == "ignore" or "parent" not in request.resource_properties:
        return None
    try:
        return names.check_ref(request.resource_properties["parent"], "resource.properties.parent")
    except names.BadNameError as error:
        raise InvalidRequestError(str(error)) from error
