"""How long requests take, by the way they came in: counted on the event loop alone, so without a lock."""

from __future__ import annotations

from functools import cache
from typing import Literal

from controlplane.metrics import REQUEST_SECONDS
from resilience import telemetry
from resilience.telemetry import Cell

Way = Literal["wire", "api", "page"]


@cache
def cell(way: Way) -> Cell:
    """On first use: the table of metrics is declared once the apps are loaded."""
    return telemetry.cell(REQUEST_SECONDS, way)
