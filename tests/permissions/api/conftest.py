"""The cast of the API's tests."""

from __future__ import annotations

import pytest

from tests.permissions.api.world import Cast, build


@pytest.fixture
def cast(db: None) -> Cast:
    return build()
