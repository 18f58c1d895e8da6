"""Bars 4 and 8: one worker process with its own cache, as a server starts it; several of them run at once."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from typing import Any

from benchmarks import sides
from benchmarks.sides.loader import world
from benchmarks.workloads import trace
from benchmarks.workloads.world import ref


class Worker:
    def __init__(self, realm: str, subjects: int, follow: bool = True) -> None:
        sides.set_up()
        from permissions import pdp  # noqa: PLC0415

        self.pdp, self.realm, self.subjects = pdp, realm, subjects
        self.codes = [fact.code for fact in world("w1", realm, subjects=1, checks=0).model.permissions]
        if follow:
            sides.follow()

    def fill(self) -> dict[str, float]:
        """Every subject of the realm into this process's memory."""
        began = time.perf_counter()
        sides.warm_up(self.realm, ((ref(n), self.codes[0]) for n in range(self.subjects)))
        return {"s": time.perf_counter() - began}

    def ask(self, subject: str, code: str) -> bool:
        return bool(self.pdp.check(subject, code, realm=self.realm))

    def watch(self, subject: str, code: str, wanted: bool, limit_s: float) -> dict[str, Any]:
        """When the answer was first `wanted`, and when the last other one was asked for (the machine's monotonic clock).

        Asks every 0.3 ms. `seen_ns` is 0 where it never came.
        """
        check, realm = self.pdp.check, self.realm
        until, old_ns = time.monotonic() + limit_s, 0
        while time.monotonic() < until:
            began_ns = time.monotonic_ns()
            if check(subject, code, realm=realm).allowed is wanted:
                return {"seen_ns": time.monotonic_ns(), "old_ns": old_ns}
            old_ns = began_ns
            # Busy waiting would take the cores from the process that applies the change, and from the writer.
            time.sleep(0.0003)
        return {"seen_ns": 0, "old_ns": old_ns}

    def apply(self) -> dict[str, float]:
        """Catches up with what was committed, in this thread: this process's whole work for it."""
        from permissions.cache import catch_up  # noqa: PLC0415

        wall, own = time.perf_counter(), time.thread_time()
        catch_up.catch_up(self.realm)
        return {"wall_ms": (time.perf_counter() - wall) * 1e3, "cpu_ms": (time.thread_time() - own) * 1e3}

    def after_apply(self, count: int) -> float:
        """Microseconds of the first check of each of `count` subjects after a change: their role sets' masks are made again."""
        check, realm, code = self.pdp.check, self.realm, self.codes[0]
        start = time.thread_time_ns()
        for number in range(count):
            check(ref(number), code, realm=realm)
        return (time.thread_time_ns() - start) / count / 1e3

    def recompile_ms(self, role: str, code: str) -> float:
        """The table with one line more in a role, made from the table before; the rows are there."""
        from permissions.cache import catch_up  # noqa: PLC0415
        from permissions.conditions import cel  # noqa: PLC0415
        from permissions.engine.compile import compile_table  # noqa: PLC0415
        from permissions.engine.types import RoleLineFact  # noqa: PLC0415

        cache = catch_up.find(self.realm)
        assert cache is not None and cache.state is not None
        table = cache.state.table
        more = (RoleLineFact("allow", code),)
        roles = tuple(replace(fact, lines=fact.lines + more) if fact.name == role else fact for fact in table.model.roles)
        model = replace(table.model, roles=roles)
        start = time.thread_time()
        compile_table(model, cel.language(), table)
        return (time.thread_time() - start) * 1e3

    def own_masks_ms(self) -> float:
        """The other way of keeping subjects: a mask each, all of them made again when a role changes."""
        from benchmarks.sides.warm import Warm  # noqa: PLC0415

        built = world("w1", self.realm, subjects=self.subjects, checks=0)
        bits = {fact.code: 1 << n for n, fact in enumerate(built.model.permissions)}
        by_role = {name: sum(bits[code] for code in codes) for name, codes in built.codes_by_role().items()}
        start = time.thread_time()
        kept = {ref(n): Warm._union(by_role, held) for n, held in enumerate(built.held)}
        taken = (time.thread_time() - start) * 1e3
        assert len(kept) == self.subjects
        return taken

    def trace(self, seed: int, rate: float, seconds: float) -> dict[str, Any]:
        """Checks of a zipf trace at `rate` a second, in real time; by the deepest layer that each reached."""
        before = sides.counts()
        check, realm = self.pdp.check, self.realm
        codes = itertools.cycle(self.codes)
        began, done = time.monotonic(), 0
        late_s = 0.0
        for number in itertools.islice(trace.subjects(seed, self.subjects), int(rate * seconds)):
            if done % 20 == 0:
                ahead_s = began + done / rate - time.monotonic()
                if ahead_s > 0:
                    time.sleep(ahead_s)
                else:
                    late_s = max(late_s, -ahead_s)
            check(ref(number), next(codes), realm=realm)
            done += 1
        after = sides.counts()
        counts = {name: after[name] - before.get(name, 0) for name in after}
        return {"counts": counts, "checks": done, "took_s": time.monotonic() - began, "late_s": late_s}
