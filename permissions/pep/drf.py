"""REST framework: `permission_classes = [HasPermission]` with `required_permission`, and `PermittedFilter` for lists.

    class PostViewSet(ModelViewSet):
        queryset = Post.objects.all()
        permission_classes = [HasPermission]
        filter_backends = [PermittedFilter]
        required_permission = {"list": "post:view", "retrieve": "post:view", "create": "post:create", "*": "post:edit"}

A view that declares nothing, or nothing for what it was called with, is refused. A detail route is decided on its row before the
view runs, and once more where the view fetches it. Views that adrf makes asynchronous call the same classes in a thread.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.http import Http404
from rest_framework.exceptions import APIException, MethodNotAllowed
from rest_framework.filters import BaseFilterBackend
from rest_framework.permissions import BasePermission
from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.views import exception_handler as standard_handler

from permissions import pdp, revisions
from permissions.engine.reasons import InvalidRequestError, Unavailable
from permissions.entities import NamelessError, ResourceRef, id_text, kind_of, realm_of, resource_of, subject_of
from permissions.errors import Refused
from permissions.pep import decisions, freshness
from permissions.pep.queryset import filtered

log = logging.getLogger("permissions.pep")

# What a view may say, and the fault of one that says nothing.
PERMISSION: Final = "required_permission"
RESOURCE: Final = "permission_resource"
CONTEXT: Final = "permission_context"
REALM: Final = "permission_realm"
OBLIGATIONS: Final = "permission_obligations"


class NoDecision(APIException):
    """503; `wait` becomes Retry-After."""

    status_code = 503
    default_code = "unavailable"

    def __init__(self, error: Unavailable) -> None:
        super().__init__(str(error))
        self.wait = max(1, math.ceil(error.retry_after_s))


class BadToken(APIException):
    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail, code)
        self.status_code = status


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """REST framework's own, that also answers 503 where the list of a filtered queryset finds no decision."""
    return standard_handler(NoDecision(error) if isinstance(error, Unavailable) else error, context)


class HasPermission(BasePermission):
    """On the view: `required_permission`, a code or a mapping by action, method, or "*".

    If need be also `permission_resource`, a text such as "blog:{blog_pk}" or a method of the request; `permission_context`, a
    method of the request; `permission_realm`; `permission_obligations`, the types that the view complies with by itself (it
    finds them in `request.permission_decision`).
    """

    asks_the_pdp: Final = True

    def has_permission(self, request: HttpRequest, view: APIView) -> bool:
        code = required(request, view)
        if code is None or subject_of(request.user) is None:
            return False
        if lists_what_is_permitted(request, view):
            return True
        try:
            return _allows(request, view, code, _place(request, view))
        except NamelessError as error:
            log.info("%s is a no: %s", code, error)
            return False

    def has_object_permission(self, request: HttpRequest, view: APIView, obj: Any) -> bool:
        code = required(request, view)
        try:
            place = _declared(request, view) if getattr(view, RESOURCE, None) is not None else resource_of(obj)
            return code is not None and _allows(request, view, code, place)
        except NamelessError as error:
            log.info("%s is a no: %s", code, error)
            return False


class PermittedFilter(BaseFilterBackend):
    """Leaves the rows for which a check of the action's permission says yes, without an obligation or with those alone that
    `permission_obligations` of the view names. A list needs no permission at the realm then."""

    def filter_queryset(self, request: HttpRequest, queryset: QuerySet[Any], view: APIView) -> QuerySet[Any]:
        code = required(request, view)
        if code is None:
            return queryset.none()
        fresh = freshness.of(request._request)

        def told(error: Exception) -> Exception:
            return _told(error, fresh) or error

        return filtered(
            queryset,
            request.user,
            code,
            fresh,
            realm=getattr(view, REALM, None),
            context=_context(request, view),
            obligations=_complied(view),
            told=told,
        )


def required(request: HttpRequest, view: APIView) -> str | None:
    """The permission for this request; None, and an error in the log, where the view names none."""
    method = request.method or ""
    declared = getattr(view, PERMISSION, None)
    if isinstance(declared, str):
        return declared
    if isinstance(declared, Mapping):
        # By the map and not by view.action: the metadata of OPTIONS asks what a PUT would be told.
        action = getattr(view, "action_map", {}).get(method.lower()) or getattr(view, "action", None)
        names = (action, method, "GET" if method == "HEAD" else None, "*")
        found = next((declared[name] for name in names if name is not None and name in declared), None)
        if found is not None:
            return str(found)
    if method not in view.allowed_methods:
        raise MethodNotAllowed(method)
    log.error("%s says nothing of what %s needs (%s), and was refused", type(view).__name__, method, PERMISSION)
    return None


