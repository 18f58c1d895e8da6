"""A version that is wrong elsewhere still turns the switch: a bound tightened by an upgrade must not decide it."""

from __future__ import annotations

import pytest

from resilience.config import Live, Snapshot
from resilience.errors import ConfigInvalid
from resilience.maintenance import Switch

WRONG = {"retries": {"x": {"attempts": -1}}}
ON = {"mode": "full", "reason": "new disks"}


def test_maintenance_begins_and_ends_by_versions_that_are_wrong_elsewhere():
    live = Live()
    switch = Switch(live)
    with pytest.raises(ConfigInvalid, match=r"retries\.x\.attempts"):
        live.consider(Snapshot(1, 1, {**WRONG, "maintenance": ON}), "rows")
    assert switch.status().on
    with pytest.raises(ConfigInvalid):
        live.consider(Snapshot(1, 2, WRONG), "rows")
    assert not switch.status().on


def test_nothing_else_of_a_wrong_version_is_used_and_its_number_stays_open():
    live = Live()
    live.consider(Snapshot(1, 1, {"limiters": {"a": {"limit": 1}}}), "rows")
    with pytest.raises(ConfigInvalid):
        live.consider(Snapshot(1, 2, {**WRONG, "limiters": {"a": {"limit": 2}}, "maintenance": ON}), "redis")
    assert (live.current().key, live.source) == ((1, 1), "rows")
    assert live.current().section("limiters")["a"]["limit"] == 1
    assert live.consider(Snapshot(1, 2, {"limiters": {"a": {"limit": 3}}}), "rows")
    assert live.current().section("limiters")["a"]["limit"] == 3
    assert not Switch(live).status().on


def test_a_switch_that_is_wrong_itself_turns_nothing():
    live = Live()
    with pytest.raises(ConfigInvalid):
        live.consider(Snapshot(1, 1, {**WRONG, "maintenance": {"mode": "sideways"}}), "rows")
    assert live.current().section("maintenance") == {}
