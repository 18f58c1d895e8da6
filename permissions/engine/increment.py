"""ModelFacts after a change: what it names is replaced, all else stays the same objects, which the compiler takes over."""

from __future__ import annotations

import dataclasses
from bisect import bisect_left
from collections.abc import Collection, Iterable
from operator import attrgetter, is_
from typing import Any, TypeVar

from permissions.engine.types import ModelFacts

Fact = TypeVar("Fact")


def updated(previous: ModelFacts, names: Collection[str], fresh: ModelFacts, *, settings: bool) -> ModelFacts:
    """`previous` with everything named `names` as it is in `fresh`, which holds nothing else; `settings`: with the realm's, too.

    Both have their parts in ascending order, as `selectors` reads them. Is `previous` itself where nothing differs.
    """
    holders = frozenset(names)
    kept = [binding for binding in previous.everyone if binding.holder not in holders]
    everyone = tuple(sorted([*kept, *fresh.everyone], key=attrgetter("id")))
    changed = dataclasses.replace(
        fresh if settings else previous,
        permissions=_merged(previous.permissions, "code", names, fresh.permissions),
        groups=_merged(previous.groups, "name", names, fresh.groups),
        roles=_merged(previous.roles, "name", names, fresh.roles),
        everyone=previous.everyone if everyone == previous.everyone else everyone,
    )
    return previous if changed == previous else changed


def _merged(rows: tuple[Fact, ...], key: str, names: Iterable[str], fresh: Iterable[Fact]) -> tuple[Fact, ...]:
    name_of: Any = attrgetter(key)
    found = {name_of(row): row for row in fresh}
    merged = list(rows)
    for name in names:
        at = bisect_left(merged, name, key=name_of)
        old = merged[at : at + 1] if at < len(merged) and name_of(merged[at]) == name else []
        new = [found[name]] if name in found else []
        if old != new:
            merged[at : at + len(old)] = new
    return rows if len(rows) == len(merged) and all(map(is_, rows, merged)) else tuple(merged)
