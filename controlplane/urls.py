"""Routes of the control plane below /api/v1/."""

from __future__ import annotations

from django.urls import path

from controlplane.api import cache_warm, shapes, snapshot
from controlplane.api.cache import FlushView
from controlplane.api.cache_warm import WarmView
from controlplane.api.config import HistoryView, IndexView, RollbackView, SectionView, ValidateView
from controlplane.api.maintenance import MaintenanceView
from controlplane.api.snapshot import SnapshotView

shapes.publish()
cache_warm.publish()
snapshot.publish()

urlpatterns = [
    path("v1/maintenance", MaintenanceView.as_view(), name="api-maintenance"),
    path("v1/system/cache/flush", FlushView.as_view(), name="api-cache-flush"),
    path("v1/system/cache/warm", WarmView.as_view(), name="api-cache-warm"),
    path("v1/system/config", IndexView.as_view(), name="api-config"),
    path("v1/system/config/<str:section>", SectionView.as_view(), name="api-config-section"),
    path("v1/system/config/<str:section>/history", HistoryView.as_view(), name="api-config-history"),
    path("v1/system/config/<str:section>/validate", ValidateView.as_view(), name="api-config-validate"),
    path("v1/system/config/<str:section>/rollback", RollbackView.as_view(), name="api-config-rollback"),
    path("v1/system/snapshot/<str:name>", SnapshotView.as_view(), name="api-snapshot"),
]
