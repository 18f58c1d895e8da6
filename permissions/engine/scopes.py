"""Snapshots of a subject and of a resource: role ids, patterns and the scope chain, with all windows resolved at one instant.

They hold ids and patterns, never bits, so a new role table works with old snapshots. A subject's `until_us` is the next start
or end of anything its snapshot consulted: from then on it must be built again.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Final

from permissions.engine.names import split_ref
from permissions.engine.table import Held, Holdings, HoldingsRecord, RoleSet, Standing, role_set, standing_at
from permissions.engine.types import (
    NO_ATTRIBUTES,
    REALM,
    Attributes,
    BindingFact,
    MembershipFact,
    ResourceFacts,
    SubjectFacts,
)

_NO_SCOPES: Final[Mapping[str, RoleSet]] = {}
_NO_LINES: Final[Mapping[str, tuple[Held, ...]]] = {}


class Closure:
    """What a snapshot was read through beside its own row: teams of a subject, nodes above a resource.

    A change of one makes every snapshot read before it void. `changed_rev`: the newest revision that changed any. A cache keeps
    one object for all snapshots of the same `refs`, so that a change of a team is one mark, however many subjects it reaches.
    """

    __slots__ = ("__weakref__", "changed_rev", "refs")

    def __init__(self, refs: tuple[str, ...]) -> None:
        self.refs = refs
        self.changed_rev = 0

    def __repr__(self) -> str:
        return f"Closure({', '.join(self.refs)})"


class SubjectSnapshot(Holdings):
    """One subject at one instant, read at revision `built_rev` (the cache's; 0: nobody keeps it).

    `closure`: the teams above it, whatever their windows; None where there are none. `is_plain`: known, active, and every binding
    that may hold is a role set. `quick`: the roles that alone decide, where no scope of the subject's is near and for as long
    as the snapshot lives; None where there is more to look at. `facts`: what it was built from, for an explanation; None where
    memory matters more. Made by `subject_snapshot`.
    """

    __slots__ = ("built_rev",)

    ref: str
    type: str
    built_rev: int
    closure: Closure | None
    quick: RoleSet | None
    known: bool
    is_active: bool
    is_plain: bool
    superuser: bool
    attributes: Attributes
    until_us: int | None
    facts: SubjectFacts | None

    @property
    def deps(self) -> tuple[str, ...]:
        """The teams whose change makes this void."""
        return self.closure.refs if self.closure is not None else ()


class _QuickSubject(SubjectSnapshot):
    """Most subjects hold some roles at the realm and nothing else: what they have in common is said once, here, in a third of the
    memory."""

    __slots__ = ("closure", "quick", "ref")

    scopes = _NO_SCOPES
    lines = _NO_LINES
    apart = ()
    known = is_active = is_plain = True
    superuser = False
    attributes = NO_ATTRIBUTES
    until_us = None
    facts = None

    def __init__(self, ref: str, quick: RoleSet, closure: Closure | None) -> None:
        self.ref = ref
        self.quick = quick
        self.closure = closure
        self.built_rev = 0

    @property
    def realm_roles(self) -> RoleSet | None:  # type: ignore[override]  # never set
        return self.quick

    @property
    def type(self) -> str:  # type: ignore[override]  # never set
        return split_ref(self.ref)[0]


class _FullSubject(SubjectSnapshot):
    __slots__ = (
        "apart",
        "attributes",
        "closure",
        "facts",
        "is_active",
        "is_plain",
        "known",
        "lines",
        "quick",
        "realm_roles",
        "ref",
        "scopes",
        "superuser",
        "type",
        "until_us",
    )

    def __init__(
        self, facts: SubjectFacts, holdings: Holdings, closure: Closure | None, until_us: int | None, *, keep_facts: bool
    ) -> None:
        self.realm_roles = holdings.realm_roles
        self.scopes = holdings.scopes
        self.lines = holdings.lines
        self.apart = holdings.apart
        self.ref = facts.ref
        # Interned: a text of its own for each of 100,000 subjects would be 53 bytes each.
        self.type = sys.intern(split_ref(facts.ref)[0])
        # Teams that an `override` key asserts make an unknown subject known for that request.
        self.known = facts.known or bool(facts.memberships)
        self.is_active = facts.active and not facts.locked
        self.superuser = facts.superuser
        self.attributes = facts.attributes or NO_ATTRIBUTES
        self.closure = closure
        self.built_rev = 0
        self.until_us = until_us
        self.facts = facts if keep_facts else None
        self.is_plain = self.known and self.is_active and not holdings.lines
        self.quick = holdings.realm_roles if self.is_plain and until_us is None and not holdings.apart else None


def subject_snapshot(
    facts: SubjectFacts, holdings: Holdings, deps: tuple[str, ...], until_us: int | None, *, keep_facts: bool
) -> SubjectSnapshot:
    closure = Closure(deps) if deps else None
    roles = holdings.realm_roles
    is_quick = (
        facts.known
        and facts.active
        and not (facts.locked or facts.superuser or facts.attributes or keep_facts)
        and not (holdings.scopes or holdings.lines or holdings.apart)
        and until_us is None
    )
    if is_quick and roles is not None:
        return _QuickSubject(facts.ref, roles, closure)
    return _FullSubject(facts, holdings, closure, until_us, keep_facts=keep_facts)


class ResourceSnapshot:
    """One resource. `nodes`: its chain, root first, without the realm.

    `open_from`: the place in [realm, *nodes] of the last node that says `inherit: false`, 0 where none does. Allows reach the
    resource only from there on.
    """

    __slots__ = ("attributes", "built_rev", "closure", "known", "nodes", "open_from", "ref", "type")

    def __init__(self, facts: ResourceFacts) -> None:
        self.ref = facts.ref
        self.type = split_ref(facts.ref)[0]
        self.known = facts.known
        self.attributes: Attributes = facts.attributes or NO_ATTRIBUTES
        self.nodes = tuple(node.ref for node in facts.chain)
        self.open_from = max((place for place, node in enumerate(facts.chain, 1) if not node.inherit), default=0)
        above = tuple(node for node in self.nodes if node != facts.ref)
        self.closure = Closure(above) if above else None
        self.built_rev = 0

    @property
    def deps(self) -> tuple[str, ...]:
        """The nodes whose change makes this void."""
        return self.nodes


def build_subject(facts: SubjectFacts, now_us: int, *, keep_facts: bool = True) -> SubjectSnapshot:
    """Windows resolved at `now_us`. Without `keep_facts` a snapshot is a few hundred bytes, and cannot be explained."""
    teams = team_standings(facts.ref, facts.memberships, now_us)
    standings = {facts.ref: Standing.HOLDS, **teams}
    bindings = [binding for binding in facts.bindings if binding.holder in standings]
    holdings = holdings_of(bindings, now_us=now_us, ref=facts.ref, standings=standings)
    until_us = _next_boundary(facts.memberships, bindings, now_us)
    return subject_snapshot(facts, holdings, tuple(sorted(teams)), until_us, keep_facts=keep_facts)


def build_resource(facts: ResourceFacts) -> ResourceSnapshot:
    return ResourceSnapshot(facts)


def team_standings(ref: str, memberships: Iterable[MembershipFact], now_us: int) -> dict[str, Standing]:
    """Every team above `ref`, itself left out, with its standing: HOLDS where a way of memberships that hold now leads there;
    else NOT_YET_VALID where one leads there on which nothing has ended; else EXPIRED."""
    above: dict[str, list[tuple[str, Standing]]] = {}
    for edge in memberships:
        standing = standing_at(now_us, edge.valid_from_us, edge.valid_until_us)
        above.setdefault(edge.member, []).append((edge.team, standing))
    found: dict[str, Standing] = {}
    for worst in Standing:
        # Nested teams may form a cycle that slipped past the write's check: each team is entered once for each standing.
        reached = {ref}
        todo = [ref]
        while todo:
            for team, standing in above.get(todo.pop(), ()):
                if standing <= worst and team not in reached:
                    reached.add(team)
                    todo.append(team)
                    found.setdefault(team, worst)
    return found


def holdings_of(
    bindings: Iterable[BindingFact],
    *,
    now_us: int | None,
    ref: str | None = None,
    standings: Mapping[str, Standing] | None = None,
) -> Holdings:
    """Sorted into role sets, lines and what is out of its window. `now_us` None: windows are left to each check; a binding that
    has one is then a line."""
    roles: dict[str, set[str]] = {}
    lines: dict[str, list[Held]] = {}
    apart: list[Held] = []
    for binding in sorted(bindings, key=_by_id):
        standing = standings[binding.holder] if standings is not None else Standing.HOLDS
        held = Held(binding, own=binding.holder == ref, standing=standing)
        has_window = binding.valid_from_us is not None or binding.valid_until_us is not None
        if now_us is not None:
            standing = max(standing, standing_at(now_us, binding.valid_from_us, binding.valid_until_us))
            has_window = False
        if standing is not Standing.HOLDS:
            apart.append(held)
        elif has_window or binding.role is None or binding.condition or binding.obligations or not binding.propagate:
            lines.setdefault(binding.scope, []).append(held)
        else:
            roles.setdefault(binding.scope, set()).add(sys.intern(binding.role))
    sets = {scope: role_set(tuple(sorted(names))) for scope, names in roles.items()}
    return HoldingsRecord(
        realm_roles=sets.pop(REALM, None),
        # One empty mapping for all: an own empty dict for each of 100,000 subjects is 64 bytes each.
        scopes=sets or _NO_SCOPES,
        lines={scope: tuple(held) for scope, held in lines.items()} or _NO_LINES,
        apart=tuple(apart),
    )


def _by_id(binding: BindingFact) -> int:
    return binding.id


def _next_boundary(memberships: Iterable[MembershipFact], bindings: Iterable[BindingFact], now_us: int) -> int | None:
    windows = [(row.valid_from_us, row.valid_until_us) for row in memberships]
    windows += [(row.valid_from_us, row.valid_until_us) for row in bindings]
    return min((instant for window in windows for instant in window if instant is not None and instant > now_us), default=None)
