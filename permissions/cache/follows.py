"""Follows: which ids come after which in the sessions of callers; counts that fade, in bounded memory."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Final, Generic, TypeVar

V = TypeVar("V")

# Ids that a session's newest one is linked with.
LAST: Final = 8
SUCCESSORS: Final = 4
PAIRS: Final = 50_000
SESSIONS: Final = 10_000
# A successor is predicted once it was seen twice, and a tenth as often as the likeliest: the fourth step of a walk is counted a
# quarter as often as the second.
MIN_SEEN: Final = 2
MIN_SHARE: Final = 0.1
# Of the foreign ids that meet a full set of successors, one in so many makes the set fade: stray visits are forgotten, and a new
# habit takes the place of an old one within some dozens of visits.
FADE_EVERY: Final = 4


class _Recent(Generic[V]):
    """A dict of the most recently used: at most `size`, in two halves, the older of which is dropped whole."""

    __slots__ = ("_half", "_old", "young")

    def __init__(self, size: int) -> None:
        self._half = max(1, size // 2)
        self.young: dict[object, V] = {}
        self._old: dict[object, V] = {}

    def get(self, key: object) -> V | None:
        found = self.young.get(key)
        if found is None:
            found = self._old.pop(key, None)
            if found is not None:
                self.put(key, found)
        return found

    def peek(self, key: object) -> V | None:
        found = self.young.get(key)
        return found if found is not None else self._old.get(key)

    def put(self, key: object, value: V) -> None:
        if len(self.young) >= self._half:
            self._old, self.young = self.young, {}
        self.young[key] = value

    def values(self) -> list[V]:
        return [*self.young.values(), *self._old.values()]

    def items(self) -> list[tuple[object, V]]:
        return [*self.young.items(), *self._old.items()]


class Follows:
    """The owner holds a lock for every call."""

    __slots__ = ("_draw", "_foreign", "_sessions", "_successors")

    def __init__(self) -> None:
        self._sessions: _Recent[list[str]] = _Recent(SESSIONS)
        # An id that was followed once holds that one follower alone: most never get a second, and a dict for each would be most
        # of the cost of a stream without habits.
        self._successors: _Recent[dict[str, int] | str] = _Recent(PAIRS // SUCCESSORS)
        self._foreign = 0
        self._draw = 1

    def record(self, session: object, ref: str) -> None:
        """Links `ref` with the id before it each time, and in half of the cases with one of those before that: near ones
        count more, and the cost stays the same however long the session."""
        last = self._sessions.young.get(session) or self._sessions.get(session)
        if last is None:
            self._sessions.put(session, [ref])
            return
        before = last[-1]
        if before == ref:
            return
        self._link(before, ref)
        known = len(last)
        if known > 1:
            # Drawn, not counted: sessions that walk in step would meet the same turn at the same step each time.
            self._draw = draw = (self._draw * 69_069 + 1) & 0xFFFF_FFFF
            if draw & 0x1_0000 and (before := last[(draw >> 17) % (known - 1)]) != ref:
                self._link(before, ref)
            if known >= LAST:
                del last[0]
        last.append(ref)

    def _link(self, before: str, ref: str) -> None:
        successors = self._successors.young.get(before) or self._successors.get(before)
        if successors is None:
            self._successors.put(before, ref)
        elif isinstance(successors, str):
            self._successors.young[before] = {ref: 2} if successors == ref else {successors: 1, ref: 1}
        elif ref in successors:
            successors[ref] += 1
        elif len(successors) < SUCCESSORS:
            successors[ref] = 1
        else:
            self._foreign += 1
            if self._foreign % FADE_EVERY == 0:
                self._fade(successors, ref)

    def _fade(self, successors: dict[str, int], ref: str) -> None:
        for held, seen in list(successors.items()):
            if seen > 1:
                successors[held] = seen // 2
            else:
                del successors[held]
        if len(successors) < SUCCESSORS:
            successors[ref] = 1

    def after(self, ref: str) -> list[str]:
        """What follows `ref`, the likeliest first."""
        successors = self._successors.peek(ref)
        if successors is None or isinstance(successors, str):
            return []
        least = max(MIN_SEEN, max(successors.values()) * MIN_SHARE)
        likely = [held for held, seen in successors.items() if seen >= least]
        return sorted(likely, key=lambda held: -successors[held])

    def habits(self, most: int) -> dict[str, dict[str, int]]:
        """What follows what, with how often, where that is enough to predict; the `most` seen oftenest."""
        found = {
            str(before): likely
            for before, successors in self._successors.items()
            if not isinstance(successors, str) and (likely := {ref: seen for ref, seen in successors.items() if seen >= MIN_SEEN})
        }
        ranked = sorted(found, key=lambda before: -max(found[before].values()))
        return {before: found[before] for before in ranked[:most]}

    def take_up(self, habits: Mapping[str, Mapping[str, int]]) -> int:
        """Habits that others learnt, where nothing is known yet; how many pairs."""
        taken = 0
        for before, successors in habits.items():
            if self._successors.peek(before) is None:
                self._successors.put(before, dict(islice(successors.items(), SUCCESSORS)))
                taken += min(len(successors), SUCCESSORS)
        return taken

    @property
    def pairs(self) -> int:
        return sum(1 if isinstance(held, str) else len(held) for held in self._successors.values())
