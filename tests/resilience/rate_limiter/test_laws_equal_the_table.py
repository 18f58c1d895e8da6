"""Each law answers as the published table says, which the reference follows in fractions and by search."""

from __future__ import annotations

from importlib import import_module

import pytest

from resilience.operations import LIMITERS
from tests.resilience.rate_limiter.reference import REFERENCES
from tests.resilience.rate_limiter.steps import Cupboard, Walk, arguments

pytestmark = pytest.mark.parametrize("algorithm", sorted(LIMITERS))


def disagreements(algorithm: str, seed: int, *, changing: float, verbs: str, expiring: bool, number: int = 250) -> None:
    law = import_module(f"resilience.laws.{algorithm}").law
    walk, db, reference = (
        Walk(algorithm, seed, changing=changing, verbs=verbs, back=not expiring),
        Cupboard(),
        REFERENCES[algorithm](),
    )
    admitted = refused = 0
    for step in walk.steps(number):
        db.now = step.now
        if expiring and walk.random.random() < 0.5:
            db.expire()
        reply = law(db, ["k"], arguments(algorithm, step.verb, step.n, step.rule, step.marks), step.now)
        if step.verb == "give":
            reference.give(step.now, step.rule, step.n, *step.marks)
        else:
            expected = reference.answer(step.now, step.rule, step.n, take=step.verb == "take")
            assert (int(bool(reply[0])), *reply[1:4]) == expected, (step, reply)
            admitted += expected[0]
            refused += 1 - expected[0]
        walk.told(step, reply)
    assert admitted > number / 10
    assert refused > number / 50


@pytest.mark.parametrize("seed", range(6))
def test_under_one_rule(algorithm, seed):
    disagreements(algorithm, seed, changing=0, verbs="take take take peek give", expiring=False)


@pytest.mark.parametrize("seed", range(8))
def test_under_changing_rules(algorithm, seed):
    disagreements(algorithm, seed, changing=0.15, verbs="take take take peek give", expiring=False)


@pytest.mark.parametrize("seed", range(8))
def test_whether_a_key_that_has_run_out_is_still_there_or_not(algorithm, seed):
    disagreements(algorithm, seed, changing=0.15, verbs="take take take peek give", expiring=True)
