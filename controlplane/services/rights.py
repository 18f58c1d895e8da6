"""Who may operate the platform: codes of the platform, asked in the realm CONTROL_REALM, on `permsite.control:<page>`.

An administrator (a superuser's break-glass, a command, an `--admin` key of that realm) is asked nothing, so that the switch can
be turned while no decision can be given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from permissions import conf, pdp
from permissions.engine.types import Request
from permissions.errors import Forbidden
from permissions.writing import Actor

CONFIG_VIEW: Final = "permsite.config:view"
CONFIG_CHANGE: Final = "permsite.config:change"
VIEW: Final = "permsite.control:view"
OPERATE: Final = "permsite.control:operate"
CONFIG_PAGE: Final = "permsite.control:config"
MAINTENANCE_PAGE: Final = "permsite.control:maintenance"
CACHE_PAGE: Final = "permsite.control:cache"
APPROVE: Final = "permsite.control:approve"
EXPORT: Final = "permsite.control:export"


def on_page(name: str) -> str:
    """The resource that stands for a page."""
    return f"permsite.control:{name}"


def control_realm() -> str:
    return conf.setting("CONTROL_REALM", "default")


def may(actor: Actor, code: str, page: str) -> bool:
    if actor.administrator:
        return True
    if actor.subject is None:
        return False
    # `full`: a right taken away a moment ago through another worker must not switch a site off.
    request = Request(actor.subject, code, page, asserted="ignore")
    return bool(pdp.decide(request, realm=control_realm(), full=True))


def may_each(actor: Actor, wanted: Sequence[tuple[str, str]]) -> list[bool]:
    """For (code, page) each: a menu asks once for all of its pages."""
    if actor.administrator:
        return [True] * len(wanted)
    if actor.subject is None:
        return [False] * len(wanted)
    requests = [Request(actor.subject, code, page, asserted="ignore") for code, page in wanted]
    return [bool(decision) for decision in pdp.decide_many(requests, realm=control_realm(), full=True)]


def require(actor: Actor, code: str, page: str) -> None:
    if not may(actor, code, page):
        raise Forbidden(f"this needs {code} on {page} in the realm {control_realm()}")
