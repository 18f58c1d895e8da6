"""Maintenance and jobs: the switch with what callers would read, what runs in the background, and whether this site is ready."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final
from uuid import UUID

from django.db import DatabaseError, InterfaceError
from django.template.loader import render_to_string
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from controlplane.health.detail import Details
from controlplane.health.monitor import current, monitor
from controlplane.jobs import kinds, service
from controlplane.models import ConfigRevision, OperationRun
from controlplane.models.jobs import STATES
from controlplane.pages.base import Look, Page
from controlplane.services import maintenance as switch
from permissions.errors import Invalid, NotFound, Problem
from permissions.models import Realm
from resilience import maintenance, params
from resilience.errors import MaintenanceMode

if TYPE_CHECKING:
    from controlplane.admin.forms import ParamsForm

# What it found is kept for a second, for whoever looks.
_details: Final = Details(monitor)
MOST_JOBS: Final = 30
MOST_HISTORY: Final = 10
SIGNS: Final = {"running": "info", "done": "ok", "failed": "bad", "lost": "bad", "cancelled": "off", "waiting": "warn"}
HEALTH_SIGNS: Final = {"ok": "ok", "degraded": "warn", "down": "bad", "none": "off"}
# The page for browsers is a whole document; what it says stands in its one <main>.
_SAID: Final = re.compile(r"<main>(.*?)</main>", re.DOTALL)


class Maintenance(Page):
    name = "maintenance"
    title = gettext_lazy("Maintenance and jobs")
    about = gettext_lazy("The switch, what runs in the background, and whether the site is ready")
    icon = "build"
    parts: ClassVar[Mapping[str, str]] = {
        "switch": "controlplane/pages/maintenance_switch.html",
        "jobs": "controlplane/pages/maintenance_jobs.html",
        "readiness": "controlplane/pages/maintenance_readiness.html",
    }
    topics = ("job.", "maintenance.", "config.")
    renew_s = 5.0

    def snapshot(self, look: Look) -> dict[str, Any]:
        status, revision = switch.maintenance_status(actor=look.actor)
        current()
        now = _details.get()
        return {
            "switch": {**status.as_values(), "on": status.on, "version": 0 if revision is None else revision.version},
            "history": history(),
            "jobs": [job_line(run) for run in self._jobs(look)],
            "readiness": {
                "state": now.verdict.state,
                "causes": [str(cause) for cause in now.verdict.causes],
                "components": now.components,
            },
        }

    def context(self, look: Look) -> dict[str, Any]:
        status, revision = switch.maintenance_status(actor=look.actor)
        current()
        now = _details.get()
        return {
            "status": status,
            "until": None if status.until is None else params.moment_of(status.until),
            "form": switch_form(status.as_values()),
            "version": 0 if revision is None else revision.version,
            "runs": [shown(run) for run in self._jobs(look)],
            "kinds": kinds.every(),
            "realms": list(Realm.objects.order_by("name").values_list("name", flat=True)[:500]),
            "states": [{"name": name, "title": title, "active": name == look.get("state")} for name, title in STATES],
            "chosen": look.get("state"),
            "components": [
                {"name": name, "state": told["state"], "sign": HEALTH_SIGNS.get(told["state"], "off"), "facts": facts(told)}
                for name, told in now.components.items()
            ],
            "ready_sign": HEALTH_SIGNS.get(now.verdict.state, "off"),
        }

    def _jobs(self, look: Look) -> list[OperationRun]:
        state = look.get("state")
        known = state if state in SIGNS else ""
        return service.listed(actor=look.actor, state=known, kind=look.get("kind", 50), limit=MOST_JOBS)


def switch_form(values: Mapping[str, Any], typed: Mapping[str, str] | None = None) -> ParamsForm:
    # The admin's package makes its own classes, while template tags, which load the pages, are still being looked for.
    from controlplane.admin.forms import ParamsForm  # noqa: PLC0415

    return ParamsForm(params.section_of(switch.SECTION), typed, values)


def turn(look: Look, fields: Mapping[str, str], reason: str) -> str:
    form = switch_form({}, fields)
    if not form.is_valid():
        raise Invalid([Problem(name, str(told)) for name, errors in form.errors.items() for told in errors])
    return _turned(look, form.entry(), fields, reason)


def end(look: Look, fields: Mapping[str, str], reason: str) -> str:
    return _turned(look, {"mode": "off"}, fields, reason)


def _turned(look: Look, values: Mapping[str, Any], fields: Mapping[str, str], reason: str) -> str:
    done = switch.maintenance_set(
        actor=look.actor, values=values, expected=version_of(fields), reason=reason, request_id=look.request_id
    )
    told = _("Version %(version)s is in force.") % {"version": done.revision.version}
    if done.announced is False:
        told += " " + _("The store could not be told: other processes follow within some seconds.")
    return told


def version_of(fields: Mapping[str, str]) -> int:
    """The version the form was drawn from; a text that is none counts as one that is in force no more."""
    text = fields.get("version", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else -1


def preview(look: Look, fields: Mapping[str, str]) -> dict[str, Any]:
    """What browsers and programs would read; what was typed stays in the form."""
    form = switch_form({}, fields)
    form.full_clean()
    entry = form.entry()
    wrong = params.problems(switch.SECTION, entry)
    for path, told in wrong:
        name = path.rpartition(".")[2]
        form.add_error(name if name in form.fields else None, told)
    if wrong:
        return {"form": form}
    until = params.validate(switch.SECTION, entry).get("until")
    refused = MaintenanceMode(str(entry.get("reason", "")), until)
    page = render_to_string("503.html", {"reason": refused.reason, "until": maintenance.moment(refused)})
    return {"form": form, "preview": _said(page), "preview_api": maintenance.problem(refused).decode()}


def _said(page: str) -> SafeString:
    """Rendered by the template that callers get, which escapes what was typed."""
    found = _SAID.search(page)
    return mark_safe(found[1]) if found else mark_safe("")  # noqa: S308 - see above


def job_start(look: Look, fields: Mapping[str, str], reason: str) -> str:
    given: dict[str, Any] = {name: fields[name] for name in ("realm", "bundle") if fields.get(name)}
    if fields.get("kind") == "import":
        given |= {name: fields.get(name) == "on" for name in ("prune", "dry_run")}
    run = service.start(fields.get("kind"), actor=look.actor, reason=reason, args=given, request_id=look.request_id)
    return _("Job %(job)s was asked for.") % {"job": str(run.id)[:8]}


def job_cancel(look: Look, fields: Mapping[str, str], reason: str) -> str:
    run = service.cancel(_run_id(fields), actor=look.actor, reason=reason, request_id=look.request_id)
    if run.is_open:
        return _("Job %(job)s is told to end.") % {"job": str(run.id)[:8]}
    return _("Job %(job)s has ended.") % {"job": str(run.id)[:8]}


def job_repeat(look: Look, fields: Mapping[str, str], reason: str) -> str:
    run = service.repeat(_run_id(fields), actor=look.actor, reason=reason, request_id=look.request_id)
    return _("Job %(job)s was asked for.") % {"job": str(run.id)[:8]}


def _run_id(fields: Mapping[str, str]) -> UUID:
    try:
        return UUID(fields.get("run", ""))
    except ValueError:
        raise NotFound(f"there is no job {fields.get('run', '')[:40]!r}") from None


Maintenance.actions = {"turn": turn, "end": end, "job_start": job_start, "job_cancel": job_cancel, "job_repeat": job_repeat}
Maintenance.asks = {"preview": preview}


def job_line(run: OperationRun) -> dict[str, Any]:
    """As data; texts of the log are in the job's own answer."""
    return {
        "id": str(run.id),
        "kind": run.kind,
        "state": run.state,
        "done": run.done,
        "total": run.total,
        "step": run.step,
        "actor": run.actor,
        "error": run.error,
        "at": run.created_at.isoformat(),
    }


