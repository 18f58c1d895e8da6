"""What roles give and deny, read from their rows with everything they inherit: patterns, never codes."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any

from permissions.models import GroupLine, Realm, Role, RoleGroup, RoleInheritance, RoleLine
from permissions.selectors import to_us
from permissions.services.cover import Content, Line, Window, window_of
from permissions.services.specs import parts


def with_heirs(roles: Iterable[int]) -> set[int]:
    """The keys of these roles and of all that inherit from them: what a change of them reaches."""
    seen = set(roles)
    frontier = set(seen)
    while frontier:
        following: set[int] = set()
        for part in parts(frontier):
            following |= set(RoleInheritance.objects.filter(parent__in=part).values_list("role_id", flat=True))
        frontier = following - seen
        seen |= frontier
    return seen


def parents_above(realm: Realm, names: Collection[str]) -> dict[str, list[str]]:
    """Role → the roles it inherits itself, for every role on a way up from those named."""
    parents: dict[str, list[str]] = defaultdict(list)
    seen = set(names)
    frontier = set(seen)
    while frontier:
        following: set[str] = set()
        for part in parts(frontier):
            rows = RoleInheritance.objects.filter(role__realm=realm, role__name__in=part)
            for role, parent in rows.values_list("role__name", "parent__name"):
                parents[role].append(parent)
                following.add(parent)
        frontier = following - seen
        seen |= frontier
    return parents


def role_contents(realm: Realm, names: Collection[str]) -> dict[str, Content]:
    """The content of each role named; five statements and one for each level of inheritance."""
    parents = parents_above(realm, names)
    seen = {*names, *(parent for above in parents.values() for parent in above)}
    lines: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    windows: dict[str, Window] = {}
    duties: dict[str, frozenset[str]] = {}
    for part in parts(seen):
        for name, start, end, obligations in Role.objects.filter(realm=realm, name__in=part).values_list(
            "name", "valid_from", "valid_until", "obligations"
        ):
            windows[name] = window_of(to_us(start), to_us(end))
            duties[name] = duties_of(obligations)
        for name, effect, pattern, condition in (
            RoleLine.objects.filter(role__realm=realm, role__name__in=part)
            .order_by()
            .values_list("role__name", "effect", "pattern", "condition")
        ):
            lines[name].append((effect, pattern, condition))
    _add_groups(realm, seen, lines)
    return _resolved(names, parents, lines, windows, duties)


def duties_of(obligations: Iterable[Any]) -> frozenset[str]:
    """Obligations as texts that compare."""
    return frozenset(json.dumps(duty, sort_keys=True) for duty in obligations)


def _add_groups(realm: Realm, roles: Collection[str], lines: dict[str, list[tuple[str, str, str]]]) -> None:
    held: dict[int, list[str]] = defaultdict(list)
    for part in parts(roles):
        for role, group in RoleGroup.objects.filter(role__realm=realm, role__name__in=part).values_list("role__name", "group_id"):
            held[group].append(role)
    for keys in parts(held):
        for group, pattern in GroupLine.objects.filter(group__in=keys).order_by().values_list("group_id", "pattern"):
            for role in held[group]:
                lines[role].append(("allow", pattern, ""))


def _resolved(
    names: Collection[str],
    parents: dict[str, list[str]],
    lines: dict[str, list[tuple[str, str, str]]],
    windows: dict[str, Window],
    duties: dict[str, frozenset[str]],
) -> dict[str, Content]:
    found: dict[str, Content] = {}
    entered: set[str] = set()
    # Iterative, parents first: a chain of thousands of roles must not exhaust the stack. A cycle, which the write is about to
    # refuse, ends at the role it came from.
    todo = [(name, False) for name in names]
    while todo:
        name, ready = todo.pop()
        if name in found or name not in windows:
            continue
        if not ready:
            entered.add(name)
            todo.append((name, True))
            todo += [(parent, False) for parent in parents.get(name, ()) if parent not in entered]
            continue
        own = lines.get(name, [])
        excludes = [pattern for effect, pattern, _ in own if effect == "exclude"]
        allow = {Line(p, frozenset({c} if c else ())) for effect, p, c in own if effect == "allow"}
        deny = {Line(p, frozenset({c} if c else ())) for effect, p, c in own if effect == "deny"}
        for parent in parents.get(name, ()):
            content = found.get(parent, Content())
            allow |= content.allow
            deny |= content.deny
        window = windows[name]
        found[name] = Content(
            frozenset(left.within("", window, duties[name]) for line in allow if (left := line.without(excludes)) is not None),
            frozenset(line.within("", window) for line in deny),
        )
    return found
