"""The JSON Schema (2020-12) of a bundle, as published in `docs/reference/bundle.schema.json`.

It says what a schema can: keys, types, forms of a text. What relates two places (a window that never holds, a name given
twice, a role nobody knows) is said by the reader and by the services.
"""

from __future__ import annotations

from typing import Any

from permissions.bundle.keys import MAX_DESCRIPTION, MAX_REASON, MAX_TITLE, VERSION
from permissions.engine import names, platform
from permissions.models.catalog import MAX_CONDITION
from permissions.models.realm import COMBINING, MAX_STALENESS_S, MAX_STATIC_GRACE_S, UNKNOWN_SUBJECTS

# No control characters, no outer spaces. NFC is beyond a regular expression; the reader judges it.
PLAIN = r"[^\u0000-\u001f\u007f-\u009f]"
NAME = rf"^(?! )(?!.* $){PLAIN}+$"
REF = rf"^(?! )(?!.* $)(?![^:]*[*?])[^:\u0000-\u001f\u007f-\u009f]+:(?!\*$){PLAIN}+$"
HOLDER = rf"^(?! )(?!.* $)(?![^:]*[*?])[^:\u0000-\u001f\u007f-\u009f]+:{PLAIN}+$"
SEGMENT = r"[^:*?\u0000-\u001f\u007f-\u009f]+"
CODE = rf"^(?! )(?!.* $){SEGMENT}(:{SEGMENT})+$"
WILD_SEGMENT = r"[^:\u0000-\u001f\u007f-\u009f]+"
PATTERN = rf"^(\*|(?! )(?!.* $){WILD_SEGMENT}(:{WILD_SEGMENT})+)$"
DATE = r"^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)$"


def _text(pattern: str, max_length: int) -> dict[str, Any]:
    return {"type": "string", "minLength": 1, "maxLength": max_length, "pattern": pattern}


def _free(max_length: int) -> dict[str, Any]:
    return {"type": "string", "maxLength": max_length}


def _ref(definition: str) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{definition}"}


def _set_of(definition: str) -> dict[str, Any]:
    return {"type": "array", "items": _ref(definition), "uniqueItems": True}


def _line(required: list[str], properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False, **more}


def _window() -> dict[str, Any]:
    return {"valid_from": _ref("date"), "valid_until": _ref("date")}


def _people() -> dict[str, Any]:
    return {"title": _free(MAX_TITLE), "description": _free(MAX_DESCRIPTION)}


def _definitions() -> dict[str, Any]:
    flag = {"type": "boolean"}
    return {
        "name": _text(NAME, names.MAX_NAME),
        "ref": _text(REF, names.MAX_REF),
        "holder": _text(HOLDER, names.MAX_REF),
        "code": _text(CODE, names.MAX_CODE),
        "own_code": {"$ref": "#/$defs/code", "not": {"pattern": f"^{platform.PREFIX.replace('.', '[.]')}"}},
        "pattern": _text(PATTERN, names.MAX_CODE),
        "condition": _free(MAX_CONDITION),
        "date": {"type": ["string", "null"], "pattern": DATE},
        "attributes": {"type": "object"},
        "combining": {"enum": [name for name, _ in COMBINING]},
        "code_line": {
            "oneOf": [
                _ref("pattern"),
                _line(["code"], {"code": _ref("pattern"), "condition": _ref("condition")}),
            ]
        },
        "member": {"oneOf": [_ref("ref"), _line(["id"], {"id": _ref("ref"), **_window()})]},
        "obligations": {
            "type": "array",
            "items": _line(
                ["id", "type"],
                {"id": {"type": "string", "minLength": 1}, "type": {"type": "string", "minLength": 1}, "properties": {}},
            ),
        },
        "permission": _line(
            ["code"],
            {
                "code": _ref("own_code"),
                **_people(),
                "menu": _free(MAX_TITLE),
                "requires": _set_of("own_code"),
                "critical": flag,
                "high_risk": flag,
            },
        ),
        "group": _line(["name"], {"name": _ref("name"), **_people(), "permissions": _set_of("pattern")}),
        "role": _line(
            ["name"],
            {
                "name": _ref("name"),
                **_people(),
                "inherits": _set_of("name"),
                "groups": _set_of("name"),
                "permissions": _set_of("code_line"),
                "exclude": _set_of("pattern"),
                "deny": _set_of("code_line"),
                "obligations": _ref("obligations"),
                **_window(),
            },
        ),
        "subject": _line(["id"], {"id": _ref("ref"), "attributes": _ref("attributes"), "active": flag, "locked": flag}),
        "team": _line(
            ["id"],
            {
                "id": _ref("ref"),
                "members": _set_of("member"),
                "attributes": _ref("attributes"),
                "active": flag,
                "locked": flag,
            },
        ),
        "resource": _line(
            ["id"],
            {
                "id": _ref("ref"),
                "parent": {"anyOf": [_ref("ref"), {"type": "null"}]},
                "inherit": flag,
                "attributes": _ref("attributes"),
            },
        ),
        "binding": _line(
            ["subject"],
            {
                "subject": _ref("holder"),
                "role": {"anyOf": [_ref("name"), {"type": "null"}]},
                "allow": _set_of("pattern"),
                "deny": _set_of("pattern"),
                "scope": {"anyOf": [_ref("ref"), {"type": "null"}]},
                "condition": _ref("condition"),
                **_window(),
                "propagate": flag,
                "reason": _free(MAX_REASON),
                "obligations": _ref("obligations"),
            },
            oneOf=[
                {
                    "required": ["role"],
                    "properties": {"role": _ref("name"), "allow": {"maxItems": 0}, "deny": {"maxItems": 0}},
                },
                {
                    "properties": {"role": {"type": "null"}},
                    "anyOf": [
                        {"required": [key], "properties": {key: {"type": "array", "minItems": 1}}} for key in ("allow", "deny")
                    ],
                },
            ],
        ),
    }


def json_schema() -> dict[str, Any]:
    seconds = {"type": "number", "minimum": 0}
    section = {
        "permissions": "permission",
        "groups": "group",
        "roles": "role",
        "subjects": "subject",
        "teams": "team",
        "resources": "resource",
        "bindings": "binding",
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "bundle.schema.json",
        "title": "permsite bundle",
        "description": "A realm's catalogue, subjects, resources and bindings. An absent section is left alone.",
        **_line(
            ["version"],
            {
                "version": {"type": "integer", "const": VERSION},
                "realm": _ref("name"),
                "combining": _ref("combining"),
                "resource_types": {
                    "type": "object",
                    "propertyNames": {"pattern": r"^[^:*?]+$", "maxLength": names.MAX_TYPE},
                    "additionalProperties": _line(["combining"], {"combining": _ref("combining")}),
                },
                "unknown_subjects": {"enum": [name for name, _ in UNKNOWN_SUBJECTS]},
                "settings": {
                    "type": "object",
                    "properties": {
                        "staleness_s": {**seconds, "maximum": MAX_STALENESS_S},
                        "static_grace_s": {**seconds, "maximum": MAX_STATIC_GRACE_S},
                        "suspended": {"type": "boolean"},
                    },
                    "additionalProperties": False,
                },
                **{name: {"type": "array", "items": _ref(definition)} for name, definition in section.items()},
            },
        ),
        "$defs": _definitions(),
    }
