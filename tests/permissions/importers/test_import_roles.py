"""`import_roles`: a catalogue's roles in the realm, bound and checked; nothing half, nothing given, nothing forgotten."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from django.core.management import call_command

from permissions import pdp
from permissions.models import Permission, Role, RoleBinding
from tests.permissions.importers.catalogues import EXCERPTS
from tests.permissions.importers.spot_checks import CHECKS
from tests.worlds import apply

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture(autouse=True)
def _fresh() -> None:
    pdp.reset()


def run(*args: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    try:
        call_command("import_roles", *args, stdout=out, stderr=err)
    except SystemExit as ended:
        return int(ended.code or 0), out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


def arguments(name: str) -> list[str]:
    catalogue = ["--catalogue", str(EXCERPTS / "aws_actions.json")] if name == "aws" else []
    return ["--format", name, str(EXCERPTS / f"{name}.json"), *catalogue]


@pytest.mark.parametrize("name", CHECKS)
def test_imported_roles_decide_as_their_publishers_say(name: str) -> None:
    status, out, _ = run(*arguments(name))
    assert status == 0
    assert "token v1." in out
    assert not RoleBinding.objects.exists()
    lines = [
        f'{{subject: "user:{number}", role: {json.dumps(role)}}}'
        for number, (roles, _, _) in enumerate(CHECKS[name])
        for role in roles
    ]
    apply("bindings: [" + ", ".join(lines) + "]")
    asked = [{"subject": f"user:{number}", "permission": code} for number, (_, code, _) in enumerate(CHECKS[name])]
    assert [d.allowed for d in pdp.check_many(asked)] == [allowed for _, _, allowed in CHECKS[name]]


def test_the_same_import_again_changes_nothing() -> None:
    run(*arguments("azure"))
    _, out, _ = run(*arguments("azure"))
    assert out.startswith("nothing to change\n")


def test_what_was_left_out_is_told() -> None:
    _, out, _ = run(*arguments("azure"))
    assert "note (1 times): role with a condition over everything it gives: imported without permissions" in out
    assert "18 roles with" in out or "19 roles with" in out


def test_a_dry_run_leaves_nothing_behind() -> None:
    _, out, _ = run(*arguments("gcp"), "--dry-run")
    assert "+ role roles/pubsub.publisher" in out
    assert "rolled back" in out
    assert not Role.objects.exists()


def test_a_known_permission_keeps_its_title() -> None:
    apply('permissions: [{code: "s3:GetObject", title: Read an object, menu: storage}]')
    run(*arguments("aws"))
    assert Permission.objects.get(code="s3:GetObject").title == "Read an object"
    assert Permission.objects.filter(code="s3:PutObject").exists()


def test_it_imports_into_the_realm_that_is_named() -> None:
    run(*arguments("gcp"), "--realm", "clouds")
    assert set(Role.objects.values_list("realm__name", flat=True)) == {"clouds"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ('{"roles": [],\n "roles": []}', "line 2, roles: the key 'roles' is repeated"),
        ("[]", "roles: the file must be a JSON object"),
        ('{"roles": [{"name": "r", "permissions": ["a.b.c", "x"]}]}', "roles[0].permissions[1]: 'x' is not written"),
    ],
    ids=["no JSON", "repeated", "no roles", "a bad code"],
)
def test_a_bad_file_changes_nothing(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "bad.json"
    file.write_text(text)
    status, out, err = run("--format", "gcp", str(file))
    assert (status, out) == (2, "")
    assert said in err
    assert not Role.objects.exists()


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    status, _, err = run("--format", "gcp", str(tmp_path / "missing.json"))
    assert status == 2
    assert "missing.json" in err
