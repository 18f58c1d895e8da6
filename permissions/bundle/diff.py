"""What a bundle changes in a realm: add, change, remove, in an order in which it can be done.

A line that is named is exactly as the bundle says. A section that is absent is left alone. Without `prune` nothing is removed;
with it, a section that is present removes what it does not name, save what is protected and what the realm would still name
elsewhere afterwards (the subject of a binding, a code in a role, the parent of a resource).
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from permissions.bundle.changes import Change
from permissions.bundle.compact import canonical, realm_keys
from permissions.bundle.difference import render
from permissions.bundle.graph import after_their_needs
from permissions.bundle.keys import SECTIONS
from permissions.bundle.names_used import implied, named_in, result_of
from permissions.bundle.specs import BindingSpec, Bundle, Spec

__all__ = ["Change", "diff", "own_name", "render"]

# What must be there before a line can be: its own section is ordered by these keys.
NEEDS: Final[Mapping[str, str]] = {"permissions": "requires", "roles": "inherits", "teams": "members", "resources": "parent"}


def own_name(spec: Any) -> str:
    """The code, name or id by which a line is known; a binding has none."""
    for key in ("code", "name", "id"):
        if hasattr(spec, key):
            return str(getattr(spec, key))
    return canonical(spec)


def diff(old: Bundle, new: Bundle, prune: bool, *, protected: Iterable[str] = ()) -> list[Change]:
    """The changes that make the realm `old` (as exported, every section present) what the bundle `new` says.

    Order: the realm, then adds and changes section by section, what a line needs before it; then removals in reverse. So no
    step refers to what is not there yet, and no step closes a circle that a later one would open. `protected`: subjects that
    are never pruned (those of Django users).
    """
    rows: dict[str, dict[str, Spec]] = {
        section: {own_name(spec): spec for spec in getattr(old, section) or ()} for section in SECTIONS if section != "bindings"
    }
    changes = _realm_changes(old, new)
    also = implied(new)
    for section in SECTIONS:
        if section == "bindings":
            changes += _bindings_added(old.bindings or (), new.bindings or ())
            continue
        lines = [(spec, True) for spec in getattr(also, section) or ()] + [(spec, False) for spec in getattr(new, section) or ()]
        changes += _ordered(section, [change for line in lines if (change := _change(section, rows, *line))], rows)
    return changes + (_removals(old, new, rows, set(protected)) if prune else [])


def _realm_changes(old: Bundle, new: Bundle) -> list[Change]:
    given = {key: getattr(new.realm, key) for key in new.realm_keys if key != "name"}
    after = dataclasses.replace(old.realm, **given)
    if realm_keys(after) == realm_keys(old.realm):
        return []
    return [Change("change", "realm", old.realm.name, old.realm, after)]


def _change(section: str, rows: Mapping[str, Mapping[str, Spec]], spec: Spec, is_implied: bool) -> Change | None:
    name = own_name(spec)
    before = rows[section].get(name)
    if before is None and section in ("subjects", "teams"):
        before = rows["teams" if section == "subjects" else "subjects"].get(name)
    if before is None:
        return Change("add", section, name, None, spec, is_implied)
    if is_implied or (type(before) is type(spec) and canonical(before) == canonical(spec)):
        return None
    return Change("change", section, name, before, spec)


def _needs(section: str, spec: Any) -> list[str]:
    needs = getattr(spec, NEEDS.get(section, ""), None) or ()
    if isinstance(needs, str):
        return [needs]
    return [getattr(need, "id", need) for need in needs]


def _ordered(section: str, changes: list[Change], rows: Mapping[str, Mapping[str, Spec]]) -> list[Change]:
    """Each change after those of what it needs, whether it needs them by this bundle or through rows the bundle leaves alone."""
    by_name = {change.id: change for change in changes}
    edges = {name: _needs(section, spec) for name, spec in rows[section].items()}
    edges |= {name: _needs(section, change.after) for name, change in by_name.items()}
    return [by_name[name] for name in after_their_needs(by_name, edges)]


def _bindings_added(old: Sequence[BindingSpec], new: Sequence[BindingSpec]) -> list[Change]:
    """Bindings are a multiset: two equal ones are two."""
    there = Counter(map(canonical, old))
    changes = []
    for spec in new:
        text = canonical(spec)
        if there[text] > 0:
            there[text] -= 1
        else:
            changes.append(Change("add", "bindings", text, None, spec))
    return changes


def _bindings_removed(old: Sequence[BindingSpec], new: Sequence[BindingSpec]) -> list[Change]:
    wanted = Counter(map(canonical, new))
    changes = []
    for spec in old:
        text = canonical(spec)
        if wanted[text] > 0:
            wanted[text] -= 1
        else:
            changes.append(Change("remove", "bindings", text, spec, None))
    return changes


def _removals(old: Bundle, new: Bundle, rows: Mapping[str, Mapping[str, Spec]], protected: set[str]) -> list[Change]:
    named = named_in(result_of(old, new))
    kept: dict[str, set[str]] = defaultdict(set)
    for section in ("permissions", "groups", "roles", "subjects", "resources"):
        kept[section] = set(getattr(named, section))
    # A team is a subject that holds others: it may be named as one, and a line in either section keeps it.
    kept["teams"] = kept["subjects"] | {spec.id for spec in new.subjects or ()}
    kept["subjects"] |= protected | {spec.id for spec in new.teams or ()}
    changes: list[Change] = []
    if new.bindings is not None:
        changes += _bindings_removed(old.bindings or (), new.bindings)
    for section in reversed(SECTIONS[:-1]):
        lines = getattr(new, section)
        if lines is None:
            continue
        stays = kept[section] | {own_name(spec) for spec in lines}
        gone = [Change("remove", section, name, spec, None) for name, spec in rows[section].items() if name not in stays]
        by_name = {change.id: change for change in gone}
        edges = {name: _needs(section, change.before) for name, change in by_name.items()}
        changes += [by_name[name] for name in reversed(after_their_needs(by_name, edges))]
    return changes
