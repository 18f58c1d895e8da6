"""The first layer: a dict in two generations, which keeps the N last used without ordering them.

A hit in the old half is promoted; a full young half becomes the old one. So the N last used are always there, at most 2 N are,
and a hit in the young half takes no lock. Changes are made under the lock that the owner gives.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Generic, Literal, TypeVar

from permissions import points

V = TypeVar("V")


class TwoGenerations(Generic[V]):
    """Entries by id; each half holds `size`. `young` is read directly by the warm path: a miss there means `get`.

    `on_promoted(id)`: told of each hit in the old half.
    """

    __slots__ = ("_lock", "_old", "on_promoted", "size", "young")

    def __init__(self, size: int, lock: threading.RLock) -> None:
        if size < 1:
            raise ValueError(f"size is {size!r}; it must be at least 1")
        self.size = size
        self.young: dict[str, V] = {}
        self._old: dict[str, V] = {}
        self._lock = lock
        self.on_promoted: Callable[[str], object] | None = None

    def get(self, ref: str) -> V | None:
        found = self.young.get(ref)
        if found is not None:
            return found
        found = self._old.get(ref)
        if found is None:
            return None
        points.reached("l1.old_hit")
        with self._lock:
            # A change may have popped the entry since the look-up: bringing it back would undo the change.
            if self._old.get(ref) is found:
                self._old.pop(ref)
                self._add(ref, found)
        if self.on_promoted is not None:
            self.on_promoted(ref)
        return found

    def peek(self, ref: str) -> tuple[V | None, Literal["young", "old"]]:
        """The entry and the half it is in; a look that counts as no use, and promotes nothing."""
        found = self.young.get(ref)
        return (found, "young") if found is not None else (self._old.get(ref), "old")

    def demote(self, refs: Iterable[str]) -> None:
        """To the old half, where a first use is noticed: for what nobody has asked for yet. The owner holds the lock."""
        for ref in refs:
            entry = self.young.pop(ref, None)
            if entry is not None:
                self._old[ref] = entry

    def __contains__(self, ref: str) -> bool:
        return ref in self.young or ref in self._old

    def put(self, ref: str, entry: V) -> None:
        """The owner holds the lock."""
        self._old.pop(ref, None)
        self._add(ref, entry)

    def _add(self, ref: str, entry: V) -> None:
        if len(self.young) >= self.size and ref not in self.young:
            self._old, self.young = self.young, {}
        self.young[ref] = entry

    def pop(self, ref: str) -> None:
        """The owner holds the lock."""
        self.young.pop(ref, None)
        self._old.pop(ref, None)

    def drop_where(self, is_void: Callable[[str, V], bool]) -> int:
        """Pops every entry that `is_void` names; how many. The owner holds the lock."""
        void = [ref for half in (self.young, self._old) for ref, entry in half.items() if is_void(ref, entry)]
        for ref in void:
            self.pop(ref)
        return len(void)

    def clear(self) -> None:
        """The owner holds the lock."""
        self.young, self._old = {}, {}

    def keys(self) -> Iterable[str]:
        """Ids of this moment."""
        return [*self.young.copy(), *self._old.copy()]

    def values(self) -> Iterable[V]:
        """Entries of this moment; none is promoted by being looked at."""
        return [*self.young.copy().values(), *self._old.copy().values()]

    def __len__(self) -> int:
        return len(self.young) + len(self._old)
