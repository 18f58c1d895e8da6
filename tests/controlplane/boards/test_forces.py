"""Breakers that each process keeps for itself: a force reaches all by the configuration, ends, and survives a restart."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from controlplane.models import ConfigRevision
from controlplane.services import forces
from permissions.cache import l2_link
from permissions.models import AuditEvent
from resilience.config import Snapshot
from tests.permissions.api.world import Cast

OPEN = "system/breakers/permission_cache/force-open"


def entry(until_s: float, to: str = "open") -> dict[str, Any]:
    return {"to": to, "reason": "Redis is being replaced", "author": "user:alice", "until": time.time() + until_s}


def test_a_force_is_a_version_of_the_configuration_and_holds_here_at_once(cast: Cast, committed: Callable[[], Any]) -> None:
    with committed():
        answer = cast.bob.post(OPEN, {"reason": "Redis is being replaced", "for_s": 600})
    assert answer.status == 200
    row = ConfigRevision.objects.get(is_active=True)
    held = row.sections["forces"]["permission_cache"]
    assert (held["to"], held["reason"], held["author"], row.author) == ("open", "Redis is being replaced", "user:bob", "user:bob")
    assert l2_link.breaker().state == "forced_open"
    assert AuditEvent.objects.filter(action="control_force_open", object_id="breakers.permission_cache").count() == 1
    with committed():
        assert cast.bob.post("system/breakers/permission_cache/auto", {"reason": "done"}).status == 200
    assert l2_link.breaker().state == "closed"
    assert ConfigRevision.objects.get(is_active=True).sections["forces"] == {}


def test_what_another_process_was_told_is_held_here_until_it_is_taken_back() -> None:
    forces._applied(Snapshot(1, 1, {"forces": {"permission_cache": entry(600)}}))
    seen = l2_link.breaker().snapshot()
    assert (seen.state, seen.force_author, seen.force_reason) == ("forced_open", "user:alice", "Redis is being replaced")
    forces._applied(Snapshot(1, 2, {"forces": {"permission_cache": entry(600, "closed")}}))
    assert l2_link.breaker().state == "forced_closed"
    forces._applied(Snapshot(1, 3, {"forces": {}}))
    assert l2_link.breaker().state == "closed"


def test_an_end_that_has_passed_holds_nothing() -> None:
    forces._applied(Snapshot(1, 1, {"forces": {"permission_cache": entry(-1)}}))
    assert l2_link.breaker().state == "closed"


def test_a_name_that_is_not_known_here_hinders_no_other() -> None:
    forces._applied(Snapshot(1, 1, {"forces": {"nobody": entry(600), "permission_cache": entry(600)}}))
    assert l2_link.breaker().state == "forced_open"
    forces._applied(Snapshot(1, 2, {"forces": {}}))


def test_the_same_word_again_forces_nothing_anew(cast: Cast) -> None:
    from resilience import telemetry

    heard: list[str] = []
    leave = telemetry.subscribe(lambda event: heard.append(event.name), "circuit_breaker.")
    one = {"forces": {"permission_cache": entry(600)}}
    forces._applied(Snapshot(1, 1, one))
    forces._applied(Snapshot(1, 2, one))
    leave()
    assert heard.count("circuit_breaker.forced") == 1
    forces._applied(Snapshot(1, 3, {"forces": {}}))
