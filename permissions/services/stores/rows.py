"""One way to keep a row: what changed is saved and audited, and nothing else is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db.models import Model

from permissions.bundle.schema import to_dict
from permissions.bundle.specs import Spec
from permissions.errors import Invalid, Problem
from permissions.services.validation import join
from permissions.writing import Write

S = TypeVar("S")
M = TypeVar("M", bound=Model)

# Rows a statement of a bulk insert: chosen so that one statement's parameters stay in the low megabytes; Django cuts it smaller
# where SQLite's limit of variables asks for it.
BATCH: Final = 5_000

# The columns of a spec and the columns of its row, where the names differ.
_COLUMN: Final = {"id": "ref"}


@dataclass(slots=True)
class Item(Generic[S, M]):
    """One object to be brought to `after`. `row` is None for a new one; `before` is the state of `row`; `where` its place."""

    after: S
    before: S | None = None
    row: M | None = None
    where: str = ""


def plain(spec: Spec | None) -> dict[str, object] | None:
    return None if spec is None else to_dict(spec)


def record(write: Write, noun: str, ident: str, before: Spec | None, after: Spec | None) -> None:
    """One audit entry for one object; nothing for an object that stays as it was."""
    old, new = plain(before), plain(after)
    if old == new:
        return
    verb = "create" if old is None else "delete" if new is None else "change"
    write.record(f"{noun}.{verb}", noun, ident, old, new)


def clean(row: Model, where: str = "", *, alone: bool = True) -> None:
    """full_clean, its errors with their places. `alone` False leaves out the questions to the database (foreign keys, unique,
    constraints): of many rows at once they would be thousands; the specs were judged, and the database holds the same laws."""
    try:
        if alone:
            row.full_clean()
        else:
            row.clean_fields(exclude=[field.name for field in row._meta.concrete_fields if field.is_relation])
    except ValidationError as error:
        raise Invalid(
            [
                Problem(where if field == NON_FIELD_ERRORS else join(where, "id" if field == "ref" else field), message)
                for field, messages in error.message_dict.items()
                for message in messages
            ]
        ) from error


def assign(row: Model, spec: Any, columns: Iterable[str]) -> list[str]:
    """Copies the spec's columns onto the row; gives the names of those that differed."""
    changed = []
    for column in columns:
        value = getattr(spec, column)
        if isinstance(value, tuple):
            value = [dict(item) if isinstance(item, Mapping) else item for item in value]
        elif isinstance(value, Mapping):
            value = dict(value)
        name = _COLUMN.get(column, column)
        # `is` for booleans in JSON: Python takes 1 and True for equal, and a condition on an attribute does not.
        if not _same(getattr(row, name), value):
            setattr(row, name, value)
            changed.append(name)
    return changed


def _same(old: Any, new: Any) -> bool:
    if type(old) is not type(new):
        return False
    if isinstance(old, dict):
        return old.keys() == new.keys() and all(_same(old[key], new[key]) for key in old)
    if isinstance(old, list):
        return len(old) == len(new) and all(_same(a, b) for a, b in zip(old, new, strict=True))
    return bool(old == new)


def save_rows(model: type[M], items: Sequence[Item[Any, M]], rows: Mapping[str, M], columns: Sequence[str], key: str) -> None:
    """Inserts the new rows and saves the changed columns of the others; `rows` holds them all by their natural key."""
    alone = len(items) == 1
    new: list[M] = []
    changed: list[tuple[M, list[str]]] = []
    for item in items:
        row = rows[getattr(item.after, key)]
        differing = assign(row, item.after, columns)
        if item.row is None:
            clean(row, item.where, alone=alone)
            new.append(row)
        elif differing:
            clean(row, item.where, alone=alone)
            changed.append((row, differing))
    if new:
        model._default_manager.bulk_create(new, batch_size=BATCH)
    for row, differing in changed:
        row.save(update_fields=differing)
