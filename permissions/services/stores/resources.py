"""Resources: specs → rows of the tree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from permissions.bundle.specs import ResourceSpec
from permissions.models import Resource
from permissions.services.specs import parts
from permissions.services.stores.catalog import rows_by
from permissions.services.stores.rows import BATCH, Item, record, save_rows
from permissions.writing import Write

COLUMNS = ("id", "inherit", "attributes")


def named_resources(write: Write, refs: Iterable[str]) -> dict[str, Resource]:
    """The rows of the resources named as a scope or a parent, made under the realm where there was none."""
    wanted = set(refs)
    rows: dict[str, Resource] = rows_by(Resource, write.realm, "ref", wanted)
    new = [Resource(realm=write.realm, ref=ref) for ref in sorted(wanted - rows.keys())]
    for row in Resource.objects.bulk_create(new, batch_size=BATCH):
        rows[row.ref] = row
        record(write, "resource", row.ref, None, ResourceSpec(row.ref))
    return rows


def store_resources(write: Write, items: Sequence[Item[ResourceSpec, Resource]]) -> dict[str, Resource]:
    """Nodes first, then their places in the tree, so that children of one call may stand before their parents."""
    rows = {i.after.id: i.row if i.row is not None else Resource(realm=write.realm) for i in items}
    save_rows(Resource, items, rows, COLUMNS, "id")
    own = set(rows)
    others = named_resources(write, {i.after.parent for i in items if i.after.parent is not None} - own)
    moved = []
    for item in items:
        row = rows[item.after.id]
        parent = None if item.after.parent is None else (rows.get(item.after.parent) or others[item.after.parent])
        if row.parent_id != (None if parent is None else parent.pk):
            row.parent = parent
            moved.append(row)
    if len(moved) > 1:
        # The database judges row by row: two nodes that change places would be a circle for a moment.
        for part in parts([row.pk for row in moved]):
            Resource.objects.filter(pk__in=part, parent__isnull=False).update(parent=None)
    Resource.objects.bulk_update(moved, ["parent"], batch_size=500)
    for item in items:
        record(write, "resource", item.after.id, item.before, item.after)
    return rows
