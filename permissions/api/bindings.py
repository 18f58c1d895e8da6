"""/api/v1/bindings/: who has what, where. A binding is seen with the permission at its scope, and named by its number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from django.db.models import QuerySet

from permissions.api import queries
from permissions.api.nouns import Line
from permissions.api.writable import WritableNoun
from permissions.bundle.schema import parse_binding, to_dict
from permissions.bundle.specs import BindingSpec
from permissions.errors import Invalid, NotFound, Problem
from permissions.models import Realm, RoleBinding
from permissions.services.bindings import binding_create, binding_delete, binding_update
from permissions.services.specs import binding_spec, bindings_with_names
from permissions.writing import Write


class BindingView(WritableNoun):
    noun = "binding"
    section = "bindings"
    component = "Binding"
    key = "id"
    column = "pk"
    key_type = int
    scoped = True
    searched = ("subject__ref", "role__name", "scope__ref", "reason")
    filters: ClassVar = {
        "subject": queries.text("subject__ref", "Bindings of this subject, team or `type:*`."),
        "subject_type": queries.kind("subject__ref", "Bindings of subjects of this type."),
        "role": queries.nullable_text("role__name", "Bindings of this role; empty: those with direct lists."),
        "scope": queries.nullable_text("scope__ref", "Bindings at this resource; empty: those at the realm."),
        "propagate": queries.flag("propagate", "false: those that reach their scope alone."),
        "granted_by": queries.text("granted_by", "Bindings written by this actor."),
    }

    def rows(self, realm: Realm) -> QuerySet[RoleBinding]:
        return bindings_with_names(realm)

    def lines(self, realm: Realm, rows: Sequence[RoleBinding]) -> list[Line]:
        return [{"id": row.pk, **to_dict(binding_spec(row))} for row in rows]

    def scope_of(self, row: RoleBinding) -> str | None:
        return None if row.scope is None else row.scope.ref

    def seen_row(self, realm: Realm, name: str) -> RoleBinding:
        try:
            row: RoleBinding = self.found(realm, name)
        except NotFound:
            self.asker.require(self.code("view"))
            raise
        self.asker.require(self.code("view"), self.scope_of(row))
        return row

    def body(self, data: object, name: str) -> object:
        """An answer may be sent back as it came, with its `id`."""
        if not isinstance(data, Mapping) or "id" not in data:
            return data
        if isinstance(data["id"], bool) or data["id"] != self.key_of(name):
            raise Invalid([Problem("id", f"is the binding's number, {name} here; it cannot be changed")])
        return {key: value for key, value in data.items() if key != "id"}

    def parse(self, data: object) -> BindingSpec:
        return parse_binding(data)

    def answer(self) -> str:
        return "BindingAnswer"

    def create_row(self, write: Write, spec: BindingSpec) -> RoleBinding:
        return binding_create(actor=self.actor, realm=write.realm, spec=spec)

    def change_row(self, write: Write, name: str, spec: BindingSpec) -> RoleBinding:
        return binding_update(actor=self.actor, realm=write.realm, binding_id=int(name), spec=spec)

    def delete_row(self, write: Write, name: str) -> None:
        binding_delete(actor=self.actor, realm=write.realm, binding_id=int(name))
