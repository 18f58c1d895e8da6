"""What a flush names: ids by a pattern, or snapshots that carry a role, a team or a scope.

`*` stands for any run of characters, everything else for itself, byte by byte. Source: consistency, section 9.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from permissions.engine.scopes import ResourceSnapshot, SubjectSnapshot
from permissions.engine.table import Held

ALL: Final = "all"
PATTERNS: Final = ("subject", "resource")
TAGS: Final = (*PATTERNS, "role", "team", "scope")


def id_pattern(pattern: str) -> Callable[[str], bool]:
    """Whether an id fits the pattern. Never by a regular expression: one of many `*` goes back and forth for ages."""
    first, *rest = pattern.split("*")
    if not rest:
        return pattern.__eq__
    last = rest.pop()

    def fits(ref: str) -> bool:
        if len(ref) < len(first) + len(last) or not ref.startswith(first) or not ref.endswith(last):
            return False
        at, end = len(first), len(ref) - len(last)
        for part in rest:
            found = ref.find(part, at, end)
            if found < 0:
                return False
            at = found + len(part)
        return True

    return fits


def of_subjects(tag: str, value: str) -> Callable[[str, SubjectSnapshot], bool] | None:
    """Which subjects' snapshots the flush drops; None where it drops none."""
    if tag == "subject":
        fits = id_pattern(value)
        return lambda ref, _: fits(ref)
    if tag == "role":
        return lambda _, snapshot: _holds(snapshot, value)
    if tag == "team":
        return lambda ref, snapshot: ref == value or value in snapshot.deps
    if tag == "scope":
        return lambda _, snapshot: (
            value in snapshot.scopes or value in snapshot.lines or any(held.binding.scope == value for held in snapshot.apart)
        )
    return None


def of_resources(tag: str, value: str) -> Callable[[str, ResourceSnapshot], bool] | None:
    """Which resources' snapshots the flush drops; None where it drops none."""
    if tag == "resource":
        fits = id_pattern(value)
        return lambda ref, _: fits(ref)
    if tag == "scope":
        return lambda ref, snapshot: ref == value or value in snapshot.deps
    return None


def _holds(snapshot: SubjectSnapshot, role: str) -> bool:
    sets = [snapshot.realm_roles, *snapshot.scopes.values()]
    if any(roles is not None and role in roles.roles for roles in sets):
        return True
    return any(_of_role(held, role) for group in (*snapshot.lines.values(), snapshot.apart) for held in group)


def _of_role(held: Held, role: str) -> bool:
    return held.binding.role == role
