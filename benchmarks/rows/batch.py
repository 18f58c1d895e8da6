"""Bar 3: decisions a second in batches over HTTP on one core, beside Cerbos and SpiceDB: the same questions of one subject."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from benchmarks.bench import Bench
from benchmarks.measure import Row
from benchmarks.peers import cerbos, spicedb
from benchmarks.wire import asking, load, standing
from benchmarks.wire.standing import Figure, Side, agree, ours_faster

# The second is how an engine is asked that takes many actions of one resource; it saves Cerbos most of its work.
SHAPES = {"mixed": "any codes and resources", "grid": "every action of some resources"}


def rows(bench: Bench) -> list[Row]:
    if load.program() is None:
        return standing.not_measured("3", "a batch over HTTP")
    sizes = bench.sizes
    with ExitStack() as stack:
        found = standing.stand(bench, stack)
        drawn = {
            "mixed": asking.batches(found.world, sizes.batches, sizes.batch),
            "grid": asking.grids(found.world, sizes.batches, sizes.batch),
        }
        looked_at = max(5, sizes.agreed // sizes.batch)
        sides: dict[str, Side] = {}
        counted = 0
        for shape, batches in drawn.items():
            right = [batch.answers for batch in batches[:looked_at]]
            lines = [asking.evaluations(batch) for batch in batches]
            counted += agree(found.ours, lines, right, asking.read_evaluations)
            sides[f"ours {shape}"] = _a_decision(found.side(found.ours, f"ours-{shape}", lines, sizes.batch_clients), sizes.batch)
            if found.cerbos is not None:
                lines = [asking.cerbos_batch(found.world, batch) for batch in batches]
                counted += agree(found.cerbos, lines, right, asking.read_cerbos)
                sides[f"cerbos {shape}"] = _a_decision(
                    found.side(found.cerbos, f"cerbos-{shape}", lines, sizes.batch_clients), sizes.batch
                )
        name = ""
        if found.spicedb is not None:
            embedded, known = found.spicedb, replace(found.world, held=found.world.held[: spicedb.SUBJECTS])
            mixed = asking.batches(known, sizes.spicedb_batches, sizes.batch)
            some = [[batch.number, [asked.code for asked in batch.questions]] for batch in mixed]
            counted += standing.agree_embedded_batches(embedded, mixed, some)
            sides["spicedb mixed"] = lambda: Figure(*embedded.call("batch_ns", batches=some, seconds=sizes.load_s)).over(
                sizes.batch
            )
            name = embedded.call("name")
        taken = standing.turns(sides, sizes.load_rounds)
        return [
            Row(bar="3", what="all sides agree", figure=f"{counted:,} answers", ratio=found.told(sizes.batch_clients)),
            *_told(taken, name, sizes.batch),
            *found.missing("3"),
        ]


def _a_decision(side: Side, size: int) -> Side:
    return lambda: side().over(size)


def _told(taken: dict[str, Figure], embedded: str, size: int) -> list[Row]:
    found = []
    for shape, what in SHAPES.items():
        ours = taken[f"ours {shape}"]
        met = ours.a_second >= 600_000
        ratio = "decisions (bar: 600,000)"
        found.append(Row(bar="3", what=f"batch of {size}, {what}", figure=ours.rate, ratio=ratio, met=met, value=ours.a_second))
        theirs, inside = taken.get(f"cerbos {shape}"), taken.get(f"spicedb {shape}")
        if theirs is not None:
            ratio, faster = ours_faster(theirs, ours, 5)
            found.append(Row(bar="3", what=cerbos.named(), figure=theirs.rate, ratio=ratio, met=faster, value=theirs.a_second))
        if inside is not None:
            title = f"{embedded}, {spicedb.CUT}"
            found.append(Row(bar="3", what=title, figure=inside.rate, ratio=ours_faster(inside, ours)[0], value=inside.a_second))
    return found
