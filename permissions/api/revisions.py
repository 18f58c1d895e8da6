"""/api/v1/revisions/: every change of the realm's state, with what it touched, as the triggers wrote it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from django.db.models import Count, Max, QuerySet
from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from permissions.api import queries
from permissions.api.nouns import Line, NounView
from permissions.bundle.compact import date_text
from permissions.models import Changelog, Realm

# Objects shown of each revision in a list, where a bulk load may have touched thousands; asked for alone, it shows them all.
SHOWN: Final = 100


class RevisionView(NounView):
    noun = "audit"  # what changed belongs to the audit: there is no managing permission of its own
    section = "revisions"
    component = "Revision"
    key = "revision"
    column = "rev"
    key_type = int
    newest_first = True
    filters: ClassVar = {
        "kind": queries.text(
            "kind", "Revisions that touched this kind: m model, s subject, t team, r resource, k key, f flush, * all."
        ),
        "object": queries.text("object_id", "Revisions that touched this object."),
        "since": queries.instant("at__gte", "Revisions from this instant on."),
        "until": queries.instant("at__lt", "Revisions before this instant."),
    }

    def rows(self, realm: Realm) -> QuerySet[Any]:
        return Changelog.objects.filter(realm_id=realm.pk).order_by()

    def index(self, request: HttpRequest) -> Response:
        realm = self.realm
        self.asker.require(self.code("view"))
        page = self.query.page(self.key, newest_first=True, key_type=int)
        matching = self.rows(realm).filter(self.query.filtered(self.filters))
        if page.after is not None:
            matching = matching.filter(**{f"rev__{'lt' if page.descending else 'gt'}": page.after})
        numbers = list(
            matching.values_list("rev", flat=True).distinct().order_by("-rev" if page.descending else "rev")[: page.limit + 1]
        )
        last = numbers[page.limit - 1] if len(numbers) > page.limit else None
        return Response({"results": self.lines(realm, numbers[: page.limit]), "next": self.next_address(page, last)})

    def lines(self, realm: Realm, rows: Sequence[Any]) -> list[Line]:
        """`rows` are revision numbers."""
        about = {
            found["rev"]: found
            for found in self.rows(realm).filter(rev__in=rows).values("rev").annotate(at=Max("at"), total=Count("object_id"))
        }
        changes: dict[int, list[Line]] = defaultdict(list)
        small = [rev for rev, found in about.items() if found["total"] <= SHOWN]
        for rev, kind, name in self._objects(realm).filter(rev__in=small).values_list("rev", "kind", "object_id"):
            changes[rev].append({"kind": kind, "object": name})
        for rev in about.keys() - set(small):
            changes[rev] = self._changes(self._objects(realm).filter(rev=rev)[:SHOWN])
        return [
            {
                "revision": rev,
                "at": date_text(about[rev]["at"]),
                "changes_total": about[rev]["total"],
                "changes": changes[rev],
            }
            for rev in rows
        ]

    def _objects(self, realm: Realm) -> QuerySet[Any]:
        return self.rows(realm).order_by("rev", "kind", "object_id")

    @staticmethod
    def _changes(rows: QuerySet[Any]) -> list[Line]:
        return [{"kind": kind, "object": name} for kind, name in rows.values_list("kind", "object_id")]

    def retrieve(self, request: HttpRequest, name: str) -> Response:
        realm = self.realm
        self.asker.require(self.code("view"))
        rev = self.found(realm, name).rev
        changes = self._changes(self._objects(realm).filter(rev=rev))
        return Response({**self.lines(realm, [rev])[0], "changes": changes})
