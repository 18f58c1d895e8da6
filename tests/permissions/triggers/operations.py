"""Every way to write a row: what is prepared before, what is done, and which objects of the changelog it must touch."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db import connection, models

from permissions.models import Subject
from tests.permissions.triggers.world import Case, Objects, World

Work = tuple[Callable[[], object], Objects]  # what to do, what it touches


@dataclass(frozen=True)
class Operation:
    """`prepare` makes what is needed, outside of what is measured."""

    name: str
    prepare: Callable[[Case, World], Work]
    fits: Callable[[Case], bool] = lambda case: True
    vendor: str = ""

    def __str__(self) -> str:
        return self.name


def values_of(row: models.Model, *, with_key: bool = False) -> dict[str, Any]:
    """Column → value as the driver takes it."""
    found = {}
    for item in row._meta.local_concrete_fields:
        if item.primary_key and not with_key:
            continue
        value = item.get_db_prep_save(item.pre_save(row, row._state.adding), connection)
        found[str(item.column)] = getattr(value, "dumps", json.dumps)(value.obj) if hasattr(value, "obj") else value
    return found


def execute(sql: str, parameters: list[Any] | None = None) -> int:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return int(cursor.rowcount)


def insert_sql(row: models.Model, verb: str = "INSERT INTO", tail: str = "", *, with_key: bool = False) -> tuple[str, list[Any]]:
    values = values_of(row, with_key=with_key)
    columns = ", ".join(f'"{c}"' for c in values)
    return f"{verb} {row._meta.db_table} ({columns}) VALUES ({', '.join(['%s'] * len(values))}) {tail}", list(values.values())


def _column(case: Case) -> str:
    return next(str(f.column) for f in case.model._meta.local_concrete_fields if f.name == case.change[0])


def _several(case: Case, world: World) -> tuple[list[Any], Objects]:
    rows = [case.new(world) for _ in range(3)]
    return rows, set().union(*(case.named(row) for row in rows))


def _saved(case: Case, world: World) -> tuple[list[Any], Objects]:
    rows, touched = _several(case, world)
    for row in rows:
        row.save()
    return rows, touched


def _save_new(case: Case, world: World) -> Work:
    row = case.new(world)
    return row.save, case.named(row)


def _bulk_create(**options: Any) -> Callable[[Case, World], Work]:
    def prepare(case: Case, world: World) -> Work:
        rows, touched = _several(case, world)
        return lambda: case.model._default_manager.bulk_create(rows, **options), touched

    return prepare


def _bulk_create_updating(case: Case, world: World) -> Work:
    """One row is new, one is there and changes, one is there and stays as it is: that one is no change."""
    (changed, same, _), _ = _saved(case, world)
    fresh = case.new(world)
    rows, touched = [same, fresh], case.named(fresh)
    name, value = case.change[0], case.change[1](world)
    if _conflict_can_change(case):
        setattr(changed, name, value)
        rows.append(changed)
        touched |= case.named(changed)
    keys = [f.name for f in case.model._meta.local_concrete_fields if f.column in case.unique]
    copies = [_copy(row) for row in rows]
    create = case.model._default_manager.bulk_create
    return lambda: create(copies, update_conflicts=True, unique_fields=keys, update_fields=[name]), touched


def _copy(row: Any) -> Any:
    fields = {f.attname: getattr(row, f.attname) for f in row._meta.local_concrete_fields if not f.primary_key}
    return type(row)(**fields)


def _bulk_create_ignoring(case: Case, world: World) -> Work:
    """The duplicates are no change."""
    rows, _ = _saved(case, world)
    fresh = case.new(world)
    again = [_copy(r) for r in rows]
    return lambda: case.model._default_manager.bulk_create([*again, fresh], ignore_conflicts=True), case.named(fresh)


def _save_changed(case: Case, world: World) -> Work:
    (row, *_), _ = _saved(case, world)
    before = case.named(row)
    setattr(row, case.change[0], case.change[1](world))
    return row.save, before | case.named(row)


def _update(case: Case, world: World) -> Work:
    rows, touched = _saved(case, world)
    value = case.change[1](world)
    query = case.model._default_manager.filter(pk__in=[r.pk for r in rows])
    return lambda: query.update(**{case.change[0]: value}), touched


def _bulk_update(case: Case, world: World) -> Work:
    rows, touched = _saved(case, world)
    for row in rows:
        setattr(row, case.change[0], case.change[1](world))
    return lambda: case.model._default_manager.bulk_update(rows, [case.change[0]]), touched


def _raw_update(case: Case, world: World) -> Work:
    (row, *_), _ = _saved(case, world)
    touched = case.named(row)
    setattr(row, case.change[0], case.change[1](world))
    column = _column(case)
    sql = f'UPDATE {case.model._meta.db_table} SET "{column}" = %s WHERE id = %s'
    return lambda: execute(sql, [values_of(row)[column], row.pk]), touched


def _delete(case: Case, world: World) -> Work:
    (row, *_), _ = _saved(case, world)
    return row.delete, case.named(row)


def _delete_query(case: Case, world: World) -> Work:
    rows, touched = _saved(case, world)
    return case.model._default_manager.filter(pk__in=[r.pk for r in rows]).delete, touched


def _raw_delete(case: Case, world: World) -> Work:
    rows, touched = _saved(case, world)
    marks = ", ".join(["%s"] * len(rows))
    return lambda: execute(f"DELETE FROM {case.model._meta.db_table} WHERE id IN ({marks})", [r.pk for r in rows]), touched


def _cascade(case: Case, world: World) -> Work:
    (row, *_), _ = _saved(case, world)
    assert case.parent is not None
    parent = case.parent(row)
    touched = case.named(row)
    if isinstance(parent, Subject):
        touched |= {({"everyone": "m", "team": "t", "subject": "s"}[parent.kind], parent.ref)}
        if case.name == "key":
            # The world's own bob must outlive the test: a key of somebody else goes with them.
            other = world.subject("subject")
            row.subject = other
            row.save()
            return other.delete, case.named(row) | {("s", other.ref)}
    return parent.delete, touched


def _raw_insert(case: Case, world: World) -> Work:
    row = case.new(world)
    sql, values = insert_sql(row)
    return lambda: execute(sql, values), case.named(row)


def _upsert(*, changing: bool, there: bool) -> Callable[[Case, World], Work]:
    def prepare(case: Case, world: World) -> Work:
        row = case.new(world)
        if there:
            row.save()
        if changing:
            setattr(row, case.change[0], case.change[1](world))
        column = _column(case)
        tail = f'ON CONFLICT ({", ".join(case.unique)}) DO UPDATE SET "{column}" = excluded."{column}"'
        sql, values = insert_sql(row, tail=tail)
        return lambda: execute(sql, values), case.named(row) if changing or not there else set()

    return prepare


def _conflict_can_change(case: Case) -> bool:
    """Whether an upsert on the natural key can change the field: it must not be part of that key."""
    name = case.change[0]
    return bool(case.unique) and name not in case.unique and f"{name}_id" not in case.unique


def _copy_in(case: Case, world: World) -> Work:
    rows, touched = _several(case, world)
    lines = [values_of(row) for row in rows]
    columns = ", ".join(f'"{c}"' for c in lines[0])

    def copy() -> None:
        with connection.cursor() as cursor, cursor.cursor.copy(f"COPY {case.model._meta.db_table} ({columns}) FROM STDIN") as out:
            for line in lines:
                out.write_row(list(line.values()))

    return copy, touched


def _replace(case: Case, world: World) -> Work:
    """The row takes the id of another, which it displaces without a delete trigger."""
    displaced, row = case.new(world), case.new(world)
    displaced.save()
    touched = case.named(displaced) | case.named(row)
    row.pk = displaced.pk
    sql, values = insert_sql(row, verb="INSERT OR REPLACE INTO", with_key=True)
    return lambda: execute(sql, values), touched


def _replace_by_name(case: Case, world: World) -> Work:
    """The row has the natural key of another, and another id."""
    (there, *_), _ = _saved(case, world)
    row = _copy(there)
    sql, values = insert_sql(row, verb="REPLACE INTO")
    return lambda: execute(sql, values), case.named(row)


def _update_to_the_same(case: Case, world: World) -> Work:
    rows, _ = _saved(case, world)
    name = case.change[0]
    query = case.model._default_manager.filter(pk=rows[0].pk)
    return lambda: (query.update(**{name: getattr(rows[0], name)}), rows[1].save()), set()


def _update_none(case: Case, world: World) -> Work:
    table = case.model._meta.db_table
    return lambda: (execute(f"UPDATE {table} SET id = id WHERE id < 0"), execute(f"DELETE FROM {table} WHERE id < 0")), set()


_THROUGH = {"requirement": "requires", "inheritance": "inherits", "role_group": "groups"}


def _many_to_many(what: str) -> Callable[[Case, World], Work]:
    def prepare(case: Case, world: World) -> Work:
        edge = case.new(world)
        near, far = [f for f in case.model._meta.local_concrete_fields if f.is_relation]
        owner, other = getattr(edge, near.name), getattr(edge, far.name)
        related = getattr(owner, _THROUGH[case.name])
        if what == "add":
            return lambda: related.add(other), case.named(edge)
        edge.save()
        if what == "set":
            another = case.change[1](world)
            return lambda: related.set([another]), case.named(edge)
        return {"remove": lambda: related.remove(other), "clear": related.clear}[what], case.named(edge)

    return prepare


def _is_through(case: Case) -> bool:
    return case.name in _THROUGH


def _has_key(case: Case) -> bool:
    return bool(case.unique)


OPERATIONS = (
    Operation("save_new", _save_new),
    Operation("save_changed", _save_changed),
    Operation("update", _update),
    Operation("bulk_create", _bulk_create()),
    Operation("bulk_create_in_batches", _bulk_create(batch_size=1)),
    Operation("bulk_create_ignoring", _bulk_create_ignoring, _has_key),
    Operation("bulk_create_updating", _bulk_create_updating, _has_key),
    Operation("bulk_update", _bulk_update),
    Operation("delete", _delete),
    Operation("delete_query", _delete_query),
    Operation("cascade", _cascade, lambda case: case.parent is not None),
    *(Operation(f"m2m_{what}", _many_to_many(what), _is_through) for what in ("add", "set", "remove", "clear")),
    Operation("raw_insert", _raw_insert),
    Operation("raw_update", _raw_update),
    Operation("raw_delete", _raw_delete),
    Operation("upsert_inserting", _upsert(changing=False, there=False), _has_key),
    Operation("upsert_updating", _upsert(changing=True, there=True), _conflict_can_change),
    Operation("upsert_same", _upsert(changing=False, there=True), _has_key),
    Operation("copy", _copy_in, vendor="postgresql"),
    Operation("replace", _replace, vendor="sqlite"),
    Operation("replace_by_name", _replace_by_name, _has_key, vendor="sqlite"),
    Operation("update_to_the_same", _update_to_the_same),
    Operation("update_none", _update_none),
)
