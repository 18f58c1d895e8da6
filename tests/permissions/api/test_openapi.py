"""The OpenAPI document: valid, equal to the routes, and true of the answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from django.test import Client
from django.urls import URLPattern
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from permissions.api import urls
from permissions.api.docs import document
from tests.permissions.api.test_nouns import NOUNS, Noun
from tests.permissions.api.world import Cast, item, refused

ANEW = "manage.py spectacular --generator-class permissions.api.openapi.Generator --file docs/reference/openapi.yaml"
METHODS = {"get", "post", "put", "patch", "delete"}


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(document())
    return found


def test_it_is_valid_openapi_3_1(schema: dict[str, Any]) -> None:
    assert schema["openapi"].startswith("3.1")
    validate(schema, cls=OpenAPIV31SpecValidator)


def routes() -> dict[str, set[str]]:
    """Path → methods, from the route table itself."""
    found: dict[str, set[str]] = {}
    for pattern in urls.urlpatterns:
        assert isinstance(pattern, URLPattern)
        view = pattern.callback
        if not hasattr(view, "cls"):
            continue  # the document, its page, and what is unknown
        actions = getattr(view, "actions", None) or {m: m for m in METHODS if hasattr(view.cls, m)}
        path = "/api/" + str(pattern.pattern).replace("<path:name>", "{name}")
        found[path] = set(actions) & METHODS
    return found


def test_its_paths_are_those_of_the_routes(schema: dict[str, Any]) -> None:
    described = {path: METHODS & set(one) for path, one in schema["paths"].items() if path.startswith("/api/v1/")}
    own = {path: described[path] for path in described if path in routes()}
    assert own == routes()


def test_every_operation_has_a_name_of_its_own_and_its_problems(schema: dict[str, Any]) -> None:
    operations = [one for path in schema["paths"].values() for method, one in path.items() if method in METHODS]
    names = [one["operationId"] for one in operations]
    assert len(names) == len(set(names))
    for one in operations:
        assert one["summary"]
        for status in ("400", "401", "403", "503"):
            assert one["responses"][status]["$ref"] == f"#/components/responses/Problem{status}"


def test_it_is_served_without_a_login_as_json_and_yaml() -> None:
    client = Client()
    answer = client.get("/api/schema/")
    assert answer["Content-Type"] == "application/vnd.oai.openapi+json; charset=utf-8"
    loaded = answer.json()
    for found in (client.get("/api/schema/?format=yaml"), client.get("/api/schema/", headers={"Accept": "application/yaml"})):
        assert found["Content-Type"].startswith("application/vnd.oai.openapi;")
        assert yaml.safe_load(found.content) == loaded
    assert client.post("/api/schema/").status_code == 405


def test_the_published_page_is_the_document(schema: dict[str, Any], pytestconfig: pytest.Config) -> None:
    published = (pytestconfig.rootpath / "docs/reference/openapi.yaml").read_text()
    assert yaml.safe_load(published) == schema, f"write it anew: {ANEW}"


def validator(schema: dict[str, Any], name: str) -> Draft202012Validator:
    return Draft202012Validator({**schema, "$ref": f"#/components/schemas/{name}"})


@pytest.mark.django_db
@pytest.mark.parametrize("noun", NOUNS, ids=lambda noun: noun.section)
def test_lines_and_answers_are_as_it_says(schema: dict[str, Any], cast: Cast, noun: Noun) -> None:
    operation = schema["paths"][f"/api/v1/{noun.section}/"]

    def of(one: dict[str, Any]) -> Draft202012Validator:
        name = one["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        return validator(schema, name)

    body, made = of(operation["post"]["requestBody"]), of(operation["post"]["responses"]["201"])
    page = of(operation["get"]["responses"]["200"])
    body.validate(operation["post"]["requestBody"]["content"]["application/json"]["example"])
    body.validate(noun.line)
    body.validate(noun.changed)
    of(schema["paths"][f"/api/v1/{noun.section}/{{name}}/"]["patch"]["requestBody"]).validate(noun.patch)
    assert not body.is_valid({**noun.line, **noun.wrong})
    assert not body.is_valid({**noun.line, "colour": "red"})
    made.validate(cast.root.post(f"{noun.section}/", noun.line).json)
    page.validate(cast.root.get(f"{noun.section}/").json)


@pytest.mark.django_db
def test_other_answers_are_as_it_says(schema: dict[str, Any], cast: Cast) -> None:
    asked = {"subject": "user:bob", "permission": "post:read", "resource": "channel:9"}
    made = cast.root.post("keys/", {"name": "ci", "subject": "user:bob"})
    validator(schema, "NewKey").validate(made.json)
    validator(schema, "Key").validate(cast.root.get(item("keys", made.json["id"])).json)
    validator(schema, "KeyPage").validate(cast.root.get("keys/").json)
    validator(schema, "AuditPage").validate(cast.root.get("audit/").json)
    validator(schema, "RevisionPage").validate(cast.root.get("revisions/").json)
    validator(schema, "Check").validate(asked)
    validator(schema, "Decision").validate(cast.plain_key.post("check", asked).json)
    validator(schema, "Decisions").validate(cast.plain_key.post("check/batch", {"checks": [asked]}).json)
    validator(schema, "Explanation").validate(cast.plain_key.post("explain", asked).json)
    validator(schema, "Menu").validate(cast.alice.get("menu/").json)
    wrong = cast.root.post("roles/", {"name": 5})
    refused(wrong, 400, "invalid")
    validator(schema, "Problem").validate(wrong.json)
