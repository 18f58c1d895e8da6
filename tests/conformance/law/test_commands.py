"""interfaces.md, "Commands": what each prints, and how it ends."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from permissions import pdp
from permissions.models import ApiKey
from tests.worlds import apply

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

WORLD = """
permissions: [{code: "post:edit"}, {code: "post:read"}]
resources: [{id: "blog:1"}, {id: "post:7", parent: "blog:1"}, {id: "post:8"}]
teams: [{id: "team:t", members: ["user:bob"]}]
subjects: [{id: "user:charlie"}]
bindings:
  - {subject: "user:alice", allow: ["post:edit"]}
  - {subject: "team:t", allow: ["post:edit", "post:read"], scope: "blog:1"}
  - {subject: "user:mfa", allow: ["post:edit"], condition: "context.mfa == true"}
"""


@pytest.fixture(autouse=True)
def _world() -> None:
    pdp.reset()
    apply(WORLD)
    apply("realm: other\n" + WORLD.replace("user:alice", "user:olga"))


def run(*arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    status = 0
    try:
        call_command(*arguments, stdout=out, stderr=err)
    except SystemExit as exit_:
        status = int(exit_.code or 0)
    except CommandError as error:
        status, told = error.returncode, str(error)
        err.write(told)
    return status, out.getvalue(), err.getvalue()


@pytest.mark.parametrize("command", ["check_access", "explain_access"])
def test_a_question_ends_with_0_1_or_2(command: str) -> None:
    for arguments, status, said in (
        (["user:alice", "post:edit"], 0, "granted"),
        (["user:alice", "post:edit", "post:7"], 0, "granted"),
        (["user:bob", "post:edit", "post:7"], 0, "granted"),
        (["user:bob", "post:edit", "post:8"], 1, "no_grant"),
        (["user:bob", "post:edit"], 1, "no_grant"),
        (["user:mfa", "post:edit", "--context", '{"mfa": true}'], 0, "granted"),
        (["user:mfa", "post:edit", "--context", '{"mfa": false}'], 1, "condition_false"),
        (["user:mfa", "post:edit"], 1, "condition_error"),
        (["user:ghost", "post:edit"], 1, "unknown_subject"),
        (["user:alice", "post:nonsense"], 1, "unknown_permission"),
        (["user:olga", "post:edit", "--realm", "other"], 0, "granted"),
        (["user:alice", "post:edit", "--realm", "other"], 1, "unknown_subject"),
        (["user:alice", "post:*"], 2, ""),
        (["user:*", "post:edit"], 2, ""),
        (["user:alice", "post:edit", "post:*"], 2, ""),
        (["user:alice", "post:edit", "--context", "[]"], 2, ""),
        (["user:alice", "post:edit", "--realm", "nowhere"], 2, "nowhere"),
    ):
        ended, out, err = run(command, *arguments)
        assert ended == status, (arguments, out, err)
        assert said in out + err, (arguments, out, err)


def test_an_explanation_names_the_path_or_what_is_missing() -> None:
    _, out, _ = run("explain_access", "user:bob", "post:edit", "post:7")
    for word in ("team:t", "blog:1"):
        assert word in out
    _, out, _ = run("explain_access", "user:charlie", "post:edit", "post:7")
    assert "no_grant" in out
    assert len(out.splitlines()) > 1


def test_who_can_and_what_can_list_what_check_allows() -> None:
    assert {line.split()[0] for line in run("who_can", "post:edit", "post:7")[1].splitlines() if line.startswith("user:")} == {
        "user:alice",
        "user:bob",
    }
    assert "user:bob" not in run("who_can", "post:edit")[1]
    assert "user:olga" in run("who_can", "post:edit", "--realm", "other")[1]
    out = run("what_can", "user:bob", "--type", "post")[1]
    assert "post:7" in out
    assert "post:8" not in out
    assert run("what_can", "user:*")[0] == 2
    assert run("who_can", "post:*")[0] == 2


def test_a_key_is_printed_alone_and_only_its_hash_is_kept() -> None:
    status, out, _ = run("api_key", "create", "ci")
    assert status == 0
    plain = out.strip()
    assert out.count("\n") <= 1
    assert " " not in plain
    row = ApiKey.objects.get(name="ci")
    assert row.asserted == "fill"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {ApiKey._meta.db_table}")
        assert plain not in str(cursor.fetchall())
    assert run("api_key", "create", "other", "--realm", "other", "--asserted", "override", "--admin")[0] == 0
    made = ApiKey.objects.get(name="other")
    assert (made.realm.name, made.asserted) == ("other", "override")
    assert run("api_key", "create", "x", "--realm", "nowhere")[0] != 0
    assert run("api_key", "create", "bobs", "--subject", "user:bob")[0] == 0


def test_verify_audit_is_content_with_what_was_written_and_tells_what_was_not() -> None:
    assert run("verify_audit")[0] == 0
    assert run("verify_audit", "--realm", "other")[0] == 0
    assert run("verify_audit", "--realm", "nowhere")[0] != 0


def test_a_catalogue_of_roles_becomes_a_bundle(tmp_path: Path) -> None:
    role: dict[str, Any] = {"kind": "ClusterRole", "namespace": None, "includes": []}
    roles = [{**role, "name": "view-pods", "permissions": ["apps/pods:get", "apps/pods/log:get"]}]
    path = tmp_path / "roles.json"
    path.write_text(json.dumps({"bindings": [], "roles": roles}))
    assert run("import_roles", "--format", "kubernetes", str(path), "--dry-run")[0::2] == (0, "")
    assert "view-pods" not in run("export")[1]
    status, _, err = run("import_roles", "--format", "kubernetes", str(path))
    assert status == 0, err
    assert "view-pods" in run("export")[1]
    apply('bindings: [{subject: "user:alice", role: view-pods}]')
    assert run("check_access", "user:alice", "apps/pods/log:get")[0] == 0
    path.write_text("[")
    assert run("import_roles", "--format", "kubernetes", str(path))[0] != 0
