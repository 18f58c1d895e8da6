"""How many processes are alive: each says so for one lease, and whoever comes by removes the dead."""

from __future__ import annotations

from collections.abc import Sequence

from resilience.laws.keyspace import Keyspace, Reply


def law(db: Keyspace, keys: Sequence[str], args: Sequence[int | str], now: int) -> Reply:
    """A lease of 0 leaves; an empty node only asks."""
    node, lease = str(args[0]), int(args[1])
    held: dict[str, int] = db.get(keys[0]) or {}
    live = {name: ends for name, ends in held.items() if ends > now}
    if node and lease > 0:
        live[node] = now + lease
    elif node:
        live.pop(node, None)
    if live:
        db.set(keys[0], live, max(live.values()) - now)
    elif held:
        db.delete(keys[0])
    return [len(live)]
