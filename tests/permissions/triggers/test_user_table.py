"""Django's user table: each user has a subject, and only what decides is a change."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User, update_last_login
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction

from permissions import triggers
from permissions.models import Realm, RoleBinding, Subject
from permissions.writing import SYSTEM, permission_write
from tests.permissions.triggers.world import Objects, World, unique

pytestmark = [pytest.mark.both_databases, pytest.mark.usefixtures("db")]


@pytest.fixture
def default() -> World:
    return World(Realm.objects.get(name="default"))


def _user() -> User:
    return User.objects.create_user(unique("bob"))


def test_a_new_user_gets_a_subject_in_the_realm_of_django(default: World, worlds: tuple[World, World]) -> None:
    before, elsewhere = default.head(), worlds[0].head()
    user = _user()
    subject = Subject.objects.get(user=user)
    assert (subject.realm, subject.ref, subject.kind, subject.attributes) == (
        default.realm,
        f"user:{user.username}",
        "subject",
        {},
    )
    assert subject.active
    assert not subject.locked
    assert default.log_after(before) == {before + 1: {("s", subject.ref)}}
    assert worlds[0].head() == elsewhere


def test_many_users_at_once_get_their_subjects(default: World) -> None:
    users = [User(username=unique("bob")) for _ in range(5)]
    User.objects.bulk_create(users)
    assert (
        Subject.objects.filter(realm=default.realm, ref__in=[f"user:{u.username}" for u in users], user__isnull=False).count()
        == 5
    )


def test_a_subject_that_waits_for_its_user_keeps_what_it_was_given(default: World) -> None:
    name = unique("bob")
    subject = Subject.objects.create(realm=default.realm, ref=f"user:{name}", attributes={"dept": "sales"})
    binding = RoleBinding.objects.create(realm=default.realm, subject=subject, role=default.role)
    user = User.objects.create_user(name)
    subject.refresh_from_db()
    assert subject.user_id == user.pk
    assert subject.attributes == {"dept": "sales"}
    assert subject.bindings.get() == binding


def test_a_team_of_the_same_name_is_not_taken_over(default: World) -> None:
    name = unique("bob")
    team = Subject.objects.create(realm=default.realm, ref=f"user:{name}", kind="team")
    user = User.objects.create_user(name)
    team.refresh_from_db()
    assert team.user_id is None
    assert not Subject.objects.filter(user=user).exists()


def _logged(worlds: list[World], heads: list[int]) -> list[Objects]:
    return [set().union(*w.log_after(h).values()) for w, h in zip(worlds, heads, strict=True)]


@pytest.mark.parametrize(("column", "value"), [("is_active", False), ("is_superuser", True)])
def test_what_decides_is_a_revision_in_every_realm(
    default: World, worlds: tuple[World, World], column: str, value: object
) -> None:
    everywhere, user = [default, *worlds], _user()
    heads = [w.head() for w in everywhere]
    setattr(user, column, value)
    user.save()
    assert _logged(everywhere, heads) == [{("s", f"user:{user.username}")}] * 3
    assert [w.head() for w in everywhere] == [h + 1 for h in heads]


def test_a_renamed_user_renames_its_subject_in_one_revision(default: World, worlds: tuple[World, World]) -> None:
    everywhere, user = [default, *worlds], _user()
    heads, old, new = [w.head() for w in everywhere], user.username, unique("renamed")
    user.username = new
    user.save()
    assert Subject.objects.get(user=user).ref == f"user:{new}"
    assert _logged(everywhere, heads) == [{("s", f"user:{old}"), ("s", f"user:{new}")}] * 3
    assert default.head() == heads[0] + 1


def test_a_user_cannot_take_the_name_of_another_subject(default: World) -> None:
    """Else a rename would hand over whatever was granted to that name."""
    user, taken = _user(), unique("taken")
    Subject.objects.create(realm=default.realm, ref=f"user:{taken}")
    user.username = taken
    with pytest.raises(IntegrityError):
        user.save()
    assert Subject.objects.get(user=user).ref != f"user:{taken}"


def test_logging_in_changes_nothing(default: World, worlds: tuple[World, World]) -> None:
    everywhere, user = [default, *worlds], _user()
    heads = [w.head() for w in everywhere]
    update_last_login(User, user)
    user.email, user.first_name = "bob@example.org", "Bob"
    user.set_password("secret")
    user.save()
    assert [w.head() for w in everywhere] == heads


def test_deleting_a_user_deletes_its_subject(default: World) -> None:
    user = _user()
    before = default.head()
    user.delete()
    assert not Subject.objects.filter(ref=f"user:{user.username}").exists()
    assert default.log_after(before) == {before + 1: {("s", f"user:{user.username}")}}


@pytest.mark.parametrize("name", ["*", ""])
def test_a_name_that_means_everyone_or_nobody_gets_no_subject(name: str) -> None:
    User.objects.bulk_create([User(username=name)])
    user = User.objects.get(username=name)
    assert not Subject.objects.filter(user=user).exists()
    user.username = unique("bob")
    user.save()
    assert Subject.objects.get(user=user).ref == f"user:{user.username}"
    user.delete()


def test_a_user_written_inside_a_write_joins_its_revision(default: World, worlds: tuple[World, World]) -> None:
    user = _user()
    before, elsewhere = default.head(), worlds[0].head()
    with permission_write("default", SYSTEM):
        user.is_active = False
        user.save()
        other = _user()
    assert default.log_after(before) == {before + 1: {("s", f"user:{user.username}"), ("s", f"user:{other.username}")}}
    assert worlds[0].head() == elsewhere + 1
    assert set(Realm.objects.values_list("write_state", flat=True)) == {0}


def test_a_rolled_back_user_leaves_no_subject(default: World) -> None:
    before, name = default.head(), unique("bob")
    with pytest.raises(RuntimeError), transaction.atomic():
        User.objects.create_user(name)
        raise RuntimeError
    assert not Subject.objects.filter(ref=f"user:{name}").exists()
    assert default.head() == before


@pytest.fixture
def without_triggers() -> Iterator[None]:
    triggers.remove(connection)
    yield
    triggers.install(connection)


def test_users_that_were_there_before_get_their_subjects_from_migrate(default: World, without_triggers: None) -> None:
    user = _user()
    assert not Subject.objects.filter(user=user).exists()
    before = default.head()
    call_command("migrate", verbosity=0)
    subject = Subject.objects.get(user=user)
    assert subject.ref == f"user:{user.username}"
    assert default.log_after(before) == {before + 1: {("s", subject.ref)}}


@pytest.fixture
def late_realm(settings: object) -> Iterator[str]:
    """DJANGO_REALM names a realm that does not exist yet."""
    name = unique("late")
    settings.DJANGO_REALM = name  # type: ignore[attr-defined]  # pytest-django names no public type
    triggers.install(connection)
    yield name
    settings.DJANGO_REALM = "default"  # type: ignore[attr-defined]
    triggers.install(connection)


def test_users_wait_for_their_realm(late_realm: str) -> None:
    user = _user()
    assert not Subject.objects.filter(user=user).exists()
    realm = Realm.objects.create(name=late_realm)
    assert Subject.objects.get(user=user).realm == realm


def test_a_realm_renamed_to_the_one_of_django_takes_the_users(late_realm: str) -> None:
    user, realm = _user(), Realm.objects.create(name=unique("realm"))
    Realm.objects.filter(pk=realm.pk).update(name=late_realm)
    assert Subject.objects.get(user=user).realm == realm
