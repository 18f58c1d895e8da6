"""What the tests of the hot list share."""

from __future__ import annotations

from typing import Any

from permissions.cache.hot import HotList
from permissions.models import HotItem

EDITOR, OWNER = ("editor",), ("editor", "owner")


def meet(hot_list: HotList, *refs: str, roles: tuple[str, ...] = EDITOR) -> None:
    for ref in refs:
        hot_list.sample(ref, roles)


def use(settings: Any, url: str | None) -> None:
    """The second layer's server, as `permsite.settings.permission_cache` names it."""
    alias = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": [url]} if url else {"BACKEND": "dummy"}
    settings.CACHES = {**settings.CACHES, "permissions": alias}


def rows(realm_id: int) -> dict[tuple[str, str], tuple[int, int]]:
    return {(r.kind, r.item): (r.shared, r.direct) for r in HotItem.objects.filter(realm_id=realm_id)}
