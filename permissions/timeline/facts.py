"""The engine's records of a past revision: what `selectors` reads of the rows of now, from the rows of then."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from permissions.engine.gather import chain_of, closure_above
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
from permissions.timeline.rows import Row, Rows


class Facts:
    """Reads as `selectors` does, at one revision."""

    def __init__(self, rows: Rows, rev: int) -> None:
        self._rows, self._rev = rows, rev

    def _find(self, kind: str, column: str, values: Collection[Any]) -> dict[int, Row]:
        return self._rows.find(self._rev, kind, column, values)

    def _all(self, kind: str) -> dict[int, Row]:
        return self._rows.all(self._rev, kind)

    def model(self) -> ModelFacts:
        """Everything a role table is compiled from, each part in ascending order."""
        realm = next(iter(self._all("realm").values()))
        permissions, groups, roles = self._all("permission"), self._all("permissiongroup"), self._all("role")
        everyone = self._find("subject", "kind", ["everyone"])
        bindings = self._find("rolebinding", "subject_id", everyone)
        return ModelFacts(
            realm["name"],
            realm["combining"],
            {kind: options["combining"] for kind, options in realm["resource_types"].items()},
            realm["unknown_subjects"],
            realm["suspended"],
            permissions=tuple(self._permissions(permissions)),
            groups=tuple(self._groups(groups)),
            roles=tuple(self._roles(roles, groups)),
            everyone=tuple(self._bindings(bindings, everyone)),
        )

    def _permissions(self, rows: Mapping[int, Row]) -> Iterable[PermissionFact]:
        requires = _texts(self._all("permissionrequirement"), "permission_id", "required_id", rows, "code")
        for key, row in _by(rows, "code"):
            yield PermissionFact(row["code"], requires.get(key, ()), row["critical"], row["high_risk"])

    def _groups(self, rows: Mapping[int, Row]) -> Iterable[GroupFact]:
        patterns: dict[int, list[str]] = defaultdict(list)
        for line in self._all("groupline").values():
            patterns[line["group_id"]].append(line["pattern"])
        return (GroupFact(row["name"], tuple(sorted(patterns.get(key, ())))) for key, row in _by(rows, "name"))

    def _roles(self, rows: Mapping[int, Row], groups: Mapping[int, Row]) -> Iterable[RoleFact]:
        inherits = _texts(self._all("roleinheritance"), "role_id", "parent_id", rows, "name")
        held = _texts(self._all("rolegroup"), "role_id", "group_id", groups, "name")
        known: dict[RoleLineFact, RoleLineFact] = {}
        lines: dict[int, list[RoleLineFact]] = defaultdict(list)
        for row in self._all("roleline").values():
            line = RoleLineFact(row["effect"], row["pattern"], row["condition"])
            lines[row["role_id"]].append(known.setdefault(line, line))
        for key, row in _by(rows, "name"):
            own = tuple(sorted(lines.get(key, ())))
            yield RoleFact(
                row["name"],
                inherits.get(key, ()),
                held.get(key, ()),
                own,
                row["valid_from"],
                row["valid_until"],
                tuple(row["obligations"]),
            )

    def _bindings(self, rows: Mapping[int, Row], holders: Mapping[int, Row]) -> list[BindingFact]:
        """Ascending by id; of those whose holder is among `holders`."""
        roles = self._find("role", "id", {row["role_id"] for row in rows.values() if row["role_id"] is not None})
        scopes = self._find("resource", "id", {row["scope_id"] for row in rows.values() if row["scope_id"] is not None})
        return [
            BindingFact(
                key,
                holders[row["subject_id"]]["ref"],
                None if row["role_id"] is None else roles[row["role_id"]]["name"],
                tuple(row["allow"]),
                tuple(row["deny"]),
                REALM if row["scope_id"] is None else scopes[row["scope_id"]]["ref"],
                row["condition"],
                row["valid_from"],
                row["valid_until"],
                row["propagate"],
                tuple(row["obligations"]),
            )
            for key, row in sorted(rows.items())
        ]

    def subject_facts(self, realm_id: int, refs: Collection[str], asserted_teams: Sequence[str] = ()) -> dict[str, SubjectFacts]:
        """As `selectors.subject_facts`; of the one realm that the rows are of."""
        rows = self._find("subject", "ref", {*refs, *asserted_teams})
        by_ref = {row["ref"]: (key, row) for key, row in rows.items() if row["kind"] != "everyone"}
        asserted = [ref for ref in asserted_teams if ref in by_ref and by_ref[ref][1]["kind"] == "team"]
        met: dict[int, Row] = {by_ref[ref][0]: by_ref[ref][1] for ref in (*refs, *asserted) if ref in by_ref}
        above = self._edges_above(met)
        holders = {key: row for key, row in met.items() if row["kind"] != "everyone"}
        bindings: dict[str, list[BindingFact]] = defaultdict(list)
        for binding in self._bindings(self._find("rolebinding", "subject_id", holders), holders):
            bindings[binding.holder].append(binding)
        found = {}
        for ref in refs:
            memberships, seen = closure_above(ref, above, asserted)
            row = by_ref[ref][1] if ref in by_ref else None
            found[ref] = SubjectFacts(
                ref,
                known=row is not None or bool(asserted),
                active=row is None or (row["active"] and _is_user_active(row)),
                locked=row is not None and row["locked"],
                superuser=row is not None and bool(row.get("user_superuser")),
                attributes={} if row is None else row["attributes"],
                memberships=tuple(memberships),
                bindings=tuple(b for holder in sorted(seen) for b in bindings.get(holder, ())),
            )
        return found

    def _edges_above(self, met: dict[int, Row]) -> dict[str, list[MembershipFact]]:
        """Every membership on a way up from what is `met`, by member; the teams met on the way are added to it."""
        above: dict[str, list[MembershipFact]] = defaultdict(list)
        frontier = set(met)
        while frontier:
            edges = self._find("membership", "member_id", frontier)
            missing = {row["team_id"] for row in edges.values()} - met.keys()
            teams = self._find("subject", "id", missing)
            met.update(teams)
            for _, row in sorted(edges.items()):
                if row["team_id"] in met:
                    edge = (met[row["member_id"]]["ref"], met[row["team_id"]]["ref"])
                    above[edge[0]].append(MembershipFact(*edge, row["valid_from"], row["valid_until"]))
            frontier = set(teams)
        return above

    def resource_facts(self, realm_id: int, refs: Collection[str]) -> dict[str, ResourceFacts]:
        """As `selectors.resource_facts`."""
        rows = self._find("resource", "ref", set(refs))
        asked = {row["ref"]: (key, row["attributes"]) for key, row in rows.items()}
        nodes = {key: (row["ref"], row["inherit"], row["parent_id"]) for key, row in rows.items()}
        while missing := {parent for _, _, parent in nodes.values() if parent is not None and parent not in nodes}:
            above = self._find("resource", "id", missing)
            for key in missing:
                row = above.get(key)
                nodes[key] = ("", False, None) if row is None else (row["ref"], row["inherit"], row["parent_id"])
        found = {}
        for ref in refs:
            if ref not in asked:
                found[ref] = ResourceFacts(ref, known=False, chain=(ResourceNodeFact(ref),))
                continue
            node, attributes = asked[ref]
            found[ref] = ResourceFacts(ref, attributes=attributes, chain=chain_of(node, nodes))
        return found


def _is_user_active(row: Row) -> bool:
    if row["user_id"] is None:
        return True
    # A user removed by foreign SQL before its subject left no flags behind: inactive, in doubt.
    return bool(row.get("user_active", True))


def _by(rows: Mapping[int, Row], column: str) -> list[tuple[int, Row]]:
    return sorted(rows.items(), key=lambda item: item[1][column])


def _texts(edges: Mapping[int, Row], lower: str, upper: str, ends: Mapping[int, Row], column: str) -> dict[int, tuple[str, ...]]:
    found: dict[int, list[str]] = defaultdict(list)
    for edge in edges.values():
        if edge[upper] in ends:
            found[edge[lower]].append(ends[edge[upper]][column])
    return {key: tuple(sorted(texts)) for key, texts in found.items()}
