"""Reasons and outcomes in the words of a person. The codes are the law's; these texts are only how they are shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.utils.translation import gettext_lazy as _

from permissions.engine import reasons

REASONS: Final[Mapping[str, Any]] = {
    reasons.GRANTED: _("Granted."),
    reasons.SUPERUSER: _("Allowed because the account is a superuser."),
    reasons.NO_GRANT: _("Nothing gives this permission here."),
    reasons.EXPLICIT_DENY: _("A deny applies."),
    reasons.CONDITION_FALSE: _("A grant is there, but its condition is not met."),
    reasons.CONDITION_ERROR: _("A condition could not be evaluated, so it counts against the subject."),
    reasons.REQUIRES: _("It requires another permission that is not allowed here."),
    reasons.EXPIRED: _("The grant has ended."),
    reasons.NOT_YET_VALID: _("The grant has not begun yet."),
    reasons.UNKNOWN_PERMISSION: _("No such permission is registered in this realm."),
    reasons.UNKNOWN_SUBJECT: _("This realm does not know the subject."),
    reasons.SUBJECT_INACTIVE: _("The subject is not active, or is locked."),
    reasons.REALM_SUSPENDED: _("The realm is suspended and denies everything."),
    reasons.POLICY_DENIED: _("A policy denied it."),
    reasons.POLICY_ERROR: _("A policy could not be evaluated."),
    reasons.MAINTENANCE: _("The site is in maintenance."),
    reasons.UNAVAILABLE: _("No decision can be given now."),
    reasons.INVALID_REQUEST: _("This cannot be asked."),
}
OUTCOMES: Final[Mapping[str, Any]] = {
    "holds": _("holds"),
    "condition_false": _("condition not met"),
    "condition_error": _("condition failed"),
    "expired": _("ended"),
    "not_yet_valid": _("not yet valid"),
    "private": _("kept away by a private node"),
}
EFFECTS: Final[Mapping[str, Any]] = {"allow": _("allow"), "deny": _("deny")}
