"""The closed list of reasons, and the one exception by which a decision is refused.

Source: semantics, "Order of a decision". Each reason has its place in `docs/reference/reasons.md`; `tests/test_docs.py` holds
the two equal.
"""

from __future__ import annotations

from typing import Final

GRANTED: Final = "granted"
SUPERUSER: Final = "superuser"
NO_GRANT: Final = "no_grant"
EXPLICIT_DENY: Final = "explicit_deny"
CONDITION_FALSE: Final = "condition_false"
CONDITION_ERROR: Final = "condition_error"
REQUIRES: Final = "requires"
EXPIRED: Final = "expired"
NOT_YET_VALID: Final = "not_yet_valid"
UNKNOWN_PERMISSION: Final = "unknown_permission"
UNKNOWN_SUBJECT: Final = "unknown_subject"
SUBJECT_INACTIVE: Final = "subject_inactive"
REALM_SUSPENDED: Final = "realm_suspended"
POLICY_DENIED: Final = "policy_denied"
POLICY_ERROR: Final = "policy_error"
MAINTENANCE: Final = "maintenance"
UNAVAILABLE: Final = "unavailable"
INVALID_REQUEST: Final = "invalid_request"

ALLOWED: Final = frozenset({GRANTED, SUPERUSER})
DENIED: Final = frozenset(
    {
        NO_GRANT,
        EXPLICIT_DENY,
        CONDITION_FALSE,
        CONDITION_ERROR,
        REQUIRES,
        EXPIRED,
        NOT_YET_VALID,
        UNKNOWN_PERMISSION,
        UNKNOWN_SUBJECT,
        SUBJECT_INACTIVE,
        REALM_SUSPENDED,
        POLICY_DENIED,
        POLICY_ERROR,
    }
)
NO_DECISION: Final = frozenset({MAINTENANCE, UNAVAILABLE, INVALID_REQUEST})
# A condition or a policy failed, which is nobody's wish.
FAULTS: Final = frozenset({CONDITION_ERROR, POLICY_ERROR})
ALL: Final = ALLOWED | DENIED | NO_DECISION


class InvalidRequestError(ValueError):
    """A request that cannot be decided (reason `invalid_request`, HTTP 400). The message names what and where."""


class Unavailable(Exception):
    """No decision can be given now (reason `unavailable`, HTTP 503); ask again after `retry_after_s` seconds."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnderMaintenance(Unavailable):
    """No decision during maintenance (reason `maintenance`, HTTP 503). The message says why and until when."""
