"""Routes of Django's share of the site. AuthZEN's stand before them, in `permsite.asgi`."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from permsite import health

urlpatterns = [
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("api/v1/system/health", health.system_health),
    path("", RedirectView.as_view(url="/admin/")),
    path("admin/", admin.site.urls),
    # It answers whatever it does not know below /api/ itself: routes of others under /api/ stand before it.
    path("api/", include("permissions.api.urls")),
    path("i18n/", include("django.conf.urls.i18n")),
]
