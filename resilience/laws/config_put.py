"""The projection of the configuration: written if newer, and announced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from resilience.laws.keyspace import Keyspace, Reply

TTL_US: Final = 2_592_000_000_000


def law(db: Keyspace, keys: Sequence[str], args: Sequence[int | str], now: int) -> Reply:
    """Shape of the reply: see config_put.lua."""
    epoch, version, force = int(args[0]), int(args[1]), str(args[5]) == "1"
    text, mac, channel = str(args[2]), str(args[3]), str(args[4])
    held = db.get(keys[0])
    there = (0, 0) if held is None else held[:2]
    if (epoch, version) <= there and not force:
        if held is not None and (epoch, version) == there:
            db.set(keys[0], held, TTL_US)
        return [0, *there]
    db.set(keys[0], (epoch, version, text, mac), TTL_US)
    db.publish(channel, f"{epoch} {version}")
    return [1, epoch, version]
