"""Limiters: so many calls in so much time for each key."""

from __future__ import annotations

from resilience.rate_limiter.leases import Lease
from resilience.rate_limiter.limiter import RateLimiter, create_limiter
from resilience.rate_limiter.sets import RateLimitSet
from resilience.rate_limiter.verdict import SetVerdict, Verdict

__all__ = ["Lease", "RateLimitSet", "RateLimiter", "SetVerdict", "Verdict", "create_limiter"]
