"""Which process runs which version: each reports for one lease, whoever reports removes the dead."""

from __future__ import annotations

from collections.abc import Sequence

from resilience.laws.keyspace import Keyspace, Reply


def law(db: Keyspace, keys: Sequence[str], args: Sequence[int | str], now: int) -> Reply:
    """Shape of the reply: see config_seen.lua."""
    node, lease, epoch, version, detail = str(args[0]), int(args[1]), int(args[2]), int(args[3]), str(args[4])
    held = db.get(keys[0]) or {}
    live = {name: report for name, report in held.items() if report[0] > now and name != node}
    if node:
        live[node] = (now + lease, now, epoch, version, detail)
        db.set(keys[0], live, max(report[0] for report in live.values()) - now)
    elif held and not live:
        db.delete(keys[0])
    reply: Reply = []
    for name in sorted(live):
        _, at, its_epoch, its_version, its_detail = live[name]
        reply += [name, its_epoch, its_version, max(0, now - at), its_detail]
    return reply