def lists_what_is_permitted(request: HttpRequest, view: APIView) -> bool:
    """Whether this is the standard list, filtered. Another action without a row is asked about as any other."""
    if request.method not in ("GET", "HEAD") or getattr(view, "action", "list") != "list":
        return False
    filters = getattr(view, "filter_backends", ())
    return hasattr(view, "list") and _row_key(view) is None and any(issubclass(one, PermittedFilter) for one in filters)


def _place(request: HttpRequest, view: APIView) -> str | None:
    """What the request is about: as declared, else the row of a detail route, else the realm."""
    if getattr(view, RESOURCE, None) is not None:
        return _declared(request, view)
    key = _row_key(view)
    return None if key is None else _row(view, key)


def _row_key(view: Any) -> str | None:
    name = getattr(view, "lookup_url_kwarg", None) or getattr(view, "lookup_field", None)
    return name if name in view.kwargs else None


def _row(view: Any, name: str) -> str:
    """By the key as the model reads it, so that no other spelling of a key is another resource. Raises Http404 for none."""
    rows = view.queryset if getattr(view, "queryset", None) is not None else view.get_queryset()
    model: type[Model] = rows.model
    value = view.kwargs[name]
    field: Any = model._meta.pk
    try:
        if view.lookup_field in ("pk", field.name) and getattr(model, RESOURCE, None) is None:
            return f"{kind_of(model)}:{id_text(field.to_python(value))}"
        found = view.get_queryset().filter(**{view.lookup_field: value}).first()
    except (ValidationError, ValueError, TypeError) as error:
        if isinstance(error, NamelessError):
            raise
        raise Http404 from error
    if found is None:
        raise Http404
    return resource_of(found)


def _declared(request: HttpRequest, view: Any) -> str:
    declared = getattr(view, RESOURCE)
    if callable(declared):
        return resource_of(declared(request))
    if "{" not in declared:
        return resource_of(declared)
    template = ResourceRef(declared)
    found = [f"{template.kind}:"]
    for text, name in template.parts:
        if name and name not in view.kwargs:
            raise NamelessError(f"{type(view).__name__} has no argument {name!r}")
        found += [text, id_text(view.kwargs[name]) if name else ""]
    return resource_of("".join(found))


def _context(request: HttpRequest, view: Any) -> Any:
    found = getattr(view, CONTEXT, None)
    return found(request) if callable(found) else found


def _allows(request: HttpRequest, view: APIView, code: str, resource: str | None) -> bool:
    realm, subject = realm_of(request.user, getattr(view, REALM, None)), subject_of(request.user)
    if realm is None or subject is None:
        return False
    fresh = freshness.of(request._request)
    try:
        asked = pdp.question(subject, code, resource, context=_context(request, view))
        decision = decisions.decide(asked, realm=realm, fresh=fresh)
    except (Unavailable, Refused, InvalidRequestError) as error:
        answer = _told(error, fresh)
        if answer is not None:
            raise answer from error
        log.error("%s cannot be asked about: %s", code, error)
        return False
    request._request.permission_decision = request.permission_decision = decision  # type: ignore[attr-defined]
    known = _complied(view)
    unknown = [duty for duty in decision.obligations if duty.get("type") not in known]
    if decision.allowed and unknown:
        log.warning("%s was allowed with an obligation that %s cannot comply with", code, type(view).__name__)
    return decision.allowed and not unknown


def _complied(view: APIView) -> frozenset[str]:
    return frozenset(getattr(view, OBLIGATIONS, ()))


def _told(error: Exception, fresh: freshness.Freshness) -> APIException | None:
    """What the caller is told instead of `error`; None where it is no fault of theirs."""
    if isinstance(error, Unavailable):
        return NoDecision(error)
    if isinstance(error, Refused):
        return BadToken(error.status, error.code, error.detail)
    return BadToken(400, "invalid", f"{revisions.HEADER}: {error}") if fresh.is_asked else None
