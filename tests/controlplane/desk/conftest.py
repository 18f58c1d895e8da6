"""Staff at the desks: alice administers, bob watches and operates, charlie holds nothing, root is a superuser."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from controlplane.services import browser_sessions
from tests.permissions.api.world import Cast

CONTROL = "/admin/control/"


@pytest.fixture(autouse=True)
def _nothing_noted() -> None:
    browser_sessions.reset()


@pytest.fixture
def desks(cast: Cast) -> dict[str, Client]:
    User.objects.update(is_staff=True)
    return {name: getattr(cast, name).client for name in ("alice", "bob", "charlie", "root")}


def text_of(answer: Any) -> str:
    assert answer.status_code == 200, (answer.status_code, answer.content[:300])
    return str(answer.content.decode())


def told(client: Client, page: str, fields: dict[str, Any]) -> str:
    """An action of a page, and what it said."""
    answer = client.post(f"{CONTROL}{page}/", fields, follow=True)
    return " | ".join(str(message) for message in answer.context["messages"])
