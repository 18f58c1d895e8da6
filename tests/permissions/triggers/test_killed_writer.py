"""A writer killed at any point leaves all of its write or nothing: rows, audit entry, revision, and no lock."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import connection

from permissions.models import AuditEvent, Realm, Resource, RoleBinding
from permissions.writing import SYSTEM, permission_write
from tests.permissions.triggers.killed_writer import POINTS
from tests.permissions.triggers.world import Objects, World, unique

pytestmark = [pytest.mark.both_databases, pytest.mark.usefixtures("db")]

ROOT = Path(__file__).resolve().parents[3]


def _write_in_another_process(point: str, world: World) -> tuple[int, str]:
    database = {k: connection.settings_dict[k] for k in ("NAME", "HOST", "PORT", "USER", "PASSWORD")}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.permissions.triggers.killed_writer",
            point,
            world.realm.name,
            world.bob.ref,
            world.role.name,
        ],
        input=json.dumps(database | {"NAME": str(database["NAME"])}),
        text=True,
        capture_output=True,
        cwd=ROOT,
        timeout=50,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONWARNINGS": "ignore"},
        check=False,
    )
    return done.returncode, done.stderr


def _left(world: World, before: int) -> tuple[int, int, int, dict[int, Objects]]:
    return (
        RoleBinding.objects.filter(subject=world.bob).count(),
        Resource.objects.filter(ref=f"doc:of-{world.bob.ref}").count(),
        AuditEvent.objects.filter(realm_name=world.realm.name).count(),
        world.log_after(before),
    )


def _all_of_it(world: World, before: int) -> tuple[int, int, int, dict[int, Objects]]:
    return 1, 1, 1, {before + 1: {("s", world.bob.ref), ("r", f"doc:of-{world.bob.ref}")}}


def _the_next_write_passes(world: World, revision: int) -> None:
    """The lock went with the process, and the counter goes on without a gap."""
    assert Realm.objects.get(pk=world.realm.pk).write_state == 0
    with permission_write(world.realm.name, SYSTEM) as write:
        node = Resource.objects.create(realm=world.realm, ref=unique("doc:"))
    assert write.revision == revision + 1
    assert world.log_after(revision) == {revision + 1: {("r", node.ref)}}


@pytest.mark.parametrize("point", [*POINTS, "committing"])
def test_a_writer_killed_before_its_commit_leaves_nothing(point: str) -> None:
    world = World.create()
    before = world.head()
    code, errors = _write_in_another_process(point, world)
    assert code == -signal.SIGKILL, errors
    assert _left(world, before) == (0, 0, 0, {})
    _the_next_write_passes(world, before)


def test_a_writer_killed_after_its_commit_leaves_all_of_it() -> None:
    world = World.create()
    before = world.head()
    code, errors = _write_in_another_process("committed", world)
    assert code == -signal.SIGKILL, errors
    assert _left(world, before) == _all_of_it(world, before)
    _the_next_write_passes(world, before + 1)


def test_a_writer_that_is_not_killed_leaves_all_of_it() -> None:
    world = World.create()
    before = world.head()
    code, errors = _write_in_another_process("never", world)
    assert code == 0, errors
    assert _left(world, before) == _all_of_it(world, before)
