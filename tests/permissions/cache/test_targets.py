"""What a flush names: which values are one, and which snapshots carry it."""

from __future__ import annotations

from typing import Any

import pytest

from permissions.cache import targets
from permissions.cache.flush import MAX_VALUE, Target, target
from permissions.engine.scopes import build_resource, build_subject
from permissions.engine.types import BindingFact, MembershipFact, ResourceFacts, ResourceNodeFact, SubjectFacts
from permissions.errors import Invalid
from permissions.models import Changelog


class TestTheTarget:
    @pytest.mark.parametrize(
        ("tag", "value", "told"),
        [
            ("user", "a", "must be one of subject, resource, role, team, scope, all"),
            ("", "a", "must be one of"),
            (None, "a", "not NoneType"),
            (True, "a", "not bool"),
            (1, "a", "not int"),
            (float("nan"), "a", "not float"),
            (["role"], "a", "not list"),
            ("role\x00", "a", "must be one of"),
            ("subject", None, "is missing: the pattern of subject ids"),
            ("role", None, "is missing: the role"),
            ("subject", "", "must not be empty"),
            ("subject", 7, "must be a text, not int"),
            ("subject", True, "must be a text, not bool"),
            ("subject", float("inf"), "must be a text, not float"),
            ("subject", ["user:a"], "must be a text, not list"),
            ("subject", "user:a\nb", "control character"),
            ("subject", "user:\x00", "control character"),
            ("subject", "user:\ud800", "lone surrogate"),
            ("subject", " user:a", "begins or ends with a space"),
            ("subject", "user:e\u0301", "normal form NFC"),
            ("subject", "u" * (MAX_VALUE + 1), f"at most {MAX_VALUE} are allowed"),
            ("resource", "*" * 100_000, f"at most {MAX_VALUE} are allowed"),
            ("team", "eng", "must be written type:id"),
            ("team", "team:*", "the id '*' means everyone"),
            ("scope", "server:", "must be written type:id"),
            ("all", "x", "must be left out"),
            ("all", 0, "must be left out"),
        ],
    )
    def test_what_is_none_is_refused_and_says_where(self, tag: object, value: object, told: str) -> None:
        with pytest.raises(Invalid) as caught:
            target(tag, value)
        assert told in caught.value.problems[0].message
        assert caught.value.problems[0].where in ("tag", "value")

    def test_what_is_one_is_taken_as_it_is(self) -> None:
        assert target("subject", "user:ü*").object_id == "subject:user:ü*"
        assert target("role", "editor").object_id == "role:editor"
        assert target("scope", "server:7").object_id == "scope:server:7"
        assert target("all") == target("all", "") == Target("all")
        assert target("all").object_id == ""

    def test_the_longest_fits_the_changelog(self) -> None:
        longest = target("resource", "r" * MAX_VALUE).object_id
        assert len(longest) <= (Changelog._meta.get_field("object_id").max_length or 0)


def binding(holder: str, role: str | None, scope: str, **more: Any) -> BindingFact:
    return BindingFact(id=1, holder=holder, role=role, scope=scope, **more)


class TestWhatItDrops:
    """By the snapshot alone, as every process judges it."""

    bob = build_subject(
        SubjectFacts(
            "user:bob",
            memberships=(MembershipFact(member="user:bob", team="team:eng"),),
            bindings=(
                binding("user:bob", "reader", ""),
                binding("team:eng", "editor", "server:7"),
                binding("user:bob", "guest", "server:9", condition="context.n == 1"),
                binding("user:bob", "ghost", "server:5", valid_until_us=1),
            ),
        ),
        1_000,
    )
    post = build_resource(
        ResourceFacts("post:1", chain=(ResourceNodeFact("server:7"), ResourceNodeFact("channel:9"), ResourceNodeFact("post:1")))
    )

    @pytest.mark.parametrize(
        ("tag", "value", "subject", "resource"),
        [
            ("subject", "user:*", True, False),
            ("subject", "user:bob", True, False),
            ("subject", "user:Bob", False, False),
            ("subject", "post:1", False, False),
            ("resource", "post:*", False, True),
            ("resource", "*:1", False, True),
            ("resource", "user:bob", False, False),
            ("role", "reader", True, False),
            ("role", "editor", True, False),
            ("role", "guest", True, False),
            ("role", "ghost", True, False),
            ("role", "read", False, False),
            ("team", "team:eng", True, False),
            ("team", "user:bob", True, False),
            ("team", "team:ops", False, False),
            ("scope", "server:7", True, True),
            ("scope", "server:9", True, False),
            ("scope", "server:5", True, False),
            ("scope", "channel:9", False, True),
            ("scope", "post:1", False, True),
            ("scope", "server:8", False, False),
            ("colour", "red", True, True),  # a tag of a later version: too much does no harm
        ],
    )
    def test_what_carries_it_goes_and_nothing_else(self, tag: str, value: str, subject: bool, resource: bool) -> None:
        matches = targets.matcher(tag, value)
        assert (matches(self.bob), matches(self.post)) == (subject, resource)
