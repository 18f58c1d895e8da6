"""PermissionBackend: Django's contract for authentication backends, fact by fact, and what the PDP adds to it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser, Group, Permission, User
from django.core.exceptions import ImproperlyConfigured, PermissionDenied

from permissions import pdp
from permissions.backends import PermissionBackend
from permissions.models import RoleBinding
from permissions.services.bindings import binding_delete
from permissions.writing import SYSTEM
from tests.permissions.pep.rows import Draft, Post
from tests.worlds import apply

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

OURS = "permissions.backends.PermissionBackend"
WORLD = """
permissions: [{code: "post:edit"}, {code: "post:view"}, {code: "auth:view_group"}, {code: "post:edit:own"}]
roles: [{name: editor, permissions: ["post:edit"]}]
subjects: [{id: "user:alice"}]
teams: [{id: "team:x", members: ["user:alice"]}]
resources: [{id: "post:7"}]
bindings:
  - {subject: "user:alice", role: editor, scope: "post:7"}
  - {subject: "user:alice", allow: ["post:view"]}
  - {subject: "team:x", allow: ["auth:view_group", "post:edit:own"]}
"""


@pytest.fixture
def alice() -> Any:
    apply(WORLD)
    return User.objects.create_user("alice")


def again(user: Any) -> Any:
    return User.objects.get(pk=user.pk)


def django_permission(name: str) -> Permission:
    app, codename = name.split(".")
    return Permission.objects.get(content_type__app_label=app, codename=codename)


# The facts of the contract, in their order.


def test_a_fresh_user_has_none_staff_has_none_and_a_superuser_every_one_while_active() -> None:
    user = User.objects.create_user("fresh")
    assert not user.has_perm("auth.view_user")
    user.is_staff = True
    user.save()
    assert not again(user).has_perm("auth.view_user")
    user.is_superuser = True
    user.save()
    assert again(user).has_perm("auth.view_user")
    assert again(user).has_perm("nobody.knows_this")
    user.is_active = False
    user.save()
    assert not again(user).has_perm("auth.view_user")


def test_a_name_is_exact_and_many_names_are_all_needed(alice: Any) -> None:
    assert alice.has_perm("auth.view_group")
    assert not alice.has_perm("auth.view_grou")
    assert not alice.has_perm("auth:view_group:")
    assert not alice.has_perm("view_group")
    assert alice.has_perms(["auth.view_group", "post:view"])
    assert not alice.has_perms(["auth.view_group", "post:edit"])
    with pytest.raises(ValueError, match="perm_list must be an iterable of permissions"):
        alice.has_perms("post:view")


def test_all_permissions_are_those_of_the_user_and_those_of_others_which_are_told_apart(alice: Any) -> None:
    alice.user_permissions.add(django_permission("auth.add_group"))
    group = Group.objects.create(name="staff")
    group.permissions.add(django_permission("auth.delete_group"))
    alice.groups.add(group)
    alice = again(alice)
    assert alice.get_user_permissions() == {"auth.add_group", "post:view", "post.view"}
    assert alice.get_group_permissions() == {"auth.delete_group", "auth:view_group", "auth.view_group", "post:edit:own"}
    assert alice.get_all_permissions() == alice.get_user_permissions() | alice.get_group_permissions()
    assert all(alice.has_perm(name) for name in alice.get_all_permissions())


def test_a_module_is_held_while_one_permission_of_it_is(alice: Any) -> None:
    assert alice.has_module_perms("auth")
    assert alice.has_module_perms("post")
    assert not alice.has_module_perms("Group")
    assert not alice.has_module_perms("pos")


def test_a_revoke_reaches_an_instance_that_has_asked_before(alice: Any) -> None:
    assert alice.has_perm("post:view")
    assert "post:view" in alice.get_all_permissions()
    binding = RoleBinding.objects.get(subject__ref="user:alice", scope=None)
    binding_delete(actor=SYSTEM, realm=binding.realm, binding_id=binding.pk)
    assert not alice.has_perm("post:view")
    assert "post:view" not in alice.get_all_permissions()


def test_only_djangos_own_part_is_kept_on_the_instance(alice: Any) -> None:
    alice.user_permissions.add(django_permission("auth.add_group"))
    assert "post:view" in alice.get_all_permissions()
    kept = [value for name, value in vars(alice).items() if name.endswith("_perm_cache")]
    assert kept
    assert not any("post" in name for names in kept for name in names)
    alice.user_permissions.clear()
    assert alice.has_perm("auth.add_group"), "as Django has it, until the user is fetched again"
    assert not again(alice).has_perm("auth.add_group")


def test_an_object_is_asked_about_and_djangos_tables_say_nothing_of_it(alice: Any) -> None:
    alice.user_permissions.add(django_permission("auth.add_group"))
    alice = again(alice)
    assert alice.has_perm("post:edit", Post(pk=7))
    assert not alice.has_perm("post:edit", Post(pk=8))
    assert not alice.has_perm("post:edit")
    assert alice.has_perm("auth.add_group")
    assert not alice.has_perm("auth.add_group", Post(pk=7))
    assert alice.get_all_permissions(Post(pk=7)) >= {"post:edit", "post.edit"}
    assert User.objects.create_superuser("root").has_perm("auth.add_group", Post(pk=7))


def test_several_backends_are_joined_by_or(alice: Any, settings: Any) -> None:
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend", OURS]
    assert again(alice).has_perm("post:view")
    settings.AUTHENTICATION_BACKENDS = [OURS, "django.contrib.auth.backends.ModelBackend"]
    assert again(alice).has_perm("post:view")


def test_nobody_in_particular_has_none_whatever_it_says_of_itself(alice: Any) -> None:
    somebody: Any = AnonymousUser()
    somebody.is_active = True
    somebody.username = "alice"
    assert not somebody.has_perm("post:view")
    assert not PermissionBackend().has_perm(somebody, "post:view")
    assert PermissionBackend().get_all_permissions(somebody) == set()


def test_who_is_inactive_has_none(alice: Any) -> None:
    alice.user_permissions.add(django_permission("auth.add_group"))
    alice.is_active = False
    alice.save()
    for user in (again(alice), alice):
        assert not user.has_perm("post:view")
        assert not user.has_perm("auth.add_group")
        assert user.get_all_permissions() == set()
        assert not user.has_module_perms("post")


class Stop:
    def has_perm(self, user: object, perm: str, obj: object = None) -> bool:
        raise PermissionDenied

    def authenticate(self, request: object, **credentials: object) -> None:
        raise PermissionDenied


def test_a_backend_that_stops_is_obeyed_where_it_stands(alice: Any, settings: Any) -> None:
    settings.AUTHENTICATION_BACKENDS = [OURS, f"{__name__}.Stop"]
    assert alice.has_perm("post:view")
    settings.AUTHENTICATION_BACKENDS = [f"{__name__}.Stop", OURS]
    assert not alice.has_perm("post:view")


def test_a_superusers_set_is_the_whole_table() -> None:
    root = User.objects.create_superuser("root")
    assert len(root.get_all_permissions()) == Permission.objects.count()
    assert len(PermissionBackend().get_group_permissions(root)) == Permission.objects.count()


def test_no_backend_at_all_is_named(alice: Any, settings: Any) -> None:
    settings.AUTHENTICATION_BACKENDS = []
    with pytest.raises(ImproperlyConfigured, match="AUTHENTICATION_BACKENDS"):
        alice.has_perm("post:view")


@pytest.mark.parametrize("name", ["post:view", "post:edit", "auth.view_group", "auth.add_group", "nonsense"])
def test_each_question_has_a_twin_with_the_same_answer(name: str, alice: Any) -> None:
    alice.user_permissions.add(django_permission("auth.add_group"))
    alice = again(alice)
    for obj in (None, Post(pk=7), "post:7"):
        assert async_to_sync(alice.ahas_perm)(name, obj) == alice.has_perm(name, obj)
        assert async_to_sync(alice.aget_all_permissions)(obj) == alice.get_all_permissions(obj)
        assert async_to_sync(alice.aget_user_permissions)(obj) == alice.get_user_permissions(obj)
        assert async_to_sync(alice.aget_group_permissions)(obj) == alice.get_group_permissions(obj)
    assert async_to_sync(alice.ahas_module_perms)("post") is alice.has_module_perms("post")


# What the platform adds.


def test_a_deny_of_the_platform_takes_away_what_djangos_tables_give(alice: Any) -> None:
    alice.user_permissions.add(django_permission("auth.add_group"))
    assert again(alice).has_perm("auth.add_group")
    apply('bindings: [{subject: "user:alice", deny: ["auth:add_group"]}]')
    assert not again(alice).has_perm("auth.add_group")
    assert "auth.add_group" not in again(alice).get_all_permissions()
    assert async_to_sync(again(alice).ahas_perm)("auth.add_group") is False


def test_a_locked_subject_has_none_of_djangos_either(alice: Any) -> None:
    alice.user_permissions.add(django_permission("auth.add_group"))
    apply('subjects: [{id: "user:alice", locked: true}]')
    assert not again(alice).has_perm("auth.add_group")
    assert again(alice).get_all_permissions() == set()


def test_what_is_allowed_with_an_obligation_is_a_no() -> None:
    apply(
        """
        permissions: [{code: "post:print"}]
        bindings: [{subject: "user:alice", allow: ["post:print"], obligations: [{id: a, type: notification}]}]
        """
    )
    alice = User.objects.create_user("alice")
    assert pdp.check("user:alice", "post:print")
    assert not alice.has_perm("post:print")
    assert alice.get_all_permissions() == set()


def away(*_: object, **__: object) -> Any:
    raise pdp.Unavailable("the database does not answer")


def test_while_no_decision_can_be_given_the_answer_is_no_and_is_logged(
    alice: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    alice.user_permissions.add(django_permission("auth.add_group"))
    for name in ("decide", "adecide", "held", "held_apart", "decide_many", "warm"):
        monkeypatch.setattr(pdp, name, away)
    monkeypatch.setattr("permissions.pep.decisions._in_thread", away)
    caplog.set_level(logging.WARNING, "permissions.pep")
    user = again(alice)
    assert not user.has_perm("post:view")
    assert not user.has_perm("auth.add_group"), "a deny might have stood against it"
    assert user.get_all_permissions() == set()
    assert not user.has_module_perms("post")
    assert "no decision can be given" in caplog.text


def test_another_realm_is_asked_where_the_settings_say_so(alice: Any, settings: Any) -> None:
    apply(
        """
        realm: shop
        permissions: [{code: "post:sell"}]
        subjects: [{id: "user:alice"}]
        bindings: [{subject: "user:alice", allow: ["post:sell"]}]
        """
    )
    assert not alice.has_perm("post:sell")
    settings.DJANGO_REALM = "shop"
    assert alice.has_perm("post:sell")
    assert not alice.has_perm("post:view")
    settings.DJANGO_REALM = "nowhere"
    alice.user_permissions.add(django_permission("auth.add_group"))
    assert not again(alice).has_perm("post:view")
    assert again(alice).has_perm("auth.add_group"), "Django's own tables need no realm"


@pytest.mark.parametrize(
    ("perm", "include", "active", "expected"),
    [
        ("post:view", True, True, {"alice", "root"}),
        ("post.view", False, True, {"alice"}),
        ("auth.view_group", False, True, {"alice", "bob"}),
        ("auth.add_group", False, True, {"bob"}),
        ("auth.add_group", False, False, {"gone"}),
        ("auth.add_group", False, None, {"bob", "gone"}),
        ("post:nothing", False, True, set()),
    ],
)
def test_with_perm_lists_whom_has_perm_says_yes_to(
    perm: str, include: bool, active: bool | None, expected: set[str], alice: Any
) -> None:
    User.objects.create_superuser("root")
    for name in ("bob", "eve", "gone"):
        user = User.objects.create_user(name, is_active=name != "gone")
        user.user_permissions.add(django_permission("auth.add_group"))
        if name == "bob":
            user.user_permissions.add(django_permission("auth.view_group"))
    apply('bindings: [{subject: "user:eve", deny: ["auth:add_group"]}]')
    users: Any = get_user_model().objects
    found = users.with_perm(perm, is_active=active, include_superusers=include, backend=OURS)
    assert {user.username for user in found} == expected


def test_with_perm_knows_objects(alice: Any) -> None:
    found = User.objects.with_perm("post:edit", backend=OURS, obj=Post(pk=7))
    assert [user.username for user in found] == ["alice"]
    assert not User.objects.with_perm("post:edit", backend=OURS, obj=Post(pk=8))
    with pytest.raises(ValueError, match="app_label"):
        User.objects.with_perm("nodots", backend=OURS)


# Attacks.


@pytest.mark.parametrize(
    "make",
    [
        Post,  # not saved: a question without a resource would ask about the realm
        lambda: SimpleNamespace(pk=7),
        object,
        lambda: 7,
        lambda: "",
        lambda: "post:*",
        lambda: "post",
        lambda: Post,
        lambda: SimpleNamespace(permission_resource=None),
        lambda: SimpleNamespace(permission_resource=7),
        lambda: SimpleNamespace(permission_resource="post:\u0000"),
    ],
)
def test_what_names_no_resource_is_a_no_even_for_whom_the_realm_allows(make: Callable[[], object], alice: Any) -> None:
    assert alice.has_perm("post:view")
    assert not alice.has_perm("post:view", make())
    assert alice.get_all_permissions(make()) == set()


def test_a_proxy_is_the_row_it_stands_for(alice: Any) -> None:
    apply('bindings: [{subject: "user:alice", deny: ["post:view"], scope: "post:7"}]')
    assert not alice.has_perm("post:view", Post(pk=7))
    assert not alice.has_perm("post:view", Draft(pk=7))
    assert alice.has_perm("post:view", Draft(pk=8))


def test_a_name_that_was_typed_into_a_form_is_nobodys(alice: Any) -> None:
    mallory = User.objects.create_user("mallory")
    mallory.username = "alice"  # what a refused form leaves behind
    assert not mallory.has_perm("post:view")
    mallory.username = "mallory2"
    mallory.save()
    apply('bindings: [{subject: "user:mallory2", allow: ["post:view"]}]')
    assert mallory.has_perm("post:view")
    assert not User(username="alice").has_perm("post:view"), "an account that is no row is nobody"


def test_a_typed_name_does_not_become_the_users_by_saving_something_else(alice: Any) -> None:
    mallory = User.objects.create_user("mallory")
    mallory.username = "alice"
    mallory.save(update_fields=["last_login"])
    assert not mallory.has_perm("post:view")


def test_after_a_rename_elsewhere_the_row_says_who_it_is(alice: Any) -> None:
    mallory = User.objects.create_user("mallory")
    apply('bindings: [{subject: "user:mallory", allow: ["post:view"]}]')
    User.objects.filter(pk=mallory.pk).update(username="mallory3")
    apply(
        'subjects: [{id: "user:mallory", locked: true}, {id: "user:mallory3"}]\n'
        'bindings: [{subject: "user:mallory3", allow: ["post:view"]}]'
    )
    mallory.refresh_from_db()
    assert mallory.has_perm("post:view")


def test_a_name_that_is_deferred_is_still_the_users_own(alice: Any) -> None:
    assert User.objects.defer("username").get(pk=alice.pk).has_perm("post:view")


@pytest.mark.parametrize("name", ["*", "a\u0301lice", "alice ", "Alice", "ali*"])
def test_a_name_that_only_looks_like_anothers_gives_nothing(name: str, alice: Any) -> None:
    user = User.objects.create(username=name)
    assert not user.has_perm("post:view")
    assert user.get_all_permissions() == set()


def test_a_name_of_any_script_is_a_subject(alice: Any) -> None:
    user = User.objects.create_user("莉莉")
    apply('bindings: [{subject: "user:莉莉", allow: ["post:view"]}]')
    assert user.has_perm("post:view")
