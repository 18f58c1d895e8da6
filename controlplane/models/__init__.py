"""The rows of the control plane, a file a noun."""

from __future__ import annotations

from controlplane.models.config import ConfigRevision
from controlplane.models.loop import LoopLease

__all__ = ["ConfigRevision", "LoopLease"]
