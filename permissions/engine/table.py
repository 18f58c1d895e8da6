"""RoleTable: what a realm's roles give, as masks over the table's own numbering of codes; immutable but for its memos.

Shapes: a mask is an int whose bit n stands for code number n of `index`; the memo of a role set holds the same masks as
little-endian bytes, so that testing one code costs the same whatever the size of the catalogue. Bit numbers belong to one
compile: nothing that outlives a table may hold one (consistency, section 2).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, NamedTuple, NewType

from permissions.engine.patterns import Index
from permissions.engine.types import (
    Attributes,
    BindingFact,
    Combining,
    Condition,
    ConditionError,
    ConditionLanguage,
    ConditionSyntaxError,
    GroupFact,
    ModelFacts,
    RoleFact,
)

# Memos grow with what is asked, so they are bounded; a full one is emptied, for a rebuilt entry costs microseconds. The bound
# is on bytes: with 40,000 codes an entry holds 15 KB, with 1,000 codes 400 bytes. 32 MB: a tenth of what a table of W2 may take
# (bars, row 7).
MEMO_BYTES: Final = 32 * 2**20
MAX_CONDITIONS: Final = 10_000


class Standing(IntEnum):
    """Whether something with a window holds; of several in a row the greatest counts (what has ended will not begin)."""

    HOLDS = 0
    NOT_YET_VALID = 1
    EXPIRED = 2


def standing_at(now_us: int, from_us: int | None, until_us: int | None) -> Standing:
    """Of the window [from, until)."""
    if until_us is not None and now_us >= until_us:
        return Standing.EXPIRED
    if from_us is not None and now_us < from_us:
        return Standing.NOT_YET_VALID
    return Standing.HOLDS


# Roles held at one place, as one number: each role's number in this process, in the order of their names. A bare int, since each
# of 100,000 subjects may hold a set that no other does: 32 to 48 bytes, where a tuple of names took 64 and as much again to be
# found, and any class of our own 16 more for the garbage collector. Made by `role_set`, read by `roles_in`.
RoleSet = NewType("RoleSet", int)

# Bits a role: sixteen million names, which as texts would fill the memory before their numbers run out.
ROLE_BITS: Final = 24
_ROLE_MASK: Final = (1 << ROLE_BITS) - 1
# Every role name this process has met. Never emptied: a number must go on to mean what it meant.
_names: list[str] = []
_numbers: dict[str, int] = {}
_numbering: Final = threading.Lock()
_role_sets: dict[RoleSet, RoleSet] = {}
# Interning is for sharing alone, so that what nobody holds any more may be forgotten with the rest.
MAX_ROLE_SETS: Final = 8_192


def role_set(roles: tuple[str, ...]) -> RoleSet:
    """The RoleSet of these names, which must be sorted and without repetition."""
    number = 1  # in front, so that no set is nought, and none is mistaken for a shorter one
    for name in roles:
        number = number << ROLE_BITS | (_numbers[name] if name in _numbers else _number_of(name))
    made = RoleSet(number)
    if len(_role_sets) >= MAX_ROLE_SETS:
        _role_sets.clear()
    return _role_sets.setdefault(made, made)


def roles_in(held: RoleSet) -> tuple[str, ...]:
    """Their names, ascending."""
    rest, found = int(held), []
    while rest > 1:
        found.append(_names[rest & _ROLE_MASK])
        rest >>= ROLE_BITS
    return tuple(reversed(found))


def _number_of(name: str) -> int:
    with _numbering:
        if name not in _numbers:
            if len(_names) > _ROLE_MASK:
                raise OverflowError(f"this process has met {len(_names)} role names; it must be started anew")
            _names.append(name)  # first: whoever finds the number must find the name
            _numbers[name] = len(_names) - 1
        return _numbers[name]


class LineKey(NamedTuple):
    """When a line holds, and whose obligations it brings. Lines of equal key are one line with the union of their masks.

    `obliging`: the roles with obligations on the way from the bound role to the line, in ascending order.
    """

    condition: str = ""
    from_us: int | None = None
    until_us: int | None = None
    obliging: tuple[str, ...] = ()

    @property
    def is_certain(self) -> bool:
        return not self.condition and self.from_us is None and self.until_us is None


PLAIN: Final = LineKey()


@dataclass(frozen=True, slots=True)
class Line:
    """A part of a role that holds only in a window or under a condition, or that brings obligations."""

    mask: int
    key: LineKey
    condition: Condition | None = None


@dataclass(frozen=True, slots=True)
class CompiledRole:
    """A role with all it inherits. `allow` and `deny` hold always; the lines only when their key says so.

    `allow_lines` also has the lines without condition and window that bring obligations; their codes stand in `allow` too.
    """

    allow: int = 0
    deny: int = 0
    allow_lines: tuple[Line, ...] = ()
    deny_lines: tuple[Line, ...] = ()


NOTHING: Final = CompiledRole()


class RoleSetMasks:
    """The union over a role set. `special` marks the codes that a look at `allow` alone cannot decide: denied ones, and those of
    any line."""

    __slots__ = ("allow", "allow_lines", "deny", "deny_lines", "special")

    def __init__(self, roles: list[CompiledRole], size_bytes: int) -> None:
        allow = deny = special = 0
        allow_lines: list[Line] = []
        deny_lines: list[Line] = []
        for role in roles:
            allow |= role.allow
            deny |= role.deny
            for line in role.allow_lines:
                special |= line.mask
            for line in role.deny_lines:
                special |= line.mask
            allow_lines.extend(role.allow_lines)
            deny_lines.extend(role.deny_lines)
        self.allow = allow.to_bytes(size_bytes, "little")
        self.deny = deny.to_bytes(size_bytes, "little")
        self.special = (special | deny).to_bytes(size_bytes, "little")
        self.allow_lines = tuple(allow_lines)
        self.deny_lines = tuple(deny_lines)


class Held:
    """One binding as it reaches a subject, which the masks of a role set cannot express, or which does not hold now.

    `own`: written for the subject itself, not for a team or everyone. `standing`: the subject's in the team it comes through;
    HOLDS for its own and for everyone's. The binding's window is looked at when asked, for a table outlives its boundaries.
    """

    __slots__ = ("binding", "own", "standing")

    def __init__(self, binding: BindingFact, *, own: bool, standing: Standing) -> None:
        self.binding = binding
        self.own = own
        self.standing = standing


class Holdings:
    """What is held by a subject, or by everyone of a type: plain bindings as role sets by scope, all others one by one.

    `realm_roles` are those bound at the realm, `scopes` those at resources. A plain binding gives a role, holds now, propagates,
    and has neither condition nor obligations. `lines`: scope -> the others that may hold; `apart`: those out of their window.
    """

    __slots__ = ()

    realm_roles: RoleSet | None
    scopes: Mapping[str, RoleSet]
    lines: Mapping[str, tuple[Held, ...]]
    apart: tuple[Held, ...]


class HoldingsRecord(Holdings):
    """Holdings that stand for themselves, as everyone's do."""

    __slots__ = ("apart", "lines", "realm_roles", "scopes")

    def __init__(
        self,
        realm_roles: RoleSet | None,
        scopes: Mapping[str, RoleSet],
        lines: Mapping[str, tuple[Held, ...]],
        apart: tuple[Held, ...],
    ) -> None:
        self.realm_roles = realm_roles
        self.scopes = scopes
        self.lines = lines
        self.apart = apart


