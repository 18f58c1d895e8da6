"""Bindings: specs → rows."""

from __future__ import annotations

from collections.abc import Sequence

from permissions.bundle.specs import BindingSpec
from permissions.models import Role, RoleBinding
from permissions.services.stores.catalog import patterns_of, register, rows_by
from permissions.services.stores.resources import named_resources
from permissions.services.stores.rows import BATCH, Item, assign, clean, record
from permissions.services.stores.subjects import named_subjects
from permissions.writing import Write

COLUMNS = ("allow", "deny", "condition", "valid_from", "valid_until", "propagate", "reason", "obligations")


def store_bindings(write: Write, items: Sequence[Item[BindingSpec, RoleBinding]]) -> list[RoleBinding]:
    specs = [item.after for item in items]
    register(write, (p for spec in specs for p in patterns_of(spec)))
    subjects = named_subjects(write, {spec.subject for spec in specs})
    scopes = named_resources(write, {spec.scope for spec in specs if spec.scope is not None})
    roles = rows_by(Role, write.realm, "name", {spec.role for spec in specs if spec.role is not None})
    alone = len(items) == 1
    rows, new = [], []
    for item in items:
        spec = item.after
        row = item.row if item.row is not None else RoleBinding(realm=write.realm, granted_by=write.actor.name)
        changed = assign(row, spec, COLUMNS)
        for column, related in (
            ("subject", subjects[spec.subject]),
            ("role", None if spec.role is None else roles[spec.role]),
            ("scope", None if spec.scope is None else scopes[spec.scope]),
        ):
            if getattr(row, f"{column}_id") != (None if related is None else related.pk):
                setattr(row, column, related)
                changed.append(column)
        if item.row is None or changed:
            clean(row, item.where, alone=alone)
        if item.row is None:
            new.append(row)
        elif changed:
            row.save(update_fields=changed)
        rows.append(row)
    RoleBinding.objects.bulk_create(new, batch_size=BATCH)
    for item, row in zip(items, rows, strict=True):
        record(write, "binding", str(row.pk), item.before, item.after)
    return rows
