"""Bar 6: the first check of an uncached subject among a million, beside the same statement bare and beside the head alone."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.measure import Row, against, rounds_ns, told_ns


def rows(bench: Bench) -> list[Row]:
    count = bench.sizes.cold
    made = bench.w2()
    with bench.child("cold:Cold", realm=made, subjects=bench.sizes.million) as side:
        sent = side.call("statements", count=min(50, count))
        if (sent["fewest"], sent["most"], sent["sources"]) != (1, 1, ["db"]):
            raise RuntimeError(
                f"a first check sends {sent['fewest']} to {sent['most']} statements, answers from {sent['sources']}"
            )
        taken = rounds_ns(
            {
                "bare": lambda: side.call("bare_ns", count=count),
                "check": lambda: side.call("check_ns", count=count),
                "head": lambda: side.call("head_ns", count=count),
                "nothing": lambda: side.call("nothing_ns", count=count),
            }
        )
        parts = side.call("parts_ns", count=count)
        server = side.call("server_ns", count=min(100, count))
        many = side.call("many_ns", size=50)
    with bench.child("cold:Cold", redis=bench.site.redis, realm=made, subjects=bench.sizes.million) as side:
        with_redis = side.call("check_ns", count=count)
    bare, check = taken["bare"], taken["check"]
    ratio, met = against(check, bare, "the bare statement", 3)
    world = f"{bench.made[made]['subjects']:,} subjects"
    return [
        Row(bar="6", what=f"the statement, bare, {world}", figure=told_ns(bare), ratio="1", value=bare),
        Row(
            bar="6",
            what="first check of a subject, PostgreSQL",
            figure=told_ns(check),
            ratio=f"{ratio}; 1 statement",
            met=met,
            value=check,
        ),
        Row(
            bar="6",
            what="the same with Redis up (a miss there first)",
            figure=told_ns(with_redis),
            ratio=against(with_redis, bare, "the bare statement")[0],
        ),
        Row(
            bar="6",
            what="the head alone",
            figure=told_ns(taken["head"]),
            ratio=f"statement {against(bare, taken['head'], 'the head')[0]}",
        ),
        Row(bar="6", what="SELECT 1", figure=told_ns(taken["nothing"])),
        Row(
            bar="6",
            what="of a first check: the driver's round trip",
            figure=told_ns(parts["driver"]),
            ratio=f"server {told_ns(server)}",
        ),
        Row(
            bar="6",
            what="of a first check: all of ours",
            figure=told_ns(parts["ours"]),
            ratio=f"{parts['ours'] / parts['whole']:.0%} of it",
        ),
        Row(
            bar="6",
            what="a batch of 50 new subjects, a subject",
            figure=told_ns(many),
            ratio=against(many, check, "a single one")[0],
        ),
    ]
