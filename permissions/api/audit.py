"""/api/v1/audit/: who changed what, with before and after. It is read, never written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from django.db.models import QuerySet

from permissions.api import queries
from permissions.api.nouns import Line, NounView
from permissions.bundle.compact import date_text
from permissions.models import AuditEvent, Realm


class AuditView(NounView):
    noun = "audit"
    section = "audit"
    component = "AuditEntry"
    key = "id"
    column = "pk"
    key_type = int
    newest_first = True
    searched = ("object_id", "actor", "action", "reason")
    filters: ClassVar = {
        "actor": queries.text("actor", "Entries of this actor, such as `user:alice` or `key:ci`."),
        "actor_kind": queries.text("actor_kind", "`administrator` finds break-glass and administrators' keys."),
        "action": queries.text("action", "Entries of this action."),
        "object_type": queries.text("object_type", "Entries about this kind of object."),
        "object_id": queries.text("object_id", "Entries about this object."),
        "request_id": queries.text("request_id", "Entries of this request."),
        "revision": queries.number("revision", "Entries of this revision."),
        "since": queries.instant("at__gte", "Entries from this instant on."),
        "until": queries.instant("at__lt", "Entries before this instant."),
    }

    @property
    def one(self) -> str:
        return "an audit entry"

    def rows(self, realm: Realm) -> QuerySet[AuditEvent]:
        return AuditEvent.objects.filter(realm_name=realm.name)

    def lines(self, realm: Realm, rows: Sequence[AuditEvent]) -> list[Line]:
        return [
            {
                "id": row.pk,
                "realm": row.realm_name,
                "seq": row.seq,
                "at": date_text(row.at),
                "actor": row.actor,
                "actor_kind": row.actor_kind,
                "action": row.action,
                "object_type": row.object_type,
                "object_id": row.object_id,
                "reason": row.reason,
                "request_id": row.request_id,
                "revision": row.revision,
                "before": row.before,
                "after": row.after,
                "prev_hash": row.prev_hash,
                "payload_hash": row.payload_hash,
                "hash": row.hash,
            }
            for row in rows
        ]
