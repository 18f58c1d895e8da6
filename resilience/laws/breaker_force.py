"""A person holds the breaker open or closed, or lets it follow its measurements again. What is measured is not touched."""

from __future__ import annotations

from collections.abc import Sequence

from resilience.laws.circuit_breaker_prelude import begin, reply, tell
from resilience.laws.keyspace import Keyspace, Reply

YEAR_US = 31_622_400_000_000  # a force without an end: 366 days (chosen; nothing in the store may live for ever)


def law(db: Keyspace, keys: Sequence[str], args: Sequence[int | str], now: int) -> Reply:
    """`to`: open, closed, or auto. `until`: 0 for no end; one that has passed means auto. See breaker_force.lua."""
    to, until, reason, author, channel, name = str(args[0]), int(args[1]), *(str(arg) for arg in args[2:6])
    state, force, now = begin(db, keys, now)
    until = until or now + YEAR_US
    epoch = 0 if state is None else state["e"]
    if to == "auto" or until <= now:
        db.delete(keys[4])
        if force is None:
            return reply("none", 0, "", state, None, now)
        tell(db, channel, name, "auto", epoch)
        return reply("done", 0, "auto", state, None, now)
    force = {"to": to, "until": until, "reason": reason, "author": author, "t": now}
    db.set(keys[4], force, until - now)
    tell(db, channel, name, "forced", epoch)
    return reply("done", 0, "forced", state, force, now)
