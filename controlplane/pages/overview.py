"""The overview: how the system breathes, right now."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from controlplane.live import history
from controlplane.live.hub import HUB
from controlplane.live.port import LiveError
from controlplane.pages import find
from controlplane.pages.base import Look, Page
from controlplane.pages.menu import visible
from controlplane.pages.view import live_urls
from controlplane.services.rights import control_realm
from permissions import pdp
from permissions.admin.asker import actor_of
from permissions.models import Permission, Resource, RoleBinding

WINDOWS: Final = {"live": _("live"), "15m": _("15 min"), "1h": _("1 h"), "24h": _("24 h")}
LATEST: Final = 20
# A frame older than this is shown grey, also before a script says so.
STALE_S: Final = 3.0
# Of a process, in the table of instances.
SHOWN: Final = (
    *("id", "host", "pid", "kind", "version", "config_version", "revision_lag", "age_s", "rss_mb", "cpu_percent"),
    *("loop_lag_ms", "sockets", "checks_per_s", "late", "leads"),
)
# Rows of the table behind a chart as the server draws it.
MAX_ROWS: Final = 30

# Name of the tile, figure, its format, where it leads, more of the same, and when it warns.
TILES: Final[tuple[Mapping[str, Any], ...]] = (
    {
        "name": _("Checks"),
        "figure": "checks_per_s",
        "form": "rate",
        "page": "events",
        "more": ((_("allowed"), "allowed_per_s", "rate"), (_("denied"), "denied_per_s", "rate")),
    },
    {
        "name": _("Latency p95"),
        "figure": "p95_ms",
        "form": "ms",
        "anchor": "latency",
        "warn_above": "50",
        "bad_above": "250",
        "more": ((_("p50"), "p50_ms", "ms"), (_("p99"), "p99_ms", "ms")),
    },
    {
        "name": _("Hit rate"),
        "figure": "hit_rate",
        "form": "percent",
        "page": "cache",
        "more": ((_("memory"), "hit_l1", "percent"), (_("Redis"), "hit_redis", "percent")),
    },
    {
        "name": _("Deny share"),
        "figure": "deny_share",
        "form": "percent",
        "page": "events",
        "query": "?decision=deny",
        "more": ((_("denied"), "denied_per_s", "rate"), (_("errors"), "errors_per_s", "rate")),
    },
    {
        "name": _("Open breakers"),
        "figure": "open_breakers",
        "form": "count",
        "page": "resilience",
        "bad_above": "0",
        "more": ((_("forced"), "forced_breakers", "count"),),
    },
    {
        "name": _("Firing alerts"),
        "figure": "firing",
        "form": "count",
        "page": "alerts",
        "bad_above": "0",
        "more": ((_("pending"), "pending", "count"),),
    },
)

CHARTS: Final[tuple[Mapping[str, Any], ...]] = (
    {
        "id": "rate",
        "title": _("Checks by answer"),
        "form": "rate",
        "lines": ((_("allowed"), "allowed_per_s"), (_("denied"), "denied_per_s")),
    },
    {
        "id": "latency",
        "title": _("Latency"),
        "form": "ms",
        "lines": (("p50", "p50_ms"), ("p95", "p95_ms"), ("p99", "p99_ms")),
    },
    {
        "id": "hits",
        "title": _("Hit rate"),
        "form": "percent",
        "lines": ((_("all layers"), "hit_rate"), (_("memory"), "hit_l1")),
    },
)


class Overview(Page):
    name = "overview"
    title = _("Live overview")
    icon = "monitoring"
    about = _("How the system breathes, right now")
    parts = {"instances": "controlplane/pages/overview_instances.html"}  # noqa: RUF012 - Page declares it a Mapping
    renew_s = 2.0
    streams = ("events",)
    scripts = ("controlplane/overview.js",)

    def snapshot(self, look: Look) -> dict[str, Any]:
        from controlplane.pages.events import LOOKED, seen  # noqa: PLC0415 - it names this page's addresses

        events = seen(look, HUB.events(limit=LOOKED))[-LATEST:]
        return {
            **pulse(),
            "window": window_of(look),
            "events": events[::-1],
            "last": events[-1]["id"] if events else "",
            "nodes": instances(),
        }

    def context(self, look: Look) -> dict[str, Any]:
        window = window_of(look)
        frame = HUB.frame()
        is_empty = frame is None or not frame.get("checks_per_s")
        return {
            "tiles": tiles(look),
            "windows": [{"name": name, "title": title, "active": name == window} for name, title in WINDOWS.items()],
            "charts": charts(window),
            "events_url": page_address(look, "events"),
            "curl": curl(look.request) if is_empty and look.request is not None else "",
        }


def pulse() -> dict[str, Any]:
    """The newest frame, and whether it is too old to be shown as live."""
    age = HUB.frame_age_s()
    return {"frame": HUB.frame(), "frame_age_s": age, "is_stale": age is None or age > STALE_S}


def instances() -> list[dict[str, Any]]:
    """The processes that tell of themselves. `revision`: W, of the realm that has the most of them."""
    now = time.time()
    found = []
    for node in HUB.nodes():
        at = node.get("at")
        found.append(
            {
                **{name: node.get(name) for name in SHOWN},
                "revision": max((node.get("revisions") or {}).values(), default=None),
                "heartbeat_s": max(0.0, now - at) if isinstance(at, int | float) else None,
            }
        )
    return found


def on_index(request: HttpRequest) -> dict[str, Any] | None:
    """What the admin's index shows of the overview; None for whoever may not see it."""
    page = next((page for page in visible(request) if page.name == Overview.name), None)
    if page is None:
        return None
    look = Look(actor_of(request), page.name, request.GET, request)
    return {"tiles": tiles(look), "data": pulse(), "page_object": page, "live_urls": live_urls(request, page.name)}


