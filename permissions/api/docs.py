"""/api/schema/ and /api/docs/: the OpenAPI document and Swagger UI, from our own files. Both are public: they hold no data."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Final

import yaml
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from permissions.api.openapi import Generator

JSON: Final = "application/vnd.oai.openapi+json"
YAML: Final = "application/vnd.oai.openapi"


@lru_cache(maxsize=1)
def document() -> str:
    """The document as JSON. The routes of a process do not change, so it is built once."""
    generator = Generator()  # type: ignore[no-untyped-call]  # it ships half its types
    return json.dumps(generator.get_schema(), ensure_ascii=False, indent=1)


def as_yaml(text: str) -> str:
    return yaml.safe_dump(json.loads(text), sort_keys=False, allow_unicode=True, width=120)


@csrf_exempt
@require_safe
def schema(request: HttpRequest) -> HttpResponse:
    """JSON, or YAML where `?format=yaml` or the Accept header asks for it."""
    wants_yaml = request.GET.get("format") == "yaml" or "yaml" in request.headers.get("Accept", "")
    if wants_yaml:
        return HttpResponse(as_yaml(document()), content_type=f"{YAML}; charset=utf-8")
    return HttpResponse(document(), content_type=f"{JSON}; charset=utf-8")


@csrf_exempt
@require_safe
def docs(request: HttpRequest) -> HttpResponse:
    return render(request, "permissions/api_docs.html")
