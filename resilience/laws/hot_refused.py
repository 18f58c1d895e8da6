"""The keys a rule refuses most, over all processes: counts that halve as time passes, the largest kept."""

from __future__ import annotations

from collections.abc import Sequence

from resilience.laws.keyspace import Keyspace, Reply


def law(db: Keyspace, keys: Sequence[str], args: Sequence[int | str], now: int) -> Reply:
    """Adds what is given and names the most refused. Shape of the reply: see hot_refused.lua."""
    want, keep, half, pairs = (int(arg) for arg in args[:4])
    stamp, held = db.get(keys[0]) or (now, {})
    now = max(now, stamp)
    halvings = (now - stamp) // half
    stamp += halvings * half
    counts: dict[str, int] = {name: left for name, count in held.items() if (left := count >> min(halvings, 60))}
    if not counts:
        stamp = now  # as if the key had gone: it may have
    for at in range(4, 4 + 2 * pairs, 2):
        name = str(args[at])
        counts[name] = counts.get(name, 0) + int(args[at + 1])
    # By bytes, as a server compares names.
    names = sorted(counts, key=lambda name: (-counts[name], name.encode("utf-8", "surrogatepass")))[:keep]
    if pairs or halvings:
        if names:
            db.set(keys[0], (stamp, {name: counts[name] for name in names}), counts[names[0]].bit_length() * half)
        else:
            db.delete(keys[0])
    reply: Reply = []
    for name in names[:want]:
        reply += [name, counts[name]]
    return reply
