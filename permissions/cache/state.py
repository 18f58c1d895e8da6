"""What one process knows of a realm: State, published as one reference, and the window of changes that proves snapshots.

W: all changes up to it are applied (`State.head`). T: when W was last known to be the head (`State.known_head_ns`). B: the
revision a snapshot was read at (`built_rev`). Source: consistency, section 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from permissions.engine import reasons
from permissions.engine.table import RoleSet, RoleTable
from permissions.engine.types import Decision
from permissions.revisions import Head

if TYPE_CHECKING:
    from permissions.cache.realm import RealmCache

# Revisions and ids. At the start the changelog is read back as far, so that values of the second layer can be proven.
MAX_REVISIONS: Final = 50_000
MAX_IDS: Final = 200_000
# More patterns than this in a window would cost every proof more than a refill does.
MAX_FLUSHES: Final = 64
# Role sets whose masks the warm path finds in one step; the masks themselves are the table's, which bounds them by bytes.
MAX_PLAIN: Final = 50_000
# Subjects whose mask the warm path finds in one step: some 1.5 MB for a realm.
MAX_FAST: Final = 16_384
# Resources that are known to keep nothing out.
MAX_OPEN: Final = 65_536


KINDS: Final = frozenset("mstrk*f")


class Change(NamedTuple):
    """A row of the changelog: see `models.Changelog` for the kinds."""

    rev: int
    stamp: int
    kind: str
    object_id: str


class State:
    """A realm at one revision. Immutable, but for `known_head_ns`, which only grows; replaced as a whole.

    `known_head_ns`: boot-time clock, nanoseconds, read before the question was sent. `offset_us`: the database's clock minus the
    boot-time clock. `slack_us`: how far that may be off. `max_age_ns`: how old an answer without a token may be. `grace_ns`: how
    much older while the database is away. `quick`: what a plain question needs, empty where none is plain. `position`: the head's
    key, one object for as long as this State lives. For as long also holds what was found at this revision: `fast`, masks of
    subjects that hold roles at the realm and nothing else; `open`, resources on which these alone decide, 1 for one that no row
    names.
    """

    __slots__ = (
        "absent_resources",
        "absent_subjects",
        "cache",
        "critical",
        "denied",
        "fast",
        "grace_ns",
        "granted",
        "head",
        "is_uniform",
        "known_head_ns",
        "max_age_ns",
        "offset_us",
        "open",
        "plain",
        "position",
        "quick",
        "resources",
        "rev",
        "slack_us",
        "subjects",
        "table",
    )

    def __init__(
        self,
        head: Head,
        table: RoleTable,
        cache: RealmCache,
        *,
        max_age_ns: int,
        grace_ns: int,
        known_head_ns: int,
        offset_us: int,
        slack_us: int,
        like: State | None = None,
    ) -> None:
        """`like`: a State with the same table, which lends what follows from it."""
        self.head = head
        self.rev = head.rev
        self.position = head.key
        self.table = table
        self.cache = cache
        # The layers of its own history: after a reset the cache has others, and a reader of this State must not meet those.
        self.subjects = cache.subjects
        self.resources = cache.resources
        self.absent_subjects = cache.absent_subjects
        self.absent_resources = cache.absent_resources
        self.max_age_ns = max_age_ns
        self.grace_ns = grace_ns
        self.known_head_ns = known_head_ns
        self.offset_us = offset_us
        self.slack_us = slack_us
        self.is_uniform = table.is_uniform
        self.critical = table.critical
        # What everyone holds, or an overlay, takes the walk: then no question is plain.
        is_plain = table.is_plain_realm and not table.everyone
        if like is not None and like.table is table:
            self.quick: Mapping[str, tuple[int, int]] = like.quick
            self.plain: dict[RoleSet, bytes] = like.plain
        else:
            self.quick = _quick(table, like) if is_plain else {}
            self.plain = {}
        self.fast: dict[str, bytes] = {}
        self.open: dict[str, int] = {}
        # The answers to plain questions are the same objects for every caller: to build one took half as long as to decide.
        self.granted = Decision(True, reasons.GRANTED, self.rev, "l1")
        self.denied = Decision(False, reasons.NO_GRANT, self.rev, "l1")

    def keep_fast(self, subject: str, mask: bytes) -> None:
        if len(self.fast) >= MAX_FAST:
            self.fast = {}
        self.fast[subject] = mask

    def keep_open(self, resource: str, *, is_unknown: bool) -> None:
        if len(self.open) >= MAX_OPEN:
            self.open = {}
        self.open[resource] = int(is_unknown)

    def plain_mask(self, roles: RoleSet) -> bytes:
        """What the role set allows, where that alone decides on every code, else nothing; kept in `plain`, where the warm path
        finds it."""
        masks = self.table.masks(roles)
        if len(self.plain) >= MAX_PLAIN:
            self.plain.clear()
        mask = self.plain[roles] = b"" if any(masks.special) else masks.allow
        return mask


def _quick(table: RoleTable, like: State | None) -> Mapping[str, tuple[int, int]]:
    """Places of the codes that a plain question may name: a critical one never is. Taken over where nothing of it changed, since
    40,000 codes take some milliseconds."""
    if not table.critical:
        return table.quick
    if like is not None and like.quick and like.table.quick is table.quick and like.critical == table.critical:
        return like.quick
    return {code: place for code, place in table.quick.items() if code not in table.critical}


@dataclass(frozen=True, slots=True)
class Flush:
    """An operator's invalidation: `tag` says what `value` names (see `models.Changelog`, kind f)."""

    rev: int
    tag: str
    value: str


