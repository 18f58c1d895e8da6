"""The cache's reads on PostgreSQL: each is one statement, hence one database snapshot, on a connection of the cache's own.

Its own, in autocommit: in a caller's transaction one sees an old head, or one's own uncommitted revision (consistency, I4); and
a pool that slow pages have emptied must not keep a check waiting. Prepared, since planning the statement takes several times as
long as running it; where a pooler cannot keep prepared statements, they are given up for the process.
"""
# The SQL is put together from names of this package; nothing of a request is in it.
# ruff: noqa: S608

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import psycopg
from django.db import DEFAULT_DB_ALIAS, OperationalError, connections
from django.db.backends.postgresql.base import DatabaseWrapper
from psycopg import errors
from psycopg.abc import PQGen

from permissions.cache.reading import MOST_ROWS, Asked, Facts, Reading, RefusedRead, head_reading
from permissions.engine.gather import chain_of, closure_above
from permissions.engine.types import REALM, BindingFact, MembershipFact, ResourceFacts, ResourceNodeFact, SubjectFacts
from permissions.triggers.schema import user_table

# Seconds: the hard limit of any read that a check waits for. A server that hangs closes nothing.
LIMIT_S: Final = 1.0
# The driver knows no smaller one.
CONNECT_LIMIT_S: Final = 2

# A few rows by key, whatever the statistics say, which are of an empty table right after a first load: one plan for all, by index
# and nested loop. Compiling it to machine code would take longer than any of these statements.
_SETTINGS: Final = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_material": "off",
    "jit": "off",
    "statement_timeout": int(LIMIT_S * 1000),
}

_REALM: Final = """
  m.id, m.epoch, m.rev, m.stamp, m.staleness_s, m.static_grace_s,
  (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
  CASE WHEN m.rev > {since} THEN
    (SELECT max(c.stamp) FROM permissions_changelog c WHERE c.realm_id = m.id AND c.rev = {since}) END,
  CASE WHEN m.rev > {since} THEN
    (SELECT json_agg(json_build_array(t.rev, t.stamp, t.kind, t.object_id))
     FROM (SELECT * FROM permissions_changelog c WHERE c.realm_id = m.id AND c.rev > {since} AND c.rev <= m.rev
           ORDER BY c.rev LIMIT {most}) t) END
"""
_HEADS: Final = f"""
SELECT a.name, {_REALM.format(since="a.since", most=MOST_ROWS + 1)}
FROM unnest(%(names)s::text[], %(since)s::bigint[]) AS a(name, since) JOIN permissions_realm m ON m.name = a.name
"""
# `OFFSET 0` keeps a planner without statistics from joining all bindings first: they are looked up holder by holder. A binding's
# realm is its subject's, by a law of the database.
_US: Final = "CASE WHEN isfinite({0}) THEN (extract(epoch FROM {0}) * 1000000)::bigint END"
_SNAPSHOTS: Final = f"""
WITH RECURSIVE
m AS MATERIALIZED (SELECT * FROM permissions_realm WHERE name = %(name)s),
who AS MATERIALIZED (
  SELECT s.id, s.ref, s.kind, s.active, s.locked, s.attributes, {{user_flags}}
  FROM m JOIN permissions_subject s ON s.realm_id = m.id AND s.ref = ANY (%(subjects)s::text[]) AND s.kind <> 'everyone'
  {{user_join}}),
up AS (
  SELECT e.member_id, e.team_id, e.valid_from, e.valid_until
  FROM who JOIN permissions_membership e ON e.member_id = who.id
  UNION
  SELECT e.member_id, e.team_id, e.valid_from, e.valid_until
  FROM up JOIN permissions_membership e ON e.member_id = up.team_id),
holder AS (
  SELECT id, ref FROM who UNION SELECT t.id, t.ref FROM up JOIN permissions_subject t ON t.id = up.team_id),
node AS (
  SELECT n.id, n.ref, n.inherit, n.parent_id
  FROM m JOIN permissions_resource n ON n.realm_id = m.id AND n.ref = ANY (%(resources)s::text[])
  UNION
  SELECT n.id, n.ref, n.inherit, n.parent_id FROM node c JOIN permissions_resource n ON n.id = c.parent_id)
SELECT {_REALM.format(since="%(since)s::bigint", most=MOST_ROWS + 1)},
  (SELECT json_agg(json_build_array(w.ref, w.kind, w.active, w.locked, w.attributes, w.user_active, w.user_super)) FROM who w),
  (SELECT json_agg(json_build_array(a.ref, t.ref, {_US.format("up.valid_from")}, {_US.format("up.valid_until")}))
   FROM up JOIN permissions_subject a ON a.id = up.member_id JOIN permissions_subject t ON t.id = up.team_id),
  (SELECT json_agg(json_build_array(b.id, h.ref, r.name, b.allow, b.deny, n.ref, b.condition,
      {_US.format("b.valid_from")}, {_US.format("b.valid_until")}, b.propagate, b.obligations) ORDER BY b.id)
   FROM holder h CROSS JOIN LATERAL (SELECT * FROM permissions_rolebinding r WHERE r.subject_id = h.id OFFSET 0) b
   LEFT JOIN permissions_role r ON r.id = b.role_id LEFT JOIN permissions_resource n ON n.id = b.scope_id),
  (SELECT json_agg(json_build_array(n.id, n.ref, n.inherit, n.parent_id)) FROM node n),
  (SELECT json_object_agg(n.ref, n.attributes) FROM permissions_resource n
   WHERE n.realm_id = m.id AND n.ref = ANY (%(resources)s::text[]))
FROM m
"""


