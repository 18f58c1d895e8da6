"""What a flush names: ids by a pattern, or snapshots that carry a role, a team or a scope.

`*` stands for any run of characters, everything else for itself, byte by byte. Source: consistency, section 9.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from permissions.engine.scopes import ResourceSnapshot, SubjectSnapshot
from permissions.engine.table import roles_in

Snapshot: TypeAlias = SubjectSnapshot | ResourceSnapshot

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


def matcher(tag: str, value: str) -> Callable[[Snapshot], bool]:
    """Whether the flush drops a snapshot. A tag this version does not know drops all: too much does no harm."""
    if tag in PATTERNS:
        fits = id_pattern(value)
        kind = SubjectSnapshot if tag == "subject" else ResourceSnapshot
        return lambda snapshot: isinstance(snapshot, kind) and fits(snapshot.ref)
    if tag == "team":
        return lambda s: isinstance(s, SubjectSnapshot) and (s.ref == value or value in s.deps)
    if tag == "scope":
        return lambda s: value in s.deps or s.ref == value if isinstance(s, ResourceSnapshot) else _is_held_at(s, value)
    if tag == "role":
        return lambda s: isinstance(s, SubjectSnapshot) and _holds(s, value)
    return lambda _: True


def _is_held_at(snapshot: SubjectSnapshot, scope: str) -> bool:
    if scope in snapshot.scopes or scope in snapshot.lines:
        return True
    return any(held.binding.scope == scope for held in snapshot.apart)


def _holds(snapshot: SubjectSnapshot, role: str) -> bool:
    sets = [snapshot.realm_roles, *snapshot.scopes.values()]
    if any(roles is not None and role in roles_in(roles) for roles in sets):
        return True
    return any(held.binding.role == role for group in (*snapshot.lines.values(), snapshot.apart) for held in group)
