"""What can: the pairs of permission and concrete resource for which a check says yes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from permissions.cache import live, reader
from permissions.cache.pinned import Pinned
from permissions.engine.evaluate import allowed_codes
from permissions.engine.names import split_ref
from permissions.engine.scopes import ResourceSnapshot, SubjectSnapshot
from permissions.engine.types import Request
from permissions.lookup import browsing, giving, resources
from permissions.lookup.browsing import Budget
from permissions.revisions import Token


class Access(NamedTuple):
    """One thing the subject can do; `resource` None is the realm itself."""

    permission: str
    resource: str | None


@dataclass(frozen=True, slots=True)
class AccessPage:
    """`results` in order; `next_after`: where the next page goes on, None at the end. All of one revision."""

    results: list[Access]
    next_after: Access | None
    revision: int


class Wanted(NamedTuple):
    """Which pairs are asked: at the question's resource, every code. Without it: resources of `kind`, every code; else each
    resource with the codes of its own type, and the realm itself with every code. `permission` narrows to one code."""

    permission: str | None = None
    kind: str = ""


def what_can(
    request: Request, wanted: Wanted, *, realm: str, token: Token | None = None, full: bool = False, at_us: int | None = None
) -> list[Access]:
    """Pairs in order of resource, then permission; `request.permission` is ignored."""

    def whole(pinned: Pinned) -> list[Access]:
        return _collected(_Search(pinned, request, wanted), None, None, browsing.for_list())[0]

    return reader.browse(realm, whole, token=token, full=full, at_us=at_us)


def search(
    request: Request,
    wanted: Wanted,
    *,
    realm: str,
    limit: int,
    after: Access | None = None,
    token: Token | None = None,
    full: bool = False,
    at_us: int | None = None,
) -> AccessPage:
    """The same, a page: what comes behind `after`."""

    def page(pinned: Pinned) -> AccessPage:
        # Each node is asked about every code that is held, which may be very many.
        budget = browsing.for_page(least=0)
        results, following = _collected(_Search(pinned, request, wanted), after, limit, budget)
        return AccessPage(results, following, pinned.head.rev)

    return reader.browse(realm, page, token=token, full=full, at_us=at_us)


def _collected(search: _Search, after: Access | None, limit: int | None, budget: Budget) -> tuple[list[Access], Access | None]:
    found: list[Access] = []
    for upto, codes in search.nodes(after, limit):
        is_again = after is not None and after.resource == upto
        for code in codes:
            if not is_again or after is None or code > after.permission:
                if len(found) == limit:
                    return found, found[-1]
                found.append(Access(code, upto))
        # The node where the last page ended counts for nothing, so that every page gets on.
        if not is_again and budget.spend(1):
            return found, Access(codes[-1] if codes else "", upto)
    return found, None


class _Search:
    """One subject's question about many nodes, at one revision and instant."""

    def __init__(self, pinned: Pinned, request: Request, wanted: Wanted) -> None:
        self.pinned = pinned
        self.request = request
        self.wanted = wanted
        self.subject: SubjectSnapshot = resources.subject_of(pinned, request)

    def nodes(self, after: Access | None, limit: int | None) -> Iterator[tuple[str | None, Sequence[str]]]:
        """Each node from that of `after` on, with the codes that are allowed at it."""
        request = self.request
        if request.resource is not None:
            live.load_for(self.pinned, [request])
            yield request.resource, self._codes(request.resource, self.pinned.of(0, request)[1])
            return
        kind = self.wanted.kind
        if not kind and (after is None or after.resource is None):
            yield None, self._codes(None, None)
        if after is not None and after.resource is not None:
            for ref, resource in resources.resources_of(self.pinned, [after.resource]):
                if resource.known and (not kind or resource.type == kind):
                    yield ref, self._codes(ref, resource)
        permission = self.wanted.permission
        of_type = kind or (split_ref(permission)[0] if permission else "")
        mask = giving.mask_of(self.pinned.table, permission) if permission else giving.EVERY_CODE
        behind = "" if after is None or after.resource is None else after.resource
        for part in resources.parts_for(self.pinned, self.subject, of_type, mask, after=behind, limit=limit):
            for ref, resource in resources.resources_of(self.pinned, part.refs):
                yield ref, self._codes(ref, resource)

    def _codes(self, ref: str | None, resource: ResourceSnapshot | None) -> list[str]:
        pinned, permission = self.pinned, self.wanted.permission
        asked = replace(self.request, resource=ref)
        only = None if permission is None else [permission]
        found = allowed_codes(pinned.table, self.subject, resource, asked, pinned.now_us, only)
        if ref is None or self.request.resource is not None or self.wanted.kind:
            return found
        prefix = f"{split_ref(ref)[0]}:"
        return [code for code in found if code.startswith(prefix)]
