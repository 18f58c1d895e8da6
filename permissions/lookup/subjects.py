"""Who can: the concrete subjects for whom a check says yes, a page at a time or as one list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from permissions import selectors
from permissions.cache import live, reader
from permissions.cache.pinned import Pinned
from permissions.engine.evaluate import evaluate
from permissions.engine.questions import asserted_parent, asserted_teams
from permissions.engine.scopes import ResourceSnapshot, build_subject
from permissions.engine.types import Request
from permissions.lookup import browsing, candidates, giving
from permissions.lookup.browsing import Part
from permissions.lookup.paging import Page
from permissions.models import Subject
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

    def whole(pinned: Pinned) -> list[str]:
        search = _Search(pinned, request, kind)
        return browsing.collect(search.parts("", None), search.allowed, None, browsing.for_list())[0]

    return reader.browse(realm, whole, token=token, full=full, at_us=at_us)


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
    """The same, a page: what comes behind `after`."""

    def page(pinned: Pinned) -> Page:
        search = _Search(pinned, request, kind, superuser=superuser)
        results, following = browsing.collect(search.parts(after, limit), search.allowed, limit, browsing.for_page())
        return Page(results, following, pinned.head.rev)

    return reader.browse(realm, page, token=token, full=full, at_us=at_us)


class _Search:
    """One question about many subjects, at one revision and instant."""

    def __init__(self, pinned: Pinned, request: Request, kind: str, *, superuser: bool = False) -> None:
        self.pinned = pinned
        self.question = replace(request, subject=f"{kind or 'user'}:-")
        self.kind = kind
        self.superuser = superuser
        self.teams = asserted_teams(request)
        self.resource = self._resource()

    def _resource(self) -> ResourceSnapshot | None:
        ref = self.question.resource
        if ref is None:
            return None
        if asserted_parent(self.question) is not None:
            live.load_for(self.pinned, [self.question])
            return self.pinned.of(0, self.question)[1]
        live.load(self.pinned, (), [ref], [])
        return self.pinned.resources[ref]

    def parts(self, after: str, limit: int | None) -> Iterator[Part]:
        table, realm_id = self.pinned.table, self.pinned.head.realm_id
        mask = giving.mask_of(table, self.question.permission)
        if table.model.suspended or not (mask or self.superuser):
            return
        kinds = ["subject", "team"] if self.kind else ["subject"]
        nodes = giving.open_chain(self.resource)
        everyone = giving.types_given(table, nodes, mask)
        holders = candidates.holders_of(realm_id, table, nodes, mask)
        is_for_all = self.kind in everyone or self._teams_give(holders)
        if not is_for_all and (self.kind or not everyone):
            listed = candidates.listed_subjects(holders, self.kind, kinds=kinds, after=after, superusers=self.superuser)
            if listed is not None:
                yield from browsing.parts_of(listed, limit)
                return
        yield from candidates.walked_subjects(
            realm_id,
            None if is_for_all else holders,
            self.kind,
            kinds=kinds,
            after=after,
            limit=limit,
            superusers=self.superuser,
            everyone=everyone,
        )

    def _teams_give(self, holders: candidates.Holders) -> bool:
        """Whether a team that the caller asserts for every subject could give the code."""
        if not self.teams:
            return False
        rows = Subject.objects.filter(realm_id=self.pinned.head.realm_id, ref__in=self.teams, kind="team")
        ids = list(rows.order_by().values_list("pk", flat=True))
        return bool(ids) and bool(holders.among(ids))

    def allowed(self, refs: Sequence[str]) -> Iterator[str]:
        pinned, question = self.pinned, replace(self.question)
        for ref, facts in selectors.subject_facts(pinned.head.realm_id, refs, self.teams).items():
            question.subject = ref
            subject = build_subject(facts, pinned.now_us, keep_facts=False)
            if evaluate(pinned.table, subject, self.resource, question, pinned.now_us, superuser_allowed=self.superuser):
                yield ref
