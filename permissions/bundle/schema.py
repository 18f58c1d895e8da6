"""The lines of a bundle: plain data → specs, with every mistake named by its place. Bundle, API and admin parse here alike.

A `parse_…` function takes what JSON or YAML gave for one line and raises `errors.Invalid` with all problems of that line.
References between lines (a role that nobody knows) are judged where the rows are: by the services.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from permissions.bundle.compact import canonical, to_dict
from permissions.bundle.fields import Fields, Problems, join, kind_of, parse_date
from permissions.bundle.keys import (
    BINDING_KEYS,
    GROUP_KEYS,
    MAX_DESCRIPTION,
    MAX_REASON,
    MAX_TITLE,
    MEMBER_KEYS,
    PERMISSION_KEYS,
    REALM_KEYS,
    RESOURCE_KEYS,
    ROLE_KEYS,
    SETTINGS_KEYS,
    SUBJECT_KEYS,
    TEAM_KEYS,
)
from permissions.bundle.published import json_schema
from permissions.bundle.specs import (
    BindingSpec,
    GroupSpec,
    MemberSpec,
    PermissionSpec,
    RealmSpec,
    ResourceSpec,
    RoleSpec,
    SubjectSpec,
    TeamSpec,
)
from permissions.conditions import cel
from permissions.engine import names, platform
from permissions.errors import Invalid
from permissions.models.realm import COMBINING, MAX_STALENESS_S, MAX_STATIC_GRACE_S, UNKNOWN_SUBJECTS

__all__ = [
    "canonical",
    "json_schema",
    "parse_binding",
    "parse_date",
    "parse_group",
    "parse_permission",
    "parse_realm",
    "parse_resource",
    "parse_role",
    "parse_subject",
    "parse_team",
    "to_dict",
]


def _name(value: object) -> str:
    return names.check_text(value, "name", max_length=names.MAX_NAME)


def _ref(value: object) -> str:
    return names.check_ref(value, "id")


def _holder(value: object) -> str:
    return names.check_ref(value, "subject", everyone=True)


def _code(value: object) -> str:
    return names.check_code(value, "permission")


def _own_code(value: object) -> str:
    code = names.check_code(value, "permission")
    if code.startswith(platform.PREFIX):
        raise names.BadNameError(f"{names.shown(code)} belongs to the platform, which registers it everywhere")
    return code


def _pattern(value: object) -> str:
    return names.check_pattern(value, "permission")


def _not_itself(fields: Fields, key: str, own: str, members: tuple[str, ...], what: str) -> None:
    if own and own in members:
        fields.note(f"{key}[{members.index(own)}]", f"{names.shown(own)} {what} itself")


def _permission(data: object, where: str, problems: Problems) -> PermissionSpec:
    fields = Fields(data, where, problems, PERMISSION_KEYS)
    code = fields.required("code", _own_code)
    requires = fields.texts("requires", _own_code)
    _not_itself(fields, "requires", code, requires, "requires")
    return PermissionSpec(
        code=code,
        title=fields.text("title", MAX_TITLE),
        description=fields.text("description", MAX_DESCRIPTION, many_lines=True),
        menu=fields.text("menu", MAX_TITLE),
        requires=requires,
        critical=fields.flag("critical", default=False),
        high_risk=fields.flag("high_risk", default=False),
    )


def _group(data: object, where: str, problems: Problems) -> GroupSpec:
    fields = Fields(data, where, problems, GROUP_KEYS)
    return GroupSpec(
        name=fields.required("name", _name),
        title=fields.text("title", MAX_TITLE),
        description=fields.text("description", MAX_DESCRIPTION, many_lines=True),
        permissions=fields.texts("permissions", _pattern),
    )


def _role(data: object, where: str, problems: Problems) -> RoleSpec:
    fields = Fields(data, where, problems, ROLE_KEYS)
    name = fields.required("name", _name)
    inherits = fields.texts("inherits", _name)
    _not_itself(fields, "inherits", name, inherits, "inherits")
    valid_from, valid_until = fields.window()
    return RoleSpec(
        name=name,
        title=fields.text("title", MAX_TITLE),
        description=fields.text("description", MAX_DESCRIPTION, many_lines=True),
        inherits=inherits,
        groups=fields.texts("groups", _name),
        permissions=fields.lines("permissions", _pattern),
        exclude=fields.texts("exclude", _pattern),
        deny=fields.lines("deny", _pattern),
        obligations=fields.obligations(),
        valid_from=valid_from,
        valid_until=valid_until,
    )


def _subject(data: object, where: str, problems: Problems) -> SubjectSpec:
    fields = Fields(data, where, problems, SUBJECT_KEYS)
    return SubjectSpec(
        id=fields.required("id", _ref),
        attributes=fields.attributes(),
        active=fields.flag("active", default=True),
        locked=fields.flag("locked", default=False),
    )


def _members(fields: Fields, team: str) -> tuple[MemberSpec, ...]:
    seen: dict[str, tuple[str, MemberSpec]] = {}
    for place, item in fields.items("members"):
        if isinstance(item, Mapping):
            line = Fields(item, place, fields.problems, MEMBER_KEYS)
            member = MemberSpec(line.required("id", _ref), *line.window())
        else:
            member = MemberSpec(fields.checked(place, item, _ref))
        if member.id and member.id in seen:
            fields.problems.note(place, f"{names.shown(member.id)} is a member twice; first at {seen[member.id][0]}")
        elif member.id and member.id == team:
            fields.problems.note(place, f"the team {names.shown(team)} is a member of itself")
        else:
            seen[member.id] = (place, member)
    return tuple(member for _, member in seen.values())


def _team(data: object, where: str, problems: Problems) -> TeamSpec:
    fields = Fields(data, where, problems, TEAM_KEYS)
    ref = fields.required("id", _ref)
    return TeamSpec(
        id=ref,
        members=_members(fields, ref),
        attributes=fields.attributes(),
        active=fields.flag("active", default=True),
        locked=fields.flag("locked", default=False),
    )


def _resource(data: object, where: str, problems: Problems) -> ResourceSpec:
    fields = Fields(data, where, problems, RESOURCE_KEYS)
    ref = fields.required("id", _ref)
    parent = fields.optional("parent", _ref)
    if parent and parent == ref:
        fields.note("parent", f"{names.shown(ref)} is its own parent")
    return ResourceSpec(id=ref, parent=parent, inherit=fields.flag("inherit", default=True), attributes=fields.attributes())


def _binding(data: object, where: str, problems: Problems) -> BindingSpec:
    fields = Fields(data, where, problems, BINDING_KEYS)
    role = fields.optional("role", _name)
    allow, deny = fields.texts("allow", _pattern), fields.texts("deny", _pattern)
    given = [key for key in ("allow", "deny") if fields.data.get(key)]
    if fields.is_mapping and fields.data.get("role") is not None and given:
        problems.note(where, f"names a role and {' and '.join(given)}; split it into two bindings")
    if fields.is_mapping and fields.data.get("role") is None and not given:
        problems.note(where, "names neither a role nor permissions to allow or deny, so it gives nothing")
    valid_from, valid_until = fields.window()
    return BindingSpec(
        subject=fields.required("subject", _holder),
        role=role,
        allow=allow,
        deny=deny,
        scope=fields.optional("scope", _ref),
        condition=fields.condition(),
        valid_from=valid_from,
        valid_until=valid_until,
        propagate=fields.flag("propagate", default=True),
        reason=fields.text("reason", MAX_REASON),
        obligations=fields.obligations(),
    )


def _resource_types(fields: Fields) -> dict[str, dict[str, str]]:
    value = fields.data.get("resource_types", {})
    if not isinstance(value, Mapping):
        fields.note("resource_types", f"must be a mapping of type to {{combining: …}}, not {kind_of(value)}")
        return {}
    combining: dict[str, dict[str, str]] = {}
    for kind, options in value.items():
        place = join(fields.where, f"resource_types.{kind}")
        try:
            names.check_type(kind, "resource type")
        except names.BadNameError as error:
            fields.problems.note(place, str(error))
        line = Fields(options, place, fields.problems, ("combining",))
        if line.is_mapping and "combining" not in line.data:
            fields.problems.note(place, "the key 'combining' is missing")
        combining[kind] = {"combining": line.choice("combining", [c for c, _ in COMBINING], COMBINING[0][0])}
    return combining


def _realm_of(fields: Fields, name: str) -> RealmSpec:
    settings = Fields(fields.data.get("settings", {}), join(fields.where, "settings"), fields.problems, SETTINGS_KEYS)
    return RealmSpec(
        name=name,
        combining=cast(Any, fields.choice("combining", [c for c, _ in COMBINING], "deny_overrides")),
        resource_types=_resource_types(fields),
        unknown_subjects=cast(Any, fields.choice("unknown_subjects", [c for c, _ in UNKNOWN_SUBJECTS], "deny")),
        staleness_s=settings.number("staleness_s", default=MAX_STALENESS_S, max_value=MAX_STALENESS_S),
        static_grace_s=settings.number("static_grace_s", default=0.0, max_value=MAX_STATIC_GRACE_S),
        suspended=settings.flag("suspended", default=False),
    )


def _realm(data: object, where: str, problems: Problems) -> RealmSpec:
    fields = Fields(data, where, problems, REALM_KEYS)
    return _realm_of(fields, fields.required("name", _name))


READERS: Mapping[str, Callable[[object, str, Problems], Any]] = {
    "permissions": _permission,
    "groups": _group,
    "roles": _role,
    "subjects": _subject,
    "teams": _team,
    "resources": _resource,
    "bindings": _binding,
}
read_realm = _realm_of


def _parsed(reader: Callable[[object, str, Problems], Any], data: object, where: str) -> Any:
    problems = Problems(cel.language())
    spec = reader(data, where, problems)
    if problems:
        raise Invalid(problems)
    return spec


def parse_permission(data: object, where: str = "") -> PermissionSpec:
    return cast(PermissionSpec, _parsed(_permission, data, where))


def parse_group(data: object, where: str = "") -> GroupSpec:
    return cast(GroupSpec, _parsed(_group, data, where))


def parse_role(data: object, where: str = "") -> RoleSpec:
    return cast(RoleSpec, _parsed(_role, data, where))


def parse_subject(data: object, where: str = "") -> SubjectSpec:
    return cast(SubjectSpec, _parsed(_subject, data, where))


def parse_team(data: object, where: str = "") -> TeamSpec:
    return cast(TeamSpec, _parsed(_team, data, where))


def parse_resource(data: object, where: str = "") -> ResourceSpec:
    return cast(ResourceSpec, _parsed(_resource, data, where))


def parse_binding(data: object, where: str = "") -> BindingSpec:
    return cast(BindingSpec, _parsed(_binding, data, where))


def parse_realm(data: object, where: str = "") -> RealmSpec:
    """A realm as the API has it: the bundle's top-level realm keys, with its name as `name`."""
    return cast(RealmSpec, _parsed(_realm, data, where))
