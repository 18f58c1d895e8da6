"""/api/v1/system/config: the live configuration by section, its history, a check of new values, the way back."""

from __future__ import annotations

from typing import Any, Final

from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from controlplane.api.base import ControlView, changed_line, changes_lines, version_headers
from controlplane.models import ConfigRevision
from controlplane.services import config as service
from controlplane.services.rights import CONFIG_PAGE, CONFIG_VIEW, require
from permissions.api.base import REASON
from permissions.api.openapi import Operation, parameter, ref
from permissions.api.problems import BadRequest
from permissions.api.queries import MAX_PAGE, whole
from permissions.bundle.compact import date_text
from permissions.errors import Invalid, Problem
from resilience import config, params

TAG: Final = "configuration"
VALUES: Final = "values"
PAGE: Final = 50
SECTION: Final = parameter("section", "Name of a section, such as limiters.", {"type": "string"}, "path")
EXPECTED: Final = parameter(
    "If-Match",
    "The version that was looked at; another one in force is 409, with what has changed.",
    {"type": "string"},
    "header",
)


class IndexView(ControlView):
    """Which sections there are, which version is in force, and which process runs which."""

    def get(self, request: HttpRequest) -> Response:
        require(self.actor, CONFIG_VIEW, CONFIG_PAGE)
        revision = service.active()
        processes = [
            {
                "id": one.id,
                "host": one.host,
                "pid": one.pid,
                "epoch": one.epoch,
                "version": one.version,
                "source": one.source,
                "problem": one.problem,
                "age_s": round(one.age_s, 1),
            }
            for one in config.processes()
        ]
        body = {**_version_line(revision), "sections": service.editable(), "processes": processes}
        return Response(body, headers=version_headers(body["version"]))

    def operations(self) -> dict[str, Operation]:
        return {
            "GET": Operation(
                "config_index", "Version in force, sections, and what each process runs", TAG, ref("ConfigIndex"), realm=False
            )
        }


class SectionView(ControlView):
    def get(self, request: HttpRequest, section: str) -> Response:
        require(self.actor, CONFIG_VIEW, CONFIG_PAGE)
        declared = service.known(section)
        revision = service.active()
        body = {
            "section": section,
            **_version_line(revision),
            VALUES: service.values_of(section, revision),
            "parameters": [_parameter_line(param) for param in declared.params],
        }
        return Response(body, headers=version_headers(body["version"]))

    def put(self, request: HttpRequest, section: str) -> Response:
        expected = self.expected()
        service.known(section)
        data = self.fields(request.data, (VALUES, REASON), (VALUES,))
        done = service.section_change(
            actor=self.actor,
            section=section,
            values=data[VALUES],
            expected=expected,
            reason=self.why(data),
            request_id=self.request_id,
        )
        body = {"section": section, **changed_line(done), VALUES: service.values_of(section, done.revision)}
        return Response(body, headers=version_headers(done.revision.version))

    def operations(self) -> dict[str, Operation]:
        about = "The values replace the section whole. They are live in every process within a second."
        return {
            "GET": Operation(
                "config_section",
                "The values of a section, and its parameters",
                TAG,
                ref("ConfigSection"),
                realm=False,
                problems=(404,),
                parameters=(SECTION,),
            ),
            "PUT": Operation(
                "config_section_replace",
                "Replace the values of a section",
                TAG,
                ref("ConfigChanged"),
                body=ref("ConfigValues"),
                about=about,
                realm=False,
                problems=(404,),
                parameters=(SECTION, EXPECTED),
            ),
        }


