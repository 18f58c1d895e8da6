"""Who can: the concrete subjects for whom a check says yes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from permissions import selectors
from permissions.cache import reader
from permissions.engine.evaluate import evaluate
from permissions.engine.types import Request
from permissions.revisions import Token


def who_can(
    request: Request,
    *,
    realm: str,
    kind: str = "",
    token: Token | None = None,
    full: bool = False,
    at_us: int | None = None,
) -> list[str]:
    """Refs in order; `request.subject` is ignored. Teams are answered only where `kind` names their type: otherwise their
    members are, each by its own check."""

    def candidates(realm_id: int) -> Collection[str]:
        return selectors.subject_refs(realm_id, kind=kind, teams=bool(kind))

    def resources(_: int) -> Collection[str]:
        return [] if request.resource is None else [request.resource]

    pinned = reader.survey(realm, subjects=candidates, resources=resources, token=token, full=full, at_us=at_us)
    resource = None if request.resource is None else pinned.resources[request.resource]
    return [
        ref
        for ref, subject in pinned.subjects.items()
        if evaluate(pinned.table, subject, resource, replace(request, subject=ref), pinned.now_us)
    ]
