"""`@require_permission("post:edit", resource=Post)`: a view runs only for whom the PDP says yes; anything unsettled is a no.

For functions, plain and asynchronous, for classes of views, and below `method_decorator`. Answers in the view's place: the login
page or 401, 403, and 503 with Retry-After while no decision can be given.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, Final, TypeVar, cast

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponseBase

from permissions.engine.reasons import InvalidRequestError, Unavailable
from permissions.errors import Refused
from permissions.pep import refusals
from permissions.pep.guard import Guard
from permissions.pep.requirement import Context, Obligations, Requirement, Resource

V = TypeVar("V", bound=Callable[..., Any])
# On a view: the guards that stand before it, and why it is open to everybody.
GUARDS: Final = "permission_guards"
OPEN: Final = "permission_open"
FAULTS: Final = (Unavailable, Refused, InvalidRequestError)


def require_permission(
    permission: str,
    *,
    resource: Resource = None,
    context: Context = None,
    realm: str | None = None,
    obligations: Obligations = (),
    full: bool = False,
    login_url: str | None = None,
    raise_exception: bool = False,
) -> Callable[[V], V]:
    """`resource`: a text ("blog:1", or "post:{pk}" with the view's arguments), a model (its row of the argument `pk` or `id`), or
    a function of the request and the view's arguments that gives either or a row; without it the realm is asked about.

    `context`: what conditions see, a mapping or such a function. `obligations`: the types the view can comply with: names, or a
    mapping of each to a function of the request and the obligation, which may answer in the view's place. `full`: ask for the
    newest state. `realm`: default DJANGO_REALM. `raise_exception`: 403 instead of the login page.
    """
    needed = Requirement(permission, resource=resource, context=context, realm=realm, obligations=obligations, full=full)
    guard = Guard(needed, login_url=login_url, raise_exception=raise_exception)

    def decorate(view: V) -> V:
        if isinstance(view, type):
            return cast(V, _guarded_class(view, guard))
        return cast(V, _guarded(view, guard))

    return decorate


def open_view(why: str) -> Callable[[V], V]:
    """Says that anyone may come here, and why: what a strict `PermissionMiddleware` asks of every view that needs nothing."""
    if callable(why) or not str(why).strip():
        raise TypeError("say why the view is open: @open_view('the login page')")

    def decorate(view: V) -> V:
        found: Any = view if isinstance(view, type) else _again(view)
        setattr(found, OPEN, why)
        return cast(V, found)

    return decorate


def _again(view: Callable[..., Any]) -> Callable[..., Any]:
    """The view by another name: the same function may stand at another route, about which nothing is said."""
    if iscoroutinefunction(view):

        @wraps(view)
        async def arun(*args: Any, **kwargs: Any) -> Any:
            return await view(*args, **kwargs)

        return arun

    @wraps(view)
    def run(*args: Any, **kwargs: Any) -> Any:
        return view(*args, **kwargs)

    return run


def _guarded(view: Callable[..., Any], guard: Guard) -> Callable[..., Any]:
    async def arun(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        response = await guard.aanswer(request, args, kwargs)
        if response is not None:
            return response
        try:
            found = view(request, *args, **kwargs)
            return await found if isinstance(found, Awaitable) else found
        except FAULTS as error:
            return _told(request, error)

    @wraps(view)
    def run(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        # dispatch() of an asynchronous class of views is a plain function, called on the event loop, that gives a coroutine.
        if _is_on_loop():
            return arun(request, *args, **kwargs)
        response = guard.answer(request, args, kwargs)
        if response is not None:
            return response
        try:
            return cast(HttpResponseBase, view(request, *args, **kwargs))
        except FAULTS as error:  # of a question inside the view, such as a filtered queryset
            return _told(request, error)

    found: Any = wraps(view)(arun) if iscoroutinefunction(view) else run
    setattr(found, GUARDS, (guard, *getattr(view, GUARDS, ())))
    return cast(Callable[..., Any], found)


def _told(request: HttpRequest, error: Exception) -> HttpResponseBase:
    """The answer to a fault inside a view. Raises `error` itself where it is none that a caller can be told."""
    response = refusals.of_error(request, error)
    if response is None:
        raise error
    return response


def _guarded_class(view: type, guard: Guard) -> type:
    if not callable(getattr(view, "dispatch", None)):
        raise TypeError(f"{view.__name__} is no class of views: it has no dispatch()")
    if hasattr(view, "permission_classes"):
        raise TypeError(
            f"{view.__name__} knows its user only inside: use permission_classes = [HasPermission] and required_permission"
        )
    inner = view.dispatch  # type: ignore[attr-defined]  # looked at above

    def dispatch(self: Any, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        def run(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            return inner(self, request, *args, **kwargs)

        return _guarded(run, guard)(request, *args, **kwargs)

    found: Any = wraps(inner)(dispatch)
    # On dispatch, from where as_view() takes it: a subclass that overrides dispatch is guarded no longer, and says so.
    setattr(found, GUARDS, (guard, *getattr(inner, GUARDS, ())))
    view.dispatch = found  # type: ignore[attr-defined]
    return view


def _is_on_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
