"""/api/v1/teams/: subjects that hold subjects and teams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from django.db.models import QuerySet

from permissions.api import queries
from permissions.api.nouns import Line
from permissions.api.writable import WritableNoun, compact
from permissions.bundle.schema import parse_team
from permissions.bundle.specs import TeamSpec
from permissions.models import Realm, Subject
from permissions.services.specs import team_specs
from permissions.services.teams import team_create, team_delete, team_update
from permissions.writing import Write


class TeamView(WritableNoun):
    noun = "team"
    section = "teams"
    component = "Team"
    key = "id"
    column = "ref"
    searched = ("ref",)
    filters: ClassVar = {
        "type": queries.kind("ref", "Teams of this type."),
        "member": queries.text("member_rows__member__ref", "Teams that hold this subject or team directly."),
        "active": queries.flag("active", "Active ones, or those that are not."),
        "locked": queries.flag("locked", "Locked ones, or those that are not."),
    }

    def rows(self, realm: Realm) -> QuerySet[Subject]:
        return Subject.objects.filter(realm=realm, kind="team")

    def lines(self, realm: Realm, rows: Sequence[Subject]) -> list[Line]:
        specs = team_specs(realm, rows)
        return compact([specs[row.pk] for row in rows])

    def parse(self, data: object) -> TeamSpec:
        return parse_team(data)

    def create_row(self, write: Write, spec: TeamSpec) -> Subject:
        return team_create(actor=self.actor, realm=write.realm, spec=spec)

    def change_row(self, write: Write, name: str, spec: TeamSpec) -> Subject:
        return team_update(actor=self.actor, realm=write.realm, ref=name, spec=spec)

    def delete_row(self, write: Write, name: str) -> None:
        team_delete(actor=self.actor, realm=write.realm, ref=name)
