"""The tables of the models that these tests enforce on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from tests.permissions.pep.rows import MODELS


@pytest.fixture(scope="session")
def tables(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock():
        with connection.schema_editor() as editor:
            for model in MODELS:
                editor.create_model(model)
        yield
        with connection.schema_editor() as editor:
            for model in reversed(MODELS):
                editor.delete_model(model)


@pytest.fixture
def rows(tables: None, transactional_db: None) -> Iterator[None]:
    """Tables that are empty again afterwards: Django's flush knows installed apps only."""
    yield
    for model in reversed(MODELS):
        model._base_manager.all().delete()
