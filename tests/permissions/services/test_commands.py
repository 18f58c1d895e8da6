"""apply, export and verify_audit, as an operator runs them."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection

from permissions import revisions
from permissions.models import AuditEvent, Realm, Role

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

SMALL = """version: 1
realm: shop
roles:
  - {name: editor, permissions: ["post:edit"]}
bindings:
  - {subject: "user:bob", role: editor}
"""


def _run(*arguments: object) -> tuple[int, list[str], list[str]]:
    out, err = io.StringIO(), io.StringIO()
    status = 0
    try:
        call_command(*map(str, arguments), stdout=out, stderr=err)
    except SystemExit as exit_:
        status = int(exit_.code or 0)
    return status, out.getvalue().splitlines(), err.getvalue().splitlines()


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


def test_apply_prints_the_difference_and_the_token(small: Path) -> None:
    status, out, err = _run("apply", small)
    assert (status, err) == (0, [])
    assert "+ role editor" in out
    assert "+ binding user:bob role editor on the realm" in out
    revision, number, word, token = out[-1].split()
    assert (revision, word) == ("revision", "token")
    assert int(number) == revisions.head("shop").rev == revisions.parse(token).rev


def test_apply_takes_another_realm_and_standard_input(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(SMALL.encode())))
    assert _run("apply", "-", "--realm", "elsewhere")[0] == 0
    assert Role.objects.get(name="editor").realm.name == "elsewhere"


def test_a_dry_run_says_so_and_changes_nothing(small: Path) -> None:
    status, out, _ = _run("apply", small, "--dry-run")
    assert status == 0
    assert "+ role editor" in out
    assert out[-2].startswith("dry run")
    assert not Realm.objects.filter(name="shop").exists()


def test_apply_prunes_when_told(small: Path, tmp_path: Path) -> None:
    _run("apply", small)
    empty = tmp_path / "empty.yaml"
    empty.write_text("version: 1\nrealm: shop\nbindings: []\nroles: []\n")
    assert _run("apply", empty)[0] == 0
    assert Role.objects.filter(name="editor").exists()
    assert "- role editor" in _run("apply", empty, "--prune")[1]
    assert not Role.objects.filter(name="editor").exists()


def test_bad_input_exits_with_2_and_a_line_for_each_problem(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("version: 1\nrealm: shop\nroles:\n  - {name: a, inherits: [ghost]}\n  - {name: b, groups: [none]}\n")
    status, out, err = _run("apply", bad)
    assert (status, out) == (2, [])
    assert [line.split(":")[0] for line in err] == ["line 4, roles[0].inherits[0]", "line 5, roles[1].groups[0]"]
    assert not Realm.objects.filter(name="shop").exists()
    bad.write_text("version: 1\nrealm: shop\nroles:\n  - {name: a, inherits: [ghost]}\n  - {name: b, permissions: [post]}\n")
    assert [line.split(":")[0] for line in _run("apply", bad)[2]] == [
        "line 4, roles[0].inherits[0]",
        "line 5, roles[1].permissions[0]",
    ]
    assert _run("apply", tmp_path / "none.yaml")[0] == 2
    bad.write_bytes(b"\xff\xfe\x00")
    assert _run("apply", bad)[0] == 2


def test_export_and_apply_change_nothing(small: Path, tmp_path: Path) -> None:
    _run("apply", small)
    for form in ("yaml", "json"):
        status, out, _ = _run("export", "--realm", "shop", "--format", form)
        assert status == 0
        path = tmp_path / f"out.{form}"
        path.write_text("\n".join(out))
        assert _run("apply", path, "--prune")[1][0] == "nothing to change"
    assert _run("export", "--realm", "none")[0] == 2


def test_verify_audit_names_the_first_entry_that_was_altered(small: Path) -> None:
    _run("apply", small)
    status, out, err = _run("verify_audit")
    assert (status, err) == (0, [])
    assert any(line.startswith("realm 'shop': ") and "entries fit; head " in line for line in out)
    assert AuditEvent.objects.filter(realm_name="shop").values_list("actor", flat=True)[0].startswith("command:apply")
    with connection.cursor() as cursor:
        _without_seal(cursor)
        cursor.execute("UPDATE permissions_auditevent SET reason = 'forged' WHERE realm_name = 'shop' AND seq = 3")
    status, _, err = _run("verify_audit", "--realm", "shop")
    assert status == 1
    assert err == ["realm 'shop': entry 3 was altered, or sealed with another key; the 2 before it fit"]
    assert _run("verify_audit", "--realm", "none")[0] == 2


def _without_seal(cursor: object) -> None:
    """What an owner of the database could do: the chain must show it."""
    if connection.vendor == "postgresql":
        cursor.execute("ALTER TABLE permissions_auditevent DISABLE TRIGGER ALL")  # type: ignore[attr-defined]
    else:
        cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'permissions_auditevent'")  # type: ignore[attr-defined]
        for (name,) in cursor.fetchall():  # type: ignore[attr-defined]
            cursor.execute(f'DROP TRIGGER "{name}"')  # type: ignore[attr-defined]
