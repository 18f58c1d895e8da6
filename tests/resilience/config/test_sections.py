"""The tables and the strategies say the same: each parameter is an option of the same name and the same default."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from resilience import params, sections
from resilience.bulkhead import Bulkhead
from resilience.circuit_breaker.breaker import CircuitBreaker
from resilience.errors import ConfigInvalid
from resilience.params import Section
from resilience.pipeline import Pipeline
from resilience.rate_limiter.limiter import RateLimiter
from resilience.retry import Retry

# What a table cannot hold: objects, functions and exceptions of the program itself.
OF_THE_CODE = {"self", "name", "store", "clock", "scheduler", "rng", "ignore", "failure_if", "on", "budget", "fallback", "lease"}
PAIRS: list[tuple[type, Section]] = [
    (RateLimiter, sections.LIMITERS),
    (CircuitBreaker, sections.BREAKERS),
    (Bulkhead, sections.BULKHEADS),
    (Retry, sections.RETRIES),
    (Pipeline, sections.PIPELINES),
]


@pytest.mark.parametrize(("strategy", "section"), PAIRS, ids=[section.name for _, section in PAIRS])
def test_every_option_is_a_parameter_with_the_same_default(strategy: type, section: Section) -> None:
    signature = inspect.signature(strategy.__init__).parameters  # type: ignore[misc]  # of the class, not of an instance
    options: dict[str, Any] = {name: found.default for name, found in signature.items() if name not in OF_THE_CODE}
    assert {param.name for param in section.params} == set(options)
    for param in section.params:
        if options[param.name] is not inspect.Parameter.empty:
            assert param.default == options[param.name], param.name


@pytest.mark.parametrize(
    ("section", "wrong", "right"),
    [
        ("breakers", {"open_max_s": 1, "open_s": 10}, {"open_max_s": 10, "open_s": 10}),
        ("retries", {"base_s": 5, "max_s": 1}, {"base_s": 5, "max_s": 5}),
    ],
)
def test_parameters_that_contradict_each_other_are_refused_though_nobody_uses_the_name(
    section: str, wrong: dict[str, Any], right: dict[str, Any]
) -> None:
    with pytest.raises(ConfigInvalid, match=f"{section}.billing: {next(iter(wrong))} is at "):
        params.validate(section, {"billing": wrong})
    params.validate(section, {"billing": right})
    for name, value in wrong.items():
        params.validate(section, {"billing": {name: value}})


@pytest.mark.parametrize("section", sections.declared(), ids=lambda section: section.name)
def test_every_section_says_what_it_is(section: Section) -> None:
    assert section.help.endswith(".")
    assert len({param.name for param in section.params}) == len(section.params)
