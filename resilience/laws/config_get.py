"""The projection of the configuration, sent only where it differs from what the caller knows."""

from __future__ import annotations

from collections.abc import Sequence

from resilience.laws.keyspace import Keyspace, Reply


def law(db: Keyspace, keys: Sequence[str], args: Sequence[int | str], now: int) -> Reply:
    """Shape of the reply: see config_get.lua."""
    epoch, version, text, mac = db.get(keys[0]) or (0, 0, "", "")
    if (epoch, version) == (int(args[0]), int(args[1])):
        return [epoch, version, "", ""]
    return [epoch, version, text, mac]
