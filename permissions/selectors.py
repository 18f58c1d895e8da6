"""All SQL of the read side: rows → the engine's records. Query counts are asserted in `tests/permissions/test_selectors.py`."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from django.db import connection

from permissions.engine.types import (
    REALM,
    BindingFact,
    GroupFact,
    MembershipFact,
    ModelFacts,
    PermissionFact,
    ResourceFacts,
    ResourceNodeFact,
    RoleFact,
    RoleLineFact,
    SubjectFacts,
)
from permissions.models import (
    GroupLine,
    Membership,
    Permission,
    PermissionGroup,
    PermissionRequirement,
    Realm,
    Resource,
    Role,
    RoleBinding,
    RoleGroup,
    RoleInheritance,
    RoleLine,
    Subject,
)

T = TypeVar("T")
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
# SQLite takes 32,766 variables in a statement, PostgreSQL 65,535; larger lists are read in parts.
PART: Final = 5_000


def to_us(value: dt.datetime | None) -> int | None:
    """Whole microseconds since the Unix epoch. By integers: a float has lost them by the year 9999."""
    if value is None:
        return None
    gap = value - _EPOCH
    return (gap.days * 86_400 + gap.seconds) * 1_000_000 + gap.microseconds


@contextmanager
def one_snapshot() -> Iterator[None]:
    """All reads of the block see the same committed state. In an open transaction the block joins it.

    READ COMMITTED gives each statement a snapshot of its own, so a newer subject could meet an older role table; Django's own
    transaction on SQLite begins IMMEDIATE and would wait for every writer. Hence plain BEGINs, which take no lock.
    """
    if connection.in_atomic_block:
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" if connection.vendor == "postgresql" else "BEGIN DEFERRED"
        )
        try:
            yield
        finally:
            cursor.execute("ROLLBACK")


def _parts(ids: Iterable[T]) -> Iterator[list[T]]:
    everything = list(ids)
    for start in range(0, len(everything), PART):
        yield everything[start : start + PART]


def model_facts(realm: Realm) -> ModelFacts:
    """Everything a role table is compiled from; ten statements, whatever the size."""
    requires: dict[int, list[str]] = defaultdict(list)
    for permission_id, code in PermissionRequirement.objects.filter(permission__realm=realm).values_list(
        "permission_id", "required__code"
    ):
        requires[permission_id].append(code)
    permissions = tuple(
        PermissionFact(code, tuple(requires.get(pk, ())), critical, high_risk)
        for pk, code, critical, high_risk in Permission.objects.filter(realm=realm)
        .order_by("code")
        .values_list("pk", "code", "critical", "high_risk")
    )
    patterns: dict[int, list[str]] = defaultdict(list)
    for group_id, pattern in GroupLine.objects.filter(group__realm=realm).order_by().values_list("group_id", "pattern"):
        patterns[group_id].append(pattern)
    groups = tuple(
        GroupFact(name, tuple(patterns.get(pk, ())))
        for pk, name in PermissionGroup.objects.filter(realm=realm).values_list("pk", "name")
    )
    return ModelFacts(
        realm=realm.name,
        combining=realm.combining,  # type: ignore[arg-type]  # held by a database constraint
        type_combining={kind: options["combining"] for kind, options in realm.resource_types.items()},
        unknown_subjects=realm.unknown_subjects,  # type: ignore[arg-type]  # held by a database constraint
        suspended=realm.suspended,
        permissions=permissions,
        groups=groups,
        roles=_roles(realm),
        everyone=tuple(_bindings(realm.pk, RoleBinding.objects.filter(realm=realm, subject__kind="everyone"))),
    )


def _roles(realm: Realm) -> tuple[RoleFact, ...]:
    lines: dict[int, list[RoleLineFact]] = defaultdict(list)
    for role_id, effect, pattern, condition in (
        RoleLine.objects.filter(role__realm=realm).order_by().values_list("role_id", "effect", "pattern", "condition")
    ):
        lines[role_id].append(RoleLineFact(effect, pattern, condition))  # type: ignore[arg-type]
    inherits: dict[int, list[str]] = defaultdict(list)
    for role_id, parent in RoleInheritance.objects.filter(role__realm=realm).values_list("role_id", "parent__name"):
        inherits[role_id].append(parent)
    groups: dict[int, list[str]] = defaultdict(list)
    for role_id, group in RoleGroup.objects.filter(role__realm=realm).values_list("role_id", "group__name"):
        groups[role_id].append(group)
    return tuple(
        RoleFact(
            name,
            tuple(inherits.get(pk, ())),
            tuple(groups.get(pk, ())),
            tuple(lines.get(pk, ())),
            to_us(valid_from),
            to_us(valid_until),
            tuple(obligations),
        )
        for pk, name, valid_from, valid_until, obligations in Role.objects.filter(realm=realm).values_list(
            "pk", "name", "valid_from", "valid_until", "obligations"
        )
    )


def _bindings(realm_id: int, rows: Any) -> Iterator[BindingFact]:
    for pk, holder, role, allow, deny, scope, condition, start, end, propagate, obligations in (
        rows.filter(realm_id=realm_id)
        .order_by("pk")
        .values_list(
            "pk",
            "subject__ref",
            "role__name",
            "allow",
            "deny",
            "scope__ref",
            "condition",
            "valid_from",
            "valid_until",
            "propagate",
            "obligations",
        )
    ):
        yield BindingFact(
            pk,
            holder,
            role,
            tuple(allow),
            tuple(deny),
            REALM if scope is None else scope,
            condition,
            to_us(start),
            to_us(end),
            propagate,
            tuple(obligations),
        )


def subject_facts(realm_id: int, refs: Collection[str], asserted_teams: Sequence[str] = ()) -> dict[str, SubjectFacts]:
    """Facts of the subjects named, each with its closure of teams and all their bindings.

    `asserted_teams` (of an `override` key) hold for every subject of this call; a team the realm does not have counts for
    nothing. One statement for the subjects, one for each level of nesting, one for the bindings.
    """
    rows = _subject_rows(realm_id, {*refs, *asserted_teams})
    asserted = [ref for ref in asserted_teams if ref in rows and rows[ref][1] == "team"]
    known = [rows[ref][0] for ref in refs if ref in rows]
    edges = _edges_above(realm_id, {*known, *(rows[ref][0] for ref in asserted)})
    above: dict[str, list[MembershipFact]] = defaultdict(list)
    for edge in edges:
        above[edge.member].append(edge)
    holders = {*refs, *asserted, *(edge.team for edge in edges)}
    bindings = _bindings_of(realm_id, holders)
    found = {}
    for ref in refs:
        memberships = [MembershipFact(ref, team) for team in asserted if team != ref]
        seen, frontier = {ref}, [ref, *(m.team for m in memberships)]
        seen.update(frontier)
        while frontier:
            for edge in above.get(frontier.pop(), ()):
                memberships.append(edge)
                if edge.team not in seen:
                    seen.add(edge.team)
                    frontier.append(edge.team)
        row = rows.get(ref)
        user_active, superuser = (True, False) if row is None or row[5] is None else (row[5], row[6])
        found[ref] = SubjectFacts(
            ref,
            known=row is not None or bool(asserted),
            active=row is None or (row[2] and user_active),
            locked=row is not None and row[3],
            superuser=bool(superuser),
            attributes={} if row is None else row[4],
            memberships=tuple(memberships),
            bindings=tuple(b for holder in sorted(seen) for b in bindings.get(holder, ())),
        )
    return found


def _subject_rows(realm_id: int, refs: Collection[str]) -> dict[str, tuple[Any, ...]]:
    rows = {}
    for part in _parts(refs):
        for ref, *row in (
            Subject.objects.filter(realm_id=realm_id, ref__in=part)
            .exclude(kind="everyone")
            .order_by()
            .values_list("ref", "pk", "kind", "active", "locked", "attributes", "user__is_active", "user__is_superuser")
        ):
            rows[ref] = tuple(row)
    return rows


def _edges_above(realm_id: int, ids: Collection[int]) -> list[MembershipFact]:
    """Every membership on a way up from `ids`, whatever its window. The visited set ends a cycle that no service let in."""
    seen: set[int] = set(ids)
    frontier: set[int] = set(ids)
    edges = []
    while frontier:
        following: set[int] = set()
        for part in _parts(frontier):
            for member, team, team_id, start, end in (
                Membership.objects.filter(member_id__in=part, team__realm_id=realm_id)
                .order_by()
                .values_list("member__ref", "team__ref", "team_id", "valid_from", "valid_until")
            ):
                edges.append(MembershipFact(member, team, to_us(start), to_us(end)))
                if team_id not in seen:
                    following.add(team_id)
        seen |= following
        frontier = following
    return edges


def _bindings_of(realm_id: int, holders: Collection[str]) -> dict[str, list[BindingFact]]:
    found: dict[str, list[BindingFact]] = defaultdict(list)
    for part in _parts(holders):
        for binding in _bindings(realm_id, RoleBinding.objects.filter(subject__ref__in=part)):
            found[binding.holder].append(binding)
    return found


def subject_refs(realm_id: int, *, kind: str = "", teams: bool = False) -> list[str]:
    """Refs of the realm's concrete subjects, in order; of one type if named; with teams or without."""
    rows = Subject.objects.filter(realm_id=realm_id, kind__in=["subject", "team"] if teams else ["subject"])
    if kind:
        rows = rows.filter(ref__startswith=f"{kind}:")
    # SQLite's LIKE ignores case, the law does not.
    return [ref for ref in rows.order_by("ref").values_list("ref", flat=True) if not kind or ref.startswith(f"{kind}:")]


