"""`apply` of a bundle full of mistakes: every one is told, those that only the rows can show included, and nothing is changed."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from django.core.management import call_command

from permissions.models import AuditEvent, Permission, Realm, Role
from permissions.revisions import head
from tests.permissions.bundle.test_mistakes import EXPECTED, TWENTY_AND_MORE
from tests.worlds import OFFICE, apply

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def state() -> tuple[int, int, int, int, int]:
    counts = [model.objects.count() for model in (Realm, Permission, Role, AuditEvent)]
    return (head("default").rev, counts[0], counts[1], counts[2], counts[3])


def test_every_mistake_is_told_and_nothing_is_changed(tmp_path: Path) -> None:
    apply(OFFICE)
    before = state()
    file = tmp_path / "bad.yaml"
    file.write_text(TWENTY_AND_MORE + 'groups: [{name: g, permissions: ["post:read"]}]\n')
    out, err = io.StringIO(), io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("apply", str(file), stdout=out, stderr=err)
    told = err.getvalue().splitlines()
    assert (ended.value.code, out.getvalue()) == (2, "")
    assert [
        f"line {line}, {where}: {message}" for line, where, message in EXPECTED if not _told(told, line, where, message)
    ] == []
    assert state() == before


def _told(told: list[str], line: int, where: str, message: str) -> bool:
    return any(text.startswith(f"line {line}, {where}: {message}") for text in told)
