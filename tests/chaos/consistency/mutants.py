"""Wrong caches. Each is patched into a process before its threads start, never by a flag of the product, and must be caught:
by the harness, by the state machine, or by a thread stopped at a sync point. Each says in its first line what it forgets."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

Put = Callable[[Any, str, Any], object]  # setattr, or a test's monkeypatch
MUTANTS: Final[dict[str, Callable[[Put], None]]] = {}


def mutant(function: Callable[[Put], None]) -> Callable[[Put], None]:
    MUTANTS[function.__name__] = function
    return function


def apply(name: str, put: Put = setattr) -> None:
    if name:
        MUTANTS[name](put)


# The five that the design names.


@mutant
def no_invalidation(put: Put) -> None:
    """A change drops nothing from memory."""
    from permissions.cache import realm

    put(realm.RealmCache, "_drop", lambda self, change: None)


@mutant
def l2_trusted(put: Put) -> None:
    """What Redis says is taken without proof."""
    from permissions.cache import filling

    def trusting(cache: Any, kind: Any, found: Any) -> set[str]:
        with cache.lock:
            for candidate in found.values():
                candidate.snapshot.built_rev = cache.state.rev
                cache._put(kind, candidate.snapshot)
        return set(found)

    put(filling, "_proven", trusting)


@mutant
def torn_table(put: Put) -> None:
    """W passes a change of the model before its table is there: a newer subject meets an older table."""
    from permissions.cache import catch_up
    from permissions.cache.realm import RealmCache

    right = RealmCache.apply

    def torn(self: Any, changes: Any, new: Any) -> None:
        old = self.state
        if old is not None and old.table is not new.table:
            early = catch_up._next(old, new.head)
            right(self, changes, early)
            time.sleep(0.002)  # compiling takes a while
            self.publish(new)
        else:
            right(self, changes, new)

    put(RealmCache, "apply", torn)


@mutant
def token_ignored(put: Put) -> None:
    """A caller's token asks for nothing."""
    from permissions.cache import reader

    serves = reader._serves
    put(reader, "_serves", lambda state, token, now_ns: serves(state, None, now_ns))
    put(reader, "covers", lambda head, token: True)


@mutant
def no_bound(put: Put) -> None:
    """No poll, no events, and no age is too old."""
    from permissions.cache import follower, state

    make = state.State.__init__

    def ageless(self: Any, *arguments: Any, **named: Any) -> None:
        make(self, *arguments, **{**named, "max_age_ns": 1 << 62})

    put(state.State, "__init__", ageless)
    put(follower, "start", lambda: None)


# And our own.


@mutant
def expiry_ignored(put: Put) -> None:
    """What has an end is served past it."""
    from permissions.engine import scopes

    put(scopes, "_next_boundary", lambda memberships, bindings, now_us: None)


@mutant
def event_moves_t(put: Put) -> None:
    """News of a revision passes for the proof that nothing follows it."""
    from permissions.cache import catch_up
    from permissions.cache.reading import boot_ns

    right = catch_up.apply_event

    def wrong(event: Any) -> bool:
        cache = catch_up._caches.get(event.name)
        before = None if cache is None or cache.state is None else cache.state.rev
        applied = right(event)
        if applied and cache is not None and cache.state is not None and cache.state.rev != before:
            cache.state.known_head_ns = boot_ns()
        return applied

    put(catch_up, "apply_event", wrong)


@mutant
def epoch_ignored(put: Put) -> None:
    """A restored database passes for the one that was known, as long as its revision is not below."""
    from permissions.cache import catch_up

    put(catch_up, "_broken", lambda cache, state, reading: "lost" if reading.head.rev < reading.since else None)


@mutant
def stamp_unchecked(put: Put) -> None:
    """The same number is taken for the same revision."""
    from permissions.cache import catch_up

    right = catch_up._broken

    def wrong(cache: Any, state: Any, reading: Any) -> Any:
        found = right(cache, state, reading)
        return None if found == "lost" and reading.head.rev >= reading.since else found

    put(catch_up, "_broken", wrong)


@mutant
def stored_unproven(put: Put) -> None:
    """A snapshot read before a change is kept after it: nobody asks what changed since it was read."""
    from permissions.cache.realm import RealmCache

    put(RealmCache, "_last_change", lambda self, kind, snapshot: 0)


@mutant
def promoted_unlooked(put: Put) -> None:
    """A hit in the old half is brought back, whatever was dropped meanwhile."""
    from permissions import points
    from permissions.cache.l1 import TwoGenerations

    def wrong(self: Any, ref: str) -> Any:
        found = self.young.get(ref)
        if found is not None:
            return found
        found = self._old.get(ref)
        if found is not None:
            points.reached("l1.old_hit")
            self._old.pop(ref, None)
            self._add(ref, found)
        return found

    put(TwoGenerations, "get", wrong)


@mutant
def published_early(put: Put) -> None:
    """The new State is out before what changed is dropped."""
    from permissions.cache.realm import RealmCache

    right = RealmCache.apply

    def wrong(self: Any, changes: Any, new: Any) -> None:
        self.publish(new)
        time.sleep(0.002)
        right(self, changes, new)

    put(RealmCache, "apply", wrong)


@mutant
def teams_forgotten(put: Put) -> None:
    """A change of a team drops the team, and not those who are in it."""
    from permissions.cache.realm import Closures

    put(Closures, "mark", lambda self, ref, rev: None)


@mutant
def filter_frozen(put: Put) -> None:
    """An id that comes up after the filter was built stays unknown."""
    from permissions.cache.realm import RealmCache

    put(RealmCache, "_extend_filters", lambda self, changes: None)


@mutant
def layers_reused(put: Put) -> None:
    """A new history fills the very layers that a reader of the old one still looks into."""
    from permissions.cache.realm import RealmCache

    def wrong(self: Any, window: Any, make: Any) -> Any:
        with self.lock:
            for layer in (self.subjects, self.resources, self.absent_subjects, self.absent_resources):
                layer.clear()
            self.window, self.wanted_rev, self.filters = window, 0, None
            new = make()
            self.publish(new)
        return new

    put(RealmCache, "restart", wrong)


@mutant
def fast_kept(put: Put) -> None:
    """What the warm path found at one revision is taken over by the next."""
    from permissions.cache.state import State

    right = State.__init__

    def wrong(self: Any, *arguments: Any, **named: Any) -> None:
        right(self, *arguments, **named)
        old = self.cache.state
        if old is not None and old.table is self.table:
            self.fast = old.fast

    put(State, "__init__", wrong)


@mutant
def event_stamp_unchecked(put: Put) -> None:
    """News is taken for the next revision by its number alone."""
    import dataclasses

    from permissions.cache import catch_up

    right = catch_up.apply_event

    def wrong(event: Any) -> bool:
        cache = catch_up.find(event.name)
        if cache is not None and cache.state is not None:
            event = dataclasses.replace(event, prev_stamp=cache.state.head.stamp)
        return right(event)

    put(catch_up, "apply_event", wrong)
