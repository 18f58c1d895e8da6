"""Sync points: places between two steps whose order the contract rests on, where a test may stop a thread. Else they do nothing.

Source: consistency, section 12.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

NAMES: Final = frozenset(
    {
        "write.locked",  # a writer holds the realm's lock and has written nothing yet
        "write.committed",  # a writer has committed, and nobody was told yet
        "fill.read",  # a snapshot was read from the database, and is not stored yet
        "apply.marked",  # what changed is marked, and its snapshots are not dropped yet
        "apply.popped",  # they are dropped, and the new State is not published yet
        "apply.published",
        "l1.old_hit",  # found in the old half, and not promoted yet
    }
)

_hook: Callable[[str], object] | None = None


def reached(name: str) -> None:
    if _hook is not None:
        _hook(name)


def install(hook: Callable[[str], object]) -> Callable[[], None]:
    """Calls `hook(name)` in the thread that comes by; it may wait. Returns a way out. For tests: one at a time."""
    global _hook  # noqa: PLW0603 - one reference, so that a point nobody waits at costs a look
    _hook = hook

    def remove() -> None:
        global _hook  # noqa: PLW0603
        _hook = None

    return remove
