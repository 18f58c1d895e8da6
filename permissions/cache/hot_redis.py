"""The hot list's hourly sorted sets in Redis, of any kind. Ids of subjects are personal data: the sets die after 25 hours."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypeAlias

from django.conf import settings
from redis.exceptions import RedisClusterException, RedisError

from permissions.models.hot import Met
from resilience.redis_client import redis_client

KEPT_S: Final = 25 * 3600
TOP: Final = 10_000
# A background thread waits, no check.
TIMEOUT_S: Final = 0.2
ERRORS: Final = (RedisError, RedisClusterException)
# A score beyond is no count of ours, and would not fit a row.
_MAX_COUNT: Final = 2**53

# (item, count) by kind and hour.
Told: TypeAlias = dict[tuple[str, int], list[tuple[str, int]]]

_clients: Final[dict[str, Any]] = {}


def client() -> Any:
    """Of the server that holds the second layer; None where there is none. One a process and address."""
    alias = settings.CACHES.get("permissions", {})
    if alias.get("BACKEND") != "django_redis.cache.RedisCache":
        return None
    location = alias.get("LOCATION") or ""
    url = location if isinstance(location, str) else location[0]
    found = _clients.get(url)
    if found is None:
        found = _clients.setdefault(url, redis_client(url, timeout_s=TIMEOUT_S))
    return found


def key(realm_id: int, kind: str, hour: int) -> str:
    """All of a realm carry one hash tag, so that a cluster keeps them on one node and one pipeline reaches them."""
    return f"{{ps:{realm_id}:hot}}:{kind}:{hour}"


def tell(client: Any, realm_id: int, hour: int, met: list[Met]) -> None:
    """Adds counts to the hour's sets, in one pipeline. Raises ERRORS; part of it may have been done then."""
    pipeline = client.pipeline(transaction=False)
    for kind, item, times in met:
        pipeline.zincrby(key(realm_id, kind, hour), times, item)
    for kind in sorted({kind for kind, _, _ in met}):
        name = key(realm_id, kind, hour)
        pipeline.zremrangebyrank(name, 0, -TOP - 1)
        pipeline.expire(name, KEPT_S)
    pipeline.execute()


def read(client: Any, realm_id: int, hours: Iterable[int], limit: int) -> Told:
    """The `limit` most met of each kind and hour. Raises ERRORS."""
    places = [(kind, hour) for hour in hours for kind in ("s", "r")]
    pipeline = client.pipeline(transaction=False)
    for kind, hour in places:
        pipeline.zrevrange(key(realm_id, kind, hour), 0, limit - 1, withscores=True)
    # An answer that is an error (somebody made the key another kind) must not hide the others.
    answers = pipeline.execute(raise_on_error=False)
    found: Told = {}
    for place, answer in zip(places, answers, strict=True):
        if isinstance(answer, list):
            found[place] = [pair for raw, score in answer if (pair := _pair(raw, score)) is not None]
    return found


def _pair(raw: bytes, score: float) -> tuple[str, int] | None:
    if not 1 <= score <= _MAX_COUNT:
        return None
    try:
        return raw.decode(), int(score)
    except UnicodeDecodeError:
        return None
