"""What became of calls: counts them in the epoch they were made in, and opens or closes the breaker."""

from __future__ import annotations

from collections.abc import Sequence

from resilience.laws.circuit_breaker_prelude import HOUR_US, Opening, Stored
from resilience.laws.keyspace import Keyspace, Reply

MILLION = 1_000_000


def law(db: Keyspace, keys: Sequence[str], args: Sequence[int | str], now: int) -> Reply:
    """Answers counted, late, neutral or solo. Arguments and shape of the reply: see breaker_report.lua.

    1. A report of another epoch counts nowhere. 2. A success never opens. 3. A probe counts once, while its lease runs.
    4. The shared state opens only when `quorum` processes see failures, or half of those seen.
    """
    probe, who, channel, name = (str(arg) for arg in args[:4])
    epoch, *figures = (int(arg) for arg in args[4:])
    stored = Stored(db, keys, now, channel, name)
    if not stored.state:
        stored.create()
    if figures[0] + figures[1] == 0:
        # Neither good nor bad: the probe is free again. Its id is its own, so no epoch is asked for.
        stored.take_back(probe)
        return stored.reply("neutral")
    if epoch != stored.state["e"] or stored.state["s"] == "O":
        return stored.reply("late")
    if stored.state["s"] == "H":
        return _probe(stored, probe, figures)
    return _calls(stored, who, figures)


def _probe(stored: Stored, probe: str, figures: Sequence[int]) -> Reply:
    _, bad, slow, _, permits, failures, *_ = figures
    if not stored.take_back(probe):
        return stored.reply("late")
    state = stored.state
    moved = ""
    if bad + slow > 0:
        state["bad"] += 1
        if state["bad"] >= failures:
            stored.open_up(Opening(*figures[12:]))
            moved = "opened"
    else:
        state["done"] += 1
        if state["done"] >= permits:
            stored.move("C", stored.now)
            moved = "closed"
    if moved:
        stored.tell(moved)
    else:
        stored.save(max([stored.now, *stored.live(1).values()]) + HOUR_US)
    return stored.reply("counted", 0, moved)


def _calls(stored: Stored, who: str, figures: Sequence[int]) -> Reply:
    ok, bad, slow, tail, _, _, window, minimum, ratio, slow_ratio, consecutive, quorum, *opening = figures
    state, now = stored.state, stored.now
    index = now // (window // 10)
    buckets = list(state["buckets"])
    at, calls, failed, slowed = buckets[index % 10]
    if at != index:
        calls = failed = slowed = 0
    buckets[index % 10] = (index, calls + ok + bad, failed + bad, slowed + slow)
    state["buckets"] = tuple(buckets)
    state["k"] = tail if ok > 0 else state["k"] + bad
    seen = stored.join(2, who, now + window)
    stored.save(now + max(HOUR_US, window))
    if bad + slow == 0:
        return stored.reply("counted")
    failing = stored.join(3, who, now + window)
    calls, failed, slowed = stored.counted(index)
    often = calls >= minimum and (failed * MILLION >= ratio * calls or slowed * MILLION >= slow_ratio * calls)
    if not often and not 0 < consecutive <= state["k"]:
        return stored.reply("counted")
    if len(failing) < quorum and 2 * len(failing) < len(seen):
        return stored.reply("solo")
    stored.open_up(Opening(*opening))
    stored.tell("opened")
    return stored.reply("counted", 0, "opened")
