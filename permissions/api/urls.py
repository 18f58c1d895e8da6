"""Routes of /api/: two paths a noun, the verbs, the document; whatever else is asked for is a problem document too."""

from __future__ import annotations

from typing import Final

from django.urls import URLPattern, path, re_path

from permissions.api import docs
from permissions.api.audit import AuditView
from permissions.api.base import not_found
from permissions.api.bindings import BindingView
from permissions.api.check import BatchView, CheckView, ExplainView
from permissions.api.groups import GroupView
from permissions.api.keys import KeyView
from permissions.api.menu import MenuView
from permissions.api.nouns import NounView
from permissions.api.permissions import PermissionView
from permissions.api.realms import RealmView
from permissions.api.resources import ResourceView
from permissions.api.revisions import RevisionView
from permissions.api.roles import RoleView
from permissions.api.subjects import SubjectView
from permissions.api.teams import TeamView

NOUNS: Final[tuple[type[NounView], ...]] = (
    RealmView,
    PermissionView,
    GroupView,
    RoleView,
    SubjectView,
    TeamView,
    ResourceView,
    BindingView,
    AuditView,
    RevisionView,
    KeyView,
)


def _of(view: type[NounView]) -> list[URLPattern]:
    # `path` takes slashes: an id may hold them, and nothing nests below an object.
    return [
        path(f"v1/{view.section}/", view.as_view(view.collection), name=f"api-{view.section}"),
        path(f"v1/{view.section}/<path:name>/", view.as_view(view.item), name=f"api-{view.section}-item"),
    ]


urlpatterns = [
    *(pattern for view in NOUNS for pattern in _of(view)),
    path("v1/check", CheckView.as_view(), name="api-check"),
    path("v1/check/batch", BatchView.as_view(), name="api-check-batch"),
    path("v1/explain", ExplainView.as_view(), name="api-explain"),
    path("v1/menu/", MenuView.as_view(), name="api-menu"),
    path("schema/", docs.schema, name="api-schema"),
    path("docs/", docs.docs, name="api-docs"),
    # Last: an unknown path is a problem document as well. Routes of others below /api/ stand before this module's.
    re_path(r"^", not_found, name="api-unknown"),
]
