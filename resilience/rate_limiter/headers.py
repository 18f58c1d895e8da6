"""What HTTP says of a limit: RateLimit fields, Retry-After, and the problem document of a rejection.

Source: draft-ietf-httpapi-ratelimit-headers-11 (RateLimit-Policy, RateLimit, problem types); RFC 9651 (structured fields: both
are lists of strings with parameters); RFC 9457 (problem details); RFC 9110, section 10.2.3 (Retry-After).
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from resilience.errors import (
    BulkheadFull,
    CircuitOpen,
    ExecutionRejected,
    LockNotAcquired,
    MaintenanceMode,
    QuotaExceeded,
    RateLimited,
)

if TYPE_CHECKING:
    from resilience.rate_limiter.limiter import RateLimiter

Fields = list[tuple[str, str]]

MEDIA_TYPE: Final = "application/problem+json"
QUOTA_EXCEEDED: Final = "https://iana.org/assignments/http-problem-types#quota-exceeded"
REDUCED_CAPACITY: Final = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"

MAX_INTEGER: Final = 999_999_999_999_999  # of a structured field: 15 digits (RFC 9651, 3.3.1)
UNKNOWN_RETRY_S: Final = 30  # chosen: for a rejection whose end nobody knows, such as maintenance without one
MAX_RETRY_S: Final = 31_536_000  # a year: a date past a client's own clock helps nobody


class Answer(Protocol):
    """What is read of a Verdict."""

    @property
    def allowed(self) -> bool: ...
    @property
    def remaining(self) -> int: ...
    @property
    def retry_after_s(self) -> float: ...
    @property
    def reset_after_s(self) -> float: ...
    @property
    def limit(self) -> int: ...


class Decision(NamedTuple):
    """One rule's answer to this request."""

    rule: str
    period_s: float
    verdict: Answer
    is_exact: bool = False  # Retry-After without its tenth: for what stands in for a limit whose clients know the exact figure

    @property
    def wait_s(self) -> int | None:
        """The field's t: until the same call is admitted, or until all is as if never used. None: never."""
        seconds = self.verdict.reset_after_s if self.verdict.allowed else self.verdict.retry_after_s
        return None if math.isinf(seconds) else min(max(0, math.ceil(seconds)), MAX_INTEGER)


def decided(limiter: RateLimiter, key: str, verdict: Answer, *, is_exact: bool = False) -> list[Decision]:
    """What may be said of a verdict: nothing of a rule on trial, which must not change what its callers do."""
    core = limiter.core
    return [] if core.is_on_trial(key) else [Decision(core.name, core.options.period_s, verdict, is_exact)]


def fields(decisions: Iterable[Decision], *, legacy: bool = False, jitter: random.Random | None = None) -> Fields:
    """The header fields of a response that these rules decided on; none for no rule.

    `legacy`: the X-RateLimit-* fields too, of the tightest rule; their reset is in seconds from now.
    """
    tightest = _by_rule(decisions)
    if not tightest:
        return []
    found = [
        ("RateLimit-Policy", ", ".join(_policy(decision) for decision in tightest)),
        ("RateLimit", ", ".join(_state(decision) for decision in tightest)),
    ]
    if legacy:
        first = min(tightest, key=_tightness)
        found += [
            ("X-RateLimit-Limit", str(first.verdict.limit)),
            ("X-RateLimit-Remaining", str(max(0, first.verdict.remaining))),
        ]
        if first.wait_s is not None:
            found.append(("X-RateLimit-Reset", str(first.wait_s)))
    refused = [decision for decision in tightest if not decision.verdict.allowed]
    waits = [decision.wait_s for decision in refused if decision.wait_s is not None]
    # What will never be granted has no time to come again.
    if refused and len(waits) == len(refused):
        is_exact = all(decision.is_exact for decision in refused)
        found.append(("Retry-After", str(max(1, *waits)) if is_exact else retry_after(max(waits), jitter)))
    return found


