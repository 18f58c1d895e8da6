"""Specs → bundle lines: compact (defaults left out) for people, canonical (order of sets forgotten) for comparison."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

from permissions.bundle.specs import (
    BindingSpec,
    CodeSpec,
    GroupSpec,
    MemberSpec,
    PermissionSpec,
    RealmSpec,
    ResourceSpec,
    RoleSpec,
    Spec,
    SubjectSpec,
    TeamSpec,
)

SETTINGS = ("staleness_s", "static_grace_s", "suspended")


def date_text(moment: dt.datetime) -> str:
    """RFC 3339 in UTC, ending in Z."""
    return moment.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")


def _line(line: CodeSpec) -> Any:
    return {"code": line.code, "condition": line.condition} if line.condition else line.code


def _window(spec: RoleSpec | MemberSpec | BindingSpec) -> dict[str, Any]:
    ends = {"valid_from": spec.valid_from, "valid_until": spec.valid_until}
    return {key: date_text(moment) for key, moment in ends.items() if moment is not None}


def _member(member: MemberSpec) -> Any:
    window = _window(member)
    return {"id": member.id, **window} if window else member.id


def _given(**keys: Any) -> dict[str, Any]:
    """The keys that say something: empty texts, lists and mappings, None and False are what an absent key means."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in keys.items() if value}


def _unless_true(**keys: bool) -> dict[str, Any]:
    return {key: value for key, value in keys.items() if not value}


def to_dict(spec: Spec) -> dict[str, Any]:
    """The line as a bundle has it, keys in their usual order, defaults left out. Inverse of the `parse_…` functions."""
    match spec:
        case PermissionSpec():
            return {
                "code": spec.code,
                **_given(
                    title=spec.title,
                    description=spec.description,
                    menu=spec.menu,
                    requires=spec.requires,
                    critical=spec.critical,
                    high_risk=spec.high_risk,
                ),
            }
        case GroupSpec():
            return {
                "name": spec.name,
                **_given(title=spec.title, description=spec.description, permissions=spec.permissions),
            }
        case RoleSpec():
            return {
                "name": spec.name,
                **_given(
                    title=spec.title,
                    description=spec.description,
                    inherits=spec.inherits,
                    groups=spec.groups,
                    permissions=tuple(_line(line) for line in spec.permissions),
                    exclude=spec.exclude,
                    deny=tuple(_line(line) for line in spec.deny),
                    obligations=spec.obligations,
                ),
                **_window(spec),
            }
        case SubjectSpec():
            return {
                "id": spec.id,
                **_given(attributes=dict(spec.attributes)),
                **_unless_true(active=spec.active),
                **_given(locked=spec.locked),
            }
        case TeamSpec():
            return {
                "id": spec.id,
                **_given(members=tuple(_member(m) for m in spec.members), attributes=dict(spec.attributes)),
                **_unless_true(active=spec.active),
                **_given(locked=spec.locked),
            }
        case ResourceSpec():
            return {
                "id": spec.id,
                **_given(parent=spec.parent),
                **_unless_true(inherit=spec.inherit),
                **_given(attributes=dict(spec.attributes)),
            }
        case BindingSpec():
            return {
                "subject": spec.subject,
                **_given(role=spec.role, allow=spec.allow, deny=spec.deny, scope=spec.scope, condition=spec.condition),
                **_window(spec),
                **_unless_true(propagate=spec.propagate),
                **_given(reason=spec.reason, obligations=spec.obligations),
            }
        case RealmSpec():
            return {"name": spec.name, **realm_keys(spec)}


def realm_keys(spec: RealmSpec) -> dict[str, Any]:
    """The realm's own keys as they stand at the top of a bundle, defaults left out."""
    plain = RealmSpec(spec.name)
    settings = {key: getattr(spec, key) for key in SETTINGS if getattr(spec, key) != getattr(plain, key)}
    keys: dict[str, Any] = {}
    if spec.combining != plain.combining:
        keys["combining"] = spec.combining
    if spec.resource_types:
        keys["resource_types"] = {kind: dict(options) for kind, options in spec.resource_types.items()}
    if spec.unknown_subjects != plain.unknown_subjects:
        keys["unknown_subjects"] = spec.unknown_subjects
    if settings:
        keys["settings"] = settings
    return keys


SETS = ("requires", "permissions", "inherits", "groups", "exclude", "deny", "members", "allow")


def canonical(spec: Spec) -> str:
    """The same text for two specs that mean the same: lists that are sets are sorted, keys too.

    A text, since Python takes 1, 1.0 and True for equal, and a condition on an attribute does not.
    """
    line = to_dict(spec)
    for key in SETS:
        if key in line:
            line[key] = sorted(line[key], key=lambda item: json.dumps(item, sort_keys=True))
    return json.dumps(line, sort_keys=True, ensure_ascii=False)
