"""Cover, judged on patterns: whether what one holds is at least as wide as what is to be handed out. Pure.

Source: semantics, "Handing out": what is held with a condition, an end or `propagate: false` covers only a grant at least as
narrow. In doubt the answer is "not covered": that refuses a write, and never hands anything out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, NamedTuple

from permissions.engine.patterns import covers
from permissions.engine.platform import PREFIX
from permissions.engine.types import BindingFact, MembershipFact

EVER: Final = 1 << 63


class Window(NamedTuple):
    """[start, until) in microseconds since the epoch; the whole of time where nothing bounds it."""

    start: int = -EVER
    until: int = EVER

    def meet(self, other: Window) -> Window:
        return Window(max(self.start, other.start), min(self.until, other.until))

    def holds_in(self, other: Window) -> bool:
        """Whether this window lies inside the other."""
        return self.start >= other.start and self.until <= other.until

    def is_over(self, now_us: int) -> bool:
        return self.until <= now_us or self.start >= self.until


ALWAYS: Final = Window()


def window_of(start_us: int | None, until_us: int | None) -> Window:
    return Window(-EVER if start_us is None else start_us, EVER if until_us is None else until_us)


@dataclass(frozen=True, slots=True)
class Line:
    """A pattern with everything that narrows it. All of `conditions` must be true; what `excludes` match is not part of it.

    `obligations` come with every decision it gives. They bound no cover, but a line that sheds one is another.
    """

    pattern: str
    conditions: frozenset[str] = frozenset()
    window: Window = ALWAYS
    excludes: frozenset[str] = frozenset()
    obligations: frozenset[str] = frozenset()

    def within(self, condition: str, window: Window, obligations: frozenset[str] = frozenset()) -> Line:
        """The line as a binding gives it: under the binding's condition, inside its window and with its obligations."""
        if not condition and window == ALWAYS and obligations <= self.obligations:
            return self
        conditions = self.conditions | {condition} if condition else self.conditions
        return replace(self, conditions=conditions, window=self.window.meet(window), obligations=self.obligations | obligations)

    def without(self, excludes: Iterable[str]) -> Line | None:
        """The line less these patterns; None where nothing is left of it."""
        biting = frozenset(e for e in excludes if meets(e, self.pattern))
        if not biting:
            return self
        if any(covers(e, self.pattern) for e in biting):
            return None
        return replace(self, excludes=self.excludes | biting)


@dataclass(frozen=True, slots=True)
class Give:
    """A line at a node (the empty text is the realm), with what lies below the node or without."""

    at: str
    below: bool
    line: Line


def is_within(narrow: Line, wide: Line) -> bool:
    """Whether `wide` gives everything that `narrow` gives, whenever it does."""
    return (
        wide.conditions <= narrow.conditions
        and narrow.window.holds_in(wide.window)
        and covers(wide.pattern, narrow.pattern)
        and all(any(covers(own, e) for own in narrow.excludes) for e in wide.excludes if meets(e, narrow.pattern))
    )


_TAIL: Final = "**"


def _tokens(pattern: str) -> tuple[str, ...]:
    return (*pattern[:-1], _TAIL) if pattern == "*" or pattern.endswith(":*") else tuple(pattern)


@lru_cache(maxsize=20_000)
def meets(one: str, other: str) -> bool:
    """Whether some code may match both patterns. May say yes where no real code does, never no where one does."""
    if one.startswith(PREFIX) != other.startswith(PREFIX):
        return False
    a, b = _tokens(one), _tokens(other)
    seen = {(0, 0)}
    todo = [(0, 0)]
    while todo:
        i, j = todo.pop()
        if i == len(a) and j == len(b):
            return True
        following: set[tuple[int, int]] = set()
        if i < len(a) and a[i] == "*":
            following.add((i + 1, j))
        if j < len(b) and b[j] == "*":
            following.add((i, j + 1))
        if i < len(a) and j < len(b) and _share_a_letter(a[i], b[j]):
            following |= {(p, q) for p in _after(a[i], i) for q in _after(b[j], j)}
        for place in following - seen:
            seen.add(place)
            todo.append(place)
    return False


