"""What every view of the API shares: the caller, problem+json, strict JSON, X-Permission-Token in and out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from django.http import HttpRequest as DjangoRequest
from django.http import HttpResponse
from django.views.decorators.csrf import csrf_exempt
from rest_framework.authentication import SessionAuthentication
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response
from rest_framework.views import APIView

from permissions import revisions
from permissions.api import problems
from permissions.api.callers import REALM, Asker, asker_of
from permissions.api.openapi import OperationSchema
from permissions.api.parsing import OnlyJSON, StrictJSONParser
from permissions.api.problems import problem_handler
from permissions.api.queries import Parameters
from permissions.engine.reasons import InvalidRequestError
from permissions.identity.authentication import KeyAuthentication
from permissions.writing import Write, run_write

__all__ = ["ApiView", "not_found", "problem_handler"]

T = TypeVar("T")
REASON: Final = "reason"  # the query parameter with which a write says why, for the audit


class ApiView(APIView):
    """`parameters_of`: the query parameters a method knows besides `realm`."""

    authentication_classes = (
        KeyAuthentication,
        SessionAuthentication,
    )
    permission_classes = ()  # who may do what is asked at the PDP and by the services, never by a class
    throttle_classes = ()
    renderer_classes = (JSONRenderer,)
    parser_classes = (StrictJSONParser,)
    content_negotiation_class = OnlyJSON
    schema = OperationSchema()
    asker: Asker
    query: Parameters

    def initialize_request(self, request: DjangoRequest, *args: Any, **kwargs: Any) -> HttpRequest:
        # A chunked body has no Content-Length, and DRF takes that for no body at all: whatever was sent would be lost without
        # a word. -1 makes it read the stream to its end, up to the parser's limit.
        if not request.META.get("CONTENT_LENGTH"):
            request.META["CONTENT_LENGTH"] = "-1"
        return super().initialize_request(request, *args, **kwargs)

    def get_exception_handler(self) -> Callable[..., Response | None]:
        return problem_handler

    def initial(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request.method not in self.allowed_methods:
            # Before the parameters are read: which of them a method takes is only known of those that there are.
            self.http_method_not_allowed(request, *args, **kwargs)
        self.query = Parameters(
            request._request.GET, {REALM, *self.parameters_of("GET" if request.method == "HEAD" else str(request.method))}
        )
        self.asker = asker_of(request, self.query.get(REALM) if REALM in self.query else None)

    def parameters_of(self, method: str) -> tuple[str, ...]:
        return ()

    def finalize_response(self, request: HttpRequest, response: Response, *args: Any, **kwargs: Any) -> Response:
        # Who may see an answer was decided for this caller, now: a cache on the way would show it to the next one, or later.
        response.headers.setdefault("Cache-Control", "no-store")
        return super().finalize_response(request, response, *args, **kwargs)

    # X-Permission-Token
    def token_in(self) -> tuple[revisions.Token | None, bool]:
        """(token, full) as the caller sent them. Raises Invalid for a text that is no token."""
        sent = self.request.headers.get(revisions.HEADER)
        if sent is None:
            return None, False
        if sent == revisions.FULL:
            return None, True
        return revisions.parse(sent), False

    def require_reached(self) -> None:
        """Raises TokenFromFuture for a token the realm has not reached, InvalidRequestError for one of another realm.

        What reads the tables reads the newest state; but after a restore that lost a write, its token must not be passed over.
        """
        token, _ = self.token_in()
        if token is None:
            return
        head = revisions.head(self.asker.realm)
        if token.realm_id != head.realm_id:
            raise InvalidRequestError("the token belongs to another realm")
        if token.epoch8 == head.epoch[:8] and token.rev > head.rev:
            raise revisions.TokenFromFuture("the token names a revision that this realm has not reached")

    @property
    def sent_token(self) -> bool:
        return revisions.HEADER in self.request.headers

    # Writing
    @property
    def reason(self) -> str:
        return self.query.get(REASON)

    @property
    def request_id(self) -> str:
        return str(getattr(self.request._request, "request_id", ""))

    def write(self, work: Callable[[Write], T]) -> tuple[T, dict[str, str]]:
        """Runs `work` in one write of the caller's realm; the headers carry its token."""
        done, write = run_write(self.asker.realm, self.asker.manager(), self.reason, work, request_id=self.request_id)
        return done, {revisions.HEADER: write.token}


# Exempt, as DRF's views are: nothing is done here, and the middleware's refusal would be an HTML page.
@csrf_exempt
def not_found(request: DjangoRequest, path: str = "") -> HttpResponse:
    """Whatever under /api/ no route knows."""
    return problems.plain(
        request, "not_found", 404, "There is nothing at this path. Collections and their objects end in a slash, verbs do not."
    )
