"""Bundle → text, YAML or JSON: the same text for the same bundle, and `read(dump(x))` is `x` again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

from permissions.bundle.compact import to_dict
from permissions.bundle.document import DEFAULT_REALM
from permissions.bundle.keys import SECTIONS, SETTINGS_KEYS, VERSION
from permissions.bundle.specs import Bundle

Format = Literal["yaml", "json"]
WIDTH: Final = 120
# What reads the same with every YAML reader without quotes. Codes, ids and dates hold a colon and so stand in quotes.
PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
WORDS: Final = frozenset({"true", "false", "yes", "no", "on", "off", "y", "n", "null"})
# Characters that json.dumps leaves as they are, and that YAML folds, drops or refuses inside double quotes.
UNPRINTABLE: Final = re.compile(r"[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
# YAML takes a key without a question mark only up to 1,024 characters; escapes count.
MAX_SIMPLE_KEY: Final = 1000
# Lines of these sections are short records, one a line; a role or a group is a list that people read downwards.
IN_BLOCKS: Final = frozenset({"groups", "roles"})


def document(bundle: Bundle) -> dict[str, Any]:
    """The bundle as plain data, keys in their usual order. The realm's keys are those that were given, even at their defaults."""
    realm, given = bundle.realm, bundle.realm_keys
    data: dict[str, Any] = {"version": VERSION}
    if "name" in given or realm.name != DEFAULT_REALM:
        data["realm"] = realm.name
    if "combining" in given:
        data["combining"] = realm.combining
    if "resource_types" in given:
        data["resource_types"] = {kind: dict(options) for kind, options in realm.resource_types.items()}
    if "unknown_subjects" in given:
        data["unknown_subjects"] = realm.unknown_subjects
    settings = {key: getattr(realm, key) for key in SETTINGS_KEYS if key in given}
    if settings:
        data["settings"] = settings
    for section in SECTIONS:
        specs = getattr(bundle, section)
        if specs is not None:
            data[section] = [to_dict(spec) for spec in specs]
    return data


def dump(bundle: Bundle, format: Format = "yaml") -> str:
    data = document(bundle)
    if format == "json":
        return json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    return "\n".join(_document_lines(data)) + "\n"


def _text(text: str) -> str:
    if PLAIN.fullmatch(text) and text.lower() not in WORDS:
        return text
    return UNPRINTABLE.sub(lambda match: f"\\u{ord(match.group()):04x}", json.dumps(text, ensure_ascii=False))


def _key(key: str) -> str:
    text = _text(key)
    return f"{text}:" if len(text.encode()) <= MAX_SIMPLE_KEY else f"? {text} :"


def _flow(value: Any) -> str:
    """The value on one line."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key)} {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, float):
        # YAML 1.1 takes 1e+16 for a text: it wants a point.
        text = repr(value)
        return text if "." in text else text.replace("e", ".0e")
    return json.dumps(value)


def _document_lines(data: Mapping[str, Any]) -> Iterator[str]:
    for key, value in data.items():
        if key not in SECTIONS:
            yield f"{key}: {_flow(value)}"
        elif not value:
            yield f"\n{key}: []"
        else:
            yield f"\n{key}:"
            for line in value:
                flow = f"  - {_flow(line)}"
                if key in IN_BLOCKS or len(flow) > WIDTH:
                    yield from _block(line)
                else:
                    yield flow


def _block(line: Mapping[str, Any]) -> Iterator[str]:
    """A mapping as an item of a section, a key a line; a list that is too long for its line goes downwards."""
    start = "  - "
    for key, value in line.items():
        flow = f"{start}{key}: {_flow(value)}"
        start = "    "
        if len(flow) <= WIDTH or not isinstance(value, list) or not value:
            yield flow
        else:
            yield flow[: flow.index(":") + 1]
            for item in value:
                yield f"      - {_flow(item)}"