class Window:
    """The changes of (floor, W] by id, and the stamps of their revisions. Its owner holds the realm's lock for every call.

    A snapshot read at B is proven unchanged up to W where floor <= B <= W and nothing it was read through changed after B.
    """

    __slots__ = ("_last", "floor", "flushes", "stamps")

    def __init__(self, floor: int, stamp: int) -> None:
        self.floor = floor
        self.stamps: dict[int, int] = {floor: stamp}
        self.flushes: list[Flush] = []
        self._last: dict[tuple[str, str], int] = {}

    def restart(self, floor: int, stamp: int) -> None:
        """Everything before `floor` can be proven no more."""
        self.floor = floor
        self.stamps = {floor: stamp}
        self.flushes = []
        self._last = {}

    def note(self, change: Change) -> None:
        self.stamps[change.rev] = change.stamp
        if change.kind == "*":
            self.restart(change.rev, change.stamp)
        elif change.kind == "f":
            tag, _, value = change.object_id.partition(":")
            self.flushes.append(Flush(change.rev, tag, value))
        else:
            key = (change.kind, change.object_id)
            self._last.pop(key, None)  # to the end: the front holds what changed longest ago
            self._last[key] = change.rev

    def trim(self) -> None:
        """Keeps the window within its bounds by raising the floor."""
        floor = self.floor
        while len(self._last) > MAX_IDS:
            oldest = next(iter(self._last))
            floor = max(floor, self._last.pop(oldest))
        while len(self.stamps) > MAX_REVISIONS:
            floor = max(floor, next(iter(self.stamps)))
            self.stamps.pop(next(iter(self.stamps)))
        if len(self.flushes) > MAX_FLUSHES:
            floor = max(floor, self.flushes[-1].rev)
        if floor > self.floor:
            self.floor = floor
            self.flushes = [flush for flush in self.flushes if flush.rev > floor]

    def last(self, kind: str, object_id: str) -> int:
        """The newest revision of the window that changed it; 0 for none."""
        return self._last.get((kind, object_id), 0)

    def changed_since(self, rev: int, kinds: Iterable[str]) -> dict[str, set[str]]:
        """Ids by kind that changed after `rev`."""
        wanted = set(kinds)
        found: dict[str, set[str]] = {kind: set() for kind in wanted}
        for (kind, object_id), last in reversed(self._last.items()):
            if last <= rev:
                break
            if kind in wanted:
                found[kind].add(object_id)
        return found
