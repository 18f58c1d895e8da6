"""The header fields of HTTPAPI draft 11, and the problem documents."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.errors import (
    BulkheadFull,
    CircuitOpen,
    ExecutionRejected,
    LockNotAcquired,
    MaintenanceMode,
    QuotaExceeded,
    RateLimited,
)
from resilience.rate_limiter import headers
from resilience.rate_limiter.headers import Decision
from resilience.rate_limiter.verdict import Verdict


def allowed(remaining: int = 7, reset_s: float = 11.2, limit: int = 10) -> Verdict:
    return Verdict(True, remaining, 0.0, reset_s, limit, "redis")


def refused(retry_s: float = 11.2, limit: int = 10, reset_s: float = 60.0) -> Verdict:
    return Verdict(False, 0, retry_s, reset_s, limit, "redis")


def fields(*decisions: Decision, **options: Any) -> dict[str, str]:
    found = headers.fields(decisions, **options)
    assert len({name for name, _ in found}) == len(found)
    return dict(found)


def test_a_policy_names_its_quota_and_window_and_a_state_what_is_left_and_when_all_of_it_is_back() -> None:
    assert fields(Decision("login", 60.0, allowed())) == {
        "RateLimit-Policy": '"login";q=10;w=60',
        "RateLimit": '"login";r=7;t=12',
    }


def test_refused_the_time_is_the_one_until_the_same_call_is_admitted_and_retry_after_agrees() -> None:
    found = fields(Decision("login", 60.0, refused(4.1)))
    assert found["RateLimit"] == '"login";r=0;t=5'
    assert found["Retry-After"] == "5"


def test_a_window_below_a_second_is_left_out() -> None:
    assert fields(Decision("login", 0.5, allowed()))["RateLimit-Policy"] == '"login";q=10'
    assert fields(Decision("login", 1.0, allowed()))["RateLimit-Policy"] == '"login";q=10;w=1'


def test_a_window_of_no_whole_number_of_seconds_is_rounded_up() -> None:
    assert fields(Decision("login", 1.5, allowed()))["RateLimit-Policy"] == '"login";q=10;w=2'


def test_several_rules_are_items_of_one_list() -> None:
    found = fields(Decision("user", 60.0, allowed(3)), Decision("address", 3600.0, allowed(90, 1_799.5, 100)))
    assert found == {
        "RateLimit-Policy": '"user";q=10;w=60, "address";q=100;w=3600',
        "RateLimit": '"user";r=3;t=12, "address";r=90;t=1800',
    }


def test_a_rule_asked_twice_is_said_once_as_it_is_tighter() -> None:
    found = fields(Decision("user", 60.0, allowed(3)), Decision("user", 60.0, allowed(2)), Decision("user", 60.0, allowed(5)))
    assert found["RateLimit"] == '"user";r=2;t=12'
    assert fields(Decision("user", 60.0, allowed(3)), Decision("user", 60.0, refused(9)))["RateLimit"] == '"user";r=0;t=9'


def test_of_several_refusals_the_longest_counts() -> None:
    assert fields(Decision("a", 60.0, refused(3)), Decision("b", 60.0, refused(8)))["Retry-After"] == "8"


def test_what_will_never_be_granted_has_no_time_to_come_again() -> None:
    found = fields(Decision("login", 60.0, refused(float("inf"))))
    assert found == {"RateLimit-Policy": '"login";q=10;w=60', "RateLimit": '"login";r=0'}


def test_no_rule_says_nothing() -> None:
    assert fields() == {}


def test_the_older_fields_are_sent_only_when_asked_for_and_are_the_tightest_rules() -> None:
    decisions = (Decision("a", 60.0, allowed(7)), Decision("b", 60.0, allowed(2, 30.5, 5)))
    assert not any(name.startswith("X-") for name in fields(*decisions))
    found = fields(*decisions, legacy=True)
    assert {name: value for name, value in found.items() if name.startswith("X-")} == {
        "X-RateLimit-Limit": "5",
        "X-RateLimit-Remaining": "2",
        "X-RateLimit-Reset": "31",
    }


def test_retry_after_spreads_over_a_tenth_and_is_never_too_early() -> None:
    drawn = {int(headers.retry_after(99.5, random.Random(seed))) for seed in range(300)}
    assert drawn == set(range(100, 111))
    assert headers.retry_after(0.0) == "1"
    assert headers.retry_after(1e30) >= "31536000"


@given(
    remaining=st.integers(-5, 2**70),
    seconds=st.floats(0, allow_infinity=True, allow_nan=False),
    limit=st.integers(1, 2**70),
    is_allowed=st.booleans(),
)
def test_every_verdict_gives_fields_that_can_be_sent(remaining: int, seconds: float, limit: int, is_allowed: bool) -> None:
    verdict = Verdict(is_allowed, remaining, 0.0 if is_allowed else seconds, seconds, limit, "redis")
    for _, value in headers.fields([Decision("a-rule.of_mine", 60.0, verdict)], legacy=True):
        assert value.isascii()
        assert value.isprintable()
    for item in dict(headers.fields([Decision("x", 60.0, verdict)]))["RateLimit"].split(";")[1:]:
        name, number = item.split("=")
        assert name in {"r", "t"}
        assert 0 <= int(number) <= headers.MAX_INTEGER


def test_a_refused_request_is_answered_with_the_drafts_problem_and_the_rules_it_violated() -> None:
    problem = headers.limited([Decision("user", 60.0, allowed(3)), Decision("address", 3600.0, refused(4.1))])
    assert problem.status == 429
    assert problem.document == {
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "title": "Request cannot be satisfied as assigned quota has been exceeded",
        "status": 429,
        "detail": "Limit address: used up. Try again in 5 s.",
        "violated-policies": ["address"],
    }
    assert dict(problem.fields)["Retry-After"] == "5"
    json.dumps(problem.document)


def test_a_request_above_the_limit_itself_is_told_so() -> None:
    problem = headers.limited([Decision("user", 60.0, refused(float("inf")))])
    assert problem.document["detail"] == "Limit user: this request asks for more than is ever granted."
    assert "Retry-After" not in dict(problem.fields)


@pytest.mark.parametrize(
    ("error", "status", "retry"),
    [
        (CircuitOpen("billing", retry_after_s=12.0), 503, {"12", "13"}),
        (BulkheadFull("reports", 5, retry_after_s=0.2), 503, {"1"}),
        (BulkheadFull("reports", 5), 503, {str(seconds) for seconds in range(30, 34)}),
        (MaintenanceMode("the database moves", 1_900_000_000.0, retry_after_s=9.0), 503, {"9"}),
        (LockNotAcquired("nightly", retry_after_s=3.0), 503, {"3"}),
        (ExecutionRejected("anything"), 503, {str(seconds) for seconds in range(30, 34)}),
        (RateLimited("login", refused(4.1)), 429, {"5"}),
        (QuotaExceeded("tokens", {}, retry_after_s=8.0), 429, {"8"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_rejection_has_its_status_and_a_time_to_come_again(error: ExecutionRejected, status: int, retry: set[str]) -> None:
    problem = headers.rejected(error)
    assert (problem.status, problem.document["status"]) == (status, status)
    assert dict(problem.fields)["Retry-After"] in retry


def test_a_rejection_does_not_tell_how_the_system_is_built() -> None:
    for error in (CircuitOpen("secret-billing", reason="secret"), BulkheadFull("secret-pool", 5), LockNotAcquired("secret-lock")):
        assert "secret" not in json.dumps(headers.rejected(error).document)


def test_maintenance_says_its_reason_and_its_end() -> None:
    document = headers.rejected(MaintenanceMode("the database moves", 1_900_000_000.0, retry_after_s=9.0)).document
    assert (document["detail"], document["until"]) == ("the database moves", 1_900_000_000.0)


def test_degraded_names_each_fallback_once_and_none_that_could_not_stand_in_a_header() -> None:
    assert headers.degraded_field([]) == []
    assert headers.degraded_field(["prices", "stock", "prices"]) == [("X-Degraded", '"prices", "stock"')]
    assert headers.degraded_field(['a"b', "two\r\nlines", "größe"]) == [("X-Degraded", '"a\\"b"')]