def retry_after(seconds: float, jitter: random.Random | None = None) -> str:
    """Whole seconds, up to a tenth more, never less: all who were refused together must not come back together."""
    least = min(max(1, math.ceil(seconds)), MAX_RETRY_S)
    return str((jitter or _JITTER).randint(least, least + least // 10))


class Problem(NamedTuple):
    """`document`: the body, as JSON; `fields`: headers beside its Content-Type."""

    status: int
    document: dict[str, Any]
    fields: Fields


def limited(decisions: Sequence[Decision], *, legacy: bool = False, jitter: random.Random | None = None) -> Problem:
    """The answer to a request that at least one of these rules refused."""
    refused = [decision.rule for decision in _by_rule(decisions) if not decision.verdict.allowed]
    found = fields(decisions, legacy=legacy, jitter=jitter)
    return Problem(429, _quota_exceeded(refused, found), found)


def rejected(error: ExecutionRejected, *, jitter: random.Random | None = None) -> Problem:
    """The answer to a request that met a limit, an open breaker, a full bulkhead, a held lock or maintenance on its way.

    Names of breakers, bulkheads and locks stay inside: they tell a stranger how the system is built.
    """
    wait_s = UNKNOWN_RETRY_S if error.retry_after_s is None else error.retry_after_s
    found: Fields = [] if math.isinf(wait_s) else [("Retry-After", retry_after(wait_s, jitter))]
    if isinstance(error, RateLimited | QuotaExceeded):
        return Problem(429, _quota_exceeded([error.name], found), found)
    kind, detail = "about:blank", "The call was not made."
    if isinstance(error, MaintenanceMode):
        detail = error.reason or "The system is under maintenance."
    elif isinstance(error, CircuitOpen):
        kind, detail = REDUCED_CAPACITY, "A service that is needed for the answer is failing."
    elif isinstance(error, BulkheadFull):
        kind, detail = REDUCED_CAPACITY, "As much as the server can do at once is being done."
    elif isinstance(error, LockNotAcquired):
        detail = "Somebody else is doing this now."
    title = "Service Unavailable"
    if kind == REDUCED_CAPACITY:
        title = "Request cannot be satisfied due to temporary server capacity constraints"
    document: dict[str, Any] = {"type": kind, "title": title, "status": HTTPStatus.SERVICE_UNAVAILABLE.value, "detail": detail}
    if isinstance(error, MaintenanceMode) and error.until is not None:
        document["until"] = error.until
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE.value, document, found)


def degraded_field(names: Sequence[str]) -> Fields:
    """Which fallbacks answered instead of the real thing. A name that could not stand in a header stays out."""
    listed = ", ".join(_string(name) for name in dict.fromkeys(names) if name.isascii() and name.isprintable())
    return [("X-Degraded", listed)] if listed else []


def _quota_exceeded(rules: Sequence[str], found: Fields) -> dict[str, Any]:
    wait = dict(found).get("Retry-After")
    names = f"{'Limit' if len(rules) == 1 else 'Limits'} {', '.join(rules)}"
    # Without a time to come again the cost is above the limit itself.
    detail = f"{names}: used up. Try again in {wait} s." if wait else f"{names}: this request asks for more than is ever granted."
    return {
        "type": QUOTA_EXCEEDED,
        "title": "Request cannot be satisfied as assigned quota has been exceeded",
        "status": HTTPStatus.TOO_MANY_REQUESTS.value,
        "detail": detail,
        "violated-policies": list(rules),
    }


def _by_rule(decisions: Iterable[Decision]) -> list[Decision]:
    """One decision a rule, the tightest: the draft forbids two items of one name in a response."""
    found: dict[str, Decision] = {}
    for decision in decisions:
        other = found.get(decision.rule)
        if other is None or _tightness(decision) < _tightness(other):
            found[decision.rule] = decision
    return list(found.values())


def _tightness(decision: Decision) -> tuple[bool, float, float]:
    """Smaller is tighter: refused before allowed, then the longer wait, or the fewer calls left."""
    verdict = decision.verdict
    return (verdict.allowed, verdict.remaining if verdict.allowed else -verdict.retry_after_s, -verdict.reset_after_s)


def _policy(decision: Decision) -> str:
    # The draft counts windows in whole seconds. Rounded up: a window too long promises too little.
    window = f";w={math.ceil(decision.period_s)}" if decision.period_s >= 1 else ""
    return f"{_string(decision.rule)};q={min(decision.verdict.limit, MAX_INTEGER)}{window}"


def _state(decision: Decision) -> str:
    wait_s = decision.wait_s
    time = "" if wait_s is None else f";t={wait_s}"
    return f"{_string(decision.rule)};r={min(max(0, decision.verdict.remaining), MAX_INTEGER)}{time}"


def _string(text: str) -> str:
    """A string of a structured field: printable ASCII, its two special characters escaped."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


# Only spreads clients in time; nobody gains by guessing it.
_JITTER: Final = random.Random()  # noqa: S311
