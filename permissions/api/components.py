"""The shapes that the OpenAPI document names: lines taken from the bundle's JSON Schema, and what the API adds to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from permissions.api.problems import MEDIA_TYPE
from permissions.bundle.schema import json_schema
from permissions.engine import reasons
from permissions.revisions import FULL, HEADER

Schema = dict[str, Any]
PREFIX: Final = "#/components/schemas/"

PROBLEMS: Final = {
    400: "The input is wrong; nothing was changed. `errors` names each mistake and its place.",
    401: "Nobody we know is calling.",
    403: "The caller may not do this (`forbidden`), or would hand out more than they hold (`escalation`).",
    404: "There is no such object.",
    405: "This path does not take that method.",
    409: "It contradicts what is there: a duplicate, a cycle, something in use, the last administrator, a token from the future.",
    413: "The body is larger than 1 MiB.",
    415: "The body is not `application/json`.",
    503: "No answer can be given now; ask again after `Retry-After` seconds.",
}


KEY_KEYS: Final = ("name", "asserted", "subject", "admin", "valid_until")


EXAMPLES: Final[dict[str, Schema]] = {
    "Realm": {"name": "acme", "unknown_subjects": "deny", "settings": {"staleness_s": 0.5}},
    "Permission": {"code": "post:edit", "title": "Edit posts", "menu": "content/posts", "requires": ["post:read"]},
    "Group": {"name": "content.read", "permissions": ["post:read", "comment:*"]},
    "Role": {
        "name": "editor",
        "inherits": ["viewer"],
        "groups": ["content.read"],
        "permissions": ["post:edit", {"code": "post:publish", "condition": "context.mfa == true"}],
        "exclude": ["post:edit:pinned"],
        "deny": ["post:purge"],
    },
    "Subject": {"id": "user:alice", "attributes": {"dept": "sales"}},
    "Team": {"id": "team:eng", "members": ["user:alice", {"id": "user:eve", "valid_until": "2030-12-31T00:00:00Z"}]},
    "Resource": {"id": "channel:9", "parent": "server:7", "attributes": {"owner": "user:alice"}},
    "Binding": {"subject": "team:eng", "role": "editor", "scope": "channel:9", "valid_until": "2030-12-31T00:00:00Z"},
    "RealmPatch": {"combining": "overlay"},
    "PermissionPatch": {"menu": None, "critical": True},
    "GroupPatch": {"permissions": ["post:read"]},
    "RolePatch": {"title": "Editors", "deny": None},
    "SubjectPatch": {"locked": True},
    "TeamPatch": {"members": ["user:alice", "user:bob"]},
    "ResourcePatch": {"parent": "server:8"},
    "BindingPatch": {"valid_until": "2031-12-31T00:00:00Z"},
    "KeyLine": {"name": "ci", "subject": "user:alice", "asserted": "fill"},
    "Check": {"subject": "user:alice", "permission": "post:edit", "resource": "channel:9", "context": {"mfa": True}},
    "Checks": {
        "checks": [
            {"subject": "user:alice", "permission": "post:edit", "resource": "channel:9"},
            {"subject": "user:bob", "permission": "post:edit"},
        ]
    },
}


_added: Final[dict[str, Schema]] = {}


def add(schemas: Mapping[str, Schema], examples: Mapping[str, Schema]) -> None:
    """Shapes of another app's endpoints: it knows this one, not the other way round."""
    _added.update(schemas)
    EXAMPLES.update(examples)


def ref(name: str) -> Schema:
    return {"$ref": f"{PREFIX}{name}"}


def component_name(definition: str) -> str:
    """`code_line` → `CodeLine`"""
    return "".join(word.capitalize() for word in definition.split("_"))


