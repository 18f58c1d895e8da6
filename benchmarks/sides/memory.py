"""Bar 5: what one more cached subject takes, in the real first layer; and what its own set of codes would take."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path
from typing import Any

from benchmarks import sides
from benchmarks.sides.loader import world
from benchmarks.workloads.world import ref


class Memory:
    def __init__(self, realm: str, subjects: int) -> None:
        sides.set_up()
        from permissions import pdp  # noqa: PLC0415

        self.realm = realm
        self.world = world("w1", realm, subjects=subjects)
        self.code = self.world.model.permissions[0].code
        # What only the first checks bring (table, driver, statements) is there before the count begins.
        sides.warm_up(realm, ((ref(n), self.code) for n in range(min(50, subjects))))
        pdp.check(ref(0), self.code, realm=realm)

    def fill(self, traced: bool, count: int) -> dict[str, Any]:
        """Bytes a subject for `count` more subjects, without the table's memo, which is bounded and no part of a subject."""
        self._forget_memo()
        gc.collect()
        before = resident_bytes()
        if traced:
            tracemalloc.start()
        sides.warm_up(self.realm, ((ref(n), self.code) for n in range(50, 50 + count)))
        gc.collect()
        memo_before = tracemalloc.get_traced_memory()[0] if traced else resident_bytes()
        self._forget_memo()
        gc.collect()
        if not traced:
            return {"rss": (resident_bytes() - before) / count, "with_memo": (memo_before - before) / count}
        total = tracemalloc.get_traced_memory()[0]
        lines = tracemalloc.take_snapshot().statistics("lineno")[:8]
        tracemalloc.stop()
        return {
            "traced": total / count,
            "memo": (memo_before - total) / count,
            "resident": self._resident(),
            "largest": [f"{_short(str(line.traceback[0]))} {line.size / count:.0f}" for line in lines],
        }

    def _forget_memo(self) -> None:
        from permissions.cache import catch_up  # noqa: PLC0415

        cache = catch_up.find(self.realm)
        if cache is not None and cache.state is not None:
            cache.state.table.memo.clear()

    def _resident(self) -> int:
        from permissions.cache import catch_up  # noqa: PLC0415

        cache = catch_up.find(self.realm)
        return 0 if cache is None else len(cache.subjects)

    def own_sets(self, count: int) -> float:
        """Bytes a subject as Django's backends keep them: a set of texts of one's own, `app.codename`."""
        given = self.world.codes_by_role()
        gc.collect()
        tracemalloc.start()
        kept = [{f"bench.{code}" for role in held for code in given[role]} for held in self.world.held[:count]]
        size = tracemalloc.get_traced_memory()[0] / len(kept)
        tracemalloc.stop()
        return size


def resident_bytes() -> int:
    """Pages of this process in memory (Linux); 0 elsewhere."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    except OSError:
        return 0


def _short(place: str) -> str:
    return "/".join(place.split("/")[-2:])
