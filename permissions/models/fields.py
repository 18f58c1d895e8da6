"""Validators and constraints that several tables share."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import CheckConstraint, F, Index, Q
from django.utils.translation import gettext_lazy as _

from permissions.engine import names

MAX_JSON_BYTES = 64 * 1024
MAX_JSON_DEPTH = 16


def _raising(check: Callable[[str], object]) -> Callable[[str], None]:
    def validate(value: str) -> None:
        try:
            check(value)
        except names.BadNameError as error:
            raise ValidationError(str(error), code="invalid") from error

    return validate


def validate_ref(value: str) -> None:
    _raising(lambda v: names.check_ref(v, "id"))(value)


def validate_holder(value: str) -> None:
    _raising(lambda v: names.check_ref(v, "id", everyone=True))(value)


def validate_code(value: str) -> None:
    _raising(lambda v: names.check_code(v, "code"))(value)


def validate_pattern(value: str) -> None:
    _raising(lambda v: names.check_pattern(v, "permission"))(value)


def validate_name(value: str) -> None:
    _raising(lambda v: names.check_text(v, "name", max_length=names.MAX_NAME))(value)


def _depth(value: Any, limit: int) -> bool:
    """Whether `value` nests at most `limit` deep; iterative, so that a hostile depth cannot exhaust the stack."""
    level: list[Any] = [value]
    for _level in range(limit + 1):
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return True
    return False


def _holds_beyond_64_bits(value: Any) -> bool:
    """Whether a whole number in `value` is more than a condition can hold. Only for what `_depth` has bounded: it recurses."""
    if isinstance(value, int):
        return not -(2**63) <= value < 2**63
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(map(_holds_beyond_64_bits, items))


def _storable(value: Any) -> None:
    try:
        if not _depth(value, MAX_JSON_DEPTH):
            raise ValidationError(f"must not nest deeper than {MAX_JSON_DEPTH} levels", code="invalid")
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValidationError(f"is not JSON that can be stored: {error}", code="invalid") from error
    # One such number would make every condition on its holder an error, also those that never look at it.
    if _holds_beyond_64_bits(value):
        raise ValidationError("holds a whole number beyond 64 bits; write it as a text", code="invalid")
    # PostgreSQL's jsonb refuses U+0000 and lone surrogates with an error that names no field: refuse both here.
    raw = json.dumps(value, ensure_ascii=False)
    if "\\u0000" in text or any("\ud800" <= c <= "\udfff" for c in raw):
        raise ValidationError("must not contain U+0000 or a lone surrogate", code="invalid")
    if len(text) > MAX_JSON_BYTES:
        raise ValidationError(f"takes {len(text)} bytes; at most {MAX_JSON_BYTES} are allowed", code="invalid")


def validate_attributes(value: Any) -> None:
    """A JSON object of bounded size and depth."""
    if not isinstance(value, dict):
        raise ValidationError(f"must be a JSON object, not {type(value).__name__}", code="invalid")
    _storable(value)


def validate_obligations(value: Any) -> None:
    """A list of JSON objects, each with a text `id` and a text `type` (AuthZEN obligations profile)."""
    if not isinstance(value, list):
        raise ValidationError(f"must be a JSON list, not {type(value).__name__}", code="invalid")
    for place, item in enumerate(value):
        if not isinstance(item, dict) or not all(isinstance(item.get(k), str) and item[k] for k in ("id", "type")):
            raise ValidationError(f"item {place} must be an object with a text 'id' and a text 'type'", code="invalid")
        if set(item) - {"id", "type", "properties"}:
            raise ValidationError(f"item {place} may hold 'id', 'type' and 'properties' only", code="invalid")
    _storable(value)


def validate_patterns(value: Any) -> None:
    """A list of distinct permission patterns."""
    if not isinstance(value, list):
        raise ValidationError(f"must be a JSON list, not {type(value).__name__}", code="invalid")
    for item in value:
        if not isinstance(item, str):
            raise ValidationError(f"must hold texts, not {type(item).__name__}", code="invalid")
        validate_pattern(item)
    if len(set(value)) != len(value):
        raise ValidationError("names a permission twice", code="invalid")


def window_constraint(name: str) -> CheckConstraint:
    """valid_from < valid_until wherever both are given: an empty window would be a grant that never holds."""
    return CheckConstraint(
        name=name,
        condition=Q(valid_from__isnull=True) | Q(valid_until__isnull=True) | Q(valid_from__lt=F("valid_until")),
        violation_error_message=_("valid_from must be earlier than valid_until"),
    )


def end_index(name: str) -> Index:
    """For whoever asks what has ended since: few rows have an end at all, and only those are in it."""
    return Index(fields=["valid_until", "id"], condition=Q(valid_until__isnull=False), name=name)
