"""What the cache says of itself: for `pdp.stats()`, the cache board and a scrape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from permissions.cache.reading import boot_ns
from permissions.cache.realm import STATES, RealmCache
from resilience.telemetry import Sample


def stats() -> dict[str, Any]:
    """By realm: revision, age in seconds, snapshots in memory, and how old the oldest revision is that proves one."""
    return {
        "realms": {
            name: {
                "revision": state.rev,
                "age_s": round((boot_ns() - state.known_head_ns) / 1e9, 3),
                "subjects": len(state.cache.subjects),
                "resources": len(state.cache.resources),
                "absent": len(state.cache.absent_subjects) + len(state.cache.absent_resources),
                "floor": state.cache.window.floor,
                "filters": state.cache.filters is not None,
                "prefetch": _prefetch(state.cache),
            }
            for name, state in list(STATES.items())
        }
    }


def _prefetch(cache: RealmCache) -> dict[str, Any]:
    """By what is prefetched: whether it is on, and the share of it that was used, None before there is enough to say."""
    found = {"subjects": cache.prefetch_subjects, "resources": cache.prefetch_resources}
    told = {kind: prefetch.snapshot() for kind, prefetch in found.items() if prefetch is not None}
    return {kind: {"on": t.is_on, "useful_ratio": t.ratio, "useful": t.useful, "wasted": t.wasted} for kind, t in told.items()}


def samples() -> Iterator[Sample]:
    """What a scrape reads of the cache."""
    entries = {"subject": 0, "resource": 0, "absent": 0}
    for name, state in list(STATES.items()):
        cache = state.cache
        entries["subject"] += len(cache.subjects)
        entries["resource"] += len(cache.resources)
        entries["absent"] += len(cache.absent_subjects) + len(cache.absent_resources)
        yield "permission_cache_revision", (name,), state.rev
        yield "permission_cache_age_seconds", (name,), max(0, boot_ns() - state.known_head_ns) / 1e9
    for kind, number in entries.items():
        yield "permission_cache_entries", (kind,), number
