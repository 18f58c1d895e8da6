"""Wrong caches: each is patched into a worker before its threads start, and must be caught."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

MUTANTS: Final[dict[str, Callable[[], None]]] = {}


def mutant(function: Callable[[], None]) -> Callable[[], None]:
    MUTANTS[function.__name__] = function
    return function


def apply(name: str) -> None:
    if name:
        MUTANTS[name]()


@mutant
def simple_keep_all() -> None:
    """On the first, simple cache: a new revision keeps every snapshot of the last one."""
    from permissions.cache import reader

    build = reader._build

    def wrong(realm, kept, old):
        new = build(realm, kept, old)
        if old is not None:
            new.subjects, new.resources = old.subjects, old.resources
        return new

    reader._build = wrong
