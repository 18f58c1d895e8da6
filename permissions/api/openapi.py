"""OpenAPI 3.1 of the API: each view says what its methods take and give, drf-spectacular finds the views."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from django.conf import settings
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ComponentRegistry, normalize_result_object

from permissions.api.components import EXAMPLES, PREFIX, PROBLEMS, Schema, components, ref
from permissions.revisions import HEADER

VERSION: Final = "3.1.1"
JSON: Final = "application/json"
ABOUT: Final = """Manage the permissions of a realm, and ask for decisions.

Bodies and answers are the lines of a bundle. Lists are paged: follow `next` until it is null. Objects stand at
`…/<their name>/`, the name percent-encoded; a name may hold `/`. Errors are `application/problem+json`, and an error
changes nothing. Every write answers with `X-Permission-Token`; sent with the next check, it makes that check at least as fresh.

An API key asks anything in its realm. A key that acts as a subject, or as an administrator, manages as well. A person asks
about themselves, and about others with `permsite.decision:ask` there. Reading a kind of object needs
`permsite.<kind>:view`, writing it `create`, `change` or `delete`, at the scope concerned.
OpenID AuthZEN's endpoints stand beside this API, under `/access/v1/`.
"""


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. `answer` None is a 204; `writes` adds the token's header and the audit's reason.

    `also`: other statuses that come with the same answer.
    """

    name: str
    summary: str
    tag: str
    answer: Schema | None
    status: int = 200
    body: Schema | None = None
    about: str = ""
    writes: bool = False
    checks: bool = False
    realm: bool = True
    problems: tuple[int, ...] = ()
    also: tuple[int, ...] = ()
    parameters: tuple[Schema, ...] = field(default=())


def parameter(name: str, about: str, schema: Mapping[str, Any], where: str = "query") -> Schema:
    made: Schema = {"name": name, "in": where, "schema": dict(schema), "description": about}
    if where == "path":
        made["required"] = True
    return made


class OperationSchema(AutoSchema):
    """Takes the operation from the view's `operations`, by method; serializers would be a second statement of the same shapes."""

    def get_operation(
        self, path: str, path_regex: str, path_prefix: str, method: str, registry: ComponentRegistry
    ) -> Schema | None:
        operation: Operation | None = self.view.operations().get(method.upper())  # type: ignore[attr-defined]
        return None if operation is None else _operation(operation)


def _operation(one: Operation) -> Schema:
    parameters = list(one.parameters)
    if one.realm:
        parameters.append({"$ref": "#/components/parameters/Realm"})
    if one.writes:
        parameters.append({"$ref": "#/components/parameters/Reason"})
    parameters.append({"$ref": "#/components/parameters/Token"})
    answer: Schema = {"description": "Done." if one.answer is None else "The answer."}
    if one.answer is not None:
        answer["content"] = {JSON: {"schema": one.answer}}
    if one.writes or one.checks:
        answer["headers"] = {HEADER: {"$ref": "#/components/headers/Token"}}
    statuses = {400, 401, 403, 405, 409, 503, *one.problems}
    if one.body is not None:
        statuses |= {413, 415}
    described: Schema = {"operationId": one.name, "summary": one.summary, "tags": [one.tag], "parameters": parameters}
    if one.about:
        described["description"] = one.about
    if one.body is not None:
        described["requestBody"] = {"required": True, "content": {JSON: _exemplified(one.body)}}
    described["responses"] = {
        **{str(status): answer for status in (one.status, *one.also)},
        **{str(s): {"$ref": f"#/components/responses/Problem{s}"} for s in sorted(statuses) if s in PROBLEMS},
    }
    return described


def _exemplified(body: Schema) -> Schema:
    """With an example: one made up from the patterns of the texts would be noise."""
    example = EXAMPLES.get(body["$ref"].removeprefix(PREFIX))
    return {"schema": body} if example is None else {"schema": body, "example": example}


class Generator(SchemaGenerator):
    """drf-spectacular's generator with our document around the paths, whatever SPECTACULAR_SETTINGS say."""

    def get_schema(self, request: Any = None, public: bool = True) -> Schema:
        paths = self.parse(None, True)  # type: ignore[no-untyped-call]  # it ships half its types
        found = components()
        found["securitySchemes"]["session"]["name"] = settings.SESSION_COOKIE_NAME
        for kind, named in self.registry.build({}).items():
            found[kind] = {**named, **found.get(kind, {})}
        document: Schema = normalize_result_object(  # type: ignore[no-untyped-call]  # as above
            {
                "openapi": VERSION,
                "info": {
                    "title": "permsite",
                    "version": "1",
                    "description": ABOUT,
                    "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
                },
                "paths": dict(sorted(paths.items())),
                "components": found,
                "security": [{"key": []}, {"session": []}],
            }
        )
        return document


__all__ = ["Generator", "Operation", "OperationSchema", "parameter", "ref"]