def _share_a_letter(one: str, other: str) -> bool:
    if _TAIL in (one, other):
        return True
    wild = ("*", "?")
    if one in wild and other in wild:
        return True
    if one in wild:
        return other != ":"
    if other in wild:
        return one != ":"
    return one == other


def _after(part: str, place: int) -> tuple[int, ...]:
    """Where a pattern may be once this part of it has read a letter."""
    if part == "*":
        return (place,)
    return (place, place + 1) if part == _TAIL else (place + 1,)


def ways_up(ref: str, memberships: Iterable[MembershipFact]) -> dict[str, frozenset[Window]]:
    """Every team above `ref`, with the windows in which it belongs there: one for each way, those inside another left out.

    `ref` itself is among them, always. A cycle that slipped past the write's check ends, since a window never grows on its way.
    """
    above: dict[str, list[MembershipFact]] = {}
    for edge in memberships:
        above.setdefault(edge.member, []).append(edge)
    found: dict[str, set[Window]] = {ref: {ALWAYS}}
    todo = [(ref, ALWAYS)]
    while todo:
        member, window = todo.pop()
        for edge in above.get(member, ()):
            narrowed = window.meet(window_of(edge.valid_from_us, edge.valid_until_us))
            known = found.setdefault(edge.team, set())
            if narrowed.start >= narrowed.until or any(narrowed.holds_in(other) for other in known):
                continue
            known -= {other for other in known if other.holds_in(narrowed)}
            known.add(narrowed)
            todo.append((edge.team, narrowed))
    return {team: frozenset(windows) for team, windows in found.items() if windows}


@dataclass(frozen=True, slots=True)
class Content:
    """What a role, or the two lists of a binding, gives and denies."""

    allow: frozenset[Line] = frozenset()
    deny: frozenset[Line] = frozenset()


def content_of_lists(binding: BindingFact) -> Content:
    return Content(frozenset(map(Line, binding.allow)), frozenset(map(Line, binding.deny)))


@dataclass(frozen=True, slots=True)
class Held:
    """A line held at a node. `place`: how late in the walk of `overlay` it comes: (place in the chain, tier)."""

    line: Line
    below: bool
    place: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Denied:
    """A deny that bites at a node, or (`deeper`) somewhere below it."""

    pattern: str
    place: tuple[int, int]
    deeper: bool = False


@dataclass(frozen=True, slots=True)
class HeldAt:
    """All that one holds at one node. `overlay`: a deny takes nothing from an allow that comes after it."""

    lines: tuple[Held, ...] = ()
    denies: tuple[Denied, ...] = ()
    overlay: bool = False

    def covers(self, give: Give, requires: Mapping[str, frozenset[str]]) -> bool:
        """Whether the give is held, and whatever its codes require: without that, the holder of the code could not use it."""
        if not self._covers(give):
            return False
        for code, required in requires.items():
            if not covers(give.line.pattern, code) or any(covers(e, code) for e in give.line.excludes):
                continue
            for other in required:
                if not self._covers(replace(give, line=replace(give.line, pattern=other, excludes=frozenset()))):
                    return False
        return True

    def _covers(self, give: Give) -> bool:
        return any(
            is_within(give.line, held.line) and (held.below or not give.below) and not self._is_denied(give, held)
            for held in self.lines
        )

    def _is_denied(self, give: Give, held: Held) -> bool:
        return any(
            (give.below or not denied.deeper)
            and not (self.overlay and not denied.deeper and denied.place <= held.place)
            and meets(denied.pattern, give.line.pattern)
            and not any(covers(e, denied.pattern) for e in give.line.excludes)
            for denied in self.denies
        )
