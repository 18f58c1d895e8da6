"""A past instant is answered with the rows then in force; where they cannot be read back, it says from when they can."""

from __future__ import annotations

import datetime as dt
import json
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connection, transaction

from permissions import pdp, timeline, triggers
from permissions.engine.questions import question
from permissions.models import (
    Changelog,
    HistoryFloor,
    Membership,
    Realm,
    Resource,
    Role,
    RoleBinding,
    RoleLine,
    RowHistory,
    Subject,
)
from permissions.revisions import head as head_of
from permissions.timeline import NotKept
from permissions.writing import SYSTEM, new_epoch, permission_write
from tests.permissions.timeline.changes import Changing

pytestmark = pytest.mark.both_databases
HOUR = dt.timedelta(hours=1)


class Office:
    """A realm in which user:a may read posts from revision `granted` until `revoked`, an hour apart, all in the past."""

    def __init__(self, changing: Changing) -> None:
        self.realm = changing.realm
        self.name = changing.realm.name
        with permission_write(self.name, SYSTEM):
            for model in (RoleBinding, Membership):
                owner = {"team__realm": self.realm} if model is Membership else {"realm": self.realm}
                model.objects.filter(**owner).delete()
            Realm.objects.filter(pk=self.realm.pk).update(suspended=False, unknown_subjects="deny", combining="deny_overrides")
            Subject.objects.filter(realm=self.realm, ref__in=["user:a", "user:b"]).delete()
            self.alice = Subject.objects.create(realm=self.realm, ref="user:a")
            self.reader = Role.objects.create(realm=self.realm, name="past-reader")
            RoleLine.objects.create(role=self.reader, pattern="post:read")
        self.before = self.rev()
        with permission_write(self.name, SYSTEM):
            self.binding = RoleBinding.objects.create(realm=self.realm, subject=self.alice, role=self.reader)
        self.granted = self.rev()
        with permission_write(self.name, SYSTEM):
            self.binding.delete()
        self.revoked = self.rev()
        self.now = dt.datetime.now(dt.UTC)
        # As if each had been made an hour after the one before, and all of it long ago.
        HistoryFloor.objects.filter(realm_id=self.realm.pk).update(rev=self.before - 1, at=self.now - 5 * HOUR)
        for hours, rev in ((4, self.before), (3, self.granted), (2, self.revoked)):
            Changelog.objects.filter(realm_id=self.realm.pk, rev=rev).update(at=self.now - hours * HOUR)
        Changelog.objects.filter(realm_id=self.realm.pk, rev__lt=self.before).update(at=self.now - 5 * HOUR)

    def rev(self) -> int:
        return Realm.objects.get(pk=self.realm.pk).rev

    def ago(self, hours: float, **more: Any) -> pdp.Decision:
        return pdp.check("user:a", "post:read", realm=self.name, at=self.now - hours * HOUR, **more)

    def at(self, revision: int) -> pdp.Decision:
        return timeline.decide_at(self.name, revision, question("user:a", "post:read"), at_us=0)


@pytest.fixture
def office(changing: Changing) -> Office:
    return Office(changing)


def test_a_grant_that_was_revoked_holds_for_the_time_it_held(office: Office) -> None:
    assert [(bool(d), d.reason, d.revision) for d in map(office.ago, (3.5, 2.5, 1.5))] == [
        (False, "no_grant", office.before),
        (True, "granted", office.granted),
        (False, "no_grant", office.revoked),
    ]
    assert not pdp.check("user:a", "post:read", realm=office.name)


def test_batches_explanations_and_commands_answer_for_the_past(office: Office, capsys: pytest.CaptureFixture[str]) -> None:
    at = office.now - 2.5 * HOUR
    assert [bool(d) for d in pdp.check_many([("user:a", "post:read"), ("user:b", "post:read")], realm=office.name, at=at)] == [
        True,
        False,
    ]
    explained = pdp.explain("user:a", "post:read", realm=office.name, at=at)
    assert explained.decision.allowed and explained.decision.revision == office.granted
    for command in ("check_access", "explain_access"):
        out = StringIO()
        with pytest.raises(SystemExit) as end:
            call_command(command, "user:a", "post:read", realm=office.name, at=at.isoformat(), stdout=out)
        assert end.value.code == 0 and "granted" in out.getvalue()


@pytest.mark.parametrize("text", ["yesterday", "2026-01-01T00:00:00", "", "nan"])
def test_a_time_that_cannot_be_is_an_error_of_the_command(office: Office, text: str) -> None:
    err = StringIO()
    with pytest.raises(SystemExit) as end:
        call_command("check_access", "user:a", "post:read", realm=office.name, at=text, stderr=err)
    assert end.value.code == 2 and "--at" in err.getvalue()


def test_windows_are_judged_at_the_instant(office: Office) -> None:
    with permission_write(office.name, SYSTEM):
        RoleBinding.objects.create(
            realm=office.realm, subject=office.alice, role=office.reader, valid_until=office.now - 0.75 * HOUR
        )
    Changelog.objects.filter(realm_id=office.realm.pk, rev=office.rev()).update(at=office.now - HOUR)
    assert [d.reason for d in map(office.ago, (0.9, 0.5))] == ["granted", "expired"]


def test_before_the_history_it_says_where_that_begins(office: Office) -> None:
    with pytest.raises(NotKept, match=f"which begins at .* with revision {office.before - 1}"):
        office.ago(6)
    with pytest.raises(NotKept, match=f"which begins with revision {office.before - 1} at "):
        office.at(office.before - 2)
    with pytest.raises(NotKept, match="has not reached revision"):
        office.at(office.revoked + 1)


