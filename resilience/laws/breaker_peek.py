"""What the breaker's state is, without changing it."""

from __future__ import annotations

from collections.abc import Sequence

from resilience.laws.circuit_breaker_prelude import begin, live, reply
from resilience.laws.keyspace import Keyspace, Reply


def law(db: Keyspace, keys: Sequence[str], args: Sequence[int | str], now: int) -> Reply:
    """Beside the usual: the window's counts, the half-open ones, and who reported. See breaker_peek.lua."""
    window = int(args[0])
    state, force, now = begin(db, keys, now)
    seen = reply("seen", 0, "", state, force, now)
    reporters = [len(live(db.get(key), now)) for key in (keys[2], keys[3])]
    if state is None:
        return [*seen, 0, 0, 0, 0, 0, 0, 0, *reporters, 0]
    index = now // (window // 10)
    valid = [bucket for bucket in state["buckets"] if index - 10 < bucket[0] <= index]
    counts = [sum(bucket[position] for bucket in valid) for position in (1, 2, 3)]
    probes = len(live(db.get(keys[1]), now)) if state["s"] == "H" else 0
    return [*seen, *counts, state["k"], state["done"], state["bad"], probes, *reporters, state["u"]]
