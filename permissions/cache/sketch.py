"""Space-saving sketch: the most frequent items of a stream, in bounded memory.

Source: Metwally, Agrawal, El Abbadi, "Efficient Computation of Frequent and Top-k Elements in Data Streams", 2005. Of N offers to
a sketch of m cells, an item offered more than N / m times is always held, and no count exceeds the truth by more than N / m.
"""

from __future__ import annotations

import heapq
from typing import Final, Generic, TypeVar

K = TypeVar("K", str, tuple[str, ...])
_PLACE_BITS: Final = 20
_MAX_PLACES: Final = 1 << _PLACE_BITS
_PLACE_MASK: Final = _MAX_PLACES - 1


class _Cell:
    """`taken`: what of `count` is not to be drained: what the cell took over from the item before it, and what was drained."""

    __slots__ = ("count", "taken")

    def __init__(self, count: int, taken: int) -> None:
        self.count = count
        self.taken = taken


class SpaceSaving(Generic[K]):
    """At most `capacity` items. The owner holds a lock for every call."""

    __slots__ = ("_cells", "_heap", "_items", "capacity")

    def __init__(self, capacity: int) -> None:
        if type(capacity) is not int or not 1 <= capacity <= _MAX_PLACES:
            raise ValueError(f"capacity is {capacity!r}; it takes a whole number from 1 to {_MAX_PLACES}")
        self.capacity = capacity
        self._cells: dict[K, _Cell] = {}
        self._items: list[K] = []
        # Count and place of each item, as one number: a heap of pairs took twice as long. Counts in it lag behind; each is put
        # right when its item comes up as the least.
        self._heap: list[int] = []

    def offer(self, item: K, times: int) -> None:
        cell = self._cells.get(item)
        if cell is not None:
            cell.count += times
        elif len(self._cells) < self.capacity:
            self._cells[item] = _Cell(times, 0)
            heapq.heappush(self._heap, times << _PLACE_BITS | len(self._items))
            self._items.append(item)
        else:
            # The newcomer takes over the cell of the least, and its count: it may have been met as often before, uncounted.
            place, least = self._least()
            cell = self._cells[item] = self._cells.pop(self._items[place])
            self._items[place] = item
            cell.taken = least
            cell.count = least + times
            heapq.heapreplace(self._heap, cell.count << _PLACE_BITS | place)

    def _least(self) -> tuple[int, int]:
        """Place and count of the least; it is on top of the heap then."""
        while True:
            top = self._heap[0]
            place = top & _PLACE_MASK
            count = self._cells[self._items[place]].count
            if count == top >> _PLACE_BITS:
                return place, count
            heapq.heapreplace(self._heap, count << _PLACE_BITS | place)

    def drain(self) -> dict[K, int]:
        """How often each item was met since the last time; at most the truth."""
        fresh = {item: cell.count - cell.taken for item, cell in self._cells.items() if cell.count > cell.taken}
        for item in fresh:
            cell = self._cells[item]
            cell.taken = cell.count
        return fresh

    def give_back(self, fresh: dict[K, int]) -> None:
        """What was drained and could not be told to anybody."""
        for item, times in fresh.items():
            cell = self._cells.get(item)
            if cell is not None:
                cell.taken = max(0, cell.taken - times)
            else:
                self.offer(item, times)

    def age(self) -> None:
        """Halves every count, so that what was hot gives way to what is."""
        for cell in self._cells.values():
            cell.count //= 2
            cell.taken = min(cell.taken // 2, cell.count)
        self._heap = [self._cells[item].count << _PLACE_BITS | place for place, item in enumerate(self._items)]
        heapq.heapify(self._heap)

    def top(self, n: int) -> list[tuple[K, int]]:
        """The `n` most frequent items with their counts, which may be too high by what a cell took over."""
        found = heapq.nlargest(n, self._cells.items(), key=lambda held: held[1].count)
        return [(item, cell.count) for item, cell in found]

    def __len__(self) -> int:
        return len(self._cells)
