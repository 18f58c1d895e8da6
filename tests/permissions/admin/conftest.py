"""The admin's world."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction

from tests.permissions.admin import world


@pytest.fixture(scope="module")
def world_in_place(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Built once a module, in a transaction around the tests' own: building it for each would take half of their time."""
    with django_db_blocker.unblock():
        around = transaction.atomic()
        around.__enter__()
        world.build()
    try:
        yield
    finally:
        with django_db_blocker.unblock():
            transaction.set_rollback(True)
            around.__exit__(None, None, None)


@pytest.fixture
def cast(world_in_place: None, db: None) -> None:
    """The world, for a test that may change it: what it writes is rolled back."""


@pytest.fixture
def alice(cast: None) -> world.Desk:
    return world.desk("alice")


@pytest.fixture
def bob(cast: None) -> world.Desk:
    return world.desk("bob")


@pytest.fixture
def charlie(cast: None) -> world.Desk:
    return world.desk("charlie")


@pytest.fixture
def root(cast: None) -> world.Desk:
    return world.desk("root")


@pytest.fixture
def key_of(cast: None) -> Any:
    """`key_of(Role, name="reader")` → its primary key."""

    def find(model: Any, **given: Any) -> int:
        return int(model.objects.get(**given).pk)

    return find
