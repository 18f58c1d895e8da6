"""The components of a warm-up: each fills one part of what this process knows of a realm, through the normal read path.

So nothing becomes resident that a check would not keep: what a change reaches meanwhile stays missing. Source: consistency,
section 9.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, TypeAlias

from permissions.cache import catch_up, filling, habits, hot, known_ids, reader
from permissions.cache.realm import Kind, RealmCache
from permissions.cache.rebuild_lock import rebuild_lock
from permissions.cache.state import State
from permissions.engine.scopes import SubjectSnapshot
from permissions.engine.table import role_set
from permissions.engine.types import REALM

# Subjects and resources asked for together: what the second layer answers in one call; the database is asked in smaller batches.
PART: Final = 500
MOST_CHAINS: Final = 5_000
ATTEMPTS: Final = 3


class UnsettledError(Exception):
    """The realm changed its epoch while a filter was read, each time: it is being restored."""


@dataclass(slots=True)
class Warming:
    """One realm being warmed. `advance(done, total)` tells how far the component is; `pace(n)` waits until `n` more snapshots may
    be filled. Both raise to end the component when the warm-up is cancelled."""

    realm: str
    realm_id: int
    advance: Callable[[int, int], None]
    pace: Callable[[int], None]
    _preload: hot.Preload | None = None

    @property
    def cache(self) -> RealmCache:
        return catch_up.cache_of(self.realm)

    def state(self) -> State:
        """The published one; asks the database where there is none. Raises Unavailable, NotFound."""
        cache = self.cache
        return cache.state or catch_up.boot(cache)

    def preload(self) -> hot.Preload:
        if self._preload is None:
            self._preload = hot.preload(self.realm_id)
        return self._preload


Component: TypeAlias = Callable[[Warming], None]


def table(warming: Warming) -> None:
    """Head and role table: with these the realm is ready, the rest is speed. One of several processes that start reads it."""
    warming.advance(0, 1)
    warming.state()
    warming.advance(1, 1)


def filters(warming: Warming) -> None:
    """Which ids any row names. Afterwards the State is brought to the revision they were read at, or to another history."""
    for _ in range(ATTEMPTS):
        head = warming.state().head
        built_rev, subjects, resources = known_ids.load(warming.realm_id, report=warming.advance)
        catch_up.catch_up(warming.realm)
        if warming.cache.use_filters(built_rev, head, subjects, resources):
            total = len(subjects) + len(resources)
            warming.advance(total, total)
            return
    raise UnsettledError("the realm changed its history while its ids were read")


def hot_roles(warming: Warming) -> None:
    """The sets of roles met most, as masks in the table's memo."""
    sets = warming.preload().role_sets
    compiled = warming.state().table
    for done, names in enumerate(sets):
        if done % PART == 0:
            warming.advance(done, len(sets))
        compiled.masks(role_set(names))
    warming.advance(len(sets), len(sets))


def hot_subjects(warming: Warming) -> None:
    _fill(warming, "s", warming.preload().subjects)


def chains(warming: Warming) -> None:
    """The resources at which the hot subjects hold something, those of the most subjects first."""
    places: Counter[str] = Counter()
    subjects = warming.cache.subjects
    for ref in warming.preload().subjects:
        snapshot = subjects.get(ref)
        if isinstance(snapshot, SubjectSnapshot):
            places.update(place for place in {*snapshot.scopes, *snapshot.lines} if place != REALM)
    _fill(warming, "r", [place for place, _ in places.most_common(MOST_CHAINS)])


def prefetch(warming: Warming) -> None:
    """What follows what, as other processes have learnt it."""
    of_subjects, of_resources = filling.prefetches(warming.cache)
    taken = habits.take_up(warming.realm_id, "s", of_subjects) + habits.take_up(warming.realm_id, "r", of_resources)
    warming.advance(taken, taken)


def _fill(warming: Warming, kind: Kind, refs: Sequence[str]) -> None:
    warming.advance(0, len(refs))
    left = iter(refs)
    done = 0
    while part := list(islice(left, PART)):
        warming.pace(len(part))
        # Of several processes that start together one asks the database for this part, the next finds it in the second layer.
        with rebuild_lock(warming.realm_id, "warmup"):
            reader.prefill(warming.realm, kind, part)
        done += len(part)
        warming.advance(done, len(refs))


COMPONENTS: Final[Mapping[str, Component]] = {
    "table": table,
    "filters": filters,
    "hot_roles": hot_roles,
    "hot_subjects": hot_subjects,
    "chains": chains,
    "prefetch": prefetch,
}
