"""Pages beside the forms: effective permissions, the check box, the difference of an audit entry, the tree, realms, languages."""

from __future__ import annotations

from typing import Any

from permissions.admin.effective import effective
from permissions.admin.history import difference
from permissions.engine.types import GroupFact, ModelFacts, PermissionFact, RoleFact, RoleLineFact
from permissions.models import Realm, Resource, Role, Subject
from tests.permissions.admin.world import Desk, desk, last_entry, revision


def _states(*roles: RoleFact, groups: tuple[GroupFact, ...] = ()) -> dict[str, str]:
    codes = tuple(PermissionFact(code) for code in ("a:1", "a:2", "a:3", "b:1"))
    return {row.code: row.state for row in effective(ModelFacts("r", permissions=codes, groups=groups, roles=roles), "top")}


def _allow(pattern: str, condition: str = "") -> RoleLineFact:
    return RoleLineFact("allow", pattern, condition)


def test_each_code_says_where_it_comes_from() -> None:
    found = _states(
        RoleFact("top", ("base",), ("g",), (_allow("a:1"), _allow("b:1", "context.mfa == true"), RoleLineFact("deny", "a:3"))),
        RoleFact("base", lines=(_allow("a:*"),)),
        groups=(GroupFact("g", ("a:2",)),),
    )
    assert found == {"a:1": "own", "a:2": "group", "a:3": "denied", "b:1": "conditional"}


def test_an_exclusion_is_local_to_its_role() -> None:
    top = RoleFact("top", ("base",), (), (RoleLineFact("exclude", "a:1"),))
    assert _states(top, RoleFact("base", lines=(_allow("a:*"), RoleLineFact("exclude", "a:2")))) == {
        "a:1": "excluded",
        "a:3": "inherited",
    }


def test_roles_in_a_circle_still_end() -> None:
    assert _states(RoleFact("top", ("base",)), RoleFact("base", ("top",), lines=(_allow("b:1"),))) == {"b:1": "inherited"}


def test_effective_permissions_equal_what_a_check_says(alice: Desk, key_of: Any) -> None:
    page = alice.get("permissions_role_effective", key_of(Role, name="editor"))
    rows = {row.code: row.state for row, _, _ in page.context["rows"]}
    assert rows == {"post:read": "group", "post:edit": "group"}
    zed = alice.get("permissions_subject_effective", key_of(Subject, ref="user:zed"), query="?resource=server:8")
    assert [(row["code"], row["allowed"]) for row in zed.context["rows"]] == [("post:read", True)]
    nothing = alice.get("permissions_subject_effective", key_of(Subject, ref="user:zed"))
    assert nothing.context["rows"] == [] and "Bind a role" in nothing.content.decode()


def _check(here: Desk, subject: int, **data: str) -> Any:
    return here.post("permissions_subject_check", subject, data=data)


def test_the_check_box_answers_with_the_path_that_decided(alice: Desk, key_of: Any) -> None:
    before = revision()
    page = _check(alice, key_of(Subject, ref="user:bob"), permission="post:read", resource="channel:9")
    answer = page.context["answer"]
    assert (answer["allowed"], answer["reason"]) == (True, "granted")
    assert answer["path"][0]["via"] == ["user:bob", "team:care"]
    assert "caretaker" in page.content.decode()
    assert revision() == before


def test_the_check_box_says_what_would_help(alice: Desk, key_of: Any) -> None:
    answer = _check(alice, key_of(Subject, ref="user:zed"), permission="post:edit").context["answer"]
    assert (answer["allowed"], answer["reason"]) == (False, "no_grant")
    assert any("editor" in missing["text"] for missing in answer["nearest"])


def test_the_check_box_refuses_what_cannot_be_asked(alice: Desk, key_of: Any) -> None:
    zed = key_of(Subject, ref="user:zed")
    for data in (
        {"permission": "post:*"},
        {"permission": "post"},
        {"permission": ""},
        {"permission": "post:read", "resource": "nonsense"},
        {"permission": "post:read", "context": "{"},
        {"permission": "post:read", "context": "[1]"},
        {"permission": "post:read", "context": "[" * 9_000},
        {"permission": "post:read\x00"},
    ):
        page = _check(alice, zed, **data)
        assert page.status_code == 200 and page.context["answer"] is None, data
        assert page.context["check_box"]["form"].errors, data


