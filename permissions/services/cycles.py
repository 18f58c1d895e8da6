"""Roles, teams, resources and requirements stay free of cycles: judged on the rows as the write leaves them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import Any, Final, NamedTuple

from permissions.bundle.graph import cycle_of
from permissions.engine import names
from permissions.errors import Conflict
from permissions.models import Membership, PermissionRequirement, Realm, Resource, RoleInheritance
from permissions.services.specs import WHOLE, parts


class Graph(NamedTuple):
    """A table of edges. `child` and `parent` are columns of keys, the names those of what they point to."""

    model: Any
    child: str
    child_name: str
    parent: str
    parent_name: str
    of_realm: str
    says: str


ROLES: Final = Graph(
    RoleInheritance, "role_id", "role__name", "parent_id", "parent__name", "role__realm", "roles inherit in a circle"
)
TEAMS: Final = Graph(
    Membership, "member_id", "member__ref", "team_id", "team__ref", "team__realm", "teams belong to one another in a circle"
)
RESOURCES: Final = Graph(
    Resource, "id", "ref", "parent_id", "parent__ref", "realm", "resources lie below one another in a circle"
)
REQUIREMENTS: Final = Graph(
    PermissionRequirement,
    "permission_id",
    "permission__code",
    "required_id",
    "required__code",
    "permission__realm",
    "permissions require one another in a circle",
)


def refuse_cycles(realm: Realm, graph: Graph, starts: Collection[int]) -> None:
    """Raises Conflict naming the circle if one can be reached from the rows `starts` (keys of the children)."""
    circle = cycle_of(_edges_above(realm, graph, starts)) if starts else []
    if circle:
        raise Conflict(f"{graph.says}: {' → '.join(names.shown(name) for name in circle)}")


def _edges_above(realm: Realm, graph: Graph, starts: Collection[int]) -> dict[str, list[str]]:
    """Every edge on a way up from `starts`, a statement a level; the whole graph at once where the starts are many."""
    edges: dict[str, list[str]] = defaultdict(list)
    rows = graph.model.objects.filter(**{f"{graph.parent}__isnull": False}).order_by()
    columns = (graph.child_name, graph.parent, graph.parent_name)
    if len(starts) > WHOLE:
        for child, _, parent in rows.filter(**{graph.of_realm: realm}).values_list(*columns):
            edges[child].append(parent)
        return edges
    seen = set(starts)
    frontier = set(starts)
    while frontier:
        above: set[int] = set()
        for part in parts(frontier):
            for child, key, parent in rows.filter(**{f"{graph.child}__in": part}).values_list(*columns):
                edges[child].append(parent)
                above.add(key)
        frontier = above - seen
        seen |= frontier
    return edges
