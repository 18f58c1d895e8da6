"""Every page, in the order of the menus."""

from __future__ import annotations

from typing import Final

from controlplane.pages.alerts import Alerts
from controlplane.pages.audit import Audit
from controlplane.pages.base import Page
from controlplane.pages.cache import Cache
from controlplane.pages.config import Config
from controlplane.pages.events import Events
from controlplane.pages.limits import Limits
from controlplane.pages.maintenance import Maintenance
from controlplane.pages.overview import Overview
from controlplane.pages.resilience import Resilience
from controlplane.pages.sessions import Sessions
from controlplane.pages.simulator import Simulator

PAGES: Final[tuple[type[Page], ...]] = (
    Overview,
    Events,
    Simulator,
    Cache,
    Resilience,
    Limits,
    Config,
    Alerts,
    Maintenance,
    Audit,
    Sessions,
)
