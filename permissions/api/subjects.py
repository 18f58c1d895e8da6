"""/api/v1/subjects/: whoever asks or is granted something; teams have a path of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from django.db.models import QuerySet

from permissions.api import queries
from permissions.api.nouns import Line
from permissions.api.writable import WritableNoun, compact
from permissions.bundle.schema import parse_subject
from permissions.bundle.specs import SubjectSpec
from permissions.models import Realm, Subject
from permissions.services.specs import subject_spec
from permissions.services.subjects import subject_create, subject_delete, subject_update
from permissions.writing import Write


class SubjectView(WritableNoun):
    noun = "subject"
    section = "subjects"
    component = "Subject"
    key = "id"
    column = "ref"
    searched = ("ref",)
    filters: ClassVar = {
        "type": queries.kind("ref", "Subjects of this type."),
        "team": queries.text("membership_rows__team__ref", "Direct members of this team."),
        "active": queries.flag("active", "Active ones, or those that are not."),
        "locked": queries.flag("locked", "Locked ones, or those that are not."),
    }

    def rows(self, realm: Realm) -> QuerySet[Subject]:
        return Subject.objects.filter(realm=realm, kind="subject")

    def lines(self, realm: Realm, rows: Sequence[Subject]) -> list[Line]:
        return compact([subject_spec(row) for row in rows])

    def parse(self, data: object) -> SubjectSpec:
        return parse_subject(data)

    def create_row(self, write: Write, spec: SubjectSpec) -> Subject:
        return subject_create(actor=self.actor, realm=write.realm, spec=spec)

    def change_row(self, write: Write, name: str, spec: SubjectSpec) -> Subject:
        return subject_update(actor=self.actor, realm=write.realm, ref=name, spec=spec)

    def delete_row(self, write: Write, name: str) -> None:
        subject_delete(actor=self.actor, realm=write.realm, ref=name)