def resource_facts(realm_id: int, refs: Collection[str]) -> dict[str, ResourceFacts]:
    """Facts of the resources named, each with its chain, root first; one statement for each level of the tree."""
    nodes: dict[int, tuple[str, bool, Any, int | None]] = {}
    by_ref: dict[str, int] = {}
    for part in _parts(refs):
        _read_nodes(nodes, by_ref, Resource.objects.filter(realm_id=realm_id, ref__in=part))
    while missing := {parent for _, _, _, parent in nodes.values() if parent is not None and parent not in nodes}:
        for ids in _parts(missing):
            _read_nodes(nodes, {}, Resource.objects.filter(realm_id=realm_id, pk__in=ids))
            for pk in ids:
                nodes.setdefault(pk, ("", False, {}, None))
    found = {}
    for ref in refs:
        node = by_ref.get(ref)
        if node is None:
            found[ref] = ResourceFacts(ref, known=False, chain=(ResourceNodeFact(ref),))
            continue
        chain: list[ResourceNodeFact] = []
        seen: set[int] = set()
        attributes = nodes[node][2]
        while node is not None and node not in seen:
            seen.add(node)
            name, inherit, _, parent = nodes[node]
            chain.append(ResourceNodeFact(name, inherit))
            node = parent
        chain.reverse()
        found[ref] = ResourceFacts(ref, attributes=attributes, chain=tuple(chain))
    return found


