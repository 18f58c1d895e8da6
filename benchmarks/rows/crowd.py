"""Bar 10: a thousand clients that never pause, on connections that stay open, asking everything mixed: p95, and no error."""

from __future__ import annotations

import random
import statistics
from contextlib import ExitStack
from dataclasses import replace

from benchmarks.bench import Bench
from benchmarks.measure import Row
from benchmarks.sides.loader import world
from benchmarks.wire import asking, load, serving, standing
from benchmarks.wire.cores import cores
from benchmarks.wire.standing import Line, agree
from benchmarks.workloads.world import World

# Of a hundred requests.
STRANGERS, BATCHES = 10, 10
SMALL = 20  # questions of each batch
LINES = 20_000
PATIENCE_S = 2


def rows(bench: Bench) -> list[Row]:
    if load.program() is None:
        return standing.not_measured("10", "concurrent clients over HTTP")
    sizes, held = bench.sizes, cores()
    realm = bench.w1_wire()
    built = world("w1", realm, subjects=sizes.subjects, checks=sizes.checks)
    with ExitStack() as stack:
        server = stack.enter_context(serving.ours(bench, realm, core=held.server))
        standing.warm_up(server, built)
        asked = asking.singles(built)[: sizes.agreed]
        lines, right = [asking.evaluation(question) for question in asked], [[question.allowed] for question in asked]
        strangers = [asking.stranger(question) for question in asked[:50]]
        agree(server, lines, right, asking.read_evaluation)
        agree(server, strangers, [[False]] * len(strangers), asking.read_evaluation)
        file = load.written(bench.site.folder / "crowd.load", mixed(built))
        order = load.Order(server.address, file, sizes.crowd_s, sizes.crowd, held.load, server.key, patience_s=PATIENCE_S)
        rounds = [replace(order, seed=seed).run() for seed in range(sizes.load_rounds + 1)]
        counted = agree(server, lines, right, asking.read_evaluation)
    counts = sum(one.requests for one in rounds)
    errors = sum(one.failed for one in rounds)
    kinds = sorted({kind for one in rounds for kind in one.errors})
    told = f" ({', '.join(kinds)})" if kinds else ""
    measured = rounds[1:]
    p95 = statistics.median(one.p95_ms for one in measured)
    p50, p99 = (statistics.median(getattr(one, name) for one in measured) for name in ("p50_ms", "p99_ms"))
    rate = statistics.median(one.a_second for one in measured)
    what = f"{sizes.crowd:,} clients, {STRANGERS} % strangers, {BATCHES} % batches of {SMALL}"
    return [
        Row(
            bar="10",
            what=f"p95 of {what}",
            figure=f"{p95:.1f} ms",
            ratio=f"bar: 100 ms; p50 {p50:.0f} ms, p99 {p99:.0f} ms, worst {max(one.max_ms for one in rounds):.0f} ms",
            met=p95 <= 100,
            value=p95,
        ),
        Row(
            bar="10",
            what=f"errors, broken connections, answers after more than {PATIENCE_S} s",
            figure=f"{errors} of {counts:,}",
            ratio=f"bar: 0{told}; {rate:,.0f} requests/s, one worker; {held.told()}; {counted:,} right answers around it",
            met=errors == 0,
            value=errors,
        ),
    ]


def mixed(built: World, seed: int = 10) -> list[Line]:
    """Single questions, most of them denied; subjects that nobody knows, new ones each time; small batches."""
    draw = random.Random(seed)
    questions = asking.singles(built)
    batches = asking.batches(built, LINES * BATCHES // 100, SMALL, seed)
    lines = [asking.evaluations(batch) for batch in batches]
    lines += [asking.stranger(draw.choice(questions)) for _ in range(LINES * STRANGERS // 100)]
    return lines + [asking.evaluation(draw.choice(questions)) for _ in range(LINES - len(lines))]
