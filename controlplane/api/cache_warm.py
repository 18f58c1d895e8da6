"""/api/v1/system/cache/warm: filling this process's caches in the background, how far that is, and ending it."""

from __future__ import annotations

from typing import Any, Final

from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from controlplane.api.base import ControlView
from controlplane.api.cache import TAG
from controlplane.jobs import service as jobs
from controlplane.jobs import warming
from controlplane.models import OperationRun
from controlplane.services.rights import CACHE_PAGE, OPERATE, VIEW, require
from permissions.api import components
from permissions.api.components import Schema, ref
from permissions.api.openapi import Operation
from permissions.cache import warmup
from permissions.cache.warmup import Progress
from permissions.errors import Invalid, NotFound, Problem
from permissions.models import Realm

KEYS: Final = ("realm", "rate")


class WarmView(ControlView):
    """Of the process that answers: each fills its own memory, and all of them the second layer."""

    def parameters_of(self, method: str) -> tuple[str, ...]:
        return ()

    def post(self, request: HttpRequest) -> Response:
        require(self.actor, OPERATE, CACHE_PAGE)
        data = self.fields(request.data, KEYS)
        realm = data.get("realm")
        if realm is not None and not isinstance(realm, str):
            raise Invalid([Problem("realm", f"must be a text, not {type(realm).__name__}")])
        if realm is not None and not Realm.objects.filter(name=realm).exists():
            raise NotFound(f"there is no realm {realm!r}")
        try:
            progress = warmup.start(realm, rate=data.get("rate", warmup.RATE))
            # What it looks like from outside this process: a job with a row, that others can see and end too.
            run = jobs.start(
                warming.KIND.name,
                actor=self.actor,
                args={"realm": realm, "rate": progress.rate},
                key=warming.key_of(progress),
                request_id=self.request_id,
            )
        except ValueError as error:
            raise Invalid([Problem("rate", f"must be snapshots a second, from 1 to {warmup.MOST_RATE}")]) from error
        return Response(_line(progress, str(run.id)), status=202)

    def get(self, request: HttpRequest) -> Response:
        require(self.actor, VIEW, CACHE_PAGE)
        return Response(_line(warmup.last()))

    def delete(self, request: HttpRequest) -> Response:
        require(self.actor, OPERATE, CACHE_PAGE)
        progress = warmup.last()
        if progress is not None:
            progress.cancel()
        return Response(_line(progress), status=202)

    def operations(self) -> dict[str, Operation]:
        about = "Of the process that answers. A check never waits for it, and it makes no answer older or newer."
        return {
            "GET": Operation("cache_warmup", "How far the newest warm-up is", TAG, ref("CacheWarmup"), about=about, realm=False),
            "POST": Operation(
                "cache_warm",
                "Fill the caches in the background",
                TAG,
                ref("CacheWarmup"),
                status=202,
                body=ref("CacheWarm"),
                about=f"{about} One that runs already for the same is answered with; for something else it is 409.",
                realm=False,
                problems=(404,),
            ),
            "DELETE": Operation(
                "cache_warmup_cancel",
                "End the warm-up; what is filled stays",
                TAG,
                ref("CacheWarmup"),
                status=202,
                about=about,
                realm=False,
            ),
        }


def _line(progress: Progress | None, run: str = "") -> dict[str, Any]:
    """All the same members before the first one, so that whoever watches need not tell them apart. `run`: the row of its job."""
    if progress is None:
        return {**Progress(None).as_values(), "job": None, "run": None, "state": "none", "seconds": 0.0}
    return {**progress.as_values(), "run": run or _run_of(progress)}


def _run_of(progress: Progress) -> str | None:
    """A process that starts warms itself without being asked: that is no job."""
    found = OperationRun.objects.filter(key=warming.key_of(progress)).values_list("id", flat=True).first()
    return None if found is None else str(found)


def publish() -> None:
    """Into the document."""
    text: Schema = {"type": "string"}
    whole: Schema = {"type": "integer", "minimum": 0}
    realm: Schema = {"type": ["string", "null"], "description": "null: every realm."}
    states = ["none", "running", "done", "failed", "cancelled"]
    step = {
        **dict.fromkeys(("realm", "error"), text),
        "component": {**text, "enum": list(warmup.COMPONENTS)},
        "state": {**text, "enum": ["waiting", *states[1:]]},
        "done": whole,
        "total": whole,
    }
    job = {
        "job": {"type": ["string", "null"], "description": "null: this process has had none."},
        "run": {"type": ["string", "null"], "description": "Its row among the jobs; null: it warms itself without being asked."},
        "process": text,
        "realm": realm,
        "state": {**text, "enum": states},
        "ready": {"type": "boolean", "description": "Head and role table of every realm are there; the rest is speed."},
        "ratio": {"type": "number", "minimum": 0, "maximum": 1},
        "seconds": {"type": "number", "minimum": 0},
        "error": text,
        "components": {"type": "array", "items": {"type": "object", "properties": step, "required": list(step)}},
    }
    rate: Schema = {
        "type": "number",
        "minimum": 1,
        "maximum": warmup.MOST_RATE,
        "description": f"Snapshots a second, {warmup.RATE} where it is left out.",
    }
    warm = {"realm": {**realm, "description": "Left out or null: every realm."}, "rate": rate}
    components.add(
        {
            "CacheWarm": {"type": "object", "properties": warm, "additionalProperties": False},
            "CacheWarmup": {"type": "object", "properties": job, "required": list(job)},
        },
        {"CacheWarm": {"realm": "default", "rate": 500}},
    )
