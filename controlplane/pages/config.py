"""The configuration: what each live parameter is, where that comes from, who set it; which process runs which version."""

from __future__ import annotations

import datetime as dt
from typing import Any, ClassVar

from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from controlplane.admin.base import TITLES
from controlplane.live.hub import HUB
from controlplane.pages.base import Look, Page
from controlplane.services import config as service
from controlplane.services import effective
from controlplane.services.rights import CONFIG_CHANGE, CONFIG_PAGE, CONFIG_VIEW
from permissions.bundle.compact import date_text
from resilience import config

HISTORY = 20
SOURCES = {
    effective.DEFAULT: gettext_lazy("default"),
    effective.CODE: gettext_lazy("code or environment"),
    effective.ROW: gettext_lazy("set live"),
    effective.FORCED: gettext_lazy("forced"),
}


class Config(Page):
    name = "config"
    title = gettext_lazy("Configuration")
    about = gettext_lazy("What each live parameter is, where that comes from, and who set it")
    icon = "tune"
    view_code = CONFIG_VIEW
    parts: ClassVar = {"instances": "controlplane/pages/config_instances.html"}
    topics = ("config.",)
    renew_s = 5.0

    def snapshot(self, look: Look) -> dict[str, Any]:
        revision = service.active()
        return {
            "version": 0 if revision is None else revision.version,
            "at": None if revision is None else date_text(revision.created_at),
            "author": None if revision is None else revision.author,
            "reason": "" if revision is None else revision.reason,
            "sections": effective.sections(),
            "instances": instances(),
            "history": [
                {
                    "id": row.pk,
                    "version": row.version,
                    "at": date_text(row.created_at),
                    "author": row.author,
                    "section": row.section,
                    "reason": row.reason,
                    "rolled_back_from": row.rolled_back_from,
                    "in_force": row.is_active,
                }
                for row in service.history()[:HISTORY]
            ],
        }

    def context(self, look: Look) -> dict[str, Any]:
        may = look.may(CONFIG_CHANGE, "config")
        return {
            "titles": TITLES,
            "sources": SOURCES,
            "missing": "" if may else _("This needs %(code)s on %(page)s.") % {"code": CONFIG_CHANGE, "page": CONFIG_PAGE},
            "versions_url": reverse("admin:controlplane_configrevision_changelist"),
            "until": lambda moment: dt.datetime.fromtimestamp(moment, dt.UTC),
        }


def instances() -> list[dict[str, Any]]:
    """Every process that tells of itself, with what it has applied; a server is told of twice, and shown once."""
    found = {
        (one.host, one.pid): {
            "host": one.host,
            "pid": one.pid,
            "version": one.version,
            "source": one.source,
            "problem": one.problem,
            "age_s": round(one.age_s, 1),
        }
        for one in config.processes()
    }
    for node in HUB.nodes():
        key = (node.get("host", ""), node.get("pid", 0))
        if key not in found and node.get("config_version") is not None:
            found[key] = {
                "host": key[0],
                "pid": key[1],
                "version": node["config_version"],
                "source": "",
                "problem": "",
                "age_s": node.get("heartbeat_s"),
            }
    return [found[key] for key in sorted(found, key=str)]
