"""The rows of `make bench`, by the bar that they answer to."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.bench import Bench
from benchmarks.measure import Row
from benchmarks.rows import batch, changes, cold, crowd, kit, memory, ratios, single, sockets, table, trace, warm

ROWS: dict[str, Callable[[Bench], list[Row]]] = {
    "bar1": warm.rows,
    "bar2": single.rows,
    "bar3": batch.rows,
    "bar4": changes.rows,
    "bar5": memory.rows,
    "bar6": cold.rows,
    "bar7": table.rows,
    "bar8": trace.rows,
    "bar9": kit.rows,
    "bar10": crowd.rows,
    "bar11": sockets.rows,
    "ratios": ratios.rows,
}
