"""GET /api/v1/audit/export: the audit of a realm as CSV or JSON lines, streamed, bounded, and itself recorded."""

from __future__ import annotations

from typing import Any, Final, cast

from django.http import StreamingHttpResponse
from django.utils.http import content_disposition_header
from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from controlplane.services import audit as service
from permissions.api.base import ApiView
from permissions.api.openapi import Operation, parameter

_TYPES: Final = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl; charset=utf-8"}
_ABOUT: Final = {
    "actor": "Entries of this actor.",
    "action": "Entries of this action.",
    "object": "`type`, or `type id` with a space between them.",
    "subject": f"About this subject, of the last {service.LOOKED_AT} entries.",
    "request_id": "Entries of this request.",
    "revision": "Entries of this revision.",
    "since": "From this instant or day on.",
    "until": "Before this instant or day.",
}


class ExportView(ApiView):
    """Needs `permsite.control:export` on the page `audit`, and `permsite.audit:view` in the realm."""

    def parameters_of(self, method: str) -> tuple[str, ...]:
        return ("format", *service.NAMES)

    def get(self, request: HttpRequest) -> Response:
        kind = self.query.get("format", "jsonl")
        wanted = service.filter_of(self.query.get)
        realm = self.asker.realm
        rows, number = service.export_begin(self.asker.manager(), realm, wanted, kind, self.request_id)
        headers = {
            "Content-Disposition": content_disposition_header(True, f"audit-{realm}.{kind}") or "attachment",
            "X-Entries": str(number),
        }
        # DRF renders what is its own, and passes on what is Django's.
        stream: Any = StreamingHttpResponse(service.exported(rows, kind), content_type=_TYPES[kind], headers=headers)
        return cast(Response, stream)

    def operations(self) -> dict[str, Operation]:
        about = (
            f"At most {service.MOST_EXPORTED} entries, oldest first; more is refused, to be narrowed by time. In CSV what a "
            "spreadsheet would compute begins with an apostrophe. Needs `permsite.control:export` and `permsite.audit:view`."
        )
        kinds = {"type": "string", "enum": list(service.FORMATS), "default": "jsonl"}
        return {
            "GET": Operation(
                "audit_export",
                "Take the audit out",
                "audit",
                {"type": "string"},
                about=about,
                problems=(404,),
                parameters=(
                    parameter("format", "CSV or JSON lines.", kinds),
                    *(parameter(name, _ABOUT[name], {"type": "string"}) for name in service.NAMES),
                ),
            )
        }
