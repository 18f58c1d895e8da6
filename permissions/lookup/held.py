"""Every code that a subject holds at one place: all of them from memory, or told apart by whether its own bindings give them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from permissions.cache import reader
from permissions.cache.pinned import Pinned
from permissions.engine.evaluate import evaluate
from permissions.engine.scopes import SubjectSnapshot, build_subject
from permissions.engine.table import RoleTable
from permissions.engine.types import Request
from permissions.engine.walk import Walk
from permissions.revisions import Token


class Apart(NamedTuple):
    """`own`: given by bindings of the subject itself. `others`: through teams and everyone. A code may be in both."""

    own: set[str]
    others: set[str]


def held(
    request: Request, *, realm: str, kind: str = "", token: Token | None = None, full: bool = False, duties: bool = True
) -> set[str]:
    """`request.permission` is ignored. `kind`: of that type alone. `duties` False leaves out what is allowed with obligations."""
    pinned = reader.pin(realm, [request], token=token, full=full)
    return set(_codes(pinned, pinned.table, pinned.of(0, request)[0], request, kind, duties=duties))


def apart(request: Request, *, realm: str, token: Token | None = None, full: bool = False, duties: bool = True) -> Apart:
    pinned = reader.pin(realm, [request], token=token, full=full, facts=True)
    subject = pinned.of(0, request)[0]
    codes = set(_codes(pinned, pinned.table, subject, request, "", duties=duties))
    facts = subject.facts
    if facts is None:
        return Apart(codes, set())
    theirs = replace(facts, bindings=tuple(b for b in facts.bindings if b.holder != facts.ref))
    others = codes & set(_codes(pinned, pinned.table, build_subject(theirs, pinned.now_us), request, "", duties=True))
    alone = replace(facts, memberships=(), bindings=tuple(b for b in facts.bindings if b.holder == facts.ref))
    table = replace(pinned.table, everyone={})
    own = codes & set(_codes(pinned, table, build_subject(alone, pinned.now_us), request, "", duties=True))
    # What takes both, such as a code of the one that requires a code of the other, counts as the subject's own.
    return Apart(own | (codes - others), others)


def _codes(
    pinned: Pinned, table: RoleTable, subject: SubjectSnapshot, request: Request, kind: str, *, duties: bool
) -> Iterator[str]:
    resource = pinned.of(0, request)[1]
    question = replace(request)
    prefix = f"{kind}:" if kind else ""
    for code in table.index.codes_of(Walk(table, subject, resource, request, pinned.now_us).mentioned()):
        if not code.startswith(prefix):
            continue
        question.permission = code
        decision = evaluate(table, subject, resource, question, pinned.now_us, slack_us=pinned.slack_us)
        if decision and (duties or not decision.obligations):
            yield code
