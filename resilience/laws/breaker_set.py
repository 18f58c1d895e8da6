"""Moves the measured state: a process opens its solo layer, a new shared epoch clears it, a reset closes."""

from __future__ import annotations

from collections.abc import Sequence

from resilience.laws.circuit_breaker_prelude import begin, fresh, move, open_up, reply, tell
from resilience.laws.keyspace import Keyspace, Reply


def law(db: Keyspace, keys: Sequence[str], args: Sequence[int | str], now: int) -> Reply:
    """`to`: open or closed. Opening an open breaker changes nothing. See breaker_set.lua."""
    to, channel, name = (str(arg) for arg in args[:3])
    open_us, backoff, open_max, jitter = (int(arg) for arg in args[3:7])
    state, force, now = begin(db, keys, now)
    if to == "open":
        if state is None:
            state = fresh(now)
        elif state["s"] == "O":
            return reply("none", 0, "", state, force, now)
        open_up(db, keys, state, now, open_us, backoff, open_max, jitter)
        moved = "opened"
    else:
        if state is None:
            return reply("none", 0, "", state, force, now)
        # Closed as well, it gets a new epoch: what is under way was measured before.
        move(db, keys, state, now, "C", now)
        moved = "closed"
    tell(db, channel, name, moved, state["e"])
    return reply("done", 0, moved, state, force, now)
