"""Checks of the composition: what a production server must name itself."""

from __future__ import annotations

from collections.abc import Sequence

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register


@register(Tags.security, deploy=True)
def production_names_its_own(app_configs: Sequence[AppConfig] | None, **kwargs: object) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    if not settings.SECRET_KEY_NAMED:
        found.append(
            Warning(
                "SECRET_KEY is not set: the key kept in the site's own folder is used, which a second host would not have.",
                hint="Set SECRET_KEY or SECRET_KEY_FILE; `serve` does not start without it.",
                id="permsite.W002",
            )
        )
    if settings.SERVERS_LAUNCHED:
        found.append(
            Error(
                "The store is a server that the demo started: it ends with the demo and is never updated.",
                hint="Set REDIS_URL and DATABASE_URL to servers of your own.",
                id="permsite.E002",
            )
        )
    if not settings.PUBLIC_URL.startswith("https://"):
        found.append(
            Warning(
                "PUBLIC_URL does not begin with https: cookies and tokens travel in clear.",
                hint="Set PUBLIC_URL to the address that callers use, such as https://permsite.example.org.",
                id="permsite.W001",
            )
        )
    return found
