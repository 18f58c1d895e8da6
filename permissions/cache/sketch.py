"""Space-saving sketch: the most frequent items of a stream, in bounded memory.

Source: Metwally, Agrawal, El Abbadi, "Efficient Computation of Frequent and Top-k Elements in Data Streams", 2005. Of N offers to
a sketch of m cells, an item offered more than N / m times is always held, and no count exceeds the truth by more than N / m.
"""

from __future__ import annotations

import heapq
from itertools import count as counter
from typing import Generic, TypeVar

K = TypeVar("K", str, tuple[str, ...])


class _Cell:
    """`taken`: what of `count` is not to be drained: what the cell took over from the item before it, and what was drained."""

    __slots__ = ("count", "taken")

    def __init__(self, count: int, taken: int) -> None:
        self.count = count
        self.taken = taken


class SpaceSaving(Generic[K]):
    """At most `capacity` items. The owner holds a lock for every call."""

    __slots__ = ("_cells", "_heap", "_order", "capacity")

    def __init__(self, capacity: int) -> None:
        if type(capacity) is not int or capacity < 1:
            raise ValueError(f"capacity is {capacity!r}; it takes a whole number of at least 1")
        self.capacity = capacity
        self._cells: dict[K, _Cell] = {}
        # One entry an item. Counts in it lag behind: they are put right when their item comes up as the least. The number between
        # decides a draw for the item that has been there longest, without comparing items.
        self._heap: list[tuple[int, int, K]] = []
        self._order = counter()

    def offer(self, item: K, times: int) -> None:
        cell = self._cells.get(item)
        if cell is not None:
            cell.count += times
        elif len(self._cells) < self.capacity:
            self._cells[item] = _Cell(times, 0)
            heapq.heappush(self._heap, (times, next(self._order), item))
        else:
            least = self._settled_least()
            # The newcomer takes over the count: it may have been met as often before, uncounted.
            del self._cells[self._heap[0][2]]
            self._cells[item] = _Cell(least + times, least)
            heapq.heapreplace(self._heap, (least + times, next(self._order), item))

    def _settled_least(self) -> int:
        """The least count; its item is on top of the heap then."""
        while True:
            noted, place, item = self._heap[0]
            count = self._cells[item].count
            if count == noted:
                return count
            heapq.heapreplace(self._heap, (count, place, item))

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
        self._heap = [(self._cells[item].count, place, item) for _, place, item in self._heap]
        heapq.heapify(self._heap)

    def top(self, n: int) -> list[tuple[K, int]]:
        """The `n` most frequent items with their counts, which may be too high by what a cell took over."""
        found = heapq.nlargest(n, self._cells.items(), key=lambda held: held[1].count)
        return [(item, cell.count) for item, cell in found]

    def __len__(self) -> int:
        return len(self._cells)
