"""For the state machine of the cache: a database in memory with real snapshots, a second layer of bytes, a clock that is moved,
and several processes in one: the cache's own modules, told to hold now the memory of this process, now of that.

Rows are the model of the chaos harness (`tests.chaos.consistency.world`); what a change touches is found by comparing rows.
"""

from __future__ import annotations

import copy
import random
import sys
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from permissions.cache import catch_up, database, l2, live
from permissions.cache.codec import Candidate, Kind, Snapshot, decode, encode
from permissions.cache.codec_model import decode_model, encode_model, model_key
from permissions.cache.codec_seal import Rejected, key_of
from permissions.cache.events import Event
from permissions.cache.pinned import Pinned, covers
from permissions.cache.reading import Asked, Facts, Reading, head_reading
from permissions.cache.realm import STATES
from permissions.conditions import cel
from permissions.engine.compile import compile_table
from permissions.engine.reasons import Unavailable
from permissions.engine.scopes import build_resource, build_subject
from permissions.engine.types import ModelFacts
from permissions.errors import NotFound
from permissions.revisions import Head, TokenFromFuture
from tests.chaos.consistency import world as w
from tests.chaos.consistency.truth import Truth

WALL_US: Final = 1_790_000_000_000_000  # the database's clock when the boot-time clock is at zero
BOUND_S: Final = 0.5
DIRECT: Final = frozenset("strk")
CHANGE = tuple[int, int, str, str]


class VirtualClock:
    """Boot-time nanoseconds. Real clocks of other kinds are left alone."""

    def __init__(self) -> None:
        self.ns = 1_000_000_000
        self._real = time.clock_gettime_ns

    def __call__(self, clock: int) -> int:
        return self.ns if clock == getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC) else self._real(clock)

    @property
    def wall_us(self) -> int:
        return WALL_US + self.ns // 1_000


@dataclass
class Revision:
    """A commit. `rows` are never changed afterwards."""

    rev: int
    stamp: int
    rows: w.Realm
    objects: list[tuple[str, str]]
    committed_ns: int


@dataclass
class Realm:
    """`revisions`: of the present history, in order; the first is the beginning. `pruned`: the changelog starts after it."""

    realm_id: int
    name: str
    epoch: str
    revisions: list[Revision]
    pruned: int = 0

    @property
    def newest(self) -> Revision:
        return self.revisions[-1]

    @property
    def head(self) -> Head:
        return Head(self.realm_id, self.name, self.epoch, self.newest.rev, self.newest.stamp)

    def at(self, rev: int) -> Revision | None:
        place = rev - self.revisions[0].rev
        return self.revisions[place] if 0 <= place < len(self.revisions) else None


