"""Bar 7: the role table of a realm of W2's size, from nothing, and with one role changed."""

from __future__ import annotations

import gc
import resource
import time
from typing import Any

from benchmarks import sides
from benchmarks.sides.memory import resident_bytes


class Table:
    def __init__(self, realm: str, subject: str, code: str) -> None:
        sides.set_up()
        from permissions import pdp  # noqa: PLC0415
        from permissions.conditions import cel  # noqa: PLC0415
        from permissions.models import Realm  # noqa: PLC0415

        cel.language()
        self.realm, self.subject, self.code = realm, subject, code
        # The connection and Django's own first query are no part of a table.
        assert Realm.objects.filter(name=realm).exists()
        self.pdp = pdp

    def first_check(self) -> dict[str, float]:
        """Everything between a process that knows nothing and its first answer: rows, table, State, subject."""
        gc.collect()
        before = resident_bytes()
        start, own = time.perf_counter(), time.process_time()
        self.pdp.check(self.subject, self.code, realm=self.realm)
        taken, own = time.perf_counter() - start, time.process_time() - own
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        gc.collect()
        return {"s": taken, "cpu_s": own, "rss_mb": (resident_bytes() - before) / 2**20, "peak_mb": (peak - before) / 2**20}

    def compile_s(self) -> float:
        """The compiler alone, over the rows already in memory."""
        from permissions.cache import catch_up  # noqa: PLC0415
        from permissions.conditions import cel  # noqa: PLC0415
        from permissions.engine.compile import compile_table  # noqa: PLC0415

        cache = catch_up.find(self.realm)
        assert cache is not None and cache.state is not None
        start = time.thread_time()
        compile_table(cache.state.table.model, cel.language())
        return time.thread_time() - start

    def apply(self) -> dict[str, Any]:
        """Catches up with what another process has committed; wall and this thread's own time."""
        from permissions.cache import catch_up  # noqa: PLC0415

        wall, own = time.perf_counter(), time.thread_time()
        state = catch_up.catch_up(self.realm)
        return {"wall_ms": (time.perf_counter() - wall) * 1e3, "cpu_ms": (time.thread_time() - own) * 1e3, "rev": state.rev}
