"""An empty store is a store."""

from __future__ import annotations

from resilience.registry import Registry
from resilience.storage.memory import MemoryStore


def test_an_empty_store_is_not_passed_over_for_the_default():
    store = MemoryStore()
    assert store and not len(store)
    registry = Registry(store=store)
    try:
        assert list(registry.health()["stores"]) == ["memory"]
    finally:
        registry.close()
