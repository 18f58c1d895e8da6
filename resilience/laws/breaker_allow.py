"""May a call be made now: yes while closed, as a leased probe while half-open, not while open."""

from __future__ import annotations

from collections.abc import Sequence

from resilience.laws.circuit_breaker_prelude import HOUR_US, begin, fresh, keep, live, move, reply, save, tell
from resilience.laws.keyspace import Keyspace, Reply


def law(db: Keyspace, keys: Sequence[str], args: Sequence[int | str], now: int) -> Reply:
    """Answers admit, probe, forced or refuse. Shape of the reply: see breaker_allow.lua."""
    probe, lease, permits, channel, name = str(args[0]), int(args[1]), int(args[2]), str(args[3]), str(args[4])
    state, force, now = begin(db, keys, now)
    if force is not None and force["to"] == "open":
        return reply("refuse", force["until"] - now, "", state, force, now)
    if state is None:
        # Created here, with an epoch of its own: a report must name one.
        state = fresh(now)
        save(db, keys, state, now, now + HOUR_US)
    if force is not None:
        return reply("forced", 0, "", state, force, now)
    if state["s"] == "C":
        return reply("admit", 0, "", state, force, now)
    moved = ""
    if state["s"] == "O":
        if now < state["u"]:
            return reply("refuse", state["u"] - now, "", state, force, now)
        moved = "half_opened"
        move(db, keys, state, now, "H", now)
        tell(db, channel, name, moved, state["e"])
    if state["done"] >= permits:
        # The permits were lowered while probes succeeded: enough of them have.
        move(db, keys, state, now, "C", now)
        tell(db, channel, name, "closed", state["e"])
        return reply("admit", 0, "closed", state, force, now)
    probes = live(db.get(keys[1]), now)
    if len(probes) + state["done"] >= permits:
        return reply("refuse", min(probes.values()) - now, moved, state, force, now)
    probes[probe] = now + lease
    keep(db, keys[1], probes, now)
    save(db, keys, state, now, max(probes.values()) + HOUR_US)
    return reply("probe", 0, moved, state, force, now)
