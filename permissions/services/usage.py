"""Who still uses what is to be deleted: said by name, so that a refusal tells what to change first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable

from permissions.engine import names
from permissions.models import (
    GroupLine,
    Membership,
    PermissionRequirement,
    Realm,
    Resource,
    RoleBinding,
    RoleGroup,
    RoleInheritance,
    RoleLine,
)
from permissions.services.specs import parts

SHOWN = 5
Uses = dict[str, list[str]]


def told(uses: Iterable[str]) -> str:
    everything = list(dict.fromkeys(uses))
    more = f" and {len(everything) - SHOWN} more" if len(everything) > SHOWN else ""
    return ", ".join(everything[:SHOWN]) + more


def uses_of_codes(realm: Realm, codes: Collection[str]) -> Uses:
    """Where these concrete codes are named. Patterns that reach them are no use: they outlive every code."""
    found: Uses = defaultdict(list)
    for part in parts(codes):
        for role, code in RoleLine.objects.filter(role__realm=realm, pattern__in=part).values_list("role__name", "pattern"):
            found[code].append(f"role {names.shown(role)}")
        for group, code in GroupLine.objects.filter(group__realm=realm, pattern__in=part).values_list("group__name", "pattern"):
            found[code].append(f"group {names.shown(group)}")
        required = PermissionRequirement.objects.filter(permission__realm=realm, required__code__in=part)
        for permission, code in required.values_list("permission__code", "required__code"):
            # Codes that go together do not hold one another back.
            if permission not in codes:
                found[code].append(f"permission {names.shown(permission)}, which requires it")
    wanted = set(codes)
    lists = RoleBinding.objects.filter(realm=realm, role__isnull=True).order_by("pk")
    for key, subject, allow, deny in lists.values_list("pk", "subject__ref", "allow", "deny"):
        for code in wanted.intersection([*allow, *deny]):
            found[code].append(f"binding {key} of {names.shown(subject)}")
    return found


def uses_of_groups(groups: Collection[int]) -> Uses:
    found: Uses = defaultdict(list)
    for part in parts(groups):
        for group, role in RoleGroup.objects.filter(group__in=part).values_list("group__name", "role__name"):
            found[group].append(f"role {names.shown(role)}")
    return found


def uses_of_roles(roles: Collection[int]) -> Uses:
    found: Uses = defaultdict(list)
    going = set(roles)
    for part in parts(roles):
        heirs = RoleInheritance.objects.filter(parent__in=part)
        for parent, key, heir in heirs.values_list("parent__name", "role_id", "role__name"):
            if key not in going:
                found[parent].append(f"role {names.shown(heir)}, which inherits it")
        bound = RoleBinding.objects.filter(role__in=part).order_by("pk")
        for role, key, subject in bound.values_list("role__name", "pk", "subject__ref"):
            found[role].append(f"binding {key} of {names.shown(subject)}")
    return found


def uses_of_subjects(subjects: Collection[int]) -> Uses:
    """Bindings and memberships that would go with these subjects."""
    found: Uses = defaultdict(list)
    going = set(subjects)
    for part in parts(subjects):
        for ref, key in RoleBinding.objects.filter(subject__in=part).order_by("pk").values_list("subject__ref", "pk"):
            found[ref].append(f"binding {key}")
        for ref, key, team in Membership.objects.filter(member__in=part).values_list("member__ref", "team_id", "team__ref"):
            if key not in going:
                found[ref].append(f"team {names.shown(team)}")
    return found


def uses_of_resources(resources: Collection[int]) -> Uses:
    found: Uses = defaultdict(list)
    going = set(resources)
    for part in parts(resources):
        for ref, key in RoleBinding.objects.filter(scope__in=part).order_by("pk").values_list("scope__ref", "pk"):
            found[ref].append(f"binding {key}")
        for ref, key, child in Resource.objects.filter(parent__in=part).values_list("parent__ref", "pk", "ref"):
            if key not in going:
                found[ref].append(f"resource {names.shown(child)} below it")
    return found
