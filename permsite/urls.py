"""Routes of Django's share of the site. AuthZEN's stand before them, in `permsite.asgi`."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest, JsonResponse
from django.urls import include, path, re_path
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import RedirectView

from controlplane.collector.views import metrics
from controlplane.health import views as health


# Exempt: nothing is done here, and a refusal by the middleware would be an HTML page.
@csrf_exempt
def nothing_on_the_wire(request: HttpRequest) -> JsonResponse:
    """AuthZEN's errors are plain strings, at a path it does not have too."""
    return JsonResponse("there is nothing at this path", status=404, safe=False)


urlpatterns = [
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", metrics),
    path("api/v1/system/health", health.system_health),
    path("", RedirectView.as_view(url="/admin/")),
    path("admin/", admin.site.urls),
    path("api/", include("controlplane.urls")),
    # It answers whatever it does not know below /api/ itself: routes of others under /api/ stand before it.
    path("api/", include("permissions.api.urls")),
    re_path(r"^access/", nothing_on_the_wire),
    path("i18n/", include("django.conf.urls.i18n")),
]
