"""/api/v1/resources/: the tree that bindings hang on. Each node is seen with the permission at that node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from django.db.models import QuerySet

from permissions.api import queries
from permissions.api.nouns import Line
from permissions.api.writable import WritableNoun, compact
from permissions.bundle.schema import parse_resource
from permissions.bundle.specs import ResourceSpec
from permissions.engine import names
from permissions.errors import NotFound
from permissions.models import Realm, Resource
from permissions.services.resources import resource_create, resource_delete, resource_update
from permissions.services.specs import resource_spec
from permissions.writing import Write


class ResourceView(WritableNoun):
    noun = "resource"
    section = "resources"
    component = "Resource"
    key = "id"
    column = "ref"
    scoped = True
    searched = ("ref",)
    filters: ClassVar = {
        "type": queries.kind("ref", "Resources of this type."),
        "parent": queries.nullable_text("parent__ref", "Children of this resource; empty: those directly below the realm."),
        "inherit": queries.flag("inherit", "false: private nodes, which no allow from above reaches."),
    }

    def rows(self, realm: Realm) -> QuerySet[Resource]:
        return Resource.objects.filter(realm=realm).select_related("parent")

    def lines(self, realm: Realm, rows: Sequence[Resource]) -> list[Line]:
        return compact([resource_spec(row) for row in rows])

    def scope_of(self, row: Resource) -> str | None:
        return row.ref

    def seen_row(self, realm: Realm, name: str) -> Resource:
        try:
            names.check_ref(name, "id")
        except names.BadNameError as error:
            self.asker.require(self.code("view"))
            raise NotFound(str(error)) from error
        self.asker.require(self.code("view"), name)
        row: Resource = self.found(realm, name)
        return row

    def parse(self, data: object) -> ResourceSpec:
        return parse_resource(data)

    def create_row(self, write: Write, spec: ResourceSpec) -> Resource:
        return resource_create(actor=self.actor, realm=write.realm, spec=spec)

    def change_row(self, write: Write, name: str, spec: ResourceSpec) -> Resource:
        return resource_update(actor=self.actor, realm=write.realm, ref=name, spec=spec)

    def delete_row(self, write: Write, name: str) -> None:
        resource_delete(actor=self.actor, realm=write.realm, ref=name)
