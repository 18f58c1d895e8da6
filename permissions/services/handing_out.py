"""Nobody hands out more than they hold: the block that judges a write by what it gives.

Source: semantics, "Handing out". Two things are no handing out here, on purpose. Attributes of subjects and resources feed
conditions: whoever may change them (`permsite.subject:change`, `permsite.resource:change`) is trusted with what follows. And what
comes into being (a subject that `type:*` reaches, a resource below its parent) gets what was handed out for whatever comes there:
`permsite.subject:create`, or `permsite.resource:create` at the parent, is what it takes. What comes back is another matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from permissions import pdp
from permissions.engine import names
from permissions.engine.types import REALM
from permissions.errors import Escalation, Forbidden
from permissions.services.cover import Give, Line, Window
from permissions.services.gifts import (
    Gain,
    Had,
    Head,
    Picture,
    Touch,
    contents_of,
    gains_between,
    heads_of_subject,
    heads_of_type,
    picture_of,
)
from permissions.services.holdings import Chains, Holdings
from permissions.writing import Write

ESCALATE: Final = "permsite.realm:escalate"
SHOWN: Final = 5


def at_text(at: str) -> str:
    return f"at {names.shown(at)}" if at != REALM else "in the realm"


class Author:
    """The actor of a write as the guards see it: what it held before the write, asked as often as need be."""

    def __init__(self, write: Write) -> None:
        if write.actor.subject is None:
            raise Forbidden(f"{write.actor.name} acts as nobody in this realm, so it may not manage it")
        self.ref = write.actor.subject
        self._write = write
        self._holdings = Holdings(write.realm, self.ref)
        self._waived: dict[str, tuple[bool, bool]] = {}

    def may(self, code: str, at: str) -> bool:
        """Whether the code is held at the node. Lines answer where no condition takes part; else the PDP, in this transaction."""
        if self._write.realm.suspended:
            return False
        known = self._holdings.holds(code, at)
        if known is not None:
            return known
        return bool(pdp.check(self.ref, code, at or None, realm=self._write.realm.name, full=True))

    def prepare(self, scopes: Iterable[str]) -> None:
        """Fixes what the author holds at these nodes, and whether cover is waived there, before the write changes either."""
        wanted = set(scopes)
        self._holdings.prepare(wanted)
        for at in wanted:
            held = self.may(ESCALATE, at)
            self._waived[at] = held, held and self._holdings.holds_below(ESCALATE, at)

    def covers(self, give: Give) -> bool:
        return self._holdings.covers(give)

    def is_waived(self, give: Give) -> bool:
        """Whether the author may hand out more than they hold there, and below it where the give reaches below.

        A node that was not prepared came into being in the write: only what holds without a condition counts there, since the
        PDP would already see the write."""
        if give.at in self._waived:
            return self._waived[give.at][give.below]
        held = self._holdings.holds(ESCALATE, give.at) is True
        return held and (not give.below or self._holdings.holds_below(ESCALATE, give.at))

    @property
    def now_us(self) -> int:
        return self._holdings.now_us

    @property
    def chains(self) -> Chains:
        return self._holdings.chains


@contextmanager
def handing_out(write: Write, touch: Touch, author: Author | None = None) -> Iterator[None]:
    """Raises Escalation at the end of the block if what was written in it gives anyone what the author lacks there.

    Administrators pass. The block must hold every row change of the use case, so that both pictures are true; `author` may be
    given if it was read in the same use case.
    """
    if write.actor.administrator:
        yield
        return
    author = author or Author(write)
    before = picture_of(write.realm, touch)
    author.prepare({REALM} | touch.scopes | touch.nodes | before.scopes())
    yield
    judge(write, author, before, picture_of(write.realm, touch))


def judge(write: Write, author: Author, before: Picture, after: Picture) -> None:
    had = Had(write.realm, before, after, (author.chains, Chains(write.realm)))
    covered: dict[Give, bool] = {}
    refused: list[Gain] = []
    for gain in gains_between(write.realm, before, after, author.now_us):
        asked = _to_cover(gain)
        if asked not in covered:
            covered[asked] = author.is_waived(asked) or author.covers(asked)
        if not covered[asked] and not had.excuses(gain):
            refused.append(gain)
    if refused:
        raise Escalation(_told(author.ref, refused))


def _to_cover(gain: Gain) -> Give:
    """A deny whose condition fails denies all the same, and an allow under that condition gives nothing there: so what a deny
    held back is covered only by what is held whatever the condition says."""
    give = gain.give
    return replace(give, line=replace(give.line, conditions=frozenset())) if gain.is_lifted and give.line.conditions else give


def require_cover(write: Write, give: Give, what: str) -> None:
    """Raises Escalation where the author neither holds the give nor may hand out more than they hold."""
    if write.actor.administrator:
        return
    author = Author(write)
    author.prepare([give.at])
    if not author.is_waived(give) and not author.covers(give):
        raise Escalation(f"{what}: {names.shown(author.ref)} does not hold {names.shown(give.line.pattern)} {at_text(give.at)}")


def require_code_cover(write: Write, code: str, what: str) -> None:
    """Cover of one code in the whole realm, for ever and without a condition."""
    require_cover(write, Give(REALM, below=True, line=Line(code)), what)


def require_escalate(write: Write, what: str) -> None:
    """For what cannot be judged by patterns: it takes the right to hand out more than one holds, or an administrator."""
    if not write.actor.administrator and not Author(write).may(ESCALATE, REALM):
        raise Escalation(f"{what} needs {ESCALATE} in the realm, which {names.shown(write.actor.subject or '')} does not hold")


def require_cover_of(write: Write, subject: str, what: str) -> None:
    """Cover of everything that reaches a subject: who acts as it has all of that."""
    if write.actor.administrator or write.actor.subject == subject:
        return
    # Asleep or not: the key would outlast the sleep.
    _require_heads(write, heads_of_subject(write.realm, subject, everyone=True), what)


def require_cover_of_type(write: Write, subject: str, what: str) -> None:
    """Cover of what anyone of the subject's type has: one that is deleted asleep comes back awake, wherever it is named."""
    if not write.actor.administrator:
        _require_heads(write, heads_of_type(write.realm, subject), what)


def _require_heads(write: Write, heads: Iterable[Head], what: str) -> None:
    author = Author(write)
    after = Picture(Counter(heads))
    after.contents = contents_of(write.realm, after.heads)
    author.prepare(after.scopes())
    try:
        judge(write, author, Picture(), after)
    except Escalation as refusal:
        raise Escalation(f"{what}: {refusal.detail}") from None


def _told(author: str, refused: list[Gain]) -> str:
    """At most a handful, each with whom, what and where."""
    told = sorted({_one(gain) for gain in refused})
    more = f", and {len(told) - SHOWN} more" if len(told) > SHOWN else ""
    return f"{names.shown(author)} would hand out more than they hold: {', '.join(told[:SHOWN])}{more}"


def _one(gain: Gain) -> str:
    line = gain.give.line
    bounds = [f"if {condition}" for condition in sorted(line.conditions)]
    bounds += ["with an end"] if line.window.until != Window().until else []
    told = f"{names.shown(line.pattern)} {at_text(gain.give.at)} to {names.shown(gain.who)}"
    told = f"no longer denying {told}" if gain.is_lifted else told
    return f"{told} ({', '.join(bounds)})" if bounds else told
