"""PermissionMiddleware: asks for each view what its declaration or a rule says; strict, it refuses a view that nobody declared.

After AuthenticationMiddleware. Within a request it also makes `has_perm`, the template tag and the queryset filter as fresh as
the request's token says, and answers 503 with Retry-After where a view found that no decision can be given, 400 and 409 where its
list was asked for with a token that is none.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponseBase

from permissions.pep import freshness, refusals, rules

log = logging.getLogger("permissions.pep")


class PermissionMiddleware:
    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        rules.rules()  # a mistake in the settings stops the start, not the first request
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self.is_async:
            return self._acall(request)
        with freshness.within(request):
            return cast(HttpResponseBase, self.get_response(request))

    async def _acall(self, request: HttpRequest) -> HttpResponseBase:
        with freshness.within(request):
            return cast(HttpResponseBase, await self.get_response(request))

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> HttpResponseBase | None:
        match = request.resolver_match
        name = (match.view_name or "") if match is not None else ""
        found = rules.of(view, name, request.path_info, request.method or "")
        if not found.is_declared and rules.is_strict():
            log.error("the view %s says nothing of what it needs, and was refused", name or view)
            return refusals.forbidden(request, "a declaration of what this view needs")
        for guard in found.guards:
            response = guard.answer(request, args, kwargs)
            if response is not None:
                return response
        return None

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponseBase | None:
        return refusals.of_error(request, error)
