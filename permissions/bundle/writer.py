"""Bundle → text, YAML or JSON: the same text for the same bundle, and `read(dump(x))` is `x` again."""

from __future__ import annotations

import json
from typing import Any, Final, Literal

import yaml

from permissions.bundle.compact import realm_keys, to_dict
from permissions.bundle.keys import SECTIONS, VERSION
from permissions.bundle.specs import Bundle
from permissions.bundle.yaml_text import is_plain_text

Format = Literal["yaml", "json"]
# The pure dumper: the C one breaks long flow lines at other columns, and a text must not depend on how PyYAML was built.
WIDTH: Final = 130


def document(bundle: Bundle) -> dict[str, Any]:
    """The bundle as plain data, keys in their usual order. A realm key that was given is written even where it is the default."""
    from_realm = realm_keys(bundle.realm)
    settings = dict(from_realm.pop("settings", {}))
    data: dict[str, Any] = {"version": VERSION, "realm": bundle.realm.name, **from_realm}
    for key in ("combining", "resource_types", "unknown_subjects"):
        if key in bundle.realm_keys:
            data.setdefault(key, getattr(bundle.realm, key))
    for key in ("staleness_s", "static_grace_s", "suspended"):
        if key in bundle.realm_keys:
            settings.setdefault(key, getattr(bundle.realm, key))
    if settings:
        data["settings"] = settings
    for section in SECTIONS:
        specs = getattr(bundle, section)
        if specs is not None:
            data[section] = [to_dict(spec) for spec in specs]
    return data
