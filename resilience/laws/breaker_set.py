"""Moves the measured state: a process opens its solo layer, a new shared epoch clears it, a reset closes."""

from __future__ import annotations

from collections.abc import Sequence

from resilience.laws.circuit_breaker_prelude import Opening, Stored
from resilience.laws.keyspace import Keyspace, Reply


def law(db: Keyspace, keys: Sequence[str], args: Sequence[int | str], now: int) -> Reply:
    """`to`: open or closed. Opening an open breaker changes nothing. See breaker_set.lua."""
    to, channel, name = (str(arg) for arg in args[:3])
    stored = Stored(db, keys, now, channel, name)
    if to == "open":
        if stored.state.get("s") == "O":
            return stored.reply("none")
        if not stored.state:
            stored.create()
        stored.open_up(Opening(*(int(arg) for arg in args[3:7])))
        stored.tell("opened")
        return stored.reply("done", 0, "opened")
    if not stored.state:
        return stored.reply("none")
    # Closed as well, it gets a new epoch: what is under way was measured before.
    stored.move("C", stored.now)
    stored.tell("closed")
    return stored.reply("done", 0, "closed")
