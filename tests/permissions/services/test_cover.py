"""Cover between lines: what is held must be at least as wide as what is given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from permissions.engine.patterns import matches
from permissions.engine.types import MembershipFact
from permissions.services.cover import ALWAYS, Denied, Give, Held, HeldAt, Line, Window, is_within, meets, ways_up

MFA, DAY = frozenset({"context.mfa == true"}), frozenset({"context.day == 1"})


@pytest.mark.parametrize(
    ("narrow", "wide", "expected"),
    [
        (Line("post:edit"), Line("post:edit"), True),
        (Line("post:edit"), Line("post:*"), True),
        (Line("post:*"), Line("post:edit"), False),
        (Line("*"), Line("post:*"), False),
        (Line("post:edit", MFA), Line("post:edit"), True),
        (Line("post:edit"), Line("post:edit", MFA), False),
        (Line("post:edit", MFA | DAY), Line("post:edit", DAY), True),
        (Line("post:edit", MFA), Line("post:edit", DAY), False),
        (Line("post:edit", window=Window(5, 9)), Line("post:edit", window=Window(5, 10)), True),
        (Line("post:edit", window=Window(4, 9)), Line("post:edit", window=Window(5, 10)), False),
        (Line("post:edit"), Line("post:edit", window=Window(until=10)), False),
        (Line("post:edit"), Line("post:*", excludes=frozenset({"post:purge"})), True),
        (Line("post:*"), Line("post:*", excludes=frozenset({"post:purge"})), False),
        (Line("post:*", excludes=frozenset({"post:p*"})), Line("post:*", excludes=frozenset({"post:purge"})), True),
        (Line("post:*", excludes=frozenset({"post:purge"})), Line("post:*", excludes=frozenset({"post:p*"})), False),
    ],
)
def test_a_line_lies_within_another(narrow: Line, wide: Line, expected: bool) -> None:
    assert is_within(narrow, wide) is expected


def test_an_exclusion_leaves_nothing_of_a_line_it_covers() -> None:
    assert Line("post:edit").without(["post:*"]) is None
    assert Line("post:edit").without(["page:*"]) == Line("post:edit")
    assert Line("post:*").without(["post:edit", "page:*"]) == Line("post:*", excludes=frozenset({"post:edit"}))


segment = st.text("ab*?", min_size=1, max_size=4)
pattern = st.lists(segment, min_size=2, max_size=3).map(":".join)
code = st.lists(st.text("ab", min_size=1, max_size=4), min_size=2, max_size=4).map(":".join)


@given(pattern, pattern, code)
def test_patterns_that_share_a_code_meet(one: str, other: str, shared: str) -> None:
    if matches(one, shared) and matches(other, shared):
        assert meets(one, other)
        assert meets(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [("post:edit", "post:view"), ("post:a*", "post:b*"), ("post:?", "post:ab"), ("*", "permsite.realm:change"), ("a:*", "b:*")],
)
def test_patterns_that_share_nothing_do_not_meet(one: str, other: str) -> None:
    assert not meets(one, other)
    assert not meets(other, one)


def test_a_deny_takes_what_it_meets_unless_the_give_leaves_that_out() -> None:
    here = HeldAt((Held(Line("post:*"), below=True, place=(0, 2)),), (Denied("post:purge", (0, 2)),))
    assert here.covers(Give("", below=True, line=Line("post:edit")), {})
    assert not here.covers(Give("", below=True, line=Line("post:*")), {})
    assert here.covers(Give("", below=True, line=Line("post:*", excludes=frozenset({"post:purge"}))), {})


def test_a_deny_below_counts_only_for_what_reaches_below() -> None:
    here = HeldAt((Held(Line("post:*"), below=True, place=(0, 2)),), (Denied("post:purge", (0, 0), deeper=True),))
    assert here.covers(Give("", below=False, line=Line("post:purge")), {})
    assert not here.covers(Give("", below=True, line=Line("post:purge")), {})


def test_in_overlay_only_a_later_deny_counts() -> None:
    held = (Held(Line("post:send"), below=True, place=(1, 1)),)
    give = Give("server:7", below=True, line=Line("post:send"))
    assert HeldAt(held, (Denied("post:send", (1, 1)),), overlay=True).covers(give, {})
    assert not HeldAt(held, (Denied("post:send", (1, 2)),), overlay=True).covers(give, {})
    assert not HeldAt(held, (Denied("post:send", (1, 1)),)).covers(give, {})


def test_every_way_to_a_team_keeps_its_own_window_and_a_circle_ends() -> None:
    edges = [
        MembershipFact("user:bob", "team:a", None, 10),
        MembershipFact("user:bob", "team:b", 5, 20),
        MembershipFact("team:a", "team:top", 2, None),
        MembershipFact("team:b", "team:top", None, None),
        MembershipFact("team:top", "team:a", None, None),
    ]
    ways = ways_up("user:bob", edges)
    assert ways["user:bob"] == {ALWAYS}
    assert ways["team:top"] == {Window(2, 10), Window(5, 20)}
    assert ways["team:a"] == {Window(until=10), Window(5, 20)}


def test_a_way_that_is_never_open_is_none() -> None:
    edges = [MembershipFact("user:bob", "team:a", None, 5), MembershipFact("team:a", "team:top", 5, None)]
    assert "team:top" not in ways_up("user:bob", edges)
