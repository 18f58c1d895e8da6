"""The further ratios of the design: why the cache is built as it is (bars of its table, and of writing)."""

from __future__ import annotations

import statistics

from benchmarks.bench import Bench
from benchmarks.child import Child
from benchmarks.measure import ROUNDS, Row, rounds_ns, told_ns


def rows(bench: Bench) -> list[Row]:
    sizes, realm = bench.sizes, bench.w1()
    with bench.child("warm:Warm", realm=realm, subjects=sizes.subjects, checks=sizes.checks) as side:
        found = [*_checks(bench, side), *_masks(side)]
    with bench.child("writer:Writer", realm=bench.w1_large()) as writer:
        found.append(_writes(bench, writer))
    return found


def _part(what: str, value: float, base: float, name: str, one_in: float) -> Row:
    """A bar written `<= 1/n`."""
    share = base / value
    return Row(
        what=what,
        figure=told_ns(value),
        ratio=f"1/{share:.3g} of {name}, {told_ns(base)} (bar: 1/{one_in:g})",
        met=share >= one_in,
        value=value,
    )


def _checks(bench: Bench, side: Child) -> list[Row]:
    redis = bench.site.redis
    taken = rounds_ns(
        {
            "check": lambda: side.call("check_ns"),
            "get": lambda: side.call("get_ns", url=redis),
            "batch": lambda: side.call("batch_ns"),
            "singles": lambda: side.call("singles_ns"),
        }
    )
    return [
        _part("warm check", taken["check"], taken["get"], "a Redis GET", 100),
        _part("batch of 50 codes", taken["batch"], taken["singles"], "50 checks", 3),
    ]


def _masks(side: Child) -> list[Row]:
    found = []
    for size in (3, 30):
        rounds = [side.call("roles_memo_ns", size=size) for _ in range(ROUNDS)]
        memo, loop, union = (statistics.median(each[name] for each in rounds) for name in ("memo", "loop", "union"))
        found.append(
            Row(
                what=f"one code for {size} roles: the role set's memo",
                figure=told_ns(memo),
                ratio=f"1/{loop / memo:.3g} of a loop over masks, 1/{union / memo:.3g} of their union first",
                value=memo,
            )
        )
    rounds = [side.call("patterns_ns", count=10_000) for _ in range(ROUNDS)]
    index, regex = (statistics.median(each[name] for each in rounds) for name in ("index", "regex"))
    found.append(_part("a pattern expanded over 10,000 codes", index, regex, "a regex over each", 20))
    return found


def _writes(bench: Bench, writer: Child) -> Row:
    threads = 2 if bench.is_quick else 8
    counted, plain = [], []
    for _ in range(3):
        counted.append(writer.call("transactions", seconds=bench.sizes.writers_s, threads=threads, counted=True))
        plain.append(writer.call("transactions", seconds=bench.sizes.writers_s, threads=threads, counted=False))
    ours, bare = statistics.median(counted), statistics.median(plain)
    return Row(
        what=f"writing transactions that make a revision, {threads} writers",
        figure=f"{ours:,.0f}/s",
        ratio=f"1/{bare / ours:.2g} of those without a trigger, {bare:,.0f}/s (bar: 1/5)",
        met=ours * 5 >= bare,
        value=ours,
    )
