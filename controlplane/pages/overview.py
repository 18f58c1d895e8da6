"""The overview: how the system breathes, right now."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _

from controlplane.pages.base import Look, Page


class Overview(Page):
    name = "overview"
    title = _("Overview")
    icon = "monitoring"

    def snapshot(self, look: Look) -> dict[str, Any]:
        return {}
