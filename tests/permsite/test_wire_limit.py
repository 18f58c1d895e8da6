"""A limit in front of the wire: in nobody's way until one is set; then it asks the store once for many requests of a key."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis

from permissions.models import Realm
from permissions.services.keys import key_create
from permissions.writing import SYSTEM
from permsite import asgi, protection
from resilience import config
from resilience.asgi import RateLimitMiddleware
from resilience.rate_limiter import Lease, RateLimiter
from resilience.storage.redis import RedisStore
from tests.worlds import OFFICE, apply

pytestmark = pytest.mark.django_db(transaction=True)

BODY = b'{"subject":{"type":"user","id":"alice"},"action":{"name":"read"},"resource":{"type":"post","id":"7"}}'
REQUESTS = 400


@pytest.fixture
def key() -> str:
    apply(OFFICE)
    return key_create(actor=SYSTEM, realm=Realm.objects.get(name="default"), name="limited")[1]


async def ask(app: Any, key: str) -> int:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": BODY, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json"), (b"authorization", f"Bearer {key}".encode())]
    await app(
        {"type": "http", "method": "POST", "path": "/access/v1/evaluation", "headers": headers, "client": ("1.2.3.4", 5)},
        receive,
        send,
    )
    return int(sent[0]["status"])


def commands(server: redis.Redis) -> int:
    """Scripts run: each is one question to the store."""
    return sum(
        stat["calls"]
        for name, stat in server.info("commandstats").items()
        if name in ("cmdstat_evalsha", "cmdstat_eval", "cmdstat_fcall")
    )


def test_without_a_limit_the_application_itself_is_called(key):
    site = asgi.build()
    try:
        assert site._wire.app is site._wire._bare
        config.LIVE.consider(config.current().with_section("limiters", {"wire": {"limit": 5, "period_s": 3600.0}}), "test")
        assert isinstance(site._wire.app, RateLimitMiddleware)
        config.LIVE.consider(config.current().with_section("limiters", {}), "test")
        assert site._wire.app is site._wire._bare
    finally:
        site.close()
        config.LIVE.reset()


def test_a_key_that_asks_all_the_time_costs_the_store_a_question_now_and_then(valkey_url, key_prefix, key):
    site = asgi.build()
    server = redis.Redis.from_url(valkey_url)
    store = RedisStore(valkey_url, prefix=key_prefix, timeout_s=5)
    limiter = RateLimiter("wire", limit=1_000_000, period_s=1.0, lease=Lease(), store=store)
    limited = RateLimitMiddleware(site._wire._bare, limiter, protection.caller_key)

    async def hammer() -> tuple[list[int], int]:
        for _ in range(50):  # the key is proved, and its pace known
            await ask(limited, key)
        before = commands(server)
        assert before  # it is this store that is asked
        statuses = [await ask(limited, key) for _ in range(REQUESTS)]
        return statuses, commands(server) - before

    try:
        statuses, asked = asyncio.run(hammer())
    finally:
        site.close()
        store.close()
        server.close()
    assert set(statuses) == {200}
    assert asked < REQUESTS / 4
