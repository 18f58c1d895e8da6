"""Bar 8: how many checks of a zipf trace memory and Redis answer, while roles change; and how many without Redis.

In real time: every worker asks at a fixed rate, and each second a role's line changes and a role is given to (or taken from) one
of the busiest subjects. The caches are cold at the start, so the first check of each subject counts against them.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

from benchmarks.bench import Bench
from benchmarks.measure import Row
from benchmarks.workloads import trace
from benchmarks.workloads.world import ref


def rows(bench: Bench) -> list[Row]:
    with_redis = _run(bench, bench.site.redis)
    without = _run(bench, "")
    fills, fills_without = with_redis["db"], without["db"]
    sizes = bench.sizes
    what = (
        f"{sizes.workers} workers, {with_redis['checks']:,} checks, {sizes.subjects:,} subjects, {with_redis['changes']} changes"
    )
    return [
        Row(
            bar="8",
            what=f"L1 + Redis answer, zipf {trace.EXPONENT}: {what}",
            figure=f"{with_redis['hits']:.1%}",
            ratio=f"bar: 90 %; {with_redis['told']}",
            met=with_redis["hits"] >= 0.9,
            value=with_redis["hits"],
        ),
        Row(
            bar="8",
            what="L1 alone answers, without Redis",
            figure=f"{without['hits']:.1%}",
            ratio=without["told"],
            value=without["hits"],
        ),
        Row(
            bar="8",
            what="fills from the database without Redis : with",
            figure=f"{fills_without:,} : {fills:,}",
            ratio=f"{fills_without / max(1, fills):.2f}x (bar: 5x)",
            met=fills_without <= 5 * max(1, fills),
        ),
    ]


def _run(bench: Bench, redis: str) -> dict[str, Any]:
    sizes, realm = bench.sizes, bench.w1()
    busy = trace.subjects(99, sizes.subjects)
    with ExitStack() as stack:
        workers = [
            stack.enter_context(bench.child("worker:Worker", redis=redis, realm=realm, subjects=sizes.subjects))
            for _ in range(sizes.workers)
        ]
        writer = stack.enter_context(bench.child("writer:Writer", redis=redis, realm=realm))
        writer.call("set_line", role="role1", code="type0:action0", held=False)
        for seed, worker in enumerate(workers):
            worker.start("trace", seed=seed, rate=sizes.trace_rate, seconds=sizes.trace_s)
        began, changes = time.monotonic(), 0
        while time.monotonic() - began < sizes.trace_s:
            writer.call("set_line", role=f"role{changes % 50}", code="type0:action0", held=changes % 100 < 50)
            writer.call("turn_binding", subject=ref(next(busy)), role="role7")
            changes += 2
            time.sleep(max(0.0, began + changes / 2 - time.monotonic()))
        results = [worker.result() for worker in workers]
    counts: dict[str, int] = {}
    for result in results:
        for name, number in result["counts"].items():
            counts[name] = counts.get(name, 0) + number
    checks = sum(result["checks"] for result in results)
    layers = {name: counts.get(name, 0) for name in ("l1", "redis", "db", "live")}
    late = max(result["late_s"] for result in results)
    told = ", ".join(f"{name} {number / checks:.1%}" for name, number in layers.items() if number)
    if late > 0.5:
        told += f"; a worker ran {late:.1f} s late"
    return {**layers, "hits": (layers["l1"] + layers["redis"]) / checks, "checks": checks, "changes": changes, "told": told}
