"""The path that decided, or the nearest missing grants; its decision is the one a check gives."""

from __future__ import annotations

from dataclasses import replace

from permissions import decision_log, timeline
from permissions.cache import reader
from permissions.engine import explain as engine_explain
from permissions.engine.explain import Explanation
from permissions.engine.types import Request
from permissions.revisions import Token
from permissions.selectors import is_in_transaction


def explain(
    request: Request,
    *,
    realm: str,
    token: Token | None = None,
    full: bool = False,
    at_us: int | None = None,
    is_past: bool = False,
    superuser: bool = False,
) -> Explanation:
    """One State, one walk. Raises what a check raises."""
    if is_past and at_us is not None:
        pinned = timeline.pin(realm, [request], at_us=at_us, token=token)
    else:
        pinned = reader.pin(realm, [request], token=token, full=full, at_us=at_us, facts=True)
    subject, resource = pinned.of(0, request)
    explanation = engine_explain.explain(pinned.table, subject, resource, request, pinned.now_us, superuser_allowed=superuser)
    explanation.decision = replace(explanation.decision, revision=pinned.head.rev, source=pinned.source)
    # An enforcement point may act on an explained answer as on any other.
    if decision_log.ON.is_on:
        decision_log.note(
            realm,
            pinned.head.epoch,
            request.subject,
            request.permission,
            request.resource,
            explanation.decision,
            pinned.now_us,
            pinned.slack_us,
            request,
            superuser,
            pinned.source == "live" and is_in_transaction(),
        )
    return explanation
