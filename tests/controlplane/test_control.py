"""What the kit's control does where rows are the truth: versions with an author, and a record of every action."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.models import ConfigRevision
from controlplane.services import config as service
from controlplane.services import control as hooks
from permissions.models import AuditEvent
from permissions.writing import SYSTEM
from resilience import config, registry
from tests.permissions.api.world import Cast


def test_a_rule_put_into_shadow_is_a_version_with_author_and_reason(cast: Cast, django_capture_on_commit_callbacks: Any) -> None:
    registry.limiter("shadowed-in-a-test", limit=5, period_s=60.0)
    service.section_change(actor=SYSTEM, section="limiters", values={"other": {"limit": 3}})
    with django_capture_on_commit_callbacks(execute=True):
        registry.control.shadow("shadowed-in-a-test", True, actor="user:bob", reason="it refuses too much")
    row = service.active()
    assert row is not None
    assert row.sections["limiters"] == {"other": {"limit": 3}, "shadowed-in-a-test": {"shadow": True}}
    assert (row.author, row.reason) == ("user:bob", "it refuses too much")
    assert config.current().section("limiters")["shadowed-in-a-test"]["shadow"] is True
    event = AuditEvent.objects.get(action="control_shadow")
    assert (event.actor, event.object_id) == ("user:bob", "limiters.shadowed-in-a-test")
    assert event.after == {"outcome": "asked", "on": True}


def test_an_edit_that_was_overtaken_is_done_again_on_what_is_there(cast: Cast) -> None:
    seen: list[Any] = []

    def edit(present: Any) -> Any:
        if not seen:  # somebody else is quicker, once
            service.section_change(actor=SYSTEM, section="retries", values={"a": {"attempts": 2}})
        seen.append(dict(present))
        return {**present, "b": {"attempts": 5}}

    hooks.section_edit("retries", edit, actor="user:bob", reason="x")
    assert seen == [{}, {"a": {"attempts": 2}}]
    assert service.values_of("retries", service.active()) == {"a": {"attempts": 2}, "b": {"attempts": 5}}


def test_an_action_that_cannot_be_recorded_does_not_happen(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.limiter("unrecorded-in-a-test", limit=5, period_s=60.0)
    monkeypatch.setattr(hooks, "control_realm", lambda: "no such realm")
    with pytest.raises(Exception, match="no realm"):
        registry.control.shadow("unrecorded-in-a-test", True, actor="user:bob", reason="x")
    assert not ConfigRevision.objects.exists()
