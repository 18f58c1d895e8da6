"""/api/v1/maintenance: the switch."""

from __future__ import annotations

from typing import Any, Final

from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from controlplane.api.base import ControlView, version_headers
from controlplane.api.config import EXPECTED, TAG
from controlplane.services import maintenance as service
from controlplane.services.config import values_of
from permissions.api.openapi import Operation, ref
from resilience import params
from resilience.maintenance import SWITCH, Status, moment_text

KEYS: Final = ("mode", "reason", "until", "allow", "paths", "permissions")


class MaintenanceView(ControlView):
    """Its path is never behind the switch."""

    def get(self, request: HttpRequest) -> Response:
        status, revision = service.maintenance_status(actor=self.actor)
        version = 0 if revision is None else revision.version
        return Response({**line(status), "version": version}, headers=version_headers(version))

    def put(self, request: HttpRequest) -> Response:
        expected = self.expected()
        data = self.fields(request.data, KEYS, ("mode",))
        done = service.maintenance_set(
            actor=self.actor, values=dict(data), expected=expected, reason=self.reason, request_id=self.request_id
        )
        status = SWITCH.effective(params.validate(service.SECTION, values_of(service.SECTION, done.revision)))
        body = {**line(status), "version": done.revision.version, "announced": done.announced}
        return Response(body, headers=version_headers(done.revision.version))

    def operations(self) -> dict[str, Operation]:
        about = "What is left out is as by default: no end, nobody let through, no narrowing."
        return {
            "GET": Operation("maintenance", "The maintenance switch", TAG, ref("Maintenance"), realm=False),
            "PUT": Operation(
                "maintenance_set",
                "Turn the maintenance switch",
                TAG,
                ref("Maintenance"),
                body=ref("MaintenanceLine"),
                about=about,
                realm=False,
                parameters=(EXPECTED,),
            ),
        }


def line(status: Status) -> dict[str, Any]:
    return {**status.as_values(), "until": None if status.until is None else moment_text(status.until)}