def _renamed(value: Any) -> Any:
    """The schema with its references led to the document's components."""
    if isinstance(value, dict):
        return {
            key: f"{PREFIX}{component_name(item.removeprefix('#/$defs/'))}"
            if key == "$ref" and isinstance(item, str)
            else _renamed(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_renamed(item) for item in value]
    return value


def _object(properties: Schema, required: tuple[str, ...] = (), **more: Any) -> Schema:
    return {"type": "object", "properties": properties, "required": list(required or properties), **more}


def _patch_of(line: Schema) -> Schema:
    properties = {key: {"anyOf": [schema, {"type": "null"}]} for key, schema in line["properties"].items()}
    return {
        "type": "object",
        "description": "Keys that are given replace those present, whole; null takes a key away.",
        "properties": properties,
        "additionalProperties": False,
    }


def _with_id(line: Schema) -> Schema:
    properties = {"id": {"type": "integer", "readOnly": True}, **line["properties"]}
    return {**line, "properties": properties, "required": ["id", *line["required"]]}


def page_of(name: str) -> Schema:
    return _object(
        {
            "results": {"type": "array", "items": ref(name)},
            "next": {"type": ["string", "null"], "format": "uri", "description": "The next page; null on the last one."},
        }
    )


def lines() -> dict[str, Schema]:
    """Each kind of line, its page and its patch, under the names of the document."""
    bundle = json_schema()
    found = {component_name(name): _renamed(schema) for name, schema in bundle["$defs"].items()}
    keys = ("combining", "resource_types", "unknown_subjects", "settings")
    found["Realm"] = {
        "type": "object",
        "required": ["name"],
        "properties": {"name": ref("Name"), **{key: _renamed(bundle["properties"][key]) for key in keys}},
        "additionalProperties": False,
    }
    for name in ("Realm", "Permission", "Group", "Role", "Subject", "Team", "Resource", "Binding"):
        found[f"{name}Patch"] = _patch_of(found[name])
    found["BindingAnswer"] = _with_id(found["Binding"])
    for name in ("Realm", "Permission", "Group", "Role", "Subject", "Team", "Resource", "BindingAnswer"):
        found[f"{name.removesuffix('Answer')}Page"] = page_of(name)
    return found


def own() -> dict[str, Schema]:
    text, whole, flag = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
    moment = {"type": "string", "format": "date-time"}
    moment_or_none = {"type": ["string", "null"], "format": "date-time"}
    attributes = {"type": "object", "additionalProperties": True}
    question = {
        "subject": ref("Ref"),
        "permission": ref("Code"),
        "resource": {"anyOf": [ref("Ref"), {"type": "null"}], "description": "Without it: the realm itself."},
        "context": attributes,
        "at": {**moment, "description": "Decide as of this instant: of a past one, with the rows then in force."},
        "subject_properties": attributes,
        "resource_properties": {**attributes, "description": "`parent` names the parent of a resource the realm has never seen."},
        "action_properties": attributes,
    }
    decision = {
        "allowed": flag,
        "reason": {"type": "string", "enum": sorted(reasons.ALLOWED | reasons.DENIED)},
        "revision": {**whole, "description": "The realm's revision it was evaluated at."},
        "source": {"type": "string", "enum": ["l1", "redis", "db", "live"]},
        "obligations": {"type": "array", "items": attributes},
        "stale": flag,
    }
    answered = ("allowed", "reason", "revision", "source")
    key = {
        "id": whole,
        "name": ref("Name"),
        "prefix": text,
        "asserted": {"type": "string", "enum": ["override", "fill", "ignore"]},
        "subject": {"type": ["string", "null"]},
        "admin": flag,
        "created_at": moment,
        "created_by": text,
        "valid_until": moment_or_none,
        "revoked_at": moment_or_none,
    }
    change = _object({"kind": {"type": "string", "enum": ["m", "s", "t", "r", "k", "f", "*"]}, "object": text})
    changes = {"type": "array", "items": change, "description": "In a list at most 100."}
    revision = {"revision": whole, "at": moment, "changes_total": whole, "changes": changes}
    audit = {
        **dict.fromkeys(("id", "seq"), whole),
        "realm": text,
        "at": moment,
        **dict.fromkeys(("actor", "actor_kind", "action", "object_type", "object_id", "reason", "request_id"), text),
        "revision": {"type": ["integer", "null"]},
        **{name: {"type": ["object", "null"], "additionalProperties": True} for name in ("before", "after")},
        **dict.fromkeys(("prev_hash", "payload_hash", "hash"), text),
    }
    return {
        "Check": _object(question, ("subject", "permission"), additionalProperties=False),
        "Decision": _object(decision, answered),
        "Checks": _object({"checks": {"type": "array", "items": ref("Check"), "maxItems": 1000}}, additionalProperties=False),
        "Decisions": _object({"results": {"type": "array", "items": ref("Decision")}}),
        "Explanation": _object({**decision, "explanation": attributes}, answered, additionalProperties=True),
        "MenuNode": _object(
            {
                "name": text,
                "path": text,
                "permissions": {"type": "array", "items": ref("Code")},
                "children": {"type": "array", "items": ref("MenuNode")},
            }
        ),
        "Menu": _object(
            {
                "subject": text,
                "resource": {"type": ["string", "null"]},
                "revision": whole,
                "menu": {"type": "array", "items": ref("MenuNode")},
            }
        ),
        "Key": _object(key),
        "KeyLine": _object({name: key[name] for name in KEY_KEYS}, ("name",), additionalProperties=False),
        "NewKey": _object({**key, "key": {**text, "description": "The key itself. It is shown this once and never again."}}),
        "KeyPage": page_of("Key"),
        "Revision": _object(revision),
        "RevisionPage": page_of("Revision"),
        "AuditEntry": _object(audit),
        "AuditPage": page_of("AuditEntry"),
        "Problem": _object(
            {
                "type": {**text, "format": "uri-reference"},
                "title": text,
                "status": whole,
                "detail": text,
                "errors": {"type": "array", "items": _object({"where": text, "message": text})},
            },
            ("type", "title", "status", "detail"),
        ),
    }


def components() -> Schema:
    retry = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    return {
        "schemas": dict(sorted({**lines(), **own(), **_added}.items())),
        "responses": {
            f"Problem{status}": {
                "description": about,
                "content": {MEDIA_TYPE: {"schema": ref("Problem")}},
                **({"headers": retry} if status == 503 else {}),
            }
            for status, about in PROBLEMS.items()
        },
        "headers": {
            "Token": {
                "description": "The revision written or answered at; send it with the next check.",
                "schema": {"type": "string"},
            }
        },
        "parameters": {
            "Realm": {
                "name": "realm",
                "in": "query",
                "schema": {"type": "string"},
                "description": "The realm a person works in; a key has its own, and naming another is refused.",
            },
            "Token": {
                "name": HEADER,
                "in": "header",
                "schema": {"type": "string"},
                "description": f"Answer at least as fresh as this token; `{FULL}` asks for the newest state.",
            },
            "Reason": {
                "name": "reason",
                "in": "query",
                "schema": {"type": "string", "maxLength": 1000},
                "description": "Why; kept in the audit entry.",
            },
        },
        "securitySchemes": {
            "key": {"type": "http", "scheme": "bearer", "description": "An API key."},
            "session": {
                "type": "apiKey",
                "in": "cookie",
                "name": "sessionid",
                "description": "A person who logged in; writes carry X-CSRFToken.",
            },
        },
    }
