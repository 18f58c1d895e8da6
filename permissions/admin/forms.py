"""Forms of the admin: they parse what a browser sent, and hold no rule of the law."""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar

from django import forms
from django.contrib.admin.widgets import AdminTextareaWidget, AdminTextInputWidget, AutocompleteSelect
from django.forms.fields import InvalidJSONInput
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from permissions.admin.drafts import Refusal
from permissions.admin.theme import is_unfold


class SpecForm(forms.ModelForm):  # type: ignore[type-arg]  # generic in the stubs alone
    """A form whose content a service judges. What the service refused comes back as errors at the fields it named."""

    # Set on the class that ModelAdmin.get_form builds for one request.
    refusal: ClassVar[Refusal | None] = None

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]  # Django's hook, unknown to the stubs
        if self.refusal is not None:
            self.refusal.show_in_form(self)


def text_widget() -> forms.TextInput:
    if is_unfold():
        from unfold.widgets import UnfoldAdminTextInputWidget  # noqa: PLC0415 - not installed under the plain theme

        widget: forms.TextInput = UnfoldAdminTextInputWidget()
        return widget
    return AdminTextInputWidget()


def lines_widget(rows: int = 4) -> forms.Textarea:
    if is_unfold():
        from unfold.widgets import UnfoldAdminTextareaWidget  # noqa: PLC0415 - not installed under the plain theme

        widget: forms.Textarea = UnfoldAdminTextareaWidget(attrs={"rows": rows})
        return widget
    return AdminTextareaWidget(attrs={"rows": rows})


class BoundedKeys:
    """Before a completing select: keys that are none are left out. Django asks the database for them and fails on a text."""

    def optgroups(self, name: str, value: list[Any], attr: dict[str, Any] | None = None) -> Any:
        return super().optgroups(name, [key for key in value if is_key(key)], attr)  # type: ignore[misc]  # a mixin


@cache
def _bounded(widget: type) -> type:
    return type(f"Bounded{widget.__name__}", (BoundedKeys, widget), {})


def with_bounded_keys(field: Any) -> Any:
    """The field of a foreign key, whose select takes any text a browser can send."""
    if field is not None and isinstance(field.widget, AutocompleteSelect):
        field.widget.__class__ = _bounded(type(field.widget))
    return field


def with_names(field: Any) -> Any:
    """The two boxes of a moment, each with a name of its own: Django's theme writes theirs beside them, tied to nothing."""
    if field is not None and isinstance(field.widget, forms.SplitDateTimeWidget):
        for part, what in zip(field.widget.widgets, (_("date"), _("time")), strict=True):
            part.attrs["aria-label"] = format_lazy("{}: {}", field.label, what)
    return field


def is_key(value: object) -> bool:
    """Whether a text can be a primary key: digits that fit into 64 bits."""
    text = str(value)
    return text.isascii() and text.isdecimal() and len(text) < 19


class BoundedJSONField(forms.JSONField):
    """JSON of any depth is an error of the form; the parser's own limit would be a failure of the page."""

    def to_python(self, value: Any) -> Any:
        try:
            return super().to_python(value)
        except RecursionError:
            raise forms.ValidationError(_("This JSON nests too deeply.")) from None

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return super().has_changed(initial, data)
        except RecursionError:
            return True

    def bound_data(self, data: Any, initial: Any) -> Any:
        try:
            return super().bound_data(data, initial)
        except RecursionError:
            return InvalidJSONInput(data)


class PatternsField(forms.CharField):
    """Permissions, one a line; the value is a list of texts."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("required", False)
        options.setdefault("widget", lines_widget())
        options.setdefault("help_text", _("One permission a line, such as post:edit or post:*."))
        super().__init__(**options)

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(map(str, value)) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value) or ""
        return [line.strip() for line in text.splitlines() if line.strip()]

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(list(initial or []) != self.to_python(data))
