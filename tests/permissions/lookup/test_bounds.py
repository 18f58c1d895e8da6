"""A search reads what its page needs, not the realm, and it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from permissions import pdp
from permissions.cache import database
from permissions.engine.evaluate import evaluate
from permissions.engine.types import Request
from permissions.lookup import browsing, candidates, resources, subjects
from tests.worlds import OFFICE, apply

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

CROWD = 700
READ = Request("user:any", "post:read", "post:7")


@pytest.fixture
def _crowd() -> None:
    """A realm in which nobody of a crowd may read, save for five and whom a team lets."""
    apply(OFFICE)
    people = "\n".join(f'  - {{id: "user:c{n:03}"}}' for n in range(CROWD))
    posts = "\n".join(f'  - {{id: "post:p{n:03}"}}' for n in range(CROWD))
    held = "\n".join(f'  - {{subject: "user:c{n}", role: reader, scope: "post:7"}}' for n in ("010", "200", "201", "450", "699"))
    apply(f"subjects:\n{people}\nresources:\n{posts}\nbindings:\n{held}")


@pytest.fixture
def decided(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every candidate that was decided on."""
    asked: list[str] = []

    def counting(decide: Callable[..., Any], name: str) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            asked.append(getattr(args[3], name))
            return decide(*args, **options)

        return counted

    monkeypatch.setattr(subjects, "evaluate", counting(evaluate, "subject"))
    monkeypatch.setattr(resources, "evaluate", counting(evaluate, "resource"))
    return asked


@pytest.fixture
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches in the test's own thread, whose statements can be counted."""
    monkeypatch.setattr(database, "bounded", lambda work, **_: work())


@pytest.mark.usefixtures("_crowd", "_here")
def test_only_who_holds_something_is_decided_on(decided: list[str]) -> None:
    few = ["user:alice", "user:bob", "user:c010", "user:c200", "user:c201", "user:c450", "user:c699"]
    assert pdp.search_subjects(READ, "user").results == few
    # The team's rows and the subjects': bob comes through his team.
    assert decided == few


@pytest.mark.usefixtures("_crowd", "_here")
def test_a_walk_among_holders_decides_on_no_one_else(decided: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "MOST_LISTED", 3)
    assert len(pdp.search_subjects(READ, "user").results) == 7
    assert len(decided) == 7


@pytest.mark.usefixtures("_crowd", "_here")
def test_a_page_of_a_crowd_decides_on_about_as_many_as_it_holds(decided: list[str]) -> None:
    apply('bindings: [{subject: "user:*", role: reader}]')
    page = pdp.search_subjects(READ, "user", limit=5)
    assert len(page.results) == 5
    assert len(decided) <= 6
    decided.clear()
    page = pdp.search_resources(Request("user:c001", "post:read"), "post", limit=5, after="post:p400")
    assert page.results == [f"post:p{n}" for n in range(401, 406)]
    assert len(decided) <= 6


@pytest.mark.usefixtures("_crowd", "_here")
def test_resources_are_looked_for_only_below_what_is_held(decided: list[str]) -> None:
    assert pdp.search_resources(Request("user:bob", "post:read"), "post").results == ["post:7"]
    assert sorted(decided) == ["post:7", "post:8"]  # what lies below the blog
    decided.clear()
    assert pdp.search_resources(Request("user:c011", "post:read"), "post").results == []
    assert decided == []


@pytest.mark.usefixtures("_crowd", "_here")
def test_a_page_takes_as_many_statements_in_a_crowd_as_among_few(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, most in ((1, 30), (1000, 30)):
        pdp.check("user:alice", "post:read")
        with CaptureQueriesContext(
            connection,
        ) as seen:
            pdp.search_subjects(READ, "user", limit=limit)
        assert len(seen) <= most


@pytest.mark.usefixtures("_crowd")
def test_a_search_that_finds_nobody_comes_back_short_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    apply('bindings: [{subject: "user:*", allow: ["post:purge"], condition: "context.mfa == true"}]')
    monkeypatch.setattr(browsing, "PAGE_ROWS", 100)
    request = Request("user:any", "post:purge", "post:7")
    pages, after = 0, None
    while True:
        page = pdp.search_subjects(request, "user", limit=50, after=after)
        assert page.results == []
        pages += 1
        if page.next_after is None:
            break
        assert after is None or page.next_after > after
        after = page.next_after
    assert 3 < pages < 20


def test_asynchronous_searches_answer_as_the_others(db: None) -> None:
    apply(OFFICE)

    async def found() -> list[Any]:
        return [
            (await pdp.asearch_subjects(READ, "user")).results,
            (await pdp.asearch_resources(Request("user:bob", "post:read"), "post")).results,
            (await pdp.asearch_actions(Request("user:alice", "post:any", "post:7"))).results,
            await pdp.awho_can("post:read", "post:7"),
        ]

    assert asyncio.run(found()) == [["user:alice", "user:bob"], ["post:7"], ["edit", "read"], ["user:alice", "user:bob"]]


def test_a_list_that_takes_too_long_is_refused_rather_than_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    apply(OFFICE)
    monkeypatch.setattr(browsing, "LIST_S", -1.0)
    with pytest.raises(pdp.Unavailable, match="ask for pages"):
        pdp.who_can("post:read", "post:7")
