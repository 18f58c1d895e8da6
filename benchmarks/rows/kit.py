"""Bar 9: the resilience kit's decisions beside a bare EVALSHA and beside rivals."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.child import Child
from benchmarks.measure import Row


def rows(bench: Bench) -> list[Row]:
    environment = bench.site.environment(f"sqlite:///{bench.site.folder}/kit.sqlite3")
    with Child("benchmarks.sides.kit:Kit", environment) as side:
        found = side.call("rows", quick=bench.is_quick, with_peers=bench.with_peers)
    return [Row(bar="9", **row) for row in found]
