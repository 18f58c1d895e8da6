"""Habits: what prefetching has learnt of what follows what, told to Redis by every process and taken up by one that starts.

A hint like the hot list, and kept as long; without Redis a process begins with none. Whatever is read there is looked at as if it
came over the wire, and can make a process load what nobody asks for, which prefetching notices and stops.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any, Final

from permissions.cache import hot_redis
from permissions.cache.follows import SUCCESSORS
from permissions.cache.prefetch import Prefetch
from permissions.cache.realm import Kind
from permissions.engine import names

log = logging.getLogger("permissions.cache")

Habits = dict[str, dict[str, int]]

# Ids with what follows them: told at a time, and kept in Redis. Past the latter the hash starts anew: what holds still is told
# again by every process within a minute.
MOST_TOLD: Final = 2_000
MOST_KEPT: Final = 5_000
MAX_SEEN: Final = 1_000_000
# More than four ids of the greatest length with their counts.
MAX_VALUE: Final = 4_096


def key(realm_id: int, kind: Kind) -> str:
    """On the hot list's node of a cluster."""
    return f"{{ps:{realm_id}:hot}}:after:{kind}"


def tell(realm_id: int, kind: Kind, prefetch: Prefetch) -> int:
    """Of how many ids it was told what follows them. For a thread that may wait 0.2 s; raises nothing of Redis."""
    client = hot_redis.client()
    habits = prefetch.habits(MOST_TOLD) if client is not None else {}
    if not habits:
        return 0
    place = key(realm_id, kind)
    try:
        if client.hlen(place) > MOST_KEPT:
            client.delete(place)
        pipeline = client.pipeline(transaction=False)
        pipeline.hset(place, mapping={ref: json.dumps(seen, ensure_ascii=False) for ref, seen in habits.items()})
        pipeline.expire(place, hot_redis.KEPT_S)
        pipeline.execute()
    except hot_redis.ERRORS as error:
        log.info("what follows what is not told to Redis: %s", type(error).__name__)
        return 0
    return len(habits)


def take_up(realm_id: int, kind: Kind, prefetch: Prefetch) -> int:
    """How many pairs are known now that were not. Raises nothing of Redis."""
    client = hot_redis.client()
    if client is None:
        return 0
    try:
        told = client.hgetall(key(realm_id, kind))
    except hot_redis.ERRORS as error:
        log.info("what follows what is not read from Redis: %s", type(error).__name__)
        return 0
    return prefetch.take_up(_sound(told))


def _sound(told: Mapping[bytes, bytes]) -> Habits:
    found: Habits = {}
    for raw, value in told.items():
        if len(found) >= MOST_KEPT + MOST_TOLD:
            break
        try:
            ref, successors = raw.decode(), _successors(value)
            names.check_ref(ref, "id")
        except (names.BadNameError, ValueError, RecursionError):
            continue
        if successors:
            found[ref] = successors
    return found


def _successors(value: bytes) -> dict[str, int]:
    """Raises ValueError and BadNameError for what no process of ours wrote."""
    given: Any = json.loads(value) if len(value) <= MAX_VALUE else None
    if not isinstance(given, dict) or len(given) > SUCCESSORS:
        raise ValueError("no successors")
    for ref, seen in given.items():
        names.check_ref(ref, "id")
        if type(seen) is not int or not 1 <= seen <= MAX_SEEN:
            raise ValueError("no count")
    return given
