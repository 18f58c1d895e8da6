"""Catching up: what a read of the database says is applied, one revision at a time, or proves that everything must be dropped.

Source: consistency, sections 4, 5 and 7.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable
from typing import Final, Literal

from permissions.cache import database
from permissions.cache.events import Event
from permissions.cache.reading import Asked, Reading
from permissions.cache.realm import NEVER_NS, STATES, RealmCache
from permissions.cache.state import KINDS, Change, State, Window
from permissions.conditions import cel
from permissions.engine.compile import compile_table
from permissions.engine.reasons import Unavailable
from permissions.engine.table import RoleTable
from permissions.errors import NotFound
from permissions.revisions import Head
from permissions.writing import Write, on_written
from resilience import telemetry

log = logging.getLogger("permissions.cache")
Cause = Literal["epoch", "lost", "gap", "realm"]

# Seconds a reader waits while another applies; past them its check is answered live (a table that takes long to compile).
APPLY_WAIT_S: Final = 0.25

_caches: dict[str, RealmCache] = {}
_guard = threading.Lock()


class Busy(Unavailable):
    """Another thread is applying a change that takes long."""


def caches() -> dict[str, RealmCache]:
    """Those of this process, by the realm's name; not to be changed."""
    return _caches


def find(realm: str) -> RealmCache | None:
    return _caches.get(realm)


def cache_of(realm: str) -> RealmCache:
    found = _caches.get(realm)
    if found is None:
        with _guard:
            found = _caches.setdefault(realm, RealmCache(realm))
    return found


def forget(realm: str) -> None:
    cache = _caches.pop(realm, None)
    if cache is not None:
        cache.withdraw()


def forget_empty(cache: RealmCache) -> None:
    """Of a realm that could not be read, nothing is kept: a caller may invent names for ever."""
    if cache.state is None and _caches.get(cache.name) is cache and cache.lost_head is None:
        _caches.pop(cache.name, None)


def reset() -> None:
    """Forgets every realm (a flushed or restored database)."""
    with _guard:
        for name in list(_caches):
            forget(name)
    database.reset()


def _after_fork() -> None:
    """What the parent's threads held locked stays so for ever in a child."""
    global _guard  # noqa: PLW0603
    _guard = threading.Lock()
    _caches.clear()
    STATES.clear()


os.register_at_fork(after_in_child=_after_fork)


def catch_up(realm: str) -> State:
    """Asks for the head and applies what leads there. Raises NotFound, Away, Busy."""
    cache = cache_of(realm)
    state = cache.state
    if state is None:
        return boot(cache)
    try:
        reading = database.read_head(realm, state.rev)
    except NotFound:
        forget(realm)
        raise
    return absorb(cache, reading)


def catch_up_all(realms: Iterable[str]) -> None:
    """The same for many, in one statement. A fault of one realm is logged and hinders no other; raises Away."""
    states = {name: cache.state for name in realms if (cache := _caches.get(name)) is not None}
    asked = Asked({name: state.rev for name, state in states.items() if state is not None})
    if not asked.since:
        return
    readings = database.read_heads(asked)
    for name in asked.since:
        cache = _caches.get(name)
        if name not in readings:
            forget(name)
        elif cache is not None:
            try:
                absorb(cache, readings[name])
            except (Unavailable, NotFound) as error:
                log.info("realm %s is not caught up: %s", name, error)


def boot(cache: RealmCache) -> State:
    """The first State of a realm in this process. Raises NotFound, Away."""
    with cache.apply_lock:
        if cache.state is not None:
            return cache.state
        try:
            return _restart(cache)
        except NotFound:
            forget(cache.name)
            raise


def absorb(cache: RealmCache, reading: Reading) -> State:
    """Applies what `reading` says beyond W, and learns how new W is. Raises Busy, Away, NotFound."""
    state = cache.state
    if state is not None and state.head.key == reading.head.key:
        _learn(cache, state, reading)
        return state
    if not cache.apply_lock.acquire(timeout=APPLY_WAIT_S):
        raise Busy("a change of the model is being applied", retry_after_s=1.0)
    try:
        state = cache.state
        if state is None:
            return _restart(cache)
        cause = _broken(cache, state, reading)
        if cause is not None:
            return _start_over(cache, reading.head, cause)
        if reading.head.rev <= state.rev:  # another thread has applied as much meanwhile, or more
            _learn(cache, state, reading)
            return state
        changes = [change for change in reading.tail or () if change.rev > state.rev]
        if any(change.kind == "m" for change in changes):
            return _apply_model(cache, state)
        state = _apply(cache, state, changes, reading)
        _learn(cache, state, reading)
        return state
    finally:
        cache.apply_lock.release()


def apply_event(event: Event) -> bool:
    """Applies what a writer told, without a query; False where the database must be asked instead. Moves W, never T: that n is
    committed does not prove that nothing follows."""
    cache = _caches.get(event.name)
    if cache is None or event.name not in STATES:
        return True  # nothing is known here that could be old
    if not cache.apply_lock.acquire(timeout=APPLY_WAIT_S):
        return False
    try:
        state = cache.state
        if state is None or (event.realm, event.epoch) != (state.head.realm_id, state.head.epoch):
            return False
        if event.rev <= state.rev:
            return True
        objects = event.objects
        if (event.prev, event.prev_stamp) != (state.rev, state.head.stamp) or event.rev != event.prev + 1 or objects is None:
            return False
        changes = [Change(event.rev, event.stamp, kind, object_id) for kind, object_id in objects]
        if not changes or any(change.kind not in {"s", "t", "r", "k"} for change in changes):
            return False
        cache.apply(changes, _next(state, Head(event.realm, event.name, event.epoch, event.rev, event.stamp)))
        return True
    finally:
        cache.apply_lock.release()


