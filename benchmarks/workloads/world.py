"""A world: a model, who holds which roles, and the questions; with the answers, by sets alone, as the judge of all sides."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from permissions.engine.types import ModelFacts


@dataclass(frozen=True)
class World:
    """`held[n]`: the roles of `ref(n)`. `checks`: pairs (number of the subject, code). `resources`: those that are stored."""

    model: ModelFacts
    held: list[tuple[str, ...]]
    checks: list[tuple[int, str]]
    resources: tuple[str, ...] = ()

    @property
    def questions(self) -> list[tuple[str, str]]:
        return [(ref(number), code) for number, code in self.checks]

    def codes_by_role(self) -> dict[str, frozenset[str]]:
        """Role → the codes that it gives; patterns expanded by a regular expression each, as nothing of ours does it."""
        codes = [fact.code for fact in self.model.permissions]
        groups = {fact.name: fact.patterns for fact in self.model.groups}
        known: dict[str, frozenset[str]] = {}

        def expanded(patterns: Iterable[str]) -> frozenset[str]:
            found: set[str] = set()
            for pattern in patterns:
                if pattern not in known:
                    known[pattern] = frozenset(_matching(pattern, codes)) if set("*?") & set(pattern) else frozenset({pattern})
                found |= known[pattern]
            return frozenset(found)

        return {
            role.name: expanded([line.pattern for line in role.lines] + [p for name in role.groups for p in groups[name]])
            for role in self.model.roles
        }

    def answers(self, count: int) -> list[bool]:
        """The right answer to each of the first questions."""
        given = self.codes_by_role()
        return [any(code in given[role] for role in self.held[number]) for number, code in self.checks[:count]]


def ref(number: int) -> str:
    return f"user:{number}"


def _matching(pattern: str, codes: list[str]) -> list[str]:
    """Worlds of this folder that are compared with others use concrete codes and `type:*` alone."""
    regex = re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."))
    return [code for code in codes if regex.fullmatch(code)]
