"""What each live parameter is now, where that comes from, and who set it when: the tables of the configuration page."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from controlplane.models import ConfigRevision
from controlplane.services.config import active, difference, editable, values_of
from permissions.bundle.compact import date_text
from resilience import params, registry

DEFAULT: Final = "default"  # as the parameter tables have it
CODE: Final = "code"  # as the code, or a setting from the environment that it reads, declares it
ROW: Final = "row"  # set live
FORCED: Final = "forced"  # by an override or a force, for a time
# Versions looked through for who set what: each holds the whole configuration.
LOOKED_THROUGH: Final = 200
# Names of a section that are shown.
MOST_NAMES: Final = 200

# Section → the kind of strategy that it configures.
_KINDS: Final = {
    "limiters": "limiter",
    "breakers": "breaker",
    "bulkheads": "bulkhead",
    "retries": "retry",
    "pipelines": "pipeline",
}


@dataclass(frozen=True, slots=True)
class Change:
    """The version in which a parameter became what it is."""

    version: int
    author: str
    at: str
    reason: str


def sections() -> list[dict[str, Any]]:
    now = active()
    changes = _changes()
    return [_section(params.SECTIONS[name], values_of(name, now), changes) for name in editable()]


def _section(declared: params.Section, values: Mapping[str, Any], changes: Mapping[str, Change]) -> dict[str, Any]:
    found: dict[str, Any] = {"name": declared.name, "keyed": declared.keyed, "help": declared.help, "entries": [], "more": 0}
    if not declared.keyed:
        found["entries"] = [_entry(declared, "", values, {}, changes)]
        return found
    # What is set for a time stands in sections of its own: it is the force itself, not a value of the thing forced.
    known = sorted({*values, *registry.names_in(declared.name)})
    found["more"] = max(0, len(known) - MOST_NAMES)
    for name in known[:MOST_NAMES]:
        found["entries"].append(_entry(declared, name, values.get(name, {}), _running(declared.name, name), changes))
    return found


def _entry(
    declared: params.Section, name: str, row: Mapping[str, Any], running: Mapping[str, Any], changes: Mapping[str, Change]
) -> dict[str, Any]:
    path = f"{declared.name}.{name}" if name else declared.name
    return {
        "name": name,
        "forces": forces_of(declared.name, name),
        "params": [_param(param, row, running, changes.get(f"{path}.{param.name}")) for param in declared.params],
    }


def _param(param: params.Param, row: Mapping[str, Any], running: Mapping[str, Any], change: Change | None) -> dict[str, Any]:
    if param.name in row:
        value, source = row[param.name], ROW
    elif param.name in running and running[param.name] != param.default:
        value, source = running[param.name], CODE
    else:
        value, source = param.default, DEFAULT
    return {
        "name": param.name,
        "value": params.plain(_shown(value)),
        "source": source,
        "help": param.help,
        "changed": None
        if change is None or source != ROW
        else {"version": change.version, "author": change.author, "at": change.at, "reason": change.reason},
    }


def _shown(value: Any) -> Any:
    """What is no plain value (a pipeline's breaker given as an object, a lease) is told by its name."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_shown(item) for item in value]
    return str(getattr(value, "name", None) or value)


def _running(section: str, name: str) -> Mapping[str, Any]:
    """What this process runs; nothing for a section that holds no strategies, or a name that cannot be made here."""
    kind = _KINDS.get(section)
    if kind is None:
        return {}
    try:
        options: Mapping[str, Any] = registry.find(kind, name).options
    except (AttributeError, ValueError):
        return {}
    return options


def forces_of(section: str, name: str) -> list[dict[str, Any]]:
    """What holds the thing otherwise than its values say, for a time: overrides of a rule's keys, a forced breaker."""
    now = time.time()
    revision = active()
    if section == "limiters":
        entries = values_of("overrides", revision).values()
        return [
            {"what": f"{one.get('key')}: {one.get('limit')}", "until": one["until"]}
            for one in entries
            if one.get("rule") == name and one.get("until", 0) > now
        ]
    if section == "breakers":
        one = values_of("forces", revision).get(name)
        if one is not None and one.get("until", 0) > now:
            return [{"what": str(one.get("to")), "until": one["until"]}]
    return []


def _changes() -> dict[str, Change]:
    """Path → the newest version that set it, of the last LOOKED_THROUGH."""
    found: dict[str, Change] = {}
    for before, after in _pairs():
        for change in difference({} if before is None else before.sections, after.sections):
            found.setdefault(change.path, Change(after.version, after.author, date_text(after.created_at), after.reason))
    return found


def _pairs() -> Iterator[tuple[ConfigRevision | None, ConfigRevision]]:
    """(the version before, a version), newest first."""
    rows = list(ConfigRevision.objects.order_by("-version")[: LOOKED_THROUGH + 1])
    for place, row in enumerate(rows[:LOOKED_THROUGH]):
        yield (rows[place + 1] if place + 1 < len(rows) else None), row