class BrokenCondition:
    """A stored condition that does not compile any more: it errors, so an allow gives nothing and a deny applies."""

    __slots__ = ("message", "text")

    def __init__(self, text: str, message: str) -> None:
        self.text = text
        self.message = message

    def evaluate(self, names: Mapping[str, Any]) -> bool:
        raise ConditionError(f"the stored condition does not compile: {self.message}")


@dataclass(frozen=True, slots=True)
class RoleTable:
    """A realm's model, compiled. `model` is what it was compiled from.

    `required`: code -> all codes it requires, directly or not, itself left out; only codes that require any are in it.
    `quick`: code -> (byte, bit) of the codes that require nothing. `is_uniform`: no type has a combining of its own.
    `is_plain_realm`: the realm's is deny_overrides. `critical`: the codes flagged so. Only the memos are ever added to; a table
    compiled from this one shares some of them.
    """

    model: ModelFacts
    language: ConditionLanguage
    index: Index
    roles: Mapping[str, CompiledRole]
    everyone: Mapping[str, Holdings]
    required: Mapping[str, tuple[str, ...]]
    quick: Mapping[str, tuple[int, int]]
    is_uniform: bool
    is_plain_realm: bool
    obligations: Mapping[str, tuple[Attributes, ...]]
    role_facts: Mapping[str, RoleFact]
    group_facts: Mapping[str, GroupFact]
    critical: frozenset[str]
    memo: dict[RoleSet, RoleSetMasks] = field(default_factory=dict)
    _direct: dict[tuple[str, ...], int] = field(default_factory=dict)
    _conditions: dict[str, Condition] = field(default_factory=dict)

    @property
    def codes(self) -> tuple[str, ...]:
        """Every registered code, the platform's included, in ascending order."""
        return self.index.codes

    def is_registered(self, code: str) -> bool:
        return code in self.index.bits

    def combining_of(self, resource_type: str | None) -> Combining:
        """None: a check without a resource."""
        if resource_type is None:
            return self.model.combining
        return self.model.type_combining.get(resource_type, self.model.combining)

    def masks(self, roles: RoleSet) -> RoleSetMasks:
        """From the memo, else computed and kept. A role that is gone gives and denies nothing."""
        found = self.memo.get(roles)
        if found is None:
            size = self.index.size_bytes
            found = RoleSetMasks([self.roles.get(name, NOTHING) for name in roles_in(roles)], size)
            if len(self.memo) >= max(256, MEMO_BYTES // (3 * size + 200)):
                self.memo.clear()
            self.memo[roles] = found
        return found

    def direct(self, patterns: tuple[str, ...]) -> int:
        """The mask of a binding's direct list."""
        found = self._direct.get(patterns)
        if found is None:
            found = self.index.mask_of(patterns)
            if len(self._direct) >= max(256, MEMO_BYTES // (self.index.size_bytes + 200)):
                self._direct.clear()
            self._direct[patterns] = found
        return found

    def condition(self, text: str) -> Condition:
        """Compiled once; one that does not compile any more is one that errors, so that a table never fails over it."""
        return remembered(self._conditions, self.language, text)


def remembered(memo: dict[str, Condition], language: ConditionLanguage, text: str) -> Condition:
    """The condition from the memo, else compiled and kept."""
    found = memo.get(text)
    if found is None:
        try:
            found = language.compile(text)
        except ConditionSyntaxError as error:
            found = BrokenCondition(text, str(error))
        if len(memo) >= MAX_CONDITIONS:
            memo.clear()
        memo[text] = found
    return found
