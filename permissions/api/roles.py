"""/api/v1/roles/: roles with what they inherit, hold, leave out and deny."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from django.db.models import Exists, OuterRef, Q, QuerySet

from permissions.api import queries
from permissions.api.nouns import Line
from permissions.api.writable import WritableNoun, compact
from permissions.bundle.schema import parse_role
from permissions.bundle.specs import RoleSpec
from permissions.models import Realm, Role, RoleLine
from permissions.services.roles import role_create, role_delete, role_update
from permissions.services.specs import role_specs
from permissions.writing import Write


def _names(pattern: str) -> Q:
    # EXISTS, not a join: a role may name one pattern several times, under different conditions.
    return Q(Exists(RoleLine.objects.filter(role=OuterRef("pk"), pattern=pattern)))


class RoleView(WritableNoun):
    noun = "role"
    section = "roles"
    component = "Role"
    searched = ("name", "title", "description")
    filters: ClassVar = {
        "inherits": queries.text("parents__parent__name", "Roles that inherit directly from this one."),
        "group": queries.text("role_groups__group__name", "Roles that hold this permission group."),
        "permission": queries.Filter(_names, "Roles with a line of exactly this code or pattern.", {"type": "string"}),
    }

    def rows(self, realm: Realm) -> QuerySet[Role]:
        return Role.objects.filter(realm=realm)

    def lines(self, realm: Realm, rows: Sequence[Role]) -> list[Line]:
        specs = role_specs(realm, rows)
        return compact([specs[row.pk] for row in rows])

    def parse(self, data: object) -> RoleSpec:
        return parse_role(data)

    def create_row(self, write: Write, spec: RoleSpec) -> Role:
        return role_create(actor=self.actor, realm=write.realm, spec=spec)

    def change_row(self, write: Write, name: str, spec: RoleSpec) -> Role:
        return role_update(actor=self.actor, realm=write.realm, name=name, spec=spec)

    def delete_row(self, write: Write, name: str) -> None:
        role_delete(actor=self.actor, realm=write.realm, name=name)
