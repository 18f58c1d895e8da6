"""Triggers that keep configuration versions as they were written, whatever SQL comes.

PostgreSQL refuses every change but the end of being in force, and every removal of single rows. SQLite refuses changes; removals
it must allow, because its `flush` removes row by row: whoever owns the file owns the rows.
"""

from __future__ import annotations

from typing import Final

from django.db.backends.base.base import BaseDatabaseWrapper

TABLE: Final = "controlplane_configrevision"
_COLUMNS: Final = ("id", "epoch", "version", "sections", "section", "author", "reason", "created_at", "rolled_back_from")

_SAME: Final = " AND ".join(f"NEW.{name} {{same}} OLD.{name}" for name in _COLUMNS)
_ENDS: Final = "OLD.is_active AND NOT NEW.is_active AND " + _SAME
_SAID: Final = "a configuration version is never changed or removed"

_POSTGRESQL: Final = (
    f"""
    CREATE OR REPLACE FUNCTION cp_config_sealed() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF TG_OP = 'UPDATE' THEN
        IF {_ENDS.format(same="IS NOT DISTINCT FROM")} THEN RETURN NEW; END IF;
      END IF;
      RAISE EXCEPTION '{_SAID}' USING ERRCODE = '23001', CONSTRAINT = 'config_sealed';
    END $$
    """,
    f"DROP TRIGGER IF EXISTS cp_config_sealed ON {TABLE}",
    f"CREATE TRIGGER cp_config_sealed BEFORE UPDATE OR DELETE ON {TABLE} FOR EACH ROW EXECUTE FUNCTION cp_config_sealed()",
)
_SQLITE: Final = (
    "DROP TRIGGER IF EXISTS cp_config_sealed",
    f"CREATE TRIGGER cp_config_sealed BEFORE UPDATE ON {TABLE} WHEN NOT ({_ENDS.format(same='IS')}) "
    f"BEGIN SELECT RAISE(ABORT, '{_SAID}'); END",
)


def install(connection: BaseDatabaseWrapper) -> None:
    """Makes the triggers those of this version. Run after every migrate: SQLite drops them with a table it rebuilds."""
    if TABLE not in connection.introspection.table_names():
        return
    with connection.cursor() as cursor:
        for statement in _POSTGRESQL if connection.vendor == "postgresql" else _SQLITE:
            cursor.execute(statement)
