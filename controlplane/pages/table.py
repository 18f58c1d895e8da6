"""Every page, in the order of the menus."""

from __future__ import annotations

from typing import Final

from controlplane.pages.base import Page
from controlplane.pages.overview import Overview

PAGES: Final[tuple[type[Page], ...]] = (Overview,)
