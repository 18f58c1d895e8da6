"""Real commits without a flush after each test: a revision is made by a commit. Each test has a realm of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.core.management import call_command
from pytest_django import DjangoDbBlocker

from tests.permissions.timeline.changes import Changing


@pytest.fixture(scope="module")
def db(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Instead of pytest-django's, which rolls back."""
    with django_db_blocker.unblock():
        yield
        call_command("flush", interactive=False, verbosity=0, reset_sequences=False)


@pytest.fixture
def changing(db: None) -> Changing:
    return Changing.begun(seed=0)
