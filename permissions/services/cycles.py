"""Roles, teams, resources and requirements stay free of circles: judged before the write on the edges as it will leave them.

The database refuses a circle too; it cannot name it, and by then the statement has failed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from permissions.bundle.graph import cycle_of
from permissions.bundle.specs import PermissionSpec, ResourceSpec, RoleSpec, Spec, TeamSpec
from permissions.engine import names
from permissions.errors import Conflict
from permissions.models import Membership, PermissionRequirement, Realm, Resource, RoleInheritance
from permissions.services.specs import WHOLE, parts


class Graph(NamedTuple):
    """A table of edges as a line states them: from the owner (a role, a team) to its targets (what it inherits, its members)."""

    model: Any
    realm: str
    owner: str
    target: str
    says: str


ROLES: Final = Graph(RoleInheritance, "role__realm", "role__name", "parent__name", "roles inherit in a circle")
TEAMS: Final = Graph(Membership, "team__realm", "team__ref", "member__ref", "teams belong to one another in a circle")
RESOURCES: Final = Graph(Resource, "realm", "ref", "parent__ref", "resources lie below one another in a circle")
REQUIREMENTS: Final = Graph(
    PermissionRequirement,
    "permission__realm",
    "permission__code",
    "required__code",
    "permissions require one another in a circle",
)


def edges_of(spec: Spec) -> tuple[str, ...]:
    """What a line points to."""
    match spec:
        case PermissionSpec():
            return spec.requires
        case RoleSpec():
            return spec.inherits
        case TeamSpec():
            return tuple(member.id for member in spec.members)
        case ResourceSpec():
            return () if spec.parent is None else (spec.parent,)
        case _:
            return ()


def refuse_cycles(realm: Realm, graph: Graph, edges: Mapping[str, Iterable[str]]) -> None:
    """Raises Conflict naming the circle that `edges` (owner → its targets from now on) would close with those the realm has."""
    future: dict[str, list[str]] = {owner: list(targets) for owner, targets in edges.items() if targets}
    if not future:
        return
    _read_on(realm, graph, future, set(edges))
    circle = cycle_of(future)
    if circle:
        raise Conflict(f"{graph.says}: {' → '.join(names.shown(name) for name in circle)}")


def _read_on(realm: Realm, graph: Graph, future: dict[str, list[str]], stated: set[str]) -> None:
    """Adds the realm's own edges that can be reached, a statement a level; all of them at once where there are many to follow."""
    rows = graph.model.objects.filter(**{graph.realm: realm, f"{graph.target}__isnull": False}).order_by()
    columns = (graph.owner, graph.target)
    found: dict[str, list[str]] = defaultdict(list)
    seen = set(stated)
    frontier = {target for targets in future.values() for target in targets} - seen
    if len(frontier) > WHOLE:
        for owner, target in rows.values_list(*columns):
            if owner not in stated:
                found[owner].append(target)
        frontier = set()
    while frontier:
        seen |= frontier
        following: set[str] = set()
        for part in parts(frontier):
            for owner, target in rows.filter(**{f"{graph.owner}__in": part}).values_list(*columns):
                found[owner].append(target)
                following.add(target)
        frontier = following - seen
    future.update(found)
