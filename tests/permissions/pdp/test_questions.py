"""What may be asked, and what is refused as malformed before anything is decided."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import pytest

from permissions import pdp
from tests.worlds import OFFICE, apply

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture(autouse=True)
def _office() -> None:
    pdp.reset()
    apply(OFFICE)


@pytest.mark.parametrize(
    ("subject", "permission", "resource", "named"),
    [
        ("alice", "post:edit", None, "subject 'alice'"),
        ("user:*", "post:edit", None, "'\\*'"),
        ("user:", "post:edit", None, "subject"),
        (":alice", "post:edit", None, "subject"),
        (7, "post:edit", None, "int"),
        (None, "post:edit", None, "NoneType"),
        ("user:al\x00ice", "post:edit", None, "control character"),
        ("user:ａ\u0301"[:6] + "e\u0301", "post:edit", None, "NFC"),
        (" user:alice", "post:edit", None, "space"),
        ("user:" + "x" * 600, "post:edit", None, "characters"),
        ("user:\ud800", "post:edit", None, "surrogate"),
        ("user:alice", "post:*", None, "pattern"),
        ("user:alice", "post", None, "resource_type:action"),
        ("user:alice", "post::edit", None, "segment"),
        ("user:alice", "post:edit", "post:*", "'\\*'"),
        ("user:alice", "post:edit", "seven", "type:id"),
        ("user:alice", "post:edit", ["post:7"], "list"),
    ],
)
def test_a_malformed_question_is_refused_by_name(subject, permission, resource, named) -> None:
    with pytest.raises(pdp.InvalidRequestError, match=named):
        pdp.check(subject, permission, resource)


def test_a_context_of_the_wrong_shape_is_refused() -> None:
    wrong: list[Any] = [["mfa"], "mfa", 1]
    for context in wrong:
        with pytest.raises(pdp.InvalidRequestError, match="context must be an object"):
            pdp.check("user:alice", "post:edit", context=context)
    with pytest.raises(pdp.InvalidRequestError, match="1001 entries"):
        pdp.check("user:alice", "post:edit", context={"ips": list(range(1001))})
    deep: dict[str, object] = {}
    for _ in range(50):
        deep = {"a": deep}
    with pytest.raises(pdp.InvalidRequestError, match="deeper"):
        pdp.check("user:alice", "post:edit", context=deep)


def test_an_id_is_split_at_its_first_colon_and_compared_byte_by_byte() -> None:
    apply('subjects: [{id: "repo:openfga/openfga"}, {id: "user:Zoë"}]\nbindings: [{subject: "user:Zoë", role: reader}]')
    assert pdp.check("user:Zoë", "post:read")
    assert pdp.check("user:ALICE", "post:edit").reason == "unknown_subject"
    assert pdp.check("repo:openfga/openfga", "post:read").reason == "no_grant"


def test_an_unregistered_permission_is_denied_even_under_a_wildcard() -> None:
    apply('roles: [{name: all, permissions: ["*"]}]\nbindings: [{subject: "user:charlie", role: all}]')
    assert pdp.check("user:charlie", "post:purge")
    assert pdp.check("user:charlie", "post:polish").reason == "unknown_permission"
    assert pdp.check("user:charlie", "permsite.realm:change").reason == "no_grant"


def test_a_realm_that_is_not_there_is_a_malformed_question() -> None:
    with pytest.raises(pdp.InvalidRequestError, match="'nowhere'"):
        pdp.check("user:alice", "post:edit", realm="nowhere")


def test_a_batch_names_the_item_that_is_wrong_and_decides_nothing() -> None:
    before = pdp.stats()
    with pytest.raises(pdp.InvalidRequestError, match="item 1"):
        pdp.check_many([("user:alice", "post:edit"), ("user:alice", "post:*")])
    with pytest.raises(pdp.InvalidRequestError, match="at most 1000"):
        pdp.check_many([("user:alice", "post:edit")] * 1001)
    with pytest.raises(pdp.InvalidRequestError, match="keys"):
        pdp.check_many([{"subject": "user:alice", "action": "post:edit"}])
    assert pdp.stats() == before
    assert pdp.check_many([]) == []


def test_a_future_instant_is_decided_by_todays_rows_and_one_before_the_history_is_refused() -> None:
    apply('bindings: [{subject: "user:charlie", role: reader, valid_from: "2090-01-01T00:00:00Z"}]')
    later = dt.datetime(2090, 1, 1, tzinfo=dt.UTC)
    assert pdp.check("user:charlie", "post:read").reason == "not_yet_valid"
    assert pdp.check("user:charlie", "post:read", at=later)
    assert pdp.check("user:charlie", "post:read").reason == "not_yet_valid"
    with pytest.raises(pdp.InvalidRequestError, match="before the history of rows"):
        pdp.check("user:charlie", "post:read", at=dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
    with pytest.raises(pdp.InvalidRequestError, match="aware"):
        pdp.check("user:charlie", "post:read", at=dt.datetime(2090, 1, 1))  # noqa: DTZ001 - the point


def test_the_async_twins_answer_the_same() -> None:
    async def ask() -> tuple[Any, ...]:
        return (
            await pdp.acheck("user:alice", "post:edit", "post:7"),
            await pdp.acheck_many([("user:charlie", "post:read")]),
            await pdp.aexplain("user:alice", "post:edit"),
            await pdp.awho_can("post:read", "post:7"),
            await pdp.awhat_can("user:bob", "post:read"),
        )

    one, many, why, who, what = asyncio.run(ask())
    assert one == pdp.check("user:alice", "post:edit", "post:7") or one.allowed
    assert many[0].reason == "no_grant"
    assert why.decision.allowed
    assert who == pdp.who_can("post:read", "post:7") == ["user:alice", "user:bob"]
    assert what == pdp.what_can("user:bob", "post:read") == [pdp.Access("post:read", "post:7")]


def test_teams_that_an_override_key_asserts_count_for_the_request_alone() -> None:
    asserted = {"teams": ["writers", "team:nowhere"]}
    ask = lambda mode: pdp.check(  # noqa: E731 - one question three times
        "user:dora", "post:read", "post:7", subject_properties=asserted, asserted=mode
    )
    assert ask("override")
    assert ask("fill").reason == ask("ignore").reason == "unknown_subject"
    assert pdp.check("user:dora", "post:read", "post:7").reason == "unknown_subject"


def test_the_parent_of_an_unseen_resource_may_be_named_by_its_caller() -> None:
    parent = {"parent": "blog:1"}
    assert pdp.check("user:bob", "post:read", "post:new", resource_properties=parent)
    assert not pdp.check("user:bob", "post:read", "post:new", resource_properties=parent, asserted="ignore")
    assert not pdp.check("user:bob", "post:read", "post:new")
    # A stored resource keeps its stored place.
    apply('resources: [{id: "post:free"}]')
    assert not pdp.check("user:bob", "post:read", "post:free", resource_properties=parent, asserted="override")


def test_a_team_may_itself_be_asked_about() -> None:
    assert pdp.check("team:writers", "post:read", "post:7")
    assert not pdp.check("team:writers", "post:read")