class HistoryView(ControlView):
    def parameters_of(self, method: str) -> tuple[str, ...]:
        return ("limit", "before")

    def get(self, request: HttpRequest, section: str) -> Response:
        require(self.actor, CONFIG_VIEW, CONFIG_PAGE)
        service.known(section)
        limit, before = self._number("limit", PAGE), self._number("before", None)
        if limit is None or not 1 <= limit <= MAX_PAGE:
            raise BadRequest(f"must lie between 1 and {MAX_PAGE}", "limit")
        found = service.history(section)
        if before is not None:
            found = found.filter(version__lt=before)
        rows = list(found[: limit + 1])
        page = rows[:limit]
        following = page[-1].version if len(rows) > limit else None
        lines = [{**_version_line(row), VALUES: service.values_of(section, row)} for row in page]
        return Response({"section": section, "results": lines, "before": following})

    def _number(self, name: str, default: int | None) -> int | None:
        if name not in self.query:
            return default
        try:
            return whole(self.query.get(name))
        except ValueError as error:
            raise BadRequest(str(error), name) from error

    def operations(self) -> dict[str, Operation]:
        return {
            "GET": Operation(
                "config_history",
                "The versions of a section, newest first",
                TAG,
                ref("ConfigHistory"),
                realm=False,
                problems=(404,),
                parameters=(
                    SECTION,
                    parameter("limit", f"At most so many, {PAGE} where it is left out.", {"type": "integer"}),
                    parameter("before", "Versions older than this one: the `before` of an answer.", {"type": "integer"}),
                ),
            )
        }


class ValidateView(ControlView):
    """A POST that changes nothing: the values may be long."""

    def post(self, request: HttpRequest, section: str) -> Response:
        data = self.fields(request.data, (VALUES, REASON), (VALUES,))
        wrong, changes = service.section_problems(actor=self.actor, section=section, values=data[VALUES])
        errors = [{"where": problem.where, "message": problem.message} for problem in wrong]
        return Response({"section": section, "valid": not wrong, "errors": errors, "changes": changes_lines(changes)})

    def operations(self) -> dict[str, Operation]:
        return {
            "POST": Operation(
                "config_validate",
                "Would these values be taken, and what would they change?",
                TAG,
                ref("ConfigValidated"),
                body=ref("ConfigValues"),
                realm=False,
                problems=(404,),
                parameters=(SECTION,),
            )
        }


class RollbackView(ControlView):
    def post(self, request: HttpRequest, section: str) -> Response:
        expected = self.expected()
        data = self.fields(request.data, ("version", REASON), ("version",))
        version = data["version"]
        if isinstance(version, bool) or not isinstance(version, int) or not 1 <= version < 2**63:
            raise Invalid([Problem("version", "must be a whole number, 1 or more")])
        done = service.config_rollback(
            actor=self.actor,
            version=version,
            section=section,
            expected=expected,
            reason=self.why(data),
            request_id=self.request_id,
        )
        body = {"section": section, **changed_line(done), VALUES: service.values_of(section, done.revision)}
        return Response(body, headers=version_headers(done.revision.version))

    def operations(self) -> dict[str, Operation]:
        return {
            "POST": Operation(
                "config_rollback",
                "A new version that holds what an old one held",
                TAG,
                ref("ConfigChanged"),
                body=ref("ConfigRollback"),
                realm=False,
                problems=(404,),
                parameters=(SECTION, EXPECTED),
            )
        }


def _version_line(revision: ConfigRevision | None) -> dict[str, Any]:
    """Version 0: nothing was ever changed, the defaults hold."""
    if revision is None:
        return {"version": 0, "epoch": 0, "at": None, "author": None, "reason": "", "rolled_back_from": None}
    return {
        "version": revision.version,
        "epoch": revision.epoch,
        "at": date_text(revision.created_at),
        "author": revision.author,
        "reason": revision.reason,
        "rolled_back_from": revision.rolled_back_from,
    }


def _parameter_line(param: params.Param) -> dict[str, Any]:
    return {
        "name": param.name,
        "type": param.type,
        "default": params.plain(param.default),
        "nullable": param.nullable,
        "min": param.min,
        "max": param.max,
        "choices": list(param.choices),
        "help": param.help,
    }