class MemoryDatabase:
    """Stands in for `permissions.cache.database`. `meanwhile` is called once after a read has its snapshot, before it answers."""

    def __init__(self, clock: VirtualClock, draw: random.Random) -> None:
        self.clock = clock
        self.draw = draw
        self.realms: dict[str, Realm] = {}
        self.truth = Truth()
        self.is_away = False
        self.meanwhile: Callable[[str], None] | None = None
        self.epochs_drawn = 0

    def add(self, name: str, steps: list[w.Step]) -> None:
        rows = w.Realm(name)
        rows.apply(steps)
        self.realms[name] = Realm(
            len(self.realms) + 1, name, self._epoch(), [Revision(1, self._stamp(), rows, [], self.clock.ns)]
        )

    def _epoch(self) -> str:
        return uuid.UUID(int=self.draw.getrandbits(128)).hex

    def _stamp(self) -> int:
        return self.draw.getrandbits(31)

    def commit(self, name: str, steps: list[w.Step], more: Sequence[tuple[str, str]] = ()) -> Event | None:
        """The news of it; None where nothing changed. `more`: objects that an operator's flush logs."""
        realm = self.realms[name]
        before = realm.newest
        rows = copy.deepcopy(before.rows)
        rows.apply(steps)
        objects = [*touched(before.rows, rows), *more]
        if not objects:
            return None
        realm.revisions.append(Revision(before.rev + 1, self._stamp(), rows, objects, self.clock.ns))
        direct = tuple(objects) if all(kind in DIRECT for kind, _ in objects) else None
        after = realm.newest
        return Event(realm.epoch, realm.realm_id, name, before.rev, before.stamp, after.rev, after.stamp, direct)

    def lose(self, name: str, number: int) -> None:
        """The last commits are gone, and nothing says so: same epoch."""
        realm = self.realms[name]
        del realm.revisions[max(1, len(realm.revisions) - number) :]
        realm.pruned = min(realm.pruned, realm.newest.rev - 1)

    def new_epoch(self, name: str) -> None:
        self.realms[name].epoch = self._epoch()

    # What the cache asks.

    def _reading(self, realm: Realm, asked: Asked) -> Reading:
        since, newest = asked.since[realm.name], realm.newest
        tail: list[CHANGE] | None = None
        if since < newest.rev:
            first = max(since, realm.pruned)
            tail = [
                (r.rev, r.stamp, kind, object_id) for r in realm.revisions[1:] if r.rev > first for kind, object_id in r.objects
            ]
        found = realm.at(since)
        stamp = found.stamp if found is not None and since > realm.pruned else None
        row = [realm.realm_id, realm.epoch, newest.rev, newest.stamp, BOUND_S, 0.0, self.clock.wall_us, stamp, tail]
        return head_reading(realm.name, row, asked)

    def _pause(self, where: str) -> None:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile(where)

    def _reach(self) -> None:
        if self.is_away:
            raise database.Away("the database does not answer", retry_after_s=1.0)

    def read_heads(self, asked: Asked) -> dict[str, Reading]:
        self._reach()
        found = {name: self._reading(self.realms[name], asked) for name in asked.since if name in self.realms}
        self._pause("heads")
        return found

    def read_snapshots(self, name: str, since: int, subjects: Collection[str], resources: Collection[str]) -> Reading:
        self._reach()
        realm = self.realms[name]
        reading = self._reading(realm, Asked({name: since}))
        rows = realm.newest.rows
        reading.facts = Facts(
            {ref: self.truth.subject(rows, ref) for ref in subjects},
            {ref: self.truth.resource(rows, ref) for ref in resources},
        )
        self._pause("snapshots")
        return reading

    def read_model(self, name: str, since: int | None, previous: ModelFacts | None, *_: Any, **__: Any) -> database.Model:
        self._reach()
        realm = self.realms[name]
        floor = max(realm.pruned + 1, realm.revisions[0].rev) if since is None else since
        model = database.Model(
            self._reading(realm, Asked({name: min(floor, realm.newest.rev) if since is None else since})),
            self.truth.model(realm.newest.rows),
        )
        self._pause("model")
        return model

    def draw_epoch(self, head: Head) -> None:
        self._reach()
        if self.realms[head.name].epoch == head.epoch:
            self.epochs_drawn += 1
            self.new_epoch(head.name)

    def pin_live(self, name: str, requests: Sequence[Any], token: Any, at_us: int | None) -> Pinned:
        self._reach()
        realm = self.realms[name]
        if token is not None and not covers(realm.head, token):
            raise TokenFromFuture("the token names a revision that this realm has not reached")
        rows = realm.newest.rows
        now_us = self.clock.wall_us
        pinned = Pinned(realm.head, compile_table(self.truth.model(rows), cel.language()), now_us, "live")
        for request in requests:
            pinned.subjects[request.subject] = build_subject(self.truth.subject(rows, request.subject), now_us)
            if request.resource is not None:
                pinned.resources[request.resource] = build_resource(self.truth.resource(rows, request.resource))
        return pinned


def touched(before: w.Realm, after: w.Realm) -> list[tuple[str, str]]:
    """Kind and id of what the triggers would log: an edge touches its lower end."""
    found: set[tuple[str, str]] = set()

    def kind_of(ref: str) -> str:
        row = after.subjects.get(ref) or before.subjects.get(ref)
        return "t" if row is not None and row.kind == "team" else "s"

    for ref in {*before.subjects, *after.subjects}:
        if before.subjects.get(ref) != after.subjects.get(ref):
            found.add((kind_of(ref), ref))
    for key in {*before.bindings, *after.bindings}:
        if before.bindings[key] != after.bindings[key]:
            found.add(("m", key[0]) if key[0].endswith(":*") else (kind_of(key[0]), key[0]))
    for edge in {*before.members, *after.members}:
        if before.members.get(edge) != after.members.get(edge):
            found.add((kind_of(edge[1]), edge[1]))
    for ref in {*before.resources, *after.resources}:
        if before.resources.get(ref) != after.resources.get(ref):
            found.add(("r", ref))
    for one, other in (
        (before.roles, after.roles),
        (before.groups, after.groups),
        (before.permissions, after.permissions),
    ):
        for name in {*one, *other}:
            if one.get(name) != other.get(name):
                found.add(("m", name))
    if (before.suspended, before.unknown) != (after.suspended, after.unknown):
        found.add(("m", after.name))
    return sorted(found)


