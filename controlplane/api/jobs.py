"""/api/v1/system/jobs: what runs in the background, how far it is, and starting, cancelling and repeating it."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from controlplane.api.base import ControlView
from controlplane.jobs import kinds, service
from controlplane.models import OperationRun
from controlplane.models.jobs import STATES
from permissions.api import components
from permissions.api.components import Schema, ref
from permissions.api.openapi import Operation, parameter
from permissions.api.problems import BadRequest
from permissions.bundle.compact import date_text

WHICH: Final = parameter("run_id", "The job.", {"type": "string", "format": "uuid"}, "path")
TAG: Final = "control"
KEYS: Final = ("kind", "arguments", "reason", "key")
STATE_NAMES: Final = tuple(name for name, _ in STATES)
STARTED: Final = (
    "The job waits in the queue, and the answer is its row. With a `key` that was sent before it is that job; with another job's "
    "key, or while another works at the same thing, it is 409."
)


class JobsView(ControlView):
    """Which kinds there are is in the answer: a job of an older version may be of one that is no more."""

    def parameters_of(self, method: str) -> tuple[str, ...]:
        return ("state", "kind", "limit") if method == "GET" else super().parameters_of(method)

    def get(self, request: HttpRequest) -> Response:
        state = self.query.get("state")
        if state and state not in STATE_NAMES:
            raise BadRequest(f"must be one of {', '.join(STATE_NAMES)}", "state")
        limit = self.query.get("limit") or "50"
        if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit[:9]) <= service.MOST_LISTED:
            raise BadRequest(f"must be a whole number from 1 to {service.MOST_LISTED}", "limit")
        runs = service.listed(actor=self.actor, state=state, kind=self.query.get("kind")[:50], limit=int(limit))
        known = [{"kind": kind.name, "title": str(kind.title), "about": str(kind.about)} for kind in kinds.every()]
        return Response({"jobs": [line(run) for run in runs], "kinds": known})

    def post(self, request: HttpRequest) -> Response:
        data = self.fields(request.data, KEYS, ("kind",))
        run = service.start(
            data["kind"],
            actor=self.actor,
            reason=self.why(data),
            args=data.get("arguments"),
            key=data.get("key", ""),
            request_id=self.request_id,
        )
        return Response(line(run, whole=True), status=202)

    def operations(self) -> dict[str, Operation]:
        return {
            "GET": Operation(
                "jobs",
                "Jobs, newest first",
                TAG,
                ref("Jobs"),
                realm=False,
                parameters=(
                    parameter("state", "Only those in this state.", {"type": "string", "enum": list(STATE_NAMES)}),
                    parameter("kind", "Only those of this kind.", {"type": "string"}),
                    parameter("limit", "How many.", {"type": "integer", "minimum": 1, "maximum": service.MOST_LISTED}),
                ),
            ),
            "POST": Operation(
                "job_start",
                "Start a job",
                TAG,
                ref("Job"),
                status=202,
                body=ref("JobStart"),
                about=STARTED,
                realm=False,
                problems=(404, 409),
            ),
        }


class JobView(ControlView):
    def parameters_of(self, method: str) -> tuple[str, ...]:
        return ()

    def get(self, request: HttpRequest, run_id: UUID) -> Response:
        return Response(line(service.one(run_id, actor=self.actor), whole=True))

    def operations(self) -> dict[str, Operation]:
        return {
            "GET": Operation("job", "One job with its log", TAG, ref("Job"), realm=False, problems=(404,), parameters=(WHICH,))
        }


class JobActionView(ControlView):
    """`cancel` or `repeat`, by the route."""

    verb = ""

    def post(self, request: HttpRequest, run_id: UUID) -> Response:
        reason = self.why(self.fields(request.data or {}, ("reason",)))
        act = service.cancel if self.verb == "cancel" else service.repeat
        run = act(run_id, actor=self.actor, reason=reason, request_id=self.request_id)
        return Response(line(run, whole=True), status=202)

    def operations(self) -> dict[str, Operation]:
        about = {
            "cancel": "One that waits has ended at once; one that runs ends at its next look. An import leaves nothing behind.",
            "repeat": "A new job of the same kind with the same arguments, once the first has ended.",
        }[self.verb]
        title = {"cancel": "End a job", "repeat": "Do a job again"}[self.verb]
        return {
            "POST": Operation(
                f"job_{self.verb}",
                title,
                TAG,
                ref("Job"),
                status=202,
                body=ref("JobReason"),
                about=about,
                realm=False,
                problems=(404, 409),
                parameters=(WHICH,),
            )
        }


def line(run: OperationRun, *, whole: bool = False) -> dict[str, Any]:
    """`whole`: with log, result and arguments."""
    shown = {
        "id": str(run.id),
        "kind": run.kind,
        "state": run.state,
        "actor": run.actor,
        "reason": run.reason,
        "done": run.done,
        "total": run.total,
        "step": run.step,
        "error": run.error,
        "attempt": run.attempt,
        "worker": run.worker,
        "cancel_asked": run.cancel_asked,
        "cancelled_by": run.cancelled_by,
        "repeat_of": None if run.repeat_of is None else str(run.repeat_of),
        "request_id": run.request_id,
        "trace_id": run.trace_id,
        "created_at": date_text(run.created_at),
        "started_at": None if run.started_at is None else date_text(run.started_at),
        "ended_at": None if run.ended_at is None else date_text(run.ended_at),
    }
    if whole:
        shown["arguments"] = service.shown_arguments(run)
        shown["result"] = run.result
        shown["log"] = [{"at": at, "text": text} for at, text in run.log]
        shown["log_dropped"] = run.log_dropped
    return shown


def publish() -> None:
    """Into the document."""
    text: Schema = {"type": "string"}
    whole: Schema = {"type": "integer", "minimum": 0}
    at: Schema = {"type": ["string", "null"], "format": "date-time"}
    reason: Schema = {"type": "string", "maxLength": 1000, "description": "Why, for the audit."}
    row: dict[str, Schema] = {
        **dict.fromkeys(
            ("id", "kind", "actor", "reason", "step", "error", "worker", "cancelled_by", "request_id", "trace_id"), text
        ),
        "state": {**text, "enum": list(STATE_NAMES)},
        "done": whole,
        "total": {**whole, "description": "0: not known yet."},
        "attempt": {**whole, "description": "How often it was taken up or taken away."},
        "cancel_asked": {"type": "boolean"},
        "repeat_of": {"type": ["string", "null"]},
        "created_at": {**text, "format": "date-time"},
        "started_at": at,
        "ended_at": at,
    }
    said: Schema = {"type": "object", "properties": {"at": text, "text": text}, "required": ["at", "text"]}
    full: dict[str, Schema] = {
        **row,
        "arguments": {"type": "object", "description": "A bundle is told by its length and digest."},
        "result": {"type": ["object", "null"]},
        "log": {"type": "array", "items": said},
        "log_dropped": whole,
    }
    kind: Schema = {"type": "object", "properties": dict.fromkeys(("kind", "title", "about"), text)}
    listed: dict[str, Schema] = {
        "jobs": {"type": "array", "items": {"type": "object", "properties": row, "required": list(row)}},
        "kinds": {"type": "array", "items": kind},
    }
    begin: dict[str, Schema] = {
        "kind": {**text, "description": "warm_cache, verify_audit, import; `GET` lists them."},
        "arguments": {
            "type": "object",
            "description": "warm_cache: realm, rate. verify_audit: realm. import: bundle (its text), realm, prune, dry_run.",
        },
        "reason": reason,
        "key": {"type": "string", "maxLength": service.MOST_KEY, "description": "Sent twice, it starts one job."},
    }
    components.add(
        {
            "Job": {"type": "object", "properties": full, "required": list(full)},
            "Jobs": {"type": "object", "properties": listed, "required": list(listed)},
            "JobStart": {"type": "object", "properties": begin, "required": ["kind"], "additionalProperties": False},
            "JobReason": {"type": "object", "properties": {"reason": reason}, "additionalProperties": False},
        },
        {
            "JobStart": {"kind": "verify_audit", "arguments": {"realm": "default"}, "reason": "before the audit"},
            "JobReason": {"reason": "asked for by mistake"},
        },
    )
