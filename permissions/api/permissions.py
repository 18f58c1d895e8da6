"""/api/v1/permissions/: concrete codes. The platform's own (`permsite.*`) are constants, and not listed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from django.db.models import QuerySet

from permissions.api import queries
from permissions.api.nouns import Line
from permissions.api.writable import WritableNoun, compact
from permissions.bundle.schema import parse_permission
from permissions.bundle.specs import PermissionSpec
from permissions.models import Permission, Realm
from permissions.services.catalog import permission_create, permission_delete, permission_update
from permissions.services.specs import permission_specs
from permissions.writing import Write


class PermissionView(WritableNoun):
    noun = "permission"
    section = "permissions"
    component = "Permission"
    key = column = "code"
    searched = ("code", "title", "description")
    filters: ClassVar = {
        "type": queries.kind("code", "Codes of this resource type."),
        "menu": queries.text("menu", "Codes at this menu path."),
        "requires": queries.text("requirements__required__code", "Codes that require this one."),
        "critical": queries.flag("critical", "Codes whose checks always ask the database."),
        "high_risk": queries.flag("high_risk", "Codes shown first wherever access is given."),
    }

    def rows(self, realm: Realm) -> QuerySet[Permission]:
        return Permission.objects.filter(realm=realm)

    def lines(self, realm: Realm, rows: Sequence[Permission]) -> list[Line]:
        specs = permission_specs(realm, rows)
        return compact([specs[row.pk] for row in rows])

    def parse(self, data: object) -> PermissionSpec:
        return parse_permission(data)

    def create_row(self, write: Write, spec: PermissionSpec) -> Permission:
        return permission_create(actor=self.actor, realm=write.realm, spec=spec)

    def change_row(self, write: Write, name: str, spec: PermissionSpec) -> Permission:
        return permission_update(actor=self.actor, realm=write.realm, code=name, spec=spec)

    def delete_row(self, write: Write, name: str) -> None:
        permission_delete(actor=self.actor, realm=write.realm, code=name)
