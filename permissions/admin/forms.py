"""Forms of the admin: they parse what a browser sent, and hold no rule of the law."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib.admin.widgets import AdminTextareaWidget, AdminTextInputWidget
from django.utils.translation import gettext_lazy as _

from permissions.admin.drafts import Refusal
from permissions.admin.theme import is_unfold


class SpecForm(forms.ModelForm):
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
        text = super().to_python(value)
        return [line.strip() for line in text.splitlines() if line.strip()]

    def has_changed(self, initial: Any, data: Any) -> bool:
        return list(initial or []) != self.to_python(data)
