"""Known ids: filters that say of an id whether any row may name it, so that invented ids never reach the database.

"No" means: no row of its own, at the revision the filter stands at. "Yes" means: perhaps. A wrong "no" would deny what was
granted, so there is none: every id of one database snapshot is added, its owner adds what the changelog names since, and nothing
is ever taken out. Source: consistency, section 9; Bloom, "Space/Time Trade-offs in Hash Coding with Allowable Errors", 1970.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable
from typing import Final, NoReturn

from django.db import connection
from rbloom import Bloom

from permissions import selectors
from permissions.errors import NotFound
from permissions.models import Realm, Resource, Subject

# With a quarter of room to grow: 1.8 MB for a million ids. 0.13 % of others are let through in error, 0.4 % once that is full.
MAX_ERROR: Final = 0.004
ROOM: Final = 0.25
MIN_CAPACITY: Final = 4_096
MAX_CAPACITY: Final = 1 << 32
# Bits of an id: rbloom takes the whole part of log2(1 / error).
_BITS_AN_ID: Final = int(-math.log2(MAX_ERROR))
# Refs fetched at a time from the database's cursor.
PART: Final = 10_000


class KnownIds:
    """A set of ids that only grows. `in` takes no lock and any thread may ask while another adds.

    The hash is Python's own of a text (SipHash-1-3, 64 bits, keyed anew by each process): nobody outside can choose ids that
    pass. A filter therefore means nothing in another process, and refuses to travel to one.
    """

    __slots__ = ("_bits", "_lock", "_size", "capacity")

    def __init__(self, capacity: int, ids: Iterable[str] = ()) -> None:
        """`capacity`: how many ids it is to hold before it says `is_crowded`."""
        if type(capacity) is not int or not 1 <= capacity <= MAX_CAPACITY:
            raise ValueError(f"capacity is {capacity!r}; it takes a whole number from 1 to {MAX_CAPACITY}")
        if isinstance(ids, str):
            raise TypeError("ids is one text; it takes a collection of them")
        self.capacity = capacity
        # Never with rbloom's `hash_func`: a hash in Python lets other threads run while the filter is borrowed for writing, and
        # whoever asks meanwhile gets an error ("Already mutably borrowed", rbloom 1.5.4). The built-in one runs in one step.
        self._bits = Bloom(capacity, MAX_ERROR)
        self._size = 0
        self._lock = threading.Lock()
        for ref in ids:
            self.add(ref)

    def add(self, ref: str) -> None:
        if type(ref) is not str:
            ref = _plain(ref)
        with self._lock:
            if ref not in self._bits:
                self._bits.add(ref)
                self._size += 1

    def __contains__(self, ref: str) -> bool:
        if type(ref) is not str:
            ref = _plain(ref)
        return ref in self._bits

    def __len__(self) -> int:
        """How many ids; a little fewer than were added, since one that passes already is not counted."""
        return self._size

    @property
    def is_crowded(self) -> bool:
        """More ids than were planned for: still never a wrong "no", but too many are let through. The owner builds another."""
        return self._size > self.capacity

    @property
    def error_rate(self) -> float:
        """The share of unknown ids that are let through, told by the bits that are set; takes a millisecond or two a megabyte."""
        filled = -math.expm1(-self._bits.approx_items * _BITS_AN_ID / self._bits.size_in_bits)
        return float(filled**_BITS_AN_ID)

    @property
    def size_bytes(self) -> int:
        return self._bits.size_in_bits // 8

    def __reduce__(self) -> NoReturn:
        raise TypeError("known ids cannot be pickled: another process hashes texts otherwise and would know none of them")

    def __repr__(self) -> str:
        return f"<KnownIds {self._size} of {self.capacity}>"


def _plain(ref: object) -> str:
    """The text itself of a subclass, whose own `__hash__` could differ, or run code while the filter is borrowed."""
    if not isinstance(ref, str):
        raise TypeError(f"an id is a text, not {type(ref).__name__}")
    return str.__str__(ref)


def capacity_for(count: int) -> int:
    """With room to grow, so that a rebuild is due after many new ids, not after the first."""
    return max(MIN_CAPACITY, count + math.ceil(count * ROOM))


def load(realm_id: int, *, report: Callable[[int, int], None] | None = None) -> tuple[int, KnownIds, KnownIds]:
    """(revision, subjects, resources): every id that any row of the realm names, read in one database snapshot.

    Memberships, bindings and keys name subjects and resources by foreign key, so their own rows are all there is to read.
    `type:*` is left out: nobody can ask as one. `report(done, total)` after each part; what it raises ends the work.
    Raises NotFound, and RuntimeError inside an open transaction: the revision seen there may be rolled back and used again for
    another change, whose ids would then be missing.
    """
    if connection.in_atomic_block:
        raise RuntimeError("known ids are not loaded inside an open transaction: it may see a revision that is never committed")
    with selectors.one_snapshot():
        rev = Realm.objects.filter(pk=realm_id).values_list("rev", flat=True).first()
        if rev is None:
            raise NotFound(f"there is no realm with the number {realm_id}")
        sources = (
            Subject.objects.filter(realm_id=realm_id).exclude(kind="everyone"),
            Resource.objects.filter(realm_id=realm_id),
        )
        counts = [rows.count() for rows in sources]
        filters, done = [], 0
        for rows, count in zip(sources, counts, strict=True):
            known = KnownIds(capacity_for(count))
            # Through the database's own cursor, in parts: a million ids at once would take a hundred megabytes.
            for read, ref in enumerate(rows.order_by().values_list("ref", flat=True).iterator(chunk_size=PART), start=1):
                known.add(ref)
                if report is not None and read % PART == 0:
                    report(done + read, sum(counts))
            done += count
            filters.append(known)
            if report is not None:
                report(done, sum(counts))
    return rev, filters[0], filters[1]