def test_asking_about_others_takes_the_right_to_ask(cast: None, key_of: Any) -> None:
    """Bob holds it at his server; of himself everyone may ask."""
    bob, vera = desk("bob"), desk("vera")
    zed = key_of(Subject, ref="user:zed")
    assert _check(bob, zed, permission="post:read", resource="server:7").context["answer"] is not None
    refused = _check(bob, zed, permission="post:read", resource="server:8")
    assert refused.context["answer"] is None and "permsite.decision:ask" in refused.content.decode()
    assert _check(vera, key_of(Subject, ref="user:vera"), permission="post:read").context["answer"] is not None
    assert "permsite.decision:ask" in vera.get("permissions_subject_effective", zed).content.decode()


def test_a_difference_says_what_came_and_what_went() -> None:
    changes = difference({"a": 1, "l": ["x", "y"], "gone": True}, {"a": 2, "l": ["y", "z"], "new": {"k": 1}})
    found = {c.key: (c.mark, c.before, c.after, c.gone, c.come) for c in changes}
    assert found["a"] == ("~", "1", "2", (), ())
    assert found["l"] == ("~", "", "", ("x",), ("z",))
    assert found["gone"][0] == "−" and found["new"][2] == '{"k": 1}'
    assert difference(None, {"l": ["x"]})[0].come == ("x",)
    assert difference({"l": 1}, {"l": [1]})[0].after == "[1]"


def test_an_audit_entry_shows_its_difference(alice: Desk, key_of: Any) -> None:
    alice.fill("permissions_role_change", key_of(Role, name="reader"), title="Reads <b>", change_reason="clearer")
    page = alice.get("permissions_auditevent_change", last_entry().pk).content.decode()
    assert "Reads &lt;b&gt;" in page and "clearer" in page and "user:alice" in page
    history = alice.get("permissions_role_history", key_of(Role, name="reader")).content.decode()
    assert "clearer" in history


def test_history_takes_the_right_to_see_the_audit(bob: Desk, key_of: Any) -> None:
    page = bob.get("permissions_resource_history", key_of(Resource, ref="server:7"))
    assert page.context["allowed"] is False and "permsite.audit:view" in page.content.decode()


def test_the_chain_is_verified_on_demand(alice: Desk, charlie: Desk) -> None:
    assert alice.post("permissions_auditevent_verify").status_code == 302
    assert "The chain holds" in alice.get("index").content.decode()
    assert alice.get("permissions_auditevent_verify").status_code == 403
    assert charlie.post("permissions_auditevent_verify").status_code == 403


def test_the_tree_shows_depth_and_only_what_may_be_seen(alice: Desk, bob: Desk, charlie: Desk) -> None:
    assert [(str(node), depth) for node, depth in alice.get("permissions_resource_tree").context["rows"]] == [
        ("server:7", 0),
        ("channel:9", 1),
        ("server:8", 0),
    ]
    assert {str(node) for node, _ in bob.get("permissions_resource_tree").context["rows"]} == {"server:7", "channel:9"}
    assert charlie.get("permissions_resource_tree").status_code == 403


def test_the_session_switches_to_realms_one_may_see(alice: Desk, root: Desk, key_of: Any) -> None:
    assert [str(realm) for realm in alice.get("permissions_realm_switch").context["realms"]] == ["default"]
    assert alice.post("permissions_realm_switch", data={"realm": "other"}).status_code == 403
    assert root.post("permissions_realm_switch", data={"realm": "other"}).status_code == 302
    assert {str(row) for row in root.get("permissions_role_changelist").context["cl"].result_list} == {"stranger"}
    # Opening an object of another realm goes there.
    assert root.get("permissions_role_change", key_of(Role, name="reader")).status_code == 200
    assert root.client.session["permsite_realm"] == "default"


def test_revisions_name_who_made_them(alice: Desk, bob: Desk, key_of: Any) -> None:
    page = alice.get("permissions_realm_revisions", key_of(Realm, name="default"))
    assert page.status_code == 200 and page.context["rows"]
    assert bob.get("permissions_realm_revisions", key_of(Realm, name="default")).status_code == 403


def test_an_empty_list_says_what_to_do(alice: Desk) -> None:
    page = alice.get("permissions_apikey_changelist").content.decode()
    assert "A service needs one to ask" in page and "Add API key" in page


def test_pages_speak_chinese_when_asked(alice: Desk) -> None:
    alice.client.post("/i18n/setlang/", {"language": "zh-hans", "next": "/admin/"})
    page = alice.get("index").content.decode()
    assert "角色绑定" in page and "Role bindings" not in page
