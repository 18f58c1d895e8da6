"""What became of calls: counts them in the epoch they were made in, and opens or closes the breaker."""

from __future__ import annotations

from collections.abc import Sequence

from resilience.laws.circuit_breaker_prelude import HOUR_US, begin, fresh, keep, live, move, open_up, reply, save, tell
from resilience.laws.keyspace import Keyspace, Reply

MILLION = 1_000_000


def law(db: Keyspace, keys: Sequence[str], args: Sequence[int | str], now: int) -> Reply:
    """Answers counted, late, neutral or solo. Arguments and shape of the reply: see breaker_report.lua.

    1. A report of another epoch counts nowhere. 2. A success never opens. 3. A probe counts once, while its lease runs.
    4. The shared state opens only when `quorum` processes see failures, or half of those seen.
    """
    probe, who, channel, name = (str(arg) for arg in args[:4])
    epoch, ok, bad, slow, tail, permits, failures, window, minimum = (int(arg) for arg in args[4:13])
    ratio, slow_ratio, consecutive, quorum, open_us, backoff, open_max, jitter = (int(arg) for arg in args[13:21])
    state, force, now = begin(db, keys, now)
    if state is None:
        state = fresh(now)
        save(db, keys, state, now, now + HOUR_US)
    if ok + bad == 0:
        # Neither good nor bad: the probe is free again. Its id is its own, so no epoch is asked for.
        probes = live(db.get(keys[1]), now)
        if probes.pop(probe, None) is not None:
            keep(db, keys[1], probes, now)
        return reply("neutral", 0, "", state, force, now)
    if epoch != state["e"] or state["s"] == "O":
        return reply("late", 0, "", state, force, now)
    if state["s"] == "H":
        probes = live(db.get(keys[1]), now)
        if probes.pop(probe, None) is None:
            return reply("late", 0, "", state, force, now)
        keep(db, keys[1], probes, now)
        moved = ""
        if bad + slow > 0:
            state["bad"] += 1
            if state["bad"] >= failures:
                open_up(db, keys, state, now, open_us, backoff, open_max, jitter)
                moved = "opened"
        else:
            state["done"] += 1
            if state["done"] >= permits:
                move(db, keys, state, now, "C", now)
                moved = "closed"
        if moved:
            tell(db, channel, name, moved, state["e"])
        else:
            save(db, keys, state, now, max([now, *probes.values()]) + HOUR_US)
        return reply("counted", 0, moved, state, force, now)
    index = now // (window // 10)
    at, calls, failed, slowed = state["buckets"][index % 10]
    if at != index:
        calls = failed = slowed = 0
    buckets = list(state["buckets"])
    buckets[index % 10] = (index, calls + ok + bad, failed + bad, slowed + slow)
    state["buckets"] = tuple(buckets)
    state["k"] = tail if ok > 0 else state["k"] + bad
    seen = live(db.get(keys[2]), now)
    seen[who] = now + window
    keep(db, keys[2], seen, now)
    save(db, keys, state, now, now + max(HOUR_US, window))
    if bad + slow == 0:
        return reply("counted", 0, "", state, force, now)
    failing = live(db.get(keys[3]), now)
    failing[who] = now + window
    keep(db, keys[3], failing, now)
    valid = [bucket for bucket in buckets if index - 10 < bucket[0] <= index]
    calls, failed, slowed = (sum(bucket[position] for bucket in valid) for position in (1, 2, 3))
    often = calls >= minimum and (failed * MILLION >= ratio * calls or slowed * MILLION >= slow_ratio * calls)
    if not often and not 0 < consecutive <= state["k"]:
        return reply("counted", 0, "", state, force, now)
    if len(failing) < quorum and 2 * len(failing) < len(seen):
        return reply("solo", 0, "", state, force, now)
    open_up(db, keys, state, now, open_us, backoff, open_max, jitter)
    tell(db, channel, name, "opened", state["e"])
    return reply("counted", 0, "opened", state, force, now)
