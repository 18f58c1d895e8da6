"""The tail of what happens: events read once, in order, from every store, and kept for those who come back.

Each store has ids of its own, so each has a place of its own to which it was read.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from controlplane.live.port import CLEARED, Event, LiveStore, event_id, split_id

# Events that a process holds for those who come back: what a page may be sent at once.
RING: Final = 2_000
# Events read at once, and at most so many times a second.
BATCH: Final = 500
# Milliseconds behind the newest at which a hub gives up reading one after the other: half of what a stream holds of a flood.
BEHIND_MS: Final = 2_000
# Milliseconds: longer than a statement may take to commit.
LATE_MS: Final = 2_000
# What another store holds of events from before is told to nobody, when the hub turns to it.
NEWS_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Replay:
    """`is_gap`: something between the id that was named and the first of `events` is not there any more."""

    events: list[Event]
    is_gap: bool


@dataclass(frozen=True, slots=True)
class News:
    """What one reading found to be told. `lost`: the id behind which events were dropped unread, empty where none were;
    `is_more`: the reading was full."""

    events: list[Event] = field(default_factory=list)
    lost: str = ""
    is_more: bool = False


class Tail:
    """Read by one thread; any may ask for a replay."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._ring: deque[Event] = deque(maxlen=RING)
        self._held: dict[tuple[str, str], None] = {}
        self._places: dict[str, str] = {}
        self._has_looked = False

    def replay(self, after: str = "", limit: int = RING) -> Replay:
        """Raises ValueError for what is no id."""
        if after:
            split_id(after)
        with self._lock:
            held = list(self._ring)
        if not after:
            return Replay(held[-limit:] if limit > 0 else [], False)
        # By place where the id is known: what came from another store meanwhile may have a smaller one.
        place = next((place for place, event in enumerate(held) if event["id"] == after), None)
        found = held[place + 1 :] if place is not None else [event for event in held if event["id"] > after]
        # Newer than all that is known: of a store that began anew under a clock that was set back.
        is_gap = place is None and (not held or held[0]["id"] > after or all(event["id"] < after for event in held))
        if len(found) > limit:  # the newest are wanted, and it is said that there were more
            return Replay(found[-limit:] if limit > 0 else [], True)
        return Replay(found, is_gap)

    def read(self, store: LiveStore) -> News:
        """The first reading of all tells nothing: it is what was there before. Raises LiveError."""
        # Each store has ids of its own: what one holds is no measure for another.
        name = store.name
        after = self._places.get(name, "")
        found = store.events(after, BATCH) if after else store.events(limit=RING)
        late = store.events(_before(after), BATCH) if after and name == "rows" else []
        if after and not found and not late and (newest := store.events(limit=1)) and newest[-1]["id"] < after:
            # It lost its data and counts by another clock, or one that was set back: what comes would stay behind our place.
            after, found = "", store.events(limit=RING)
        is_behind = bool(after) and len(found) == BATCH and self._is_far_behind(store, found[-1]["id"])
        lost = ""
        if is_behind:
            # In its turn, what a flood left in the store would be dropped there before it is read, and nobody would be told.
            first, newest = found[0]["id"], store.events(limit=RING)
            found = [event for event in newest if event["id"] > after]
            lost = after if newest[0]["id"] > first else ""
        is_first, self._has_looked = not self._has_looked, True
        if not found and not late:
            return News()
        if found:
            self._places[name] = found[-1]["id"]
        if not after and not is_first:
            since = time.time() - NEWS_S
            found = [event for event in found if event.get("at", 0) >= since]
        if lost:
            with self._lock:  # who asks for what is behind an older id must hear of the hole too
                self._ring.clear()
        new = self._keep(name, [*late, *found])
        is_more = bool(after) and len(found) == BATCH
        return News([] if is_first else new, lost, is_more)

    def _is_far_behind(self, store: LiveStore, last: str) -> bool:
        newest = store.events(limit=1)
        return bool(newest) and split_id(newest[-1]["id"])[0] - split_id(last)[0] > BEHIND_MS

    def _keep(self, store: str, found: Sequence[Event]) -> list[Event]:
        new = []
        with self._lock:
            for event in found:
                # Two stores may give the same id to two events.
                key = (store, event["id"])
                if key in self._held:
                    continue
                if event.get("name") == CLEARED:
                    self._ring.clear()
                    self._held.clear()
                self._ring.append(event)
                self._held[key] = None
                # A little more than the ring: what is read once more must be known, though it is shown no longer.
                while len(self._held) > 2 * RING:
                    del self._held[next(iter(self._held))]
                new.append(event)
        return new


def _before(after: str) -> str:
    """Of two writers of rows the later one may commit first: what was written lately is read once more."""
    at_ms, _ = split_id(after)
    return event_id(max(0, at_ms - LATE_MS), 0)
