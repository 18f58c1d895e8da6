"""Requests no form of ours would send: never a 500, and nothing has changed."""

from __future__ import annotations

from typing import Any

import pytest

from permissions.models import AuditEvent, PermissionGroup, Resource, Role, RoleBinding, RoleLine, Subject
from tests.permissions.admin.world import Desk, desk, errors_of, fields_of, last_entry


@pytest.fixture(autouse=True)
def untouched(cast: None) -> Any:
    before = AuditEvent.objects.count(), RoleLine.objects.count()
    yield
    assert (AuditEvent.objects.count(), RoleLine.objects.count()) == before


FORMS = ("permission", "permissiongroup", "role", "subject", "team", "resource", "rolebinding", "apikey")


@pytest.mark.parametrize("noun", FORMS)
@pytest.mark.parametrize(
    "data",
    [
        {},
        {"lines-TOTAL_FORMS": "99999999", "lines-INITIAL_FORMS": "-1"},
        {"lines-TOTAL_FORMS": "x", "parents-TOTAL_FORMS": "1", "parents-INITIAL_FORMS": "1", "parents-0-id": "9" * 40},
        {"name": "\x00", "ref": "\x00", "code": "\x00", "subject": "\x00", "attributes": "\x00"},
        {"name": "n" * 100_000, "ref": "user:" + "r" * 100_000, "code": "a:" + "b" * 100_000},
        {"name": "\ud800".encode("utf-8", "surrogatepass"), "ref": b"user:\xff\xfe"},
        {"attributes": "[" * 5_000, "obligations": "{", "allow": "\n" * 1_000, "resource_types": "nonsense"},
        {"attributes": '{"a": NaN}', "obligations": '[{"id": 1}]', "valid_from_0": "x", "valid_until_0": "0000-00-00"},
        {"subject": "0", "role": "-1", "scope": "9" * 30, "parent": "1 OR 1=1", "everyone": "a:b"},
        {"_saveasnew": "1", "_to_field": "password", "_popup": "1"},
    ],
    ids=["nothing", "sizes", "keys", "nul", "huge", "bytes", "json", "values", "related", "switches"],
)
def test_a_form_takes_no_harm(noun: str, data: dict[str, Any]) -> None:
    answer = desk("alice").post(f"permissions_{noun}_add", data=data)
    assert answer.status_code in (200, 400), answer.status_code


def test_a_row_of_another_realm_is_no_valid_choice(alice: Desk, key_of: Any) -> None:
    role = key_of(Role, name="reader")
    foreign = key_of(Role, name="stranger")
    data = {"parents-TOTAL_FORMS": "1", "parents-0-parent": foreign}
    assert "valid choice" in errors_of(alice.fill("permissions_role_change", role, **data))
    for field, value in (
        ("subject", key_of(Subject, ref="user:yan")),
        ("role", foreign),
        ("scope", key_of(Resource, ref="island:1")),
    ):
        given = {"subject": key_of(Subject, ref="user:zed"), "role": role, field: value}
        assert "valid choice" in errors_of(alice.fill("permissions_rolebinding_add", **given))
    groups = {"role_groups-TOTAL_FORMS": "1", "role_groups-0-group": key_of(PermissionGroup, name="abroad")}
    assert "valid choice" in errors_of(alice.fill("permissions_role_change", role, **groups))


def test_alice_of_one_realm_opens_nothing_of_another(alice: Desk, key_of: Any) -> None:
    """She administers `default`; of `other` she holds nothing."""
    for name, model, given in (
        ("role", Role, {"name": "stranger"}),
        ("subject", Subject, {"ref": "user:yan"}),
        ("resource", Resource, {"ref": "island:1"}),
        ("rolebinding", RoleBinding, {"subject__ref": "user:yan"}),
    ):
        pk = key_of(model, **given)
        assert alice.get(f"permissions_{name}_change", pk).status_code == 302
        assert alice.post(f"permissions_{name}_change", pk, data={"name": "x"}).status_code == 302
        assert alice.post(f"permissions_{name}_delete", pk, data={"post": "yes"}).status_code in (302, 403)
        assert model.objects.filter(pk=pk).exists()
    assert alice.post("permissions_realm_switch", data={"realm": "other"}).status_code == 403


