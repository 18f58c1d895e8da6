"""SQL that keeps a subject for each user of Django's user table, in the realm of `DJANGO_REALM`. One text for both databases."""
# The SQL is put together from names of this package; nothing of a request is in it.
# ruff: noqa: S608

from __future__ import annotations

from permissions.triggers.schema import UserTable
from permissions.triggers.tables import REALM, SUBJECT


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def ref(table: UserTable, alias: str) -> str:
    return f"'user:' || {alias}.\"{table.attribute}\""


def nameable(table: UserTable, alias: str) -> str:
    """Whether the attribute can name a subject: `user:*` means everyone, `user:` nobody. Such a user has none, so is denied."""
    return f"{alias}.\"{table.attribute}\" NOT IN ('', '*')"


def without_subject(table: UserTable, also: str = "true") -> str:
    """Rows of the user table that no subject belongs to, as `link` takes them."""
    return (
        f'(SELECT u.* FROM "{table.name}" u WHERE {nameable(table, "u")} AND {also} '
        f'AND NOT EXISTS (SELECT 1 FROM {SUBJECT} s WHERE s.user_id = u."{table.key}"))'
    )


def link(table: UserTable, realm: str, source: str) -> tuple[str, str]:
    """Gives each user of `source` a subject; one of that name that belongs to nobody becomes theirs.

    Two statements instead of an upsert: on SQLite the conflict clause of the statement that fired a trigger overrides
    the trigger's own. Nothing happens while the realm does not exist: its trigger links the users when it appears.
    """
    of_realm = f"m.name = {literal(realm)}"
    return (
        f'UPDATE {SUBJECT} SET user_id = u."{table.key}" FROM {source} u, {REALM} m WHERE {of_realm} '
        f"AND {SUBJECT}.realm_id = m.id AND {SUBJECT}.ref = {ref(table, 'u')} "
        f"AND {SUBJECT}.user_id IS NULL AND {SUBJECT}.kind = 'subject'",
        f"INSERT INTO {SUBJECT} (realm_id, ref, kind, attributes, active, locked, user_id) "
        f"SELECT m.id, {ref(table, 'u')}, 'subject', '{{}}', true, false, u.\"{table.key}\" FROM {REALM} m, {source} u "
        f"WHERE {of_realm} AND NOT EXISTS (SELECT 1 FROM {SUBJECT} s WHERE s.realm_id = m.id AND s.ref = {ref(table, 'u')})",
    )
