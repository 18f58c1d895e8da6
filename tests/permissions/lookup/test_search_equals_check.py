"""The law of search: a result is in the list if and only if a check of the same question with it put in says yes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.contrib.auth import get_user_model

from permissions import pdp
from permissions.engine.types import Request
from permissions.lookup import candidates, resources
from permissions.lookup.paging import Page
from permissions.models import Permission
from tests.permissions.lookup.random_realm import DOCS, FOLDERS, KINDS, OTHERS, TEAMS, TYPES, USERS, Drawn
from tests.worlds import OFFICE, apply

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

QUESTIONS = 6


def paged(ask: Callable[[str | None], Page]) -> list[str]:
    """All pages of a search, put together."""
    found: list[str] = []
    after: str | None = None
    for _ in range(200):
        page = ask(after)
        found += page.results
        after = page.next_after
        if after is None:
            return found
    raise AssertionError("the pages do not end")


def difference(world: Drawn, request: Request, superuser: bool) -> str:
    """The first search that finds anything else than the checks do, in words; empty where there is none."""
    realm, limit = world.name, world.rnd.choice((1, 2, 3, 1000))
    prefix = str(request.resource).partition(":")[0] + ":"
    codes = Permission.objects.filter(realm__name=realm, code__startswith=prefix).values_list("code", flat=True)
    asked = {ref: replace(request, subject=ref) for ref in (*USERS, *OTHERS, *TEAMS)}
    asked |= {ref: replace(request, resource=ref) for ref in (*DOCS, *FOLDERS)}
    asked |= {code: replace(request, permission=code) for code in codes}
    decisions = pdp.decide_many(list(asked.values()), realm=realm, superuser=superuser)
    allowed = sorted(name for name, decision in zip(asked, decisions, strict=True) if decision)
    options: Any = {"limit": limit, "realm": realm, "superuser": superuser}
    for kind in world.rnd.sample(TYPES, 2):
        wanted = [ref for ref in allowed if ref.startswith(f"{kind}:")]
        found = paged(lambda after: pdp.search_subjects(request, kind, after=after, **options))  # noqa: B023
        if found != wanted:
            return f"subjects of {kind}: found {found}, wanted {wanted}"
    for kind in world.rnd.sample(KINDS, 2):
        wanted = [ref for ref in allowed if ref.startswith(f"{kind}:") and ref not in codes]
        found = paged(lambda after: pdp.search_resources(request, kind, after=after, **options))  # noqa: B023
        if found != wanted:
            return f"resources of {kind}: found {found}, wanted {wanted}"
        if [*resources.allowed(request, realm=realm, kind=kind, superuser=superuser)] != wanted:
            return f"resources of {kind}, one after another, are others than {wanted}"
    wanted = [code for code in allowed if code in codes]
    found = [prefix + name for name in paged(lambda after: pdp.search_actions(request, after=after, **options))]
    return "" if found == wanted else f"actions: found {found}, wanted {wanted}"


@pytest.fixture(params=["listed", "walked"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of finding candidates; small statements, so that each ends within a list."""
    if request.param == "walked":
        monkeypatch.setattr(candidates, "MOST_LISTED", 1)
        monkeypatch.setattr(candidates, "WALKED", 3)
        monkeypatch.setattr(candidates, "FIRST_WALKED", 1)
    return str(request.param)


def play(seeds: range, questions: int) -> None:
    for seed in seeds:
        world = Drawn(seed)
        world.store()
        for number in range(questions):
            request = world.question()
            found = difference(world, request, superuser=world.chance(0.2))
            assert not found, f"seed {seed}, question {number}, {request}: {found}"


@pytest.mark.parametrize("first", [0, 2])
def test_every_search_of_a_random_realm_finds_what_check_allows(first: int, way: str) -> None:
    play(range(first, first + 2), QUESTIONS)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("first", range(100, 130, 10))
def test_every_search_of_very_many_random_realms_finds_what_check_allows(first: int, way: str) -> None:
    play(range(first, first + 10), 8)


def test_lists_of_python_equal_check_as_well(way: str) -> None:
    for seed in range(20, 22):
        world = Drawn(seed)
        world.store()
        for _ in range(4):
            asked = world.question()
            code, resource, context = asked.permission, asked.resource, asked.context
            options: Any = {"context": context, "realm": world.name}
            wanted = [s for s in sorted((*USERS, *OTHERS)) if pdp.check(s, code, resource, **options)]
            assert pdp.who_can(code, resource, **options) == wanted, seed
            pages = paged(lambda after: pdp.who_can_page(code, resource, limit=2, after=after, **options))  # noqa: B023
            assert pages == wanted, seed
            pairs = {a for a in pdp.what_can(asked.subject, **options) if a.resource is not None}
            every = list(Permission.objects.filter(realm__name=world.name).values_list("code", flat=True))
            expected = {
                pdp.Access(c, r)
                for r in (*DOCS, *FOLDERS)
                for c in every
                if c.startswith(r.partition(":")[0] + ":") and pdp.check(asked.subject, c, r, **options)
            }
            assert pairs == expected, seed


@pytest.mark.parametrize("permission", ["post:edit", "post:never"])
def test_a_superuser_is_found_where_the_caller_lets_superusers_pass(permission: str, way: str) -> None:
    apply(OFFICE)
    get_user_model().objects.create_superuser("root", "root@example.org", "x")
    get_user_model().objects.create_user("plain")
    request = Request("user:root", permission, "post:8")
    for superuser in (False, True):
        options: Any = {"superuser": superuser}
        found = pdp.search_subjects(request, "user", **options).results
        subjects = ["user:alice", "user:bob", "user:charlie", "user:plain", "user:root"]
        assert found == [s for s in subjects if pdp.decide(replace(request, subject=s), **options)]
        assert ("user:root" in found) is superuser
        posts = pdp.search_resources(request, "post", **options).results
        assert posts == (["post:7", "post:8"] if superuser else [])
        actions = pdp.search_actions(request, **options).results
        assert actions == (["edit", "purge", "read"] if superuser else [])
