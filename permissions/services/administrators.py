"""The last administrator of a realm cannot lock themselves out.

Administrators are the active subjects that hold `permsite.realm:change` and `permsite.binding:create` in the realm without a
condition and without an end, by bindings of their own or of their teams. A realm that has none yet is free of this law. A
suspended realm has them still: they are only denied for the time being.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from permissions.bundle.specs import BindingSpec
from permissions.engine import names
from permissions.engine.patterns import matches
from permissions.engine.platform import PREFIX
from permissions.engine.types import REALM
from permissions.errors import LastAdministrator
from permissions.models import GroupLine, Membership, Realm, RoleBinding, RoleGroup, RoleLine
from permissions.services.contents import parents_above, with_heirs
from permissions.services.cover import Give, Line
from permissions.services.holdings import Holdings
from permissions.services.specs import parts
from permissions.writing import Write

NEEDED: Final = ("permsite.realm:change", "permsite.binding:create")

_judged_outside: ContextVar[bool] = ContextVar("keeps_administrator", default=False)


def may_lock_out(realm: Realm, spec: BindingSpec) -> bool:
    """Whether a new binding can take anything from an administrator: only by what it denies. Most deny nothing."""
    if spec.role is None:
        return any(map(_gives, spec.deny))
    parents = parents_above(realm, {spec.role})
    roles = {spec.role, *(parent for above in parents.values() for parent in above)}
    denied = RoleLine.objects.filter(role__realm=realm, role__name__in=roles, effect="deny", pattern__startswith=PREFIX)
    return any(map(_gives, denied.values_list("pattern", flat=True)))


@contextmanager
def keeps_administrator(write: Write, *, needed: bool = True) -> Iterator[None]:
    """Raises LastAdministrator at the end of the block if the realm had an administrator before it and has none after it.

    The one found before is asked first afterwards, so most writes cost two small reads. An inner block leaves the judgement
    to the outer one: a bundle may replace the only administrator.
    """
    if _judged_outside.get() or not needed:
        yield
        return
    known = next(administrators(write.realm), None)
    mark = _judged_outside.set(True)
    try:
        yield
    finally:
        _judged_outside.reset(mark)
    if known is None or is_administrator(write.realm, known) or next(administrators(write.realm), None) is not None:
        return
    raise LastAdministrator(
        f"{names.shown(known)} is the last administrator of realm {names.shown(write.realm.name)}, and this would leave nobody "
        f"who can administer it; first give someone else {' and '.join(NEEDED)} in the realm, without condition and end"
    )


def is_administrator(realm: Realm, ref: str) -> bool:
    holdings = Holdings(realm, ref, everyone=False)
    return holdings.is_active and all(holdings.covers(Give(REALM, below=False, line=Line(code))) for code in NEEDED)


def administrators(realm: Realm) -> Iterator[str]:
    """The realm's administrators, found one after the other: whoever needs to know that there is one stops at the first."""
    seen: set[str] = set()
    for ref in _candidates(realm):
        if ref not in seen:
            seen.add(ref)
            if is_administrator(realm, ref):
                yield ref


def _candidates(realm: Realm) -> Iterator[str]:
    """Subjects that some unconditional, endless binding in the realm, their own or a team's, gives one of the codes."""
    roles = with_heirs(_roles_that_name_them(realm))
    bindings = RoleBinding.objects.filter(realm=realm, scope__isnull=True, condition="", valid_until__isnull=True)
    bindings = bindings.exclude(subject__kind="everyone").order_by("pk")
    teams: set[int] = set()
    for role, allow, holder, ref, kind in bindings.values_list("role_id", "allow", "subject_id", "subject__ref", "subject__kind"):
        if role not in roles and not any(_gives(pattern) for pattern in allow):
            continue
        if kind == "team":
            teams.add(holder)
        else:
            yield ref
    yield from _members(teams)


def _gives(pattern: str) -> bool:
    return any(matches(pattern, code) for code in NEEDED)


def _roles_that_name_them(realm: Realm) -> set[int]:
    """Only a pattern that begins with the platform's prefix reaches its codes: a catalogue of thousands of roles is not read."""
    lines = RoleLine.objects.filter(role__realm=realm, effect="allow", pattern__startswith=PREFIX, condition="").order_by()
    roles = {role for role, pattern in lines.values_list("role_id", "pattern") if _gives(pattern)}
    grouped = GroupLine.objects.filter(group__realm=realm, pattern__startswith=PREFIX).order_by()
    groups = {group for group, pattern in grouped.values_list("group_id", "pattern") if _gives(pattern)}
    return roles | set(RoleGroup.objects.filter(group__in=groups).values_list("role_id", flat=True))


def _members(teams: set[int]) -> Iterator[str]:
    seen = set(teams)
    frontier = set(teams)
    while frontier:
        following: set[int] = set()
        for part in parts(frontier):
            rows = Membership.objects.filter(team__in=part, valid_until__isnull=True).order_by("member__ref")
            for key, ref, kind in rows.values_list("member_id", "member__ref", "member__kind"):
                if kind == "team":
                    following.add(key)
                elif kind == "subject":
                    yield ref
        frontier = following - seen
        seen |= frontier
