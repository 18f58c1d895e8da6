"""Strict JSON in: one value, UTF-8, no name twice in an object, no NaN, bounded in size and depth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, Any, Final

from rest_framework.negotiation import BaseContentNegotiation, DefaultContentNegotiation
from rest_framework.parsers import BaseParser

from permissions.api.problems import BadRequest, TooLarge
from permissions.engine import names

MAX_BODY_BYTES: Final = 1_048_576  # interfaces, wire limits
MAX_DEPTH: Final = 40  # a line's own levels and 32 of attributes or context; the services and the PDP bound those
# What a condition, a double-precision JSON reader and a bigint column can hold.
MAX_INT: Final = 2**63 - 1


class StrictJSONParser(BaseParser):
    media_type = "application/json"

    def parse(self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        """Raises BadRequest (400) or TooLarge (413)."""
        request = (parser_context or {}).get("request")
        length = request.META.get("CONTENT_LENGTH") if request is not None else None
        if length and str(length).isdigit() and int(length) > MAX_BODY_BYTES:
            raise _too_large()
        body = stream.read(MAX_BODY_BYTES + 1)
        if len(body) > MAX_BODY_BYTES:
            raise _too_large()
        return read_json(body)


def _too_large() -> TooLarge:
    return TooLarge(f"the body is larger than {MAX_BODY_BYTES} bytes")


def read_json(body: bytes) -> Any:
    """The value in `body`. Raises BadRequest saying what is wrong with it."""
    if not body.strip():
        raise BadRequest("the body is empty; JSON is needed")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not UTF-8 (byte {error.start})") from error
    if text.startswith("\ufeff"):
        raise BadRequest("the body begins with a byte order mark; send plain UTF-8")
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_constant, parse_float=_float, parse_int=_int)
    except RecursionError as error:
        raise _too_deep() from error
    except ValueError as error:
        raise BadRequest(f"the body is not JSON: {error}") from error
    _check(value)
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The last of two equal names would win here and the first elsewhere, so that a proxy and we read two different bodies."""
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise BadRequest(f"the name {names.shown(name)} stands twice in one object")
            seen.add(name)
    return members


def _constant(text: str) -> Any:
    raise BadRequest(f"{text} is not JSON")


def _float(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise BadRequest(f"the number {names.shown(text)} is too large")
    return number


def _int(text: str) -> int:
    # Python refuses to read more than 4,300 digits, with a message about an interpreter setting.
    if len(text) > 20 or not -MAX_INT - 1 <= int(text) <= MAX_INT:
        raise BadRequest(f"the whole number {names.shown(text)} is beyond 64 bits")
    return int(text)


def _too_deep() -> BadRequest:
    return BadRequest(f"the body is nested deeper than {MAX_DEPTH} levels")


def _check(value: Any) -> None:
    """Depth, and texts that no database and no answer can carry. Level by level: recursion would follow a hostile depth."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        following: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                following.extend(item.keys())
                following.extend(item.values())
            elif isinstance(item, list):
                following.extend(item)
            elif isinstance(item, str) and not item.isascii() and any("\ud800" <= c <= "\udfff" for c in item):
                raise BadRequest(f"the text {names.shown(item)} holds half of a surrogate pair")
        if not following:
            return
        level = following
    raise _too_deep()


class OnlyJSON(BaseContentNegotiation):
    """Answers are JSON whatever `Accept` says: a 406 to a caller whose library sends `text/html` first would help nobody."""

    def select_parser(self, request: Any, parsers: Any) -> Any:
        # Without a Content-Type there is nothing to contradict: the body is read as JSON, or found empty and told so.
        return DefaultContentNegotiation().select_parser(request, parsers) if request.content_type else parsers[0]

    def select_renderer(self, request: Any, renderers: Any, format_suffix: str | None = None) -> tuple[Any, str]:
        return renderers[0], renderers[0].media_type
