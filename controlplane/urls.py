"""Routes of the control plane below /api/v1/."""

from __future__ import annotations

from django.urls import path

from controlplane.api import (
    alert_shapes,
    assertions,
    boards,
    cache_warm,
    events,
    jobs,
    performance,
    sessions,
    shapes,
    snapshot,
    status,
)
from controlplane.api.alert_rules import HandlersView, HandlerView, RekeyView, RulesView, RuleView, TestFireView
from controlplane.api.alert_rules import ValidateView as RuleValidateView
from controlplane.api.alerts import (
    AcknowledgeView,
    AlertOneView,
    AlertsView,
    DeliveriesView,
    SilencesView,
    SilenceView,
    UnsilenceView,
)
from controlplane.api.assertions import AssertionView, RunView
from controlplane.api.audit_export import ExportView
from controlplane.api.breakers import AutoView, BreakersView, BreakerView, ForceClosedView, ForceOpenView
from controlplane.api.bulkheads import BulkheadsView, DrainView
from controlplane.api.cache import FlushView
from controlplane.api.cache_lookup import CacheView, HoldingsView
from controlplane.api.cache_warm import WarmView
from controlplane.api.config import HistoryView, IndexView, RollbackView, SectionView, ValidateView
from controlplane.api.events import EventsView
from controlplane.api.jobs import JobActionView, JobsView, JobView
from controlplane.api.limits import InspectView, LimitsView, LimitView, OverrideView, ResetView, ShadowView
from controlplane.api.locks import BreakView, LocksView
from controlplane.api.maintenance import MaintenanceView
from controlplane.api.performance import PerformanceView
from controlplane.api.sessions import LockoutsView, SessionsView, SessionView
from controlplane.api.snapshot import SnapshotView
from controlplane.api.status import StatusView

shapes.publish()
alert_shapes.publish()
assertions.publish()
sessions.publish()
cache_warm.publish()
boards.publish()
jobs.publish()
snapshot.publish()
status.publish()
performance.publish()
events.publish()