class MemoryLayer:
    """A second layer of sealed bytes, through the real codec. It may lose, keep and bring back whatever it once held."""

    def __init__(self) -> None:
        self.is_up = True
        self.values: dict[bytes, bytes] = {}
        self.everything: list[tuple[bytes, bytes]] = []

    def _set(self, pair: tuple[bytes, bytes] | None) -> None:
        if self.is_up and pair is not None:
            self.values[pair[0]] = pair[1]
            self.everything.append(pair)

    def get_many(self, head: Head, kind: Kind, refs: Collection[str]) -> dict[str, Candidate]:
        found = {}
        for ref in refs if self.is_up else ():
            key = key_of(head, kind, ref)
            if key in self.values:
                try:
                    found[ref] = decode(head, kind, ref, key, self.values[key])
                except Rejected:
                    continue
        return found

    def put_many(self, head: Head, kind: Kind, snapshots: Sequence[Snapshot], stamp: int, now_us: int) -> None:
        for snapshot in snapshots:
            self._set(encode(head, kind, snapshot, snapshot.built_rev, stamp))

    def get_model(self, head: Head) -> tuple[int, int, ModelFacts] | None:
        value = self.values.get(model_key(head)) if self.is_up else None
        try:
            return None if value is None else decode_model(head, model_key(head), value)
        except Rejected:
            return None

    def put_model(self, head: Head, built_rev: int, stamp: int, facts: ModelFacts) -> None:
        self._set(encode_model(head, facts, built_rev, stamp))


@dataclass
class Process:
    """The memory of one process, and the news on their way to it."""

    number: int
    caches: dict[str, Any] = field(default_factory=dict)
    states: dict[str, Any] = field(default_factory=dict)
    news: list[Event] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[None]:
        """The cache's modules hold this process's memory; not to be nested with another's."""
        catch_up._caches.clear()
        catch_up._caches.update(self.caches)
        STATES.clear()
        STATES.update(self.states)
        try:
            yield
        finally:
            self.caches, self.states = dict(catch_up._caches), dict(STATES)
            catch_up._caches.clear()
            STATES.clear()

    def hear(self, event: Event) -> None:
        if not catch_up.apply_event(event):
            with suppress(NotFound, Unavailable):
                catch_up.catch_up(event.name)


def stand_in(put: Callable[[Any, str, Any], object], base: MemoryDatabase, layer: MemoryLayer, clock: VirtualClock) -> None:
    """Puts the doubles in place; the clock wherever a module holds it by name."""
    real = time.clock_gettime_ns
    holders = [module for name, module in sys.modules.items() if name.startswith("permissions.") and module is not None]
    for module in holders:
        if vars(module).get("clock_gettime_ns") is real:
            put(module, "clock_gettime_ns", clock)
    put(time, "clock_gettime_ns", clock)
    for name in ("read_heads", "read_snapshots", "read_model", "draw_epoch"):
        put(database, name, getattr(base, name))
    put(live, "pin", base.pin_live)
    put(l2, "second_layer", lambda: layer)


def fault_of(  # noqa: PLR0917 - one answer in one history
    base: MemoryDatabase, history: Realm, mode: str, op: Any, questions: Any, decisions: Any, start_ns: int
) -> str:
    """What of the contract the answers break if `history` is the one they speak of; empty: nothing. `op`: (token, epoch,
    revision, stamp) of the token that was brought."""
    rev = decisions[0].revision
    if any(decision.revision != rev for decision in decisions):
        return f"C1: one batch, several revisions {[d.revision for d in decisions]}"
    found = history.at(rev)
    if found is None:
        return f"C1: revision {rev} is not of this history (head {history.newest.rev})"
    for question, decision in zip(questions, decisions, strict=True):
        first_us, last_us = base.clock.wall_us - (base.clock.ns - start_ns) // 1_000, base.clock.wall_us
        # One microsecond is the uncertainty of the offset; the law is asked on both sides of it.
        right = base.truth.slots(found.rows, question, first_us - 2, last_us + 2)
        if (decision.allowed, decision.reason) not in right:
            return f"C1: {question} at {rev}: {decision}, the law says {right}"
    if op is not None:
        named = history.at(op[2])
        if named is not None and named.stamp == op[3] and rev < op[2]:
            return f"C2: answered at {rev}, the token is of {op[2]}"
    is_full = mode == "full" or any(question[1] == w.CRITICAL for question in questions)
    must_see_ns = start_ns - (0 if is_full else int(BOUND_S * 1e9))
    least = max((revision.rev for revision in history.revisions if revision.committed_ns < must_see_ns), default=0)
    return f"C3: answered at {rev}, {least} was committed before" if rev < least else ""
