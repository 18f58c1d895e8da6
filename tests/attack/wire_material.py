"""What malformed requests are made of: bodies that are no JSON, values of wrong types, headers that no client should send."""

from __future__ import annotations

from typing import Any, Final

EVALUATION: Final = "/access/v1/evaluation"
EVALUATIONS: Final = "/access/v1/evaluations"
SEARCHES: Final = tuple(f"/access/v1/search/{kind}" for kind in ("subject", "resource", "action"))
MAX_BODY: Final = 1_048_576
VALID: Final[dict[str, Any]] = {
    "subject": {"type": "user", "id": "alice"},
    "action": {"name": "read"},
    "resource": {"type": "record", "id": "record-1"},
}
# Where a single evaluation has something that must be of one type: the path, and the type.
TYPED: Final = (
    (("subject",), dict),
    (("subject", "type"), str),
    (("subject", "id"), str),
    (("subject", "properties"), dict),
    (("action",), dict),
    (("action", "name"), str),
    (("action", "properties"), dict),
    (("resource",), dict),
    (("resource", "type"), str),
    (("resource", "id"), str),
    (("resource", "properties"), dict),
    (("context",), dict),
)
REQUIRED: Final = (("subject",), ("subject", "type"), ("subject", "id"), ("action",), ("action", "name"), ("resource",))
ODD_VALUES: Final[tuple[Any, ...]] = (
    None,
    True,
    False,
    0,
    -1,
    1.5,
    10**18,
    "",
    "x",
    "*",
    ":",
    "\x00",
    "é" * 50,
    "𝒳",
    [],
    [[]],
    {},
    {"": ""},
)
# Bodies that are no JSON object as RFC 7493 has it, or that are too deep: always 400.
BROKEN: Final = (
    b"",
    b" ",
    b"null",
    b"true",
    b"7",
    b'"text"',
    b"[]",
    b"{",
    b"}",
    b"{]",
    b"[}",
    b"{'subject': 1}",
    b'{"subject"}',
    b'{"a":1,}',
    b'{"a":NaN}',
    b'{"a":Infinity}',
    b'{"a":-Infinity}',
    b'{"a":01}',
    b'{"a":1}{"a":1}',
    b'{"a":1} x',
    b'\xef\xbb\xbf{"a":1}',
    b'{"a":"\xff\xfe"}',
    b'{"a":"\xed\xa0\x80"}',
    b'{"a":"\\ud800"}',
    b'{"a":"\\udc00\\ud800"}',
    b'{"a":"\\x41"}',
    b'{"a":"\x01"}',
    b'{"a":1,"a":2}',
    b'{"a":{"b":1,"\\u0062":2}}',
    b"\x00",
    b"\x1f\x8b\x08\x00",
    '{"a":1}'.encode("utf-16"),
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b'{"context":' + b"[" * 40 + b"]" * 40 + b"}",
)
ODD_TYPES: Final = (
    "text/plain",
    "",
    "application/xml",
    "multipart/form-data; boundary=x",
    "application/json; charset=utf-16",
    "json",
)
ODD_KEYS: Final = ("", "Bearer", "Bearer ", "Bearer x", "Basic eDp5", "Bearer " + "k" * 5000, "\xff\xfe", "Bearer a b c", "null")
ODD_TOKENS: Final = ("x", "v1.1.00000000.1.AAAA", "v1." * 60, "v1.x.y.z.w", "\xe9", "v1.1.00000000.99999999999999999999.AAAA")
