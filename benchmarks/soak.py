"""The soak: mixed load on every worker for minutes while roles change, and what each worker's memory does meanwhile.

    python benchmarks/soak.py                # ten minutes, two workers
    python benchmarks/soak.py --minutes 60 --workers 4

Each line is one sample. At the end: the slope of each worker's memory over the second half of the run, by least squares. It ends
with 1 where memory grew by more than 2 % in that half, where a worker ended, or where a request failed; an answer
that is not the right one stops it.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
# As in `run.py`: what the shell is set up for is never measured, nor written to.
for _name in ("DATABASE_URL", "REDIS_URL", "DJANGO_SETTINGS_MODULE"):
    os.environ.pop(_name, None)

from benchmarks import site  # noqa: E402 - after the environment is put right
from benchmarks.bench import QUICK, Bench, Sizes  # noqa: E402 - the same
from benchmarks.child import Child  # noqa: E402 - the same
from benchmarks.rows.crowd import mixed  # noqa: E402 - the same
from benchmarks.sides.loader import world  # noqa: E402 - the same
from benchmarks.wire import asking, load, processes, serving, standing  # noqa: E402 - the same
from benchmarks.workloads.world import World  # noqa: E402 - the same

MOST_GROWTH = 0.02  # chosen: what an allocator's own breathing was seen to stay under
MOST_MINUTES = 600
CHANGES = 4  # in each sample: two of roles' lines, two of bindings
MIB = 1 << 20


@dataclass
class Run:
    """What was seen. `samples`: when, and bytes in memory, of each worker by the number of its process."""

    samples: dict[int, list[tuple[float, int]]] = field(default_factory=dict)
    rounds: int = 0
    requests: int = 0
    errors: int = 0
    changes: int = 0

    def seen(self, at_s: float, pids: list[int]) -> None:
        self.rounds += 1
        for pid in pids:
            self.samples.setdefault(pid, []).append((at_s, processes.resident_bytes(pid)))


def main(argv: list[str]) -> int:
    options = arguments(argv)
    if load.program() is None:
        print(load.MISSING)
        return 1
    sizes = QUICK if options.quick else Sizes()
    notes: list[str] = []
    with site.opened(notes) as servers, ExitStack() as stack:
        bench = Bench(servers, sizes)
        stack.callback(bench.close)
        realm = bench.w1_wire()
        built = world("w1", realm, subjects=sizes.subjects, checks=sizes.checks)
        server = stack.enter_context(serving.ours(bench, realm, core=None, workers=options.workers))
        writer = stack.enter_context(bench.child("writer:Writer", redis=servers.redis, realm=realm))
        agree(server, built, sizes)
        found = soak(bench, server, writer, built, options)
        agree(server, built, sizes)
    return verdict(found)


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks/soak.py", description=__doc__)
    parser.add_argument("--minutes", type=_minutes, default=10.0, help="how long (default 10, at most 600)")
    parser.add_argument("--workers", type=int, default=2, choices=range(1, 17), metavar="N", help="of the server (default 2)")
    parser.add_argument("--clients", type=int, default=32, choices=range(1, 2_001), metavar="N", help="connections (default 32)")
    parser.add_argument("--every", type=int, default=10, choices=range(1, 601), metavar="SECONDS", help="a sample (default 10)")
    parser.add_argument("--quick", action="store_true", help="a tiny world: shows that it runs")
    return parser.parse_args(argv)


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not 0 < minutes <= MOST_MINUTES:
        raise argparse.ArgumentTypeError(f"{text} is no number of minutes above 0 and up to {MOST_MINUTES}")
    return minutes


def soak(bench: Bench, server: serving.Served, writer: Child, built: World, options: argparse.Namespace) -> Run:
    """In rounds of load, each of which ends with a sample; changes go on during all of them."""
    file = load.written(bench.site.folder / "soak.load", mixed(built))
    found = Run()
    began = time.monotonic()
    print("   s  requests/s  p95 ms  errors  changes  workers, MiB")
    while (at_s := time.monotonic() - began) < options.minutes * 60:
        # A seed of its own each time: the strangers of a round are not those of the one before.
        order = load.Order(server.address, file, options.every, options.clients, key=server.key, seed=found.rounds + 1)
        running = order.started()
        try:
            changed(writer, found, options.every)
            told = order.finished(running)
        finally:
            running.kill()
            running.wait()
        found.requests += told.requests
        found.errors += told.failed
        at_s = time.monotonic() - began
        found.seen(at_s, processes.workers(server.process.pid))
        sizes = " ".join(f"{samples[-1][1] / MIB:7.1f}" for samples in found.samples.values())
        line = f"{at_s:4.0f}  {told.a_second:10,.0f}  {told.p95_ms:6.1f}  {told.failed:6}  {found.changes:7,}  {sizes}"
        print(line, flush=True)
    return found


def changed(writer: Child, found: Run, seconds: float) -> None:
    """Lines of roles and bindings come and go; at the end of a round everything is as it was."""
    role, code = f"role{found.changes % 50}", f"type{found.changes % 40}:action1"
    pause_s = seconds / (CHANGES + 1)
    for step in range(CHANGES // 2):
        time.sleep(pause_s)
        writer.call("set_line", role=role, code=_never_held(code), held=step % 2 == 0)
        time.sleep(pause_s)
        writer.call("turn_binding", subject="user:0", role="role0")
        found.changes += 2


def _never_held(code: str) -> str:
    """A code that no question asks about: what is right stays right, while every cache has to follow."""
    return code.replace(":action", ":other")


def agree(server: serving.Served, built: World, sizes: Sizes) -> None:
    """Subject 0, whose roles change, is asked about by nobody here."""
    asked = [question for question in asking.singles(built) if question.number][: sizes.agreed]
    lines = [asking.evaluation(question) for question in asked]
    counted = standing.agree(server, lines, [[question.allowed] for question in asked], asking.read_evaluation)
    print(f"{counted:,} answers are what plain sets say")


def slope(samples: list[tuple[float, int]]) -> float:
    """Bytes a second, by least squares."""
    at_s = [when for when, _ in samples]
    if len(set(at_s)) < 2:
        return 0.0
    return statistics.linear_regression(at_s, [size for _, size in samples]).slope


def verdict(found: Run) -> int:
    print(f"{found.requests:,} requests, {found.errors} errors, {found.changes:,} changes")
    failed = found.errors > 0 or not found.requests
    last_s = max((samples[-1][0] for samples in found.samples.values()), default=0.0)
    for number, (pid, samples) in enumerate(found.samples.items()):
        later = samples[len(samples) // 2 :]
        bytes_a_s = slope(later)
        growth = bytes_a_s * (later[-1][0] - later[0][0]) / max(1, later[0][1])
        told = "flat" if growth <= MOST_GROWTH else "GROWS"
        if samples[-1][0] < last_s:
            told = "ENDED before the load did"
        failed |= told != "flat"
        print(
            f"worker {number} ({pid}): {samples[0][1] / MIB:.1f} MiB at first, {samples[-1][1] / MIB:.1f} at last; second half "
            f"{bytes_a_s * 60 / 1024:+.1f} KiB a minute, {growth:+.2%}: {told}"
        )
    return 1 if failed else 0


if __name__ == "__main__":
    # Ended by its terminal, by `timeout` or by a service, it still ends its servers and takes away its folder.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    raise SystemExit(main(sys.argv[1:]))
