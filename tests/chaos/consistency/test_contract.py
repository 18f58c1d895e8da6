"""The short version of the long proof: real servers killed, every answer replayed. `make chaos` plays it for minutes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from tests.chaos.consistency import plans
from tests.chaos.consistency.harness import Report, Stage

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage() as found:
        yield found


def told(report: Report, record_property) -> str:
    text = report.text()
    record_property("measured", text)
    return text


def test_the_contract_holds_with_every_fault_on(stage, record_property):
    report = stage.run(plans.SHORT)
    text = told(report, record_property)
    assert report.findings.faults == 0, text
    assert not report.ends, text
    assert report.findings.revisions > 20, text
    assert set(report.findings.sources) >= {"l1", "db"}, text
    assert {"kill valkey", "freeze process", "terminate backend"} <= set(report.kills), text


def test_it_holds_without_redis(stage, record_property):
    report = stage.run(dataclasses.replace(plans.VARIANTS["nothing goes wrong"], redis="none", processes=2, seconds=4))
    text = told(report, record_property)
    assert report.findings.faults == 0, text
    assert not report.ends, text
    # On a busy machine a second holds more changes than checks that could be warm between them.
    assert report.findings.sources["l1"] * 3 > report.findings.sources["db"] > 0, text


@pytest.mark.parametrize("name", ["no_invalidation"])
def test_a_wrong_cache_is_blamed(stage, name):
    for seed in range(5):
        report = stage.run(dataclasses.replace(plans.MUTANTS[name], mutant=name, seed=seed, processes=2, seconds=4))
        if report.findings.faults:
            return
    pytest.fail(f"{name} was not seen: {report.text()}")
