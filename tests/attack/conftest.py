"""The realm that the attacks share."""

from __future__ import annotations

import pytest

from tests.permissions.acme import Acme


@pytest.fixture
def acme(db: None) -> Acme:
    return Acme().people().tree()
