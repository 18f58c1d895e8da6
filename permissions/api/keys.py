"""/api/v1/keys/: API keys. The key itself is answered once, when it is made; deleting one revokes it, and its row stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from django.db.models import QuerySet
from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from permissions.api import queries
from permissions.api.nouns import Line, NounView
from permissions.api.openapi import Operation, ref
from permissions.api.writable import hiding
from permissions.bundle.compact import date_text
from permissions.bundle.fields import Fields, Problems, parse_date
from permissions.engine import names
from permissions.engine.types import Asserted
from permissions.errors import Invalid
from permissions.models import ApiKey, Realm
from permissions.models.identity import ASSERTED
from permissions.services.keys import key_create, key_revoke
from permissions.writing import Write


@dataclass(frozen=True, slots=True)
class NewKeyLine:
    """What is asked of a new key."""

    name: str
    subject: str | None
    asserted: Asserted
    admin: bool
    valid_until: Any


class KeyView(NounView):
    noun = "key"
    section = "keys"
    component = "Key"
    key = "id"
    column = "pk"
    key_type = int
    searched = ("name", "prefix", "subject__ref")
    collection: ClassVar = {"get": "index", "post": "create"}
    item: ClassVar = {"get": "retrieve", "delete": "remove"}
    filters: ClassVar = {
        "name": queries.text("name", "Keys of this name; one that was revoked leaves its name free."),
        "subject": queries.nullable_text("subject__ref", "Keys that act as this subject; empty: those that act as none."),
        "admin": queries.flag("is_admin", "Administrators' keys, or the others."),
        "asserted": queries.text("asserted", "Keys with this mode."),
        "revoked": queries.absent("revoked_at", "Revoked ones, or those that are not."),
    }

    def rows(self, realm: Realm) -> QuerySet[ApiKey]:
        return ApiKey.objects.filter(realm=realm).select_related("subject")

    def lines(self, realm: Realm, rows: Sequence[ApiKey]) -> list[Line]:
        return [
            {
                "id": row.pk,
                "name": row.name,
                "prefix": row.prefix,
                "asserted": row.asserted,
                "subject": None if row.subject is None else row.subject.ref,
                "admin": row.is_admin,
                "created_at": date_text(row.created_at),
                "created_by": row.created_by,
                "valid_until": None if row.valid_until is None else date_text(row.valid_until),
                "revoked_at": None if row.revoked_at is None else date_text(row.revoked_at),
            }
            for row in rows
        ]

    def create(self, request: HttpRequest) -> Response:
        asked = read_key(request.data)

        def work(write: Write) -> tuple[int, Line]:
            row, plain = key_create(
                actor=self.asker.manager(),
                realm=write.realm,
                name=asked.name,
                subject=asked.subject,
                asserted=asked.asserted,
                is_admin=asked.admin,
                valid_until=asked.valid_until,
            )
            return row.pk, {**self.line(write.realm, self.rows(write.realm).get(pk=row.pk)), "key": plain}

        (pk, line), headers = self.write(work)
        return Response(line, status=201, headers={**headers, "Location": f"/api/v1/keys/{pk}/"})

    def remove(self, request: HttpRequest, name: str) -> Response:
        def work(write: Write) -> None:
            key_revoke(actor=self.asker.manager(), realm=write.realm, key_id=int(name))

        _, headers = hiding(self, lambda: self.write(work))
        return Response(status=204, headers=headers)

    def possible_operations(self) -> dict[str, Operation]:
        return {
            **super().possible_operations(),
            "create": Operation(
                "keys_create",
                "Make a key",
                "keys",
                ref("NewKey"),
                201,
                ref("KeyLine"),
                about="`key` in the answer is the key itself; it is stored as a hash and never shown again.",
                writes=True,
                problems=(404,),
            ),
            "remove": Operation(
                "keys_revoke",
                "Revoke a key",
                "keys",
                None,
                204,
                writes=True,
                problems=(404,),
                parameters=(self.name_parameter(),),
            ),
        }


def read_key(data: object) -> NewKeyLine:
    """The body of a new key. Raises Invalid with every mistake and its place."""
    problems = Problems()
    fields = Fields(data, "", problems, ("name", "subject", "asserted", "admin", "valid_until"))
    name = fields.required("name", lambda value: names.check_text(value, "name", max_length=names.MAX_NAME))
    subject = fields.optional("subject", lambda value: names.check_ref(value, "subject"))
    asserted = fields.choice("asserted", [mode for mode, _ in ASSERTED], "fill")
    admin = fields.flag("admin", default=False)
    valid_until = None
    if fields.data.get("valid_until") is not None:
        try:
            valid_until = parse_date(fields.data["valid_until"])
        except ValueError as error:
            fields.note("valid_until", str(error))
    if problems:
        raise Invalid(problems)
    return NewKeyLine(name, subject, cast(Asserted, asserted), admin, valid_until)
