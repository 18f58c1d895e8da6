"""Every right asked at the PDP, every POST inside permission_write, every refusal shown and nothing changed; the theme.

Validation must read after the lock (architecture, "The walk of one change"), so the write is opened around Django's whole view.
A refusal leaves the block as an exception, which undoes everything; the view then runs once more outside it, with a form that
carries the refusal and therefore cannot be saved.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import ForeignKey, JSONField, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from permissions.admin import theme
from permissions.admin.asker import Asker, actor_of, asker, choose_realm, current_realm, forget_answers, keep_token
from permissions.admin.drafts import Refusal, explained
from permissions.admin.forms import BoundedJSONField, is_key, with_bounded_keys, with_names
from permissions.errors import Refused
from permissions.models import Realm
from permissions.writing import Actor, Write, run_write

View = Callable[[], HttpResponse]
MAX_REASON = 1000


class GuardedAdmin(theme.ModelAdmin):
    """Base of every object's admin: rights are those of the PDP, and a POST is one write."""

    noun: ClassVar[str] = ""
    # Whether the right is held at a node of the resource tree; else it is held at the realm.
    scoped: ClassVar[bool] = False
    change_list_template = "permissions/admin/change_list.html"
    change_form_template = "permissions/admin/change_form.html"
    delete_confirmation_template = "permissions/admin/delete.html"
    delete_selected_confirmation_template = "permissions/admin/delete.html"
    list_per_page = 50
    list_max_show_all = 200
    show_full_result_count = False
    show_facets = admin.ShowFacets.ALLOW
    # What an empty list says to do.
    empty_hint: ClassVar[Any] = ""

    def code(self, verb: str) -> str:
        return f"permsite.{self.noun}:{verb}"

    def node_of(self, obj: Any) -> str | None:
        """The resource at which rights on `obj` are held; None for the realm."""
        return None

    def _may(self, request: HttpRequest, verb: str, obj: Any = None) -> bool:
        ask = asker(request)
        if obj is None:
            return ask.may_somewhere(self.code(verb)) if self.scoped else ask.may(self.code(verb))
        return self.realm_of(obj).pk == ask.realm.pk and ask.may(self.code(verb), self.node_of(obj))

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._may(request, "view", obj) or self.has_change_permission(request, obj)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self._may(request, "create")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._may(request, "change", obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._may(request, "delete", obj)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_authenticated) and self.has_view_permission(request)

    def realm_of(self, obj: Any) -> Realm:
        realm: Realm = obj.realm
        return realm

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = super().get_queryset(request)
        return self.visible(request, rows.filter(realm=current_realm(request)))

    def visible(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Those of `rows` that may be viewed."""
        return rows

    def follow_realm(self, request: HttpRequest, object_id: str | None) -> None:
        """The session moves to the realm of the object that is opened, if it may be viewed there."""
        if object_id is None:
            return
        try:
            key = self.opts.pk.to_python(unquote(object_id))
            obj = self.model._default_manager.filter(pk=key).first()
        except (ValidationError, ValueError):
            return
        if obj is None or self.realm_of(obj).pk == current_realm(request).pk:
            return
        there = Asker(request, self.realm_of(obj))
        if any(there.may(self.code(verb), self.node_of(obj)) for verb in ("view", "change")):
            choose_realm(request, there.realm)
            messages.info(request, _("You now work in the realm %(realm)s, where this belongs.") % {"realm": there.realm})

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        kwargs.setdefault("queryset", in_realm(db_field, current_realm(request)))
        return with_bounded_keys(super().formfield_for_foreignkey(db_field, request, **kwargs))

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Texts and JSON in boxes of a few lines: ten empty ones push the rest of the form off the screen."""
        if isinstance(db_field, JSONField):
            kwargs["form_class"] = BoundedJSONField
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None and isinstance(field.widget, forms.Textarea):
            field.widget.attrs["rows"] = 3
        return with_names(field)

    def actor(self, request: HttpRequest) -> Actor:
        return actor_of(request)

    def in_write(self, request: HttpRequest, view: View, refused: Callable[[Refused], HttpResponse]) -> HttpResponse:
        """Runs `view` inside a write of the current realm. What it wrote stays only if it ended without a refusal."""

        def work(write: Write) -> HttpResponse:
            forget_answers(request)
            request._permsite_write = write  # type: ignore[attr-defined]
            return view()

        realm = current_realm(request)
        try:
            response, write = run_write(realm, self.actor(request), reason_of(request), work, request_id=request_id_of(request))
        except Refused as error:
            request._permsite_realm = None  # type: ignore[attr-defined]
            forget_answers(request)
            return refused(error)
        forget_answers(request)
        if write.changed and write.token:
            keep_token(response, write.token, secure=request.is_secure())
        return response

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        self.follow_realm(request, object_id)
        parent = super().changeform_view

        def view() -> HttpResponse:
            return parent(request, object_id, form_url, extra_context)

        if request.method != "POST":
            return view()
        # Before the lock: someone without any right must not make others wait for it.
        allowed = self.has_add_permission(request) if object_id is None else self.has_change_permission(request)
        if not allowed:
            raise PermissionDenied

        def refused(error: Refused) -> HttpResponse:
            places = getattr(request, "_permsite_places", {})
            request._permsite_refusal = Refusal(error, places)  # type: ignore[attr-defined]
            return view()

        return self.in_write(request, view, refused)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        self.follow_realm(request, object_id)
        parent = super().delete_view
        if request.method != "POST":
            return parent(request, object_id, extra_context)
        if not self.has_delete_permission(request):
            raise PermissionDenied

        def refused(error: Refused) -> HttpResponse:
            messages.error(request, explained(error))
            return HttpResponseRedirect(request.path)

        return self.in_write(request, lambda: parent(request, object_id, extra_context), refused)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        parent = super().changelist_view
        context = {"empty_hint": self.empty_hint, **(extra_context or {})}
        if request.method != "POST":
            return parent(request, context)
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        # Django hands the chosen keys to the database as they come, and fails on one that is no number.
        posted = request.POST.copy()
        if helpers.ACTION_CHECKBOX_NAME in posted:
            chosen = posted.getlist(helpers.ACTION_CHECKBOX_NAME)
            posted.setlist(helpers.ACTION_CHECKBOX_NAME, [key for key in chosen if is_key(key)])
            request.POST = posted  # type: ignore[assignment]  # a copy may take its place

        def refused(error: Refused) -> HttpResponse:
            messages.error(request, _("Nothing was changed. %(why)s") % {"why": explained(error)})
            return HttpResponseRedirect(request.get_full_path())

        return self.in_write(request, lambda: parent(request, context), refused)

    # (name of the URL, title, path) of further pages beside the form.
    pages: ClassVar[tuple[tuple[str, Any], ...]] = ()

    def page_tabs(self, request: HttpRequest, obj: Any, active: str = "change") -> list[dict[str, Any]]:
        """Links from page to page of one object. Real pages, so that what they compute costs nothing until it is asked for."""
        items = [("change", gettext_lazy("Details")), *self.pages, ("history", gettext_lazy("History"))]
        return [{"title": title, "url": self.url(name, obj.pk), "active": name == active} for name, title in items]

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        obj = kwargs.get("obj")
        if obj is not None:
            context["page_tabs"] = self.page_tabs(request, obj)
        context["ask_reason"] = self.asks_reason(request, obj)
        context["change_reason"] = request.POST.get("change_reason", "")
        return super().render_change_form(request, context, *args, **kwargs)

    def asks_reason(self, request: HttpRequest, obj: Any) -> bool:
        """Whether the form ends with the question why."""
        return self.has_add_permission(request) if obj is None else self.has_change_permission(request, obj)

    def url(self, name: str, *args: Any) -> str:
        return reverse(f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_{name}", args=args)

    def page_context(self, request: HttpRequest, obj: Any, active: str, title: Any) -> dict[str, Any]:
        return {
            **self.admin_site.each_context(request),
            "title": title,
            "subtitle": str(obj),
            "opts": self.opts,
            "original": obj,
            "object_id": str(obj.pk),
            "page_tabs": self.page_tabs(request, obj, active),
            "media": self.media,
        }

    def object_or_denied(self, request: HttpRequest, object_id: str) -> Any:
        """For a page about one object: the object, or None where there is none. Raises PermissionDenied."""
        self.follow_realm(request, object_id)
        obj = self.get_object(request, unquote(object_id))
        if not self.has_view_or_change_permission(request, obj):
            raise PermissionDenied
        return obj

    def gone(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Back to the index, saying that there is no such object."""
        return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[no-any-return,attr-defined]

    # Two histories that disagree are worse than one: Django's own log stays empty, the audit of the write is the history.
    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        return None

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        return None

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        return None

    def construct_change_message(self, request: HttpRequest, form: Any, formsets: Any, add: bool = False) -> list[dict[str, Any]]:
        return []

    def audited_as(self, obj: Any) -> tuple[str, str]:
        """Object type and id under which the services audit it."""
        return self.noun, str(obj)

    def history_view(self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        from permissions.admin.history import history_page  # noqa: PLC0415 - it needs this class

        obj = self.object_or_denied(request, object_id)
        return self.gone(request, object_id) if obj is None else history_page(self, request, obj)


def in_realm(db_field: ForeignKey[Any, Any], realm: Realm) -> QuerySet[Any]:
    """The rows a foreign key may name: those of the realm, so that a key of another one is no valid choice."""
    model: Any = db_field.related_model
    rows: QuerySet[Any] = model._default_manager.all()
    if any(f.name == "realm" for f in model._meta.fields):
        rows = rows.filter(realm=realm)
    return rows


def reason_of(request: HttpRequest) -> str:
    """Why, as the person typed it; control characters would make the audit unreadable."""
    text = request.POST.get("change_reason", "") or request.POST.get("reason", "")
    return "".join(c for c in text if c.isprintable()).strip()[:MAX_REASON]


def request_id_of(request: HttpRequest) -> str:
    return str(getattr(request, "request_id", ""))
