"""What the tests of the second cache layer share: heads, snapshots of random worlds, every field of one, a layer on a server."""

from __future__ import annotations

import random
import secrets
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from django.core.cache import caches

from permissions.cache import l2
from permissions.cache.codec import Candidate, Kind, Snapshot, decode, encode
from permissions.cache.codec_seal import key_of
from permissions.cache.l2_link import breaker
from permissions.engine.scopes import ResourceSnapshot, SubjectSnapshot, build_resource, build_subject
from permissions.engine.table import Held
from permissions.engine.types import BindingFact, ResourceFacts, ResourceNodeFact, SubjectFacts
from permissions.revisions import Head
from permsite.settings import permission_cache
from resilience import django_cache, telemetry
from tests.properties import worlds


def head(rev: int = 7, **more: Any) -> Head:
    """Of a realm that no other test has: the keys of the layer have a fixed form and take no prefix."""
    return Head(
        **{"realm_id": secrets.randbelow(2**40), "name": "default", "epoch": uuid.uuid4().hex, "rev": rev, "stamp": 99, **more}
    )


def subject(ref: str = "user:alice", built_rev: int = 7, now_us: int = 5, **more: Any) -> SubjectSnapshot:
    bindings = more.pop("bindings", None) or (BindingFact(1, ref, "editor"), BindingFact(2, ref, "viewer", scope="server:7"))
    found = build_subject(SubjectFacts(ref, bindings=bindings, **more), now_us, keep_facts=False)
    found.built_rev = built_rev
    return found


def resource(ref: str = "message:3", built_rev: int = 7, **more: Any) -> ResourceSnapshot:
    chain = (ResourceNodeFact("server:1"), ResourceNodeFact("channel:2", inherit=False), ResourceNodeFact(ref))
    found = build_resource(ResourceFacts(ref, chain=chain, **more))
    found.built_rev = built_rev
    return found


def of_world(world: worlds.World, built_rev: int = 7) -> tuple[SubjectSnapshot, ResourceSnapshot | None]:
    above = build_resource(world.resource) if world.resource is not None else None
    found = build_subject(world.subject, world.now_us, keep_facts=False)
    found.built_rev = built_rev
    if above is not None:
        above.built_rev = built_rev
    return found, above


def random_world(seed: str) -> worlds.World:
    return worlds.world(random.Random(seed))


def kind_of(snapshot: Snapshot) -> Kind:
    return "s" if isinstance(snapshot, SubjectSnapshot) else "r"


S = TypeVar("S", SubjectSnapshot, ResourceSnapshot)


def again(snapshot: S, at: Head | None = None) -> S:
    """The snapshot, encoded and decoded."""
    return cast("S", through(snapshot, at).snapshot)


def through(snapshot: Snapshot, at: Head | None = None) -> Candidate:
    at = at or head()
    kind = kind_of(snapshot)
    made = encode(at, kind, snapshot, snapshot.built_rev, 99)
    assert made is not None
    assert made[0] == key_of(at, kind, snapshot.ref)
    return decode(at, kind, snapshot.ref, *made)


def fields(snapshot: Snapshot) -> dict[str, Any]:
    """Every slot, the order of dictionaries and the kinds of numbers included; a slot that is added is compared from then on.

    Of a subject those of every form it may have: the smaller one answers for what it does not store.
    """
    kinds = [*type(snapshot).__mro__, *(SubjectSnapshot.__subclasses__() if isinstance(snapshot, SubjectSnapshot) else ())]
    slots = {slot for kind in kinds for slot in getattr(kind, "__slots__", ())} - {"__weakref__"}
    return {slot: _plain(getattr(snapshot, slot)) for slot in slots}


def _plain(value: Any) -> Any:
    if isinstance(value, Held):
        return ("held", repr(value.binding), value.own, value.standing)
    if isinstance(value, dict):
        return [(key, _plain(item)) for key, item in value.items()]
    if isinstance(value, tuple):
        return ("tuple", *map(_plain, value))
    refs = getattr(value, "refs", None)
    return ("closure", refs, value.changed_rev) if refs is not None else repr(value)


# A server


@contextmanager
def layer_on(settings: Any, url: str, *, timeout_s: float = 5.0, quick: bool = False) -> Iterator[l2.RedisLayer]:
    """The layer of this process on that server. The time-out is long and no call too slow: a loaded machine is not the subject.

    `quick`: for servers that are lost; the breaker tries again after hundredths of a second.
    """
    entry = permission_cache(url)
    settings.CACHES = {**settings.CACHES, l2.ALIAS: {**entry, "OPTIONS": {**entry["OPTIONS"], "TIMEOUT_S": timeout_s}}}
    _fresh_caches()
    l2.reset()
    guard = breaker()
    before = dict(guard.options)
    guard.configure(slow_call_s=None, **({"open_s": 0.02, "open_max_s": 0.05} if quick else {}))
    guard.reset()
    found = l2.second_layer()
    assert isinstance(found, l2.RedisLayer)
    try:
        yield found
    finally:
        l2.reset()
        guard.configure(**before)
        guard.reset()
        _fresh_caches()


def _fresh_caches() -> None:
    caches.settings = caches.configure_settings(None)
    made: Any = caches
    for alias in list(made.settings):
        if hasattr(made._connections, alias):
            delattr(made._connections, alias)
    for client in django_cache._clients.values():
        client.close()
    django_cache._clients.clear()


def counted(name: str, *labels: str) -> float:
    return telemetry.collect()[name].get(labels, 0)


@contextmanager
def events() -> Iterator[Callable[[str], int]]:
    """How often each was told since the block began."""
    told: list[str] = []
    leave = telemetry.subscribe(lambda event: told.append(event.name), "cache.l2_")
    try:
        yield told.count
    finally:
        leave()
