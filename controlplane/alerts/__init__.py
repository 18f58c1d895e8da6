"""Alerts: rules over the live figures, incidents with a life of their own, and handlers that tell of them."""

from __future__ import annotations

from controlplane.alerts.counting import counts

__all__ = ["counts"]
