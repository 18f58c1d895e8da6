"""The screens beside the list of versions: a section, one entry of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from controlplane.admin.base import (
    TITLES,
    missing,
    reason_of,
    request_id_of,
    show_refusal,
    switch_url,
    tabs,
    typed_version,
    url,
)
from controlplane.admin.base import may as may_do
from controlplane.admin.forms import NameForm, ParamsForm
from controlplane.services import config as service
from controlplane.services.rights import CONFIG_CHANGE, CONFIG_PAGE, CONFIG_VIEW
from permissions.admin.asker import actor_of
from permissions.errors import NotFound, Refused
from resilience import params

if TYPE_CHECKING:
    from controlplane.admin.revisions import ConfigRevisionAdmin


class Screens:
    """Mixed into the ModelAdmin, which gives the site and the model."""

    def page(self, request: HttpRequest, template: str, active: str, title: Any, **more: Any) -> HttpResponse:
        admin: ConfigRevisionAdmin = self  # type: ignore[assignment]  # the class it is mixed into
        context = {
            **admin.admin_site.each_context(request),
            "title": title,
            "opts": admin.opts,
            "media": admin.media,
            "page_tabs": tabs(request, active),
            "change_reason": request.POST.get("change_reason", ""),
            **more,
        }
        return TemplateResponse(request, f"controlplane/admin/{template}.html", context)

    # A section
    def section_view(self, request: HttpRequest, section: str) -> HttpResponse:
        declared = self._declared(request, section)
        if not declared.keyed:
            return self._whole_view(request, declared)
        revision = service.active()
        form = NameForm(request.GET if "name" in request.GET else None)
        if form.is_bound and form.is_valid():
            return HttpResponseRedirect(url("entry", section, form.cleaned_data["name"]))
        values = service.values_of(section, revision)
        rows = [(name, url("entry", section, name), sorted(values[name].items())) for name in sorted(values)]
        return self.page(
            request,
            "section",
            section,
            TITLES.get(section, section),
            section=section,
            about=_(declared.help),
            rows=rows,
            named=[(name, url("entry", section, name)) for name in service.declared_names(section) if name not in values],
            form=form,
            missing=missing(request, CONFIG_CHANGE, CONFIG_PAGE),
        )

    def _whole_view(self, request: HttpRequest, declared: params.Section) -> HttpResponse:
        """A section without names is one entry."""
        revision = service.active()
        posted = request.method == "POST"
        form = ParamsForm(declared, request.POST if posted else None, service.values_of(declared.name, revision))
        if posted:
            if not may_do(request, CONFIG_CHANGE, CONFIG_PAGE):
                raise PermissionDenied
            done = self._written(request, form, declared.name, declared.name, form.entry()) if form.is_valid() else None
            if done is not None:
                return done
        return self.page(
            request,
            "entry",
            declared.name,
            TITLES.get(declared.name, declared.name),
            section=declared.name,
            section_title=TITLES.get(declared.name, declared.name),
            form=form,
            version=0 if revision is None else revision.version,
            back=url("changelist"),
            missing=missing(request, CONFIG_CHANGE, CONFIG_PAGE),
        )

    def entry_view(self, request: HttpRequest, section: str, name: str) -> HttpResponse:
        declared = self._declared(request, section)
        if not declared.keyed:
            raise Http404
        try:
            params.name_text(name)
        except params.Mistake:
            raise Http404 from None
        revision = service.active()
        version = 0 if revision is None else revision.version
        values = service.values_of(section, revision)
        posted = request.method == "POST"
        form = ParamsForm(declared, request.POST if posted else None, values.get(name))
        if name not in values:
            form.propose(request.GET)
        if posted:
            if not may_do(request, CONFIG_CHANGE, CONFIG_PAGE):
                raise PermissionDenied
            others = {key: value for key, value in values.items() if key != name}
            if "remove" in request.POST:
                form = ParamsForm(declared, None, values.get(name))
                form.full_clean()
                wanted: dict[str, Any] | None = others
            else:
                wanted = {**others, name: form.entry()} if form.is_valid() else None
            done = None if wanted is None else self._written(request, form, section, f"{section}.{name}", wanted)
            if done is not None:
                return done
        return self.page(
            request,
            "entry",
            section,
            name,
            section=section,
            section_title=TITLES.get(section, section),
            name=name,
            form=form,
            version=version,
            back=url("section", section),
            exists=name in values,
            missing=missing(request, CONFIG_CHANGE, CONFIG_PAGE),
        )

    def _written(
        self, request: HttpRequest, form: ParamsForm, section: str, path: str, wanted: dict[str, Any]
    ) -> HttpResponse | None:
        """None: refused, and the form says why. `path`: of what the form edits."""
        try:
            done = service.section_change(
                actor=actor_of(request),
                section=section,
                values=wanted,
                expected=typed_version(request),
                reason=reason_of(request),
                request_id=request_id_of(request),
            )
        except Refused as error:
            if form.is_bound:
                show_refusal(form, error, path)
            else:
                messages.error(request, error.detail)
            return None
        tell(request, done)
        return HttpResponseRedirect(url("section", section))

    def _declared(self, request: HttpRequest, section: str) -> params.Section:
        if not may_do(request, CONFIG_VIEW, CONFIG_PAGE):
            raise PermissionDenied
        try:
            return service.known(section)
        except NotFound:
            raise Http404 from None

    # The switch
    def maintenance_view(self, request: HttpRequest) -> HttpResponse:
        """It has moved to a page of the control plane; a bookmark still leads there. What was posted here turns nothing."""
        return HttpResponseRedirect(switch_url())


def tell(request: HttpRequest, done: service.Changed) -> None:
    """What was done, and whether the other processes were told at once."""
    messages.success(request, _("Version %(version)s is in force.") % {"version": done.revision.version})
    if done.announced is False:
        messages.warning(request, _("The store could not be told: other processes follow within some seconds."))


__all__ = ["Screens", "tell"]
