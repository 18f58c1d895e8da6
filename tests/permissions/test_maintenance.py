"""Step 2 of the order of a decision: under maintenance nobody gets one, save for what is exempt."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from permissions import pdp
from resilience import config, maintenance
from tests.worlds import apply

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

WORLD = """
version: 1
realm: default
roles: [{name: editor, permissions: ["post:edit", "page:edit"]}]
subjects: [{id: "user:alice"}]
bindings: [{subject: "user:alice", role: editor}]
"""


@pytest.fixture(autouse=True)
def switch(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Turned in this process's memory alone: where the rows are written, their commit tells it."""
    monkeypatch.setattr(maintenance.SWITCH, "_writer", None)
    apply(WORLD)
    yield
    maintenance.disable()
    config.LIVE.reset()


ASKED = (
    lambda: pdp.check("user:alice", "post:edit"),
    lambda: pdp.check_many([("user:alice", "post:edit")]),
    lambda: pdp.explain("user:alice", "post:edit"),
    lambda: pdp.who_can("post:edit"),
    lambda: pdp.what_can("user:alice"),
    lambda: pdp.decide(pdp.question("user:alice", "post:edit", None)),
    lambda: pdp.search_subjects(pdp.question("user:alice", "post:edit", "post:7"), "user"),
    lambda: pdp.search_resources(pdp.question("user:alice", "post:edit", None), "post"),
    lambda: pdp.search_actions(pdp.question("user:alice", "post:edit", "post:7")),
)


@pytest.mark.parametrize("ask", ASKED)
def test_every_question_is_refused_with_the_reason_and_when_to_ask_again(ask):
    ask()
    maintenance.enable("new disks")
    with pytest.raises(pdp.UnderMaintenance, match="new disks") as refused:
        ask()
    assert refused.value.retry_after_s >= 1
    maintenance.disable()
    assert ask()


@pytest.mark.django_db(transaction=True)
def test_memory_gives_no_answer_either():
    request = pdp.question("user:alice", "post:edit", None)
    pdp.decide(request)
    assert pdp.warm(request, "default") is not None
    maintenance.enable("new disks")
    assert pdp.warm(request, "default") is None
    assert pdp.warm_many([request], "default") is None


def test_read_only_maintenance_leaves_questions_alone():
    maintenance.enable("moving", mode="read_only")
    assert pdp.check("user:alice", "post:edit")


def test_a_narrower_maintenance_refuses_only_its_permissions():
    maintenance.enable("pages move", permissions=["page:*"])
    assert pdp.check("user:alice", "post:edit")
    with pytest.raises(pdp.UnderMaintenance):
        pdp.check("user:alice", "page:edit")
    with pytest.raises(pdp.UnderMaintenance):
        pdp.check_many([("user:alice", "post:edit"), ("user:alice", "page:edit")])


def test_a_list_of_actions_names_none_that_no_check_would_decide_on():
    maintenance.enable("posts move", permissions=["post:edit"])
    asked = pdp.question("user:alice", "any:any", "page:7")
    assert pdp.search_actions(asked).results == ["edit"]
    with pytest.raises(pdp.UnderMaintenance):
        pdp.search_actions(pdp.question("user:alice", "any:any", "post:7"))


def test_the_platforms_own_permissions_are_never_behind_it():
    maintenance.enable("new disks")
    assert not pdp.check("user:alice", "permsite.role:change")


def test_what_the_door_let_through_is_not_refused_a_second_time():
    maintenance.enable("new disks")
    with maintenance.exempt():
        assert pdp.check("user:alice", "post:edit")


def test_the_api_answers_503_with_a_problem_of_its_own(client, django_user_model):
    client.force_login(django_user_model.objects.create_superuser("root", password="pw"))
    maintenance.enable("new disks")
    body = json.dumps({"subject": "user:alice", "permission": "post:edit"})
    answer = client.post("/api/v1/check", body, content_type="application/json")
    assert answer.status_code == 503
    assert answer.json()["type"] == "/problems/maintenance"
    assert "new disks" in answer.json()["detail"]
    assert int(answer["Retry-After"]) >= 1
