"""Azure's built-in roles → bundle: `Microsoft.X/y/read` becomes `Microsoft.X/y:read`, exclusions stay local to their role.

- In Azure `*` runs over slashes and colons. The last slash of a code becomes the law's colon, so a pattern splits wherever that
  slash may fall: `P/*` is `P:*` and `P/*:*`, `*/read` is `*:read`. A colon inside a text is written `%3A`.
- Azure ignores case, the law does not: codes and patterns take the catalogue's spelling.
- Control and data actions are two planes: Owner's `*` reads no blob. Here they share one space of codes, so a pattern of one
  plane that would reach codes known only in the other excludes them.
- A role's condition (Azure's own language) cannot be said here. Where it guards named actions, the role is imported without them;
  where it guards everything, without any.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from permissions.bundle.specs import Bundle, RoleSpec
from permissions.engine import names
from permissions.errors import Problem
from permissions.importers.azure_condition import guarded_actions
from permissions.importers.base import TRIMMED, Converter, Progress, Record, Spelling, bundle_of, lines, records, refuse

KEYS: Final = ("permissions", "excluded", "data_permissions", "data_excluded")
GUARDED: Final = "role with a condition that cannot be said here: imported without the actions it guards"
EMPTIED: Final = "role with a condition over everything it gives: imported without permissions"
NOTHING: Final = "text that ends in a slash and so names no action: left out"


def patterns_of(text: str) -> list[str]:
    """The law's patterns that together match what `text` matches in Azure. A text that names no action gives none."""
    if text == "*":
        return ["*"]
    if "?" in text:
        raise names.BadNameError(f"{names.shown(text)} holds a '?', which Azure takes literally and the law does not")
    quoted = text.strip(" ").replace("%", "%25").replace(":", "%3A")
    if quoted.endswith("/"):
        return []
    resource, slash, action = quoted.rpartition("/")
    if not slash or not resource:
        raise names.BadNameError(f"{names.shown(text)} is not written Provider/type/action")
    # The code's last slash is the pattern's last one, or stands inside a star that follows it.
    splits = [f"{resource}:{action}"]
    pieces = action.split("*")
    for number in range(1, len(pieces)):
        before, after = "*".join(pieces[:number]), "*".join(pieces[number:])
        splits.append(f"{resource}/{before}*:*{after}")
    return splits


@dataclass(frozen=True, slots=True)
class Planes:
    """Known codes of each plane. A code that nobody names in the data plane is one of the control plane."""

    control: frozenset[str]
    data: frozenset[str]


def load(
    data: object, *, catalogue: object = None, progress: Progress | None = None, notes: Counter[str] | None = None
) -> Bundle:
    problems: list[Problem] = []
    convert = Converter(patterns_of, problems)
    found = records(data, problems, notes)
    official = convert.of_catalogue(catalogue)
    lists = [{key: convert.of(record, key) for key in KEYS} for record in found]
    refuse(problems)
    if notes is not None:
        _note_oddities(found, notes)
    used = (code for of in lists for key in KEYS for code in of[key] if not names.is_pattern(code))
    spelling = Spelling(official, used)
    planes = _planes(lists, spelling)
    roles = []
    for number, (record, of) in enumerate(zip(found, lists, strict=True)):
        roles.append(_role(record, of, spelling, planes, notes))
        if progress:
            progress(number + 1, len(found))
    refuse(problems)
    return bundle_of(roles, spelling.codes)


def _planes(lists: Sequence[dict[str, list[str]]], spelling: Spelling) -> Planes:
    def known(*keys: str) -> set[str]:
        return {c for of in lists for key in keys for p in of[key] if not names.is_pattern(p) for c in spelling.matching(p)}

    control, data = known("permissions", "excluded"), known("data_permissions", "data_excluded")
    return Planes(frozenset(control | (set(spelling.codes) - data)), frozenset(data))


def _matched(patterns: Iterable[str], spelling: Spelling) -> set[str]:
    return {code for pattern in patterns for code in spelling.matching(pattern)}


def _role(record: Record, of: dict[str, list[str]], spelling: Spelling, planes: Planes, notes: Counter[str] | None) -> RoleSpec:
    """The role whose patterns and exclusions give, on the known codes, exactly what it gives in Azure."""
    allow = [*of["permissions"], *of["data_permissions"]]
    given = ((_matched(of["permissions"], spelling) & planes.control) - _matched(of["excluded"], spelling)) | (
        (_matched(of["data_permissions"], spelling) & planes.data) - _matched(of["data_excluded"], spelling)
    )
    description = "Azure built-in role"
    condition = record.text("condition")
    if condition:
        guarded = guarded_actions(condition)
        if guarded is None:
            allow, given = [], set()
            description += "; its condition cannot be said here, so it gives nothing"
        else:
            given -= _matched([p for text in guarded for p in patterns_of(text)], spelling)
            description += f"; without what its condition guards: {', '.join(guarded)}"
        if notes is not None:
            notes[EMPTIED if guarded is None else GUARDED] += 1
    reached = _matched(allow, spelling)
    permissions = [p for pattern in allow for p in spelling.respelled(pattern) if names.is_pattern(p) or p in given]
    exclude: list[str] = []
    for pattern in (*of["excluded"], *of["data_excluded"]) if allow else ():
        codes = spelling.matching(pattern)
        # An exclusion is of one plane and of this role; one that would take what the other plane gives is named code by code.
        exclude += sorted((codes & reached) - given) if codes & given else spelling.respelled(pattern)
    exclude += sorted(reached - given - _matched(exclude, spelling))
    return RoleSpec(record.name, description=description, permissions=lines(permissions), exclude=tuple(dict.fromkeys(exclude)))


def _note_oddities(found: Iterable[Record], notes: Counter[str]) -> None:
    for record in found:
        for text in (text for key in KEYS for text in record.texts(key)):
            if text != text.strip(" "):
                notes[TRIMMED] += 1
            elif text.endswith("/"):
                notes[NOTHING] += 1
