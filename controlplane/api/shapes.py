"""The shapes of these endpoints in the OpenAPI document."""

from __future__ import annotations

from typing import Any, Final

from permissions.api import components
from permissions.api.components import Schema, ref
from permissions.cache import targets
from permissions.cache.flush import MAX_VALUE
from resilience.sections import MODES

_TEXT: Final[Schema] = {"type": "string"}
_WHOLE: Final[Schema] = {"type": "integer"}
_MOMENT: Final[Schema] = {"type": ["string", "null"], "format": "date-time"}
_TEXTS: Final[Schema] = {"type": "array", "items": _TEXT}
_FREE: Final[Schema] = {"type": "object", "additionalProperties": True}


def _object(properties: Schema, required: tuple[str, ...] | None = None, **more: Any) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties if required is None else required), **more}


def _list(item: Schema) -> Schema:
    return {"type": "array", "items": item}


def shapes() -> dict[str, Schema]:
    version: Schema = {
        "version": {**_WHOLE, "description": "0: nothing was ever changed, the defaults hold."},
        "epoch": _WHOLE,
        "at": _MOMENT,
        "author": {"type": ["string", "null"]},
        "reason": _TEXT,
    }
    version_line = {**version, "rolled_back_from": {"type": ["integer", "null"]}}
    values = {**_FREE, "description": "Name → parameters; a section without names: its parameters. Only what is set."}
    changes = {"changes": _list(ref("ConfigChange"))}
    announced = {"type": ["boolean", "null"], "description": "false: the other processes find it in the rows, within seconds."}
    switch: Schema = {
        "mode": {"type": "string", "enum": list(MODES)},
        "reason": {**_TEXT, "maxLength": 500},
        "until": _MOMENT,
        "allow": {**_TEXTS, "description": "Addresses and networks that go on as usual."},
        "paths": {**_TEXTS, "description": "Only paths that begin so; none and no permission: all."},
        "permissions": {**_TEXTS, "description": "Only these permissions; a * at the end stands for any rest."},
    }
    process = {
        **dict.fromkeys(("id", "host", "source", "problem"), _TEXT),
        **dict.fromkeys(("pid", "epoch", "version"), _WHOLE),
        "age_s": {"type": "number"},
    }
    flush: Schema = {
        "tag": {"type": "string", "enum": [*targets.TAGS, targets.ALL]},
        "value": {
            **_TEXT,
            "maxLength": MAX_VALUE,
            "description": "A pattern of ids for subject and resource, * standing for any run of characters; a name for role, "
            "team and scope; none for all.",
        },
        "realm": {**_TEXT, "description": "The control plane's own where it is left out."},
        "reason": {**_TEXT, "maxLength": 1000},
    }
    snapshots = _object(dict.fromkeys(("subjects", "resources"), _WHOLE))
    counted = {
        **_object({"rows": snapshots, "memory": snapshots}),
        "description": "rows: at most so many can be in a memory. memory: so many were in that of the process that answers.",
    }
    number_or_none = {"type": ["number", "null"]}
    param = {
        **dict.fromkeys(("name", "type", "help"), _TEXT),
        "default": {},
        "nullable": {"type": "boolean"},
        "min": number_or_none,
        "max": number_or_none,
        "choices": _TEXTS,
    }
    return {
        "ConfigChange": _object({"path": _TEXT, "before": {}, "after": {}}),
        "ConfigIndex": _object({**version_line, "sections": _TEXTS, "processes": _list(_object(process))}),
        "ConfigSection": _object({"section": _TEXT, **version_line, "values": values, "parameters": _list(_object(param))}),
        "ConfigValues": _object({"values": values, "reason": _TEXT}, ("values",), additionalProperties=False),
        "ConfigChanged": _object({"section": _TEXT, **version, **changes, "announced": announced, "values": values}),
        "ConfigHistory": _object(
            {
                "section": _TEXT,
                "results": _list(_object({**version_line, "values": values})),
                "before": {"type": ["integer", "null"], "description": "For the next page; null on the last one."},
            }
        ),
        "ConfigValidated": _object(
            {
                "section": _TEXT,
                "valid": {"type": "boolean"},
                "errors": _list(_object({"where": _TEXT, "message": _TEXT})),
                **changes,
            }
        ),
        "ConfigRollback": _object({"version": _WHOLE, "reason": _TEXT}, ("version",), additionalProperties=False),
        "CacheFlush": _object(flush, ("tag",), additionalProperties=False),
        "CacheFlushed": _object(
            {"revision": _WHOLE, "token": _TEXT, "counted": counted},
            ("counted",),
            description="With count=1 only counted.",
        ),
        "Maintenance": _object({**switch, "version": _WHOLE, "announced": announced}, (*switch, "version")),
        "MaintenanceLine": _object(switch, ("mode",), additionalProperties=False),
    }


EXAMPLES: Final[dict[str, Schema]] = {
    "ConfigValues": {"values": {"login": {"limit": 10, "period_s": 60}}, "reason": "someone guesses passwords"},
    "CacheFlush": {"tag": "subject", "value": "user:a*", "reason": "their attributes were loaded wrongly"},
    "ConfigRollback": {"version": 3, "reason": "too strict"},
    "MaintenanceLine": {
        "mode": "read_only",
        "reason": "The database moves to a new server",
        "until": "2030-12-31T04:00:00Z",
        "allow": ["10.0.0.0/8"],
    },
}


def publish() -> None:
    """Into the document. permissions may not know this app, so this app tells it."""
    components.add(shapes(), EXAMPLES)
