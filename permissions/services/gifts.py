"""What a write gives: a picture of the grants it touches, before and after, and what is new between the two.

A grant reaches someone along three things: the memberships above them, a binding with its role, and the tree between its scope
and the node. Whatever is written, what anyone gains has a new one among the three. Each is pictured by itself, so the kinds of
writes need no rules of their own. A deny that reaches no longer is pictured as a gain of what it denied.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from permissions import selectors
from permissions.engine.types import REALM, BindingFact
from permissions.models import Realm, RoleBinding, RoleGroup
from permissions.selectors import to_us
from permissions.services.contents import role_contents, with_heirs
from permissions.services.cover import ALWAYS, Content, Give, Line, Window, is_within, ways_up, window_of
from permissions.services.holdings import Chains, everyone_bindings
from permissions.services.specs import parts

Source = str | tuple[tuple[str, ...], tuple[str, ...]]


@dataclass(slots=True)
class Touch:
    """What a write is about to touch, as it is called before the write and after it."""

    holders: set[str] = field(default_factory=set)  # whose own bindings change
    members: set[str] = field(default_factory=set)  # whose memberships change
    revived: set[str] = field(default_factory=set)  # who may become active, with all they have
    roles: set[int] = field(default_factory=set)
    groups: set[int] = field(default_factory=set)
    nodes: set[str] = field(default_factory=set)  # that move, or whose `inherit` changes
    scopes: set[str] = field(default_factory=set)  # where something may be given that no binding touched before hangs on


class Head(NamedTuple):
    """One way in which a binding reaches someone. What it carries is the content of its source: a role's name, or two lists."""

    who: str
    at: str
    below: bool
    condition: str
    window: Window
    source: Source


class Gain(NamedTuple):
    """`who` gains `give`; `is_lifted`: because a deny of it no longer reaches."""

    who: str
    give: Give
    is_lifted: bool


@dataclass(slots=True)
class Picture:
    """`reach`: node → each scope from the realm down to it → whether allows from there reach it (denies always do)."""

    heads: set[Head] = field(default_factory=set)
    contents: dict[Source, Content] = field(default_factory=dict)
    reach: dict[str, dict[str, bool]] = field(default_factory=dict)

    def scopes(self) -> set[str]:
        return {head.at for head in self.heads}


def picture_of(realm: Realm, touch: Touch) -> Picture:
    picture = Picture()
    for ref in touch.members | touch.revived:
        picture.heads.update(_heads_of_subject(realm, ref, everyone=ref in touch.revived))
    for part in parts(touch.holders):
        picture.heads.update(_own_heads(realm, subject__ref__in=part))
    for part in parts(_touched_roles(touch)):
        picture.heads.update(_own_heads(realm, role__in=part))
    picture.contents = _contents(realm, picture.heads)
    chains = Chains(realm)
    for node in touch.nodes:
        scopes, open_from = chains.of(node)
        picture.reach[node] = {scope: place >= open_from for place, scope in enumerate(scopes)}
    return picture


def _touched_roles(touch: Touch) -> set[int]:
    roles = set(touch.roles)
    for part in parts(touch.groups):
        roles |= set(RoleGroup.objects.filter(group__in=part).values_list("role_id", flat=True))
    return with_heirs(roles) if roles else roles


def _own_heads(realm: Realm, **where: Any) -> Iterator[Head]:
    """The bindings that match, each as it reaches its own holder."""
    rows: Any = RoleBinding.objects.filter(realm=realm, **where).order_by()
    for who, role, allow, deny, scope, condition, start, end, below in rows.values_list(
        "subject__ref", "role__name", "allow", "deny", "scope__ref", "condition", "valid_from", "valid_until", "propagate"
    ):
        source: Source = role if role is not None else (tuple(allow), tuple(deny))
        window = window_of(to_us(start), to_us(end))
        yield Head(who, REALM if scope is None else scope, below, condition, window, source)


def _heads_of_subject(realm: Realm, ref: str, *, everyone: bool) -> Iterator[Head]:
    """All that reaches an active subject, by itself and by its teams. What `type:*` gives was handed out to whoever comes, so a
    new subject gains nothing by it here; one that is revived does."""
    facts = selectors.subject_facts(realm.pk, [ref])[ref]
    if not facts.known or not facts.active or facts.locked:
        return
    ways = ways_up(ref, facts.memberships)
    bindings: list[BindingFact] = [b for b in facts.bindings if b.holder in ways]
    bindings += everyone_bindings(realm, ref) if everyone else []
    for binding in bindings:
        own = window_of(binding.valid_from_us, binding.valid_until_us)
        source: Source = binding.role if binding.role is not None else (binding.allow, binding.deny)
        for way in ways.get(binding.holder, frozenset({ALWAYS})):
            yield Head(ref, binding.scope, binding.propagate, binding.condition, own.meet(way), source)


