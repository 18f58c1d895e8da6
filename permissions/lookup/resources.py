"""Search for resources: the stored ones for which a check says yes, a page at a time, or one after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from permissions import selectors
from permissions.cache import live, reader
from permissions.cache.pinned import Pinned
from permissions.engine.evaluate import evaluate
from permissions.engine.scopes import ResourceSnapshot, SubjectSnapshot, build_resource
from permissions.engine.types import REALM, Request
from permissions.lookup import browsing, candidates, giving
from permissions.lookup.browsing import Part
from permissions.lookup.paging import MAX_LIMIT, Page
from permissions.revisions import Token


def search(
    request: Request,
    *,
    realm: str,
    kind: str,
    limit: int,
    after: str = "",
    token: Token | None = None,
    full: bool = False,
    at_us: int | None = None,
    superuser: bool = False,
) -> Page:
    """Refs of the type, behind `after`, in order; `request.resource` is ignored."""

    def page(pinned: Pinned) -> Page:
        subject = subject_of(pinned, request)
        mask = giving.mask_of(pinned.table, request.permission)
        everything = superuser and subject.superuser
        parts = parts_for(pinned, subject, kind, mask, after=after, limit=limit, everything=everything)

        def allowed(refs: Sequence[str]) -> Iterator[str]:
            question = replace(request)
            for ref, resource in resources_of(pinned, refs):
                question.resource = ref
                if evaluate(pinned.table, subject, resource, question, pinned.now_us, superuser_allowed=superuser):
                    yield ref

        results, following = browsing.collect(parts, allowed, limit, browsing.for_page())
        return Page(results, following, pinned.head.rev)

    return reader.browse(realm, page, token=token, full=full, at_us=at_us)


def allowed(
    request: Request,
    *,
    realm: str,
    kind: str,
    token: Token | None = None,
    full: bool = False,
    at_us: int | None = None,
    superuser: bool = False,
) -> Iterator[str]:
    """All of them in order, of one revision a page: whoever stops early has paid for no more."""
    after: str | None = ""
    while after is not None:
        page = search(
            request,
            realm=realm,
            kind=kind,
            limit=MAX_LIMIT,
            after=after,
            token=token,
            full=full,
            at_us=at_us,
            superuser=superuser,
        )
        yield from page.results
        after = page.next_after


def subject_of(pinned: Pinned, request: Request) -> SubjectSnapshot:
    """The subject with the teams that its caller asserts."""
    question = replace(request, resource=None)
    live.load_for(pinned, [question])
    return pinned.of(0, question)[0]


def resources_of(pinned: Pinned, refs: Sequence[str]) -> Iterator[tuple[str, ResourceSnapshot]]:
    for ref, facts in selectors.resource_facts(pinned.head.realm_id, refs).items():
        yield ref, build_resource(facts)


def parts_for(
    pinned: Pinned,
    subject: SubjectSnapshot,
    kind: str,
    mask: int,
    *,
    after: str,
    limit: int | None,
    everything: bool = False,
) -> Iterator[Part]:
    """Resources of the type, or of all types, that something held could reach. `everything`: for a superuser."""
    table, realm_id = pinned.table, pinned.head.realm_id
    if table.model.suspended or not (mask or everything):
        return
    nodes = set() if everything else giving.nodes_giving(table, subject, mask)
    if not everything and REALM not in nodes:
        listed = candidates.listed_resources(realm_id, nodes, kind, after)
        if listed is not None:
            yield from browsing.parts_of(listed, limit)
            return
    yield from candidates.walked_resources(realm_id, kind, after, limit)
