"""Search for actions: the registered codes of a resource's type for which a check says yes, by their names."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import takewhile

from permissions.cache import live, reader
from permissions.cache.pinned import Pinned
from permissions.engine.evaluate import allowed_codes
from permissions.engine.names import split_ref
from permissions.engine.reasons import InvalidRequestError
from permissions.engine.types import Request
from permissions.lookup import browsing
from permissions.lookup.paging import Page
from permissions.revisions import Token


def search(
    request: Request,
    *,
    realm: str,
    limit: int,
    after: str = "",
    token: Token | None = None,
    full: bool = False,
    at_us: int | None = None,
    superuser: bool = False,
) -> Page:
    """Names, behind the name `after`, in order; `request.permission` is ignored, `request.resource` is needed.

    An action's properties cannot be sent: what needs some is allowed where its condition holds without.
    """
    if request.resource is None:
        raise InvalidRequestError("a search for actions needs a resource")
    prefix = f"{split_ref(request.resource)[0]}:"

    def page(pinned: Pinned) -> Page:
        live.load_for(pinned, [request])
        subject, resource = pinned.of(0, request)

        def allowed(codes: Sequence[str]) -> Iterator[str]:
            return iter(
                allowed_codes(pinned.table, subject, resource, request, pinned.now_us, codes, superuser_allowed=superuser)
            )

        # Codes are in ascending order, so those of a type are one stretch.
        codes = pinned.table.codes
        start = bisect_right(codes, prefix + after)
        mine = list(takewhile(lambda code: code.startswith(prefix), codes[start:]))
        results, following = browsing.collect(browsing.parts_of(mine, limit), allowed, limit, browsing.for_page())
        names = [code[len(prefix) :] for code in results]
        return Page(names, None if following is None else following[len(prefix) :], pinned.head.rev)

    return reader.browse(realm, page, token=token, full=full, at_us=at_us)