def _broken(cache: RealmCache, state: State, reading: Reading) -> Cause | None:
    """Why what this process knows can lead nowhere, if so. The caller holds `apply_lock`."""
    if reading.head.realm_id != state.head.realm_id:
        return "realm"
    if reading.head.epoch != state.head.epoch:
        return "epoch"
    if reading.head.rev < reading.since:
        return "lost"
    stamp = cache.window.stamps.get(reading.since)
    if stamp is not None and reading.since_stamp is not None and stamp != reading.since_stamp:
        return "lost"
    if reading.head.rev > state.rev and (reading.since_stamp is None or not reading.is_whole):
        return "gap"
    if any(change.kind not in KINDS for change in reading.tail or ()):
        return "gap"  # of a newer version: what it changed cannot be told
    return None


def _start_over(cache: RealmCache, head: Head, cause: Cause) -> State:
    telemetry.count("permission_cache_resets_total", cause)
    telemetry.emit("cache.reset", realm=cache.name, cause=cause)
    log.log(
        logging.ERROR if cause == "lost" else logging.WARNING,
        "realm %s: everything known is dropped (%s)",
        cache.name,
        {
            "lost": "the database has lost commits that this process has seen; a new epoch is drawn",
            "epoch": "the realm has a new epoch: it was restored",
            "gap": "the changelog does not reach back to what this process knows",
            "realm": "another realm has the name now",
        }[cause],
    )
    cache.withdraw()  # nobody is to be served from a history that is gone, should the next lines fail
    if cause == "lost":
        cache.lost_head = head
    return _restart(cache)


def _restart(cache: RealmCache) -> State:
    if cache.lost_head is not None:
        # Kept until it is done: under the old epoch a token of the lost history would count as reached. A server that cannot
        # write leaves its checks Unavailable.
        database.draw_epoch(cache.lost_head)
        cache.lost_head = None
    model = database.read_model(cache.name, None, None)
    reading = model.reading
    if reading.is_whole and reading.since_stamp is not None:
        window = Window(reading.since, reading.since_stamp)
        for change in reading.tail or ():
            window.note(change)
    else:
        window = Window(reading.head.rev, reading.head.stamp)
    window.trim()
    table = compile_table(model.facts, cel.language())
    return cache.restart(window, lambda: _made(cache, table, reading, None))


def _apply_model(cache: RealmCache, state: State) -> State:
    """The model changed: it is read again with a head and a tail of its own, for W never passes a change without its table."""
    model = database.read_model(cache.name, state.rev, state.table.model)
    reading = model.reading
    cause = _broken(cache, state, reading)
    if cause is not None:
        return _start_over(cache, reading.head, cause)
    new = _made(cache, compile_table(model.facts, cel.language(), state.table), reading, state)
    cache.apply(reading.tail or (), new)
    _learn(cache, new, reading)
    return new


def _made(cache: RealmCache, table: RoleTable, reading: Reading, old: State | None) -> State:
    return State(
        reading.head,
        table,
        cache,
        max_age_ns=int(reading.staleness_s * 1e9),
        grace_ns=int(reading.static_grace_s * 1e9),
        known_head_ns=reading.asked_ns if old is None else max(reading.asked_ns, old.known_head_ns),
        offset_us=reading.offset_us,
        slack_us=reading.slack_us,
        like=old,
    )


def _apply(cache: RealmCache, state: State, changes: list[Change], reading: Reading) -> State:
    if any(change.kind == "*" for change in changes):
        return _apply_model(cache, state)
    new = _next(state, reading.head)
    cache.apply(changes, new)
    return new


def _next(state: State, head: Head) -> State:
    return State(
        head,
        state.table,
        state.cache,
        max_age_ns=state.max_age_ns,
        grace_ns=state.grace_ns,
        known_head_ns=state.known_head_ns,
        offset_us=state.offset_us,
        slack_us=state.slack_us,
        like=state,
    )


def _learn(cache: RealmCache, state: State, reading: Reading) -> None:
    """T: whatever was committed before the question was sent is applied. And how far the database's clock is from ours."""
    cache.learn_head(state, reading.asked_ns)
    state.offset_us, state.slack_us = reading.offset_us, reading.slack_us


def _want_own(write: Write) -> None:
    """The writer's process must see its own write at once: the next check asks for the head."""
    cache = _caches.get(write.realm.name)
    if cache is not None:
        cache.want(write.revision)


def connect() -> None:
    """Once, at the app's start, and after the events: an event that was applied leaves nothing to want."""
    on_written(_want_own)


def expire(realm: str) -> None:
    """The next check asks for the head, as after a write of this process."""
    state = STATES.get(realm)
    if state is not None:
        state.known_head_ns = NEVER_NS