def window_of(look: Look) -> str:
    asked = look.get("window")
    return asked if asked in WINDOWS else "live"


def tiles(look: Look) -> list[dict[str, Any]]:
    """With the address of the page that each opens, for whoever may see that page."""
    found = []
    for tile in TILES:
        if "anchor" in tile:
            url = reverse("admin:control") + "#" + tile["anchor"]
        else:
            url = page_address(look, tile["page"])
            url += tile.get("query", "") if url else ""
        found.append({**tile, "url": url})
    return found


def page_address(look: Look, name: str) -> str:
    """Empty for a page that may not be seen."""
    page = find(name)
    try:
        may = page is not None and look.may(page.view_code, name)
    except pdp.Unavailable:
        may = False
    return reverse("admin:control_page", args=[name]) if may else ""


def charts(window: str) -> list[dict[str, Any]]:
    """With the rows of the table behind each, newest first: for those without a script."""
    try:
        found = history.window(window, [figure for chart in CHARTS for _name, figure in chart["lines"]])
    except LiveError:
        found = {"at": []}
    at = found["at"]
    step = max(1, -(-len(at) // MAX_ROWS))
    places = range(len(at) - 1, -1, -step)
    return [
        {
            **chart,
            "figures": " ".join(figure for _name, figure in chart["lines"]),
            "labels": "|".join(str(name) for name, _figure in chart["lines"]),
            "window": window,
            "rows": [
                (at[i], [found.get(figure, ())[i] if figure in found else None for _name, figure in chart["lines"]])
                for i in places
            ],
        }
        for chart in CHARTS
    ]


def curl(request: HttpRequest) -> str:
    """A check to be copied, about what the realm knows; the key is read from its file, never shown."""
    binding = RoleBinding.objects.filter(realm__name=control_realm()).select_related("subject").order_by("pk").first()
    subject = binding.subject.ref if binding is not None else "user:alice"
    code = (
        Permission.objects.filter(realm__name=control_realm()).order_by("pk").values_list("code", flat=True).first()
        or "post:read"
    )
    kind, _mark, action = code.partition(":")
    resource = (
        Resource.objects.filter(realm__name=control_realm(), ref__startswith=f"{kind}:")
        .order_by("pk")
        .values_list("ref", flat=True)
        .first()
        or f"{kind}:1"
    )
    body = {
        "subject": dict(zip(("type", "id"), subject.split(":", 1), strict=True)),
        "action": {"name": action},
        "resource": dict(zip(("type", "id"), resource.split(":", 1), strict=True)),
    }
    key = Path(getattr(settings, "VAR", "")) / "api_key"
    return (
        f"curl -s {request.scheme}://{request.get_host()}/access/v1/evaluation "
        f'-H "Authorization: Bearer {f"$(cat {key})" if key.is_file() else "<API key>"}" '
        # An id may hold quotes, and the line is meant to be pasted into a shell.
        f"-H 'Content-Type: application/json' -d {shlex.quote(json.dumps(body))}"
    )
