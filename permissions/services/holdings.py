"""What one subject holds at a node, as lines: the author of a write, judged before it, and the administrators of a realm."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cached_property

from permissions import selectors
from permissions.engine import names
from permissions.engine.patterns import matches
from permissions.engine.types import REALM, BindingFact, SubjectFacts
from permissions.models import PermissionRequirement, Realm
from permissions.services.contents import role_contents
from permissions.services.cover import (
    ALWAYS,
    Content,
    Denied,
    Give,
    Held,
    HeldAt,
    Line,
    Window,
    content_of_lists,
    ways_up,
    window_of,
)

_NOTHING = Content()


def now_us() -> int:
    known = selectors.database_now_us()
    return time.time_ns() // 1_000 if known is None else known


def required_by_code(realm: Realm) -> dict[str, frozenset[str]]:
    """Code → everything it requires, directly or through another."""
    direct: dict[str, set[str]] = defaultdict(set)
    rows = PermissionRequirement.objects.filter(permission__realm=realm)
    for code, required in rows.values_list("permission__code", "required__code"):
        direct[code].add(required)
    closed = {}
    for code in direct:
        seen: set[str] = set()
        todo = [code]
        while todo:
            new = direct.get(todo.pop(), set()) - seen
            seen |= new
            todo += new
        closed[code] = frozenset(seen)
    return closed


class Chains:
    """Scopes from the realm down to a node, with the place from which on allows reach it; each read once, and kept as it was."""

    def __init__(self, realm: Realm) -> None:
        self._realm = realm
        self._known: dict[str, tuple[list[str], int]] = {REALM: ([REALM], 0)}

    def read(self, nodes: Iterable[str]) -> None:
        new = set(nodes) - self._known.keys()
        if not new:
            return
        for ref, facts in selectors.resource_facts(self._realm.pk, new).items():
            private = [place for place, node in enumerate(facts.chain, 1) if not node.inherit]
            self._known[ref] = [REALM, *(node.ref for node in facts.chain)], private[-1] if private else 0

    def of(self, node: str) -> tuple[list[str], int]:
        self.read([node])
        return self._known[node]


class Holdings:
    """A subject's lines, read once. Read before the write, it stays the answer to what the author held before it.

    `everyone` False leaves out what `type:*` is given, since nobody in particular was; what it is denied still counts.
    """

    def __init__(self, realm: Realm, ref: str, *, everyone: bool = True) -> None:
        self.realm = realm
        self.ref = ref
        self.now_us = now_us()
        self.facts: SubjectFacts = selectors.subject_facts(realm.pk, [ref])[ref]
        self.is_active = self.facts.known and self.facts.active and not self.facts.locked
        self._ways = ways_up(ref, self.facts.memberships)
        bindings: list[BindingFact] = [b for b in self.facts.bindings if b.holder in self._ways]
        bindings += everyone_bindings(realm, ref)
        self._with_everyone = everyone
        self._bindings = bindings if self.is_active else []
        self._contents = role_contents(realm, {b.role for b in self._bindings if b.role is not None})
        self.chains = Chains(realm)
        self._at: dict[str, HeldAt] = {}

    @cached_property
    def requires(self) -> Mapping[str, frozenset[str]]:
        return required_by_code(self.realm)

    def prepare(self, nodes: Iterable[str]) -> None:
        """Reads the nodes' chains now; what is asked later answers from them, whatever a move has changed since."""
        wanted = list(nodes)
        self.chains.read([*wanted, *(b.scope for b in self._bindings if self._content(b).deny)])
        for at in wanted:
            self.at(at)

    def at(self, at: str) -> HeldAt:
        known = self._at.get(at)
        if known is None:
            known = self._at[at] = self._held_at(at)
        return known

    def covers(self, give: Give) -> bool:
        return self.at(give.at).covers(give, self.requires)

    def holds(self, code: str, at: str) -> bool | None:
        """Whether the code is held there, as far as lines can tell: None where a condition decides."""
        here = self.at(at)
        if here.covers(Give(at, below=False, line=Line(code, window=Window(self.now_us, self.now_us + 1))), {}):
            return True
        touching = any(_reaches(held.line, code) for held in here.lines)
        return None if touching else False

    def holds_below(self, code: str, at: str) -> bool:
        """Of a code that is held here: whether it is held on everything below as well, private nodes aside."""
        here = self.at(at)
        if any(denied.deeper and matches(denied.pattern, code) for denied in here.denies):
            return False
        return any(held.below and _reaches(held.line, code) for held in here.lines)

    def _content(self, binding: BindingFact) -> Content:
        if binding.role is not None:
            return self._contents.get(binding.role, _NOTHING)
        return content_of_lists(binding)

    def _held_at(self, at: str) -> HeldAt:
        chain, open_from = self.chains.of(at)
        places = {scope: place for place, scope in enumerate(chain)}
        lines: list[Held] = []
        denies: list[Denied] = []
        for binding in self._bindings:
            place = places.get(binding.scope)
            content = self._content(binding)
            if place is None:
                if content.deny and self._lies_below(binding.scope, at):
                    denies += [Denied(pattern, (0, 0), deeper=True) for pattern in self._denied(binding)]
                continue
            if not binding.propagate and binding.scope != at:
                continue
            tier = self._tier(binding)
            denies += [Denied(pattern, (place, tier)) for pattern in self._denied(binding)]
            if place < open_from or (tier == 0 and not self._with_everyone):
                continue
            for window in self._windows(binding):
                lines += [
                    Held(given, binding.propagate, (place, tier))
                    for line in content.allow
                    if (given := line.within(binding.condition, window)).window.start <= self.now_us < given.window.until
                ]
        # What holds now may have begun yesterday; a grant of the past is nobody's concern, so the start bounds nothing here.
        begun = tuple(Held(_begun(held.line), held.below, held.place) for held in lines)
        return HeldAt(begun, tuple(denies), overlay=self._is_overlay(at))

    def _windows(self, binding: BindingFact) -> list[Window]:
        own = window_of(binding.valid_from_us, binding.valid_until_us)
        ways = self._ways.get(binding.holder, frozenset({ALWAYS}))
        return [window for way in ways if not (window := own.meet(way)).is_over(self.now_us)]

    def _denied(self, binding: BindingFact) -> set[str]:
        """A deny counts whatever its condition, and from before it begins: in doubt the author does not hold the code."""
        return {
            line.pattern
            for line in self._content(binding).deny
            for window in self._windows(binding)
            if not line.window.meet(window).is_over(self.now_us)
        }

    def _tier(self, binding: BindingFact) -> int:
        if names.split_ref(binding.holder)[1] == names.EVERYONE_ID:
            return 0
        return 1 if binding.role is not None or binding.holder != self.ref else 2

    def _lies_below(self, scope: str, at: str) -> bool:
        return scope != REALM and at in self.chains.of(scope)[0]

    def _is_overlay(self, at: str) -> bool:
        """Only where the whole realm is overlay: below a node there may be resources of any type."""
        types = {options["combining"] for options in self.realm.resource_types.values()}
        return types | {self.realm.combining} == {"overlay"}


def _begun(line: Line) -> Line:
    return Line(line.pattern, line.conditions, Window(until=line.window.until), line.excludes)


def _reaches(line: Line, code: str) -> bool:
    return matches(line.pattern, code) and not any(matches(e, code) for e in line.excludes)


def everyone_bindings(realm: Realm, ref: str) -> list[BindingFact]:
    kind = names.split_ref(ref)[0]
    holder = f"{kind}:{names.EVERYONE_ID}"
    return list(selectors.subject_facts(realm.pk, [holder])[holder].bindings)
