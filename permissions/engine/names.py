"""What an identity, a code and a plain text may look like; one rule for every door (bundle, API, wire, admin, database).

Source: semantics, "Identity". Nothing is normalised silently: a text that is not as it must be is refused, naming it.
"""

from __future__ import annotations

import unicodedata
from typing import Final

MAX_TYPE: Final = 128
MAX_REF: Final = 512
MAX_CODE: Final = 255
MAX_NAME: Final = 255
EVERYONE_ID: Final = "*"


class BadNameError(ValueError):
    """A text that no row and no request may carry. The message quotes it and says what would be right."""


def shown(text: str) -> str:
    """The text as an error quotes it: escaped, at most 60 characters."""
    quoted = ascii(text) if not text.isprintable() else repr(text)
    return quoted if len(quoted) <= 60 else quoted[:57] + "…'"


def check_text(text: object, what: str, *, max_length: int) -> str:
    """A non-empty text without control characters, lone surrogates or outer spaces, in NFC."""
    if not isinstance(text, str):
        raise BadNameError(f"{what} must be a text, not {type(text).__name__}")
    if not text:
        raise BadNameError(f"{what} must not be empty")
    if len(text) > max_length:
        raise BadNameError(f"{what} {shown(text)} has {len(text)} characters; at most {max_length} are allowed")
    if text.isascii():
        # Printable ASCII without outer spaces is the whole warm path; it is NFC by definition.
        if text.isprintable() and text[0] != " " and text[-1] != " ":
            return text
        if text.isprintable():
            raise BadNameError(f"{what} {shown(text)} begins or ends with a space")
        raise BadNameError(f"{what} {shown(text)} contains a control character")
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in text):
        raise BadNameError(f"{what} {shown(text)} contains a control character or a lone surrogate")
    if text != text.strip():
        raise BadNameError(f"{what} {shown(text)} begins or ends with a space")
    if not unicodedata.is_normalized("NFC", text):
        raise BadNameError(f"{what} {shown(text)} is not in Unicode normal form NFC")
    return text


def split_ref(ref: str) -> tuple[str, str]:
    """(type, id) of `type:id`, split at the first colon: a type has none, an id may."""
    kind, _, ident = ref.partition(":")
    return kind, ident


def check_type(kind: object, what: str) -> str:
    text = check_text(kind, what, max_length=MAX_TYPE)
    if ":" in text or "*" in text or "?" in text:
        raise BadNameError(f"{what} {shown(text)} must not contain ':', '*' or '?'")
    return text


def check_ref(ref: object, what: str, *, everyone: bool = False) -> str:
    """An entity `type:id`. The id `*` is refused unless `everyone` says that `type:*` is meant."""
    text = check_text(ref, what, max_length=MAX_REF)
    kind, colon, ident = text.partition(":")
    if not colon or not kind or not ident:
        raise BadNameError(f"{what} {shown(text)} must be written type:id")
    check_type(kind, f"{what}: type")
    if ident == EVERYONE_ID and not everyone:
        raise BadNameError(f"{what} {shown(text)}: the id '*' means everyone and is allowed only as the subject of a binding")
    if ident[0].isspace():
        raise BadNameError(f"{what} {shown(text)}: the id begins with a space")
    return text


def check_code(code: object, what: str = "permission") -> str:
    """A concrete permission code `resource_type:action[:…]`: no empty segment, no wildcard."""
    text = check_text(code, what, max_length=MAX_CODE)
    if "*" in text or "?" in text:
        raise BadNameError(f"{what} {shown(text)} is a pattern; a concrete code is needed here")
    segments = text.split(":")
    if len(segments) < 2 or not all(segments):
        raise BadNameError(f"{what} {shown(text)} must be written resource_type:action, no segment empty")
    if any(s != s.strip() for s in segments):
        raise BadNameError(f"{what} {shown(text)}: a segment begins or ends with a space")
    return text


def is_pattern(text: str) -> bool:
    return "*" in text or "?" in text


def check_pattern(pattern: object, what: str = "permission") -> str:
    """A concrete code or a pattern of the grammar in `engine/patterns.py`: segments not empty; `*` alone is one."""
    text = check_text(pattern, what, max_length=MAX_CODE)
    if text == "*":
        return text
    if not is_pattern(text):
        return check_code(text, what)
    segments = text.split(":")
    if len(segments) < 2 or not all(segments):
        raise BadNameError(f"{what} {shown(text)} must be '*' or written resource_type:action with wildcards, no segment empty")
    if any(s != s.strip() for s in segments):
        raise BadNameError(f"{what} {shown(text)}: a segment begins or ends with a space")
    return text
