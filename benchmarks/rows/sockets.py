"""Bar 11: live frames to 200 open pages of one worker, from publishing to receipt; its memory; and readers that stop reading."""

from __future__ import annotations

from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.measure import Row
from benchmarks.wire import serving
from benchmarks.wire.cores import cores

# Frames a second. Pages are sent one; twenty is what the bar was drawn from, and shows what a burst of events does.
RATES = (1.0, 20.0)
MB = 2**20


def rows(bench: Bench) -> list[Row]:
    held, count, found = cores(), bench.sizes.sockets, []
    with (
        serving.ours(bench, bench.w1_wire(), core=held.server) as served,
        bench.child("sockets:Pages", bench.site.redis, address=served.address, count=count, core=held.load) as pages,
    ):
        pages.ready()
        empty = resident(served.process.pid)
        pages.call("open")
        for rate in RATES:
            taken = pages.call("frames", rate=rate, seconds=bench.sizes.frames_s)
            found.append(_frames(count, rate, taken))
        opened = resident(served.process.pid)
        found.append(
            Row(
                bar="11",
                what=f"memory of the worker, {count} sockets",
                figure=f"{opened / MB:.0f} MB",
                ratio=f"{(opened - empty) / 1024 / count:.0f} KB a socket; {empty / MB:.0f} MB without",
                value=opened / MB,
            )
        )
        missed = pages.call("stop_reading", events=bench.sizes.events)
        stopped = resident(served.process.pid)
        found.append(
            Row(
                bar="11",
                what=f"the same, none of them reading, {bench.sizes.events:,} events later",
                figure=f"{stopped / MB:.0f} MB",
                ratio=f"{(stopped - opened) / 1024 / count:+.0f} KB a socket",
                value=stopped / MB,
            )
        )
        told = pages.call("read_on")
        found.append(
            Row(
                bar="11",
                what="events that came, and that were said to be missed",
                figure=f"{told['least']:,}",
                ratio=f"to {told['most']:,} of {missed:,} on each socket",
                met=told["least"] == told["most"] == missed,
            )
        )
    return found


def _frames(count: int, rate: float, taken: dict[str, float]) -> Row:
    lost = f"; {taken['lost']:.0f} lost" if taken["lost"] else ""
    return Row(
        bar="11",
        what=f"frame to receipt, {count} sockets, {rate:g} a second of {taken['bytes']:,.0f} bytes",
        figure=f"p95 {taken['p95_ms']:.0f} ms",
        ratio=f"bar: 150 ms; p50 {taken['p50_ms']:.0f}, most {taken['max_ms']:.0f} ms{lost}",
        met=taken["p95_ms"] <= 150 and not taken["lost"],
        value=taken["p95_ms"],
    )


def resident(pid: int) -> int:
    """Pages of a process in memory (Linux); 0 elsewhere."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
    except OSError:
        return 0
