"""PostgreSQL: the functions that every table's triggers share, as their bodies.

Session variables, all local to the transaction, so that a savepoint's rollback undoes them with the rows: `ps.locked` (ids of
the realms whose rows are locked, comma separated, or `*`), `ps.r<realm>` (the revision this transaction makes), `ps.n<realm>`
(objects logged under it; -1 once one `*` stands for all). Source: consistency, section 3.
"""
# The SQL is put together from names of this package; nothing of a request is in it.
# ruff: noqa: S608

from __future__ import annotations

from typing import Final

from permissions.triggers.tables import CHANGELOG, REALM

# Objects. More are logged as one `*`, "everything": a reader drops its caches faster than it reads twenty thousand rows.
MAX_OBJECTS: Final = 20_000

# Plans of a function are made once a session, often while the tables are still empty, and would then scan or hash a table that
# has grown to millions of rows for each single row written. Index lookups from the transition table are linear whatever the
# statistics say. JIT is off because the planner's penalty for a disabled plan would start it.
PLANNER: Final = (
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("enable_seqscan", "off"),
    ("jit", "off"),
)


LOCK_ALL: Final = f"""
BEGIN
  PERFORM 1 FROM {REALM} ORDER BY id FOR UPDATE;
  PERFORM set_config('ps.locked', '*', true);
END
"""

# Foreign SQL comes without the lock. A statement trigger cannot see the rows, so it takes every realm's, in ascending order:
# taken only when the revision is counted, after row locks, the realm's lock deadlocks within seconds (trap one).
GUARD: Final = """
BEGIN
  IF coalesce(current_setting('ps.locked', true), '') = '' THEN
    {action}
  END IF;
  RETURN NULL;
END
"""
GUARD_LOCKS: Final = "PERFORM ps_lock_all();\n    PERFORM nextval('ps_unlocked_writes');"
GUARD_RAISES: Final = (
    "RAISE EXCEPTION 'strict mode: % of % without the lock of its realm; write through permission_write', TG_OP, TG_TABLE_NAME\n"
    "      USING ERRCODE = '23001', CONSTRAINT = 'strict_writes';"
)
GUARD_USER: Final = """
BEGIN
  -- A user touches every realm: the lock of one, as in permission_write, is not enough. Django writes this table: never raise.
  IF current_setting('ps.locked', true) IS DISTINCT FROM '*' THEN
    PERFORM ps_lock_all();
  END IF;
  RETURN NULL;
END
"""

BUMP: Final = f"""
DECLARE v bigint := nullif(current_setting('ps.r' || r, true), '')::bigint;
BEGIN
  IF v IS NULL THEN{{strict}}
    UPDATE {REALM} SET rev = rev + 1, stamp = floor(random() * 2147483648)::int, write_state = -1
      WHERE id = r RETURNING rev INTO v;
    IF v IS NOT NULL THEN
      PERFORM set_config('ps.r' || r, v::text, true);
    END IF;
  END IF;
  RETURN v;
END
"""
BUMP_STRICT: Final = """
    IF current_setting('ps.locked', true) IS DISTINCT FROM '*'
        AND NOT r::text = ANY (string_to_array(coalesce(current_setting('ps.locked', true), ''), ',')) THEN
      RAISE EXCEPTION 'strict mode: a write of realm % without its lock; write through permission_write', r
        USING ERRCODE = '23001', CONSTRAINT = 'strict_writes';
    END IF;"""

# `objects` are kind and id in one text: the kind is its first character. All rows of a revision carry the time of its first.
WRITE: Final = f"""
DECLARE
  v bigint := ps_bump(r);
  n bigint := coalesce(nullif(current_setting('ps.n' || r, true), ''), '0')::bigint;
  began timestamptz := clock_timestamp(); -- asked once: in a query each row would get a time of its own
  added bigint;
BEGIN
  IF v IS NULL OR n < 0 THEN
    RETURN;
  END IF;
  IF cardinality(objects) <= {MAX_OBJECTS} THEN
    INSERT INTO {CHANGELOG} (realm_id, rev, kind, object_id, stamp, at)
      SELECT r, v, left(o, 1), substr(o, 2), m.stamp, coalesce(
          (SELECT c.at FROM {CHANGELOG} c WHERE c.realm_id = r AND c.rev = v LIMIT 1), began)
      FROM unnest(objects) o, {REALM} m WHERE m.id = r
      ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS added = ROW_COUNT;
    n := n + added;
  ELSE
    n := {MAX_OBJECTS} + 1;
  END IF;
  IF n > {MAX_OBJECTS} OR '*' = ANY (objects) THEN
    n := -1;
    DELETE FROM {CHANGELOG} WHERE realm_id = r AND rev = v;
    INSERT INTO {CHANGELOG} (realm_id, rev, kind, object_id, stamp, at)
      SELECT r, v, '*', '', m.stamp, clock_timestamp() FROM {REALM} m WHERE m.id = r;
  END IF;
  PERFORM set_config('ps.n' || r, n::text, true);
END
"""

TRUNCATED: Final = f"""
DECLARE r bigint;
BEGIN
  FOR r IN SELECT id FROM {REALM} ORDER BY id LOOP
    PERFORM ps_write(r, ARRAY['*']);
    {{forget}}
  END LOOP;
  RETURN NULL;
END
"""

# A row saved whole from an older copy (Model.save) would turn the counter back. Only ps_bump, which marks itself, may move it.
KEEP: Final = """
BEGIN
  IF NEW.write_state = -1 THEN
    NEW.write_state := 0;
  ELSE
    NEW.rev := OLD.rev;
    NEW.stamp := OLD.stamp;
  END IF;
  RETURN NEW;
END
"""

SEALED: Final = """
BEGIN
  RAISE EXCEPTION 'audit events are never changed or removed (% of %)', TG_OP, TG_TABLE_NAME
    USING ERRCODE = '23001', CONSTRAINT = 'audit_sealed';
END
"""
