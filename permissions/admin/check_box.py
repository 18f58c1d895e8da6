"""The check box: one question about one subject, its answer, the path that decided or what would help. It changes nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from permissions import pdp
from permissions.admin.asker import asker
from permissions.admin.reasons import EFFECTS, OUTCOMES, REASONS
from permissions.models import Permission, Resource

if TYPE_CHECKING:
    from permissions.admin.base import GuardedAdmin

ASK: Final = "permsite.decision:ask"
# Suggestions of the browser's own list: enough to choose from, and a page stays small.
SUGGESTED: Final = 300


class CheckForm(forms.Form):
    permission = forms.CharField(
        label=gettext_lazy("Permission"),
        max_length=255,
        widget=forms.TextInput(attrs={"class": "ps-input", "list": "ps-codes", "placeholder": "post:edit"}),
    )
    resource = forms.CharField(
        label=gettext_lazy("Resource"),
        max_length=512,
        required=False,
        help_text=gettext_lazy("Empty: the realm itself."),
        widget=forms.TextInput(attrs={"class": "ps-input", "list": "ps-resources", "placeholder": "channel:9"}),
    )
    context = forms.CharField(
        label=gettext_lazy("Context (JSON)"),
        max_length=10_000,
        required=False,
        help_text=gettext_lazy('What conditions may look at, such as {"mfa": true}.'),
        widget=forms.Textarea(attrs={"class": "ps-input ps-code", "rows": 2, "spellcheck": "false"}),
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        options.setdefault("auto_id", "check_%s")
        super().__init__(*args, **options)

    def clean_context(self) -> dict[str, Any]:
        text = self.cleaned_data["context"].strip()
        if not text:
            return {}
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise forms.ValidationError(_("This is not JSON: %(error)s") % {"error": error}) from error
        if not isinstance(value, dict):
            raise forms.ValidationError(_('The context must be a JSON object, such as {"mfa": true}.'))
        return value


def box(model_admin: GuardedAdmin, request: HttpRequest, obj: Any, form: CheckForm | None = None) -> dict[str, Any]:
    """What the template of the box needs, on whichever page it stands."""
    realm = model_admin.realm_of(obj)
    return {
        "form": form if form is not None else CheckForm(initial={k: request.GET.get(k, "") for k in ("permission", "resource")}),
        "url": model_admin.url("check", obj.pk),
        "codes": Permission.objects.filter(realm=realm).order_by("code").values_list("code", flat=True)[:SUGGESTED],
        "resources": Resource.objects.filter(realm=realm).order_by("ref").values_list("ref", flat=True)[:SUGGESTED]
        if asker(request).may("permsite.resource:view")
        else [],
        "subject": str(obj),
    }


def check_page(model_admin: GuardedAdmin, request: HttpRequest, obj: Any) -> HttpResponse:
    """The box, and its answer once something was asked."""
    form = CheckForm(request.POST) if request.method == "POST" else None
    answer = _answer(request, obj, form) if form is not None and form.is_valid() else None
    return TemplateResponse(
        request,
        "permissions/admin/check.html",
        {
            **model_admin.page_context(request, obj, "check", _("Check")),
            "check_box": box(model_admin, request, obj, form),
            "answer": answer,
        },
    )


def _answer(request: HttpRequest, obj: Any, form: CheckForm) -> dict[str, Any] | None:
    ask = asker(request)
    code, resource = form.cleaned_data["permission"].strip(), form.cleaned_data["resource"].strip() or None
    # A person asks about themselves; about others only where they hold the right to ask.
    if obj.ref != ask.ref and not ask.may(ASK, resource):
        where = resource or _("the realm")
        form.add_error(None, _("Asking about others takes %(code)s at %(where)s.") % {"code": ASK, "where": where})
        return None
    try:
        told = pdp.explain(obj.ref, code, resource, context=form.cleaned_data["context"], realm=ask.realm.name, full=True)
    except pdp.InvalidRequestError as error:
        form.add_error(None, str(error))
        return None
    except pdp.Unavailable:
        form.add_error(None, REASONS["unavailable"])
        return None
    return told_in_words(told.to_dict())


def told_in_words(told: dict[str, Any]) -> dict[str, Any]:
    """The explanation with each step's words beside its codes."""

    def step(item: dict[str, Any]) -> dict[str, Any]:
        return {
            **item,
            "effect_text": EFFECTS.get(item["effect"], item["effect"]),
            "outcome_text": OUTCOMES.get(item["outcome"], item["outcome"]),
            "condition_texts": [(c["text"], OUTCOMES.get(c["outcome"], c["outcome"])) for c in item["conditions"]],
        }

    return {
        **told,
        "reason_text": REASONS.get(told["reason"], told["reason"]),
        "path": [step(item) for item in told["path"]],
        "considered": [step(item) for item in told["considered"]],
    }
