"""PermissionMiddleware: rules by route and path, declarations of views, strictness, and the checks that list what is missing."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.test import AsyncClient, Client, RequestFactory
from django.urls import URLResolver, include, re_path
from django.urls import path as path_of
from django.urls.resolvers import RegexPattern

from permissions import pdp, revisions
from permissions.errors import Invalid, Problem
from permissions.pep import freshness, rules, system_checks
from tests.permissions.pep.test_guide import PAGE
from tests.permissions.pep.urls import ashown
from tests.permissions.pep.world import WORLD
from tests.worlds import apply

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.permissions.pep.urls")]

RULES = [
    {"view": "login", "open": "one must be able to log in"},
    {"view": "bare", "permission": "post:edit", "resource": "post:{pk}", "methods": ["GET"]},
    {"path": r"^/page/", "permission": "post:purge"},
]


@pytest.fixture(autouse=True)
def _site(tables: None, db: None, settings: Any) -> None:
    apply(WORLD)
    settings.LOGIN_URL = "/login/"
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, system_checks.MIDDLEWARE]
    settings.PERMISSION_RULES = RULES


@pytest.fixture
def alice(client: Client) -> Client:
    client.force_login(User.objects.create_user("alice"))
    return client


def test_a_rule_guards_the_routes_it_names(alice: Client) -> None:
    assert alice.get("/bare/7/").status_code == 200
    assert alice.head("/bare/7/").status_code == 200
    assert alice.get("/bare/8/").status_code == 403
    assert alice.get("/page/7/").status_code == 403
    assert Client().get("/bare/7/").status_code == 302


def test_a_view_may_say_itself_what_it_needs(alice: Client) -> None:
    assert alice.get("/named/").status_code == 200
    alice.force_login(User.objects.create_user("charlie"))
    assert alice.get("/named/").status_code == 403


def test_a_rule_does_not_stand_in_for_what_the_view_says(alice: Client, settings: Any) -> None:
    settings.PERMISSION_RULES = [{"view": "*", "open": "everything"}]
    alice.force_login(User.objects.create_user("charlie"))
    assert alice.get("/named/").status_code == 403
    assert alice.get("/realm/").status_code == 403


def test_strict_refuses_whatever_says_nothing(alice: Client, settings: Any) -> None:
    assert alice.post("/bare/8/").status_code == 200, "the rule names GET alone"
    assert alice.get("/overriding/7/").content == b"passed by"
    settings.PERMISSION_STRICT = True
    assert alice.post("/bare/8/").status_code == 403
    assert alice.get("/overriding/7/").status_code == 403, "its own dispatch passes the guard by"
    for path in ("/open/", "/login/", "/named/", "/realm/", "/class/7/", "/decorated/7/", "/bare/7/", "/api/bare/"):
        assert alice.get(path).status_code in (200, 403), path
    assert alice.get("/open/").status_code == alice.get("/login/").status_code == alice.get("/class/7/").status_code == 200
    assert alice.get("/nothing-here/").status_code == 404


def test_under_asgi_the_rules_are_the_same(settings: Any) -> None:
    settings.PERMISSION_STRICT = True

    async def asked() -> list[int]:
        client = AsyncClient()
        await client.aforce_login(await User.objects.acreate(username="alice"))
        return [(await client.get(path)).status_code for path in ("/bare/7/", "/bare/8/", "/async/", "/overriding/7/")]

    assert async_to_sync(asked)() == [200, 403, 200, 403]


def test_where_no_decision_can_be_given_inside_a_view_the_answer_is_503(alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> Any:
        raise pdp.Unavailable("the database does not answer")

    monkeypatch.setattr(pdp, "permitted", away)
    response = alice.get("/unguarded-list/")
    assert (response.status_code, response["Retry-After"]) == (503, "1")


def test_what_a_view_asks_is_as_fresh_as_its_request(alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def noted(request: Any, kind: str, **given: Any) -> Any:
        seen.append(given["token"])
        return permitted(request, kind, **given)

    permitted = pdp.permitted
    monkeypatch.setattr(pdp, "permitted", noted)
    token = revisions.mint(revisions.head("default"))
    alice.get("/unguarded-list/", headers={revisions.HEADER: token})
    alice.get("/unguarded-list/")
    assert seen == [token, None]
    assert freshness.current() == freshness.ANY


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("x", "a list of rules"),
        ([7], r"PERMISSION_RULES\[0\] is a mapping"),
        ([{"permission": "post:view"}], "names no view and no path"),
        ([{"view": "x"}], "either a permission, or why"),
        ([{"view": "x", "permission": "post:view", "open": "both"}], "either a permission, or why"),
        ([{"view": "x", "permission": "post"}], "resource_type:action"),
        ([{"view": "x", "permission": "post:*"}], "pattern"),
        ([{"view": "x", "permission": "post:view", "resource": 7}], "resource must be"),
        ([{"view": "x", "permission": "post:view", "methods": "GET"}], "methods is a list"),
        ([{"path": "(", "permission": "post:view"}], r"PERMISSION_RULES\[0\]: "),
        ([{"view": "x", "open": "why", "wiev": 1}], "unknown key 'wiev'"),
    ],
)
def test_a_mistake_in_a_rule_stops_the_start_and_is_named(wrong: Any, says: str, settings: Any) -> None:
    settings.PERMISSION_RULES = wrong
    with pytest.raises(ImproperlyConfigured, match=says):
        rules.rules()
    assert [found.id for found in system_checks.every_view_says_what_it_needs(None)] == ["permissions.E010"]


def test_the_check_lists_what_says_nothing(settings: Any) -> None:
    settings.PERMISSION_RULES = RULES[:2]
    (found,) = system_checks.every_view_says_what_it_needs(None)
    assert "/overriding/<int:pk>/ (overriding)" in found.msg
    assert "/page/<int:pk>/ (page)" in found.msg
    for fine in ("/realm/", "/named/", "/login/", "/open/", "/api/posts/", "/class/", "/async/"):
        assert fine not in found.msg
    assert "open to everybody" in found.msg
    settings.PERMISSION_STRICT = True
    assert "refused to everybody" in system_checks.every_view_says_what_it_needs(None)[0].msg
    settings.MIDDLEWARE = settings.MIDDLEWARE[:-1]
    assert system_checks.every_view_says_what_it_needs(None) == []


def test_the_check_names_rest_views_that_name_no_permission() -> None:
    assert [found.msg for found in system_checks.every_rest_view_names_a_permission(None)] == [
        "Silent at /api/silent/ has HasPermission and no required_permission: every request is refused."
    ]


def test_a_composition_counts_only_where_both_must_agree() -> None:
    from rest_framework.permissions import AllowAny, IsAuthenticated

    from permissions.pep.drf import HasPermission

    for classes, expected in (
        ([IsAuthenticated & HasPermission], True),
        ([IsAuthenticated, HasPermission], True),
        ([AllowAny | HasPermission], False),
        ([~HasPermission], False),
        ([IsAuthenticated], False),
    ):

        def view(request: HttpRequest) -> None: ...

        view.cls = type("View", (), {"permission_classes": classes})  # type: ignore[attr-defined]
        assert rules.guards_itself(view) is expected, classes


def test_a_list_inside_a_view_tells_a_bad_token_and_has_perm_does_not(alice: Client) -> None:
    head = revisions.head("default")
    ahead = revisions.mint(dataclasses.replace(head, rev=head.rev + 1_000))
    for path in ("/unguarded-list/", "/listing/"):
        for token, status in (("nonsense", 400), (ahead, 409), (revisions.mint(head), 200), ("full", 200)):
            assert alice.get(path, headers={revisions.HEADER: token}).status_code == status, (path, token)
        assert alice.get(path).status_code == 200
    for token in ("nonsense", ahead):
        with freshness.within(RequestFactory().get("/", headers={revisions.HEADER: token})):
            assert User.objects.get(username="alice").has_perm("post:view"), "the newest state answers"


def test_an_error_of_a_view_is_not_taken_for_a_bad_token(alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: object, **__: object) -> Any:
        raise Invalid([Problem("name", "is empty")])

    monkeypatch.setattr(pdp, "permitted", wrong)
    for path in ("/unguarded-list/", "/listing/"):
        with pytest.raises(Invalid, match="is empty"):
            alice.get(path, headers={revisions.HEADER: "full"})


def silent(settings: Any, *declared: Any) -> str:
    settings.PERMISSION_RULES = list(declared)
    found = system_checks.every_view_says_what_it_needs(None)
    return str(found[0].msg) if found else ""


def test_a_rule_for_one_path_does_not_hide_the_views_at_others(settings: Any) -> None:
    """With the settings of the guide."""
    block = re.findall(r"```python\n(INSTALLED_APPS.*?)```", PAGE.read_text(), re.S)[0]
    given: dict[str, Any] = {}
    exec(block, given)
    said = silent(settings, *given["PERMISSION_RULES"])
    assert said.startswith("3 views say nothing")
    for path in ("/overriding/<int:pk>/", "/bare/<int:pk>/", "/page/<int:pk>/"):
        assert path in said
    assert "/login/" not in said


@pytest.mark.parametrize(
    ("path", "hides"),
    [
        ("^/page/", True),
        ("/page/", True),
        (r"^/page/\d+/$", True),
        (r"^/(page|bare)/", True),
        (r"\A/pa", True),
        ("^/", True),
        (".*", True),
        ("^/page/$", False),
        ("^/page/7/", False),
        ("^/$", False),
        ("^/reports/", False),
        (r"^/page/\d/$", False),
        ("page/", False),
    ],
)
def test_a_route_is_matched_where_the_rule_matches_its_paths(path: str, hides: bool, settings: Any) -> None:
    assert ("/page/<int:pk>/" not in silent(settings, {"path": path, "open": "why"})) is hides


@pytest.mark.parametrize(
    ("route", "path", "hides"),
    [
        (re_path(r"^old/$", ashown), "^/old/$", True),
        (re_path(r"^old/$", ashown), "^/new/", False),
        (re_path(r"^old/(?P<year>[0-9]{4})/$", ashown), r"^/old/\d{4}/", True),
        (re_path(r"^old/(?P<year>[0-9]{4})/$", ashown), "^/old/", True),
        (re_path(r"^old/(?P<year>[0-9]{4})/$", ashown), "^/login/", False),
        (re_path(r"^old/(?P<year>[0-9]{4})/$", ashown), "^/old/$", False),
        (re_path(r"^old/(?P<year>[0-9]{4})/$", ashown), "^/$", False),
        (path_of("files/<path:name>", ashown), "^/files/.+", True),
        (path_of("files/<path:name>", ashown), "^/files/x$", False),
        (path_of("<slug:one>/<int:two>/", ashown), r"^/[\w-]+/\d+/$", True),
        (path_of("<slug:one>/<int:two>/", ashown), "^/login/", False),
        (path_of("in/", include([path_of("<uuid:one>/", ashown)])), r"^/in/[0-9a-f-]{36}/$", True),
        (path_of("in/", include([path_of("<uuid:one>/", ashown)])), "^/in/x", False),
    ],
)
def test_whatever_way_a_route_is_written(
    route: Any, path: str, hides: bool, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver = URLResolver(RegexPattern(r"^/"), [route])
    monkeypatch.setattr(system_checks, "get_resolver", lambda: resolver)
    assert (silent(settings, {"path": path, "open": "why"}) == "") is hides


def test_two_rules_may_match_a_route_together_and_a_name_counts_as_well(settings: Any) -> None:
    some, others = {"path": r"^/page/\d/", "open": "why"}, {"path": r"^/page/\d\d+/", "permission": "post:view"}
    assert "/page/" in silent(settings, some)
    assert "/page/" not in silent(settings, some, others)
    assert "/page/" not in silent(settings, {"path": "^/page/", "view": "pa*", "open": "why"})
    assert "/page/" in silent(settings, {"path": "^/page/", "view": "other", "open": "why"})
    assert "/page/" in silent(settings, {"path": "^/page/", "methods": ["GET"], "open": "POST is left"})
