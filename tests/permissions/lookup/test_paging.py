"""Signed tokens, limits, and pages that put together are one list."""

from __future__ import annotations

import time

import pytest

from permissions import pdp
from permissions.engine.reasons import InvalidRequestError, Unavailable
from permissions.engine.types import Request
from permissions.lookup import browsing
from permissions.lookup.browsing import Budget, Part
from permissions.lookup.paging import TOKEN_TTL_S, Place, digest_of, limit_of, seal, unseal
from tests.permissions.lookup.test_search_equals_check import paged
from tests.worlds import OFFICE, apply

PLACE = Place("user:zoë", 7, 25)
ASKED = digest_of(["subject", "default", {"a": 1, "b": [True, None]}])


def test_a_token_says_what_was_put_into_it() -> None:
    token = seal(ASKED, PLACE)
    assert unseal(token, ASKED) == PLACE
    assert token.isascii()


def test_members_in_another_order_are_the_same_question() -> None:
    assert digest_of({"a": {"x": 1, "y": 2}, "b": 1}) == digest_of({"b": 1, "a": {"y": 2, "x": 1}})
    assert digest_of({"a": 1}) != digest_of({"a": True}) != digest_of({"a": "1"})
    assert digest_of([["user:a", "b"]]) != digest_of([["user:a"], "b"])


@pytest.mark.parametrize("place", [0, 3, 20, -1, -10])
def test_a_token_changed_anywhere_is_refused(place: int) -> None:
    token = seal(ASKED, PLACE)
    other = "A" if token[place] != "A" else "B"
    changed = token[:place] + other + (token[place + 1 :] if place != -1 else "")
    with pytest.raises(InvalidRequestError, match="not one that this server gave out"):
        unseal(changed, ASKED)


@pytest.mark.parametrize(
    "token", ["", ".", "..", "n1", "n1..", "n1.e30.", "v1.1.abcdef01.3.mac", "ñ1.x.y", "n1." + "A" * 5_000, "\ud800.\x00.x"]
)
def test_a_text_that_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidRequestError, match="not one that this server gave out"):
        unseal(token, ASKED)


def test_a_token_of_another_question_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="another question"):
        unseal(seal(ASKED, PLACE), digest_of(["subject", "other", {}]))


def test_a_token_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    token = seal(ASKED, PLACE)
    now_s = time.time()
    monkeypatch.setattr(time, "time", lambda: now_s + TOKEN_TTL_S - 5)
    assert unseal(token, ASKED) == PLACE
    monkeypatch.setattr(time, "time", lambda: now_s + TOKEN_TTL_S + 1)
    with pytest.raises(InvalidRequestError, match="expired"):
        unseal(token, ASKED)


def test_an_old_key_still_verifies_and_a_foreign_one_does_not(settings) -> None:
    token = seal(ASKED, PLACE)
    old = settings.SECRET_KEY
    settings.SECRET_KEY = "another key of the same length, or more"
    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(InvalidRequestError, match="not one that this server gave out"):
        unseal(token, ASKED)
    settings.SECRET_KEY_FALLBACKS = [old]
    assert unseal(token, ASKED) == PLACE


@pytest.mark.parametrize(("given", "taken"), [(None, 1000), (0, 1000), (1, 1), (1000, 1000), (1001, 1000), (10**30, 1000)])
def test_a_limit_is_the_callers_or_the_default_or_the_most(given: int | None, taken: int) -> None:
    assert limit_of(given) == taken


@pytest.mark.parametrize("given", [-1, True, 1.0, float("nan"), "5", [], -(10**30)])
def test_a_limit_that_is_none_is_refused(given: object) -> None:
    with pytest.raises(InvalidRequestError, match="limit"):
        limit_of(given)


def every_second(refs: list[str]) -> list[str]:
    return [ref for ref in refs if int(ref) % 2 == 0]


def parts(size: int, last: int, after: int = 0) -> list[Part]:
    refs = [f"{n:03}" for n in range(after + 1, last + 1)]
    return [Part(part, part[-1], len(part)) for part in (refs[n : n + size] for n in range(0, len(refs), size))]


def test_a_page_says_that_it_is_the_last_when_nothing_follows() -> None:
    budget = Budget(1_000, time.monotonic() + 60)
    assert browsing.collect(parts(3, 7), every_second, 3, budget) == (["002", "004", "006"], None)
    assert browsing.collect(parts(3, 8), every_second, 3, budget) == (["002", "004", "006"], "006")
    assert browsing.collect([], every_second, 3, budget) == ([], None)


