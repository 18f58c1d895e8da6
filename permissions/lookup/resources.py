"""What can: the pairs of permission and concrete resource for which a check says yes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple

from permissions import selectors
from permissions.cache import reader
from permissions.engine.evaluate import allowed_codes
from permissions.engine.names import split_ref
from permissions.engine.types import Request
from permissions.revisions import Token


class Access(NamedTuple):
    """One thing the subject can do; `resource` None is the realm itself."""

    permission: str
    resource: str | None


def what_can(
    request: Request,
    *,
    realm: str,
    permission: str | None = None,
    kind: str = "",
    token: Token | None = None,
    full: bool = False,
    at_us: int | None = None,
) -> list[Access]:
    """Pairs in order of resource, then permission; `request.permission` is ignored.

    Which pairs are asked: at `request.resource`, every code. Without it: resources of `kind`, every code; else each resource
    with the codes of its own type, and the realm itself with every code. `permission` narrows to one code.
    """

    def resources(realm_id: int) -> Collection[str]:
        if request.resource is not None:
            return [request.resource]
        wanted = kind or (split_ref(permission)[0] if permission else "")
        return selectors.resource_refs(realm_id, kind=wanted)

    pinned = reader.survey(realm, subjects=lambda _: [request.subject], resources=resources, token=token, full=full, at_us=at_us)
    subject = pinned.subjects[request.subject]
    only = None if permission is None else [permission]
    found = []
    if request.resource is None and not kind:
        found += [Access(c, None) for c in allowed_codes(pinned.table, subject, None, request, pinned.now_us, only)]
    for ref, resource in pinned.resources.items():
        asked = replace(request, resource=ref)
        prefix = "" if request.resource is not None or kind else f"{split_ref(ref)[0]}:"
        found += [
            Access(code, ref)
            for code in allowed_codes(pinned.table, subject, resource, asked, pinned.now_us, only)
            if code.startswith(prefix)
        ]
    return found
