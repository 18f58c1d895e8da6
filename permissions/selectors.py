"""All SQL of the read side: rows → the engine's records. `pdp/test_search_equals_check.py` of the tests counts statements."""

from __future__ import annotations

import datetime as dt
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import Any, Final, TypeVar

from django.db import connection
from django.db.models import F, Lookup

from permissions.engine.gather import chain_of, closure_above
from permissions.engine.increment import updated
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


class OneOf(Lookup):
    """A column among many values, sent as one parameter: to put a thousand into Django's own `in` took nearly as long as to read
    what it finds and to decide on it (measured)."""

    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        column, params = self.process_lhs(compiler, connection)
        if connection.vendor == "postgresql":
            return f"{column} = ANY(%s)", (*params, list(self.rhs))
        return f"{column} IN (SELECT value FROM json_each(%s))", (*params, json.dumps(list(self.rhs)))  # noqa: S608 - our column


def to_us(value: dt.datetime | None) -> int | None:
    """Whole microseconds since the Unix epoch. By integers: a float has lost them by the year 9999."""
    if value is None:
        return None
    gap = value - _EPOCH
    return (gap.days * 86_400 + gap.seconds) * 1_000_000 + gap.microseconds


def is_in_transaction() -> bool:
    """Whether the caller has a transaction open on this thread's connection, by `atomic` or with autocommit switched off."""
    # A connection that was never opened has no autocommit either.
    return not connection.autocommit and (connection.in_atomic_block or connection.connection is not None)


@contextmanager
def one_snapshot(*, limit_s: float | None = None) -> Iterator[None]:
    """All reads of the block see the same committed state. In an open transaction the block joins it.

    `limit_s`: what a statement of the block may take on PostgreSQL; whoever waited has gone by then.

    READ COMMITTED gives each statement a snapshot of its own, so a newer subject could meet an older role table; Django's own
    transaction on SQLite begins IMMEDIATE and would wait for every writer. Hence plain BEGINs, which take no lock.
    """
    if is_in_transaction():
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" if connection.vendor == "postgresql" else "BEGIN DEFERRED"
        )
        try:
            if limit_s is not None and connection.vendor == "postgresql":
                # By index as well where a first load has left no statistics yet, and never compiled to machine code: a page reads
                # a few thousand rows by key.
                cursor.execute(f"SET LOCAL statement_timeout = {max(1, int(limit_s * 1000))}")
                cursor.execute("SET LOCAL jit = off")
                cursor.execute("SET LOCAL enable_seqscan = off")
            yield
        finally:
            cursor.execute("ROLLBACK")


def _parts(ids: Iterable[T]) -> Iterator[list[T]]:
    everything = list(ids)
    for start in range(0, len(everything), PART):
        yield everything[start : start + PART]


def model_facts(realm: Realm) -> ModelFacts:
    """Everything a role table is compiled from, each part in ascending order; nine statements, whatever the size."""
    return _model(realm.pk, realm, None)


def model_delta(realm_id: int, names: Collection[str], previous: ModelFacts) -> ModelFacts:
    """`previous` as of now; `names` are the ids of all changelog rows of kind `m` since. A few statements, whatever the size.

    Equals `model_facts` of the same database snapshot, and is `previous` itself where nothing of it has changed.
    """
    realm = Realm.objects.get(pk=realm_id) if previous.realm in names or len(names) > PART else None
    if realm is not None and len(names) > PART:
        return model_facts(realm)
    return updated(previous, names, _model(realm_id, realm, names), settings=realm is not None)


def _model(realm_id: int, realm: Realm | None, names: Collection[str] | None) -> ModelFacts:
    """The realm's model, or what of it has one of the names: one may be a role's, a group's, a code and a holder's at once."""
    codes = names if names is None else [name for name in names if ":" in name]
    everyone = RoleBinding.objects.filter(subject__kind="everyone")
    if codes is not None:
        everyone = everyone.filter(subject__ref__in=[code for code in codes if code.endswith(":*")])
    settings: dict[str, Any] = {"realm": ""}
    if realm is not None:
        settings = {name: getattr(realm, name) for name in ("combining", "unknown_subjects", "suspended")} | {"realm": realm.name}
        settings["type_combining"] = {kind: options["combining"] for kind, options in realm.resource_types.items()}
    return ModelFacts(
        **settings,
        permissions=tuple(_permissions(realm_id, codes)),
        groups=tuple(_groups(realm_id, names)),
        roles=tuple(_roles(realm_id, names)),
        everyone=tuple(_bindings(realm_id, everyone)),
    )


def _named(model: Any, realm_id: int, names: Collection[str] | None, *columns: str) -> list[Any]:
    """Key and columns of the realm's rows, or of those whose first column is a name of `names`, ascending by it.

    Sorted here: a database sorts texts by its own collation.
    """
    rows = model.objects.filter(realm_id=realm_id)
    if names is not None:
        rows = rows.filter(**{f"{columns[0]}__in": names})
    return sorted(rows.order_by().values_list("pk", *columns), key=itemgetter(1))


