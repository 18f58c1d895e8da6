"""Real commits without a flush after each test: the tests of a module share two realms, and ask only for what came after."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.core.management import call_command
from pytest_django import DjangoDbBlocker

from tests.permissions.triggers.world import World


@pytest.fixture(scope="module")
def db(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Instead of pytest-django's: that rolls back, and a revision is made by a commit; a flush a test takes minutes a module."""
    with django_db_blocker.unblock():
        yield
        call_command("flush", interactive=False, verbosity=0, reset_sequences=False)


@pytest.fixture(scope="module")
def worlds(db: None) -> tuple[World, World]:
    return World.create(), World.create()
