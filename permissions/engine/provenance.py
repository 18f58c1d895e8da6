"""Where a grant comes from: through which teams a subject holds a binding, and by which line of which role a code is given."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from permissions.engine.patterns import matches
from permissions.engine.table import LineKey, RoleTable, Standing, standing_at
from permissions.engine.types import MembershipFact, RoleFact


@dataclass(frozen=True, slots=True)
class Origin:
    """`roles`: from the role asked about to the one with the line, each inheriting the next. `group` is empty for an own line."""

    roles: tuple[str, ...]
    pattern: str
    group: str = ""


@dataclass(frozen=True, slots=True)
class Exclusion:
    role: str
    pattern: str


def team_path(ref: str, team: str, memberships: Iterable[MembershipFact], now_us: int, worst: Standing) -> tuple[str, ...]:
    """The shortest way of memberships, each standing no worse than `worst`, from `ref` to `team`, both named; empty if none."""
    above: dict[str, list[str]] = {}
    for edge in sorted(memberships, key=lambda edge: (edge.member, edge.team)):
        if standing_at(now_us, edge.valid_from_us, edge.valid_until_us) <= worst:
            above.setdefault(edge.member, []).append(edge.team)
    ways: deque[tuple[str, ...]] = deque([(ref,)])
    seen = {ref}
    while ways:
        way = ways.popleft()
        if way[-1] == team:
            return way
        for following in above.get(way[-1], ()):
            if following not in seen:
                seen.add(following)
                ways.append((*way, following))
    return ()


def origin_of(table: RoleTable, role: str, code: str, effect: Literal["allow", "deny"], key: LineKey) -> Origin | None:
    """The shortest way by which `role` names `code` under the condition and the window of `key`."""
    wanted = (key.condition, key.from_us, key.until_us)
    for way, from_us, until_us, excluded in _ways(table.role_facts, role, code):
        if effect == "allow" and excluded is not None:
            continue
        fact = table.role_facts[way[-1]]
        for line in fact.lines:
            if line.effect == effect and (line.condition, from_us, until_us) == wanted and matches(line.pattern, code):
                return Origin(way, line.pattern)
        if effect == "allow" and ("", from_us, until_us) == wanted:
            for name in fact.groups:
                group = table.group_facts.get(name)
                for pattern in group.patterns if group is not None else ():
                    if matches(pattern, code):
                        return Origin(way, pattern, name)
    return None


def exclusion_of(table: RoleTable, role: str, code: str) -> Exclusion | None:
    """What takes `code` away from a role that would give it otherwise; None where no line names it."""
    for way, _, _, excluded in _ways(table.role_facts, role, code):
        fact = table.role_facts[way[-1]]
        groups = (table.group_facts[name] for name in fact.groups if name in table.group_facts)
        named = [line.pattern for line in fact.lines if line.effect == "allow"]
        named += [pattern for group in groups for pattern in group.patterns]
        if excluded is not None and any(matches(pattern, code) for pattern in named):
            return excluded
    return None


# A way of inheritance: the roles passed, the window all of them leave, and the first exclusion met on it.
_Way = tuple[tuple[str, ...], int | None, int | None, Exclusion | None]


def _ways(facts: Mapping[str, RoleFact], role: str, code: str) -> Iterable[_Way]:
    """Every way from `role` up its inheritance, shortest first. Two that end at one role with the same window and exclusion are
    one, so a graph of many diamonds, or a cycle, ends."""
    ways: deque[_Way] = deque([((role,), None, None, None)])
    seen: set[tuple[str, int | None, int | None, Exclusion | None]] = set()
    while ways:
        way, from_us, until_us, excluded = ways.popleft()
        fact = facts.get(way[-1])
        if fact is None:
            continue
        if fact.valid_from_us is not None:
            from_us = fact.valid_from_us if from_us is None else max(from_us, fact.valid_from_us)
        if fact.valid_until_us is not None:
            until_us = fact.valid_until_us if until_us is None else min(until_us, fact.valid_until_us)
        if excluded is None:
            patterns = (line.pattern for line in fact.lines if line.effect == "exclude" and matches(line.pattern, code))
            excluded = next((Exclusion(fact.name, pattern) for pattern in patterns), None)
        state = (way[-1], from_us, until_us, excluded)
        if state in seen:
            continue
        seen.add(state)
        yield way, from_us, until_us, excluded
        ways.extend(((*way, parent), from_us, until_us, excluded) for parent in fact.inherits if parent not in way)
