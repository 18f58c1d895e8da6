"""All SQL of search: the refs that might be allowed, in the database's own order, a bounded number at a time.

Two ways. Few holders: they are listed, teams expanded downwards, and sorted. Many: the entities of the type are walked in order,
and only those that hold something, or are in a team that does, are kept. What SQL does not tell (windows, conditions, what a node
keeps away) is left in: a candidate too many costs an evaluation, one too few would be a wrong answer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from django.db import connection
from django.db.models import F, Q

from permissions.engine.table import RoleTable
from permissions.engine.types import REALM
from permissions.lookup import giving
from permissions.lookup.browsing import Part, sizes
from permissions.models import Membership, Resource, Role, RoleBinding, Subject
from permissions.selectors import PART, OneOf

# More holders, or nodes, than this are walked in order instead of listed. Of a million, these are half a hundredth: a walk finds
# a page of a hundred among 20,000.
MOST_LISTED: Final = PART
# Rows that one statement of a walk among holders looks at, at most and at first.
WALKED: Final = 2_000
FIRST_WALKED: Final = 256


def of_kind(kind: str) -> Q:
    """Refs of the type. SQLite's LIKE ignores case and uses no index, a range of bytes is exact; PostgreSQL's LIKE is exact,
    while its ranges go by the collation of the database."""
    if not kind:
        return Q()
    if connection.vendor == "sqlite":
        return Q(ref__gte=f"{kind}:", ref__lt=f"{kind};")
    return Q(ref__startswith=f"{kind}:")


def walks(limit: int | None) -> Iterator[int]:
    size = min(WALKED, max(FIRST_WALKED, WALKED if limit is None else limit + 1))
    while True:
        yield size
        size = min(WALKED, size * 2)


@dataclass(slots=True)
class Holders:
    """Who holds something that could give a code at some nodes.

    `teams`: what is known of teams, by key: whether one, or any above it, holds such a thing.
    """

    realm_id: int
    table: RoleTable
    mask: int
    bindings: Q
    teams: dict[int, bool] = field(default_factory=dict)

    def rows(self, further: Q | OneOf, most: int | None = None) -> list[int] | None:
        """Keys of holders, one for each row; None where there are more rows than `most`."""
        found = RoleBinding.objects.filter(self.bindings, further, realm_id=self.realm_id).order_by()
        rows: list[tuple[int, int | None, list[str]]] = list(
            found.values_list("subject_id", "role_id", "allow")[: None if most is None else most + 1]
        )
        if most is not None and len(rows) > most:
            return None
        direct, mask = self.table.direct, self.mask
        return [holder for holder, role, allow in rows if role is not None or direct(tuple(allow)) & mask]

    def among(self, ids: Collection[int]) -> set[int]:
        """Those of the subjects that hold something, or are in a team that does, whatever the windows."""
        found = set(self.rows(OneOf(F("subject_id"), ids)) or ())
        edges = list(Membership.objects.filter(OneOf(F("member_id"), ids)).order_by().values_list("member_id", "team_id"))
        self._learn({team for _, team in edges})
        found.update(member for member, team in edges if self.teams[team])
        return found

    def _learn(self, teams: set[int]) -> None:
        above: dict[int, set[int]] = {}
        frontier = {team for team in teams if team not in self.teams}
        while frontier:
            above.update((team, set()) for team in frontier)
            for part in _parts(frontier):
                for member, team in Membership.objects.filter(member_id__in=part).order_by().values_list("member_id", "team_id"):
                    above[member].add(team)
            frontier = {team for found in above.values() for team in found} - above.keys() - self.teams.keys()
        if not above:
            return
        known = {team for team, gives in self.teams.items() if gives}
        for part in _parts(above):
            known.update(self.rows(Q(subject_id__in=part)) or ())
        # Upwards from each, a visited set against a cycle that slipped past the write's check.
        for team in above:
            self.teams[team] = _reaches(team, above, known)


def _reaches(team: int, above: dict[int, set[int]], known: set[int]) -> bool:
    seen = {team}
    todo = [team]
    while todo:
        here = todo.pop()
        if here in known:
            return True
        new = above.get(here, set()) - seen
        seen |= new
        todo.extend(new)
    return False


def _parts(ids: Iterable[int]) -> Iterator[list[int]]:
    everything = list(ids)
    for start in range(0, len(everything), PART):
        yield everything[start : start + PART]


def holders_of(realm_id: int, table: RoleTable, nodes: Collection[str], mask: int) -> Holders:
    """Of something that could give a code of the mask at one of the nodes."""
    scopes = Q(scope__isnull=True) if REALM in nodes else Q()
    refs = [node for node in nodes if node != REALM]
    if refs:
        ids = list(Resource.objects.filter(realm_id=realm_id, ref__in=refs).order_by().values_list("pk", flat=True))
        scopes |= Q(scope_id__in=ids)
    names = giving.roles_giving(table, mask)
    roles = Q(role__isnull=True)
    if len(names) > PART:
        roles = Q()
    elif names:
        found = Role.objects.filter(realm_id=realm_id, name__in=names).order_by().values_list("pk", flat=True)
        roles |= Q(role_id__in=list(found))
    return Holders(realm_id, table, mask, scopes & roles)


def listed_subjects(holders: Holders, kind: str, *, kinds: list[str], after: str, superusers: bool) -> list[str] | None:
    """All candidates behind `after`, in order; None where they are too many to be listed."""
    holding = holders.rows(Q(), MOST_LISTED)
    if holding is None:
        return None
    found = set(holding)
    if superusers:
        superior = Subject.objects.filter(realm_id=holders.realm_id, user__is_superuser=True).order_by()
        found.update(superior.values_list("pk", flat=True)[: MOST_LISTED + 1])
    frontier = found
    while frontier and len(found) <= MOST_LISTED:
        members = Membership.objects.filter(team_id__in=frontier).order_by().values_list("member_id", flat=True)
        frontier = set(members[: MOST_LISTED + 1]) - found
        found |= frontier
    if len(found) > MOST_LISTED:
        return None
    rows = Subject.objects.filter(of_kind(kind), pk__in=found, kind__in=kinds, ref__gt=after)
    return list(rows.order_by("ref").values_list("ref", flat=True))


def walked_subjects(
    realm_id: int,
    holders: Holders | None,
    kind: str,
    *,
    kinds: list[str],
    after: str,
    limit: int | None,
    superusers: bool,
    everyone: Collection[str],
) -> Iterator[Part]:
    """Every subject of the type in order; with `holders` only those that might be allowed, with those of the types `everyone`."""
    size = sizes(limit)
    walked = walks(limit)
    while True:
        most = next(size) if holders is None else next(walked)
        rows: list[tuple[int, str, bool | None]] = list(
            Subject.objects.filter(of_kind(kind), realm_id=realm_id, kind__in=kinds, ref__gt=after)
            .order_by("ref")
            .values_list("pk", "ref", "user__is_superuser")[:most]
        )
        if not rows:
            return
        after = rows[-1][1]
        if holders is None:
            yield Part([ref for _, ref, _ in rows], after, len(rows))
        else:
            kept = holders.among([pk for pk, _, _ in rows])
            refs = [
                ref
                for pk, ref, superuser in rows
                if pk in kept or (superusers and superuser) or ref.partition(":")[0] in everyone
            ]
            # A statement looks far; what it found is decided in smaller parts, since the page may be full before its end.
            start = 0
            while part := refs[start : start + next(size)]:
                yield Part(part, part[-1], len(part))
                start += len(part)
            yield Part([], after, len(rows) - len(refs))
        if len(rows) < most:
            return


def listed_resources(realm_id: int, nodes: Collection[str], kind: str, after: str) -> list[str] | None:
    """The resources at and below the nodes, in order; None where they are too many to be listed."""
    found: set[int] = set()
    for start in range(0, len(nodes), PART):
        refs = list(nodes)[start : start + PART]
        found.update(Resource.objects.filter(realm_id=realm_id, ref__in=refs).order_by().values_list("pk", flat=True))
    frontier = found
    while frontier and len(found) <= MOST_LISTED:
        children = Resource.objects.filter(parent_id__in=frontier).order_by().values_list("pk", flat=True)
        frontier = set(children[: MOST_LISTED + 1]) - found
        found |= frontier
    if len(found) > MOST_LISTED:
        return None
    rows = Resource.objects.filter(of_kind(kind), pk__in=found, ref__gt=after)
    return list(rows.order_by("ref").values_list("ref", flat=True))


def walked_resources(realm_id: int, kind: str, after: str, limit: int | None) -> Iterator[Part]:
    for size in sizes(limit):
        rows: Any = Resource.objects.filter(of_kind(kind), realm_id=realm_id, ref__gt=after).order_by("ref")
        refs = list(rows.values_list("ref", flat=True)[:size])
        if not refs:
            return
        after = refs[-1]
        yield Part(refs, after, len(refs))
        if len(refs) < size:
            return
