"""What the triggers are generated from besides `tables.py`: the columns in the database and four settings.

The settings are written into the triggers' bodies, not looked up: foreign SQL (psql, another program) brings no setting of
ours, and it is the very writer that strict mode is for. Changing one needs `migrate`; until then the system check says so.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.apps import apps as current_apps
from django.apps.registry import Apps
from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.state import StateApps

from permissions import conf
from permissions.triggers.tables import FLOOR, HISTORY, TABLES, Table


@dataclass(frozen=True, slots=True)
class UserTable:
    """Django's user table: its name, and the columns that our triggers read."""

    name: str
    key: str
    attribute: str
    flags: tuple[str, ...]  # of is_active and is_superuser those that this user model has


@dataclass(frozen=True, slots=True)
class Schema:
    columns: dict[str, tuple[str, ...]]
    users: UserTable | None
    realm: str
    strict: bool
    history: bool = False

    @property
    def tables(self) -> tuple[Table, ...]:
        return tuple(t for t in TABLES if t.name in self.columns)

    def relevant(self, table: Table) -> tuple[str, ...]:
        return tuple(c for c in self.columns[table.name] if c not in table.ignored)


def schema_of(connection: BaseDatabaseWrapper, apps: Apps | StateApps = current_apps) -> Schema:
    """Columns as `apps` declares them: a migration passes its own state, in which later columns do not exist yet."""
    with connection.cursor() as cursor:
        present = set(connection.introspection.table_names(cursor))
    columns = {
        model._meta.db_table: tuple(f.column for f in model._meta.local_concrete_fields if f.column is not None)
        for model in apps.get_app_config("permissions").get_models()
        if not model._meta.proxy and model._meta.db_table in present
    }
    strict = bool(getattr(settings, "STRICT_WRITES", False))
    # Its tables come with a later migration than the first triggers.
    keeps_history = conf.row_history() and {HISTORY, FLOOR} <= columns.keys()
    return Schema(columns, _user_table(present), conf.django_realm(), strict, keeps_history)


def user_table() -> UserTable | None:
    """As the models declare it, whether it is there already or not."""
    return _user_table({current_apps.get_model(settings.AUTH_USER_MODEL)._meta.db_table})


def _user_table(present: set[str]) -> UserTable | None:
    user = current_apps.get_model(settings.AUTH_USER_MODEL)
    if user._meta.db_table not in present:
        return None
    fields = {f.name: f.column for f in user._meta.local_concrete_fields if f.column is not None}
    key = user._meta.pk
    return UserTable(
        user._meta.db_table,
        str(key.column),
        fields[conf.subject_attribute()],
        tuple(fields[name] for name in ("is_active", "is_superuser") if name in fields),
    )
