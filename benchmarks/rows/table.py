"""Bar 7: the role table of W2 in a process that knows nothing, and one role of it changed."""

from __future__ import annotations

import statistics

from benchmarks.bench import Bench
from benchmarks.measure import ROUNDS, Row


def rows(bench: Bench) -> list[Row]:
    realm = bench.w2("w2-model", subjects=1_000)  # a table is compiled from no subject
    made = bench.made[realm]
    code = "bench.extra:line"
    arguments = {"realm": realm, "subject": "user:0", "code": code}
    firsts, compiled = [], 0.0
    for _ in range(ROUNDS):
        with bench.child("table:Table", **arguments) as side:
            firsts.append(side.call("first_check"))
            compiled = compiled or side.call("compile_s")
    seconds = statistics.median(first["s"] for first in firsts)
    own = statistics.median(first["cpu_s"] for first in firsts)
    grown = statistics.median(first["rss_mb"] for first in firsts)
    peak = max(first["peak_mb"] for first in firsts)
    role = made["role"]
    with bench.child("table:Table", **arguments) as side, bench.child("writer:Writer", realm=realm) as writer:
        side.call("first_check")
        # The first registers the code: another catalogue of codes is another numbering, so the whole table is made again.
        writer.call("set_line", role=role, code=code, held=True)
        renumbered = side.call("apply")
        taken = []
        for number in range(2 * ROUNDS + 1):
            writer.call("set_line", role=role, code=code, held=bool(number % 2))
            taken.append(side.call("apply"))
    wall = statistics.median(each["wall_ms"] for each in taken)
    cpu = statistics.median(each["cpu_ms"] for each in taken)
    world = f"{made['roles']:,} roles, {made['grants']:,} lines, {made['permissions']:,} codes"
    return [
        Row(
            bar="7",
            what=f"role table from nothing: {world}",
            figure=f"{seconds:.2f} s",
            ratio=f"bar: 5 s; {own:.2f} s of CPU here, {compiled:.2f} s of them the compiler",
            met=seconds <= 5,
            value=seconds,
        ),
        Row(
            bar="7",
            what="memory it takes",
            figure=f"{grown:.0f} MB",
            ratio=f"bar: 300 MB; {peak:.0f} MB at the peak",
            met=peak <= 300,
            value=grown,
        ),
        Row(
            bar="7",
            what="one role changed, applied",
            figure=f"{wall:.1f} ms",
            ratio=f"bar: 50 ms; {cpu:.1f} ms of CPU",
            met=wall <= 50,
            value=wall,
        ),
        Row(
            bar="7",
            what="a code nobody had before, applied",
            figure=f"{renumbered['wall_ms']:.0f} ms",
            ratio="the codes are numbered anew",
        ),
    ]
