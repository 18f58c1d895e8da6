"""The only door to a decision: check, check_many, explain, who_can, what_can, each with an async twin.

    from permissions import pdp
    pdp.check("user:alice", "post:edit", "channel:9", context={"mfa": True})

All take `realm="default"`, `at=` (an aware datetime; a past one only for checks and explanations), `token=` and `full=`. They
raise InvalidRequestError (a question that cannot be decided), Unavailable (ask again after `retry_after_s`; UnderMaintenance is
one) and TokenFromFuture (a token this realm has not reached). Answers are those of the law in `docs/subsystems/decision.md`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from permissions import asking, conf, metrics
from permissions.asking import in_thread
from permissions.cache import figures, reader
from permissions.cache.reader import Position
from permissions.deciding import (
    MAX_BATCH,
    Options,
    check,
    check_many,
    decide,
    decide_many,
    explain,
    explain_request,
    refresh,
    token_at,
)
from permissions.engine.explain import Explanation
from permissions.engine.questions import question
from permissions.engine.reasons import InvalidRequestError, Unavailable, UnderMaintenance
from permissions.engine.types import Decision, Request
from permissions.lookup import held as held_lookup
from permissions.lookup import queryset as queryset_lookup
from permissions.lookup.paging import Page
from permissions.lookup.pairs import Access, AccessPage
from permissions.revisions import Token, TokenFromFuture
from permissions.searches import (
    asearch_actions,
    asearch_resources,
    asearch_subjects,
    awhat_can,
    awho_can,
    search_actions,
    search_resources,
    search_subjects,
    what_can,
    what_can_page,
    who_can,
    who_can_page,
)
from permissions.twins import acheck, acheck_many, adecide, adecide_many, aexplain, aexplain_request, atoken_at, is_stale
from permissions.warm import (
    plain_one,
    warm,
    warm_many,
)
from permissions.warm_batch import plain_batch

__all__ = [
    "MAX_BATCH",
    "Access",
    "AccessPage",
    "Decision",
    "Explanation",
    "InvalidRequestError",
    "Options",
    "Page",
    "Request",
    "TokenFromFuture",
    "Unavailable",
    "UnderMaintenance",
    "acheck",
    "acheck_many",
    "adecide",
    "adecide_many",
    "aexplain",
    "aexplain_request",
    "asearch_actions",
    "asearch_resources",
    "asearch_subjects",
    "atoken_at",
    "awhat_can",
    "awho_can",
    "check",
    "check_many",
    "decide",
    "decide_many",
    "explain",
    "explain_request",
    "held",
    "held_apart",
    "in_thread",
    "is_stale",
    "key_holding",
    "permitted",
    "plain_batch",
    "plain_one",
    "question",
    "refresh",
    "reset",
    "search_actions",
    "search_resources",
    "search_subjects",
    "stats",
    "token_at",
    "warm",
    "warm_many",
    "what_can",
    "what_can_page",
    "who_can",
    "who_can_page",
    "wire_superuser",
]


def stats() -> dict[str, Any]:
    """Decisions of this process since its start, by the deepest layer reached and by outcome; and what the cache holds."""
    return {**metrics.totals(), **figures.stats()}


def reset() -> None:
    """Forgets what is kept in memory; the next check reads the database."""
    reader.reset()


def key_holding(realm: str, prefix: str, position: Position) -> Position | None:
    """Where an API key that was read at `position` is known to hold still; None: read it again. Never blocks.

    A revoked key is a revision that names it.
    """
    return reader.holding(realm, "k", prefix, position)


def held(
    request: Request, *, realm: str = "default", kind: str = "", token: str | Token | None = None, full: bool = False
) -> set[str]:
    """Codes, of one type if named, for which a check at `request.resource` says yes without an obligation."""
    wanted, full = asking.token_of(token, full)
    found = held_lookup.held(request, realm=realm, kind=kind, token=wanted, full=full, duties=False)
    return {code for code in found if asking.is_open(code)}


def held_apart(
    request: Request, *, realm: str = "default", token: str | Token | None = None, full: bool = False
) -> held_lookup.Apart:
    """As `held`, those that bindings of the subject itself give, and those that come through teams and everyone."""
    wanted, full = asking.token_of(token, full)
    own, others = held_lookup.apart(request, realm=realm, token=wanted, full=full, duties=False)
    return held_lookup.Apart({code for code in own if asking.is_open(code)}, {code for code in others if asking.is_open(code)})


def permitted(
    request: Request,
    kind: str,
    *,
    realm: str = "default",
    token: str | Token | None = None,
    full: bool = False,
    superuser: bool = False,
    obligations: Collection[str] = (),
) -> queryset_lookup.Rule:
    """Where resources of `kind` are for which a check says yes, without an obligation save of the types of `obligations`.

    For the queryset filter (`permissions.pep.queryset`).
    """
    asking.refuse_in_maintenance([request.permission])
    wanted, full = asking.token_of(token, full)
    return queryset_lookup.rule(request, kind, realm=realm, token=wanted, full=full, superuser=superuser, obligations=obligations)


def wire_superuser() -> bool:
    """Whether step 6 of the order holds on the wire (setting SUPERUSER_ON_WIRE, off by default)."""
    return conf.superuser_on_wire()