def shown(run: OperationRun) -> dict[str, Any]:
    kind = kinds.find(run.kind)
    return {
        "run": run,
        "short": str(run.id)[:8],
        "title": run.kind if kind is None else kind.title,
        "sign": SIGNS[run.state],
        "percent": min(100, 100 * run.done // run.total) if run.total else None,
        "arguments": [(name, value) for name, value in service.shown_arguments(run).items() if value not in (None, "", False)],
        "result": [
            (name, value) for name, value in (run.result or {}).items() if name != "token" and not isinstance(value, list | dict)
        ],
    }


def history() -> list[dict[str, Any]]:
    """The switch as it was turned, newest first. Empty while the database is away: the switch itself is still shown."""
    rows = ConfigRevision.objects.filter(section=switch.SECTION)[:MOST_HISTORY]
    try:
        return [
            {
                "version": row.version,
                "at": row.created_at.isoformat(timespec="seconds"),
                "author": row.author,
                "reason": row.reason,
                "mode": row.sections.get(switch.SECTION, {}).get("mode", "off"),
            }
            for row in rows
        ]
    except (DatabaseError, InterfaceError):
        return []


def facts(told: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [
        (name, value)
        for name, value in told.items()
        if name != "state" and not isinstance(value, dict) and value not in ("", None)
    ]
