"""RealmCache: what this process holds of one realm, and the two moves that change it: keep a snapshot, apply a revision.

Invariants (consistency, section 4). I1: what is resident and not void is true on [B, W]. I2: revisions are applied one at a time:
mark what changed and drop it, then publish the State; a snapshot is kept only if nothing it was read through changed after B.
I3: readers take the State first and the snapshot second; B > W means: take the State again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias
from weakref import WeakSet, WeakValueDictionary

from permissions import points
from permissions.cache.hot import HotList
from permissions.cache.known_ids import KnownIds
from permissions.cache.l1 import TwoGenerations
from permissions.cache.prefetch import Prefetch
from permissions.cache.state import Change, State, Window
from permissions.cache.targets import matcher
from permissions.engine.scopes import Closure, ResourceSnapshot, SubjectSnapshot
from permissions.revisions import Head

Snapshot: TypeAlias = SubjectSnapshot | ResourceSnapshot
Kind: TypeAlias = Literal["s", "r"]

# Snapshots in each half of the first layer: about 30 MB of subjects when both are full.
SIZE: Final = 100_000
# Ids that no row names get a small layer of their own, so that a flood of them evicts nothing.
SIZE_ABSENT: Final = 10_000
NEVER_NS: Final = -(1 << 62)

# The published State of each realm, by name: what the warm path reads, without a lock.
STATES: Final[dict[str, State]] = {}


class Closures:
    """One Closure object for all snapshots read through the same ids. The owner holds the realm's lock."""

    def __init__(self) -> None:
        self._by_refs: WeakValueDictionary[tuple[str, ...], Closure] = WeakValueDictionary()
        self._by_ref: dict[str, WeakSet[Closure]] = {}
        # Ids left after the last sweep: one of which nothing is resident any more would keep its empty set for ever.
        self._swept = 500

    def intern(self, closure: Closure) -> Closure:
        found = self._by_refs.get(closure.refs)
        if found is None:
            if len(self._by_ref) > 1_000 and len(self._by_ref) > 2 * self._swept:
                self._by_ref = {ref: closures for ref, closures in self._by_ref.items() if closures}
                self._swept = len(self._by_ref)
            found = self._by_refs[closure.refs] = closure
            for ref in closure.refs:
                self._by_ref.setdefault(ref, WeakSet()).add(closure)
        return found

    def mark(self, ref: str, rev: int) -> None:
        """Makes void all that was read through `ref` before `rev`."""
        closures = self._by_ref.get(ref)
        if closures is None:
            return
        if not closures:
            del self._by_ref[ref]
        for closure in closures:
            closure.changed_rev = rev


@dataclass(frozen=True, slots=True)
class Filters:
    """Every id that any row names at `built_rev` of `history` (realm's id, epoch), and since. "No" means: no row of its own."""

    history: tuple[int, str]
    built_rev: int
    subjects: KnownIds
    resources: KnownIds


