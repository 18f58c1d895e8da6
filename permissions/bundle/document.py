"""A whole bundle: plain data → Bundle, all mistakes at once, those between its lines included."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from permissions.bundle.fields import Fields, Problems
from permissions.bundle.graph import cycle_of
from permissions.bundle.keys import BUNDLE_KEYS, SECTIONS, SETTINGS_KEYS, VERSION
from permissions.bundle.schema import READERS, read_realm
from permissions.bundle.specs import Bundle
from permissions.engine import names

DEFAULT_REALM = "default"
OWN_KEY: Mapping[str, str] = {
    "permissions": "code",
    "groups": "name",
    "roles": "name",
    "subjects": "id",
    "teams": "id",
    "resources": "id",
}


def parse_bundle(data: object, problems: Problems, *, default_realm: str = DEFAULT_REALM) -> Bundle:
    """The bundle of plain data. Whoever calls raises `Invalid` when `problems` is not empty afterwards: then it is no bundle."""
    fields = Fields(data, "", problems, BUNDLE_KEYS)
    if not fields.is_mapping:
        return Bundle(read_realm(fields, default_realm))
    version = fields.data.get("version")
    if "version" not in fields.data:
        problems.note("version", f"is missing; this is version {VERSION}")
    elif isinstance(version, bool) or version != VERSION or not isinstance(version, int):
        problems.note("version", f"must be {VERSION}, not {version!r}")
    realm = read_realm(
        fields, fields.optional("realm", lambda v: names.check_text(v, "realm", max_length=names.MAX_NAME)) or default_realm
    )
    sections: dict[str, Any] = {}
    for section in SECTIONS:
        if section in fields.data:
            read = READERS[section]
            sections[section] = tuple(read(item, place, problems) for place, item in fields.items(section))
    _judge_names(sections, problems)
    _judge_cycles(sections, problems)
    return Bundle(realm, _realm_keys(fields.data), **sections)


def _realm_keys(data: Mapping[str, Any]) -> frozenset[str]:
    """The fields of the realm's spec that the bundle speaks of; the others are left alone."""
    settings = data.get("settings")
    given = {key for key in ("combining", "resource_types", "unknown_subjects") if key in data}
    given |= {"name"} if data.get("realm") is not None else set()
    given |= {key for key in SETTINGS_KEYS if isinstance(settings, Mapping) and key in settings}
    return frozenset(given)


def _judge_names(sections: Mapping[str, tuple[Any, ...]], problems: Problems) -> None:
    """One line a name; and a team is a subject, so the two sections share their names."""
    seen: dict[tuple[str, str], str] = {}
    for section, key in OWN_KEY.items():
        space = "subjects" if section == "teams" else section
        for number, spec in enumerate(sections.get(section, ())):
            own = getattr(spec, key)
            place = f"{section}[{number}]"
            if not own:
                continue
            first = seen.setdefault((space, own), place)
            if first != place and first.startswith(section):
                problems.note(f"{place}.{key}", f"{names.shown(own)} is described twice; first at {first}")
            elif first != place:
                problems.note(f"{place}.{key}", f"{names.shown(own)} is listed as a subject ({first}) and as a team; keep one")


def _judge_cycles(sections: Mapping[str, tuple[Any, ...]], problems: Problems) -> None:
    """A line says all its edges, so a cycle among the lines of a bundle stays one whatever the realm holds already.

    An edge from a node to itself was named where it stands and is passed over here.
    """
    graphs: list[tuple[str, str, str, dict[str, Iterable[str]]]] = [
        ("permissions", "requires", "requirements", {p.code: p.requires for p in sections.get("permissions", ())}),
        ("roles", "inherits", "inheritance", {r.name: r.inherits for r in sections.get("roles", ())}),
        ("teams", "members", "membership", {t.id: [m.id for m in t.members] for t in sections.get("teams", ())}),
        ("resources", "parent", "parents", {r.id: [r.parent] if r.parent else [] for r in sections.get("resources", ())}),
    ]
    for section, key, what, edges in graphs:
        cycle = cycle_of({node: [other for other in others if other != node] for node, others in edges.items()})
        if cycle:
            own = OWN_KEY[section]
            number = next(n for n, spec in enumerate(sections[section]) if getattr(spec, own) == cycle[0])
            around = " → ".join(names.shown(node) for node in cycle)
            problems.note(f"{section}[{number}].{key}", f"{what} run in a circle: {around}")
