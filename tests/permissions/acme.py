"""The realm `acme`: alice administers it, bob is in her team, charlie manages with the few rights of a steward."""

from __future__ import annotations

from typing import Any

from permissions import pdp
from permissions.bundle.specs import (
    BindingSpec,
    CodeSpec,
    GroupSpec,
    MemberSpec,
    PermissionSpec,
    RealmSpec,
    ResourceSpec,
    RoleSpec,
    SubjectSpec,
    TeamSpec,
)
from permissions.models import AuditEvent, Permission, PermissionGroup, Realm, Resource, Role, RoleBinding, Subject
from permissions.services.bindings import binding_create
from permissions.services.catalog import group_create, permission_create
from permissions.services.realms import realm_create
from permissions.services.resources import resource_create
from permissions.services.roles import role_create
from permissions.services.subjects import subject_create
from permissions.services.teams import team_create
from permissions.writing import SYSTEM, Actor

# Everything a steward needs to manage, and nothing beyond it: no escalation, no realm.
STEWARD = tuple(f"permsite.{noun}:*" for noun in ("binding", "role", "group", "permission", "subject", "team", "resource", "key"))


def person(name: str) -> Actor:
    return Actor("user", f"user:{name}", subject=f"user:{name}")


ALICE, BOB, CHARLIE = person("alice"), person("bob"), person("charlie")


class Acme:
    """Arranges by an administrator's hand, through the same use cases."""

    def __init__(self, name: str = "acme") -> None:
        self.realm: Realm = realm_create(actor=SYSTEM, spec=RealmSpec(name))

    def people(self) -> Acme:
        self.binding("user:alice", allow=("*", "permsite.*:*"))
        self.team("team:eng", "user:bob")
        self.binding("user:charlie", allow=("post:read", *STEWARD))
        return self

    def tree(self) -> Acme:
        self.resource("server:7")
        self.resource("server:8")
        self.resource("channel:9", parent="server:7")
        return self

    def permission(self, code: str, **given: Any) -> Permission:
        return permission_create(actor=SYSTEM, realm=self.realm, spec=PermissionSpec(code, **given))

    def group(self, name: str, *patterns: str) -> PermissionGroup:
        return group_create(actor=SYSTEM, realm=self.realm, spec=GroupSpec(name, permissions=patterns))

    def role(self, name: str, *patterns: str, **given: Any) -> Role:
        lines = tuple(CodeSpec(pattern) for pattern in patterns)
        return role_create(actor=SYSTEM, realm=self.realm, spec=RoleSpec(name, permissions=lines, **given))

    def subject(self, ref: str, **given: Any) -> Subject:
        return subject_create(actor=SYSTEM, realm=self.realm, spec=SubjectSpec(ref, **given))

    def team(self, ref: str, *members: str, **given: Any) -> Subject:
        return team_create(actor=SYSTEM, realm=self.realm, spec=TeamSpec(ref, members=tuple(map(MemberSpec, members)), **given))

    def resource(self, ref: str, **given: Any) -> Resource:
        return resource_create(actor=SYSTEM, realm=self.realm, spec=ResourceSpec(ref, **given))

    def binding(self, subject: str, role: str | None = None, **given: Any) -> RoleBinding:
        return binding_create(actor=SYSTEM, realm=self.realm, spec=BindingSpec(subject, role=role, **given))

    def may(self, subject: str, code: str, resource: str | None = None, **given: Any) -> bool:
        return bool(pdp.check(subject, code, resource, realm=self.realm.name, full=True, **given))

    def audited(self) -> list[AuditEvent]:
        return list(AuditEvent.objects.filter(realm_name=self.realm.name).order_by("seq"))

    def last(self) -> AuditEvent:
        return self.audited()[-1]