def _read_nodes(nodes: dict[int, tuple[str, bool, Any, int | None]], by_ref: dict[str, int], rows: Any) -> None:
    for pk, ref, inherit, attributes, parent in rows.order_by().values_list("pk", "ref", "inherit", "attributes", "parent_id"):
        nodes[pk] = (ref, inherit, attributes, parent)
        by_ref[ref] = pk


def resource_refs(realm_id: int, *, kind: str = "") -> list[str]:
    rows = Resource.objects.filter(realm_id=realm_id)
    if kind:
        rows = rows.filter(ref__startswith=f"{kind}:")
    return [ref for ref in rows.order_by("ref").values_list("ref", flat=True) if not kind or ref.startswith(f"{kind}:")]


def changed_kinds(realm_id: int, since: int, stamp: int, head: int) -> frozenset[str] | None:
    """Kinds changed in (since, head], or None where the changelog cannot prove what changed: a gap, or another history.

    The stamp of `since` tells a restored or rolled-back database apart, where the same number names another change.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT rev, stamp, kind FROM permissions_changelog WHERE realm_id = %s AND rev >= %s AND rev <= %s",
            [realm_id, since, head],
        )
        rows = cursor.fetchall()
    if {rev for rev, _, _ in rows} != set(range(since, head + 1)) or any(s != stamp for r, s, _ in rows if r == since):
        return None
    return frozenset(kind for rev, _, kind in rows if rev > since)


def database_now_us() -> int | None:
    """The database's clock, or None where it is this process's own."""
    if connection.vendor != "postgresql":
        return None
    with connection.cursor() as cursor:
        cursor.execute("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
        return int(cursor.fetchone()[0])
