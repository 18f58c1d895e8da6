"""What a spec must satisfy before it is stored: its texts, its conditions, and the roles and groups it names.

Bundles, the API and the admin parse specs at their own edge; importers and code build them by hand. So each text is judged here
once more, for all of them, and every mistake is collected with its place before any row is written.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from django.core.exceptions import ValidationError

from permissions.bundle.specs import (
    BindingSpec,
    CodeSpec,
    GroupSpec,
    MemberSpec,
    PermissionSpec,
    ResourceSpec,
    RoleSpec,
    SubjectSpec,
    TeamSpec,
)
from permissions.conditions import cel
from permissions.engine import names, platform
from permissions.engine.types import ConditionSyntaxError
from permissions.errors import Invalid, Problem
from permissions.models.catalog import MAX_CONDITION
from permissions.models.fields import validate_attributes, validate_obligations


def join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


class Mistakes:
    """Collects problems with their places; `lines` gives the bundle's line of a place or of the nearest place around it."""

    def __init__(self, lines: Mapping[str, int] | None = None) -> None:
        self.problems: list[Problem] = []
        self._lines = lines or {}
        self._conditions: dict[str, str] = {}
        self._patterns: dict[str, str] = {}

    def note(self, where: str, message: str) -> None:
        self.problems.append(Problem(where, message, self.line_of(where)))

    def line_of(self, where: str) -> int | None:
        place = where
        while place:
            if place in self._lines:
                return self._lines[place]
            place = place[: max(place.rfind("."), place.rfind("["), 0)]
        return None

    def refuse(self) -> None:
        """Raises Invalid if anything was noted."""
        if self.problems:
            raise Invalid(self.problems)

    # -- texts ----------------------------------------------------------------------------------------------------------

    def text(self, check: Callable[[str], object], value: str, where: str) -> None:
        try:
            check(value)
        except names.BadNameError as error:
            self.note(where, str(error))

    def name(self, value: str, where: str) -> None:
        self.text(lambda v: names.check_text(v, "name", max_length=names.MAX_NAME), value, where)

    def ref(self, value: str, where: str, *, everyone: bool = False) -> None:
        self.text(lambda v: names.check_ref(v, "id", everyone=everyone), value, where)

    def words(self, spec: Any, where: str, *keys: str) -> None:
        """Free texts: any but what no database column and no answer can carry."""
        for key in keys:
            text: str = getattr(spec, key)
            if "\x00" in text or any("\ud800" <= c <= "\udfff" for c in text):
                self.note(join(where, key), "holds U+0000 or half of a surrogate pair")

    def value(self, check: Callable[[Any], None], value: Any, where: str) -> None:
        try:
            check(value)
        except ValidationError as error:
            self.note(where, "; ".join(error.messages))

    def pattern(self, value: str, where: str) -> None:
        """A catalogue repeats its patterns thousands of times: each text is judged once."""
        message = self._patterns.get(value)
        if message is None:
            message = ""
            try:
                names.check_pattern(value, "permission")
            except names.BadNameError as error:
                message = str(error)
            else:
                if value.startswith(platform.PREFIX) and not names.is_pattern(value) and value not in platform.CODES:
                    message = f"permission {names.shown(value)} is no code of the platform, and only those begin with permsite."
            self._patterns[value] = message
        if message:
            self.note(where, message)

    def patterns(self, values: Sequence[str], where: str) -> None:
        seen: set[str] = set()
        for place, value in enumerate(values):
            self.pattern(value, f"{where}[{place}]")
            if value in seen:
                self.note(f"{where}[{place}]", f"{names.shown(value)} is named twice")
            seen.add(value)

    def condition(self, text: str, where: str) -> None:
        if not text:
            return
        message = self._conditions.get(text)
        if message is None:
            message = ""
            if len(text) > MAX_CONDITION:
                message = f"the condition has {len(text)} characters; at most {MAX_CONDITION} are allowed"
            else:
                try:
                    cel.language().compile(text)
                except ConditionSyntaxError as error:
                    message = str(error)
            self._conditions[text] = message
        if message:
            self.note(where, message)

    def lines(self, values: Sequence[CodeSpec], where: str) -> None:
        seen: set[CodeSpec] = set()
        for place, line in enumerate(values):
            self.pattern(line.code, f"{where}[{place}]")
            self.condition(line.condition, f"{where}[{place}].condition")
            if line in seen:
                self.note(f"{where}[{place}]", f"{names.shown(line.code)} is named twice")
            seen.add(line)

    def window(self, spec: RoleSpec | MemberSpec | BindingSpec, where: str) -> None:
        start, end = spec.valid_from, spec.valid_until
        for key, moment in (("valid_from", start), ("valid_until", end)):
            if moment is not None and moment.tzinfo is None:
                self.note(join(where, key), "a moment needs a time zone")
                return
        if start is not None and end is not None and start >= end:
            self.note(join(where, "valid_until"), "valid_from must be earlier than valid_until")

    # -- specs ----------------------------------------------------------------------------------------------------------

    def permission(self, spec: PermissionSpec, where: str) -> None:
        self.text(lambda v: names.check_code(v, "permission"), spec.code, join(where, "code"))
        self.words(spec, where, "title", "description", "menu")
        if spec.code.startswith(platform.PREFIX):
            self.note(join(where, "code"), f"codes that begin with {platform.PREFIX} belong to the platform")
        for place, code in enumerate(spec.requires):
            here = f"{join(where, 'requires')}[{place}]"
            self.text(lambda v: names.check_code(v, "permission"), code, here)
            if code.startswith(platform.PREFIX):
                self.note(here, f"{names.shown(code)} belongs to the platform and cannot be required")
            if code == spec.code:
                self.note(here, "a permission cannot require itself")

    def group(self, spec: GroupSpec, where: str) -> None:
        self.name(spec.name, join(where, "name"))
        self.words(spec, where, "title", "description")
        self.patterns(spec.permissions, join(where, "permissions"))

    def role(self, spec: RoleSpec, where: str, *, roles: Collection[str], groups: Collection[str]) -> None:
        self.name(spec.name, join(where, "name"))
        self.words(spec, where, "title", "description")
        self.role_names(spec, where, roles=roles, groups=groups)
        self.lines(spec.permissions, join(where, "permissions"))
        self.patterns(spec.exclude, join(where, "exclude"))
        self.lines(spec.deny, join(where, "deny"))
        self.value(validate_obligations, list(spec.obligations), join(where, "obligations"))
        self.window(spec, where)

    def role_names(self, spec: RoleSpec, where: str, *, roles: Collection[str], groups: Collection[str]) -> None:
        """What a role names must be there: a typing error must not make an empty role."""
        for place, name in enumerate(spec.inherits):
            here = f"{join(where, 'inherits')}[{place}]"
            if name == spec.name:
                self.note(here, "a role cannot inherit from itself")
            elif name not in roles:
                self.note(here, f"there is no role {names.shown(name)}")
        for place, name in enumerate(spec.groups):
            if name not in groups:
                self.note(f"{join(where, 'groups')}[{place}]", f"there is no permission group {names.shown(name)}")

    def subject(self, spec: SubjectSpec | TeamSpec, where: str) -> None:
        self.ref(spec.id, join(where, "id"))
        self.value(validate_attributes, spec.attributes, join(where, "attributes"))

    def team(self, spec: TeamSpec, where: str) -> None:
        self.subject(spec, where)
        seen: set[str] = set()
        for place, member in enumerate(spec.members):
            here = f"{join(where, 'members')}[{place}]"
            self.member(spec.id, member, here)
            if member.id in seen:
                self.note(here, f"{names.shown(member.id)} is a member twice")
            seen.add(member.id)

    def member(self, team: str, member: MemberSpec, where: str) -> None:
        self.ref(member.id, where)
        self.window(member, where)
        if member.id == team:
            self.note(where, "a team cannot be its own member")

    def resource(self, spec: ResourceSpec, where: str) -> None:
        self.ref(spec.id, join(where, "id"))
        if spec.parent is not None:
            self.ref(spec.parent, join(where, "parent"))
        if spec.parent == spec.id:
            self.note(join(where, "parent"), "a resource cannot be its own parent")
        self.value(validate_attributes, spec.attributes, join(where, "attributes"))

    def binding(self, spec: BindingSpec, where: str, *, roles: Collection[str]) -> None:
        self.ref(spec.subject, join(where, "subject"), everyone=True)
        if spec.role is not None and (spec.allow or spec.deny):
            self.note(where, "names a role and direct permissions; split it into two bindings")
        elif spec.role is None and not spec.allow and not spec.deny:
            self.note(where, "names neither a role nor permissions to allow or deny")
        self.binding_names(spec, where, roles=roles)
        self.patterns(spec.allow, join(where, "allow"))
        self.patterns(spec.deny, join(where, "deny"))
        if spec.scope is not None:
            self.ref(spec.scope, join(where, "scope"))
        self.condition(spec.condition, join(where, "condition"))
        self.words(spec, where, "reason")
        self.value(validate_obligations, list(spec.obligations), join(where, "obligations"))
        self.window(spec, where)

    def binding_names(self, spec: BindingSpec, where: str, *, roles: Collection[str]) -> None:
        if spec.role is not None and spec.role not in roles:
            self.note(join(where, "role"), f"there is no role {names.shown(spec.role)}")
