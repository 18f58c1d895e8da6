"""/api/v1/groups/: permission groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from django.db.models import QuerySet

from permissions.api import queries
from permissions.api.nouns import Line
from permissions.api.writable import WritableNoun, compact
from permissions.bundle.schema import parse_group
from permissions.bundle.specs import GroupSpec
from permissions.models import PermissionGroup, Realm
from permissions.services.catalog import group_create, group_delete, group_update
from permissions.services.specs import group_specs
from permissions.writing import Write


class GroupView(WritableNoun):
    noun = "group"
    section = "groups"
    component = "Group"
    searched = ("name", "title", "description")
    filters: ClassVar = {"permission": queries.text("lines__pattern", "Groups that hold exactly this code or pattern.")}

    def rows(self, realm: Realm) -> QuerySet[PermissionGroup]:
        return PermissionGroup.objects.filter(realm=realm)

    def lines(self, realm: Realm, rows: Sequence[PermissionGroup]) -> list[Line]:
        specs = group_specs(realm, rows)
        return compact([specs[row.pk] for row in rows])

    def parse(self, data: object) -> GroupSpec:
        return parse_group(data)

    def create_row(self, write: Write, spec: GroupSpec) -> PermissionGroup:
        return group_create(actor=self.actor, realm=write.realm, spec=spec)

    def change_row(self, write: Write, name: str, spec: GroupSpec) -> PermissionGroup:
        return group_update(actor=self.actor, realm=write.realm, name=name, spec=spec)

    def delete_row(self, write: Write, name: str) -> None:
        group_delete(actor=self.actor, realm=write.realm, name=name)
