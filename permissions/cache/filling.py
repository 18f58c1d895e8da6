"""Filling: snapshots that memory does not hold, from the second layer or the database, kept only where proven true up to W."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Any, Final, TypeAlias
from weakref import WeakKeyDictionary

from permissions.cache import catch_up, database, l2
from permissions.cache.l1 import TwoGenerations
from permissions.cache.l2 import Candidate
from permissions.cache.prefetch import Prefetch
from permissions.cache.reading import Reading, boot_ns
from permissions.cache.realm import Kind, RealmCache, Snapshot
from permissions.cache.single_flight import MAX_BATCH, Batcher
from permissions.cache.state import State
from permissions.engine.scopes import build_resource, build_subject
from permissions.engine.types import Request, Source
from resilience import telemetry

Key: TypeAlias = tuple[Kind, str]

# Ids of a warm-up that are asked for in one go.
FILL_AT_ONCE: Final = 5_000
FILLS: Final = "permission_cache_fills_total"

_batchers: WeakKeyDictionary[RealmCache, Batcher[Key, None]] = WeakKeyDictionary()


def fill(
    cache: RealmCache, state: State, subjects: Collection[str], resources: Collection[str], *, deadline_ns: int | None = None
) -> Source:
    """Fills the first layer; the deepest layer that was asked. What a concurrent change reached stays missing: ask again.

    Raises Unavailable where the database does not answer, or not all of it by `deadline_ns`; NotFound where the realm is gone.
    """
    missing: list[Key] = [*(("s", ref) for ref in subjects), *(("r", ref) for ref in resources)]
    missing = _from_l2(cache, state, missing)
    if not missing:
        return "redis"
    try:
        for start in range(0, len(missing), MAX_BATCH):
            if deadline_ns is not None and boot_ns() > deadline_ns:
                raise database.Away("the database is too slow for so many checks at once", retry_after_s=1.0)
            _batcher(cache).get(missing[start : start + MAX_BATCH])
    except TimeoutError as error:
        raise database.Away("the database does not answer in time", retry_after_s=1.0) from error
    return "db"


def _batcher(cache: RealmCache) -> Batcher[Key, None]:
    found = _batchers.get(cache)
    if found is None:
        found = _batchers.setdefault(cache, Batcher(partial(_from_database, cache)))
    return found


def _from_l2(cache: RealmCache, state: State, keys: list[Key]) -> list[Key]:
    """The keys that the second layer could not answer with proof."""
    layer = l2.second_layer()
    if not layer.is_up:
        return keys
    kept: set[Key] = set()
    for kind in ("s", "r"):
        refs = [ref for k, ref in keys if k == kind]
        if refs:
            found = layer.get_many(state.head, kind, refs)
            kept.update((kind, ref) for ref in _proven(cache, kind, found))
    return [key for key in keys if key not in kept]


def _proven(cache: RealmCache, kind: Kind, found: dict[str, Candidate]) -> set[str]:
    """Refs of those candidates that are resident now. What cannot be proven is a miss, never an answer."""
    if not found:
        return set()
    state = cache.state
    if state is not None and any(candidate.built_rev > state.rev for candidate in found.values()):
        state = catch_up.catch_up(cache.name)
    if state is None:
        return set()
    by_rev: dict[int, list[Candidate]] = {}
    for candidate in found.values():
        by_rev.setdefault(candidate.built_rev, []).append(candidate)
    kept: set[str] = set()
    for built_rev, candidates in by_rev.items():
        with cache.lock:
            stamp = cache.window.stamps.get(built_rev)
            proven = [c.snapshot for c in candidates if stamp is not None and c.stamp == stamp]
            resident: list[Snapshot] = cache.keep(kind, proven, built_rev, state.head)
        kept.update(snapshot.ref for snapshot in resident)
    if kept:
        telemetry.count(FILLS, "redis", by=len(kept))
    rejected = len(found) - len(kept)
    if rejected:
        telemetry.count("permission_cache_l2_rejected_total", "unproven", by=rejected)
    return kept


def _from_database(cache: RealmCache, keys: list[Key]) -> dict[Key, None]:
    """One statement for all of them; the tail that comes with it is applied first."""
    state = cache.state or catch_up.boot(cache)
    reading = database.read_snapshots(
        cache.name, state.rev, [ref for kind, ref in keys if kind == "s"], [ref for kind, ref in keys if kind == "r"]
    )
    catch_up.absorb(cache, reading)
    _store(cache, reading)
    return dict.fromkeys(keys)


def _store(cache: RealmCache, reading: Reading) -> None:
    facts = reading.facts
    if facts is None:
        return
    head = reading.head
    layer = l2.second_layer()
    built: tuple[tuple[Kind, list[Snapshot]], ...] = (
        ("s", [build_subject(found, reading.now_us, keep_facts=False) for found in facts.subjects.values()]),
        ("r", [build_resource(found) for found in facts.resources.values()]),
    )
    for kind, snapshots in built:
        kept = cache.keep(kind, snapshots, head.rev, head) if snapshots else []
        if kept:
            telemetry.count(FILLS, "db", by=len(kept))
        if kept and layer.is_up:
            layer.put_many(head, kind, kept, head.stamp, reading.now_us)


def _after_fork() -> None:
    _batchers.clear()


os.register_at_fork(after_in_child=_after_fork)


def learn(cache: RealmCache, requests: Iterable[Request], subjects: Collection[str], resources: Collection[str]) -> None:
    """Records what a question missed, so that what mostly follows is loaded next: of the resources that a subject asks for one
    after the other, and of the subjects that come to a resource."""
    of_subjects, of_resources = prefetches(cache)
    missing_subjects, missing_resources = set(subjects), set(resources)
    for request in requests:
        if request.resource is None:
            continue
        if request.resource in missing_resources:
            of_resources.record(request.subject, request.resource)
            of_resources.missed(request.resource)
        if request.subject in missing_subjects:
            of_subjects.record(request.resource, request.subject)
            of_subjects.missed(request.subject)


def prefetches(cache: RealmCache) -> tuple[Prefetch, Prefetch]:
    """Of subjects and of resources, made on first use."""
    if cache.prefetch_resources is None or cache.prefetch_subjects is None:
        with cache.lock:
            # In this order: whoever sees the second without the lock sees the first too.
            cache.prefetch_subjects = cache.prefetch_subjects or Prefetch(
                partial(_prefetched, cache, "s"), is_resident=lambda ref: ref in cache.subjects, wake=_wake
            )
            cache.prefetch_resources = cache.prefetch_resources or Prefetch(
                partial(_prefetched, cache, "r"), is_resident=lambda ref: ref in cache.resources, wake=_wake
            )
    return cache.prefetch_subjects, cache.prefetch_resources


def _prefetched(cache: RealmCache, kind: Kind, refs: list[str]) -> list[str]:
    prefill(cache, kind, refs)
    layer: TwoGenerations[Any] = cache.subjects if kind == "s" else cache.resources
    with cache.lock:
        layer.demote(refs)
    return [ref for ref in refs if ref in layer]


def wake_with(wake: Callable[[], object]) -> None:
    """Whoever runs the prefetching is woken by `wake` when there is something to load."""
    global _waker  # noqa: PLW0603 - one a process
    _waker = wake


def _wake() -> None:
    if _waker is not None:
        _waker()


_waker: Callable[[], object] | None = None


def prefill(cache: RealmCache, kind: Kind, refs: Collection[str]) -> int:
    """Makes the snapshots resident through the normal path; how many were missing. For warm-up and prefetch."""
    state = cache.state or catch_up.boot(cache)
    layer = cache.subjects if kind == "s" else cache.resources
    # Not by get(): a look of ours is no use of what was prefetched.
    missing = [ref for ref in refs if ref not in layer and not cache.is_unknown(kind, state, ref)]
    for start in range(0, len(missing), FILL_AT_ONCE):
        part = missing[start : start + FILL_AT_ONCE]
        fill(cache, state, part if kind == "s" else (), part if kind == "r" else ())
    return len(missing)
