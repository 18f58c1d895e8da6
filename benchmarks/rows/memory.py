"""Bar 5: bytes of a cached subject, 100,000 of them in the first layer, by tracemalloc and by the process's pages."""

from __future__ import annotations

from typing import Any

from benchmarks.bench import Bench
from benchmarks.measure import Row, against


def rows(bench: Bench) -> list[Row]:
    count = bench.sizes.large_subjects - 50
    arguments: dict[str, Any] = {"realm": bench.w1_large(), "subjects": bench.sizes.large_subjects}
    with bench.child("memory:Memory", **arguments) as side:
        traced = side.call("fill", traced=True, count=count)
        own = side.call("own_sets", count=min(1_000, count))
    with bench.child("memory:Memory", **arguments) as side:
        resident = side.call("fill", traced=False, count=count)
    size = traced["traced"]
    return [
        Row(
            bar="5",
            what=f"a cached subject, {traced['resident']:,} in L1 (tracemalloc)",
            figure=f"{size:.0f} bytes",
            ratio=f"bar: 200 bytes; {against(size, own, 'an own set')[0]}",
            met=size <= 200,
            value=size,
        ),
        Row(bar="5", what="the same by pages of the process (RSS)", figure=f"{resident['rss']:.0f} bytes", value=resident["rss"]),
        Row(bar="5", what="an own set of codes for each subject", figure=f"{own:,.0f} bytes", ratio="1", value=own),
        Row(
            bar="5",
            what="masks of the role sets in use (bounded, made again when lost)",
            figure=f"{traced['memo']:.0f} bytes",
            ratio="a subject, beside it",
        ),
        Row(bar="5", what="largest lines", figure="bytes a subject", ratio="; ".join(traced["largest"][:4])),
    ]