def test_a_page_that_has_looked_at_enough_comes_back_short_with_a_place_to_go_on() -> None:
    results, following = browsing.collect(parts(3, 30), every_second, 100, Budget(6, time.monotonic() + 60))
    assert (results, following) == (["002", "004", "006"], "006")
    results, following = browsing.collect(parts(3, 30), lambda refs: [], 100, Budget(100, time.monotonic()))
    assert (results, following) == ([], "003")


def test_time_counts_only_once_a_page_has_looked_at_some() -> None:
    late = time.monotonic()
    results, following = browsing.collect(parts(3, 30), every_second, 100, Budget(100, late, least=7))
    assert (results, following) == (["002", "004", "006", "008"], "009")
    assert browsing.collect(parts(3, 7), every_second, 100, Budget(100, late, least=8)) == (["002", "004", "006"], None)


def test_a_list_that_must_not_be_cut_is_refused_instead() -> None:
    with pytest.raises(Unavailable, match="pages"):
        browsing.collect(parts(3, 30), every_second, None, Budget(0, time.monotonic(), is_whole=True))


@pytest.mark.django_db(transaction=True)
@pytest.mark.both_databases
class TestWithRows:
    @pytest.fixture(autouse=True)
    def _office(self) -> None:
        apply(OFFICE)
        apply(
            "subjects:\n"
            + "\n".join(f'  - {{id: "user:n{n:03}"}}' for n in range(120))
            + '\nbindings:\n  - {subject: "user:*", role: reader, scope: "blog:1"}\n'
        )

    @pytest.mark.parametrize("limit", [1, 7, 40, 122, 123, 124, 0, None])
    def test_pages_put_together_are_the_list(self, limit: int | None) -> None:
        whole = pdp.who_can("post:read", "post:7")
        assert len(whole) == 123
        request = Request("user:any", "post:read", "post:7")
        found = paged(lambda after: pdp.search_subjects(request, "user", limit=limit, after=after))
        assert found == whole

    def test_a_budget_that_is_used_up_loses_and_repeats_nothing(self, monkeypatch) -> None:
        monkeypatch.setattr(browsing, "PAGE_ROWS", 5)
        request = Request("user:any", "post:read", "post:7")
        page = pdp.search_subjects(request, "user", limit=8)
        assert 0 < len(page.results) <= 9
        assert paged(lambda after: pdp.search_subjects(request, "user", limit=8, after=after)) == pdp.who_can(
            "post:read", "post:7"
        )

    def test_what_comes_and_goes_between_two_pages_is_found_or_not_and_nothing_else_moves(self) -> None:
        request = Request("user:any", "post:read", "post:7")
        first = pdp.search_subjects(request, "user", limit=60)
        apply('subjects: [{id: "user:n000b"}, {id: "user:n119b"}, {id: "user:n100", locked: true}]')
        second = pdp.search_subjects(request, "user", limit=1000, after=first.next_after)
        assert second.revision > first.revision
        assert first.results[-1] < second.results[0]
        assert "user:n119b" in second.results
        assert {"user:n000b", "user:n100"}.isdisjoint([*first.results, *second.results])

    @pytest.mark.parametrize(
        "after", ["", "nobody", "user:", "user:\x00", "user:*", " user:a", "user:" + "x" * 600, "\ud800:a", 5, True]
    )
    def test_a_place_that_no_page_gave_out_is_refused(self, after: object) -> None:
        with pytest.raises(InvalidRequestError):
            pdp.search_subjects(Request("user:any", "post:read", "post:7"), "user", after=after)  # type: ignore[arg-type]

    @pytest.mark.parametrize("kind", ["", "us:er", "user*", "?", 5, None, "a" * 200, "user\n"])
    def test_a_type_that_is_none_is_refused(self, kind: object) -> None:
        for search in (pdp.search_subjects, pdp.search_resources):
            with pytest.raises(InvalidRequestError):
                search(Request("user:alice", "post:read", "post:7"), kind)  # type: ignore[arg-type]

    def test_types_with_letters_that_sql_takes_for_patterns_are_just_types(self) -> None:
        apply('subjects: [{id: "us_r:a"}, {id: "u%:a"}, {id: "use\\\\:a"}]\nbindings: [{subject: "us_r:a", role: reader}]')
        request = Request("user:any", "post:read", "post:7")
        assert pdp.search_subjects(request, "us_r").results == ["us_r:a"]
        for kind in ("u%", "use\\", "us__", "%", "u", "USER"):
            assert pdp.search_subjects(request, kind).results == []