def test_missing_management_forms_are_an_error_of_the_form(alice: Desk, key_of: Any) -> None:
    answer = alice.post("permissions_role_change", key_of(Role, name="reader"), data={"name": "reader", "obligations": "[]"})
    assert "ManagementForm" in errors_of(answer)


@pytest.mark.parametrize("key", ["0", "-1", "abc", "9" * 40, "1_2F2", "%00"])
def test_an_object_that_is_none_leads_back(alice: Desk, key: str) -> None:
    for noun in ("role", "subject", "resource", "rolebinding", "team", "realm"):
        for page in ("change", "delete", "history"):
            assert alice.client.get(f"/admin/permissions/{noun}/{key}/{page}/").status_code in (302, 403, 404), (noun, page)
        assert alice.client.post(f"/admin/permissions/{noun}/{key}/change/", {"name": "x"}).status_code in (302, 403, 404)


@pytest.mark.parametrize(
    "query",
    [
        "?q=" + "x" * 5_000,
        "?p=-1",
        "?p=" + "9" * 30,
        "?o=99.-1",
        "?all=",
        "?realm__name=other",
        "?validity=x&gives=y",
        "?q=%00",
        "?type=%25",
    ],
)
def test_a_list_takes_any_query(alice: Desk, query: str) -> None:
    for noun in ("rolebinding", "role", "subject", "resource", "permission", "auditevent"):
        assert alice.get(f"permissions_{noun}_changelist", query=query).status_code in (200, 302, 400), noun


def test_pages_take_any_query(alice: Desk, key_of: Any) -> None:
    role, subject = key_of(Role, name="editor"), key_of(Subject, ref="user:zed")
    for query in ("?page=0", "?page=x", "?page=" + "9" * 30, "?state=%00&q=%00", "?resource=nonsense", "?resource=%00:%00&q=*"):
        assert alice.get("permissions_role_effective", role, query=query).status_code == 200
        assert alice.get("permissions_subject_effective", subject, query=query).status_code == 200
        assert alice.get("permissions_realm_revisions", 1, query=query).status_code in (200, 302)


@pytest.mark.parametrize(
    "data",
    [
        {"action": "revoke", "_selected_action": ["x", "9" * 40], "apply": "yes"},
        {"action": "nonsense", "_selected_action": ["1"], "apply": "yes"},
        {"action": "revoke", "index": "99", "_selected_action": ["1"]},
        {"action": "extend", "_selected_action": ["0"], "apply": "yes", "until": "no date"},
        {"action": "delete_selected", "_selected_action": ["1"], "post": "yes"},
        {"_save": "1", "form-TOTAL_FORMS": "x"},
    ],
)
def test_an_action_takes_no_harm(alice: Desk, data: dict[str, Any]) -> None:
    assert alice.post("permissions_rolebinding_changelist", data=data).status_code in (200, 302)


def test_history_is_written_by_nobody(root: Desk) -> None:
    event = last_entry()
    for page, args in (("add", ()), ("change", (event.pk,)), ("delete", (event.pk,))):
        assert root.post(f"permissions_auditevent_{page}", *args, data={"post": "yes", "reason": "x"}).status_code == 403
    data = {"action": "delete_selected", "_selected_action": [event.pk], "post": "yes"}
    assert root.post("permissions_auditevent_changelist", data=data).status_code in (200, 302)
    assert AuditEvent.objects.filter(pk=event.pk).exists()


def test_a_form_without_its_token_is_refused(cast: None, key_of: Any) -> None:
    from django.test import Client

    here = desk("alice")
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = here.client.cookies
    pk = key_of(Role, name="reader")
    data = {**fields_of(here.get("permissions_role_change", pk)), "csrfmiddlewaretoken": "x"}
    assert strict.post(f"/admin/permissions/role/{pk}/change/", data).status_code == 403
    subject = key_of(Subject, ref="user:zed")
    assert strict.post(f"/admin/permissions/subject/{subject}/check/", {"permission": "post:read"}).status_code == 403
