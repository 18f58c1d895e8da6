"""/api/v1/realms/: tenants with their law. A key manages its own; an administrator's key of the control realm manages all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from django.conf import settings
from django.db.models import Q, QuerySet
from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from permissions import revisions
from permissions.api import queries
from permissions.api.nouns import Line
from permissions.api.writable import WritableNoun, compact
from permissions.bundle.schema import parse_realm
from permissions.bundle.specs import RealmSpec
from permissions.errors import Forbidden
from permissions.models import Realm
from permissions.services.realms import realm_create, realm_delete, realm_update
from permissions.services.specs import realm_spec
from permissions.writing import Write


class RealmView(WritableNoun):
    noun = "realm"
    section = "realms"
    component = "Realm"
    scoped = True
    searched = ("name",)
    filters: ClassVar = {"suspended": queries.flag("suspended", "Suspended ones, or those that are not.")}

    def initial(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if "name" in kwargs:
            self.enter(kwargs["name"])

    @property
    def everywhere(self) -> bool:
        """Whether the caller administers the platform: a superuser, or an administrator's key of the control realm."""
        at_home = not self.asker.is_key or self.asker.realm == settings.CONTROL_REALM
        return self.actor.administrator and at_home

    def enter(self, name: str) -> None:
        """From here on the caller acts in the realm that the path names."""
        if not self.everywhere:
            known = self.key_of(name) is not None and Realm.objects.filter(name=name).exists()
            if not known or (self.asker.is_key and name != self.asker.realm):
                # One answer for a realm of others and for none, so that names of tenants cannot be tried out.
                raise Forbidden("this realm is not one that the caller manages")
        self.asker = replace(self.asker, realm=name)

    def rows(self, realm: Realm) -> QuerySet[Realm]:
        if self.everywhere or "name" in self.kwargs:
            return Realm.objects.all()
        if self.asker.is_key:
            return Realm.objects.filter(pk=realm.pk)
        # Asking each realm's PDP compiles its model: only realms that know the subject can say yes.
        return Realm.objects.filter(Q(subjects__ref=self.asker.subject) | Q(unknown_subjects="everyone")).distinct()

    def visible(self, rows: Sequence[Realm], memo: dict[str | None, bool]) -> list[bool]:
        if self.everywhere:
            return [True] * len(rows)
        return [replace(self.asker, realm=row.name).may(self.code("view")) for row in rows]

    def require_somewhere(self) -> None:
        raise Forbidden(f"this needs {self.code('view')} in a realm")

    def lines(self, realm: Realm, rows: Sequence[Realm]) -> list[Line]:
        return compact([realm_spec(row) for row in rows])

    def parse(self, data: object) -> RealmSpec:
        return parse_realm(data)

    def create(self, request: HttpRequest) -> Response:
        """No write of a realm can be open before there is one: the service opens its own."""
        if self.asker.is_key and not self.everywhere:
            raise Forbidden("a key makes realms only as an administrator of the control realm")
        row = realm_create(actor=self.actor, spec=self.parse(request.data), reason=self.reason, request_id=self.request_id)
        headers = {revisions.HEADER: revisions.mint(revisions.head(row.name)), "Location": self.address(row.name)}
        return Response(self.line(row, row), status=201, headers=headers)

    def create_row(self, write: Write, spec: RealmSpec) -> Realm:
        return realm_create(actor=self.actor, spec=spec)

    def change_row(self, write: Write, name: str, spec: RealmSpec) -> Realm:
        return realm_update(actor=self.actor, realm=write.realm, spec=spec)

    def delete_row(self, write: Write, name: str) -> None:
        realm_delete(actor=self.actor, realm=write.realm)
