"""Every control page is drawn by the server, for whoever may see it, and by nobody else."""

from __future__ import annotations

import pytest

from controlplane.pages import every
from tests.permissions.admin.world import build, desk

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def world(db: None) -> None:
    build()


def address(name: str) -> str:
    return "/admin/control/" if name == "overview" else f"/admin/control/{name}/"


def test_every_page_is_drawn_for_its_operator() -> None:
    client = desk("alice").client
    for page in every():
        answer = client.get(address(page.name))
        assert answer.status_code == 200, page.name
        assert 'id="ps-live"' in answer.content.decode(), page.name


def test_the_snapshot_answers_what_the_page_shows_to_whoever_may_see_it() -> None:
    for page in every():
        answer = desk("alice").client.get(f"/api/v1/system/snapshot/{page.name}")
        assert answer.status_code == 200, (page.name, answer.content[:300])
        assert answer.json()["page"] == page.name
        assert desk("charlie").client.get(f"/api/v1/system/snapshot/{page.name}").status_code == 403
        assert desk("charlie").client.get(address(page.name)).status_code == 403


def test_a_page_that_is_none_is_not_found() -> None:
    assert desk("alice").client.get("/api/v1/system/snapshot/nothing").status_code == 404
    assert desk("alice").client.get("/admin/control/nothing/").status_code == 404
