"""What a write gives: a picture of the grants it touches, before and after, and what is new between the two.

A grant reaches someone along three things: the memberships above them, a binding with its role, and the tree between its scope
and the node. Whatever is written, what anyone gains has a new one among the three. Each is pictured by itself, so the kinds of
writes need no rules of their own. A deny that reaches no longer is pictured as a gain of what it denied.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from permissions import selectors
from permissions.engine import names
from permissions.engine.types import REALM, BindingFact
from permissions.models import Realm, RoleBinding, RoleGroup
from permissions.selectors import to_us
from permissions.services.contents import duties_of, role_contents, with_heirs
from permissions.services.cover import ALWAYS, Content, Give, Line, Window, is_within, ways_up, window_of
from permissions.services.holdings import Chains, everyone_bindings
from permissions.services.specs import parts

_NOTHING: Final = Content()
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
    """One way in which a binding reaches someone. What it carries is the content of its source: a role's name, or two lists.

    `tier`: of the three of `overlay` at each node, where the order decides.
    """

    who: str
    at: str
    below: bool
    condition: str
    window: Window
    source: Source
    tier: int
    obligations: frozenset[str] = frozenset()


class Gain(NamedTuple):
    """`who` gains `give`; `is_lifted`: because a deny of it no longer reaches."""

    who: str
    give: Give
    is_lifted: bool
    tier: int


@dataclass(slots=True)
class Picture:
    """`heads` are counted: a binding that equals another is a second one, and stays when the first is revoked.

    `reach`: node → each scope from the realm down to it → whether allows from there reach it (denies always do).
    """

    heads: Counter[Head] = field(default_factory=Counter)
    contents: dict[Source, Content] = field(default_factory=dict)
    reach: dict[str, dict[str, bool]] = field(default_factory=dict)

    def of(self, head: Head) -> Content:
        return self.contents.get(head.source, _NOTHING)

    def scopes(self) -> set[str]:
        return {head.at for head in self.heads}


def picture_of(realm: Realm, touch: Touch) -> Picture:
    picture = Picture()
    for ref in touch.members:
        picture.heads.update(heads_of_subject(realm, ref))
    for ref in touch.revived:
        picture.heads.update(heads_of_subject(realm, ref, everyone=True, awake=True))
    for part in parts(touch.holders):
        picture.heads.update(_own_heads(realm, subject__ref__in=part))
    for part in parts(_touched_roles(touch)):
        picture.heads.update(_own_heads(realm, role__in=part))
    picture.contents = contents_of(realm, picture.heads)
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
    for who, role, allow, deny, scope, condition, start, end, below, obligations in rows.values_list(
        "subject__ref",
        "role__name",
        "allow",
        "deny",
        "scope__ref",
        "condition",
        "valid_from",
        "valid_until",
        "propagate",
        "obligations",
    ):
        source: Source = role if role is not None else (tuple(allow), tuple(deny))
        window = window_of(to_us(start), to_us(end))
        at = REALM if scope is None else scope
        yield Head(who, at, below, condition, window, source, tier_of(who, source, own=True), duties_of(obligations))


def heads_of_subject(realm: Realm, ref: str, *, everyone: bool = False, awake: bool = False) -> Iterator[Head]:
    """All that reaches a subject, by itself and by its teams. `awake`: nothing reaches one that is inactive or locked.

    `everyone`: with what `type:*` gives. That was handed out to whoever comes: a new subject gains nothing by it, one that is
    revived does.
    """
    facts = selectors.subject_facts(realm.pk, [ref])[ref]
    if not facts.known or (awake and (facts.locked or not facts.active)):
        return
    ways = ways_up(ref, facts.memberships)
    bindings: list[BindingFact] = [b for b in facts.bindings if b.holder in ways]
    bindings += everyone_bindings(realm, ref) if everyone else []
    for binding in bindings:
        own = window_of(binding.valid_from_us, binding.valid_until_us)
        source: Source = binding.role if binding.role is not None else (binding.allow, binding.deny)
        tier, duties = tier_of(binding.holder, source, own=binding.holder == ref), duties_of(binding.obligations)
        for way in ways.get(binding.holder, frozenset({ALWAYS})):
            yield Head(ref, binding.scope, binding.propagate, binding.condition, own.meet(way), source, tier, duties)


def heads_of_type(realm: Realm, ref: str) -> Iterator[Head]:
    """What reaches a subject as anyone of its type."""
    for b in everyone_bindings(realm, ref):
        source: Source = b.role if b.role is not None else (b.allow, b.deny)
        yield Head(ref, b.scope, b.propagate, b.condition, window_of(b.valid_from_us, b.valid_until_us), source, 0)


def tier_of(holder: str, source: Source, *, own: bool) -> int:
    if names.split_ref(holder)[1] == names.EVERYONE_ID:
        return 0
    return 2 if own and not isinstance(source, str) else 1


def contents_of(realm: Realm, heads: Iterable[Head]) -> dict[Source, Content]:
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
    for head, count in after.heads.items():
        fresh = after.of(head).allow
        if count <= before.heads[head]:
            fresh = fresh - before.of(head).allow
        yield from _gains(head, fresh, now_us, is_lifted=False)
    for head, count in before.heads.items():
        gone = before.of(head).deny
        if count <= after.heads[head]:
            gone = gone - after.of(head).deny
        yield from _gains(head, gone, now_us, is_lifted=True)
    for node, scopes in after.reach.items():
        yield from _gains_of_node(realm, node, before.reach.get(node, {}), scopes, now_us)


def _gains(head: Head, lines: Iterable[Line], now_us: int, *, is_lifted: bool) -> Iterator[Gain]:
    for line in lines:
        given = line.within(head.condition, head.window, frozenset() if is_lifted else head.obligations)
        if not given.window.is_over(now_us):
            yield Gain(head.who, Give(head.at, head.below, given), is_lifted, head.tier)


def _gains_of_node(realm: Realm, node: str, before: dict[str, bool], after: dict[str, bool], now_us: int) -> Iterator[Gain]:
    """What comes to a node from scopes whose allows reach it newly, and what denies of scopes that no longer do held back."""
    opened = {scope for scope, is_open in after.items() if is_open and not before.get(scope, False)} - {node}
    closed = set(before) - set(after) - {node}
    heads = set(_heads_at(realm, opened)), set(_heads_at(realm, closed))
    contents = contents_of(realm, heads[0] | heads[1])
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
    """What those who gain had before, so that nobody is asked to cover what is no news: the same right, narrowed or moved.

    A grant is excused only by one that goes with this write: beside one that stays, it would outlive that one's revoke. A lifted
    deny is excused by any that still reaches. In an overlay realm the order decides, so there only the same place excuses.
    """

    def __init__(self, realm: Realm, before: Picture, after: Picture, chains: tuple[Chains, Chains]) -> None:
        self._by_order = "overlay" in {realm.combining, *(options["combining"] for options in realm.resource_types.values())}
        self._before, self._after, self._chains = before, after, chains
        self._heads: tuple[dict[str, list[Head]], ...] = (defaultdict(list), defaultdict(list))
        for picture, heads in zip((before, after), self._heads, strict=True):
            for head in picture.heads:
                heads[head.who].append(head)

    def excuses(self, gain: Gain) -> bool:
        for head in self._heads[int(gain.is_lifted)].get(gain.who, ()):
            if not self._spans(head, gain):
                continue
            lines = self._after.of(head).deny if gain.is_lifted else self._gone(head)
            for line in lines:
                held = line.within(head.condition, head.window, head.obligations)
                if is_within(gain.give.line, held) and (gain.is_lifted or held.obligations <= gain.give.line.obligations):
                    return True
        return False

    def _gone(self, head: Head) -> frozenset[Line]:
        allow = self._before.of(head).allow
        return allow if self._after.heads[head] < self._before.heads[head] else allow - self._after.of(head).allow

    def _spans(self, head: Head, gain: Gain) -> bool:
        """Whether what hangs at the head's scope reaches the gain's node, and all below it where the gain does."""
        at = gain.give.at
        if head.at == at and (head.tier == gain.tier or not self._by_order):
            return head.below or not gain.give.below
        if not head.below or self._by_order:
            return False
        chain, open_from = self._chains[int(gain.is_lifted)].of(at)
        return head.at in chain and (gain.is_lifted or chain.index(head.at) >= open_from)