def _contents(realm: Realm, heads: Iterable[Head]) -> dict[Source, Content]:
    sources = {head.source for head in heads}
    found: dict[Source, Content] = {}
    found.update(role_contents(realm, {source for source in sources if isinstance(source, str)}))
    for source in sources:
        if not isinstance(source, str):
            allow, deny = source
            found[source] = Content(frozenset(map(Line, allow)), frozenset(map(Line, deny)))
    return found


def gains_between(realm: Realm, before: Picture, after: Picture, now_us: int) -> Iterator[Gain]:
    """Everything that someone has after the write and had not before it."""
    nothing = Content()
    for head in after.heads:
        fresh = after.contents.get(head.source, nothing).allow
        if head in before.heads:
            fresh = fresh - before.contents.get(head.source, nothing).allow
        yield from _gains(head, fresh, now_us, is_lifted=False)
    for head in before.heads:
        gone = before.contents.get(head.source, nothing).deny
        if head in after.heads:
            gone = gone - after.contents.get(head.source, nothing).deny
        yield from _gains(head, gone, now_us, is_lifted=True)
    for node, scopes in after.reach.items():
        yield from _gains_of_node(realm, node, before.reach.get(node, {}), scopes, now_us)


def _gains(head: Head, lines: Iterable[Line], now_us: int, *, is_lifted: bool) -> Iterator[Gain]:
    for line in lines:
        given = line.within(head.condition, head.window)
        if not given.window.is_over(now_us):
            yield Gain(head.who, Give(head.at, head.below, given), is_lifted)


def _gains_of_node(realm: Realm, node: str, before: dict[str, bool], after: dict[str, bool], now_us: int) -> Iterator[Gain]:
    """What comes to a node from scopes whose allows reach it newly, and what denies of scopes that no longer do held back."""
    opened = {scope for scope, is_open in after.items() if is_open and not before.get(scope, False)} - {node}
    closed = set(before) - set(after) - {node}
    heads = set(_heads_at(realm, opened)), set(_heads_at(realm, closed))
    contents = _contents(realm, heads[0] | heads[1])
    for is_lifted, found in enumerate(heads):
        for head in found:
            content = contents[head.source]
            lines = content.deny if is_lifted else content.allow
            yield from _gains(head._replace(at=node, below=True), lines, now_us, is_lifted=bool(is_lifted))


def _heads_at(realm: Realm, scopes: Iterable[str]) -> Iterator[Head]:
    """Bindings at these scopes that reach what lies below them."""
    wanted = set(scopes)
    if REALM in wanted:
        yield from _own_heads(realm, scope__isnull=True, propagate=True)
    for part in parts(wanted - {REALM}):
        yield from _own_heads(realm, scope__ref__in=part, propagate=True)


class Had:
    """What those who gain had before, so that nobody is asked to cover what is no news: the same right, moved or narrowed."""

    def __init__(self, before: Picture, after: Picture, chains_before: Chains, chains_after: Chains) -> None:
        self._chains = (chains_before, chains_after)
        self._pictures = (before, after)
        self._heads: tuple[dict[str, list[Head]], ...] = (defaultdict(list), defaultdict(list))
        for picture, heads in zip(self._pictures, self._heads, strict=True):
            for head in picture.heads:
                heads[head.who].append(head)

    def knows(self, gain: Gain) -> bool:
        """For a grant: had before as wide. For a lifted deny: one as wide still reaches."""
        which = int(gain.is_lifted)
        picture = self._pictures[which]
        for head in self._heads[which].get(gain.who, ()):
            if not self._spans(head, gain):
                continue
            content = picture.contents.get(head.source, Content())
            lines = content.deny if gain.is_lifted else content.allow
            if any(is_within(gain.give.line, line.within(head.condition, head.window)) for line in lines):
                return True
        return False

    def _spans(self, head: Head, gain: Gain) -> bool:
        """Whether what hangs at the head's scope reaches the gain's node, and all below it where the gain does."""
        at = gain.give.at
        if head.at == at:
            return head.below or not gain.give.below
        if not head.below:
            return False
        chain, open_from = self._chains[int(gain.is_lifted)].of(at)
        return head.at in chain and (gain.is_lifted or chain.index(head.at) >= open_from)
