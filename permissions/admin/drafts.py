"""What a form says, as a bundle line, which bundle, API and admin parse alike; and the way back, from a problem to its field."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.forms import BaseForm, BaseInlineFormSet
from django.utils.translation import gettext as _

from permissions.errors import Invalid, Refused

# Bundle key → field of the form, where they differ.
RENAMED: Final = {"id": "ref", "settings": ""}
_HEAD: Final = re.compile(r"[^.\[]+")


@dataclass(slots=True)
class Draft:
    """`data` is the line; `places` says which row of which inline a part of it came from: `members[2]` → (prefix, row, field)."""

    data: dict[str, Any] = field(default_factory=dict)
    places: dict[str, tuple[str, int, str]] = field(default_factory=dict)

    def add(self, key: str, value: object, formset: BaseInlineFormSet[Any, Any, Any] | None, number: int, name: str) -> None:
        """One more item of a list, and the row of the inline that it was typed into."""
        if formset is None:
            raise TypeError("a row without its inline")
        items = self.data.setdefault(key, [])
        self.places[f"{key}[{len(items)}]"] = (str(formset.prefix), number, name)
        items.append(value)


def kept_rows(formset: BaseInlineFormSet[Any, Any, Any] | None) -> Iterable[tuple[int, dict[str, Any]]]:
    """The rows of an inline that are neither empty nor marked for deletion, with their number in the form."""
    if formset is None:
        return
    for number, form in enumerate(formset.forms):
        cleaned = getattr(form, "cleaned_data", None)
        if not cleaned or cleaned.get("DELETE"):
            continue
        if number >= formset.initial_form_count() and not form.has_changed():
            continue
        yield number, cleaned


def window(cleaned: Mapping[str, Any]) -> dict[str, str]:
    """Both ends of a validity as a bundle has them."""
    found = {}
    for key in ("valid_from", "valid_until"):
        moment = cleaned.get(key)
        if isinstance(moment, dt.datetime):
            found[key] = moment.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
    return found


def of_model(formsets: Sequence[BaseInlineFormSet[Any, Any, Any]], model: type) -> BaseInlineFormSet[Any, Any, Any] | None:
    return next((formset for formset in formsets if formset.model is model), None)


@dataclass(slots=True)
class Refusal:
    """A service's refusal, on its way to the form that caused it."""

    error: Refused
    places: Mapping[str, tuple[str, int, str]] = field(default_factory=dict)

    def messages(self) -> list[tuple[str, str]]:
        """(place, what is wrong)"""
        if isinstance(self.error, Invalid):
            return [(problem.where, problem.message) for problem in self.error.problems]
        return [("", explained(self.error))]

    def show_in_form(self, form: BaseForm) -> None:
        """Each problem at its field; what has none of its own, or stands in an inline, at the top."""
        for where, message in self.messages():
            if self._row(where) is not None:
                continue
            head = _HEAD.match(where)
            name = RENAMED.get(where, head.group() if head else "")
            name = RENAMED.get(name, name)
            if not name and where.startswith("settings."):
                name = where.removeprefix("settings.")
            if name in form.fields:
                form.add_error(name, message)
            else:
                form.add_error(None, f"{where}: {message}" if where else message)
        if not form.errors:
            # The rows below carry the errors; the form must be invalid as well, or it would be written.
            form.add_error(None, _("Nothing was saved: look at the marked rows."))

    def show_in_rows(self, formset: BaseInlineFormSet[Any, Any, Any]) -> None:
        for where, message in self.messages():
            found = self._row(where)
            if found is None or found[0] != formset.prefix or found[1] >= len(formset.forms):
                continue
            form = formset.forms[found[1]]
            name = "condition" if where.endswith(".condition") and "condition" in form.fields else found[2]
            form.add_error(name if name in form.fields else None, message)

    def _row(self, where: str) -> tuple[str, int, str] | None:
        place = where
        while place:
            if place in self.places:
                return self.places[place]
            place = place[: max(place.rfind("."), 0)]
        return None


def explained(error: Refused) -> str:
    """The refusal for a person: what stood in the way, and what would have been needed."""
    if error.code == "escalation":
        return _("You cannot give more than you hold: %(detail)s") % {"detail": error.detail}
    if error.code == "forbidden":
        return _("You may not do this: %(detail)s") % {"detail": error.detail}
    if error.code == "last_administrator":
        return _("The realm would be left without an administrator: %(detail)s") % {"detail": error.detail}
    return error.detail
