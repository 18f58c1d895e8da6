"""One statement says what the selectors say in many: facts of subjects and resources, with the head and the tail beside them."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test.utils import CaptureQueriesContext

from permissions import pdp, revisions, selectors
from permissions.cache import database, postgresql
from permissions.cache.reading import NO_REVISION
from permissions.models import Changelog, Membership, Realm
from permissions.writing import SYSTEM, permission_write
from tests.worlds import apply

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

WORLD = """
roles:
  - {name: viewer, permissions: ["post:read"]}
  - {name: editor, inherits: [viewer], permissions: ["post:edit"], obligations: [{id: log, type: audit}]}
subjects:
  - id: "user:alice"
    attributes: {dept: sales, level: 7, ratio: 0.5, big: 9007199254740993, tags: [a, {b: null}], "ключ": "значение"}
  - {id: "user:bob", active: false}
  - {id: "user:charlie", locked: true}
  - {id: "user:пётр"}
teams:
  - {id: "team:inner", members: ["user:alice", {id: "user:bob", valid_from: "0001-01-02T00:00:00Z"}]}
  - {id: "team:outer", members: ["team:inner", {id: "user:пётр", valid_until: "2020-01-01T00:00:00.123456Z"}]}
resources:
  - {id: "server:7", attributes: {region: eu}}
  - {id: "channel:9", parent: "server:7", inherit: false, attributes: {owner: "user:alice"}}
  - {id: "thread:1", parent: "channel:9"}
bindings:
  - {subject: "user:alice", role: editor, scope: "server:7", condition: "context.mfa == true",
     obligations: [{id: ops, type: notify}]}
  - {subject: "user:alice", allow: ["post:*"], deny: ["post:purge"], scope: "channel:9", propagate: false}
  - {subject: "team:outer", role: viewer, valid_from: "2026-01-01T00:00:00Z", valid_until: "2027-01-01T00:00:00Z"}
  - {subject: "team:inner", role: viewer, scope: "thread:1"}
  - {subject: "user:*", role: viewer}
"""
SUBJECTS = ["user:alice", "user:bob", "user:charlie", "user:пётр", "team:inner", "team:outer", "user:nobody", "user:carol"]
RESOURCES = ["server:7", "channel:9", "thread:1", "post:unknown"]


@pytest.fixture(autouse=True)
def realm() -> Realm:
    pdp.reset()
    apply(WORLD)
    get_user_model().objects.create_user("carol", is_active=False)
    return Realm.objects.get(name="default")


def test_it_equals_the_selectors(realm: Realm) -> None:
    reading = database.read_snapshots("default", NO_REVISION, SUBJECTS, RESOURCES)
    assert reading.facts is not None
    expected = selectors.subject_facts(realm.pk, SUBJECTS)
    for ref in SUBJECTS:
        found = reading.facts.subjects[ref]
        assert sorted(found.memberships, key=repr) == sorted(expected[ref].memberships, key=repr), ref
        assert sorted(found.bindings, key=repr) == sorted(expected[ref].bindings, key=repr), ref
        for name in ("ref", "known", "active", "locked", "superuser", "attributes"):
            assert getattr(found, name) == getattr(expected[ref], name), (ref, name)
    assert reading.facts.resources == selectors.resource_facts(realm.pk, RESOURCES)


def test_a_cycle_of_teams_or_resources_that_slipped_in_ends(realm: Realm) -> None:
    table = Membership._meta.db_table
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT tgname FROM pg_trigger WHERE tgrelid = %s::regclass AND NOT tgisinternal", [table])
            names = [name for (name,) in cursor.fetchall()]
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        else:
            cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = %s", [table])
            kept = cursor.fetchall()
            for name, _ in kept:
                cursor.execute(f'DROP TRIGGER "{name}"')
        cursor.execute(
            f"INSERT INTO {table} (member_id, team_id) SELECT o.id, i.id FROM permissions_subject o, permissions_subject i "
            "WHERE o.ref = 'team:outer' AND i.ref = 'team:inner'"
        )
        if connection.vendor == "postgresql":
            for name in names:
                cursor.execute(f'ALTER TABLE {table} ENABLE ALWAYS TRIGGER "{name}"')
        else:
            for _, sql in kept:
                cursor.execute(sql)
    reading = database.read_snapshots("default", NO_REVISION, ["user:alice"], [])
    assert reading.facts is not None
    teams = {membership.team for membership in reading.facts.subjects["user:alice"].memberships}
    assert teams == {"team:inner", "team:outer"}


def test_head_and_tail_are_of_the_same_snapshot(realm: Realm) -> None:
    since = revisions.head("default")
    apply('bindings: [{subject: "user:charlie", role: viewer}]')
    apply('roles: [{name: viewer, permissions: ["post:read", "post:list"]}]')
    reading = database.read_snapshots("default", since.rev, ["user:charlie"], [])
    assert reading.head.key == revisions.head("default").key
    assert reading.is_whole
    assert reading.since_stamp == since.stamp
    rows = (
        Changelog.objects.filter(realm_id=realm.pk, rev__gt=since.rev)
        .order_by("rev")
        .values_list("rev", "stamp", "kind", "object_id")
    )
    assert sorted(reading.tail or ()) == sorted(rows)


def test_a_pruned_tail_is_known_for_a_hole(realm: Realm) -> None:
    since = revisions.head("default").rev
    for number in range(3):
        apply(f'bindings: [{{subject: "user:n{number}", role: viewer}}]')
    with permission_write("default", SYSTEM), connection.cursor() as cursor:
        cursor.execute("DELETE FROM permissions_changelog WHERE realm_id = %s AND rev = %s", [realm.pk, since + 1])
    assert not database.read_head("default", since).is_whole
    assert database.read_head("default", since + 1).since_stamp is None


def test_a_first_check_is_one_statement(realm: Realm, monkeypatch: pytest.MonkeyPatch) -> None:
    pdp.check("user:bob", "post:read", "server:7")
    asked: list[str] = []
    if connection.vendor == "postgresql":
        run = postgresql._run

        def seen(sql: str, parameters: Any) -> Any:
            asked.append(sql)
            return run(sql, parameters)

        monkeypatch.setattr(postgresql, "_run", seen)
    with CaptureQueriesContext(connection) as queries:
        decision = pdp.check("user:alice", "post:edit", "thread:1")
    assert decision.source == "db"
    if connection.vendor == "postgresql":
        assert len(asked) == 1
        assert len(queries) == 0