urlpatterns = [
    path("v1/assertions/", AssertionView.as_view(AssertionView.collection), name="api-assertions"),
    path("v1/assertions/run", RunView.as_view(), name="api-assertions-run"),
    path("v1/assertions/<path:name>/", AssertionView.as_view(AssertionView.item), name="api-assertions-item"),
    path("v1/audit/export", ExportView.as_view(), name="api-audit-export"),
    path("v1/sessions/", SessionsView.as_view(), name="api-sessions"),
    path("v1/sessions/lockouts", LockoutsView.as_view(), name="api-lockouts"),
    path("v1/sessions/<str:session_id>/", SessionView.as_view(), name="api-sessions-item"),
    path("v1/maintenance", MaintenanceView.as_view(), name="api-maintenance"),
    path("v1/system/alerts", AlertsView.as_view(), name="api-alerts"),
    path("v1/system/alerts/<str:key>", AlertOneView.as_view(), name="api-alert"),
    path("v1/system/alerts/<str:key>/acknowledge", AcknowledgeView.as_view(), name="api-alert-acknowledge"),
    path("v1/system/alerts/<str:key>/silence", SilenceView.as_view(), name="api-alert-silence"),
    path("v1/system/alerts/<str:key>/unsilence", UnsilenceView.as_view(), name="api-alert-unsilence"),
    path("v1/system/alert-silences", SilencesView.as_view(), name="api-alert-silences"),
    path("v1/system/alert-deliveries", DeliveriesView.as_view(), name="api-alert-deliveries"),
    path("v1/system/alert-rules", RulesView.as_view(), name="api-alert-rules"),
    path("v1/system/alert-rules/<str:name>", RuleView.as_view(), name="api-alert-rule"),
    path("v1/system/alert-rules/<str:name>/validate", RuleValidateView.as_view(), name="api-alert-rule-validate"),
    path("v1/system/alert-rules/<str:name>/test-fire", TestFireView.as_view(), name="api-alert-rule-test-fire"),
    path("v1/system/alert-rules/<str:name>/silence", SilenceView.as_view(of="alert_rule"), name="api-alert-rule-silence"),
    path("v1/system/alert-rules/<str:name>/unsilence", UnsilenceView.as_view(of="alert_rule"), name="api-alert-rule-unsilence"),
    path("v1/system/alert-handlers", HandlersView.as_view(), name="api-alert-handlers"),
    path("v1/system/alert-handlers/<str:name>", HandlerView.as_view(), name="api-alert-handler"),
    path("v1/system/alert-handlers/<str:name>/rekey", RekeyView.as_view(), name="api-alert-handler-rekey"),
    path("v1/system/breakers", BreakersView.as_view(), name="api-breakers"),
    path("v1/system/breakers/<str:name>", BreakerView.as_view(), name="api-breaker"),
    path("v1/system/breakers/<str:name>/force-open", ForceOpenView.as_view(), name="api-breaker-force-open"),
    path("v1/system/breakers/<str:name>/force-closed", ForceClosedView.as_view(), name="api-breaker-force-closed"),
    path("v1/system/breakers/<str:name>/auto", AutoView.as_view(), name="api-breaker-auto"),
    path("v1/system/bulkheads", BulkheadsView.as_view(), name="api-bulkheads"),
    path("v1/system/bulkheads/<str:name>/drain", DrainView.as_view(), name="api-bulkhead-drain"),
    path("v1/system/locks", LocksView.as_view(), name="api-locks"),
    path("v1/system/locks/<str:name>/break", BreakView.as_view(), name="api-lock-break"),
    path("v1/system/limits", LimitsView.as_view(), name="api-limits"),
    path("v1/system/limits/<str:rule>", LimitView.as_view(), name="api-limit"),
    path("v1/system/limits/<str:rule>/inspect", InspectView.as_view(), name="api-limit-inspect"),
    path("v1/system/limits/<str:rule>/override", OverrideView.as_view(), name="api-limit-override"),
    path("v1/system/limits/<str:rule>/reset", ResetView.as_view(), name="api-limit-reset"),
    path("v1/system/limits/<str:rule>/shadow", ShadowView.as_view(), name="api-limit-shadow"),
    path("v1/system/cache", CacheView.as_view(), name="api-cache"),
    path("v1/system/cache/subject", HoldingsView.as_view(), name="api-cache-subject"),
    path("v1/system/cache/flush", FlushView.as_view(), name="api-cache-flush"),
    path("v1/system/cache/warm", WarmView.as_view(), name="api-cache-warm"),
    path("v1/system/config", IndexView.as_view(), name="api-config"),
    path("v1/system/config/<str:section>", SectionView.as_view(), name="api-config-section"),
    path("v1/system/config/<str:section>/history", HistoryView.as_view(), name="api-config-history"),
    path("v1/system/config/<str:section>/validate", ValidateView.as_view(), name="api-config-validate"),
    path("v1/system/config/<str:section>/rollback", RollbackView.as_view(), name="api-config-rollback"),
    path("v1/system/jobs", JobsView.as_view(), name="api-jobs"),
    path("v1/system/jobs/<uuid:run_id>", JobView.as_view(), name="api-job"),
    path("v1/system/jobs/<uuid:run_id>/cancel", JobActionView.as_view(verb="cancel"), name="api-job-cancel"),
    path("v1/system/jobs/<uuid:run_id>/repeat", JobActionView.as_view(verb="repeat"), name="api-job-repeat"),
    path("v1/system/status", StatusView.as_view(), name="api-system-status"),
    path("v1/system/performance", PerformanceView.as_view(), name="api-system-performance"),
    path("v1/system/events", EventsView.as_view(), name="api-system-events"),
    path("v1/system/snapshot/<str:name>", SnapshotView.as_view(), name="api-snapshot"),
]
