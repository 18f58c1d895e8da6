"""The rows of the control plane, a file a noun."""

from __future__ import annotations

from controlplane.models.alerts import AlertDelivery, AlertHandler, AlertIncident, AlertRound, AlertRule, AlertSilence
from controlplane.models.config import ConfigRevision
from controlplane.models.jobs import OperationRun
from controlplane.models.live import FrameMean, LiveBeat, LiveEvent, LiveFrame, LiveMessage
from controlplane.models.loop import LoopLease
from controlplane.models.sessions import BrowserSession

__all__ = [
    "AlertDelivery",
    "AlertHandler",
    "AlertIncident",
    "AlertRound",
    "AlertRule",
    "AlertSilence",
    "BrowserSession",
    "ConfigRevision",
    "FrameMean",
    "LiveBeat",
    "LiveEvent",
    "LiveFrame",
    "LiveMessage",
    "LoopLease",
    "OperationRun",
]
