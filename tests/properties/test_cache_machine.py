"""The contract of the cache, C1 to C4, holds whatever happens in whatever order; and a wrong cache does not survive that."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.properties.cache_machine import CacheMachine

# Each with what must happen for it to show. Those that take two threads stand in `tests/chaos/consistency/test_sync_points.py`.
GROUNDS = {
    "no_invalidation": frozenset(),
    "l2_trusted": frozenset({"redis", "boots"}),
    "token_ignored": frozenset({"tokens"}),
    "no_bound": frozenset({"sleeps"}),
    "expiry_ignored": frozenset({"sleeps"}),
    "epoch_ignored": frozenset({"losses"}),
    "stamp_unchecked": frozenset({"losses"}),
    "stored_unproven": frozenset(),
    "teams_forgotten": frozenset(),
    "filter_frozen": frozenset({"filters"}),
}


def machine(name: str = "") -> type[CacheMachine]:
    return type("Machine", (CacheMachine,), {"mutant": name, "ground": GROUNDS.get(name)})


def run(name: str = "", **wanted: Any) -> None:
    everything = settings(deadline=None, suppress_health_check=list(HealthCheck), stateful_step_count=40)
    run_state_machine_as_test(machine(name), settings=settings(everything, **wanted))


@pytest.mark.timeout(300)
def test_the_contract_holds_in_every_order_of_events():
    run(max_examples=60)


@pytest.mark.chaos
@pytest.mark.timeout(1800)
@pytest.mark.long
def test_the_contract_holds_in_many_more_orders():
    run(max_examples=2_000)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", GROUNDS)
def test_a_wrong_cache_breaks_it(name):
    with pytest.raises(AssertionError, match=r"C[1-4]: "):
        run(name, max_examples=400, database=None, derandomize=True, phases=[Phase.generate], report_multiple_bugs=False)
