"""Values of the second cache layer: a MAC over key and body, the body a msgpack array of ids and patterns. No pickle, no bits.

Whoever can write to the store must gain nothing: a value is noise until its MAC holds, and is decoded strictly even then. What
the array cannot hold exactly (a whole number beyond 64 bits, a text that is no Unicode) is not stored at all. Source:
consistency, section 8; the role table's value stands in `codec_model.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal

import msgspec

from permissions.cache.codec_seal import SCHEMA, Rejected, key_of, seal, unseal
from permissions.engine.scopes import ResourceSnapshot, SubjectSnapshot, subject_snapshot
from permissions.engine.table import Held, HoldingsRecord, RoleSet, Standing, role_set, roles_in
from permissions.engine.types import BindingFact, ResourceFacts, ResourceNodeFact, SubjectFacts
from permissions.revisions import Head

Kind = Literal["s", "r"]
Snapshot = SubjectSnapshot | ResourceSnapshot

# Attributes take 64 KB at most; the rest is room for thousands of bindings. A larger one is read from the database (chosen).
MAX_VALUE_BYTES: Final = 1_048_576
EPOCH_BYTES: Final = 16
# Deeper than a condition looks at (`engine/attributes.py`), and far from where reading it could exhaust a stack.
MAX_DEPTH: Final = 64

_KNOWN, _ACTIVE, _SUPERUSER = 1, 2, 4
_PROPAGATE, _OWN, _APART, _STANDING = 1, 2, 4, 3  # the standing's number stands above these three bits
_SCALARS: Final = frozenset({str, int, float, bool, type(None)})


@dataclass(slots=True)
class Candidate:
    """A snapshot whose MAC, schema, epoch and id are proven, and nothing else: the reader proves it unchanged since `built_rev`.

    `stamp`: what the writer held for the stamp of that revision.
    """

    built_rev: int
    stamp: int
    snapshot: Snapshot


# Rows


class Row(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """An array of exactly these fields, in this order."""


class BindingRow(Row):
    """`flags`: propagate, own, apart, and the standing."""

    id: int
    holder: str
    role: str | None
    allow: tuple[str, ...]
    deny: tuple[str, ...]
    scope: str
    condition: str
    from_us: int | None
    until_us: int | None
    flags: int
    obligations: tuple[dict[str, Any], ...]


class _SubjectRow(Row):
    """`roles`: every role name once, those of role sets stand by place: `at_realm`, and by scope."""

    schema: int
    epoch: bytes
    built_rev: int
    stamp: int
    id: str
    flags: int
    roles: tuple[str, ...]
    at_realm: tuple[int, ...]
    scopes: dict[str, tuple[int, ...]]
    lines: tuple[BindingRow, ...]
    attributes: dict[str, Any]
    deps: tuple[str, ...]
    until_us: int | None


class _ResourceRow(Row):
    schema: int
    epoch: bytes
    built_rev: int
    stamp: int
    id: str
    flags: int
    nodes: tuple[str, ...]
    open_from: int
    attributes: dict[str, Any]


_encode: Final = msgspec.msgpack.Encoder().encode
_as_subject: Final = msgspec.msgpack.Decoder(_SubjectRow).decode
_as_resource: Final = msgspec.msgpack.Decoder(_ResourceRow).decode


class Inexact(ValueError):
    """An array cannot hold this exactly."""


def check_exact(values: Iterable[Any]) -> None:
    """Raises Inexact for what would come back as something else: a tuple, a date, a key that is no text, a subclass; and for what
    is nested too deep."""
    level = list(values)
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            kind = type(value)
            if kind is dict:
                if not all(type(key) is str for key in value):
                    raise Inexact("a key is no text")
                below.extend(value.values())
            elif kind is list:
                below.extend(value)
            elif kind not in _SCALARS:
                raise Inexact(f"holds a {kind.__name__}")
        if not below:
            return
        level = below
    raise Inexact(f"is nested deeper than {MAX_DEPTH} levels")


def packed(row: Row, decode: Any) -> bytes:
    """Bytes that `decode` reads; raises Inexact. What the database holds in another shape (raw SQL) is not stored: every reader
    would have to refuse it."""
    try:
        body = _encode(row)
        decode(body)
    except (msgspec.MsgspecError, ValueError, OverflowError, TypeError, RecursionError) as error:
        raise Inexact(str(error)) from error
    return body


def unpacked(decode: Any, body: bytes) -> Any:
    """Raises Rejected."""
    try:
        return decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Rejected("shape") from error


def epoch_of(head: Head) -> bytes:
    """Raises Inexact."""
    try:
        epoch = bytes.fromhex(head.epoch)
    except ValueError as error:
        raise Inexact("the epoch is no hexadecimal number") from error
    if len(epoch) != EPOCH_BYTES:
        raise Inexact("the epoch is no UUID")
    return epoch


# Bindings


def binding_row(binding: BindingFact, flags: int) -> BindingRow:
    check_exact(binding.obligations)
    return BindingRow(
        binding.id,
        binding.holder,
        binding.role,
        binding.allow,
        binding.deny,
        binding.scope,
        binding.condition,
        binding.valid_from_us,
        binding.valid_until_us,
        flags | (_PROPAGATE if binding.propagate else 0),
        binding.obligations,  # type: ignore[arg-type]  # check_exact has proven them to be dicts
    )


def binding_fact(row: BindingRow) -> BindingFact:
    check_read(row.obligations)
    return BindingFact(
        row.id,
        row.holder,
        row.role,
        row.allow,
        row.deny,
        row.scope,
        row.condition,
        row.from_us,
        row.until_us,
        bool(row.flags & _PROPAGATE),
        row.obligations,
    )


def _line_row(held: Held, *, apart: bool) -> BindingRow:
    return binding_row(held.binding, (_OWN if held.own else 0) | (_APART if apart else 0) | held.standing << _STANDING)


def _held(row: BindingRow) -> Held:
    if not 0 <= row.flags < len(Standing) << _STANDING:
        raise Rejected("shape")
    return Held(binding_fact(row), own=bool(row.flags & _OWN), standing=Standing(row.flags >> _STANDING))


def check_read(values: Iterable[Any]) -> None:
    try:
        check_exact(values)
    except Inexact as error:
        raise Rejected("shape") from error


# Snapshots


def encode(head: Head, kind: Kind, snapshot: Snapshot, built_rev: int, stamp: int) -> tuple[bytes, bytes] | None:
    """Key and value, or None for what cannot be held exactly or is too large."""
    try:
        key = key_of(head, kind, snapshot.ref)
        epoch = epoch_of(head)
        if isinstance(snapshot, SubjectSnapshot):
            body = packed(_subject_row(epoch, snapshot, built_rev, stamp), _as_subject)
        else:
            body = packed(_resource_row(epoch, snapshot, built_rev, stamp), _as_resource)
        value = seal(key, body)
    except (Inexact, UnicodeEncodeError):
        return None
    return (key, value) if len(value) <= MAX_VALUE_BYTES else None


def decode(head: Head, kind: Kind, ref: str, key: bytes, value: bytes) -> Candidate:
    """Raises Rejected for a value that is not ours, not of this key, or not as we write them."""
    body = unseal(key, value, MAX_VALUE_BYTES)
    row = unpacked(_as_subject if kind == "s" else _as_resource, body)
    check_place(row, head, ref)
    snapshot: Snapshot = _subject(row) if kind == "s" else _resource(row)
    snapshot.built_rev = row.built_rev
    return Candidate(row.built_rev, row.stamp, snapshot)


def check_place(row: Any, head: Head, ident: str) -> None:
    """That the value speaks of this epoch and this id. Raises Rejected."""
    if row.epoch.hex() != head.epoch:
        raise Rejected("epoch")
    if row.id != ident:
        raise Rejected("id")
    if row.built_rev < 1 or row.stamp < 0:
        raise Rejected("shape")


def _subject_row(epoch: bytes, snapshot: SubjectSnapshot, built_rev: int, stamp: int) -> _SubjectRow:
    check_exact((snapshot.attributes,))
    names: dict[str, int] = {}
    lines = [_line_row(held, apart=False) for at_scope in snapshot.lines.values() for held in at_scope]
    lines += [_line_row(held, apart=True) for held in snapshot.apart]
    at_realm = _places(snapshot.realm_roles, names)
    scopes = {scope: _places(roles, names) for scope, roles in snapshot.scopes.items()}
    return _SubjectRow(
        SCHEMA,
        epoch,
        built_rev,
        stamp,
        snapshot.ref,
        (_KNOWN if snapshot.known else 0) | (_ACTIVE if snapshot.is_active else 0) | (_SUPERUSER if snapshot.superuser else 0),
        tuple(names),
        at_realm,
        scopes,
        tuple(lines),
        snapshot.attributes,  # type: ignore[arg-type]  # check_exact has proven it a dict
        snapshot.deps,
        snapshot.until_us,
    )


def _subject(row: _SubjectRow) -> SubjectSnapshot:
    if not 0 <= row.flags < _SUPERUSER << 1 or "" in row.scopes:
        raise Rejected("shape")
    check_read((row.attributes,))
    lines: dict[str, list[Held]] = {}
    apart: list[Held] = []
    for line in row.lines:
        held = _held(line)
        if line.flags & _APART:
            apart.append(held)
        else:
            lines.setdefault(line.scope, []).append(held)
    holdings = HoldingsRecord(
        realm_roles=_roles(row.at_realm, row.roles) if row.at_realm else None,
        scopes={scope: _roles(places, row.roles) for scope, places in row.scopes.items()} or _NONE,
        lines={scope: tuple(held) for scope, held in lines.items()} or _NONE,
        apart=tuple(apart),
    )
    facts = SubjectFacts(
        row.id,
        known=bool(row.flags & _KNOWN),
        active=bool(row.flags & _ACTIVE),
        superuser=bool(row.flags & _SUPERUSER),
        attributes=row.attributes,
    )
    return subject_snapshot(facts, holdings, row.deps, row.until_us, keep_facts=False)


# One for all, as in `engine/scopes.py`.
_NONE: Final[Mapping[str, Any]] = {}


def _places(roles: RoleSet | None, names: dict[str, int]) -> tuple[int, ...]:
    return () if roles is None else tuple(names.setdefault(name, len(names)) for name in roles_in(roles))


def _roles(places: tuple[int, ...], names: tuple[str, ...]) -> RoleSet:
    if not places or min(places) < 0 or max(places) >= len(names):
        raise Rejected("shape")
    roles = tuple(names[place] for place in places)
    # Two texts for one set would be two sets.
    if any(one >= other for one, other in pairwise(roles)):
        raise Rejected("shape")
    return role_set(roles)


def _resource_row(epoch: bytes, snapshot: ResourceSnapshot, built_rev: int, stamp: int) -> _ResourceRow:
    check_exact((snapshot.attributes,))
    if "" in snapshot.nodes:
        raise Inexact("its chain was cut: a parent is not of this realm")
    return _ResourceRow(
        SCHEMA,
        epoch,
        built_rev,
        stamp,
        snapshot.ref,
        _KNOWN if snapshot.known else 0,
        snapshot.nodes,
        snapshot.open_from,
        snapshot.attributes,  # type: ignore[arg-type]  # as above
    )


def _resource(row: _ResourceRow) -> ResourceSnapshot:
    if not 0 <= row.flags <= _KNOWN or not 0 <= row.open_from <= len(row.nodes) or not all(row.nodes):
        raise Rejected("shape")
    check_read((row.attributes,))
    chain = tuple(ResourceNodeFact(ref, inherit=place != row.open_from) for place, ref in enumerate(row.nodes, 1))
    return ResourceSnapshot(ResourceFacts(row.id, known=bool(row.flags & _KNOWN), attributes=row.attributes, chain=chain))