def test_a_new_epoch_ends_what_can_be_read_back(office: Office) -> None:
    assert office.at(office.granted)
    new_epoch(head_of(office.name), "a test")
    with pytest.raises(NotKept, match="before the history"):
        office.at(office.granted)
    with pytest.raises(NotKept, match="before the history"):
        office.ago(2.5)
    assert not office.at(office.revoked)


def test_a_row_that_moves_to_another_realm_ends_it_for_both(office: Office, changing: Changing) -> None:
    other = Changing.begun(seed=1)
    role = Role.objects.create(realm=office.realm, name="moving")
    there = Role.objects.create(realm=other.realm, name="there")
    line = RoleLine.objects.create(role=role, pattern="post:edit")
    RoleLine.objects.filter(pk=line.pk).update(role=there)
    for realm in (office.realm, other.realm):
        realm.refresh_from_db()
        assert HistoryFloor.objects.get(realm_id=realm.pk).rev == realm.rev


def test_a_realm_under_another_name_keeps_its_past(office: Office) -> None:
    with permission_write(office.name, SYSTEM):
        Realm.objects.filter(pk=office.realm.pk).update(name=f"{office.name}-new")
    office.name += "-new"
    assert office.at(office.granted) and not office.at(office.before)


def test_a_realm_that_was_never_kept_says_so(office: Office) -> None:
    HistoryFloor.objects.filter(realm_id=office.realm.pk).delete()
    with pytest.raises(NotKept, match="no history of rows is kept of the realm"):
        office.ago(2.5)


def test_what_is_not_text_or_not_there_is_refused(office: Office) -> None:
    with pytest.raises(pdp.InvalidRequestError, match="there is no realm"):
        pdp.check("user:a", "post:read", realm="nowhere", at=office.now - HOUR)
    with pytest.raises(pdp.InvalidRequestError, match="aware datetime"):
        pdp.check("user:a", "post:read", realm=office.name, at=dt.datetime(2026, 1, 1))  # noqa: DTZ001 - the mistake itself
    with pytest.raises(pdp.InvalidRequestError, match="aware datetime"):
        pdp.check("user:a", "post:read", realm=office.name, at="2026-01-01")  # type: ignore[arg-type]


def test_asked_inside_a_transaction_it_answers_from_its_rows(office: Office) -> None:
    with transaction.atomic():
        assert office.ago(2.5) and not office.ago(1.5)


def test_the_history_cannot_be_changed_nor_holed(office: Office) -> None:
    entries = RowHistory.objects.filter(realm_id=office.realm.pk)
    for change in (lambda: entries.update(op="x"), lambda: entries.filter(rev__gt=office.before).delete()):
        with pytest.raises(Exception, match="history of rows is never changed"), transaction.atomic():
            change()
    entries.filter(rev__lt=office.before).delete()  # below the floor


def test_history_holds_no_key_and_no_text_that_decides_nothing(office: Office) -> None:
    kept = json.dumps(list(RowHistory.objects.filter(realm_id=office.realm.pk).values_list("kind", "old")))
    assert "apikey" not in kept and "digest" not in kept and "granted_by" not in kept


def test_switched_off_nothing_is_kept_and_switched_on_it_begins_anew(office: Office, settings: Any) -> None:
    settings.ROW_HISTORY = False
    try:
        assert triggers.differences(connection) != []  # the system check says that migrate is due
        triggers.install(connection)
        triggers.keep_history("default")
        with permission_write(office.name, SYSTEM):
            Resource.objects.create(realm=office.realm, ref="unkept:1")
        assert not RowHistory.objects.exists()
        with pytest.raises(NotKept, match="setting ROW_HISTORY"):
            office.ago(2.5)
    finally:
        settings.ROW_HISTORY = True
        triggers.install(connection)
        triggers.keep_history("default")
    assert triggers.differences(connection) == []
    assert HistoryFloor.objects.get(realm_id=office.realm.pk).rev == office.rev()


def test_the_flags_of_a_user_are_those_of_then(db: None) -> None:
    name = f"past{Realm.objects.get(name='default').rev}"
    user = get_user_model().objects.create_user(name, password="x")
    revs = [head_of("default").rev]
    for change in ({"is_active": False}, {"is_active": True, "is_superuser": True}, {"username": f"{name}x"}):
        get_user_model().objects.filter(pk=user.pk).update(**change)
        revs.append(head_of("default").rev)
    user.delete()

    def reasons(ref: str) -> list[str]:
        asked = question(ref, "unknown:code")
        return [timeline.decide_at("default", rev, asked, at_us=0, superuser=True).reason for rev in revs]

    assert reasons(f"user:{name}") == ["unknown_permission", "subject_inactive", "superuser", "unknown_subject"]
    assert reasons(f"user:{name}x") == ["unknown_subject", "unknown_subject", "unknown_subject", "superuser"]


def test_a_truncated_table_ends_it_for_every_realm(office: Office) -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("TRUNCATE permissions_rolebinding")
        else:  # its own TRUNCATE, which triggers see row by row: nothing is lost
            cursor.execute("DELETE FROM permissions_rolebinding")
    if connection.vendor == "postgresql":
        with pytest.raises(NotKept, match="before the history"):
            office.at(office.granted)
        assert HistoryFloor.objects.get(realm_id=office.realm.pk).rev == office.rev()
    else:
        assert office.at(office.granted)
