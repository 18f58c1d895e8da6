"""What the control plane's endpoints share: the caller in CONTROL_REALM, If-Match, the words of a refused version."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response
from rest_framework.views import APIView

from controlplane.services.config import Changed
from controlplane.services.rights import control_realm
from permissions.api.base import REASON, ApiView
from permissions.api.callers import asker_of
from permissions.api.problems import BadRequest, problem_handler
from permissions.api.queries import Parameters
from permissions.bundle.compact import date_text
from permissions.errors import Invalid, Problem
from permissions.writing import Actor

IF_MATCH: Final = "If-Match"
_ETAG: Final = re.compile(r'(?:W/)?"(\d{1,18})"\Z|(\d{1,18})\Z')


class ControlView(ApiView):
    """Its callers act in one realm, the control plane's: a key of another realm operates nothing here."""

    def initial(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        APIView.initial(self, request, *args, **kwargs)
        method = "GET" if request.method == "HEAD" else str(request.method)
        self.query = Parameters(request._request.GET, set(self.parameters_of(method)))
        self.asker = asker_of(request, control_realm())

    def parameters_of(self, method: str) -> tuple[str, ...]:
        return () if method == "GET" else (REASON,)

    def get_exception_handler(self) -> Callable[..., Response | None]:
        return problem_handler

    @property
    def actor(self) -> Actor:
        return self.asker.manager()

    def expected(self) -> int | None:
        """The version the caller looked at. Raises BadRequest for an If-Match that is none of ours."""
        sent = self.request.headers.get(IF_MATCH)
        if sent is None or sent.strip() == "*":
            return None
        found = _ETAG.match(sent.strip())
        if found is None:
            raise BadRequest("must be a version, such as 7", IF_MATCH)
        return int(found.group(1) or found.group(2))

    def fields(self, data: object, known: tuple[str, ...], required: tuple[str, ...] = ()) -> Mapping[str, Any]:
        """The body's members. Raises Invalid naming every one that is unknown or missing."""
        if not isinstance(data, Mapping):
            raise Invalid([Problem("", "must be an object")])
        wrong = [
            Problem(str(name)[:60], f"is not known here; known are {', '.join(known)}") for name in data if name not in known
        ]
        wrong += [Problem(name, "is missing") for name in required if name not in data]
        if wrong:
            raise Invalid(wrong)
        return data

    def why(self, data: Mapping[str, Any]) -> str:
        """The reason, from the body or the query; what a line of the audit cannot hold is refused."""
        found = data.get(REASON, "")
        if not isinstance(found, str):
            raise Invalid([Problem(REASON, "must be a text")])
        if len(found) > 1000 or not found.isprintable():
            raise Invalid([Problem(REASON, "must be at most 1000 characters, without control characters")])
        return found or self.reason


def version_headers(version: int) -> dict[str, str]:
    return {"ETag": f'"{version}"'}


def changed_line(done: Changed) -> dict[str, Any]:
    return {
        "version": done.revision.version,
        "epoch": done.revision.epoch,
        "at": date_text(done.revision.created_at),
        "author": done.revision.author,
        "reason": done.revision.reason,
        "changes": changes_lines(done.differences),
        "announced": done.announced,
    }


def changes_lines(changes: Any) -> list[dict[str, Any]]:
    return [{"path": change.path, "before": change.before, "after": change.after} for change in changes]