class RealmCache:
    """`lock` is held for moments, `apply_lock` while a revision is fetched and applied, `ask_lock` while the head is asked for.

    `used_ns`: when a check last needed the realm (sampled). `wanted_rev`: this process wrote this revision, so must reach it.
    `lost_head`: the database has lost commits, and no new epoch was drawn yet. `is_graced`: answers
    older than the bound go out while the database is away.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.lock = threading.RLock()
        self.apply_lock = threading.Lock()
        self.ask_lock = threading.Lock()
        self.state: State | None = None
        self.window = Window(0, 0)
        self.used_ns = NEVER_NS
        self.wanted_rev = 0
        self.lost_head: Head | None = None
        self.is_graced = False
        self.hot = HotList()
        self.prefetch_subjects: Prefetch | None = None
        self.prefetch_resources: Prefetch | None = None
        self._begin_anew()

    def _begin_anew(self) -> None:
        self.subjects: TwoGenerations[SubjectSnapshot] = TwoGenerations(SIZE, self.lock)
        self.resources: TwoGenerations[ResourceSnapshot] = TwoGenerations(SIZE, self.lock)
        self.absent_subjects: TwoGenerations[SubjectSnapshot] = TwoGenerations(SIZE_ABSENT, self.lock)
        self.absent_resources: TwoGenerations[ResourceSnapshot] = TwoGenerations(SIZE_ABSENT, self.lock)
        self.filters: Filters | None = None
        self.subjects.on_promoted = self._subject_used
        self.resources.on_promoted = self._resource_used
        self._teams = Closures()
        self._nodes = Closures()

    def _subject_used(self, ref: str) -> None:
        if self.prefetch_subjects is not None:
            self.prefetch_subjects.used(ref)

    def _resource_used(self, ref: str) -> None:
        if self.prefetch_resources is not None:
            self.prefetch_resources.used(ref)

    # Reading. `state` is the reader's, taken before.

    def subject(self, state: State, ref: str, now_us: int) -> SubjectSnapshot | None:
        found = state.subjects.get(ref) or state.absent_subjects.get(ref)
        if found is None or is_void(found, state):
            return None
        # Within the uncertainty of our clock before a boundary nobody can say which side it is: the database is asked.
        if found.until_us is not None and now_us + state.slack_us >= found.until_us:
            return None
        return found

    def resource(self, state: State, ref: str) -> ResourceSnapshot | None:
        found = state.resources.get(ref) or state.absent_resources.get(ref)
        return None if found is None or is_void(found, state) else found

    # Changing.

    def keep(self, kind: Kind, snapshots: Iterable[Snapshot], built_rev: int, head: Head) -> list[Snapshot]:
        """Those of `snapshots`, read at `built_rev` in the history of `head`, that are proven true up to W: resident from now on.

        A snapshot that a concurrent change reached is left out: keeping it would bring back what the change dropped.
        """
        points.reached("fill.read")
        kept: list[Snapshot] = []
        with self.lock:
            state = self.state
            if state is None or state.head.realm_id != head.realm_id or state.head.epoch != head.epoch:
                return kept
            if not self.window.floor <= built_rev <= state.rev:
                return kept
            flushed = [matcher(f.tag, f.value) for f in self.window.flushes if f.rev > built_rev]
            for snapshot in snapshots:
                if self._last_change(kind, snapshot) > built_rev or any(matches(snapshot) for matches in flushed):
                    continue
                snapshot.built_rev = built_rev
                self._put(kind, snapshot)
                kept.append(snapshot)
        return kept

    def _last_change(self, kind: Kind, snapshot: Snapshot) -> int:
        last = self.window.last
        if kind == "r":
            return max((last("r", node) for node in snapshot.deps), default=0)
        # A team asked about itself is logged as a team.
        return max(last("s", snapshot.ref), last("t", snapshot.ref), *(last("t", team) for team in snapshot.deps))

    def _put(self, kind: Kind, snapshot: Snapshot) -> None:
        closures = self._teams if kind == "s" else self._nodes
        if snapshot.closure is not None:
            snapshot.closure = closures.intern(snapshot.closure)
        if isinstance(snapshot, SubjectSnapshot):
            (self.subjects if snapshot.known else self.absent_subjects).put(snapshot.ref, snapshot)
        else:
            (self.resources if snapshot.known else self.absent_resources).put(snapshot.ref, snapshot)

    def apply(self, changes: Sequence[Change], new: State) -> None:
        """Drops what `changes` touched, then publishes `new`, which is at their end. The caller holds `apply_lock`."""
        with self.lock:
            for change in changes:
                self.window.note(change)
            points.reached("apply.marked")
            for change in changes:
                self._drop(change)
            self.window.trim()
        points.reached("apply.popped")
        self._extend_filters(changes)
        self.publish(new)
        points.reached("apply.published")

    def restart(self, window: Window, make: Callable[[], State]) -> State:
        """Begins another history with the State that `make` gives. The caller holds `apply_lock`.

        With layers of its own: emptied and filled anew, the old ones would give a reader that took its State before the reset
        snapshots of the new history whose revisions look like those of the old.
        """
        with self.lock:
            self.withdraw()
            self._begin_anew()
            self.window = window
            self.wanted_rev = 0
            new = make()
            self.publish(new)
        return new

    def publish(self, new: State) -> None:
        with self.lock:
            if new.rev < self.wanted_rev:
                new.known_head_ns = NEVER_NS
            self.state = STATES[self.name] = new

    def withdraw(self) -> None:
        """Answers nothing until the next State is published."""
        with self.lock:
            if STATES.get(self.name) is self.state:
                STATES.pop(self.name, None)
            self.state = None

    def learn_head(self, state: State, asked_ns: int) -> None:
        """`state` was the newest when the database was asked. Not if this process has written since."""
        with self.lock:
            if state.rev >= self.wanted_rev and asked_ns > state.known_head_ns:
                state.known_head_ns = asked_ns

    def want(self, rev: int) -> None:
        """This process wrote `rev`: whoever asks it next is to see that."""
        with self.lock:
            if self.state is not None and self.state.rev < rev:
                self.wanted_rev = max(self.wanted_rev, rev)
                self.state.known_head_ns = NEVER_NS

    def _drop(self, change: Change) -> None:
        if change.kind in {"s", "t"}:
            self.subjects.pop(change.object_id)
            self.absent_subjects.pop(change.object_id)
            if change.kind == "t":
                self._teams.mark(change.object_id, change.rev)
        elif change.kind == "r":
            self.resources.pop(change.object_id)
            self.absent_resources.pop(change.object_id)
            self._nodes.mark(change.object_id, change.rev)
        elif change.kind == "f":
            tag, _, value = change.object_id.partition(":")
            matches = matcher(tag, value)
            for layer in (self.subjects, self.absent_subjects, self.resources, self.absent_resources):
                layer.drop_where(lambda _, snapshot: matches(snapshot))
        elif change.kind == "*":
            self._clear()

    def _clear(self) -> None:
        for layer in (self.subjects, self.resources, self.absent_subjects, self.absent_resources):
            layer.clear()
        self.filters = None
        self._teams, self._nodes = Closures(), Closures()

    def _extend_filters(self, changes: Iterable[Change]) -> None:
        filters = self.filters
        if filters is None:
            return
        for change in changes:
            if change.kind in {"s", "t"}:
                filters.subjects.add(change.object_id)
            elif change.kind == "r":
                filters.resources.add(change.object_id)

    def is_unknown(self, kind: Kind, state: State, ref: str) -> bool:
        """Whether no row names `ref` at the State's revision. False may also mean: not known."""
        filters = self.filters
        # A row may have been deleted between an older State and the building of the filter.
        if filters is None or filters.built_rev > state.rev or filters.history != state.head.key[:2]:
            return False
        return ref not in (filters.subjects if kind == "s" else filters.resources)

    def use_filters(self, built_rev: int, head: Head, subjects: KnownIds, resources: KnownIds) -> bool:
        """Takes filters built at `built_rev`, with all that changed since; False where that cannot be said any more."""
        with self.apply_lock, self.lock:
            state = self.state
            if state is None or (state.head.realm_id, state.head.epoch) != (head.realm_id, head.epoch):
                return False
            if not self.window.floor <= built_rev <= state.rev:
                return False
            changed = self.window.changed_since(built_rev, ("s", "t", "r"))
            for ref in (*changed["s"], *changed["t"]):
                subjects.add(ref)
            for ref in changed["r"]:
                resources.add(ref)
            self.filters = Filters(head.key[:2], built_rev, subjects, resources)
            return True


def is_void(snapshot: Snapshot, state: State) -> bool:
    """Whether the snapshot says nothing about the State's revision: newer than it, or read through something changed since."""
    built_rev = snapshot.built_rev
    return built_rev > state.rev or (snapshot.closure is not None and snapshot.closure.changed_rev > built_rev)
