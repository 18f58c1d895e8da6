"""The order in which people look for things: access, people, resources, the realm and its keys, history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from permissions.admin.asker import asker

# (title, slug, models by name). What has no place here comes last, under its own app.
GROUPS: Final[Sequence[tuple[Any, str, tuple[str, ...]]]] = (
    (_("Access"), "access", ("RoleBinding", "Role", "PermissionGroup", "Permission")),
    (_("People"), "people", ("Subject", "Team", "User")),
    (_("Resources"), "resources", ("Resource",)),
    (_("Realm and keys"), "realm", ("Realm", "ApiKey")),
    (_("Operation"), "operation", ("ConfigRevision",)),
    (_("History"), "history", ("AuditEvent",)),
)
ICONS: Final = {
    "RoleBinding": "link",
    "Role": "badge",
    "PermissionGroup": "folder_special",
    "Permission": "key",
    "Subject": "person",
    "Team": "groups",
    "User": "account_circle",
    "Resource": "account_tree",
    "Realm": "public",
    "ApiKey": "vpn_key",
    "ConfigRevision": "tune",
    "AuditEvent": "history",
    "Revision": "timeline",
}
# What each is, in one sentence, on the index.
ABOUT: Final = {
    "RoleBinding": _("Who has which role, and where"),
    "Role": _("Sets of permissions under one name"),
    "PermissionGroup": _("Permissions that belong together, to be used in roles"),
    "Permission": _("What can be asked for"),
    "Subject": _("Whoever asks or is granted something"),
    "Team": _("Subjects that are granted things together"),
    "User": _("Accounts that can log in here"),
    "Resource": _("The tree that bindings hang on"),
    "Realm": _("One tenant with its own law"),
    "ApiKey": _("Services that ask, or manage"),
    "ConfigRevision": _("Limits, breakers and the maintenance switch, live"),
    "AuditEvent": _("Who changed what, and why"),
    "Revision": _("Each change of this realm, in order"),
}


def grouped(request: HttpRequest, apps: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Django's list of apps, with our models under our headings; the same form, so every template of either theme shows it."""
    models = {model["object_name"]: model for app in apps for model in app["models"]}
    if "AuditEvent" in models:
        models["Revision"] = _revisions(request)
    found = []
    for title, slug, names in GROUPS:
        wanted = (*names, "Revision") if slug == "history" else names
        members = [models.pop(name) for name in wanted if name in models]
        if members:
            for member in members:
                member["about"] = ABOUT.get(member["object_name"], "")
                member["icon"] = ICONS.get(member["object_name"], "")
            url = members[0]["admin_url"]
            found.append({"name": title, "app_label": slug, "app_url": url, "has_module_perms": True, "models": members})
    for app in apps:
        rest = [model for model in app["models"] if model["object_name"] in models]
        if rest:
            found.append({**app, "models": rest})
    return found


def _revisions(request: HttpRequest) -> dict[str, Any]:
    return {
        "name": capfirst(_("revisions")),
        "object_name": "Revision",
        "perms": {"add": False, "change": False, "delete": False, "view": True},
        "admin_url": reverse("admin:permissions_realm_revisions", args=[asker(request).realm.pk])
        if asker(request).realm.pk
        else None,
        "add_url": None,
        "view_only": True,
    }


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """The same for Unfold's side bar, with icons."""
    if not admin.site.has_permission(request):
        return []
    groups: list[dict[str, Any]] = [
        {"title": "", "items": [{"title": _("Overview"), "icon": "dashboard", "link": reverse("admin:index")}]},
    ]
    for app in admin.site.get_app_list(request):
        items = [
            {"title": str(model["name"]), "icon": model.get("icon") or "list", "link": model["admin_url"]}
            for model in app["models"]
            if model.get("admin_url")
        ]
        groups.append({"title": str(app["name"]), "separator": True, "items": items})
    return groups
