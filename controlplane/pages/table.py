"""Every page, in the order of the menus."""

from __future__ import annotations

from typing import Final

from controlplane.pages.base import Page
from controlplane.pages.cache import Cache
from controlplane.pages.events import Events
from controlplane.pages.limits import Limits
from controlplane.pages.maintenance import Maintenance
from controlplane.pages.overview import Overview
from controlplane.pages.resilience import Resilience

PAGES: Final[tuple[type[Page], ...]] = (Overview, Events, Cache, Resilience, Limits, Maintenance)
