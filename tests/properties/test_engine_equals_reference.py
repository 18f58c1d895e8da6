"""The engine answers as the reference does, over random worlds; and what must hold beside."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from permissions.engine import compile as engine_compile
from permissions.engine import evaluate, explain, scopes
from tests.properties import holding, worlds

ENGINE = SimpleNamespace(compile=engine_compile, scopes=scopes, evaluate=evaluate, explain=explain)
BLOCKS = 25
# Each takes seconds on an idle core; a machine that runs ten other things at once may take many times that.
pytestmark = pytest.mark.timeout(300)
WORLDS_A_BLOCK = 880  # together 22,000; the issue asks for 20,000


@pytest.mark.parametrize("block", range(BLOCKS))
def test_the_engine_equals_the_reference(block):
    seen = 0
    for number in range(WORLDS_A_BLOCK):
        seed = f"{block}/{number}"
        rnd = random.Random(seed)
        world = worlds.world(rnd)
        difference = holding.fault(ENGINE, world, random.Random(seed))
        if difference:
            small = holding.least(ENGINE, world, seed)
            pytest.fail(f"world {seed}: {holding.fault(ENGINE, small, random.Random(seed))}\n{small}")
        seen += 1
    assert seen * BLOCKS >= 20_000


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.randoms(use_true_random=False))
def test_hypothesis_finds_no_difference_either(rnd):
    """The same worlds drawn by hypothesis, which goes for the borders and shrinks what it finds."""
    world = worlds.world(rnd)
    assert holding.fault(ENGINE, world, random.Random(0)) == ""
