"""What the breaker's state is, without changing it."""

from __future__ import annotations

from collections.abc import Sequence

from resilience.laws.circuit_breaker_prelude import Stored
from resilience.laws.keyspace import Keyspace, Reply


def law(db: Keyspace, keys: Sequence[str], args: Sequence[int | str], now: int) -> Reply:
    """Beside the usual: the window's counts, the half-open ones, and who reported. See breaker_peek.lua."""
    stored = Stored(db, keys, now)
    seen, failing = len(stored.live(2)), len(stored.live(3))
    state = stored.state
    if not state:
        return [*stored.reply("seen"), 0, 0, 0, 0, 0, 0, 0, seen, failing, 0]
    counts = stored.counted(stored.now // (int(args[0]) // 10))
    probes = len(stored.live(1)) if state["s"] == "H" else 0
    return [*stored.reply("seen"), *counts, state["k"], state["done"], state["bad"], probes, seen, failing, state["u"]]