def _below(model: Any, owner: str, realm_id: int, rows: list[Any], names: Collection[str] | None) -> Any:
    """What belongs to `rows`, which are all of the realm where `names` is None."""
    wanted = {f"{owner}__realm_id": realm_id} if names is None else {f"{owner}__in": [row[0] for row in rows]}
    return model.objects.filter(**wanted).order_by()


def _texts(rows: Any, owner: str, column: str) -> dict[int, tuple[str, ...]]:
    found: dict[int, list[str]] = defaultdict(list)
    for key, text in rows.values_list(f"{owner}_id", column):
        found[key].append(text)
    return {key: tuple(sorted(texts)) for key, texts in found.items()}


def _permissions(realm_id: int, codes: Collection[str] | None) -> Iterator[PermissionFact]:
    rows = _named(Permission, realm_id, codes, "code", "critical", "high_risk")
    edges = _below(PermissionRequirement, "permission", realm_id, rows, codes)
    requires = _texts(edges, "permission", "required__code")
    return (PermissionFact(code, requires.get(key, ()), critical, high_risk) for key, code, critical, high_risk in rows)


def _groups(realm_id: int, names: Collection[str] | None) -> Iterator[GroupFact]:
    rows = _named(PermissionGroup, realm_id, names, "name")
    patterns = _texts(_below(GroupLine, "group", realm_id, rows, names), "group", "pattern")
    return (GroupFact(name, patterns.get(key, ())) for key, name in rows)


def _roles(realm_id: int, names: Collection[str] | None) -> Iterator[RoleFact]:
    rows = _named(Role, realm_id, names, "name", "valid_from", "valid_until", "obligations")
    inherits = _texts(_below(RoleInheritance, "role", realm_id, rows, names), "role", "parent__name")
    groups = _texts(_below(RoleGroup, "role", realm_id, rows, names), "role", "group__name")
    # The lines of a catalogue repeat: one object for all that are equal takes a third of the memory.
    known: dict[RoleLineFact, RoleLineFact] = {}
    lines: dict[int, list[RoleLineFact]] = defaultdict(list)
    below = _below(RoleLine, "role", realm_id, rows, names)
    for key, effect, pattern, condition in below.values_list("role_id", "effect", "pattern", "condition"):
        line = RoleLineFact(effect, pattern, condition)
        lines[key].append(known.setdefault(line, line))
    for key, name, start, end, obligations in rows:
        own = tuple(sorted(lines.get(key, ())))
        yield RoleFact(name, inherits.get(key, ()), groups.get(key, ()), own, to_us(start), to_us(end), tuple(obligations))


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
        memberships, seen = closure_above(ref, above, asserted)
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
            Subject.objects.filter(OneOf(F("ref"), part), realm_id=realm_id)
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
                Membership.objects.filter(OneOf(F("member_id"), part), team__realm_id=realm_id)
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
        # The realm of the subject as well, which is the binding's: without it no index leads from a ref to its row.
        for binding in _bindings(
            realm_id, RoleBinding.objects.filter(OneOf(F("subject__ref"), part), subject__realm_id=realm_id)
        ):
            found[binding.holder].append(binding)
    return found


def resource_facts(realm_id: int, refs: Collection[str]) -> dict[str, ResourceFacts]:
    """Facts of the resources named, each with its chain, root first; one statement for each level of the tree."""
    nodes: dict[int, tuple[str, bool, int | None]] = {}
    asked: dict[str, tuple[int, Any]] = {}
    for part in _parts(refs):
        _read_nodes(nodes, asked, Resource.objects.filter(OneOf(F("ref"), part), realm_id=realm_id))
    while missing := {parent for _, _, parent in nodes.values() if parent is not None and parent not in nodes}:
        for ids in _parts(missing):
            _read_nodes(nodes, {}, Resource.objects.filter(realm_id=realm_id, pk__in=ids))
            for pk in ids:
                nodes.setdefault(pk, ("", False, None))
    found = {}
    for ref in refs:
        if ref not in asked:
            found[ref] = ResourceFacts(ref, known=False, chain=(ResourceNodeFact(ref),))
            continue
        node, attributes = asked[ref]
        found[ref] = ResourceFacts(ref, attributes=attributes, chain=chain_of(node, nodes))
    return found


def _read_nodes(nodes: dict[int, tuple[str, bool, int | None]], asked: dict[str, tuple[int, Any]], rows: Any) -> None:
    for pk, ref, inherit, attributes, parent in rows.order_by().values_list("pk", "ref", "inherit", "attributes", "parent_id"):
        nodes[pk] = (ref, inherit, parent)
        asked[ref] = (pk, attributes)


def database_now_us() -> int | None:
    """The database's clock, or None where it is this process's own."""
    if connection.vendor != "postgresql":
        return None
    with connection.cursor() as cursor:
        cursor.execute("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
        return int(cursor.fetchone()[0])
