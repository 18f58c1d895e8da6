"""Who may open and send what: endpoint × {anonymous, no staff, charlie, vera who may look, bob with one server, alice, root}."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User

from permissions.models import (
    AuditEvent,
    Permission,
    PermissionGroup,
    Realm,
    Resource,
    Role,
    RoleBinding,
    Subject,
    Team,
)
from tests.permissions.admin.world import Desk, desk, revision

NOUNS = {
    "permission": Permission,
    "permissiongroup": PermissionGroup,
    "role": Role,
    "subject": Subject,
    "team": Team,
    "resource": Resource,
    "rolebinding": RoleBinding,
    "realm": Realm,
    "auditevent": AuditEvent,
}
IN = 302  # to the login page

# who → list, one object, the form of a new one, its deletion, sending the form: as status codes
ALL = {
    None: (IN, IN, IN, IN, IN),
    "zoe": (IN, IN, IN, IN, IN),
    "charlie": (403, 403, 403, 403, 403),
    "vera": (200, 200, 403, 403, 403),
    "alice": (200, 200, 200, 200, 200),
    "root": (200, 200, 200, 200, 200),
}
EXPECTED: dict[str, dict[str | None, tuple[int, ...]]] = {noun: dict(ALL) for noun in NOUNS}
for noun in ("permission", "permissiongroup", "team", "realm", "auditevent"):
    EXPECTED[noun]["bob"] = (403, 403, 403, 403, 403)
for noun in ("role", "subject"):
    EXPECTED[noun]["bob"] = (200, 200, 403, 403, 403)
for noun in ("resource", "rolebinding"):
    EXPECTED[noun]["bob"] = (200, 200, 200, 200, 200)
# A realm that is not there yet is nobody's: only the break-glass makes one.
EXPECTED["realm"]["alice"] = (200, 200, 403, 200, 403)
# Nobody writes history.
for who, codes in EXPECTED["auditevent"].items():
    EXPECTED["auditevent"][who] = codes[:2] + tuple(code if code == IN else 403 for code in codes[2:])


def _object(noun: str) -> Any:
    """One that bob may see, where there is one."""
    rows = NOUNS[noun]._default_manager
    if noun == "resource":
        return rows.get(ref="server:7")
    if noun == "rolebinding":
        return rows.get(scope__ref="server:7")
    if noun == "auditevent":
        return rows.filter(realm_name="default").latest("seq")
    if noun == "subject":
        return rows.get(ref="user:zed")
    if noun == "realm":
        return rows.get(name="default")
    return rows.filter(realm__name="default").first()


@pytest.mark.parametrize("who", [None, "zoe", "charlie", "vera", "bob", "alice", "root"])
@pytest.mark.parametrize("noun", sorted(NOUNS))
def test_each_endpoint_opens_for_whom_it_should(cast: None, noun: str, who: str | None) -> None:
    here, before = desk(who), revision()
    pk, name = _object(noun).pk, f"permissions_{noun}"
    found = (
        here.get(f"{name}_changelist").status_code,
        here.get(f"{name}_change", pk).status_code,
        here.get(f"{name}_add").status_code,
        here.get(f"{name}_delete", pk).status_code,
        here.post(f"{name}_add").status_code,
    )
    assert found == EXPECTED[noun][who]
    # Whoever may not change it may not send it either: the page of one who may only look is no form.
    answer = here.post(f"{name}_change", pk, data={"anything": "x"})
    changes = who in ("alice", "root") or (who == "bob" and noun in ("resource", "rolebinding"))
    changes = changes and noun != "auditevent"
    assert answer.status_code == (IN if found[0] == IN else 200 if changes else 403)
    assert revision() == before


@pytest.mark.parametrize(
    ("who", "code"), [(None, IN), ("charlie", 403), ("vera", 200), ("bob", 403), ("alice", 200), ("root", 200)]
)
def test_keys_open_for_whom_they_should(cast: None, who: str | None, code: int) -> None:
    assert desk(who).get("permissions_apikey_changelist").status_code == code


@pytest.mark.parametrize(
    ("who", "codes"), [("charlie", (403, 403)), ("vera", (200, 403)), ("alice", (200, 200)), ("root", (200, 200))]
)
def test_accounts_open_for_whom_they_should(cast: None, who: str, codes: tuple[int, int]) -> None:
    here = desk(who)
    assert (here.get("auth_user_changelist").status_code, here.get("auth_user_add").status_code) == codes


@pytest.mark.parametrize("who", ["charlie", "vera", "bob", "alice", "root"])
def test_pages_about_an_object_open_with_the_object(cast: None, who: str) -> None:
    here = desk(who)
    role, subject = Role.objects.get(name="editor"), Subject.objects.get(ref="user:zed")
    code = 403 if who == "charlie" else 200
    for page in ("effective", "bindings", "history"):
        assert here.get(f"permissions_role_{page}", role.pk).status_code == code
    for page in ("effective", "check", "bindings", "history"):
        assert here.get(f"permissions_subject_{page}", subject.pk).status_code == code


def test_who_may_see_nothing_is_told_so(charlie: Desk) -> None:
    page = charlie.get("index")
    assert page.status_code == 200
    # One's own sessions are always there.
    found = [model["object_name"] for app in page.context["app_list"] for model in app["models"]]
    assert found == ["ControlSessions"]
    assert "may not see anything" in page.content.decode()


def test_a_list_shows_only_what_may_be_seen(bob: Desk, alice: Desk) -> None:
    shown = {str(row) for row in bob.get("permissions_resource_changelist").context["cl"].result_list}
    assert shown == {"server:7", "channel:9"}
    scopes = {str(row.scope) for row in bob.get("permissions_rolebinding_changelist").context["cl"].result_list}
    assert scopes == {"server:7"}
    assert len(alice.get("permissions_resource_changelist").context["cl"].result_list) == 3


def test_bob_opens_nothing_of_another_server(bob: Desk, key_of: Any) -> None:
    assert bob.get("permissions_resource_change", key_of(Resource, ref="server:8")).status_code in (302, 403)
    binding = key_of(RoleBinding, scope__ref="server:8")
    assert bob.get("permissions_rolebinding_change", binding).status_code in (302, 403)
    assert bob.post("permissions_rolebinding_delete", binding, data={"post": "yes"}).status_code in (302, 403)
    assert RoleBinding.objects.filter(pk=binding).exists()


def test_completion_offers_only_what_may_be_seen(bob: Desk, charlie: Desk, alice: Desk) -> None:
    query = "?app_label=permissions&model_name=rolebinding&field_name=scope&term="
    offered = {item["text"] for item in bob.get("autocomplete", query=query).json()["results"]}
    assert offered == {"server:7", "channel:9"}
    assert charlie.get("autocomplete", query=query).status_code == 403
    people = "?app_label=permissions&model_name=rolebinding&field_name=subject&term="
    assert "team:care" in {item["text"] for item in alice.get("autocomplete", query=people).json()["results"]}


def test_an_account_of_a_superuser_is_changed_by_superusers_alone(alice: Desk) -> None:
    root = User.objects.get(username="root").pk
    assert alice.post("auth_user_change", root, data={"username": "root"}).status_code == 403
    assert (
        alice.client.post(f"/admin/auth/user/{root}/password/", {"password1": "x" * 12, "password2": "x" * 12}).status_code == 403
    )
    page = alice.get("auth_user_change", User.objects.get(username="bob").pk)
    assert "is_superuser" not in page.context["adminform"].form.fields


def test_accounts_take_the_right_to_escalate(cast: None, key_of: Any) -> None:
    """Whoever sets a password can act as its owner."""
    root = desk("root")
    answer = root.fill("permissions_rolebinding_add", subject=key_of(Subject, ref="user:vera"), allow="permsite.subject:*")
    assert answer.status_code == 302
    vera = desk("vera")
    assert vera.get("permissions_subject_add").status_code == 200
    assert vera.get("auth_user_add").status_code == 403
    assert vera.post("auth_user_change", User.objects.get(username="alice").pk, data={"username": "x"}).status_code == 403


def test_a_team_opened_as_a_subject_opens_as_a_team(alice: Desk, key_of: Any) -> None:
    team = key_of(Subject, ref="team:care")
    answer = alice.get("permissions_subject_change", team, query="?_popup=1")
    assert (answer.status_code, answer["Location"]) == (302, f"/admin/permissions/team/{team}/change/?_popup=1")
