"""What a role really gives, code by code, and where each comes from: own, by group, inherited, conditional, excluded, denied.

Pure: from the model's facts. The rule is the law's (semantics, "Roles"): the union of its own lines, its groups and what it
inherits, minus its own exclusions; denied is what its own deny lines and the inherited ones reach.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from permissions.engine import platform
from permissions.engine.patterns import Index
from permissions.engine.types import ModelFacts, RoleFact

State = Literal["own", "group", "inherited", "conditional", "excluded", "denied"]


@dataclass(frozen=True, slots=True)
class Source:
    """`via`: the roles inherited through, nearest first; `group`: the group that holds the pattern, if one does."""

    effect: Literal["allow", "exclude", "deny"]
    pattern: str
    via: tuple[str, ...] = ()
    group: str = ""
    condition: str = ""


@dataclass(slots=True)
class Row:
    code: str
    state: State
    high_risk: bool = False
    sources: list[Source] = field(default_factory=list)


def effective(facts: ModelFacts, name: str) -> list[Row]:
    """One row for each registered code that the role gives, excludes or denies, in the order of codes."""
    risky = {p.code for p in facts.permissions if p.high_risk}
    return [
        Row(code, _state(sources), code in risky, sources)
        for code, sources in sorted(_Walk(facts).of(name).items())
        if any(source.effect != "exclude" for source in sources)
    ]


def _state(sources: list[Source]) -> State:
    """What counts in the end: a deny before everything, an exclusion before what the role itself would give."""
    if any(s.effect == "deny" and not s.condition for s in sources):
        return "denied"
    if any(s.effect == "exclude" and not s.via for s in sources):
        return "excluded"
    allows = [s for s in sources if s.effect == "allow"]
    if not allows:
        return "denied" if any(s.effect == "deny" for s in sources) else "excluded"
    if all(s.condition for s in allows) or any(s.effect == "deny" for s in sources):
        return "conditional"
    plain = [s for s in allows if not s.condition]
    if any(not s.via and not s.group for s in plain):
        return "own"
    return "group" if any(not s.via for s in plain) else "inherited"


class _Walk:
    def __init__(self, facts: ModelFacts) -> None:
        self.index = Index([*(p.code for p in facts.permissions), *platform.CODES])
        self.roles = {role.name: role for role in facts.roles}
        self.groups = {group.name: group.patterns for group in facts.groups}

    def of(self, name: str, path: tuple[str, ...] = (), seen: frozenset[str] = frozenset()) -> dict[str, list[Source]]:
        role = self.roles.get(name)
        if role is None or name in seen:
            return {}
        found: dict[str, list[Source]] = {}
        for source in self._own(role, path):
            for code in self.index.expand(source.pattern):
                found.setdefault(code, []).append(source)
        for parent in role.inherits:
            for code, sources in self.of(parent, (*path, parent), seen | {name}).items():
                # An exclusion is local: what a parent excludes of its own it does not hand down, so only what it gives counts.
                given = _handed_down(sources, (*path, parent))
                if given:
                    found.setdefault(code, []).extend(given)
        return found

    def _own(self, role: RoleFact, path: tuple[str, ...]) -> Iterable[Source]:
        for line in role.lines:
            yield Source(line.effect, line.pattern, path, "", line.condition)
        for group in role.groups:
            for pattern in self.groups.get(group, ()):
                yield Source("allow", pattern, path, group)


def _handed_down(sources: list[Source], path: tuple[str, ...]) -> list[Source]:
    excluded = any(s.effect == "exclude" and s.via == path for s in sources)
    return [s for s in sources if s.effect == "deny" or (s.effect == "allow" and not excluded)]
