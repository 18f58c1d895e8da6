"""Forms made from the parameter tables. They only read what a browser sent; the tables judge it."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from typing import Any, Final

from django import forms
from django.utils.text import format_lazy
from django.utils.translation import gettext, gettext_lazy

from resilience import params
from resilience.params import Param

# What a browser's own field for a moment sends; it has no zone, and the label says UTC.
_LOCAL: Final = re.compile(r"\d{4,}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?\Z")
_BOOLEANS: Final = {"true": True, "false": False}
_NOT_SET: Final = gettext_lazy("not set")


def field_of(param: Param, *, blank: bool = True) -> forms.Field:
    """`blank`: the field may say that nothing is set."""
    field: forms.Field
    attrs: dict[str, Any] = {"class": "ps-input", "autocomplete": "off"}
    if param.type in ("choice", "bool"):
        choices = [(name, name) for name in (param.choices or _BOOLEANS)]
        field = forms.CharField(widget=forms.Select(attrs=attrs, choices=[("", _NOT_SET), *choices] if blank else choices))
    elif param.type in ("int", "float"):
        attrs |= {"inputmode": "decimal" if param.type == "float" else "numeric", "placeholder": default_text(param)}
        field = forms.CharField(max_length=40, widget=forms.TextInput(attrs=attrs))
    elif param.type == "texts":
        field = forms.CharField(max_length=100_000, widget=forms.Textarea(attrs={**attrs, "rows": 3, "spellcheck": "false"}))
    elif param.type == "moment":
        field = forms.CharField(max_length=60, widget=forms.TextInput(attrs={**attrs, "type": "datetime-local", "step": "1"}))
    else:
        field = forms.CharField(max_length=2_000, widget=forms.TextInput(attrs=attrs))
    field.required = False
    field.label = param.name
    field.help_text = help_of(param)
    return field


def help_of(param: Param) -> Any:
    text: Any = gettext_lazy(param.help)
    bounds = bounds_of(param) if param.type in ("int", "float") else ""
    bounds = "UTC" if param.type == "moment" else bounds
    extra = format_lazy("{} {}", text, format_lazy("({})", bounds)) if bounds else text
    return format_lazy("{} {}", extra, gettext_lazy("One a line.")) if param.type == "texts" else extra


def bounds_of(param: Param) -> str:
    """In signs, which every language reads."""
    least, most = (None if bound is None else params.number_text(bound) for bound in (param.min, param.max))
    if least is not None and most is not None:
        return f"{least} – {most}"
    return f"≥ {least}" if least is not None else f"≤ {most}" if most is not None else ""


def default_text(param: Param) -> str:
    return "" if param.default is None else str(param.default)


def as_text(param: Param, value: Any) -> str:
    """What the field shows for a value."""
    if value is None:
        return ""
    if param.type == "bool":
        return "true" if value else "false"
    if param.type == "texts":
        return "\n".join(value)
    if param.type == "moment":
        return dt.datetime.fromtimestamp(value, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return str(value)


def as_value(param: Param, text: str) -> Any:
    """What the field says, for the table to judge: a text that is no number stays one, and is refused there."""
    if param.type == "texts":
        return [line.strip() for line in text.splitlines() if line.strip()]
    if param.type == "bool":
        return _BOOLEANS.get(text, text)
    if param.type == "moment":
        return f"{text}Z" if _LOCAL.match(text) else text
    if param.type in ("int", "float"):
        return _number(text, whole=param.type == "int")
    return text


def _number(text: str, *, whole: bool) -> int | float | str:
    if "_" in text:  # Python reads 1_000, people do not
        return text
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return text if whole else float(text)
    except ValueError:
        return text


class ParamsForm(forms.Form):
    """One entry of a section. What is left empty is not set."""

    def __init__(self, section: params.Section, data: Any = None, values: Mapping[str, Any] | None = None) -> None:
        given = {param.name: as_text(param, (values or {}).get(param.name)) for param in section.params}
        super().__init__(data, initial=given, auto_id="param_%s")
        self._section = section
        for param in section.params:
            # A single section is always whole: its switch has no "not set".
            self.fields[param.name] = field_of(param, blank=section.keyed or param.default is None)

    def propose(self, query: Mapping[str, str]) -> None:
        """What a link fills in; nothing is set before somebody saves it."""
        for name in self.fields:
            if query.get(name):
                self.initial[name] = str(query[name])[:200]

    def entry(self) -> dict[str, Any]:
        """Only what is set. Call it once the form is valid as a form."""
        found = {}
        for param in self._section.params:
            text = self.cleaned_data.get(param.name, "")
            if text != "":
                found[param.name] = as_value(param, text)
        return found


class NameForm(forms.Form):
    """The name of a new entry."""

    name = forms.CharField(
        label=gettext_lazy("Name"),
        max_length=100,
        help_text=gettext_lazy("As the code names it: letters, digits, '_', '.' or '-'."),
        widget=forms.TextInput(attrs={"class": "ps-input", "autocomplete": "off", "spellcheck": "false"}),
    )

    def clean_name(self) -> str:
        try:
            return params.name_text(self.cleaned_data["name"])
        except params.Mistake:
            raise forms.ValidationError(gettext("A name is 1 to 100 letters, digits, '_', '.' or '-'.")) from None