@lru_cache(maxsize=1)
def _snapshots_sql() -> str:
    user = user_table()
    if user is None:
        return _SNAPSHOTS.format(user_flags="NULL::bool AS user_active, NULL::bool AS user_super", user_join="")
    active = 'u."is_active"' if "is_active" in user.flags else f'(CASE WHEN u."{user.key}" IS NOT NULL THEN true END)'
    superuser = 'u."is_superuser"' if "is_superuser" in user.flags else "false"
    return _SNAPSHOTS.format(
        user_flags=f"{active} AS user_active, {superuser} AS user_super",
        user_join=f'LEFT JOIN "{user.name}" u ON u."{user.key}" = s.user_id',
    )


class _Connection(psycopg.Connection[Any]):
    """Gives up on a server that is silent for LIMIT_S."""

    def wait(self, gen: PQGen[Any], interval: float = 0.1, timeout: float | None = None) -> Any:
        return super().wait(gen, interval, LIMIT_S if timeout is None else timeout)


class _Pool:
    """Idle connections, newest first. As many are open as reads run at once, which single flight bounds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Connection] = []
        self._target: object = None

    def run(self, sql: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        while True:
            held, is_new = self._take()
            try:
                with psycopg.Cursor(held) as cursor:
                    rows = cursor.execute(sql, parameters, prepare=_prepares.is_set()).fetchall()
            except (errors.InvalidSqlStatementName, errors.DuplicatePreparedStatement):
                held.close()
                if not _prepares.is_set():
                    raise
                _prepares.clear()
            except psycopg.OperationalError:
                # A server that restarted has closed what was idle; a connection just made says that it is away.
                silent = not held.closed and not held.broken
                held.close()
                if is_new or silent:
                    raise
            except BaseException:
                held.close()
                raise
            else:
                with self._lock:
                    self._idle.append(held)
                return rows

    def _take(self) -> tuple[_Connection, bool]:
        target = connections[DEFAULT_DB_ALIAS].settings_dict["NAME"]
        with self._lock:
            if target != self._target:  # tests move from one database to another
                self._close_idle()
                self._target = target
            if self._idle:
                return self._idle.pop(), False
        return self._open(), True

    def _open(self) -> _Connection:
        wanted = dict(connections[DEFAULT_DB_ALIAS].get_connection_params())
        for name in ("cursor_factory", "context", "prepare_threshold"):
            wanted.pop(name, None)
        wanted["connect_timeout"] = CONNECT_LIMIT_S
        wanted["application_name"] = f"{wanted.get('application_name') or 'permsite'} cache"
        settings = " ".join(f"-c {name}={value}" for name, value in _SETTINGS.items())
        wanted["options"] = f"{wanted.get('options') or ''} {settings}".strip()
        return _Connection.connect(**wanted, autocommit=True)

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def close(self) -> None:
        with self._lock:
            self._close_idle()

    def forget(self) -> None:
        """In a forked child: the parent's connections stay the parent's, and its threads may have held the lock."""
        _parents.extend(self._idle)
        self._lock, self._idle = threading.Lock(), []


_prepares: Final = threading.Event()
_prepares.set()
_pool: Final = _Pool()
# What a child was born with. Never closed or finalized here: that would speak on the parent's sockets.
_parents: Final[list[Any]] = []


def _after_fork() -> None:
    """Django's pools too are shared with the parent: two processes on one socket read one another's rows."""
    _pool.forget()
    pools: dict[str, Any] = getattr(DatabaseWrapper, "_connection_pools", {})
    _parents.append(dict(pools))
    pools.clear()
    for held in connections.all(initialized_only=True):
        if held.vendor == "postgresql":
            _parents.append(held.connection)
            held.connection = None


os.register_at_fork(after_in_child=_after_fork)


def close() -> None:
    """Closes what is idle, for tests that drop their database."""
    _pool.close()


def _run(sql: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    try:
        return _pool.run(sql, parameters)
    except (psycopg.DataError, psycopg.ProgrammingError) as error:
        raise RefusedRead(f"{type(error).__name__}: {error}") from error
    except psycopg.Error as error:
        raise OperationalError(f"{type(error).__name__}: {error}") from error


def read_heads(asked: Asked) -> dict[str, Reading]:
    names = list(asked.since)
    rows = _run(_HEADS, {"names": names, "since": [asked.since[name] for name in names]})
    return {row[0]: head_reading(row[0], row[1:10], asked) for row in rows}


def read_snapshots(name: str, asked: Asked, subjects: Collection[str], resources: Collection[str]) -> Reading | None:
    rows = _run(
        _snapshots_sql(),
        {"name": name, "since": asked.since[name], "subjects": list(subjects), "resources": list(resources)},
    )
    if not rows:
        return None
    row = rows[0]
    reading = head_reading(name, row[:9], asked)
    reading.facts = Facts(
        _subjects(subjects, row[9] or (), row[10] or (), row[11] or ()), _resources(resources, row[12] or (), row[13] or {})
    )
    return reading


def _subjects(
    refs: Collection[str], rows: Sequence[list[Any]], edges: Sequence[list[Any]], bindings: Sequence[list[Any]]
) -> dict[str, SubjectFacts]:
    by_ref = {row[0]: row for row in rows}
    above: dict[str, list[MembershipFact]] = {}
    for member, team, start, end in edges:
        above.setdefault(member, []).append(MembershipFact(member, team, start, end))
    held: dict[str, list[BindingFact]] = {}
    for pk, holder, role, allow, deny, scope, condition, start, end, propagate, obligations in bindings:
        held.setdefault(holder, []).append(
            BindingFact(
                pk,
                holder,
                role,
                tuple(allow),
                tuple(deny),
                REALM if scope is None else scope,
                condition,
                start,
                end,
                propagate,
                tuple(obligations),
            )
        )
    found = {}
    for ref in refs:
        row = by_ref.get(ref)
        if row is None:
            found[ref] = SubjectFacts(ref, known=False)
            continue
        memberships, seen = closure_above(ref, above)
        found[ref] = SubjectFacts(
            ref,
            active=row[2] and row[5] is not False,
            locked=row[3],
            superuser=bool(row[6]),
            attributes=row[4],
            memberships=tuple(memberships),
            bindings=tuple(binding for holder in sorted(seen) for binding in held.get(holder, ())),
        )
    return found


def _resources(refs: Collection[str], rows: Sequence[list[Any]], attributes: Mapping[str, Any]) -> dict[str, ResourceFacts]:
    nodes = {key: (ref, inherit, parent) for key, ref, inherit, parent in rows}
    by_ref = {row[1]: row[0] for row in rows}
    found = {}
    for ref in refs:
        if ref in by_ref:
            found[ref] = ResourceFacts(ref, attributes=attributes.get(ref) or {}, chain=chain_of(by_ref[ref], nodes))
        else:
            found[ref] = ResourceFacts(ref, known=False, chain=(ResourceNodeFact(ref),))
    return found
