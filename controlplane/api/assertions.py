"""/api/v1/assertions/: questions kept with the answers they must have; listed, made, removed, and run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from django.db.models import QuerySet
from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from controlplane.services import assertions as service
from controlplane.services.realms import POLICY_VIEW
from permissions.api import components, queries
from permissions.api.base import ApiView
from permissions.api.components import page_of, ref
from permissions.api.nouns import Line, NounView
from permissions.api.openapi import Operation
from permissions.api.writable import hiding
from permissions.errors import Invalid, NotFound, Problem
from permissions.models import Assertion, Realm
from permissions.writing import Write

TAG = "assertions"


class AssertionView(NounView):
    noun = "policy"
    section = TAG
    component = "Assertion"
    key = "id"
    column = "pk"
    key_type = int
    searched = ("name", "subject", "permission", "resource")
    collection: ClassVar = {"get": "index", "post": "create"}
    item: ClassVar = {"get": "retrieve", "delete": "remove"}
    filters: ClassVar = {
        "name": queries.text("name", "The assertion of this name."),
        "subject": queries.text("subject", "Assertions about this subject."),
        "permission": queries.text("permission", "Assertions about this permission."),
        "expected": queries.flag("expected", "true: those that must be allowed."),
    }

    @property
    def one(self) -> str:
        return "an assertion"

    def missing(self, realm: str, name: str) -> NotFound:
        return NotFound(f"there is no assertion {name[:60]!r} in the realm {realm!r}")

    def rows(self, realm: Realm) -> QuerySet[Assertion]:
        return Assertion.objects.filter(realm=realm)

    def lines(self, realm: Realm, rows: Sequence[Assertion]) -> list[Line]:
        return [service.assertion_line(row) for row in rows]

    def create(self, request: HttpRequest) -> Response:
        spec = service.read_assertion(request.data)
        line, headers = self.write(lambda write: service.assertion_line(service.assertion_create(write=write, spec=spec)))
        return Response(line, status=201, headers={**headers, "Location": f"/api/v1/{TAG}/{line['id']}/"})

    def remove(self, request: HttpRequest, name: str) -> Response:
        def work(write: Write) -> None:
            service.assertion_delete(write=write, assertion_id=int(name))

        _, headers = hiding(self, lambda: self.write(work))
        return Response(status=204, headers=headers)

    def possible_operations(self) -> dict[str, Operation]:
        return {
            **super().possible_operations(),
            "create": Operation(
                "assertions_create",
                "Keep a question with its answer",
                TAG,
                ref("Assertion"),
                201,
                ref("AssertionLine"),
                about="It grants nothing and stands in no bundle. Needs `permsite.policy:create`.",
                writes=True,
                problems=(404,),
            ),
            "remove": Operation(
                "assertions_delete",
                "Delete an assertion",
                TAG,
                None,
                204,
                writes=True,
                problems=(404,),
                parameters=(self.name_parameter(),),
            ),
        }


class RunView(ApiView):
    """A POST that changes nothing: all of a realm's, or those that are named."""

    def post(self, request: HttpRequest) -> Response:
        self.asker.require(POLICY_VIEW)
        realm = Realm.objects.filter(name=self.asker.realm).first()
        if realm is None:
            raise NotFound(f"there is no realm {self.asker.realm!r}")
        rows = Assertion.objects.filter(realm=realm).order_by("name")
        wanted = _ids(request.data)
        if wanted is not None:
            rows = rows.filter(pk__in=wanted)
            unknown = sorted(set(wanted) - set(rows.values_list("pk", flat=True)))
            if unknown:
                raise NotFound(f"there is no assertion {unknown[0]} in the realm {realm.name!r}")
        outcomes = service.run(actor=self.asker.manager(), realm=realm, rows=rows[: service.MOST])
        counts = dict.fromkeys((service.PASSED, service.FAILED, service.BROKEN, service.NOT_ASKED), 0)
        for outcome in outcomes:
            counts[outcome.outcome] += 1
        is_ok = counts[service.PASSED] == len(outcomes)
        return Response({"ok": is_ok, "counts": counts, "results": [outcome.to_dict() for outcome in outcomes]})

    def operations(self) -> dict[str, Operation]:
        about = (
            "All of the realm, or those whose `ids` are given. Needs `permsite.policy:view`, and for each the right to ask its "
            "question; one that may not be asked is told so, and not run."
        )
        return {
            "POST": Operation(
                "assertions_run",
                "Run assertions",
                TAG,
                ref("AssertionResults"),
                body=ref("AssertionRun"),
                about=about,
                problems=(404,),
            )
        }


def _ids(data: Any) -> list[int] | None:
    """None: all. Raises Invalid."""
    if not isinstance(data, dict):
        raise Invalid([Problem("", "must be an object; {} runs all")])
    wrong = [Problem(str(name)[:60], "is not known here; known is ids") for name in data if name != "ids"]
    ids = data.get("ids")
    if ids is not None and (
        not isinstance(ids, list)
        or len(ids) > service.MOST
        or any(isinstance(item, bool) or not isinstance(item, int) or not 0 < item < 2**63 for item in ids)
    ):
        wrong.append(Problem("ids", f"must be a list of at most {service.MOST} whole numbers, the ids of assertions"))
    if wrong:
        raise Invalid(wrong)
    return ids


def publish() -> None:
    """Into the document."""
    text, flag = {"type": "string"}, {"type": "boolean"}
    moment = {"type": "string", "format": "date-time"}
    line = {
        "name": ref("Name"),
        "subject": ref("Ref"),
        "permission": ref("Code"),
        "resource": {"anyOf": [ref("Ref"), {"type": "null"}], "description": "Without it: the realm itself."},
        "context": {"type": "object", "additionalProperties": True},
        "at": {"anyOf": [moment, {"type": "null"}], "description": "Without it: whenever it is run."},
        "expected": {**flag, "description": "true: it must be allowed."},
    }
    kept = {"id": {"type": "integer"}, **line, "created_at": moment, "created_by": text}
    outcomes = [service.PASSED, service.FAILED, service.BROKEN, service.NOT_ASKED]
    result = {
        **kept,
        "outcome": {"type": "string", "enum": outcomes},
        "allowed": {"type": ["boolean", "null"]},
        "reason": {"type": ["string", "null"]},
        "problem": {**text, "description": "Why nothing was decided."},
    }
    components.add(
        {
            "Assertion": {"type": "object", "properties": kept, "required": list(kept)},
            "AssertionLine": {
                "type": "object",
                "properties": line,
                "required": ["name", "subject", "permission", "expected"],
                "additionalProperties": False,
            },
            "AssertionPage": page_of("Assertion"),
            "AssertionRun": {
                "type": "object",
                "properties": {"ids": {"type": "array", "items": {"type": "integer"}, "maxItems": service.MOST}},
                "additionalProperties": False,
            },
            "AssertionResult": {"type": "object", "properties": result, "required": list(result)},
            "AssertionResults": {
                "type": "object",
                "properties": {
                    "ok": {**flag, "description": "Every one of them passed."},
                    "counts": {"type": "object", "additionalProperties": {"type": "integer"}},
                    "results": {"type": "array", "items": ref("AssertionResult")},
                },
                "required": ["ok", "counts", "results"],
            },
        },
        {
            "AssertionLine": {
                "name": "strangers may not write",
                "subject": "user:mallory",
                "permission": "message:send",
                "resource": "channel:general",
                "expected": False,
            },
            "AssertionRun": {},
        },
    )
