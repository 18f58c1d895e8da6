"""May a call be made now: yes while closed, as a leased probe while half-open, not while open."""

from __future__ import annotations

from collections.abc import Sequence

from resilience.laws.circuit_breaker_prelude import HOUR_US, Stored
from resilience.laws.keyspace import Keyspace, Reply


def law(db: Keyspace, keys: Sequence[str], args: Sequence[int | str], now: int) -> Reply:
    """Answers admit, probe, forced or refuse. Shape of the reply: see breaker_allow.lua."""
    probe, lease, permits, channel, name = str(args[0]), int(args[1]), int(args[2]), str(args[3]), str(args[4])
    stored = Stored(db, keys, now, channel, name)
    forced = stored.force.get("to")
    if forced == "open":
        return stored.reply("refuse", stored.force["until"] - stored.now)
    if not stored.state:
        # Created here, with an epoch of its own: a report must name one.
        stored.create()
    state = stored.state
    if forced:
        return stored.reply("forced")
    if state["s"] == "C":
        return stored.reply("admit")
    moved = ""
    if state["s"] == "O":
        if stored.now < state["u"]:
            return stored.reply("refuse", state["u"] - stored.now)
        moved = "half_opened"
        stored.move("H", stored.now)
        stored.tell(moved)
    if state["done"] >= permits:
        # The permits were lowered while probes succeeded: enough of them have.
        stored.move("C", stored.now)
        stored.tell("closed")
        return stored.reply("admit", 0, "closed")
    probes = stored.live(1)
    if len(probes) + state["done"] >= permits:
        return stored.reply("refuse", min(probes.values()) - stored.now, moved)
    probes = stored.join(1, probe, stored.now + lease)
    stored.save(max(probes.values()) + HOUR_US)
    return stored.reply("probe", 0, moved)
