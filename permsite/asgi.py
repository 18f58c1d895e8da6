"""The site as one ASGI application, made of Django, AuthZEN's own and the files under /static/."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from asgiref.sync import sync_to_async
from asgiref.wsgi import WsgiToAsgi
from django import setup
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.http.response import HttpResponseBase
from whitenoise import WhiteNoise

from permsite import tracing
from permsite.bodies import Capped, unread

if TYPE_CHECKING:
    from django.http import HttpRequest

    from permsite.dispatch import Site
    from permsite.tracing import Traced

Application = Callable[
    [
        MutableMapping[str, Any],
        Callable[[], Awaitable[MutableMapping[str, Any]]],
        Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ],
    Awaitable[None],
]
STATIC: Final = "/static/"


def _not_found(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
    return [b"There is no such file.\n"]


def _no_guessing(headers: Any, path: str, url: str) -> None:
    headers["X-Content-Type-Options"] = "nosniff"


def static_files(root: Path) -> Application:
    """whitenoise knows WSGI alone: as Django middleware it would cost every page a thread hop, here it costs files one."""
    files = WhiteNoise(_not_found, prefix=STATIC, max_age=3600, add_headers_function=_no_guessing)
    if root.is_dir():
        files.add_files(str(root), prefix=STATIC)

    def closing(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        # asgiref (3.13) leaves what a WSGI application returns unclosed, an open file here.
        answer = files(environ, start_response)
        try:
            yield from answer
        finally:
            getattr(answer, "close", lambda: None)()

    return cast(Application, WsgiToAsgi(closing))  # type: ignore[no-untyped-call]  # asgiref gives it no types


class OneHop(ASGIHandler):
    """Django's handler, with the whole chain of middleware and view in one thread.

    Every middleware of ours can do both, so Django would run the chain on the event loop and hand each one's two halves to a
    thread: twenty hand-overs a request, which took longer than all the rest of it (3.2 ms against 1.4, measured).
    """

    def load_middleware(self, is_async: bool = False) -> None:
        super().load_middleware(is_async=False)

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        return await sync_to_async(self.get_response, thread_sensitive=True)(request)


def build() -> Site | Traced:
    """A new application for the settings as they are now: PUBLIC_URL is known only once a socket is bound."""
    setup(set_prefix=False)
    # It adds a middleware of its own, which the handler below reads.
    tracing.start()
    django = OneHop()
    # They use models, which need the apps that the line above has loaded.
    from permissions import conf, pdp  # noqa: PLC0415
    from permissions.authzen.app import create_application  # noqa: PLC0415
    from permissions.authzen.signing import Signer  # noqa: PLC0415
    from permissions.identity import keys  # noqa: PLC0415
    from permsite.dispatch import Site  # noqa: PLC0415

    public_url = settings.PUBLIC_URL or "http://127.0.0.1:8000"
    signer = Signer(conf.secret_keys())
    authzen = create_application(pdp, keys, public_url, superuser=settings.SUPERUSER_ON_WIRE, signer=signer)
    site = Site(
        authzen=authzen,
        authzen_paths=authzen.paths,
        static=unread(static_files(Path(settings.STATIC_ROOT))),
        django=Capped(cast(Application, django)),
    )
    return tracing.around(site)


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "permsite.settings")
application = build()
