"""Google Cloud's predefined roles → bundle: `storage.buckets.get` becomes `storage.buckets:get`.

The source names every permission of a role; it has no patterns, no exclusions and no denials in roles.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from permissions.bundle.specs import Bundle, RoleSpec
from permissions.engine import names
from permissions.errors import Problem
from permissions.importers.base import Converter, Progress, bundle_of, lines, records, refuse


def code_of(text: str) -> Iterable[str]:
    """`service.resource.verb`: the verb follows the last point; a service may hold points and a slash."""
    resource, _, verb = text.rpartition(".")
    if not resource or not verb or ":" in text or names.is_pattern(text):
        raise names.BadNameError(f"{names.shown(text)} is not written service.resource.verb")
    return (f"{resource}:{verb}",)


def load(
    data: object, *, catalogue: object = None, progress: Progress | None = None, notes: Counter[str] | None = None
) -> Bundle:
    problems: list[Problem] = []
    convert = Converter(code_of, problems)
    found = records(data, problems, notes)
    official = convert.of_catalogue(catalogue)
    roles = []
    for number, record in enumerate(found):
        stage = record.text("stage")
        description = f"Google Cloud role, launch stage {stage}" if stage else "Google Cloud role"
        roles.append(RoleSpec(record.name, description=description, permissions=lines(convert.of(record, "permissions"))))
        if progress:
            progress(number + 1, len(found))
    refuse(problems)
    named = {line.code for role in roles for line in role.permissions}
    return bundle_of(roles, None if catalogue is None else named | set(official))
