"""The role table's value in the second cache layer: its rows, not its masks, for bit numbers belong to one compile."""

from __future__ import annotations

import zlib
from typing import Any, Final, Literal

import msgspec

from permissions.cache.codec import (
    BindingRow,
    Inexact,
    Row,
    binding_fact,
    binding_row,
    check_exact,
    check_place,
    check_read,
    epoch_of,
    packed,
    unpacked,
)
from permissions.cache.codec_seal import SCHEMA, Rejected, key_of, seal, unseal
from permissions.engine.types import Combining, GroupFact, ModelFacts, PermissionFact, RoleFact, RoleLineFact
from permissions.revisions import Head

IDENT: Final = "model"
# 60,000 lines of 30 bytes are 2 MB, a sixth of it compressed. Whatever is larger is read from the database (chosen).
MAX_ROWS_BYTES: Final = 32 * 2**20
MAX_MODEL_BYTES: Final = 4 * 2**20
# Below it a value fits a few packets anyhow, and its reader saves the unpacking (chosen).
SMALL_BYTES: Final = 4_096
# Level 1: rows shrink to a quarter at 50 MB/s; the best level takes ten times that long for a tenth less.
LEVEL: Final = 1


class _LineRow(Row):
    effect: Literal["allow", "exclude", "deny"]
    pattern: str
    condition: str


class _RoleRow(Row):
    name: str
    inherits: tuple[str, ...]
    groups: tuple[str, ...]
    lines: tuple[_LineRow, ...]
    from_us: int | None
    until_us: int | None
    obligations: tuple[dict[str, Any], ...]


class _PermissionRow(Row):
    code: str
    requires: tuple[str, ...]
    critical: bool
    high_risk: bool


class _GroupRow(Row):
    name: str
    patterns: tuple[str, ...]


class _Rows(Row):
    realm: str
    combining: Combining
    type_combining: dict[str, Combining]
    unknown_subjects: Literal["deny", "everyone"]
    suspended: bool
    permissions: tuple[_PermissionRow, ...]
    groups: tuple[_GroupRow, ...]
    roles: tuple[_RoleRow, ...]
    everyone: tuple[BindingRow, ...]


class _ModelRow(Row):
    """`rows`: compressed where `is_compressed`."""

    schema: int
    epoch: bytes
    built_rev: int
    stamp: int
    id: str
    is_compressed: bool
    rows: bytes


_as_model: Final = msgspec.msgpack.Decoder(_ModelRow).decode
_as_rows: Final = msgspec.msgpack.Decoder(_Rows).decode


def model_key(head: Head) -> bytes:
    return key_of(head, "m", IDENT)


def encode_model(head: Head, facts: ModelFacts, built_rev: int, stamp: int) -> tuple[bytes, bytes] | None:
    """Key and value, or None for what cannot be held exactly or is too large."""
    try:
        rows = packed(_rows(facts), _as_rows)
        if len(rows) > MAX_ROWS_BYTES:
            return None
        is_compressed = len(rows) > SMALL_BYTES
        body = zlib.compress(rows, LEVEL) if is_compressed else rows
        key = model_key(head)
        row = _ModelRow(SCHEMA, epoch_of(head), built_rev, stamp, IDENT, is_compressed, body)
        value = seal(key, packed(row, _as_model))
    except (Inexact, UnicodeEncodeError):
        return None
    return (key, value) if len(value) <= MAX_MODEL_BYTES else None


def decode_model(head: Head, key: bytes, value: bytes) -> tuple[int, int, ModelFacts]:
    """(revision it was read at, its stamp, facts). Raises Rejected."""
    row: _ModelRow = unpacked(_as_model, unseal(key, value, MAX_MODEL_BYTES))
    check_place(row, head, IDENT)
    facts = _facts(unpacked(_as_rows, _inflated(row.rows) if row.is_compressed else row.rows))
    if facts.realm != head.name:
        raise Rejected("id")
    return row.built_rev, row.stamp, facts


def _inflated(data: bytes) -> bytes:
    """Never more than the bound, whatever the data say."""
    inflater = zlib.decompressobj()
    try:
        rows = inflater.decompress(data, MAX_ROWS_BYTES)
    except zlib.error as error:
        raise Rejected("shape") from error
    if not inflater.eof or inflater.unused_data:
        raise Rejected("shape")
    return rows


def _rows(facts: ModelFacts) -> _Rows:
    for role in facts.roles:
        check_exact(role.obligations)
    return _Rows(
        facts.realm,
        facts.combining,
        dict(facts.type_combining),
        facts.unknown_subjects,
        facts.suspended,
        tuple(_PermissionRow(fact.code, fact.requires, fact.critical, fact.high_risk) for fact in facts.permissions),
        tuple(_GroupRow(fact.name, fact.patterns) for fact in facts.groups),
        tuple(
            _RoleRow(
                fact.name,
                fact.inherits,
                fact.groups,
                tuple(_LineRow(line.effect, line.pattern, line.condition) for line in fact.lines),
                fact.valid_from_us,
                fact.valid_until_us,
                fact.obligations,  # type: ignore[arg-type]  # check_exact has proven them to be dicts
            )
            for fact in facts.roles
        ),
        tuple(binding_row(binding, 0) for binding in facts.everyone),
    )


def _facts(rows: _Rows) -> ModelFacts:
    return ModelFacts(
        rows.realm,
        rows.combining,
        rows.type_combining,
        rows.unknown_subjects,
        rows.suspended,
        tuple(PermissionFact(row.code, row.requires, row.critical, row.high_risk) for row in rows.permissions),
        tuple(GroupFact(row.name, row.patterns) for row in rows.groups),
        tuple(_role(row) for row in rows.roles),
        tuple(binding_fact(row) for row in rows.everyone),
    )


def _role(row: _RoleRow) -> RoleFact:
    check_read(row.obligations)
    lines = tuple(RoleLineFact(line.effect, line.pattern, line.condition) for line in row.lines)
    return RoleFact(row.name, row.inherits, row.groups, lines, row.from_us, row.until_us, row.obligations)
