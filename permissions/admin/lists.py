"""Parts of the lists: filters whose options are found without reading every row, and counts that cost nothing for rows unseen."""

from __future__ import annotations

import datetime as dt
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Count, IntegerField, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


def with_counts(rows: QuerySet[Any], **counts: tuple[Any, str]) -> QuerySet[Any]:
    """`name=(model, key)`: how many rows of the model point here.

    A join would group whole tables; a subquery runs for the rows of the page alone.
    """
    columns = {}
    for name, (model, key) in counts.items():
        pointing = model._default_manager.filter(**{key: OuterRef("pk")}).order_by().values(key)
        columns[name] = Coalesce(Subquery(pointing.annotate(n=Count("pk")).values("n"), output_field=IntegerField()), 0)
    found: QuerySet[Any] = rows.annotate(**columns)
    return found


class TypeFilter(admin.SimpleListFilter):
    """By the first part of a code or ref. Offered only while there are few: the search finds the rest."""

    title = _("type")
    parameter_name = "type"
    column = "code"
    most: ClassVar[int] = 12

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        # Django asks several times a page.
        known: dict[str, list[str]] = request.__dict__.setdefault("_permsite_types", {})
        label = model_admin.opts.label
        if label not in known:
            known[label] = self._types(
                model_admin.get_queryset(request).order_by(self.column).values_list(self.column, flat=True)
            )
        return [(kind, kind) for kind in known[label]]

    def _types(self, rows: QuerySet[Any, Any]) -> list[str]:
        """Skips from type to type along the index instead of reading every row."""
        found: list[str] = []
        last = ""
        while len(found) <= self.most:
            # ';' is the character after ':', so everything of the last type lies below it.
            after = rows.filter(**{f"{self.column}__gt": last}).first()
            kind = "" if after is None else after.partition(":")[0]
            # A database that orders otherwise would give the same type for ever.
            if not kind or kind in found:
                return found
            found.append(kind)
            last = f"{kind};"
        return []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset if not value else queryset.filter(**{f"{self.column}__startswith": f"{value}:"})


class RefTypeFilter(TypeFilter):
    column = "ref"


class ValidityFilter(admin.SimpleListFilter):
    """In force, not yet, ended, or ending within a week."""

    title = _("validity")
    parameter_name = "validity"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            ("now", _("in force")),
            ("soon", _("ends within 7 days")),
            ("ended", _("ended")),
            ("later", _("not yet valid")),
            ("open", _("without an end")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        now = timezone.now()
        begun = Q(valid_from__isnull=True) | Q(valid_from__lte=now)
        lasting = Q(valid_until__isnull=True) | Q(valid_until__gt=now)
        match self.value():
            case "now":
                return queryset.filter(begun & lasting)
            case "soon":
                return queryset.filter(valid_until__gt=now, valid_until__lte=now + dt.timedelta(days=7))
            case "ended":
                return queryset.filter(valid_until__lte=now)
            case "later":
                return queryset.filter(valid_from__gt=now)
            case "open":
                return queryset.filter(valid_until__isnull=True)
        return queryset


def validity(obj: Any) -> Any:
    """What the window of an object means now, in words."""
    now = timezone.now()
    if obj.valid_from is not None and obj.valid_from > now:
        return _("from %(moment)s") % {"moment": short(obj.valid_from)}
    if obj.valid_until is None:
        return _("without an end")
    if obj.valid_until <= now:
        return _("ended %(moment)s") % {"moment": short(obj.valid_until)}
    return _("until %(moment)s") % {"moment": short(obj.valid_until)}


def short(moment: dt.datetime) -> str:
    """To the minute, in UTC, alike in every language."""
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M")
