"""Records of the engine: what comes in (facts, request), what goes out (decision). No behaviour beyond truthiness.

Times are whole microseconds since the Unix epoch, UTC (`_us`); they may be negative (year 1). The realm, as a node of the
scope chain, is the empty string `REALM`. Entities are written `type:id`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, Protocol

REALM: Final = ""

Combining = Literal["deny_overrides", "overlay"]
Asserted = Literal["override", "fill", "ignore"]
Source = Literal["l1", "redis", "db", "live"]
Attributes = Mapping[str, Any]
NO_ATTRIBUTES: Final[Attributes] = {}


@dataclass(slots=True)
class Request:
    """One question. `asserted` says how the caller's properties meet stored attributes (semantics, "Conditions").

    `resource` None asks about the realm itself.
    """

    subject: str
    permission: str
    resource: str | None = None
    context: Attributes = field(default_factory=dict)
    subject_properties: Attributes = field(default_factory=dict)
    resource_properties: Attributes = field(default_factory=dict)
    action_properties: Attributes = field(default_factory=dict)
    asserted: Asserted = "fill"


@dataclass(frozen=True, slots=True)
class Decision:
    """An answer; truthy when allowed. `revision` is the one it was evaluated at, `source` the deepest layer reached.

    Frozen, so that plain answers can be the same object for every caller: building one took half as long as deciding.
    `stale`: older than the bound, under the realm's static grace. `obligations` are those of the roles and bindings that granted,
    in the order of their ids.
    """

    allowed: bool
    reason: str
    revision: int = 0
    source: Source = "live"
    obligations: tuple[Attributes, ...] = ()
    stale: bool = False

    def __bool__(self) -> bool:
        return self.allowed


@dataclass(frozen=True, slots=True)
class PermissionFact:
    code: str
    requires: tuple[str, ...] = ()
    critical: bool = False
    high_risk: bool = False


@dataclass(frozen=True, slots=True)
class GroupFact:
    name: str
    patterns: tuple[str, ...] = ()


class RoleLineFact(NamedTuple):
    """One line of a role. `condition` is empty for an unconditional line; an `exclude` line never has one.

    A tuple, because a realm has a quarter of a million: it is made in a quarter of a dataclass's time, and compares in a fifth.
    """

    effect: Literal["allow", "exclude", "deny"]
    pattern: str
    condition: str = ""


@dataclass(frozen=True, slots=True)
class RoleFact:
    name: str
    inherits: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    lines: tuple[RoleLineFact, ...] = ()
    valid_from_us: int | None = None
    valid_until_us: int | None = None
    obligations: tuple[Attributes, ...] = ()


@dataclass(frozen=True, slots=True)
class BindingFact:
    """A row of RoleBinding: `role`, or direct `allow` and `deny` patterns. `scope` is a resource or `REALM`.

    `holder` is the subject, team or `type:*` it is written for.
    """

    id: int
    holder: str
    role: str | None = None
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    scope: str = REALM
    condition: str = ""
    valid_from_us: int | None = None
    valid_until_us: int | None = None
    propagate: bool = True
    obligations: tuple[Attributes, ...] = ()


@dataclass(frozen=True, slots=True)
class MembershipFact:
    """`member` (subject or team) belongs to `team` in [valid_from, valid_until)."""

    member: str
    team: str
    valid_from_us: int | None = None
    valid_until_us: int | None = None


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Everything a RoleTable is compiled from: the same for all subjects of a realm.

    `everyone` holds the bindings whose holder is `type:*`.
    """

    realm: str
    combining: Combining = "deny_overrides"
    type_combining: Mapping[str, Combining] = field(default_factory=dict)
    unknown_subjects: Literal["deny", "everyone"] = "deny"
    suspended: bool = False
    permissions: tuple[PermissionFact, ...] = ()
    groups: tuple[GroupFact, ...] = ()
    roles: tuple[RoleFact, ...] = ()
    everyone: tuple[BindingFact, ...] = ()


@dataclass(frozen=True, slots=True)
class SubjectFacts:
    """Rows that concern one subject. `memberships`: every edge of the closure above it, whatever its window.

    `bindings`: those of the subject and of every team in that closure, whatever their window. `known` is False where the
    realm has no row (then the rest is empty, save for teams asserted by an `override` key).
    """

    ref: str
    known: bool = True
    active: bool = True
    locked: bool = False
    superuser: bool = False
    attributes: Attributes = field(default_factory=dict)
    memberships: tuple[MembershipFact, ...] = ()
    bindings: tuple[BindingFact, ...] = ()


@dataclass(frozen=True, slots=True)
class ResourceNodeFact:
    ref: str
    inherit: bool = True


@dataclass(frozen=True, slots=True)
class ResourceFacts:
    """`chain`: the resource's ancestors and itself, root first, without the realm. `known` is False where it has no row."""

    ref: str
    known: bool = True
    attributes: Attributes = field(default_factory=dict)
    chain: tuple[ResourceNodeFact, ...] = ()


class Condition(Protocol):
    """A compiled condition. Immutable and safe to share between threads."""

    text: str

    def evaluate(self, names: Mapping[str, Any]) -> bool:
        """True or False; raises ConditionError for anything else (a missing attribute, a type mismatch, another type)."""


class ConditionLanguage(Protocol):
    def compile(self, text: str) -> Condition:
        """Raises ConditionSyntaxError with a message a person can act on."""


class ConditionError(Exception):
    """A condition could not be evaluated to true or false."""


class ConditionSyntaxError(ValueError):
    """A condition cannot be saved: too long, nested macros, an unknown name or function, or not CEL."""
