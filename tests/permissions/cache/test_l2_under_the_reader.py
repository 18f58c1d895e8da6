"""The whole way: what one process stored another answers from, and nothing that was superseded is ever answered from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from permissions import pdp, revisions
from permissions.cache.codec_seal import key_of
from permissions.cache.l2 import RedisLayer
from permissions.models import RoleBinding
from permissions.writing import SYSTEM, permission_write
from resilience.redis_client import redis_client
from tests.permissions.cache.l2_cast import counted, layer_on
from tests.worlds import OFFICE, apply

pytestmark = pytest.mark.django_db(transaction=True)
ASKED = ("user:alice", "post:edit", "post:7")


@pytest.fixture
def layer(settings, valkey_url) -> Iterator[RedisLayer]:
    with layer_on(settings, valkey_url) as made:
        pdp.reset()
        apply(OFFICE)
        yield made
    pdp.reset()


def stored(layer: RedisLayer) -> Any:
    """Asks until memory and the layer hold the answer; the head at which it was given."""
    assert pdp.check(*ASKED, full=True)
    assert layer.writer.settle(20)
    return revisions.head("default")


def revoke() -> None:
    with permission_write("default", SYSTEM):
        RoleBinding.objects.filter(subject__ref="user:alice").delete()


def test_a_cold_process_answers_from_what_another_stored(layer):
    at = stored(layer)
    assert {ref: c.stamp for ref, c in layer.get_many(at, "s", ["user:alice"]).items()} == {"user:alice": at.stamp}
    pdp.reset()
    decision = pdp.check(*ASKED)
    assert decision and decision.source == "redis" and decision.revision == at.rev
    assert pdp.check(*ASKED).source == "l1"


def test_a_grant_that_comes_back_from_an_old_dump_after_its_revoke_is_refused(layer, valkey_url):
    at = stored(layer)
    with redis_client(valkey_url, timeout_s=5) as server:
        old = server.dump(key_of(at, "s", "user:alice"))
        revoke()
        assert not pdp.check(*ASKED)
        assert layer.writer.settle(20)
        server.restore(key_of(at, "s", "user:alice"), 0, old, replace=True)
        before = counted("permission_cache_l2_rejected_total", "unproven")
        pdp.reset()
        assert not pdp.check(*ASKED)
        assert counted("permission_cache_l2_rejected_total", "unproven") > before


def test_garbage_in_every_value_changes_no_answer(layer, valkey_url):
    at = stored(layer)
    with redis_client(valkey_url, timeout_s=5) as server:
        for key in server.scan_iter(match=f"{{ps:{at.realm_id}:*"):
            server.set(key, server.get(key)[:-1] + b"\xff")
        pdp.reset()
        decision = pdp.check(*ASKED)
        assert decision and decision.source == "db"


def test_a_store_that_is_lost_changes_no_answer(layer):
    stored(layer)

    class Lost:
        def __getattr__(self, name: str) -> Any:
            raise ConnectionError(name)

    layer._client = Lost()
    for _ in range(6):
        pdp.reset()
        decision = pdp.check(*ASKED)
        assert decision and decision.source == "db"
    assert not layer.is_up
