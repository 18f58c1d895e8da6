"""A person holds the breaker open or closed, or lets it follow its measurements again. What is measured is not touched."""

from __future__ import annotations

from collections.abc import Sequence

from resilience.laws.circuit_breaker_prelude import Stored
from resilience.laws.keyspace import Keyspace, Reply

YEAR_US = 31_622_400_000_000  # a force without an end: 366 days (chosen; nothing in the store may live for ever)


def law(db: Keyspace, keys: Sequence[str], args: Sequence[int | str], now: int) -> Reply:
    """`to`: open, closed, or auto. `until`: 0 for no end; one that has passed means auto. See breaker_force.lua."""
    to, reason, author, channel, name = (str(args[position]) for position in (0, 2, 3, 4, 5))
    stored = Stored(db, keys, now, channel, name)
    until = int(args[1]) or stored.now + YEAR_US
    if to == "auto" or until <= stored.now:
        db.delete(keys[4])
        if not stored.force:
            return stored.reply("none")
        stored.force = {}
        stored.tell("auto")
        return stored.reply("done", 0, "auto")
    stored.force = {"to": to, "until": until, "reason": reason, "author": author, "t": stored.now}
    db.set(keys[4], stored.force, until - stored.now)
    stored.tell("forced")
    return stored.reply("done", 0, "forced")
