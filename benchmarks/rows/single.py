"""Bar 2: single evaluations over HTTP on one core, beside an empty application on the same uvicorn, Cerbos and SpiceDB."""

from __future__ import annotations

from contextlib import ExitStack

from benchmarks.bench import Bench
from benchmarks.measure import Row, told_ns
from benchmarks.peers import cerbos, spicedb
from benchmarks.wire import asking, load, serving, standing
from benchmarks.wire.standing import Figure, Side, agree, ours_faster

WHAT = "single evaluation over HTTP"


def rows(bench: Bench) -> list[Row]:
    if load.program() is None:
        return standing.not_measured("2", WHAT)
    clients = bench.sizes.clients
    with ExitStack() as stack:
        found = standing.stand(bench, stack)
        empty = stack.enter_context(serving.empty(bench, core=found.cores.server))
        asked = asking.singles(found.world)
        right = [[question.allowed] for question in asked[: bench.sizes.agreed]]
        evaluations = [asking.evaluation(question) for question in asked]
        unknown = [asking.evaluation(question._replace(resource=f"new-{place}")) for place, question in enumerate(asked)]
        checks = [asking.check(question) for question in asked]
        counted = agree(found.ours, evaluations, right, asking.read_evaluation)
        counted += agree(found.ours, unknown, right, asking.read_evaluation)
        counted += agree(found.ours, checks, right, asking.read_check)
        sides: dict[str, Side] = {
            "empty": found.side(empty, "empty", (("/", body) for _, body in evaluations), clients),
            "reading": found.side(empty, "reading", (("/read", body) for _, body in evaluations), clients),
            "ours": found.side(found.ours, "ours", evaluations, clients),
            "unknown": found.side(found.ours, "unknown", unknown, clients),
            "drf": found.side(found.ours, "drf", checks, clients),
        }
        if found.cerbos is not None:
            lines = [asking.cerbos(found.world, question) for question in asked]
            counted += agree(found.cerbos, lines, right, asking.read_cerbos)
            sides["cerbos"] = found.side(found.cerbos, "cerbos", lines, clients)
        name = ""
        if found.spicedb is not None:
            embedded = found.spicedb
            some = [question.allowed for question in asked if question.number < spicedb.SUBJECTS]
            counted += standing.agree_embedded(embedded, some[: bench.sizes.spicedb_agreed])
            sides["spicedb"] = lambda: Figure(*embedded.call("single_ns", seconds=bench.sizes.load_s))
            name = embedded.call("name")
        taken = standing.turns(sides, bench.sizes.load_rounds)
        # What was measured still decides right after it.
        counted += agree(found.ours, evaluations, right, asking.read_evaluation)
        share = sum(question.allowed for question in asked) / len(asked)
        return [
            Row(
                bar="2",
                what="all sides agree",
                figure=f"{counted:,} answers",
                ratio=f"{share:.0%} allowed; {found.told(clients)}",
            ),
            *_told(taken, name),
            *found.missing("2"),
            Row(bar="2", what="OpenFGA", figure="not measured", ratio="its server is in no package of Debian, PyPI or npm"),
        ]


def _told(taken: dict[str, Figure], embedded: str) -> list[Row]:
    empty, reading, ours = taken["empty"], taken["reading"], taken["ours"]
    share = empty.wall_ns / ours.wall_ns
    by_cpu = f"{empty.cpu_ns / ours.cpu_ns:.0%} by CPU; " if ours.cpu_ns else ""
    found = [
        Row(bar="2", what="an empty ASGI application, same uvicorn", figure=empty.rate, ratio="1", value=empty.a_second),
        Row(bar="2", what="one that takes the body", figure=reading.rate, ratio=f"{empty.wall_ns / reading.wall_ns:.0%} of it"),
        Row(
            bar="2",
            what="POST /access/v1/evaluation, W1",
            figure=ours.rate,
            ratio=f"{share:.0%} of the empty one (bar: 60 %), {by_cpu}{told_ns(max(0.0, ours.wall_ns - empty.wall_ns))} more",
            met=share >= 0.6,
            value=ours.a_second,
        ),
        Row(
            bar="2",
            what="the same, resources that nobody stored",
            figure=taken["unknown"].rate,
            ratio=f"{empty.wall_ns / taken['unknown'].wall_ns:.0%} of the empty one",
            value=taken["unknown"].a_second,
        ),
        _peer("POST /api/v1/check, ours by DRF", taken["drf"], ours),
    ]
    if "cerbos" in taken:
        found.append(_peer(f"{cerbos.named()}, the roles sent along", taken["cerbos"], ours, at_least=8))
    if "spicedb" in taken:
        found.append(_peer(f"{embedded}, {spicedb.CUT}", taken["spicedb"], ours))
    return found


def _peer(what: str, figure: Figure, ours: Figure, at_least: float | None = None) -> Row:
    ratio, met = ours_faster(figure, ours, at_least)
    return Row(bar="2", what=what, figure=figure.rate, ratio=ratio, met=met, value=figure.a_second)
