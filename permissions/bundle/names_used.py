"""What the lines of a bundle name: codes, groups, roles, subjects and resources; and what they bring into being by naming it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field

from permissions.bundle.specs import Bundle, PermissionSpec, ResourceSpec, SubjectSpec
from permissions.engine import names, platform


@dataclass(slots=True)
class Named:
    """Names used by lines other than a thing's own, in the order of their first use (a dict is an ordered set here)."""

    permissions: dict[str, None] = field(default_factory=dict)
    groups: dict[str, None] = field(default_factory=dict)
    roles: dict[str, None] = field(default_factory=dict)
    subjects: dict[str, None] = field(default_factory=dict)
    resources: dict[str, None] = field(default_factory=dict)

    def codes(self, patterns: Iterable[str]) -> None:
        """Concrete codes register themselves; patterns do not, and the platform's codes are registered everywhere."""
        for code in patterns:
            if not names.is_pattern(code) and not code.startswith(platform.PREFIX):
                self.permissions[code] = None


def named_in(bundle: Bundle) -> Named:
    named = Named()
    for permission in bundle.permissions or ():
        named.codes(permission.requires)
    for group in bundle.groups or ():
        named.codes(group.permissions)
    for role in bundle.roles or ():
        named.codes(line.code for line in role.permissions)
        named.codes(role.exclude)
        named.codes(line.code for line in role.deny)
        named.groups.update(dict.fromkeys(role.groups))
        named.roles.update(dict.fromkeys(role.inherits))
    for team in bundle.teams or ():
        named.subjects.update(dict.fromkeys(member.id for member in team.members))
    for resource in bundle.resources or ():
        if resource.parent:
            named.resources[resource.parent] = None
    for binding in bundle.bindings or ():
        named.codes(binding.allow)
        named.codes(binding.deny)
        if binding.role:
            named.roles[binding.role] = None
        if names.split_ref(binding.subject)[1] != names.EVERYONE_ID:
            named.subjects[binding.subject] = None
        if binding.scope:
            named.resources[binding.scope] = None
    return named


def implied(bundle: Bundle) -> Bundle:
    """The lines that `bundle` leaves out because naming a thing is enough: its codes, subjects and resources.

    Only these sections are present. Roles and groups must have a line of their own somewhere: a typing error in a role's name
    must not create an empty role.
    """
    named = named_in(bundle)
    codes = {permission.code for permission in bundle.permissions or ()}
    subjects = {subject.id for subject in bundle.subjects or ()} | {team.id for team in bundle.teams or ()}
    resources = {resource.id for resource in bundle.resources or ()}
    return Bundle(
        bundle.realm,
        permissions=tuple(PermissionSpec(code) for code in named.permissions if code not in codes),
        subjects=tuple(SubjectSpec(ref) for ref in named.subjects if ref not in subjects),
        resources=tuple(ResourceSpec(ref) for ref in named.resources if ref not in resources),
    )


def result_of(old: Bundle, new: Bundle) -> Bundle:
    """The lines in force once `new` is applied to `old` with pruning: its own sections, and those of `old` it leaves alone."""
    kept = {
        section.name: getattr(old, section.name)
        for section in dataclasses.fields(Bundle)
        if section.name not in ("realm", "realm_keys", "lines") and getattr(new, section.name) is None
    }
    return dataclasses.replace(new, **kept)
